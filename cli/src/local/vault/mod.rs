//! A local Key Vault: real keys and signatures behind the service's REST interface.
//!
//! Shapes as in the Key Vault REST reference, api-version 2025-07-01. One listener serves any number of vaults, each
//! under its own host name, `https://{vault}.vault.localhost:{port}`.

mod api;
mod bodies;
mod errors;
mod keys;
mod store;
#[cfg(test)]
mod tests;
mod throttle;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::{Request, Response};
use rustls::ServerConfig;
use serde_json::Value;
use tokio::task::spawn_blocking;

use self::{
    keys::{Algorithm, PrivateKey},
    store::{NewVersion, Store, Version},
    throttle::Limit,
};
use super::{
    identity::Issuer,
    listener::{Listener, Service},
    tap::Tap,
};

pub use self::{
    errors::VaultError,
    keys::{KeyOptions, KeySpec},
    store::Attributes,
};

/// The resource that the vault's tokens are for, and that its challenge names.
pub const AUDIENCE: &str = "https://vault.localhost";

/// How many signatures the audit keeps; the oldest go first.
pub const KEPT_SIGNATURES: usize = 50_000;

/// All the vaults of one port. Clones are the same vaults.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

/// A signature that a vault made.
#[derive(Clone, Debug)]
pub struct SignatureRecord {
    /// The key identifier, with its version.
    pub kid: String,
    /// The JWA name of the algorithm.
    pub algorithm: String,
    /// What was signed.
    pub digest: Vec<u8>,
    /// The signature; for EC `r` and `s` one after the other.
    pub signature: Vec<u8>,
    /// When it was made.
    pub at: SystemTime,
}

impl Vault {
    /// Vaults without keys, which take this issuer's tokens.
    #[must_use]
    pub fn new(issuer: Issuer) -> Self {
        Self { inner: Arc::new(Inner { issuer, port: AtomicU16::new(0), state: Mutex::default() }) }
    }

    /// Serves the vaults on a port of 127.0.0.1 (0: one that is free), which then is part of every key identifier.
    pub fn listen(&self, tls: Arc<ServerConfig>, port: u16, tap: Tap) -> io::Result<Listener> {
        let listener = Listener::start("vault", Some(tls), port, tap, Arc::new(self.clone()))?;
        self.inner.port.store(listener.port(), Ordering::Relaxed);
        Ok(listener)
    }

    /// The base URL of a vault, without a slash at its end.
    #[must_use]
    pub fn url(&self, vault: &str) -> String {
        match self.inner.port.load(Ordering::Relaxed) {
            0 | 443 => format!("https://{vault}.vault.localhost"),
            port => format!("https://{vault}.vault.localhost:{port}"),
        }
    }

    /// Makes a key, or a new version of one with this name; gives its identifier with the version.
    ///
    /// What it is made of is a [`KeySpec`], that spec's [`KeySpec::hsm`], or [`KeyOptions`] in full.
    pub async fn create_key(
        &self,
        vault: &str,
        name: &str,
        options: impl Into<KeyOptions>,
    ) -> Result<String, VaultError> {
        let KeyOptions { spec, hsm, attributes } = options.into();
        let made_of = NewVersion { hsm, attributes, ..NewVersion::of(spec) };
        let version = self.create(vault, name, made_of).await?;
        Ok(self.kid(vault, name, &version.id))
    }

    /// Makes a new version like the newest; gives its identifier.
    pub async fn rotate(&self, vault: &str, name: &str) -> Result<String, VaultError> {
        let version = self.new_version(vault, name).await?;
        Ok(self.kid(vault, name, &version.id))
    }

    /// Sets attributes of one version of a key, or of the newest.
    pub fn update_attributes(
        &self,
        vault: &str,
        name: &str,
        version: Option<&str>,
        attributes: Attributes,
    ) -> Result<(), VaultError> {
        let mut state = self.state();
        let change = |made_of: &mut NewVersion| store::apply(made_of, attributes, None, None);
        state.vault(vault).update(name, version, change).map(drop)
    }

    /// Deletes a key with all its versions; it stays recoverable, and its name taken.
    pub fn delete(&self, vault: &str, name: &str) -> Result<(), VaultError> {
        self.state().vault(vault).delete(name)
    }

    /// Brings a deleted key back.
    pub fn recover(&self, vault: &str, name: &str) -> Result<(), VaultError> {
        self.state().vault(vault).recover(name)
    }

    /// The key bundle of one version, or of the newest, as the service answers it.
    pub fn key(&self, vault: &str, name: &str, version: Option<&str>) -> Result<Value, VaultError> {
        let mut state = self.state();
        let version = state.vault(vault).version(name, version)?;
        Ok(version.bundle(&self.kid(vault, name, &version.id)))
    }

