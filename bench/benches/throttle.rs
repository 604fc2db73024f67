//! `cargo bench -p bench --bench throttle`: Signet and its peers against a vault at its limit; see `bench/README.md`.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use bench::{
    Error, Result,
    apps::Contender,
    machine::Machine,
    output::{Output, draw},
    run_to_end,
    throttle::{Case, Outcome, chart, json, kinds, measure, table},
};
use clap::Parser;
use signet::local::app::AppRoot;

/// Measures what comes through when twice as much is asked of a vault as it bears.
#[derive(Debug, Parser)]
#[command(name = "throttle", version)]
struct Arguments {
    /// For how long each run is measured, seconds
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u16).range(20..))]
    seconds: u16,
    /// The curves of the chart alone: Signet and Node
    #[arg(long)]
    quick: bool,
    /// Signet with RSA-4096 keys as well: their signatures take the local vault more than a core
    #[arg(long)]
    rsa: bool,
    /// Where the chart goes, from there as well; none is drawn otherwise
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

fn main() -> ExitCode {
    run_to_end(run(&Arguments::parse()))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let root = AppRoot::find().map_err(|e| Error::new("the checkout", e))?;
    let (mut outcomes, mut lost, mut versions) = (Vec::new(), Vec::new(), BTreeMap::new());
    for case in cases(arguments) {
        let Case { contender, instances, kind, seconds } = case;
        eprintln!("  {contender}, {instances} at once, {}: {seconds} s", kind.name);
        match measure(case, &root).await {
            Ok((app, outcome)) => {
                versions.extend(app.versions);
                outcomes.push(outcome);
            }
            Err(error) => lost.push(format!("{contender}, {}: {error}", kind.name)),
        }
    }
    let machine = Machine::this(versions);
    println!("{}", table(&outcomes, &lost, &machine));
    arguments.output.write(&root, "throttle.json", &json(&outcomes, &lost, &machine))?;
    draw(&root, arguments.svg.as_deref(), || {
        let curve = |contender| outcomes.iter().find(|outcome: &&Outcome| outcome.case.contender == contender);
        let (ours, peer) = curve(Contender::Signet)
            .zip(curve(Contender::Node))
            .ok_or_else(|| Error::new("the chart", "one of its curves is missing"))?;
        Ok(chart(ours, peer, &machine))
    })
}

/// The curves of the chart come first.
fn cases(arguments: &Arguments) -> Vec<Case> {
    let [software, hsm, rsa @ ..] = kinds();
    let seconds = usize::from(arguments.seconds);
    let case = |contender, kind| Case { contender, instances: 4, kind, seconds };
    let mut cases = vec![case(Contender::Signet, hsm), case(Contender::Node, hsm)];
    if !arguments.quick {
        let ours = case(Contender::Signet, software);
        cases.extend([case(Contender::Go, hsm), ours, Case { instances: 1, ..ours }]);
    }
    if arguments.rsa {
        cases.extend(rsa.map(|kind| case(Contender::Signet, kind)));
    }
    cases
}
