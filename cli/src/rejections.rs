//! The container of rejection records: found by day, read, and marked as sent again without a change to any record.
//!
//! A replay is noted beside the records, in blobs that are only ever created: `.replays/{record}/{attempt}-{step}.json`. That
//! works under a policy that forbids changes and deletions as well, and of any number of operators one alone creates a blob.

mod replay;

use azure_core::{Result as AzureResult, http::Url, time::OffsetDateTime};
use azure_storage_blob::{
    BlobContainerClient,
    models::{BlobContainerClientListBlobsOptions, BlobItem, ListBlobsIncludeItem},
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Map, Value};
use signet_azure::failure::Failure;
use signet_core::{base64, rejection};
use time::{Date, Duration};

pub use self::replay::{Claim, Replay, Step};
use crate::{
    remote::{Remote, patiently},
    settings::{self, Error},
};

/// Records are filed under the day on which their message was inserted, which may lie so much before the rejection: a
/// message lives for seven days unless its sender says otherwise, and one more is for clocks.
const LONGEST_STAY: Duration = Duration::days(8);
/// Up to so many days are listed one by one; for more, listing everything takes fewer requests.
const MOST_DAYS: i64 = 100;
/// Requests that are under way at the same time.
const AT_ONCE: usize = 8;

/// The rejected container.
pub struct Rejections {
    container: BlobContainerClient,
    /// Its URL.
    pub url: Url,
}

/// A record, as far as a listing tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The blob's name.
    pub name: String,
    /// Why the message was rejected, by the blob's metadata.
    pub reason: Option<String>,
    /// When the record was written.
    pub written: OffsetDateTime,
    /// What has come of sending its message again.
    pub replay: Option<Replay>,
}

/// What a record says.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members are those of the record, which the reference describes")]
pub struct Record {
    pub reason: String,
    pub stage: String,
    pub detail: String,
    pub at: String,
    pub id: Option<String>,
    pub message_id: String,
    pub dequeue_count: u32,
    pub queue: String,
    /// Base64.
    message: String,
}

/// The time in which records were written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// The first moment.
    pub since: Option<OffsetDateTime>,
    /// The moment after the last.
    pub until: Option<OffsetDateTime>,
}

impl Rejections {
    /// Reads the settings; nothing is sent yet.
    pub fn open(remote: &Remote) -> Result<Self, Error> {
        let url = settings::rejected_container()?;
        Ok(Self { container: remote.container(url.clone())?, url })
    }

    /// The records of a time, newest first.
    pub async fn list(&self, window: Window) -> Result<Vec<Entry>, Error> {
        let mut entries = self.entries(window.prefixes(OffsetDateTime::now_utc())).await?;
        entries.retain(|entry| window.holds(entry.written));
        entries.sort_by(|one, other| other.written.cmp(&one.written).then_with(|| one.name.cmp(&other.name)));
        Ok(entries)
    }

    /// The record of a message that was inserted on a day, where there is one.
    pub async fn of_message(&self, inserted: Date, message_id: &str) -> Result<Option<(String, Record)>, Error> {
        let name = rejection::blob_name(inserted, message_id);
        let client = self.container.blob_client(&name);
        match patiently(async || client.get_properties(None).await).await {
            Ok(_) => {
                let (_, record) = self.read(&name).await??;
                Ok(Some((name, record)))
            }
            Err(error) => match Failure::from(&error) {
                failure if failure.is(404) && failure.code != "ContainerNotFound" => Ok(None),
                _ => Err(self.unreadable("", &error)),
            },
        }
    }

    /// A record: its members as they stand, and read.
    ///
    /// # Errors
    /// The outer one where the blob cannot be read, the inner one where it is no record.
    pub async fn read(&self, name: &str) -> Result<Result<(Map<String, Value>, Record), Error>, Error> {
        let client = self.container.blob_client(name);
        let text = patiently(async || client.download(None).await?.body.collect_string().await).await;
        let text = text.map_err(|error| self.unreadable(name, &error))?;
        // By way of a map: an array would pass for a structure as well.
        let read = serde_json::from_str(&text).and_then(|members: Map<String, Value>| {
            let record = serde_json::from_value(Value::Object(members.clone()))?;
            Ok((members, record))
        });
        Ok(read.map_err(|error| format!("{name} is no rejection record: {error}").into()))
    }

