//! A stand-in for the Azure Functions host, for queue-triggered functions in a custom handler.
//!
//! It reads the app's own `host.json` and `function.json`, starts the handler as the host does, polls the queues with the
//! storage extension's semantics, and judges every reply by what the host makes of it.
//!
//! - [`config`]: `host.json`, `function.json`, app settings
//! - [`envelope`]: the body of an invocation
//! - [`verdict`]: what a reply means
//! - [`journal`]: the log, the invocations, the events
//! - `process`: the handler's life; `invoke`: one invocation; `queue`: the trigger

pub mod config;
pub mod envelope;
mod function;
mod http;
mod invoke;
pub mod journal;
mod json;
mod process;
mod queue;
mod section;
mod timespan;
pub mod verdict;

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use azure_storage_queue::clients::QueueServiceClient;
use bytes::Bytes;
use tokio::task::JoinHandle;

use self::{
    config::{App, ConfigError, Settings},
    invoke::Invoker,
    journal::Journal,
    process::{Handler, Start, State},
    queue::Listener,
};
pub use self::{
    envelope::Message,
    http::Framing,
    invoke::{HOST_VERSION, Post, Reply},
    journal::{Category, Event, Events, Invocation, Level, LogLine, Stream},
    verdict::Outcome,
};

/// The storage extension's fixed lease.
const LEASE: Duration = Duration::from_mins(10);
/// The storage extension's shortest pause between two receives.
const POLLING_FLOOR: Duration = Duration::from_millis(100);

/// What a host is started with, beside the app's own files.
pub struct HostOptions {
    /// The directory that holds `host.json`.
    pub app_root: PathBuf,
    /// App settings; they become the handler's environment.
    pub settings: Settings,
    /// The Queue service of every trigger; `None`: no queue is polled.
    pub queues: Option<Arc<QueueServiceClient>>,
    /// How bodies are framed.
    pub framing: Framing,
    /// Whether invocations carry a `traceparent`, as with Application Insights.
    pub traceparent: bool,
    /// How long a received message is hidden, in whole seconds.
    pub lease: Duration,
    /// In place of `functionTimeout` in `host.json`.
    pub function_timeout: Option<Duration>,
    /// The shortest pause between two receives.
    pub polling_floor: Duration,
    /// What an exit code of 0 leads to.
    pub exit_zero: ExitZero,
    /// Whether the handler gets the app settings alone, without this process's own environment.
    pub clear_environment: bool,
    /// Who is told what happens.
    pub events: Events,
}

impl HostOptions {
    /// The options that are like Azure's, for an app and its settings.
    #[must_use]
    pub fn new(app_root: impl Into<PathBuf>, settings: Settings) -> Self {
        Self {
            app_root: app_root.into(),
            settings,
            queues: None,
            framing: Framing::Chunked,
            traceparent: false,
            lease: LEASE,
            function_timeout: None,
            polling_floor: POLLING_FLOOR,
            exit_zero: ExitZero::Restarts,
            clear_environment: false,
            events: Events::default(),
        }
    }
}

impl fmt::Debug for HostOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The SDK's clients have no Debug, and app settings may be secret.
        f.debug_struct("HostOptions").field("app_root", &self.app_root).finish_non_exhaustive()
    }
}

/// What the host does when the handler exits with code 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitZero {
    /// It starts the handler again and counts no error, as hosts of 2026 do.
    Restarts,
    /// It does nothing, and every invocation fails from then on, as hosts before did.
    StaysDead,
}

/// A running host; dropped, it ends with its handler.
#[derive(Debug)]
pub struct Host {
    app: App,
    handler: Arc<Handler>,
    invoker: Arc<Invoker>,
    journal: Arc<Journal>,
    tasks: Vec<JoinHandle<()>>,
}

