//! `signet verify`: whether a result is what it says, by the published keys.

use std::{io::Read, path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::json;
use signet_core::{
    algorithm::{Algorithm, sha256_hex},
    cose, dsse,
    json::Members,
    jwks::{Jwk, JwkSet},
    jws::{self, Refusal},
    raw,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    remote::{self, Document},
    settings,
};

/// What to verify, and with what.
#[derive(Args, Debug)]
pub struct Options {
    /// The result: a file, a blob's URL, or `-` for standard input
    result: String,
    /// The content that was signed: needed where the result does not hold it, compared where it does
    #[arg(long, value_name = "FILE")]
    content: Option<PathBuf>,
    /// The keys: a file or URL; default: the key set of the result's container, or of `SIGNET_RESULTS`
    #[arg(long, value_name = "FILE-OR-URL")]
    jwks: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is known of a good signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `jws`, `dsse`, `cose`, or `raw` for a bare signature.
    pub form: &'static str,
    /// Who signed: the key, with its version.
    pub kid: Option<String>,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// When, in seconds since 1970, by the signer's word.
    pub issued_at: Option<i64>,
    /// The content's media type.
    pub content_type: Option<String>,
    /// What it is about, by the signer's word: the subject of a statement.
    pub subject: Option<String>,
    /// SHA-256 of the content, as far as it is known.
    pub sha256: Option<String>,
    /// Bytes of the content, if it is at hand.
    pub length: Option<usize>,
}

/// Why there is no verdict.
#[derive(Debug)]
pub enum NoVerdict {
    /// It is not valid; why.
    Invalid(String),
    /// It cannot be told; what is missing.
    Unknown(String),
}

/// Prints the verdict; exit 0 valid, 1 not valid, 2 could not tell.
pub async fn run(options: &Options) -> ExitCode {
    let (outcome, code) = match verify(options).await {
        Ok(verdict) => (Ok(verdict), 0),
        Err(NoVerdict::Invalid(why)) => (Err(why), 1),
        Err(NoVerdict::Unknown(why)) => (Err(why), 2),
    };
    match (outcome, options.json) {
        (Ok(verdict), true) => println!("{}", as_json(&verdict)),
        (Ok(verdict), false) => print!("{}", as_text(&verdict)),
        (Err(why), true) => println!("{}", json!({ "valid": (code == 1).then_some(false), "why": why })),
        (Err(why), false) if code == 1 => eprintln!("NOT VALID: {why}"),
        (Err(why), false) => eprintln!("could not tell: {why}"),
    }
    code.into()
}

async fn verify(options: &Options) -> Result<Verdict, NoVerdict> {
    let document = read(&options.result).await?;
    let content = match &options.content {
        None => None,
        Some(path) => {
            Some(std::fs::read(path).map_err(|e| unknown(format!("{} cannot be read: {e}", path.display())))?)
        }
    };
    let keys = read(&key_set_location(options)?).await?;
    let keys = std::str::from_utf8(&keys.bytes).map_err(|_| "not UTF-8".to_owned()).and_then(JwkSet::parse);
    let keys = keys.map_err(|why| unknown(format!("the key set cannot be used: {why}")))?;
    verdict(&document, content.as_deref(), &keys)
}

/// Judges a result by what it holds, its content (where it is elsewhere) and a set of keys.
pub fn verdict(document: &Document, content: Option<&[u8]>, keys: &JwkSet) -> Result<Verdict, NoVerdict> {
    // A COSE message starts with its tag, or as an array of four; no text that is read here starts with either byte.
    if matches!(document.bytes.first(), Some(0xd2 | 0x84)) {
        return verify_cose(&document.bytes, content, keys);
    }
    let text = std::str::from_utf8(&document.bytes).map_err(|_| invalid("it is in none of the formats"))?;
    if text.trim_start().starts_with('{') {
        let is_envelope = Members::parse(text).is_ok_and(|members| members.value("payloadType").is_some());
        if is_envelope {
            return verify_dsse(text, content, keys);
        }
    } else if !text.contains('.') {
        return verify_raw(document, text, content, keys);
    }
    let verified = jws::verify(text, content, keys).map_err(|refusal| match refusal {
        Refusal::ContentMissing => unknown("the content is not in it: give it with --content"),
        refusal => invalid(refusal.to_string()),
    })?;
    Ok(Verdict {
        form: "jws",
        kid: verified.kid,
        algorithm: verified.algorithm,
        issued_at: verified.issued_at,
        content_type: verified.content_type,
        subject: None,
        sha256: Some(sha256_hex(&verified.content)),
        length: Some(verified.content.len()),
    })
}

fn verify_cose(message: &[u8], content: Option<&[u8]>, keys: &JwkSet) -> Result<Verdict, NoVerdict> {
    let verified = cose::verify(message, content, keys).map_err(|refusal| match refusal {
        cose::Refusal::ContentMissing => unknown("the content is not in it: give it with --content"),
        refusal => invalid(refusal.to_string()),
    })?;
    Ok(Verdict {
        form: "cose",
        kid: verified.kid,
        algorithm: verified.algorithm,
        issued_at: verified.issued_at,
        content_type: verified.content_type,
        subject: None,
        sha256: Some(sha256_hex(&verified.content)),
        length: Some(verified.content.len()),
    })
}

/// The envelope holds a statement about the content, not the content: without it, the statement alone is verified.
fn verify_dsse(text: &str, content: Option<&[u8]>, keys: &JwkSet) -> Result<Verdict, NoVerdict> {
    let verified = dsse::verify(text, keys).map_err(|refusal| invalid(refusal.to_string()))?;
    let statement = dsse::Statement::parse(&verified.payload);
    if let Some(content) = content {
        match statement.as_ref().map(|statement| statement.is_about(content)) {
            Some(Some(true)) => {}
            Some(Some(false)) => return Err(invalid("the content given is not the statement's subject")),
            Some(None) => return Err(unknown("the statement has no digest that is understood here")),
            None => return Err(unknown("the payload is no in-toto Statement v1, so nothing is said of the content")),
        }
    }
    let sha256 = statement
        .as_ref()
        .and_then(|statement| statement.digests.iter().find(|(hash, _)| hash == "sha256").map(|(_, hex)| hex.clone()));
    Ok(Verdict {
        form: "dsse",
        kid: verified.kid,
        algorithm: verified.algorithm,
        issued_at: None,
        content_type: Some(verified.payload_type),
        subject: statement.map(|statement| statement.name),
        sha256,
        length: content.map(<[u8]>::len),
    })
}

/// A bare signature says neither key nor algorithm. The blob's metadata does; else every key of the set is tried.
fn verify_raw(document: &Document, text: &str, content: Option<&[u8]>, keys: &JwkSet) -> Result<Verdict, NoVerdict> {
    let content =
        content.ok_or_else(|| unknown("a bare signature does not hold its content: give it with --content"))?;
    let candidates: Vec<Jwk> = match document.metadata.get("signet_kid") {
        Some(kid) => vec![keys.select(Some(kid)).map_err(|error| invalid(error.to_string()))?],
        None => keys.usable().collect(),
    };
    let named = document.metadata.get("signet_alg");
    for jwk in candidates {
        for algorithm in Algorithm::ALL {
            if !jwk.allows(algorithm) || named.is_some_and(|name| name != algorithm.name()) {
                continue;
            }
            let Some(signature) = raw::decode(algorithm, jwk.key.curve(), text) else { continue };
            if jwk.key.verify(algorithm, &algorithm.hash().digest(&[content]), &signature).is_ok() {
                return Ok(Verdict {
                    form: "raw",
                    kid: jwk.kid,
                    algorithm,
                    issued_at: None,
                    content_type: None,
                    subject: None,
                    sha256: Some(sha256_hex(content)),
                    length: Some(content.len()),
                });
            }
        }
    }
    Err(invalid("no key of the set made this signature over this content"))
}

async fn read(location: &str) -> Result<Document, NoVerdict> {
    if remote::is_url(location) {
        return remote::read(location).await.map_err(|error| unknown(error.to_string()));
    }
    let mut bytes = Vec::new();
    let outcome = if location == "-" {
        std::io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(location).map(|read| bytes = read)
    };
    outcome.map_err(|error| unknown(format!("{location} cannot be read: {error}")))?;
    Ok(Document { bytes, metadata: std::collections::HashMap::new() })
}

fn key_set_location(options: &Options) -> Result<String, NoVerdict> {
    if let Some(location) = &options.jwks {
        return Ok(location.clone());
    }
    let container = if remote::is_url(&options.result) {
        options.result.parse().ok()
    } else {
        settings::required_url("SIGNET_RESULTS").ok().and_then(|url| format!("{}/x", url.as_str()).parse().ok())
    };
    container
        .as_ref()
        .and_then(remote::key_set_beside)
        .map(String::from)
        .ok_or_else(|| unknown("there are no keys to verify with: give them with --jwks, or set SIGNET_RESULTS"))
}

fn as_json(verdict: &Verdict) -> serde_json::Value {
    json!({
        "valid": true,
        "form": verdict.form,
        "kid": verdict.kid,
        "alg": verdict.algorithm.name(),
        "signedAt": verdict.issued_at.and_then(rfc3339),
        "contentType": verdict.content_type,
        "subject": verdict.subject,
        "sha256": verdict.sha256,
        "bytes": verdict.length,
    })
}

fn as_text(verdict: &Verdict) -> String {
    let mut text = "VALID\n".to_owned();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.extend(["  ", &format!("{name:<10}"), " ", &value, "\n"]);
        }
    };
    line("signed by", verdict.kid.clone());
    line("algorithm", Some(verdict.algorithm.to_string()));
    line("at", verdict.issued_at.and_then(rfc3339));
    line("content", verdict.content_type.clone());
    line("subject", verdict.subject.clone());
    line("bytes", verdict.length.map(|length| length.to_string()));
    line("sha256", verdict.sha256.clone());
    text
}

fn rfc3339(seconds: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}

fn invalid(why: impl Into<String>) -> NoVerdict {
    NoVerdict::Invalid(why.into())
}

fn unknown(why: impl Into<String>) -> NoVerdict {
    NoVerdict::Unknown(why.into())
}
