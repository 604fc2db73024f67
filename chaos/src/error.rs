//! What keeps a run from being made, which is no finding.

use std::fmt;

/// A part of the run that could not do its work.
#[derive(Debug)]
pub struct Error {
    what: String,
    cause: String,
}

/// What can be had unless the run cannot be made.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What was to be done, and why it cannot be.
    pub fn new(what: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self { what: what.into(), cause: cause.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.cause)
    }
}

impl std::error::Error for Error {}

/// Does what can be done twice until it succeeds: on a machine that is busy, an answer may be long in coming.
pub async fn patiently<T>(what: &str, mut attempt: impl AsyncFnMut() -> azure_core::Result<T>) -> Result<T> {
    for _ in 0..TRIES {
        if let Ok(value) = attempt().await {
            return Ok(value);
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    attempt().await.context(what)
}

const TRIES: u32 = 10;

/// Says what was to be done when it failed.
pub trait Context<T> {
    /// The value, or the error with what was to be done.
    fn context(self, what: &str) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: &str) -> Result<T> {
        self.map_err(|cause| Error::new(what, cause))
    }
}
