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
use signet_core::envelope::Delivery;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

pub(crate) use self::signals::Signals;
use self::{
    health::Health,
    queue::{Leased, Queue, is_lost},
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
    let pulled = async {
        let mut in_flight = JoinSet::new();
        puller.pull(&mut in_flight, &mut signals).await;
        puller.health.is_draining.store(true, Ordering::Relaxed);
        puller.drain(in_flight, &mut signals).await;
    };
    tokio::select! {
        () = pulled => {}
        () = health::serve(listener, Arc::clone(&puller.health)) => {}
    }
    puller.app.telemetry.flush().await;
    Ok(())
}

impl Puller {
    /// Receives batch after batch until there is a signal, or nothing to do for long enough.
    async fn pull(self: &Arc<Self>, in_flight: &mut JoinSet<()>, signals: &mut Signals) {
        let concurrency = self.app.settings.concurrency;
        let mut pause = Pause::new(self.settings.poll);
        let mut idle_since = Instant::now();
        let mut failures = 0_u32;
        // After an answer that could not be read: so that one bad message does not hide the others for ever.
        let mut one_at_a_time = false;
        loop {
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
                () = signals.next() => return,
                () = has_room => {}
            }
            let most = if one_at_a_time { 1 } else { concurrency.saturating_sub(in_flight.len()) };
            let (received, is_told) = self.receive(most, signals).await;
            self.health.received(received.as_ref().map(Vec::len));
            let wait = match received {
                Ok(messages) => {
                    (failures, one_at_a_time) = (0, one_at_a_time && messages.is_empty());
                    if is_told {
                        for (leased, _) in messages {
                            in_flight.spawn(Arc::clone(self).hand_back(leased));
                        }
                        return;
                    }
                    if messages.is_empty() {
                        pause.next()
                    } else {
                        pause.reset();
                        for (leased, delivery) in messages {
                            in_flight.spawn(Arc::clone(self).work_on(leased, delivery));
                        }
                        Duration::ZERO
                    }
                }
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    one_at_a_time |= failure.status.is_none() && !failure.transient;
                    let (queue, error) = (&self.app.settings.queue, &failure.message);
                    tracing::warn!(queue, failures, error, "the queue cannot be read");
                    backoff(failures).max(failure.retry_after.unwrap_or_default())
                }
            };
            if is_told {
                return;
            }
            if !in_flight.is_empty() {
                idle_since = Instant::now();
            }
            if self.settings.exit_when_idle.is_some_and(|most| idle_since.elapsed() >= most) {
                tracing::info!("nothing to do for as long as SIGNET_EXIT_WHEN_IDLE says");
                return;
            }
            tokio::select! {
                () = signals.next() => return,
                () = sleep(wait) => {}
            }
        }
    }

    /// Receives; whether a signal came meanwhile. What was asked for is waited for nevertheless: messages that nobody takes
    /// would be hidden for a whole lease.
    async fn receive(&self, most: usize, signals: &mut Signals) -> (Result<Vec<(Leased, Delivery)>, Failure>, bool) {
        let mut received = pin!(self.queue.receive(most, self.settings.lease));
        tokio::select! {
            received = &mut received => (received, false),
            () = signals.next() => {
                let received = timeout(LAST_ANSWER, received).await;
                (received.unwrap_or_else(|_elapsed| Ok(Vec::new())), true)
            }
        }
    }

    /// Gives a message back that nobody has begun with.
    async fn hand_back(self: Arc<Self>, mut leased: Leased) {
        self.settle(&mut leased, Ending::Release(Duration::ZERO)).await;
    }

    /// Has what is in flight end: by itself for a while, then by being handed back.
    async fn drain(&self, mut in_flight: JoinSet<()>, signals: &mut Signals) {
        let count = in_flight.len();
        tracing::info!(in_flight = count, "ending: nothing more is received");
        tokio::select! {
            () = async { while in_flight.join_next().await.is_some() {} } => {}
            () = sleep(self.settings.drain) => {}
            () = signals.next() => {}
        }
        let handed_back = in_flight.len();
        self.is_over.send_replace(true);
        let rest = async { while in_flight.join_next().await.is_some() {} };
        let _ = timeout(LAST_ANSWER, rest).await;
        // What the queue has not taken back by now comes again once its lease ends.
        let left = in_flight.len();
        tracing::info!(in_flight = count, handed_back = handed_back.saturating_sub(left), left, "ended");
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
            Fate::HandedBack(_) => {
                let wait = if *self.is_over.borrow() { Duration::ZERO } else { delay(count) };
                // What went to the service a moment ago must not arrive after somebody else has given the message up.
                let least = if count < most { Duration::ZERO } else { GRACE };
                fault::point("release.before");
                self.settle(&mut leased, Ending::Release(wait.max(least))).await;
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
        let half = self.settings.lease / 2;
        let mut due = leased.until.checked_sub(half);
        let mut failures = 0_u32;
        loop {
            trail.hold(leased.until.checked_sub(GRACE).unwrap_or(leased.until));
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
                    leased.until.checked_sub(half)
                }
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    let (message_id, error) = (&leased.id, &failure.message);
                    tracing::warn!(message_id, failures, error, "a lease could not be renewed");
                    let next = Instant::now().checked_add(backoff(failures)).filter(|next| *next < leased.until);
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
        let mut renewal = pin!(self.queue.hide(leased, self.settings.lease));
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
                Ending::Release(time) => self.queue.hide(leased, time).await,
            };
            let Err(failure) = ended else { return };
            failures = failures.saturating_add(1);
            let wait = backoff(failures);
            let is_hopeless = is_lost(&failure) || !(failure.transient || failure.refuses_token());
            let is_late = leased.until.saturating_duration_since(Instant::now()) < wait;
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
/// At the end, for what was asked already.
const LAST_ANSWER: Duration = Duration::from_secs(5);
