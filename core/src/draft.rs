//! Results that lack nothing but their signature, and a signature that becomes a result only once it has been verified.

use serde_json::Value;

use crate::{
    algorithm::{Algorithm, Hash, Hasher, hex},
    base64,
    content::{ContentName, Given},
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
pub struct Draft<'a> {
    /// The format of the result.
    pub format: Format,
    digest: Vec<u8>,
    parts: Parts<'a>,
}

/// What the result is made of; no payload: it is detached.
#[derive(Debug)]
enum Parts<'a> {
    /// The protected header, in Base64url.
    Jws {
        protected: String,
        payload: Option<&'a [u8]>,
    },
    /// The statement.
    Dsse {
        payload: String,
    },
    Raw,
    /// The protected header, encoded.
    Cose {
        protected: Vec<u8>,
        payload: Option<&'a [u8]>,
    },
}

/// Prepares the results of an item whose content came with it, one for each format. `issued_at` is in seconds since 1970.
///
/// # Errors
/// A digest in place of the content that is not the one that a format or the key's algorithm needs.
pub fn drafts<'a>(
    item: &'a WorkItem,
    given: &'a Given,
    key: &SigningKey,
    issued_at: i64,
) -> Result<Vec<Draft<'a>>, Rejection> {
    item.formats.iter().map(|format| Draft::new(item, given, *format, key, issued_at)).collect()
}

impl<'a> Draft<'a> {
    fn new(
        item: &WorkItem,
        given: &'a Given,
        format: Format,
        key: &SigningKey,
        issued_at: i64,
    ) -> Result<Self, Rejection> {
        let hash = key.algorithm.hash();
        let (digest, parts) = match (format, given) {
            (Format::Raw, given) => {
                let digest = given.digest(hash).ok_or_else(|| {
                    let given = given.name().hash.name();
                    unfit(item, format!("{} needs a {} digest, not {given}", key.algorithm, hash.name()))
                })?;
                (digest, Parts::Raw)
            }
            (Format::Dsse, given) => statement(item, &given.name(), key, issued_at),
            (Format::Jws | Format::JwsCompact, Given::Bytes { bytes, .. }) => {
                let protected = base64::encode_url(jws_header(item, key, issued_at, "").as_bytes());
                let payload = base64::encode_url(bytes);
                let digest = hash.digest(&[protected.as_bytes(), b".", payload.as_bytes()]);
                (digest, Parts::Jws { protected, payload: Some(bytes) })
            }
            (Format::Cose, Given::Bytes { bytes, .. }) => {
                let protected = cose::protected_header(key.algorithm, &item.content_type, &key.kid, issued_at);
                let before = cose::before_payload(&protected, bytes.len() as u64);
                (hash.digest(&[&before, bytes]), Parts::Cose { protected, payload: Some(bytes) })
            }
            (_, Given::Digest { .. }) => {
                return Err(unfit(item, format!("`{format}` needs the content, not a digest of it")));
            }
        };
        Ok(Self { format, digest, parts })
    }

