//! How much a vault lets us ask of it, found out by asking.
//!
//! Key Vault counts operations per vault in windows of ten seconds, answers 429 to what is above its limit, and shares the
//! limit among all who use the vault, so it cannot be known beforehand. Until the first 429 nothing is held up. From then on
//! signatures are asked for at a pace: 429 halves it, it is back in a few seconds to just below where it was refused, stays
//! there, and then feels its way up, as CUBIC does in TCP (RFC 9438): the more often a limit was confirmed, the longer it
//! stays. Whoever has to wait keeps its place: the oldest item goes first, also after it was refused.
//!
//! A window that is full refuses everything until it moves on, at whatever pace. So a pace is cut once in ten seconds at most;
//! and where the vault does not say how long it wants to be left alone, that is until the first of our own requests has left
//! the window.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use signet_azure::failure::Failure;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::retry::backoff;

/// The budget of one vault.
#[derive(Default)]
pub(crate) struct Budget {
    state: Mutex<State>,
}

/// An item's place among those that wait: lower numbers go first.
pub(crate) type Place = u64;

/// Leave to send one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leave {
    given: Instant,
}

#[derive(Default)]
struct State {
    borne: Window,
    /// None until the vault has refused for the first time.
    pace: Option<Pace>,
    /// How often it has refused since it last did what it was asked.
    refusals: u32,
    /// When it last refused what was sent after its refusal before.
    refused: Option<Instant>,
    /// How often it has refused since the start.
    refused_ever: u64,
    /// The latest refusal.
    refusal: Option<Failure>,
    waiting: BTreeMap<Place, Arc<Notify>>,
}

impl Budget {
    /// Waits for the item's turn. Dropped, it gives its place up.
    pub(crate) async fn turn(&self, place: Place) -> Leave {
        let mut waiting: Option<Waiting<'_>> = None;
        loop {
            let until = {
                let mut state = self.state();
                match state.ask(place, Instant::now()) {
                    Ok(leave) => return leave,
                    Err(until) => {
                        if waiting.is_none() {
                            let called = Arc::new(Notify::new());
                            state.waiting.insert(place, Arc::clone(&called));
                            waiting = Some(Waiting { budget: self, place, called });
                        }
                        until
                    }
                }
            };
            let Some(waiting) = &waiting else { continue };
            match until {
                Some(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = waiting.called.notified() => {}
                },
                None => waiting.called.notified().await,
            }
        }
    }

    /// The vault has done what was asked.
    pub(crate) fn served(&self, leave: Leave) {
        let mut state = self.state();
        state.borne.add(Instant::now());
        if state.is_news(leave) {
            state.refusals = 0;
        }
    }

    /// The vault has answered 429, and may have said how long it wants to be left alone.
    pub(crate) fn refused(&self, leave: Leave, failure: &Failure) {
        let mut state = self.state();
        state.refuse(leave, Instant::now(), failure.retry_after);
        state.refused_ever = state.refused_ever.saturating_add(1);
        state.refusal = Some(failure.clone());
        // The pace has changed under whoever is first.
        state.call_first();
    }

    /// How often the vault has refused, and the requests a second that it is asked for, where it has.
    pub(crate) fn figures(&self) -> (u64, Option<f64>) {
        let state = self.state();
        (state.refused_ever, state.pace.as_ref().map(Pace::rate))
    }

    /// How long a request would have to wait that came now, about.
    pub(crate) fn delay(&self) -> Duration {
        self.state().delay(Instant::now())
    }

    /// Why a request that came now would have to wait; `None` where it would not.
    pub(crate) fn reason(&self) -> Option<Failure> {
        let mut state = self.state();
        let waits = !state.delay(Instant::now()).is_zero();
        state.refusal.clone().filter(|_| waits)
    }

