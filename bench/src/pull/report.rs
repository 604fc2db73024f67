//! What came of it: tables, and the numbers for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Busy, Idle, LowLoad};
use crate::{
    apps::Contender,
    machine::Machine,
    report::number,
    rounds::Spread,
    throttle::{self, Outcome, WINDOW},
};

/// All that was measured.
#[derive(Debug, Default)]
pub struct Found {
    /// Workers whose queue is never empty.
    pub busy: Vec<Busy>,
    /// Workers that get a message now and then.
    pub low: Vec<LowLoad>,
    /// Workers that get none.
    pub idle: Vec<Idle>,
    /// Workers that share a vault at its limit.
    pub sharing: Vec<Outcome>,
    /// Who has no numbers, or not all, and why.
    pub lost: Vec<String>,
}

/// A table for each part, then the ratios.
#[must_use]
pub fn table(found: &Found, machine: &Machine, rounds: usize) -> String {
    let mut text = format!("\n{}, {} cores; {}; {rounds} rounds\n", machine.processor, machine.cores, machine.system);
    let versions: Vec<String> = machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    line(&mut text, &versions.join(", "));
    busy(&mut text, &found.busy);
    low(&mut text, &found.low);
    idle(&mut text, &found.idle);
    sharing(&mut text, &found.sharing);
    ratios(&mut text, found);
    for reason in &found.lost {
        line(&mut text, &format!("\n  {reason}"));
    }
    text
}

fn busy(text: &mut String, rows: &[Busy]) {
    head(
        text,
        "A queue that is never empty, median (min–max)",
        &["items/s", "CPU per item, µs", "resident, MiB", "start to result, ms", "cores", "services'", "left"],
    );
    for row in rows {
        let spread =
            |spread: Spread| format!("{} ({}–{})", number(spread.median), number(spread.min), number(spread.max));
        let cores = [row.app_cores, row.harness_cores, row.idle_cores].map(|cores| number(cores.median));
        let [app, harness, left] = cores;
        let cells = [
            spread(row.items_per_second),
            spread(row.cpu_per_item_us),
            spread(row.memory_mib),
            spread(row.first_result_ms),
            app,
            harness,
            left,
        ];
        put(text, &format!("{} × {}", row.contender, row.replicas), &cells);
    }
}

fn low(text: &mut String, rows: &[LowLoad]) {
    let title = "A message every 10 to 15 s: from the queue to the result, ms";
    let columns = ["messages", "median", "99th", "on the queue", "worked on", "99th", "on the queue, %"];
    head(text, title, &columns);
    for row in rows {
        let cells = [
            row.messages.to_string(),
            number(row.median_ms),
            number(row.p99_ms),
            number(row.waited_median_ms),
            number(row.worked_median_ms),
            number(row.worked_p99_ms),
            number(row.waited_share * 100.0),
        ];
        put(text, &format!("{}, poll {} s", row.contender, row.poll), &cells);
    }
}

fn idle(text: &mut String, rows: &[Idle]) {
    head(text, "An empty queue, in a minute", &["looks", "requests", "CPU, ms", "resident, MiB"]);
    for row in rows {
        let values = [row.looks_per_minute, row.requests_per_minute, row.cpu_ms_per_minute, row.memory_mib];
        put(text, row.contender.name(), &values.map(number));
    }
}

fn sharing(text: &mut String, rows: &[Outcome]) {
    let columns = ["limit/s", "goodput/s", "last window", "of limit, %", "429s, %", "dequeues", "most", "cores"];
    head(text, &format!("Twice the vault's limit arrives; of the limit in the last window of {WINDOW} s"), &columns);
    for row in rows {
        let last = row.goodput(row.timeline.len().saturating_sub(WINDOW));
        let cells = [
            number(row.case.limit()),
            number(row.goodput(0)),
            number(last),
            format!("{:.1}", last / row.case.limit() * 100.0),
            format!("{:.2}", row.refused(0) * 100.0),
            format!("{:.3}", row.mean_dequeues),
            row.most_dequeues.to_string(),
            number(row.app_cores),
        ];
        put(text, &format!("{} × {}", row.case.contender, row.case.instances), &cells);
    }
}

/// A peer's value by Signet's; of items per second, Signet's by the peer's.
fn ratios(text: &mut String, found: &Found) {
    let columns = ["items/s", "CPU per item", "resident", "start to result", "worked on", "idle CPU"];
    head(text, "Signet is better by so many times than", &columns);
    for peer in [Contender::Node, Contender::Python] {
        let cells = ratios_to(peer, found).map(|(_, ratio)| ratio.map_or("–".to_owned(), number));
        put(text, peer.name(), &cells);
    }
}

fn ratios_to(peer: Contender, found: &Found) -> [(&'static str, Option<f64>); 6] {
    let busy = |of: Contender, value: fn(&Busy) -> f64| {
        found.busy.iter().find(|row| row.contender == of && row.replicas == 1).map(value)
    };
    let busier = |value: fn(&Busy) -> f64| Some(busy(peer, value)? / busy(Contender::Signet, value)?);
    let low = |of: Contender| found.low.iter().find(|row| row.contender == of).map(|row| row.worked_median_ms);
    let idle = |of: Contender| found.idle.iter().find(|row| row.contender == of).map(|row| row.cpu_ms_per_minute);
    let ratio = |values: (Option<f64>, Option<f64>)| Some(values.0? / values.1?);
    [
        ("items_per_second", busier(|row| row.items_per_second.median).map(f64::recip)),
        ("cpu_per_item", busier(|row| row.cpu_per_item_us.median)),
        ("memory", busier(|row| row.memory_mib.median)),
        ("first_result", busier(|row| row.first_result_ms.median)),
        ("worked", ratio((low(peer), low(Contender::Signet)))),
        ("idle_cpu", ratio((idle(peer), idle(Contender::Signet)))),
    ]
}

/// Everything that the tables say.
#[must_use]
pub fn json(found: &Found, machine: &Machine, rounds: usize) -> Value {
    let ratios: serde_json::Map<String, Value> = [Contender::Node, Contender::Python]
        .into_iter()
        .map(|peer| {
            let ratios: serde_json::Map<String, Value> =
                ratios_to(peer, found).into_iter().map(|(name, ratio)| (name.to_owned(), json!(ratio))).collect();
            (peer.name().to_lowercase(), Value::Object(ratios))
        })
        .collect();
    let mut numbers = throttle::json(&found.sharing, &found.lost, machine);
    let sharing = numbers["runs"].take();
    json!({
        "machine": machine, "rounds": rounds, "busy": found.busy, "low_load": found.low, "idle": found.idle,
        "sharing_a_vault": sharing, "signet_is_better_by": ratios, "lost": found.lost,
    })
}

fn head(text: &mut String, title: &str, columns: &[&str]) {
    line(text, &format!("\n  {title}"));
    put(text, "", columns);
}

fn put(text: &mut String, name: &str, cells: &[impl std::fmt::Display]) {
    let mut row = format!("  {name:<18}");
    for cell in cells {
        write!(row, "{:>20}", cell.to_string()).expect("a String takes all that is written");
    }
    line(text, &row);
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes all that is written");
}
