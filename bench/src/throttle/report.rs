//! What came of the runs: a table, and the numbers for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{OVERLOAD, Outcome, WINDOW};
use crate::{machine::Machine, report::number};

/// One row for each run.
#[must_use]
pub fn table(outcomes: &[Outcome], lost: &[String], machine: &Machine) -> String {
    let mut text = format!("\n{}, {} cores; {}\n", machine.processor, machine.cores, machine.system);
    let versions: Vec<String> = machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    line(&mut text, &versions.join(", "));
    let legend = format!(
        "{OVERLOAD} times the limit arrives. Goodput: results created per second, and of the limit, over the whole time and from \
         the second window of {WINDOW} s on."
    );
    line(&mut text, &legend);
    line(&mut text, "Cores: CPU time of the instances, of all that measures, and what was left of the machine.\n");
    let columns = [
        "contender",
        "instances",
        "key",
        "seconds",
        "limit/s",
        "offered/s",
        "goodput/s",
        "of limit",
        "from 2nd",
        "of limit",
        "to sign",
        "429s",
        "of them",
        "from 2nd",
        "dequeues",
        "most",
        "returned",
        "poisoned",
        "waiting",
        "cores",
        "measuring",
        "left",
    ];
    line(&mut text, &row(&columns.map(str::to_owned)));
    for outcome in outcomes {
        line(&mut text, &row(&cells(outcome)));
    }
    for reason in lost {
        line(&mut text, &format!("\n  {reason}"));
    }
    text
}

fn cells(outcome: &Outcome) -> [String; WIDTHS.len()] {
    let (case, sum) = (&outcome.case, outcome.sum(0));
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    [
        case.contender.name().to_owned(),
        case.instances.to_string(),
        case.kind.name.to_owned(),
        case.seconds.to_string(),
        number(case.limit()),
        case.offered().to_string(),
        format!("{:.1}", outcome.goodput(0)),
        percent(outcome.goodput(0) / case.limit()),
        format!("{:.1}", outcome.goodput(WINDOW)),
        percent(outcome.goodput(WINDOW) / case.limit()),
        sum.requests.to_string(),
        sum.refused.to_string(),
        percent(outcome.refused(0)),
        percent(outcome.refused(WINDOW)),
        number(outcome.mean_dequeues),
        outcome.most_dequeues.to_string(),
        outcome.returned.to_string(),
        outcome.poisoned.to_string(),
        outcome.waiting.to_string(),
        number(outcome.app_cores),
        number(outcome.harness_cores),
        number(outcome.idle_cores),
    ]
}

const WIDTHS: [usize; 22] = [9, 9, 13, 7, 7, 9, 9, 8, 8, 8, 8, 8, 8, 8, 8, 6, 8, 8, 8, 6, 9, 6];

/// Words to the left, numbers to the right.
fn row(cells: &[String; WIDTHS.len()]) -> String {
    let padded = cells.iter().zip(WIDTHS).enumerate().map(|(column, (cell, width))| match column {
        0 | 2 => format!("  {cell:<width$}"),
        _ => format!("  {cell:>width$}"),
    });
    padded.collect()
}

/// Everything that the table says, and every second.
#[must_use]
pub fn json(outcomes: &[Outcome], lost: &[String], machine: &Machine) -> Value {
    let runs: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let (case, sum) = (&outcome.case, outcome.sum(0));
            json!({
                "contender": case.contender.name(), "instances": case.instances, "key": case.kind.name,
                "seconds": case.seconds, "limit_per_second": case.limit(), "offered_per_second": case.offered(),
                "results": sum.results, "requests_to_sign": sum.requests, "refused": sum.refused,
                "whole": summary(outcome, 0), "from_the_second_window": summary(outcome, WINDOW),
                "dequeues_per_result": {"mean": outcome.mean_dequeues, "max": outcome.most_dequeues},
                "returned": outcome.returned, "poisoned": outcome.poisoned, "waiting": outcome.waiting,
                "cores": {
                    "instances": outcome.app_cores, "measuring": outcome.harness_cores, "left": outcome.idle_cores,
                },
                "timeline": outcome.timeline,
            })
        })
        .collect();
    json!({"machine": machine, "runs": runs, "lost": lost})
}

fn summary(outcome: &Outcome, from: usize) -> Value {
    let goodput = outcome.goodput(from);
    json!({
        "goodput_per_second": goodput, "goodput_by_limit": goodput / outcome.case.limit(),
        "refused_by_requests": outcome.refused(from),
    })
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes all that is written");
}
