//! One queue in memory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use signet::local::host::Message;
use tokio::time::{Instant, sleep};

use crate::load::work_item;

/// Between two looks at how many messages are due.
const FEEDING_INTERVAL: Duration = Duration::from_millis(5);

/// Messages that are visible or hidden, under receipts as Queue Storage gives them.
#[derive(Debug, Default)]
pub struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By the time from which they are visible, then by the order in which they came there.
    messages: BTreeMap<Place, Message>,
    /// Where each of them is, by its id.
    places: HashMap<String, Place>,
    moves: u64,
    tally: Tally,
}

type Place = (Instant, u64);

/// What was asked of a queue, and what became of its messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// How often messages were asked for.
    pub looks: u64,
    /// When messages were given out last.
    pub last_received: Option<Instant>,
    /// How often a message was hidden for longer, or given back.
    pub hidden: u64,
    /// How many were deleted.
    pub deleted: u64,
    /// How often those were dequeued, together.
    pub dequeues: u64,
    /// How often the one that was dequeued most often was.
    pub most_dequeues: i64,
}

/// Why a request about one message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such message.
    NotFound,
    /// It was received or hidden since, under another receipt.
    OtherReceipt,
}

impl Queue {
    /// Adds a message that is visible at once.
    pub fn put(&self, text: String) {
        self.state().put(text);
    }

    /// Takes the messages that are visible, so many at most, and hides them for so long.
    pub fn receive(&self, most: usize, time: Duration) -> Vec<Message> {
        let now = Instant::now();
        let mut state = self.state();
        state.tally.looks += 1;
        let mut batch = Vec::with_capacity(most);
        while batch.len() < most
            && let Some(first) = state.messages.first_entry().filter(|first| first.key().0 <= now)
        {
            let mut message = first.remove();
            message.dequeue_count += 1;
            batch.push(state.place(message, now + time).clone());
        }
        if !batch.is_empty() {
            state.tally.last_received = Some(now);
        }
        batch
    }

    /// Hides a message for so long from now on; it is as it stands then, under its new receipt.
    pub fn hide(&self, id: &str, receipt: &str, time: Duration) -> Result<Message, Refused> {
        let mut state = self.state();
        let message = state.take(id, receipt)?;
        state.tally.hidden += 1;
        Ok(state.place(message, Instant::now() + time).clone())
    }

    /// Deletes a message that is done with.
    pub fn delete(&self, id: &str, receipt: &str) -> Result<(), Refused> {
        let mut state = self.state();
        let message = state.take(id, receipt)?;
        let tally = &mut state.tally;
        tally.deleted += 1;
        tally.dequeues += u64::try_from(message.dequeue_count).unwrap_or_default();
        tally.most_dequeues = tally.most_dequeues.max(message.dequeue_count);
        Ok(())
    }

    /// Takes a message away that is not done with.
    pub fn remove(&self, id: &str, receipt: &str) -> Result<Message, Refused> {
        self.state().take(id, receipt)
    }

    /// How many are on it, hidden ones among them.
    pub fn count(&self) -> usize {
        self.state().messages.len()
    }

    /// What has happened so far.
    pub fn tally(&self) -> Tally {
        self.state().tally
    }

    /// Puts so many work items on it in a second, for ever, whatever becomes of them.
    pub async fn feed(self: Arc<Self>, per_second: u32) {
        let (begun, mut sent) = (Instant::now(), 0);
        loop {
            let due = begun.elapsed().as_micros() * u128::from(per_second) / 1_000_000;
            {
                let mut state = self.state();
                while sent < due {
                    state.put(work_item());
                    sent += 1;
                }
            }
            sleep(FEEDING_INTERVAL).await;
        }
    }

    /// Has so many work items on it at any time, hidden ones among them, for ever.
    pub async fn refill(self: Arc<Self>, count: usize) {
        loop {
            {
                let mut state = self.state();
                while state.messages.len() < count {
                    state.put(work_item());
                }
            }
            sleep(FEEDING_INTERVAL).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, text: String) {
        self.place(Message { dequeue_count: 0, ..Message::new(text) }, Instant::now());
    }

    /// Puts a message where it belongs, under a new receipt.
    fn place(&mut self, mut message: Message, visible: Instant) -> &Message {
        self.moves += 1;
        let place = (visible, self.moves);
        message.pop_receipt = format!("{:016x}", self.moves);
        self.places.insert(message.id.clone(), place);
        self.messages.entry(place).or_insert(message)
    }

    fn take(&mut self, id: &str, receipt: &str) -> Result<Message, Refused> {
        let place = *self.places.get(id).ok_or(Refused::NotFound)?;
        if self.messages.get(&place).is_none_or(|message| message.pop_receipt != receipt) {
            return Err(Refused::OtherReceipt);
        }
        self.places.remove(id);
        self.messages.remove(&place).ok_or(Refused::NotFound)
    }
}
