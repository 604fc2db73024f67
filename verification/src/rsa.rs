//! RSASSA-PKCS1-v1_5 and RSASSA-PSS (RFC 8017, section 8).

use std::{fmt, sync::OnceLock};

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
        let bits = 8 * modulus.len() - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
        let is_odd = modulus.last()? & 1 == 1;
        let mut small = [0; 1];
        montgomery::from_bytes(&mut small, exponent)?;
        let [exponent] = small;
        if !SIZES.contains(&bits) || !is_odd || exponent < 3 || exponent & 1 == 0 || exponent > LARGEST_EXPONENT {
            return None;
        }
        let mut limbs = vec![0; modulus.len().div_ceil(8)];
        montgomery::from_bytes(&mut limbs, modulus)?;
        let inverse = montgomery::negative_inverse(limbs[0]);
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
        let info = hash.prefix.len() + digest.len();
        let Some(padding) = self.length().checked_sub(info + 3) else { return false };
        // It is made anew and compared, so there is nothing to parse and nothing to be lenient about.
        let mut expected = vec![0xff; padding + 2];
        (expected[0], expected[1]) = (0, 1);
        expected.push(0);
        expected.extend_from_slice(hash.prefix);
        expected.extend_from_slice(digest);
        self.recover(signature).is_some_and(|encoded| encoded == expected)
    }

    /// Whether an RSASSA-PSS signature over a digest is this key's (sections 8.1.2 and 9.1.2), with MGF1 of the same hash
    /// function and a salt as long as the digest.
    #[must_use]
    pub fn verify_pss(&self, hash: &Hash<'_>, digest: &[u8], signature: &[u8]) -> bool {
        self.recover(signature).and_then(|encoded| self.check_pss(hash, digest, &encoded)).is_some()
    }

    fn check_pss(&self, hash: &Hash<'_>, digest: &[u8], encoded: &[u8]) -> Option<()> {
        let encoded_bits = self.bits - 1;
        // Where the modulus has one bit more than a whole number of bytes, the first byte is not part of it.
        let (unused, encoded) = encoded.split_at(self.length() - encoded_bits.div_ceil(8));
        let (body, [0xbc]) = encoded.split_at_checked(encoded.len().checked_sub(1)?)? else { return None };
        let (masked, h) = body.split_at_checked(body.len().checked_sub(digest.len())?)?;
        let spare = u32::try_from(8 * encoded.len() - encoded_bits).ok()?;
        let mask = 0xff_u8.checked_shr(spare)?;
        if unused.iter().any(|byte| *byte != 0) || masked.first()? & !mask != 0 {
            return None;
        }
        let mut block: Vec<u8> = masked.iter().zip(mgf1(hash, h, masked.len())).map(|(a, b)| a ^ b).collect();
        block[0] &= mask;
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
        for at in (0..self.exponent.ilog2()).rev() {
            power = self.mul(&power, &power);
            if self.exponent >> at & 1 == 1 {
                power = self.mul(&power, &base);
            }
        }
        let mut one = vec![0; self.modulus.len()];
        one[0] = 1;
        Some(montgomery::to_bytes(&self.mul(&power, &one), self.length()))
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
    let (mut one, mut square) = (vec![0; modulus.len()], vec![0; modulus.len()]);
    montgomery::powers_of_two(modulus, &mut one, &mut square);
    square
}

/// Section B.2.1.
fn mgf1(hash: &Hash<'_>, seed: &[u8], length: usize) -> Vec<u8> {
    let mut mask = Vec::with_capacity(length + 64);
    for counter in 0_u32.. {
        if mask.len() >= length {
            break;
        }
        mask.extend((hash.digest)(&[seed, &counter.to_be_bytes()]));
    }
    mask
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}
