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
    models::{QueueClientGetPropertiesResultHeaders as _, QueueClientSendMessageOptions, QueueMessage},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use signet::local::{host::Message as Delivered, receipts::Receipts, stack::Deployment};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::{
    error::{Context as _, Error, Result, patiently},
    items::{Message, Route, Upload},
    ledger::Standing,
    story::Stories,
    workers::{Door, Workers},
};

/// Messages in the queue at once: more would only make the emulator slow.
const BACKLOG: usize = 300;
/// Messages that are sent at once.
const AT_ONCE: usize = 8;
/// Seconds for which a message stays hidden that is not to be received before all is said of it.
const UNSEEN: i32 = 60;

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
    queue: Arc<QueueClient>,
    poison: QueueClient,
    sent: Mutex<HashMap<usize, Sent>>,
    /// The `ETag` of each upload.
    uploaded: tokio::sync::Mutex<HashMap<String, Option<String>>>,
    backlog: AtomicUsize,
    stories: Stories,
    /// Deliveries until a message is given up.
    attempts: u32,
}

impl Feed {
    /// Creates the poison queue.
    pub async fn new(seed: u64, deployment: &Arc<Deployment>, stories: Stories, attempts: u32) -> Result<Self> {
        let storage = deployment.past_taps();
        let poison = format!("{}-poison", deployment.queue_name);
        let poison = storage.queues().map(|queues| queues.queue_client(&poison)).context("the poison queue")?;
        let poison = poison.context("the poison queue")?;
        poison.create(None).await.context("the poison queue")?;
        Ok(Self {
            seed,
            uploads: storage.uploads().context("the uploads")?,
            uploads_url: deployment.settings("")["SIGNET_SOURCES"].clone(),
            queue: Arc::new(storage.queue().context("the queue")?),
            poison,
            deployment: deployment.clone(),
            sent: Mutex::default(),
            uploaded: tokio::sync::Mutex::default(),
            backlog: AtomicUsize::new(0),
            stories,
            attempts,
        })
    }

    /// Sends all of them, a few at a time, and returns when the last is on its way or done.
    pub async fn send(&self, messages: &[Message], workers: &Arc<Workers>, standing: &Standing) -> Result<()> {
        let deliveries = Mutex::new(JoinSet::new());
        // What waits for others must not hold up the others.
        let (slow, quick): (Vec<&Message>, Vec<&Message>) =
            messages.iter().partition(|message| message.after.is_some() || message.route == Route::Direct);
        let quick = stream::iter(quick)
            .map(|message| async {
                self.wait_for_room().await;
                self.send_one(message, workers, &deliveries).await
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>();
        let slow = stream::iter(slow)
            .map(|message| async {
                if let Some(first) = messages.iter().find(|first| message.after == Some(first.number)) {
                    self.wait_for(first, standing).await;
                }
                self.send_one(message, workers, &deliveries).await
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

    async fn send_one(&self, message: &Message, workers: &Arc<Workers>, deliveries: &Mutex<JoinSet<()>>) -> Result<()> {
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
            Route::Poison if workers.door == Door::Pull => self.put_counted(text, self.attempts).await?,
            Route::Poison => put(&self.poison, text, None).await?.0,
            Route::Queue | Route::Twice => put(&self.queue, text, None).await?.0,
        };
        self.stories.note(&sent.message_id, &format!("sent: {} (number {})", message.kind, message.number));
        self.locked().insert(message.number, sent.clone());
        let number = message.number;
        match message.route {
            Route::Direct => self.until_done(&sent, number, workers).await?,
            Route::Twice => {
                let mut deliveries = deliveries.lock().unwrap_or_else(PoisonError::into_inner);
                if workers.door == Door::Pull {
                    let (queue, receipts) = (Arc::clone(&self.queue), self.deployment.receipts().clone());
                    let (message_id, stories) = (sent.message_id, self.stories.clone());
                    deliveries.spawn(async move { take_away(&queue, &receipts, &message_id, &stories).await });
                    return Ok(());
                }
                for host in 0..workers.count() {
                    let (workers, delivery) = (workers.clone(), sent.delivery(1));
                    deliveries.spawn(async move { drop(workers.deliver(host, "sign", delivery).await) });
                }
            }
            Route::Queue | Route::Poison => {}
        }
        Ok(())
    }

    /// Puts a message on the work queue of which that says that it was delivered so often already.
    pub async fn put_counted(&self, text: String, deliveries: u32) -> Result<Sent> {
        let (sent, receipt) = put(&self.queue, text, Some(UNSEEN)).await?;
        self.deployment.receipts().count_from(&sent.message_id, deliveries);
        self.queue.update_message(&sent.message_id, &receipt, 0, None).await.context("showing a message")?;
        Ok(sent)
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
    async fn until_done(&self, sent: &Sent, number: usize, workers: &Workers) -> Result<()> {
        for count in 1..200 {
            let host = number + usize::try_from(count).unwrap_or_default();
            let reply = workers.deliver(host, "sign", sent.delivery(count)).await;
            if reply.is_some_and(|reply| reply.outcome.succeeded()) {
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

/// Puts a message on a queue, hidden for so many seconds; with the receipt that it can be shown with.
async fn put(queue: &QueueClient, text: String, hidden: Option<i32>) -> Result<(Sent, String)> {
    let message = QueueMessage { message_text: Some(text.clone()) };
    let options =
        QueueClientSendMessageOptions { visibility_timeout: hidden, ..QueueClientSendMessageOptions::default() };
    let message = message.try_into().context("a message")?;
    let answer = queue.send_message(message, Some(options)).await.context("sending")?;
    let sent = answer.into_model().context("what was sent")?;
    let sent = sent.items.unwrap_or_default().pop().ok_or_else(|| Error::new("sending", "no answer"))?;
    let (Some(message_id), Some(inserted), Some(receipt)) = (sent.message_id, sent.insertion_time, sent.pop_receipt)
    else {
        return Err(Error::new("sending", "the queue gave no id"));
    };
    Ok((Sent { message_id, text, inserted }, receipt))
}

/// Takes a message from whoever has received it, so that another one receives it while the first is still at it.
async fn take_away(queue: &QueueClient, receipts: &Receipts, message_id: &str, stories: &Stories) {
    let theirs = loop {
        match receipts.receipt(message_id) {
            Some(receipt) => break receipt,
            None if receipts.is_deleted(message_id) => return,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    if queue.update_message(message_id, &theirs, 0, None).await.is_ok() {
        stories.note(message_id, "taken from who has received it");
        stories.count("leases taken away");
    }
}
