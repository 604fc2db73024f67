//! The local vault behind the lean server: real keys, real signatures, and the limits that Key Vault documents.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use hyper::{
    Request, Response,
    header::{HOST, HeaderValue},
};
use signet::local::{
    identity::Issuer,
    listener::Service,
    vault::{KeyOptions, Vault},
};

use super::vault::KEY;
use crate::{Error, Result};

/// The vault's name, the first label of its host.
const VAULT: &str = "dev";
/// The host by which the vault knows itself.
const HOST_NAME: &str = "dev.vault.localhost";

/// A vault with one key, which counts what is asked of it.
pub struct LocalVault {
    vault: Vault,
    asked: AtomicU64,
}

impl LocalVault {
    /// Makes the key, then sets the limits.
    pub(super) async fn new(issuer: Issuer, key: KeyOptions) -> Result<Self> {
        let vault = Vault::new(issuer);
        vault.create_key(VAULT, KEY, key).await.map_err(|e| Error::new("a key", e))?;
        vault.limit_as_documented();
        Ok(Self { vault, asked: AtomicU64::new(0) })
    }

    /// How many requests to sign there were, those that were refused among them.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// How many requests were refused, 429.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.vault.throttled(VAULT)
    }
}

impl Service for LocalVault {
    /// The host is the vault's own in requests, and the asked one in answers: some peers know this machine as `localhost`
    /// alone, and the port is the server's.
    fn call(&self, mut request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        if request.uri().path().ends_with("/sign") {
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
        let asked = request.headers_mut().insert(HOST, HeaderValue::from_static(HOST_NAME));
        let answer = self.vault.call(request);
        async move {
            let asked = asked.as_ref().and_then(|asked| asked.to_str().ok()).unwrap_or(HOST_NAME);
            answer.await.map(|body| Bytes::from(String::from_utf8_lossy(&body).replace(HOST_NAME, asked)))
        }
        .boxed()
    }
}

impl fmt::Debug for LocalVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalVault").field("asked", &self.asked()).finish_non_exhaustive()
    }
}
