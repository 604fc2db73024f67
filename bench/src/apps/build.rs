//! How each app is made: with its language's own tools, in the way of a deployment.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use signet::local::app::AppRoot;

use super::{App, Contender, Form};
use crate::{Error, Result};

/// The shipping binary, built or named by `SIGNET_HANDLER`.
pub(super) async fn signet(form: Form, root: &AppRoot, directory: PathBuf) -> Result<App> {
    let built = root.build_handler(&|line| eprintln!("  {line}")).await.map_err(|e| Error::new("the handler", e))?;
    let program = directory.join("bin/handler");
    fs::create_dir_all(directory.join("bin")).map_err(|e| Error::new("bin", e))?;
    fs::copy(&built, &program).map_err(|e| Error::new("bin/handler", e))?;
    let version = said(&program, &["--version"])?;
    let rustc = said("rustc", &["--version"]).unwrap_or_default();
    let versions = [("handler", behind_name(&version)), ("rustc", behind_name(&rustc))];
    let arguments: &[&str] = if form == Form::Pull { &["pull"] } else { &[] };
    Ok(app(Contender::Signet, form, directory, program, arguments, [], versions))
}

/// `npm ci`, as long as it has not been done for this lock file.
pub(super) fn node(form: Form, root: &AppRoot, directory: PathBuf, authority: &Path) -> Result<App> {
    let program = said("node", &["-p", "process.execPath"]).map_err(|e| missing("node", &e))?;
    let sources = root.directory().join("bench/node");
    // The queue's client is no part of a function app, which gets its messages from the host: it is a `devDependency`.
    let (main, omit, queue): (_, &[&str], &[&str]) = match form {
        Form::Functions => ("handler.mjs", &["--omit=dev"], &[]),
        Form::Pull => ("worker.mjs", &[], &["@azure/storage-queue"]),
    };
    copy(&sources, &directory, &["package.json", "signing.mjs", main])?;
    if is_changed(&sources.join("package-lock.json"), &directory.join("package-lock.json")) {
        copy(&sources, &directory, &["package-lock.json"])?;
        let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
        let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
        run(
            Command::new(npm).args(arguments).args(omit).current_dir(&directory),
            &directory.join("package-lock.json"),
        )?;
    }
    let mut versions = BTreeMap::from([("node".to_owned(), said(&program, &["--version"])?)]);
    for package in ["@azure/identity", "@azure/keyvault-keys", "@azure/storage-blob"].iter().chain(queue) {
        let manifest = fs::read_to_string(directory.join("node_modules").join(package).join("package.json"));
        let manifest = serde_json::from_str::<serde_json::Value>(&manifest.unwrap_or_default()).unwrap_or_default();
        versions.insert((*package).to_owned(), manifest["version"].as_str().unwrap_or_default().to_owned());
    }
    let environment = [("NODE_ENV", "production".to_owned()), ("NODE_EXTRA_CA_CERTS", authority.display().to_string())];
    Ok(app(Contender::Node, form, directory, program.into(), &[main], environment, versions))
}