    /// How long nothing is asked of the vault.
    pub(crate) fn pause(&self) -> Duration {
        let opens = self.state().pace.as_ref().map(|pace| pace.opens);
        opens.map_or(Duration::ZERO, |opens| opens.saturating_duration_since(Instant::now()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those that wait, for as long as this lives.
struct Waiting<'a> {
    budget: &'a Budget,
    place: Place,
    called: Arc<Notify>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.waiting.remove(&self.place);
        state.call_first();
    }
}

impl State {
    /// Leave to go, or when to ask again: at a time, or when called.
    fn ask(&mut self, place: Place, now: Instant) -> Result<Leave, Option<Instant>> {
        if let Some(pace) = &mut self.pace {
            pace.advance(now);
            if self.waiting.first_key_value().is_some_and(|(first, _)| *first < place) {
                return Err(None);
            }
            pace.take(now).map_err(Some)?;
        }
        Ok(Leave { given: now })
    }

    fn refuse(&mut self, leave: Leave, now: Instant, wish: Option<Duration>) {
        let mut pause = wish.unwrap_or_default().min(LONGEST_PAUSE);
        if self.is_news(leave) {
            self.refused = Some(now);
            self.refusals = self.refusals.saturating_add(1);
            let borne = self.borne.per_second(now);
            if wish.is_none() && self.refusals == 1 && borne >= LEAST_OF_OURS {
                pause = self.borne.until_it_moves(now);
            }
            pause = pause.max(backoff(self.refusals));
            match &mut self.pace {
                // Where hardly anything was asked of it, we are not why it is too much.
                None => self.pace = Some(Pace::new(borne.max(FEW), now)),
                // The window still holds what was sent before the cut: that says nothing of the pace since.
                Some(pace) if now.saturating_duration_since(pace.cut) < WINDOW => {}
                Some(pace) => pace.cut(borne, now),
            }
        }
        if let Some(pace) = &mut self.pace {
            pace.pause(now, pause);
        }
    }

    /// What was sent before the vault refused says nothing of how it is since.
    fn is_news(&self, leave: Leave) -> bool {
        self.refused.is_none_or(|refused| refused < leave.given)
    }

    fn delay(&mut self, now: Instant) -> Duration {
        let Some(pace) = &mut self.pace else { return Duration::ZERO };
        pace.advance(now);
        let paused = pace.opens.saturating_duration_since(now);
        if paused.is_zero() && self.waiting.is_empty() && pace.saved >= 1.0 {
            return Duration::ZERO;
        }
        let ahead = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        paused.saturating_add(seconds((f64::from(ahead) + 1.0) / pace.rate()))
    }

    fn call_first(&self) {
        if let Some((_, first)) = self.waiting.first_key_value() {
            first.notify_one();
        }
    }
}

/// Where a pace is between its last cut and its next.
#[derive(Debug)]
struct Pace {
    /// Requests per second at which the vault refused, or what it may be of that.
    limit: f64,
    /// How long it takes to feel half as much again above the limit: longer, the surer the limit is.
    caution: Duration,
    /// When it was cut.
    cut: Instant,
    /// How much of the time since then it was what held requests up: only that says whether more would be borne.
    pressed: Duration,
    /// When somebody last had to wait for it.
    last_pressed: Instant,
    /// Nothing is sent before.
    opens: Instant,
    /// Requests that may be sent at once, since fewer were sent than might have been.
    saved: f64,
    /// Up to when `saved` and `pressed` are counted.
    counted: Instant,
}

/// However long a vault wants to be left alone, it is asked again after so long.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// With fewer requests per second than that it is not ours that fill the window, and it will not move when they leave it.
const LEAST_OF_OURS: f64 = 2.0;
/// A pace never falls below this, per second: one that did would not find out that the vault has recovered.
const LEAST: f64 = 1.0;
/// How much below the limit it settles.
const MARGIN: f64 = 0.98;
/// What a cut leaves of it.
const LEFT: f64 = 0.5;
/// From a cut to just below the limit.
const RECOVERY: Duration = Duration::from_secs(4);
/// At first, where the limit was reached by so few requests per second that it may be none, or else by more.
const LEAST_CAUTION: Duration = Duration::from_secs(15);
const USUAL_CAUTION: Duration = Duration::from_mins(1);
const FEW: f64 = 10.0;
/// Where it has been confirmed over and over.
const MOST_CAUTION: Duration = Duration::from_mins(4);
/// Two limits that differ by less are the same.
const SAME: f64 = 0.2;
/// How much of an unused second may be made up for at once.
const BURST: f64 = 0.2;
const LEAST_BURST: f64 = 4.0;

impl Pace {
    fn new(limit: f64, now: Instant) -> Self {
        Self {
            limit: limit.max(LEAST),
            caution: if limit <= FEW { LEAST_CAUTION } else { USUAL_CAUTION },
            cut: now,
            pressed: Duration::ZERO,
            last_pressed: now,
            opens: now,
            saved: 0.0,
            counted: now,
        }
    }

    /// Requests per second that are right now.
    fn rate(&self) -> f64 {
        let (pressed, recovery) = (self.pressed.as_secs_f64(), RECOVERY.as_secs_f64());
        let settled = self.limit * MARGIN;
        let rate = if pressed < recovery {
            settled * (1.0 - (1.0 - LEFT) * (1.0 - pressed / recovery).powi(3))
        } else {
            settled * (1.0 + 0.5 * ((pressed - recovery) / self.caution.as_secs_f64()).powi(3))
        };
        rate.max(LEAST)
    }

    /// Counts the time that has passed.
    fn advance(&mut self, now: Instant) {
        let from = self.counted.max(self.opens);
        let passed = now.saturating_duration_since(from);
        self.counted = self.counted.max(now);
        if passed.is_zero() {
            return;
        }
        if self.is_pressed(now) {
            self.pressed = self.pressed.saturating_add(passed);
        }
        let rate = self.rate();
        self.saved = (self.saved + rate * passed.as_secs_f64()).min((rate * BURST).max(LEAST_BURST));
    }

    /// Whether requests have had to wait for it.
    fn is_pressed(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_pressed) < Duration::from_secs(2)
    }

    /// Takes one of the requests that may be sent, or says when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let wait = if now < self.opens {
            self.opens.saturating_duration_since(now)
        } else if self.saved >= 1.0 {
            self.saved -= 1.0;
            return Ok(());
        } else {
            seconds((1.0 - self.saved) / self.rate())
        };
        self.last_pressed = now;
        // A timer that fires a little early must not make this spin.
        Err(now.checked_add(wait.max(Duration::from_millis(1))).unwrap_or(now))
    }

    /// The vault has refused, having borne so many requests per second before.
    fn cut(&mut self, borne: f64, now: Instant) {
        let rate = self.rate();
        // Where less was sent than might have been, others use the vault as well.
        let limit = if self.is_pressed(now) { rate.min(borne) } else { (rate * LEFT).max(borne) };
        let is_confirmed = (limit - self.limit).abs() <= SAME * self.limit;
        let (caution, opens) = (self.caution, self.opens);
        *self = Self { opens, ..Self::new(limit, now) };
        if is_confirmed {
            self.caution = caution.saturating_mul(2).min(MOST_CAUTION);
        }
    }

    fn pause(&mut self, now: Instant, pause: Duration) {
        self.opens = self.opens.max(now.checked_add(pause).unwrap_or(now));
        self.saved = 0.0;
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// How many requests succeeded in the last ten seconds, which are what Key Vault counts.
struct Window {
    /// When the first slice began.
    origin: Instant,
    /// Number of the newest slice that was counted in, from the origin on.
    newest: usize,
    /// A ring.
    slices: [u32; SLICES],
}

const SLICES: usize = 100;
const SLICE_MS: u128 = 100;
const SLICE: Duration = Duration::from_millis(100);
const WINDOW: Duration = Duration::from_secs(10);

impl Default for Window {
    fn default() -> Self {
        Self { origin: Instant::now(), newest: 0, slices: [0; SLICES] }
    }
}

impl Window {
    fn add(&mut self, now: Instant) {
        self.forget(now);
        if let Some(slice) = self.slices.get_mut(self.newest % SLICES) {
            *slice = slice.saturating_add(1);
        }
    }

    fn per_second(&mut self, now: Instant) -> f64 {
        self.forget(now);
        f64::from(self.slices.iter().fold(0_u32, |sum, slice| sum.saturating_add(*slice))) / WINDOW.as_secs_f64()
    }

    /// How long it is until the oldest of them is ten seconds old, give or take a slice.
    fn until_it_moves(&mut self, now: Instant) -> Duration {
        self.forget(now);
        let aged = (1..=SLICES)
            .find(|age| self.slices.get(self.newest.wrapping_add(*age) % SLICES).is_some_and(|slice| *slice > 0));
        aged.and_then(|slices| SLICE.checked_mul(u32::try_from(slices).ok()?)).unwrap_or_default()
    }

    /// Empties the slices that are too old.
    fn forget(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.origin).as_millis() / SLICE_MS;
        let newest = usize::try_from(passed).unwrap_or(usize::MAX).max(self.newest);
        for old in (self.newest..newest).take(SLICES) {
            if let Some(slice) = self.slices.get_mut(old.wrapping_add(1) % SLICES) {
                *slice = 0;
            }
        }
        self.newest = newest;
    }
}

#[cfg(test)]
mod tests;
