//! `signet smoke`: whether a deployed app does its job, by one item from the queue to its verified result.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use azure_core::http::Url;
use clap::Args;
use rand_core::{OsRng, RngCore as _};
use serde_json::{Value, json};
use signet_azure::failure::Failure;
use signet_core::{algorithm::hex, format::Format};
use time::OffsetDateTime;

use super::verify::{self, NoVerdict, Verdict};
use crate::{
    key_set::KeySet,
    moment,
    queue::{Sent, WorkQueue},
    rejections::{Record, Rejections, Window},
    remote::{Remote, patiently},
    settings::{self, Error},
    text,
};

const NOBODY_TOOK_IT: &str = "nobody has taken the message from the queue, and it has been taken back: the app does not run, or \
                              has another queue, or may not read it; see its log";
const NOTHING_CAME_OF_IT: &str = "the app has taken the message from the queue, and no result came of it: it is handed back and \
                                  tried again; see the app's log";
/// The pause between two looks, and how it grows.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often it is said that nothing has come yet.
const PROGRESS: Duration = Duration::from_secs(15);

/// Records that are read at most in search of one.
const MOST_READ: usize = 200;

/// How long to wait, and how to tell.
#[derive(Args, Debug)]
pub struct Options {
    /// Seconds to wait for the result; an app that is scaled to zero takes a while
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    wait: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What has come of the item.
#[derive(Debug)]
enum Outcome {
    /// A result that is valid, and how long after the item was sent.
    Verified(Verdict, Duration),
    /// A result that is not valid; why.
    Invalid(String),
    /// A record of this name in place of a result.
    Rejected(String, Box<Record>),
    /// Nothing in time; what is known of the message.
    Nothing(&'static str),
}

/// The item on its way.
struct Smoke {
    remote: Remote,
    results: Url,
    rejections: Rejections,
    queue: WorkQueue,
    id: String,
    payload: String,
}

/// Sends an item, waits for what comes of it, and verifies that.
pub async fn run(options: &Options) -> Result<ExitCode, Error> {
    let smoke = Smoke::new()?;
    let sent_at = Instant::now();
    let sent = smoke.send().await?;
    tell!("sent {} to {} as {}; waiting up to {} s", smoke.id, smoke.queue.name, sent.message_id, options.wait);
    let outcome = smoke.outcome(&sent, sent_at, Duration::from_secs(options.wait)).await?;
    if options.json {
        say!("{}", smoke.as_json(&sent, &outcome));
    } else {
        smoke.tell(options, &outcome);
    }
    Ok(if matches!(outcome, Outcome::Verified(..)) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Smoke {
    fn new() -> Result<Self, Error> {
        let remote = Remote::new()?;
        let now = moment::written(OffsetDateTime::now_utc());
        let mut nonce = [0; 8];
        OsRng.fill_bytes(&mut nonce);
        Ok(Self {
            results: settings::required_container("SIGNET_RESULTS")?,
            rejections: Rejections::open(&remote)?,
            queue: WorkQueue::open(&remote)?,
            // Colons are allowed, but look odd in paths.
            id: format!("smoke/{}-{}", now.replace(':', "-"), hex(&nonce)),
            payload: json!({ "smoke": now }).to_string(),
            remote,
        })
    }

    async fn send(&self) -> Result<Sent, Error> {
        let Self { id, payload, queue, .. } = self;
        let item = format!(r#"{{"id":"{id}","format":"jws","payload":{payload}}}"#);
        queue.send(&item).await.map_err(|failure| {
            if failure.certainly {
                format!("nothing was sent to {}: {}", queue.name, failure.why).into()
            } else {
                failure.doubt(&format!("the item {id}"), queue).into()
            }
        })
    }

    /// The result's URL.
    fn result(&self) -> String {
        format!("{}/{}{}", self.results.as_str().trim_end_matches('/'), self.id, Format::Jws.suffix())
    }

    /// Looks for a result and for a record until there is one, or the time is over.
    async fn outcome(&self, sent: &Sent, sent_at: Instant, wait: Duration) -> Result<Outcome, Error> {
        let inserted = sent.inserted.unwrap_or_else(OffsetDateTime::now_utc).date();
        let (mut pause, mut told) = (FIRST_PAUSE, Duration::ZERO);
        loop {
            let result = self.has_result();
            let record = self.rejections.of_message(inserted, &sent.message_id);
            let (has_result, record) = futures::try_join!(result, record)?;
            let elapsed = sent_at.elapsed();
            if has_result {
                return self.verified(elapsed).await;
            }
            if let Some((name, record)) = record {
                return Ok(Outcome::Rejected(name, Box::new(record)));
            }
            if elapsed >= wait {
                return self.give_up(sent).await;
            }
            if elapsed.saturating_sub(told) >= PROGRESS {
                told = elapsed;
                tell!("nothing yet after {} s", elapsed.as_secs());
            }
            tokio::time::sleep(pause.min(wait.saturating_sub(elapsed))).await;
            pause = (pause * 5 / 4).min(LONGEST_PAUSE);
        }
    }

    async fn has_result(&self) -> Result<bool, Error> {
        let client = self.remote.blob(self.result().parse()?)?;
        match patiently(async || client.get_properties(None).await).await {
            Ok(_) => Ok(true),
            Err(error) => match Failure::from(&error) {
                failure if failure.is(404) && failure.code != "ContainerNotFound" => Ok(false),
                failure => {
                    let remedy = if failure.is(403) { "; the role Storage Blob Data Reader allows it" } else { "" };
                    Err(format!("{} cannot be read: {}{remedy}", self.results, failure.message).into())
                }
            },
        }
    }

    async fn verified(&self, elapsed: Duration) -> Result<Outcome, Error> {
        let document = self.remote.read(&self.result()).await?.document;
        let keys = KeySet::of(&self.results, &self.remote)?.read().await?;
        Ok(match verify::verdict(&document, Some(self.payload.as_bytes()), &keys) {
            Ok(verdict) => Outcome::Verified(verdict, elapsed),
            Err(NoVerdict::Invalid(why) | NoVerdict::Unknown(why)) => Outcome::Invalid(why),
        })
    }

    /// Takes the message back if nobody has received it, which says where the fault is.
    async fn give_up(&self, sent: &Sent) -> Result<Outcome, Error> {
        if let Some((name, record)) = self.given_up(sent).await? {
            return Ok(Outcome::Rejected(name, Box::new(record)));
        }
        let what = match self.queue.take_back(sent).await? {
            Some(true) => NOBODY_TOOK_IT,
            Some(false) => NOTHING_CAME_OF_IT,
            None => "the message may still be on the queue, and who only may send cannot look; see the app's log",
        };
        Ok(Outcome::Nothing(what))
    }

    /// The item's record if the host gave the message up, which gets another id on the poison queue.
    async fn given_up(&self, sent: &Sent) -> Result<Option<(String, Record)>, Error> {
        for entry in
            self.rejections.list(Window { since: sent.inserted, until: None }).await?.into_iter().take(MOST_READ)
        {
            if let Ok((_, record)) = self.rejections.read(&entry.name).await?
                && record.id.as_ref() == Some(&self.id)
            {
                return Ok(Some((entry.name, record)));
            }
        }
        Ok(None)
    }

    fn tell(&self, options: &Options, outcome: &Outcome) {
        match outcome {
            Outcome::Verified(verdict, elapsed) => {
                say!("VERIFIED after {:.1} s", elapsed.as_secs_f64());
                say!("  result     {}", self.result());
                say!("  signed by  {}", verdict.kid.as_deref().map(text::visible).unwrap_or_default());
                say!("  algorithm  {}", verdict.algorithm.name());
            }
            Outcome::Invalid(why) => tell!("NOT VALID: {}: {why}", self.result()),
            Outcome::Rejected(name, record) => {
                tell!("REJECTED: {}: {}", text::visible(&record.reason), text::visible(&record.detail));
                tell!("  record     {name}; `signet rejected show {}` shows it", text::visible(&record.message_id));
            }
            Outcome::Nothing(why) => tell!("NO RESULT within {} s: {why}, and run `signet doctor`", options.wait),
        }
    }

    fn as_json(&self, sent: &Sent, outcome: &Outcome) -> Value {
        let mut json = json!({ "id": self.id, "messageId": sent.message_id, "queue": self.queue.name });
        let members = match outcome {
            Outcome::Verified(verdict, elapsed) => json!({
                "outcome": "verified", "seconds": elapsed.as_secs_f64(), "result": self.result(), "kid": verdict.kid,
                "alg": verdict.algorithm.name(),
            }),
            Outcome::Invalid(why) => json!({ "outcome": "invalid", "result": self.result(), "why": why }),
            Outcome::Rejected(name, record) => {
                json!({ "outcome": "rejected", "record": name, "reason": record.reason, "why": record.detail })
            }
            Outcome::Nothing(why) => json!({ "outcome": "nothing", "why": why }),
        };
        if let (Value::Object(json), Value::Object(members)) = (&mut json, members) {
            json.extend(members);
        }
        json
    }
}
