//! What is there once: settings, edges, keys, and the number of items in flight.

use std::{convert::Infallible, sync::Arc};

use azure_core::http::Transport;
use signet_azure::{identity::Identity, transport::transport};
use tokio::sync::Semaphore;

use crate::{
    EX_CONFIG, Fatal,
    host::Load,
    keys::{Keys, Surroundings},
    publication::Publication,
    results::Container,
    settings::Settings,
    source::{LARGEST_ANSWER, Sources},
    telemetry::{Observed, Telemetry},
    vault::Vault,
};

/// Shared by all invocations.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) telemetry: Telemetry,
    pub(crate) keys: Keys,
    pub(crate) results: Container,
    pub(crate) rejected: Container,
    pub(crate) sources: Sources,
    pub(crate) transport: Transport,
    publication: Publication,
    /// What may be in memory of what the host sends.
    pub(crate) load: Load,
    /// One permit for each item that may be in flight.
    pub(crate) places: Semaphore,
}

impl App {
    /// Makes the clients; nothing is sent yet.
    pub(crate) fn new(settings: Settings) -> Result<Arc<Self>, Fatal> {
        let transport = transport(&settings.roots, LARGEST_ANSWER);
        let telemetry = Telemetry::new(settings.telemetry.clone(), transport.clone());
        let identity = Identity::new(settings.source.clone(), settings.client_id.clone(), transport.clone());
        let bad = |error: azure_core::Error| Fatal { exit: EX_CONFIG, cause: error.to_string() };
        let vaults = settings.keys.iter().map(|key| Vault::new(key.clone(), &identity, &telemetry));
        let keys = Keys::new(vaults.collect::<azure_core::Result<_>>().map_err(bad)?);
        let results = Container::new(settings.results.clone(), &identity, &telemetry).map_err(bad)?;
        let rejected = results.beside(settings.rejected.clone(), &telemetry).map_err(bad)?;
        let sources = Sources::new(&settings.sources, results.credential(), &telemetry).map_err(bad)?;
        let places = Semaphore::new(settings.concurrency);
        let load = Load::new(settings.concurrency);
        let publication = Publication::default();
        let app = Self { settings, telemetry, keys, results, rejected, sources, transport, publication, load, places };
        Ok(Arc::new(app))
    }

    /// Sends telemetry, if there is somewhere to send it, for ever: in a task of its own, since what is on its way when everything
    /// ends is to arrive.
    pub(crate) fn tell(self: &Arc<Self>) {
        if !self.telemetry.is_on() {
            return;
        }
        let app = Arc::downgrade(self);
        self.telemetry.observe(move || {
            let mut observed = Observed::default();
            if let Some(app) = app.upgrade() {
                app.keys.observe(&mut observed);
                observed.add_token("storage", app.results.credential());
            }
            observed
        });
        let app = Arc::clone(self);
        tokio::spawn(async move { app.telemetry.keep_sending().await });
    }

    /// Gets ready, then follows the keys for ever.
    pub(crate) async fn keep_keys(&self) -> Result<Infallible, Fatal> {
        let Self { settings, results, publication, .. } = self;
        self.keys.keep(&Surroundings { settings, results, publication }).await
    }
}
