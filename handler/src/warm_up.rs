//! Getting ready behind the open port: tokens, the key, its publication. Whoever comes sooner waits, and repeats nothing.

use std::{convert::Infallible, sync::Arc, time::Duration};

use azure_core::credentials::TokenCredential;
use signet_azure::{failure::Failure, identity::STORAGE_SCOPE};
use signet_core::{draft::SigningKey, key::PublicKey};
use tokio::sync::watch;

use crate::{
    EX_CONFIG, EX_UNAVAILABLE, Fatal,
    results::Container,
    retry::{Trail, backoff},
    settings::Settings,
    vault::{KeyVersion, Vault},
};

/// The key that items are signed with, once it is there.
#[derive(Debug)]
pub(crate) struct Readiness(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    key: Option<Arc<SigningKey>>,
    failure: Option<Failure>,
}

impl Readiness {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Waits for the key, for as long as the caller likes; the trail is told why it takes so long.
    pub(crate) async fn key(&self, trail: &Trail) -> Arc<SigningKey> {
        let mut changes = self.0.subscribe();
        loop {
            {
                let state = changes.borrow_and_update();
                if let Some(key) = &state.key {
                    return Arc::clone(key);
                }
                if let Some(failure) = &state.failure {
                    trail.note(failure);
                }
            }
            // The sender lives as long as `self`.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn set_key(&self, key: SigningKey) {
        self.0.send_replace(State { key: Some(Arc::new(key)), failure: None });
    }

    fn set_failure(&self, failure: Failure) {
        self.0.send_modify(|state| state.failure = Some(failure));
    }
}

/// Fetches what the first item needs, then waits for ever. What time may mend is tried again and again.
///
/// # Errors
/// What no waiting can mend: a key that does not exist, or that cannot do what it is asked for.
pub(crate) async fn warm_up(
    settings: &Settings,
    vault: &Vault,
    results: &Container,
    readiness: &Readiness,
) -> Result<Infallible, Fatal> {
    // The look-up brings the vault's token and connection with it; reading the key set brings storage's.
    let key_set = async {
        let read = async || {
            results.credential().get_token(&[STORAGE_SCOPE], None).await?;
            results.key_set().await
        };
        Ok(patiently("key set", results, readiness, read).await)
    };
    let (key, published) = tokio::try_join!(look_up(vault, readiness), key_set)?;
    let key = choose_algorithm(settings, key)?;
    publish(results, readiness, &key, published).await;
    tracing::info!(kid = key.kid, alg = key.algorithm.name(), key = key.public.kind(), "ready");
    readiness.set_key(key);
    std::future::pending().await
}

/// A key that was created a moment ago may not be found everywhere yet.
const LOOK_UPS_UNTIL_MISSING: u32 = 7;

async fn look_up(vault: &Vault, readiness: &Readiness) -> Result<KeyVersion, Fatal> {
    let mut missing = 0;
    let mut failures = 0;
    loop {
        let failure = match vault.look_up().await {
            Ok(key) => return Ok(key),
            Err(error) => Failure::from(&error),
        };
        if failure.is(404) {
            missing += 1;
            if missing == LOOK_UPS_UNTIL_MISSING {
                let cause = format!(
                    "SIGNET_KEY names a key that does not exist ({}); create it, or name another",
                    failure.code
                );
                return Err(Fatal { exit: EX_UNAVAILABLE, cause });
            }
        } else if failure.is(401) {
            vault.credential().distrust();
        }
        failures += 1;
        wait("key", failures, failure, readiness).await;
    }
}

fn choose_algorithm(settings: &Settings, key: KeyVersion) -> Result<SigningKey, Fatal> {
    let bad = |cause: String| Fatal { exit: EX_CONFIG, cause };
    let public: PublicKey =
        key.public.map_err(|why| bad(format!("SIGNET_KEY names a key that cannot sign here: it is {why}")))?;
    let algorithm = settings.algorithm.unwrap_or(public.default_algorithm());
    if !public.can(algorithm) {
        return Err(bad(format!(
            "SIGNET_ALGORITHM {algorithm} does not fit the key, which is {}; leave it out to use {}",
            public.kind(),
            public.default_algorithm()
        )));
    }
    Ok(SigningKey { kid: key.kid, algorithm, public })
}

/// Nothing is signed with a key that verifiers cannot find yet.
async fn publish(
    results: &Container,
    readiness: &Readiness,
    key: &SigningKey,
    mut published: (signet_core::jwks::JwkSet, Option<azure_core::http::Etag>),
) {
    let mut failures = 0;
    while !published.0.contains(&key.kid) {
        published.0.add(&key.kid, &key.public);
        let Err(error) = results.publish_key_set(&published.0, published.1).await else { return };
        let failure = Failure::from(&error);
        failures += 1;
        // Somebody else published in between: their keys must not be lost.
        if !failure.is(409) && !failure.is(412) {
            wait("publication of the key", failures, failure, readiness).await;
        }
        published = patiently("key set", results, readiness, async || results.key_set().await).await;
    }
}

async fn patiently<T>(
    what: &str,
    results: &Container,
    readiness: &Readiness,
    mut call: impl AsyncFnMut() -> azure_core::Result<T>,
) -> T {
    let mut failures = 0;
    loop {
        let failure = match call().await {
            Ok(value) => return value,
            Err(error) => Failure::from(&error),
        };
        if failure.is(401) {
            results.credential().distrust();
        }
        failures += 1;
        wait(what, failures, failure, readiness).await;
    }
}

async fn wait(what: &str, failures: u32, failure: Failure, readiness: &Readiness) {
    let wait = backoff(failures).max(failure.retry_after.unwrap_or_default().min(LONGEST_WAIT));
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(what, failures, wait_ms, error = failure.message, "not ready yet");
    readiness.set_failure(failure);
    tokio::time::sleep(wait).await;
}

const LONGEST_WAIT: Duration = Duration::from_mins(1);
