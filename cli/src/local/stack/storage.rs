//! A deployment's storage, with all rights: its containers and its queue.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{Transport, Url},
    time::OffsetDateTime,
};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use azure_storage_queue::{QueueClient, QueueServiceClient, QueueServiceClientOptions};
use signet_azure::client_options;

use super::{ACCOUNT, StackError, fault, url};
use crate::local::{
    identity::{Issuer, SYSTEM_ASSIGNED},
    listener::Listener,
};

/// The containers and the queue of one deployment, as they are reached through two listeners.
#[derive(Debug)]
pub struct Storage {
    name: String,
    blob: Listener,
    queue: Listener,
    transport: Transport,
    /// The owner's own, so that what is done to the handler's tokens is nothing to the owner.
    issuer: Issuer,
}

impl Storage {
    pub(super) fn new(name: &str, blob: Listener, queue: Listener, transport: Transport) -> Self {
        Self { name: name.to_owned(), blob, queue, transport, issuer: Issuer::new() }
    }

    /// The results container.
    pub fn results(&self) -> Result<BlobContainerClient, StackError> {
        self.container("signed")
    }

    /// The container of rejection records.
    pub fn rejected(&self) -> Result<BlobContainerClient, StackError> {
        self.container("rejected")
    }

    /// The container that blobs to be signed are uploaded to.
    pub fn uploads(&self) -> Result<BlobContainerClient, StackError> {
        self.container("uploads")
    }

    /// The work queue.
    pub fn queue(&self) -> Result<QueueClient, StackError> {
        self.queues()?.queue_client(&self.name).map_err(|e| fault("the queue", e))
    }

    /// The queue service.
    pub fn queues(&self) -> Result<QueueServiceClient, StackError> {
        let options = QueueServiceClientOptions {
            client_options: client_options(&self.transport),
            ..QueueServiceClientOptions::default()
        };
        QueueServiceClient::new(self.queue_service_url(), Some(self.credential()), Some(options))
            .map_err(|e| fault("the queue service", e))
    }

    fn container(&self, role: &str) -> Result<BlobContainerClient, StackError> {
        let options = BlobContainerClientOptions {
            client_options: client_options(&self.transport),
            ..BlobContainerClientOptions::default()
        };
        BlobContainerClient::new(self.container_url(role), Some(self.credential()), Some(options))
            .map_err(|e| fault("a container", e))
    }

    pub(super) fn container_url(&self, role: &str) -> Url {
        url(&format!("https://{ACCOUNT}.blob.localhost:{}/{}-{role}", self.blob.port(), self.name))
    }

    pub(super) fn queue_service_url(&self) -> Url {
        url(&format!("https://{ACCOUNT}.queue.localhost:{}/", self.queue.port()))
    }

    #[cfg(test)]
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    fn credential(&self) -> Arc<dyn TokenCredential> {
        owner(&self.issuer)
    }
}

/// The owner's credential where tokens of this issuer are taken.
pub(super) fn owner(issuer: &Issuer) -> Arc<dyn TokenCredential> {
    Arc::new(Owner { issuer: issuer.clone() })
}

/// Tokens straight from an issuer, so that the owner's requests do not appear at the identity endpoint.
#[derive(Debug)]
struct Owner {
    issuer: Issuer,
}

#[async_trait]
impl TokenCredential for Owner {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let resource = scopes.first().copied().unwrap_or_default().trim_end_matches("/.default");
        let (token, expires_on) = self.issuer.issue(&SYSTEM_ASSIGNED, resource);
        let expires_on = i64::try_from(expires_on).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        Ok(AccessToken::new(token, expires_on.unwrap_or_else(OffsetDateTime::now_utc)))
    }
}
