//! Keys are published before anything is signed with them: the key set in the results container, merged by `ETag`, so that
//! nobody's keys are lost, however many instances write at once.

use azure_core::{credentials::TokenCredential, http::Etag};
use signet_azure::{failure::Failure, identity::STORAGE_SCOPE};
use signet_core::{jwks::JwkSet, key::PublicKey};
use tokio::sync::Mutex;

use crate::{fault, results::Container, retry::pause};

/// The key set as it was last read or written; the lock is held while it is.
#[derive(Debug, Default)]
pub(crate) struct Publication(Mutex<Option<(JwkSet, Option<Etag>)>>);

impl Publication {
    /// Reads the key set if that has not been done, for the token and the connection that come with it.
    pub(crate) async fn load(&self, results: &Container, report: impl Fn(&Failure)) {
        let mut known = self.0.lock().await;
        if known.is_none() {
            *known = Some(read(results, &report).await);
        }
    }

    /// Which of these keys are not published. The key set is read anew: somebody may have taken ours away.
    pub(crate) async fn lacking<'a>(
        &self,
        kids: impl Iterator<Item = &'a str>,
        results: &Container,
        report: impl Fn(&Failure),
    ) -> Vec<String> {
        let mut known = self.0.lock().await;
        let (set, etag) = read(results, &report).await;
        let lacking = kids.filter(|kid| !set.contains(kid)).map(str::to_owned).collect();
        *known = Some((set, etag));
        lacking
    }

    /// Returns once all of these keys are published, for as long as that takes.
    pub(crate) async fn publish(&self, keys: &[(&str, &PublicKey)], results: &Container, report: impl Fn(&Failure)) {
        let mut known = self.0.lock().await;
        let mut failures = 0_u32;
        loop {
            let (mut set, etag) = match known.take() {
                Some(known) => known,
                None => read(results, &report).await,
            };
            if keys.iter().all(|(kid, _)| set.contains(kid)) {
                *known = Some((set, etag));
                return;
            }
            for (kid, public) in keys {
                set.add(kid, public);
            }
            let failure = match results.publish_key_set(&set, etag).await {
                Ok(etag) => {
                    *known = Some((set, etag));
                    return;
                }
                Err(error) => Failure::from(&error),
            };
            failures = failures.saturating_add(1);
            // Somebody else has published in between: their keys must not be lost, so all is read again. But a race is not
            // lost for ever.
            if !is_race(&failure) || failures > RACES {
                report(&failure);
                settle(results, &failure);
                pause("publication of a key", failures, &failure).await;
            }
        }
    }
}

async fn read(results: &Container, report: &impl Fn(&Failure)) -> (JwkSet, Option<Etag>) {
    let mut failures = 0_u32;
    loop {
        let attempt = async {
            results.credential().get_token(&[STORAGE_SCOPE], None).await?;
            results.key_set().await
        };
        let failure = match attempt.await {
            Ok(read) => {
                fault::point("keyset.read");
                return read;
            }
            Err(error) => Failure::from(&error),
        };
        failures = failures.saturating_add(1);
        report(&failure);
        settle(results, &failure);
        pause("key set", failures, &failure).await;
    }
}

/// The conditions of the upload did not hold; a lease or an immutability policy has codes of its own.
fn is_race(failure: &Failure) -> bool {
    matches!(failure.code.as_str(), "BlobAlreadyExists" | "ConditionNotMet" | "TargetConditionNotMet")
}

const RACES: u32 = 5;

/// A refused token is forgotten.
fn settle(results: &Container, failure: &Failure) {
    if failure.refuses_token() {
        results.credential().distrust();
    }
}
