//! Signet measured against what one would write in its place with the official SDKs.
//!
//! [`apps`] makes a function app of each contender, [`check`] has each prove itself on the local stack, [`rounds`] measures
//! them in turn against the [`services`], with the [`load`] that a host makes; [`report`] says what came of it. [`throttle`]
//! measures them against a vault that refuses, [`pull`] where they pull the queue themselves.

pub mod apps;
pub mod check;
pub mod floor;
pub mod load;
pub mod machine;
pub mod output;
pub mod package;
pub mod process;
pub mod pull;
pub mod report;
pub mod rounds;
pub mod server;
pub mod services;
pub mod throttle;

use std::{fmt, process::ExitCode};

/// What went wrong, in a line for the person who runs this.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    /// What was tried, and why it did not work.
    pub fn new(what: &str, cause: impl fmt::Display) -> Self {
        Self(format!("{what}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// The outcome of a step.
pub type Result<T> = std::result::Result<T, Error>;

/// Runs a benchmark to its end, where a process can be measured; what went wrong is told in a line.
#[must_use]
pub fn run_to_end(benchmark: impl Future<Output = Result<()>>) -> ExitCode {
    if !cfg!(target_os = "linux") {
        eprintln!("what a process costs is read from /proc: run this on Linux");
        return ExitCode::FAILURE;
    }
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(benchmark),
        Err(error) => Err(Error::new("the runtime", error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
