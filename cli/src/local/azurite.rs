//! Azurite, the emulator of Blob and Queue Storage: fetched from npm at first use, started over TLS.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    app::Progress,
    npm::{NpmError, Package},
};

/// The version of the npm package.
pub const VERSION: &str = "3.37.0";

/// The account that Azurite always has.
pub const ACCOUNT: &str = "devstoreaccount1";

const PACKAGE: Package = Package {
    name: "azurite-3.37.0",
    manifest: include_str!("../../azurite/package.json"),
    lock: include_str!("../../azurite/package-lock.json"),
    entry: "node_modules/azurite/dist/src/azurite.js",
};

/// Ends Azurite when its standard input closes, which the system does however this process ends. And leaves out the garbage
/// collection of its Blob service: every ten minutes, and with ten thousand blobs, that answers nothing for minutes.
const RUN: &str = "\
    process.stdin.on('end', () => process.exit()).on('error', () => process.exit()).resume(); \
    require(require('path').join(process.argv[1], '../blob/utils/constants')).DEFAULT_GC_INTERVAL_MS = 2 ** 31 - 1; \
    require(process.argv[1])";

const START_TIMEOUT: Duration = Duration::from_mins(1);

/// What Azurite is started with.
#[derive(Clone, Debug)]
pub struct AzuriteOptions {
    /// The certificate chain of both services, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The working directory. Blobs and messages stay in memory.
    pub directory: PathBuf,
}

/// A running Azurite with its Blob and Queue services; dropped, it ends.
///
/// The account is the first label of the `Host` header, as in `https://devstoreaccount1.blob.localhost:{port}/container`.
#[derive(Debug)]
pub struct Azurite {
    /// Its standard input is held open for as long as Azurite is to live.
    process: Child,
    blob_port: u16,
    queue_port: u16,
}

impl Azurite {
    /// Starts Azurite on free ports of 127.0.0.1, with TLS and OAuth, installing it first where needed.
    pub async fn start(options: &AzuriteOptions, progress: Progress<'_>) -> Result<Self, AzuriteError> {
        let package = install(progress).await?;
        progress("starting Azurite");
        let mut process = command(&package, options)?.spawn().map_err(AzuriteError::Node)?;
        let ports = listen(&mut process);
        // From here on, a failure drops the process.
        let mut azurite = Self { process, blob_port: 0, queue_port: 0 };
        let ports = match tokio::time::timeout(START_TIMEOUT, ports).await {
            Ok(Ok(Ok(ports))) => Ok(ports),
            Ok(Ok(Err(output))) => Err(output),
            Ok(Err(_)) => Err("it closed its output".to_owned()),
            Err(_) => Err(format!("it was not ready after {} s", START_TIMEOUT.as_secs())),
        };
        (azurite.blob_port, azurite.queue_port) = ports.map_err(AzuriteError::Start)?;
        Ok(azurite)
    }

    /// The port of the Blob service on 127.0.0.1.
    #[must_use]
    pub fn blob_port(&self) -> u16 {
        self.blob_port
    }

    /// The port of the Queue service on 127.0.0.1.
    #[must_use]
    pub fn queue_port(&self) -> u16 {
        self.queue_port
    }

    /// The id of Azurite's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        // An error means that it ended before.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Installs Azurite unless it is there, and returns its directory.
pub async fn install(progress: Progress<'_>) -> Result<PathBuf, AzuriteError> {
    PACKAGE.install(progress).await.map_err(AzuriteError::Npm)
}

/// Why there is no Azurite.
#[derive(Debug)]
pub enum AzuriteError {
    /// It could not be installed.
    Npm(NpmError),
    /// Node.js did not start.
    Node(io::Error),
    /// A path of the options cannot be used.
    Directory {
        /// That path.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Azurite ended, or did not get ready; what it said.
    Start(String),
}

impl fmt::Display for AzuriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Npm(error) => error.fmt(f),
            Self::Node(error) => write!(f, "Azurite needs Node.js, which cannot be run: {error}"),
            Self::Directory { path, source } => write!(f, "Azurite cannot use {}: {source}", path.display()),
            Self::Start(output) => write!(f, "Azurite did not start: {output}"),
        }
    }
}

impl std::error::Error for AzuriteError {}

