//! Reading a JWS (RFC 7515) and checking it with a published key: compact or flattened JSON, attached or detached,
//! also with an unencoded payload (RFC 7797).

use std::{borrow::Cow, fmt};

use crate::{
    algorithm::{Algorithm, Hasher},
    base64,
    json::{self, Members},
    jwks::{JwkSet, SelectError},
    key::PublicKey,
};

/// A JWS whose signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The key's name, if the header has one.
    pub kid: Option<String>,
    /// When it was signed, in seconds since 1970, by the signer's word.
    pub issued_at: Option<i64>,
    /// Media type of the content, if the header has one.
    pub content_type: Option<String>,
    /// The signed bytes.
    pub content: Vec<u8>,
}

/// Why a document is no valid JWS, or why that cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a JWS by form; why.
    Malformed(String),
    /// The header has `alg: none`, none at all, or one that nobody should accept.
    Algorithm(String),
    /// A critical header that is not understood here (RFC 7515, section 4.1.11).
    Critical(String),
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

impl Refusal {
    /// Whether the document is known to be bad; otherwise something is missing to tell.
    #[must_use]
    pub const fn is_invalid(&self) -> bool {
        !matches!(self, Self::ContentMissing)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "no JWS: {why}"),
            Self::Algorithm(name) => write!(f, "the algorithm {name} is not accepted"),
            Self::Critical(name) => write!(f, "the critical header {name} is not understood"),
            Self::Key(why) => why.fmt(f),
            Self::AlgorithmDoesNotFitKey => f.write_str("the algorithm does not fit the key"),
            Self::Signature => f.write_str("the signature does not verify"),
            Self::OtherContent => f.write_str("the content given is not the content that was signed"),
            Self::ContentMissing => f.write_str("the payload is detached: the content is needed to verify it"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Verifies a JWS with the key of the set that its header names. `content` is needed where the payload is detached, and
/// compared where it is not.
pub fn verify(document: &str, content: Option<&[u8]>, keys: &JwkSet) -> Result<Verified, Refusal> {
    let signed = Signed::parse(document, keys)?;
    let content = match (&signed.payload, content) {
        (Some(attached), Some(content)) if attached != content => return Err(Refusal::OtherContent),
        (Some(attached), _) => attached,
        (None, Some(content)) => content,
        (None, None) => return Err(Refusal::ContentMissing),
    };
    let mut input = signed.input();
    input.update(content);
    signed.verify_digest(&input.finish())?;
    let content = content.to_vec();
    let Signed { algorithm, kid, issued_at, content_type, .. } = signed;
    Ok(Verified { algorithm, kid, issued_at, content_type, content })
}

/// A JWS that has been read, with the key that its header names. Whether the signature is good is not known yet: that
/// takes the digest of its [`input`](Self::input), into which a detached payload goes bit by bit, however large it is.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The key's name, if the header has one.
    pub kid: Option<String>,
    /// When it was signed, in seconds since 1970, by the signer's word.
    pub issued_at: Option<i64>,
    /// Media type of the content, if the header has one.
    pub content_type: Option<String>,
    /// The payload, decoded; absent where it is detached.
    pub payload: Option<Vec<u8>>,
    key: PublicKey,
    protected: String,
    is_encoded: bool,
    signature: Vec<u8>,
}

impl Signed {
    /// Reads a JWS, and refuses what no content could make valid: its form, its algorithm, its critical headers, its key.
    pub fn parse(document: &str, keys: &JwkSet) -> Result<Self, Refusal> {
        let jws = Jws::parse(document.trim_ascii())?;
        let header_json = decode(jws.protected, "protected")?;
        let header_text = String::from_utf8(header_json).map_err(|_| malformed("the header is not UTF-8"))?;
        let header = Members::parse(&header_text).map_err(|error| malformed(format!("the header: {error}")))?;
        if let Some(unprotected) = &jws.unprotected {
            check_unprotected(unprotected, &header)?;
        }

        let algorithm_name = header.string("alg").ok_or_else(|| Refusal::Algorithm("(none is given)".to_owned()))?;
        let algorithm: Algorithm =
            algorithm_name.parse().map_err(|_| Refusal::Algorithm(algorithm_name.clone().into_owned()))?;
        let is_encoded = payload_is_encoded(&header)?;
        let kid = header.value("kid").or_else(|| jws.unprotected.as_ref()?.value("kid"));
        let kid = kid.map(|kid| json::string(kid).ok_or_else(|| malformed("`kid` is no string"))).transpose()?;
        let kid = kid.map(Cow::into_owned);
        let jwk = keys.select(kid.as_deref(), algorithm).map_err(Refusal::Key)?;
        if !jwk.allows(algorithm) {
            return Err(Refusal::AlgorithmDoesNotFitKey);
        }

        let signature = decode(jws.signature, "signature")?;
        let payload = match &jws.payload {
            Some(payload) if is_encoded => Some(decode(payload, "payload")?),
            Some(payload) => Some(payload.as_bytes().to_vec()),
            None => None,
        };
        let signed = Self {
            algorithm,
            kid,
            issued_at: header.value("iat").and_then(|iat| iat.parse().ok()),
            content_type: header.string("cty").map(Cow::into_owned),
            payload,
            key: jwk.key,
            protected: jws.protected.to_owned(),
            is_encoded,
            signature,
        };
        // In the compact form nothing tells an empty payload from a detached one, but the signature.
        let is_bare = jws.is_compact && is_encoded && signed.payload.is_none();
        if is_bare && signed.verify_digest(&signed.input().finish()).is_ok() {
            return Ok(Self { payload: Some(Vec::new()), ..signed });
        }
        Ok(signed)
    }

