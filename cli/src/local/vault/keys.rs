//! Private keys and what they can do: generate, sign a digest, verify.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::signature::hazmat::{PrehashVerifier, RandomizedPrehashSigner};
use rand_core::{OsRng, RngCore as _};
use rsa::{
    BigUint, Pkcs1v15Sign, Pss, RsaPrivateKey, RsaPublicKey, errors::Error as RsaError, traits::PublicKeyParts as _,
};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

use super::store::Attributes;

/// A kind of key that the vault makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeySpec {
    /// RSA, 2048 bits.
    Rsa2048,
    /// RSA, 3072 bits.
    Rsa3072,
    /// RSA, 4096 bits; seconds to make.
    Rsa4096,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// secp256k1, which Key Vault calls P-256K.
    P256K,
}

impl KeySpec {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::P256, Self::P384, Self::P521, Self::P256K];

    /// The JWK key type, `RSA` or `EC`.
    #[must_use]
    pub fn kty(self) -> &'static str {
        if self.curve().is_some() { "EC" } else { "RSA" }
    }

    /// The JWK curve name, in Key Vault's spelling; none for RSA.
    #[must_use]
    pub fn curve(self) -> Option<&'static str> {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => None,
            Self::P256 => Some("P-256"),
            Self::P384 => Some("P-384"),
            Self::P521 => Some("P-521"),
            Self::P256K => Some("P-256K"),
        }
    }

    /// The modulus' length, bits; none for EC.
    #[must_use]
    pub fn modulus_bits(self) -> Option<usize> {
        match self {
            Self::Rsa2048 => Some(2048),
            Self::Rsa3072 => Some(3072),
            Self::Rsa4096 => Some(4096),
            Self::P256 | Self::P384 | Self::P521 | Self::P256K => None,
        }
    }
}

/// What a key is made of, beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOptions {
    /// Its kind.
    pub spec: KeySpec,
    /// Whether it is of the types `RSA-HSM` and `EC-HSM`; here it lies in memory all the same.
    pub hsm: bool,
    /// Whether and when it may sign, from the beginning.
    pub attributes: Attributes,
}

impl KeySpec {
    /// A key of this kind, of the type that a vault keeps in a hardware security module.
    #[must_use]
    pub fn hsm(self) -> KeyOptions {
        KeyOptions { hsm: true, ..self.into() }
    }
}

impl From<KeySpec> for KeyOptions {
    fn from(spec: KeySpec) -> Self {
        Self { spec, hsm: false, attributes: Attributes::default() }
    }
}

/// A signature algorithm (RFC 7518, section 3.1; RFC 8812 for ES256K).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    Es256K,
}

impl Algorithm {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "ES256K" => Self::Es256K,
            _ => return None,
        })
    }

    pub(super) fn digest_length(self) -> usize {
        match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 | Self::Es256K => 32,
            Self::Rs384 | Self::Ps384 | Self::Es384 => 48,
            Self::Rs512 | Self::Ps512 | Self::Es512 => 64,
        }
    }

    /// The curve that it needs; none: it needs RSA.
    pub(super) fn curve(self) -> Option<&'static str> {
        match self {
            Self::Es256 => Some("P-256"),
            Self::Es384 => Some("P-384"),
            Self::Es512 => Some("P-521"),
            Self::Es256K => Some("P-256K"),
            _ => None,
        }
    }
}

/// A key's secret half.
pub(super) enum PrivateKey {
    Rsa(Box<RsaPrivateKey>),
    P256(Box<p256::ecdsa::SigningKey>),
    P384(Box<p384::ecdsa::SigningKey>),
    P521(Box<p521::ecdsa::SigningKey>),
    P256K(Box<k256::ecdsa::SigningKey>),
}

impl PrivateKey {
    /// Makes a key; RSA takes from tenths of a second to many seconds.
    pub(super) fn generate(spec: KeySpec, public_exponent: u32) -> Result<Self, RsaError> {
        Ok(match spec {
            KeySpec::P256 => Self::P256(Box::new(p256::ecdsa::SigningKey::random(&mut OsRng))),
            KeySpec::P384 => Self::P384(Box::new(p384::ecdsa::SigningKey::random(&mut OsRng))),
            KeySpec::P521 => Self::P521(Box::new(p521::ecdsa::SigningKey::random(&mut OsRng))),
            KeySpec::P256K => Self::P256K(Box::new(k256::ecdsa::SigningKey::random(&mut OsRng))),
            KeySpec::Rsa2048 => rsa(2048, public_exponent)?,
            KeySpec::Rsa3072 => rsa(3072, public_exponent)?,
            KeySpec::Rsa4096 => rsa(4096, public_exponent)?,
        })
    }

    /// The JWK members of the public half: `n` and `e`, or `crv`, `x` and `y`.
    pub(super) fn public_members(&self) -> Value {
        match self {
            Self::Rsa(key) => json!({
                "n": URL_SAFE_NO_PAD.encode(key.n().to_bytes_be()),
                "e": URL_SAFE_NO_PAD.encode(key.e().to_bytes_be()),
            }),
            Self::P256(key) => point("P-256", key.verifying_key().to_encoded_point(false).as_bytes()),
            Self::P384(key) => point("P-384", key.verifying_key().to_encoded_point(false).as_bytes()),
            Self::P521(key) => {
                point("P-521", p521::ecdsa::VerifyingKey::from(&**key).to_encoded_point(false).as_bytes())
            }
            Self::P256K(key) => point("P-256K", key.verifying_key().to_encoded_point(false).as_bytes()),
        }
    }

