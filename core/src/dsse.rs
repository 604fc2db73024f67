//! DSSE v1 (secure-systems-lab/dsse, `protocol.md` and `envelope.md`) over an in-toto Statement v1 (in-toto/attestation).

use std::{borrow::Cow, cell::LazyCell, fmt};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    algorithm::{Algorithm, Hash, unhex},
    base64,
    content::{ContentName, Predicate},
    json::{self, Members},
    jwks::{Jwk, JwkSet},
    raw,
};

/// Type of the payload of every envelope that is made here.
pub const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";
/// Type of the predicate where the sender gives none.
pub const DEFAULT_PREDICATE_TYPE: &str = "urn:signet:signature:v1";

const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";

/// An in-toto Statement v1: what is attested of whom.
#[must_use]
pub fn statement(
    id: &str,
    content: &ContentName,
    predicate: Option<&Predicate>,
    content_type: &str,
    issued_at: i64,
) -> String {
    let (name, hash, hex) = (Value::from(id), content.hash.name(), &content.hex);
    let (predicate_type, predicate) = if let Some(Predicate { predicate_type, json }) = predicate {
        (predicate_type.as_str(), json.clone())
    } else {
        let content_type = Value::from(content_type);
        let json = format!(r#"{{"contentType":{content_type},"issuedAt":{issued_at}}}"#);
        (DEFAULT_PREDICATE_TYPE, Some(json))
    };
    let predicate = predicate.map(|json| format!(r#","predicate":{json}"#)).unwrap_or_default();
    let predicate_type = Value::from(predicate_type);
    format!(
        r#"{{"_type":"{STATEMENT_V1}","subject":[{{"name":{name},"digest":{{"{hash}":"{hex}"}}}}],"predicateType":{predicate_type}{predicate}}}"#
    )
}

/// The pre-authentication encoding up to the payload's bytes.
#[must_use]
pub fn before_payload(payload_type: &str, payload_bytes: usize) -> String {
    format!("DSSEv1 {} {payload_type} {payload_bytes} ", payload_type.len())
}

/// The envelope. ECDSA signatures are given as `r || s` and stand in it in DER.
#[must_use]
pub fn envelope(payload: &[u8], kid: &str, algorithm: Algorithm, signature: &[u8]) -> String {
    let (payload, kid, signature) = (base64::encode(payload), Value::from(kid), raw::encode(algorithm, signature));
    format!(
        r#"{{"payload":"{payload}","payloadType":"{STATEMENT_TYPE}","signatures":[{{"keyid":{kid},"sig":"{signature}"}}]}}"#
    )
}

/// An envelope of which a signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The algorithm that verified it; the envelope names none.
    pub algorithm: Algorithm,
    /// The key's name.
    pub kid: Option<String>,
    /// The payload's type.
    pub payload_type: String,
    /// The payload, decoded.
    pub payload: Vec<u8>,
}

/// Why an envelope is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a DSSE envelope by form; why.
    Malformed(String),
    /// No signature of it is by a key of the set.
    Signature,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "no DSSE envelope: {why}"),
            Self::Signature => f.write_str("no signature verifies with a key of the set"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Verifies an envelope: one good signature by a key of the set is enough. A `keyid` is a hint and no more, but where it
/// names a key of the set, that key alone is tried.
pub fn verify(document: &str, keys: &JwkSet) -> Result<Verified, Refusal> {
    let malformed = |why: &str| Refusal::Malformed(why.to_owned());
    let members = Members::parse(document).map_err(|error| Refusal::Malformed(error.to_string()))?;
    let payload = members.string("payload").and_then(|text| base64::decode_any(&text));
    let payload = payload.ok_or_else(|| malformed("`payload` is missing or not Base64"))?;
    let payload_type = members.string("payloadType").ok_or_else(|| malformed("`payloadType` is missing"))?;
    let signatures = members.value("signatures").ok_or_else(|| malformed("`signatures` is missing"))?;
    let signatures = array(signatures).ok_or_else(|| malformed("`signatures` is no list"))?;
    if signatures.len() > MOST_SIGNATURES {
        return Err(malformed("it has more signatures than anybody makes"));
    }
    let before = before_payload(&payload_type, payload.len());
    let signed: [&[u8]; 2] = [before.as_bytes(), &payload];
    let digests = Hash::ALL.map(|hash| (hash, LazyCell::new(move || hash.digest(&signed))));
    let jwks: Vec<Jwk> = keys.usable().collect();
    for signature in signatures {
        let signature = Members::parse(signature).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let text = signature.string("sig").ok_or_else(|| malformed("a signature has no `sig`"))?;
        if text.len() > raw::LONGEST {
            continue;
        }
        let kid = signature.string("keyid").filter(|kid| keys.contains(kid));
        for jwk in jwks.iter().filter(|jwk| kid.is_none() || jwk.kid.as_deref() == kid.as_deref()) {
            for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| jwk.allows(*algorithm)) {
                // The protocol leaves the encoding open: everybody's envelopes have DER, its own example has `r || s`.
                let encoded = [raw::decode(algorithm, jwk.key.curve(), &text), base64::decode_any(&text)];
                let is_good = |signature: &Vec<u8>| {
                    let digest = digests.iter().find(|(hash, _)| *hash == algorithm.hash());
                    digest.is_some_and(|(_, digest)| jwk.key.verify(algorithm, digest, signature).is_ok())
                };
                if encoded.iter().flatten().any(is_good) {
                    drop(digests);
                    let (kid, payload_type) = (jwk.kid.clone(), payload_type.into_owned());
                    return Ok(Verified { algorithm, kid, payload_type, payload });
                }
            }
        }
    }
    Err(Refusal::Signature)
}

/// An envelope may not cost whoever verifies it more than this many verifications for each key.
const MOST_SIGNATURES: usize = 100;

/// Digests of one thing: function and hexadecimal.
pub type Digests = Vec<(String, String)>;

/// What a statement says, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The first subject's name; empty where it has none.
    pub name: String,
    /// Its digests.
    pub digests: Digests,
    /// The names and digests of the other subjects.
    pub others: Vec<(String, Digests)>,
    /// The predicate's type.
    pub predicate_type: String,
    /// Media type of the subject, where the predicate is the default one.
    pub content_type: Option<String>,
    /// When it was signed, in seconds since 1970, by the signer's word, where the predicate is the default one.
    pub issued_at: Option<i64>,
}

