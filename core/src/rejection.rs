//! Why a message can never succeed, and the record that says so for good.

use std::fmt;

use serde::Serialize;
use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339};

use crate::base64;

/// Why a message is refused for good. A reason is API: it never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Neither JSON nor Base64 of JSON.
    InvalidJson,
    /// JSON, but not a work item: an unknown, doubled, missing or malformed member.
    InvalidWorkItem,
    /// An event that tells of nothing to sign.
    UnsupportedEvent,
    /// A format that this version does not write.
    UnsupportedFormat,
    /// More than the queue's 64 KiB.
    TooLarge,
    /// A source outside the containers that the settings allow.
    SourceForbidden,
    /// There is no such blob, or no such version of it.
    SourceNotFound,
    /// The source is not, or no longer, what was meant: it has another `ETag`.
    SourceChanged,
    /// Another result stands under the same name.
    IdConflict,
    /// The host gave the message up after its last attempt.
    AttemptsExhausted,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::InvalidJson,
        Self::InvalidWorkItem,
        Self::UnsupportedEvent,
        Self::UnsupportedFormat,
        Self::TooLarge,
        Self::SourceForbidden,
        Self::SourceNotFound,
        Self::SourceChanged,
        Self::IdConflict,
        Self::AttemptsExhausted,
    ];

    /// The name in the record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid-json",
            Self::InvalidWorkItem => "invalid-work-item",
            Self::UnsupportedEvent => "unsupported-event",
            Self::UnsupportedFormat => "unsupported-format",
            Self::TooLarge => "too-large",
            Self::SourceForbidden => "source-forbidden",
            Self::SourceNotFound => "source-not-found",
            Self::SourceChanged => "source-changed",
            Self::IdConflict => "id-conflict",
            Self::AttemptsExhausted => "attempts-exhausted",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far an item had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the message.
    Parse,
    /// Finding the bytes that are meant.
    Resolve,
    /// Waiting for a place among the items in flight.
    Queue,
    /// Getting the key ready.
    Key,
    /// Asking the vault.
    Sign,
    /// Checking what the vault returned.
    Verify,
    /// Writing the result.
    Publish,
    /// Writing a rejection record.
    Reject,
    /// Taking over what the host gave up.
    Poison,
}

impl Stage {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 9] = [
        Self::Parse,
        Self::Resolve,
        Self::Queue,
        Self::Key,
        Self::Sign,
        Self::Verify,
        Self::Publish,
        Self::Reject,
        Self::Poison,
    ];

    /// The name in records, answers and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Resolve => "resolve",
            Self::Queue => "queue",
            Self::Key => "key",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Publish => "publish",
            Self::Reject => "reject",
            Self::Poison => "poison",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A verdict that no later attempt can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// Where.
    pub stage: Stage,
    /// In words: the thing, the cause and the remedy.
    pub detail: String,
    /// The item's id, as far as it could be read.
    pub id: Option<String>,
}

impl Rejection {
    /// A rejection while the message is read.
    #[must_use]
    pub fn parse(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, stage: Stage::Parse, detail: detail.into(), id: None }
    }
}

/// What a record holds beside the verdict.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The queue's id of the message.
    pub message_id: &'a str,
    /// How often the message was received.
    pub dequeue_count: u32,
    /// The queue that it came from.
    pub queue: &'a str,
    /// The host's id of the invocation; empty where there is no host.
    pub invocation_id: &'a str,
    /// Now.
    pub at: OffsetDateTime,
    /// The message's bytes, whole.
    pub message: &'a [u8],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    reason: &'a str,
    stage: &'a str,
    detail: &'a str,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    message_id: &'a str,
    dequeue_count: u32,
    queue: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    invocation_id: &'a str,
    message: String,
}

/// The record as JSON.
#[must_use]
pub fn record(rejection: &Rejection, circumstances: &Circumstances<'_>) -> Vec<u8> {
    let at = circumstances.at.replace_nanosecond(0).unwrap_or(circumstances.at);
    let record = Record {
        reason: rejection.reason.name(),
        stage: rejection.stage.name(),
        detail: &rejection.detail,
        at: at.format(&Rfc3339).unwrap_or_default(),
        id: rejection.id.as_deref(),
        message_id: circumstances.message_id,
        dequeue_count: circumstances.dequeue_count,
        queue: circumstances.queue,
        invocation_id: circumstances.invocation_id,
        message: base64::encode(circumstances.message),
    };
    serde_json::to_vec(&record).unwrap_or_default()
}

/// The record's name: by the day on which the message was inserted, so that a redelivery finds the same one.
#[must_use]
pub fn blob_name(inserted: Date, message_id: &str) -> String {
    format!("{:04}/{:02}/{:02}/{message_id}.json", inserted.year(), u8::from(inserted.month()), inserted.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both are API.
    #[test]
    fn reasons_and_stages_are_written_by_their_names() {
        for reason in [Reason::InvalidJson, Reason::TooLarge, Reason::AttemptsExhausted] {
            assert_eq!(reason.to_string(), reason.name());
        }
        assert_eq!(Reason::SourceForbidden.to_string(), "source-forbidden");
        for stage in [Stage::Parse, Stage::Resolve, Stage::Poison] {
            assert_eq!(stage.to_string(), stage.name());
        }
        assert_eq!(Stage::Publish.to_string(), "publish");
    }

    #[test]
    fn a_record_says_everything_and_keeps_the_bytes() {
        let rejection = Rejection {
            reason: Reason::IdConflict,
            stage: Stage::Publish,
            detail: "another \"result\"".to_owned(),
            id: Some("a/b".to_owned()),
        };
        let at = OffsetDateTime::from_unix_timestamp(1_795_255_200).expect("a time");
        let circumstances = Circumstances {
            message_id: "7f3c1d1e-9d55-4d0a-8e55-2f9a3c6b7d10",
            dequeue_count: 2,
            queue: "work",
            invocation_id: "i",
            at,
            message: b"\xff{}",
        };
        let record: serde_json::Value = serde_json::from_slice(&record(&rejection, &circumstances)).expect("JSON");
        assert_eq!(
            record,
            serde_json::json!({"reason": "id-conflict", "stage": "publish", "detail": "another \"result\"",
                "at": "2026-11-21T10:00:00Z", "id": "a/b", "messageId": circumstances.message_id, "dequeueCount": 2,
                "queue": "work", "invocationId": "i", "message": "/3t9"})
        );
        assert_eq!(blob_name(at.date(), "m"), "2026/11/21/m.json");
    }
}
