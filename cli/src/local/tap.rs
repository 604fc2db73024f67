//! What a local service was asked, and the faults that it is told to show.
//!
//! A [`Tap`] sits in front of a service. It keeps the most recent exchanges, so that a test can count them, and the
//! faults that requests meet before or after the service has done its work.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hyper::{HeaderMap, Response};
use tokio::sync::watch;

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

/// Which requests fail, how often, and how. A request meets the first installed fault that matches it.
#[derive(Clone)]
pub struct Fault {
    /// Only this method.
    pub method: Option<String>,
    /// Only paths that contain this text.
    pub path_contains: Option<String>,
    /// Only requests without (true) or with (false) an `Authorization` header.
    pub unauthenticated: Option<bool>,
    /// Only requests that this holds for.
    pub predicate: Option<Predicate>,
    /// How many matching requests pass before the first one fails.
    pub skip: u32,
    /// How many fail after that; none: all, until healed.
    pub times: Option<u32>,
    /// What happens to them.
    pub action: Action,
}

/// A condition on a request; its `status` is none.
pub type Predicate = Arc<dyn Fn(&Exchange) -> bool + Send + Sync>;

/// A change to a good response.
pub type Alteration = Arc<dyn Fn(Response<Bytes>) -> Response<Bytes> + Send + Sync>;

/// What happens to a request that meets a fault.
#[derive(Clone)]
pub enum Action {
    /// Answers this; the service does nothing.
    Respond {
        /// HTTP status.
        status: u16,
        /// Header names and values.
        headers: Vec<(String, String)>,
        /// The body, whole.
        body: Vec<u8>,
    },
    /// Waits, then lets the service answer.
    Delay(Duration),
    /// Answers nothing until the fault is gone, then lets the service answer.
    Hang,
    /// Resets the connection; the service does nothing.
    ResetBefore,
    /// Lets the service do the work, then resets the connection in place of the answer.
    ResetAfter,
    /// Lets the service do the work, sends its whole head and the first bytes of the body, then resets the connection.
    Truncate {
        /// How many bytes of the body are sent.
        bytes: usize,
    },
    /// Lets the service do the work, then sends what this makes of the answer.
    Alter(Alteration),
}

impl Default for Tap {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(State::default()),
                connections: AtomicU64::new(0),
                changed: watch::Sender::new(()),
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

impl Fault {
    /// Every request, until healed.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self { method: None, path_contains: None, unauthenticated: None, predicate: None, skip: 0, times: None, action }
    }

    /// Answers a status with a body that says so, and no headers of its own.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(Action::respond(status, &[], format!("status {status} by an installed fault")))
    }

    /// Only this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only paths that contain this text.
    #[must_use]
    pub fn path(mut self, text: &str) -> Self {
        self.path_contains = Some(text.to_owned());
        self
    }

    /// Only requests without an `Authorization` header.
    #[must_use]
    pub fn unauthenticated(mut self) -> Self {
        self.unauthenticated = Some(true);
        self
    }

    /// Only requests with an `Authorization` header.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        self.unauthenticated = Some(false);
        self
    }

    /// Only requests that this holds for.
    #[must_use]
    pub fn when(mut self, predicate: impl Fn(&Exchange) -> bool + Send + Sync + 'static) -> Self {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// Lets the first matching requests pass.
    #[must_use]
    pub fn skip(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    /// Ends after this many hits.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.times = Some(count);
        self
    }

    fn matches(&self, exchange: &Exchange) -> bool {
        self.method.as_deref().is_none_or(|method| method.eq_ignore_ascii_case(&exchange.method))
            && self.path_contains.as_deref().is_none_or(|text| exchange.path.contains(text))
            && self.unauthenticated.is_none_or(|without| without == exchange.header("authorization").is_none())
            && self.predicate.as_deref().is_none_or(|predicate| predicate(exchange))
    }
}

impl Action {
    /// Answers this; the service does nothing.
    #[must_use]
    pub fn respond(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::Respond { status, headers, body: body.into() }
    }

    /// Lets the service do the work, then sends what this makes of the answer.
    #[must_use]
    pub fn alter(alteration: impl Fn(Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        Self::Alter(Arc::new(alteration))
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Tap").field("exchanges", &state.exchanges.len()).field("faults", &state.faults).finish()
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("method", &self.method)
            .field("path_contains", &self.path_contains)
            .field("unauthenticated", &self.unauthenticated)
            .field("skip", &self.skip)
            .field("times", &self.times)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Respond { status, .. } => write!(f, "Respond({status})"),
            Self::Delay(duration) => write!(f, "Delay({duration:?})"),
            Self::Hang => f.write_str("Hang"),
            Self::ResetBefore => f.write_str("ResetBefore"),
            Self::ResetAfter => f.write_str("ResetAfter"),
            Self::Truncate { bytes } => write!(f, "Truncate({bytes})"),
            Self::Alter(_) => f.write_str("Alter"),
        }
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

/// The query as a tap keeps it.
pub(crate) fn visible_query(query: &str) -> String {
    let parts = query.split('&').map(|pair| if pair.starts_with("sig=") { "sig=REDACTED" } else { pair });
    parts.collect::<Vec<_>>().join("&")
}

struct Inner {
    state: Mutex<State>,
    connections: AtomicU64,
    changed: watch::Sender<()>,
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
