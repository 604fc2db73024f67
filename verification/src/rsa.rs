//! RSASSA-PKCS1-v1_5 and RSASSA-PSS (RFC 8017, section 8).

use std::{fmt, iter, sync::OnceLock};

use crate::montgomery;

/// Bits of a modulus. Key Vault makes none outside of these, and nobody should trust a smaller one.
const SIZES: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The largest public exponent that is taken. It bounds the time that a verification takes.
const LARGEST_EXPONENT: u64 = (1 << 33) - 1;

/// An RSA public key.
#[derive(Clone)]
pub struct RsaKey {
    modulus: Vec<u64>,
    bits: usize,
    exponent: u64,
    /// -1 / modulus modulo 2^64.
    inverse: u64,
    /// R^2 modulo the modulus, R = 2^(64 * limbs); worked out when it is first needed: of a large set of keys, few are.
    square: OnceLock<Vec<u64>>,
}

/// A hash function, as the two paddings need it.
#[derive(Clone, Copy)]
pub struct Hash<'a> {
    /// The digest of the concatenation of some parts.
    pub digest: &'a dyn Fn(&[&[u8]]) -> Vec<u8>,
    /// What stands before the digest in a `DigestInfo` (RFC 8017, section 9.2, note 1).
    pub prefix: &'a [u8],
}

impl RsaKey {
    /// From modulus and exponent, big-endian; `None` where they make no key of 2048 to 4096 bits.
    #[must_use]
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let modulus = without_zeros(modulus);
        let zero_bits = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
        let bits = modulus.len().checked_mul(8)?.checked_sub(zero_bits)?;
        let is_odd = modulus.last()? & 1 == 1;
        let mut small = [0; 1];
        montgomery::from_bytes(&mut small, exponent)?;
        let [exponent] = small;
        if !SIZES.contains(&bits) || !is_odd || exponent < 3 || exponent & 1 == 0 || exponent > LARGEST_EXPONENT {
            return None;
        }
        let mut limbs = vec![0; modulus.len().div_ceil(8)];
        montgomery::from_bytes(&mut limbs, modulus)?;
        let inverse = montgomery::negative_inverse(*limbs.first()?);
        Some(Self { modulus: limbs, bits, exponent, inverse, square: OnceLock::new() })
    }

    /// Bits of the modulus.
    #[must_use]
    pub const fn bits(&self) -> usize {
        self.bits
    }

    /// Modulus and exponent, big-endian without leading zeros.
    #[must_use]
    pub fn parts(&self) -> (Vec<u8>, Vec<u8>) {
        let exponent = self.exponent.to_be_bytes();
        (montgomery::to_bytes(&self.modulus, self.length()), without_zeros(&exponent).to_vec())
    }

    /// Whether an RSASSA-PKCS1-v1_5 signature over a digest is this key's (section 8.2.2).
    #[must_use]
    pub fn verify_pkcs1(&self, hash: &Hash<'_>, digest: &[u8], signature: &[u8]) -> bool {
        // It is made anew and compared, so there is nothing to parse and nothing to be lenient about.
        let Some(expected) = self.encode_pkcs1(hash, digest) else { return false };
        self.recover(signature).is_some_and(|encoded| encoded == expected)
    }

    /// Section 9.2; `None` where the modulus has no room for it.
    fn encode_pkcs1(&self, hash: &Hash<'_>, digest: &[u8]) -> Option<Vec<u8>> {
        let info = [hash.prefix, digest].concat();
        let padding = self.length().checked_sub(info.len())?.checked_sub(3)?;
        Some([&[0, 1][..], &vec![0xff; padding], &[0], &info].concat())
    }

    /// Whether an RSASSA-PSS signature over a digest is this key's (sections 8.1.2 and 9.1.2), with MGF1 of the same hash
    /// function and a salt as long as the digest.
    #[must_use]
    pub fn verify_pss(&self, hash: &Hash<'_>, digest: &[u8], signature: &[u8]) -> bool {
        self.recover(signature).and_then(|encoded| self.check_pss(hash, digest, &encoded)).is_some()
    }

    fn check_pss(&self, hash: &Hash<'_>, digest: &[u8], encoded: &[u8]) -> Option<()> {
        let encoded_bits = self.bits.checked_sub(1)?;
        // Where the modulus has one bit more than a whole number of bytes, the first byte is not part of it.
        let unused = self.length().checked_sub(encoded_bits.div_ceil(8))?;
        let (unused, encoded) = encoded.split_at_checked(unused)?;
        let (body, [0xbc]) = encoded.split_at_checked(encoded.len().checked_sub(1)?)? else { return None };
        let (masked, h) = body.split_at_checked(body.len().checked_sub(digest.len())?)?;
        let spare = encoded.len().checked_mul(8)?.checked_sub(encoded_bits)?;
        let mask = 0xff_u8.checked_shr(u32::try_from(spare).ok()?)?;
        if unused.iter().any(|byte| *byte != 0) || masked.first()? & !mask != 0 {
            return None;
        }
        let mut block: Vec<u8> = masked.iter().zip(mgf1(hash, h)).map(|(a, b)| a ^ b).collect();
        *block.first_mut()? &= mask;
        let (padding, salt) = block.split_at_checked(block.len().checked_sub(digest.len())?)?;
        let (zeros, [1]) = padding.split_at_checked(padding.len().checked_sub(1)?)? else { return None };
        let is_good = zeros.iter().all(|byte| *byte == 0) && (hash.digest)(&[&[0; 8], digest, salt]) == h;
        is_good.then_some(())
    }

    fn length(&self) -> usize {
        self.bits.div_ceil(8)
    }

    /// signature^exponent mod modulus, as long as the modulus; `None` for a signature that no key can have made.
    fn recover(&self, signature: &[u8]) -> Option<Vec<u8>> {
        if signature.len() != self.length() {
            return None;
        }
        let mut number = vec![0; self.modulus.len()];
        montgomery::from_bytes(&mut number, signature)?;
        if montgomery::compare(&number, &self.modulus).is_ge() {
            return None;
        }
        let base = self.mul(&number, self.square.get_or_init(|| square_of_r(&self.modulus)));
        let mut power = base.clone();
        for at in (0..self.exponent.checked_ilog2()?).rev() {
            power = self.mul(&power, &power);
            if self.exponent >> at & 1 == 1 {
                power = self.mul(&power, &base);
            }
        }
        Some(montgomery::to_bytes(&self.mul(&power, &one(self.modulus.len())), self.length()))
    }

    fn mul(&self, a: &[u64], b: &[u64]) -> Vec<u64> {
        let mut product = vec![0; self.modulus.len()];
        montgomery::multiply(&mut product, a, b, &self.modulus, self.inverse);
        product
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaKey").field("bits", &self.bits).finish_non_exhaustive()
    }
}

