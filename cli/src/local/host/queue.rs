//! The queue trigger: receives, invokes, and settles each message.
//!
//! A received message is hidden for a fixed lease, renewed at half of it while its invocation runs. Success deletes it;
//! failure makes it visible after `visibilityTimeout`, or moves it to `{queue}-poison` when `maxDequeueCount` is reached.

use std::{sync::Arc, time::Duration};

use azure_core::{
    Error,
    http::{StatusCode, headers::HeaderName},
};
use azure_storage_queue::{
    clients::{QueueClient, QueueServiceClient},
    models::{QueueClientReceiveMessagesOptions, QueueMessage, ReceivedMessage},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rand_core::{OsRng, RngCore as _};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::{
    config::{Function, MessageEncoding, QueuesConfig},
    envelope::Message,
    invoke::Invoker,
    journal::Event,
};

const POP_RECEIPT: HeaderName = HeaderName::from_static("x-ms-popreceipt");
const POISON_SUFFIX: &str = "-poison";
const MAX_QUEUE_NAME: usize = 63;

/// One function's listener.
pub(super) struct Listener {
    function: Function,
    config: QueuesConfig,
    lease: Duration,
    polling_floor: Duration,
    queue: QueueClient,
    poison: Option<QueueClient>,
    invoker: Arc<Invoker>,
}

impl Listener {
    pub(super) fn new(
        function: Function,
        config: QueuesConfig,
        (lease, polling_floor): (Duration, Duration),
        queues: &QueueServiceClient,
        invoker: Arc<Invoker>,
    ) -> azure_core::Result<Self> {
        let poison = poison_queue(&function.queue).map(|name| queues.queue_client(&name)).transpose()?;
        let queue = queues.queue_client(&function.queue)?;
        Ok(Self { function, config, lease, polling_floor, queue, poison, invoker })
    }

    /// Listens until the host stops. Dropped, it leaves the messages in flight to their leases.
    pub(super) async fn listen(self: Arc<Self>) {
        let handler = self.invoker.handler.clone();
        tokio::select! {
            _ = handler.stopped() => {}
            fatal = self.poll() => handler.stop(&format!("queue {}: {fatal}", self.function.queue)),
        }
    }

    /// Receives batch after batch; resolves to the error that stops the host.
    async fn poll(self: &Arc<Self>) -> String {
        let mut in_flight = JoinSet::new();
        let mut backoff = Backoff::new(self.polling_floor, self.config.max_polling_interval);
        loop {
            while let Some(joined) = in_flight.try_join_next() {
                if let Some(fatal) = settled(Some(joined)) {
                    return fatal;
                }
            }
            while in_flight.len() > self.config.new_batch_threshold {
                if let Some(fatal) = settled(in_flight.join_next().await) {
                    return fatal;
                }
            }
            let messages = match self.receive().await {
                Ok(messages) => messages,
                Err(error) if is_passing(&error) => {
                    self.trouble("receiving messages", &error);
                    Vec::new()
                }
                Err(error) => return format!("receiving messages failed: {error}"),
            };
            if messages.is_empty() {
                let pause = tokio::time::sleep(backoff.next(random()));
                tokio::pin!(pause);
                loop {
                    tokio::select! {
                        () = &mut pause => break,
                        Some(joined) = in_flight.join_next() => if let Some(fatal) = settled(Some(joined)) {
                            return fatal;
                        },
                    }
                }
                continue;
            }
            backoff.reset();
            for message in messages {
                let listener = self.clone();
                in_flight.spawn(async move { listener.work_on(message).await });
            }
        }
    }

    async fn receive(&self) -> azure_core::Result<Vec<ReceivedMessage>> {
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: Some(i32::try_from(self.config.batch_size).unwrap_or(32)),
            visibility_timeout: Some(seconds(self.lease)),
            ..Default::default()
        };
        let received = self.queue.receive_messages(Some(options)).await?.into_model()?;
        Ok(received.items.unwrap_or_default())
    }

    /// From a received message to its fate; an error stops the host.
    async fn work_on(&self, received: ReceivedMessage) -> Result<(), String> {
        let mut leased = Leased::from(received);
        if leased.dequeue_count > self.config.max_dequeue_count {
            return self.give_up(&leased, "it was dequeued too often").await;
        }
        let Some(body) = decode(&leased.text, self.config.message_encoding) else {
            let reason = "message decoding has failed; check the messageEncoding settings";
            return self.give_up(&leased, reason).await;
        };
        let message = leased.message(body);
        let reply = {
            let invocation = self.invoker.invoke_message(&self.function, &message);
            tokio::pin!(invocation);
            let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + self.lease / 2, self.lease / 2);
            loop {
                tokio::select! {
                    reply = &mut invocation => break reply,
                    _ = renewal.tick() => self.renew(&mut leased).await?,
                }
            }
        };
        if reply.outcome.succeeded() {
            return self.delete(&leased).await;
        }
        if self.poison.is_none() {
            // Left to its lease: without a poison queue, releasing it would spin.
            return Ok(());
        }
        if leased.dequeue_count >= self.config.max_dequeue_count {
            return self.give_up(&leased, "its last attempt failed").await;
        }
        let released = self.update(&mut leased, self.config.visibility_timeout).await;
        self.settle("releasing a message", released)
    }

    async fn renew(&self, leased: &mut Leased) -> Result<(), String> {
        let renewed = self.update(leased, self.lease).await;
        self.settle("renewing a lease", renewed)
    }

    async fn update(&self, leased: &mut Leased, hidden: Duration) -> azure_core::Result<()> {
        let response = self.queue.update_message(&leased.id, &leased.pop_receipt, seconds(hidden), None).await?;
        if let Some(receipt) = response.headers().get_optional_str(&POP_RECEIPT) {
            receipt.clone_into(&mut leased.pop_receipt);
        }
        Ok(())
    }

    async fn delete(&self, leased: &Leased) -> Result<(), String> {
        let deleted = self.queue.delete_message(&leased.id, &leased.pop_receipt, None).await;
        self.settle("deleting a message", deleted.map(drop))
    }

    /// Copies the body to the poison queue and deletes the message. Without a poison queue it is left to its lease.
    async fn give_up(&self, leased: &Leased, reason: &str) -> Result<(), String> {
        let Some(poison) = &self.poison else { return Ok(()) };
        if let Err(error) = send_creating(poison, &leased.text).await {
            return self.settle("moving a message to the poison queue", Err(error));
        }
        self.invoker.journal.tell(&Event::MessagePoisoned {
            queue: format!("{}{POISON_SUFFIX}", self.function.queue),
            message_id: leased.id.clone(),
            reason: reason.to_owned(),
        });
        self.delete(leased).await
    }

    /// A lost lease and what passes by itself are noted; anything else stops the host.
    fn settle(&self, what: &str, result: azure_core::Result<()>) -> Result<(), String> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if is_lease_lost(&error) || is_passing(&error) => {
                self.trouble(what, &error);
                Ok(())
            }
            Err(error) => Err(format!("{what} failed: {error}")),
        }
    }

    fn trouble(&self, what: &str, error: &Error) {
        let (queue, reason) = (self.function.queue.clone(), format!("{what} failed: {error}"));
        self.invoker.journal.tell(&Event::QueueTrouble { queue, reason });
    }
}

