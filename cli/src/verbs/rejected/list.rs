//! `signet rejected list`: which messages were rejected, and why.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{
    filter::{Filter, Found},
    replay_as_json, replay_in_words,
};
use crate::{
    out,
    rejections::{Entry, Rejections},
    remote::Remote,
    settings::Error,
    table, text,
};

/// Characters of a detail that are shown in a table.
const LONGEST_DETAIL: usize = 60;
const LONGEST_ID: usize = 50;

/// Which records to list.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    filter: Filter,
    /// Only those whose message was not sent again
    #[arg(long)]
    not_replayed: bool,
    /// Print JSON, one line a record
    #[arg(long)]
    json: bool,
}

/// Prints a table, or lines of JSON.
pub(super) async fn run(options: &Options) -> Result<ExitCode, Error> {
    let rejections = Rejections::open(&Remote::new()?)?;
    let entries = options.filter.entries(&rejections).await?;
    let is_wanted = |entry: &Entry| !(options.not_replayed && Found::is_sent(entry));
    let found = options.filter.read(&rejections, entries, is_wanted).await?.found;
    if options.json {
        for found in &found {
            say!("{}", as_json(found));
        }
    } else if found.is_empty() {
        say!("No rejection record in {}.", rejections.url);
    } else {
        const HEADING: [&str; 8] = ["at", "reason", "stage", "id", "message", "dequeued", "replayed", "detail"];
        let rows: Vec<Vec<String>> = found.iter().map(cells).collect();
        out::bytes(table::render(&HEADING, &rows).as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(found: &Found) -> Vec<String> {
    let Found { entry, record } = found;
    vec![
        text::visible(&record.at).into_owned(),
        text::visible(&record.reason).into_owned(),
        text::visible(&record.stage).into_owned(),
        record.id.as_deref().map(|id| text::shortened(id, LONGEST_ID)).unwrap_or_default(),
        text::visible(entry.stem()).into_owned(),
        record.dequeue_count.to_string(),
        replay_in_words(entry),
        text::shortened(&record.detail, LONGEST_DETAIL),
    ]
}

fn as_json(found: &Found) -> Value {
    let Found { entry, record } = found;
    json!({
        "blob": entry.name,
        "at": record.at,
        "reason": record.reason,
        "stage": record.stage,
        "detail": record.detail,
        "id": record.id,
        "messageId": record.message_id,
        "dequeueCount": record.dequeue_count,
        "queue": record.queue,
        "replay": replay_as_json(entry),
    })
}
