use std::{fs, path::Path, time::Instant};

use serde_json::{Value, json};

use super::*;

/// An app whose handler is `fake_handler.js`, and the settings that it needs.
pub(super) struct FakeApp {
    pub(super) root: tempfile::TempDir,
    pub(super) settings: Settings,
}

impl FakeApp {
    pub(super) fn new(settings: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = json!({
            "version": "2.0",
            "functionTimeout": "00:00:20",
            "extensionBundle": { "id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)" },
            "extensions": { "queues": { "messageEncoding": "none", "maxPollingInterval": "00:00:00.1" } },
            "customHandler": {
                "description": { "defaultExecutablePath": "node", "arguments": ["fake_handler.js", "%FAKE_ARGUMENT%"] }
            }
        });
        let function = json!({ "bindings": [{ "type": "queueTrigger", "direction": "in", "name": "message",
            "queueName": "%QUEUE%", "connection": "Work", "dataType": "binary" }] });
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        fs::create_dir(root.path().join("sign")).unwrap();
        write("host.json", &host.to_string());
        write("sign/function.json", &function.to_string());
        write("fake_handler.js", include_str!("fake_handler.js"));
        let given = [("QUEUE", "work"), ("Work__queueServiceUri", "https://a.queue.localhost")];
        let settings = given.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { settings: settings.collect(), root }
    }

    pub(super) fn options(&self) -> HostOptions {
        HostOptions::new(self.root.path(), self.settings.clone())
    }

    async fn ready(&self, change: impl FnOnce(&mut HostOptions)) -> Host {
        let mut options = self.options();
        change(&mut options);
        let host = Host::start(options).unwrap();
        within(20, host.ready()).await.unwrap();
        host
    }
}

pub(super) async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), future).await.expect("it takes too long")
}

