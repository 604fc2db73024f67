//! What a run came to, for people.

use std::fmt::Display;

use crate::run::Outcome;

/// Findings whose stories are told.
const TOLD: usize = 10;

/// The tables, and what was found.
#[must_use]
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    table(&mut text, "messages", outcome.kinds.iter());
    table(&mut text, "kills", outcome.kills.iter());
    let faults = outcome.faults.iter().map(|((service, name), count)| (format!("{service}: {name}"), count));
    table(&mut text, "faults met", faults);
    table(&mut text, "besides", outcome.counts.iter());
    table(&mut text, "must be zero", outcome.findings.counts().iter());
    for finding in outcome.findings.all().iter().take(TOLD) {
        text += &format!("\n{}: {}\n", finding.what, finding.why);
        if let Some(number) = finding.number {
            text += &format!("  message {number}\n");
            for line in outcome.stories.get(&number).into_iter().flatten() {
                text += &format!("  {line}\n");
            }
        }
    }
    let more = outcome.findings.all().len().saturating_sub(TOLD);
    if more > 0 {
        text += &format!("\nand {more} more\n");
    }
    let seconds = outcome.took.as_secs_f64();
    let messages = outcome.options.items;
    text += &format!(
        "\n{messages} messages in {seconds:.0} s, {:.0} a second; seed {}\n",
        messages as f64 / seconds.max(0.001),
        outcome.options.seed
    );
    text
}

fn table(text: &mut String, title: &str, rows: impl Iterator<Item = (impl Display, impl Display)>) {
    let rows: Vec<(String, String)> = rows.map(|(name, count)| (name.to_string(), count.to_string())).collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().max(title.len());
    *text += &format!("\n  {title}\n  {}\n", "─".repeat(width + 9));
    for (name, count) in rows {
        *text += &format!("  {name:width$} {count:>8}\n");
    }
}
