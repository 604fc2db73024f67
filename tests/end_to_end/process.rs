//! The handler as a process: what it says and how it ends, at start and when the host or the parent goes.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::{Output, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use signet::local::{
    ports::Reserved,
    stack::Deployment,
    tap::{Action, Fault},
    vault::KeySpec,
};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    wire::{Answer, exchange, invocation},
    world::{Place, Setup, World, app_root, deployment, eventually},
};

pub(crate) const PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";

type Settings = BTreeMap<String, String>;

async fn handler(settings: &Settings) -> Command {
    let mut command = Command::new(app_root().await.join("bin").join("handler"));
    command.env_clear().envs(std::env::var_os("SystemRoot").map(|root| ("SystemRoot", root)));
    command.envs(settings).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs the handler to its end.
async fn ended(mut command: Command) -> (Option<i32>, String, String) {
    let output = timeout(Duration::from_secs(20), command.output()).await.expect("an end by itself");
    let Output { status, stdout, stderr } = output.expect("a handler that starts");
    (status.code(), String::from_utf8(stdout).expect("UTF-8"), String::from_utf8(stderr).expect("UTF-8"))
}

/// A port that nobody else is given, whoever asks the system for one.
pub(crate) fn free_port() -> u16 {
    static RESERVED: Mutex<Vec<Reserved>> = Mutex::new(Vec::new());
    let reserved = Reserved::new(0).expect("a free port");
    let port = reserved.port();
    RESERVED.lock().expect("nothing panics there").push(reserved);
    port
}

/// Settings of a deployment, with a port that is free.
pub(crate) fn complete(deployment: &Deployment, key: &str) -> Settings {
    let mut settings = deployment.settings(key);
    settings.insert(PORT.to_owned(), free_port().to_string());
    settings
}

fn requests(deployment: &Deployment) -> usize {
    let taps = &deployment.taps;
    [&taps.vault, &taps.identity, &taps.blob, &taps.queue].map(|tap| tap.count(|_| true)).iter().sum()
}

fn item(id: &str) -> String {
    format!(r#"{{"id":"{id}","payload":1}}"#)
}

#[tokio::test]
async fn it_says_what_it_is() {
    for (argument, begins) in [("--version", "handler "), ("-V", "handler "), ("--help", "usage: "), ("-h", "usage: ")]
    {
        let mut command = handler(&Settings::new()).await;
        command.arg(argument);
        let (code, stdout, stderr) = ended(command).await;
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{argument}");
        assert!(stdout.starts_with(begins), "{stdout}");
    }
    for arguments in [&["--bogus"][..], &["serve"], &["--version", "--help"]] {
        let mut command = handler(&Settings::new()).await;
        command.args(arguments);
        let (code, stdout, stderr) = ended(command).await;
        assert_eq!((code, stdout.as_str()), (Some(64), ""), "{arguments:?}");
        assert!(stderr.contains(&arguments.join(" ")) && stderr.contains("usage: "), "{stderr}");
    }
}

#[tokio::test]
async fn every_missing_setting_is_named_at_once() {
    let (code, stdout, stderr) = ended(handler(&Settings::new()).await).await;
    assert_eq!((code, stdout.as_str()), (Some(78), ""));
    let needed = [PORT, "SIGNET_KEY", "SIGNET_RESULTS", "SIGNET_QUEUE", "WorkQueue__queueServiceUri"];
    assert_eq!(stderr.lines().count(), needed.len(), "{stderr}");
    for name in needed {
        let says = format!("configuration: {name} is missing: ");
        assert_eq!(stderr.lines().filter(|line| line.starts_with(&says)).count(), 1, "{name}: {stderr}");
    }
}

#[tokio::test]
async fn bad_settings_are_named_before_anything_is_opened() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("it works");
    let directory = tempfile::tempdir().unwrap();
    let no_roots = directory.path().join("no-roots.pem");
    std::fs::write(&no_roots, "no certificate").unwrap();
    let results = deployment.settings(&key)["SIGNET_RESULTS"].clone();
    let sas = format!("{results}?sv=2026&sig=topsecret");
    let bad = [
        (PORT, "http"),
        ("SIGNET_KEY", "http://dev.vault.localhost/keys/signing"),
        ("SIGNET_RESULTS", &sas),
        ("SIGNET_REJECTED", &results),
        ("SIGNET_ALGORITHM", "HS256"),
        ("SIGNET_FORMAT", "pdf"),
        ("SIGNET_DEADLINE", "241"),
        ("SIGNET_CONCURRENCY", "0"),
        ("SIGNET_QUEUE", "Work"),
        ("WorkQueue__queueServiceUri", "devstoreaccount1"),
        ("AZURE_TOKEN_CREDENTIALS", "password"),
        ("SSL_CERT_FILE", "/no/such/roots.pem"),
        ("SSL_CERT_FILE", no_roots.to_str().unwrap()),
        ("RUST_LOG", "loud"),
    ];
    for (name, value) in bad {
        let mut settings = complete(&deployment, &key);
        settings.insert(name.to_owned(), value.to_owned());
        let (code, stdout, stderr) = ended(handler(&settings).await).await;
        assert_eq!((code, stdout.as_str()), (Some(78), ""), "{name}={value}: {stderr}");
        let [line] = stderr.lines().collect::<Vec<_>>()[..] else { panic!("{name}={value}: {stderr}") };
        assert!(line.starts_with(&format!("configuration: {name} ")), "{line}");
        assert!(!line.contains("topsecret"), "{line}");
    }

    let mut settings = complete(&deployment, &key);
    let both = [("SIGNET_DEADLINE", "0"), ("SSL_CERT_FILE", "/no/such/roots.pem")];
    settings.extend(both.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let (code, _, stderr) = ended(handler(&settings).await).await;
    assert_eq!((code, stderr.lines().count()), (Some(78), 2), "{stderr}");
    assert_eq!(requests(&deployment), 0);
}

#[tokio::test]
async fn keys_that_no_waiting_mends_end_it() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("it works");
    let missing = complete(&deployment, &key.replace("/signing", "/missing"));
    let (code, stdout, stderr) = ended(handler(&missing).await).await;
    assert_eq!(code, Some(69), "{stderr}");
    assert!(stdout.contains("listening") && !stdout.contains("ready"), "{stdout}");
    let last = stderr.lines().last().expect("a last word");
    assert!(last.starts_with("ERROR") && last.contains("SIGNET_KEY names a key, or a version of it"), "{stderr}");

    let bad_parameter = r#"{"error":{"code":"BadParameter","message":"The version is invalid."}}"#;
    let refusal = Fault::new(Action::respond(400, &[], bad_parameter)).path("/signing/mistyped").authenticated();
    let fault = deployment.taps.vault.fail(refusal);
    let mistyped = complete(&deployment, &format!("{key}/mistyped"));
    let (code, _, stderr) = ended(handler(&mistyped).await).await;
    assert_eq!(code, Some(69), "{stderr}");
    assert!(stderr.contains("BadParameter") && deployment.taps.vault.fired(fault) > 0, "{stderr}");

    let mut unfit = complete(&deployment, &key);
    unfit.insert("SIGNET_ALGORITHM".to_owned(), "PS256".to_owned());
    let (code, _, stderr) = ended(handler(&unfit).await).await;
    assert_eq!(code, Some(78), "{stderr}");
    assert!(stderr.contains("SIGNET_ALGORITHM PS256 does not fit the key") && stderr.contains("ES256"), "{stderr}");
}

/// The handler is started while something is broken, hands an item back, and succeeds once that is mended.
async fn survives(break_it: impl AsyncFnOnce(&Deployment), mend: impl AsyncFnOnce(&Deployment)) {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a world");
    break_it(&deployment).await;
    let setup = Setup::default().setting("SIGNET_DEADLINE", "2");
    let world = World::around(std::sync::Arc::new(deployment), key, setup).await;
    timeout(Duration::from_secs(2), world.host.ready()).await.expect("an answer at once").expect("a handler");
    let (pid, port) = (world.host.pid(), world.host.port());

    let begun = Instant::now();
    let Answer { status, content_type, body } =
        exchange(port, "POST", "/sign", invocation(&item("early")).as_bytes()).await;
    let took = begun.elapsed();
    assert!((Duration::from_millis(1900)..Duration::from_secs(4)).contains(&took), "{took:?}");
    assert_eq!((status, content_type.as_str()), (503, "application/json"), "{body}");
    assert_eq!((&body["error"]["stage"], &body["error"]["code"]), (&"key".into(), &"deadline".into()), "{body}");
    let message = body["error"]["message"].as_str().expect("a world");
    assert!(message.starts_with("out of time; last: "), "it says what is wrong: {message}");
    world.logged("not ready yet").await;

    mend(&world.deployment).await;
    eventually("a success", async || world.sign(&item("early")).await.outcome.succeeded().then_some(())).await;
    assert!(world.result("early.jws.json").await.is_some());
    assert_eq!((world.host.pid(), world.host.restarts()), (pid, 0));
}

#[tokio::test]
async fn a_vault_that_is_down_at_start_is_waited_for() {
    let down = async |deployment: &Deployment| {
        deployment.taps.vault.fail(Fault::status(503));
    };
    survives(down, async |deployment| deployment.taps.vault.heal()).await;
}

#[tokio::test]
async fn an_identity_endpoint_that_fails_at_start_is_waited_for() {
    let down = async |deployment: &Deployment| {
        deployment.taps.identity.fail(Fault::status(500));
    };
    survives(down, async |deployment| deployment.taps.identity.heal()).await;
}

#[tokio::test]
async fn a_container_that_is_missing_at_start_is_waited_for() {
    let gone = async |deployment: &Deployment| {
        drop(deployment.results().expect("a container").delete(None).await.expect("it works"));
    };
    survives(gone, async |deployment| {
        drop(deployment.results().expect("a container").create(None).await.expect("it works"));
    })
    .await;
}

/// A message that was handed back comes again soon, and long before its lease would end.
fn with_queues() -> Setup {
    Setup { queues: true, ..Setup::default() }
        .setting("AzureFunctionsJobHost__extensions__queues__visibilityTimeout", "00:00:01")
}

#[tokio::test]
async fn a_killed_handler_starts_again_and_finishes_the_item() {
    let world = World::with(with_queues()).await;
    let (pid, port) = (world.host.pid(), world.host.port());
    world.deployment.taps.vault.fail(Fault::new(Action::Hang).method("POST").path("/sign").times(1));
    world.enqueue(&item("killed")).await;
    eventually("the request for a signature", async || (world.sign_requests() == 1).then_some(())).await;
    world.host.kill_handler();

    let result = world.awaited("killed.jws.json").await;
    assert_eq!((world.host.restarts(), world.host.port()), (1, port));
    assert_ne!(world.host.pid(), pid);
    eventually("two attempts", async || {
        let attempts = world.host.invocations();
        let outcomes: Vec<_> = attempts.iter().filter_map(|attempt| attempt.outcome.as_ref()).collect();
        (outcomes.len() == 2).then(|| assert!(!outcomes[0].succeeded() && outcomes[1].succeeded(), "{attempts:?}"))
    })
    .await;
    world.deployment.taps.vault.heal();
    assert_eq!(world.result_names().await, ["killed.jws.json"]);
    assert_eq!(world.result("killed.jws.json").await.expect("it works").bytes, result.bytes, "the first result stands");
}

/// Three deaths, and the host stops for good: a panic is none.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[tokio::test]
async fn a_panic_ends_the_invocations_in_flight_and_not_the_process() {
    let app_root = Some(crate::budgets::instrumented_app().await);
    let world =
        World::with(Setup { app_root, ..with_queues() }.setting("SIGNET_FAULT_POINT", "sign.before:panic")).await;
    let pid = world.host.pid();
    // One that panics sooner is left to the host.
    tokio::time::sleep(Duration::from_secs(11)).await;
    world.enqueue(&item("survived")).await;
    world.awaited("survived.jws.json").await;
    assert_eq!((world.host.restarts(), world.host.pid()), (0, pid));
    let outcomes: Vec<_> = world.host.invocations().iter().map(|one| one.outcome.clone()).collect();
    assert!(outcomes.len() > 1 && !outcomes[0].as_ref().expect("an end").succeeded(), "{outcomes:?}");
    world.logged("fault point sign.before").await;
    assert_eq!(world.result_names().await, ["survived.jws.json"]);
}

#[tokio::test]
async fn another_host_takes_over_when_the_first_dies_mid_item() {
    // Short enough to be waited for, and renewed in time by a host that is slow.
    let leasing = || Setup { lease: Some(Duration::from_secs(10)), ..with_queues() };
    let first = World::with(leasing()).await;
    first.deployment.taps.vault.fail(Fault::new(Action::Hang).method("POST").path("/sign").times(1));
    first.enqueue(&item("taken-over")).await;
    eventually("the request for a signature", async || (first.sign_requests() == 1).then_some(())).await;
    let Place { deployment, key } = first.without_host();

    let second = World::around(deployment, key, leasing()).await;
    second.awaited("taken-over.jws.json").await;
    let counts: Vec<_> = second.host.invocations().iter().map(|attempt| attempt.dequeue_count).collect();
    assert_eq!(counts, [Some(2)]);
    assert_eq!(second.result_names().await, ["taken-over.jws.json"]);
}

#[cfg(unix)]
#[tokio::test]
async fn it_ends_when_its_parent_is_killed() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("it works");
    let settings = complete(&deployment, &key);
    let (mut parent, mut output) = with_parent(&settings).await;

    parent.kill().await.expect("it works");
    // The handler alone still holds the pipe.
    let mut said = String::new();
    timeout(Duration::from_secs(8), output.read_to_string(&mut said)).await.expect("an end soon after").unwrap();
    assert!(said.contains("the Functions host is gone"), "{said}");
    let port: u16 = settings[PORT].parse().unwrap();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

/// A handler that listens, below a shell that may be killed; and what both print.
#[cfg(unix)]
pub(crate) async fn with_parent(settings: &BTreeMap<String, String>) -> (Child, ChildStdout) {
    let mut parent = Command::new("/bin/sh");
    parent.args(["-c", r#""$0" & wait"#]).arg(app_root().await.join("bin/handler")).env_clear().envs(settings);
    parent.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut parent = parent.spawn().expect("a shell");
    let output = parent.stdout.take().expect("it is piped");
    let port: u16 = settings[PORT].parse().expect("a port");
    let answers = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop);
    eventually("a handler that listens", answers).await;
    (parent, output)
}

#[tokio::test]
async fn a_busy_port_is_tried_again_for_a_while() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("it works");
    let occupied = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = occupied.local_addr().unwrap().port();
    let mut settings = deployment.settings(&key);
    settings.insert(PORT.to_owned(), port.to_string());
    let mut waits = handler(&settings).await.spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(waits.try_wait().unwrap().is_none(), "it waits");
    drop(occupied);
    let ready = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop);
    eventually("a handler that listens", ready).await;
    assert_eq!(exchange(port, "GET", "/", b"").await.status, 200);

    // The port is not given up now.
    let (code, _, stderr) = ended(handler(&settings).await).await;
    assert_eq!(code, Some(69), "{stderr}");
    assert!(stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{stderr}");
    waits.kill().await.expect("it works");
}
