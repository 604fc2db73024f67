//! The keys to sign with: followed through rotation, published before they are used, spread over vaults.
//!
//! Each vault has a [`keeper`], which warms up behind the open port and then looks for new versions for ever. Items choose
//! among the keys that there are; whoever comes before there is one waits, and repeats nothing.

mod budget;
mod keeper;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use azure_core::time::OffsetDateTime;
use futures::future::join_all;
use opentelemetry::KeyValue;
use signet_azure::failure::Failure;
use signet_core::{algorithm::Hash, draft::SigningKey};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use self::budget::{Budget, Place};
use crate::{
    publication::Publication,
    results::Container,
    retry::backoff,
    settings::Settings,
    telemetry::{Observed, Point},
    trail::Trail,
    vault::{self, Life, Vault},
};

/// The keys of all vaults.
pub(crate) struct Keys {
    seats: Vec<Arc<Seat>>,
    /// Says that a seat has changed.
    changes: watch::Sender<()>,
    /// Whose turn it is among vaults that are equally good.
    turn: AtomicUsize,
    /// How many items there were so far.
    items: AtomicU64,
}

/// One vault, and what is known of its key.
struct Seat {
    vault: Vault,
    budget: Budget,
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
    seat: Arc<Seat>,
}

/// What an item has tried so far.
pub(crate) struct Attempts {
    /// Among those that wait for a vault's budget.
    place: Place,
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
        let seat = |vault| Seat { vault, budget: Budget::default(), state: Mutex::default(), look: Notify::new() };
        let seats = vaults.into_iter().map(seat).map(Arc::new).collect();
        Self { seats, changes: watch::Sender::new(()), turn: AtomicUsize::new(0), items: AtomicU64::new(0) }
    }

    /// What can be told of the vaults at this moment.
    pub(crate) fn observe(&self, observed: &mut Observed) {
        for seat in &self.seats {
            let vault = || [KeyValue::new("server.address", seat.vault.host().to_owned())];
            let (throttles, pace) = seat.budget.figures();
            observed.throttles.push(Point::new(vault(), throttles));
            observed.paces.extend(pace.map(|pace| Point::new(vault(), pace)));
            observed.add_token(seat.vault.host(), seat.vault.credential());
        }
    }

    /// A new item, behind all that there were.
    pub(crate) fn attempts(&self) -> Attempts {
        let place = self.items.fetch_add(1, Ordering::Relaxed);
        Attempts { place, failures: 0, token_replaced: false, refused: Vec::new() }
    }

    /// Whether there is a key to sign with.
    pub(crate) fn has_some(&self) -> bool {
        let now = OffsetDateTime::now_utc();
        self.seats.iter().any(|seat| seat.state().key.as_ref().is_some_and(|key| key.life.can_sign(now)))
    }

    /// Returns once there is a key to sign with.
    pub(crate) async fn some(&self) {
        let mut changes = self.changes.subscribe();
        // The sender lives as long as `self`.
        while !self.has_some() && changes.changed().await.is_ok() {}
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
                    join_all(hopeful.map(|seat| seat.look_again())).await;
                }
                // The sender lives as long as `self`.
                _ => drop(changes.changed().await),
            }
        }
    }

    /// Has a digest signed when the vault's budget allows it: one try.
    pub(crate) async fn sign(
        &self,
        trail: &Trail,
        choice: &Choice,
        attempts: &Attempts,
        digest: &[u8],
    ) -> Result<vault::Signature, Failure> {
        let seat = &choice.seat;
        if let Some(failure) = seat.budget.reason() {
            trail.note(&failure);
        }
        let leave = seat.budget.turn(attempts.place).await;
        let asked = Instant::now();
        let signed = trail.within(seat.vault.sign(&choice.key, digest)).await.map_err(|error| Failure::from(&error));
        match &signed {
            Ok(_) => {
                seat.budget.served(leave);
                let mut state = seat.state();
                // What was asked before the vault wished to be left alone says nothing of how it is since.
                if state.rest.is_none_or(|(since, _)| since < asked) {
                    state.rest = None;
                    state.failures = 0;
                }
            }
            Err(failure) if failure.is(429) => seat.budget.refused(leave, failure),
            Err(_) => {}
        }
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
        let seat = &choice.seat;
        attempts.failures = attempts.failures.saturating_add(1);
        if failure.refuses_token() && !attempts.token_replaced {
            attempts.token_replaced = true;
            seat.vault.credential().distrust();
            wait_within(trail, backoff(attempts.failures), &failure).await?;
            return Ok(choice.clone());
        }
        if failure.is(429) {
            // The budget sees to the wait, in which the item keeps its place.
            let next = self.pick(wanted, &attempts.refused, false).ok_or_else(|| failure.clone())?;
            return if trail.allows(next.seat.budget.pause()) { Ok(next) } else { Err(failure) };
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
        for seat in &self.seats {
            let state = seat.state();
            let Some(Usable { key, life }) = &state.key else {
                all_known = false;
                continue;
            };
            has_fitting |= fits(wanted, key);
            if life.can_sign(today) && !refused.contains(&key.kid) {
                let rest = state.rest.map_or(Duration::ZERO, |(_, until)| until.saturating_duration_since(now));
                let rest = rest.max(seat.budget.delay());
                choices.push((rest, Choice { key: Arc::clone(key), seat: Arc::clone(seat) }));
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
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(awake).unwrap_or_default();
        choices.into_iter().filter(|(rest, _)| rest.is_zero()).nth(turn).map(|(_, choice)| choice)
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
        state.rest = now.checked_add(wait).map(|until| (now, until));
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

fn fits(wanted: Option<Hash>, key: &SigningKey) -> bool {
    wanted.is_none_or(|wanted| key.algorithm.hash() == wanted)
}

async fn wait_within(trail: &Trail, wait: Duration, failure: &Failure) -> Result<(), Failure> {
    if !trail.allows(wait) {
        return Err(failure.clone());
    }
    tracing::debug!(wait_ms = wait.as_millis(), error = failure.message, "trying again");
    tokio::time::sleep(wait).await;
    Ok(())
}

/// While there are other vaults, one that refuses is not asked again for so long.
const REST_AFTER_REFUSAL: Duration = Duration::from_secs(30);
const LONGEST_REST: Duration = Duration::from_mins(10);
