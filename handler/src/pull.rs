//! The other front door, `handler pull`: where no Functions host brings the messages, they are pulled from the queue.
//!
//! A message is ours for as long as its lease, which is renewed at half of it. An item ends before its lease does, so no two
//! deliveries of one message are ever under way at once, and what was delivered too often can be given up for good.

mod health;
mod queue;
mod signals;

use std::{
    future::pending,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::http::HeaderMap;
use signet_azure::failure::Failure;
use signet_core::{envelope::Delivery, rejection::Stage};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

pub(crate) use self::signals::Signals;
use self::{
    health::Health,
    queue::{Leased, MOST_AT_ONCE, PATIENCE, Queue, is_lost},
};
use crate::{
    EX_CONFIG, EX_UNAVAILABLE, Fatal,
    app::App,
    delivery::{self, About},
    fault,
    pipeline::{self, Fate, Setback},
    retry::{backoff, jittered},
    settings::Pull,
    trail::Trail,
};

/// What all of it shares.
struct Puller {
    app: Arc<App>,
    settings: Pull,
    queue: Queue,
    health: Arc<Health>,
    /// Whether what is in flight is to be handed back at once.
    is_over: watch::Sender<bool>,
}

/// Pulls until it is told to end, or until there was nothing to do for long enough; then sends what telemetry there is.
pub(crate) async fn serve(app: Arc<App>, settings: Pull, mut signals: Signals) -> Result<(), Fatal> {
    let queue = Queue::new(&app).map_err(|error| Fatal { exit: EX_CONFIG, cause: error.to_string() })?;
    let health = Arc::new(Health::new(Arc::clone(&app)));
    let listener = health::listen(settings.health).await.map_err(|error| Fatal {
        exit: EX_UNAVAILABLE,
        cause: format!("cannot listen on {}, which SIGNET_HEALTH names: {error}", settings.health),
    })?;
    tracing::info!(queue = app.settings.queue, health = %settings.health, "pulling");
    let puller = Arc::new(Puller { app, settings, queue, health, is_over: watch::Sender::new(false) });
    let all = async {
        let mut in_flight = JoinSet::new();
        let told = puller.pull(&mut in_flight, &mut signals).await;
        puller.health.is_draining.store(true, Ordering::Relaxed);
        puller.drain(in_flight, told, &mut signals).await;
    };
    tokio::select! {
        () = all => {}
        () = health::serve(listener, Arc::clone(&puller.health)) => {}
    }
    puller.app.telemetry.flush().await;
    Ok(())
}

impl Puller {
    /// Receives batch after batch until there is a signal, or nothing to do for long enough; when that was.
    async fn pull(self: &Arc<Self>, in_flight: &mut JoinSet<()>, signals: &mut Signals) -> Instant {
        let concurrency = self.app.settings.concurrency;
        let mut pause = Pause::new(self.settings.poll);
        let mut idle_since = Instant::now();
        let mut failures = 0_u32;
        // After an answer that could not be read, so many are read message by message: one that spoils every batch must not hide
        // the others again and again.
        let mut one_at_a_time = 0_usize;
        loop {
            let was_busy = !in_flight.is_empty() || !self.app.keys.has_some();
            let has_room = async {
                while in_flight.len() > concurrency.saturating_sub(room_for(concurrency)) {
                    in_flight.join_next().await;
                }
                while in_flight.try_join_next().is_some() {}
                // Without a key, messages would only count as delivered.
                self.app.keys.some().await;
            };
            tokio::select! {
                biased;
                () = signals.next() => return Instant::now(),
                () = has_room => {}
            }
            if was_busy {
                idle_since = Instant::now();
            }
            let most = if one_at_a_time > 0 { 1 } else { concurrency.saturating_sub(in_flight.len()) };
            let (received, told) = self.receive(most, signals).await;
            self.health.received(received.as_ref().map(Vec::len));
            let wait = match received {
                Ok(messages) => {
                    failures = 0;
                    let is_empty = messages.is_empty();
                    for (leased, delivery) in messages {
                        if told.is_none() {
                            in_flight.spawn(Arc::clone(self).work_on(leased, delivery));
                        } else {
                            in_flight.spawn(Arc::clone(self).give_back(leased));
                        }
                    }
                    if is_empty {
                        pause.next()
                    } else {
                        one_at_a_time = one_at_a_time.saturating_sub(1);
                        pause.reset();
                        Duration::ZERO
                    }
                }
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    if failure.status.is_none() && !failure.transient {
                        one_at_a_time = MOST_AT_ONCE;
                    }
                    let (queue, error) = (&self.app.settings.queue, &failure.message);
                    tracing::warn!(queue, failures, error, "the queue cannot be read");
                    backoff(failures).max(failure.retry_after.unwrap_or_default().min(LONGEST_PAUSE))
                }
            };
            if let Some(told) = told {
                return told;
            }
            if !in_flight.is_empty() {
                idle_since = Instant::now();
            }
            // A queue that cannot be read may be full.
            let idle_for = idle_since.elapsed();
            if failures == 0 && self.settings.exit_when_idle.is_some_and(|most| idle_for >= most) {
                tracing::info!("nothing to do for as long as SIGNET_EXIT_WHEN_IDLE says");
                return Instant::now();
            }
            let wait = self.settings.exit_when_idle.map_or(wait, |most| wait.min(most.saturating_sub(idle_for)));
            tokio::select! {
                () = signals.next() => return Instant::now(),
                () = sleep(wait) => {}
            }
        }
    }

    /// Receives; when a signal came, if one did. What was asked for is waited for nevertheless: messages that nobody takes
    /// would be hidden for a whole lease.
    async fn receive(
        &self,
        most: usize,
        signals: &mut Signals,
    ) -> (Result<Vec<(Leased, Delivery)>, Failure>, Option<Instant>) {
        let mut received = pin!(self.queue.receive(most, self.settings.lease));
        tokio::select! {
            received = &mut received => (received, None),
            () = signals.next() => {
                let told = Instant::now();
                let received = timeout(LAST_ANSWER, received).await;
                (received.unwrap_or_else(|_elapsed| Ok(Vec::new())), Some(told))
            }
        }
    }

    /// Gives a message back that nobody has begun with.
    async fn give_back(self: Arc<Self>, mut leased: Leased) {
        self.settle(&mut leased, Ending::Release(Duration::ZERO)).await;
    }

    /// Has what is in flight end: by itself for a while, then by being handed back.
    async fn drain(&self, mut in_flight: JoinSet<()>, told: Instant, signals: &mut Signals) {
        let count = in_flight.len();
        tracing::info!(in_flight = count, "ending: nothing more is received");
        tokio::select! {
            () = async { while in_flight.join_next().await.is_some() {} } => {}
            () = sleep(self.settings.drain.saturating_sub(told.elapsed())) => {}
            () = signals.next() => {}
        }
        let unfinished = in_flight.len();
        self.is_over.send_replace(true);
        let rest = async { while in_flight.join_next().await.is_some() {} };
        // The last batch may have taken its time of that, beyond the time to drain.
        let late = told.elapsed().saturating_sub(self.settings.drain);
        let _ = timeout(LAST_ANSWER.saturating_sub(late).max(SHORTEST_REST), rest).await;
        // What is left then, its lease ends.
        let (handed_back, left) = (unfinished.saturating_sub(in_flight.len()), in_flight.len());
        tracing::info!(in_flight = count, handed_back, left, "ended");
    }

    /// One delivery of one message, from its lease to its end.
    async fn work_on(self: Arc<Self>, mut leased: Leased, delivery: Delivery) {
        let _in_flight = self.health.begun();
        let begun = Instant::now();
        let app = &self.app;
        let deadline = begun.checked_add(app.settings.deadline).unwrap_or(begun);
        let is_too_often = delivery.dequeue_count > self.settings.attempts;
        let function = if is_too_often { "poison" } else { "sign" };
        let trail = Arc::new(Trail::new(begun, deadline, app.telemetry.item(function, &HeaderMap::new())));
        let about = About::new(function, "", &delivery);
        let count = delivery.dequeue_count;
        let (app, invocation_id, trails) = (Arc::clone(app), String::new(), Arc::clone(&trail));
        let most = self.settings.attempts;
        // Boxed: this future lives as long as the item, beside the one that renews its lease.
        let work = Box::pin(async move {
            if is_too_often {
                let why = format!("it was delivered {most} times, as often as SIGNET_ATTEMPTS allows");
                pipeline::give_up(app, delivery, invocation_id, trails, &why).await
            } else {
                pipeline::sign(app, delivery, invocation_id, trails).await
            }
        });
        let fate = self.while_leased(&mut leased, &trail, work).await;
        delivery::conclude(&self.app, &about, &trail, &fate);
        self.health.ended(&fate);
        match &fate {
            Fate::Done { .. } | Fate::Rejected { .. } | Fate::Ignored => {
                fault::point("delete.before");
                self.settle(&mut leased, Ending::Delete).await;
                fault::point("delete.after");
            }
            Fate::HandedBack(setback) => {
                fault::point("release.before");
                let is_over = *self.is_over.borrow();
                let time = if is_over { Duration::ZERO } else { delay(count) };
                // What went to the service a moment ago must not arrive when the next delivery has rejected the message, or
                // given it up.
                let is_late = count >= most || matches!(setback.stage, Stage::Publish | Stage::Reject);
                let time = if is_late { time.max(GRACE) } else { time };
                self.settle(&mut leased, Ending::Release(time)).await;
                fault::point("release.after");
            }
        }
    }

    /// Works on an item for as long as its message is ours, and sees to it that it stays so.
    async fn while_leased(
        &self,
        leased: &mut Leased,
        trail: &Trail,
        mut work: impl Future<Output = Fate> + Unpin,
    ) -> Fate {
        let mut is_over = self.is_over.subscribe();
        let mut over = pin!(async move { while !*is_over.borrow_and_update() && is_over.changed().await.is_ok() {} });
        let half = self.settings.lease.mul_f32(0.5);
        let mut due = leased.until.instant.checked_sub(half);
        let mut failures = 0_u32;
        loop {
            trail.hold(leased.until.sooner(GRACE));
            let renewal = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                fate = &mut work => return fate,
                () = &mut over => return handed_back(trail),
                () = renewal => {}
            }
            let (fate, renewed) = self.renew(leased, &mut work).await;
            if let Some(fate) = fate {
                return fate;
            }
            due = match renewed {
                Ok(()) => {
                    failures = 0;
                    leased.until.instant.checked_sub(half)
                }
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    let (message_id, error) = (&leased.id, &failure.message);
                    tracing::warn!(message_id, failures, error, "a lease could not be renewed");
                    let next =
                        Instant::now().checked_add(backoff(failures)).filter(|next| *next < leased.until.instant);
                    next.filter(|_| !is_lost(&failure))
                }
            };
        }
    }

    /// Renews a lease beside the work; what became of that, if it ended meanwhile. A renewal that was begun is seen to its end,
    /// since it alone tells the new receipt.
    async fn renew(
        &self,
        leased: &mut Leased,
        work: &mut (impl Future<Output = Fate> + Unpin),
    ) -> (Option<Fate>, Result<(), Failure>) {
        fault::point("renew.before");
        let mut fate = None;
        // In time for another try, should there be no answer.
        let left = leased.until.instant.saturating_duration_since(Instant::now()).saturating_sub(GRACE);
        let patience = left.mul_f32(0.5).clamp(SHORTEST_PATIENCE, PATIENCE);
        let mut renewal = pin!(self.queue.hide(leased, self.settings.lease, patience));
        loop {
            tokio::select! {
                ended = &mut *work, if fate.is_none() => fate = Some(ended),
                renewed = &mut renewal => {
                    fault::point("renew.after");
                    return (fate, renewed);
                }
            }
        }
    }

    /// Ends the lease of a message. Should that fail, it comes again, and is found to be done if it is.
    async fn settle(&self, leased: &mut Leased, ending: Ending) {
        let mut failures = 0_u32;
        loop {
            let ended = match ending {
                Ending::Delete => self.queue.delete(leased).await,
                Ending::Release(time) => self.queue.hide(leased, time, PATIENCE).await,
            };
            let Err(failure) = ended else { return };
            failures = failures.saturating_add(1);
            let wait = backoff(failures);
            let is_hopeless = is_lost(&failure) || !(failure.transient || failure.refuses_token());
            let is_late = leased.until.instant.saturating_duration_since(Instant::now()) < wait;
            if is_hopeless || is_late {
                let (message_id, error) = (&leased.id, &failure.message);
                tracing::warn!(
                    message_id,
                    ?ending,
                    error,
                    "the end of a lease could not be told; the message comes again"
                );
                return;
            }
            sleep(wait).await;
        }
    }
}

