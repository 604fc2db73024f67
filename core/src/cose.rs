//! `COSE_Sign1` (RFC 9052, section 4.2): made, and read back.

use std::fmt;

use crate::{
    algorithm::{Algorithm, Hasher},
    cbor::{self, Item, Reader},
    jwks::{JwkSet, SelectError},
    key::PublicKey,
};

/// Labels of header parameters (RFC 9052, section 3.1; RFC 9597, section 2) and of the claim `iat` (RFC 8392, section 4).
const ALG: i64 = 1;
const CRIT: i64 = 2;
const CONTENT_TYPE: i64 = 3;
const KID: i64 = 4;
const CWT_CLAIMS: i64 = 15;
const IAT: i64 = 6;

const TAG: u64 = 18;

/// The algorithm's number (RFC 9053, section 2; RFC 8812, sections 2 and 3).
#[must_use]
pub const fn number(algorithm: Algorithm) -> i64 {
    match algorithm {
        Algorithm::Es256 => -7,
        Algorithm::Es384 => -35,
        Algorithm::Es512 => -36,
        Algorithm::Ps256 => -37,
        Algorithm::Ps384 => -38,
        Algorithm::Ps512 => -39,
        Algorithm::Es256K => -47,
        Algorithm::Rs256 => -257,
        Algorithm::Rs384 => -258,
        Algorithm::Rs512 => -259,
    }
}

/// The protected header, encoded.
#[must_use]
pub fn protected_header(algorithm: Algorithm, content_type: &str, kid: &str, issued_at: i64) -> Vec<u8> {
    let mut header = Vec::new();
    cbor::push_map_head(&mut header, 4);
    cbor::push_integer(&mut header, ALG);
    cbor::push_integer(&mut header, number(algorithm));
    cbor::push_integer(&mut header, CONTENT_TYPE);
    cbor::push_text(&mut header, content_type);
    cbor::push_integer(&mut header, KID);
    cbor::push_bytes(&mut header, kid.as_bytes());
    cbor::push_integer(&mut header, CWT_CLAIMS);
    cbor::push_map_head(&mut header, 1);
    cbor::push_integer(&mut header, IAT);
    cbor::push_integer(&mut header, issued_at);
    header
}

/// What of the `Sig_structure` stands before the payload's bytes (RFC 9052, section 4.4).
#[must_use]
pub fn before_payload(protected: &[u8], payload_bytes: u64) -> Vec<u8> {
    let mut structure = Vec::new();
    cbor::push_array_head(&mut structure, 4);
    cbor::push_text(&mut structure, "Signature1");
    cbor::push_bytes(&mut structure, protected);
    cbor::push_bytes(&mut structure, b"");
    cbor::push_bytes_head(&mut structure, payload_bytes);
    structure
}

/// The tagged message. Without a payload it is detached.
#[must_use]
pub fn message(protected: &[u8], payload: Option<&[u8]>, signature: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    cbor::push_tag(&mut message, TAG);
    cbor::push_array_head(&mut message, 4);
    cbor::push_bytes(&mut message, protected);
    cbor::push_map_head(&mut message, 0);
    match payload {
        Some(payload) => cbor::push_bytes(&mut message, payload),
        None => message.push(0xf6),
    }
    cbor::push_bytes(&mut message, signature);
    message
}

/// A message whose signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The key's name, if a header has one.
    pub kid: Option<String>,
    /// When it was signed, in seconds since 1970, by the signer's word.
    pub issued_at: Option<i64>,
    /// Media type of the content, if the header has one.
    pub content_type: Option<String>,
    /// The signed bytes.
    pub content: Vec<u8>,
}

