//! Spans and metrics, as a collector that others wrote receives them: Rotel, fetched by pip. And what becomes of items
//! while a collector does not take anything.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use signet::local::{puller::Puller, tap::Fault, vault::KeySpec};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    process::{PORT, complete, free_port, with_parent},
    wire::{Connection, exchange, invocation},
    world::{Place, Setup, World, app_root, deployment, eventually},
};

const ROTEL: &str = "0.0.1a15";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const HOSTS_SPAN: &str = "00f067aa0ba902b7";
/// What the span of an item that was signed has.
const ITEM: [&str; 3] = ["signet.item.id", "signet.outcome", "signet.kid"];

#[tokio::test]
async fn one_trace_leads_from_the_hosts_traceparent_to_the_vaults_request() {
    let collector = Collector::start().await;
    let setup = Setup::default()
        .setting("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .setting("OTEL_METRIC_EXPORT_INTERVAL", "1000");
    let world = World::with(setup).await;
    world.settled().await;
    world.clear_taps();
    let body = invocation(r#"{"id":"invoices/7","payload":{"amount":"12.50"}}"#);
    let mut connection = Connection::open(world.host.port()).await;
    let traceparent = format!("00-{TRACE}-{HOSTS_SPAN}-01");
    let head = format!("POST /sign HTTP/1.1\r\nHost: 127.0.0.1\r\ntraceparent: {traceparent}\r\n");
    connection.write(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    assert_eq!(connection.answer().await.status, 200);

    let expected = [
        "sign",
        "sign / parse",
        "sign / queue",
        "sign / key",
        "sign / sign",
        "sign / sign / KeyVault.sign",
        "sign / sign / KeyVault.sign / POST",
        "sign / verify",
        "sign / publish",
        "sign / publish / Storage.Blob.BlockBlobClient.upload",
        "sign / publish / Storage.Blob.BlockBlobClient.upload / PUT",
    ];
    let of_trace = |spans: &[Span]| -> Vec<Span> { spans.iter().filter(|span| span.trace == TRACE).cloned().collect() };
    let spans = collector.spans("the trace", |spans| {
        let spans = of_trace(spans);
        let ways: Vec<String> = spans.iter().map(|span| way(&spans, span)).collect();
        expected.iter().all(|expected| ways.iter().any(|way| way == expected))
            && spans
                .iter()
                .any(|span| span.parent == HOSTS_SPAN && ITEM.iter().all(|name| span.attributes.contains_key(*name)))
    });
    let spans = of_trace(&spans.await);
    println!("{}", tree(&spans, HOSTS_SPAN, 0).join("\n"));
    let ways: Vec<String> = spans.iter().map(|span| way(&spans, span)).collect();
    for expected in expected {
        assert_eq!(ways.iter().filter(|way| *way == expected).count(), 1, "{expected} in {ways:#?}");
    }
    let item = spans.iter().find(|span| span.parent == HOSTS_SPAN).expect("the item's span");
    assert_eq!((item.name.as_str(), item.kind.as_str()), ("sign", "SPAN_KIND_CONSUMER"));
    let said = |name: &str| item.attributes.get(name).map(String::as_str);
    assert_eq!((said("signet.item.id"), said("signet.outcome")), (Some("Str(invoices/7)"), Some("Str(done)")));
    assert!(said("signet.kid").is_some_and(|kid| kid.contains("/keys/signing/")), "{item:?}");

    // The context goes on to the services, each request as a child of its own span.
    let vault = world.deployment.taps.vault.exchanges();
    let [sign] = vault.iter().filter(|seen| seen.path.ends_with("/sign")).collect::<Vec<_>>()[..] else { panic!() };
    let post = spans.iter().find(|span| way(&spans, span).ends_with("KeyVault.sign / POST")).expect("seen above");
    assert_eq!(sign.header("traceparent"), Some(format!("00-{TRACE}-{}-01", post.id).as_str()));

    for name in ["signet.items", "signet.item.duration", "signet.stage.duration", "signet.token.remaining"] {
        collector.says(&format!(": {name}")).await;
    }
    let metrics = collector.output();
    assert!(!metrics.contains(": signet.message.age"), "{metrics}");
    assert!(metrics.contains("service.name: Str(signet)"), "{metrics}");
}

#[tokio::test]
async fn what_fails_is_a_span_with_its_error() {
    let collector = Collector::start().await;
    let setup = Setup::default()
        .setting("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/v1/traces", collector.endpoint()))
        .setting("OTEL_SERVICE_NAME", "invoices")
        .setting("SIGNET_DEADLINE", "1");
    let world = World::with(setup).await;
    world.deployment.taps.vault.fail(Fault::status(503).method("POST").path("/sign"));
    assert!(!world.sign(r#"{"id":"in-vain","payload":1}"#).await.outcome.succeeded());
    let is_item =
        |span: &Span| span.name == "sign" && span.parent.is_empty() && span.attributes.contains_key("signet.outcome");
    // Spans of the warm-up may come long before.
    let spans = collector.spans("the item's span, and one for each try", |spans| {
        let posts = spans.iter().filter(|span| way(spans, span) == "sign / sign / KeyVault.sign / POST");
        spans.iter().any(is_item) && posts.filter(|span| span.status == "STATUS_CODE_ERROR").count() > 1
    });
    let spans = spans.await;
    let item = spans.iter().find(|span| is_item(span)).expect("seen above");
    assert_eq!(item.status, "STATUS_CODE_ERROR");
    assert_eq!(item.attributes["signet.outcome"], "Str(handed back)");
    assert!(collector.output().contains("service.name: Str(invoices)"));
}

/// What is waiting to be sent goes out when the host is gone, long before its time.
#[cfg(unix)]
#[tokio::test]
async fn what_waits_is_sent_at_the_end() {
    let collector = Collector::start().await;
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let mut settings = complete(&deployment, &key);
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/v1/traces", collector.endpoint())),
        ("OTEL_BSP_SCHEDULE_DELAY", "60000".to_owned()),
    ] {
        settings.insert(name.to_owned(), value);
    }
    let (mut parent, mut output) = with_parent(&settings).await;
    let port = settings[PORT].parse().expect("a port");
    let body = invocation(r#"{"id":"the-last","payload":1}"#);
    assert_eq!(exchange(port, "POST", "/sign", body.as_bytes()).await.status, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!collector.output().contains("the-last"), "it is not time yet");

    parent.kill().await.expect("it works");
    collector.says("signet.item.id: Str(the-last)").await;
    let mut said = String::new();
    timeout(Duration::from_secs(8), output.read_to_string(&mut said)).await.expect("an end soon after").expect("text");
    assert!(said.contains("the Functions host is gone"), "{said}");
}

/// The same of `handler pull`, when it is told to end: each of its items is a trace of its own.
#[tokio::test]
async fn what_waits_is_sent_when_a_replica_ends() {
    let collector = Collector::start().await;
    let deployment = Arc::new(deployment().await);
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let mut settings = deployment.settings(&key);
    settings.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), collector.endpoint());
    settings.insert("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "60000".to_owned());
    let place = Place { deployment, key };
    place.enqueue(r#"{"id":"pulled","payload":1}"#).await;
    let mut puller = Puller::start(&app_root().await.join("bin/handler"), &settings).expect("a replica");
    place.awaited("pulled.jws.json").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!collector.output().contains("pulled"), "it is not time yet");
    puller.terminate();
    assert!(puller.ended().await.expect("an end").success());
    let is_item = |span: &Span| ITEM.iter().all(|name| span.attributes.contains_key(*name));
    let spans = collector.spans("the item's span, and its request", |spans| {
        spans.iter().any(is_item) && spans.iter().any(|span| way(spans, span) == "sign / sign / KeyVault.sign / POST")
    });
    let spans = spans.await;
    let item = spans.iter().find(|span| is_item(span)).expect("seen above");
    assert_eq!(item.attributes["signet.item.id"], "Str(pulled)");
    assert_eq!((item.name.as_str(), item.parent.as_str()), ("sign", ""));
    assert!(!item.attributes.contains_key("faas.invocation_id"), "{item:?}");
}

/// A batch that is to be sent once more when the end comes.
#[tokio::test]
async fn what_is_on_its_way_at_the_end_arrives() {
    let collector = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let endpoint = format!("http://{}/v1/traces", collector.local_addr().expect("a port"));
    let (refused, mut is_refused) = tokio::sync::watch::channel(false);
    let received = tokio::spawn(async move {
        let mut received = Vec::new();
        loop {
            let (mut stream, _) = collector.accept().await.expect("a connection");
            let body = read_request(&mut stream).await;
            let has_it = body.windows(8).any(|bytes| bytes == b"the-last");
            let is_first = has_it && !*refused.borrow();
            let answer = if is_first { "503 Busy\r\nRetry-After: 1" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("written");
            if is_first {
                refused.send_replace(true);
            } else if has_it {
                received.extend(body);
                return received;
            }
        }
    });
    let deployment = Arc::new(deployment().await);
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let mut settings = deployment.settings(&key);
    settings.insert("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT".to_owned(), endpoint);
    let place = Place { deployment, key };
    place.enqueue(r#"{"id":"the-last","payload":1}"#).await;
    let mut puller = Puller::start(&app_root().await.join("bin/handler"), &settings).expect("a replica");
    is_refused.wait_for(|refused| *refused).await.expect("a collector");
    puller.terminate();
    assert!(puller.ended().await.expect("an end").success());
    timeout(Duration::from_secs(5), received).await.expect("it arrives").expect("a collector");
}

/// The body of one HTTP request.
async fn read_request(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if bytes.len() >= end + 4 + length.parse::<usize>().expect("a number") {
                return bytes.split_off(end + 4);
            }
        }
        assert!(stream.read_buf(&mut bytes).await.expect("a request") > 0, "it broke off");
    }
}

/// A collector that takes connections and answers nothing.
#[tokio::test]
async fn a_collector_that_hangs_holds_nothing_up() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = silent.local_addr().expect("a port").port();
    let taken = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            connections.push(stream);
        }
    });
    let setup = Setup::default()
        .setting("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}"))
        .setting("OTEL_BSP_MAX_QUEUE_SIZE", "20")
        .setting("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10");
    let world = World::with(setup).await;
    assert!(world.sign(r#"{"id":"first","payload":1}"#).await.outcome.succeeded());
    let begun = Instant::now();
    for number in 0..10 {
        let reply = world.sign(&format!(r#"{{"id":"{number}","payload":1}}"#)).await;
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    }
    // One try may take ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    world.logged("spans come faster than they can be sent").await;
    taken.abort();
    world.logged("telemetry is dropped").await;
    assert!(world.sign(r#"{"id":"last","payload":1}"#).await.outcome.succeeded());
}

/// A settings' mistake is said, and everything but telemetry goes on; without an endpoint nothing is sent and nothing asked for.
#[tokio::test]
async fn mistakes_in_its_variables_stop_nothing() {
    let world = World::with(Setup::default().setting("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")).await;
    world.logged("telemetry: OTEL_EXPORTER_OTLP_ENDPOINT is no URL").await;
    assert!(world.sign(r#"{"id":"signed","payload":1}"#).await.outcome.succeeded());
    let vault = world.deployment.taps.vault.exchanges();
    assert!(vault.iter().all(|seen| seen.header("traceparent").is_none()));
}

/// Rotel, which prints what it receives.
struct Collector {
    port: u16,
    output: PathBuf,
    _directory: tempfile::TempDir,
    _process: Child,
}

impl Collector {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let output = directory.path().join("output");
        let file = File::create(&output).expect("a file");
        let (port, grpc) = (free_port(), free_port());
        let process = Command::new(rotel().await)
            .args(["start", "--otlp-http-endpoint", &format!("127.0.0.1:{port}")])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--exporter", "blackhole", "--debug-log", "traces", "--debug-log", "metrics"])
            .args(["--debug-log-verbosity", "detailed"])
            .stdout(Stdio::from(file.try_clone().expect("a file")))
            .stderr(Stdio::from(file))
            .kill_on_drop(true)
            .spawn()
            .expect("Rotel");
        let collector = Self { port, output, _directory: directory, _process: process };
        eventually("a collector", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        collector
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The lines that it has printed to their end.
    fn output(&self) -> String {
        let output = fs::read(&self.output).expect("its output");
        let end = output.iter().rposition(|byte| *byte == b'\n').unwrap_or_default();
        String::from_utf8_lossy(&output[..end]).into_owned()
    }

    /// All that it has said, once this is in it.
    async fn says(&self, text: &str) -> String {
        eventually(text, async || Some(self.output()).filter(|output| output.contains(text))).await
    }

    /// All spans so far, once those are there that this looks for: it may be in the middle of printing them.
    async fn spans(&self, what: &str, are_there: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        eventually(what, async || Some(spans(&self.output())).filter(|spans| are_there(spans))).await
    }
}

#[derive(Clone, Debug, Default)]
struct Span {
    trace: String,
    parent: String,
    id: String,
    name: String,
    kind: String,
    status: String,
    attributes: BTreeMap<String, String>,
}

/// What Rotel prints of spans: a line for each member, attributes behind arrows.
fn spans(output: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for line in output.lines().map(str::trim) {
        if line.starts_with("Span #") {
            spans.push(Span::default());
        }
        let Some(span) = spans.last_mut() else { continue };
        if let Some(attribute) = line.strip_prefix("-> ") {
            let (name, value) = attribute.split_once(": ").unwrap_or_default();
            span.attributes.insert(name.to_owned(), value.to_owned());
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim().to_owned();
        match name.trim() {
            "Trace ID" => span.trace = value,
            "Parent ID" => span.parent = value,
            "ID" => span.id = value,
            "Name" if span.name.is_empty() => span.name = value,
            "Kind" => span.kind = value,
            "Status code" => span.status = value,
            _ => {}
        }
    }
    spans
}

/// The names from the root to a span.
fn way(spans: &[Span], span: &Span) -> String {
    match spans.iter().find(|other| other.id == span.parent) {
        Some(parent) => format!("{} / {}", way(spans, parent), span.name),
        None => span.name.clone(),
    }
}

/// A line for each span below a parent, those below it further to the right.
fn tree(spans: &[Span], parent: &str, depth: usize) -> Vec<String> {
    let children = spans.iter().filter(|span| span.parent == parent);
    let lines = children.flat_map(|span| {
        let attributes = span.attributes.iter().map(|(name, value)| format!(" {name}={value}"));
        let line = format!("{}{} {}{}", "  ".repeat(depth), span.name, span.id, attributes.collect::<String>());
        [vec![line], tree(spans, &span.id, depth + 1)].concat()
    });
    lines.collect()
}

/// Rotel's program, fetched once.
async fn rotel() -> PathBuf {
    static FETCHED: tokio::sync::OnceCell<PathBuf> = tokio::sync::OnceCell::const_new();
    FETCHED.get_or_init(fetch).await.clone()
}

async fn fetch() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/signet").join(format!("rotel-{ROTEL}"));
    let program = root.join("rotel/rotel-agent");
    if !program.exists() {
        let output = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"])
            .arg(&root)
            // A program in the clothes of a package: it runs beside any Python.
            .args(["--python-version", "3.11", "--platform", "manylinux_2_34_x86_64", "--only-binary", ":all:"])
            .arg(format!("rotel=={ROTEL}"))
            .output()
            .await
            .expect("Python: install it from https://www.python.org");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    program
}
