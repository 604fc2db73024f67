//! The handler's process: its environment, the readiness probe, and what follows when it ends.
//!
//! The host ends a handler with SIGKILL alone, and starts the next at once, on the same port. The third error within 30
//! minutes stops the host.

use std::{
    collections::VecDeque,
    io,
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use azure_core::Uuid;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::Request;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
};

use super::{
    ExitZero,
    config::{HandlerConfig, Settings},
    http,
    journal::{Event, Journal, LogLine, Stream, classify, lock},
};
use crate::local::ports::Reserved;

const PROBE_INTERVAL: Duration = Duration::from_millis(25);
const ERRORS_KEPT: usize = 2;
const ERROR_WINDOW: Duration = Duration::from_mins(30);
/// Lines on standard error that explain an end.
const LAST_WORDS: usize = 3;
const KILL_GRACE: Duration = Duration::from_secs(1);

/// How a handler is started.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) config: HandlerConfig,
    pub(super) app_root: std::path::PathBuf,
    pub(super) settings: Settings,
    pub(super) clear_environment: bool,
    pub(super) exit_zero: ExitZero,
    pub(super) probe_timeout: Option<Duration>,
}

/// Whether an invocation can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Starting,
    /// The process of this generation answered, once.
    Ready(u32),
    /// The host does nothing any more; why.
    Stopped(String),
}

/// The one handler process, through all its generations.
#[derive(Debug)]
pub(super) struct Handler {
    start: Start,
    port: Reserved,
    journal: Arc<Journal>,
    state: watch::Sender<State>,
    child: Mutex<Option<Child>>,
    generation: AtomicU32,
    /// The generation that is ended on purpose.
    recycled: AtomicU32,
}

enum End {
    NotStarted(io::Error),
    NotReady,
    Recycled,
    Exited(ExitStatus),
}

