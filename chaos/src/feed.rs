//! Sends the planned messages, and knows afterwards which message of the queue is which.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use azure_core::http::RequestContent;
use azure_storage_blob::BlobContainerClient;
use azure_storage_queue::{
    QueueClient,
    models::{QueueClientGetPropertiesResultHeaders as _, QueueMessage},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use signet::local::{host::Message as Delivered, stack::Deployment};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::{
    error::{Context as _, Error, Result, patiently},
    hosts::Hosts,
    items::{Message, Route, Upload},
    ledger::Standing,
    story::Stories,
};

/// Messages in the queue at once: more would only make the emulator slow.
const BACKLOG: usize = 300;
/// Messages that are sent at once.
const AT_ONCE: usize = 8;

/// A message that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The queue's id of it.
    pub message_id: String,
    /// The text that was sent.
    pub text: String,
    /// When the queue had it.
    pub inserted: OffsetDateTime,
}

impl Sent {
    /// The message as a host delivers it for the `count`th time.
    #[must_use]
    pub fn delivery(&self, count: i64) -> Delivered {
        let mut message = Delivered::new(self.text.clone());
        message.id.clone_from(&self.message_id);
        message.dequeue_count = count;
        message.inserted = self.inserted;
        message
    }
}

/// Sends messages past every tap, and keeps count.
pub struct Feed {
    seed: u64,
    deployment: Arc<Deployment>,
    uploads: BlobContainerClient,
    uploads_url: String,
    queue: QueueClient,
    poison: QueueClient,
    sent: Mutex<HashMap<usize, Sent>>,
    /// The `ETag` of each upload.
    uploaded: tokio::sync::Mutex<HashMap<String, Option<String>>>,
    backlog: AtomicUsize,
    stories: Stories,
}

impl Feed {
    /// Creates the poison queue.
    pub async fn new(seed: u64, deployment: &Arc<Deployment>, stories: Stories) -> Result<Self> {
        let storage = deployment.past_taps();
        let poison = format!("{}-poison", deployment.queue_name);
        let poison = storage.queues().map(|queues| queues.queue_client(&poison)).context("the poison queue")?;
        let poison = poison.context("the poison queue")?;
        poison.create(None).await.context("the poison queue")?;
        Ok(Self {
            seed,
            uploads: storage.uploads().context("the uploads")?,
            uploads_url: deployment.settings("")["SIGNET_SOURCES"].clone(),
            queue: storage.queue().context("the queue")?,
            poison,
            deployment: deployment.clone(),
            sent: Mutex::default(),
            uploaded: tokio::sync::Mutex::default(),
            backlog: AtomicUsize::new(0),
            stories,
        })
    }

