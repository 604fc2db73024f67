//! Bare signatures as `openssl dgst` and cosign take them: Base64, ECDSA in DER.

use crate::{
    algorithm::{Algorithm, Hash},
    base64,
    jwks::{Jwk, JwkSet, SelectError},
    key::Curve,
};

/// The text of a `.sig` blob.
#[must_use]
pub fn encode(algorithm: Algorithm, signature: &[u8]) -> String {
    if algorithm.is_ecdsa() { base64::encode(&ecdsa_to_der(signature)) } else { base64::encode(signature) }
}

/// The signature of a `.sig` blob, in the form that keys verify; `None` if it is none of this algorithm's.
#[must_use]
pub fn decode(algorithm: Algorithm, curve: Option<Curve>, text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    let bytes = base64::decode_any(text)?;
    match curve {
        Some(curve) if algorithm.is_ecdsa() => ecdsa_from_der(&bytes, curve.coordinate_bytes()),
        None if !algorithm.is_ecdsa() => Some(bytes),
        _ => None,
    }
}

/// Letters of Base64 beyond which no signature is: one by an RSA key of 4096 bits has 684. A text that is longer is not
/// decoded once more for each key and algorithm.
pub const LONGEST: usize = 1024;

/// A bare signature with all keys and algorithms that may have made it, since it says neither. Which one has is known once
/// the content's digests are, so that the content may come bit by bit, however large it is.
#[derive(Clone, Debug)]
pub struct Signed(Vec<Candidate>);

/// A key and an algorithm that may have made a signature.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The key.
    pub jwk: Jwk,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The signature as the key verifies it.
    signature: Vec<u8>,
}

impl Signed {
    /// Reads the text of a `.sig` blob. The candidates are the keys of the set with this `kid`, or else all, and this
    /// algorithm, or else all that a key allows.
    ///
    /// # Errors
    /// No usable key of the set has the `kid`.
    pub fn parse(
        text: &str,
        kid: Option<&str>,
        algorithm: Option<Algorithm>,
        keys: &JwkSet,
    ) -> Result<Self, SelectError> {
        let jwks: Vec<Jwk> = keys.usable().filter(|jwk| kid.is_none() || jwk.kid.as_deref() == kid).collect();
        if let (true, Some(kid)) = (jwks.is_empty(), kid) {
            return Err(if keys.contains(kid) {
                SelectError::Unusable("it is no public key for signatures".to_owned())
            } else {
                SelectError::NotInSet(kid.to_owned())
            });
        }
        let candidates = jwks.iter().flat_map(|jwk| {
            let algorithms = Algorithm::ALL.into_iter().filter(|known| algorithm.is_none_or(|named| named == *known));
            algorithms.filter(|known| jwk.allows(*known)).filter_map(|known| {
                let signature = decode(known, jwk.key.curve(), text)?;
                Some(Candidate { jwk: jwk.clone(), algorithm: known, signature })
            })
        });
        Ok(Self(candidates.collect()))
    }

    /// The hash functions of which the content's digests are needed; some may be there twice.
    pub fn hashes(&self) -> impl Iterator<Item = Hash> {
        self.0.iter().map(|candidate| candidate.algorithm.hash())
    }

    /// Who made the signature, if any of them did. `digest` gives the content's digest by each of
    /// [`hashes`](Self::hashes).
    #[must_use]
    pub fn signer(&self, digest: impl Fn(Hash) -> Vec<u8>) -> Option<&Candidate> {
        self.0.iter().find(|candidate| {
            let Candidate { jwk, algorithm, signature } = candidate;
            jwk.key.verify(*algorithm, &digest(algorithm.hash()), signature).is_ok()
        })
    }
}

/// `r || s` as an ASN.1 `SEQUENCE` of two `INTEGER`s in DER (RFC 3279, section 2.2.3).
#[must_use]
pub fn ecdsa_to_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let mut integers = Vec::with_capacity(signature.len().saturating_add(8));
    for mut integer in [r, s] {
        while let [0, rest @ ..] = integer
            && !rest.is_empty()
        {
            integer = rest;
        }
        // A set top bit would make it negative.
        let sign = usize::from(integer.first().is_some_and(|byte| byte & 0x80 != 0));
        push_header(&mut integers, INTEGER, integer.len().saturating_add(sign));
        integers.extend(std::iter::repeat_n(0, sign));
        integers.extend_from_slice(integer);
    }
    let mut der = Vec::with_capacity(integers.len().saturating_add(3));
    push_header(&mut der, SEQUENCE, integers.len());
    der.extend_from_slice(&integers);
    der
}

