//! What is signed: bytes, or a digest that stands for them; and what is attested of it.

use crate::algorithm::{Hash, hex, sha256_hex};

/// The content of an item, or what stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The bytes themselves, and their SHA-256 in hexadecimal.
    Inline {
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

impl Content {
    /// Bytes of a message.
    #[must_use]
    pub fn inline(bytes: Vec<u8>) -> Self {
        let sha256 = sha256_hex(&bytes);
        Self::Inline { bytes, sha256 }
    }

    /// SHA-256 of the content in hexadecimal, as far as it is known.
    #[must_use]
    pub fn sha256(&self) -> Option<String> {
        match self {
            Self::Inline { sha256, .. } => Some(sha256.clone()),
            Self::Digest { hash: Hash::Sha256, digest } => Some(hex(digest)),
            Self::Digest { .. } => None,
        }
    }

    /// A digest of the content by one hash function, as far as it can be known.
    #[must_use]
    pub fn digest(&self, wanted: Hash) -> Option<Vec<u8>> {
        match self {
            Self::Inline { bytes, .. } => Some(wanted.digest(&[bytes])),
            Self::Digest { hash, digest } => (*hash == wanted).then(|| digest.clone()),
        }
    }

    /// The digest that names the content: the sender's, else SHA-256. Function and hexadecimal.
    #[must_use]
    pub fn name(&self) -> (Hash, String) {
        match self {
            Self::Inline { sha256, .. } => (Hash::Sha256, sha256.clone()),
            Self::Digest { hash, digest } => (*hash, hex(digest)),
        }
    }
}

/// An in-toto predicate, as the sender wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    /// Its type, a URI.
    pub predicate_type: String,
    /// Its JSON text, exactly as it stands in the message; absent where the type says all.
    pub json: Option<String>,
}