    /// Sends all of them, a few at a time, and returns when the last is on its way or done.
    pub async fn send(&self, messages: &[Message], hosts: &Arc<Hosts>, standing: &Standing) -> Result<()> {
        let deliveries = Mutex::new(JoinSet::new());
        // What waits for others must not hold up the others.
        let (slow, quick): (Vec<&Message>, Vec<&Message>) =
            messages.iter().partition(|message| message.after.is_some() || message.route == Route::Direct);
        let quick = stream::iter(quick)
            .map(|message| async {
                self.wait_for_room().await;
                self.send_one(message, hosts, &deliveries).await
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>();
        let slow = stream::iter(slow)
            .map(|message| async {
                if let Some(first) = messages.iter().find(|first| message.after == Some(first.number)) {
                    self.wait_for(first, standing).await;
                }
                self.send_one(message, hosts, &deliveries).await
            })
            .buffer_unordered(4 * AT_ONCE)
            .try_collect::<()>();
        futures::try_join!(quick, slow)?;
        let mut deliveries = deliveries.into_inner().unwrap_or_else(PoisonError::into_inner);
        while deliveries.join_next().await.is_some() {}
        Ok(())
    }

    /// What was sent of the plan.
    #[must_use]
    pub fn sent(&self) -> HashMap<usize, Sent> {
        self.locked().clone()
    }

    /// How many messages were sent so far, and how many of them are still somewhere.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.locked().len(), self.backlog.load(Ordering::Relaxed))
    }

    /// Looks how many messages there are, in both queues.
    pub async fn look(&self) -> Result<usize> {
        let mut left = 0;
        for queue in [&self.queue, &self.poison] {
            let properties = patiently("a look at the queue", async || queue.get_properties(None).await).await?;
            let count = properties.approximate_messages_count().context("the length of the queue")?;
            left += usize::try_from(count.unwrap_or_default()).unwrap_or_default();
        }
        self.backlog.store(left, Ordering::Relaxed);
        Ok(left)
    }

    /// Waits until a message was sent and its results stand.
    async fn wait_for(&self, first: &Message, standing: &Standing) {
        while !self.locked().contains_key(&first.number) || !standing.has_all(first) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn wait_for_room(&self) {
        while self.backlog.load(Ordering::Relaxed) > BACKLOG {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn send_one(&self, message: &Message, hosts: &Arc<Hosts>, deliveries: &Mutex<JoinSet<()>>) -> Result<()> {
        let etag = match &message.upload {
            Some(upload) => self.upload(upload).await?,
            None => None,
        };
        let text = match message.after.and_then(|first| Some(self.locked().get(&first)?.text.clone())) {
            Some(text) => text,
            None => message.rendered(&self.uploads_url, etag.as_deref()),
        };
        let sent = match message.route {
            Route::Direct => Sent::by_hand(text),
            Route::Poison => put(&self.poison, text).await?,
            Route::Queue | Route::Twice => put(&self.queue, text).await?,
        };
        self.stories.note(&sent.message_id, &format!("sent: {} (number {})", message.kind, message.number));
        self.locked().insert(message.number, sent.clone());
        let number = message.number;
        let hosts = hosts.clone();
        match message.route {
            Route::Direct => self.until_done(&sent, number, &hosts).await?,
            Route::Twice => {
                let mut deliveries = deliveries.lock().unwrap_or_else(PoisonError::into_inner);
                for host in 0..2 {
                    let (hosts, delivery) = (hosts.clone(), sent.delivery(1));
                    deliveries.spawn(async move { drop(hosts.deliver(host, "sign", delivery).await) });
                }
            }
            Route::Queue | Route::Poison => {}
        }
        Ok(())
    }

    /// Puts a blob there once, however many messages are about it; its `ETag`.
    async fn upload(&self, upload: &Upload) -> Result<Option<String>> {
        let mut uploaded = self.uploaded.lock().await;
        if let Some(etag) = uploaded.get(&upload.name) {
            return Ok(etag.clone());
        }
        let (client, bytes) = (self.uploads.blob_client(&upload.name), upload.bytes(self.seed));
        let uploading = async || client.upload(RequestContent::from(bytes.clone()), None).await;
        let etag = patiently("an upload", uploading).await?.etag.map(|etag| etag.to_string());
        uploaded.insert(upload.name.clone(), etag.clone());
        Ok(etag)
    }

    /// What a queue would do: deliver until it has succeeded.
    async fn until_done(&self, sent: &Sent, number: usize, hosts: &Hosts) -> Result<()> {
        for count in 1..200 {
            let host = number + usize::try_from(count).unwrap_or_default();
            if hosts.deliver(host, "sign", sent.delivery(count)).await.outcome.succeeded() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err(Error::new("a message that no queue takes", "was never done"))
    }

    /// The deployment that all this is in.
    #[must_use]
    pub fn deployment(&self) -> &Arc<Deployment> {
        &self.deployment
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<usize, Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The SDK's clients have no Debug.
        f.debug_struct("Feed").field("deployment", &self.deployment).finish_non_exhaustive()
    }
}

impl Sent {
    fn by_hand(text: String) -> Self {
        let Delivered { id, inserted, .. } = Delivered::new("");
        Self { message_id: id, text, inserted }
    }
}

async fn put(queue: &QueueClient, text: String) -> Result<Sent> {
    let message = QueueMessage { message_text: Some(text.clone()) };
    let answer = queue.send_message(message.try_into().context("a message")?, None).await.context("sending")?;
    let sent = answer.into_model().context("what was sent")?;
    let sent = sent.items.unwrap_or_default().pop().ok_or_else(|| Error::new("sending", "no answer"))?;
    let (Some(message_id), Some(inserted)) = (sent.message_id, sent.insertion_time) else {
        return Err(Error::new("sending", "the queue gave no id"));
    };
    Ok(Sent { message_id, text, inserted })
}