/// A received message, under its current receipt.
struct Leased {
    id: String,
    pop_receipt: String,
    dequeue_count: i64,
    text: String,
    inserted: Option<OffsetDateTime>,
    expires: Option<OffsetDateTime>,
    next_visible: Option<OffsetDateTime>,
}

impl From<ReceivedMessage> for Leased {
    fn from(received: ReceivedMessage) -> Self {
        Self {
            id: received.message_id.unwrap_or_default(),
            pop_receipt: received.pop_receipt.unwrap_or_default(),
            dequeue_count: received.dequeue_count.unwrap_or_default(),
            text: received.message_text.unwrap_or_default(),
            inserted: received.insertion_time,
            expires: received.expiration_time,
            next_visible: received.time_next_visible,
        }
    }
}

impl Leased {
    fn message(&self, body: Vec<u8>) -> Message {
        let now = OffsetDateTime::now_utc();
        Message {
            id: self.id.clone(),
            body,
            dequeue_count: self.dequeue_count,
            inserted: self.inserted.unwrap_or(now),
            expires: self.expires.unwrap_or(now),
            next_visible: self.next_visible.unwrap_or(now),
            pop_receipt: self.pop_receipt.clone(),
        }
    }
}

async fn send_creating(queue: &QueueClient, text: &str) -> azure_core::Result<()> {
    let send = || async {
        let message = QueueMessage { message_text: Some(text.to_owned()) };
        queue.send_message(message.try_into()?, None).await.map(drop)
    };
    match send().await {
        Err(error) if error.http_status() == Some(StatusCode::NotFound) => {
            queue.create(None).await?;
            send().await
        }
        result => result,
    }
}

fn decode(text: &str, encoding: MessageEncoding) -> Option<Vec<u8>> {
    match encoding {
        MessageEncoding::None => Some(text.as_bytes().to_vec()),
        MessageEncoding::Base64 => BASE64_STANDARD.decode(text.trim()).ok(),
    }
}

/// `None` for a queue that is a poison queue, and for one whose name leaves no room.
fn poison_queue(queue: &str) -> Option<String> {
    let fits = queue.len() + POISON_SUFFIX.len() <= MAX_QUEUE_NAME;
    (fits && !queue.ends_with(POISON_SUFFIX)).then(|| format!("{queue}{POISON_SUFFIX}"))
}

/// A task's error, which is one of the queue or a panic.
fn settled(joined: Option<Result<Result<(), String>, tokio::task::JoinError>>) -> Option<String> {
    match joined? {
        Ok(result) => result.err(),
        Err(error) => Some(error.to_string()),
    }
}

/// Another receiver has the message, or it is gone.
fn is_lease_lost(error: &Error) -> bool {
    let code = match error.kind() {
        azure_core::error::ErrorKind::HttpResponse { error_code, .. } => error_code.as_deref(),
        _ => None,
    };
    matches!(code, Some("PopReceiptMismatch" | "MessageNotFound")) || error.http_status() == Some(StatusCode::NotFound)
}

/// No answer, the server's fault, or a queue that is not there now.
fn is_passing(error: &Error) -> bool {
    error.http_status().is_none_or(|status| matches!(u16::from(status), 404 | 408 | 409 | 429 | 500..=599))
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

/// From -1 to 1.
fn random() -> f64 {
    f64::from(OsRng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0
}

/// Randomised exponential pauses while a queue is empty.
#[derive(Debug)]
struct Backoff {
    floor: Duration,
    ceiling: Duration,
    exponent: i32,
}

impl Backoff {
    fn new(floor: Duration, ceiling: Duration) -> Self {
        Self { floor, ceiling, exponent: 0 }
    }

    fn reset(&mut self) {
        self.exponent = 0;
    }

    /// The next pause, 20 % more or less by `random`, which is from -1 to 1.
    fn next(&mut self, random: f64) -> Duration {
        let step = self.floor.mul_f64((1.0 + 0.2 * random) * 2_f64.powi(self.exponent));
        let pause = self.floor + step;
        self.exponent = (self.exponent + 1).min(30);
        pause.min(self.ceiling)
    }
}

#[cfg(test)]
mod tests;
