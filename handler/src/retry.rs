//! Patience within an item's deadline: what time can mend is tried again, and the item is handed back before the host
//! would lose patience with all of them.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    time::Duration,
};

use signet_azure::{failure::Failure, identity::Credential};

use crate::trail::Trail;

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
        let failure = match trail.within(call()).await {
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
    jittered(200, 10_000, failures)
}

/// So many milliseconds, doubled by each time but the first, up to the longest; less a random half.
pub(crate) fn jittered(first_ms: u64, longest_ms: u64, times: u32) -> Duration {
    let doubled = 2_u64.saturating_pow(times.saturating_sub(1));
    let half = doubled.saturating_mul(first_ms).min(longest_ms) / 2;
    // Each hasher of the standard library has keys of its own, which is all the chance that is needed here.
    let chance = RandomState::new().build_hasher().finish();
    Duration::from_millis(half.saturating_add(half.saturating_mul(chance % 1000) / 1000))
}

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