    /// The digest to be signed, by the key's algorithm's hash function.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The finished result, if the signature verifies. ECDSA signatures are `r || s`.
    pub fn complete(&self, signature: &[u8], key: &SigningKey) -> Result<Vec<u8>, SignatureError> {
        key.public.verify(key.algorithm, &self.digest, signature)?;
        Ok(match &self.parts {
            Parts::Raw => raw::encode(key.algorithm, signature).into_bytes(),
            Parts::Dsse { payload } => {
                dsse::envelope(payload.as_bytes(), &key.kid, key.algorithm, signature).into_bytes()
            }
            Parts::Cose { protected, payload } => cose::message(protected, *payload, signature),
            Parts::Jws { protected, payload } if self.format == Format::JwsCompact => {
                let (payload, signature) = (payload.map(base64::encode_url), base64::encode_url(signature));
                format!("{protected}.{}.{signature}", payload.unwrap_or_default()).into_bytes()
            }
            Parts::Jws { protected, payload } => {
                let signature = base64::encode_url(signature);
                // RFC 7515, appendix F: without the member, not with an empty one.
                let payload = payload.map(|payload| format!(r#""payload":"{}","#, base64::encode_url(payload)));
                let payload = payload.unwrap_or_default();
                format!(r#"{{{payload}"protected":"{protected}","signature":"{signature}"}}"#).into_bytes()
            }
        })
    }
}

/// One pass over a source's bytes, from which the drafts of all formats come: whatever their number, and however large the
/// source, the bytes are seen once and none is kept.
#[derive(Debug)]
pub struct Pass<'a> {
    item: &'a WorkItem,
    key: &'a SigningKey,
    issued_at: i64,
    /// The first is SHA-256 of the content alone. Formats that sign the same share one.
    digests: Vec<Digest>,
    detached: Vec<Detached>,
}

/// The digest of the content and of what stands before it in what is signed.
#[derive(Debug)]
struct Digest {
    hash: Hash,
    before: Vec<u8>,
    hasher: Hasher,
}

/// A result that lacks its digest and nothing else.
#[derive(Debug)]
enum Detached {
    /// The digest is one of the pass's own.
    Of { digest: usize, parts: Parts<'static> },
    /// It is over a statement that names the content.
    Statement,
}

impl<'a> Pass<'a> {
    /// Begins with a source of so many bytes. `issued_at` is in seconds since 1970.
    #[must_use]
    pub fn new(item: &'a WorkItem, key: &'a SigningKey, issued_at: i64, bytes: u64) -> Self {
        let sha256 = Digest { hash: Hash::Sha256, before: Vec::new(), hasher: Hash::Sha256.hasher() };
        let mut pass = Self { item, key, issued_at, digests: vec![sha256], detached: Vec::new() };
        for format in &item.formats {
            let detached = match format {
                Format::Dsse => Detached::Statement,
                Format::Raw => pass.detached(Vec::new(), Parts::Raw),
                Format::Jws | Format::JwsCompact => {
                    // RFC 7797, sections 3 and 6: unencoded, or the signature would be over a third more than the source.
                    let header = jws_header(item, key, issued_at, r#","b64":false,"crit":["b64"]"#);
                    let protected = base64::encode_url(header.as_bytes());
                    pass.detached(format!("{protected}.").into_bytes(), Parts::Jws { protected, payload: None })
                }
                Format::Cose => {
                    let protected = cose::protected_header(key.algorithm, &item.content_type, &key.kid, issued_at);
                    let before = cose::before_payload(&protected, bytes);
                    pass.detached(before, Parts::Cose { protected, payload: None })
                }
            };
            pass.detached.push(detached);
        }
        pass
    }

    fn detached(&mut self, before: Vec<u8>, parts: Parts<'static>) -> Detached {
        let hash = self.key.algorithm.hash();
        let known = self.digests.iter().position(|known| known.hash == hash && known.before == before);
        let digest = known.unwrap_or(self.digests.len());
        if known.is_none() {
            let mut hasher = hash.hasher();
            hasher.update(&before);
            self.digests.push(Digest { hash, before, hasher });
        }
        Detached::Of { digest, parts }
    }

    /// Takes the next bytes of the source in.
    pub fn update(&mut self, bytes: &[u8]) {
        for digest in &mut self.digests {
            digest.hasher.update(bytes);
        }
    }

    /// What names the content, and the drafts in the order of the item's formats.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "the first is made with the pass, the others' numbers with what they count"
    )]
    pub fn finish(self) -> (ContentName, Vec<Draft<'a>>) {
        let Self { item, key, issued_at, digests, detached } = self;
        let digests: Vec<Vec<u8>> = digests.into_iter().map(|digest| digest.hasher.finish()).collect();
        let name = ContentName::of_source(hex(&digests[0]));
        let drafts = item.formats.iter().zip(detached).map(|(format, detached)| {
            let (digest, parts) = match detached {
                Detached::Of { digest, parts } => (digests[digest].clone(), parts),
                Detached::Statement => statement(item, &name, key, issued_at),
            };
            Draft { format: *format, digest, parts }
        });
        let drafts = drafts.collect();
        (name, drafts)
    }
}

/// An in-toto statement about the content, and the digest of its pre-authentication encoding.
fn statement(item: &WorkItem, content: &ContentName, key: &SigningKey, issued_at: i64) -> (Vec<u8>, Parts<'static>) {
    let payload = dsse::statement(&item.id(content), content, item.predicate.as_ref(), &item.content_type, issued_at);
    let before = dsse::before_payload(dsse::STATEMENT_TYPE, payload.len());
    (key.algorithm.hash().digest(&[before.as_bytes(), payload.as_bytes()]), Parts::Dsse { payload })
}

/// RFC 7515, section 4.1; `iat` as in `JAdES` (ETSI TS 119 182-1, section 5.1.11).
fn jws_header(item: &WorkItem, key: &SigningKey, issued_at: i64, more: &str) -> String {
    let (kid, content_type) = (Value::from(key.kid.as_str()), Value::from(item.content_type.as_str()));
    format!(r#"{{"alg":"{}","kid":{kid},"cty":{content_type},"iat":{issued_at}{more}}}"#, key.algorithm)
}

fn unfit(item: &WorkItem, detail: String) -> Rejection {
    Rejection { reason: Reason::InvalidWorkItem, stage: Stage::Resolve, detail, id: item.id.clone() }
}

#[cfg(test)]
mod round_trips;
