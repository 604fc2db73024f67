//! Queue Storage, as far as workers use it: messages are received in batches, hidden for longer or shorter, and deleted.
//!
//! Shapes as in the Queue service REST API, Get Messages, Update Message and Delete Message. Receipts are of characters that a
//! query takes as they are.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use hyper::{
    Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use signet::local::{host::Message, listener::Service};
use time::OffsetDateTime;

use super::{
    ACCOUNT,
    queue::{Queue, Refused},
    storage::{described, http_date, refusal},
};

/// All queues, each of which exists.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<HashMap<String, Arc<Queue>>>);

impl Queues {
    pub(super) fn queue(&self, name: &str) -> Arc<Queue> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(queues.entry(name.to_owned()).or_default())
    }

    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let mut path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        if path.first() == Some(&ACCOUNT) {
            path.remove(0);
        }
        let asked = Asked(request.uri().query().unwrap_or_default());
        match (request.method(), &path[..]) {
            (&Method::GET, [queue, "messages"]) => receive(&self.queue(queue), &asked),
            (&Method::PUT, [queue, "messages", id]) => {
                let hidden = self.queue(queue).hide(id, asked.text("popreceipt"), asked.time());
                settled(hidden.map(Some))
            }
            (&Method::DELETE, [queue, "messages", id]) => {
                settled(self.queue(queue).delete(id, asked.text("popreceipt")).map(|()| None))
            }
            _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb"),
        }
    }
}

/// A request's query.
struct Asked<'a>(&'a str);

impl Asked<'_> {
    fn text(&self, name: &str) -> &str {
        let value = self.0.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
        value.map(|(_, value)| value).unwrap_or_default()
    }

    /// As long as the service hides messages where nothing is asked.
    fn time(&self) -> Duration {
        Duration::from_secs(self.text("visibilitytimeout").parse().unwrap_or(30))
    }
}

fn receive(queue: &Queue, asked: &Asked<'_>) -> Response<Bytes> {
    let (most, time) = (asked.text("numofmessages").parse().unwrap_or(1), asked.time());
    let mut text = "<?xml version=\"1.0\" encoding=\"utf-8\"?><QueueMessagesList>".to_owned();
    for message in queue.receive(most, time) {
        let Message { id, body, dequeue_count, inserted, expires, pop_receipt, .. } = &message;
        let (inserted, expires) = (http_date(*inserted), http_date(*expires));
        let visible = http_date(OffsetDateTime::now_utc() + time);
        let body = String::from_utf8_lossy(body).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        write!(
            text,
            "<QueueMessage><MessageId>{id}</MessageId><InsertionTime>{inserted}</InsertionTime>\
             <ExpirationTime>{expires}</ExpirationTime><PopReceipt>{pop_receipt}</PopReceipt>\
             <TimeNextVisible>{visible}</TimeNextVisible><DequeueCount>{dequeue_count}</DequeueCount>\
             <MessageText>{body}</MessageText></QueueMessage>"
        )
        .expect("a String takes all that is written");
    }
    text.push_str("</QueueMessagesList>");
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

fn settled(outcome: Result<Option<Message>, Refused>) -> Response<Bytes> {
    match outcome {
        Ok(message) => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            if let Some(receipt) = message.and_then(|message| HeaderValue::try_from(message.pop_receipt).ok()) {
                response.headers_mut().insert("x-ms-popreceipt", receipt);
            }
            response
        }
        Err(Refused::NotFound) => refusal(StatusCode::NOT_FOUND, "MessageNotFound"),
        Err(Refused::OtherReceipt) => refusal(StatusCode::BAD_REQUEST, "PopReceiptMismatch"),
    }
}

impl Service for Queues {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        ready(described(self.answer(&request), &request, "Windows-Azure-Queue/1.0 Microsoft-HTTPAPI/2.0")).boxed()
    }
}
