//! Stamps the commit into the binary, for `handler --version`: `0123456789ab`, or `0123456789ab-dirty` where something
//! that goes into the binary differs from it.

use std::process::Command;

/// What the binary is made of, as seen from here.
const INPUTS: [&str; 14] = [
    "build.rs",
    "src",
    "Cargo.toml",
    "../core/src",
    "../core/Cargo.toml",
    "no-unwinding.ld",
    "../no-backtrace/src",
    "../no-backtrace/Cargo.toml",
    "../verification/src",
    "../verification/Cargo.toml",
    "../azure/src",
    "../azure/Cargo.toml",
    "../Cargo.toml",
    "../Cargo.lock",
];

fn main() {
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let status = ["--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--"];
    let changes = git(&[&status[..], &INPUTS].concat()).unwrap_or_default();
    let dirty = if changes.is_empty() { "" } else { "-dirty" };
    println!("cargo::rustc-env=SIGNET_COMMIT={commit}{dirty}");
    for input in INPUTS {
        println!("cargo::rerun-if-changed={input}");
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}
