//! The keys to sign with: followed through rotation, published before they are used, spread over vaults.
//!
//! Each vault has a keeper, which warms up behind the open port and then looks for new versions for ever. Items choose
//! among the keys that there are; whoever comes before there is one waits, and repeats nothing.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use azure_core::time::OffsetDateTime;
use futures::future::{join_all, try_join_all};
use signet_azure::failure::Failure;
use signet_core::{algorithm::Hash, draft::SigningKey, key::PublicKey};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    EX_CONFIG, EX_UNAVAILABLE, Fatal,
    publication::Publication,
    results::Container,
    retry::{Trail, backoff, pause},
    settings::Settings,
    vault::{self, KeyVersion, Life, Listed, Vault},
};

/// The keys of all vaults.
pub(crate) struct Keys {
    seats: Vec<Seat>,
    /// Says that a seat has changed.
    changes: watch::Sender<()>,
    /// Whose turn it is among vaults that are equally good.
    turn: AtomicUsize,
}

/// One vault, and what is known of its key.
struct Seat {
    vault: Vault,
    state: Mutex<State>,
    /// Asks the keeper to look now.
    look: Notify,
}

#[derive(Default)]
struct State {
    key: Option<Usable>,
    /// Why there is no key, or none yet.
    failure: Option<Failure>,
    /// Whether that is known to be so, and not only for want of an answer.
    is_settled: bool,
    /// Whether the vault has no such key, or none that can do what is asked for.
    is_hopeless: bool,
    /// When the newest look that is done was begun.
    looked: Option<Instant>,
    /// The vault is to be left alone from then until then.
    rest: Option<(Instant, Instant)>,
    failures: u32,
}

#[derive(Clone)]
struct Usable {
    key: Arc<SigningKey>,
    life: Life,
}

/// A key to sign with, and whose it is.
#[derive(Clone)]
pub(crate) struct Choice {
    pub(crate) key: Arc<SigningKey>,
    seat: usize,
}

/// What an item has tried so far.
#[derive(Default)]
pub(crate) struct Attempts {
    failures: u32,
    token_replaced: bool,
    /// Versions that the vault would not sign with.
    refused: Vec<String>,
}

/// Where keys are published, and what the settings say of them.
pub(crate) struct Surroundings<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) results: &'a Container,
    pub(crate) publication: &'a Publication,
}

impl Keys {
    pub(crate) fn new(vaults: Vec<Vault>) -> Self {
        let seat = |vault| Seat { vault, state: Mutex::default(), look: Notify::new() };
        let seats = vaults.into_iter().map(seat).collect();
        Self { seats, changes: watch::Sender::new(()), turn: AtomicUsize::new(0) }
    }

    /// A key to sign with; one whose algorithm uses `wanted`, where there is a choice. Waits while keys are still being
    /// looked up, and tells the trail why that takes so long.
    ///
    /// # Errors
    /// No vault has a version that can sign.
    pub(crate) async fn choose(&self, trail: &Trail, wanted: Option<Hash>) -> Result<Choice, Failure> {
        let mut changes = self.changes.subscribe();
        let mut has_looked = false;
        loop {
            changes.mark_unchanged();
            if let Some(choice) = self.pick(wanted, &[], false) {
                return Ok(choice);
            }
            let states: Vec<_> = self.seats.iter().map(|seat| seat.state().lacking()).collect();
            let settled = states.iter().all(|(is_settled, _)| *is_settled);
            let failure = states.into_iter().find_map(|(_, failure)| failure);
            if let Some(failure) = &failure {
                trail.note(failure);
            }
            match failure {
                Some(failure) if settled && has_looked => return Err(failure),
                Some(_) if settled => {
                    has_looked = true;
                    let hopeful = self.seats.iter().filter(|seat| !seat.state().is_hopeless);
                    join_all(hopeful.map(Seat::look_again)).await;
                }
                // The sender lives as long as `self`.
                _ => drop(changes.changed().await),
            }
        }
    }

    /// Has a digest signed: one try.
    pub(crate) async fn sign(&self, choice: &Choice, digest: &[u8]) -> azure_core::Result<vault::Signature> {
        let seat = &self.seats[choice.seat];
        let asked = Instant::now();
        let signed = seat.vault.sign(&choice.key, digest).await;
        let mut state = seat.state();
        // What was asked before the vault wished to be left alone says nothing of how it is since.
        if signed.is_ok() && state.rest.is_none_or(|(since, _)| since < asked) {
            state.rest = None;
            state.failures = 0;
        }
        drop(state);
        signed
    }

