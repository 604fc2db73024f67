//! `signet send` and `signet verify`, as an operator starts them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use azure_storage_queue::models::QueueClientReceiveMessagesOptions;
use serde_json::{Value, json};
use signet::local::{app::AppRoot, stack::Deployment, vault::KeySpec};
use signet_core::base64;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command, sync::OnceCell, time::timeout};

use crate::world::{Setup, World, deployment};

/// The tool as it stands in the sources; cargo has built it already, or does so now.
pub(crate) async fn signet() -> &'static Path {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT
        .get_or_init(async || {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--locked", "--package", "signet", "--bin", "signet"]);
            build.arg("--message-format=json-render-diagnostics").stdin(Stdio::null());
            let output =
                build.current_dir(AppRoot::find().expect("the checkout").directory()).output().await.expect("cargo");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let messages = String::from_utf8(output.stdout).expect("JSON lines");
            let mut executables = messages.lines().filter_map(|line| {
                serde_json::from_str::<Value>(line).ok()?.get("executable")?.as_str().map(PathBuf::from)
            });
            executables.next_back().expect("an executable")
        })
        .await
}

/// Where the tool is started: settings as its environment, and a directory of its own.
pub(crate) struct Desk {
    pub(crate) settings: BTreeMap<String, String>,
    directory: TempDir,
}

/// What the tool did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{self:?}"))
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32, says: &str) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        let said = if code == 0 { &self.stdout } else { &self.stderr };
        assert!(said.contains(says), "{says}: {self:?}");
        self
    }
}

impl Desk {
    pub(crate) fn new(settings: BTreeMap<String, String>) -> Self {
        Self { settings, directory: tempfile::tempdir().expect("a desk") }
    }

