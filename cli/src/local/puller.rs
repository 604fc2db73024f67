//! `handler pull` as a process of its own, as a container would run it.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use super::{
    host::{Category, Event, Events, Level, LogLine, Stream},
    ports::Reserved,
};

const HEALTH: &str = "SIGNET_HEALTH";

/// One replica. Dropped, it is killed.
#[derive(Debug)]
pub struct Puller {
    child: Child,
    health: SocketAddr,
    _reserved: Option<Reserved>,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    events: Events,
}

impl Puller {
    /// Starts the handler with these settings and nothing else in its environment; the health port is one that is free, unless
    /// they name one.
    ///
    /// # Errors
    /// There is no such program, or no free port.
    pub fn start(handler: &Path, settings: &BTreeMap<String, String>) -> io::Result<Self> {
        Self::start_telling(handler, settings, Events::default())
    }

    /// The same; what happens to it is told as a host tells it: its start, its lines and its end.
    ///
    /// # Errors
    /// There is no such program, or no free port.
    pub fn start_telling(handler: &Path, settings: &BTreeMap<String, String>, events: Events) -> io::Result<Self> {
        let named = settings.get(HEALTH).and_then(|address| address.parse().ok());
        let reserved = if named.is_none() { Some(Reserved::new(0)?) } else { None };
        let free = reserved.as_ref().map(|reserved| SocketAddr::from((Ipv4Addr::LOCALHOST, reserved.port())));
        let health = named.or(free).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut command = Command::new(handler);
        command.arg("pull").env_clear().envs(std::env::var_os("SystemRoot").map(|root| ("SystemRoot", root)));
        command.envs(settings).env(HEALTH, health.to_string()).kill_on_drop(true);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        events.tell(&Event::HandlerStarted { pid: child.id().unwrap_or_default() });
        let log = Arc::default();
        let mut readers = Vec::new();
        if let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) {
            readers.push(tokio::spawn(keep(output, Arc::clone(&log), (Stream::Stdout, events.clone()))));
            readers.push(tokio::spawn(keep(errors, Arc::clone(&log), (Stream::Stderr, events.clone()))));
        }
        Ok(Self { child, health, _reserved: reserved, log, readers, events })
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// All that it has printed so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lines from that one on, counted from 0.
    #[must_use]
    pub fn log_from(&self, line: usize) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).get(line..).unwrap_or_default().to_vec()
    }

    /// Its end, when that comes; all that it has printed is in the log by then.
    ///
    /// # Errors
    /// The system does not tell.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        for reader in &mut self.readers {
            // Another process may have the pipes, and hold them open for ever.
            let _ = timeout(PATIENCE, reader).await;
        }
        self.readers.clear();
        self.events.tell(&Event::HandlerEnded { reason: status.to_string() });
        Ok(status)
    }

    /// Asks it to end, as a platform does; on Windows, where nobody can, it is killed. Without effect once it has ended.
    pub fn terminate(&mut self) {
        #[cfg(unix)]
        if let Some(pid) = self.child.id().and_then(|pid| pid.try_into().ok()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
    }

    /// Ends it without a chance to do anything about it.
    ///
    /// # Errors
    /// The system does not tell.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks the health port: status and body of the answer.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, path: &str) -> io::Result<(u16, String)> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.health).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.health);
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            status.map(|status| (status, body.to_owned())).ok_or_else(|| io::Error::other("no HTTP"))
        };
        timeout(PATIENCE, exchange).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Returns once it receives and signs.
    ///
    /// # Errors
    /// It has ended before, or is not ready after a minute.
    pub async fn ready(&mut self) -> io::Result<()> {
        let ready = async {
            loop {
                if matches!(self.get("/ready").await, Ok((200, _))) {
                    return Ok(());
                }
                if let Some(status) = self.child.try_wait()? {
                    return Err(io::Error::other(format!("it has ended: {status}; {}", self.log().join(" | "))));
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        };
        timeout(LONGEST_START, ready).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
    }
}

async fn keep(output: impl AsyncRead + Unpin, log: Arc<Mutex<Vec<String>>>, (stream, events): (Stream, Events)) {
    let level = if stream == Stream::Stdout { Level::Information } else { Level::Error };
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        events.tell(&Event::Log(LogLine { stream, level, category: Category::Console, text: text.clone() }));
        log.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_START: Duration = Duration::from_mins(1);
