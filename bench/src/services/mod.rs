//! The services that the contenders are measured against: in memory, over TLS, each as quick as it can be while what it
//! answers is real.

mod blobs;
mod local;
mod queue;
mod queues;
mod storage;
mod vault;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use signet::local::{
    certificates::{Certificates, LOCAL_NAMES},
    identity::{IdentityEndpoint, Issuer},
    listener::Service,
    vault::KeyOptions,
};
use tempfile::TempDir;

use self::{blobs::Blobs, queues::Queues, vault::Vault};
pub use self::{
    local::LocalVault,
    queue::{Queue, Refused, Tally},
};
use crate::{
    Error, Result,
    server::{Delay, Server},
};

/// The account in the path of a blob's URL, as Azurite has it where the host is `localhost`.
pub const ACCOUNT: &str = "devstoreaccount1";

/// The queue in the settings.
pub const QUEUE: &str = "work";

/// A vault with one key, a storage account and an identity.
#[derive(Debug)]
pub struct Services {
    /// Added to every request to any of them.
    pub delay: Delay,
    blobs: Arc<Blobs>,
    queues: Arc<Queues>,
    queue_server: Server,
    vault_server: Server,
    blob_server: Server,
    identity_server: Server,
    identity_header: String,
    authority: PathBuf,
    _directory: TempDir,
}

impl Services {
    /// Starts all of them on free ports.
    pub fn start() -> Result<Self> {
        Self::with(Issuer::new(), Arc::new(Vault::new()))
    }

    /// The same with the local vault, a key of this kind, and the limits that Key Vault documents.
    pub async fn with_limits(key: KeyOptions) -> Result<(Self, Arc<LocalVault>)> {
        let issuer = Issuer::new();
        let vault = Arc::new(LocalVault::new(issuer.clone(), key).await?);
        let service: Arc<LocalVault> = Arc::clone(&vault);
        Ok((Self::with(issuer, service)?, vault))
    }

    fn with(issuer: Issuer, vault: Arc<dyn Service>) -> Result<Self> {
        let directory = tempfile::tempdir().map_err(|e| Error::new("a directory", e))?;
        let certificates = Certificates::generate(&LOCAL_NAMES).map_err(|e| Error::new("certificates", e))?;
        let files = certificates.write_to(directory.path()).map_err(|e| Error::new("certificates", e))?;
        let tls = certificates.server_config().map_err(|e| Error::new("certificates", e))?;
        let delay = Delay::default();
        let identity = IdentityEndpoint::new(issuer);
        let identity_header = identity.secret().to_owned();
        let blobs = Arc::new(Blobs::default());
        let service: Arc<Blobs> = Arc::clone(&blobs);
        let queues = Arc::new(Queues::default());
        let queue_service: Arc<Queues> = Arc::clone(&queues);
        Ok(Self {
            vault_server: Server::start(Some(tls.clone()), delay.clone(), vault)?,
            blob_server: Server::start(Some(tls.clone()), delay.clone(), service)?,
            queue_server: Server::start(Some(tls), delay.clone(), queue_service)?,
            identity_server: Server::start(None, delay.clone(), Arc::new(identity))?,
            delay,
            blobs,
            queues,
            identity_header,
            authority: files.authority,
            _directory: directory,
        })
    }

    /// The settings of a handler that reaches the services under the names that they have in Azure, or all as `localhost`.
    #[must_use]
    pub fn settings(&self, are_names_known: bool) -> BTreeMap<String, String> {
        let [vault, blob, queue] = [&self.vault_server, &self.blob_server, &self.queue_server].map(Server::port);
        let storage = |service, port| {
            if are_names_known {
                format!("https://{ACCOUNT}.{service}.localhost:{port}")
            } else {
                format!("https://localhost:{port}/{ACCOUNT}")
            }
        };
        let vault_name = if are_names_known { "dev.vault.localhost" } else { "localhost" };
        [
            ("SIGNET_KEY", format!("https://{vault_name}:{vault}/keys/{}", vault::KEY)),
            ("SIGNET_RESULTS", format!("{}/signed", storage("blob", blob))),
            ("SIGNET_QUEUE", QUEUE.to_owned()),
            ("WorkQueue__queueServiceUri", storage("queue", queue)),
            ("IDENTITY_ENDPOINT", IdentityEndpoint::url(self.identity_server.port())),
            ("IDENTITY_HEADER", self.identity_header.clone()),
            ("SSL_CERT_FILE", self.authority.display().to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// What every TLS client of these services is to trust.
    #[must_use]
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// How many results there are.
    #[must_use]
    pub fn results(&self) -> usize {
        self.blobs.len()
    }

    /// When the result of an item with this id was created, if it is there.
    #[must_use]
    pub fn written(&self, id: &str) -> Option<Instant> {
        self.blobs.written(&format!("/signed/{id}.jws.json"))
    }

    /// A queue by its name; every one exists.
    #[must_use]
    pub fn queue(&self, name: &str) -> Arc<Queue> {
        self.queues.queue(name)
    }

    /// Forgets every blob.
    pub fn clear(&self) {
        self.blobs.clear();
    }
}
