//! The end of a delivery: one line in the log with all that there is to know of it, and the same in telemetry.

use std::time::Duration;

use opentelemetry::KeyValue;
use signet_core::envelope::Delivery;
use time::OffsetDateTime;

use crate::{
    app::App,
    log::Line,
    pipeline::{Fate, Setback},
    telemetry::End,
    trail::{Account, Trail},
};

/// What is known of a delivery from the start.
pub(crate) struct About {
    function: &'static str,
    /// The Functions host's; empty where there is none.
    invocation_id: String,
    message_id: Option<String>,
    dequeue_count: u32,
    /// From the message's insertion until now.
    age: Option<Duration>,
}

impl About {
    pub(crate) fn new(function: &'static str, invocation_id: &str, delivery: &Delivery) -> Self {
        Self {
            function,
            invocation_id: invocation_id.to_owned(),
            message_id: delivery.message_id.clone(),
            dequeue_count: delivery.dequeue_count,
            age: age(delivery),
        }
    }
}

/// The queue tells whole seconds, so a message's age may be off by one.
fn age(delivery: &Delivery) -> Option<Duration> {
    let inserted = delivery.inserted?.unix_timestamp();
    let seconds = OffsetDateTime::now_utc().unix_timestamp().checked_sub(inserted)?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// Tells an item's fate to the log and to telemetry; the log's line.
pub(crate) fn conclude(app: &App, about: &About, trail: &Trail, fate: &Fate) -> String {
    let (outcome, reason, is_failure) = match fate {
        Fate::Done { .. } => ("done", None, false),
        Fate::Rejected { rejection, .. } => ("rejected", Some(rejection.reason.name()), false),
        Fate::Ignored => ("ignored", None, false),
        Fate::HandedBack(setback) => ("handed back", Some(setback.code.as_str()), true),
    };
    let attributes = || {
        let (invocation_id, queue) = (about.invocation_id.clone(), app.settings.queue.clone());
        let message_id = about.message_id.clone().map(|id| KeyValue::new("messaging.message.id", id));
        let reason = reason.map(|reason| KeyValue::new("signet.reason", reason.to_owned()));
        let invocation_id = (!invocation_id.is_empty()).then(|| KeyValue::new("faas.invocation_id", invocation_id));
        let others = [
            KeyValue::new("messaging.destination.name", queue),
            KeyValue::new("signet.dequeue_count", i64::from(about.dequeue_count)),
            KeyValue::new("signet.outcome", outcome),
        ];
        message_id.into_iter().chain(invocation_id).chain(reason).chain(others).collect()
    };
    let error = reason.filter(|_| is_failure).map(str::to_owned);
    let account = trail.close(attributes, error);
    app.telemetry.count(End {
        function: about.function,
        outcome,
        reason,
        took: account.took,
        age: about.age,
        stages: &mut account.stages().map(|(stage, spent)| (stage.name(), spent)),
    });
    let line = line(outcome, about, &account, fate);
    match fate {
        Fate::Done { .. } | Fate::Ignored => tracing::info!("{line}"),
        Fate::Rejected { .. } | Fate::HandedBack(_) => tracing::warn!("{line}"),
    }
    line
}

/// All that there is to know of a delivery: what became of it, which it is, why, and how long each stage took.
fn line(outcome: &str, about: &About, account: &Account, fate: &Fate) -> String {
    let About { function, invocation_id, message_id, dequeue_count, age } = about;
    let line = Line::new(outcome)
        .field("function", function)
        .maybe("invocation_id", Some(invocation_id).filter(|id| !id.is_empty()))
        .field("message_id", message_id.as_deref().unwrap_or("unknown"))
        .field("dequeue_count", dequeue_count)
        .maybe("id", account.id.as_deref())
        .maybe("kid", account.kid.as_deref());
    let mut line = match fate {
        Fate::Done { results } => {
            let names = results.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            line.field("results", names)
        }
        Fate::Ignored => line.field("why", "an event about a rejection record of our own"),
        // The detail may quote the message; it stands in the record alone.
        Fate::Rejected { rejection, record } => {
            line.field("reason", rejection.reason).field("stage", rejection.stage).field("record", record)
        }
        Fate::HandedBack(Setback { stage, code, message }) => {
            line.field("stage", stage).field("code", code).field("why", message)
        }
    };
    line = line.maybe("age_s", age.map(|age| age.as_secs()));
    for (stage, spent) in account.stages() {
        line = line.field(format_args!("{stage}_ms"), spent.as_millis());
    }
    #[cfg(feature = "count-allocations")]
    let line = line.field("allocations", allocations());
    line.field("ms", account.took.as_millis()).into_string()
}

/// Allocations since the start, with those that only grew or shrank what was there.
#[cfg(feature = "count-allocations")]
fn allocations() -> usize {
    let counted = crate::ALLOCATOR.stats();
    counted.allocations + counted.reallocations
}