    /// What to go on with after a vault has failed: the same key after a wait, or another vault's, or a newer version.
    ///
    /// # Errors
    /// The failure, if waiting cannot mend it or would take too long.
    pub(crate) async fn after(
        &self,
        trail: &Trail,
        choice: &Choice,
        failure: Failure,
        attempts: &mut Attempts,
        wanted: Option<Hash>,
    ) -> Result<Choice, Failure> {
        trail.note(&failure);
        let seat = &self.seats[choice.seat];
        attempts.failures += 1;
        if failure.is(401) && !attempts.token_replaced {
            attempts.token_replaced = true;
            seat.vault.credential().distrust();
            wait_within(trail, backoff(attempts.failures), &failure).await?;
            return Ok(choice.clone());
        }
        if failure.transient {
            seat.rest(failure.retry_after);
            if let Some(other) = self.pick(wanted, &attempts.refused, true) {
                tracing::debug!(vault = seat.vault.host(), error = failure.message, "another vault instead");
                return Ok(other);
            }
            let wait = backoff(attempts.failures).max(failure.retry_after.unwrap_or_default());
            wait_within(trail, wait, &failure).await?;
            return self.pick(wanted, &attempts.refused, false).ok_or(failure);
        }
        if failure.is(403) || failure.is(404) {
            // A version that was disabled or deleted, or a role that was taken away. There may be a newer version.
            attempts.refused.push(choice.key.kid.clone());
            if let Some(other) = self.pick(wanted, &attempts.refused, true) {
                seat.rest(Some(REST_AFTER_REFUSAL));
                seat.look.notify_one();
                return Ok(other);
            }
            seat.look_again().await;
            return self.pick(wanted, &attempts.refused, false).ok_or(failure);
        }
        Err(failure)
    }

    /// A key that can sign now and was not refused: of a vault that need not be left alone, each in its turn, else of the one
    /// that may be asked soonest, unless it is to be a rested one.
    fn pick(&self, wanted: Option<Hash>, refused: &[String], rested: bool) -> Option<Choice> {
        let (now, today) = (Instant::now(), OffsetDateTime::now_utc());
        let mut choices: Vec<(Duration, Choice)> = Vec::new();
        // Another algorithm than the wanted one is no choice while a vault may have it, now or later: that would reject an
        // item which can succeed.
        let (mut all_known, mut has_fitting) = (true, false);
        for (number, seat) in self.seats.iter().enumerate() {
            let state = seat.state();
            let Some(Usable { key, life }) = &state.key else {
                all_known = false;
                continue;
            };
            has_fitting |= fits(wanted, key);
            if life.can_sign(today) && !refused.contains(&key.kid) {
                let rest = state.rest.map_or(Duration::ZERO, |(_, until)| until.saturating_duration_since(now));
                choices.push((rest, Choice { key: Arc::clone(key), seat: number }));
            }
        }
        if has_fitting || !all_known {
            choices.retain(|(_, choice)| fits(wanted, &choice.key));
        }
        let awake = choices.iter().filter(|(rest, _)| rest.is_zero()).count();
        if awake == 0 {
            let soonest = choices.into_iter().min_by_key(|(rest, _)| *rest);
            return soonest.filter(|_| !rested).map(|(_, choice)| choice);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % awake;
        choices.into_iter().filter(|(rest, _)| rest.is_zero()).nth(turn).map(|(_, choice)| choice)
    }

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
        around.publication.publish(&[(&key.kid, &key.public)], around.results, report).await;
        tracing::info!(kid = key.kid, alg = key.algorithm.name(), key = key.public.kind(), "ready");
        self.offer(seat, Arc::new(key), life);

        let mut wait = SHORTEST_REFRESH;
        let mut failures = 0;
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
                Err(error) => {
                    let failure = Failure::from(&error);
                    failures += 1;
                    wait = backoff(failures).min(around.settings.key_refresh);
                    if failure.is(401) {
                        seat.vault.credential().distrust();
                    }
                    tracing::warn!(vault = seat.vault.host(), failures, error = failure.message, "versions not seen");
                }
            }
            self.change(seat, |state| state.looked = Some(begun));
        }
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
        let mut missing = 0;
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let failure = match seat.vault.look_up().await {
                Ok(key) => return Ok(key),
                Err(error) => Failure::from(&error),
            };
            failures += 1;
            if failure.is(401) {
                seat.vault.credential().distrust();
            }
            // A vault that answers, and has nothing to sign with.
            let is_settled = failure.status.is_none() && !failure.transient;
            let told = failure.clone();
            self.change(seat, |state| {
                (state.failure, state.is_settled, state.looked) = (Some(told), is_settled, Some(begun));
            });
            if failure.is(404) {
                missing += 1;
            }
            if missing == LOOK_UPS_UNTIL_MISSING {
                let cause = format!(
                    "SIGNET_KEY names a key that does not exist in {} ({}); create it, or name another",
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
    async fn follow(&self, seat: &Seat, around: &Surroundings<'_>) -> azure_core::Result<Duration> {
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
            Err(error) => return Err(error),
        };
        let report = |failure: &Failure| self.change(seat, |state| state.failure = Some(failure.clone()));

        let enabled = versions.iter().filter(|version| version.life.is_enabled()).map(|version| version.kid.as_str());
        let mut publics: Vec<(String, PublicKey)> = Vec::new();
        for kid in around.publication.lacking(enabled, around.results, report).await {
            match vault.get(&kid).await {
                Ok(KeyVersion { public: Ok(public), .. }) => publics.push((kid, public)),
                Ok(_) => tracing::debug!(kid, "a version that cannot sign here"),
                // It was deleted or disabled just now.
                Err(error) if matches!(Failure::from(&error).status, Some(403 | 404)) => {}
                Err(error) => return Err(error),
            }
        }
        let publics: Vec<(&str, &PublicKey)> = publics.iter().map(|(kid, public)| (kid.as_str(), public)).collect();
        around.publication.publish(&publics, around.results, report).await;

        self.adopt(seat, &versions, around).await?;
        tracing::debug!(vault = vault.host(), versions = versions.len(), published = publics.len(), "timeline");
        let change = versions.iter().filter_map(|version| version.life.until_change(now)).min();
        Ok(change.unwrap_or(Duration::MAX))
    }

    /// A pinned version stays; but its times may have been changed, or its publication taken away.
    async fn follow_pinned(&self, seat: &Seat, around: &Surroundings<'_>) -> azure_core::Result<Duration> {
        let version = seat.vault.look_up().await?;
        let life = version.life;
        if let Ok(key) = fit(version, around.settings) {
            let report = |failure: &Failure| self.change(seat, |state| state.failure = Some(failure.clone()));
            if !around.publication.lacking([key.kid.as_str()].into_iter(), around.results, report).await.is_empty() {
                around.publication.publish(&[(&key.kid, &key.public)], around.results, report).await;
            }
            self.offer(seat, Arc::new(key), life);
        }
        Ok(life.until_change(OffsetDateTime::now_utc()).unwrap_or(Duration::MAX))
    }

    /// Signs with the newest version that can sign and does what is asked for, from now on.
    async fn adopt(&self, seat: &Seat, versions: &[Listed], around: &Surroundings<'_>) -> azure_core::Result<()> {
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
        let report = |failure: &Failure| self.change(seat, |state| state.failure = Some(failure.clone()));
        for Listed { kid, life } in usable {
            let in_use = seat.state().key.as_ref().map(|usable| Arc::clone(&usable.key));
            if let Some(key) = in_use.filter(|key| key.kid == *kid) {
                self.set_key(seat, Usable { key, life: *life });
                return Ok(());
            }
            match fit(seat.vault.get(kid).await?, around.settings) {
                Ok(key) => {
                    around.publication.publish(&[(&key.kid, &key.public)], around.results, report).await;
                    tracing::info!(kid = key.kid, alg = key.algorithm.name(), "now signing with");
                    self.set_key(seat, Usable { key: Arc::new(key), life: *life });
                    return Ok(());
                }
                Err(cause) => tracing::error!(kid, cause, "a newer version is not used"),
            }
        }
        self.settle_without(seat);
        Ok(())
    }

    /// Has a key used that is published, if it may sign now.
    fn offer(&self, seat: &Seat, key: Arc<SigningKey>, life: Life) {
        if life.can_sign(OffsetDateTime::now_utc()) {
            self.set_key(seat, Usable { key, life });
        } else {
            self.settle_without(seat);
        }
    }

    fn settle_without(&self, seat: &Seat) {
        let failure = Failure::from(&seat.vault.nothing_usable());
        self.change(seat, |state| (state.key, state.failure, state.is_settled) = (None, Some(failure), true));
    }

    fn set_key(&self, seat: &Seat, key: Usable) {
        self.change(seat, |state| {
            (state.key, state.failure, state.is_settled, state.is_hopeless) = (Some(key), None, false, false);
        });
    }

    fn change(&self, seat: &Seat, change: impl FnOnce(&mut State)) {
        change(&mut seat.state());
        self.changes.send_replace(());
    }
}

