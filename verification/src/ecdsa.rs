//! ECDSA (FIPS 186-5, section 6.4.2).

use std::{
    fmt,
    sync::{Arc, LazyLock, OnceLock},
};

use crate::{
    Curve,
    comb::{Comb, sum_of_multiples},
    curve::{self, Affine, Parameters},
    montgomery,
};

/// A public key on an elliptic curve. Clones share what was worked out for it.
#[derive(Clone)]
pub struct EcKey(Inner);

#[derive(Clone)]
enum Inner {
    P256(Arc<Key<4>>),
    P384(Arc<Key<6>>),
    P521(Arc<Key<9>>),
    P256K(Arc<Key<4>>),
}

impl EcKey {
    /// From a point's coordinates, big-endian; `None` where they are not those of a point on the curve.
    #[must_use]
    pub fn new(curve: Curve, x: &[u8], y: &[u8]) -> Option<Self> {
        Some(Self(match curve {
            Curve::P256 => Inner::P256(Key::new(&P256, x, y)?),
            Curve::P384 => Inner::P384(Key::new(&P384, x, y)?),
            Curve::P521 => Inner::P521(Key::new(&P521, x, y)?),
            Curve::P256K => Inner::P256K(Key::new(&P256K, x, y)?),
        }))
    }

    /// The key's curve.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        match self.0 {
            Inner::P256(_) => Curve::P256,
            Inner::P384(_) => Curve::P384,
            Inner::P521(_) => Curve::P521,
            Inner::P256K(_) => Curve::P256K,
        }
    }

    /// The point's coordinates, big-endian, as long as the curve's field.
    #[must_use]
    pub fn coordinates(&self) -> (Vec<u8>, Vec<u8>) {
        match &self.0 {
            Inner::P256(key) | Inner::P256K(key) => key.coordinates(),
            Inner::P384(key) => key.coordinates(),
            Inner::P521(key) => key.coordinates(),
        }
    }

    /// Whether `signature`, r || s with each as long as the curve's field, over `digest` is this key's. No digest may be
    /// longer than the curve's order.
    #[must_use]
    pub fn verify(&self, digest: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.0 {
            Inner::P256(key) | Inner::P256K(key) => key.verify(digest, signature),
            Inner::P384(key) => key.verify(digest, signature),
            Inner::P521(key) => key.verify(digest, signature),
        };
        verified.is_some()
    }
}

impl fmt::Debug for EcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EcKey").field(&self.curve()).finish()
    }
}

static P256: LazyLock<Known<4>> = LazyLock::new(|| Known::new(&curve::P256));
static P384: LazyLock<Known<6>> = LazyLock::new(|| Known::new(&curve::P384));
static P521: LazyLock<Known<9>> = LazyLock::new(|| Known::new(&curve::P521));
static P256K: LazyLock<Known<4>> = LazyLock::new(|| Known::new(&curve::P256K));

/// What is known of a curve before any key is.
struct Known<const N: usize> {
    curve: curve::Curve<N>,
    generator: Comb<N>,
}

impl<const N: usize> Known<N> {
    fn new(parameters: &Parameters) -> Self {
        let curve = curve::Curve::new(parameters);
        Self { generator: Comb::new(&curve, &curve.generator), curve }
    }
}

struct Key<const N: usize> {
    known: &'static Known<N>,
    x: [u64; N],
    y: [u64; N],
    point: Affine<N>,
    /// Made when it is first needed: of a large set of keys, few are.
    comb: OnceLock<Comb<N>>,
}

impl<const N: usize> Key<N> {
    fn new(known: &'static Known<N>, x: &[u8], y: &[u8]) -> Option<Arc<Self>> {
        let (x, y) = (number(x)?, number(y)?);
        let point = known.curve.point(&x, &y)?;
        Some(Arc::new(Self { known, x, y, point, comb: OnceLock::new() }))
    }

    /// Bytes of a coordinate, and of a scalar.
    fn length(&self) -> usize {
        self.known.curve.bits.div_ceil(8)
    }

    fn coordinates(&self) -> (Vec<u8>, Vec<u8>) {
        (montgomery::to_bytes(&self.x, self.length()), montgomery::to_bytes(&self.y, self.length()))
    }

