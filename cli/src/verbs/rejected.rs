//! `signet rejected`: what could never be signed, and sending it again.

mod filter;
mod list;
mod replay;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    moment,
    rejections::{Entry, Replay, Step},
    settings::Error,
};

/// What to do with rejection records.
#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Lists records, newest first
    List(list::Options),
    /// Shows one record with its message
    Show(show::Options),
    /// Sends the messages of records again, each once: exit 0 all are sent, 1 one is not, 2 it was broken off
    Replay(replay::Options),
}

/// Lists, shows or replays.
pub async fn run(options: &Options) -> Result<ExitCode, Error> {
    match &options.verb {
        Verb::List(options) => list::run(options).await,
        Verb::Show(options) => show::run(options).await,
        Verb::Replay(options) => replay::run(options).await,
    }
}

/// A replay as JSON has it; null where there is none.
fn replay_as_json(entry: &Entry) -> Value {
    let Some(Replay { attempt, step, at }) = &entry.replay else { return Value::Null };
    let message_id = match step {
        Step::Sent(message_id) => Some(message_id),
        Step::Begun | Step::NotSent => None,
    };
    json!({ "step": step.name(), "attempt": attempt, "at": moment::written(*at), "messageId": message_id })
}

/// A replay in a few words; none where there is nothing to say.
fn replay_in_words(entry: &Entry) -> String {
    match &entry.replay {
        Some(Replay { step: Step::Sent(_), at, .. }) => moment::written(*at),
        Some(Replay { step: Step::Begun, .. }) => "in doubt".to_owned(),
        Some(Replay { step: Step::NotSent, .. }) | None => String::new(),
    }
}
