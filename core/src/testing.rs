//! Private keys for tests, and documents made with them.

use std::sync::LazyLock;

use k256::ecdsa::signature::hazmat::RandomizedPrehashSigner;
use rand_core::OsRng;
use rsa::{
    Pkcs1v15Sign, Pss, RsaPrivateKey,
    traits::{PublicKeyParts, SignatureScheme},
};
use sha2::{Sha256, Sha384, Sha512};

use crate::{
    algorithm::{Algorithm, Hash},
    base64,
    draft::SigningKey,
    jwks::JwkSet,
    jws::published::{A2_N, A3_X, A3_Y, A4_X, A4_Y},
    key::{Curve, PublicKey},
};

/// A key pair that signs as a vault does: from a digest, ECDSA as `r || s`.
pub(crate) struct Signer {
    pub(crate) key: SigningKey,
    private: Private,
}

enum Private {
    Rsa(&'static RsaPrivateKey),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
    P256K(k256::ecdsa::SigningKey),
}

/// One for all tests, since it takes long to make.
static RSA: LazyLock<RsaPrivateKey> =
    LazyLock::new(|| RsaPrivateKey::new(&mut OsRng, 2048).expect("2048 bits can be made"));

impl Signer {
    /// A new key for an algorithm; RSA keys are all the same one.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let private = match algorithm {
            Algorithm::Es256 => Private::P256(p256::ecdsa::SigningKey::random(&mut OsRng)),
            Algorithm::Es384 => Private::P384(p384::ecdsa::SigningKey::random(&mut OsRng)),
            Algorithm::Es512 => Private::P521(p521::ecdsa::SigningKey::random(&mut OsRng)),
            Algorithm::Es256K => Private::P256K(k256::ecdsa::SigningKey::random(&mut OsRng)),
            _ => Private::Rsa(&RSA),
        };
        let kid = format!("https://vault.example/keys/{algorithm}/1");
        Self { key: SigningKey { kid, algorithm, public: private.public() }, private }
    }

    /// The signature over a digest.
    pub(crate) fn sign(&self, digest: &[u8]) -> Vec<u8> {
        match &self.private {
            Private::Rsa(key) => sign_rsa(key, self.key.algorithm, digest),
            Private::P256(key) => sign_ecdsa::<p256::ecdsa::Signature>(key, digest).to_vec(),
            Private::P384(key) => sign_ecdsa::<p384::ecdsa::Signature>(key, digest).to_vec(),
            Private::P521(key) => sign_ecdsa::<p521::ecdsa::Signature>(key, digest).to_vec(),
            Private::P256K(key) => sign_ecdsa::<k256::ecdsa::Signature>(key, digest).to_vec(),
        }
    }

    /// A set with this key alone.
    pub(crate) fn published(&self) -> JwkSet {
        let mut keys = JwkSet::default();
        keys.add(&self.key.kid, &self.key.public);
        keys
    }

    /// The parts of a JWS with any header at all, each in Base64url; the payload as it stands in the signing input.
    pub(crate) fn jws(&self, header: &str, payload: &[u8]) -> [String; 3] {
        let (protected, payload) = (base64::encode_url(header.as_bytes()), base64::encode_url(payload));
        let signature = self.sign_parts(&protected, payload.as_bytes());
        [protected, payload, signature]
    }

    /// The signature of a JWS in Base64url, over a protected header and a payload as they stand.
    pub(crate) fn sign_parts(&self, protected: &str, payload: &[u8]) -> String {
        let digest = self.key.algorithm.hash().digest(&[protected.as_bytes(), b".", payload]);
        base64::encode_url(&self.sign(&digest))
    }
}

/// Whoever reads them can tell them apart, and each says something.
pub(crate) fn assert_all_different<T: ToString>(texts: impl IntoIterator<Item = T>) {
    let texts: Vec<String> = texts.into_iter().map(|text| text.to_string()).collect();
    for (at, text) in texts.iter().enumerate() {
        assert!(!text.is_empty() && !texts[..at].contains(text), "{text:?} of {texts:?}");
    }
}

/// A key of the same kind that never signed anything here.
pub(crate) fn stranger(key: &PublicKey) -> PublicKey {
    let bytes = |text: &str| base64::decode_url(text).expect("Base64url");
    match key.curve() {
        None => PublicKey::rsa(&bytes(A2_N), &[1, 0, 1]).expect("RFC 7515, appendix A.2"),
        Some(Curve::P256) => PublicKey::ec(Curve::P256, &bytes(A3_X), &bytes(A3_Y)).expect("RFC 7515, appendix A.3"),
        Some(Curve::P521) => PublicKey::ec(Curve::P521, &bytes(A4_X), &bytes(A4_Y)).expect("RFC 7515, appendix A.4"),
        Some(Curve::P384) => Signer::new(Algorithm::Es384).key.public,
        Some(Curve::P256K) => Signer::new(Algorithm::Es256K).key.public,
    }
}

impl Private {
    fn public(&self) -> PublicKey {
        let (curve, point) = match self {
            Self::Rsa(key) => {
                return PublicKey::rsa(&key.n().to_bytes_be(), &key.e().to_bytes_be()).expect("an RSA key");
            }
            Self::P256(key) => (Curve::P256, key.verifying_key().to_encoded_point(false).to_bytes()),
            Self::P384(key) => (Curve::P384, key.verifying_key().to_encoded_point(false).to_bytes()),
            Self::P521(key) => (Curve::P521, p521::ecdsa::VerifyingKey::from(key).to_encoded_point(false).to_bytes()),
            Self::P256K(key) => (Curve::P256K, key.verifying_key().to_encoded_point(false).to_bytes()),
        };
        let (x, y) = point[1..].split_at(curve.coordinate_bytes());
        PublicKey::ec(curve, x, y).expect("a point on the curve")
    }
}

fn sign_ecdsa<S>(key: &impl RandomizedPrehashSigner<S>, digest: &[u8]) -> S {
    key.sign_prehash_with_rng(&mut OsRng, digest).expect("a signature")
}

fn sign_rsa(key: &RsaPrivateKey, algorithm: Algorithm, digest: &[u8]) -> Vec<u8> {
    match (algorithm, algorithm.hash()) {
        (Algorithm::Ps256, _) => with_scheme(key, Pss::new::<Sha256>(), digest),
        (Algorithm::Ps384, _) => with_scheme(key, Pss::new::<Sha384>(), digest),
        (Algorithm::Ps512, _) => with_scheme(key, Pss::new::<Sha512>(), digest),
        (_, Hash::Sha256) => with_scheme(key, Pkcs1v15Sign::new::<Sha256>(), digest),
        (_, Hash::Sha384) => with_scheme(key, Pkcs1v15Sign::new::<Sha384>(), digest),
        (_, Hash::Sha512) => with_scheme(key, Pkcs1v15Sign::new::<Sha512>(), digest),
    }
}

fn with_scheme(key: &RsaPrivateKey, scheme: impl SignatureScheme, digest: &[u8]) -> Vec<u8> {
    key.sign_with_rng(&mut OsRng, scheme, digest).expect("a signature")
}
