//! What settings name: keys, containers and queues, each checked for its form by rules that handler and tool share.
//!
//! An error says what would be right, and reads on from the setting's name.

use std::str::FromStr;

use azure_core::http::Url;

/// A key in a vault: `https://{vault}/keys/{name}`, with `/{version}` to pin one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIdentifier {
    /// `https://{vault}/`
    pub vault: Url,
    /// The key's name.
    pub name: String,
    /// The one version that is meant.
    pub version: Option<String>,
}

impl KeyIdentifier {
    /// Identifiers with commas between them, each in a vault of its own: two keys of one vault would share its limits.
    ///
    /// # Errors
    /// One of them is no identifier, or its vault is named twice.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        let mut keys: Vec<Self> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let key: Self = part.parse()?;
            if keys.iter().any(|known| known.vault == key.vault) {
                return Err(format!("names two keys in {}; several must be in different vaults", key.vault));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// The identifier without the version.
    #[must_use]
    pub fn without_version(&self) -> String {
        format!("{}keys/{}", self.vault, self.name)
    }

    /// Whether an identifier names a version of this key, whichever is pinned. Key Vault takes names in any case.
    #[must_use]
    pub fn has(&self, kid: &str) -> bool {
        kid.parse::<Self>().is_ok_and(|other| {
            other.version.is_some() && other.vault == self.vault && other.name.eq_ignore_ascii_case(&self.name)
        })
    }

    /// The vault's name, as Azure CLI takes it.
    #[must_use]
    pub fn vault_name(&self) -> &str {
        self.vault.host_str().unwrap_or_default().split('.').next().unwrap_or_default()
    }
}

impl FromStr for KeyIdentifier {
    type Err = String;

    /// Names and versions are letters, digits and hyphens: they go into paths unescaped.
    fn from_str(text: &str) -> Result<Self, String> {
        let url = https_url(text)?;
        let shape =
            || "must have the form https://{vault}/keys/{name} or https://{vault}/keys/{name}/{version}".to_owned();
        let is_name = |part: &str| {
            (1..=127).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let segments: Vec<&str> = url.path().trim_start_matches('/').split('/').collect();
        let (name, version) = match *segments.as_slice() {
            ["keys", name] => (name, None),
            ["keys", name, version] => (name, Some(version)),
            _ => return Err(shape()),
        };
        if !is_name(name) || !version.is_none_or(is_name) {
            return Err(shape());
        }
        let mut vault = url.clone();
        vault.set_path("/");
        Ok(Self { vault, name: name.to_owned(), version: version.map(str::to_owned) })
    }
}

/// An absolute `https` URL without user information, query or fragment.
///
/// # Errors
/// It is none.
pub fn https_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL ({error})"))?;
    if url.scheme() != "https" || url.host_str().is_none_or(str::is_empty) {
        return Err("must be an https:// URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("must have no user, query (no SAS is needed) or fragment".to_owned());
    }
    Ok(url)
}

/// A container's URL, without a slash at its end.
///
/// # Errors
/// It is none.
pub fn container_url(text: &str) -> Result<Url, String> {
    let mut url = https_url(text)?;
    let path = url.path().trim_end_matches('/').to_owned();
    if path.is_empty() || path.split('/').skip(1).any(str::is_empty) {
        return Err("must be a container's URL: https://{account}/{container}".to_owned());
    }
    url.set_path(&path);
    Ok(url)
}

/// Container URLs with commas between them; none is a list as well.
///
/// # Errors
/// One of them is none.
pub fn container_urls(list: &str) -> Result<Vec<Url>, String> {
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| container_url(part).map_err(|mistake| format!("{mistake}, each of them"))).collect()
}

/// Queue names as the service has them: 3 to 63 lower-case letters, digits and single hyphens. The poison queue's name
/// is seven characters longer and has the same limit.
///
/// # Errors
/// It is none, or too long for that.
pub fn queue_name(name: &str) -> Result<String, String> {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if (3..=56).contains(&name.len()) && name.split('-').all(is_part) {
        return Ok(name.to_owned());
    }
    Err("must be a queue's name: 3 to 56 lower-case letters, digits and single hyphens".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_a_list_with_versions_or_without() {
        let keys =
            KeyIdentifier::list("https://a.vault.azure.net/keys/k, https://b.vault.azure.net/keys/k-2/0f").unwrap();
        assert_eq!((keys[0].name.as_str(), &keys[0].version), ("k", &None));
        assert_eq!((keys[1].vault.as_str(), keys[1].version.as_deref()), ("https://b.vault.azure.net/", Some("0f")));
        assert_eq!(keys[1].without_version(), "https://b.vault.azure.net/keys/k-2");
        assert_eq!(keys[1].vault_name(), "b");
        for (kid, expected) in [
            ("https://b.vault.azure.net/keys/K-2/1e", true),
            ("https://b.vault.azure.net/keys/k-2", false),
            ("https://a.vault.azure.net/keys/k-2/1e", false),
            ("https://b.vault.azure.net/keys/k/1e", false),
            ("1e", false),
        ] {
            assert_eq!(keys[1].has(kid), expected, "{kid}");
        }
    }

    #[test]
    fn what_is_no_list_of_keys_is_told_what_one_is() {
        for (text, what) in [
            ("", "is no URL"),
            ("k", "is no URL"),
            ("http://a.vault.azure.net/keys/k", "must be an https:// URL"),
            ("https://a.vault.azure.net/secrets/k", "must have the form"),
            ("https://a.vault.azure.net/keys", "must have the form"),
            ("https://a.vault.azure.net/keys/", "must have the form"),
            ("https://a.vault.azure.net/keys/k/1/2", "must have the form"),
            ("https://a.vault.azure.net/keys/k_1", "must have the form"),
            ("https://u@a.vault.azure.net/keys/k", "must have no user"),
            ("https://a.vault.azure.net/keys/k?x=1", "must have no user"),
            ("https://a.vault.azure.net/keys/k,", "is no URL"),
            ("https://a.vault.azure.net/keys/k,https://A.vault.azure.net/keys/l", "names two keys in"),
        ] {
            let why = KeyIdentifier::list(text).unwrap_err();
            assert!(why.starts_with(what), "{text}: {why}");
        }
    }

    #[test]
    fn containers_and_queues_have_the_forms_of_the_service() {
        for name in ["work", "a-b-1", "abc", &"x".repeat(56)] {
            assert_eq!(queue_name(name).as_deref(), Ok(name));
        }
        for name in ["ab", "Work", "a--b", "-ab", "ab-", &"x".repeat(57)] {
            assert!(queue_name(name).is_err(), "{name}");
        }
        assert_eq!(container_url("https://a.blob.core.windows.net/c/").unwrap().path(), "/c");
        for url in [
            "https://a.blob.core.windows.net/",
            "https://a//c",
            "http://a/c",
            "https://a/c?sig=x",
            "https://u:p@a/c",
            "c",
        ] {
            assert!(container_url(url).is_err(), "{url}");
        }
        assert_eq!(container_urls(" https://a/c, https://a/d/,").unwrap().len(), 2);
        assert!(container_urls("https://a/c,d").unwrap_err().ends_with(", each of them"));
        assert_eq!(container_urls(""), Ok(Vec::new()));
    }
}
