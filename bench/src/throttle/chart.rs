//! The chart for the docs: two panels over time, in the colours of the other chart.

use std::fmt::Write as _;

use super::{OVERLOAD, Outcome, Second};
use crate::{
    apps::Contender,
    machine::Machine,
    report::svg::{escaped, put},
};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 740.0;
const HEIGHT: f64 = 190.0;

/// Signet and a peer against the same limit, as SVG.
#[must_use]
pub fn chart(ours: &Outcome, peer: &Outcome, machine: &Machine) -> String {
    let mut body = String::new();
    let case = &ours.case;
    let outcomes = [(peer, "peer"), (ours, "ours")];
    let mut y = panel(&mut body, 28.0, "Results per second", &outcomes, |second| second.results, Some(case.limit()));
    y = panel(
        &mut body,
        y + 30.0,
        "Requests per second that the vault refused (429)",
        &outcomes,
        |second| second.refused,
        None,
    );
    y += 12.0;
    for (outcome, class) in outcomes.into_iter().rev() {
        y += 17.0;
        put(&mut body, &format!(r#"<path class="{class}" d="M0 {0}h22"/>"#, y - 4.0));
        put(&mut body, &format!(r#"<text x="30" y="{y}">{}</text>"#, escaped(&words(outcome))));
    }
    let (time, offered) = (case.seconds, case.offered());
    let what = format!(
        "{} instances of each, {} a second arrive ({OVERLOAD} times the limit of {}, {}), {time} s",
        case.instances,
        offered,
        case.limit(),
        case.kind.name
    );
    let made_on = format!("{}, {} cores; {}", machine.processor, machine.cores, machine.system);
    y += 8.0;
    for note in [what, made_on] {
        y += 15.0;
        put(&mut body, &format!(r#"<text class="note" x="0" y="{y}">{}</text>"#, escaped(&note)));
    }
    let height = y + 8.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Signet and Node when twice as much is asked of a vault as it bears\">\n\
         <style>{STYLE}</style>\n{body}</svg>\n"
    )
}

/// A panel whose title stands at `y`; where it ends.
fn panel(
    body: &mut String,
    y: f64,
    title: &str,
    outcomes: &[(&Outcome, &str)],
    value: impl Fn(&Second) -> u64,
    limit: Option<f64>,
) -> f64 {
    put(body, &format!(r#"<text class="title" x="0" y="{y}">{title}</text>"#));
    let bottom = y + 16.0 + HEIGHT;
    let seconds = outcomes.iter().map(|(outcome, _)| outcome.timeline.len()).max().unwrap_or_default();
    let highest =
        outcomes.iter().flat_map(|(outcome, _)| outcome.timeline.iter().map(&value)).max().unwrap_or_default();
    let step = step(count(highest).max(limit.unwrap_or_default()));
    let most = step * (count(highest).max(limit.unwrap_or_default()) / step).ceil().max(1.0);
    let across = |second: f64| LEFT + (RIGHT - LEFT) * second / count(seconds as u64);
    let up = |value: f64| bottom - HEIGHT * value / most;

    let mut tick = 0.0;
    while tick <= most {
        let at = up(tick);
        put(body, &format!(r#"<path class="grid" d="M{LEFT} {at:.1}H{RIGHT}"/>"#));
        put(body, &format!(r#"<text class="name" x="{}" y="{:.1}">{tick}</text>"#, LEFT - 8.0, at + 4.0));
        tick += step;
    }
    for second in (0..=seconds).step_by(if seconds > 60 { 20 } else { 10 }) {
        let at = across(count(second as u64));
        put(body, &format!(r#"<text class="tick" x="{at:.1}" y="{}">{second} s</text>"#, bottom + 16.0));
    }
    for (outcome, class) in outcomes {
        let mut path = String::new();
        for (index, second) in outcome.timeline.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            // In the middle of its second.
            let (x, y) = (across(count(index as u64) + 0.5), up(count(value(second))));
            write!(path, "{command}{x:.1} {y:.1}").expect("a String takes all that is written");
        }
        put(body, &format!(r#"<path class="{class}" d="{path}"/>"#));
    }
    if let Some(limit) = limit {
        let at = up(limit);
        put(body, &format!(r#"<path class="limit" d="M{LEFT} {at:.1}H{RIGHT}"/>"#));
        put(body, &format!(r#"<text class="name" x="{RIGHT}" y="{:.1}">limit {limit}</text>"#, at - 5.0));
    }
    bottom + 16.0
}

/// A run in a line.
fn words(outcome: &Outcome) -> String {
    let sum = outcome.sum(0);
    let name = match outcome.case.contender {
        Contender::Signet => "Signet, as it ships".to_owned(),
        peer => format!("{peer}, with the SDK's and the host's defaults"),
    };
    format!(
        "{name}: {:.0} % of the limit, {:.1} % of {} requests refused, {} items poisoned",
        outcome.goodput(0) / outcome.case.limit() * 100.0,
        outcome.refused(0) * 100.0,
        sum.requests,
        outcome.poisoned
    )
}

/// Between two lines of the grid: 1, 2 or 5 times a power of ten, and no more than six of them.
fn step(highest: f64) -> f64 {
    let mut power = 1.0;
    loop {
        for step in [1.0, 2.0, 5.0] {
            if highest <= step * power * 6.0 {
                return step * power;
            }
        }
        power *= 10.0;
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(count: u64) -> f64 {
    count as f64
}

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}.name{text-anchor:end}\
                     .tick{text-anchor:middle}.note,.tick{fill:#59636e}path{fill:none;stroke-width:1.5;\
                     stroke-linejoin:round}.ours{stroke:#bc4c00;stroke-width:2}.peer{stroke:#8c959f}\
                     .grid{stroke:#d0d7de;stroke-width:.5}.limit{stroke:#1f2328;stroke-dasharray:5 4}\
                     @media (prefers-color-scheme:dark){text{fill:#f0f6fc}.note,.tick{fill:#9198a1}\
                     .ours{stroke:#f0883e}.peer{stroke:#656c76}.grid{stroke:#3d444d}.limit{stroke:#f0f6fc}}";
