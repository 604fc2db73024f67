//! `signet dev`: the local stack until Ctrl-C, with the addresses and settings to use.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    local::{
        app::AppRoot,
        host::{Host, HostOptions},
        puller::Puller,
        stack::{Deployment, Stack},
        vault::KeySpec,
    },
    settings::Error,
};

/// How the stack runs.
#[derive(Args, Debug)]
pub struct Options {
    /// Who runs the handler: the stand-in host, or Core Tools' `func start` in another terminal
    #[arg(long, value_enum, default_value_t = HostChoice::StandIn)]
    host: HostChoice,
    /// No host at all: run `handler pull`, as a container would
    #[arg(long, conflicts_with = "host")]
    pull: bool,
    /// The signing key's kind
    #[arg(long, value_enum, default_value_t = KeyChoice::P256)]
    key: KeyChoice,
    /// Print the settings as JSON, one line, once everything is there
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HostChoice {
    StandIn,
    Func,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeyChoice {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    P256,
    P384,
    P521,
    P256k,
}

/// Runs until Ctrl-C.
pub async fn run(options: &Options) -> Result<ExitCode, Error> {
    let root = AppRoot::find()?;
    let progress = |line: &str| tell!("  {line}");
    let handler = root.build_handler(&progress).await?;
    let stack = Stack::start(&progress).await?;
    let deployment = Arc::new(Deployment::start(&stack, "work").await?);
    tell!("  making a key");
    let key = deployment.create_key("signing", KeySpec::from(options.key)).await?;
    deployment.subscribe(deployment.uploads_subscription());
    let settings = deployment.settings(&key);
    // A collector that listens on this machine is one for the handler, too.
    let telemetry = std::env::vars().filter(|(name, _)| name.starts_with("OTEL_"));
    let complete = settings.clone().into_iter().chain(telemetry).collect();
    let runs = match options.host {
        _ if options.pull => {
            let mut puller = Puller::start(&handler, &complete)?;
            puller.ready().await?;
            Runs::Puller(puller)
        }
        HostChoice::Func => Runs::Elsewhere,
        HostChoice::StandIn => {
            let mut options = HostOptions::new(root.directory(), complete);
            options.queues = Some(Arc::new(deployment.queues()?));
            options.clear_environment = true;
            let host = Host::start(options)?;
            host.ready().await?;
            Runs::Host(host)
        }
    };
    let file = SettingsFile::write(&root.target().join("signet"), &settings)?;
    if options.json {
        say!("{}", json!({ "settings": settings, "file": file.path }));
    } else {
        show(options, &settings, &file.path);
    }
    print_log_until_interrupted(runs).await?;
    Ok(ExitCode::SUCCESS)
}

fn show(options: &Options, settings: &BTreeMap<String, String>, file: &Path) {
    say!("\nThe local stack is running. Its settings, also in {}:\n", file.display());
    for (name, value) in settings {
        say!("  {name:<28} {value}");
    }
    let (file, results, uploads) = (file.display(), &settings["SIGNET_RESULTS"], &settings["SIGNET_SOURCES"]);
    say!(
        "\nA blob that is written to {uploads} becomes a Microsoft.Storage.BlobCreated event on the queue {}, \
         in the form in which Event Grid delivers it.",
        settings["SIGNET_QUEUE"]
    );
    match options.host {
        HostChoice::StandIn => say!(
            "\nIn another terminal:\n\n  \
             echo '{{\"id\":\"hello\",\"payload\":{{\"a\":1}}}}' | signet --settings {file} send\n  \
             signet --settings {file} verify {results}/hello.jws.json\n\n\
             Ctrl-C ends it all. What the handler logs:\n"
        ),
        HostChoice::Func => say!(
            "\nFor Core Tools: copy that file to local.settings.json in the checkout, have {ca} trusted by .NET \
             (on Linux: export SSL_CERT_FILE={ca}; on macOS: add it to the keychain; on Windows: certutil -user -addstore Root {ca}), \
             have devstoreaccount1.blob.localhost and devstoreaccount1.queue.localhost resolve to 127.0.0.1 (a line in the hosts file), \
             and type `func start` there. The file has a connection string for the host's own storage, with the key that \
             every Azurite has.\n\nCtrl-C ends the stack.\n",
            ca = settings["SSL_CERT_FILE"],
        ),
    }
}

/// The settings in the form of Core Tools, removed with the stack that they are for.
struct SettingsFile {
    path: PathBuf,
    text: String,
}

impl SettingsFile {
    fn write(directory: &Path, settings: &BTreeMap<String, String>) -> Result<Self, Error> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join("dev.settings.json");
        let mut values = settings.clone();
        values.insert("FUNCTIONS_WORKER_RUNTIME".to_owned(), "custom".to_owned());
        values.insert("AzureWebJobsStorage".to_owned(), host_storage(settings));
        let text = serde_json::to_string_pretty(&json!({ "IsEncrypted": false, "Values": values }))? + "\n";
        std::fs::write(&path, &text)?;
        Ok(Self { path, text })
    }
}

impl Drop for SettingsFile {
    fn drop(&mut self) {
        // Left behind, it would only name a stack that is gone; but it may be another's by now, of a `signet dev` that began later.
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The Functions host keeps its own state in storage, too; Azurite's published key will do for that.
fn host_storage(settings: &BTreeMap<String, String>) -> String {
    const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let results = settings["SIGNET_RESULTS"].rsplit_once('/').map_or("", |(account, _)| account);
    let queues = &settings["WorkQueue__queueServiceUri"];
    format!(
        "DefaultEndpointsProtocol=https;AccountName=devstoreaccount1;AccountKey={KEY};\
         BlobEndpoint={results};QueueEndpoint={queues};"
    )
}

/// Who runs the handler here.
enum Runs {
    Host(Host),
    Puller(Puller),
    Elsewhere,
}

impl Runs {
    /// What was logged after so many lines.
    fn log_from(&self, line: usize) -> Vec<String> {
        match self {
            Self::Host(host) => host.log_from(line).into_iter().map(|line| line.text).collect(),
            Self::Puller(puller) => puller.log_from(line),
            Self::Elsewhere => Vec::new(),
        }
    }

    /// Why it has ended by itself, once it has.
    async fn ended(&mut self) -> String {
        match self {
            Self::Host(host) => format!("the host has stopped: {}", host.stopped().await),
            Self::Puller(puller) => match puller.ended().await {
                Ok(status) => format!("the handler has ended: {status}"),
                Err(error) => format!("the handler cannot be waited for: {error}"),
            },
            Self::Elsewhere => std::future::pending().await,
        }
    }
}

async fn print_log_until_interrupted(mut runs: Runs) -> Result<(), Error> {
    let mut printed = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let mut print = |runs: &Runs| {
        let lines = runs.log_from(printed);
        for line in &lines {
            say!("{line}");
        }
        printed += lines.len();
    };
    // One for all turns: a signal that came between two of them would be lost.
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            interrupted = &mut interrupted => {
                interrupted?;
                break;
            }
            _ = ticks.tick() => print(&runs),
            why = runs.ended() => {
                print(&runs);
                return Err(why.into());
            }
        }
    }
    if let Runs::Puller(puller) = &mut runs {
        // It hands back what it works on. A terminal's Ctrl-C went to it as well; then this is the second signal.
        puller.terminate();
        let _ = timeout(LONGEST_DRAIN, runs.ended()).await;
        print(&runs);
    }
    Ok(())
}

/// By default it takes at most half a minute.
const LONGEST_DRAIN: Duration = Duration::from_secs(30);

impl From<KeyChoice> for KeySpec {
    fn from(choice: KeyChoice) -> Self {
        match choice {
            KeyChoice::Rsa2048 => Self::Rsa2048,
            KeyChoice::Rsa3072 => Self::Rsa3072,
            KeyChoice::Rsa4096 => Self::Rsa4096,
            KeyChoice::P256 => Self::P256,
            KeyChoice::P384 => Self::P384,
            KeyChoice::P521 => Self::P521,
            KeyChoice::P256k => Self::P256K,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_stacks_the_settings_of_the_later_stay_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let write = |port: u16| {
            let queues = ("WorkQueue__queueServiceUri", format!("https://devstoreaccount1.queue.localhost:{port}"));
            let results = ("SIGNET_RESULTS", format!("https://devstoreaccount1.blob.localhost:{port}/work-signed"));
            let settings = [queues, results].map(|(name, value)| (name.to_owned(), value));
            SettingsFile::write(directory.path(), &settings.into()).unwrap()
        };
        let (first, second) = (write(1), write(2));
        let path = second.path.clone();
        drop(first);
        assert!(std::fs::read_to_string(&path).unwrap().contains(":2/work-signed"));
        drop(second);
        assert!(!path.exists());
    }
}
