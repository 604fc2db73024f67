//! A queue in memory, and what the Functions host's queue trigger does with it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper::StatusCode;
use signet::local::host::{Message, config::QueuesConfig};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::load::{Connection, work_item};

/// How long one message may take: `functionTimeout` in `host.json`.
const PATIENCE: Duration = Duration::from_mins(5);
/// The host's shortest wait before it looks into an empty queue again.
const POLLING_INTERVAL: Duration = Duration::from_millis(100);
/// Between two looks at how many messages are due.
const FEEDING_INTERVAL: Duration = Duration::from_millis(5);

/// A queue that several instances of an app read.
#[derive(Debug)]
pub(super) struct Queue {
    config: QueuesConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the time from which they are visible, then by their arrival there.
    messages: BTreeMap<(Instant, u64), Message>,
    arrivals: u64,
    settled: Settled,
}

/// What became of the messages that were taken from the queue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settled {
    /// How many the handlers have done.
    pub(super) done: u64,
    /// How often those were dequeued, together.
    pub(super) dequeues: u64,
    /// How often the one that was dequeued most often was.
    pub(super) most_dequeues: i64,
    /// How often a message became visible again.
    pub(super) returned: u64,
    /// How many went to the poison queue.
    pub(super) poisoned: u64,
}

impl Queue {
    pub(super) fn new(config: QueuesConfig) -> Self {
        Self { config, state: Mutex::default() }
    }

    /// Puts so many messages on it in a second, for ever, whatever becomes of them.
    pub(super) async fn feed(self: Arc<Self>, per_second: u32) {
        let (begun, mut sent) = (Instant::now(), 0);
        loop {
            let due = begun.elapsed().as_micros() * u128::from(per_second) / 1_000_000;
            {
                let mut state = self.state();
                while sent < due {
                    state.add(Message { dequeue_count: 0, ..Message::new(work_item()) }, Instant::now());
                    sent += 1;
                }
            }
            sleep(FEEDING_INTERVAL).await;
        }
    }

    /// What has become of those that were taken so far.
    pub(super) fn settled(&self) -> Settled {
        self.state().settled
    }

    /// How many are on it, hidden ones among them; not those that handlers have.
    pub(super) fn len(&self) -> usize {
        self.state().messages.len()
    }

    /// Reads the queue for one instance, whose handler listens on this port: batch after batch, as long as no more than
    /// `newBatchThreshold` are in flight.
    pub(super) async fn listen(self: Arc<Self>, port: u16) {
        let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
        let mut in_flight = JoinSet::new();
        loop {
            while in_flight.try_join_next().is_some() {}
            while in_flight.len() > self.config.new_batch_threshold {
                in_flight.join_next().await;
            }
            let batch = self.receive();
            if batch.is_empty() {
                sleep(POLLING_INTERVAL).await;
            }
            for message in batch {
                let (queue, idle) = (Arc::clone(&self), Arc::clone(&idle));
                in_flight.spawn(async move {
                    let is_done = deliver(&message, port, &idle).await;
                    queue.settle(message, is_done);
                });
            }
        }
    }

    fn receive(&self) -> Vec<Message> {
        let now = Instant::now();
        let mut state = self.state();
        let mut batch = Vec::with_capacity(self.config.batch_size);
        while batch.len() < self.config.batch_size
            && let Some(first) = state.messages.first_entry().filter(|first| first.key().0 <= now)
        {
            let mut message = first.remove();
            message.dequeue_count += 1;
            batch.push(message);
        }
        batch
    }

    fn settle(&self, message: Message, is_done: bool) {
        let mut state = self.state();
        if is_done {
            state.settled.done += 1;
            state.settled.dequeues += u64::try_from(message.dequeue_count).unwrap_or_default();
            state.settled.most_dequeues = state.settled.most_dequeues.max(message.dequeue_count);
        } else if message.dequeue_count >= self.config.max_dequeue_count {
            state.settled.poisoned += 1;
        } else {
            state.settled.returned += 1;
            state.add(message, Instant::now() + self.config.visibility_timeout);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, message: Message, visible: Instant) {
        self.arrivals += 1;
        self.messages.insert((visible, self.arrivals), message);
    }
}

/// Whether the handler has answered 200.
async fn deliver(message: &Message, port: u16, idle: &Mutex<Vec<Connection>>) -> bool {
    let known = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut connection = match known {
        Some(connection) => connection,
        None => match Connection::open(port).await {
            Ok(connection) => connection,
            Err(_) => return false,
        },
    };
    match connection.deliver(message, PATIENCE).await {
        Ok((status, _)) => {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            status == StatusCode::OK
        }
        Err(_) => false,
    }
}
