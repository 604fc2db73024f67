//! What a failed test leaves behind. It is written past the test harness, which keeps everything back until the last test
//! is done, and may never get there.

use std::{
    cell::RefCell,
    fmt::Write as _,
    io::Write as _,
    ops::Deref,
    panic,
    sync::Once,
    thread::{self, panicking},
};

use signet::local::host::{Host, Outcome};

/// A host that tells what it saw when its test fails.
pub(crate) struct Witness(Host);

impl Witness {
    pub(crate) fn new(host: Host) -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(tell_panics_at_once);
        Self(host)
    }
}

impl Deref for Witness {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.0
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if panicking() {
            // What failed stands last, next to the word of the harness that it did.
            tell(&format!("{}{}", statement(&self.0), PANIC.take()));
        }
    }
}

fn statement(host: &Host) -> String {
    let (lines, mut invocations) = (host.log(), host.invocations());
    invocations.retain(|seen| !seen.outcome.as_ref().is_some_and(Outcome::succeeded));
    let mut statement = String::from("what its host saw\n");
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        // Writing to a string cannot fail.
        let _ = writeln!(statement, "  {:?} {}", line.level, line.text);
    }
    for seen in &invocations[invocations.len().saturating_sub(INVOCATIONS)..] {
        let took = seen.ended.map(|ended| ended - seen.started);
        let _ = writeln!(statement, "  {} {}: {:?} after {took:?}", seen.function, seen.invocation_id, seen.outcome);
    }
    statement
}

thread_local! {
    /// What the test of this thread failed with.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn tell_panics_at_once() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        tell(&panic.to_string());
        PANIC.replace(panic.to_string());
        usual(panic);
    }));
}

/// The harness catches what macros print, and nothing else.
fn tell(text: &str) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("a thread");
    // The test has failed already, whatever becomes of its words.
    let _ = writeln!(std::io::stderr().lock(), "{name}: {}", text.trim_end());
}

const LINES: usize = 10;
const INVOCATIONS: usize = 10;
