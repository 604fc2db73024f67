//! A result that lacks nothing but its signature, and a signature that becomes a result only once it has been verified.

use serde_json::Value;

use crate::{
    algorithm::Algorithm,
    base64,
    content::Content,
    cose, dsse,
    format::Format,
    key::{PublicKey, SignatureError},
    raw,
    rejection::{Reason, Rejection, Stage},
    work_item::WorkItem,
};

/// A version of the vault's key, pinned: what signatures are made with and checked against.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// The full key identifier, `https://{vault}/keys/{name}/{version}`.
    pub kid: String,
    /// The algorithm to sign with.
    pub algorithm: Algorithm,
    /// The public half.
    pub public: PublicKey,
}

/// Everything of a result but the signature.
#[derive(Debug)]
pub struct Draft {
    digest: Vec<u8>,
    parts: Parts,
}

#[derive(Debug)]
enum Parts {
    /// `protected.payload`, both in Base64url, and where the dot is.
    Jws {
        signing_input: String,
        dot: usize,
        compact: bool,
    },
    /// The statement.
    Dsse {
        payload: String,
    },
    Raw,
    /// The protected header, encoded, and the payload.
    Cose {
        protected: Vec<u8>,
        payload: Vec<u8>,
    },
}

impl Draft {
    /// Prepares an item's result in one format. `issued_at` is in seconds since 1970.
    ///
    /// # Errors
    /// A digest in place of the content that is not the one that the format or the key's algorithm needs.
    pub fn new(item: &WorkItem, format: Format, key: &SigningKey, issued_at: i64) -> Result<Self, Rejection> {
        let hash = key.algorithm.hash();
        let (digest, parts) = match (format, &item.content) {
            (Format::Raw, content) => {
                let digest = content.digest(hash).ok_or_else(|| {
                    let (given, _) = content.name();
                    unfit(item, format!("{} needs a {} digest, not {}", key.algorithm, hash.name(), given.name()))
                })?;
                (digest, Parts::Raw)
            }
            (Format::Dsse, content) => {
                let predicate = item.predicate.as_ref();
                let payload = dsse::statement(&item.id, &content.name(), predicate, &item.content_type, issued_at);
                let before = dsse::before_payload(dsse::STATEMENT_TYPE, payload.len());
                (hash.digest(&[before.as_bytes(), payload.as_bytes()]), Parts::Dsse { payload })
            }
            (Format::Jws | Format::JwsCompact, Content::Inline { bytes, .. }) => {
                let (signing_input, dot) = jws_signing_input(&jws_header(item, key, issued_at), bytes);
                let compact = format == Format::JwsCompact;
                (hash.digest(&[signing_input.as_bytes()]), Parts::Jws { signing_input, dot, compact })
            }
            (Format::Cose, Content::Inline { bytes, .. }) => {
                let protected = cose::protected_header(key.algorithm, &item.content_type, &key.kid, issued_at);
                let before = cose::before_payload(&protected, bytes.len() as u64);
                (hash.digest(&[&before, bytes]), Parts::Cose { protected, payload: bytes.clone() })
            }
            (_, Content::Digest { .. }) => {
                return Err(unfit(item, format!("`{format}` needs the content, not a digest of it")));
            }
        };
        Ok(Self { digest, parts })
    }

    /// The digest to be signed, by the key's algorithm's hash function.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The finished result, if the signature verifies. ECDSA signatures are `r || s`.
    pub fn complete(self, signature: &[u8], key: &SigningKey) -> Result<Vec<u8>, SignatureError> {
        key.public.verify(key.algorithm, &self.digest, signature)?;
        Ok(match self.parts {
            Parts::Raw => raw::encode(key.algorithm, signature).into_bytes(),
            Parts::Dsse { payload } => {
                dsse::envelope(payload.as_bytes(), &key.kid, key.algorithm, signature).into_bytes()
            }
            Parts::Cose { protected, payload } => cose::message(&protected, Some(&payload), signature),
            Parts::Jws { mut signing_input, compact: true, .. } => {
                signing_input.push('.');
                base64::encode_url_onto(&mut signing_input, signature);
                signing_input.into_bytes()
            }
            Parts::Jws { signing_input, dot, .. } => {
                let (protected, payload) = (&signing_input[..dot], &signing_input[dot + 1..]);
                let signature = base64::encode_url(signature);
                format!(r#"{{"payload":"{payload}","protected":"{protected}","signature":"{signature}"}}"#).into_bytes()
            }
        })
    }
}

fn unfit(item: &WorkItem, detail: String) -> Rejection {
    Rejection { reason: Reason::InvalidWorkItem, stage: Stage::Resolve, detail, id: Some(item.id.clone()) }
}

/// RFC 7515, section 4.1; `iat` as in `JAdES` (ETSI TS 119 182-1, section 5.1.11).
fn jws_header(item: &WorkItem, key: &SigningKey, issued_at: i64) -> String {
    let (kid, content_type) = (Value::from(key.kid.as_str()), Value::from(item.content_type.as_str()));
    format!(r#"{{"alg":"{}","kid":{kid},"cty":{content_type},"iat":{issued_at}}}"#, key.algorithm)
}

/// `protected.payload` (RFC 7515, section 5.1), and where the dot is.
fn jws_signing_input(header: &str, content: &[u8]) -> (String, usize) {
    let mut signing_input = String::with_capacity((header.len() + content.len()) / 3 * 4 + 16);
    base64::encode_url_onto(&mut signing_input, header.as_bytes());
    let dot = signing_input.len();
    signing_input.push('.');
    base64::encode_url_onto(&mut signing_input, content);
    (signing_input, dot)
}

#[cfg(test)]
mod round_trips;
