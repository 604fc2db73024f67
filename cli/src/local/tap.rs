//! What a local service was asked, and the faults that it is told to show.
//!
//! A [`Tap`] sits in front of a service. It keeps the most recent exchanges, so that a test can count them, and the
//! faults that requests meet before or after the service has done its work.

mod fault;

use std::{
    collections::VecDeque,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HOST},
};
use tokio::sync::watch;

pub use self::fault::{Action, Alteration, Fault, Predicate};

/// How many exchanges a tap keeps; the oldest go first.
pub const KEPT_EXCHANGES: usize = 50_000;

/// A view of one service's traffic, and the switch for its faults. Clones share both.
#[derive(Clone)]
pub struct Tap {
    inner: Arc<Inner>,
}

/// One request that reached a service.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The listener that received it, as named at its start.
    pub service: &'static str,
    /// When its last byte had arrived.
    pub at: SystemTime,
    /// The host that it was for, in lower case and without the port: where one port serves several, which of them.
    pub host: String,
    /// The HTTP method.
    pub method: String,
    /// The path as it was sent, percent-encoding included.
    pub path: String,
    /// The query as it was sent, without `?` and without the value of a SAS signature; empty when there is none.
    pub query: String,
    /// The status answered; none while it is not answered, and when the connection ended in place of an answer.
    pub status: Option<u16>,
    /// Names in lower case, with values; those of credentials read `REDACTED`.
    pub request_headers: Vec<(String, String)>,
    /// A number that is the same for the same `Authorization`, and says nothing else of it; none without one.
    pub credential: Option<u64>,
    /// The TCP connection that it came on, numbered from 1 within the tap.
    pub connection: u64,
    /// Whether a fault was shown.
    pub fault: bool,
    /// The length of the request's body.
    pub request_bytes: usize,
}

impl Exchange {
    /// The first value of a header, by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request_headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Names an installed fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultId(usize);

impl Default for Tap {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(State::default()),
                connections: AtomicU64::new(0),
                changed: watch::Sender::new(()),
                disconnected: watch::Sender::new(()),
            }),
        }
    }
}

impl Tap {
    /// A tap that has seen nothing and lets everything pass.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The exchanges since the last [`clear`](Self::clear), in order of arrival; at most [`KEPT_EXCHANGES`].
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.state().exchanges.iter().cloned().collect()
    }

    /// How many of the kept exchanges the condition holds for.
    pub fn count(&self, condition: impl Fn(&Exchange) -> bool) -> usize {
        self.state().exchanges.iter().filter(|exchange| condition(exchange)).count()
    }

    /// Forgets the exchanges; the faults stay.
    pub fn clear(&self) {
        let mut state = self.state();
        state.forgotten += state.exchanges.len() as u64;
        state.exchanges.clear();
    }

    /// Installs a fault behind those that are there.
    #[expect(clippy::must_use_candidate, reason = "most faults end with heal, which needs no id")]
    pub fn fail(&self, fault: Fault) -> FaultId {
        let mut state = self.state();
        let id = FaultId(state.fired.len());
        state.fired.push(0);
        state.faults.push(Installed { id, skip: fault.skip, remaining: fault.times, fault });
        id
    }

    /// Removes every fault and releases the requests that hang.
    pub fn heal(&self) {
        self.state().faults.clear();
        self.inner.changed.send_replace(());
    }

    /// Removes one fault and releases the requests that it holds.
    pub fn remove(&self, id: FaultId) {
        self.state().faults.retain(|installed| installed.id != id);
        self.inner.changed.send_replace(());
    }

    /// How many requests a fault has hit, also after it was removed.
    #[must_use]
    pub fn fired(&self, id: FaultId) -> u32 {
        self.state().fired.get(id.0).copied().unwrap_or_default()
    }

    /// How many more requests a fault will hit: none while it is unlimited, 0 once it is used up or removed.
    #[must_use]
    pub fn remaining(&self, id: FaultId) -> Option<u32> {
        self.state().faults.iter().find(|installed| installed.id == id).map_or(Some(0), |installed| installed.remaining)
    }

    /// Resets every connection that is open, whatever is under way on it; what a service does by then, it does to its end.
    pub fn disconnect(&self) {
        self.inner.disconnected.send_replace(());
    }

    /// For a connection that has just been accepted: told when all are to be reset.
    pub(crate) fn disconnections(&self) -> watch::Receiver<()> {
        self.inner.disconnected.subscribe()
    }

    /// The number of a connection that has just been accepted.
    pub(crate) fn connected(&self) -> u64 {
        self.inner.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records a request, and says what it meets.
    pub(crate) fn arrive(&self, mut exchange: Exchange) -> (Ticket, Option<Met>) {
        let mut state = self.state();
        let met = state.meet(&exchange).map(|(id, action)| Met { id, action });
        exchange.fault = met.is_some();
        if state.exchanges.len() == KEPT_EXCHANGES {
            state.exchanges.pop_front();
            state.forgotten += 1;
        }
        state.exchanges.push_back(exchange);
        (Ticket(state.forgotten + state.exchanges.len() as u64 - 1), met)
    }

    /// Records the status with which a request is answered.
    pub(crate) fn answered(&self, ticket: Ticket, status: u16) {
        let mut state = self.state();
        let Some(index) = ticket.0.checked_sub(state.forgotten).and_then(|index| usize::try_from(index).ok()) else {
            return;
        };
        if let Some(exchange) = state.exchanges.get_mut(index) {
            exchange.status = Some(status);
        }
    }

    /// Waits until a fault is removed.
    pub(crate) async fn healed(&self, id: FaultId) {
        let mut changed = self.inner.changed.subscribe();
        while self.state().faults.iter().any(|installed| installed.id == id) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Tap").field("exchanges", &state.exchanges.len()).field("faults", &state.faults).finish()
    }
}

