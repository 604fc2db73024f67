//! Packages from npm at fixed versions: fetched at first use, once for all processes of this user.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::time::Instant;

use super::app::{AppRoot, Progress};

/// Azurite declares 22; 20 is the oldest that it is known to start and serve on.
const OLDEST_NODE: u32 = 20;
const NODE_REMEDY: &str = "install Node.js 22 or newer, with npm, from https://nodejs.org";

/// A locked set of packages.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Name and version, which name its directory.
    pub name: &'static str,
    /// The text of `package.json`.
    pub manifest: &'static str,
    /// The text of `package-lock.json`.
    pub lock: &'static str,
    /// A file that is there once all is installed.
    pub entry: &'static str,
}

impl Package {
    /// Installs the packages unless they are there, and returns their directory.
    ///
    /// In a checkout that is `target/signet/{name}`, elsewhere it lies in the user's cache directory. Processes that come
    /// at the same time wait for the first of them.
    pub async fn install(&self, progress: Progress<'_>) -> Result<PathBuf, NpmError> {
        require_node().await?;
        let parent = parent_directory()?;
        let directory = parent.join(self.name);
        if self.is_installed(&directory) {
            return Ok(directory);
        }
        let broken = |source| NpmError::Directory { path: parent.clone(), source };
        fs::create_dir_all(&parent).map_err(broken)?;
        let _lock = lock(&parent, progress).await.map_err(broken)?;
        if !self.is_installed(&directory) {
            progress(&format!("installing {} from npm, once, into {}", self.name, directory.display()));
            let fresh = tempfile::Builder::new().prefix(".npm-").tempdir_in(&parent).map_err(broken)?;
            npm_ci(self, fresh.path()).await?;
            if directory.exists() {
                fs::remove_dir_all(&directory).map_err(broken)?;
            }
            fs::rename(fresh.path(), &directory).map_err(broken)?;
        }
        Ok(directory)
    }

    fn is_installed(&self, directory: &Path) -> bool {
        directory.join(self.entry).is_file()
            && fs::read_to_string(directory.join("package-lock.json")).is_ok_and(|lock| lock == self.lock)
    }
}

/// Why a package is not there.
#[derive(Debug)]
pub enum NpmError {
    /// Node.js did not start.
    Node(io::Error),
    /// Node.js is too old; its version.
    NodeVersion(String),
    /// npm did not start.
    Npm(io::Error),
    /// The packages could not be installed.
    Install {
        /// Which.
        name: &'static str,
        /// What npm said.
        output: String,
    },
    /// The place for the packages cannot be used.
    Directory {
        /// That place.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl fmt::Display for NpmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(error) => write!(f, "Node.js cannot be run ({error}): {NODE_REMEDY}"),
            Self::NodeVersion(version) => write!(f, "Node.js {version} is too old: {NODE_REMEDY}"),
            Self::Npm(error) => write!(f, "npm cannot be run ({error}): {NODE_REMEDY}"),
            Self::Install { name, output } => {
                write!(f, "npm could not install {name}; check the network and `npm config get registry`:\n{output}")
            }
            Self::Directory { path, source } => {
                write!(f, "npm packages cannot be kept in {} ({source}): make it writable", path.display())
            }
        }
    }
}

impl std::error::Error for NpmError {}

async fn require_node() -> Result<(), NpmError> {
    let output = tokio::process::Command::new("node").arg("--version").output().await.map_err(NpmError::Node)?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match major(&version) {
        Some(major) if major >= OLDEST_NODE => Ok(()),
        _ => Err(NpmError::NodeVersion(version)),
    }
}

/// The 20 of `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

async fn npm_ci(package: &Package, directory: &Path) -> Result<(), NpmError> {
    let broken = |source| NpmError::Directory { path: directory.to_owned(), source };
    fs::write(directory.join("package.json"), package.manifest).map_err(broken)?;
    fs::write(directory.join("package-lock.json"), package.lock).map_err(broken)?;
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let output = tokio::process::Command::new(npm)
        .args(["ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"])
        .args(["--engine-strict=false", "--loglevel=error"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(NpmError::Npm)?;
    if output.status.success() && directory.join(package.entry).is_file() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    Err(NpmError::Install { name: package.name, output: text.join("\n").trim().to_owned() })
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
            progress("another process is installing packages from npm; waiting for it");
            next_word = Instant::now() + Duration::from_secs(30);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn parent_directory() -> Result<PathBuf, NpmError> {
    let directory = match AppRoot::find() {
        Ok(root) if root.directory().join("Cargo.toml").is_file() => Some(root.target()),
        _ => cache_directory(),
    };
    directory.map(|directory| directory.join("signet")).ok_or_else(|| NpmError::Directory {
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
    fn node_versions_are_understood() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("v22.0.0-nightly2024"), Some(22));
        assert_eq!(major("20"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn a_missing_or_old_node_is_one_line_with_the_remedy() {
        let missing = NpmError::Node(io::Error::from(io::ErrorKind::NotFound)).to_string();
        let old = NpmError::NodeVersion("v16.20.2".into()).to_string();
        for line in [missing, old] {
            assert!(!line.contains('\n') && line.ends_with(NODE_REMEDY), "{line}");
        }
    }
}
