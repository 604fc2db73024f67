//! Event Grid, as the reader of a Storage queue sees it: a blob is written, and a message about it arrives.
//!
//! Shapes as in "Azure Blob Storage as an Event Grid source" and as in events captured from the service, which differ in
//! one thing, see [`Subscription::quoted_etag`]. What the service does and this stand-in does not: it may deliver an event
//! twice, and out of order; it tries again where a delivery fails.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::{
    HeaderMap, Method, Request, Response,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, IF_MATCH},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tokio::sync::{mpsc, watch};
use url::form_urlencoded;

use super::{
    azurite::ACCOUNT,
    identity::{Issuer, SYSTEM_ASSIGNED, uuid},
    listener::Service,
    proxy::Proxy,
};

/// The `source` or `topic` of every event: the storage account's resource id.
pub const SOURCE: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/providers/Microsoft.Storage/storageAccounts/devstoreaccount1";

/// The `type` or `eventType` of every event.
pub const BLOB_CREATED: &str = "Microsoft.Storage.BlobCreated";

/// How many deliveries are kept; the oldest go first.
pub const KEPT_DELIVERIES: usize = 10_000;

const STORAGE: &str = "https://storage.azure.com";
const STORAGE_VERSION: &str = "2024-11-04";

/// Which events go to which queue, and in what form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Only blobs of this container; none: of the whole account.
    pub container: Option<String>,
    /// Only blobs whose subject, and so whose name, ends with this; upper and lower case are the same.
    pub subject_ends_with: Option<String>,
    /// The event's members.
    pub schema: Schema,
    /// The message's text.
    pub encoding: Encoding,
    /// Whether the message is an array of the one event, as webhooks get it, in place of the event.
    pub array: bool,
    /// Whether `eTag` has the quotes of the header.
    ///
    /// The documentation's examples have them. Events captured from the service between 2019 and 2024 do not.
    pub quoted_etag: bool,
    /// The queue.
    pub queue: String,
}

impl Subscription {
    /// Everything that is written to the account, in the form in which the service delivers `CloudEvents` to a queue.
    #[must_use]
    pub fn to_queue(queue: &str) -> Self {
        Self {
            container: None,
            subject_ends_with: None,
            schema: Schema::CloudEvents,
            encoding: Encoding::Base64,
            array: false,
            quoted_etag: false,
            queue: queue.to_owned(),
        }
    }

    fn wants(&self, write: &Write) -> bool {
        self.container.as_ref().is_none_or(|container| *container == write.container)
            && self.subject_ends_with.as_ref().is_none_or(|end| {
                // The service compares so unless told otherwise (`isSubjectCaseSensitive`).
                write.subject().to_ascii_lowercase().ends_with(&end.to_ascii_lowercase())
            })
    }
}

/// The members that an event has beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// `CloudEvents` 1.0.
    CloudEvents,
    /// Event Grid's own.
    EventGrid,
}

/// How an event becomes the text of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As JSON in Base64: what Event Grid sends to Storage queues.
    Base64,
    /// As JSON.
    Plain,
}

/// A message about an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The queue that it was for.
    pub queue: String,
    /// Its text.
    pub message: String,
    /// The event in it.
    pub event: Value,
    /// Why it is not on the queue; none: it is.
    pub error: Option<String>,
}

/// The events of one storage account. Clones are the same; with the last of them, deliveries end.
#[derive(Clone)]
pub struct EventGrid {
    shared: Arc<Shared>,
    raised: mpsc::UnboundedSender<Raised>,
}

impl EventGrid {
    /// Without subscriptions, in front of these services. Their taps see nothing of what it asks them.
    pub(super) fn start(blobs: Proxy, queues: Proxy) -> Self {
        let shared = Arc::new(Shared {
            subscriptions: Mutex::default(),
            deliveries: Mutex::default(),
            sequence: AtomicU64::new(0),
            pending: watch::Sender::new(0),
        });
        let (raised, events) = mpsc::unbounded_channel();
        let courier = Courier { shared: shared.clone(), blobs, queues, issuer: Issuer::new() };
        tokio::spawn(courier.run(events));
        Self { shared, raised }
    }

    /// Delivers what is written from now on.
    pub fn subscribe(&self, subscription: Subscription) {
        locked(&self.shared.subscriptions).push(subscription);
    }

