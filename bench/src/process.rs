//! A contender's process, and what the system knows of it.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{BufRead as _, BufReader, Read},
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Error, Result,
    apps::{App, Form},
    load::Connection,
    machine::idle_time,
};

/// How long a contender may take to answer for the first time.
const START_TIME: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_micros(100);
const KEPT_LINES: usize = 20;

/// A running contender; dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    port: u16,
    /// The last lines that it wrote.
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Just before it was started.
    pub begun: Instant,
    /// From then to its first answer to `GET /`; zero where that was not waited for.
    pub first_answer: Duration,
}

impl Process {
    /// Starts a contender with these settings, on one core of the machine if one is named.
    pub fn launch(app: &App, settings: &BTreeMap<String, String>, core: Option<usize>) -> Result<Self> {
        let port = free_port()?;
        let mut command = match core {
            None => Command::new(&app.program),
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(&app.program);
                command
            }
        };
        let (name, address) = match app.form {
            Form::Functions => ("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string()),
            Form::Pull => ("SIGNET_HEALTH", format!("127.0.0.1:{port}")),
        };
        command
            .args(&app.arguments)
            .current_dir(&app.directory)
            .env_clear()
            .envs(settings)
            .envs(&app.environment)
            .env(name, address)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn().map_err(|e| Error::new(app.contender.name(), e))?;
        let lines = Arc::default();
        drain(child.stdout.take(), &lines);
        drain(child.stderr.take(), &lines);
        Ok(Self { name: app.contender.name(), child, port, lines, begun, first_answer: Duration::ZERO })
    }

    /// Starts a contender that answers on its port, and waits for its first answer; a worker's is that it is ready.
    pub async fn start(app: &App, settings: &BTreeMap<String, String>, core: Option<usize>) -> Result<Self> {
        let mut process = Self::launch(app, settings, core)?;
        let path = match app.form {
            Form::Functions => "/",
            Form::Pull => "/ready",
        };
        loop {
            if let Ok(mut connection) = Connection::open(process.port).await
                && connection.probe(path).await.is_ok()
            {
                process.first_answer = process.begun.elapsed();
                return Ok(process);
            }
            process.still_within(START_TIME)?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Fails if it has ended, or was started longer ago than that.
    pub fn still_within(&mut self, longest: Duration) -> Result<()> {
        let is_gone = self.child.try_wait().is_ok_and(|status| status.is_some());
        if is_gone || self.begun.elapsed() > longest {
            return Err(Error::new(self.name, format!("no answer: {}", self.last_words())));
        }
        Ok(())
    }

    /// Where it listens on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn last_words(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time that a process has used, all its threads together.
///
/// The 14th and 15th field of `/proc/{id}/stat`, which count in ticks of 10 ms.
pub fn cpu_time(id: u32) -> Result<Duration> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).map_err(|e| Error::new(&path, e))?;
    // The second field is a name in parentheses, which may hold blanks.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|index| fields.get(*index)?.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// The same to the nanosecond, of the threads that there are: the first field of `/proc/{id}/task/{thread}/schedstat`.
pub fn precise_cpu_time(id: u32) -> Result<Duration> {
    let path = format!("/proc/{id}/task");
    let broken = |e| Error::new(&path, e);
    let mut sum = 0;
    for thread in fs::read_dir(&path).map_err(broken)? {
        let file = thread.map_err(broken)?.path().join("schedstat");
        // One that has ended since has nothing to tell.
        let text = fs::read_to_string(file).unwrap_or_default();
        sum += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(sum))
}

/// CPU time up to a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) at: Instant,
    /// That of all the processes that are measured.
    pub(crate) apps: Duration,
    /// That of this process: the services, the queue and what makes the load.
    pub(crate) harness: Duration,
    /// What nobody on the machine wanted.
    pub(crate) idle: Duration,
}

impl Usage {
    pub(crate) fn now(processes: &[Process]) -> Result<Self> {
        let apps: Result<Vec<Duration>> = processes.iter().map(|process| cpu_time(process.id())).collect();
        let (apps, harness) = (apps?.iter().sum(), cpu_time(std::process::id())?);
        Ok(Self { at: Instant::now(), apps, harness, idle: idle_time()? })
    }

    /// How many cores were used, on the mean, since `before`.
    pub(crate) fn cores(&self, before: &Self, of: impl Fn(&Self) -> Duration) -> f64 {
        let time = self.at.duration_since(before.at).as_secs_f64();
        of(self).saturating_sub(of(before)).as_secs_f64() / time
    }
}

/// Resident memory of a process now (`VmRSS`) and at its peak (`VmHWM`), MiB.
pub fn resident_memory(id: u32) -> Result<(f64, f64)> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).map_err(|e| Error::new(&path, e))?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    Ok((kib("VmRSS").unwrap_or_default() / 1024.0, kib("VmHWM").unwrap_or_default() / 1024.0))
}

/// Restricts this process with all its threads to a core, or to all of them again.
pub fn pin_self(cores: &str) -> Result<()> {
    let id = std::process::id().to_string();
    let mut said = String::new();
    // A thread that ends while taskset goes through them all makes it fail.
    for _ in 0..20 {
        let output = Command::new("taskset").args(["-a", "-p", "-c", cores, &id]).output();
        let output = output.map_err(|e| Error::new("taskset", e))?;
        if output.status.success() {
            return Ok(());
        }
        said = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    Err(Error::new("taskset", said.trim()))
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| Error::new("a port", e))?;
    Ok(listener.local_addr().map_err(|e| Error::new("a port", e))?.port())
}

/// Reads an output as the host does: a handler that nobody reads stands still once the pipe is full.
fn drain(output: Option<impl Read + Send + 'static>, lines: &Arc<Mutex<VecDeque<String>>>) {
    let Some(output) = output else { return };
    let kept = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
            let mut lines = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == KEPT_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    });
}
