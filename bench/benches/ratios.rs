//! `cargo bench -p bench --bench ratios`: Signet and its peers, each checked, then measured in turn; see `bench/README.md`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use bench::{
    Error, Result,
    apps::{App, Contender, Form},
    check::Check,
    machine::Machine,
    output::{Output, draw},
    package,
    process::pin_self,
    report,
    rounds::{ALL_CORES, Floors, Metric, Plan, Samples, measure},
    run_to_end,
    services::Services,
};
use clap::Parser;
use signet::local::app::AppRoot;

/// Measures Signet against what one would write in its place with the official SDKs.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// How often each contender has its turn [default: 5, or 1 with --quick]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// A first impression, in a minute or so
    #[arg(long)]
    quick: bool,
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
    let mut plan = if arguments.quick {
        Plan::quick(arguments.rounds.unwrap_or(1))
    } else {
        Plan::full(arguments.rounds.unwrap_or(5))
    };
    if pin_self(ALL_CORES).is_err() {
        eprintln!("  taskset is missing (it is part of util-linux): nothing is measured on one core");
        plan.one_core = Duration::ZERO;
    }
    let services = Services::start()?;
    let mut samples = Samples::default();
    let mut versions = BTreeMap::new();
    let mut apps = Vec::new();
    let check = Check::start().await?;
    for contender in Contender::ALL {
        eprintln!("  building and checking {contender}");
        match ready(contender, &root, &services, &check).await {
            Ok((app, size)) => {
                samples.add(contender, Metric::PackageSize, size);
                versions.extend(app.versions.clone());
                apps.push(app);
            }
            Err(error) => {
                samples.lost.insert(contender, error.to_string());
            }
        }
    }
    // Azurite and the rest would only be in the way of what is measured.
    drop(check);
    let floors = Floors { bare: Path::new(env!("CARGO_BIN_EXE_bare")), sdk: Path::new(env!("CARGO_BIN_EXE_sdk")) };
    measure(&apps, &services, floors, plan, &mut samples).await;

    let machine = Machine::this(versions);
    println!("{}", report::table(&samples, &machine, plan.rounds));
    arguments.output.write(&root, "bench.json", &report::json(&samples, &machine, plan.rounds))?;
    draw(&root, arguments.svg.as_deref(), || Ok(report::chart(&samples, &machine)))
}

/// A contender's app, which has passed its check, and the bytes of its package.
async fn ready(contender: Contender, root: &AppRoot, services: &Services, check: &Check) -> Result<(App, f64)> {
    let app = App::build(contender, Form::Functions, root, services.authority()).await?;
    check.pass(&app).await?;
    #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
    let size = package::size(&app)? as f64;
    Ok((app, size))
}
