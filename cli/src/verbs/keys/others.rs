//! What stands in the key set without an enabled version behind it: verifiers trust it all the same.

use serde_json::{Value, json};
use signet_azure::names::KeyIdentifier;
use signet_core::{
    jwks::{Jwk, JwkSet, thumbprint},
    key::PublicKey,
};

use crate::{table, text, vault::Timeline};

/// Why no enabled version of a key in `SIGNET_KEY` is behind a key of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The version is there, and may not sign.
    Disabled,
    /// The vault has the version no more, or never had it.
    NotInTheVault,
    /// It has the name of a key in a vault, and the settings name another, or none.
    NotNamed,
    /// Its name is no Key Vault key's.
    NotOfAVault,
}

impl Standing {
    fn name(self) -> &'static str {
        match self {
            Self::Disabled => "published; disabled",
            Self::NotInTheVault => "published; not in the vault",
            Self::NotNamed => "published; of no key in SIGNET_KEY",
            Self::NotOfAVault => "published; not of a vault",
        }
    }
}

/// A key of the set without an enabled version behind it.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) kid: Option<String>,
    pub(super) standing: Standing,
    public: Result<PublicKey, String>,
}

impl Other {
    /// Those of a set, in its order.
    pub(super) fn all(published: &JwkSet, timelines: &[Timeline]) -> Vec<Self> {
        let entries = published.entries().filter_map(|(kid, jwk)| {
            let standing = standing(kid.as_deref(), timelines)?;
            Some(Self { kid, standing, public: jwk.map(|Jwk { key, .. }| key) })
        });
        entries.collect()
    }

    pub(super) fn as_json(&self) -> Value {
        let public = self.public.as_ref().ok();
        json!({
            "kid": self.kid,
            "status": self.standing.name(),
            "type": public.map(PublicKey::kind),
            "thumbprint": public.map(thumbprint),
        })
    }

    /// A table of some; strangers may have chosen their names.
    pub(super) fn render(others: &[Self]) -> String {
        let cells = |other: &Self| {
            let (kind, thumbprint) = match &other.public {
                Ok(public) => (public.kind(), thumbprint(public)),
                Err(why) => (format!("? ({why})"), String::new()),
            };
            let name = other.kid.as_deref().map_or_else(|| "(without a kid)".into(), text::visible);
            vec![name.into_owned(), other.standing.name().to_owned(), text::visible(&kind).into_owned(), thumbprint]
        };
        let rows: Vec<Vec<String>> = others.iter().map(cells).collect();
        table::render(&["kid", "status", "key", "thumbprint (RFC 7638)"], &rows)
    }
}

/// How a key of the set stands; nothing where an enabled version has its name.
fn standing(kid: Option<&str>, timelines: &[Timeline]) -> Option<Standing> {
    let Some(kid) = kid else { return Some(Standing::NotOfAVault) };
    let mut versions = timelines.iter().flat_map(|timeline| &timeline.versions);
    if let Some(version) = versions.find(|version| version.kid == kid) {
        return (!version.enabled).then_some(Standing::Disabled);
    }
    Some(match kid.parse::<KeyIdentifier>() {
        Ok(_) if timelines.iter().any(|timeline| timeline.key.has(kid)) => Standing::NotInTheVault,
        Ok(KeyIdentifier { version: Some(_), .. }) => Standing::NotNamed,
        _ => Standing::NotOfAVault,
    })
}