impl Seat {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the vault alone: as long as it asks for, longer with each failure in a row.
    fn rest(&self, wish: Option<Duration>) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let wait = backoff(state.failures).max(wish.unwrap_or_default()).min(LONGEST_REST);
        let now = Instant::now();
        state.rest = Some((now, now + wait));
    }

    /// Returns when the keeper has looked once more.
    async fn look_again(&self) {
        let asked = Instant::now();
        self.look.notify_one();
        while self.state().looked.is_none_or(|looked| looked < asked) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl State {
    /// Whether it is known that there is nothing to sign with, and why there is nothing.
    fn lacking(&self) -> (bool, Option<Failure>) {
        ((self.is_settled || self.is_hopeless) && self.key.is_none(), self.failure.clone())
    }
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

fn fits(wanted: Option<Hash>, key: &SigningKey) -> bool {
    wanted.is_none_or(|wanted| key.algorithm.hash() == wanted)
}

async fn wait_within(trail: &Trail, wait: Duration, failure: &Failure) -> Result<(), Failure> {
    if Instant::now() + wait >= trail.deadline() {
        return Err(failure.clone());
    }
    tracing::debug!(wait_ms = wait.as_millis(), error = failure.message, "trying again");
    tokio::time::sleep(wait).await;
    Ok(())
}

/// A key that was created a moment ago may not be found everywhere yet.
const LOOK_UPS_UNTIL_MISSING: u32 = 7;
/// Between two looks at a key's versions, however often somebody asks for one.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
/// While there are other vaults, one that refuses is not asked again for so long.
const REST_AFTER_REFUSAL: Duration = Duration::from_secs(30);
const LONGEST_REST: Duration = Duration::from_mins(10);
