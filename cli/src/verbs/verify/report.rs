//! What is said of a result: the verdict, and what is known of it beside the signature.

use std::process::ExitCode;

use serde_json::json;
use signet_azure::names::KeyIdentifier;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{NoVerdict, Verdict};
use crate::{out, remote::Fetched};

/// What is known beside the signature. None of it is signed.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// Where the keys are from.
    pub(super) key_set: Option<String>,
    /// The state of the blob that the content was read from.
    pub(super) content_etag: Option<String>,
    stored_at: Option<OffsetDateTime>,
    source: Option<String>,
    source_etag: Option<String>,
    sha256: Option<String>,
    kid: Option<String>,
    algorithm: Option<String>,
    warnings: Vec<String>,
}

impl Surroundings {
    /// Remembers what stands beside a result.
    pub(super) fn note_result(&mut self, result: &Fetched) {
        let named = |name: &str| result.document.metadata.get(name).cloned();
        self.stored_at = result.last_modified;
        self.source = named("signet_source");
        self.source_etag = named("signet_source_etag");
        self.sha256 = named("signet_sha256");
        self.kid = named("signet_kid");
        self.algorithm = named("signet_alg");
    }

    /// What to do where the content is wanted.
    pub(super) fn content_wanted(&self) -> String {
        match self.readable_source() {
            Some(source) => format!("the content is not in it: its metadata says where it was; add --content {source}"),
            None => "the content is not in it: give it with --content".to_owned(),
        }
    }

    /// The source, where the metadata has its URL and not only a digest of that.
    fn readable_source(&self) -> Option<&str> {
        self.source.as_deref().filter(|source| source.starts_with("https://"))
    }

    /// A likely reason why content is not what was signed.
    pub(super) fn other_state(&self) -> String {
        match (&self.source_etag, &self.content_etag) {
            (Some(signed), Some(found)) if signed != found => {
                format!(" (the blob was signed as {signed}, says the metadata, and is {found} now)")
            }
            _ => String::new(),
        }
    }

    /// Warns of metadata that contradict the verdict. They are not signed, so that they do not change it.
    pub(super) fn compare(&mut self, verdict: &Verdict) {
        for (name, said, found) in [
            ("signet_sha256", &self.sha256, verdict.sha256.as_deref()),
            ("signet_kid", &self.kid, verdict.kid.as_deref()),
            ("signet_alg", &self.algorithm, Some(verdict.algorithm.name())),
        ] {
            if let (Some(said), Some(found)) = (said, found)
                && said != found
            {
                self.warnings
                    .push(format!("the metadata, which are not signed, have {name} {said} in place of {found}"));
            }
        }
    }
}

/// A verdict, and what is known beside it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) verdict: Verdict,
    pub(super) surroundings: Surroundings,
}

impl Report {
    pub(super) fn print(&self, as_json: bool) -> ExitCode {
        if as_json {
            say!("{}", self.as_json());
        } else {
            out::bytes(self.as_text().as_bytes());
        }
        ExitCode::SUCCESS
    }

    pub(super) fn as_json(&self) -> serde_json::Value {
        let Self { verdict, surroundings } = self;
        json!({
            "valid": true,
            "form": verdict.form,
            "kid": verdict.kid,
            "keyVersion": self.key_version(),
            "alg": verdict.algorithm.name(),
            "signedAt": verdict.issued_at.and_then(rfc3339),
            "storedAt": surroundings.stored_at.and_then(|at| rfc3339(at.unix_timestamp())),
            "contentType": verdict.content_type,
            "payloadType": verdict.payload_type,
            "subject": verdict.subject,
            "subjects": verdict.subjects,
            "predicateType": verdict.predicate_type,
            "sha256": verdict.sha256,
            "bytes": verdict.length,
            "contentSeen": self.has_seen_content(),
            "source": surroundings.source,
            "sourceEtag": surroundings.source_etag,
            "keySet": surroundings.key_set,
            "warnings": surroundings.warnings,
        })
    }

    pub(super) fn as_text(&self) -> String {
        let Self { verdict, surroundings } = self;
        let mut text = "VALID\n".to_owned();
        let mut line = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                text.extend(["  ", &format!("{name:<10}"), " ", &on_one_line(&value), "\n"]);
            }
        };
        line("signed by", verdict.kid.clone());
        line("version", self.key_version());
        line("algorithm", Some(verdict.algorithm.to_string()));
        let stored_at = surroundings.stored_at.filter(|_| verdict.issued_at.is_none());
        line("at", verdict.issued_at.and_then(rfc3339));
        line(
            "stored at",
            stored_at
                .and_then(|at| rfc3339(at.unix_timestamp()))
                .map(|at| format!("{at} (the blob's Last-Modified; the signature does not say when)")),
        );
        line("content", verdict.content_type.clone());
        line("payload", verdict.payload_type.clone());
        let many = verdict.subjects.filter(|subjects| *subjects > 1);
        let many = many.map(|subjects| format!(" (one of {subjects})")).unwrap_or_default();
        line("subject", verdict.subject.as_ref().map(|subject| format!("{subject}{many}")));
        line("predicate", verdict.predicate_type.clone());
        line("bytes", verdict.length.map(|length| length.to_string()));
        let caveat = if self.has_seen_content() { "" } else { " (as the statement says; --content compares)" };
        line("sha256", verdict.sha256.as_ref().map(|sha256| format!("{sha256}{caveat}")));
        let unsigned = |value: &String| format!("{value} (from the metadata, not signed)");
        line("source", surroundings.source.as_ref().map(unsigned));
        line("its etag", surroundings.source_etag.as_ref().map(unsigned));
        line("keys", surroundings.key_set.clone());
        for warning in &surroundings.warnings {
            line("warning", Some(warning.clone()));
        }
        text
    }

    /// Whether the content itself was there, in the result or beside it. A statement is good without.
    fn has_seen_content(&self) -> bool {
        self.verdict.length.is_some()
    }

    /// The last segment of a key identifier.
    fn key_version(&self) -> Option<String> {
        self.verdict.kid.as_ref()?.parse::<KeyIdentifier>().ok()?.version
    }
}

/// Prints why there is no verdict: exit 1 not valid, 2 could not tell.
pub(super) fn print_no_verdict(why: &NoVerdict, surroundings: &Surroundings, as_json: bool) -> ExitCode {
    let (code, valid, said, why) = match why {
        NoVerdict::Invalid(why) => (1, Some(false), "NOT VALID", why),
        NoVerdict::Unknown(why) => (2, None, "could not tell", why),
    };
    if as_json {
        let (source, key_set) = (&surroundings.source, &surroundings.key_set);
        say!("{}", json!({ "valid": valid, "why": why, "source": source, "keySet": key_set }));
    } else {
        tell!("{said}: {}", on_one_line(why));
    }
    ExitCode::from(code)
}

/// Text of strangers must neither make lines of its own nor command the terminal.
fn on_one_line(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

fn rfc3339(seconds: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}
