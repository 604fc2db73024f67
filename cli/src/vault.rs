//! Keys as their vaults describe them: every version, and which of them signs.

use azure_core::{http::Transport, time::OffsetDateTime};
use azure_security_keyvault_keys::{
    KeyClient, KeyClientOptions,
    models::{JsonWebKey, Key, KeyAttributes, KeyClientGetKeyOptions},
};
use futures::TryStreamExt;
use signet_azure::{client_options, failure::Failure, names::KeyIdentifier};
use signet_core::key::{Curve, KeyError, PublicKey};

use crate::{
    remote::patiently,
    settings::{self, Error},
};

/// What a vault says of a key that it does not have, a deleted one among them.
const NOT_FOUND: &str = "KeyNotFound";

/// One version of a key.
#[derive(Clone, Debug)]
pub struct KeyVersion {
    /// The full key identifier.
    pub kid: String,
    /// Its last segment.
    pub version: String,
    /// Whether it may sign, as far as its owner says.
    pub enabled: bool,
    /// When it was made.
    pub created: Option<OffsetDateTime>,
    /// When it may sign first.
    pub not_before: Option<OffsetDateTime>,
    /// When it may sign no more.
    pub expires: Option<OffsetDateTime>,
    /// Whether its private half is in an HSM, if the vault tells.
    pub hsm: Option<bool>,
    /// The public half, or why there is none to be used here.
    pub public: Result<PublicKey, String>,
}

/// What can be done with a version now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may sign.
    Enabled,
    /// Its owner has disabled it.
    Disabled,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
}

impl KeyVersion {
    /// What can be done with it at a time.
    #[must_use]
    pub fn state(&self, now: OffsetDateTime) -> State {
        if !self.enabled {
            State::Disabled
        } else if self.not_before.is_some_and(|from| now < from) {
            State::NotYetValid
        } else if self.expires.is_some_and(|until| until <= now) {
            State::Expired
        } else {
            State::Enabled
        }
    }

    fn take(&mut self, jwk: JsonWebKey) {
        self.hsm = jwk.kty.as_ref().map(|kty| kty.as_ref().ends_with("-HSM"));
        self.public = public_half(jwk).map_err(|error| format!("it is {error}"));
    }

    fn of(kid: String, attributes: Option<&KeyAttributes>) -> Self {
        Self {
            version: kid.rsplit('/').next().unwrap_or_default().to_owned(),
            enabled: attributes.and_then(|attributes| attributes.enabled).unwrap_or(true),
            created: attributes.and_then(|attributes| attributes.created),
            not_before: attributes.and_then(|attributes| attributes.not_before),
            expires: attributes.and_then(|attributes| attributes.expires),
            hsm: None,
            public: Err("not read".to_owned()),
            kid,
        }
    }
}

/// All versions of a key.
#[derive(Debug)]
pub struct Timeline {
    /// The key, as it was asked for.
    pub key: KeyIdentifier,
    /// Newest first.
    pub versions: Vec<KeyVersion>,
    /// The identifier of the version that signs now, if any can: the pinned one, or else the current one, or else the
    /// newest.
    pub signing: Option<String>,
    /// Whether the vault has the key: one that was deleted or never made has no versions.
    pub exists: bool,
}

impl Timeline {
    /// Asks the vault, which must allow `get` and `list` on keys. Where it has no such key, the timeline is an empty one.
    pub async fn read(key: KeyIdentifier, transport: &Transport) -> Result<Self, Error> {
        let client = client(&key, transport)?;
        let name = key.without_version();
        let cause = |error: azure_core::Error| {
            let failure = Failure::from(&error);
            let remedy = match failure.status {
                Some(404) => "; create it, or name another in SIGNET_KEY",
                Some(403) => "; the role Key Vault Reader on it allows that",
                _ => "",
            };
            format!("the key {name} cannot be read: {}{remedy}", failure.message)
        };
        let current = match get(&client, &key.name, None).await {
            Ok(current) => current.key.and_then(|jwk| jwk.kid).unwrap_or_default(),
            Err(error) if Failure::from(&error).code == NOT_FOUND => {
                return Ok(Self { key, versions: Vec::new(), signing: None, exists: false });
            }
            Err(error) if Failure::from(&error).is(404) => return Err(cause(error).into()),
            // A current version that may not be read, say because it is disabled, is among the listed ones all the same.
            Err(_) => String::new(),
        };
        let mut versions = patiently(async || list(&client, &key.name).await).await.map_err(cause)?;
        for version in &mut versions {
            match get(&client, &key.name, Some(version.version.clone())).await {
                Ok(Key { key: Some(jwk), .. }) => version.take(jwk),
                Ok(_) => version.public = Err("the vault sent no key".to_owned()),
                // Of a version that cannot be used the kind is a detail; of others it must be known.
                Err(error) if !version.enabled => version.public = Err(Failure::from(&error).message),
                Err(error) => return Err(cause(error).into()),
            }
        }
        let signing = signing(&key, &versions, &current, OffsetDateTime::now_utc());
        versions.sort_by(|one, other| other.created.cmp(&one.created).then_with(|| one.kid.cmp(&other.kid)));
        Ok(Self { key, versions, signing, exists: true })
    }

