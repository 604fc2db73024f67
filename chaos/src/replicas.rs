//! A replica of `handler pull`, and how it ends: told to, it must end well, in its time, and give back what it has.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use signet::local::{
    puller::Puller,
    receipts::{Done, Receipts},
};
use tokio::{sync::watch, time::sleep};

use crate::{
    error::{Context as _, Result},
    story::Stories,
    workers::Start,
};

/// Seconds that what is in flight has after SIGTERM: less than an item may take, so that some is handed back.
pub const DRAIN: u64 = 4;
/// What the handler waits for after that: answers to what it has asked already. (It has no telemetry to send here.)
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// For a machine that is busy.
const SLACK: Duration = Duration::from_secs(3);
/// The longest that what is handed back at an end is hidden: its last delivery may have an upload under way.
const AT_ONCE: Duration = Duration::from_secs(5);
/// What is counted of those that have.
pub const AS_TOLD: &str = "replicas that ended as told";
/// One that ends sooner is started again only after a while.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// No such key, which is for an operator to mend: the run takes the key away now and then.
const UNAVAILABLE: i32 = 69;

/// How replicas have ended. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Endings(Arc<Mutex<Vec<String>>>);

impl Endings {
    fn add(&self, why: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(why);
    }

    /// Those that were not as they must be, since this was asked last.
    #[must_use]
    pub fn bad(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One process.
#[derive(Debug)]
pub struct Replica {
    state: Arc<Mutex<State>>,
    kill: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
}

#[derive(Debug)]
struct State {
    pid: Option<u32>,
    told: Option<Told>,
    /// How long it has stood still.
    still: Duration,
    is_killed: bool,
}

/// That it was told to end.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    /// What the queue had done by then.
    changes: usize,
}

/// What its end is judged by.
struct Judge {
    name: &'static str,
    stories: Stories,
    receipts: Receipts,
    endings: Endings,
}

impl Replica {
    /// Starts it.
    pub fn start(start: &Start, name: &'static str) -> Result<Self> {
        let events = start.stories.events(name);
        let handler = start.app_root.join("bin/handler");
        let mut puller = Puller::start_telling(&handler, &start.settings, events).context("a replica")?;
        let state =
            Arc::new(Mutex::new(State { pid: puller.pid(), told: None, still: Duration::ZERO, is_killed: false }));
        let (kill, mut killed) = watch::channel(false);
        let (is_stopped, stopped) = watch::channel(false);
        let judge = Judge {
            name,
            stories: start.stories.clone(),
            receipts: start.deployment.receipts().clone(),
            endings: start.endings.clone(),
        };
        let begun = Instant::now();
        let kept = Arc::clone(&state);
        tokio::spawn(async move {
            let ended = tokio::select! {
                status = puller.ended() => Some(status),
                // Dropped, it is to end as well.
                _ = killed.wait_for(|killed| *killed) => None,
            };
            let took = begun.elapsed();
            let (status, is_killed) = if let Some(status) = ended {
                (status, false)
            } else {
                let _ = puller.kill().await;
                (puller.ended().await, true)
            };
            let (told, still, is_killed) = {
                let mut state = locked(&kept);
                state.pid = None;
                (state.told, state.still, state.is_killed || is_killed)
            };
            if !is_killed && let Ok(status) = status {
                judge.judge(status.code(), (told, still), &puller.log());
            }
            sleep(SHORT_LIFE.saturating_sub(took)).await;
            is_stopped.send_replace(true);
        });
        Ok(Self { state, kill, stopped })
    }

    /// Returns once its process has ended.
    pub async fn stopped(&self) {
        let _ = self.stopped.clone().wait_for(|stopped| *stopped).await;
    }

    /// Ends it without a chance to do anything about it.
    pub fn kill(&self) {
        locked(&self.state).is_killed = true;
        self.kill.send_replace(true);
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        locked(&self.state).pid
    }

    /// It is told to end a moment later, and judged by that.
    pub fn expect_end(&self, receipts: &Receipts) {
        let told = Told { at: Instant::now(), changes: receipts.len() };
        locked(&self.state).told.get_or_insert(told);
    }

    /// It stands still for so long, and can do nothing about that.
    pub fn stood_still(&self, time: Duration) {
        locked(&self.state).still += time;
    }
}

impl Judge {
    /// An end that nobody has forced.
    fn judge(&self, code: Option<i32>, (told, still): (Option<Told>, Duration), log: &[String]) {
        let bad = |why: String| self.endings.add(format!("replica {}: {why}", self.name));
        if let Some(panic) = log.iter().find(|line| line.contains("panicked at")) {
            bad(panic.clone());
        }
        if log.iter().any(|line| line.starts_with("fault point ")) {
            return;
        }
        let last = || log.iter().rev().take(3).rev().cloned().collect::<Vec<_>>().join(" | ");
        let Some(told) = told else {
            match code {
                Some(UNAVAILABLE) => self.stories.count("replicas that found no key"),
                code => bad(format!("it ended by itself with {code:?}: {}", last())),
            }
            return;
        };
        // Before it listens to signals, one ends it as it would any process.
        if !log.iter().any(|line| line.contains("starting")) || code == Some(UNAVAILABLE) {
            return;
        }
        self.stories.count(AS_TOLD);
        if code != Some(0) {
            bad(format!("told to end, it ended with {code:?}: {}", last()));
        }
        let took = told.at.elapsed();
        if took > Duration::from_secs(DRAIN) + LAST_ANSWER + SLACK + still {
            bad(format!("told to end, it took {took:.1?}: {}", last()));
        }
        self.judge_leases(told, log, &bad);
    }

    /// What was handed back is visible at once, unless the queue would not be told.
    fn judge_leases(&self, told: Told, log: &[String], bad: &dyn Fn(String)) {
        let untold: HashSet<&str> =
            log.iter().filter(|line| line.contains("could not be told")).filter_map(|line| message_id(line)).collect();
        let visible: HashSet<String> = (self.receipts.since(told.changes).into_iter())
            .filter(|change| matches!(change.done, Done::Hidden(time) if time <= AT_ONCE))
            .map(|change| change.message_id)
            .collect();
        // The queue had not answered when the time was over.
        let ended = log.iter().find(|line| line.contains(" ended in_flight="));
        let left = ended.and_then(|line| line.split(" left=").nth(1)?.split(' ').next()?.parse().ok());
        let mut left: usize = left.unwrap_or_default();
        let handed_back = log.iter().filter(|line| line.contains(" handed back ") && line.contains("code=drain"));
        for message_id in handed_back.filter_map(|line| message_id(line)) {
            if visible.contains(message_id) {
                self.stories.count("leases given back at an end");
            } else if untold.contains(message_id) || left > 0 {
                left -= usize::from(!untold.contains(message_id));
                self.stories.count("leases that the queue would not take back");
            } else {
                bad(format!("{message_id} was handed back, and is hidden"));
            }
        }
    }
}

/// The message that a line of the log names.
pub(crate) fn message_id(line: &str) -> Option<&str> {
    line.split(' ').find_map(|word| word.strip_prefix("message_id=")).map(|id| id.trim_matches('"'))
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