impl Statement {
    /// Reads an in-toto Statement v1; `None` if it is none.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let members = Members::parse(std::str::from_utf8(payload).ok()?).ok()?;
        if members.string("_type")? != STATEMENT_V1 {
            return None;
        }
        let subjects = array(members.value("subject")?)?.into_iter().map(Subject::parse);
        let mut subjects = subjects.collect::<Option<Vec<_>>>()?.into_iter();
        let (name, digests) = subjects.next()?;
        let predicate_type = members.string("predicateType").map(Cow::into_owned)?;
        let predicate = members.value("predicate").filter(|_| predicate_type == DEFAULT_PREDICATE_TYPE);
        let predicate = predicate.and_then(|predicate| Members::parse(predicate).ok());
        Some(Self {
            name,
            digests,
            others: subjects.collect(),
            content_type: predicate.as_ref().and_then(|p| p.string("contentType")).map(Cow::into_owned),
            issued_at: predicate.and_then(|predicate| predicate.value("issuedAt")?.parse().ok()),
            predicate_type,
        })
    }

    /// All that it is about.
    pub fn subjects(&self) -> impl Iterator<Item = Subject<'_>> {
        let others = self.others.iter().map(|(name, digests)| Subject { name, digests });
        std::iter::once(Subject { name: &self.name, digests: &self.digests }).chain(others)
    }

    /// The hash functions of the digests that are understood; one may come several times.
    pub fn hashes(&self) -> impl Iterator<Item = Hash> {
        self.subjects().flat_map(|subject| subject.understood().map(|(hash, _)| hash))
    }

    /// The subject that content is. `digest` gives the content's digest by each of [`hashes`](Self::hashes).
    pub fn subject_with(&self, digest: impl Fn(Hash) -> Vec<u8>) -> Result<Subject<'_>, NoSubject> {
        let mut why = NoSubject::Other;
        for subject in self.subjects() {
            match subject.is_content_with(&digest) {
                Some(true) => return Ok(subject),
                Some(false) => {}
                None => why = NoSubject::Untold,
            }
        }
        Err(why)
    }

    /// Whether the content is a subject of it; `None` where that cannot be told.
    #[must_use]
    pub fn is_about(&self, content: &[u8]) -> Option<bool> {
        match self.subject_with(|hash| hash.digest(&[content])) {
            Ok(_) => Some(true),
            Err(NoSubject::Other) => Some(false),
            Err(NoSubject::Untold) => None,
        }
    }
}

/// One thing that a statement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its name; empty where it has none.
    pub name: &'a str,
    /// Its digests: function and hexadecimal.
    pub digests: &'a [(String, String)],
}

/// Why content is no subject of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSubject {
    /// It is none of them.
    Other,
    /// A subject has no digest that is understood, and the content is none of those that have one.
    Untold,
}

impl<'a> Subject<'a> {
    /// A resource descriptor that has digests, as every subject must; it may go without a name.
    fn parse(text: &str) -> Option<(String, Digests)> {
        let subject = Members::parse(text).ok()?;
        let name = match subject.value("name") {
            Some(name) => json::string(name)?.into_owned(),
            None => String::new(),
        };
        let digests = Members::parse(subject.value("digest")?).ok()?;
        let digests = digests.iter().map(|(hash, text)| Some((hash.to_owned(), json::string(text)?.into_owned())));
        Some((name, digests.collect::<Option<_>>()?))
    }