    /// `None` where the signature is not good.
    fn verify(&self, digest: &[u8], signature: &[u8]) -> Option<()> {
        let Known { curve, generator } = self.known;
        let curve::Curve { field, order, bits, .. } = curve;
        let (r, s) = signature.split_at_checked(self.length())?;
        if digest.len() > bits / 8 || s.len() != self.length() {
            return None;
        }
        let (r, s): ([u64; N], [u64; N]) = (number(r)?, number(s)?);
        let is_scalar = |x: &[u64; N]| *x != [0; N] && montgomery::compare(x, &order.limbs).is_lt();
        if !is_scalar(&r) || !is_scalar(&s) {
            return None;
        }
        let inverse = order.invert(&order.enter(&s));
        // A number times a form is a number.
        let (by_generator, by_point) = (order.mul(&number(digest)?, &inverse), order.mul(&r, &inverse));
        let comb = self.comb.get_or_init(|| Comb::new(curve, &self.point));
        let sum = sum_of_multiples(curve, [(generator, &by_generator), (comb, &by_point)]);
        if sum.z == [0; N] {
            return None;
        }
        // x / z^2 mod order = r, without a division: x / z^2 is r, or r + order where the field has room for it.
        let z2 = field.square(&sum.z);
        let is_x = |x: &[u64; N]| field.mul(&field.enter(x), &z2) == sum.x;
        let mut beyond = r;
        let carry = montgomery::add(&mut beyond, &order.limbs);
        let fits = !carry && montgomery::compare(&beyond, &field.limbs).is_lt();
        (is_x(&r) || fits && is_x(&beyond)).then_some(())
    }
}

fn number<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let mut limbs = [0; N];
    montgomery::from_bytes(&mut limbs, bytes)?;
    Some(limbs)
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::hazmat::PrehashSigner;

    use super::*;

    const CURVES: [Curve; 4] = [Curve::P256, Curve::P384, Curve::P521, Curve::P256K];

    /// The generator, which is a key as good as any.
    fn generator(curve: Curve) -> EcKey {
        let (x, y) = match curve {
            Curve::P256 => curve::P256.generator,
            Curve::P384 => curve::P384.generator,
            Curve::P521 => curve::P521.generator,
            Curve::P256K => curve::P256K.generator,
        };
        let bytes = |hex: &str| -> Vec<u8> {
            let digits = 2 * curve.coordinate_bytes();
            let hex = format!("{hex:0>digits$}");
            hex.as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect()
        };
        let key = EcKey::new(curve, &bytes(x), &bytes(y)).expect("the generator is on its curve");
        assert_eq!((key.curve(), key.coordinates()), (curve, (bytes(x), bytes(y))));
        key
    }

    #[test]
    fn no_length_is_too_strange_to_be_refused() {
        for curve in CURVES {
            let (key, width) = (generator(curve), curve.coordinate_bytes());
            for length in [0, 1, width - 1, width, width + 1, 2 * width - 1, 2 * width, 2 * width + 1, 10_000] {
                for digest in [&[][..], &[1; 32], &vec![1; width], &vec![1; width + 1], &[1; 10_000]] {
                    for fill in [0, 1, 0x80, 0xff] {
                        assert!(!key.verify(digest, &vec![fill; length]), "{curve:?}: {length} bytes of {fill}");
                    }
                }
            }
        }
    }

    #[test]
    fn zeros_in_front_are_not_nothing() {
        let private = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a private key");
        let point = private.verifying_key().to_encoded_point(false);
        let key = EcKey::new(Curve::P256, point.x().expect("x"), point.y().expect("y")).expect("a key");
        for digest in [&[9; 32][..], &[9; 31]] {
            let whole = [&vec![0; 32 - digest.len()], digest].concat();
            let signature: p256::ecdsa::Signature = private.sign_prehash(&whole).expect("a signature");
            let (r, s) = signature.split_bytes();
            assert!(key.verify(digest, &[r, s].concat()), "{digest:?}");
            assert!(key.verify(&whole, &[r, s].concat()), "{digest:?}");
            let longer = [&[0], &whole[..]].concat();
            assert!(!key.verify(&longer, &[r, s].concat()), "a digest that is longer than the order");
            for signature in [[&r[..], &[0], &s], [&[0], &r[..], &s]] {
                assert!(!key.verify(digest, &signature.concat()), "a signature that is longer than it should be");
            }
        }
    }

    #[test]
    fn what_is_no_point_is_refused() {
        for curve in CURVES {
            let (x, y) = generator(curve).coordinates();
            let long = vec![0xff; 10_000];
            let longer = [&vec![0; 10_000], &x[..]].concat();
            assert!(EcKey::new(curve, &longer, &y).is_some(), "{curve:?}: zeros in front are nothing");
            for (x, y) in [(&[][..], &[][..]), (&x, &[]), (&y, &x), (&x, &x), (&[0], &[0]), (&long, &y), (&x, &long)] {
                assert!(EcKey::new(curve, x, y).is_none(), "{curve:?}: {} and {} bytes", x.len(), y.len());
            }
        }
    }
}
