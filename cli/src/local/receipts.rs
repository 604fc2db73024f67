//! What becomes of messages, by the Queue service's own word: how often each is delivered, who may end its lease, and until when
//! it is hidden, whatever becomes of the answers on their way.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::{Method, Request, Response};

use super::listener::Service;

/// What a queue was asked for and has done. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Receipts {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    changes: Vec<Change>,
    leases: HashMap<String, Lease>,
    deleted: HashSet<String>,
    counted_from: HashMap<String, u32>,
}

/// The lease of a message that is not deleted.
#[derive(Clone, Debug)]
struct Lease {
    receipt: String,
    until: Instant,
}

/// Something that a queue has done with a message.
#[derive(Clone, Debug)]
pub struct Change {
    /// The message.
    pub message_id: String,
    /// What was done.
    pub done: Done,
    /// When the service had answered.
    pub at: Instant,
}

/// What a queue does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was received, for so many times by now.
    Received(u32),
    /// It is hidden for so long from now on, by the word of who has received it.
    Hidden(Duration),
    /// It is deleted.
    Deleted,
}

impl Receipts {
    /// Everything so far, but the first few.
    #[must_use]
    pub fn since(&self, few: usize) -> Vec<Change> {
        self.inner().changes.iter().skip(few).cloned().collect()
    }

    /// How many changes there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner().changes.len()
    }

    /// Whether nothing was done so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner().changes.is_empty()
    }

    /// The receipt that a message can be hidden and deleted with now, if it was received and is not deleted.
    #[must_use]
    pub fn receipt(&self, message_id: &str) -> Option<String> {
        self.inner().leases.get(message_id).map(|lease| lease.receipt.clone())
    }

    /// Whether a message was deleted.
    #[must_use]
    pub fn is_deleted(&self, message_id: &str) -> bool {
        self.inner().deleted.contains(message_id)
    }

    /// When the last of the messages that were received is visible again.
    #[must_use]
    pub fn all_visible(&self) -> Option<Instant> {
        self.inner().leases.values().map(|lease| lease.until).max()
    }

    /// From now on the queue says of a message that it was delivered so many times more than it was.
    pub fn count_from(&self, message_id: &str, deliveries: u32) {
        self.inner().counted_from.insert(message_id.to_owned(), deliveries);
    }

    /// The service, watched for what it does with messages.
    pub(super) fn watch(&self, service: Arc<dyn Service>) -> Watched {
        Watched { service, receipts: self.clone() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts down what an answer to a receive says, and has it say what it is told to.
    fn received(&self, answer: Response<Bytes>, hidden: Duration) -> Response<Bytes> {
        let now = Instant::now();
        let mut inner = self.inner();
        answer.map(|body| {
            let text = String::from_utf8_lossy(&body);
            let mut told = String::with_capacity(text.len());
            for (place, message) in text.split("<QueueMessage>").enumerate() {
                if place > 0 {
                    told.push_str("<QueueMessage>");
                }
                match inner.received(message, (now, hidden)) {
                    Some(changed) => told.push_str(&changed),
                    None => told.push_str(message),
                }
            }
            told.into()
        })
    }

    fn changed(&self, message_id: String, done: Done, receipt: Option<String>) {
        let at = Instant::now();
        let mut inner = self.inner();
        match (done, receipt) {
            (Done::Hidden(time), Some(receipt)) => {
                inner.leases.insert(message_id.clone(), Lease { receipt, until: at + time });
            }
            _ => drop(inner.leases.remove(&message_id)),
        }
        if done == Done::Deleted {
            inner.deleted.insert(message_id.clone());
        }
        inner.changes.push(Change { message_id, done, at });
    }
}

impl Inner {
    /// A message of an answer, with its count of deliveries as it is to be told.
    fn received(&mut self, message: &str, (at, hidden): (Instant, Duration)) -> Option<String> {
        let (message_id, receipt) = (element(message, "MessageId")?.to_owned(), element(message, "PopReceipt")?);
        let written = element(message, "DequeueCount")?;
        let count = written.parse::<u32>().ok()? + self.counted_from.get(&message_id).copied().unwrap_or_default();
        self.leases.insert(message_id.clone(), Lease { receipt: receipt.to_owned(), until: at + hidden });
        self.changes.push(Change { message_id, done: Done::Received(count), at });
        let counted = |count: &str| format!("<DequeueCount>{count}</DequeueCount>");
        Some(message.replacen(&counted(written), &counted(&count.to_string()), 1))
    }
}

/// A Queue service that is watched.
pub(super) struct Watched {
    service: Arc<dyn Service>,
    receipts: Receipts,
}

impl Service for Watched {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let (answer, receipts) = (self.service.call(request), self.receipts.clone());
        Box::pin(async move {
            let answer = answer.await;
            if !answer.status().is_success() {
                return answer;
            }
            let hidden = parameter(&query, "visibilitytimeout").and_then(|seconds| seconds.parse().ok());
            let hidden = Duration::from_secs(hidden.unwrap_or(DEFAULT_LEASE));
            match (method, path.rsplit_once("/messages")) {
                (Method::GET, Some((_, ""))) => receipts.received(answer, hidden),
                (Method::PUT, Some((_, id))) if id.len() > 1 => {
                    let receipt = answer.headers().get("x-ms-popreceipt").and_then(|value| value.to_str().ok());
                    receipts.changed(id[1..].to_owned(), Done::Hidden(hidden), receipt.map(str::to_owned));
                    answer
                }
                (Method::DELETE, Some((_, id))) if id.len() > 1 => {
                    receipts.changed(id[1..].to_owned(), Done::Deleted, None);
                    answer
                }
                _ => answer,
            }
        })
    }
}

