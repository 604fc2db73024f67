//! Azurite, the emulator of Blob and Queue Storage: fetched from npm at first use, started over TLS.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::app::{AppRoot, Progress};

/// The version of the npm package.
pub const VERSION: &str = "3.37.0";

/// The account that Azurite always has.
pub const ACCOUNT: &str = "devstoreaccount1";

const MANIFEST: &str = include_str!("../../azurite/package.json");
const LOCK: &str = include_str!("../../azurite/package-lock.json");
const ENTRY: &str = "node_modules/azurite/dist/src/azurite.js";

/// Azurite declares 22; 20 is the oldest that it is known to start and serve on.
const OLDEST_NODE: u32 = 20;
const NODE_REMEDY: &str = "install Node.js 22 or newer, with npm, from https://nodejs.org";

/// Ends Azurite when its standard input closes, which the system does however this process ends.
const RUN: &str = "process.stdin.on('end', () => process.exit()).on('error', () => process.exit()).resume(); \
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

/// Installs the locked packages unless they are there, and returns their directory.
///
/// In a checkout that is `target/signet/azurite-{version}`, elsewhere it lies in the user's cache directory. Processes
/// that come at the same time wait for the first of them.
pub async fn install(progress: Progress<'_>) -> Result<PathBuf, AzuriteError> {
    require_node().await?;
    let parent = parent_directory()?;
    let package = parent.join(format!("azurite-{VERSION}"));
    if is_installed(&package) {
        return Ok(package);
    }
    let broken = |source| AzuriteError::Directory { path: parent.clone(), source };
    fs::create_dir_all(&parent).map_err(broken)?;
    let _lock = lock(&parent, progress).await.map_err(broken)?;
    if !is_installed(&package) {
        progress(&format!("installing Azurite {VERSION} from npm, once, into {}", package.display()));
        let fresh = tempfile::Builder::new().prefix(".azurite-").tempdir_in(&parent).map_err(broken)?;
        npm_ci(fresh.path()).await?;
        if package.exists() {
            fs::remove_dir_all(&package).map_err(broken)?;
        }
        fs::rename(fresh.path(), &package).map_err(broken)?;
    }
    Ok(package)
}

/// Why there is no Azurite.
#[derive(Debug)]
pub enum AzuriteError {
    /// Node.js did not start.
    Node(io::Error),
    /// Node.js is too old; its version.
    NodeVersion(String),
    /// npm did not start.
    Npm(io::Error),
    /// The packages could not be installed; what npm said.
    Install(String),
    /// The place for the packages cannot be used.
    Directory {
        /// That place.
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
            Self::Node(error) => write!(f, "Azurite needs Node.js, which cannot be run ({error}): {NODE_REMEDY}"),
            Self::NodeVersion(version) => write!(f, "Azurite does not run on Node.js {version}: {NODE_REMEDY}"),
            Self::Npm(error) => write!(f, "Azurite comes from npm, which cannot be run ({error}): {NODE_REMEDY}"),
            Self::Install(output) => {
                write!(
                    f,
                    "npm could not install Azurite {VERSION}; check the network and `npm config get registry`:\n{output}"
                )
            }
            Self::Directory { path, source } => {
                write!(f, "Azurite cannot be kept in {} ({source}): make it writable", path.display())
            }
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
        .arg(package.join(ENTRY))
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

async fn require_node() -> Result<(), AzuriteError> {
    let output = tokio::process::Command::new("node").arg("--version").output().await.map_err(AzuriteError::Node)?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match major(&version) {
        Some(major) if major >= OLDEST_NODE => Ok(()),
        _ => Err(AzuriteError::NodeVersion(version)),
    }
}

/// The 20 of `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

async fn npm_ci(directory: &Path) -> Result<(), AzuriteError> {
    let broken = |source| AzuriteError::Directory { path: directory.to_owned(), source };
    fs::write(directory.join("package.json"), MANIFEST).map_err(broken)?;
    fs::write(directory.join("package-lock.json"), LOCK).map_err(broken)?;
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let output = tokio::process::Command::new(npm)
        .args(["ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"])
        .args(["--engine-strict=false", "--loglevel=error"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(AzuriteError::Npm)?;
    if output.status.success() && directory.join(ENTRY).is_file() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    Err(AzuriteError::Install(text.join("\n").trim().to_owned()))
}

fn is_installed(package: &Path) -> bool {
    package.join(ENTRY).is_file()
        && fs::read_to_string(package.join("package-lock.json")).is_ok_and(|lock| lock == LOCK)
}

/// Takes the lock of the directory; the system gives it back when the file is closed.
async fn lock(parent: &Path, progress: Progress<'_>) -> io::Result<fs::File> {
    let file = fs::File::create(parent.join(".lock"))?;
    let mut next_word = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) => {}
        }
        if Instant::now() >= next_word {
            progress("another process is installing Azurite; waiting for it");
            next_word = Instant::now() + Duration::from_secs(30);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn parent_directory() -> Result<PathBuf, AzuriteError> {
    let directory = match AppRoot::find() {
        Ok(root) if root.directory().join("Cargo.toml").is_file() => Some(root.target()),
        _ => cache_directory(),
    };
    directory.map(|directory| directory.join("signet")).ok_or_else(|| AzuriteError::Directory {
        path: "the user's cache directory".into(),
        source: io::Error::new(io::ErrorKind::NotFound, "no home directory is set"),
    })
}

fn cache_directory() -> Option<PathBuf> {
    let home = || env::home_dir().filter(|home| !home.as_os_str().is_empty());
    if cfg!(windows) {
        env::var_os("LOCALAPPDATA").map(PathBuf::from)
    } else if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Caches"))
    } else {
        // XDG Base Directory Specification: a relative path is to be ignored.
        let set = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        set.or_else(|| home().map(|home| home.join(".cache")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_output() {
        let line = "Azurite Queue service is successfully listening at https://127.0.0.1:46117";
        assert_eq!(port(line, "Queue"), Some(46117));
        assert_eq!(port(line, "Blob"), None);
        assert_eq!(port("Azurite Queue service is starting at https://127.0.0.1:0", "Queue"), None);
    }

    #[test]
    fn node_versions_are_understood() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("v22.0.0-nightly2024"), Some(22));
        assert_eq!(major("20"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn a_missing_or_old_node_is_one_line_with_the_remedy() {
        let missing = AzuriteError::Node(io::Error::from(io::ErrorKind::NotFound)).to_string();
        let old = AzuriteError::NodeVersion("v16.20.2".into()).to_string();
        for line in [missing, old] {
            assert!(!line.contains('\n') && line.ends_with(NODE_REMEDY), "{line}");
        }
    }

    #[test]
    fn the_lock_is_that_of_the_version_and_of_no_registry() {
        assert!(MANIFEST.contains(&format!(r#""azurite": "{VERSION}""#)));
        assert!(LOCK.contains(&format!(r#""azurite": "{VERSION}""#)));
        assert!(!LOCK.contains(r#""resolved""#));
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
