//! What is noted of sending a rejected message again.
//!
//! An attempt begins with a blob that one operator alone can create, and ends with one that says what came of it. Without the
//! second, it is not known whether the message was sent.

use std::collections::HashMap;

use azure_core::{http::RequestContent, time::OffsetDateTime};
use azure_storage_blob::models::{BlobClientGetPropertiesResultHeaders, BlobClientUploadOptions, BlobItem};
use rand_core::{OsRng, RngCore as _};
use serde_json::json;
use signet_azure::failure::Failure;
use signet_core::algorithm::hex;

use super::Rejections;
use crate::{moment, remote::patiently, settings::Error};

/// What the newest attempt has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// How far it came.
    pub step: Step,
    /// When that was noted.
    pub at: OffsetDateTime,
}

/// How far an attempt came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has begun: the message may have been sent, or not.
    Begun,
    /// The message is on the queue, under this id.
    Sent(String),
    /// The message is certainly not on the queue.
    NotSent,
}

/// The right to send a record's message, which nobody else has.
#[derive(Debug)]
pub struct Claim<'a> {
    rejections: &'a Rejections,
    record: &'a str,
    attempt: u32,
}

const PREFIX: &str = ".replays/";
const NEW_MESSAGE: &str = "signet_message";
const CLAIM: &str = "signet_claim";

/// What the names begin with of all that is noted of a day or of a record, the latter without `.json`.
pub(super) fn prefix(of: &str) -> String {
    format!("{PREFIX}{of}/")
}

/// The newest attempt for each record, by its name.
pub(super) fn of(blobs: &[BlobItem]) -> HashMap<String, Replay> {
    let mut newest: HashMap<String, Replay> = HashMap::new();
    for (record, replay) in blobs.iter().filter_map(read) {
        let known = newest.entry(record).or_insert_with(|| replay.clone());
        // An attempt begins once, and ends once.
        if replay.attempt > known.attempt || (replay.attempt == known.attempt && known.step == Step::Begun) {
            *known = replay;
        }
    }
    newest
}

fn read(blob: &BlobItem) -> Option<(String, Replay)> {
    let (record, file) = blob.name.as_deref()?.strip_prefix(PREFIX)?.rsplit_once('/')?;
    let (attempt, step) = file.strip_suffix(".json")?.split_once('-')?;
    let named = |name: &str| blob.metadata.as_ref()?.values.as_ref()?.get(name).cloned();
    let step = match step {
        "begun" => Step::Begun,
        "sent" => Step::Sent(named(NEW_MESSAGE).unwrap_or_default()),
        "not-sent" => Step::NotSent,
        _ => return None,
    };
    let at = blob.properties.as_ref()?.last_modified?;
    Some((format!("{record}.json"), Replay { attempt: attempt.parse().ok()?, step, at }))
}

impl Step {
    /// Its name in blobs' names and in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Sent(_) => "sent",
            Self::NotSent => "not-sent",
        }
    }
}

impl Rejections {
    /// Takes the right to send a record's message in the attempt after `before`; nothing where somebody else has it.
    pub async fn claim<'a>(&'a self, record: &'a str, before: Option<&Replay>) -> Result<Option<Claim<'a>>, Error> {
        let attempt = before.map_or(1, |replay| replay.attempt + 1);
        let claim = Claim { rejections: self, record, attempt };
        Ok(claim.note(&Step::Begun).await?.then_some(claim))
    }
}

impl Claim<'_> {
    /// Says what came of it.
    pub async fn end(self, step: &Step) -> Result<(), Error> {
        self.note(step).await?;
        Ok(())
    }

    /// Creates the blob of a step; whether it is this process that has created it.
    async fn note(&self, step: &Step) -> Result<bool, Error> {
        let Self { rejections, record, attempt } = self;
        let directory = prefix(record.strip_suffix(".json").unwrap_or(record));
        let name = format!("{directory}{attempt:04}-{}.json", step.name());
        let mut nonce = [0; 16];
        OsRng.fill_bytes(&mut nonce);
        let nonce = hex(&nonce);
        let mut metadata = HashMap::from([(CLAIM.to_owned(), nonce.clone())]);
        let mut note = json!({ "record": record, "attempt": attempt, "step": step.name() });
        note["at"] = moment::written(OffsetDateTime::now_utc()).into();
        if let Step::Sent(message_id) = step {
            metadata.insert(NEW_MESSAGE.to_owned(), message_id.clone());
            note["messageId"] = message_id.as_str().into();
        }
        let client = rejections.container.blob_client(&name);
        let created = patiently(async || {
            let options = BlobClientUploadOptions {
                blob_content_type: Some("application/json".to_owned()),
                metadata: Some(metadata.clone()),
                ..BlobClientUploadOptions::default()
            };
            client.upload(RequestContent::from(note.to_string().into_bytes()), Some(options.if_not_exists())).await
        });
        let Err(error) = created.await else { return Ok(true) };
        let failure = Failure::from(&error);
        if !(failure.is(409) || failure.is(412) || failure.code == "UnauthorizedBlobOverwrite") {
            let remedy = if failure.is(403) { "; the role Storage Blob Data Contributor allows it" } else { "" };
            return Err(format!("{}/{name} cannot be written: {}{remedy}", rejections.url, failure.message).into());
        }
        // It is there. It may be our own, from a try whose answer was lost.
        let standing = patiently(async || client.get_properties(None).await?.metadata()).await;
        let standing = standing.map_err(|error| rejections.unreadable(&name, &error))?;
        Ok(standing.get(CLAIM) == Some(&nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_attempt_counts_in_any_order() {
        let blob = |name: &str, message: Option<&str>| {
            let metadata = message.map_or(String::new(), |id| format!("<signet_message>{id}</signet_message>"));
            let xml = format!(
                "<Blob><Name>{name}</Name><Properties><Last-Modified>Sat, 21 Nov 2026 10:00:00 GMT</Last-Modified>\
                 </Properties><Metadata>{metadata}</Metadata></Blob>"
            );
            azure_core::xml::from_xml::<_, BlobItem>(xml.as_bytes()).unwrap()
        };
        let mut blobs = vec![
            blob(".replays/2026/11/21/a/0001-sent.json", Some("m1")),
            blob(".replays/2026/11/21/a/0001-begun.json", None),
            blob(".replays/2026/11/21/b/0001-begun.json", None),
            blob(".replays/2026/11/21/c/0001-begun.json", None),
            blob(".replays/2026/11/21/c/0001-not-sent.json", None),
            blob(".replays/2026/11/21/d/0001-sent.json", Some("m2")),
            blob(".replays/2026/11/21/d/0002-begun.json", None),
            blob(".replays/2026/11/21/d/other", None),
            blob("2026/11/21/e.json", None),
        ];
        for _ in 0..2 {
            let replays = of(&blobs);
            let newest = |name: &str| {
                let replay = replays.get(&format!("2026/11/21/{name}.json"))?;
                Some((replay.attempt, replay.step.clone()))
            };
            assert_eq!(newest("a"), Some((1, Step::Sent("m1".to_owned()))));
            assert_eq!(newest("b"), Some((1, Step::Begun)));
            assert_eq!(newest("c"), Some((1, Step::NotSent)));
            assert_eq!(newest("d"), Some((2, Step::Begun)));
            assert_eq!(newest("e"), None);
            blobs.reverse();
        }
    }
}