/// The reverse, accepting DER alone and integers of at most `width` bytes.
#[must_use]
pub fn ecdsa_from_der(der: &[u8], width: usize) -> Option<Vec<u8>> {
    let (sequence, rest) = read(der, SEQUENCE)?;
    let (r, after) = read(sequence, INTEGER)?;
    let (s, end) = read(after, INTEGER)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    let mut signature = Vec::new();
    for integer in [r, s] {
        let unsigned = match integer {
            // A zero in front is there to keep the number positive and for nothing else.
            [0, unsigned @ ..] if unsigned.first().is_some_and(|next| next & 0x80 != 0) => unsigned,
            [first, ..] if first & 0x80 == 0 && (*first != 0 || integer.len() == 1) => integer,
            _ => return None,
        };
        signature.extend(std::iter::repeat_n(0, width.checked_sub(unsigned.len())?));
        signature.extend_from_slice(unsigned);
    }
    Some(signature)
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;

/// Tag and length; lengths here are under 256.
fn push_header(der: &mut Vec<u8>, tag: u8, length: usize) {
    der.push(tag);
    if length >= 0x80 {
        der.push(0x81);
    }
    der.push(u8::try_from(length).unwrap_or(u8::MAX));
}

/// One element: its content, and what follows it.
fn read(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der {
        [first, 0x81, length, rest @ ..] if *first == tag && *length >= 0x80 => (*length, rest),
        [first, length, rest @ ..] if *first == tag && *length < 0x80 => (*length, rest),
        _ => return None,
    };
    rest.split_at_checked(usize::from(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Signer, stranger};

    #[test]
    fn who_made_a_bare_signature_is_found_among_the_keys_of_a_set() {
        for algorithm in Algorithm::ALL {
            let signer = Signer::new(algorithm);
            let mut keys = JwkSet::default();
            keys.add("other", &stranger(&signer.key.public));
            keys.add(&signer.key.kid, &signer.key.public);
            let digest = |hash: Hash| hash.digest(&[b"content"]);
            let text = encode(algorithm, &signer.sign(&digest(algorithm.hash())));
            for (kid, named) in [(None, None), (Some(signer.key.kid.as_str()), Some(algorithm))] {
                let bare = Signed::parse(&text, kid, named, &keys).expect("candidates");
                assert!(bare.hashes().any(|hash| hash == algorithm.hash()));
                let found = bare.signer(digest).expect("the signer");
                assert_eq!((found.jwk.kid.as_ref(), found.algorithm), (Some(&signer.key.kid), algorithm));
                assert!(bare.signer(|hash| hash.digest(&[b"other"])).is_none(), "{algorithm}");
            }
            assert!(Signed::parse(&text, Some("other"), None, &keys).expect("candidates").signer(digest).is_none());
            assert!(matches!(Signed::parse(&text, Some("9"), None, &keys), Err(SelectError::NotInSet(_))));
        }
    }

    #[test]
    fn what_is_longer_than_any_signature_is_not_decoded_for_each_key() {
        let longest = base64::encode(&[1; 768]);
        assert_eq!(longest.len(), LONGEST);
        assert_eq!(decode(Algorithm::Rs256, None, &format!(" {longest}\n")), Some(vec![1; 768]));
        assert_eq!(decode(Algorithm::Rs256, None, &base64::encode(&[1; 769])), None);
    }

    #[test]
    fn der_round_trips_at_every_width_and_edge() {
        for width in [32, 48, 66] {
            for fill in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut signature = vec![fill; 2 * width];
                signature[width - 1] = 1;
                signature[2 * width - 1] = 0x80;
                let der = ecdsa_to_der(&signature);
                assert_eq!(ecdsa_from_der(&der, width), Some(signature), "{width} {fill:#x} {der:02x?}");
            }
        }
    }

    #[test]
    fn integers_of_any_length_have_a_der() {
        for (signature, der) in [
            (&[][..], &[0x30, 4, 2, 0, 2, 0][..]),
            (&[1], &[0x30, 5, 2, 0, 2, 1, 1]),
            (&[0, 0], &[0x30, 6, 2, 1, 0, 2, 1, 0]),
            (&[0, 0, 0x80], &[0x30, 7, 2, 1, 0, 2, 2, 0, 0x80]),
            (&[0, 0, 0, 0x7f], &[0x30, 6, 2, 1, 0, 2, 1, 0x7f]),
        ] {
            assert_eq!(ecdsa_to_der(signature), der, "{signature:02x?}");
        }
    }

    #[test]
    fn what_is_not_der_is_refused() {
        let good = ecdsa_to_der(&[1; 64]);
        assert!(ecdsa_from_der(&good, 32).is_some());
        let mut trailing = good.clone();
        trailing.push(0);
        let long_form = [&[0x30, 0x81, 0x44][..], &good[2..]].concat();
        let padded = [0x30, 7, 2, 2, 0, 1, 2, 1, 1];
        let negative = [0x30, 6, 2, 1, 0x80, 2, 1, 1];
        let empty = [0x30, 5, 2, 0, 2, 1, 1];
        let no_sequence = [&[0x31], &good[1..]].concat();
        let no_integer = [&good[..2], &[3], &good[3..]].concat();
        let integer = [&[2, 62][..], &[1; 62]].concat();
        let indefinite = [&[0x30, 0x80], &integer[..], &integer].concat();
        for der in [&trailing[..], &long_form, &padded, &negative, &empty, &good[..good.len() - 1], &[]] {
            assert_eq!(ecdsa_from_der(der, 32), None, "{der:02x?}");
        }
        for der in [&no_sequence, &no_integer, &indefinite] {
            assert_eq!(ecdsa_from_der(der, 66), None, "{der:02x?}");
        }
        assert_eq!(ecdsa_from_der(&good, 31), None, "too wide for the curve");
        let text = base64::encode(&good);
        assert_eq!(decode(Algorithm::Es256, Some(Curve::P256), &text).as_deref(), Some(&[1; 64][..]));
        assert_eq!(decode(Algorithm::Rs256, Some(Curve::P256), &text), None, "the algorithm is not the curve's");
        assert_eq!(decode(Algorithm::Es256, None, &text), None, "nor that of another kind of key");
    }
}