    /// The signing input up to where the payload begins (RFC 7515, section 5.1; RFC 7797, section 3).
    #[must_use]
    pub fn input(&self) -> Input {
        let mut hasher = self.algorithm.hash().hasher();
        hasher.update(self.protected.as_bytes());
        hasher.update(b".");
        Input { hasher, is_encoded: self.is_encoded, rest: Vec::new() }
    }

    /// Whether the signature is good over an input with this digest.
    pub fn verify_digest(&self, digest: &[u8]) -> Result<(), Refusal> {
        self.key.verify(self.algorithm, digest, &self.signature).map_err(|_| Refusal::Signature)
    }
}

/// The signing input of a JWS, hashed as the payload comes in.
#[derive(Clone, Debug)]
pub struct Input {
    hasher: Hasher,
    is_encoded: bool,
    /// Bytes that do not fill a group of three yet; Base64url makes four letters of one.
    rest: Vec<u8>,
}

impl Input {
    /// Takes the next bytes of the payload in, unencoded.
    pub fn update(&mut self, content: &[u8]) {
        if !self.is_encoded {
            return self.hasher.update(content);
        }
        // Few at a time: the letters need memory of their own.
        for piece in content.chunks(3 << 14) {
            self.rest.extend_from_slice(piece);
            let (groups, _) = self.rest.as_chunks::<3>();
            let whole = groups.as_flattened();
            self.hasher.update(base64::encode_url(whole).as_bytes());
            let length = whole.len();
            self.rest.drain(..length);
        }
    }

    /// The digest that is signed.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.hasher.update(base64::encode_url(&self.rest).as_bytes());
        self.hasher.finish()
    }
}

/// The parts of a JWS, still encoded; `payload` is absent where it is detached.
struct Jws<'a> {
    protected: &'a str,
    payload: Option<Cow<'a, str>>,
    signature: &'a str,
    unprotected: Option<Members<'a>>,
    is_compact: bool,
}

impl<'a> Jws<'a> {
    fn parse(document: &'a str) -> Result<Self, Refusal> {
        if document.starts_with('{') { Self::parse_flattened(document) } else { Self::parse_compact(document) }
    }