    /// The record of a message: by the blob's name or URL, or by the message's id, for which the whole container is listed.
    pub async fn find(&self, wanted: &str) -> Result<Entry, Error> {
        let container = self.url.as_str().trim_end_matches('/');
        let name = wanted.strip_prefix(container).map_or(wanted, |name| name.trim_start_matches('/'));
        let stem = name.strip_suffix(".json").unwrap_or(name);
        let entries = if Entry::day(name).is_some() {
            self.entries(vec![stem.to_owned(), replay::prefix(stem)]).await?
        } else {
            self.list(Window::default()).await?
        };
        let is_it = |entry: &Entry| entry.stem() == stem || entry.name.strip_suffix(".json") == Some(stem);
        entries.into_iter().find(is_it).ok_or_else(|| {
            format!("{container} has no record of {wanted}; `signet rejected list` shows those that there are").into()
        })
    }

    /// The records whose names begin so; what is noted of their replays has prefixes of its own.
    async fn entries(&self, prefixes: Vec<String>) -> Result<Vec<Entry>, Error> {
        let listings = stream::iter(prefixes).map(|prefix| self.blobs(prefix)).buffered(AT_ONCE);
        let listings: AzureResult<Vec<Vec<BlobItem>>> = listings.try_collect().await;
        let blobs: Vec<BlobItem> =
            listings.map_err(|error| self.unreadable("", &error))?.into_iter().flatten().collect();
        let mut replays = replay::of(&blobs);
        let entries = blobs.into_iter().filter_map(Entry::of);
        Ok(entries.map(|entry| Entry { replay: replays.remove(&entry.name), ..entry }).collect())
    }

    /// Everything whose name begins so.
    async fn blobs(&self, prefix: String) -> AzureResult<Vec<BlobItem>> {
        patiently(async || {
            let options = BlobContainerClientListBlobsOptions {
                prefix: Some(prefix.clone()).filter(|prefix| !prefix.is_empty()),
                include: Some(vec![ListBlobsIncludeItem::Metadata]),
                ..BlobContainerClientListBlobsOptions::default()
            };
            self.container.list_blobs(Some(options))?.try_collect().await
        })
        .await
    }

    fn unreadable(&self, name: &str, error: &azure_core::Error) -> Error {
        let failure = Failure::from(error);
        let remedy = match failure.status {
            Some(403) => "; the role Storage Blob Data Reader allows it",
            Some(404) if name.is_empty() => "; SIGNET_REJECTED or SIGNET_RESULTS names another container",
            _ => "",
        };
        let url = self.url.as_str().trim_end_matches('/');
        let slash = if name.is_empty() { "" } else { "/" };
        format!("{url}{slash}{name} cannot be read: {}{remedy}", failure.message).into()
    }
}

impl std::fmt::Debug for Rejections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rejections({})", self.url)
    }
}

impl Entry {
    /// A record, or nothing where the blob's name is none of a record's.
    fn of(blob: BlobItem) -> Option<Self> {
        let name = blob.name.filter(|name| Self::day(name).is_some() && name.strip_suffix(".json").is_some())?;
        let reason =
            blob.metadata.and_then(|metadata| metadata.values).and_then(|mut values| values.remove("signet_reason"));
        // Records are written once.
        let written = blob.properties?.last_modified?;
        Some(Self { name, reason, written, replay: None })
    }

    /// `2026/11/21` of `2026/11/21/….json`.
    fn day(name: &str) -> Option<&str> {
        let (day, rest) = name.split_at_checked(10)?;
        let is_day = day.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'/',
            _ => byte.is_ascii_digit(),
        });
        (is_day && rest.len() > 1 && rest.starts_with('/')).then_some(day)
    }

    /// Whether this is its name, or its message's id as the name has it.
    #[must_use]
    pub fn is_named(&self, id: &str) -> bool {
        self.stem() == id || self.name == id
    }

    /// The message's id, as the name has it.
    #[must_use]
    pub fn stem(&self) -> &str {
        let file = self.name.rsplit('/').next().unwrap_or_default();
        file.strip_suffix(".json").unwrap_or(file)
    }
}

