//! `signet rejected replay`: the messages of records onto the queue again, each once.
//!
//! The right to send a message is taken first, by creating a blob that one operator alone can create; then it is sent; then
//! that is noted. What breaks off in between has perhaps sent it: it is said to be in doubt, and nobody sends it again
//! unless told to, since a message that is rejected twice leaves two records.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use signet_core::work_item::MAX_MESSAGE_BYTES;

use super::filter::{Chosen, Filter, Found};
use crate::{
    moment,
    queue::{self, WorkQueue},
    rejections::{Record, Rejections, Replay, Step},
    remote::Remote,
    settings::Error,
    text,
};

/// Which messages to send again.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Options {
    #[command(flatten)]
    filter: Filter,
    /// Every record whose message was not sent again
    #[arg(long)]
    all: bool,
    /// Send what was sent before, or may have been; needs --id
    #[arg(long)]
    again: bool,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, one line a record
    #[arg(long)]
    json: bool,
}

/// What has come of a record.
#[derive(Debug)]
enum Outcome {
    /// Its message is on the queue, under a new id.
    Sent(String),
    WouldBeSent,
    /// Somebody has begun to send it, and not said what came of it.
    InDoubt(String),
    /// It cannot be sent.
    Refused(String),
}

/// Sends, oldest first, one after another: broken off, this leaves one message in doubt and no more.
pub(super) async fn run(options: &Options) -> Result<ExitCode, Error> {
    let Options { filter, all, again, .. } = options;
    if !all && !filter.is_given() {
        return Err("say which: with --reason, --since, --older-than or --id, or --all for every record".into());
    }
    if *again && !filter.id_is_given() {
        return Err("--again sends a message a second time: name it with --id".into());
    }
    let remote = Remote::new()?;
    let rejections = Rejections::open(&remote)?;
    let queue = WorkQueue::open(&remote)?;
    let mut entries = filter.entries(&rejections).await?;
    entries.reverse();
    let chosen = filter.read(&rejections, entries, |entry| *again || !Found::is_sent(entry)).await?;
    let mut is_complete = chosen.unmatched.is_empty() && chosen.unreadable.is_empty();
    report_missing(options, &rejections, &queue, &chosen);
    let found = chosen.found;
    if found.is_empty() && is_complete && !options.json {
        say!("Nothing to replay: no record in {} matches, or all that do have been replayed.", rejections.url);
    }
    for found in &found {
        let outcome = replay(options, &rejections, &queue, found).await;
        let (outcome, broken_off) = match outcome {
            Ok(outcome) => (outcome, false),
            Err(why) => (Outcome::Refused(why.to_string()), true),
        };
        is_complete &= matches!(outcome, Outcome::Sent(_) | Outcome::WouldBeSent);
        report(options, &queue, found, &outcome);
        if broken_off {
            return Ok(ExitCode::from(2));
        }
    }
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says what there is no record of. Nothing to replay would look like good news.
fn report_missing(options: &Options, rejections: &Rejections, queue: &WorkQueue, chosen: &Chosen) {
    let line = |blob: Option<&str>, id: Option<&str>, why: &str| {
        if options.json {
            let line = json!({
                "blob": blob, "id": id, "outcome": "no-record", "queue": queue.name, "messageId": null, "why": why,
            });
            say!("{line}");
        }
    };
    for id in &chosen.unmatched {
        let why = format!("{} has no record of it that matches", rejections.url);
        tell!("{} was not replayed: {why}; `signet rejected list` shows those that there are", text::visible(id));
        line(None, Some(id), &why);
    }
    for (blob, why) in &chosen.unreadable {
        line(Some(blob), None, why);
    }
}

/// Sends one message, unless somebody else has.
///
/// # Errors
/// What would meet all others as well.
async fn replay(
    options: &Options,
    rejections: &Rejections,
    queue: &WorkQueue,
    found: &Found,
) -> Result<Outcome, Error> {
    let entry = &found.entry;
    let (_, record) = rejections.read(&entry.name).await??;
    let text = match sendable(&record, queue) {
        Ok(text) => text,
        Err(why) => return Ok(Outcome::Refused(why)),
    };
    if let Some(Replay { step: Step::Begun, at, attempt }) = &entry.replay
        && !options.again
    {
        return Ok(Outcome::InDoubt(format!("attempt {attempt} began at {}", moment::written(*at))));
    }
    if options.dry_run {
        return Ok(Outcome::WouldBeSent);
    }
    let Some(claim) = rejections.claim(&entry.name, entry.replay.as_ref()).await? else {
        return Ok(Outcome::InDoubt("somebody else began a moment ago".to_owned()));
    };
    match queue.send(&text).await {
        Ok(sent) => {
            let id = sent.message_id;
            // Said here in any case: where noting it fails, this is all that tells of it.
            claim.end(&Step::Sent(id.clone())).await.map_err(|why| format!("it was sent as {id}, but: {why}"))?;
            Ok(Outcome::Sent(id))
        }
        Err(failure) if failure.certainly => {
            claim.end(&Step::NotSent).await?;
            Err(format!("{} does not take it: {}", queue.name, failure.why).into())
        }
        Err(failure) => Err(failure.doubt("it", queue).into()),
    }
}

/// The message as the queue can take it, which is as it came.
fn sendable(record: &Record, queue: &WorkQueue) -> Result<String, String> {
    if record.queue != queue.name {
        return Err(format!("it came from the queue {}, and SIGNET_QUEUE is {}", record.queue, queue.name));
    }
    let bytes = record.bytes().map_err(|why| why.to_string())?;
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(format!("it has {} bytes, and a queue takes {MAX_MESSAGE_BYTES}", bytes.len()));
    }
    let text = String::from_utf8(bytes).map_err(|_| "its bytes are no UTF-8, so no queue can have delivered them")?;
    queue::check(&text)?;
    Ok(text)
}

fn report(options: &Options, queue: &WorkQueue, found: &Found, outcome: &Outcome) {
    let Found { entry, record } = found;
    let (word, message_id, why) = match outcome {
        Outcome::Sent(id) => ("sent", Some(id), None),
        Outcome::WouldBeSent => ("would-be-sent", None, None),
        Outcome::InDoubt(why) => ("in-doubt", None, Some(why)),
        Outcome::Refused(why) => ("not-sent", None, Some(why)),
    };
    let name = text::visible(&entry.name);
    let item = record.id.as_deref().map(|id| format!("  {}", text::visible(id))).unwrap_or_default();
    match outcome {
        _ if options.json => {}
        Outcome::Sent(id) => say!("{name} → {}  {id}{item}", queue.name),
        Outcome::WouldBeSent => say!("{name} → {}  (not sent: --dry-run){item}", queue.name),
        Outcome::InDoubt(_) | Outcome::Refused(_) => {}
    }
    if options.json {
        let replay = json!({
            "blob": entry.name, "id": record.id, "outcome": word, "queue": queue.name,
            "messageId": message_id.map_or(Value::Null, |id| Value::from(id.as_str())), "why": why,
        });
        say!("{replay}");
    }
    match outcome {
        Outcome::InDoubt(why) => tell!(
            "{name} is in doubt: {}, and did not say what came of it. Look for the item's result or a new record; \
             if there is neither once the queue is empty, send it with --id {} --again",
            text::visible(why),
            text::visible(entry.stem()),
        ),
        Outcome::Refused(why) => tell!("{name} was not replayed: {}", text::visible(why)),
        Outcome::Sent(_) | Outcome::WouldBeSent => {}
    }
}
