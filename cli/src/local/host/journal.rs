//! What the host saw: the handler's output as the host logs it, and every invocation with its outcome.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::verdict::Outcome;

/// Is called with each event, on the task where it happens.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(&Event) + Send + Sync>);

impl Events {
    /// Calls `f`, which must be quick.
    pub fn new(f: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    /// Calls it with an event.
    pub(in crate::local) fn tell(&self, event: &Event) {
        (self.0)(event);
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

/// Something that happened in the host.
#[derive(Clone, Debug)]
pub enum Event {
    /// A process was started.
    HandlerStarted {
        /// Its id.
        pid: u32,
    },
    /// It answered the readiness probe.
    HandlerReady,
    /// It ended, or was ended.
    HandlerEnded {
        /// How.
        reason: String,
    },
    /// The host will do nothing any more.
    HostStopped {
        /// Why.
        reason: String,
    },
    /// A line of the handler's output.
    Log(LogLine),
    /// An invocation begins.
    InvocationStarted(Invocation),
    /// An invocation has its outcome.
    InvocationEnded(Invocation),
    /// A message went to the poison queue.
    MessagePoisoned {
        /// The poison queue.
        queue: String,
        /// The id that the message had.
        message_id: String,
        /// Why.
        reason: String,
    },
    /// A queue operation failed, and the host goes on.
    QueueTrouble {
        /// The queue.
        queue: String,
        /// What was tried, and what came of it.
        reason: String,
    },
}

/// One invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The function's name.
    pub function: String,
    /// The id that the handler was told.
    pub invocation_id: String,
    /// The message's id; `None` for a body that was posted by hand.
    pub message_id: Option<String>,
    /// How often the message was dequeued.
    pub dequeue_count: Option<i64>,
    /// `None` while it runs, or if the host ended before it.
    pub outcome: Option<Outcome>,
    /// Status of the handler's reply, where there was one.
    pub status: Option<u16>,
    /// When the message was handed to the function.
    pub started: Instant,
    /// When the outcome was known.
    pub ended: Option<Instant>,
}

/// A line that the handler wrote, as the host logs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Where the handler wrote it.
    pub stream: Stream,
    /// The level that it gets.
    pub level: Level,
    /// The log that it goes to.
    pub category: Category,
    /// The line.
    pub text: String,
}

/// An output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All of standard output.
    Information,
    /// What has `warn` in it on standard error.
    Warning,
    /// The rest of standard error.
    Error,
}

/// A log of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// `Host.Function.Console`.
    Console,
    /// `Host.Function.ToolingConsoleLog`: lines that begin with `azfuncjsonlog:`.
    Tooling,
    /// `Worker.HttpWorkerProcess.{id}`: lines that begin with `LanguageWorkerConsoleLog`.
    Worker,
}

/// Classifies a line as the host does: by its stream and its text alone.
pub(super) fn classify(stream: Stream, line: &str) -> LogLine {
    const WORKER: &str = "LanguageWorkerConsoleLog";
    let level = match stream {
        Stream::Stdout => Level::Information,
        Stream::Stderr if line.to_lowercase().contains("warn") => Level::Warning,
        Stream::Stderr => Level::Error,
    };
    let (category, text) = match line.split_at_checked(WORKER.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(WORKER) => (Category::Worker, rest),
        _ if line.starts_with("azfuncjsonlog:") => (Category::Tooling, line),
        _ => (Category::Console, line),
    };
    LogLine { stream, level, category, text: text.to_owned() }
}

/// The record of a host's life.
#[derive(Debug, Default)]
pub(super) struct Journal {
    log: Mutex<Vec<LogLine>>,
    invocations: Mutex<Vec<Invocation>>,
    events: Events,
}

impl Journal {
    pub(super) fn new(events: Events) -> Self {
        Self { events, ..Self::default() }
    }

    pub(super) fn tell(&self, event: &Event) {
        self.events.tell(event);
    }

    pub(super) fn line(&self, line: LogLine) {
        lock(&self.log).push(line.clone());
        self.tell(&Event::Log(line));
    }

    /// Takes down that an invocation begins, and returns its place for [`Journal::end`].
    pub(super) fn begin(&self, invocation: Invocation) -> usize {
        self.tell(&Event::InvocationStarted(invocation.clone()));
        let mut invocations = lock(&self.invocations);
        invocations.push(invocation);
        invocations.len() - 1
    }

    pub(super) fn end(&self, place: usize, status: Option<u16>, outcome: Outcome) {
        let ended = {
            let mut invocations = lock(&self.invocations);
            let invocation = &mut invocations[place];
            invocation.status = status;
            invocation.outcome = Some(outcome);
            invocation.ended = Some(Instant::now());
            invocation.clone()
        };
        self.tell(&Event::InvocationEnded(ended));
    }

    pub(super) fn log(&self) -> Vec<LogLine> {
        lock(&self.log).clone()
    }

    pub(super) fn log_from(&self, line: usize) -> Vec<LogLine> {
        lock(&self.log).get(line..).unwrap_or_default().to_vec()
    }

    pub(super) fn invocations(&self) -> Vec<Invocation> {
        lock(&self.invocations).clone()
    }
}

/// Locks, also after a panic elsewhere: each critical section here leaves its value whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_classified_by_stream_and_text() {
        let cases = [
            (Stream::Stdout, "error: no", Level::Information, Category::Console, "error: no"),
            (Stream::Stderr, "some INFO", Level::Error, Category::Console, "some INFO"),
            (Stream::Stderr, "a foreWARNing", Level::Warning, Category::Console, "a foreWARNing"),
            (Stream::Stdout, "languageworkerconsolelogx", Level::Information, Category::Worker, "x"),
            (Stream::Stderr, "azfuncjsonlog:{}", Level::Error, Category::Tooling, "azfuncjsonlog:{}"),
            (Stream::Stdout, "é", Level::Information, Category::Console, "é"),
        ];
        for (stream, line, level, category, text) in cases {
            assert_eq!(classify(stream, line), LogLine { stream, level, category, text: text.to_owned() });
        }
    }
}
