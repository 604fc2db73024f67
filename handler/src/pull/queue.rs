//! The edge to the work queue: messages are received under a lease, which is renewed, given back or ended by a delete.

use std::{sync::Arc, time::Duration};

use azure_core::{error::ErrorKind, http::headers::HeaderName};
use azure_storage_queue::{QueueClient, QueueClientOptions, models::QueueClientReceiveMessagesOptions};
use signet_azure::{client_options, failure::Failure, identity::Credential};
use signet_core::envelope::Delivery;
use tokio::time::timeout;

use crate::{app::App, settings::Settings, trail::Moment};

/// The work queue.
pub(super) struct Queue {
    client: QueueClient,
    credential: Arc<Credential>,
}

/// A received message, under its current receipt.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) id: String,
    receipt: String,
    /// Until then, nobody else receives it.
    pub(super) until: Moment,
}

impl Queue {
    pub(super) fn new(app: &App) -> azure_core::Result<Self> {
        let Settings { queue_service, queue, .. } = &app.settings;
        let mut url = queue_service.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(queue);
        }
        // Without spans: an empty queue that is looked at again and again has no story to tell.
        let options =
            QueueClientOptions { client_options: client_options(&app.transport), ..QueueClientOptions::default() };
        let credential = Arc::clone(app.results.credential());
        Ok(Self { client: QueueClient::new(url, Some(credential.clone()), Some(options))?, credential })
    }

    /// Receives up to so many messages, hidden from others for so long.
    pub(super) async fn receive(&self, most: usize, lease: Duration) -> Result<Vec<(Leased, Delivery)>, Failure> {
        let until = Moment::after(lease);
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: Some(i32::try_from(most.min(MOST_AT_ONCE)).unwrap_or(1)),
            visibility_timeout: Some(whole_seconds(lease)),
            ..QueueClientReceiveMessagesOptions::default()
        };
        let received =
            self.asked(async { self.client.receive_messages(Some(options)).await?.into_model() }, PATIENCE).await?;
        let messages = received.items.unwrap_or_default().into_iter().filter_map(|message| {
            let (Some(id), Some(receipt)) = (message.message_id, message.pop_receipt) else {
                tracing::warn!("a message without id or receipt is left alone");
                return None;
            };
            let delivery = Delivery {
                message: message.message_text.unwrap_or_default().into_bytes(),
                message_id: Some(id.clone()),
                dequeue_count: message.dequeue_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
                inserted: message.insertion_time,
            };
            Some((Leased { id, receipt, until }, delivery))
        });
        Ok(messages.collect())
    }

    /// Hides a message for so long from now on, whether that is longer or shorter than before.
    pub(super) async fn hide(&self, leased: &mut Leased, time: Duration, patience: Duration) -> Result<(), Failure> {
        let until = Moment::after(time);
        let hidden = self.client.update_message(&leased.id, &leased.receipt, whole_seconds(time), None);
        let answer = self.asked(hidden, patience).await?;
        // The old receipt is void from now on, and the new one stands nowhere else.
        if let Some(receipt) = answer.headers().get_optional_str(&POP_RECEIPT) {
            receipt.clone_into(&mut leased.receipt);
        }
        leased.until = until;
        Ok(())
    }

    /// Deletes a message that is done with.
    pub(super) async fn delete(&self, leased: &Leased) -> Result<(), Failure> {
        self.asked(self.client.delete_message(&leased.id, &leased.receipt, None), PATIENCE).await.map(drop)
    }

    /// What became of a request. A refused token is forgotten.
    async fn asked<T>(
        &self,
        request: impl Future<Output = azure_core::Result<T>>,
        patience: Duration,
    ) -> Result<T, Failure> {
        let silence = || azure_core::Error::with_message(ErrorKind::Io, "no answer in time");
        let answer = timeout(patience, request).await.unwrap_or_else(|_elapsed| Err(silence()));
        answer.map_err(|error| {
            let failure = Failure::from(&error);
            if failure.refuses_token() {
                self.credential.distrust();
            }
            failure
        })
    }
}

/// Whether a message is not ours any more: somebody else has received it since, or it is deleted.
pub(super) fn is_lost(failure: &Failure) -> bool {
    failure.is(404) || failure.code == "PopReceiptMismatch"
}

fn whole_seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

const POP_RECEIPT: HeaderName = HeaderName::from_static("x-ms-popreceipt");
/// What the service gives at a time (<https://learn.microsoft.com/rest/api/storageservices/get-messages>).
pub(super) const MOST_AT_ONCE: usize = 32;
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
