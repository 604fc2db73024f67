//! `handler pull` and its peers: workers that receive the messages themselves.
//!
//! [`busy`] keeps them busy, [`low`] has messages come seldom and, for some of them, not at all, [`goodput`] has several share a
//! vault at its limit.

mod busy;
mod goodput;
mod low;
mod report;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub use self::{
    busy::{Busy, Turn},
    goodput::measure as goodput,
    low::{Idle, LowLoad, measure as low_load},
    report::{Found, json, table},
};
use crate::{
    Error, Result,
    apps::{App, Contender},
    load::numbered_item,
    process::Process,
    services::{Queue, Services},
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often each contender is kept busy.
    pub rounds: usize,
    /// For how long.
    pub busy: Duration,
    /// Items before that, for each replica.
    pub warm_up: usize,
    /// Messages for each replica of those that get one now and then.
    pub seldom: usize,
    /// How many replicas of Signet get them, with each setting of the poll; of each peer, a sixth.
    pub replicas: usize,
    /// For how long idle replicas are watched.
    pub idle: Duration,
    /// How many replicas share a vault at its limit.
    pub sharing: &'static [usize],
    /// For how long, seconds.
    pub sharing_seconds: usize,
}

impl Plan {
    /// What numbers to be quoted take: five minutes and a half.
    #[must_use]
    pub const fn full() -> Self {
        Self {
            rounds: 3,
            busy: Duration::from_secs(3),
            warm_up: 400,
            seldom: 8,
            replicas: 26,
            idle: Duration::from_secs(90),
            sharing: &[1, 2, 4, 8],
            sharing_seconds: 30,
        }
    }

    /// A first impression.
    #[must_use]
    pub const fn quick() -> Self {
        Self {
            rounds: 1,
            busy: Duration::from_secs(2),
            warm_up: 200,
            seldom: 2,
            replicas: 12,
            idle: Duration::from_secs(15),
            sharing: &[4],
            sharing_seconds: 20,
        }
    }
}

/// Settings for workers on a queue of their own.
fn on_a_new_queue(services: &Services, contender: Contender) -> (BTreeMap<String, String>, Arc<Queue>) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("work-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let queue = services.queue(&name);
    let mut settings = services.settings(contender.knows_localhost_names());
    settings.insert("SIGNET_QUEUE".to_owned(), name);
    (settings, queue)
}

/// Starts a worker whose queue has one message; how long it was until that had its result.
async fn first_result(
    app: &App,
    services: &Services,
    settings: &BTreeMap<String, String>,
    queue: &Queue,
) -> Result<(Process, Duration)> {
    let (id, item) = numbered_item();
    queue.put(item);
    let mut process = Process::launch(app, settings, None)?;
    loop {
        if let Some(written) = services.written(&id) {
            let begun = process.begun;
            return Ok((process, written.duration_since(begun)));
        }
        process.still_within(LONGEST_START)?;
        tokio::time::sleep(GLANCE).await;
    }
}

/// Waits for the result of an item; when it was created.
async fn result_of(id: &str, services: &Services) -> Result<Instant> {
    let patience = Instant::now() + LONGEST_WAIT;
    loop {
        if let Some(written) = services.written(id) {
            return Ok(written);
        }
        if Instant::now() > patience {
            return Err(Error::new(id, "it has no result"));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

const LONGEST_START: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Between two looks at whether a result is there, whose time is its own.
const GLANCE: Duration = Duration::from_millis(10);