/// How a lease ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// Its message is done with.
    Delete,
    /// It is to be visible to others after such a time.
    Release(Duration),
}

fn handed_back(trail: &Trail) -> Fate {
    let (stage, _) = trail.end();
    let message = "the process ends".to_owned();
    Fate::HandedBack(Setback { stage, code: "drain".to_owned(), message })
}

/// So much room is waited for, so that a queue that is full is received in batches and not message by message.
fn room_for(concurrency: usize) -> usize {
    (concurrency / 4).clamp(1, 16)
}

/// How long a message is hidden after so many deliveries in vain: 5 s doubled by each up to 10 min, less a random half, so that
/// those that failed together do not return together.
fn delay(deliveries: u32) -> Duration {
    jittered(5_000, 600_000, deliveries)
}

/// Pauses between looks at an empty queue: a tenth of a second, doubled by each up to the longest.
struct Pause {
    looks: u32,
    longest_ms: u64,
}

impl Pause {
    fn new(longest: Duration) -> Self {
        Self { looks: 0, longest_ms: u64::try_from(longest.as_millis()).unwrap_or(u64::MAX) }
    }

    fn reset(&mut self) {
        self.looks = 0;
    }

    fn next(&mut self) -> Duration {
        self.looks = self.looks.saturating_add(1);
        jittered(100, self.longest_ms, self.looks)
    }
}

/// For an upload that had left when its item ended, and for the clocks of two machines, which do not run alike.
const GRACE: Duration = Duration::from_secs(5);
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);
/// However long a queue asks to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// At the end, for what was asked already.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// For handing back what is in flight, in any case.
const SHORTEST_REST: Duration = Duration::from_secs(3);
