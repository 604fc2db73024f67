//! The function app in this checkout: where it is, and the handler that its `host.json` starts.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Command,
};

use super::shipping::Shipping;

/// Where a long step says what it is doing, one line at a time.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// The environment variable that names a handler which is built already.
pub const PREBUILT: &str = "SIGNET_HANDLER";

/// Where the app has its handler, as `host.json` names it.
pub(crate) const HANDLER: &str = "bin/handler";
const TAIL: usize = 25;

/// The root of the function app: the directory that holds `host.json`.
#[derive(Clone, Debug)]
pub struct AppRoot {
    directory: PathBuf,
}

impl AppRoot {
    /// Finds the root above the current directory, else above the sources that this tool was built from.
    pub fn find() -> Result<Self, AppError> {
        let current = std::env::current_dir().ok();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf();
        [current, Some(sources)]
            .into_iter()
            .flatten()
            .find_map(|start| start.ancestors().find(|directory| directory.join("host.json").is_file()).map(Self::at))
            .ok_or(AppError::NoRoot)
    }

    /// Takes a directory as the root, without a look at it.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The root's path.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Cargo's target directory of the checkout.
    #[must_use]
    pub fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.directory.join("target"), |target| self.directory.join(target))
    }

    /// Builds the handler as it ships from this machine, puts it at `bin/handler` and returns that path.
    pub async fn build_handler(&self, progress: Progress<'_>) -> Result<PathBuf, AppError> {
        let shipping = Shipping::of(self, None).await?;
        self.build_shipping(&shipping, progress).await
    }

    /// Builds the handler as decided, puts it at `bin/handler` and returns that path.
    ///
    /// [`PREBUILT`] in the environment names a binary to use in place of a build. Several processes may call this at
    /// the same time: cargo serialises the builds, and the file appears whole or not at all.
    pub async fn build_shipping(&self, shipping: &Shipping, progress: Progress<'_>) -> Result<PathBuf, AppError> {
        let built = match std::env::var_os(PREBUILT) {
            Some(path) => PathBuf::from(path),
            None => self.cargo_build(shipping, progress).await?,
        };
        let wanted = self.directory.join(HANDLER);
        install(&built, &wanted).map_err(|source| AppError::Install { from: built, to: wanted.clone(), source })?;
        Ok(wanted)
    }

    /// Builds a variant of the handler as decided, and puts it at `to`; [`PREBUILT`] does not name it.
    pub async fn build_variant(&self, shipping: &Shipping, to: &Path, progress: Progress<'_>) -> Result<(), AppError> {
        let built = self.cargo_build(shipping, progress).await?;
        install(&built, to).map_err(|source| AppError::Install { from: built, to: to.to_owned(), source })
    }

    /// Cargo, started in the root.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // What cargo tells a program that it runs is about that program. Build scripts would see a change in it, and build
        // again what `cargo test` has built for `cargo run`.
        let about_us = |name: &str| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|p| name.starts_with(p))
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(about_us)) {
            cargo.env_remove(name);
        }
        cargo.current_dir(&self.directory).stdin(Stdio::null()).kill_on_drop(true);
        cargo
    }

    async fn cargo_build(&self, shipping: &Shipping, progress: Progress<'_>) -> Result<PathBuf, AppError> {
        let mut build = self.cargo();
        build.args(["build", "--release", "--locked", "--package", "handler"]);
        let mut build = shipping
            .apply(&mut build)
            .arg("--message-format=json-render-diagnostics")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(AppError::Cargo)?;
        let mut messages = build.stdout.take().expect("stdout is piped, three lines up");
        let mut lines = BufReader::new(build.stderr.take().expect("stderr is piped as well")).lines();
        let mut output = String::new();
        let mut tail = Vec::new();
        let (read, ()) = tokio::join!(messages.read_to_string(&mut output), async {
            while let Ok(Some(line)) = lines.next_line().await {
                progress(line.trim());
                tail.push(line);
            }
        });
        read.map_err(AppError::Cargo)?;
        let status = build.wait().await.map_err(AppError::Cargo)?;
        let executable = output.lines().filter_map(executable).next_back();
        executable.filter(|_| status.success()).ok_or_else(|| AppError::Build {
            status,
            output: tail.split_off(tail.len().saturating_sub(TAIL)).join("\n"),
        })
    }
}

/// Why the function app is not ready to start.
#[derive(Debug)]
pub enum AppError {
    /// No `host.json` above the current directory or the tool's sources.
    NoRoot,
    /// Cargo did not start, or broke off.
    Cargo(io::Error),
    /// The build failed; the end of what cargo said.
    Build {
        /// Cargo's exit status.
        status: ExitStatus,
        /// The last lines of its standard error.
        output: String,
    },
    /// The binary could not be put in its place.
    Install {
        /// The binary that was built.
        from: PathBuf,
        /// Its place in the app.
        to: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoot => f.write_str("no host.json found from here upwards: start this inside the checkout"),
            Self::Cargo(error) => write!(f, "cargo cannot be run ({error}): install Rust from https://rustup.rs"),
            Self::Build { status, output } => write!(f, "building the handler failed ({status}):\n{output}"),
            Self::Install { from, to, source } => {
                let (from, to) = (from.display(), to.display());
                write!(f, "{from} cannot be copied to {to} ({source}): stop what runs it, or check the permissions")
            }
        }
    }
}

impl std::error::Error for AppError {}

/// The executable that a line of cargo's JSON messages reports.
fn executable(line: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    serde_json::from_str::<Message>(line).ok()?.executable
}

/// Copies `from` to `to` through a temporary file beside it, so that a reader sees the old file or the new one.
fn install(from: &Path, to: &Path) -> io::Result<()> {
    let content = fs::read(from)?;
    if fs::read(to).is_ok_and(|present| present == content) && is_executable(to) {
        return Ok(());
    }
    let directory = to.parent().expect("the handler's place has a directory, bin");
    fs::create_dir_all(directory)?;
    let file = tempfile::NamedTempFile::new_in(directory)?;
    fs::write(file.path(), &content)?;
    set_mode(file.path(), 0o755)?;
    // Closed before it is renamed: Linux refuses to start a file that is open for writing.
    file.into_temp_path().persist(to).map_err(|error| error.error)
}

#[cfg(unix)]
pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 == 0o111)
}

#[cfg(not(unix))]
pub(crate) fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn is_executable(_: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_found() {
        let root = AppRoot::find().unwrap();
        assert!(root.directory().join("sign/function.json").is_file());
    }

    #[test]
    fn only_artifacts_with_an_executable_count() {
        let artifact = r#"{"reason":"compiler-artifact","executable":"/t/release/handler","fresh":true}"#;
        assert_eq!(executable(artifact), Some(PathBuf::from("/t/release/handler")));
        assert_eq!(executable(r#"{"reason":"compiler-artifact","executable":null}"#), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(executable("warning: text"), None);
    }

    #[test]
    fn installing_replaces_the_file_and_makes_it_executable() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("built"), directory.path().join("bin/handler"));
        for content in ["one", "two", "two"] {
            fs::write(&from, content).unwrap();
            install(&from, &to).unwrap();
            assert_eq!(fs::read_to_string(&to).unwrap(), content);
            assert!(is_executable(&to));
        }
        assert_eq!(fs::read_dir(directory.path().join("bin")).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_missing_binary_is_named() {
        let error = install(Path::new("/nonexistent/handler"), Path::new("/nonexistent/bin/handler")).unwrap_err();
        let error = AppError::Install { from: "/a".into(), to: "/b".into(), source: error }.to_string();
        assert!(error.starts_with("/a cannot be copied to /b"), "{error}");
    }
}
