//! The curves y^2 = x^3 + ax + b of SEC 2 (version 2.0) and FIPS 186-4, and their points.

use crate::montgomery::{self, Modulus};

/// A curve whose field and order have `N` limbs.
#[derive(Debug)]
pub(crate) struct Curve<const N: usize> {
    pub(crate) field: Modulus<N>,
    pub(crate) order: Modulus<N>,
    /// Bits of field and order.
    pub(crate) bits: usize,
    /// Whether a is -3, as NIST has it; otherwise it is 0.
    a_is_minus_three: bool,
    b: [u64; N],
    pub(crate) generator: Affine<N>,
}

/// What a standard says of a curve, in hexadecimal.
pub(crate) struct Parameters {
    pub(crate) bits: usize,
    pub(crate) a_is_minus_three: bool,
    pub(crate) field: &'static str,
    pub(crate) order: &'static str,
    pub(crate) b: &'static str,
    pub(crate) generator: (&'static str, &'static str),
}

/// A point other than infinity; coordinates are Montgomery forms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine<const N: usize> {
    pub(crate) x: [u64; N],
    pub(crate) y: [u64; N],
}

/// The point (x / z^2, y / z^3), or infinity where z is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jacobian<const N: usize> {
    pub(crate) x: [u64; N],
    pub(crate) y: [u64; N],
    pub(crate) z: [u64; N],
}

impl<const N: usize> Curve<N> {
    pub(crate) fn new(parameters: &Parameters) -> Self {
        let field = Modulus::new(limbs(parameters.field));
        let form = |hex| field.enter(&limbs(hex));
        let (x, y) = parameters.generator;
        Self {
            order: Modulus::new(limbs(parameters.order)),
            bits: parameters.bits,
            a_is_minus_three: parameters.a_is_minus_three,
            b: form(parameters.b),
            generator: Affine { x: form(x), y: form(y) },
            field,
        }
    }

    /// The point with these coordinates, if it is one of the curve's.
    pub(crate) fn point(&self, x: &[u64; N], y: &[u64; N]) -> Option<Affine<N>> {
        let Self { field, .. } = self;
        if [x, y].iter().any(|coordinate| montgomery::compare(*coordinate, &field.limbs).is_ge()) {
            return None;
        }
        let (x, y) = (field.enter(x), field.enter(y));
        let mut right = field.mul(&field.square(&x), &x);
        if self.a_is_minus_three {
            right = field.sub(&right, &self.triple(&x));
        }
        (field.square(&y) == field.add(&right, &self.b)).then_some(Affine { x, y })
    }

    pub(crate) fn infinity(&self) -> Jacobian<N> {
        Jacobian { x: self.field.one, y: self.field.one, z: [0; N] }
    }

    /// With M = 3x^2 + az^4 and S = 4xy^2: x' = M^2 - 2S, y' = M(S - x') - 8y^4, z' = 2yz.
    pub(crate) fn double(&self, point: &Jacobian<N>) -> Jacobian<N> {
        let Self { field, .. } = self;
        let Jacobian { x, y, z } = point;
        let slope = if self.a_is_minus_three {
            let z2 = field.square(z);
            self.triple(&field.mul(&field.sub(x, &z2), &field.add(x, &z2)))
        } else {
            self.triple(&field.square(x))
        };
        let yy = field.square(&self.twice(y));
        let s = field.mul(x, &yy);
        let x3 = field.sub(&field.square(&slope), &self.twice(&s));
        let eight_y4 = self.half_square(&yy);
        let y3 = field.sub(&field.mul(&slope, &field.sub(&s, &x3)), &eight_y4);
        Jacobian { x: x3, y: y3, z: self.twice(&field.mul(y, z)) }
    }

    /// The sum with a point of z = 1: H = x2 z1^2 - x1, R = y2 z1^3 - y1, x' = R^2 - H^3 - 2 x1 H^2,
    /// y' = R (x1 H^2 - x') - y1 H^3, z' = z1 H.
    pub(crate) fn add(&self, point: &Jacobian<N>, other: &Affine<N>) -> Jacobian<N> {
        let Self { field, .. } = self;
        let Jacobian { x, y, z } = point;
        if *z == [0; N] {
            return Jacobian { x: other.x, y: other.y, z: field.one };
        }
        let z2 = field.square(z);
        let h = field.sub(&field.mul(&other.x, &z2), x);
        let r = field.sub(&field.mul(&other.y, &field.mul(&z2, z)), y);
        if h == [0; N] {
            return if r == [0; N] { self.double(point) } else { self.infinity() };
        }
        let h2 = field.square(&h);
        let h3 = field.mul(&h2, &h);
        let v = field.mul(x, &h2);
        let x3 = field.sub(&field.sub(&field.square(&r), &h3), &self.twice(&v));
        let y3 = field.sub(&field.mul(&r, &field.sub(&v, &x3)), &field.mul(y, &h3));
        Jacobian { x: x3, y: y3, z: field.mul(z, &h) }
    }

    fn twice(&self, x: &[u64; N]) -> [u64; N] {
        self.field.add(x, x)
    }

    fn triple(&self, x: &[u64; N]) -> [u64; N] {
        self.field.add(&self.twice(x), x)
    }

    /// x^2 / 2: of 4y^2, 8y^4.
    fn half_square(&self, x: &[u64; N]) -> [u64; N] {
        let mut square = self.field.square(x);
        // An odd number becomes even by the modulus, which is odd.
        let carry = square[0] & 1 == 1 && montgomery::add(&mut square, &self.field.limbs);
        let mut above = u64::from(carry);
        for limb in square.iter_mut().rev() {
            (*limb, above) = (*limb >> 1 | above << 63, *limb & 1);
        }
        square
    }
}

fn limbs<const N: usize>(hex: &str) -> [u64; N] {
    let mut limbs = [0; N];
    read_hex(&mut limbs, hex);
    limbs
}

fn read_hex(limbs: &mut [u64], hex: &str) {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    for (limb, digits) in limbs.iter_mut().zip(digits.rchunks(16)) {
        *limb = digits.iter().fold(0, |limb, digit| limb << 4 | u64::from(*digit));
    }
}

pub(crate) const P256: Parameters = Parameters {
    bits: 256,
    a_is_minus_three: true,
    field: "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    order: "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    b: "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
    generator: (
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    ),
};

pub(crate) const P256K: Parameters = Parameters {
    bits: 256,
    a_is_minus_three: false,
    field: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f",
    order: "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
    b: "7",
    generator: (
        "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
    ),
};

pub(crate) const P384: Parameters = Parameters {
    bits: 384,
    a_is_minus_three: true,
    field: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
    order: "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    b: "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
    generator: (
        "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
        "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
    ),
};

pub(crate) const P521: Parameters = Parameters {
    bits: 521,
    a_is_minus_three: true,
    field: "1ff\
        ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
        ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    order: "1ff\
        fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa\
        51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
    b: "51\
        953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e1\
        56193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
    generator: (
        "c6\
        858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dba\
        a14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
        "118\
        39296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c\
        97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
    ),
};
