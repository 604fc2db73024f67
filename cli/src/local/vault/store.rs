//! What a vault holds: keys, each with its versions, and those that are deleted but recoverable.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rand_core::{OsRng, RngCore as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    errors::VaultError,
    keys::{KeySpec, PrivateKey},
    throttle::Throttle,
};

/// How long a deleted key can be recovered, days.
const RECOVERABLE_DAYS: u64 = 90;

/// What can be set of a key version; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Attributes {
    /// Whether it may sign.
    pub enabled: Option<bool>,
    /// Not before, seconds since 1970.
    pub nbf: Option<u64>,
    /// Not after, seconds since 1970.
    pub exp: Option<u64>,
}

/// What a new version is made of, beside its key.
#[derive(Clone, Debug)]
pub(super) struct NewVersion {
    pub(super) spec: KeySpec,
    pub(super) hsm: bool,
    pub(super) public_exponent: u32,
    pub(super) key_ops: Vec<String>,
    pub(super) attributes: Attributes,
    pub(super) tags: Option<BTreeMap<String, String>>,
}

#[derive(Clone)]
pub(super) struct Version {
    /// 32 hexadecimal digits.
    pub(super) id: String,
    pub(super) made_of: NewVersion,
    pub(super) key: Arc<PrivateKey>,
    created: u64,
    updated: u64,
    /// When it was added, and how long from then on it is unknown to requests.
    spread: (Instant, Duration),
}

/// One vault.
#[derive(Default)]
pub(super) struct Store {
    keys: BTreeMap<String, Vec<Version>>,
    deleted: BTreeMap<String, Deleted>,
    pub(super) throttle: Throttle,
    /// How long a version that is added now is unknown to requests.
    readiness_delay: Duration,
}

struct Deleted {
    versions: Vec<Version>,
    at: u64,
}

impl NewVersion {
    pub(super) fn of(spec: KeySpec) -> Self {
        let operations: &[&str] = match spec.kty() {
            "EC" => &["sign", "verify"],
            _ => &["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"],
        };
        Self {
            spec,
            hsm: false,
            public_exponent: 65_537,
            key_ops: operations.iter().map(|operation| (*operation).to_owned()).collect(),
            attributes: Attributes::default(),
            tags: None,
        }
    }
}

impl Attributes {
    fn update(&mut self, with: Self) {
        self.enabled = with.enabled.or(self.enabled);
        self.nbf = with.nbf.or(self.nbf);
        self.exp = with.exp.or(self.exp);
    }
}

impl Version {
    pub(super) fn new(made_of: NewVersion, key: PrivateKey) -> Self {
        let mut id = [0; 16];
        OsRng.fill_bytes(&mut id);
        let now = now();
        let id = format!("{:032x}", u128::from_be_bytes(id));
        Self { id, made_of, key: Arc::new(key), created: now, updated: now, spread: (Instant::now(), Duration::ZERO) }
    }

    /// A key bundle.
    pub(super) fn bundle(&self, kid: &str) -> Value {
        let mut key = self.key.public_members();
        key["kid"] = json!(kid);
        key["kty"] = json!(format!("{}{}", self.made_of.spec.kty(), if self.made_of.hsm { "-HSM" } else { "" }));
        key["key_ops"] = json!(self.made_of.key_ops);
        self.tagged(json!({"key": key, "attributes": self.attributes()}))
    }

    /// The entry of a list.
    pub(super) fn item(&self, kid: &str) -> Value {
        self.tagged(json!({"kid": kid, "attributes": self.attributes()}))
    }

    /// With the tags, where any were given: the service leaves the member out of a version that never had any.
    fn tagged(&self, mut shown: Value) -> Value {
        if let Some(tags) = &self.made_of.tags {
            shown["tags"] = json!(tags);
        }
        shown
    }

    /// Whether this may be done with the key now.
    ///
    /// As the service has it, the operations of the public half work whatever the key's state.
    pub(super) fn permits(&self, operation: &str) -> Result<(), VaultError> {
        if !self.made_of.key_ops.iter().any(|known| known == operation) {
            let message = format!("Operation {operation} is not permitted on this key.");
            return Err(VaultError::forbidden(message, "KeyOperationForbidden"));
        }
        if operation == "verify" {
            return Ok(());
        }
        let Attributes { enabled, nbf, exp } = self.made_of.attributes;
        let refuse = |state: &str, inner| {
            Err(VaultError::forbidden(format!("Operation {operation} is not allowed on {state} key."), inner))
        };
        let now = now();
        if enabled == Some(false) {
            refuse("a disabled", "KeyDisabled")
        } else if nbf.is_some_and(|nbf| now < nbf) {
            refuse("a not yet valid", "KeyNotYetValid")
        } else if exp.is_some_and(|exp| now >= exp) {
            refuse("an expired", "KeyExpired")
        } else {
            Ok(())
        }
    }

    fn has_spread(&self) -> bool {
        let (added, delay) = self.spread;
        added.elapsed() >= delay
    }

    fn attributes(&self) -> Value {
        let Attributes { enabled, nbf, exp } = self.made_of.attributes;
        let mut attributes = json!({
            "enabled": enabled.unwrap_or(true),
            "created": self.created,
            "updated": self.updated,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": RECOVERABLE_DAYS,
            "exportable": false,
            "hsmPlatform": if self.made_of.hsm { "2" } else { "0" },
        });
        for (name, time) in [("nbf", nbf), ("exp", exp)] {
            if let Some(time) = time {
                attributes[name] = json!(time);
            }
        }
        attributes
    }
}