/// The packages beside the app, where the Functions service puts them and looks for them.
pub(super) fn python(form: Form, root: &AppRoot, directory: PathBuf, authority: &Path) -> Result<App> {
    let python = if cfg!(windows) { "python" } else { "python3" };
    let program = said(python, &["-c", "import sys; print(sys.executable)"]).map_err(|e| missing(python, &e))?;
    let sources = root.directory().join("bench/python");
    let (main, requirements): (_, &[&str]) = match form {
        Form::Functions => ("handler.py", &["requirements.txt"]),
        Form::Pull => ("worker.py", &["requirements.txt", "requirements-pull.txt"]),
    };
    copy(&sources, &directory, &["signing.py", main])?;
    let packages = directory.join(".python_packages/lib/site-packages");
    if requirements.iter().any(|name| is_changed(&sources.join(name), &directory.join(name))) {
        copy(&sources, &directory, requirements)?;
        let _ = fs::remove_dir_all(&packages);
        let mut pip = Command::new(&program);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(&packages);
        pip.args(requirements.iter().flat_map(|name| ["--requirement", name])).current_dir(&directory);
        run(&mut pip, &directory.join("requirements.txt"))?;
    }
    let mut versions = BTreeMap::from([("python".to_owned(), behind_name(&said(&program, &["--version"])?))]);
    let requirements = requirements.iter().map(|name| fs::read_to_string(directory.join(name)).unwrap_or_default());
    for (name, version) in requirements.collect::<String>().lines().filter_map(|line| line.split_once("==")) {
        if name.starts_with("azure-") || name == "aiohttp" {
            versions.insert(name.to_owned(), version.to_owned());
        }
    }
    let authority = authority.display().to_string();
    let environment = [("PYTHONPATH", packages.display().to_string()), ("REQUESTS_CA_BUNDLE", authority)];
    Ok(app(Contender::Python, form, directory, program.into(), &[main], environment, versions))
}

/// A static, stripped binary.
pub(super) fn go(form: Form, root: &AppRoot, directory: PathBuf) -> Result<App> {
    if form == Form::Pull {
        return Err(Error::new("missing", "a worker in Go"));
    }
    let version = said("go", &["env", "GOVERSION"]).map_err(|e| missing("go", &e))?;
    let sources = root.directory().join("bench/go");
    let program = directory.join(if cfg!(windows) { "handler.exe" } else { "handler" });
    let mut build = Command::new("go");
    build.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(&program).arg(".");
    run(build.current_dir(&sources).env("CGO_ENABLED", "0"), &program)?;
    let mut versions = BTreeMap::from([("go".to_owned(), version)]);
    for line in fs::read_to_string(sources.join("go.mod")).unwrap_or_default().lines() {
        if let Some((name, version)) = line.trim().split_once(' ')
            && let Some((_, name)) = name.split_once("azure-sdk-for-go/sdk/")
            && !line.ends_with("// indirect")
        {
            versions.insert(name.to_owned(), version.to_owned());
        }
    }
    Ok(app(Contender::Go, form, directory, program, &[], [], versions))
}

fn app<const E: usize>(
    contender: Contender,
    form: Form,
    directory: PathBuf,
    program: PathBuf,
    arguments: &[&str],
    environment: [(&str, String); E],
    versions: impl IntoIterator<Item = (impl Into<String>, String)>,
) -> App {
    App {
        contender,
        form,
        directory,
        program,
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        versions: versions.into_iter().map(|(name, value)| (name.into(), value)).collect(),
    }
}

/// The 3.11 of `Python 3.11`.
fn behind_name(version: &str) -> String {
    version.split_once(' ').map_or(version, |(_, version)| version).to_owned()
}

fn missing(tool: &str, error: &Error) -> Error {
    Error::new("missing", format!("{tool} ({error})"))
}

fn copy(from: &Path, to: &Path, names: &[&str]) -> Result<()> {
    names
        .iter()
        .try_for_each(|name| fs::copy(from.join(name), to.join(name)).map(drop).map_err(|e| Error::new(name, e)))
}

/// Whether what was installed for `installed` is not what `wanted` asks for.
fn is_changed(wanted: &Path, installed: &Path) -> bool {
    fs::read(wanted).ok() != fs::read(installed).ok()
}

/// What a program prints in one line.
fn said(program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<String> {
    let name = program.as_ref().to_string_lossy().into_owned();
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|e| Error::new(&name, e))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(Error::new(&name, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Runs a step. When it fails, the mark that says it is done is taken away.
fn run(command: &mut Command, mark: &Path) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |cause: String| {
        let _ = fs::remove_file(mark);
        Error::new(&name, cause)
    };
    let output =
        command.stdin(Stdio::null()).output().map_err(|e| missing(&name, &Error::new("it cannot be run", e)))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    Err(failed(said.join(" ")))
}