    /// RFC 7515, section 7.1.
    fn parse_compact(document: &'a str) -> Result<Self, Refusal> {
        // An unencoded payload that has dots itself is not for this form (RFC 7797, section 5.2).
        let parts: Vec<&str> = document.splitn(4, '.').collect();
        let [protected, payload, signature] = parts[..] else {
            return Err(malformed("three parts with dots between them are expected"));
        };
        let payload = (!payload.is_empty()).then_some(Cow::Borrowed(payload));
        Ok(Self { protected, payload, signature, unprotected: None, is_compact: true })
    }

    /// RFC 7515, section 7.2.2.
    fn parse_flattened(document: &'a str) -> Result<Self, Refusal> {
        let members = Members::parse(document).map_err(|error| malformed(error.to_string()))?;
        if members.value("signatures").is_some() {
            return Err(malformed("the general serialisation, with several signatures, is not read here"));
        }
        let text = |name: &str| match members.string(name) {
            Some(Cow::Borrowed(text)) => Ok(text),
            _ => Err(malformed(format!("`{name}` is missing or no plain string"))),
        };
        let payload = match members.value("payload") {
            None => None,
            Some(_) => Some(members.string("payload").ok_or_else(|| malformed("`payload` is no string"))?),
        };
        let unprotected = match members.value("header") {
            None => None,
            Some(header) => {
                Some(Members::parse(header).map_err(|error| malformed(format!("the unprotected header: {error}")))?)
            }
        };
        let (protected, signature) = (text("protected")?, text("signature")?);
        Ok(Self { protected, payload, signature, unprotected, is_compact: false })
    }
}

/// No member may be in both headers (RFC 7515, section 7.2.1), and what changes the meaning of the whole must be
/// protected: `crit` (RFC 7515, section 4.1.11) and `b64` (RFC 7797, section 3).
fn check_unprotected(unprotected: &Members<'_>, header: &Members<'_>) -> Result<(), Refusal> {
    for (name, _) in unprotected.iter() {
        if header.value(name).is_some() {
            return Err(malformed(format!("the header member `{name}` is both protected and unprotected")));
        }
        if matches!(name, "crit" | "b64") {
            return Err(malformed(format!("the header member `{name}` is unprotected")));
        }
    }
    Ok(())
}

/// Whether the payload stands in Base64url, which only a critical `b64` can change (RFC 7797, sections 3 and 6).
fn payload_is_encoded(header: &Members<'_>) -> Result<bool, Refusal> {
    let encoded = match header.value("b64") {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => return Err(malformed("`b64` is neither true nor false")),
    };
    let Some(critical) = header.value("crit") else {
        return if encoded { Ok(true) } else { Err(malformed("`b64` is false, but not named in `crit`")) };
    };
    let names: Vec<Cow<'_, str>> =
        serde_json::from_str(critical).map_err(|_| malformed("`crit` is no list of names"))?;
    if names.is_empty() {
        return Err(malformed("`crit` is empty"));
    }
    for (i, name) in names.iter().enumerate() {
        if name != "b64" {
            return Err(Refusal::Critical(name.clone().into_owned()));
        }
        // Whatever stands before it is `b64` too.
        if i > 0 || header.value(name).is_none() {
            return Err(malformed("`crit` names a header twice, or one that is not there"));
        }
    }
    Ok(encoded)
}

fn decode(text: impl AsRef<str>, part: &str) -> Result<Vec<u8>, Refusal> {
    base64::decode_url(text.as_ref()).ok_or_else(|| malformed(format!("the {part} is not Base64url")))
}

fn malformed(why: impl Into<String>) -> Refusal {
    Refusal::Malformed(why.into())
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod declined;
#[cfg(test)]
mod forms;
#[cfg(test)]
pub(crate) mod published;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod vectors;
