//! What is there once: settings, edges, readiness, and the number of items in flight.

use std::{convert::Infallible, sync::Arc};

use signet_azure::{identity::Identity, transport::transport};
use tokio::sync::Semaphore;

use crate::{
    EX_CONFIG, Fatal,
    results::Container,
    settings::Settings,
    vault::Vault,
    warm_up::{self, Readiness},
};

/// Shared by all invocations.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) vault: Vault,
    pub(crate) results: Container,
    pub(crate) rejected: Container,
    pub(crate) readiness: Readiness,
    /// One permit for each item that may be in flight.
    pub(crate) places: Semaphore,
}

impl App {
    /// Makes the clients; nothing is sent yet.
    pub(crate) fn new(settings: Settings) -> Result<Arc<Self>, Fatal> {
        let transport = transport(&settings.roots);
        let identity = Identity::new(settings.source.clone(), settings.client_id.clone(), transport.clone());
        let bad = |error: azure_core::Error| Fatal { exit: EX_CONFIG, cause: error.to_string() };
        let vault = Vault::new(settings.key.clone(), &identity, &transport).map_err(bad)?;
        let results = Container::new(settings.results.clone(), &identity, &transport).map_err(bad)?;
        let rejected = results.beside(settings.rejected.clone(), &transport).map_err(bad)?;
        let places = Semaphore::new(settings.concurrency);
        Ok(Arc::new(Self { settings, vault, results, rejected, readiness: Readiness::new(), places }))
    }

    /// Gets ready, then waits for ever.
    pub(crate) async fn warm_up(&self) -> Result<Infallible, Fatal> {
        warm_up::warm_up(&self.settings, &self.vault, &self.results, &self.readiness).await
    }
}