    /// The messages so far, in the order of the writes; at most [`KEPT_DELIVERIES`].
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        locked(&self.shared.deliveries).iter().cloned().collect()
    }

    /// Waits until there is a message, or an error, for every write that has been answered.
    pub async fn settled(&self) {
        // The sender lives as long as this does.
        let _ = self.shared.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }

    /// The Blob service, watched for writes.
    pub(super) fn watch(&self, blobs: Proxy) -> Watched {
        Watched { blobs, events: self.clone() }
    }

    fn raise(&self, write: Write, answer: &HeaderMap) {
        let subscriptions = locked(&self.shared.subscriptions);
        let subscriptions: Vec<_> = subscriptions.iter().filter(|one| one.wants(&write)).cloned().collect();
        if subscriptions.is_empty() {
            return;
        }
        self.shared.pending.send_modify(|pending| *pending += 1);
        let raised = Raised {
            write,
            etag: text(answer, ETAG.as_str()).unwrap_or_default(),
            request_id: text(answer, "x-ms-request-id"),
            time: OffsetDateTime::now_utc(),
            sequence: self.shared.sequence.fetch_add(1, Ordering::Relaxed),
            subscriptions,
        };
        // The courier lives as long as this does.
        let _ = self.raised.send(raised);
    }
}

impl fmt::Debug for EventGrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subscriptions = locked(&self.shared.subscriptions);
        f.debug_struct("EventGrid").field("subscriptions", &subscriptions).finish_non_exhaustive()
    }
}

/// Container and name of the blob that a request writes as a whole, if it succeeds.
pub(super) fn written_blob(request: &Request<Bytes>) -> Option<(String, String)> {
    Write::of(request).map(|write| (write.container, write.blob))
}

/// A Blob service whose writes raise events.
pub(super) struct Watched {
    blobs: Proxy,
    events: EventGrid,
}

impl Service for Watched {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        let write = Write::of(&request);
        let (answer, events) = (self.blobs.call(request), self.events.clone());
        Box::pin(async move {
            let answer = answer.await;
            if let Some(write) = write
                && matches!(answer.status().as_u16(), 201 | 202)
            {
                events.raise(write, answer.headers());
            }
            answer
        })
    }
}

struct Shared {
    subscriptions: Mutex<Vec<Subscription>>,
    deliveries: Mutex<VecDeque<Delivery>>,
    sequence: AtomicU64,
    /// Writes without a message yet.
    pending: watch::Sender<usize>,
}

/// A request that writes a whole blob if it succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Write {
    api: &'static str,
    host: String,
    /// As it was sent, percent-encoding included.
    path: String,
    container: String,
    blob: String,
    client_request_id: Option<String>,
    /// None where the request does not say.
    stored: Option<Stored>,
}

/// What stands in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    content_type: String,
    content_length: u64,
}

impl Write {
    fn of(request: &Request<Bytes>) -> Option<Self> {
        if request.method() != Method::PUT {
            return None;
        }
        let (headers, path) = (request.headers(), request.uri().path());
        let (container, blob) = path.strip_prefix('/')?.split_once('/').filter(|(_, blob)| !blob.is_empty())?;
        let query = request.uri().query().unwrap_or_default();
        let parameter = |name| form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name);
        let copied = headers.contains_key("x-ms-copy-source");
        let (api, stored) = match (parameter("comp"), text(headers, "x-ms-blob-type").as_deref()) {
            (Some((_, comp)), _) if comp == "blocklist" => ("PutBlockList", None),
            (None, Some("BlockBlob")) if copied => ("PutBlob", None),
            (None, Some("BlockBlob")) => ("PutBlob", Some(Stored::by(request))),
            (None, None) if copied => ("CopyBlob", None),
            _ => return None,
        };
        Some(Self {
            api,
            host: text(headers, HOST.as_str())?,
            path: path.to_owned(),
            container: decoded(container),
            blob: decoded(blob),
            client_request_id: text(headers, "x-ms-client-request-id"),
            stored,
        })
    }

    fn subject(&self) -> String {
        format!("/blobServices/default/containers/{}/blobs/{}", self.container, self.blob)
    }
}

impl Stored {
    fn by(request: &Request<Bytes>) -> Self {
        let content_type = ["x-ms-blob-content-type", CONTENT_TYPE.as_str()]
            .into_iter()
            .find_map(|name| text(request.headers(), name))
            .unwrap_or_else(|| "application/octet-stream".to_owned());
        Self { content_type, content_length: request.body().len() as u64 }
    }
}

/// A write that somebody has subscribed to.
struct Raised {
    write: Write,
    etag: String,
    request_id: Option<String>,
    time: OffsetDateTime,
    sequence: u64,
    subscriptions: Vec<Subscription>,
}

