//! What the clients have in common that make the two requests of an item and do nothing else.

use std::{error::Error, process::ExitCode};

/// Whatever went wrong.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Items that are not counted.
pub const WARM_UP: u32 = 200;

/// Runs a measurement on one thread, and prints the microseconds that it found.
pub fn print(measure: impl Future<Output = Outcome<u128>>) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match outcome.map_err(Box::from).and_then(|runtime| runtime.block_on(measure)) {
        Ok(micros) => {
            println!("{micros}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A SHA-256 in hexadecimal, for the metadata of a result.
pub const HEX: &str = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";

/// A token as long as one that a managed identity gets from the local issuer.
pub const TOKEN: &str = concat!(
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.",
    "eyJhdWQiOiJodHRwczovL3ZhdWx0LmxvY2FsaG9zdCIsImlzcyI6Imh0dHBzOi8vc3RzLndpbmRvd3MubmV0LzdjMWYwYTUyLTNkMGUtNGI3YS05YTU1",
    "LTVjNmQxZTVmMGExMS8iLCJpYXQiOjE3OTUyNTYwMDAsImV4cCI6MTc5NTM0MjQwMCwib2lkIjoiZjNhMWM5ZDQtN2IxZS00ZDU3LTljMDItNmE0ZThi",
    "MmQ3ZjMxIn0.3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
);
