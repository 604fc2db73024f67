//! Runs a target so that the input that it fails with is kept, whichever way it fails.

use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use fuzz_targets::Target;

/// The longest that an input may take, on a machine that is busy with other things and without optimisation.
const PATIENCE: Duration = Duration::from_secs(5);

/// A target in a thread of its own.
pub(crate) struct Runner {
    name: &'static str,
    inputs: Sender<Vec<u8>>,
    outcomes: Receiver<bool>,
}

impl Runner {
    pub(crate) fn new((name, target): &'static Target) -> Self {
        let (inputs, given) = channel::<Vec<u8>>();
        let (told, outcomes) = channel();
        let work = move || {
            for input in given {
                let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
                if told.send(outcome.is_ok()).is_err() {
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
            Ok(true) => return Ok(()),
            Ok(false) => "panicked".to_owned(),
            Err(_) => format!("took more than {PATIENCE:?}"),
        };
        let mut file = tempfile::Builder::new().prefix(self.name).suffix(".input").tempfile().expect("a file");
        file.write_all(input).expect("the input is kept");
        let (_, path) = file.keep().expect("the input is kept");
        Err(format!("{} {fault}: {what}, {} bytes, kept in {}", self.name, input.len(), path.display()))
    }
}
