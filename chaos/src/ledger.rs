//! What was written so far, by the storage's own word, as far as it was looked at.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use signet::local::ledger::Ledger;

use crate::items::Message;

/// How often each result was written so far.
#[derive(Debug)]
pub struct Standing {
    ledger: Ledger,
    container: String,
    seen: Mutex<(usize, HashMap<String, usize>)>,
}

impl Standing {
    /// Of the results of a queue.
    #[must_use]
    pub fn new(ledger: &Ledger, queue: &str) -> Self {
        Self { ledger: ledger.clone(), container: format!("{queue}-signed"), seen: Mutex::default() }
    }

    /// Whether all results of a message stand.
    #[must_use]
    pub fn has_all(&self, message: &Message) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, written) = &mut *seen;
        for write in self.ledger.since(*known) {
            *known += 1;
            if write.container == self.container {
                *written.entry(write.blob).or_default() += 1;
            }
        }
        message.wanted().is_none_or(|wanted| wanted.names().all(|name| written.contains_key(&name)))
    }
}
