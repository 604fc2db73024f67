//! `cargo bench -p bench --bench pull`: `handler pull` and its peers, each checked, then measured; see `bench/README.md`.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

use bench::{
    Error, Result,
    apps::{App, Contender, Form},
    check::Check,
    machine::Machine,
    output::Output,
    pull::{Busy, Found, Plan, Turn, goodput, json, low_load, table},
    run_to_end,
    services::Services,
};
use clap::Parser;
use signet::local::app::AppRoot;

/// Measures Signet and its peers where they pull the queue themselves.
#[derive(Debug, Parser)]
#[command(name = "pull", version)]
struct Arguments {
    /// A first impression, in a minute and a half
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    output: Output,
}

fn main() -> ExitCode {
    run_to_end(run(&Arguments::parse()))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let root = AppRoot::find().map_err(|e| Error::new("the checkout", e))?;
    let plan = if arguments.quick { Plan::quick() } else { Plan::full() };
    let services = Arc::new(Services::start()?);
    let mut found = Found::default();
    let mut versions = BTreeMap::new();
    let mut apps = Vec::new();
    let check = Check::start().await?;
    for contender in Contender::WORKERS {
        eprintln!("  building and checking {contender}");
        match ready(contender, &root, &services, &check).await {
            Ok(app) => {
                versions.extend(app.versions.clone());
                apps.push(app);
            }
            Err(error) => found.lost.push(format!("{contender}: {error}")),
        }
    }
    // Azurite and the rest would only be in the way of what is measured.
    drop(check);
    busy(&apps, &services, plan, &mut found).await;
    for replicas in plan.sharing {
        eprintln!("  at a vault's limit: {replicas} at once, {} s", plan.sharing_seconds);
        match goodput(*replicas, plan.sharing_seconds, &root).await {
            Ok(outcome) => found.sharing.push(outcome),
            Err(error) => found.lost.push(format!("{replicas} at a vault's limit: {error}")),
        }
    }
    eprintln!("  messages that come seldom, and none at all");
    match low_load(&apps, &services, plan).await {
        Ok((low, idle)) => (found.low, found.idle) = (low, idle),
        Err(error) => found.lost.push(format!("messages that come seldom: {error}")),
    }

    let machine = Machine::this(versions);
    println!("{}", table(&found, &machine, plan.rounds));
    arguments.output.write(&root, "pull.json", &json(&found, &machine, plan.rounds))
}

/// A contender's worker, which has passed its check.
async fn ready(contender: Contender, root: &AppRoot, services: &Services, check: &Check) -> Result<App> {
    let app = App::build(contender, Form::Pull, root, services.authority()).await?;
    check.pass(&app).await?;
    Ok(app)
}

/// Each contender in turn, so that what changes on the machine changes for all; Signet with four replicas, too.
async fn busy(apps: &[App], services: &Services, plan: Plan, found: &mut Found) {
    let mut cases: Vec<(&App, usize, Vec<Turn>)> = Vec::new();
    for app in apps {
        cases.push((app, 1, Vec::new()));
        if app.contender == Contender::Signet {
            cases.push((app, 4, Vec::new()));
        }
    }
    for round in 1..=plan.rounds {
        for (app, replicas, turns) in &mut cases {
            eprintln!("  round {round} of {}: {} × {replicas}", plan.rounds, app.contender);
            match Turn::take(app, *replicas, services, &plan).await {
                Ok(turn) => turns.push(turn),
                Err(error) => found.lost.push(format!("{} × {replicas}: {error}", app.contender)),
            }
        }
    }
    found.busy = cases.iter().filter_map(|(app, replicas, turns)| Busy::of(app.contender, *replicas, turns)).collect();
}
