//! The way of one item: how far it has come, how long each stage took, what went wrong last. What log lines, spans and
//! answers say of an item is read from here.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue,
    context::{FutureExt, WithContext},
    trace::{Status, TraceContextExt},
};
use signet_azure::failure::Failure;
use signet_core::rejection::Stage;
use tokio::time::Instant;

use crate::telemetry::ItemSpan;

/// How far an item has come, and what went wrong last: the answer to the host if its time runs out.
#[derive(Debug)]
pub(crate) struct Trail {
    begun: Instant,
    span: Option<ItemSpan>,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    deadline: Instant,
    /// When the item's message may be somebody else's, if we lease it ourselves.
    held_until: Option<Moment>,
    stage: Stage,
    since: Instant,
    /// Below the item's span.
    span: Option<Context>,
    failure: Option<Failure>,
    /// One for each stage, in their order.
    spent: [Option<Duration>; Stage::ALL.len()],
    id: Option<String>,
    kid: Option<String>,
}

/// A moment to come, by two clocks: the one that only goes on stands still with a machine that is suspended as a whole, and the one
/// that tells the time may be set meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    time: SystemTime,
}

impl Moment {
    pub(crate) fn after(wait: Duration) -> Self {
        let (instant, time) = (Instant::now(), SystemTime::now());
        let instant = instant.checked_add(wait).unwrap_or(instant);
        Self { instant, time: time.checked_add(wait).unwrap_or(time) }
    }

    pub(crate) fn sooner(self, by: Duration) -> Self {
        let instant = self.instant.checked_sub(by).unwrap_or(self.instant);
        Self { instant, time: self.time.checked_sub(by).unwrap_or(self.time) }
    }

    /// Whether it is over by one of the two.
    fn is_over(self) -> bool {
        self.instant <= Instant::now() || self.time <= SystemTime::now()
    }
}

/// Why an item ends before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Deadline,
    LeaseLost,
}

/// What is to be said of an item in the end.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) took: Duration,
    /// The item's id, if it came to have one.
    pub(crate) id: Option<String>,
    /// The key that it was signed with, or was to be.
    pub(crate) kid: Option<String>,
    spent: [Option<Duration>; Stage::ALL.len()],
}

impl Account {
    /// The stages that the item was in, each with its whole time.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (Stage, Duration)> + '_ {
        Stage::ALL.into_iter().zip(&self.spent).filter_map(|(stage, spent)| Some((stage, (*spent)?)))
    }
}

impl Trail {
    /// Of an item whose invocation came at `begun`.
    pub(crate) fn new(begun: Instant, deadline: Instant, span: Option<ItemSpan>) -> Self {
        let progress = Progress {
            deadline,
            held_until: None,
            stage: Stage::Parse,
            since: Instant::now(),
            span: span.as_ref().map(|span| span.child(Stage::Parse.name())),
            failure: None,
            spent: [None; Stage::ALL.len()],
            id: None,
            kid: None,
        };
        Self { begun, span, progress: Mutex::new(progress) }
    }

    /// Gives the item so much time from now on.
    pub(crate) fn renew(&self, time: Duration) {
        let now = Instant::now();
        // Settings allow 240 seconds, which no clock overflows at.
        self.progress().deadline = now.checked_add(time).unwrap_or(now);
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.progress().deadline
    }

    /// The message is ours until then, and the item ends before it is not.
    pub(crate) fn hold(&self, until: Moment) {
        self.progress().held_until = Some(until);
    }

    /// Returns once the item's time is over, or its message is not ours any more.
    pub(crate) async fn over(&self) -> End {
        let sleep = async {
            loop {
                match self.time_left() {
                    // Both ends may be moved meanwhile, so they are looked at again.
                    Ok(until) => tokio::time::sleep_until(until).await,
                    Err(end) => return end,
                }
            }
        };
        let mut sleep = pin!(sleep);
        // The clock itself is looked at each time: that of the runtime stands still until it has been waited for.
        poll_fn(|context| match self.time_left() {
            Ok(_) => sleep.as_mut().poll(context),
            Err(end) => Poll::Ready(end),
        })
        .await
    }

    /// Until when the item may go on; why it may not.
    fn time_left(&self) -> Result<Instant, End> {
        let progress = self.progress();
        let now = Instant::now();
        match progress.held_until {
            _ if progress.deadline <= now => Err(End::Deadline),
            Some(until) if until.is_over() => Err(End::LeaseLost),
            Some(until) => Ok(progress.deadline.min(until.instant)),
            None => Ok(progress.deadline),
        }
    }

    /// Whether there is time for such a wait, and for something after it.
    pub(crate) fn allows(&self, wait: Duration) -> bool {
        self.deadline().saturating_duration_since(Instant::now()) > wait
    }

    /// The item has come to this stage; what went wrong before is overcome.
    pub(crate) fn enter(&self, stage: Stage) {
        let mut progress = self.progress();
        progress.failure = None;
        if progress.stage != stage {
            progress.leave();
            progress.stage = stage;
            progress.span = self.span.as_ref().map(|span| span.child(stage.name()));
        }
    }

    pub(crate) fn note(&self, failure: &Failure) {
        let mut progress = self.progress();
        if let Some(context) = &progress.span {
            context.span().add_event("failure", vec![KeyValue::new("error.type", failure.code.clone())]);
        }
        progress.failure = Some(failure.clone());
    }

    /// The id that names the item's results.
    pub(crate) fn is_about(&self, id: &str) {
        let mut progress = self.progress();
        if progress.id.as_deref() != Some(id) {
            progress.id = Some(id.to_owned());
        }
    }

    /// The key that it is signed with from now on.
    pub(crate) fn signs_with(&self, kid: &str) {
        let mut progress = self.progress();
        if progress.kid.as_deref() != Some(kid) {
            progress.kid = Some(kid.to_owned());
        }
    }

    /// The stage, and the last failure in it.
    pub(crate) fn end(&self) -> (Stage, Option<Failure>) {
        let progress = self.progress();
        (progress.stage, progress.failure.clone())
    }

    /// Has what a service is asked for stand below the stage's span.
    pub(crate) fn within<F: Future>(&self, call: F) -> WithContext<F> {
        // One way for both cases: two would make every future that waits for a service twice as large.
        call.with_context(self.progress().span.clone().unwrap_or_default())
    }

    /// The item is over. Its spans end, the item's own with these attributes; an error, if there was one, makes it a failed one.
    pub(crate) fn close(&self, attributes: impl FnOnce() -> Vec<KeyValue>, error: Option<String>) -> Account {
        let mut progress = self.progress();
        progress.leave();
        if let Some(item) = &self.span {
            let span = item.context().span();
            let known = [("signet.item.id", &progress.id), ("signet.kid", &progress.kid)];
            let known = known.into_iter().filter_map(|(name, value)| Some(KeyValue::new(name, value.clone()?)));
            span.set_attributes(known.chain(attributes()));
            if let Some(error) = error {
                span.set_status(Status::error(error));
            }
            span.end();
        }
        let (id, kid) = (progress.id.take(), progress.kid.take());
        Account { took: self.begun.elapsed(), id, kid, spent: progress.spent }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn leave(&mut self) {
        let now = Instant::now();
        let spent = now.saturating_duration_since(self.since);
        self.since = now;
        if let Some(all) = self.spent.get_mut(self.stage as usize) {
            *all = Some(all.unwrap_or_default().saturating_add(spent));
        }
        if let Some(context) = self.span.take() {
            if let Some(failure) = &self.failure {
                context.span().set_status(Status::error(failure.code.clone()));
            }
            context.span().end();
        }
    }
}