impl Host {
    /// Reads the app, starts the handler and the listeners, and returns without waiting for them.
    ///
    /// As in Azure, the handler is not started for an app without functions. Must be called within a Tokio runtime.
    pub fn start(options: HostOptions) -> Result<Self, HostError> {
        let inherited = |name: &str| (!options.clear_environment).then(|| std::env::var(name).ok()).flatten();
        let app = App::read(&options.app_root, &options.settings, &inherited)?;
        let function_timeout = options.function_timeout.or(app.function_timeout);
        let journal = Arc::new(Journal::new(options.events));
        let start = Start {
            config: app.handler.clone(),
            app_root: app.root.clone(),
            settings: options.settings,
            clear_environment: options.clear_environment,
            exit_zero: options.exit_zero,
            probe_timeout: function_timeout.map(|timeout| timeout + Duration::from_mins(1)),
        };
        let handler = Handler::new(start, journal.clone()).map_err(HostError::Port)?;
        let handler = Arc::new(handler);
        let invoker = Arc::new(Invoker {
            handler: handler.clone(),
            client: http::client(),
            journal: journal.clone(),
            framing: options.framing,
            traceparent: options.traceparent,
            function_timeout,
            initialization_timeout: app.handler.initialization_timeout,
        });
        let mut host = Self { app, handler, invoker, journal, tasks: Vec::new() };
        if host.app.functions.is_empty() {
            host.handler.stop("the app has no functions");
            return Ok(host);
        }
        let handler = host.handler.clone();
        host.tasks.push(tokio::spawn(async move { handler.supervise().await }));
        if let Some(queues) = &options.queues {
            let pace = (options.lease.max(Duration::from_secs(1)), options.polling_floor);
            for function in host.app.functions.clone() {
                let listener = Listener::new(function, host.app.queues.clone(), pace, queues, host.invoker.clone())?;
                host.tasks.push(tokio::spawn(Arc::new(listener).listen()));
            }
        }
        Ok(host)
    }

    /// Waits until the handler has answered the readiness probe; an error if the host stops before.
    pub async fn ready(&self) -> Result<(), HostError> {
        let mut state = self.handler.state();
        match state.wait_for(|state| *state != State::Starting).await.as_deref() {
            Ok(State::Stopped(reason)) => Err(HostError::Stopped(reason.clone())),
            _ => Ok(()),
        }
    }

    /// Waits until the host stops by itself, and says why.
    pub async fn stopped(&self) -> String {
        self.handler.stopped().await
    }

    /// The app as it was read.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The handler's port on 127.0.0.1, the same for every generation.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.handler.port()
    }

    /// The process id of the current generation.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.handler.pid()
    }

    /// How often the handler was started again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.handler.restarts()
    }

    /// Kills the handler as an accident would: the host counts an error and starts it again.
    pub fn kill_handler(&self) {
        self.handler.kill();
    }

    /// Ends the host: the listeners stop, the handler is killed, and messages in flight are left to their leases.
    pub fn stop(&self) {
        self.handler.stop("stopped on request");
        for task in &self.tasks {
            task.abort();
        }
    }

    /// Every line that the handlers wrote so far, as the host logs it.
    #[must_use]
    pub fn log(&self) -> Vec<LogLine> {
        self.journal.log()
    }

    /// The lines from that one on, counted from 0.
    #[must_use]
    pub fn log_from(&self, line: usize) -> Vec<LogLine> {
        self.journal.log_from(line)
    }

    /// Every invocation so far, in the order in which they began.
    #[must_use]
    pub fn invocations(&self) -> Vec<Invocation> {
        self.journal.invocations()
    }

    /// Invokes a function without a queue, as often and as concurrently as the caller likes.
    ///
    /// A message needs a function that the app has; a body is posted to any path.
    pub async fn invoke(&self, function: &str, post: Post) -> Reply {
        match post {
            Post::Body(body) => self.invoker.invoke(function, Ok(Bytes::from(body)), None).await,
            Post::Message(message) => {
                if let Some(function) = self.app.functions.iter().find(|known| known.name == function) {
                    return self.invoker.invoke_message(function, &message).await;
                }
                let reason = format!("the app has no function {function}");
                self.invoker.invoke(function, Err(reason), Some(&message)).await
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Why a host does not start, or has stopped.
#[derive(Debug)]
pub enum HostError {
    /// The app cannot be hosted.
    Config(ConfigError),
    /// No port could be had for the handler.
    Port(io::Error),
    /// The Queue service's address does not go with a queue's name.
    Queue(azure_core::Error),
    /// The host has stopped; why.
    Stopped(String),
}

impl From<ConfigError> for HostError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<azure_core::Error> for HostError {
    fn from(error: azure_core::Error) -> Self {
        Self::Queue(error)
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "the function app cannot be started: {error}"),
            Self::Port(error) => {
                write!(f, "the handler's port cannot be bound ({error}): free it, or remove customHandler.port")
            }
            Self::Queue(error) => write!(f, "the queue's address is not valid: {error}"),
            Self::Stopped(reason) => write!(f, "the host has stopped: {reason}"),
        }
    }
}

impl std::error::Error for HostError {}

#[cfg(test)]
mod tests;
