//! What came of it: the rows that have a goal, a table, JSON and a chart.

mod chart;
mod json;
pub(crate) mod svg;
mod table;

pub use self::{chart::chart, json::json, table::table};

use crate::{
    apps::Contender,
    rounds::{Metric, Samples},
};

/// A ratio with its goal.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is compared.
    pub what: &'static str,
    /// With whom; none: with a number of Signet's own.
    pub peer: Option<Contender>,
    /// Signet's value by the other one; none: one of them is missing.
    pub ratio: Option<f64>,
    /// What it is to be at most, or at least.
    pub goal: Goal,
}

/// What a ratio is to be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// No more than one such part: 50 is 1/50.
    Part(f64),
    /// No more than so many times.
    AtMost(f64),
    /// So many times or more.
    Times(f64),
}

impl Goal {
    /// Whether a ratio meets it.
    #[must_use]
    pub fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::Part(part) => ratio * part <= 1.0,
            Self::AtMost(times) => ratio <= times,
            Self::Times(times) => ratio >= times,
        }
    }

    /// The goal in words.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Part(part) => format!("≤ 1/{part}"),
            Self::AtMost(times) => format!("≤ {times}"),
            Self::Times(times) => format!("≥ {times}"),
        }
    }

    /// A ratio in the same words.
    #[must_use]
    pub fn put(self, ratio: f64) -> String {
        match self {
            Self::Part(_) if ratio < 1.0 => format!("1/{:.1}", 1.0 / ratio),
            _ => format!("{ratio:.2}"),
        }
    }
}

/// Every row that has a goal.
#[must_use]
pub fn rows(samples: &Samples) -> Vec<Row> {
    let median = |contender, metric| samples.spread(contender, metric).map(|spread| spread.median);
    let against = |what, metric, peer, goal| {
        let ratio = median(Contender::Signet, metric).zip(median(peer, metric)).map(|(ours, theirs)| ours / theirs);
        Row { what, peer: Some(peer), ratio, goal }
    };
    let own = |what, metric, goal| Row { what, peer: None, ratio: median(Contender::Signet, metric), goal };
    let (node, python, go) = (Contender::Node, Contender::Python, Contender::Go);
    vec![
        against("exec to first answer", Metric::FirstAnswer, node, Goal::Part(50.0)),
        against("exec to first answer", Metric::FirstAnswer, python, Goal::Part(80.0)),
        against("exec to first answer", Metric::FirstAnswer, go, Goal::AtMost(1.0)),
        own("first item, by the steady state", Metric::FirstToSteady, Goal::AtMost(1.1)),
        against("CPU time per item", Metric::CpuPerItem, node, Goal::Part(8.0)),
        against("CPU time per item", Metric::CpuPerItem, python, Goal::Part(15.0)),
        against("CPU time per item", Metric::CpuPerItem, go, Goal::Part(2.0)),
        against("items per second on one core", Metric::ItemsPerSecond, node, Goal::Times(8.0)),
        against("items per second on one core", Metric::ItemsPerSecond, go, Goal::Times(2.0)),
        against("package", Metric::PackageSize, go, Goal::Part(4.0)),
        against("package", Metric::PackageSize, node, Goal::Part(15.0)),
        own("CPU time per item, by a bare client's", Metric::CpuToBare, Goal::AtMost(1.5)),
    ]
}

/// A number with about three digits.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
