//! Patience within an item's deadline: what time can mend is tried again, and the item is handed back before the host
//! would lose patience with all of them.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use signet_azure::{failure::Failure, identity::Credential};
use signet_core::rejection::Stage;
use tokio::time::Instant;

/// How far an item has come, and what went wrong last: the answer to the host if its time runs out.
#[derive(Debug)]
pub(crate) struct Trail {
    deadline: Instant,
    latest: Mutex<(Stage, Option<Failure>)>,
}

impl Trail {
    pub(crate) fn new(deadline: Instant) -> Self {
        Self { deadline, latest: Mutex::new((Stage::Queue, None)) }
    }

    /// From now on.
    pub(crate) fn within(time: Duration) -> Self {
        let now = Instant::now();
        // Settings allow 240 seconds, which no clock overflows at.
        Self::new(now.checked_add(time).unwrap_or(now))
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether there is time for such a wait, and for something after it.
    pub(crate) fn allows(&self, wait: Duration) -> bool {
        self.deadline.saturating_duration_since(Instant::now()) > wait
    }

    /// The item has come to this stage; what went wrong before is overcome.
    pub(crate) fn enter(&self, stage: Stage) {
        *self.latest() = (stage, None);
    }

    pub(crate) fn note(&self, failure: &Failure) {
        self.latest().1 = Some(failure.clone());
    }

    /// The stage, and the last failure in it.
    pub(crate) fn end(&self) -> (Stage, Option<Failure>) {
        self.latest().clone()
    }

    fn latest(&self) -> MutexGuard<'_, (Stage, Option<Failure>)> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls until it succeeds, until the failure is one that seconds cannot mend, or until the next try would come too late.
/// A refused token is replaced once.
pub(crate) async fn until_deadline<T, F>(
    trail: &Trail,
    credential: &Credential,
    mut call: impl FnMut() -> F,
) -> Result<T, Failure>
where
    F: Future<Output = azure_core::Result<T>>,
{
    let mut failures = 0_u32;
    let mut token_replaced = false;
    loop {
        let failure = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => Failure::from(&error),
        };
        trail.note(&failure);
        let refused_token = failure.refuses_token() && !token_replaced;
        if refused_token {
            token_replaced = true;
            credential.distrust();
        } else if !failure.transient {
            return Err(failure);
        }
        failures = failures.saturating_add(1);
        let wait = backoff(failures).max(failure.retry_after.unwrap_or_default());
        if !trail.allows(wait) {
            return Err(failure);
        }
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(failures, wait_ms, error = failure.message, "trying again");
        tokio::time::sleep(wait).await;
    }
}

/// Waits behind the open port, after so many failures in a row: as long as the service asks, within reason.
pub(crate) async fn pause(what: &str, failures: u32, failure: &Failure) {
    let wait = backoff(failures).max(failure.retry_after.unwrap_or_default().min(LONGEST_PAUSE));
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(what, failures, wait_ms, error = failure.message, "not ready yet");
    tokio::time::sleep(wait).await;
}

const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// 200 ms doubled by each failure up to 10 s, less a random half, so that items that failed together do not return
/// together.
pub(crate) fn backoff(failures: u32) -> Duration {
    let doubled = 2_u64.saturating_pow(failures.saturating_sub(1));
    let half = doubled.saturating_mul(SHORTEST_BACKOFF_MS).min(LONGEST_BACKOFF_MS) / 2;
    // Each hasher of the standard library has keys of its own, which is all the chance that is needed here.
    let chance = RandomState::new().build_hasher().finish();
    Duration::from_millis(half.saturating_add(half.saturating_mul(chance % 1000) / 1000))
}

const SHORTEST_BACKOFF_MS: u64 = 200;
const LONGEST_BACKOFF_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_within_bounds() {
        for (failures, most_ms) in [(1, 200), (2, 400), (3, 800), (7, 10_000), (u32::MAX, 10_000)] {
            for _ in 0..50 {
                let wait = backoff(failures).as_millis();
                assert!((most_ms / 2..=most_ms).contains(&wait), "{failures}: {wait}");
            }
        }
    }
}