impl fmt::Debug for Hash<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hash").finish_non_exhaustive()
    }
}

fn square_of_r(modulus: &[u64]) -> Vec<u64> {
    let mut square = one(modulus.len());
    montgomery::times_r(&mut square, modulus);
    montgomery::times_r(&mut square, modulus);
    square
}

fn one(limbs: usize) -> Vec<u64> {
    iter::once(1).chain(iter::repeat(0)).take(limbs).collect()
}

/// Section B.2.1.
fn mgf1(hash: &Hash<'_>, seed: &[u8]) -> impl Iterator<Item = u8> {
    (0..=u32::MAX).flat_map(|counter| (hash.digest)(&[seed, &counter.to_be_bytes()]))
}

fn without_zeros(mut bytes: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of sizes at which the first byte of a PSS encoding has eight bits of its own, one to seven, and none.
    fn keys() -> impl Iterator<Item = RsaKey> {
        [2048, 2049, 2050, 2055, 2056, 4096].into_iter().map(|bits: usize| {
            let mut modulus = vec![0xff; bits.div_ceil(8)];
            modulus[0] = 0xff >> (8 * modulus.len() - bits);
            let key = RsaKey::new(&modulus, &[1, 0, 1]).expect("a key");
            assert_eq!((key.bits(), key.parts()), (bits, (modulus, vec![1, 0, 1])));
            key
        })
    }

    #[test]
    fn no_length_is_too_strange_to_be_refused() {
        let digest = |_: &[&[u8]]| vec![7; 32];
        for key in keys() {
            // One is its own power, whatever the key.
            let mut one = vec![0; key.length()];
            one[key.length() - 1] = 1;
            let signatures = [&one[..], &one[1..], &[&[0], &one[..]].concat(), &vec![0xff; key.length()], &[]];
            for length in [0, 1, 32, 64, key.length() - 3, key.length() - 1, key.length(), key.length() + 1, 10_000] {
                let bytes = vec![7; length];
                for (prefix, bytes) in [(&[][..], &bytes[..]), (&bytes, &[]), (&bytes, &bytes)] {
                    let hash = Hash { digest: &digest, prefix };
                    for signature in signatures {
                        assert!(!key.verify_pkcs1(&hash, bytes, signature), "{length} bytes for {} bits", key.bits);
                        assert!(!key.verify_pss(&hash, bytes, signature), "{length} bytes for {} bits", key.bits);
                    }
                }
            }
        }
    }

    /// Powers of two modulo 2^2048 - 1, where 2^2048 is one.
    #[test]
    fn every_bit_of_an_exponent_counts() {
        let two = [&[0; 255][..], &[2]].concat();
        for exponent in [3_u64, 5, 7, 11, 13, 17, 257, 65_537, 0xaaab, LARGEST_EXPONENT] {
            let key = RsaKey::new(&[0xff; 256], &exponent.to_be_bytes()).expect("a key");
            let bit = usize::try_from(exponent % 2048).expect("a small number");
            let mut power = vec![0; 256];
            power[255 - bit / 8] = 1 << (bit % 8);
            assert_eq!(key.recover(&two), Some(power), "{exponent}");
        }
    }

    #[test]
    fn what_makes_no_key_is_refused() {
        let modulus = [0xff; 256];
        assert!(RsaKey::new(&modulus, &[3]).is_some());
        assert!(RsaKey::new(&[&[0; 9], &modulus[..]].concat(), &[0, 0, 0, 0, 0, 0, 0, 0, 0, 3]).is_some());
        assert!(RsaKey::new(&modulus, &LARGEST_EXPONENT.to_be_bytes()).is_some());
        for exponent in [&[][..], &[0], &[1], &[2], &[4], &[0xff; 8], &[3, 0, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 1]] {
            assert!(RsaKey::new(&modulus, exponent).is_none(), "{exponent:?}");
        }
        for modulus in [&[][..], &[0], &[0; 256], &[1], &modulus[1..], &[0x7f; 256], &[0xfe; 256], &[0xff; 513]] {
            assert!(RsaKey::new(modulus, &[3]).is_none(), "{} bytes", modulus.len());
        }
    }
}
