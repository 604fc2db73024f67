//! A result that lacks nothing but its signature, and a signature that becomes a result only once it has been verified.

use serde_json::Value;

use crate::{
    algorithm::Algorithm,
    base64,
    key::{PublicKey, SignatureError},
    raw,
    work_item::{Format, WorkItem},
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
    Raw,
}

impl Draft {
    /// Prepares an item's result in one format. `issued_at` is in seconds since 1970.
    #[must_use]
    pub fn new(item: &WorkItem, format: Format, key: &SigningKey, issued_at: i64) -> Self {
        let hash = key.algorithm.hash();
        let compact = match format {
            Format::Raw => return Self { digest: hash.digest(&[&item.content]), parts: Parts::Raw },
            Format::Jws => false,
            Format::JwsCompact => true,
        };
        let header = protected_header(item, key, issued_at);
        let mut signing_input = String::with_capacity((header.len() + item.content.len()) / 3 * 4 + 16);
        base64::encode_url_onto(&mut signing_input, header.as_bytes());
        let dot = signing_input.len();
        signing_input.push('.');
        base64::encode_url_onto(&mut signing_input, &item.content);
        Self { digest: hash.digest(&[signing_input.as_bytes()]), parts: Parts::Jws { signing_input, dot, compact } }
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
            Parts::Raw => raw::encode(key.algorithm, signature),
            Parts::Jws { mut signing_input, compact: true, .. } => {
                signing_input.push('.');
                base64::encode_url_onto(&mut signing_input, signature);
                signing_input
            }
            Parts::Jws { signing_input, dot, .. } => {
                let (protected, payload) = (&signing_input[..dot], &signing_input[dot + 1..]);
                let signature = base64::encode_url(signature);
                format!(r#"{{"payload":"{payload}","protected":"{protected}","signature":"{signature}"}}"#)
            }
        }
        .into_bytes())
    }
}

/// RFC 7515, section 4.1; `iat` as in `JAdES` (ETSI TS 119 182-1, section 5.1.11).
fn protected_header(item: &WorkItem, key: &SigningKey, issued_at: i64) -> String {
    let (kid, content_type) = (Value::from(key.kid.as_str()), Value::from(item.content_type.as_str()));
    format!(r#"{{"alg":"{}","kid":{kid},"cty":{content_type},"iat":{issued_at}}}"#, key.algorithm)
}