    /// Whether content is this, by every digest that is understood; `None` where none is.
    fn is_content_with(&self, digest: impl Fn(Hash) -> Vec<u8>) -> Option<bool> {
        // Hexadecimal is the same in either case.
        let mut verdicts =
            self.understood().map(|(hash, hex)| unhex(hex).is_some_and(|named| named == digest(hash))).peekable();
        verdicts.peek()?;
        Some(verdicts.all(|same| same))
    }

    fn understood(&self) -> impl Iterator<Item = (Hash, &'a str)> + use<'a> {
        self.digests.iter().filter_map(|(name, hex)| Some((Hash::from_name(name)?, hex.as_str())))
    }
}

fn array(text: &str) -> Option<Vec<&str>> {
    #[derive(Deserialize)]
    struct Array<'a>(#[serde(borrow)] Vec<&'a RawValue>);
    let Array(items) = serde_json::from_str(text).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_all_different;

    fn parse(predicate: Option<&Predicate>) -> Statement {
        let content =
            ContentName { hash: Hash::Sha256, hex: crate::algorithm::sha256_hex(b"c").to_uppercase(), detached: false };
        Statement::parse(statement("a/b", &content, predicate, "text/plain", 7).as_bytes()).expect("a statement")
    }

    #[test]
    fn each_refusal_says_what_it_is() {
        assert_all_different([Refusal::Malformed("why".to_owned()), Refusal::Signature]);
    }

    /// The example of `protocol.md`.
    #[test]
    fn the_encoding_is_that_of_the_protocol() {
        let before = before_payload("http://example.com/HelloWorld", b"hello world".len());
        assert_eq!(before + "hello world", "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn an_envelope_costs_no_more_than_a_hundred_signatures() {
        let envelope = |signatures: usize| {
            let signatures = vec![r#"{"sig":"YQ=="}"#; signatures].join(",");
            format!(r#"{{"payload":"YQ==","payloadType":"t","signatures":[{signatures}]}}"#)
        };
        assert_eq!(verify(&envelope(MOST_SIGNATURES), &JwkSet::default()), Err(Refusal::Signature));
        let refusal = verify(&envelope(MOST_SIGNATURES + 1), &JwkSet::default());
        assert!(matches!(refusal, Err(Refusal::Malformed(_))), "{refusal:?}");
    }

    #[test]
    fn a_statement_says_of_what_and_when_it_is() {
        let read = parse(None);
        assert_eq!(
            (read.name.as_str(), read.content_type.as_deref(), read.issued_at),
            ("a/b", Some("text/plain"), Some(7))
        );
        assert_eq!(read.hashes().collect::<Vec<_>>(), [Hash::Sha256]);
        assert_eq!((read.is_about(b"c"), read.is_about(b"d")), (Some(true), Some(false)));
    }

    #[test]
    fn content_may_be_any_of_the_subjects() {
        let digest = |content: &[u8]| format!(r#"{{"sha256":"{}"}}"#, crate::algorithm::sha256_hex(content));
        let statement = |subjects: &[String]| {
            let subjects = subjects.join(",");
            Statement::parse(
                format!(r#"{{"_type":"{STATEMENT_V1}","subject":[{subjects}],"predicateType":"urn:p"}}"#).as_bytes(),
            )
        };
        let subject = |name: &str, digest: String| format!(r#"{{"name":"{name}","digest":{digest}}}"#);
        let (first, second) = (subject("a", digest(b"a")), format!(r#"{{"digest":{}}}"#, digest(b"b")));
        let read = statement(&[first.clone(), second.clone()]).expect("a statement");
        assert_eq!(read.subject_with(|hash| hash.digest(&[b"a"])).map(|subject| subject.name), Ok("a"));
        assert_eq!(read.subject_with(|hash| hash.digest(&[b"b"])).map(|subject| subject.name), Ok(""));
        assert_eq!(read.is_about(b"c"), Some(false));
        let unknown = subject("x", r#"{"gitCommit":"00"}"#.to_owned());
        let read = statement(&[unknown, first, second]).expect("a statement");
        assert_eq!((read.is_about(b"b"), read.is_about(b"c")), (Some(true), None));
        for bad in [r#"{"name":"x"}"#, r#"{"name":1,"digest":{}}"#, "[]"] {
            assert_eq!(statement(&[subject("a", digest(b"a")), bad.to_owned()]), None, "{bad}");
        }
        assert_eq!(statement(&[]), None);
    }

    #[test]
    fn what_a_foreign_predicate_means_is_not_guessed() {
        let json = Some(r#"{"contentType":"a/b","issuedAt":1}"#.to_owned());
        let read = parse(Some(&Predicate { predicate_type: "https://example.com/p".to_owned(), json }));
        assert_eq!((read.content_type, read.issued_at), (None, None));
    }
}
