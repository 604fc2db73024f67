//! What a result says, and whether that is so: first read without its content, then judged with it.

use signet_core::{
    algorithm::{Algorithm, Hash, Hasher, hex},
    cose,
    dsse::{self, NoSubject, Statement},
    json::Members,
    jwks::JwkSet,
    jws, raw,
};

use super::{NoVerdict, Verdict, invalid, unknown};
use crate::remote::Document;

/// A result that has been read with its keys. It may still be anything but malformed.
#[derive(Debug)]
pub(super) enum Reading {
    Jws(jws::Signed),
    Cose(cose::Signed),
    /// A good signature over a payload; what is open is whether the content is what that says.
    Dsse(dsse::Verified, Said),
    Raw(raw::Signed),
}

/// What the payload of an envelope is, by the type that is signed with it.
#[derive(Debug)]
pub(super) enum Said {
    /// A statement about content.
    Statement(Statement),
    /// A statement of another version, or none at all.
    Unread,
    /// The content itself, of some other type, whatever it looks like.
    Content,
}

/// What must be known of the content before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing can be said without it.
    Content,
    /// Its length comes before it in what is signed.
    ContentOfKnownLength,
    /// The result can be judged alone.
    Nothing,
}

impl Reading {
    /// Reads a result in any format, and refuses what no content could make valid.
    pub(super) fn of(document: &Document, keys: &JwkSet) -> Result<Self, NoVerdict> {
        // A COSE message starts with its tag, or as an array of four; no text that is read here starts with either byte.
        if matches!(document.bytes.first(), Some(0xd2 | 0x84)) {
            return Ok(Self::Cose(cose::Signed::parse(&document.bytes, keys).map_err(|r| invalid(r.to_string()))?));
        }
        let text = std::str::from_utf8(&document.bytes).map_err(|_| invalid("it is in none of the formats"))?;
        if text.trim_start().starts_with('{') {
            let is_envelope = Members::parse(text).is_ok_and(|members| members.value("payloadType").is_some());
            if is_envelope {
                let verified = dsse::verify(text, keys).map_err(|refusal| invalid(refusal.to_string()))?;
                let said = if verified.payload_type == dsse::STATEMENT_TYPE {
                    Statement::parse(&verified.payload).map_or(Said::Unread, Said::Statement)
                } else {
                    Said::Content
                };
                return Ok(Self::Dsse(verified, said));
            }
        } else if !text.contains('.') {
            let named = |name: &str| document.metadata.get(name).map(String::as_str);
            // A bare signature says neither key nor algorithm, but its blob does; elsewhere every key of the set is tried.
            let algorithm = named("signet_alg").and_then(|name| name.parse().ok());
            let signed = raw::Signed::parse(text, named("signet_kid"), algorithm, keys);
            let signed = signed.map_err(|error| invalid(error.to_string()))?;
            if signed.hashes().next().is_none() {
                return Err(invalid("by its form, no key of the set made this signature"));
            }
            return Ok(Self::Raw(signed));
        }
        Ok(Self::Jws(jws::Signed::parse(text, keys).map_err(|refusal| invalid(refusal.to_string()))?))
    }

    pub(super) fn needs(&self) -> Needs {
        match self {
            Self::Jws(jws::Signed { payload: None, .. }) | Self::Raw(_) => Needs::Content,
            Self::Cose(cose::Signed { payload: None, .. }) => Needs::ContentOfKnownLength,
            Self::Jws(_) | Self::Cose(_) | Self::Dsse(..) => Needs::Nothing,
        }
    }