/// Why a message is not valid, or why that cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a `COSE_Sign1` by form; why.
    Malformed(&'static str),
    /// An algorithm that is not accepted, or none.
    Algorithm(Option<i64>),
    /// No key, or not the right one.
    Key(SelectError),
    /// The algorithm is not one of the key's.
    AlgorithmDoesNotFitKey,
    /// The signature is not over this content by this key.
    Signature,
    /// The content given differs from the one inside.
    OtherContent,
    /// The payload is detached and was not given: nothing can be said.
    ContentMissing,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "no COSE_Sign1: {why}"),
            Self::Algorithm(Some(number)) => write!(f, "the algorithm {number} is not accepted"),
            Self::Algorithm(None) => f.write_str("no algorithm is given"),
            Self::Key(why) => why.fmt(f),
            Self::AlgorithmDoesNotFitKey => f.write_str("the algorithm does not fit the key"),
            Self::Signature => f.write_str("the signature does not verify"),
            Self::OtherContent => f.write_str("the content given is not the content that was signed"),
            Self::ContentMissing => f.write_str("the payload is detached: the content is needed to verify it"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Verifies a message, tagged or not, with the key of the set that its header names.
pub fn verify(message: &[u8], content: Option<&[u8]>, keys: &JwkSet) -> Result<Verified, Refusal> {
    let signed = Signed::parse(message, keys)?;
    let content = match (&signed.payload, content) {
        (Some(attached), Some(content)) if attached != content => return Err(Refusal::OtherContent),
        (Some(attached), _) => attached,
        (None, Some(content)) => content,
        (None, None) => return Err(Refusal::ContentMissing),
    };
    let mut input = signed.input(content.len() as u64);
    input.update(content);
    signed.verify_digest(&input.finish())?;
    let content = content.to_vec();
    let Signed { algorithm, kid, issued_at, content_type, .. } = signed;
    Ok(Verified { algorithm, kid, issued_at, content_type, content })
}

/// A message that has been read, with the key that its header names. Whether the signature is good is not known yet: that
/// takes the digest of its [`input`](Self::input), into which a detached payload goes bit by bit, however large it is.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The key's name, if a header has one.
    pub kid: Option<String>,
    /// When it was signed, in seconds since 1970, by the signer's word.
    pub issued_at: Option<i64>,
    /// Media type of the content, if the header has one.
    pub content_type: Option<String>,
    /// The payload; absent where it is detached.
    pub payload: Option<Vec<u8>>,
    key: PublicKey,
    protected: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    /// Reads a message, tagged or not, and refuses what no content could make valid: its form, its algorithm, its key.
    pub fn parse(message: &[u8], keys: &JwkSet) -> Result<Self, Refusal> {
        let message = Message::parse(message)?;
        let mut header = Header::default();
        header.read(message.protected, true)?;
        let algorithm = header.algorithm.ok_or(Refusal::Algorithm(None))?;
        header.read(message.unprotected, false)?;
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|known| number(*known) == algorithm)
            .ok_or(Refusal::Algorithm(Some(algorithm)))?;
        let kid = header.kid.map(|kid| std::str::from_utf8(kid).map_err(|_| Refusal::Malformed("its kid is no text")));
        let kid = kid.transpose()?;
        let jwk = keys.select(kid, algorithm).map_err(Refusal::Key)?;
        if !jwk.allows(algorithm) {
            return Err(Refusal::AlgorithmDoesNotFitKey);
        }
        Ok(Self {
            algorithm,
            kid: kid.map(str::to_owned),
            issued_at: header.issued_at,
            content_type: header.content_type.map(str::to_owned),
            payload: message.payload.map(<[u8]>::to_vec),
            key: jwk.key,
            protected: message.protected.to_vec(),
            signature: message.signature.to_vec(),
        })
    }

    /// The `Sig_structure` up to where a payload of so many bytes begins.
    #[must_use]
    pub fn input(&self, payload_bytes: u64) -> Hasher {
        let mut hasher = self.algorithm.hash().hasher();
        hasher.update(&before_payload(&self.protected, payload_bytes));
        hasher
    }

    /// Whether the signature is good over an input with this digest.
    pub fn verify_digest(&self, digest: &[u8]) -> Result<(), Refusal> {
        self.key.verify(self.algorithm, digest, &self.signature).map_err(|_| Refusal::Signature)
    }
}

struct Message<'a> {
    protected: &'a [u8],
    /// The unprotected header, still encoded.
    unprotected: &'a [u8],
    payload: Option<&'a [u8]>,
    signature: &'a [u8],
}

impl<'a> Message<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, Refusal> {
        const SHAPE: Refusal = Refusal::Malformed("an array of four items, with tag 18 or none, is expected");
        let mut reader = Reader::new(text);
        let mut first = reader.head_of_next();
        if first == Some(Item::Tag(TAG)) {
            first = reader.head_of_next();
        }
        let (Some(Item::Array(4)), Some(Item::Bytes(protected))) = (first, reader.head_of_next()) else {
            return Err(SHAPE);
        };
        let unprotected = reader.item().ok_or(SHAPE)?;
        let payload = match reader.head_of_next() {
            Some(Item::Bytes(payload)) => Some(payload),
            Some(cbor::NULL) => None,
            _ => return Err(SHAPE),
        };
        let Some(Item::Bytes(signature)) = reader.head_of_next() else { return Err(SHAPE) };
        if !reader.is_at_end() {
            return Err(Refusal::Malformed("something follows the message"));
        }
        Ok(Self { protected, unprotected, payload, signature })
    }
}

/// In both headers together; more would only serve to make the search for doubled ones slow.
const MOST_PARAMETERS: usize = 64;

/// What is read of the two headers.
#[derive(Default)]
struct Header<'a> {
    labels: Vec<&'a [u8]>,
    algorithm: Option<i64>,
    kid: Option<&'a [u8]>,
    content_type: Option<&'a str>,
    issued_at: Option<i64>,
}

