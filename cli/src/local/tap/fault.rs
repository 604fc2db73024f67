//! Which requests fail, and how.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::Response;

use super::Exchange;

/// Which requests fail, how often, and how. A request meets the first installed fault that matches it.
#[derive(Clone)]
pub struct Fault {
    /// Only this host, by its whole name or by the labels that it begins with.
    pub host: Option<String>,
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
    /// Lets the service do the work, then sends its whole head, and the body a few bytes at a time.
    Trickle {
        /// How many bytes at a time.
        bytes: usize,
        /// The pause before each of them.
        pause: Duration,
    },
    /// Lets the service do the work, then sends what this makes of the answer.
    Alter(Alteration),
}

impl Fault {
    /// Every request, until healed.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self {
            host: None,
            method: None,
            path_contains: None,
            unauthenticated: None,
            predicate: None,
            skip: 0,
            times: None,
            action,
        }
    }

    /// Answers a status with a body that says so, and no headers of its own.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::new(Action::respond(status, &[], format!("status {status} by an installed fault")))
    }

    /// Only this host, by its whole name or by the labels that it begins with: `second` is the vault of that name.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.host = Some(name.to_ascii_lowercase());
        self
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

    pub(super) fn matches(&self, exchange: &Exchange) -> bool {
        self.host.as_deref().is_none_or(|name| is_host(name, &exchange.host))
            && self.method.as_deref().is_none_or(|method| method.eq_ignore_ascii_case(&exchange.method))
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

fn is_host(name: &str, host: &str) -> bool {
    host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("host", &self.host)
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
            Self::Trickle { bytes, pause } => write!(f, "Trickle({bytes}, {pause:?})"),
            Self::Alter(_) => f.write_str("Alter"),
        }
    }
}