    pub(crate) fn of(world: &World) -> Self {
        Self::new(world.deployment.settings(&world.key))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), content).expect("a desk");
        self
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        self.pipe(arguments, b"").await
    }

    pub(crate) async fn pipe(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = Command::new(signet().await);
        command.args(arguments);
        self.run_command(command, input).await
    }

    /// Runs the tool in so much address space, in KiB, and no more.
    pub(crate) async fn run_within(&self, kib: u64, arguments: &[&str]) -> Ran {
        let mut command = Command::new("sh");
        // What a thread sets aside and never uses counts, too.
        let script = format!("ulimit -v {kib}; TOKIO_WORKER_THREADS=2 MALLOC_ARENA_MAX=1 exec \"$0\" \"$@\"");
        command.args(["-c", &script]).arg(signet().await).args(arguments);
        self.run_command(command, b"").await
    }

    /// Runs a command that starts the tool.
    pub(crate) async fn run_command(&self, mut command: Command, input: &[u8]) -> Ran {
        command.current_dir(self.directory.path()).kill_on_drop(true);
        command.env_clear().envs(std::env::var_os("SystemRoot").map(|root| ("SystemRoot", root)));
        command.envs(&self.settings).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a desk");
        let mut stdin = child.stdin.take().expect("a desk");
        // The tool need not read it.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        let output = timeout(Duration::from_mins(1), child.wait_with_output()).await.expect("an end").expect("a desk");
        let text = |bytes| String::from_utf8(bytes).expect("a desk");
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Messages that were on the queue.
pub(crate) async fn received(deployment: &Deployment) -> Vec<String> {
    let options = QueueClientReceiveMessagesOptions {
        number_of_messages: Some(32),
        ..QueueClientReceiveMessagesOptions::default()
    };
    let received = deployment
        .queue()
        .expect("messages")
        .receive_messages(Some(options))
        .await
        .expect("messages")
        .into_model()
        .expect("messages");
    received.items.unwrap_or_default().into_iter().filter_map(|message| message.message_text).collect()
}

const CONTENT: &str = r#"{"amount": "12.50"}"#;

/// A world with one item signed in every format, and a desk with the results, the content and the keys.
async fn signed() -> (World, Desk) {
    let world = World::start().await;
    let item = format!(r#"{{"id":"doc","format":["jws","jws-compact","raw"],"payload":{CONTENT}}}"#);
    assert!(world.sign(&item).await.outcome.succeeded());
    let desk = Desk::of(&world);
    for name in ["doc.jws.json", "doc.jws", "doc.sig"] {
        desk.write(name, world.result(name).await.expect("a result").bytes);
    }
    desk.write("content", CONTENT).write("keys.json", world.keys().await.to_string());
    (world, desk)
}

pub(crate) fn url(world: &World, blob: &str) -> String {
    format!("{}/{blob}", world.deployment.settings(&world.key)["SIGNET_RESULTS"])
}

#[tokio::test]
async fn what_is_sent_is_signed_and_verified() {
    let world = World::with(Setup { queues: true, ..Setup::default() }).await;
    let desk = Desk::of(&world);
    desk.write("report.pdf", b"%PDF \xff");
    let ran = desk.run(&["send", "--content", "--format", "jws-compact,raw", "report.pdf"]).await;
    ran.exits(0, &format!("report.pdf → {}", world.deployment.queue_name));
    world.awaited("report.pdf.sig").await;
    for result in ["report.pdf.jws", "report.pdf.sig"] {
        let ran = desk.run(&["verify", &url(&world, result), "--content", "report.pdf"]).await;
        ran.exits(0, "VALID").exits(0, "ES256");
    }
}

#[tokio::test]
async fn items_come_from_files_and_standard_input() {
    let deployment = deployment().await;
    let desk = Desk::new(deployment.settings("https://unused.vault.localhost/keys/unused"));
    let items = [r#"{"id":"a","payload":1}"#, r#"{"id":"b", "payload": "é <&>"}"#, r#"{"payload":3}"#];
    desk.write("a.json", items[0]).write("b.json", items[1]);
    let ran = desk.run(&["send", "--json", "a.json", "b.json"]).await.exits(0, "messageId");
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[1]["file"], &lines[1]["queue"]), (&json!("b.json"), &json!(deployment.queue_name)));
    desk.pipe(&["send"], items[2].as_bytes()).await.exits(0, "- → ");
    assert_eq!(received(&deployment).await, items);

    let options = ["--id", "x/y", "--format", "raw", "--content-type", "text/plain"];
    desk.pipe(&[&["send", "--content"], &options[..], &["-"]].concat(), b"\xff\0").await.exits(0, "- → ");
    let item: Value = serde_json::from_str(&received(&deployment).await[0]).unwrap();
    let expected = json!({"id": "x/y", "format": ["raw"], "contentType": "text/plain", "payloadBase64": "/wA="});
    assert_eq!(item, expected);
}

#[tokio::test]
async fn bad_items_are_not_sent_unless_asked_for() {
    let deployment = deployment().await;
    let desk = Desk::new(deployment.settings("https://unused.vault.localhost/keys/unused"));
    desk.write("good.json", r#"{"payload":1}"#).write("typo.json", r#"{"payload":1,"formt":"raw"}"#);
    desk.write("binary", b"\xff").write("large", vec![b'x'; 64 * 1024]);
    desk.run(&["send", "good.json", "typo.json"])
        .await
        .exits(2, "typo.json: invalid-work-item: unknown member `formt`");
    desk.run(&["send", "binary"]).await.exits(2, "binary is not UTF-8");
    desk.run(&["send", "missing"]).await.exits(2, "missing cannot be read");
    desk.run(&["send", "--content", "large"]).await.exits(2, "too-large");
    desk.run(&["send", "--unchecked", "--content", "large"]).await.exits(2, "a queue takes 65536");
    desk.run(&["send", "--content", "--id", "../up", "good.json"]).await.exits(2, "segment");
    desk.run(&["send", "--content", "--id", "x", "good.json", "typo.json"]).await.exits(2, "--id names one item");
    desk.run(&["send", "--id", "x", "good.json"]).await.exits(2, "--content");
    assert_eq!(deployment.taps.queue.count(|_| true), 0, "not even the good one of a pair");

    desk.run(&["send", "--unchecked", "typo.json"]).await.exits(0, "typo.json");
    assert_eq!(received(&deployment).await, [r#"{"payload":1,"formt":"raw"}"#]);
}

#[tokio::test]
async fn settings_come_from_a_file_too() {
    let deployment = deployment().await;
    let settings = deployment.settings("https://unused.vault.localhost/keys/unused");
    let mut desk = Desk::new(BTreeMap::new());
    desk.write("item.json", r#"{"payload":1}"#);
    desk.run(&["send", "item.json"]).await.exits(2, "WorkQueue__queueServiceUri is not set");
    let file = json!({ "IsEncrypted": false, "Values": settings }).to_string();
    desk.write("cloud.json", format!("\u{feff}{file}"));
    desk.run(&["send", "item.json", "--settings", "cloud.json"]).await.exits(0, "item.json");
    desk.run(&["--settings", "cloud.json", "send", "missing"]).await.exits(2, "missing cannot be read");
    desk.pipe(&["--settings", "cloud.json", "send"], br#"{"payload":2}"#).await.exits(0, "- → ");
    desk.write("local.settings.json", &file);
    desk.run(&["send", "item.json"]).await.exits(0, "item.json");
    desk.settings.insert("SIGNET_QUEUE".to_owned(), "elsewhere".to_owned());
    desk.run(&["send", "item.json"]).await.exits(2, "was not sent to elsewhere");
    assert_eq!(received(&deployment).await, [r#"{"payload":1}"#, r#"{"payload":2}"#, r#"{"payload":1}"#]);

    desk.run(&["send", "item.json", "--settings", "missing.json"]).await.exits(2, "missing.json cannot be read");
    for (file, why) in [
        ("[]", "bad.json are not as Core Tools"),
        (r#"{"Values":{"A":1}}"#, "bad.json are not as Core Tools"),
        (r#"{"IsEncrypted":true,"Values":{"A":"x"}}"#, "func settings decrypt"),
    ] {
        desk.write("bad.json", file);
        desk.run(&["send", "item.json", "--settings", "bad.json"]).await.exits(2, why);
    }
}

#[tokio::test]
async fn every_format_is_verified_wherever_it_stands() {
    let (world, mut desk) = signed().await;
    for name in ["doc.jws.json", "doc.jws", "doc.sig"] {
        let bytes = fs::read(desk.path(name)).unwrap();
        let content: &[&str] = if name == "doc.sig" { &["--content", "content"] } else { &[] };
        let verify = |location: &str| -> Vec<String> {
            ["verify", location].iter().chain(content).map(|argument| (*argument).to_owned()).collect()
        };
        for (location, input) in [(name, &b""[..]), ("-", &bytes), (&url(&world, name), b"")] {
            let arguments = verify(location);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let ran = desk.pipe(&arguments, input).await.exits(0, "VALID");
            assert!(ran.stdout.contains(&world.key) && ran.stdout.contains("ES256"), "{ran:?}");
            assert_eq!(ran.stderr, "");
        }
    }

    // Without any settings, the keys must be given.
    desk.settings.clear();
    desk.run(&["verify", "doc.jws"]).await.exits(2, "give them with --jwks");
    let ran = desk.run(&["verify", "doc.jws", "--jwks", "keys.json", "--json"]).await.exits(0, "");
    let verdict = ran.json();
    assert_eq!((&verdict["valid"], &verdict["alg"], &verdict["form"]), (&json!(true), &json!("ES256"), &json!("jws")));
    assert!(verdict["kid"].as_str().unwrap().starts_with(&world.key));
    assert_eq!(verdict["bytes"], CONTENT.len());
    let ran = desk.run(&["verify", "doc.sig", "--content", "content", "--jwks", "keys.json", "--json"]).await;
    assert_eq!(ran.exits(0, "").json()["form"], "raw");
}

#[tokio::test]
async fn what_was_tampered_with_is_not_valid() {
    let (_world, mut desk) = signed().await;
    desk.settings.clear();
    let compact = fs::read_to_string(desk.path("doc.jws")).unwrap();
    let [header, payload, signature] = compact.split('.').collect::<Vec<_>>()[..] else { panic!("{compact}") };
    let flattened = fs::read_to_string(desk.path("doc.jws.json")).unwrap();
    let encoded = |text: &str| base64::encode_url(text.as_bytes());
    let kid = serde_json::from_slice::<Value>(&base64::decode_url(header).unwrap()).unwrap()["kid"].clone();
    let other = encoded(r#"{"amount": "99.50"}"#);
    let none = encoded(&json!({ "alg": "none", "kid": kid }).to_string());
    let hmac = encoded(&json!({ "alg": "HS256", "kid": kid }).to_string());
    let stranger = encoded(r#"{"alg":"ES256","kid":"https://dev.vault.localhost/keys/other/1"}"#);
    let critical = encoded(&json!({ "alg": "ES256", "kid": kid, "crit": ["exp"], "exp": 1 }).to_string());
    let cases = [
        (format!("{header}.{other}.{signature}"), "signature does not verify"),
        (flattened.replace(payload, &other), "signature does not verify"),
        (format!("{none}.{payload}."), "algorithm none is not accepted"),
        (format!("{none}.{payload}.{signature}"), "algorithm none is not accepted"),
        (format!("{hmac}.{payload}.{signature}"), "algorithm HS256 is not accepted"),
        (format!("{stranger}.{payload}.{signature}"), "keys/other/1"),
        (format!("{critical}.{payload}.{signature}"), "critical header exp"),
        (format!("{header}.{payload}"), "no JWS"),
        (format!("{header}.{payload}.AAAA"), "signature does not verify"),
        ("{}".to_owned(), "no JWS"),
    ];
    for (document, why) in cases {
        desk.write("tampered", &document);
        let ran = desk.run(&["verify", "tampered", "--jwks", "keys.json"]).await;
        assert_eq!(ran.stdout, "", "{document}");
        ran.exits(1, "NOT VALID: ").exits(1, why);
        let ran = desk.run(&["verify", "tampered", "--jwks", "keys.json", "--json"]).await.exits(1, "");
        assert_eq!(ran.json()["valid"], json!(false));
    }
    desk.write("other", "other content");
    desk.run(&["verify", "doc.jws", "--content", "other", "--jwks", "keys.json"]).await.exits(1, "not the content");
    desk.run(&["verify", "doc.sig", "--content", "other", "--jwks", "keys.json"]).await.exits(1, "no key of the set");
    desk.write("empty.json", r#"{"keys":[]}"#);
    desk.run(&["verify", "doc.jws", "--jwks", "empty.json"]).await.exits(1, "NOT VALID");
}

#[tokio::test]
async fn what_cannot_be_told_is_said_to_be_so() {
    let (world, desk) = signed().await;
    let compact = fs::read_to_string(desk.path("doc.jws")).unwrap();
    let parts: Vec<&str> = compact.split('.').collect();
    desk.write("detached", format!("{}..{}", parts[0], parts[2])).write("no-keys.json", "{}");
    let nowhere = ["verify", "doc.jws", "--jwks", "https://127.0.0.1:1/jwks.json"];
    desk.run(&nowhere).await.exits(2, "https://127.0.0.1:1/jwks.json cannot be read: ");
    desk.run(&["verify", "detached"]).await.exits(2, "give it with --content");
    desk.run(&["verify", "detached", "--content", "content"]).await.exits(0, "VALID");
    desk.run(&["verify", "doc.sig"]).await.exits(2, "give it with --content");
    let missing_blob = url(&world, "missing.jws");
    for arguments in [
        &["verify", "missing"][..],
        &["verify", "doc.jws", "--content", "missing"],
        &["verify", "doc.jws", "--jwks", "missing"],
        &["verify", "doc.jws", "--jwks", "no-keys.json"],
        &nowhere,
        &["verify", "doc.jws", "--jwks", "http://127.0.0.1:1/jwks.json"],
        &["verify", &missing_blob],
    ] {
        desk.run(arguments).await.exits(2, "could not tell: ");
        let ran = desk.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!((ran.code, &ran.json()["valid"]), (Some(2), &Value::Null), "{arguments:?}");
    }
}

#[tokio::test]
async fn tokens_are_shown_to_blob_storage_alone() {
    let (world, desk) = signed().await;
    let taps = &world.deployment.taps;
    world.settled().await;
    world.clear_taps();
    // The vault's listener stands for any server on the internet whose certificate is good.
    let elsewhere = format!("https://dev.vault.localhost:{}/", world.deployment.vault_port());
    desk.run(&["verify", &format!("{elsewhere}doc.jws"), "--jwks", "keys.json"]).await.exits(2, "answered 4");
    desk.run(&["verify", "doc.jws", "--jwks", &format!("{elsewhere}jwks.json")]).await.exits(2, "answered 4");
    assert_eq!(taps.vault.count(|_| true), 2);
    assert_eq!(taps.vault.count(|exchange| exchange.header("authorization").is_some()), 0);
    assert_eq!(taps.identity.count(|_| true), 0, "none was even asked for");

    desk.run(&["verify", &url(&world, "doc.jws")]).await.exits(0, "VALID");
    assert!(taps.blob.count(|exchange| exchange.header("authorization").is_some()) > 0);
}

#[tokio::test]
async fn a_bare_signature_needs_the_key_that_its_blob_names() {
    let world = World::with(Setup { key: KeySpec::P384, ..Setup::default() }).await;
    let item = format!(r#"{{"id":"doc","format":"raw","payload":{CONTENT}}}"#);
    assert!(world.sign(&item).await.outcome.succeeded());
    let desk = Desk::of(&world);
    desk.write("content", CONTENT).write("other", "other");
    let result = url(&world, "doc.sig");
    desk.run(&["verify", &result, "--content", "content"]).await.exits(0, "ES384");
    desk.run(&["verify", &result, "--content", "other"]).await.exits(1, "NOT VALID");
    desk.write("stranger.json", r#"{"keys":[]}"#);
    let ran = desk.run(&["verify", &result, "--content", "content", "--jwks", "stranger.json"]).await;
    ran.exits(1, "NOT VALID");
}
