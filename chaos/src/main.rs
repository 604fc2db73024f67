//! `chaos`: everything fails at once, and nothing may be lost or doubled; see the reference's chapter on it.

use std::{
    fs::File,
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use chaos::{
    error::{Context as _, Result},
    guards::Guard,
    report,
    run::{self, Options},
    workers::Door,
};
use clap::Parser;
use signet::local::{app::AppRoot, shipping::Shipping};

/// Lets everything fail at once, and counts from the storage whether anything was lost or doubled.
#[derive(Debug, Parser)]
#[command(name = "chaos", version)]
struct Arguments {
    /// How many messages
    #[arg(long, default_value_t = 2000)]
    items: usize,
    /// What everything is planned from [default: one by the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Four replicas of `handler pull` on the queue, in place of two hosts
    #[arg(long)]
    pull: bool,
    /// How many kills [default: one for each forty messages]
    #[arg(long)]
    kills: Option<usize>,
    /// How many vaults share the main phase: 1 or 2
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    vaults: u8,
    /// How many faults must be met at least: more messages are sent, up to 500, until they are
    #[arg(long, value_name = "N", default_value_t = 0)]
    faults: u32,
    /// Leaves one of the handler's guards out, and expects the run to fail in the right way: create-only, adoption-check or
    /// look-before-sign
    #[arg(long, value_name = "GUARD")]
    without: Option<Guard>,
    /// Leaves out the phase that needs a second build of the handler
    #[arg(long)]
    without_fault_points: bool,
    /// That build, if it is there already: the handler with the feature `fault-points`
    #[arg(long, value_name = "FILE", conflicts_with = "without_fault_points")]
    fault_points: Option<PathBuf>,
    /// Where everything goes that the hosts or replicas tell, log lines included
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Where the numbers go as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(chaos(&arguments)),
        Err(error) => Err(error).context("the runtime"),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\n{error}");
            ExitCode::FAILURE
        }
    }
}

async fn chaos(arguments: &Arguments) -> Result<ExitCode> {
    let seed = arguments.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |elapsed| elapsed.as_secs() % 1_000_000)
    });
    println!("seed {seed}");
    let root = AppRoot::find().context("the checkout")?;
    let say = |line: &str| println!("{line}");
    let handler = match arguments.without {
        Some(guard) => guard.build_without(&root).await?,
        None => root.build_handler(&say).await.context("the handler")?,
    };
    let fault_points = match &arguments.fault_points {
        _ if arguments.without.is_some() || arguments.without_fault_points => None,
        Some(built) => Some(built.clone()),
        None => Some(build_fault_points(&root).await?),
    };
    let log = arguments.log.as_ref().map(File::create).transpose().context("the log")?.map(Arc::new);
    let kills = arguments.kills.unwrap_or(arguments.items / 40);
    let options = Options {
        seed,
        door: if arguments.pull { Door::Pull } else { Door::Host },
        items: arguments.items,
        kills,
        vaults: arguments.vaults.into(),
        faults: arguments.faults,
        handler,
        given_up: arguments.without.is_none(),
        fault_points,
        log,
    };
    let progress = Progress::new();
    let outcome = run::run(&root, &options, &|line| progress.show(line)).await?;
    println!("\n{}", report::text(&outcome));
    if let Some(file) = &arguments.json {
        std::fs::write(file, report::json(&outcome).to_string()).context("the numbers")?;
    }
    if let Some(guard) = arguments.without {
        match guard.is_missed(&outcome.findings) {
            Ok(()) => println!("without {} the run fails, as it must", guard.name()),
            Err(expected) => println!("without {} the run must find {expected}, and has not", guard.name()),
        }
    }
    Ok(if outcome.findings.all().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As it ships, but that it can be told where to end.
async fn build_fault_points(root: &AppRoot) -> Result<PathBuf> {
    let shipping = Shipping::of(root, None).await.context("the handler with fault points")?;
    let to = root.target().join("chaos").join("handler");
    let shipping = shipping.with_feature("fault-points");
    root.build_variant(&shipping, &to, &|line| println!("{line}")).await.context("the handler with fault points")?;
    Ok(to)
}

/// One line that is written over where that can be done, and written anew now and then where not.
struct Progress {
    begun: Instant,
    is_terminal: bool,
    /// The second of the last line.
    last: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self { begun: Instant::now(), is_terminal: std::io::stdout().is_terminal(), last: AtomicU64::new(0) }
    }

    fn show(&self, line: &str) {
        let seconds = self.begun.elapsed().as_secs();
        if self.is_terminal {
            print!("\r\x1b[K{seconds:5} s  {line}");
            // A terminal that is gone shows nothing.
            let _ = std::io::stdout().flush();
        } else if seconds >= self.last.load(Ordering::Relaxed) + PAUSE || !line.contains(" sent, ") {
            self.last.store(seconds, Ordering::Relaxed);
            println!("{seconds:5} s  {line}");
        }
    }
}

/// Seconds between two lines where none can be written over.
const PAUSE: u64 = 10;
