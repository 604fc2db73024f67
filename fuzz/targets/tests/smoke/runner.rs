//! Runs a target so that the input that it fails with is kept, whichever way it fails.

use std::{
    fs,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use fuzz_targets::Target;

/// The most CPU time that an input may take, without much optimisation; time on the wall where the system tells no other.
const LIMIT: Duration = Duration::from_secs(2);
/// How long an input is waited for, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_mins(2);

/// A target in a thread of its own.
pub(crate) struct Runner {
    name: &'static str,
    inputs: Sender<Vec<u8>>,
    outcomes: Receiver<Outcome>,
}

/// Whether an input came through, and in what time.
struct Outcome {
    is_good: bool,
    took: Duration,
}

/// CPU time of this thread, on Linux.
fn cpu_time() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

impl Runner {
    pub(crate) fn new((name, target): &'static Target) -> Self {
        let (inputs, given) = channel::<Vec<u8>>();
        let (told, outcomes) = channel();
        let work = move || {
            for input in given {
                let (before, since) = (cpu_time(), Instant::now());
                let is_good = catch_unwind(AssertUnwindSafe(|| target(&input))).is_ok();
                let took = cpu_time()
                    .zip(before)
                    .map_or_else(|| since.elapsed(), |(after, before)| after.saturating_sub(before));
                if told.send(Outcome { is_good, took }).is_err() {
                    return;
                }
            }
        };
        // An overflow of the stack ends the process with the thread's name, and nothing else.
        thread::Builder::new().name((*name).to_owned()).spawn(work).expect("a thread");
        Self { name, inputs, outcomes }
    }

    /// Runs one input.
    ///
    /// # Errors
    /// The target panicked, or took too long: what the input was, and where it is kept.
    pub(crate) fn run(&self, input: &[u8], what: &str) -> Result<(), String> {
        self.inputs.send(input.to_vec()).expect("the target's thread");
        let fault = match self.outcomes.recv_timeout(PATIENCE) {
            Ok(Outcome { is_good: true, took }) if took <= LIMIT => return Ok(()),
            Ok(Outcome { is_good: true, took }) => format!("took {took:.1?}"),
            Ok(Outcome { is_good: false, .. }) => "panicked".to_owned(),
            Err(_) => format!("was not done after {PATIENCE:?}"),
        };
        let mut file = tempfile::Builder::new().prefix(self.name).suffix(".input").tempfile().expect("a file");
        file.write_all(input).expect("the input is kept");
        let (_, path) = file.keep().expect("the input is kept");
        Err(format!("{} {fault}: {what}, {} bytes, kept in {}", self.name, input.len(), path.display()))
    }
}
