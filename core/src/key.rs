//! Public keys, and whether a signature over a digest is good.

use std::fmt;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPublicKey, traits::PublicKeyParts};
use sha2::{Sha256, Sha384, Sha512};

use crate::algorithm::{Algorithm, Hash};

/// An elliptic curve that Key Vault has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// SEC secp256k1, which Key Vault calls P-256K.
    P256K,
}

impl Curve {
    /// By the name that JOSE (RFC 7518, RFC 8812) or Key Vault gives it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "P-256" => Self::P256,
            "P-384" => Self::P384,
            "P-521" => Self::P521,
            "P-256K" | "secp256k1" => Self::P256K,
            _ => return None,
        })
    }

    /// The name in a JWK's `crv`.
    #[must_use]
    pub const fn jose_name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::P256K => "secp256k1",
        }
    }

    /// Bytes of a coordinate; a signature has twice as many.
    #[must_use]
    pub const fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 | Self::P256K => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// A public key for signatures: RSA with 2048 to 4096 bits, or a point on one of the four curves.
#[derive(Clone)]
pub struct PublicKey(Inner);

#[derive(Clone)]
enum Inner {
    Rsa(Box<RsaPublicKey>),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(Box<p521::ecdsa::VerifyingKey>),
    P256K(k256::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// From modulus and exponent, big-endian.
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let key = RsaPublicKey::new(BigUint::from_bytes_be(n), BigUint::from_bytes_be(e)).map_err(|_| KeyError::Rsa)?;
        // Key Vault makes no smaller ones, and nobody should trust one.
        if key.n().bits() < 2048 {
            return Err(KeyError::Rsa);
        }
        Ok(Self(Inner::Rsa(Box::new(key))))
    }

