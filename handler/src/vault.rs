//! The edge to Key Vault: looking a key up, and having a digest signed.

use std::{sync::Arc, time::Duration};

use azure_core::{Error, Result, error::ErrorKind, time::OffsetDateTime};
use azure_security_keyvault_keys::{
    KeyClient, KeyClientOptions,
    models::{Key, KeyAttributes, KeyClientGetKeyOptions, KeyClientSignOptions, SignParameters, SignatureAlgorithm},
};
use futures::TryStreamExt;
use signet_azure::{
    identity::{Credential, Identity},
    names::KeyIdentifier,
};
use signet_core::{
    algorithm::Algorithm,
    draft::SigningKey,
    key::{Curve, KeyError, PublicKey},
};

use crate::telemetry::Telemetry;

/// One key of one vault.
pub(crate) struct Vault {
    client: KeyClient,
    credential: Arc<Credential>,
    key: KeyIdentifier,
}

/// A version of the key, as the vault describes it.
#[derive(Debug)]
pub(crate) struct KeyVersion {
    /// The full key identifier.
    pub(crate) kid: String,
    pub(crate) public: std::result::Result<PublicKey, KeyError>,
    pub(crate) life: Life,
}

/// When a version may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    enabled: bool,
    pub(crate) created: Option<OffsetDateTime>,
    not_before: Option<OffsetDateTime>,
    expires: Option<OffsetDateTime>,
}

/// A version of the key as it is listed: without its public half.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The full key identifier.
    pub(crate) kid: String,
    pub(crate) life: Life,
}

/// What the vault did with a digest.
#[derive(Debug)]
pub(crate) struct Signature {
    /// The key version that the vault says it used.
    pub(crate) kid: String,
    /// ECDSA: `r || s`.
    pub(crate) bytes: Vec<u8>,
}

impl Vault {
    pub(crate) fn new(key: KeyIdentifier, identity: &Identity, telemetry: &Telemetry) -> Result<Self> {
        let credential = identity.credential();
        let options = KeyClientOptions { client_options: telemetry.client_options(), ..KeyClientOptions::default() };
        let client = KeyClient::new(key.vault.as_str(), credential.clone(), Some(options))?;
        Ok(Self { client, credential, key })
    }

    /// The vault's host name, for logs.
    pub(crate) fn host(&self) -> &str {
        self.key.vault.host_str().unwrap_or_default()
    }

    /// Whether one version is named, so that no rotation is followed.
    pub(crate) fn is_pinned(&self) -> bool {
        self.key.version.is_some()
    }

    /// Looks up the pinned version, or else the newest one that can sign now. One request in the usual case, in which
    /// that is the current version.
    ///
    /// It has no body, so it is also the right first request of a client: the SDK loses the body of a request that fails
    /// for a moment before the vault has told it where to get a token.
    pub(crate) async fn look_up(&self) -> Result<KeyVersion> {
        let key = self.version(self.key.version.clone()).await?;
        if self.is_pinned() || Life::of(key.attributes.as_ref()).can_sign(OffsetDateTime::now_utc()) {
            return self.describe(key);
        }
        let versions = self.versions().await?;
        let newest = newest(&versions, OffsetDateTime::now_utc()).ok_or_else(|| self.nothing_usable())?;
        self.get(&newest.kid).await
    }

    /// Every version of the key, in no order.
    pub(crate) async fn versions(&self) -> Result<Vec<Listed>> {
        let mut listed = Vec::new();
        let mut versions = self.client.list_key_properties_versions(&self.key.name, None)?;
        while let Some(version) = versions.try_next().await? {
            let life = Life::of(version.attributes.as_ref());
            listed.extend(version.kid.map(|kid| Listed { kid, life }));
        }
        Ok(listed)
    }

    /// A version with its public half.
    pub(crate) async fn get(&self, kid: &str) -> Result<KeyVersion> {
        self.describe(self.version(Some(version_of(kid).to_owned())).await?)
    }

    /// The error where there is no version to sign with.
    pub(crate) fn nothing_usable(&self) -> Error {
        let message = format!("no version of the key {} is enabled and within its validity", self.key.name);
        Error::with_message(ErrorKind::Other, message)
    }

    /// Has a digest signed by the pinned version: one try.
    pub(crate) async fn sign(&self, key: &SigningKey, digest: &[u8]) -> Result<Signature> {
        let parameters = SignParameters { algorithm: Some(sdk_algorithm(key.algorithm)), value: Some(digest.to_vec()) };
        let key_version = Some(version_of(&key.kid).to_owned());
        let options = KeyClientSignOptions { key_version, ..KeyClientSignOptions::default() };
        let signed = self.client.sign(&self.key.name, parameters.try_into()?, Some(options)).await?.into_model()?;
        Ok(Signature { kid: signed.kid.unwrap_or_default(), bytes: signed.result.unwrap_or_default() })
    }