impl Raised {
    fn event(&self, subscription: &Subscription, id: &str, stored: Option<&Stored>) -> Value {
        let etag = if subscription.quoted_etag { &self.etag } else { self.etag.trim_matches('"') };
        let mut data = json!({
            "api": self.write.api,
            "eTag": etag,
            "blobType": "BlockBlob",
            "url": format!("https://{}{}", self.write.host, self.write.path),
            // Opaque; of two events about one blob, the later has the greater text.
            "sequencer": format!("{:048X}", self.sequence),
            "storageDiagnostics": {"batchId": uuid()},
        });
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                data[name] = value;
            }
        };
        add("clientRequestId", self.write.client_request_id.as_deref().map(Value::from));
        add("requestId", self.request_id.as_deref().map(Value::from));
        add("contentType", stored.map(|stored| stored.content_type.as_str().into()));
        add("contentLength", stored.map(|stored| stored.content_length.into()));
        let (subject, time) = (self.write.subject(), self.time.format(TIME).unwrap_or_default());
        match subscription.schema {
            Schema::CloudEvents => json!({
                "source": SOURCE,
                "subject": subject,
                "type": BLOB_CREATED,
                "time": time,
                "id": id,
                "data": data,
                "specversion": "1.0",
            }),
            Schema::EventGrid => json!({
                "topic": SOURCE,
                "subject": subject,
                "eventType": BLOB_CREATED,
                "eventTime": time,
                "id": id,
                "data": data,
                "dataVersion": "",
                "metadataVersion": "1",
            }),
        }
    }
}

const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z");

/// Makes messages of events, one after the other. Its requests reach the services without a listener, so no tap sees
/// them, and with tokens of its own, so that what a test does to the deployment's is nothing to it.
struct Courier {
    shared: Arc<Shared>,
    blobs: Proxy,
    queues: Proxy,
    issuer: Issuer,
}

impl Courier {
    async fn run(self, mut events: mpsc::UnboundedReceiver<Raised>) {
        while let Some(raised) = events.recv().await {
            self.deliver(&raised).await;
            self.shared.pending.send_modify(|pending| *pending -= 1);
        }
    }

    async fn deliver(&self, raised: &Raised) {
        let stored = match &raised.write.stored {
            Some(stored) => Some(stored.clone()),
            None => self.stored(&raised.write, &raised.etag).await,
        };
        let id = uuid();
        for subscription in &raised.subscriptions {
            let event = raised.event(subscription, &id, stored.as_ref());
            let json = if subscription.array { json!([event]).to_string() } else { event.to_string() };
            let message = match subscription.encoding {
                Encoding::Base64 => STANDARD.encode(json),
                Encoding::Plain => json,
            };
            let error = self.enqueue(&subscription.queue, &message).await.err();
            let mut deliveries = locked(&self.shared.deliveries);
            if deliveries.len() == KEPT_DELIVERIES {
                deliveries.pop_front();
            }
            deliveries.push_back(Delivery { queue: subscription.queue.clone(), message, event, error });
        }
    }

    /// What the write has left in the container; none when another one has come since.
    async fn stored(&self, write: &Write, etag: &str) -> Option<Stored> {
        let request = self.request(Method::HEAD, &write.path, &write.host).header(IF_MATCH, etag);
        let answer = self.blobs.call(request.body(Bytes::new()).ok()?).await;
        let content_length = text(answer.headers(), CONTENT_LENGTH.as_str())?.parse().ok()?;
        let content_type = text(answer.headers(), CONTENT_TYPE.as_str())?;
        answer.status().is_success().then_some(Stored { content_type, content_length })
    }

    async fn enqueue(&self, queue: &str, message: &str) -> Result<(), String> {
        let escaped = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let body = format!("<QueueMessage><MessageText>{escaped}</MessageText></QueueMessage>");
        let path = format!("/{queue}/messages");
        let request = self
            .request(Method::POST, &path, &format!("{ACCOUNT}.queue.localhost"))
            .header(CONTENT_TYPE, "application/xml")
            .body(Bytes::from(body))
            .map_err(|error| error.to_string())?;
        let answer = self.queues.call(request).await;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(format!("{}: {}", answer.status(), String::from_utf8_lossy(answer.body())))
    }

    fn request(&self, method: Method, path: &str, host: &str) -> hyper::http::request::Builder {
        let (token, _) = self.issuer.issue(&SYSTEM_ASSIGNED, STORAGE);
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header("x-ms-version", STORAGE_VERSION)
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// A part of a path without its percent-encoding.
///
/// The decoder is for forms: what means something there only must not reach it.
fn decoded(part: &str) -> String {
    let part = part.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(part.as_bytes()).map(|(name, _)| name.into_owned()).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
