//! `signet package`: the shipping binary at the place that host.json names.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::{local::app::AppRoot, settings::Error};

/// What can be said about packaging.
#[derive(Args, Debug)]
pub struct Options {}

/// Builds `bin/handler` and says how large it is.
pub async fn run(_: &Options) -> Result<ExitCode, Error> {
    let root = AppRoot::find()?;
    let handler = root.build_handler(&|line| eprintln!("{line}")).await?;
    println!("{} bytes  {}", std::fs::metadata(&handler)?.len(), handler.display());
    // A binary that was made for another system does not run here.
    if let Ok(version) = Command::new(&handler).arg("--version").output() {
        print!("{}", String::from_utf8_lossy(&version.stdout));
    }
    Ok(ExitCode::SUCCESS)
}