    /// Lets each vault do this many operations in ten seconds, or any number; the rest is answered 429.
    pub fn limit(&self, operations: Option<u32>) {
        self.state().limit = operations.map_or(Limit::None, Limit::Operations);
    }

    /// Lets each vault do what the service's limits allow in ten seconds; the rest is answered 429.
    ///
    /// Of "Azure Key Vault service limits", for each vault: with software keys 4,000 operations with RSA-2048 or any curve,
    /// 1,000 with RSA-3072, 500 with RSA-4096; with keys of the HSM types half as many; and these weigh against each
    /// other, as one with RSA-4096 is worth eight with RSA-2048. 20 software and 10 HSM keys (or versions, by a rotation)
    /// can be made. What is not about a key that there is has the 4,000 of "vault transactions". That software and HSM keys
    /// do not weigh against each other is read out of the page's examples. The fivefold limit of a subscription is not kept.
    pub fn limit_as_documented(&self) {
        self.state().limit = Limit::AsDocumented;
    }

    /// How many requests to a vault were answered 429 for a limit; what a tap's fault answered is not among them.
    #[must_use]
    pub fn throttled(&self, vault: &str) -> u64 {
        self.state().vaults.get(vault).map_or(0, |vault| vault.throttle.refused)
    }

    /// Hides every key and every version made from now on from requests, for this long after it was made.
    ///
    /// Requests for it are answered as if it did not exist (404 `KeyNotFound`); for a key without a version they find the
    /// newest version that is not hidden. What is hidden already stays so until then or until the new delay is over,
    /// whichever is earlier: with zero, it shows at once. The methods of this type see everything.
    pub fn set_readiness_delay(&self, delay: Duration) {
        let mut state = self.state();
        state.readiness_delay = delay;
        state.vaults.values_mut().for_each(|vault| vault.set_readiness_delay(delay));
    }

    /// The signatures made, in order; at most [`KEPT_SIGNATURES`].
    #[must_use]
    pub fn signatures(&self) -> Vec<SignatureRecord> {
        self.state().signatures.iter().cloned().collect()
    }

    /// Forgets the signatures made so far.
    pub fn clear_signatures(&self) {
        self.state().signatures.clear();
    }
}

impl Service for Vault {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        let vault = self.clone();
        Box::pin(async move { api::answer(&vault, &request).await })
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("port", &self.inner.port).finish_non_exhaustive()
    }
}

struct Inner {
    issuer: Issuer,
    port: AtomicU16,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    vaults: BTreeMap<String, Store>,
    limit: Limit,
    readiness_delay: Duration,
    signatures: VecDeque<SignatureRecord>,
}

impl State {
    fn vault(&mut self, name: &str) -> &mut Store {
        self.vaults.entry(name.to_owned()).or_insert_with(|| Store::with_readiness_delay(self.readiness_delay))
    }
}

impl Vault {
    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kid(&self, vault: &str, name: &str, version: &str) -> String {
        format!("{}/keys/{name}/{version}", self.url(vault))
    }

    async fn create(&self, vault: &str, name: &str, made_of: NewVersion) -> Result<Version, VaultError> {
        self.state().vault(vault).accepts(name)?;
        let (spec, public_exponent) = (made_of.spec, made_of.public_exponent);
        let key = off_the_runtime(move || PrivateKey::generate(spec, public_exponent))
            .await?
            .map_err(|error| VaultError::internal(format!("The key could not be made: {error}")))?;
        let version = Version::new(made_of, key);
        self.state().vault(vault).add(name, version.clone())?;
        Ok(version)
    }

    async fn new_version(&self, vault: &str, name: &str) -> Result<Version, VaultError> {
        let mut made_of = self.state().vault(vault).version(name, None)?.made_of.clone();
        made_of.attributes = Attributes::default();
        self.create(vault, name, made_of).await
    }

    async fn sign(
        &self,
        kid: String,
        version: Version,
        algorithm: (Algorithm, String),
        digest: Vec<u8>,
    ) -> Result<Vec<u8>, VaultError> {
        let (algorithm, name) = algorithm;
        let (signature, digest) = off_the_runtime(move || (version.key.sign(algorithm, &digest), digest)).await?;
        let signature = signature.ok_or_else(|| VaultError::internal("The key could not sign."))?;
        let record =
            SignatureRecord { kid, algorithm: name, digest, signature: signature.clone(), at: SystemTime::now() };
        let mut state = self.state();
        if state.signatures.len() == KEPT_SIGNATURES {
            state.signatures.pop_front();
        }
        state.signatures.push_back(record);
        Ok(signature)
    }
}

/// Arithmetic that would hold up other requests.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, VaultError> {
    spawn_blocking(work).await.map_err(|error| VaultError::internal(error.to_string()))
}