/// The text of the first element of this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| (key == name).then_some(value))
}

/// Seconds, where a receive names none (<https://learn.microsoft.com/rest/api/storageservices/get-messages>).
const DEFAULT_LEASE: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "<?xml version=\"1.0\"?><QueueMessagesList><QueueMessage><MessageId>a</MessageId>\
        <PopReceipt>r1</PopReceipt><DequeueCount>1</DequeueCount><MessageText>&lt;DequeueCount&gt;</MessageText>\
        </QueueMessage><QueueMessage><MessageId>b</MessageId><PopReceipt>r2</PopReceipt><DequeueCount>3</DequeueCount>\
        <MessageText/></QueueMessage></QueueMessagesList>";

    #[test]
    fn a_receive_is_put_down_and_its_counts_are_told_as_wanted() {
        let receipts = Receipts::default();
        receipts.count_from("b", 40);
        let told = receipts.received(Response::new(ANSWER.into()), Duration::from_secs(15)).into_body();
        assert_eq!(told, ANSWER.replace(">3<", ">43<"));
        let done: Vec<_> = receipts.since(0).into_iter().map(|change| (change.message_id, change.done)).collect();
        assert_eq!(done, [("a".to_owned(), Done::Received(1)), ("b".to_owned(), Done::Received(43))]);
        assert_eq!(receipts.receipt("a").as_deref(), Some("r1"));
        assert!(receipts.all_visible() > Some(Instant::now() + Duration::from_secs(10)));
    }

    #[test]
    fn a_receipt_is_the_newest_and_ends_with_its_message() {
        let receipts = Receipts::default();
        receipts.changed("a".to_owned(), Done::Hidden(Duration::from_secs(9)), Some("r3".to_owned()));
        assert_eq!(receipts.receipt("a").as_deref(), Some("r3"));
        receipts.changed("a".to_owned(), Done::Deleted, None);
        assert!(receipts.is_deleted("a") && !receipts.is_deleted("b"));
        assert_eq!((receipts.receipt("a"), receipts.all_visible(), receipts.len()), (None, None, 2));
    }
}
