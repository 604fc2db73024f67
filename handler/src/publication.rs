//! Keys are published before anything is signed with them: the key set in the results container, merged by `ETag`, so that
//! nobody's keys are lost, however many instances write at once.

use azure_core::{credentials::TokenCredential, http::Etag};
use signet_azure::{failure::Failure, identity::STORAGE_SCOPE};
use signet_core::{
    draft::SigningKey,
    jwks::{self, JwkSet},
    key::PublicKey,
};
use tokio::sync::Mutex;

use crate::{fault, results::Container, retry::pause};

/// The key set as it was last read or written; the lock is held while it is.
#[derive(Debug, Default)]
pub(crate) struct Publication(Mutex<Option<(JwkSet, Option<Etag>)>>);

impl Publication {
    /// Reads the key set if that has not been done, for the token and the connection that come with it, however long it takes.
    pub(crate) async fn load(&self, results: &Container, report: impl Fn(&Failure)) {
        let mut known = self.0.lock().await;
        let mut failures = 0_u32;
        while known.is_none() {
            match read(results).await {
                Ok(read) => *known = Some(read),
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    report(&failure);
                    pause("key set", failures, &failure).await;
                }
            }
        }
    }

    /// Which of these keys are not published, and whether the one that signs is published as it is. The key set is read anew: somebody
    /// may have taken ours away.
    ///
    /// # Errors
    /// It cannot be read now.
    pub(crate) async fn lacking<'a>(
        &self,
        kids: impl Iterator<Item = &'a str>,
        signing: Option<&SigningKey>,
        results: &Container,
    ) -> Result<Vec<String>, Failure> {
        let mut known = self.0.lock().await;
        *known = None;
        let (set, etag) = read(results).await?;
        if let Some(key) = signing {
            compare(&set, &key.kid, &key.public);
        }
        let lacking = kids.filter(|kid| !set.contains(kid)).map(str::to_owned).collect();
        *known = Some((set, etag));
        Ok(lacking)
    }

    /// Publishes all of these keys, unless they are.
    ///
    /// # Errors
    /// The key set cannot be read or written now.
    pub(crate) async fn publish(&self, keys: &[(&str, &PublicKey)], results: &Container) -> Result<(), Failure> {
        let mut known = self.0.lock().await;
        let mut races = 0_u32;
        loop {
            let (mut set, etag) = match known.take() {
                Some(known) => known,
                None => read(results).await?,
            };
            for (kid, public) in keys {
                compare(&set, kid, public);
            }
            if keys.iter().all(|(kid, _)| set.contains(kid)) {
                *known = Some((set, etag));
                return Ok(());
            }
            for (kid, public) in keys {
                set.add(kid, public);
            }
            let failure = match results.publish_key_set(&set, etag).await {
                Ok(etag) => {
                    *known = Some((set, etag));
                    return Ok(());
                }
                Err(error) => settled(results, &error),
            };
            // Somebody else has published in between: their keys must not be lost, so all is read again. But a race is not
            // lost for ever.
            races = races.saturating_add(1);
            if !is_race(&failure) || races > RACES {
                return Err(failure);
            }
        }
    }
}

async fn read(results: &Container) -> Result<(JwkSet, Option<Etag>), Failure> {
    let attempt = async {
        results.credential().get_token(&[STORAGE_SCOPE], None).await?;
        results.key_set().await
    };
    let read = attempt.await.map_err(|error| settled(results, &error));
    if read.is_ok() {
        fault::point("keyset.read");
    }
    read
}

/// Tells of another key under the name of one of ours. It stays: nothing that was published is ever replaced but by a person.
fn compare(set: &JwkSet, kid: &str, public: &PublicKey) {
    if set.publication(kid, public) == jwks::Publication::Contradicted {
        tracing::error!(
            kid,
            "the key set has another key under this name: what is signed does not verify with it; see `signet keys`"
        );
    }
}

/// The conditions of the upload did not hold; a lease or an immutability policy has codes of its own.
fn is_race(failure: &Failure) -> bool {
    matches!(failure.code.as_str(), "BlobAlreadyExists" | "ConditionNotMet" | "TargetConditionNotMet")
}

const RACES: u32 = 5;

/// What went wrong; a refused token is forgotten.
fn settled(results: &Container, error: &azure_core::Error) -> Failure {
    let failure = Failure::from(error);
    if failure.refuses_token() {
        results.credential().distrust();
    }
    failure
}