    /// What is to be found out of the content, which is given to it piece by piece. The length is that of the content, as
    /// far as it is known beforehand.
    pub(super) fn measure(&self, length: Option<u64>) -> Result<Measure<'_>, NoVerdict> {
        let mut hashes = vec![Hash::Sha256];
        let (mut input, mut attached) = (None, None);
        match self {
            Self::Jws(jws::Signed { payload: Some(payload), .. })
            | Self::Cose(cose::Signed { payload: Some(payload), .. }) => attached = Some(payload.as_slice()),
            Self::Jws(signed) => input = Some(Input::Jws(signed.input())),
            Self::Cose(signed) => {
                let length = length.ok_or_else(|| unknown("the content's length is not known before it is read"))?;
                input = Some(Input::Cose(signed.input(length)));
            }
            Self::Dsse(verified, Said::Content) => attached = Some(verified.payload.as_slice()),
            Self::Dsse(_, Said::Statement(statement)) => hashes.extend(statement.hashes()),
            Self::Dsse(_, Said::Unread) => {}
            Self::Raw(signed) => hashes.extend(signed.hashes()),
        }
        let mut digests: Vec<(Hash, Hasher)> = Vec::new();
        for hash in hashes {
            if !digests.iter().any(|(known, _)| *known == hash) {
                digests.push((hash, hash.hasher()));
            }
        }
        Ok(Measure { announced: length, length: 0, digests, input, attached, is_other: false })
    }

    /// Judges the result, with what was found out of its content.
    pub(super) fn judge(&self, content: Option<&Measured>) -> Result<Verdict, NoVerdict> {
        match self {
            Self::Jws(signed) => {
                let digest = match &signed.payload {
                    Some(payload) => {
                        let mut input = signed.input();
                        input.update(payload);
                        input.finish()
                    }
                    None => content.ok_or_else(missing)?.input.clone(),
                };
                check_attached(content)?;
                signed.verify_digest(&digest).map_err(|refusal| invalid(refusal.to_string()))?;
                let named = (signed.algorithm, &signed.kid, signed.issued_at, &signed.content_type);
                Ok(attributed("jws", named, signed.payload.as_deref(), content))
            }
            Self::Cose(signed) => {
                let digest = match &signed.payload {
                    Some(payload) => {
                        let mut input = signed.input(payload.len() as u64);
                        input.update(payload);
                        input.finish()
                    }
                    None => content.ok_or_else(missing)?.input.clone(),
                };
                check_attached(content)?;
                signed.verify_digest(&digest).map_err(|refusal| invalid(refusal.to_string()))?;
                let named = (signed.algorithm, &signed.kid, signed.issued_at, &signed.content_type);
                Ok(attributed("cose", named, signed.payload.as_deref(), content))
            }
            Self::Dsse(verified, said) => judge_dsse(verified, said, content),
            Self::Raw(signed) => judge_raw(signed, content),
        }
    }
}

fn check_attached(content: Option<&Measured>) -> Result<(), NoVerdict> {
    if content.is_some_and(|content| content.is_other) {
        return Err(invalid("the content given is not the content that was signed"));
    }
    Ok(())
}

/// The verdict on a signature that says by whom, when and over what it is.
fn attributed(
    form: &'static str,
    (algorithm, kid, issued_at, content_type): (Algorithm, &Option<String>, Option<i64>, &Option<String>),
    payload: Option<&[u8]>,
    content: Option<&Measured>,
) -> Verdict {
    let of_payload = payload.map(|payload| (Hash::Sha256.digest(&[payload]), payload.len() as u64));
    let measured = of_payload.or_else(|| content.map(|content| (content.digest(Hash::Sha256), content.length)));
    let (sha256, length) = measured.unzip();
    Verdict {
        form,
        kid: kid.clone(),
        algorithm,
        issued_at,
        content_type: content_type.clone(),
        payload_type: None,
        subject: None,
        subjects: None,
        predicate_type: None,
        sha256: sha256.map(|sha256| hex(&sha256)),
        length,
    }
}