async fn until(condition: impl Fn() -> bool) {
    within(20, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn post(host: &Host, order: Value) -> Reply {
    within(30, host.invoke("sign", Post::Body(order.to_string().into()))).await
}

#[tokio::test]
async fn each_row_of_the_outcome_table() {
    let app = FakeApp::new(&[]);
    let host = app.ready(|_| ()).await;
    let good = [
        json!({}),
        json!({ "status": 201, "body": "{\"Outputs\":{}} trailing", "type": "text/json; charset=utf-8" }),
        json!({ "body": "{\"logs\":[\"a\"],\"unknown\":1}" }),
        json!({ "delay": 300 }),
    ];
    for order in good {
        let reply = post(&host, order.clone()).await;
        assert!(reply.outcome.succeeded(), "{order}: {}", reply.outcome);
    }
    let bad = [
        (json!({ "body": "{}", "type": "text/plain" }), Some(200)),
        (json!({ "body": "{}", "type": "" }), Some(200)),
        (json!({ "body": "{" }), Some(200)),
        (json!({ "body": "[]" }), Some(200)),
        (json!({ "body": "{\"Logs\":1}" }), Some(200)),
        (json!({ "status": 404 }), Some(404)),
        (json!({ "status": 503, "body": "" }), Some(503)),
        (json!({ "status": 304 }), Some(304)),
        // Followed: GET /elsewhere is 404.
        (json!({ "status": 302, "headers": { "Location": "/elsewhere" } }), Some(404)),
        (json!({ "reset": true }), None),
        (json!({ "truncate": true }), Some(200)),
    ];
    for (order, status) in bad {
        let reply = post(&host, order.clone()).await;
        assert!(matches!(reply.outcome, Outcome::Failed(_)), "{order}: {}", reply.outcome);
        assert_eq!(reply.status, status, "{order}");
    }
    assert_eq!(host.restarts(), 0);
    let invocations = host.invocations();
    assert_eq!(invocations.iter().filter(|i| i.outcome.as_ref().unwrap().succeeded()).count(), 4);
    assert!(invocations.iter().all(|i| i.ended.is_some()));
}

#[tokio::test]
async fn null_hangs_until_the_timeout_and_takes_the_others_along() {
    for null in [json!({ "body": "" }), json!({ "body": "null" }), json!({ "status": 204, "body": "", "type": "" })] {
        let app = FakeApp::new(&[]);
        let host = app.ready(|options| options.function_timeout = Some(Duration::from_secs(4))).await;
        let (pid, port, began) = (host.pid(), host.port(), Instant::now());
        let bystander = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            post(&host, json!({ "delay": 10_000 })).await
        };
        let (reply, bystander) = tokio::join!(post(&host, null), bystander);
        assert_eq!(reply.outcome, Outcome::TimedOut);
        assert!(began.elapsed() >= Duration::from_secs(4));
        assert!(matches!(bystander.outcome, Outcome::Failed(_)), "{}", bystander.outcome);
        within(20, host.ready()).await.unwrap();
        assert!(post(&host, json!({})).await.outcome.succeeded(), "the next generation answers");
        assert_eq!((host.restarts(), host.port()), (1, port));
        assert_ne!(host.pid(), pid);
    }
}

#[tokio::test]
async fn timeouts_are_no_errors() {
    let app = FakeApp::new(&[]);
    let host = app.ready(|options| options.function_timeout = Some(Duration::from_millis(400))).await;
    for restarts in 1..=4 {
        assert_eq!(post(&host, json!({ "delay": 10_000 })).await.outcome, Outcome::TimedOut);
        until(|| host.restarts() == restarts).await;
        within(20, host.ready()).await.unwrap();
    }
}

#[tokio::test]
async fn invocations_are_on_the_wire_as_the_host_sends_them() {
    let app = FakeApp::new(&[("FAKE_SETTING", "set"), ("FAKE_ARGUMENT", "an argument")]);
    for (framing, traceparent) in [(Framing::Chunked, false), (Framing::ContentLength, true)] {
        let host = app
            .ready(|options| {
                options.framing = framing;
                options.traceparent = traceparent;
                options.clear_environment = true;
                options.settings.insert("PATH".into(), std::env::var("PATH").unwrap());
            })
            .await;
        let reply = post(&host, json!({ "echo": true })).await;
        let Outcome::Succeeded { logs } = reply.outcome else { panic!("{}", reply.outcome) };
        let seen: Value = serde_json::from_str(&logs[0]).unwrap();
        let headers = &seen["headers"];
        assert_eq!((&seen["method"], &seen["url"]), (&json!("POST"), &json!("/sign")));
        assert_eq!(headers["content-type"], "application/json; charset=utf-8");
        assert_eq!(headers["host"], format!("127.0.0.1:{}", host.port()));
        assert_eq!(headers["user-agent"], format!("Azure-Functions-Host/{HOST_VERSION}"));
        assert_eq!(headers["x-azure-functions-hostversion"], HOST_VERSION);
        assert_eq!(headers["x-azure-functions-invocationid"], reply.invocation_id);
        assert_eq!(headers["transfer-encoding"] == "chunked", framing == Framing::Chunked);
        assert_eq!(headers["content-length"].is_null(), framing == Framing::Chunked);
        assert_eq!(headers["traceparent"].as_str().map(str::len), traceparent.then_some(55));

        let environment = &seen["environment"];
        assert_eq!(environment["FAKE_SETTING"], "set");
        assert_eq!(environment["FUNCTIONS_CUSTOMHANDLER_PORT"], host.port().to_string());
        assert_eq!(environment["FUNCTIONS_HTTPWORKER_PORT"], host.port().to_string());
        assert_eq!(environment["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"], environment["FUNCTIONS_HTTPWORKER_ID"]);
        assert_eq!(environment["FUNCTIONS_APP_ROOT_PATH"].as_str().map(Path::new), Some(app.root.path()));
        assert!(environment["CARGO"].is_null(), "the environment is cleared");
        assert!(host.log()[0].text.ends_with("with an argument"), "{:?}", host.log());
    }
}

#[tokio::test]
async fn messages_have_ids_and_two_dozen_run_at_once() {
    let app = FakeApp::new(&[]);
    let host = app.ready(|_| ()).await;
    let order = json!({ "delay": 500 }).to_string();
    let began = Instant::now();
    let messages: Vec<_> = (0..24).map(|_| Message::new(order.as_str())).collect();
    let calls = messages.iter().map(|message| host.invoke("sign", Post::Message(message.clone())));
    let replies = within(20, futures::future::join_all(calls)).await;
    assert!(replies.iter().all(|reply| reply.outcome.succeeded()));
    assert!(began.elapsed() < Duration::from_secs(5));
    let invocations = host.invocations();
    assert!(messages.iter().all(|m| invocations.iter().any(|i| i.message_id.as_ref() == Some(&m.id))));
    let unknown = host.invoke("other", Post::Message(Message::new("x"))).await;
    assert_eq!(unknown.outcome, Outcome::Failed("the app has no function other".into()));
}

#[tokio::test]
async fn the_third_error_stops_the_host() {
    let app = FakeApp::new(&[]);
    let host = app.ready(|_| ()).await;
    for restarts in 1..=2 {
        let reply = post(&host, json!({ "exit": 7 })).await;
        assert!(matches!(reply.outcome, Outcome::Failed(_)));
        until(|| host.restarts() == restarts).await;
        within(20, host.ready()).await.unwrap();
        assert!(post(&host, json!({})).await.outcome.succeeded());
    }
    host.kill_handler();
    let reason = within(20, host.stopped()).await;
    assert!(reason.starts_with("exceeded http worker restart retry count"), "{reason}");
    assert_eq!(host.restarts(), 2);
    assert!(matches!(post(&host, json!({})).await.outcome, Outcome::Failed(reason) if reason.contains("has stopped")));
    assert!(matches!(host.ready().await, Err(HostError::Stopped(_))));
}

#[tokio::test]
async fn exit_codes_that_count_no_error() {
    let app = FakeApp::new(&[]);
    let host = app.ready(|_| ()).await;
    for (restarts, code) in [(1, 200), (2, 0), (3, 200), (4, 0)] {
        post(&host, json!({ "exit": code })).await;
        until(|| host.restarts() == restarts).await;
        within(20, host.ready()).await.unwrap();
        assert!(post(&host, json!({})).await.outcome.succeeded());
    }
    let host = app.ready(|options| options.exit_zero = ExitZero::StaysDead).await;
    post(&host, json!({ "exit": 0 })).await;
    until(|| host.pid().is_none()).await;
    for _ in 0..2 {
        assert!(matches!(post(&host, json!({})).await.outcome, Outcome::Failed(_)), "connection refused, for ever");
    }
    assert_eq!(host.restarts(), 0);
}

#[tokio::test]
async fn handlers_that_never_get_ready() {
    let short = ("AzureFunctionsJobHost__customHandler__initializationTimeout", "00:00:00.2");
    let long = (short.0, "00:00:20");
    let cases = [("mute", short, "it did not answer in time"), ("exit 3", long, "second | third | last words")];
    for (start, timeout, expected) in cases {
        let app = FakeApp::new(&[("FAKE_START", start), timeout]);
        let host = Host::start(app.options()).unwrap();
        let error = within(20, host.ready()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(host.restarts(), 2);
    }
    let app = FakeApp::new(&[("AzureFunctionsJobHost__customHandler__description__defaultExecutablePath", "no/such")]);
    let host = Host::start(app.options()).unwrap();
    let error = within(20, host.ready()).await.unwrap_err().to_string();
    assert!(error.contains("failed to start no/such"), "{error}");
}

#[tokio::test]
async fn an_app_without_functions_starts_no_handler() {
    let app = FakeApp::new(&[("AzureWebJobs.sign.Disabled", "1")]);
    let host = Host::start(app.options()).unwrap();
    assert!(host.ready().await.is_err());
    assert_eq!(host.pid(), None);
}

#[tokio::test]
async fn output_is_logged_with_the_level_of_its_stream() {
    let app = FakeApp::new(&[]);
    let host = app.ready(|_| ()).await;
    post(&host, json!({ "log": "to stdout", "error": "to stderr\nwith a warning\nEADDRINUSE 1" })).await;
    until(|| host.log().len() == 5).await;
    let line =
        |stream, level, text: &str| LogLine { stream, level, category: Category::Console, text: text.to_owned() };
    let taken = format!("The custom handler could not listen on port {}: it is in use.", host.port());
    for expected in [
        line(Stream::Stdout, Level::Information, "to stdout"),
        line(Stream::Stderr, Level::Error, "to stderr"),
        line(Stream::Stderr, Level::Warning, "with a warning"),
        line(Stream::Stderr, Level::Error, &taken),
    ] {
        assert!(host.log().contains(&expected), "{expected:?} in {:?}", host.log());
    }
}

#[tokio::test]
async fn events_tell_the_story() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let teller = told.clone();
    let app = FakeApp::new(&[]);
    let events = Events::new(move |event| teller.lock().unwrap().push(format!("{event:?}")));
    let host = app.ready(|options| options.events = events).await;
    post(&host, json!({})).await;
    drop(host);
    let told = told.lock().unwrap();
    let order = ["HandlerStarted", "HandlerReady", "InvocationStarted", "InvocationEnded", "HostStopped"];
    let places: Vec<_> = order.map(|name| told.iter().position(|event| event.starts_with(name)).unwrap()).to_vec();
    assert!(places.is_sorted(), "{told:?}");
}

#[tokio::test]
async fn the_handler_goes_with_the_host() {
    let app = FakeApp::new(&[]);
    let host = app.ready(|_| ()).await;
    let port = host.port();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    drop(host);
    let gone = || std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
    until(gone).await;
}
