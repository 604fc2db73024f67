//! The Azure Functions custom handler: queue in, signature out.
//!
//! Where to look: [`settings`] is what operators may say, [`host`] the protocol of the Functions host, [`pipeline`] the way
//! of one item from message to fate, [`pull`] the other front door, for where there is no Functions host, and [`delivery`] what both
//! say in the end. The edges have a file each: [`vault`], [`source`], [`results`], [`rejections`];
//! [`provenance`] is what a result says of how it came about, [`keys`] follows the keys through their rotations, [`publication`] has them published before they are used, and
//! [`retry`] is the patience that all of them share. [`trail`] is what is known of an item on its way, and [`telemetry`] tells it on.

// No input reaches a panic: what could is written otherwise, or proved not to, where it stands.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::string_slice))]
#![cfg_attr(not(test), deny(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used))]

mod app;
mod delivery;
mod fault;
mod host;
mod keys;
mod log;
mod panic;
mod pipeline;
mod provenance;
mod publication;
mod pull;
mod rejections;
mod results;
mod retry;
mod settings;
mod source;
mod telemetry;
mod trail;
mod vault;

#[cfg(target_env = "musl")]
use signet_no_backtrace as _;
use std::{convert::Infallible, fmt, process::ExitCode};

use app::App;
use pull::Signals;
use settings::{Pull, Settings};

#[cfg(all(target_env = "musl", not(feature = "count-allocations")))]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Settings::for_host(variable).map(|(settings, port)| run(settings, |settings| serve(settings, port))),
        ["pull"] => Settings::for_pull(variable).map(|(settings, how)| run(settings, |settings| pull(settings, how))),
        ["--version" | "-V"] => return print(&version()),
        ["--help" | "-h"] => return print(USAGE),
        _ => {
            eprintln!("unknown arguments: {}\n{USAGE}", arguments.join(" "));
            return EX_USAGE.into();
        }
    };
    outcome.unwrap_or_else(|mistakes| {
        for mistake in mistakes {
            eprintln!("configuration: {mistake}");
        }
        EX_CONFIG.into()
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs to the end.
fn run<F>(settings: Settings, door: impl FnOnce(Settings) -> F) -> ExitCode
where
    F: Future<Output = Result<(), Fatal>>,
{
    log::install(settings.log.clone());
    panic::survive();
    // One thread is enough for a handler that waits for others; it keeps memory and start-up small.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Fatal { exit: EX_UNAVAILABLE, cause: error.to_string() }.report(),
    };
    let ended = runtime.block_on(door(settings));
    // A host name that is still being looked up holds nobody up.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => fatal.report(),
    }
}

/// Answers the host at once, warms up behind that, and goes on until the host ends it.
async fn serve(settings: Settings, port: u16) -> Result<(), Fatal> {
    let host_gone = host::gone();
    let listener = host::listen(port).await.map_err(|error| Fatal {
        exit: EX_UNAVAILABLE,
        cause: format!("cannot listen on 127.0.0.1:{port}: {error}"),
    })?;
    tracing::info!(port, version = env!("CARGO_PKG_VERSION"), "listening");
    let app = App::new(settings)?;
    app.tell();
    let Err(fatal): Result<Infallible, Fatal> = tokio::select! {
        fatal = app.keep_keys() => fatal,
        () = host::serve(listener, app.clone()) => return Ok(()),
        () = host_gone => {
            tracing::info!("the Functions host is gone");
            app.telemetry.flush().await;
            return Ok(());
        }
    };
    Err(fatal)
}

/// Pulls the queue itself, until it is told to end.
async fn pull(settings: Settings, how: Pull) -> Result<(), Fatal> {
    let unavailable = |error: std::io::Error| Fatal { exit: EX_UNAVAILABLE, cause: format!("no signals: {error}") };
    let signals = Signals::listen().map_err(unavailable)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let app = App::new(settings)?;
    app.tell();
    tokio::select! {
        Err(fatal) = app.keep_keys() => Err(fatal),
        ended = pull::serve(app.clone(), how, signals) => ended,
    }
}

/// Something that only an operator can mend, found at start.
#[derive(Debug)]
struct Fatal {
    exit: u8,
    cause: String,
}

impl Fatal {
    fn report(&self) -> ExitCode {
        tracing::error!("{self}");
        self.exit.into()
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

/// Exit codes of `sysexits.h`.
const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;
const EX_CONFIG: u8 = 78;

fn print(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

fn version() -> String {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("handler {} ({}, {profile})", env!("CARGO_PKG_VERSION"), env!("SIGNET_COMMIT"))
}

const USAGE: &str = "\
usage: handler            serve the Azure Functions host on 127.0.0.1:$FUNCTIONS_CUSTOMHANDLER_PORT
       handler pull       pull the queue itself, where there is no Functions host, until SIGTERM
       handler --version  print version, commit and build profile
       handler --help     print this

Settings come from the environment; docs/reference.md lists them. Exit codes: 0 ended as asked, 64 usage,
69 something needed does not exist or cannot be reached, 78 bad configuration.";