fn judge_dsse(verified: &dsse::Verified, said: &Said, content: Option<&Measured>) -> Result<Verdict, NoVerdict> {
    check_attached(content)?;
    let content_type = matches!(said, Said::Content).then(|| verified.payload_type.clone());
    let payload = matches!(said, Said::Content).then_some(verified.payload.as_slice());
    let named = (verified.algorithm, &verified.kid, None, &content_type);
    let verdict =
        Verdict { payload_type: Some(verified.payload_type.clone()), ..attributed("dsse", named, payload, content) };
    let statement = match said {
        Said::Content => return Ok(verdict),
        Said::Unread if content.is_none() => return Ok(verdict),
        Said::Unread => {
            return Err(unknown("the payload is no in-toto Statement v1, so nothing is said of the content"));
        }
        Said::Statement(statement) => statement,
    };
    let subject = match content.map(|content| statement.subject_with(|hash| content.digest(hash))) {
        Some(Ok(subject)) => Some(subject),
        Some(Err(NoSubject::Other)) => {
            return Err(invalid("the content given is not what the statement is about"));
        }
        Some(Err(NoSubject::Untold)) => {
            return Err(unknown("a subject of the statement has no digest that is understood here"));
        }
        None => statement.subjects().next(),
    };
    let sha256 = subject.and_then(|subject| subject.digests.iter().find(|(hash, _)| hash == "sha256"));
    Ok(Verdict {
        issued_at: statement.issued_at,
        content_type: statement.content_type.clone(),
        subject: subject.map(|subject| subject.name.to_owned()),
        subjects: Some(statement.subjects().count()),
        predicate_type: Some(statement.predicate_type.clone()),
        sha256: sha256.map(|(_, hex)| hex.to_ascii_lowercase()).or(verdict.sha256),
        ..verdict
    })
}

fn judge_raw(signed: &raw::Signed, content: Option<&Measured>) -> Result<Verdict, NoVerdict> {
    let content = content.ok_or_else(missing)?;
    let candidate = signed.signer(|hash| content.digest(hash));
    let candidate = candidate.ok_or_else(|| invalid("no key of the set made this signature over this content"))?;
    Ok(Verdict {
        form: "raw",
        kid: candidate.jwk.kid.clone(),
        algorithm: candidate.algorithm,
        issued_at: None,
        content_type: None,
        payload_type: None,
        subject: None,
        subjects: None,
        predicate_type: None,
        sha256: Some(hex(&content.digest(Hash::Sha256))),
        length: Some(content.length),
    })
}

fn missing() -> NoVerdict {
    unknown("the content is not in it: give it with --content")
}

/// What is being found out of content that comes piece by piece.
#[derive(Debug)]
pub(super) struct Measure<'a> {
    announced: Option<u64>,
    length: u64,
    digests: Vec<(Hash, Hasher)>,
    input: Option<Input>,
    /// What the content must go on with to be the attached payload.
    attached: Option<&'a [u8]>,
    is_other: bool,
}

/// What is signed, where the payload is detached.
#[derive(Debug)]
enum Input {
    Jws(jws::Input),
    Cose(Hasher),
}

impl Measure<'_> {
    /// Takes the next bytes in.
    pub(super) fn update(&mut self, piece: &[u8]) {
        self.length += piece.len() as u64;
        for (_, hasher) in &mut self.digests {
            hasher.update(piece);
        }
        match &mut self.input {
            Some(Input::Jws(input)) => input.update(piece),
            Some(Input::Cose(hasher)) => hasher.update(piece),
            None => {}
        }
        if let Some(attached) = &mut self.attached {
            match attached.strip_prefix(piece) {
                Some(rest) => *attached = rest,
                None => self.is_other = true,
            }
        }
    }

    /// All of it was there.
    pub(super) fn finish(self) -> Result<Measured, NoVerdict> {
        if self.announced.is_some_and(|announced| announced != self.length) {
            return Err(unknown("the content changed while it was read; try again"));
        }
        let input = match self.input {
            Some(Input::Jws(input)) => input.finish(),
            Some(Input::Cose(hasher)) => hasher.finish(),
            None => Vec::new(),
        };
        Ok(Measured {
            length: self.length,
            digests: self.digests.into_iter().map(|(hash, hasher)| (hash, hasher.finish())).collect(),
            input,
            is_other: self.is_other || self.attached.is_some_and(|rest| !rest.is_empty()),
        })
    }
}

/// What was found out of the content.
#[derive(Debug)]
pub(super) struct Measured {
    /// Its bytes.
    pub(super) length: u64,
    digests: Vec<(Hash, Vec<u8>)>,
    /// The digest that a detached result is signed over.
    input: Vec<u8>,
    /// Whether it differs from the attached payload.
    is_other: bool,
}

impl Measured {
    fn digest(&self, wanted: Hash) -> Vec<u8> {
        self.digests.iter().find(|(hash, _)| *hash == wanted).map(|(_, digest)| digest.clone()).unwrap_or_default()
    }
}
