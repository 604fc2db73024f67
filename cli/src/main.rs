//! `signet`: the operator's tool.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use signet::{
    out, settings,
    verbs::{demo, dev, doctor, keys, package, rejected, send, smoke, verify},
};

/// Queue in, signature out: the operator's tool of Signet.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,

    /// App settings in the form of local.settings.json; default: that file in the current directory, if there is one
    #[arg(long, global = true, value_name = "FILE")]
    settings: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Shows the main job, end to end, without any cloud account
    Demo(demo::Options),
    /// Runs the local stack until Ctrl-C
    Dev(dev::Options),
    /// Puts work items on the queue
    Send(send::Options),
    /// Verifies a result with the published keys: exit 0 valid, 1 not valid, 2 could not tell
    Verify(verify::Options),
    /// Shows the versions of the keys: exit 0 all enabled ones are published, 1 not, 2 could not tell
    Keys(keys::Options),
    /// Lists and shows what was rejected, and sends it again
    Rejected(rejected::Options),
    /// Sends one item to a deployed app: exit 0 its result is verified, 1 not, 2 it could not be tried
    Smoke(smoke::Options),
    /// Tries all that a deployment needs, and says what mends it: exit 0 all good, 1 something is not, 2 could not tell
    Doctor(doctor::Options),
    /// Makes the shipping binary, at bin/handler, and all that a deployment takes, in dist
    Package(package::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The other verbs talk to the local stack or to cargo, to which settings for Azure would be a hindrance.
    if !matches!(arguments.verb, Verb::Demo(_) | Verb::Dev(_) | Verb::Package(_)) {
        match settings::load(arguments.settings.as_deref()) {
            Ok(settings::Loaded::Here) => {}
            Ok(settings::Loaded::InChild(code)) => return code.into(),
            Err(error) => return failed(&error, 2),
        }
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into(), 2),
    };
    let outcome = runtime.block_on(async {
        match arguments.verb {
            Verb::Demo(options) => demo::run(&options).await,
            Verb::Dev(options) => dev::run(&options).await,
            Verb::Send(options) => send::run(&options).await,
            Verb::Verify(options) => Ok(verify::run(&options).await),
            Verb::Keys(options) => keys::run(&options).await,
            Verb::Rejected(options) => rejected::run(&options).await,
            Verb::Smoke(options) => smoke::run(&options).await,
            Verb::Doctor(options) => Ok(doctor::run(&options).await),
            Verb::Package(options) => package::run(&options).await,
        }
    });
    // What still runs in the background must not keep a finished command from ending.
    runtime.shutdown_background();
    out::settle(outcome.unwrap_or_else(|error| failed(&error, 2)))
}

fn failed(error: &settings::Error, code: u8) -> ExitCode {
    out::line_aside(format_args!("signet: {error}"));
    code.into()
}
