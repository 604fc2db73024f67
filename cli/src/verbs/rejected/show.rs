//! `signet rejected show`: one record, whole, and the message as it was.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};
use signet_core::base64;

use super::{replay_as_json, replay_in_words};
use crate::{
    out,
    rejections::{Entry, Record, Rejections, Step},
    remote::Remote,
    settings::Error,
    text,
};

/// Which record to show, and how.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The message's id, or the name or URL of the record's blob
    record: String,
    /// Write the message's bytes to stdout, as they were, and nothing else
    #[arg(long, conflicts_with = "json")]
    message: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the record, or its message.
pub(super) async fn run(options: &Options) -> Result<ExitCode, Error> {
    let rejections = Rejections::open(&Remote::new()?)?;
    let entry = rejections.find(&options.record).await?;
    let (mut members, record) = rejections.read(&entry.name).await??;
    let bytes = record.bytes()?;
    if options.message {
        out::bytes(&bytes);
    } else if options.json {
        let text = std::str::from_utf8(&bytes).map_or(Value::Null, Value::from);
        let beside = [("blob", entry.name.as_str().into()), ("text", text), ("replay", replay_as_json(&entry))];
        members.extend(beside.map(|(name, value)| (name.to_owned(), value)));
        say!("{}", Value::Object(members));
    } else {
        out::bytes(as_text(&entry, &members, &record, &bytes).as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}

/// Every member of the record in its order, then the message.
fn as_text(entry: &Entry, members: &Map<String, Value>, record: &Record, bytes: &[u8]) -> String {
    let mut lines = vec![("blob".to_owned(), entry.name.clone())];
    for (name, value) in members.iter().filter(|(name, _)| *name != "message") {
        lines.push((name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
    match entry.replay.as_ref().map(|replay| &replay.step) {
        Some(Step::Sent(id)) => lines.push(("replayed".to_owned(), format!("{} as {id}", replay_in_words(entry)))),
        Some(Step::Begun) => lines.push(("replayed".to_owned(), replay_in_words(entry))),
        Some(Step::NotSent) | None => {}
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let line =
        |(name, value): &(String, String)| format!("  {:width$}  {}\n", text::visible(name), text::visible(value));
    lines.iter().map(line).chain([message_as_text(record, bytes)]).collect()
}

/// The message as text where it is text, and what it is Base64 of.
fn message_as_text(record: &Record, bytes: &[u8]) -> String {
    let length = bytes.len();
    let Ok(message) = std::str::from_utf8(bytes) else {
        let id = text::visible(&record.message_id);
        return format!(
            "\nThe message's {length} bytes are no UTF-8; `signet rejected show {id} --message` writes them. Base64:\n\n{}\n",
            base64::encode(bytes)
        );
    };
    let shown = format!("\nThe message, {length} bytes:\n\n{}\n", text::visible_lines(message));
    let inner = base64::decode_any(message.trim()).and_then(|bytes| String::from_utf8(bytes).ok());
    match inner.filter(|inner| !inner.is_empty()) {
        Some(inner) => format!("{shown}\nwhich is Base64 of:\n\n{}\n", text::visible_lines(&inner)),
        None => shown,
    }
}
