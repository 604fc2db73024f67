//! `signet demo`: the main job, end to end, in one command: queue messages become signed, verified blobs.

use std::{
    collections::HashMap,
    io::IsTerminal,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use azure_core::{Bytes, http::StatusCode};
use azure_storage_blob::{BlobContainerClient, models::BlobClientGetPropertiesResultHeaders};
use azure_storage_queue::models::QueueMessage;
use clap::Args;
use futures::TryStreamExt;
use serde_json::{Value, json};
use signet_core::{
    base64,
    format::Format,
    jwks::{self, JwkSet},
};

use crate::{
    local::{
        app::AppRoot,
        azurite,
        host::{Host, HostOptions},
        stack::{Deployment, Stack},
        vault::KeySpec,
    },
    out,
    remote::Document,
    settings::Error,
    table,
    verbs::verify::{self, NoVerdict, Verdict},
};

/// How the demo is shown.
#[derive(Args, Debug)]
pub struct Options {
    /// Print JSON when all is done, and nothing else
    #[arg(long)]
    json: bool,
}

/// Two function apps, so that both families of keys are seen.
const APPS: [(&str, KeySpec); 2] = [("invoices", KeySpec::P256), ("releases", KeySpec::Rsa2048)];
/// More than the handler reads at once.
const UPLOAD_BYTES: usize = 5 * 1024 * 1024;
const UPLOAD: &str = "2026/release.zip";
/// How long an item may take until its result must stand.
const PATIENCE: Duration = Duration::from_mins(1);

/// Starts everything, sends items in every format and one that cannot succeed, and verifies what comes of them.
pub async fn run(options: &Options) -> Result<ExitCode, Error> {
    let begun = Instant::now();
    let shown = Shown { begun, quiet: options.json };
    let root = AppRoot::find()?;
    shown.step("the handler, built in the shipping profile (the first time takes a minute or two)");
    let progress = |line: &str| shown.detail(line);
    let (handler, azurite) = tokio::join!(root.build_handler(&progress), azurite::install(&progress));
    let handler_bytes = std::fs::metadata(handler?)?.len();
    azurite?;
    let built = begun.elapsed();

    shown.step("the local stack: Azurite over TLS, a Key Vault, a managed identity, each behind a tap");
    let stack = Stack::start(&progress).await?;
    let mut apps = Vec::new();
    for (name, spec) in APPS {
        apps.push(App::start(&stack, &root, name, spec).await?);
    }
    shown.step("two function apps: the stand-in Functions host runs bin/handler, as host.json says");
    for app in &apps {
        app.host.ready().await?;
    }

    shown.step("messages onto the queues: every format with each key, and one that can never succeed");
    let sent = Instant::now();
    let mut items = Vec::new();
    for app in &apps {
        for format in Format::ALL {
            items.push(app.send(format).await?);
        }
    }
    shown.step("blobs into the upload containers, whence Event Grid's stand-in sends events to the queues");
    for app in &apps {
        items.push(app.upload().await?);
    }
    apps[0].send_text(r#"{"id":"invoices/typo","paylaod":{"amount":"12.50"}}"#).await?;
    let mut rows = Vec::new();
    for item in &items {
        rows.push(item.outcome(sent).await?);
    }
    let rejection = rejection(&apps[0].deployment, sent).await?;
    let took = begun.elapsed();

    let good = rows.iter().filter(|row| row.verdict.is_ok()).count();
    let counts = Counts::of(&apps);
    if options.json {
        let rows: Vec<Value> = rows.iter().map(Row::as_json).collect();
        let seconds = took.as_secs_f64();
        say!("{}", json!({ "items": rows, "rejected": rejection, "verified": good, "seconds": seconds }));
    } else {
        show(&rows, &rejection, &counts);
        say!(
            "{good} of {} signatures verified with the published keys; {} message rejected with its reason.\n\
             {:.1} s in all, {:.1} s of them to build and fetch; the handler has {handler_bytes} bytes.",
            rows.len(),
            u8::from(!rejection.is_null()),
            took.as_secs_f64(),
            built.as_secs_f64(),
        );
    }
    Ok(if all_is_well(&rows, &rejection) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn all_is_well(rows: &[Row], rejection: &Value) -> bool {
    rows.iter().all(|row| row.verdict.is_ok()) && rejection["reason"] == "invalid-work-item"
}

/// Steps and details, on stderr, where they do not get between the results.
struct Shown {
    begun: Instant,
    quiet: bool,
}

impl Shown {
    fn step(&self, what: &str) {
        if !self.quiet {
            tell!("{:>6.1} s  {what}", self.begun.elapsed().as_secs_f64());
        }
    }

    fn detail(&self, line: &str) {
        if self.quiet {
        } else if std::io::stderr().is_terminal() {
            let line: String = line.chars().take(100).collect();
            out::aside(&format!("\r\x1b[2K          {line}\r"));
        }
    }
}

/// One function app with its surroundings.
struct App {
    name: &'static str,
    spec: KeySpec,
    deployment: Arc<Deployment>,
    host: Host,
}

impl App {
    async fn start(stack: &Arc<Stack>, root: &AppRoot, name: &'static str, spec: KeySpec) -> Result<Self, Error> {
        let deployment = Arc::new(Deployment::start(stack, name).await?);
        let key = deployment.create_key("signing", spec).await?;
        deployment.subscribe(deployment.uploads_subscription());
        let mut options = HostOptions::new(root.directory(), deployment.settings(&key));
        options.queues = Some(Arc::new(deployment.queues()?));
        options.clear_environment = true;
        Ok(Self { name, spec, host: Host::start(options)?, deployment })
    }

    async fn send(&self, format: Format) -> Result<Item, Error> {
        let id = format!("{}/2026/{format}", self.name);
        let (input, message, content) = if matches!(format, Format::Raw | Format::Cose) {
            let content = b"any bytes at all: \x00\xff".to_vec();
            let encoded = base64::encode(&content);
            ("bytes", format!(r#"{{"id":"{id}","format":"{format}","payloadBase64":"{encoded}"}}"#), content)
        } else {
            let payload = r#"{ "amount": "12.50", "currency": "EUR" }"#;
            ("JSON", format!(r#"{{"id":"{id}","format":"{format}","payload":{payload}}}"#), payload.into())
        };
        self.send_text(&message).await?;
        let blob = format!("{id}{}", format.suffix());
        Ok(Item { input, format, spec: self.spec, blob, content, container: self.deployment.results()? })
    }

    /// Puts a blob where an event subscription sees it. What comes of that is named by the container and the blob.
    async fn upload(&self) -> Result<Item, Error> {
        let uploads = self.deployment.uploads()?;
        let content = b"what was released\n".repeat(UPLOAD_BYTES / 18);
        uploads.blob_client(UPLOAD).upload(Bytes::from(content.clone()).into(), None).await?;
        let container = uploads.url().path().trim_matches('/').to_owned();
        let format = Format::Jws;
        let blob = format!("{container}/{UPLOAD}{}", format.suffix());
        Ok(Item { input: "upload", format, spec: self.spec, blob, content, container: self.deployment.results()? })
    }

    async fn send_text(&self, text: &str) -> Result<(), Error> {
        let message = QueueMessage { message_text: Some(text.to_owned()) };
        self.deployment.queue()?.send_message(message.try_into()?, None).await?;
        Ok(())
    }
}

/// The one record in the rejected container; null where there is none in time.
async fn rejection(deployment: &Deployment, sent: Instant) -> Result<Value, Error> {
    let container = deployment.rejected()?;
    loop {
        let mut blobs = container.list_blobs(None)?;
        if let Some(name) = blobs.try_next().await?.and_then(|blob| blob.name) {
            let record = container.blob_client(&name).download(None).await?.body.collect().await?;
            return Ok(serde_json::from_slice(&record)?);
        }
        if sent.elapsed() >= PATIENCE {
            return Ok(Value::Null);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An item under way.
struct Item {
    /// How its content came.
    input: &'static str,
    format: Format,
    spec: KeySpec,
    blob: String,
    content: Vec<u8>,
    container: BlobContainerClient,
}

/// An item's result.
struct Row {
    input: &'static str,
    format: Format,
    spec: KeySpec,
    blob: String,
    bytes: usize,
    waited: Duration,
    verdict: Result<Verdict, NoVerdict>,
}

impl Item {
    /// Waits for the result, then verifies it as anybody could: with the key set beside it.
    async fn outcome(&self, sent: Instant) -> Result<Row, Error> {
        let client = self.container.blob_client(&self.blob);
        let metadata: HashMap<String, String> = loop {
            match client.get_properties(None).await {
                Ok(properties) => break properties.metadata()?,
                Err(error) if error.http_status() == Some(StatusCode::NotFound) => {
                    if sent.elapsed() >= PATIENCE {
                        let why = format!("no result after {} s", PATIENCE.as_secs());
                        return Ok(self.row(0, sent.elapsed(), Err(NoVerdict::Unknown(why))));
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(format!("{} cannot be looked for: {error}", self.blob).into()),
            }
        };
        let waited = sent.elapsed();
        let bytes = client.download(None).await?.body.collect().await?.to_vec();
        let keys = self.container.blob_client(jwks::BLOB_NAME).download(None).await?.body.collect_string().await?;
        let document = Document { bytes, metadata };
        let verdict = verify::verdict(&document, Some(&self.content), &JwkSet::parse(&keys)?);
        Ok(self.row(document.bytes.len(), waited, verdict))
    }

    fn row(&self, bytes: usize, waited: Duration, verdict: Result<Verdict, NoVerdict>) -> Row {
        Row { input: self.input, format: self.format, spec: self.spec, blob: self.blob.clone(), bytes, waited, verdict }
    }
}

impl Row {
    fn as_json(&self) -> Value {
        json!({
            "blob": self.blob,
            "input": self.input,
            "format": self.format.name(),
            "key": format!("{:?}", self.spec),
            "alg": self.verdict.as_ref().ok().map(|verdict| verdict.algorithm.name()),
            "bytes": self.bytes,
            "milliseconds": u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX),
            "verified": self.verdict.is_ok(),
        })
    }

    fn as_cells(&self) -> Vec<String> {
        let (algorithm, verified) = match &self.verdict {
            Ok(verdict) => (verdict.algorithm.to_string(), "✔ valid".to_owned()),
            Err(NoVerdict::Invalid(why) | NoVerdict::Unknown(why)) => (String::new(), format!("✘ {why}")),
        };
        let (format, key) = (self.format.to_string(), format!("{:?}", self.spec));
        vec![
            self.blob.clone(),
            self.input.to_owned(),
            format,
            key,
            algorithm,
            self.bytes.to_string(),
            format!("{} ms", self.waited.as_millis()),
            verified,
        ]
    }
}

/// What the local services were asked for, all apps together.
struct Counts {
    tokens: usize,
    look_ups: usize,
    signatures: usize,
}

impl Counts {
    fn of(apps: &[App]) -> Self {
        let sum = |count: &dyn Fn(&App) -> usize| apps.iter().map(count).sum();
        Self {
            tokens: sum(&|app| app.deployment.taps.identity.exchanges().len()),
            look_ups: sum(&|app| {
                let is_key = |path: &str| !path.ends_with("/versions");
                let taps = &app.deployment.taps;
                taps.vault.count(|seen| seen.method == "GET" && seen.status == Some(200) && is_key(&seen.path))
            }),
            signatures: sum(&|app| app.deployment.vault.signatures().len()),
        }
    }
}

fn show(rows: &[Row], rejection: &Value, counts: &Counts) {
    let cells: Vec<Vec<String>> = rows.iter().map(Row::as_cells).collect();
    say!(
        "\n{}",
        table::render(&["result", "from", "format", "key", "algorithm", "bytes", "after", "signature"], &cells)
    );
    let text = |name: &str| rejection[name].as_str().unwrap_or_default().to_owned();
    if rejection.is_null() {
        say!("  rejected: ✘ nothing after {} s\n", PATIENCE.as_secs());
    } else {
        say!("  rejected: {} ({})\n", text("reason"), text("detail"));
    }
    say!(
        "  The two handlers asked for {} tokens, {} keys and {} signatures.\n",
        counts.tokens,
        counts.look_ups,
        counts.signatures
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_come_in_time_is_no_success_and_no_failure_to_start() {
        let stack = Stack::start(&|_| ()).await.unwrap();
        let deployment = Deployment::start(&stack, "demo").await.unwrap();
        let item = Item {
            input: "JSON",
            format: Format::Jws,
            spec: KeySpec::P256,
            blob: "missing.jws.json".to_owned(),
            content: Vec::new(),
            container: deployment.results().unwrap(),
        };
        let long_ago = Instant::now().checked_sub(PATIENCE).expect("the machine runs for longer than that");
        let row = item.outcome(long_ago).await.unwrap();
        assert!(
            matches!(&row.verdict, Err(NoVerdict::Unknown(why)) if why == "no result after 60 s"),
            "{:?}",
            row.verdict
        );
        assert_eq!(row.as_json()["verified"], false);
        let rejection = rejection(&deployment, long_ago).await.unwrap();
        assert!(rejection.is_null());
        assert!(!all_is_well(&[row], &json!({ "reason": "invalid-work-item" })) && !all_is_well(&[], &rejection));
        assert!(all_is_well(&[], &json!({ "reason": "invalid-work-item" })));
    }
}