impl Store {
    pub(super) fn with_readiness_delay(readiness_delay: Duration) -> Self {
        Self { readiness_delay, ..Self::default() }
    }

    /// A shorter delay is also for the versions that wait.
    pub(super) fn set_readiness_delay(&mut self, delay: Duration) {
        self.readiness_delay = delay;
        for version in self.keys.values_mut().flatten() {
            version.spread.1 = version.spread.1.min(delay);
        }
    }

    /// The name and the newest version, by name, of each key that has spread.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &Version)> {
        self.keys.keys().filter_map(|name| Some((name.as_str(), self.spread_version(name, None).ok()?)))
    }

    /// A key's versions in the order of their creation; at least one.
    pub(super) fn versions(&self, name: &str) -> Result<&[Version], VaultError> {
        self.keys.get(name).map(Vec::as_slice).ok_or_else(|| VaultError::key_not_found(name))
    }

    /// One version of a key, or the newest.
    pub(super) fn version(&self, name: &str, version: Option<&str>) -> Result<&Version, VaultError> {
        let versions = self.versions(name)?;
        let found = match version {
            None => versions.last(),
            Some(id) => versions.iter().find(|version| version.id == id),
        };
        found.ok_or_else(|| VaultError::key_not_found(&format!("{name}/{}", version.unwrap_or_default())))
    }

    /// One version of a key, or the newest, as a request finds it: of the versions that have spread.
    ///
    /// No answer of its own is documented for a key that was made a moment ago, only how long it may take ("Enable
    /// multi-region replication on Azure Managed HSM": up to six minutes until both regions have it). A replica that has
    /// not heard of a key cannot tell it from one that never was, so the answer is that of such a key; and where it knows
    /// older versions, the newest of these is the newest for it.
    pub(super) fn spread_version(&self, name: &str, version: Option<&str>) -> Result<&Version, VaultError> {
        let mut spread = self.spread_versions(name)?;
        let found = match version {
            None => spread.next_back(),
            Some(id) => spread.find(|version| version.id == id),
        };
        found.ok_or_else(|| VaultError::key_not_found(&format!("{name}/{}", version.unwrap_or_default())))
    }

    /// A key's versions that have spread, in the order of their creation; at least one.
    pub(super) fn spread_versions(
        &self,
        name: &str,
    ) -> Result<impl DoubleEndedIterator<Item = &Version> + Clone, VaultError> {
        let spread = self.versions(name)?.iter().filter(|version| version.has_spread());
        if spread.clone().next().is_none() { Err(VaultError::key_not_found(name)) } else { Ok(spread) }
    }

    /// Whether a version can be added to a key of this name.
    pub(super) fn accepts(&self, name: &str) -> Result<(), VaultError> {
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !letters || name.is_empty() || name.len() > 127 {
            return Err(VaultError::bad_parameter(format!("The request URI contains an invalid name: {name}")));
        }
        if self.deleted.contains_key(name) { Err(VaultError::deleted_but_recoverable(name)) } else { Ok(()) }
    }

    pub(super) fn add(&mut self, name: &str, mut version: Version) -> Result<(), VaultError> {
        self.accepts(name)?;
        version.spread = (Instant::now(), self.readiness_delay);
        self.keys.entry(name.to_owned()).or_default().push(version);
        Ok(())
    }

    pub(super) fn update(
        &mut self,
        name: &str,
        version: Option<&str>,
        change: impl FnOnce(&mut NewVersion),
    ) -> Result<&Version, VaultError> {
        let id = self.version(name, version)?.id.clone();
        let versions = self.keys.get_mut(name).ok_or_else(|| VaultError::key_not_found(name))?;
        let found = versions.iter_mut().find(|version| version.id == id);
        let version = found.ok_or_else(|| VaultError::key_not_found(name))?;
        change(&mut version.made_of);
        version.updated = now();
        Ok(version)
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), VaultError> {
        let versions = self.keys.remove(name).ok_or_else(|| VaultError::key_not_found(name))?;
        self.deleted.insert(name.to_owned(), Deleted { versions, at: now() });
        Ok(())
    }

    /// A deleted key's newest version, and the members that its bundle has beside the usual ones.
    pub(super) fn deleted(&self, name: &str, url: &str) -> Result<(&Version, Value), VaultError> {
        let deleted = self.deleted.get(name).ok_or_else(|| VaultError::deleted_key_not_found(name))?;
        let version = deleted.versions.last().ok_or_else(|| VaultError::deleted_key_not_found(name))?;
        let more = json!({
            "recoveryId": format!("{url}/deletedkeys/{name}"),
            "deletedDate": deleted.at,
            "scheduledPurgeDate": deleted.at + RECOVERABLE_DAYS * 24 * 60 * 60,
        });
        Ok((version, more))
    }

    pub(super) fn recover(&mut self, name: &str) -> Result<(), VaultError> {
        let deleted = self.deleted.remove(name).ok_or_else(|| VaultError::deleted_key_not_found(name))?;
        self.keys.insert(name.to_owned(), deleted.versions);
        Ok(())
    }

    pub(super) fn purge(&mut self, name: &str) -> Result<(), VaultError> {
        self.deleted.remove(name).map(drop).ok_or_else(|| VaultError::deleted_key_not_found(name))
    }
}

/// Sets what an update names.
pub(super) fn apply(
    made_of: &mut NewVersion,
    attributes: Attributes,
    key_ops: Option<Vec<String>>,
    tags: Option<BTreeMap<String, String>>,
) {
    made_of.attributes.update(attributes);
    if let Some(key_ops) = key_ops {
        made_of.key_ops = key_ops;
    }
    if tags.is_some() {
        made_of.tags = tags;
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