impl Handler {
    /// Picks the port for all generations.
    pub(super) fn new(start: Start, journal: Arc<Journal>) -> io::Result<Self> {
        let port = Reserved::new(start.config.port.unwrap_or(0))?;
        Ok(Self {
            start,
            port,
            journal,
            state: watch::Sender::new(State::Starting),
            child: Mutex::new(None),
            generation: AtomicU32::new(0),
            recycled: AtomicU32::new(0),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port.port()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        lock(&self.child).as_ref().and_then(Child::id)
    }

    /// How often a process was started after the first.
    pub(super) fn restarts(&self) -> u32 {
        self.generation.load(Ordering::SeqCst).saturating_sub(1)
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Sends SIGKILL to the process, as an accident.
    pub(super) fn kill(&self) {
        if let Some(child) = lock(&self.child).as_mut() {
            // An error means that it ended before.
            let _ = child.start_kill();
        }
    }

    /// Ends a generation on purpose; without effect when it ended before.
    pub(super) fn recycle(&self, generation: Option<u32>) {
        let current = self.generation.load(Ordering::SeqCst);
        if generation.is_none_or(|generation| generation == current) {
            self.recycled.store(current, Ordering::SeqCst);
            self.advance(State::Starting);
            self.kill();
        }
    }

    /// Ends the process, and the host with it.
    pub(super) fn stop(&self, reason: &str) {
        let stopped = self.state.send_if_modified(|state| {
            let first = !matches!(state, State::Stopped(_));
            if first {
                *state = State::Stopped(reason.to_owned());
            }
            first
        });
        self.kill();
        if stopped {
            self.journal.tell(&Event::HostStopped { reason: reason.to_owned() });
        }
    }

    /// Resolves to the reason when the host has stopped.
    pub(super) async fn stopped(&self) -> String {
        let mut state = self.state();
        let stopped = state.wait_for(|state| matches!(state, State::Stopped(_))).await;
        match stopped.as_deref() {
            Ok(State::Stopped(reason)) => reason.clone(),
            _ => "the host is gone".to_owned(),
        }
    }

    /// Keeps a process running until the host stops.
    pub(super) async fn supervise(&self) {
        let mut errors = Errors::default();
        while !self.is_stopped() {
            let (end, last_words) = self.run().await;
            if self.is_stopped() {
                return;
            }
            let (reason, counts) = match end {
                // The host neither tries again nor fails before an invocation has waited for two minutes; it is stopped
                // here and now, since nothing else can come of it.
                End::NotStarted(error) => {
                    let executable = self.start.config.executable.display();
                    self.stop(&format!("failed to start {executable} ({error}): is it built, and executable?"));
                    return;
                }
                End::NotReady => ("it did not answer in time".to_owned(), true),
                End::Recycled => ("it was killed after a function timeout".to_owned(), false),
                End::Exited(status) => (exited(status, &last_words), !matches!(status.code(), Some(0 | 200))),
            };
            self.journal.tell(&Event::HandlerEnded { reason: reason.clone() });
            if counts && errors.add(Instant::now()) {
                let reason = format!("exceeded http worker restart retry count; the last time, {reason}");
                self.stop(&reason);
                return;
            }
            if matches!(end, End::Exited(status) if status.success()) && self.start.exit_zero == ExitZero::StaysDead {
                return;
            }
        }
    }

    fn is_stopped(&self) -> bool {
        matches!(*self.state.borrow(), State::Stopped(_))
    }

    /// Sets the state, unless the host has stopped, or the generation that is ready is being ended.
    fn advance(&self, next: State) {
        self.state.send_if_modified(|state| {
            let ended = next == State::Ready(self.recycled.load(Ordering::SeqCst));
            let changes = !ended && !matches!(state, State::Stopped(_));
            if changes {
                *state = next;
            }
            changes
        });
    }

    /// One generation, from its start to its end, and its last lines on standard error.
    async fn run(&self) -> (End, Vec<String>) {
        let generation = self.generation.load(Ordering::SeqCst) + 1;
        let mut child = match self.spawn().await {
            Ok(child) => child,
            Err(error) => return (End::NotStarted(error), Vec::new()),
        };
        self.generation.store(generation, Ordering::SeqCst);
        let pid = child.id().unwrap_or_default();
        let stdout =
            read(child.stdout.take().expect("stdout is piped"), Stream::Stdout, self.journal.clone(), self.port());
        let stderr =
            read(child.stderr.take().expect("stderr is piped"), Stream::Stderr, self.journal.clone(), self.port());
        *lock(&self.child) = Some(child);
        self.journal.tell(&Event::HandlerStarted { pid });
        if self.is_stopped() {
            // It was stopped while the process came into being.
            self.kill();
        }
        let end = tokio::select! {
            status = self.wait() => self.exit(generation, status),
            ready = self.probe() => {
                if ready {
                    self.advance(State::Ready(generation));
                    self.journal.tell(&Event::HandlerReady);
                    let status = self.wait().await;
                    self.exit(generation, status)
                } else {
                    self.kill();
                    let _ = tokio::time::timeout(KILL_GRACE, self.wait()).await;
                    End::NotReady
                }
            }
        };
        if !matches!(end, End::Exited(status) if status.success() && self.start.exit_zero == ExitZero::StaysDead) {
            self.advance(State::Starting);
        }
        // A grandchild may hold the pipes open for ever.
        let _ = tokio::time::timeout(KILL_GRACE, stdout).await;
        let last_words = tokio::time::timeout(KILL_GRACE, stderr).await;
        (end, last_words.ok().and_then(Result::ok).unwrap_or_default())
    }

    fn exit(&self, generation: u32, status: io::Result<ExitStatus>) -> End {
        match status {
            _ if self.recycled.load(Ordering::SeqCst) == generation => End::Recycled,
            Ok(status) => End::Exited(status),
            Err(error) => End::NotStarted(error),
        }
    }

    /// Waits for the process without keeping it locked.
    async fn wait(&self) -> io::Result<ExitStatus> {
        std::future::poll_fn(|context| match lock(&self.child).as_mut() {
            Some(child) => std::pin::pin!(child.wait()).poll(context),
            None => Poll::Ready(Err(io::Error::other("the process is gone"))),
        })
        .await
    }

    async fn spawn(&self) -> io::Result<Child> {
        let id = Uuid::new_v4().to_string();
        let config = &self.start.config;
        let mut command = Command::new(&config.executable);
        if self.start.clear_environment {
            command.env_clear();
            // Without it no Windows process opens a socket.
            command.envs(std::env::var_os("SystemRoot").map(|root| ("SystemRoot", root)));
        }
        command
            .args(&config.arguments)
            .current_dir(&config.working_directory)
            .envs(&self.start.settings)
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", self.port().to_string())
            .env("FUNCTIONS_HTTPWORKER_PORT", self.port().to_string())
            .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &id)
            .env("FUNCTIONS_HTTPWORKER_ID", &id)
            .env("FUNCTIONS_APP_ROOT_PATH", &self.start.app_root)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut patience = 50;
        loop {
            match command.spawn() {
                // A process that another thread is just starting holds the file that was being written a moment ago.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && patience > 0 => patience -= 1,
                result => return result,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `GET /` until there is any answer; only the pauses count against the time.
    async fn probe(&self) -> bool {
        let pauses = self.start.config.initialization_timeout.as_millis() / PROBE_INTERVAL.as_millis();
        let uri = format!("http://127.0.0.1:{}/", self.port());
        // A client of its own: no connection to an earlier generation may answer.
        let client = http::client();
        for _ in 0..=pauses {
            let body = Either::Left(Full::new(Bytes::new()));
            let request = Request::get(&uri).body(body).expect("a port makes a valid URI");
            let answer = client.request(request);
            let answer = match self.start.probe_timeout {
                Some(timeout) => tokio::time::timeout(timeout, answer).await.ok(),
                None => Some(answer.await),
            };
            match answer {
                Some(Err(error)) if error.is_connect() => tokio::time::sleep(PROBE_INTERVAL).await,
                Some(_) => return true,
                None => return false,
            }
        }
        false
    }
}

/// The times of recent errors.
#[derive(Debug, Default)]
struct Errors(Vec<Instant>);

impl Errors {
    /// Counts an error; true if it is one too many.
    fn add(&mut self, at: Instant) -> bool {
        if self.0.last().is_some_and(|last| at.duration_since(*last) > ERROR_WINDOW) {
            self.0.clear();
        }
        self.0.push(at);
        self.0.len() > ERRORS_KEPT
    }
}

fn exited(status: ExitStatus, last_words: &[String]) -> String {
    if last_words.is_empty() {
        format!("it ended: {status}")
    } else {
        format!("it ended: {status}: {}", last_words.join(" | "))
    }
}

/// Logs each line, and returns the last three.
fn read(
    output: impl AsyncRead + Unpin + Send + 'static,
    stream: Stream,
    journal: Arc<Journal>,
    port: u16,
) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut output = BufReader::new(output);
        let mut last = VecDeque::new();
        let mut line = Vec::new();
        while matches!(output.read_until(b'\n', &mut line).await, Ok(1..)) {
            let text = String::from_utf8_lossy(&line);
            let line_read = log_line(stream, text.trim_end_matches(['\r', '\n']), port);
            line.clear();
            last.push_back(line_read.text.clone());
            if last.len() > LAST_WORDS {
                last.pop_front();
            }
            journal.line(line_read);
        }
        last.into()
    })
}

/// The host says in its own words that a port is taken.
fn log_line(stream: Stream, text: &str, port: u16) -> LogLine {
    let taken = text.contains("EADDRINUSE") || text.to_lowercase().contains("address already in use");
    if stream == Stream::Stderr && taken {
        return classify(stream, &format!("The custom handler could not listen on port {port}: it is in use."));
    }
    classify(stream, text)
}
