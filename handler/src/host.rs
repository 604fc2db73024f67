//! The protocol of the Functions host: `GET /` to see whether we live, `POST /{function}` for each message.
//!
//! Every answer is a JSON object. An empty one would leave the invocation hanging until the host's own timeout, which ends
//! every item in flight.

mod connections;
mod load;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use signet_core::{
    envelope::{self, Delivery},
    rejection::Stage,
};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout_at},
};

use self::load::{Refusal, Share};
pub(crate) use self::{
    connections::{listen, serve as serve_connections},
    load::Load,
};
use crate::{
    app::App,
    delivery::{self, About},
    pipeline::{self, Fate, Setback},
    trail::Trail,
};

/// The host's own name of the invocation.
const INVOCATION_ID: &str = "x-azure-functions-invocationid";

/// Serves the host for ever.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>) {
    // Each invocation has a connection of its own while it lasts; a few more are for questions whether we live.
    let connections = app.settings.concurrency.saturating_add(load::WAITING).saturating_add(64);
    let router = Router::new()
        .route("/", get(alive))
        .route("/sign", post(sign))
        .route("/poison", post(poison))
        .fallback(async || refusal(StatusCode::NOT_FOUND, "unknown-function", "there are sign and poison"))
        .method_not_allowed_fallback(async || {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "method", "functions are POSTed to")
        })
        .with_state(app);
    connections::serve(listener, connections, connections::HEAD_TIMEOUT, router).await;
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

async fn sign(state: State<Arc<App>>, request: Request) -> Response {
    invoke("sign", pipeline::sign, state, request).await
}

async fn poison(state: State<Arc<App>>, request: Request) -> Response {
    invoke("poison", pipeline::rescue, state, request).await
}

async fn invoke<F>(
    function: &'static str,
    work: impl FnOnce(Arc<App>, Delivery, String, Arc<Trail>) -> F + Send + 'static,
    State(app): State<Arc<App>>,
    request: Request,
) -> Response
where
    F: Future<Output = Fate> + Send + 'static,
{
    let begun = Instant::now();
    // Settings allow 240 seconds, which no clock overflows at.
    let deadline = begun.checked_add(app.settings.deadline).unwrap_or(begun);
    let (head, body) = request.into_parts();
    let (share, delivery) = match timeout_at(deadline, receive(&app.load, body)).await {
        Ok(Ok(received)) => received,
        Ok(Err(Refusal::Overload)) => {
            let message = "more is in memory than may be; try later";
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
        }
        Ok(Err(Refusal::Bad(fault))) => {
            tracing::error!(function, "the invocation cannot be read");
            return refusal(StatusCode::BAD_REQUEST, "invalid-invocation", &fault);
        }
        Err(_elapsed) => {
            tracing::error!(function, "the invocation did not arrive whole in an item's time");
            return refusal(StatusCode::REQUEST_TIMEOUT, "deadline", "the invocation did not arrive whole");
        }
    };
    let invocation_id = invocation_id(&head.headers);
    let trail = Arc::new(Trail::new(begun, deadline, app.telemetry.item(function, &head.headers)));
    // A task of its own: a host that drops the connection must not stop an item between its signature and its result.
    let task = tokio::spawn(async move {
        let about = About::new(function, &invocation_id, &delivery);
        let fate = work(Arc::clone(&app), delivery, invocation_id, Arc::clone(&trail)).await;
        drop(share);
        let line = delivery::conclude(&app, &about, &trail, &fate);
        match fate {
            Fate::Done { .. } | Fate::Ignored | Fate::Rejected { .. } => {
                answer(StatusCode::OK, &json!({ "Logs": [line] }))
            }
            Fate::HandedBack(setback) => handed_back(&setback),
        }
    });
    task.await.unwrap_or_else(|_| {
        let lost =
            Setback { stage: Stage::Queue, code: "lost".to_owned(), message: "the item's task ended".to_owned() };
        handed_back(&lost)
    })
}

/// Reads an invocation, if there is room for it.
async fn receive(load: &Load, mut body: Body) -> Result<(Share, Delivery), Refusal> {
    let received = async {
        let mut share = load.admit()?;
        let body = load.read(&mut share, &mut body).await?;
        Ok((share, envelope::parse(&body).map_err(Refusal::Bad)?))
    };
    let received = received.await;
    if received.is_err() {
        Load::waste(&mut body).await;
    }
    received
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
