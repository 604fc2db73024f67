//! One invocation: from a message to its outcome.

use std::{sync::Arc, time::Duration};

use azure_core::Uuid;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, Uri,
    header::{CONTENT_TYPE, HOST, LOCATION, USER_AGENT},
};
use time::OffsetDateTime;

use super::{
    config::Function,
    envelope::{Message, envelope},
    http::{Framing, HttpClient, body},
    journal::{Invocation, Journal},
    process::{Handler, State},
    verdict::{Outcome, Verdict, judge},
};

/// The version that the host gives as its own.
pub const HOST_VERSION: &str = "4.1052.200.0";

/// .NET's `HttpClientHandler.MaxAutomaticRedirections`.
const MAX_REDIRECTS: usize = 50;

/// What a function is invoked with.
#[derive(Clone, Debug)]
pub enum Post {
    /// A whole request body, as it is.
    Body(Vec<u8>),
    /// A message, from which the host makes the body.
    Message(Message),
}

/// The end of an invocation.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The id that the handler was told.
    pub invocation_id: String,
    /// Status of the handler's reply, where there was one.
    pub status: Option<u16>,
    /// The reply's body, where it was read whole.
    pub body: Bytes,
    /// What the host makes of it.
    pub outcome: Outcome,
}

/// Sends invocations to the handler.
#[derive(Debug)]
pub(super) struct Invoker {
    pub(super) handler: Arc<Handler>,
    pub(super) client: HttpClient,
    pub(super) journal: Arc<Journal>,
    pub(super) framing: Framing,
    pub(super) traceparent: bool,
    pub(super) function_timeout: Option<Duration>,
    pub(super) initialization_timeout: Duration,
}

impl Invoker {
    /// Invokes a function with a message.
    pub(super) async fn invoke_message(&self, function: &Function, message: &Message) -> Reply {
        let body = envelope(function, message, OffsetDateTime::now_utc(), Uuid::new_v4());
        let body = body.map(Bytes::from).map_err(|error| error.to_string());
        self.invoke(&function.name, body, Some(message)).await
    }

    /// Invokes a function with a body, or fails where none could be made.
    pub(super) async fn invoke(&self, function: &str, body: Result<Bytes, String>, message: Option<&Message>) -> Reply {
        let invocation_id = Uuid::new_v4().to_string();
        let place = self.journal.begin(Invocation {
            function: function.to_owned(),
            invocation_id: invocation_id.clone(),
            message_id: message.map(|message| message.id.clone()),
            dequeue_count: message.map(|message| message.dequeue_count),
            outcome: None,
            status: None,
            started: std::time::Instant::now(),
            ended: None,
        });
        let mut reply = Reply { invocation_id, status: None, body: Bytes::new(), outcome: Outcome::TimedOut };
        let mut generation = None;
        let ended = async {
            let body = match body {
                Ok(body) => body,
                Err(reason) => return Outcome::Failed(reason),
            };
            match self.ready().await {
                Ok(ready) => generation = Some(ready),
                Err(reason) => return Outcome::Failed(reason),
            }
            match self.exchange(function, body, &mut reply).await {
                Ok(Verdict::Ends(outcome)) => outcome,
                Ok(Verdict::Hangs) => std::future::pending().await,
                Err(reason) => Outcome::Failed(reason),
            }
        };
        let outcome = match self.function_timeout {
            Some(timeout) => tokio::time::timeout(timeout, ended).await.ok(),
            None => Some(ended.await),
        };
        if outcome.is_none() {
            self.handler.recycle(generation);
        }
        reply.outcome = outcome.unwrap_or(Outcome::TimedOut);
        self.journal.end(place, reply.status, reply.outcome.clone());
        reply
    }

    /// Waits for the handler's current generation; one that takes too long stops the host.
    async fn ready(&self) -> Result<u32, String> {
        let mut state = self.handler.state();
        let ready = state.wait_for(|state| *state != State::Starting);
        let patience = self.initialization_timeout * 4;
        let Ok(state) = tokio::time::timeout(patience, ready).await else {
            let reason = format!("the handler was not ready within {} s", patience.as_secs());
            self.handler.stop(&reason);
            return Err(reason);
        };
        match state.as_deref() {
            Ok(State::Ready(generation)) => Ok(*generation),
            Ok(State::Stopped(reason)) => Err(format!("the host has stopped: {reason}")),
            _ => Err("the host is gone".to_owned()),
        }
    }

    /// Sends the request, follows redirections, and judges the reply.
    async fn exchange(&self, function: &str, mut content: Bytes, reply: &mut Reply) -> Result<Verdict, String> {
        let uri = format!("http://127.0.0.1:{}/{function}", self.handler.port());
        let mut uri: Uri = uri.parse().map_err(|error| format!("{uri} is no address: {error}"))?;
        let mut method = Method::POST;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.client.request(self.request(&method, &uri, &content, &reply.invocation_id)).await;
            let response = response.map_err(|error| causes(&error))?;
            let status = response.status();
            reply.status = Some(status.as_u16());
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = location.and_then(|location| redirection(&uri, location));
            let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let content_type = content_type.map(str::to_owned);
            reply.body = response.into_body().collect().await.map_err(|error| causes(&error))?.to_bytes();
            match target {
                Some(target) if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) => {
                    uri = target;
                    if matches!(status.as_u16(), 301..=303) {
                        method = Method::GET;
                        content = Bytes::new();
                    }
                }
                _ => return Ok(judge(status.as_u16(), content_type.as_deref(), &reply.body)),
            }
        }
        Err(format!("more than {MAX_REDIRECTS} redirections"))
    }

    fn request(&self, method: &Method, uri: &Uri, content: &Bytes, invocation_id: &str) -> Request<super::http::Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, uri.authority().map_or("", |authority| authority.as_str()))
            .header("X-Azure-Functions-HostVersion", HOST_VERSION)
            .header("X-Azure-Functions-InvocationId", invocation_id)
            .header(USER_AGENT, format!("Azure-Functions-Host/{HOST_VERSION}"));
        if self.traceparent {
            let (trace, span) = (Uuid::new_v4().simple(), Uuid::new_v4().simple().to_string());
            request = request.header("traceparent", format!("00-{trace}-{}-01", &span[..16]));
        }
        let framing = if *method == Method::GET { Framing::ContentLength } else { self.framing };
        if *method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/json; charset=utf-8");
        }
        request.body(body(content.clone(), framing)).expect("GUIDs, constants and a parsed URI make a valid request")
    }
}

/// Where a redirection goes; only plain HTTP is followed.
fn redirection(from: &Uri, location: &str) -> Option<Uri> {
    let target = url::Url::parse(&from.to_string()).ok()?.join(location).ok()?;
    (target.scheme() == "http").then(|| target.as_str().parse().ok()).flatten()
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
