//! The keeper of a vault: warms up, publishes every enabled version, and follows the key through its rotations.

use std::{convert::Infallible, sync::Arc, time::Duration};

use azure_core::time::OffsetDateTime;
use futures::future::try_join_all;
use signet_azure::failure::Failure;
use signet_core::{draft::SigningKey, key::PublicKey};
use tokio::time::Instant;

use super::{Keys, Seat, Surroundings, Usable};
use crate::{
    EX_CONFIG, EX_UNAVAILABLE, Fatal,
    retry::{backoff, pause},
    settings::Settings,
    vault::{KeyVersion, Life, Listed},
};

impl Keys {
    /// Warms up, then follows every key through its rotations.
    ///
    /// # Errors
    /// What no waiting can mend: no key exists, or one cannot do what it is asked for.
    pub(crate) async fn keep(&self, around: &Surroundings<'_>) -> Result<Infallible, Fatal> {
        try_join_all(self.seats.iter().map(|seat| self.keep_one(seat, around))).await?;
        std::future::pending().await
    }

    async fn keep_one(&self, seat: &Seat, around: &Surroundings<'_>) -> Result<Infallible, Fatal> {
        let report = |failure: &Failure| self.change(seat, |state| state.failure = Some(failure.clone()));
        // The look-up brings the vault's token and connection with it; reading the key set brings storage's.
        let load = async {
            around.publication.load(around.results, report).await;
            Ok(())
        };
        let ((key, life), ()) = tokio::try_join!(self.first_fitting(seat, around.settings), load)?;
        match self.publish_first(seat, &key, life, around).await {
            Ok(life) => {
                tracing::info!(kid = key.kid, alg = key.algorithm.name(), key = key.public.kind(), "ready");
                self.offer(seat, Arc::new(key), life);
            }
            Err(failure) => self.settle_without(seat, failure),
        }

        let mut wait = SHORTEST_REFRESH;
        let mut failures = 0_u32;
        loop {
            tokio::time::sleep(SHORTEST_REFRESH).await;
            tokio::select! {
                () = tokio::time::sleep(wait.saturating_sub(SHORTEST_REFRESH)) => {}
                () = seat.look.notified() => {}
            }
            let begun = Instant::now();
            match self.follow(seat, around).await {
                Ok(next) => {
                    failures = 0;
                    wait = next.min(around.settings.key_refresh);
                }
                Err(unseen) => {
                    failures = failures.saturating_add(1);
                    wait = backoff(failures).min(around.settings.key_refresh);
                    let (vault, error) = (seat.vault.host(), &unseen.failure().message);
                    match &unseen {
                        Unseen::Vault(failure) => {
                            if failure.refuses_token() {
                                seat.vault.credential().distrust();
                            }
                            tracing::warn!(vault, failures, error, "versions not seen");
                        }
                        Unseen::KeySet(_) => tracing::warn!(vault, failures, error, "the key set is not kept up"),
                    }
                }
            }
            self.change(seat, |state| state.looked = Some(begun));
            if seat.state().key.is_none() {
                // Nobody may ask for it: `handler pull` receives nothing meanwhile.
                wait = wait.min(REFRESH_WITHOUT_KEY);
            }
        }
    }

    /// Publishes the version to begin with, for as long as that takes, unless it is disabled; the life that it has then.
    ///
    /// # Errors
    /// It was disabled or deleted meanwhile.
    async fn publish_first(
        &self,
        seat: &Seat,
        key: &SigningKey,
        mut life: Life,
        around: &Surroundings<'_>,
    ) -> Result<Life, Failure> {
        let mut failures = 0_u32;
        while life.is_enabled() {
            let published = around.publication.publish(&[(&key.kid, &key.public)], around.results).await;
            let Err(failure) = published else { return Ok(life) };
            failures = failures.saturating_add(1);
            self.change(seat, |state| state.failure = Some(failure.clone()));
            pause("publication of a key", failures, &failure).await;
            // What was taken away for good in this time is not brought back.
            match seat.vault.get(&key.kid).await.map_err(|error| Failure::from(&error)) {
                Ok(version) => life = version.life,
                Err(failure) if failure.is(403) || failure.is(404) => return Err(failure),
                Err(_) => {}
            }
        }
        Ok(life)
    }

    /// The key to begin with: the newest version that does what is asked for, however long it takes to get it.
    async fn first_fitting(&self, seat: &Seat, settings: &Settings) -> Result<(SigningKey, Life), Fatal> {
        loop {
            let version = self.first(seat, settings).await?;
            let life = version.life;
            let cause = match fit(version, settings) {
                Ok(key) => return Ok((key, life)),
                Err(cause) => cause,
            };
            if !seat.vault.is_pinned()
                && let Some(older) = older_fitting(seat, settings).await
            {
                tracing::error!(vault = seat.vault.host(), cause, "the newest version is not used");
                return Ok(older);
            }
            self.give_up(seat, EX_CONFIG, cause)?;
            tokio::time::sleep(settings.key_refresh).await;
        }
    }

