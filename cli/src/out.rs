//! What the verbs say: what was asked for on stdout, all else on stderr. Where nobody reads on, or the disk is full, the work goes
//! on all the same: it must not break off in its middle because of what is said of it.

use std::{
    fmt,
    io::{self, ErrorKind, Write as _},
    process::ExitCode,
    sync::OnceLock,
};

/// What stdout takes nothing more for.
static BROKEN: OnceLock<ErrorKind> = OnceLock::new();

/// A line on stdout, formatted as by `println!`.
macro_rules! say {
    ($($argument:tt)*) => { $crate::out::line(format_args!($($argument)*)) };
}

/// A line on stderr, formatted as by `eprintln!`.
macro_rules! tell {
    ($($argument:tt)*) => { $crate::out::line_aside(format_args!($($argument)*)) };
}

/// Writes a line to stdout.
pub fn line(text: fmt::Arguments<'_>) {
    bytes(format!("{text}\n").as_bytes());
}

/// Writes bytes to stdout as they are. After the first error nothing more is written; that one is told on stderr, unless it only
/// means that nobody reads on.
pub fn bytes(bytes: &[u8]) {
    if BROKEN.get().is_some() {
        return;
    }
    let mut stdout = io::stdout().lock();
    let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) else { return };
    if BROKEN.set(error.kind()).is_ok() && error.kind() != ErrorKind::BrokenPipe {
        line_aside(format_args!("signet: what there is to say cannot be written to stdout: {error}"));
    }
}

/// Writes a line to stderr, if that can be.
pub fn line_aside(text: fmt::Arguments<'_>) {
    aside(&format!("{text}\n"));
}

/// Writes a text to stderr, if that can be. There is no place left to tell that it cannot.
pub fn aside(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The exit code of a verb that has ended with `code`: where something is good and could not be said, 2.
#[must_use]
pub fn settle(code: ExitCode) -> ExitCode {
    let is_unsaid = BROKEN.get().is_some_and(|kind| *kind != ErrorKind::BrokenPipe);
    if is_unsaid && code == ExitCode::SUCCESS { ExitCode::from(2) } else { code }
}
