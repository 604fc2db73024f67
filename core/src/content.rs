//! What is signed: bytes, a digest that stands for them, or a blob to be read; and what is attested of it.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::algorithm::{Hash, hex, sha256_hex};

/// The content of an item, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// It is in the message.
    Given(Given),
    /// It is in a blob.
    Source(Source),
}

/// Content that came with the message, or what stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// The bytes themselves, and their SHA-256 in hexadecimal.
    Bytes {
        /// The bytes to sign.
        bytes: Vec<u8>,
        /// Their SHA-256, in hexadecimal.
        sha256: String,
    },
    /// A digest that the sender has made.
    Digest {
        /// By which function.
        hash: Hash,
        /// The digest.
        digest: Vec<u8>,
    },
}

impl Given {
    /// Bytes of a message.
    #[must_use]
    pub fn bytes(bytes: Vec<u8>) -> Self {
        let sha256 = sha256_hex(&bytes);
        Self::Bytes { bytes, sha256 }
    }

    /// A digest of the content by one hash function, as far as it can be known.
    #[must_use]
    pub fn digest(&self, wanted: Hash) -> Option<Vec<u8>> {
        match self {
            Self::Bytes { bytes, .. } => Some(wanted.digest(&[bytes])),
            Self::Digest { hash, digest } => (*hash == wanted).then(|| digest.clone()),
        }
    }

    /// What names the content: the sender's digest, else SHA-256.
    #[must_use]
    pub fn name(&self) -> ContentName {
        match self {
            Self::Bytes { sha256, .. } => ContentName { hash: Hash::Sha256, hex: sha256.clone(), detached: false },
            Self::Digest { hash, digest } => ContentName { hash: *hash, hex: hex(digest), detached: false },
        }
    }
}

/// A digest that names content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentName {
    /// By which function.
    pub hash: Hash,
    /// The digest, in hexadecimal.
    pub hex: String,
    /// Whether results leave the content out.
    pub detached: bool,
}

impl ContentName {
    /// The name of content that was read from a source, by its SHA-256 in hexadecimal.
    #[must_use]
    pub fn of_source(sha256: impl Into<String>) -> Self {
        Self { hash: Hash::Sha256, hex: sha256.into(), detached: true }
    }

    /// SHA-256 of the content in hexadecimal, as far as it is known.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        (self.hash == Hash::Sha256).then_some(self.hex.as_str())
    }
}

/// A blob whose content is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub url: Url,
    /// The one state of it that is meant, quoted as in the header `ETag`; absent: the state in which it is found.
    pub etag: Option<String>,
    /// The version that is meant, where the account keeps versions.
    pub version_id: Option<String>,
}

impl Source {
    /// The blob's name, decoded, if it is one in this container; names that could be read as another path are none.
    #[must_use]
    pub fn name_in(&self, container: &Url) -> Option<String> {
        let url = &self.url;
        let is_same_service = url.scheme() == container.scheme()
            && url.host() == container.host()
            && url.port_or_known_default() == container.port_or_known_default();
        if !is_same_service || !is_bare(url) {
            return None;
        }
        let name = url.path().strip_prefix(container.path().trim_end_matches('/'))?.strip_prefix('/')?;
        let name = percent_decode_str(name).decode_utf8().ok()?;
        let is_path = |segment: &str| matches!(segment, "." | "..");
        let is_plain =
            !name.is_empty() && !name.chars().any(|c| c.is_control() || c == '\\') && !name.split('/').any(is_path);
        is_plain.then(|| name.into_owned())
    }

    /// Whether the URL has neither user information nor query nor fragment: no key or SAS is in it.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        is_bare(&self.url)
    }
}

/// A URL that may be a blob's. What is no HTTP is none: a `file` URL, for one, may mean something else once it was written out and
/// read again.
pub(crate) fn blob_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "https" | "http") && url.as_str().len() <= LONGEST_URL).then_some(url)
}

/// Bytes of a blob's URL, written out: its name has at most 1,024 UTF-16 units (Microsoft Learn, "Naming and referencing containers,
/// blobs, and metadata"), each of at most three bytes in UTF-8, and these of three characters each; the rest is far less.
const LONGEST_URL: usize = 10 * 1024;

fn is_bare(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none()
}

/// An in-toto predicate, as the sender wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    /// Its type, a URI.
    pub predicate_type: String,
    /// Its JSON text, exactly as it stands in the message; absent where the type says all.
    pub json: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_in_a_container_or_it_is_not() {
        let container = "https://a.blob.core.windows.net/in".parse().unwrap();
        for (url, name) in [
            ("https://a.blob.core.windows.net/in/x", Some("x")),
            ("https://A.blob.core.windows.net:443/in/x/y%20z.bin", Some("x/y z.bin")),
            ("https://a.blob.core.windows.net/in/%C3%A9/a+b%25", Some("é/a+b%")),
            ("https://a.blob.core.windows.net/in/x//y", Some("x//y")),
            ("https://a.blob.core.windows.net/in", None),
            ("https://a.blob.core.windows.net/in/", None),
            ("https://a.blob.core.windows.net/inner/x", None),
            ("https://a.blob.core.windows.net/IN/x", None),
            ("https://b.blob.core.windows.net/in/x", None),
            ("https://a.blob.core.windows.net.evil.example/in/x", None),
            ("https://a.blob.core.windows.net:8443/in/x", None),
            ("http://a.blob.core.windows.net/in/x", None),
            ("https://a.blob.core.windows.net/in/../secret/x", None),
            ("https://a.blob.core.windows.net/in/%2e%2e/secret/x", None),
            ("https://a.blob.core.windows.net/in/..%2Fsecret%2Fx", None),
            ("https://a.blob.core.windows.net/in/x%5C..%5Cy", None),
            ("https://a.blob.core.windows.net/in/%00", None),
            ("https://a.blob.core.windows.net/in/%FF", None),
            ("https://a.blob.core.windows.net/in/x?sig=s", None),
            ("https://a.blob.core.windows.net/in/x#y", None),
            ("https://u@a.blob.core.windows.net/in/x", None),
        ] {
            let source = Source { url: url.parse().expect(url), etag: None, version_id: None };
            assert_eq!(source.name_in(&container).as_deref(), name, "{url}");
        }
    }
}
