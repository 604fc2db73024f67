//! Arithmetic modulo an odd number, in Montgomery's form: Koç, Acar and Kaliski, "Analyzing and Comparing Montgomery
//! Multiplication Algorithms" (1996), the method that they call CIOS.
//!
//! Numbers are limbs of 64 bits, the least significant first. With R = 2^(64 * limbs), `x` stands for x * R mod m.

use std::cmp::Ordering;

/// A modulus with `N` limbs, and what multiplication by it needs.
#[derive(Clone, Debug)]
pub(crate) struct Modulus<const N: usize> {
    pub(crate) limbs: [u64; N],
    /// -1 / m modulo 2^64.
    inverse: u64,
    /// R mod m, which stands for 1.
    pub(crate) one: [u64; N],
    /// R^2 mod m.
    square: [u64; N],
}

impl<const N: usize> Modulus<N> {
    /// `limbs` must be odd and larger than 1.
    pub(crate) fn new(limbs: [u64; N]) -> Self {
        let mut one = [0; N];
        one[0] = 1;
        times_r(&mut one, &limbs);
        let mut square = one;
        times_r(&mut square, &limbs);
        Self { limbs, inverse: negative_inverse(limbs[0]), one, square }
    }

    /// The form in which a number is calculated with. It need not be smaller than the modulus.
    pub(crate) fn enter(&self, x: &[u64; N]) -> [u64; N] {
        self.mul(x, &self.square)
    }

    /// The number that a form stands for, smaller than the modulus.
    #[cfg(test)]
    fn leave(&self, x: &[u64; N]) -> [u64; N] {
        let mut one = [0; N];
        one[0] = 1;
        self.mul(x, &one)
    }

    // One copy for each number of limbs; a call costs little beside it.
    #[inline(never)]
    pub(crate) fn mul(&self, a: &[u64; N], b: &[u64; N]) -> [u64; N] {
        let mut product = [0; N];
        multiply(&mut product, a, b, &self.limbs, self.inverse);
        product
    }

    pub(crate) fn square(&self, a: &[u64; N]) -> [u64; N] {
        self.mul(a, a)
    }

    pub(crate) fn add(&self, a: &[u64; N], b: &[u64; N]) -> [u64; N] {
        let mut sum = *a;
        let carry = add(&mut sum, b);
        if carry || compare(&sum, &self.limbs).is_ge() {
            subtract(&mut sum, &self.limbs);
        }
        sum
    }

    pub(crate) fn sub(&self, a: &[u64; N], b: &[u64; N]) -> [u64; N] {
        let mut difference = *a;
        if subtract(&mut difference, b) {
            add(&mut difference, &self.limbs);
        }
        difference
    }

    /// 1 / x, for a modulus that is prime (Fermat): x^(m-2), in windows of four bits.
    #[expect(clippy::indexing_slicing, reason = "a window is half a byte, and so below 16")]
    pub(crate) fn invert(&self, x: &[u64; N]) -> [u64; N] {
        let mut exponent = self.limbs;
        let mut two = [0; N];
        two[0] = 2;
        subtract(&mut exponent, &two);
        let mut powers = [self.one; 16];
        let mut power = self.one;
        for next in powers.iter_mut().skip(1) {
            power = self.mul(&power, x);
            *next = power;
        }
        let mut result = self.one;
        for limb in exponent.iter().rev() {
            for window in limb.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 15]) {
                for _ in 0..4 {
                    result = self.square(&result);
                }
                result = self.mul(&result, &powers[usize::from(window)]);
            }
        }
        result
    }
}

/// a * b / R mod m, where `b` is smaller than `m` and `product` is zero.
#[inline(always)]
#[expect(clippy::inline_always, reason = "with a number of limbs that the compiler knows, it is several times as fast")]
pub(crate) fn multiply(product: &mut [u64], a: &[u64], b: &[u64], m: &[u64], inverse: u64) {
    // A number without limbs has nothing to multiply.
    let Some((lowest, higher)) = m.split_first() else { return };
    let mut top = false;
    for a in a {
        let mut carry = 0;
        for (limb, b) in product.iter_mut().zip(b) {
            (*limb, carry) = a.carrying_mul_add(*b, *limb, carry);
        }
        let (sum, over) = carry.carrying_add(0, top);
        // That multiple of the modulus is added whose sum has a lowest limb of zero, and the sum moves down by that limb.
        let mut limbs = product.iter_mut();
        let Some(mut below) = limbs.next() else { return };
        let quotient = below.wrapping_mul(inverse);
        (_, carry) = quotient.carrying_mul_add(*lowest, *below, 0);
        for (limb, m) in limbs.zip(higher) {
            (*below, carry) = quotient.carrying_mul_add(*m, *limb, carry);
            below = limb;
        }
        (*below, top) = sum.overflowing_add(carry);
        // Not both: the sum is smaller than 2m.
        top |= over;
    }
    if top || compare(product, m).is_ge() {
        subtract(product, m);
    }
}

