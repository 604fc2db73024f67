//! Public keys, and whether a signature over a digest is good.

use std::fmt;

pub use signet_verification::Curve;
use signet_verification::{EcKey, RsaKey};

use crate::algorithm::{Algorithm, Hash};

/// A public key for signatures: RSA with 2048 to 4096 bits, or a point on one of the four curves.
#[derive(Clone)]
pub struct PublicKey(Inner);

#[derive(Clone)]
enum Inner {
    Rsa(RsaKey),
    Ec(EcKey),
}

impl PublicKey {
    /// From modulus and exponent, big-endian.
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        RsaKey::new(n, e).map(|key| Self(Inner::Rsa(key))).ok_or(KeyError::Rsa)
    }

    /// From a point's coordinates, big-endian, at most as long as the curve's field; shorter ones are padded.
    pub fn ec(curve: Curve, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        if x.len().max(y.len()) > curve.coordinate_bytes() {
            return Err(KeyError::Point);
        }
        EcKey::new(curve, x, y).map(|key| Self(Inner::Ec(key))).ok_or(KeyError::Point)
    }

    /// The curve of an EC key; `None` for RSA.
    #[must_use]
    pub const fn curve(&self) -> Option<Curve> {
        match &self.0 {
            Inner::Rsa(_) => None,
            Inner::Ec(key) => Some(key.curve()),
        }
    }

    /// The algorithm that a key of this kind uses unless another is asked for.
    #[must_use]
    pub const fn default_algorithm(&self) -> Algorithm {
        match self.curve() {
            None => Algorithm::Ps256,
            Some(Curve::P256) => Algorithm::Es256,
            Some(Curve::P384) => Algorithm::Es384,
            Some(Curve::P521) => Algorithm::Es512,
            Some(Curve::P256K) => Algorithm::Es256K,
        }
    }

    /// Whether the algorithm fits the key: each curve has one, RSA has all that are not ECDSA.
    #[must_use]
    pub fn can(&self, algorithm: Algorithm) -> bool {
        match self.0 {
            Inner::Rsa(_) => !algorithm.is_ecdsa(),
            Inner::Ec(_) => self.default_algorithm() == algorithm,
        }
    }

    /// The kind of key in words: `RSA 2048`, `EC P-256`.
    #[must_use]
    pub fn kind(&self) -> String {
        match &self.0 {
            Inner::Rsa(key) => format!("RSA {}", key.bits()),
            Inner::Ec(key) => format!("EC {}", key.curve().jose_name()),
        }
    }

    /// Whether `signature` over `digest` is this key's. ECDSA signatures are `r || s`, each as long as the curve's field
    /// (RFC 7518, section 3.4); PSS has a salt as long as the digest (section 3.5).
    pub fn verify(&self, algorithm: Algorithm, digest: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        if !self.can(algorithm) {
            return Err(SignatureError::AlgorithmDoesNotFitKey);
        }
        let hash = algorithm.hash();
        let padding = signet_verification::Hash { digest: &|parts| hash.digest(parts), prefix: digest_info(hash) };
        let verified = digest.len() == hash.length()
            && match &self.0 {
                Inner::Ec(key) => key.verify(digest, signature),
                Inner::Rsa(key) if algorithm.is_pss() => key.verify_pss(&padding, digest, signature),
                Inner::Rsa(key) => key.verify_pkcs1(&padding, digest, signature),
            };
        if verified { Ok(()) } else { Err(SignatureError::Invalid) }
    }

    /// Modulus and exponent of an RSA key, big-endian without leading zeros.
    #[must_use]
    pub fn rsa_parts(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        match &self.0 {
            Inner::Rsa(key) => Some(key.parts()),
            Inner::Ec(_) => None,
        }
    }

    /// Coordinates of an EC key, big-endian, as long as the curve's field.
    #[must_use]
    pub fn ec_parts(&self) -> Option<(Curve, Vec<u8>, Vec<u8>)> {
        match &self.0 {
            Inner::Rsa(_) => None,
            Inner::Ec(key) => {
                let (x, y) = key.coordinates();
                Some((key.curve(), x, y))
            }
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.kind())
    }
}

/// What stands before the digest in a `DigestInfo` (RFC 8017, section 9.2, note 1).
const fn digest_info(hash: Hash) -> &'static [u8] {
    match hash {
        Hash::Sha256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
        Hash::Sha384 => b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
        Hash::Sha512 => b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
    }
}

/// A public key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not an RSA key of 2048 to 4096 bits with a sound exponent.
    Rsa,
    /// Not a point on the curve.
    Point,
    /// A key type or curve that signs nothing here.
    Unsupported,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa => "not an RSA public key of 2048 to 4096 bits",
            Self::Point => "not a point on its curve",
            Self::Unsupported => "not an RSA key, nor an EC key on P-256, P-384, P-521 or P-256K",
        })
    }
}

impl std::error::Error for KeyError {}

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// The algorithm is not one of the key's.
    AlgorithmDoesNotFitKey,
    /// Wrong length, wrong key or wrong content.
    Invalid,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlgorithmDoesNotFitKey => "the algorithm does not fit the key",
            Self::Invalid => "the signature does not verify with the key",
        })
    }
}

impl std::error::Error for SignatureError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_all_different;

    #[test]
    fn each_error_says_what_it_is() {
        assert_all_different([KeyError::Rsa, KeyError::Point, KeyError::Unsupported]);
        assert_all_different([SignatureError::AlgorithmDoesNotFitKey, SignatureError::Invalid]);
    }
}