impl<'a> Header<'a> {
    /// Reads one of the two maps. No label may be there twice, in whichever of them; an empty protected header is an empty
    /// string.
    fn read(&mut self, map: &'a [u8], protected: bool) -> Result<(), Refusal> {
        const SHAPE: Refusal = Refusal::Malformed("a header is no map");
        if map.is_empty() && protected {
            return Ok(());
        }
        let mut reader = Reader::new(map);
        let Some(Item::Map(length)) = reader.head_of_next() else { return Err(SHAPE) };
        for _ in 0..length {
            let label = reader.item().ok_or(SHAPE)?;
            if self.labels.len() == MOST_PARAMETERS {
                return Err(Refusal::Malformed("it has more header parameters than anybody makes"));
            }
            if self.labels.contains(&label) {
                return Err(Refusal::Malformed("a header parameter is there twice"));
            }
            self.labels.push(label);
            let value = reader.item().ok_or(SHAPE)?;
            self.read_parameter(Reader::new(label).head_of_next(), value, protected)?;
        }
        if reader.is_at_end() { Ok(()) } else { Err(SHAPE) }
    }

    fn read_parameter(&mut self, label: Option<Item<'_>>, value: &'a [u8], protected: bool) -> Result<(), Refusal> {
        let first = Reader::new(value).head_of_next();
        match (label, first) {
            (Some(Item::Integer(ALG)), Some(Item::Integer(number))) if protected => self.algorithm = Some(number),
            (Some(Item::Integer(ALG)), _) => return Err(Refusal::Algorithm(None)),
            // RFC 9052, section 3.1: whoever does not understand a critical parameter must refuse; none is understood here.
            (Some(Item::Integer(CRIT)), _) => {
                return Err(Refusal::Malformed("a critical header parameter is not understood"));
            }
            (Some(Item::Integer(KID)), Some(Item::Bytes(kid))) => self.kid = Some(kid),
            (Some(Item::Integer(KID)), _) => return Err(Refusal::Malformed("its kid is no byte string")),
            (Some(Item::Integer(CONTENT_TYPE)), Some(Item::Text(text))) if protected => self.content_type = Some(text),
            (Some(Item::Integer(CWT_CLAIMS)), Some(Item::Map(length))) if protected => {
                self.issued_at = claim(value, length, IAT);
            }
            (Some(Item::Integer(_) | Item::Text(_)), _) => {}
            _ => return Err(Refusal::Malformed("a header's label is neither integer nor text")),
        }
        Ok(())
    }
}

/// An integer claim of a map of claims.
fn claim(map: &[u8], length: usize, label: i64) -> Option<i64> {
    let mut reader = Reader::new(map);
    reader.head_of_next()?;
    for _ in 0..length {
        let key = reader.item()?;
        let value = reader.item()?;
        if let (Some(Item::Integer(key)), Some(Item::Integer(value))) =
            (Reader::new(key).head_of_next(), Reader::new(value).head_of_next())
            && key == label
        {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{algorithm::hex, testing::assert_all_different};

    #[test]
    fn each_refusal_says_what_it_is() {
        assert_eq!(Refusal::Algorithm(Some(-8)).to_string(), "the algorithm -8 is not accepted");
        assert_all_different([
            Refusal::Malformed("why"),
            Refusal::Algorithm(Some(-8)),
            Refusal::Algorithm(None),
            Refusal::Key(SelectError::Ambiguous),
            Refusal::AlgorithmDoesNotFitKey,
            Refusal::Signature,
            Refusal::OtherContent,
            Refusal::ContentMissing,
        ]);
    }

    /// The IANA registry "COSE Algorithms".
    #[test]
    fn algorithms_have_their_registered_numbers() {
        let numbers = Algorithm::ALL.map(number);
        assert_eq!(numbers, [-257, -258, -259, -37, -38, -39, -7, -35, -36, -47]);
    }

    /// By hand, from RFC 9052, sections 3, 4.2 and 4.4.
    #[test]
    fn a_message_has_these_bytes_and_no_others() {
        let protected = protected_header(Algorithm::Es256, "a/b", "kid", 500);
        assert_eq!(hex(&protected), "a401260363612f6204436b69640fa1061901f4");
        let [short, long] = [3, 70_000].map(|bytes| hex(&before_payload(&protected, bytes)));
        let before = format!("846a5369676e61747572653153{}40", hex(&protected));
        assert_eq!((short, long), (format!("{before}43"), format!("{before}5a00011170")));
        let [attached, detached] =
            [Some(&b"abc"[..]), None].map(|payload| hex(&message(&protected, payload, &[7; 24])));
        let (before, after) = (format!("d28453{}a0", hex(&protected)), format!("5818{}", "07".repeat(24)));
        assert_eq!((attached, detached), (format!("{before}43616263{after}"), format!("{before}f6{after}")));
    }
}
