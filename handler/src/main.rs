//! The Azure Functions custom handler: queue in, signature out.
//!
//! Where to look: [`settings`] is what operators may say, [`host`] the protocol of the Functions host, [`pipeline`] the way
//! of one item from message to fate. The edges have a file each: [`vault`], [`source`], [`results`], [`rejections`];
//! [`provenance`] is what a result says of how it came about, [`keys`] follows the keys through their rotations, [`publication`] has them published before they are used, and
//! [`retry`] is the patience that all of them share. [`trail`] is what is known of an item on its way, and [`telemetry`] tells it on.

// No input reaches a panic: what could is written otherwise, or proved not to, where it stands.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::string_slice))]
#![cfg_attr(not(test), deny(clippy::expect_used, clippy::panic, clippy::unreachable, clippy::unwrap_used))]

mod app;
mod fault;
mod host;
mod keys;
mod log;
mod panic;
mod pipeline;
mod provenance;
mod publication;
mod rejections;
mod results;
mod retry;
mod settings;
mod source;
mod telemetry;
mod trail;
mod vault;

use std::{convert::Infallible, fmt, process::ExitCode};

use app::App;
use settings::Settings;

#[cfg(all(target_env = "musl", not(feature = "count-allocations")))]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {}
        ["--version" | "-V"] => return print(&version()),
        ["--help" | "-h"] => return print(USAGE),
        _ => {
            eprintln!("unknown arguments: {}\n{USAGE}", arguments.join(" "));
            return EX_USAGE.into();
        }
    }
    let settings = match Settings::read(|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("configuration: {mistake}");
            }
            return EX_CONFIG.into();
        }
    };
    log::install(settings.log.clone());
    panic::survive();
    // One thread is enough for a handler that waits for others; it keeps memory and start-up small.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Fatal { exit: EX_UNAVAILABLE, cause: error.to_string() }.report(),
    };
    match runtime.block_on(serve(settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => fatal.report(),
    }
}

/// Answers the host at once, warms up behind that, and goes on until the host ends it.
async fn serve(settings: Settings) -> Result<(), Fatal> {
    let host_gone = host::gone();
    let listener = host::listen(settings.port).await.map_err(|error| Fatal {
        exit: EX_UNAVAILABLE,
        cause: format!("cannot listen on 127.0.0.1:{}: {error}", settings.port),
    })?;
    tracing::info!(port = settings.port, version = env!("CARGO_PKG_VERSION"), "listening");
    let app = App::new(settings)?;
    let Err(fatal): Result<Infallible, Fatal> = tokio::select! {
        fatal = app.keep_keys() => fatal,
        () = host::serve(listener, app.clone()) => return Ok(()),
        () = app.clone().tell() => return Ok(()),
        () = host_gone => {
            tracing::info!("the Functions host is gone");
            app.telemetry.flush().await;
            return Ok(());
        }
    };
    Err(fatal)
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
       handler --version  print version, commit and build profile
       handler --help     print this

Settings come from the environment; docs/reference.md lists them. Exit codes: 0 ended as asked, 64 usage,
69 something needed does not exist or cannot be reached, 78 bad configuration.";
