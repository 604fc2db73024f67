//! Which records are meant.

use clap::Args;
use futures::{StreamExt, stream};
use signet_core::rejection::Reason;
use time::OffsetDateTime;

use crate::{
    moment,
    rejections::{Entry, Record, Rejections, Step, Window},
    settings::Error,
};

/// Records that are read at the same time.
const AT_ONCE: usize = 8;

/// The options that choose records; all of them must hold.
#[derive(Args, Debug)]
pub(super) struct Filter {
    /// Only this reason; may be repeated
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Vec<String>,
    /// Only what was rejected since: an age such as 90s, 30m, 2h, 7d or 2w, or a date such as 2026-11-21
    #[arg(long, value_name = "AGE-OR-DATE", value_parser = moment::from_now)]
    since: Option<OffsetDateTime>,
    /// Only what was rejected before: an age, or a date
    #[arg(long, value_name = "AGE-OR-DATE", value_parser = moment::from_now)]
    older_than: Option<OffsetDateTime>,
    /// Only this item, by its id or by the id of its message; may be repeated
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// At most so many: of list the newest, of replay the oldest
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

/// What a filter has chosen.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Records, in the order of their entries.
    pub(super) found: Vec<Found>,
    /// Ids that were asked for and that no record has, as far as the other filters let see.
    pub(super) unmatched: Vec<String>,
    /// Blobs that may be meant, and are no records: their names, and why.
    pub(super) unreadable: Vec<(String, String)>,
}

/// A record that was chosen, without its message: there may be a great many.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) record: Record,
}

impl Filter {
    /// Whether anything is left out, other than by number.
    pub(super) fn is_given(&self) -> bool {
        !self.reason.is_empty() || self.since.is_some() || self.older_than.is_some() || self.id_is_given()
    }

    /// Whether single items are named.
    pub(super) fn id_is_given(&self) -> bool {
        !self.id.is_empty()
    }

    /// The entries that may count by what a listing tells, newest first.
    pub(super) async fn entries(&self, rejections: &Rejections) -> Result<Vec<Entry>, Error> {
        let mut entries = rejections.list(Window { since: self.since, until: self.older_than }).await?;
        // Where a listing does not tell the reason, the record does.
        entries.retain(|entry| entry.reason.as_ref().is_none_or(|reason| self.allows(reason)));
        Ok(entries)
    }

    /// Reads entries in their order, until there are as many of them that count as are asked for. What is no record
    /// is named on stderr.
    pub(super) async fn read(
        &self,
        rejections: &Rejections,
        mut entries: Vec<Entry>,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Chosen, Error> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let mut chosen = Chosen::default();
        let is_unseen = |id: &&String| !entries.iter().any(|entry| entry.is_named(id));
        chosen.unmatched = self.id.iter().filter(is_unseen).cloned().collect();
        // An item's id is in the record alone, and one that was sent before is no typing mistake.
        if chosen.unmatched.is_empty() {
            entries.retain(&is_wanted);
        }
        let reading = stream::iter(entries).map(async |entry| {
            let read = rejections.read(&entry.name).await;
            (entry, read)
        });
        let mut reading = std::pin::pin!(reading.buffered(AT_ONCE.min(limit.max(1))));
        while (chosen.found.len() < limit || !chosen.unmatched.is_empty())
            && let Some((entry, read)) = reading.next().await
        {
            let record = match read? {
                Ok((_, record)) => record,
                Err(why) => {
                    tell!("{why}");
                    if self.id.is_empty() || self.id.iter().any(|id| entry.is_named(id)) {
                        chosen.unreadable.push((entry.name, why.to_string()));
                    }
                    continue;
                }
            };
            if self.allows(&record.reason) {
                chosen.unmatched.retain(|id| !record.is_named(id));
                let is_meant = self.id.is_empty() || self.id.iter().any(|id| entry.is_named(id) || record.is_named(id));
                if is_meant && is_wanted(&entry) && chosen.found.len() < limit {
                    chosen.found.push(Found { entry, record: record.without_message() });
                }
            }
        }
        Ok(chosen)
    }

    fn allows(&self, reason: &str) -> bool {
        self.reason.is_empty() || self.reason.iter().any(|allowed| allowed == reason)
    }
}

impl Found {
    /// Whether its message was sent again before.
    pub(super) fn is_sent(entry: &Entry) -> bool {
        matches!(&entry.replay, Some(replay) if matches!(replay.step, Step::Sent(_)))
    }
}

/// A reason that there is: a misspelt one would find nothing, and look like good news.
fn reason(name: &str) -> Result<String, String> {
    if Reason::ALL.iter().any(|reason| reason.name() == name) {
        return Ok(name.to_owned());
    }
    Err(format!("there is no such reason; there are {}", Reason::ALL.map(Reason::name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_reason_is_no_reason() {
        assert_eq!(reason("source-not-found").as_deref(), Ok("source-not-found"));
        assert!(reason("source-missing").unwrap_err().contains("source-not-found, source-changed"));
    }
}