    /// Goes on with the other vaults, if there is hope for one of them.
    fn give_up(&self, seat: &Seat, exit: u8, cause: String) -> Result<(), Fatal> {
        self.change(seat, |state| state.is_hopeless = true);
        if self.seats.iter().all(|seat| seat.state().is_hopeless) {
            return Err(Fatal { exit, cause });
        }
        tracing::error!("{cause}; signing with the other vaults' keys meanwhile");
        Ok(())
    }

    /// The version to begin with, whatever it can do, however long it takes to get it.
    async fn first(&self, seat: &Seat, settings: &Settings) -> Result<KeyVersion, Fatal> {
        let mut missing = 0_u32;
        let mut failures = 0_u32;
        loop {
            let begun = Instant::now();
            let failure = match seat.vault.look_up().await {
                Ok(key) => return Ok(key),
                Err(error) => Failure::from(&error),
            };
            failures = failures.saturating_add(1);
            if failure.refuses_token() {
                seat.vault.credential().distrust();
            }
            // A vault that answers, and has nothing to sign with.
            let is_settled = failure.status.is_none() && !failure.transient;
            let told = failure.clone();
            self.change(seat, |state| {
                (state.failure, state.is_settled, state.looked) = (Some(told), is_settled, Some(begun));
            });
            // 400: what stands for the version is none.
            if failure.is(404) || failure.is(400) {
                missing = missing.saturating_add(1);
            }
            if missing == LOOK_UPS_UNTIL_MISSING {
                let cause = format!(
                    "SIGNET_KEY names a key, or a version of it, that does not exist in {} ({}); create it, or name another",
                    seat.vault.host(),
                    failure.code
                );
                self.give_up(seat, EX_UNAVAILABLE, cause)?;
            }
            if missing < LOOK_UPS_UNTIL_MISSING {
                tokio::select! {
                    () = pause("key", failures, &failure) => {}
                    () = seat.look.notified(), if is_settled => tokio::time::sleep(SHORTEST_REFRESH).await,
                }
            } else {
                tokio::time::sleep(settings.key_refresh).await;
            }
        }
    }

    /// Publishes every enabled version, then signs with the newest that can. How long nothing will change by itself.
    async fn follow(&self, seat: &Seat, around: &Surroundings<'_>) -> Result<Duration, Unseen> {
        let vault = &seat.vault;
        let now = OffsetDateTime::now_utc();
        if vault.is_pinned() {
            return self.follow_pinned(seat, around).await;
        }
        let versions = match vault.versions().await {
            Ok(versions) => versions,
            // Whoever may see the current version need not be allowed to list them all.
            Err(error) if Failure::from(&error).is(403) => {
                let KeyVersion { kid, life, .. } = vault.look_up().await?;
                vec![Listed { kid, life }]
            }
            Err(error) => return Err(error.into()),
        };
        let published = publish_enabled(seat, &versions, around).await;
        // What must not sign any more is left at once, whatever became of the key set.
        self.adopt(seat, &versions, around).await?;
        let published = published?;
        tracing::debug!(vault = vault.host(), versions = versions.len(), published, "timeline");
        let change = versions.iter().filter_map(|version| version.life.until_change(now)).min();
        Ok(change.unwrap_or(Duration::MAX))
    }

    /// A pinned version stays; but its times may have been changed, or its publication taken away. While it is disabled it is
    /// not published again: that may have been taken away for good.
    async fn follow_pinned(&self, seat: &Seat, around: &Surroundings<'_>) -> Result<Duration, Unseen> {
        let version = seat.vault.look_up().await?;
        let life = version.life;
        let mut published = Ok(());
        if let Ok(key) = fit(version, around.settings) {
            if life.is_enabled() {
                published = publish_again(&key, around).await;
            }
            let is_in_use = seat.state().key.is_some();
            match &published {
                Err(failure) if !is_in_use => self.settle_without(seat, failure.clone()),
                _ => self.offer(seat, Arc::new(key), life),
            }
        }
        published.map_err(Unseen::KeySet)?;
        Ok(life.until_change(OffsetDateTime::now_utc()).unwrap_or(Duration::MAX))
    }

    /// Signs with the newest version that can sign and does what is asked for, from now on.
    async fn adopt(&self, seat: &Seat, versions: &[Listed], around: &Surroundings<'_>) -> Result<(), Unseen> {
        let now = OffsetDateTime::now_utc();
        let mut usable: Vec<&Listed> = versions.iter().filter(|version| version.life.can_sign(now)).collect();
        usable.sort_by_key(|version| std::cmp::Reverse(version.life.created));
        if let [first, second, ..] = usable[..]
            && first.life.created == second.life.created
        {
            // The vault's clock has seconds, so it must say itself which of the two is newer.
            let current = seat.vault.look_up().await?.kid;
            usable.sort_by_key(|version| version.kid != current);
        }
        let mut unpublished = None;
        for Listed { kid, life } in usable {
            let in_use = seat.state().key.as_ref().map(|usable| Arc::clone(&usable.key));
            if let Some(key) = in_use.filter(|key| key.kid == *kid) {
                self.set_key(seat, Usable { key, life: *life });
                return Ok(());
            }
            let key = match fit(seat.vault.get(kid).await?, around.settings) {
                Ok(key) => key,
                Err(cause) => {
                    tracing::error!(kid, cause, "a newer version is not used");
                    continue;
                }
            };
            match around.publication.publish(&[(&key.kid, &key.public)], around.results).await {
                Ok(()) => {
                    tracing::info!(kid = key.kid, alg = key.algorithm.name(), "now signing with");
                    self.set_key(seat, Usable { key: Arc::new(key), life: *life });
                    return Ok(());
                }
                Err(failure) => unpublished = Some(failure),
            }
        }
        self.settle_without(seat, unpublished.unwrap_or_else(|| Failure::from(&seat.vault.nothing_usable())));
        Ok(())
    }

