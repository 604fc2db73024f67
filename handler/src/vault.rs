//! The edge to Key Vault: looking a key up, and having a digest signed.

use std::sync::Arc;

use azure_core::{Error, Result, error::ErrorKind, http::Transport, time::OffsetDateTime};
use azure_security_keyvault_keys::{
    KeyClient, KeyClientOptions, ResourceExt, ResourceId,
    models::{Key, KeyAttributes, KeyClientGetKeyOptions, KeyClientSignOptions, SignParameters, SignatureAlgorithm},
};
use futures::TryStreamExt;
use signet_azure::{
    client_options,
    failure::Failure,
    identity::{Credential, Identity},
};
use signet_core::{
    algorithm::Algorithm,
    draft::SigningKey,
    key::{Curve, KeyError, PublicKey},
};

use crate::{
    retry::{Trail, until_deadline},
    settings::KeyIdentifier,
};

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
    pub(crate) fn new(key: KeyIdentifier, identity: &Identity, transport: &Transport) -> Result<Self> {
        let credential = identity.credential();
        let options = KeyClientOptions { client_options: client_options(transport), ..KeyClientOptions::default() };
        let client = KeyClient::new(key.vault.as_str(), credential.clone(), Some(options))?;
        Ok(Self { client, credential, key })
    }

    /// Looks up the pinned version, or else the newest one that can sign now. One request in the usual case, in which
    /// that is the current version.
    ///
    /// It has no body, so it is also the right first request of a client: the SDK loses the body of a request that fails
    /// for a moment before the vault has told it where to get a token.
    pub(crate) async fn look_up(&self) -> Result<KeyVersion> {
        let key = self.version(self.key.version.clone()).await?;
        if self.key.version.is_some() || can_sign_now(key.attributes.as_ref()) {
            return self.describe(key);
        }
        let mut newest: Option<(OffsetDateTime, String)> = None;
        let mut versions = self.client.list_key_properties_versions(&self.key.name, None)?;
        while let Some(version) = versions.try_next().await? {
            let created = version.attributes.as_ref().and_then(|attributes| attributes.created);
            let id: Option<ResourceId> = version.resource_id().ok();
            if let (Some(created), Some(id)) = (created, id.and_then(|id| id.version))
                && can_sign_now(version.attributes.as_ref())
                && newest.as_ref().is_none_or(|(newest, _)| *newest < created)
            {
                newest = Some((created, id));
            }
        }
        let (_, version) = newest.ok_or_else(|| {
            let message = format!("no version of the key {} is enabled and within its validity", self.key.name);
            Error::with_message(ErrorKind::Other, message)
        })?;
        self.describe(self.version(Some(version)).await?)
    }

    /// Has a digest signed by the pinned version.
    pub(crate) async fn sign(
        &self,
        trail: &Trail,
        key: &SigningKey,
        digest: &[u8],
    ) -> std::result::Result<Signature, Failure> {
        let version = key.kid.rsplit('/').next().unwrap_or_default();
        until_deadline(trail, &self.credential, || async {
            let parameters =
                SignParameters { algorithm: Some(sdk_algorithm(key.algorithm)), value: Some(digest.to_vec()) };
            let options =
                KeyClientSignOptions { key_version: Some(version.to_owned()), ..KeyClientSignOptions::default() };
            let signed = self.client.sign(&self.key.name, parameters.try_into()?, Some(options)).await?.into_model()?;
            Ok(Signature { kid: signed.kid.unwrap_or_default(), bytes: signed.result.unwrap_or_default() })
        })
        .await
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
        Ok(KeyVersion { kid, public })
    }
}

fn can_sign_now(attributes: Option<&KeyAttributes>) -> bool {
    let now = OffsetDateTime::now_utc();
    attributes.is_none_or(|attributes| {
        attributes.enabled.unwrap_or(true)
            && attributes.not_before.is_none_or(|from| from <= now)
            && attributes.expires.is_none_or(|until| now < until)
    })
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
