//! The pieces put together: one Azurite and one certificate authority for all, and for each deployment its own vault,
//! identity endpoint, queue and containers, each behind a tap.

mod storage;

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use azure_core::http::Url;
use azure_storage_blob::BlobContainerClient;
use azure_storage_queue::{QueueClient, QueueServiceClient};
use signet_azure::{roots::Roots, transport::transport};
use tempfile::TempDir;

pub use self::storage::Storage;
use super::{
    app::Progress,
    azurite::{Azurite, AzuriteOptions},
    certificates::{CertificateFiles, Certificates, LOCAL_NAMES},
    event_grid::{EventGrid, Subscription},
    identity::{IdentityEndpoint, Issuer},
    ledger::Ledger,
    listener::{Listener, Service},
    proxy::Proxy,
    receipts::Receipts,
    tap::Tap,
    vault::{KeyOptions, Vault},
};
use crate::remote::LARGEST_ANSWER;

/// The storage account that Azurite has by itself.
pub const ACCOUNT: &str = "devstoreaccount1";
/// The vault that a deployment's keys are in, unless another one is named.
pub const VAULT: &str = "dev";

/// What all deployments share. Dropped, everything ends and nothing is left.
#[derive(Debug)]
pub struct Stack {
    azurite: Azurite,
    certificates: Certificates,
    files: CertificateFiles,
    roots: Roots,
    directory: TempDir,
}

impl Stack {
    /// Makes certificates and starts Azurite, fetching it first where needed.
    pub async fn start(progress: Progress<'_>) -> Result<Arc<Self>, StackError> {
        let directory = tempfile::Builder::new().prefix("signet-").tempdir().map_err(|e| fault("a directory", e))?;
        let certificates = Certificates::generate(&LOCAL_NAMES).map_err(|e| fault("certificates", e))?;
        let files = certificates.write_to(directory.path()).map_err(|e| fault("certificates", e))?;
        let options = AzuriteOptions {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            directory: directory.path().to_owned(),
        };
        let azurite = Azurite::start(&options, progress).await.map_err(|e| fault("Azurite", e))?;
        let roots = Roots::from_pem_file(&files.authority).map_err(|e| fault("certificates", e))?;
        Ok(Arc::new(Self { azurite, certificates, files, roots, directory }))
    }

    /// The authority that every local service is to be trusted by, as `SSL_CERT_FILE` takes it.
    #[must_use]
    pub fn authority(&self) -> &Path {
        &self.files.authority
    }

