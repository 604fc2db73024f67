//! `signet dev`: the local stack until Ctrl-C, with the addresses and settings to use.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{
    local::{
        app::AppRoot,
        host::{Host, HostOptions},
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
    let progress = |line: &str| eprintln!("  {line}");
    root.build_handler(&progress).await?;
    let stack = Stack::start(&progress).await?;
    let deployment = Arc::new(Deployment::start(&stack, "work").await?);
    eprintln!("  making a key");
    let key = deployment.create_key("signing", KeySpec::from(options.key)).await?;
    deployment.subscribe(deployment.uploads_subscription());
    let settings = deployment.settings(&key);
    let host = match options.host {
        HostChoice::Func => None,
        HostChoice::StandIn => {
            // A collector that listens on this machine is one for the handler, too.
            let telemetry = std::env::vars().filter(|(name, _)| name.starts_with("OTEL_"));
            let mut options =
                HostOptions::new(root.directory(), settings.clone().into_iter().chain(telemetry).collect());
            options.queues = Some(Arc::new(deployment.queues()?));
            options.clear_environment = true;
            let host = Host::start(options)?;
            host.ready().await?;
            Some(host)
        }
    };
    let file = SettingsFile::write(&root, &settings)?;
    if options.json {
        println!("{}", json!({ "settings": settings, "file": file.0 }));
    } else {
        show(options, &settings, &file.0);
    }
    print_log_until_interrupted(host.as_ref()).await?;
    Ok(ExitCode::SUCCESS)
}

fn show(options: &Options, settings: &BTreeMap<String, String>, file: &Path) {
    println!("\nThe local stack is running. Its settings, also in {}:\n", file.display());
    for (name, value) in settings {
        println!("  {name:<28} {value}");
    }
    let (file, results, uploads) = (file.display(), &settings["SIGNET_RESULTS"], &settings["SIGNET_SOURCES"]);
    println!(
        "\nA blob that is written to {uploads} becomes a Microsoft.Storage.BlobCreated event on the queue {}, \
         in the form in which Event Grid delivers it.",
        settings["SIGNET_QUEUE"]
    );
    match options.host {
        HostChoice::StandIn => println!(
            "\nIn another terminal:\n\n  \
             echo '{{\"id\":\"hello\",\"payload\":{{\"a\":1}}}}' | signet --settings {file} send\n  \
             signet --settings {file} verify {results}/hello.jws.json\n\n\
             Ctrl-C ends it all. What the handler logs:\n"
        ),
        HostChoice::Func => println!(
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
struct SettingsFile(PathBuf);

impl SettingsFile {
    fn write(root: &AppRoot, settings: &BTreeMap<String, String>) -> Result<Self, Error> {
        let directory = root.target().join("signet");
        std::fs::create_dir_all(&directory)?;
        let path = directory.join("dev.settings.json");
        let mut values = settings.clone();
        values.insert("FUNCTIONS_WORKER_RUNTIME".to_owned(), "custom".to_owned());
        values.insert("AzureWebJobsStorage".to_owned(), host_storage(settings));
        let text = serde_json::to_string_pretty(&json!({ "IsEncrypted": false, "Values": values }))?;
        std::fs::write(&path, text + "\n")?;
        Ok(Self(path))
    }
}

impl Drop for SettingsFile {
    fn drop(&mut self) {
        // Left behind, it would only name a stack that is gone.
        let _ = std::fs::remove_file(&self.0);
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

async fn print_log_until_interrupted(host: Option<&Host>) -> Result<(), Error> {
    let mut printed = 0;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
    loop {
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
            _ = ticks.tick() => {
                let Some(host) = host else { continue };
                let log = host.log();
                for line in log.iter().skip(printed) {
                    println!("{}", line.text);
                }
                printed = log.len();
            }
            why = stopped(host) => return Err(format!("the host has stopped: {why}").into()),
        }
    }
}

async fn stopped(host: Option<&Host>) -> String {
    match host {
        Some(host) => host.stopped().await,
        None => std::future::pending().await,
    }
}

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
