//! The last line of defence: a panic, which no input is known to reach, costs what is in flight and not the process.
//!
//! To unwind one invocation's stack and go on would take 897,184 bytes, a third of the binary (`panic = "unwind"` and what it
//! needs, linked to musl), and leave behind whatever that stack had half done. In its place the process becomes itself anew, within milliseconds and under the
//! same id: the host sees connections that end, which hand their messages back, and no process that died. Three of those
//! would have it stop for good.

use std::time::{Duration, Instant};

/// A process that panics sooner would do so again at once: its end is the host's to judge.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);

/// Has panics from now on start the process anew.
pub(crate) fn survive() {
    let begun = Instant::now();
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if begun.elapsed() > SHORTEST_LIFE {
            // It returns only where it has failed, and then the process ends as it would have.
            let _ = again();
        }
    }));
}

/// Starts this program in place of this process. Descriptors are closed on the way, the port among them.
#[cfg(unix)]
fn again() -> std::io::Error {
    use std::{os::unix::process::CommandExt, process::Command};
    match std::env::current_exe() {
        Ok(program) => {
            let mut program = Command::new(program);
            #[cfg(feature = "fault-points")]
            program.env_remove("SIGNET_FAULT_POINT");
            program.args(std::env::args_os().skip(1)).exec()
        }
        Err(error) => error,
    }
}

/// Windows cannot put a program in place of a process.
#[cfg(not(unix))]
fn again() {}