    /// What is known of a key by `get` alone, as the handler follows one whose versions it may not list: the pinned version or
    /// the current one, and none where that cannot be used.
    #[must_use]
    pub fn of_current(key: KeyIdentifier, current: Option<Key>) -> Self {
        let version = current.and_then(|Key { key, attributes, .. }| {
            let jwk = key?;
            let mut version = KeyVersion::of(jwk.kid.clone()?, attributes.as_ref());
            version.take(jwk);
            Some(version)
        });
        let versions = Vec::from_iter(version);
        let current = versions.first().map(|version| version.kid.as_str()).unwrap_or_default();
        let signing = signing(&key, &versions, current, OffsetDateTime::now_utc());
        Self { key, versions, signing, exists: true }
    }
}

/// A client of a key's vault.
pub(crate) fn client(key: &KeyIdentifier, transport: &Transport) -> Result<KeyClient, Error> {
    let options = KeyClientOptions { client_options: client_options(transport), ..KeyClientOptions::default() };
    let credential = settings::identity(transport)?.credential();
    Ok(KeyClient::new(key.vault.as_str(), credential, Some(options))?)
}

/// One version of a key, or its current one.
pub(crate) async fn get(client: &KeyClient, name: &str, version: Option<String>) -> azure_core::Result<Key> {
    patiently(async || {
        let options = KeyClientGetKeyOptions { key_version: version.clone(), ..KeyClientGetKeyOptions::default() };
        client.get_key(name, Some(options)).await?.into_model()
    })
    .await
}

/// Every version, in no order, without its public half.
pub(crate) async fn list(client: &KeyClient, name: &str) -> azure_core::Result<Vec<KeyVersion>> {
    let mut versions = Vec::new();
    let mut listed = client.list_key_properties_versions(name, None)?;
    while let Some(version) = listed.try_next().await? {
        let attributes = version.attributes.as_ref();
        versions.extend(version.kid.clone().map(|kid| KeyVersion::of(kid, attributes)));
    }
    Ok(versions)
}

/// Which version signs, as the handler chooses: the pinned one; else the current one; else the newest that can.
fn signing(key: &KeyIdentifier, versions: &[KeyVersion], current: &str, now: OffsetDateTime) -> Option<String> {
    let mut usable = versions.iter().filter(|version| version.state(now) == State::Enabled);
    let chosen = if let Some(pinned) = &key.version {
        usable.find(|version| version.version == *pinned)
    } else {
        usable.clone().find(|version| version.kid == current).or_else(|| usable.max_by_key(|version| version.created))
    };
    chosen.map(|version| version.kid.clone())
}

fn public_half(jwk: JsonWebKey) -> Result<PublicKey, KeyError> {
    let part = |bytes: Option<Vec<u8>>| bytes.unwrap_or_default();
    match jwk.kty.as_ref().map(AsRef::as_ref) {
        Some("RSA" | "RSA-HSM") => PublicKey::rsa(&part(jwk.n), &part(jwk.e)),
        Some("EC" | "EC-HSM") => {
            let curve = jwk.crv.as_ref().and_then(|curve| Curve::from_name(curve.as_ref()));
            PublicKey::ec(curve.ok_or(KeyError::Unsupported)?, &part(jwk.x), &part(jwk.y))
        }
        _ => Err(KeyError::Unsupported),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_signs_is_the_handlers() {
        let at = |seconds| Some(OffsetDateTime::from_unix_timestamp(seconds).unwrap());
        let now = at(1000).unwrap();
        let version = |name: &str, created| {
            let mut version = KeyVersion::of(format!("https://a.vault.azure.net/keys/k/{name}"), None);
            version.created = at(created);
            version
        };
        let mut disabled = version("disabled", 500);
        disabled.enabled = false;
        let mut early = version("early", 600);
        early.not_before = at(1001);
        let mut late = version("late", 700);
        late.expires = at(1000);
        let versions = [version("old", 100), version("new", 200), disabled, early, late];
        let states: Vec<State> = versions.iter().map(|version| version.state(now)).collect();
        assert_eq!(states, [State::Enabled, State::Enabled, State::Disabled, State::NotYetValid, State::Expired]);

        let key = |text: &str| text.parse::<KeyIdentifier>().unwrap();
        let signs = |text: &str, current: usize| {
            signing(&key(text), &versions, &versions[current].kid, now)
                .map(|kid| kid.rsplit('/').next().unwrap().to_owned())
        };
        assert_eq!(signs("https://a.vault.azure.net/keys/k", 4).as_deref(), Some("new"));
        assert_eq!(
            signs("https://a.vault.azure.net/keys/k", 0).as_deref(),
            Some("old"),
            "the vault says what is current"
        );
        assert_eq!(signs("https://a.vault.azure.net/keys/k/old", 1).as_deref(), Some("old"));
        assert_eq!(signs("https://a.vault.azure.net/keys/k/disabled", 1), None);
    }
}
