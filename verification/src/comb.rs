//! Multiples of a point that is known beforehand: Lim and Lee, "More Flexible Exponentiation with Precomputation" (1994).

use crate::curve::{Affine, Curve, Jacobian};

/// Bits of a scalar that are looked at together. With one more, the table is twice as large, and verification gains less and less.
const TEETH: usize = 8;

/// For each set of teeth, the sum of their multiples: tooth number `t` is 2^(t * distance) times the point.
#[derive(Debug)]
pub(crate) struct Comb<const N: usize> {
    distance: usize,
    /// Without the empty set.
    sums: Vec<Affine<N>>,
}

impl<const N: usize> Comb<N> {
    pub(crate) fn new(curve: &Curve<N>, point: &Affine<N>) -> Self {
        let distance = curve.bits.div_ceil(TEETH);
        let mut tooth = *point;
        let mut sums: Vec<Affine<N>> = Vec::with_capacity(1 << TEETH);
        for number in 0..TEETH {
            if number > 0 {
                let mut multiple = curve.add(&curve.infinity(), &tooth);
                for _ in 0..distance {
                    multiple = curve.double(&multiple);
                }
                normalise(curve, std::slice::from_mut(&mut multiple));
                tooth = affine(&multiple);
            }
            let mut with_tooth: Vec<_> =
                sums.iter().map(|sum| curve.add(&curve.add(&curve.infinity(), sum), &tooth)).collect();
            normalise(curve, &mut with_tooth);
            sums.push(tooth);
            sums.extend(with_tooth.iter().map(affine));
        }
        Self { distance, sums }
    }
}

/// The sum of each point's multiple by its scalar.
#[expect(clippy::arithmetic_side_effects, reason = "a bit's number is below TEETH * distance, which is less than 1000")]
#[expect(
    clippy::indexing_slicing,
    reason = "a set of TEETH bits is one of 2^TEETH, and a comb has all of them but the empty one"
)]
pub(crate) fn sum_of_multiples<const N: usize>(curve: &Curve<N>, terms: [(&Comb<N>, &[u64; N]); 2]) -> Jacobian<N> {
    let mut sum = curve.infinity();
    let distance = terms[0].0.distance;
    for at in (0..distance).rev() {
        sum = curve.double(&sum);
        for (comb, scalar) in terms {
            let set = (0..TEETH).fold(0, |set, tooth| set | bit(scalar, at + tooth * distance) << tooth);
            if let Some(index) = set.checked_sub(1) {
                sum = curve.add(&sum, &comb.sums[index]);
            }
        }
    }
    sum
}

fn bit<const N: usize>(scalar: &[u64; N], at: usize) -> usize {
    scalar.get(at / 64).map_or(0, |limb| usize::from(limb >> (at % 64) & 1 == 1))
}

/// Gives the points z = 1, by a single inversion (Montgomery's trick). None of them is infinity: their multiples are smaller
/// than the order, which is prime.
fn normalise<const N: usize>(curve: &Curve<N>, points: &mut [Jacobian<N>]) {
    let field = &curve.field;
    let mut product = field.one;
    let before: Vec<_> = points
        .iter()
        .map(|point| {
            let before = product;
            product = field.mul(&product, &point.z);
            before
        })
        .collect();
    let mut inverse = field.invert(&product);
    for (point, before) in points.iter_mut().zip(&before).rev() {
        let z = field.mul(&inverse, before);
        inverse = field.mul(&inverse, &point.z);
        let z2 = field.square(&z);
        *point = Jacobian { x: field.mul(&point.x, &z2), y: field.mul(&point.y, &field.mul(&z2, &z)), z: field.one };
    }
}

/// Of a point with z = 1.
fn affine<const N: usize>(point: &Jacobian<N>) -> Affine<N> {
    Affine { x: point.x, y: point.y }
}