    /// Has a key used that is published, if it may sign now.
    fn offer(&self, seat: &Seat, key: Arc<SigningKey>, life: Life) {
        if life.can_sign(OffsetDateTime::now_utc()) {
            self.set_key(seat, Usable { key, life });
        } else {
            self.settle_without(seat, Failure::from(&seat.vault.nothing_usable()));
        }
    }

    fn settle_without(&self, seat: &Seat, failure: Failure) {
        self.change(seat, |state| (state.key, state.failure, state.is_settled) = (None, Some(failure), true));
    }
}

/// Why a look at a key's versions came to nothing.
enum Unseen {
    Vault(Failure),
    /// The vault told them, but they could not be published.
    KeySet(Failure),
}

impl Unseen {
    fn failure(&self) -> &Failure {
        let (Self::Vault(failure) | Self::KeySet(failure)) = self;
        failure
    }
}

impl From<azure_core::Error> for Unseen {
    fn from(error: azure_core::Error) -> Self {
        Self::Vault(Failure::from(&error))
    }
}

/// Publishes those versions that are enabled and not published yet; how many.
async fn publish_enabled(seat: &Seat, versions: &[Listed], around: &Surroundings<'_>) -> Result<usize, Unseen> {
    let enabled = versions.iter().filter(|version| version.life.is_enabled()).map(|version| version.kid.as_str());
    let signing = seat.state().key.as_ref().map(|usable| Arc::clone(&usable.key));
    let lacking = around.publication.lacking(enabled, signing.as_deref(), around.results).await;
    let lacking = lacking.map_err(Unseen::KeySet)?;
    let mut publics: Vec<(String, PublicKey)> = Vec::new();
    for kid in lacking {
        match seat.vault.get(&kid).await {
            Ok(KeyVersion { public: Ok(public), life, .. }) if life.is_enabled() => publics.push((kid, public)),
            Ok(_) => tracing::debug!(kid, "a version that cannot sign here"),
            // It was deleted or disabled just now.
            Err(error) if matches!(Failure::from(&error).status, Some(403 | 404)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let publics: Vec<(&str, &PublicKey)> = publics.iter().map(|(kid, public)| (kid.as_str(), public)).collect();
    around.publication.publish(&publics, around.results).await.map_err(Unseen::KeySet)?;
    Ok(publics.len())
}

/// Publishes a key, even if it was taken away since.
async fn publish_again(key: &SigningKey, around: &Surroundings<'_>) -> Result<(), Failure> {
    if around.publication.lacking([key.kid.as_str()].into_iter(), Some(key), around.results).await?.is_empty() {
        return Ok(());
    }
    around.publication.publish(&[(&key.kid, &key.public)], around.results).await
}

/// The newest version that can sign and does what is asked for, if the vault tells.
async fn older_fitting(seat: &Seat, settings: &Settings) -> Option<(SigningKey, Life)> {
    let mut versions = seat.vault.versions().await.ok()?;
    versions.retain(|version| version.life.can_sign(OffsetDateTime::now_utc()));
    versions.sort_by_key(|version| std::cmp::Reverse(version.life.created));
    for Listed { kid, life } in versions {
        if let Ok(version) = seat.vault.get(&kid).await
            && let Ok(key) = fit(version, settings)
        {
            return Some((key, life));
        }
    }
    None
}

/// The version as a key to sign with; why it is none, otherwise.
fn fit(version: KeyVersion, settings: &Settings) -> Result<SigningKey, String> {
    let public = version.public.map_err(|why| format!("SIGNET_KEY names a key that cannot sign here: it is {why}"))?;
    let algorithm = settings.algorithm.unwrap_or(public.default_algorithm());
    if !public.can(algorithm) {
        return Err(format!(
            "SIGNET_ALGORITHM {algorithm} does not fit the key, which is {}; leave it out to use {}",
            public.kind(),
            public.default_algorithm()
        ));
    }
    Ok(SigningKey { kid: version.kid, algorithm, public })
}

/// A key that was created a moment ago may not be found everywhere yet.
const LOOK_UPS_UNTIL_MISSING: u32 = 7;
/// Between two looks at a key's versions, however often somebody asks for one.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
/// While there is no key to sign with, it is looked for so often at least.
const REFRESH_WITHOUT_KEY: Duration = Duration::from_secs(10);
