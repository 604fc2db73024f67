//! How the handler is built for shipping: the one place that decides its target, its flags and its environment.
//!
//! On Linux the binary is static, so that it runs on any Linux of the machine's kind, with nothing beside it. No path of the
//! machine that builds it is in it: the same commit, built with the same compiler in any directory, is the same bytes.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    process::Output,
};

use tokio::process::Command;

use super::{
    app::{AppError, AppRoot},
    revision::Revision,
};

const FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";
/// Between two flags in [`FLAGS`].
const SEPARATOR: char = '\u{1f}';

/// What cargo is told, beside its arguments, to build what ships.
#[derive(Clone, Debug)]
pub struct Shipping {
    /// The target triple. It is always named, so that flags are for the handler alone, and not for build scripts.
    pub target: String,
    /// The state of the checkout that is built.
    pub revision: Revision,
    environment: Vec<(String, OsString)>,
    /// Features that what ships has not.
    features: Vec<String>,
}

impl Shipping {
    /// Decides for a checkout; `target` names another target than this machine's own.
    pub async fn of(root: &AppRoot, target: Option<&str>) -> Result<Self, AppError> {
        let toolchain = Toolchain::find(root.directory()).await?;
        let (target, linkage) = match target {
            Some(target) => (target.to_owned(), Linkage::Static),
            None => own_target(&toolchain).await,
        };
        let revision = Revision::of(root.directory()).await;
        let mut flags = given_flags();
        flags.extend(rustflags(&target, linkage));
        flags.extend(remapped(&path_prefixes(root, &toolchain)));
        let mut environment = vec![
            (FLAGS.to_owned(), flags.join(OsStr::new(SEPARATOR.encode_utf8(&mut [0; 4])))),
            ("SOURCE_DATE_EPOCH".to_owned(), revision.time.unix_timestamp().to_string().into()),
        ];
        environment.extend(c_compiler(&target, &toolchain.host));
        Ok(Self { target, revision, environment, features: Vec::new() })
    }

    /// The same, with a feature that what ships has not: for what watches the handler closer than it can be watched from outside.
    #[must_use]
    pub fn with_feature(mut self, name: &str) -> Self {
        self.features.push(name.to_owned());
        self
    }

    /// Adds the target, the features and the environment to a `cargo build`.
    pub fn apply<'a>(&self, build: &'a mut Command) -> &'a mut Command {
        let features = self.features.iter().flat_map(|name| ["--features", name]);
        build
            .args(["--target", &self.target])
            .args(features)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
    }
}

/// What the libraries of C become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linkage {
    /// Part of the binary, where the target knows that.
    Static,
    /// As the target has it.
    Usual,
}

/// Flags of rustc for a target.
fn rustflags(target: &str, linkage: Linkage) -> Vec<OsString> {
    let mut flags = Vec::new();
    if linkage == Linkage::Static && target.contains("-linux-") {
        flags.push("-Ctarget-feature=+crt-static".into());
        flags.extend(LINKING.map(OsString::from));
        flags.push(RANDOM.into());
    }
    flags
}

/// Random bytes from the system call. The crate looks that up at run time otherwise, which a static glibc cannot, and then needs
/// `/dev/urandom`: a file that an empty root directory does not have.
const RANDOM: &str = "--cfg=getrandom_backend=\"linux_getrandom\"";

/// Relocations in their short form, and nothing to unwind with: a panic ends the process. That is a seventh of the binary.
/// The linker starts in the root of the checkout.
const LINKING: [&str; 3] = [
    "-Clink-arg=-Wl,-z,pack-relative-relocs",
    "-Clink-arg=-Wl,--no-eh-frame-hdr",
    "-Clink-arg=-Wl,-T,handler/no-unwinding.ld",
];

/// The machine's own target: on Linux musl where it is installed, else with the machine's own C library linked in. Where that
/// has no static form installed either, and on other systems, it is the usual target of the machine.
async fn own_target(toolchain: &Toolchain) -> (String, Linkage) {
    let host = &toolchain.host;
    if !host.contains("-linux-") {
        return (host.clone(), Linkage::Usual);
    }
    let architecture = host.split('-').next().unwrap_or_default();
    let musl = format!("{architecture}-unknown-linux-musl");
    if toolchain.has(&musl).await {
        (musl, Linkage::Static)
    } else if has_static_libc().await {
        (host.clone(), Linkage::Static)
    } else {
        (host.clone(), Linkage::Usual)
    }
}

/// Whether the C compiler finds a `libc.a`. It answers with a path if it does, and repeats the name if not.
async fn has_static_libc() -> bool {
    let Ok(output) = Command::new("cc").arg("-print-file-name=libc.a").output().await else { return false };
    Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_absolute()
}

/// The C compiler for the few C files of ring, unless the user has named one. They need no header of a C library, so the machine's own
/// compiler serves musl as well where there is no `musl-gcc`.
fn c_compiler(target: &str, host: &str) -> Option<(String, OsString)> {
    let name = format!("CC_{}", target.replace('-', "_"));
    let named =
        [name.as_str(), &format!("CC_{target}"), "TARGET_CC"].into_iter().any(|name| env::var_os(name).is_some());
    let same_machine = target.split('-').next() == host.split('-').next();
    if named || target == host || !same_machine || !target.contains("-linux-musl") {
        return None;
    }
    let compiler = ["musl-gcc", "cc", "gcc"].into_iter().find(|name| is_on_path(name))?;
    Some((name, compiler.into()))
}

