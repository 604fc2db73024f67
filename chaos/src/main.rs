//! `chaos`: everything fails at once, and nothing may be lost or doubled; see the reference's chapter on it.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use chaos::{
    error::{Context as _, Result},
    report,
    run::{self, Options},
};
use clap::Parser;
use signet::local::app::AppRoot;

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
    /// How many kills [default: one for each forty messages]
    #[arg(long)]
    kills: Option<usize>,
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
    let handler = root.build_handler(&|line| println!("{line}")).await.context("the handler")?;
    let kills = arguments.kills.unwrap_or(arguments.items / 40);
    let options = Options { seed, items: arguments.items, kills, handler };
    let progress = Progress::new();
    let outcome = run::run(&root, options, &|line| progress.show(line)).await?;
    println!("\n{}", report::text(&outcome));
    Ok(if outcome.findings.all().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