/// Where the answer to a request is to be noted.
#[derive(Clone, Copy)]
pub(crate) struct Ticket(u64);

/// The fault that a request met.
pub(crate) struct Met {
    pub(crate) id: FaultId,
    pub(crate) action: Action,
}

/// The headers as a tap keeps them.
pub(crate) fn visible_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), visible(name.as_str(), value.as_bytes()))).collect()
}

/// What a tap keeps of the header `Authorization`.
pub(crate) fn credential(headers: &HeaderMap) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    headers.get(AUTHORIZATION)?.as_bytes().hash(&mut hasher);
    Some(hasher.finish())
}

/// The host as a tap keeps it.
pub(crate) fn visible_host(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
        _ => host,
    }
}

/// The query as a tap keeps it.
pub(crate) fn visible_query(query: &str) -> String {
    let parts = query.split('&').map(|pair| if pair.starts_with("sig=") { "sig=REDACTED" } else { pair });
    parts.collect::<Vec<_>>().join("&")
}

struct Inner {
    state: Mutex<State>,
    connections: AtomicU64,
    changed: watch::Sender<()>,
    disconnected: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    exchanges: VecDeque<Exchange>,
    forgotten: u64,
    faults: Vec<Installed>,
    fired: Vec<u32>,
}

#[derive(Debug)]
struct Installed {
    id: FaultId,
    skip: u32,
    remaining: Option<u32>,
    fault: Fault,
}

impl State {
    fn meet(&mut self, exchange: &Exchange) -> Option<(FaultId, Action)> {
        for installed in &mut self.faults {
            if installed.remaining == Some(0) || !installed.fault.matches(exchange) {
                continue;
            }
            if installed.skip > 0 {
                installed.skip -= 1;
                continue;
            }
            installed.remaining = installed.remaining.map(|remaining| remaining - 1);
            self.fired[installed.id.0] += 1;
            return Some((installed.id, installed.fault.action.clone()));
        }
        None
    }
}

fn visible(name: &str, value: &[u8]) -> String {
    const SECRET: [&str; 5] = ["authorization", "identity-header", "token", "secret", "cookie"];
    let value = String::from_utf8_lossy(value);
    let token_like = value.starts_with("eyJ") || value.contains("Bearer ");
    if token_like || SECRET.iter().any(|part| name.contains(part)) { "REDACTED".to_owned() } else { value.into_owned() }
}
