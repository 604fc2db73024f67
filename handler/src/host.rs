//! The protocol of the Functions host: `GET /` to see whether we live, `POST /{function}` for each message.
//!
//! Every answer is a JSON object. An empty one would leave the invocation hanging until the host's own timeout, which ends
//! every item in flight.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use serde_json::json;
use signet_core::{
    envelope::{self, Delivery},
    rejection::Stage,
};
use tokio::{net::TcpListener, time::Instant};

use crate::{
    app::App,
    pipeline::{self, Fate, Setback},
    retry::Trail,
};

/// The host's own name of the invocation.
const INVOCATION_ID: &str = "x-azure-functions-invocationid";
/// A message of 64 KiB, encoded twice, with all its members repeated in the metadata, stays well below.
const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// Listens on the host's port. A restarted handler gets the port of the one before, so a busy port is tried again.
pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    for _ in 0..50 {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome => return outcome,
        }
    }
    TcpListener::bind(("127.0.0.1", port)).await
}

/// Serves the host until the listener fails, which it does not.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>) {
    let router = Router::new()
        .route("/", get(alive))
        .route("/sign", post(sign))
        .route("/poison", post(poison))
        .fallback(async || refusal(StatusCode::NOT_FOUND, "unknown-function", "there are sign and poison"))
        .method_not_allowed_fallback(async || {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "method", "functions are POSTed to")
        })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(app);
    let listener = listener.tap_io(|connection| {
        // Without it the host would wait for our packets to fill. It is only speed that is lost.
        let _ = connection.set_nodelay(true);
    });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the listener failed");
    }
}

/// Ends when the host has died without ending us, which leaves nobody to serve and nobody to end us. The host is who is our
/// parent at the time of the call.
#[cfg(unix)]
pub(crate) fn gone() -> impl Future<Output = ()> {
    use std::os::unix::process::parent_id;
    let host = parent_id();
    async move {
        while parent_id() == host {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}

/// Windows ends a handler with its host, by a job object of the host's.
#[cfg(not(unix))]
pub(crate) fn gone() -> impl Future<Output = ()> {
    std::future::pending()
}

async fn alive() -> Response {
    answer(StatusCode::OK, &json!({ "status": "alive" }))
}

async fn sign(state: State<Arc<App>>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    invoke("sign", pipeline::sign, state, &headers, body).await
}

async fn poison(state: State<Arc<App>>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    invoke("poison", pipeline::rescue, state, &headers, body).await
}

async fn invoke<F>(
    function: &'static str,
    work: impl FnOnce(Arc<App>, Delivery, String, Trail) -> F + Send + 'static,
    State(app): State<Arc<App>>,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response
where
    F: Future<Output = Fate> + Send + 'static,
{
    let begun = Instant::now();
    let delivery = match body.map_err(|error| error.body_text()).and_then(|body| envelope::parse(&body)) {
        Ok(delivery) => delivery,
        Err(fault) => {
            tracing::error!(function, "the invocation cannot be read");
            return refusal(StatusCode::BAD_REQUEST, "invalid-invocation", &fault);
        }
    };
    let invocation_id = invocation_id(headers);
    let trail = Trail::new(begun + app.settings.deadline);
    // A task of its own: a host that drops the connection must not stop an item between its signature and its result.
    let task = tokio::spawn(async move {
        let message_id = delivery.message_id.clone();
        let dequeue_count = delivery.dequeue_count;
        let fate = work(app, delivery, invocation_id.clone(), trail).await;
        let about = About { function, invocation_id, message_id, dequeue_count, took: begun.elapsed() };
        conclude(&about, fate)
    });
    task.await.unwrap_or_else(|_| {
        let lost =
            Setback { stage: Stage::Queue, code: "lost".to_owned(), message: "the item's task ended".to_owned() };
        handed_back(&lost)
    })
}

/// What log lines say of an invocation.
struct About {
    function: &'static str,
    invocation_id: String,
    message_id: Option<String>,
    dequeue_count: u32,
    took: Duration,
}

/// Logs an item's fate in one line, and tells the host.
fn conclude(about: &About, fate: Fate) -> Response {
    let About { function, invocation_id, message_id, dequeue_count, took } = about;
    let message_id = message_id.as_deref().unwrap_or("unknown");
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match fate {
        Fate::Done { id, results } => {
            let names = results.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            #[cfg(feature = "count-allocations")]
            tracing::info!(results = names, allocations = allocations(), "so far");
            tracing::info!(function, invocation_id, message_id, dequeue_count, id, results = names, ms, "done");
            answer(StatusCode::OK, &json!({ "Logs": [format!("done: {names}")] }))
        }
        Fate::Rejected { rejection, record } => {
            let reason = rejection.reason.name();
            let stage = rejection.stage.name();
            // The detail may quote the message; it stands in the record alone.
            tracing::warn!(function, invocation_id, message_id, dequeue_count, reason, stage, record, ms, "rejected");
            answer(StatusCode::OK, &json!({ "Logs": [format!("rejected, {reason}: {record}")] }))
        }
        Fate::Ignored { id } => {
            tracing::info!(function, invocation_id, message_id, dequeue_count, id, ms, "ignored: our own record");
            answer(StatusCode::OK, &json!({ "Logs": ["ignored: an event about a rejection record of our own"] }))
        }
        Fate::HandedBack(setback) => {
            let Setback { stage, code, message: why } = &setback;
            let stage = stage.name();
            tracing::warn!(function, invocation_id, message_id, dequeue_count, stage, code, why, ms, "handed back");
            handed_back(&setback)
        }
    }
}

/// 5xx makes the host release the message, to try again later.
fn handed_back(setback: &Setback) -> Response {
    let Setback { stage, code, message } = setback;
    let error = json!({ "error": { "code": code, "stage": stage.name(), "message": message } });
    answer(StatusCode::SERVICE_UNAVAILABLE, &error)
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    answer(status, &json!({ "error": { "code": code, "stage": "host", "message": message } }))
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// The host's GUID. It goes into blob metadata, so anything else is left out.
fn invocation_id(headers: &HeaderMap) -> String {
    let id = headers.get(INVOCATION_ID).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_plain = id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if is_plain { id.to_owned() } else { String::new() }
}

/// Allocations since the start, with those that only grew or shrank what was there.
#[cfg(feature = "count-allocations")]
fn allocations() -> usize {
    let counted = crate::ALLOCATOR.stats();
    counted.allocations + counted.reallocations
}