/// -1 / m modulo 2^64, for an odd `m`: each of Newton's steps doubles the bits that are right.
pub(crate) fn negative_inverse(m: u64) -> u64 {
    let mut inverse = m;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(m.wrapping_mul(inverse)));
    }
    inverse.wrapping_neg()
}

/// x * R mod m, for an `x` smaller than `m`.
pub(crate) fn times_r(x: &mut [u64], m: &[u64]) {
    for _ in m {
        for _ in 0..u64::BITS {
            double(x, m);
        }
    }
}

fn double(x: &mut [u64], m: &[u64]) {
    let mut carry = 0;
    for limb in x.iter_mut() {
        (*limb, carry) = (*limb << 1 | carry, *limb >> 63);
    }
    if carry != 0 || compare(x, m).is_ge() {
        subtract(x, m);
    }
}

pub(crate) fn compare(a: &[u64], b: &[u64]) -> Ordering {
    a.iter().rev().cmp(b.iter().rev())
}

/// Whether there is a carry.
pub(crate) fn add(a: &mut [u64], b: &[u64]) -> bool {
    let mut carry = false;
    for (a, b) in a.iter_mut().zip(b) {
        (*a, carry) = a.carrying_add(*b, carry);
    }
    carry
}

/// Whether there is a borrow.
fn subtract(a: &mut [u64], b: &[u64]) -> bool {
    let mut borrow = false;
    for (a, b) in a.iter_mut().zip(b) {
        (*a, borrow) = a.borrowing_sub(*b, borrow);
    }
    borrow
}

/// The limbs of a big-endian number; `None` where it has more than fit.
// It is called from many places, and seldom.
#[inline(never)]
pub(crate) fn from_bytes(limbs: &mut [u64], bytes: &[u8]) -> Option<()> {
    let mut groups = bytes.rchunks(size_of::<u64>());
    for limb in limbs {
        let group = groups.next().unwrap_or_default();
        *limb = group.iter().fold(0, |limb, byte| limb << 8 | u64::from(*byte));
    }
    groups.flatten().all(|byte| *byte == 0).then_some(())
}

/// The last `length` bytes of the big-endian number, which has as many.
pub(crate) fn to_bytes(limbs: &[u64], length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).take(length).collect();
    bytes.reverse();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2^127 - 1, a prime, in two limbs.
    const PRIME: u128 = (1 << 127) - 1;

    fn limbs(x: u128) -> [u64; 2] {
        let mut limbs = [0; 2];
        from_bytes(&mut limbs, &x.to_be_bytes()).expect("two limbs");
        limbs
    }

    #[test]
    fn small_numbers_multiply_as_they_should() {
        let modulus = Modulus::new(limbs(PRIME));
        let product = modulus.mul(&modulus.enter(&limbs(0xdead_beef)), &modulus.enter(&limbs(0x1234_5678_9abc)));
        assert_eq!(modulus.leave(&product), limbs(0xdead_beef * 0x1234_5678_9abc));
        let minus_one = modulus.enter(&limbs(PRIME - 1));
        assert_eq!(modulus.leave(&modulus.square(&minus_one)), limbs(1));
        assert_eq!(modulus.add(&minus_one, &modulus.one), limbs(0));
        assert_eq!(modulus.sub(&limbs(0), &modulus.one), minus_one);
    }

    #[test]
    fn what_is_not_smaller_than_the_modulus_is_reduced() {
        let modulus = Modulus::new(limbs(PRIME));
        assert_eq!(modulus.leave(&modulus.enter(&limbs(u128::MAX))), limbs(u128::MAX % PRIME));
    }

    #[test]
    fn an_inverse_is_one() {
        let modulus = Modulus::new(limbs(PRIME));
        for x in [1, 2, 3, 0xffff_ffff_ffff_ffff, PRIME - 1, PRIME / 2] {
            let form = modulus.enter(&limbs(x));
            assert_eq!(modulus.mul(&form, &modulus.invert(&form)), modulus.one, "{x}");
        }
    }

    #[test]
    fn bytes_round_trip() {
        let mut limbs = [0; 2];
        assert_eq!(from_bytes(&mut limbs, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), Some(()));
        assert_eq!(limbs, [0x0203_0405_0607_0809, 1]);
        assert_eq!(to_bytes(&limbs, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(from_bytes(&mut limbs, &[0; 20]), Some(()), "leading zeros are nothing");
        assert_eq!(from_bytes(&mut limbs, &[1; 17]), None);
    }
}
