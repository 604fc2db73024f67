//! What the Functions host's queue trigger does with a queue.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::StatusCode;
use signet::local::host::{Message, config::QueuesConfig};
use tokio::{task::JoinSet, time::sleep};

use crate::{load::Connection, services};

/// How long one message may take: `functionTimeout` in `host.json`.
const PATIENCE: Duration = Duration::from_mins(5);
/// The host's shortest wait before it looks into an empty queue again.
const POLLING_INTERVAL: Duration = Duration::from_millis(100);

/// A queue that several instances of an app read.
#[derive(Debug)]
pub(super) struct Queue {
    config: QueuesConfig,
    messages: Arc<services::Queue>,
    in_flight: AtomicUsize,
    poisoned: AtomicU64,
}

/// What became of the messages that were taken from the queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settled {
    /// How many became results.
    pub(crate) done: u64,
    /// How often those were dequeued, together.
    pub(crate) dequeues: u64,
    /// How often the one that was dequeued most often was.
    pub(crate) most_dequeues: i64,
    /// How often a message became visible again.
    pub(crate) returned: u64,
    /// How many went to the poison queue.
    pub(crate) poisoned: u64,
    /// How many are on the queue, hidden ones among them; not those that handlers have.
    pub(crate) waiting: usize,
}

impl Queue {
    pub(super) fn new(config: QueuesConfig, messages: Arc<services::Queue>) -> Self {
        Self { config, messages, in_flight: AtomicUsize::default(), poisoned: AtomicU64::default() }
    }

    /// What has become of those that were taken so far.
    pub(super) fn settled(&self) -> Settled {
        let tally = self.messages.tally();
        Settled {
            done: tally.deleted,
            dequeues: tally.dequeues,
            most_dequeues: tally.most_dequeues,
            returned: tally.hidden,
            poisoned: self.poisoned.load(Ordering::Relaxed),
            waiting: self.messages.count().saturating_sub(self.in_flight.load(Ordering::Relaxed)),
        }
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
                    queue.settle(&message, is_done);
                });
            }
        }
    }

    /// While handlers have them, nobody else sees them.
    fn receive(&self) -> Vec<Message> {
        let batch = self.messages.receive(self.config.batch_size, PATIENCE * 2);
        self.in_flight.fetch_add(batch.len(), Ordering::Relaxed);
        batch
    }

    fn settle(&self, message: &Message, is_done: bool) {
        let Message { id, pop_receipt, dequeue_count, .. } = message;
        let settled = if is_done {
            self.messages.delete(id, pop_receipt)
        } else if *dequeue_count >= self.config.max_dequeue_count {
            self.poisoned.fetch_add(1, Ordering::Relaxed);
            self.messages.remove(id, pop_receipt).map(drop)
        } else {
            self.messages.hide(id, pop_receipt, self.config.visibility_timeout).map(drop)
        };
        settled.expect("nobody else has received it");
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
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