    /// A directory that is gone when the stack is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// The surroundings of one function app: vaults with keys, an identity, a queue, three containers.
#[derive(Debug)]
pub struct Deployment {
    /// Name of the work queue.
    pub queue_name: String,
    /// All the vaults; their keys are made and changed here.
    pub vault: Vault,
    /// Who makes tokens, and can revoke them.
    pub issuer: Issuer,
    /// What goes to each service.
    pub taps: Taps,
    events: EventGrid,
    ledger: Ledger,
    receipts: Receipts,
    stack: Arc<Stack>,
    identity_header: String,
    identity: Listener,
    vault_listener: Listener,
    storage: Storage,
    past_taps: Storage,
}

/// One tap for each service of a deployment.
#[derive(Clone, Debug)]
pub struct Taps {
    /// Key Vault: all vaults of the deployment, each under its host.
    pub vault: Tap,
    /// The token endpoint.
    pub identity: Tap,
    /// Blob Storage.
    pub blob: Tap,
    /// Queue Storage.
    pub queue: Tap,
}

impl Taps {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> [&Tap; 4] {
        [&self.vault, &self.identity, &self.blob, &self.queue]
    }
}

impl Deployment {
    /// Starts the services and creates queue `{name}` and containers `{name}-signed`, `{name}-rejected` and
    /// `{name}-uploads`.
    pub async fn start(stack: &Arc<Stack>, name: &str) -> Result<Self, StackError> {
        let taps = Taps { vault: Tap::new(), identity: Tap::new(), blob: Tap::new(), queue: Tap::new() };
        let tls = stack.certificates.server_config().map_err(|e| fault("certificates", e))?;
        let issuer = Issuer::new();
        let endpoint = IdentityEndpoint::new(issuer.clone());
        let identity_header = endpoint.secret().to_owned();
        let identity = Listener::start("identity", None, 0, taps.identity.clone(), Arc::new(endpoint));
        let vault = Vault::new(issuer.clone());
        let vault_listener = vault.listen(tls.clone(), 0, taps.vault.clone());
        let proxy = |service: &'static str, port: u16| {
            let upstream = stack.certificates.client_config().map_err(|e| fault("certificates", e))?;
            Ok(Proxy::new(service, port, upstream))
        };
        let blobs = proxy("blob", stack.azurite.blob_port())?;
        let queues = proxy("queue", stack.azurite.queue_port())?;
        let events = EventGrid::start(blobs.clone(), queues.clone());
        let (ledger, receipts) = (Ledger::default(), Receipts::default());
        let blobs: Arc<dyn Service> = Arc::new(ledger.watch(Arc::new(events.watch(blobs))));
        let queues: Arc<dyn Service> = Arc::new(receipts.watch(Arc::new(queues)));
        // Its connections live and die with the runtime that this deployment runs in.
        let transport = transport(&stack.roots, LARGEST_ANSWER);
        let storage = |blob_tap: &Tap, queue_tap: &Tap| {
            let listen = |name: &'static str, tap: &Tap, service: &Arc<dyn Service>| {
                let listener = Listener::start(name, Some(tls.clone()), 0, tap.clone(), service.clone());
                listener.map_err(|e| fault(name, e))
            };
            let (blob, queue) = (listen("blob", blob_tap, &blobs)?, listen("queue", queue_tap, &queues)?);
            Ok(Storage::new(name, blob, queue, transport.clone()))
        };
        let deployment = Self {
            queue_name: name.to_owned(),
            identity: identity.map_err(|e| fault("the identity endpoint", e))?,
            vault_listener: vault_listener.map_err(|e| fault("the vault", e))?,
            storage: storage(&taps.blob, &taps.queue)?,
            past_taps: storage(&Tap::new(), &Tap::new())?,
            events,
            ledger,
            receipts,
            stack: Arc::clone(stack),
            identity_header,
            vault,
            issuer,
            taps,
        };
        for container in [deployment.results()?, deployment.rejected()?, deployment.uploads()?] {
            container.create(None).await.map_err(|e| fault("a container", e))?;
        }
        deployment.queue()?.create(None).await.map_err(|e| fault("the queue", e))?;
        deployment.taps.blob.clear();
        deployment.taps.queue.clear();
        Ok(deployment)
    }

    /// Creates a key in the vault [`VAULT`] and returns its identifier without the version, as `SIGNET_KEY` takes it.
    pub async fn create_key(&self, name: &str, options: impl Into<KeyOptions>) -> Result<String, StackError> {
        self.create_key_in(VAULT, name, options).await
    }

    /// Creates a key in a vault, which is there once it has a key, and returns its identifier without the version.
    pub async fn create_key_in(
        &self,
        vault: &str,
        name: &str,
        options: impl Into<KeyOptions>,
    ) -> Result<String, StackError> {
        self.vault.create_key(vault, name, options).await.map_err(|e| fault("a key", e))?;
        Ok(self.key_url(vault, name))
    }

    /// The identifier of a key, without the version, whether or not there is such a key.
    #[must_use]
    pub fn key_url(&self, vault: &str, name: &str) -> String {
        format!("{}/keys/{name}", self.vault.url(vault))
    }

    /// App settings for a handler that signs with `key`, an identifier with or without version.
    #[must_use]
    pub fn settings(&self, key: &str) -> BTreeMap<String, String> {
        let [results, rejected, uploads] =
            ["signed", "rejected", "uploads"].map(|role| self.storage.container_url(role));
        [
            ("SIGNET_KEY", key),
            ("SIGNET_RESULTS", results.as_str()),
            ("SIGNET_REJECTED", rejected.as_str()),
            ("SIGNET_SOURCES", uploads.as_str()),
            ("SIGNET_QUEUE", &self.queue_name),
            ("WorkQueue__queueServiceUri", self.storage.queue_service_url().as_str().trim_end_matches('/')),
            ("IDENTITY_ENDPOINT", &IdentityEndpoint::url(self.identity.port())),
            ("IDENTITY_HEADER", &self.identity_header),
            ("SSL_CERT_FILE", &self.stack.authority().display().to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    /// The subscription of a work queue to its uploads: every blob that is written to the uploads container is an event
    /// on the work queue, in the form in which the service delivers it. To be changed, and passed to
    /// [`subscribe`](Self::subscribe).
    #[must_use]
    pub fn uploads_subscription(&self) -> Subscription {
        let container = Some(format!("{}-uploads", self.queue_name));
        Subscription { container, ..Subscription::to_queue(&self.queue_name) }
    }

    /// Puts the events of blobs that are written from now on, through this deployment, on a queue.
    pub fn subscribe(&self, subscription: Subscription) {
        self.events.subscribe(subscription);
    }

    /// The events of this deployment's blobs.
    #[must_use]
    pub fn events(&self) -> &EventGrid {
        &self.events
    }

    /// Every blob that was written through this deployment, as the service itself has answered.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What became of messages of this deployment's queues, as the service itself has answered.
    #[must_use]
    pub fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// The same storage past the taps: what they are told to do, and what they count, is nothing to it.
    #[must_use]
    pub fn past_taps(&self) -> &Storage {
        &self.past_taps
    }

    /// The stack below.
    #[must_use]
    pub fn stack(&self) -> &Arc<Stack> {
        &self.stack
    }

    /// The port that the vault listens on.
    #[must_use]
    pub fn vault_port(&self) -> u16 {
        self.vault_listener.port()
    }

    /// The results container, with all rights.
    pub fn results(&self) -> Result<BlobContainerClient, StackError> {
        self.storage.results()
    }

    /// The container of rejection records, with all rights.
    pub fn rejected(&self) -> Result<BlobContainerClient, StackError> {
        self.storage.rejected()
    }

    /// The container that blobs to be signed are uploaded to, with all rights.
    pub fn uploads(&self) -> Result<BlobContainerClient, StackError> {
        self.storage.uploads()
    }

    /// The work queue, with all rights.
    pub fn queue(&self) -> Result<QueueClient, StackError> {
        self.storage.queue()
    }

    /// The queue service, with all rights.
    pub fn queues(&self) -> Result<QueueServiceClient, StackError> {
        self.storage.queues()
    }
}

fn url(text: &str) -> Url {
    text.parse().expect("made of a scheme, a name and a port")
}

/// A part of the local stack that did not start.
#[derive(Debug)]
pub struct StackError {
    part: &'static str,
    cause: String,
}

fn fault(part: &'static str, cause: impl fmt::Display) -> StackError {
    StackError { part, cause: cause.to_string() }
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the local stack did not start: {}: {}", self.part, self.cause)
    }
}

impl std::error::Error for StackError {}

#[cfg(test)]
mod tests;