impl Record {
    /// Whether this is its item's id, or its message's.
    #[must_use]
    pub fn is_named(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id) || self.message_id == id
    }

    /// The record with nothing where its message is, which may take 90 KiB: for whoever keeps many.
    #[must_use]
    pub fn without_message(self) -> Self {
        Self { message: String::new(), ..self }
    }

    /// The message's bytes.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        base64::decode_any(&self.message).ok_or_else(|| "the record's `message` is no Base64".into())
    }
}

impl Window {
    fn holds(&self, time: OffsetDateTime) -> bool {
        // The service's times are in whole seconds.
        let since = self.since.map(|since| since.replace_nanosecond(0).unwrap_or(since));
        since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }

    /// What the names begin with of all blobs that may count: one prefix for each day, or none for everything.
    fn prefixes(&self, now: OffsetDateTime) -> Vec<String> {
        let everything = || vec![String::new()];
        let Some(since) = self.since else { return everything() };
        let utc = |time: OffsetDateTime| time.to_offset(time::UtcOffset::UTC).date();
        let (Some(first), Some(tomorrow)) = (utc(since).checked_sub(LONGEST_STAY), utc(now).checked_add(Duration::DAY))
        else {
            return everything();
        };
        let last = self.until.map_or(tomorrow, |until| utc(until).min(tomorrow));
        let days = (last - first).whole_days();
        if days > MOST_DAYS {
            return everything();
        }
        let days = (0..=days).rev().filter_map(|day| first.checked_add(Duration::days(day)));
        days.flat_map(|day| [format!("{}/", path(day)), replay::prefix(&path(day))]).collect()
    }
}

fn path(day: Date) -> String {
    format!("{:04}/{:02}/{:02}", day.year(), u8::from(day.month()), day.day())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment;

    fn at(text: &str) -> OffsetDateTime {
        moment::parse(text, OffsetDateTime::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn a_recent_window_lists_days_alone() {
        let now = at("2026-03-02T10:00:00Z");
        let window = |since: &str| Window { since: Some(at(since)), until: None };
        let prefixes = window("2026-03-02T08:00:00Z").prefixes(now);
        assert_eq!(prefixes.len(), 2 * 10);
        assert_eq!(prefixes[..2], ["2026/03/03/", ".replays/2026/03/03/"], "the service's clock may be ahead");
        assert_eq!(
            prefixes.last().map(String::as_str),
            Some(".replays/2026/02/22/"),
            "it may have waited on the queue"
        );
        let until = Window { since: Some(at("2026-02-20")), until: Some(at("2026-02-21")) };
        let days: Vec<String> = until.prefixes(now).into_iter().filter(|prefix| !prefix.starts_with('.')).collect();
        assert_eq!((days.first().unwrap().as_str(), days.last().unwrap().as_str()), ("2026/02/21/", "2026/02/12/"));
        let reversed = Window { since: Some(at("2026-03-01")), until: Some(at("2026-01-01")) };
        assert!(reversed.prefixes(now).is_empty());
        for everything in [Window::default(), window("2025-01-01"), Window { since: None, until: Some(now) }] {
            assert_eq!(everything.prefixes(now), [""]);
        }
        assert!(window("2026-03-01").holds(at("2026-03-01")) && !until.holds(at("2026-02-21")));
    }

    #[test]
    fn only_names_of_records_count() {
        for (name, expected) in [
            ("2026/11/21/7f3c.json", Some("2026/11/21")),
            (".replays/2026/11/21/7f3c/0001-begun.json", None),
            ("2026/11/21", None),
            ("2026/11/21/", None),
            ("2026-11-21/7f3c.json", None),
            ("2026/11/é1/x", None),
            ("", None),
        ] {
            assert_eq!(Entry::day(name), expected, "{name}");
        }
    }
}
