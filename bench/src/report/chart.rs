//! The chart for the README: plain bars, in colours for light and for dark pages.

use super::{
    number,
    svg::{escaped, put},
};
use crate::{
    apps::Contender,
    machine::Machine,
    rounds::{Metric, Samples},
};

const WIDTH: usize = 760;
const BAR: usize = 15;
const LEFT: usize = 90;
/// Where the longest bar ends; its value comes behind it.
const LONGEST: f64 = 540.0;

/// The chart as SVG.
#[must_use]
pub fn chart(samples: &Samples, machine: &Machine) -> String {
    let mut body = String::new();
    let mut y = 10;
    for group in &GROUPS {
        let mut bars: Vec<(&str, &str, f64)> = Vec::new();
        for contender in Contender::ALL {
            if let Some(spread) = samples.spread(contender, group.metric) {
                let class = if contender == Contender::Signet { "ours" } else { "peer" };
                bars.push((contender.name(), class, spread.median / group.unit));
            }
        }
        if group.metric == Metric::CpuPerItem {
            for (name, metric) in [("SDK alone", Metric::SdkCpuPerItem), ("bare client", Metric::BareCpuPerItem)] {
                let floor = samples.spread(Contender::Signet, metric);
                bars.extend(floor.map(|floor| (name, "bare", floor.median / group.unit)));
            }
        }
        y += 18;
        put(&mut body, &format!(r#"<text class="title" x="0" y="{y}">{}</text>"#, group.title));
        y += 8;
        let longest = bars.iter().map(|(_, _, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        for (name, class, value) in bars {
            let (width, middle) = ((value / longest * LONGEST).max(1.0), y + 12);
            put(&mut body, &format!(r#"<text class="name" x="{}" y="{middle}">{name}</text>"#, LEFT - 8));
            put(&mut body, &format!(r#"<rect class="{class}" x="{LEFT}" y="{y}" width="{width:.1}" height="{BAR}"/>"#));
            #[expect(clippy::cast_precision_loss, reason = "a small number of pixels")]
            let end = LEFT as f64 + width + 6.0;
            put(&mut body, &format!(r#"<text x="{end:.1}" y="{middle}">{} {}</text>"#, number(value), group.suffix));
            y += BAR + 3;
        }
        y += 8;
    }
    y += 16;
    let made_on = format!("{}, {} cores; {}", machine.processor, machine.cores, machine.system);
    put(&mut body, &format!(r#"<text class="note" x="0" y="{y}">{}</text>"#, escaped(&made_on)));
    y += 15;
    let version = |name: &str| machine.versions.get(name).map(|version| format!("{name} {version}"));
    let tools: Vec<String> = ["rustc", "node", "python", "go"].into_iter().filter_map(version).collect();
    put(&mut body, &format!(r#"<text class="note" x="0" y="{y}">{}</text>"#, escaped(&tools.join(", "))));
    let height = y + 8;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Signet measured against Node, Python and Go\">\n<style>{STYLE}</style>\n{body}</svg>\n"
    )
}

struct Group {
    metric: Metric,
    title: &'static str,
    suffix: &'static str,
    /// What a value is divided by.
    unit: f64,
}

const GROUPS: [Group; 6] = [
    Group { metric: Metric::FirstAnswer, title: "From exec to the first answer", suffix: "ms", unit: 1.0 },
    Group {
        metric: Metric::FirstToSteady,
        title: "The first item, 2 s after the start, against the steady state",
        suffix: "×",
        unit: 1.0,
    },
    Group { metric: Metric::CpuPerItem, title: "CPU time per item", suffix: "µs", unit: 1.0 },
    Group {
        metric: Metric::ItemsPerSecond,
        title: "Items per second on one core (more is better)",
        suffix: "",
        unit: 1.0,
    },
    Group { metric: Metric::LoadedMemory, title: "Resident memory after the load", suffix: "MiB", unit: 1.0 },
    Group { metric: Metric::PackageSize, title: "Package (zip)", suffix: "MB", unit: 1e6 },
];

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}.name{text-anchor:end}\
                     .note{fill:#59636e}.ours{fill:#bc4c00}.peer{fill:#8c959f}.bare{fill:#d0d7de}\
                     @media (prefers-color-scheme:dark){text{fill:#f0f6fc}.note{fill:#9198a1}.ours{fill:#f0883e}\
                     .peer{fill:#656c76}.bare{fill:#3d444d}}";
