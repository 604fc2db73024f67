//! What a run came to, for people.

use std::fmt::{Display, Write as _};

use serde_json::{Value, json};

use crate::run::Outcome;

/// Findings whose stories are told.
const TOLD: usize = 10;

/// The tables, and what was found.
#[must_use]
pub fn text(outcome: &Outcome) -> String {
    // Writing to a string cannot fail.
    let mut text = String::new();
    table(&mut text, "messages", outcome.kinds.iter());
    table(&mut text, "kills", outcome.kills.iter());
    let faults = outcome.faults.iter().map(|((service, name), count)| (format!("{service}: {name}"), count));
    table(&mut text, "faults met", faults);
    if !outcome.points.is_empty() {
        table(&mut text, "kills at fault points", outcome.points.iter());
    }
    table(&mut text, "besides", outcome.counts.iter());
    table(&mut text, "must be zero", outcome.zeros().iter());
    for finding in outcome.findings.all().iter().take(TOLD) {
        let _ = writeln!(text, "\n{}: {}", finding.what, finding.why);
        if let Some(number) = finding.number {
            let _ = writeln!(text, "  message {number}");
            for line in &finding.story {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    let more = outcome.findings.all().len().saturating_sub(TOLD);
    if more > 0 {
        let _ = writeln!(text, "\nand {more} more");
    }
    let _ = writeln!(
        text,
        "\n{} messages in {} s ({} s of them all at once); seed {}",
        outcome.messages(),
        outcome.took_in_all.as_secs(),
        outcome.took.as_secs(),
        outcome.seed
    );
    text
}

/// The numbers for machines.
#[must_use]
pub fn json(outcome: &Outcome) -> Value {
    let named =
        |rows: &mut dyn Iterator<Item = (String, u64)>| Value::Object(rows.map(|(name, n)| (name, n.into())).collect());
    let number = |count: usize| count as u64;
    json!({
        "seed": outcome.seed,
        "messages": named(&mut outcome.kinds.iter().map(|(name, count)| ((*name).to_owned(), number(*count)))),
        "kills": named(&mut outcome.kills.iter().map(|(kind, count)| (kind.to_string(), number(*count)))),
        "faultPoints": named(&mut outcome.points.iter().map(|(name, count)| (name.clone(), number(*count)))),
        "faults": named(&mut outcome.faults.iter().map(|((s, name), count)| (format!("{s}: {name}"), (*count).into()))),
        "besides": named(&mut outcome.counts.iter().map(|(name, count)| ((*name).to_owned(), number(*count)))),
        "mustBeZero": named(&mut outcome.zeros().iter().map(|(what, n)| (what.to_string(), number(*n)))),
        "seconds": outcome.took_in_all.as_secs(),
        "secondsAllAtOnce": outcome.took.as_secs(),
    })
}

fn table(text: &mut String, title: &str, rows: impl Iterator<Item = (impl Display, impl Display)>) {
    let rows: Vec<(String, String)> = rows.map(|(name, count)| (name.to_string(), count.to_string())).collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().max(title.len());
    let _ = writeln!(text, "\n  {title}\n  {}", "─".repeat(width + 9));
    for (name, count) in rows {
        let _ = writeln!(text, "  {name:width$} {count:>8}");
    }
}