    /// From a point's coordinates, big-endian, at most as long as the curve's field; shorter ones are padded.
    pub fn ec(curve: Curve, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let sec1 = uncompressed_point(curve, x, y).ok_or(KeyError::Point)?;
        let point = |_| KeyError::Point;
        Ok(Self(match curve {
            Curve::P256 => Inner::P256(p256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).map_err(point)?),
            Curve::P384 => Inner::P384(p384::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).map_err(point)?),
            Curve::P521 => Inner::P521(Box::new(p521::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).map_err(point)?)),
            Curve::P256K => Inner::P256K(k256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).map_err(point)?),
        }))
    }

    /// The curve of an EC key; `None` for RSA.
    #[must_use]
    pub const fn curve(&self) -> Option<Curve> {
        match self.0 {
            Inner::Rsa(_) => None,
            Inner::P256(_) => Some(Curve::P256),
            Inner::P384(_) => Some(Curve::P384),
            Inner::P521(_) => Some(Curve::P521),
            Inner::P256K(_) => Some(Curve::P256K),
        }
    }

    /// The algorithm that a key of this kind uses unless another is asked for.
    #[must_use]
    pub const fn default_algorithm(&self) -> Algorithm {
        match self.0 {
            Inner::Rsa(_) => Algorithm::Ps256,
            Inner::P256(_) => Algorithm::Es256,
            Inner::P384(_) => Algorithm::Es384,
            Inner::P521(_) => Algorithm::Es512,
            Inner::P256K(_) => Algorithm::Es256K,
        }
    }

    /// Whether the algorithm fits the key: each curve has one, RSA has all that are not ECDSA.
    #[must_use]
    pub fn can(&self, algorithm: Algorithm) -> bool {
        match self.0 {
            Inner::Rsa(_) => !algorithm.is_ecdsa(),
            _ => self.default_algorithm() == algorithm,
        }
    }

    /// The kind of key in words: `RSA 2048`, `EC P-256`.
    #[must_use]
    pub fn kind(&self) -> String {
        match &self.0 {
            Inner::Rsa(key) => format!("RSA {}", key.n().bits()),
            _ => format!("EC {}", self.curve().map_or("", Curve::jose_name)),
        }
    }

    /// Whether `signature` over `digest` is this key's. ECDSA signatures are `r || s`, each as long as the curve's field
    /// (RFC 7518, section 3.4); PSS has a salt as long as the digest (section 3.5).
    pub fn verify(&self, algorithm: Algorithm, digest: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        if !self.can(algorithm) {
            return Err(SignatureError::AlgorithmDoesNotFitKey);
        }
        let verified = match &self.0 {
            Inner::Rsa(key) => return verify_rsa(key, algorithm, digest, signature),
            Inner::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| key.verify_prehash(digest, &signature)),
            Inner::P384(key) => p384::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| key.verify_prehash(digest, &signature)),
            Inner::P521(key) => p521::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| key.verify_prehash(digest, &signature)),
            // The library takes only the lower half of s, which is a rule of Bitcoin's and not of ECDSA's.
            Inner::P256K(key) => k256::ecdsa::Signature::from_slice(signature)
                .and_then(|signature| key.verify_prehash(digest, &signature.normalize_s().unwrap_or(signature))),
        };
        verified.map_err(|_| SignatureError::Invalid)
    }

    /// Modulus and exponent of an RSA key, big-endian without leading zeros.
    #[must_use]
    pub fn rsa_parts(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        match &self.0 {
            Inner::Rsa(key) => Some((key.n().to_bytes_be(), key.e().to_bytes_be())),
            _ => None,
        }
    }

    /// Coordinates of an EC key, big-endian, as long as the curve's field.
    #[must_use]
    pub fn ec_parts(&self) -> Option<(Curve, Vec<u8>, Vec<u8>)> {
        let curve = self.curve()?;
        let point = match &self.0 {
            Inner::Rsa(_) => return None,
            Inner::P256(key) => key.to_encoded_point(false).as_bytes().to_vec(),
            Inner::P384(key) => key.to_encoded_point(false).as_bytes().to_vec(),
            Inner::P521(key) => key.to_encoded_point(false).as_bytes().to_vec(),
            Inner::P256K(key) => key.to_encoded_point(false).as_bytes().to_vec(),
        };
        let (x, y) = point.get(1..)?.split_at_checked(curve.coordinate_bytes())?;
        Some((curve, x.to_vec(), y.to_vec()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.kind())
    }
}

fn verify_rsa(key: &RsaPublicKey, algorithm: Algorithm, digest: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    // RFC 8017, sections 8.1.2 and 8.2.2: a signature is exactly as long as the modulus.
    if signature.len() != key.size() {
        return Err(SignatureError::Invalid);
    }
    let salt = digest.len();
    let verified = match algorithm {
        Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => match algorithm.hash() {
            Hash::Sha256 => key.verify(Pss::new_with_salt::<Sha256>(salt), digest, signature),
            Hash::Sha384 => key.verify(Pss::new_with_salt::<Sha384>(salt), digest, signature),
            Hash::Sha512 => key.verify(Pss::new_with_salt::<Sha512>(salt), digest, signature),
        },
        _ => match algorithm.hash() {
            Hash::Sha256 => key.verify(Pkcs1v15Sign::new::<Sha256>(), digest, signature),
            Hash::Sha384 => key.verify(Pkcs1v15Sign::new::<Sha384>(), digest, signature),
            Hash::Sha512 => key.verify(Pkcs1v15Sign::new::<Sha512>(), digest, signature),
        },
    };
    verified.map_err(|_| SignatureError::Invalid)
}

/// `04 || x || y` (SEC 1, section 2.3.3).
fn uncompressed_point(curve: Curve, x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    let mut point = vec![4];
    for coordinate in [x, y] {
        let padding = curve.coordinate_bytes().checked_sub(coordinate.len())?;
        point.resize(point.len() + padding, 0);
        point.extend_from_slice(coordinate);
    }
    Some(point)
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