fn is_on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|place| place.join(program).is_file()))
}

/// Flags that the user has set, as cargo would read them.
fn given_flags() -> Vec<OsString> {
    let split = |flags: String, separator: char| -> Vec<OsString> {
        flags.split(separator).filter(|flag| !flag.is_empty()).map(OsString::from).collect()
    };
    match (env::var(FLAGS), env::var("RUSTFLAGS")) {
        (Ok(flags), _) => split(flags, SEPARATOR),
        (_, Ok(flags)) => split(flags, ' '),
        _ => Vec::new(),
    }
}

/// Directories whose names must not be in the binary, and what stands for them. Of several that match, rustc takes the last.
fn path_prefixes(root: &AppRoot, toolchain: &Toolchain) -> Vec<(PathBuf, String)> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let mut prefixes = vec![(root.directory().to_owned(), "/signet".to_owned()), (root.target(), "/target".to_owned())];
    prefixes.extend(cargo_home.map(|home| (home, "/cargo".to_owned())));
    // Where the sources of the standard library are installed, rustc names them in place of the paths in the library itself.
    let library = toolchain.sysroot.join("lib").join("rustlib").join("src").join("rust");
    prefixes.extend(toolchain.commit.as_ref().map(|commit| (library, format!("/rustc/{commit}"))));
    let real: Vec<_> = prefixes
        .iter()
        .filter_map(|(path, name)| Some((fs::canonicalize(path).ok().filter(|real| real != path)?, name.clone())))
        .collect();
    prefixes.into_iter().chain(real).collect()
}

fn remapped(prefixes: &[(PathBuf, String)]) -> impl Iterator<Item = OsString> {
    prefixes.iter().map(|(path, name)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(path);
        flag.push("=");
        flag.push(name);
        flag
    })
}

/// The compiler that cargo uses.
#[derive(Debug)]
struct Toolchain {
    directory: PathBuf,
    host: String,
    sysroot: PathBuf,
    commit: Option<String>,
}

impl Toolchain {
    async fn find(directory: &Path) -> Result<Self, AppError> {
        let about = |output: Output| String::from_utf8_lossy(&output.stdout).into_owned();
        let version = about(rustc(directory, &["-vV"]).await.map_err(AppError::Cargo)?);
        let sysroot = about(rustc(directory, &["--print", "sysroot"]).await.map_err(AppError::Cargo)?);
        let value = |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let host = value("host: ")
            .ok_or_else(|| AppError::Cargo(io::Error::other("rustc does not say for what it builds")))?;
        let commit = value("commit-hash: ").filter(|commit| commit != "unknown");
        Ok(Self { directory: directory.to_owned(), host, sysroot: PathBuf::from(sysroot.trim()), commit })
    }

    /// Whether a target's standard library is installed.
    async fn has(&self, target: &str) -> bool {
        let printed = rustc(&self.directory, &["--print", "target-libdir", "--target", target]).await;
        let libraries = printed.ok().and_then(|output| String::from_utf8(output.stdout).ok());
        let files = libraries.and_then(|directory| fs::read_dir(directory.trim()).ok());
        files.is_some_and(|mut files| {
            files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
        })
    }
}

async fn rustc(directory: &Path, arguments: &[&str]) -> io::Result<Output> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Command::new(rustc).args(arguments).current_dir(directory).output().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_is_static_and_nothing_else_is() {
        for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-musl"] {
            assert_eq!(rustflags(target, Linkage::Static)[0], "-Ctarget-feature=+crt-static");
        }
        assert!(rustflags("x86_64-unknown-linux-gnu", Linkage::Usual).is_empty());
        assert!(rustflags("x86_64-pc-windows-gnu", Linkage::Static).is_empty());
        assert!(rustflags("aarch64-apple-darwin", Linkage::Static).is_empty());
    }

    #[test]
    fn paths_are_replaced_whole() {
        let prefixes = [(PathBuf::from("/home/of somebody/signet"), "/signet".to_owned())];
        assert_eq!(remapped(&prefixes).collect::<Vec<_>>(), ["--remap-path-prefix=/home/of somebody/signet=/signet"]);
    }

    #[tokio::test]
    async fn the_own_target_is_one_of_this_machine() {
        let shipping = Shipping::of(&AppRoot::find().unwrap(), None).await.unwrap();
        assert!(shipping.target.starts_with(env::consts::ARCH), "{}", shipping.target);
        let flags = &shipping.environment[0].1;
        assert!(flags.to_string_lossy().contains("=/signet"), "{flags:?}");
    }

    #[tokio::test]
    async fn a_target_that_does_not_exist_is_not_installed() {
        let toolchain = Toolchain::find(AppRoot::find().unwrap().directory()).await.unwrap();
        assert!(toolchain.has(&toolchain.host).await);
        assert!(!toolchain.has("x86_64-unknown-nowhere").await);
    }
}
