//! Keys that never change, so that what they have signed is known: whatever else verifies is forged.

use std::sync::LazyLock;

use rand_core::{CryptoRng, RngCore, impls};
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPrivateKey, traits::PublicKeyParts};
use sha2::Sha256;
use signet_core::{
    algorithm::{Algorithm, Hash, unhex},
    draft::SigningKey,
    jwks::JwkSet,
    key::{Curve, PublicKey},
};

/// Bytes in, bytes out.
type OfBytes = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// Whether a signature (the second) over a digest (the first) is good.
type Opinion = Box<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// A key pair that signs as a vault does, and another library's opinion of its signatures.
pub(crate) struct Signer {
    pub(crate) key: SigningKey,
    sign: OfBytes,
    from_der: OfBytes,
    verifies: Opinion,
}

/// One for each kind of key and padding.
pub(crate) static SIGNERS: LazyLock<[Signer; 6]> = LazyLock::new(|| {
    let rsa = RsaPrivateKey::from_p_q(number(P), number(Q), BigUint::from(65_537_u32)).expect("two primes");
    [
        ec!(p256, Curve::P256, Algorithm::Es256),
        ec!(p384, Curve::P384, Algorithm::Es384),
        ec!(p521, Curve::P521, Algorithm::Es512),
        ec!(k256, Curve::P256K, Algorithm::Es256K),
        rsa!(rsa, Algorithm::Ps256, Pss::new::<Sha256>()),
        rsa!(rsa, Algorithm::Rs256, Pkcs1v15Sign::new::<Sha256>()),
    ]
});

/// Their public halves, as they are published.
pub(crate) static KEYS: LazyLock<JwkSet> = LazyLock::new(|| published(SIGNERS.iter()));

/// A set of the public halves.
pub(crate) fn published<'a>(signers: impl Iterator<Item = &'a Signer>) -> JwkSet {
    let mut keys = JwkSet::default();
    for Signer { key, .. } in signers {
        keys.add(&key.kid, &key.public);
    }
    keys
}

macro_rules! ec {
    ($library:ident, $curve:expr, $algorithm:expr) => {{
        use $library::ecdsa::{
            Signature, SigningKey, VerifyingKey,
            signature::hazmat::{PrehashVerifier, RandomizedPrehashSigner},
        };
        let width = $curve.coordinate_bytes();
        let private = SigningKey::from_slice(&vec![1; width]).expect("a scalar below the order");
        let theirs = VerifyingKey::from(&private);
        let point = theirs.to_encoded_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(width);
        Signer {
            key: named($algorithm, PublicKey::ec($curve, x, y).expect("a point on the curve")),
            sign: Box::new(move |digest| {
                let signature: Signature =
                    private.sign_prehash_with_rng(&mut Repeatable::of(digest), digest).expect("a signature");
                signature.to_bytes().to_vec()
            }),
            from_der: Box::new(|der| Signature::from_der(der).expect("a signature in DER").to_bytes().to_vec()),
            verifies: Box::new(move |digest, signature| {
                Signature::from_slice(signature)
                    .is_ok_and(|signature| theirs.verify_prehash(digest, &signature).is_ok())
            }),
        }
    }};
}
use ec;

macro_rules! rsa {
    ($key:expr, $algorithm:expr, $scheme:expr) => {{
        let (private, theirs) = ($key.clone(), $key.to_public_key());
        let public = PublicKey::rsa(&theirs.n().to_bytes_be(), &theirs.e().to_bytes_be()).expect("an RSA key");
        Signer {
            key: named($algorithm, public),
            sign: Box::new(move |digest| {
                private.sign_with_rng(&mut Repeatable::of(digest), $scheme, digest).expect("a signature")
            }),
            from_der: Box::new(<[u8]>::to_vec),
            verifies: Box::new(move |digest, signature| theirs.verify($scheme, digest, signature).is_ok()),
        }
    }};
}
use rsa;

impl Signer {
    /// The signature over a digest; ECDSA as `r || s`.
    pub(crate) fn sign(&self, digest: &[u8]) -> Vec<u8> {
        (self.sign)(digest)
    }

    /// Whether another library takes the signature over the concatenation of `parts` for good.
    pub(crate) fn verifies(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        (self.verifies)(&self.key.algorithm.hash().digest(parts), signature)
    }

    /// The same of a signature as `raw` and `dsse` results have it: ECDSA in DER.
    pub(crate) fn verifies_der(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        self.verifies(parts, &(self.from_der)(signature))
    }
}

/// Numbers that depend on what is signed alone, so that a finding can be replayed. Nothing is kept secret here.
struct Repeatable(Vec<u8>);

impl Repeatable {
    fn of(digest: &[u8]) -> Self {
        Self(digest.to_vec())
    }
}

impl CryptoRng for Repeatable {}

impl RngCore for Repeatable {
    fn next_u32(&mut self) -> u32 {
        impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(Hash::Sha512.length()) {
            self.0 = Hash::Sha512.digest(&[&self.0]);
            piece.copy_from_slice(&self.0[..piece.len()]);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

fn named(algorithm: Algorithm, public: PublicKey) -> SigningKey {
    SigningKey { kid: format!("https://vault.example/keys/{algorithm}/1"), algorithm, public }
}

fn number(hex: &str) -> BigUint {
    BigUint::from_bytes_be(&unhex(hex).expect("hexadecimal"))
}

/// RFC 7515, appendix A.2.1: `p` and `q`.
const P: &str = "e01cc410eb48a6655d54464d0aa4bb6da0b872b774a6a9d11ffe480778f0ddb7311a7e902ef9c4b5f75476262ba8176cb35979f014372a1a2829e4136bd001d07c3f3f2e4f25d4c934f63c7109fba2e67628a0dc9a73c6058e6def22dcd50950e711ddc16d5586f2a7fa75ea8494c18083e0b65742f8a0d5e73fb2d970f01947";
const Q: &str = "b903c47e0995b632f4532cb1f3c199145d5f3ae9c7dfeedc7a92a6b47e29c61b42a07aa95a64fc600999c5a7b01e01c08cb62ca756527bbcc56078fb0baba5ed38de2d07990ff6300faeadeb6c039a97bf1e507e4e7040fa78db8257c8b112ed5e59c3cd092fe5d4e5b51275d41281072a5e785ebaf3dae3709203133f5159d7";
