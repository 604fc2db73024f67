//! Where probes ask: `GET /live`, `GET /ready`, and `GET /metrics` for those who count.

use std::{
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use signet_azure::failure::Failure;
use tokio::net::TcpListener;

use crate::{
    app::App,
    host,
    pipeline::{Fate, LEASE_LOST},
};

/// What probes are told.
pub(super) struct Health {
    app: Arc<App>,
    /// Whether the last look at the queue was answered.
    can_receive: AtomicBool,
    pub(super) is_draining: AtomicBool,
    in_flight: AtomicU64,
    looks: AtomicU64,
    failed_looks: AtomicU64,
    received: AtomicU64,
    done: AtomicU64,
    rejected: AtomicU64,
    ignored: AtomicU64,
    handed_back: AtomicU64,
    leases_lost: AtomicU64,
}

/// One more that is in flight, while this lives.
pub(super) struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Health {
    pub(super) fn new(app: Arc<App>) -> Self {
        let none = || AtomicU64::new(0);
        Self {
            app,
            can_receive: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            in_flight: none(),
            looks: none(),
            failed_looks: none(),
            received: none(),
            done: none(),
            rejected: none(),
            ignored: none(),
            handed_back: none(),
            leases_lost: none(),
        }
    }

    /// A look at the queue has brought so many messages.
    pub(super) fn received(&self, messages: Result<usize, &Failure>) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.can_receive.store(messages.is_ok(), Ordering::Relaxed);
        match messages {
            Ok(count) => self.received.fetch_add(u64::try_from(count).unwrap_or_default(), Ordering::Relaxed),
            Err(_) => self.failed_looks.fetch_add(1, Ordering::Relaxed),
        };
    }

    pub(super) fn begun(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    pub(super) fn ended(&self, fate: &Fate) {
        let counter = match fate {
            Fate::Done { .. } => &self.done,
            Fate::Rejected { .. } => &self.rejected,
            Fate::Ignored => &self.ignored,
            Fate::HandedBack(_) => &self.handed_back,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if matches!(fate, Fate::HandedBack(setback) if setback.code == LEASE_LOST) {
            self.leases_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_ready(&self) -> bool {
        self.can_receive.load(Ordering::Relaxed)
            && !self.is_draining.load(Ordering::Relaxed)
            && self.app.keys.has_some()
    }

    /// The counters, as Prometheus reads them (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    fn metrics(&self) -> String {
        let mut text = String::new();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for (labels, value) in values {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let deliveries = [
            ("{outcome=\"done\"}", of(&self.done)),
            ("{outcome=\"rejected\"}", of(&self.rejected)),
            ("{outcome=\"ignored\"}", of(&self.ignored)),
            ("{outcome=\"handed back\"}", of(&self.handed_back)),
        ];
        metric("signet_deliveries_total", "counter", "Deliveries by what became of them.", &deliveries);
        let looks = [("", of(&self.looks))];
        metric("signet_looks_total", "counter", "Looks at the queue.", &looks);
        let failed = [("", of(&self.failed_looks))];
        metric("signet_failed_looks_total", "counter", "Looks at the queue that failed.", &failed);
        metric("signet_messages_received_total", "counter", "Messages received.", &[("", of(&self.received))]);
        let lost = [("", of(&self.leases_lost))];
        metric("signet_leases_lost_total", "counter", "Items that ended with their lease.", &lost);
        metric("signet_in_flight", "gauge", "Messages that are worked on.", &[("", of(&self.in_flight))]);
        metric("signet_ready", "gauge", "Whether messages are received and signed.", &[("", self.is_ready().into())]);
        text
    }
}

pub(super) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers probes for ever.
pub(super) async fn serve(listener: TcpListener, health: Arc<Health>) {
    let router = Router::new()
        .route("/live", get(async || "alive\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health);
    host::serve_connections(listener, MOST_CONNECTIONS, PATIENCE, router).await;
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    if health.is_ready() {
        return "ready\n".into_response();
    }
    let why = if health.is_draining.load(Ordering::Relaxed) {
        "ending\n"
    } else if !health.app.keys.has_some() {
        "no key to sign with yet\n"
    } else {
        "the queue cannot be read\n"
    };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], health.metrics()).into_response()
}

const MOST_CONNECTIONS: usize = 32;
/// Whoever says nothing must not take a probe's place.
const PATIENCE: Duration = Duration::from_secs(5);