    /// Forgets a token that the vault has refused.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    async fn version(&self, version: Option<String>) -> Result<Key> {
        let options = KeyClientGetKeyOptions { key_version: version, ..KeyClientGetKeyOptions::default() };
        self.client.get_key(&self.key.name, Some(options)).await?.into_model()
    }

    fn describe(&self, key: Key) -> Result<KeyVersion> {
        let life = Life::of(key.attributes.as_ref());
        let jwk = key.key.ok_or_else(|| Error::with_message(ErrorKind::DataConversion, "the vault sent no key"))?;
        let kid = jwk.kid.clone().unwrap_or_default();
        let expected = format!("{}keys/{}/", self.key.vault, self.key.name);
        // The identifier goes into every signature: it must be the key that was asked for.
        // Names of keys are the same in any case.
        let is_expected = kid.split_at_checked(expected.len()).is_some_and(|(prefix, version)| {
            prefix.eq_ignore_ascii_case(&expected) && !version.is_empty() && !version.contains('/')
        });
        if !is_expected {
            let message = format!("the vault answered with the key {kid} where {expected} was asked for");
            return Err(Error::with_message(ErrorKind::DataConversion, message));
        }
        let part = |bytes: Option<Vec<u8>>| bytes.unwrap_or_default();
        let public = match jwk.kty.as_ref().map(AsRef::as_ref) {
            Some("RSA" | "RSA-HSM") => PublicKey::rsa(&part(jwk.n), &part(jwk.e)),
            Some("EC" | "EC-HSM") => jwk
                .crv
                .as_ref()
                .and_then(|curve| Curve::from_name(curve.as_ref()))
                .ok_or(KeyError::Unsupported)
                .and_then(|curve| PublicKey::ec(curve, &part(jwk.x), &part(jwk.y))),
            _ => Err(KeyError::Unsupported),
        };
        Ok(KeyVersion { kid, public, life })
    }
}

impl Life {
    fn of(attributes: Option<&KeyAttributes>) -> Self {
        Self {
            enabled: attributes.and_then(|attributes| attributes.enabled).unwrap_or(true),
            created: attributes.and_then(|attributes| attributes.created),
            not_before: attributes.and_then(|attributes| attributes.not_before),
            expires: attributes.and_then(|attributes| attributes.expires),
        }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether it may sign at a time.
    pub(crate) fn can_sign(&self, now: OffsetDateTime) -> bool {
        self.enabled && self.not_before.is_none_or(|from| from <= now) && self.expires.is_none_or(|until| now < until)
    }

    /// How long it is until this changes by itself.
    pub(crate) fn until_change(&self, now: OffsetDateTime) -> Option<Duration> {
        let ahead = [self.not_before, self.expires].into_iter().flatten().filter(|at| self.enabled && *at > now);
        let seconds = ahead.min()?.unix_timestamp().checked_sub(now.unix_timestamp())?;
        seconds.try_into().ok().map(Duration::from_secs)
    }
}

/// The newest version that can sign.
pub(crate) fn newest(versions: &[Listed], now: OffsetDateTime) -> Option<&Listed> {
    let usable = versions.iter().filter(|version| version.life.can_sign(now));
    usable.max_by_key(|version| version.life.created)
}

fn version_of(kid: &str) -> &str {
    kid.rsplit('/').next().unwrap_or_default()
}

fn sdk_algorithm(algorithm: Algorithm) -> SignatureAlgorithm {
    match algorithm {
        Algorithm::Rs256 => SignatureAlgorithm::Rs256,
        Algorithm::Rs384 => SignatureAlgorithm::Rs384,
        Algorithm::Rs512 => SignatureAlgorithm::Rs512,
        Algorithm::Ps256 => SignatureAlgorithm::Ps256,
        Algorithm::Ps384 => SignatureAlgorithm::Ps384,
        Algorithm::Ps512 => SignatureAlgorithm::Ps512,
        Algorithm::Es256 => SignatureAlgorithm::Es256,
        Algorithm::Es384 => SignatureAlgorithm::Es384,
        Algorithm::Es512 => SignatureAlgorithm::Es512,
        Algorithm::Es256K => SignatureAlgorithm::Es256K,
    }
}
