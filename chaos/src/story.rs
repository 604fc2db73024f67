//! What became of each message on its way: deliveries, and log lines that name it.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use signet::local::host::{Event, Events};

use crate::replicas::message_id;

/// What lines of the log are counted by, and as what.
const COUNTED: [(&str, &str); 5] = [
    (" reason=attempts-exhausted ", "records of what was given up"),
    (" handed back ", "deliveries handed back"),
    (" the queue cannot be read", "queue operations failed"),
    (" a lease could not be renewed", "renewals failed"),
    (" the end of a lease could not be told", "ends of a lease that could not be told"),
];
/// Lines kept of one message: of the first, and of the last.
const KEPT: usize = 40;

/// The stories of all messages. Clones are the same.
#[derive(Clone, Debug)]
pub struct Stories {
    begun: Instant,
    inner: Arc<Mutex<Inner>>,
    log: Option<Arc<File>>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: HashMap<String, Vec<String>>,
    counts: BTreeMap<&'static str, usize>,
    points: BTreeMap<String, usize>,
}

impl Stories {
    /// Nothing so far; everything that hosts tell goes into a file as well, if there is one.
    #[must_use]
    pub fn new(log: Option<Arc<File>>) -> Self {
        Self { begun: Instant::now(), inner: Arc::default(), log }
    }

    /// A line about what happened at some time.
    #[must_use]
    pub fn line(&self, at: Instant, what: &str) -> String {
        format!("{:8.2} s  {what}", at.saturating_duration_since(self.begun).as_secs_f32())
    }

    /// A line about a message.
    pub fn note(&self, message_id: &str, line: &str) {
        let line = self.line(Instant::now(), line);
        let mut inner = self.inner();
        let lines = inner.lines.entry(message_id.to_owned()).or_default();
        if lines.len() == 2 * KEPT {
            lines.remove(KEPT);
        }
        lines.push(line);
    }

    /// Counts something that happened.
    pub fn count(&self, what: &'static str) {
        *self.inner().counts.entry(what).or_default() += 1;
    }

    /// What happened how often.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.inner().counts.clone()
    }

    /// How often a handler has ended itself at each fault point.
    #[must_use]
    pub fn points(&self) -> BTreeMap<String, usize> {
        self.inner().points.clone()
    }

    /// How often at this one.
    #[must_use]
    pub fn killed_at(&self, point: &str) -> usize {
        self.inner().points.get(point).copied().unwrap_or_default()
    }

    /// The lines about a message.
    #[must_use]
    pub fn of(&self, message_id: &str) -> Vec<String> {
        self.inner().lines.get(message_id).cloned().unwrap_or_default()
    }

    /// What a host tells goes into the stories, under the host's name.
    #[must_use]
    pub fn events(&self, host: &'static str) -> Events {
        let stories = self.clone();
        Events::new(move |event| stories.tell(host, event))
    }

    fn tell(&self, host: &str, event: &Event) {
        if let Some(mut log) = self.log.as_deref() {
            // What cannot be put down is not missed by the count.
            let _ = writeln!(log, "{:8.2} {host} {event:?}", self.begun.elapsed().as_secs_f32());
        }
        match event {
            Event::HandlerStarted { .. } => self.count("handlers started"),
            Event::HostStopped { .. } => self.count("hosts stopped"),
            Event::QueueTrouble { .. } => self.count("queue operations failed"),
            Event::Log(line) => {
                if let Some(message_id) = message_id(&line.text) {
                    self.note(message_id, &format!("{host} | {}", line.text));
                }
                if let Some(point) = line.text.strip_prefix("fault point ") {
                    *self.inner().points.entry(point.to_owned()).or_default() += 1;
                }
                for (part, what) in COUNTED {
                    if line.text.contains(part) {
                        self.count(what);
                    }
                }
            }
            Event::InvocationStarted(invocation) => {
                self.count("deliveries");
                if let Some(message_id) = &invocation.message_id {
                    let count = invocation.dequeue_count.unwrap_or_default();
                    self.note(message_id, &format!("{host} > {}, delivery {count}", invocation.function));
                }
            }
            Event::InvocationEnded(invocation) => {
                if let (Some(message_id), Some(outcome)) = (&invocation.message_id, &invocation.outcome) {
                    self.note(message_id, &format!("{host} < {outcome}"));
                }
            }
            Event::MessagePoisoned { message_id, reason, .. } => {
                self.count("given up by the host");
                self.note(message_id, &format!("{host} moved to the poison queue: {reason}"));
            }
            Event::HandlerReady | Event::HandlerEnded { .. } => {}
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