    /// A signature over a digest of the algorithm's length; for EC `r` and `s` one after the other, as in JWS.
    ///
    /// None when the algorithm is not for this kind of key.
    pub(super) fn sign(&self, algorithm: Algorithm, digest: &[u8]) -> Option<Vec<u8>> {
        match (self, algorithm) {
            (Self::Rsa(key), _) => match padding(algorithm)? {
                Padding::Pkcs1(scheme) => key.sign_with_rng(&mut OsRng, scheme, digest).ok(),
                Padding::Pss(scheme) => key.sign_with_rng(&mut OsRng, scheme, digest).ok(),
            },
            (Self::P256(key), Algorithm::Es256) => {
                let signature: p256::ecdsa::Signature = sign_prehash(&**key, digest)?;
                Some(signature.to_bytes().to_vec())
            }
            (Self::P384(key), Algorithm::Es384) => {
                let signature: p384::ecdsa::Signature = sign_prehash(&**key, digest)?;
                Some(signature.to_bytes().to_vec())
            }
            (Self::P521(key), Algorithm::Es512) => {
                let signature: p521::ecdsa::Signature = sign_prehash(&**key, digest)?;
                Some(signature.to_bytes().to_vec())
            }
            (Self::P256K(key), Algorithm::Es256K) => {
                let signature: k256::ecdsa::Signature = sign_prehash(&**key, digest)?;
                Some(either_s(&signature).to_bytes().to_vec())
            }
            _ => None,
        }
    }

    /// Whether a signature is right; none when the algorithm is not for this kind of key.
    pub(super) fn verify(&self, algorithm: Algorithm, digest: &[u8], signature: &[u8]) -> Option<bool> {
        Some(match (self, algorithm) {
            (Self::Rsa(key), _) => {
                let key = RsaPublicKey::from(&**key);
                match padding(algorithm)? {
                    Padding::Pkcs1(scheme) => key.verify(scheme, digest, signature),
                    Padding::Pss(scheme) => key.verify(scheme, digest, signature),
                }
                .is_ok()
            }
            (Self::P256(key), Algorithm::Es256) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verifying_key().verify_prehash(digest, &signature).is_ok()),
            (Self::P384(key), Algorithm::Es384) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verifying_key().verify_prehash(digest, &signature).is_ok()),
            (Self::P521(key), Algorithm::Es512) => {
                p521::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                    p521::ecdsa::VerifyingKey::from(&**key).verify_prehash(digest, &signature).is_ok()
                })
            }
            // The crate takes the low half of s only; both halves are valid ECDSA.
            (Self::P256K(key), Algorithm::Es256K) => k256::ecdsa::Signature::from_slice(signature)
                .map(|signature| signature.normalize_s().unwrap_or(signature))
                .is_ok_and(|signature| key.verifying_key().verify_prehash(digest, &signature).is_ok()),
            _ => return None,
        })
    }
}

enum Padding {
    Pkcs1(Pkcs1v15Sign),
    Pss(Pss),
}

/// RFC 7518, sections 3.3 and 3.5: the salt is as long as the digest.
fn padding(algorithm: Algorithm) -> Option<Padding> {
    Some(match algorithm {
        Algorithm::Rs256 => Padding::Pkcs1(Pkcs1v15Sign::new::<Sha256>()),
        Algorithm::Rs384 => Padding::Pkcs1(Pkcs1v15Sign::new::<Sha384>()),
        Algorithm::Rs512 => Padding::Pkcs1(Pkcs1v15Sign::new::<Sha512>()),
        Algorithm::Ps256 => Padding::Pss(Pss::new::<Sha256>()),
        Algorithm::Ps384 => Padding::Pss(Pss::new::<Sha384>()),
        Algorithm::Ps512 => Padding::Pss(Pss::new::<Sha512>()),
        _ => return None,
    })
}

fn rsa(bits: usize, public_exponent: u32) -> Result<PrivateKey, RsaError> {
    let key = RsaPrivateKey::new_with_exp(&mut OsRng, bits, &BigUint::from(public_exponent))?;
    Ok(PrivateKey::Rsa(Box::new(key)))
}

fn sign_prehash<S>(key: &impl RandomizedPrehashSigner<S>, digest: &[u8]) -> Option<S> {
    key.sign_prehash_with_rng(&mut OsRng, digest).ok()
}

/// Key Vault leaves s in either half of its range, where this curve's crate always makes it low.
fn either_s(signature: &k256::ecdsa::Signature) -> k256::ecdsa::Signature {
    let (r, s) = signature.split_scalars();
    if OsRng.next_u32() & 1 == 0 {
        return *signature;
    }
    k256::ecdsa::Signature::from_scalars(r.to_bytes(), (-s).to_bytes()).unwrap_or(*signature)
}

/// SEC 1, section 2.3.3: 4, then x and y, each as long as the field.
fn point(curve: &str, uncompressed: &[u8]) -> Value {
    let (x, y) = uncompressed[1..].split_at(uncompressed.len() / 2);
    json!({"crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
}