fn command(package: &Path, options: &AzuriteOptions) -> Result<Command, AzuriteError> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|source| AzuriteError::Directory { path: path.to_owned(), source })
    };
    let mut command = Command::new("node");
    command
        .args(["-e", RUN, "--"])
        .arg(package.join(PACKAGE.entry))
        .args(["--blobHost", "127.0.0.1", "--blobPort", "0"])
        .args(["--queueHost", "127.0.0.1", "--queuePort", "0"])
        .args(["--tableHost", "127.0.0.1", "--tablePort", "0"])
        .args(["--oauth", "basic", "--silent", "--disableTelemetry", "--inMemoryPersistence", "--cert"])
        .arg(absolute(&options.certificate)?)
        .arg("--key")
        .arg(absolute(&options.key)?)
        .current_dir(&options.directory)
        // Other accounts and a database are for other Azurites.
        .env_remove("AZURITE_ACCOUNTS")
        .env_remove("AZURITE_DB")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// Reads the output for as long as Azurite lives; resolves to the ports, or to all that it said before it ended.
fn listen(process: &mut Child) -> oneshot::Receiver<Result<(u16, u16), String>> {
    let (lines, received) = mpsc::channel();
    let stdout = process.stdout.take().expect("stdout is piped");
    let stderr = process.stderr.take().expect("stderr is piped");
    // Threads, not tasks: the output must be drained beyond the life of the runtime that started Azurite.
    drain(stdout, lines.clone());
    drain(stderr, lines);
    let (ready, ports) = oneshot::channel();
    std::thread::spawn(move || {
        let (mut blob, mut queue, mut said) = (None, None, Vec::new());
        let mut ready = Some(ready);
        for line in received {
            if ready.is_none() {
                continue;
            }
            blob = blob.or_else(|| port(&line, "Blob"));
            queue = queue.or_else(|| port(&line, "Queue"));
            said.push(line);
            if let (Some(blob), Some(queue)) = (blob, queue)
                && let Some(ready) = ready.take()
            {
                let _ = ready.send(Ok((blob, queue)));
            }
        }
        if let Some(ready) = ready {
            let _ = ready.send(Err(said.join("\n")));
        }
    });
    ports
}

fn drain(output: impl io::Read + Send + 'static, lines: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in io::BufRead::lines(io::BufReader::new(output)) {
            if line.is_err() || line.is_ok_and(|line| lines.send(line).is_err()) {
                break;
            }
        }
    });
}

/// The port in `Azurite Blob service is successfully listening at https://127.0.0.1:36935`.
fn port(line: &str, service: &str) -> Option<u16> {
    line.strip_prefix("Azurite ")?
        .strip_prefix(service)?
        .strip_prefix(" service is successfully listening at ")?
        .rsplit(':')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn ports_are_read_from_the_output() {
        let line = "Azurite Queue service is successfully listening at https://127.0.0.1:46117";
        assert_eq!(port(line, "Queue"), Some(46117));
        assert_eq!(port(line, "Blob"), None);
        assert_eq!(port("Azurite Queue service is starting at https://127.0.0.1:0", "Queue"), None);
    }

    #[test]
    fn the_lock_is_that_of_the_version_and_of_no_registry() {
        assert!(PACKAGE.manifest.contains(&format!(r#""azurite": "{VERSION}""#)));
        assert!(PACKAGE.lock.contains(&format!(r#""azurite": "{VERSION}""#)));
        assert!(!PACKAGE.lock.contains(r#""resolved""#));
        assert!(PACKAGE.name.ends_with(VERSION));
    }

    #[tokio::test]
    async fn azurite_serves_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path());
        let azurite = Azurite::start(&options, &|_| ()).await.unwrap();
        let (blob, queue) = (azurite.blob_port(), azurite.queue_port());
        for port in [blob, queue] {
            assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok());
        }
        drop(azurite);
        for port in [blob, queue] {
            assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
        }
    }

    #[tokio::test]
    async fn azurite_ends_when_its_starter_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let package = install(&|_| ()).await.unwrap();
        let mut process = command(&package, &options(directory.path())).unwrap().spawn().unwrap();
        listen(&mut process).await.unwrap().unwrap();
        drop(process.stdin.take());
        let ended = tokio::task::spawn_blocking(move || process.wait());
        let status = tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap().unwrap().unwrap();
        assert!(status.success());
    }

    #[tokio::test]
    async fn what_azurite_says_before_it_ends_is_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(directory.path());
        options.certificate = directory.path().join("missing.pem");
        let error = Azurite::start(&options, &|_| ()).await.unwrap_err().to_string();
        assert!(error.contains("missing.pem"), "{error}");
    }

    fn options(directory: &Path) -> AzuriteOptions {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        fs::write(&certificate, certified.cert.pem()).unwrap();
        fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        AzuriteOptions { certificate, key, directory: directory.to_owned() }
    }
}
