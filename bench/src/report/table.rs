//! The table on the terminal.

use std::fmt::Write as _;

use super::{number, rows};
use crate::{
    apps::Contender,
    machine::Machine,
    rounds::{Metric, Samples},
};

/// Medians with their spread, then the ratios of the medians with their goals.
#[must_use]
pub fn table(samples: &Samples, machine: &Machine, rounds: usize) -> String {
    let mut text = format!("\n{}, {} cores; {}; {rounds} rounds\n", machine.processor, machine.cores, machine.system);
    let versions: Vec<String> = machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    line(&mut text, &format!("{}\n", versions.join(", ")));

    let head = columns(|contender| contender.name().to_owned());
    line(&mut text, &format!("  {:<32}{head}", "median (min–max)"));
    for (metric, title) in TITLES {
        let cells = columns(|contender| cell(samples, contender, metric));
        if !cells.trim_matches([' ', '–']).is_empty() {
            line(&mut text, &format!("  {title:<32}{cells}"));
        }
    }
    for (contender, reason) in &samples.lost {
        line(&mut text, &format!("\n  {contender}: {reason}"));
    }

    line(&mut text, &format!("\n  {:<40}{:<12}{:>10}{:>10}", "Signet's", "against", "ratio", "goal"));
    for row in rows(samples) {
        let peer = row.peer.map_or("", Contender::name);
        let (ratio, met) = match row.ratio {
            Some(ratio) => (row.goal.put(ratio), if row.goal.is_met(ratio) { "✔ met" } else { "✘ not met" }),
            None => ("missing".to_owned(), "– missing"),
        };
        line(&mut text, &format!("  {:<40}{peer:<12}{ratio:>10}{:>10}  {met}", row.what, row.goal.text()));
    }
    text
}

fn columns(cell: impl Fn(Contender) -> String) -> String {
    Contender::ALL.map(|contender| format!("{:>24}", cell(contender))).concat()
}

fn cell(samples: &Samples, contender: Contender, metric: Metric) -> String {
    match samples.spread(contender, metric) {
        Some(spread) if metric == Metric::PackageSize => number(spread.median / 1e6),
        Some(spread) => format!("{} ({}–{})", number(spread.median), number(spread.min), number(spread.max)),
        None => "–".to_owned(),
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes all that is written");
}

const TITLES: [(Metric, &str); 13] = [
    (Metric::FirstAnswer, "exec to first answer, ms"),
    (Metric::IdleMemory, "resident, warm and idle, MiB"),
    (Metric::LoadedMemory, "resident after the load, MiB"),
    (Metric::PeakMemory, "resident at the peak, MiB"),
    (Metric::FirstItem, "first item, +20 ms, ms"),
    (Metric::SteadyItem, "steady state, +20 ms, ms"),
    (Metric::CpuPerItem, "CPU time per item, µs"),
    (Metric::BareCpuPerItem, "  of a bare client, µs"),
    (Metric::SdkCpuPerItem, "  of the SDK's clients, µs"),
    (Metric::ItemsPerSecond, "items per second on one core"),
    (Metric::HarnessShare, "  the other core's load, %"),
    (Metric::FirstToSteady, "first item by steady state"),
    (Metric::PackageSize, "package (zip), MB"),
];
