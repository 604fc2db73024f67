//! The protocol of the Functions host, with each of its surprises.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use futures::future::{join, join_all};
use serde_json::{Value, json};
use signet::local::{
    host::{Framing, Level, LogLine, Outcome, Post, Reply, Stream},
    tap::{Action, Fault},
};
use signet_core::base64;
use tempfile::TempDir;

use crate::{
    wire::{Answer, Connection, exchange, invocation},
    world::{Setup, World, app_root, eventually},
};

fn item(id: &str) -> String {
    format!(r#"{{"id":"{id}","payload":{{"n":1}}}}"#)
}

/// The checkout's app, but with bindings that ask for text, as they are without `dataType`.
async fn app_for_text() -> TempDir {
    let (from, to) = (app_root().await, tempfile::tempdir().expect("a copy of the app"));
    let copy = |name: &str, change: &dyn Fn(String) -> String| {
        let text = fs::read_to_string(from.join(name)).expect("a copy of the app");
        fs::create_dir_all(to.path().join(name).parent().expect("a copy of the app")).expect("a copy of the app");
        fs::write(to.path().join(name), change(text)).expect("a copy of the app");
    };
    let without_data_type = |text: String| {
        let mut function: Value = serde_json::from_str(&text).expect("a copy of the app");
        assert_eq!(
            function["bindings"][0].as_object_mut().expect("a copy of the app").remove("dataType"),
            Some(json!("binary"))
        );
        function.to_string()
    };
    copy("host.json", &|text| text);
    copy("sign/function.json", &without_data_type);
    copy("poison/function.json", &without_data_type);
    let handler = Path::new("bin").join("handler");
    fs::create_dir(to.path().join("bin")).expect("a copy of the app");
    fs::copy(from.join(&handler), to.path().join(&handler)).expect("a copy of the app");
    to
}

/// A world in which messages come as text. The directory must outlive it.
async fn world_of_text() -> (World, TempDir) {
    let app = app_for_text().await;
    (World::with(Setup { app_root: Some(app.path().to_owned()), ..Setup::default() }).await, app)
}

fn assert_done(reply: &Reply, result: &str) {
    let Outcome::Succeeded { logs } = &reply.outcome else { panic!("{reply:?}") };
    assert_says(&json!(logs), result);
}

/// One line with everything that there is to know of the delivery.
fn assert_says(logs: &Value, result: &str) {
    let line = logs[0].as_str().expect("a line");
    assert!(line.starts_with("done function=sign "), "{line}");
    assert_eq!(field(line, "results"), result, "{line}");
    assert_eq!(logs.as_array().map(Vec::len), Some(1), "{logs}");
}

/// The value of `name=value` in a line of the log, without its quotation marks.
fn field(line: &str, name: &str) -> String {
    let (_, rest) = line.split_once(&format!(" {name}=")).expect("such a field");
    match rest.strip_prefix('"') {
        Some(quoted) => {
            let end = quoted.match_indices('"').find(|(at, _)| !quoted[..*at].ends_with('\\')).expect("its end").0;
            quoted[..end].replace("\\\"", "\"")
        }
        None => rest.split(' ').next().unwrap_or_default().to_owned(),
    }
}

fn assert_json(answer: &Answer, status: u16) {
    assert_eq!((answer.status, answer.content_type.as_str()), (status, "application/json"), "{answer:?}");
    assert!(answer.body.is_object(), "{answer:?}");
}

#[tokio::test]
async fn the_probe_is_answered_while_every_place_is_taken() {
    let world = World::start().await;
    world.deployment.taps.vault.fail(Fault::new(Action::Hang).method("POST").path("/sign"));
    let items: Vec<String> = (0..80).map(|n| item(&format!("item-{n}"))).collect();
    let (replies, ()) = join(join_all(items.iter().map(|item| world.sign(item))), async {
        eventually("64 items in flight", async || (world.sign_requests() == 64).then_some(())).await;
        for _ in 0..20 {
            let begun = Instant::now();
            let answer = exchange(world.host.port(), "GET", "/", b"").await;
            assert_json(&answer, 200);
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        }
        assert_eq!(world.sign_requests(), 64, "the rest waits for a place");
        world.deployment.taps.vault.heal();
    })
    .await;
    for (n, reply) in replies.iter().enumerate() {
        assert_done(reply, &format!("item-{n}.jws.json"));
    }
}

#[tokio::test]
async fn bodies_are_read_in_either_framing() {
    for framing in [Framing::Chunked, Framing::ContentLength] {
        let world = World::with(Setup { framing, ..Setup::default() }).await;
        assert_done(&world.sign(&item("framed")).await, "framed.jws.json");
    }
}

#[tokio::test]
async fn a_body_may_come_in_the_smallest_pieces() {
    let world = World::start().await;
    let mut connection = Connection::open(world.host.port()).await;
    connection.write(b"POST /sign HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for byte in invocation(&item("発票")).bytes() {
        connection.write(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']).await;
    }
    connection.write(b"0\r\n\r\n").await;
    let answer = connection.answer().await;
    assert_json(&answer, 200);
    assert_says(&answer.body["Logs"], "発票.jws.json");
}

#[tokio::test]
async fn text_bindings_encode_twice_and_forge_metadata() {
    let (world, _app) = world_of_text().await;
    let message = r#"{"id":"text/é \u2028 \"1\"","contentType":"text/plain","payload":"a \"b\" \\ </b>"}"#;
    let reply = world.sign(message).await;
    assert_done(&reply, r#"text/é \u{2028} "1".jws.json"#);
    assert!(world.rejections().await.is_empty());

    // The message's own `id` has taken the place of the queue's, and it is a GUID, as the queue's would be.
    let id = "7f3c1d1e-9d55-4d0a-8e55-2f9a3c6b7d10";
    for n in 0..2 {
        let message = format!(r#"{{"id":"{id}","dequeueCount":99,"sys":{{"x":{n}}},"replyTrigger":"gone"}}"#);
        assert!(world.sign(&message).await.outcome.succeeded());
    }
    let records = world.rejections().await;
    assert_eq!(records.len(), 2, "neither hides the other: {records:?}");
    assert!(records.values().all(|record| record["reason"] == "invalid-work-item" && record["id"] == id));

    for message in [r#"{"id":"../../evil","oops":1}"#, r#"{"id":"x/y","oops":1}"#] {
        assert!(world.sign(message).await.outcome.succeeded());
    }
    let is_plain = |name: &str| name.split('/').count() == 4 && !name.contains("evil");
    let records = world.rejections().await;
    assert_eq!(records.len(), 4);
    assert!(records.keys().all(|name| is_plain(name)), "{records:?}");
}

#[tokio::test]
async fn the_largest_messages_pass_however_they_are_escaped() {
    const LARGEST: usize = 64 * 1024;
    let (world, _app) = world_of_text().await;
    let frame = r#"{"id":"escaped","payload":""}"#.len();
    let quotes = "\\\"".repeat((LARGEST - frame) / 2);
    let message = format!(r#"{{"id":"escaped","payload":"{quotes}"}}"#);
    assert!((LARGEST - 1..=LARGEST).contains(&message.len()));
    assert_done(&world.sign(&message).await, "escaped.jws.json");

    let control = "\u{1}".repeat(LARGEST);
    assert!(world.sign(&control).await.outcome.succeeded());
    let record = world.rejection().await;
    assert_eq!(record["reason"], "invalid-json");
    assert_eq!(record["message"], base64::encode(control.as_bytes()), "the message is kept whole");
}

#[tokio::test]
async fn deep_nesting_ends_nothing() {
    let world = World::start().await;
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let depth = 30_000 / open.len();
        let message = format!(r#"{{"payload":{}1{}}}"#, open.repeat(depth), close.repeat(depth));
        let reply = world.sign(&message).await;
        assert!(reply.outcome.succeeded(), "{reply:?}");
        let (open, close) = (r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        let body = format!(r#"{{"Data":{{"message":"e30="}},"Metadata":{{"meta":{open}1{close}}}}}"#);
        let answer = exchange(world.host.port(), "POST", "/sign", body.as_bytes()).await;
        assert!(answer.status < 500, "{answer:?}");
    }
    assert_eq!(world.host.restarts(), 0);
}

/// What every envelope below has as metadata, as the host writes it.
const METADATA: &str = concat!(
    r#""DequeueCount":"1","ExpirationTime":"2026-08-28T09:30:15+00:00","#,
    r#""Id":"\"7f3c1d1e-9d55-4d0a-8e55-2f9a3c6b7d10\"","InsertionTime":"2026-08-21T09:30:15+00:00","#,
    r#""NextVisibleTime":"2026-08-21T09:40:16+00:00","PopReceipt":"\"AgAAAAMAAAAAAAAAAgtnj8x+1QE=\"","#,
    r#""sys":{"MethodName":"sign","UtcNow":"2026-08-21T09:30:16.4211907Z","RandGuid":"0b8f5a0e-3a0e-4a5e-9d3c-6a1f2b7c9d11"}"#,
);

#[tokio::test]
async fn messages_that_are_no_work_items_are_rejected_in_every_envelope() {
    let world = World::start().await;
    let expanded = r#","documentId":"\"d-42\"","pages":"\"3\"","urgent":"\"True\"","meta":{"k":1},"requestedAt":"\"08/21/2026 09:30:15\"""#;
    let cases = [
        (
            r#""\"{\\\"documentId\\\":\\\"d-42\\\",\\\"pages\\\":3,\\\"urgent\\\":true,\\\"tags\\\":[\\\"a\\\"],\\\"meta\\\":{\\\"k\\\":1},\\\"requestedAt\\\":\\\"2026-08-21T09:30:15Z\\\"}\"""#,
            format!("{METADATA}{expanded}"),
            "invalid-work-item",
        ),
        (r#""\"hello queue\"""#, METADATA.to_owned(), "invalid-json"),
        (r#""\"he said \\\"hi\\\" \\\\ é \\u2028 </b>\\n\"""#, METADATA.to_owned(), "invalid-json"),
        (
            r#""\"{\\\"id\\\":\\\"evil\\\",\\\"dequeueCount\\\":99,\\\"sys\\\":{\\\"x\\\":1},\\\"replyTrigger\\\":\\\"gone\\\"}\"""#,
            r#""DequeueCount":"\"99\"","Id":"\"evil\"","InsertionTime":"2026-08-21T09:30:15+00:00","sys":{"x":1}"#
                .to_owned(),
            "invalid-work-item",
        ),
        (r#""eyJkb2N1bWVudElkIjoiZC00MiJ9""#, METADATA.to_owned(), "invalid-work-item"),
        (r#""\"\"""#, METADATA.to_owned(), "invalid-json"),
        (r#""\"[1,2]\"""#, METADATA.to_owned(), "invalid-work-item"),
        (r#""\"\\\"abc\\\"\"""#, METADATA.to_owned(), "invalid-work-item"),
        (r#""\"{not json}\"""#, METADATA.to_owned(), "invalid-json"),
        (r#""\"dGVzdA==\"""#, METADATA.to_owned(), "invalid-json"),
    ];
    let mut records = HashSet::new();
    for (data, metadata, reason) in &cases {
        let body = format!(r#"{{"Data":{{"message":{data}}},"Metadata":{{{metadata}}}}}"#);
        let answer = exchange(world.host.port(), "POST", "/sign", body.as_bytes()).await;
        assert_json(&answer, 200);
        let line = answer.body["Logs"][0].as_str().expect("a line for the host's log");
        assert!(line.starts_with("rejected function=sign "), "{line}");
        assert_eq!(field(line, "reason"), *reason, "{data}");
        let record = field(line, "record");
        assert!(record.starts_with("2026/08/21/"), "by the day of insertion: {record}");
        assert!(records.insert(record), "{data} has a record of its own");
    }
    let stored = world.rejections().await;
    assert_eq!(stored.keys().cloned().collect::<HashSet<_>>(), records);
    assert_eq!(world.sign_requests(), 0);
}

#[tokio::test]
async fn envelopes_as_the_documentation_shows_them_are_read() {
    let world = World::start().await;
    let metadata = r#"{"DequeueCount":1,"Id":"7f3c1d1e-9d55-4d0a-8e55-2f9a3c6b7d10"}"#;
    let cases = [
        (r#""{\"id\":\"documented-1\",\"payload\":1}""#, metadata, "documented-1"),
        (r#"{"id":"documented-2","payload":1}"#, metadata, "documented-2"),
        (r#""\"{\\\"id\\\":\\\"documented-3\\\",\\\"payload\\\":1}\"""#, "{}", "documented-3"),
    ];
    for (data, metadata, id) in cases {
        let body = format!(r#"{{"Data":{{"message":{data}}},"Metadata":{metadata}}}"#);
        assert_done(&world.host.invoke("sign", Post::Body(body.into_bytes())).await, &format!("{id}.jws.json"));
    }
}

#[tokio::test]
async fn every_answer_is_a_json_object() {
    let world = World::start().await;
    let port = world.host.port();
    let invoke = async |path: &str, body: &str| exchange(port, "POST", path, body.as_bytes()).await;

    assert_json(&invoke("/sign", &invocation(&item("a"))).await, 200);
    assert_json(&invoke("/sign", &invocation("no item")).await, 200);
    assert_json(&invoke("/poison", &invocation(&item("a"))).await, 200);
    assert_json(&exchange(port, "GET", "/", b"").await, 200);

    world.deployment.taps.vault.fail(Fault::status(403).method("POST").path("/sign"));
    let answer = invoke("/sign", &invocation(&item("b"))).await;
    assert_json(&answer, 503);
    assert_eq!((answer.code(), answer.body["error"]["stage"].as_str()), ("403", Some("sign")));
    assert!(answer.body["error"]["message"].is_string());

    for (method, path, status, code) in [
        ("POST", "/", 405, "method"),
        ("GET", "/sign", 405, "method"),
        ("DELETE", "/poison", 405, "method"),
        ("POST", "/SIGN", 404, "unknown-function"),
        ("POST", "/api/sign", 404, "unknown-function"),
        ("GET", "/favicon.ico", 404, "unknown-function"),
    ] {
        let answer = exchange(port, method, path, b"{}").await;
        assert_json(&answer, status);
        assert_eq!(answer.code(), code, "{method} {path}");
    }
    for body in ["", "null", "[]", "{}", "{", r#"{"Data":{}}"#, r#"{"Data":{"a":"","b":""}}"#] {
        let answer = invoke("/sign", body).await;
        assert_json(&answer, 400);
        assert_eq!(answer.code(), "invalid-invocation", "{body}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_ends_nothing() {
    let world = World::start().await;
    let answer = exchange(world.host.port(), "POST", "/sign", &vec![b' '; 4 * 1024 * 1024 + 1]).await;
    assert_json(&answer, 400);
    assert_eq!(answer.code(), "invalid-invocation");
    // Whether the answer or the end of the connection comes first is a matter of timing here.
    let reply = world.host.invoke("sign", Post::Body(vec![b' '; 16 * 1024 * 1024])).await;
    assert!(!reply.outcome.succeeded(), "{reply:?}");
    assert_done(&world.sign(&item("after")).await, "after.jws.json");
    assert_eq!(world.host.restarts(), 0);
}

#[tokio::test]
async fn an_item_outlives_the_hosts_connection() {
    let world = World::start().await;
    world.deployment.taps.vault.fail(Fault::new(Action::Delay(Duration::from_secs(1))).method("POST").path("/sign"));
    let mut connection = Connection::open(world.host.port()).await;
    connection.send("POST", "/sign", invocation(&item("orphan")).as_bytes()).await;
    eventually("the request for a signature", async || (world.sign_requests() == 1).then_some(())).await;
    drop(connection);
    world.awaited("orphan.jws.json").await;
    assert_eq!(world.sign_requests(), 1);
}

#[tokio::test]
async fn connections_are_kept_and_shared() {
    let world = World::start().await;
    let world = &world;
    join_all((0..4).map(async |c| {
        let mut connection = Connection::open(world.host.port()).await;
        for n in 0..6 {
            connection.send("POST", "/sign", invocation(&item(&format!("{c}-{n}"))).as_bytes()).await;
            assert_json(&connection.answer().await, 200);
        }
        connection.send("GET", "/", b"").await;
        assert_json(&connection.answer().await, 200);
    }))
    .await;
    let items: Vec<String> = (0..24).map(|n| item(&format!("at-once-{n}"))).collect();
    let replies = join_all(items.iter().map(|item| world.sign(item))).await;
    assert!(replies.iter().all(|reply| reply.outcome.succeeded()), "{replies:?}");
    assert_eq!(world.result_names().await.len(), 48);
}

#[tokio::test]
async fn what_the_host_gives_up_becomes_a_record() {
    let setup = Setup { queues: true, ..Setup::default() }
        .setting("AzureFunctionsJobHost__extensions__queues__visibilityTimeout", "00:00:00")
        .setting("AzureFunctionsJobHost__extensions__queues__maxDequeueCount", "2")
        .setting("SIGNET_DEADLINE", "1");
    let world = World::with(setup).await;
    let fault = world.deployment.taps.vault.fail(Fault::status(403).method("POST").path("/sign"));
    world.enqueue(&item("given-up")).await;
    let record = eventually("a record", async || world.rejections().await.into_values().next()).await;
    assert_eq!((&record["reason"], &record["id"]), (&json!("attempts-exhausted"), &json!("given-up")));
    assert_eq!(record["queue"], world.deployment.queue_name);
    assert_eq!(record["message"], base64::encode(item("given-up").as_bytes()));
    assert_eq!(world.deployment.taps.vault.fired(fault), 2);
    let functions: Vec<_> = world.host.invocations().into_iter().map(|invocation| invocation.function).collect();
    assert_eq!(functions, ["sign", "sign", "poison"]);
    assert!(world.result_names().await.is_empty());
}

#[tokio::test]
async fn the_host_logs_each_line_at_its_level() {
    let world = World::start().await;
    let done = world.sign(&item("logged")).await;
    let rejected = world.sign("no item").await;
    world.deployment.taps.vault.fail(Fault::status(403).method("POST").path("/sign"));
    let handed_back = world.sign(&item("handed-back")).await;
    let unreadable = world.host.invoke("sign", Post::Body(b"no envelope".to_vec())).await;
    assert_eq!((handed_back.status, unreadable.status), (Some(503), Some(400)));

    let line = async |text: &str| {
        let log = async || world.host.log().into_iter().find(|line: &LogLine| line.text.contains(text));
        let LogLine { stream, level, .. } = eventually(text, log).await;
        (stream, level)
    };
    assert_eq!(line("listening").await, (Stream::Stdout, Level::Information));
    assert_eq!(line(&done.invocation_id).await, (Stream::Stdout, Level::Information));
    assert_eq!(line(&rejected.invocation_id).await, (Stream::Stderr, Level::Warning));
    assert_eq!(line(&handed_back.invocation_id).await, (Stream::Stderr, Level::Warning));
    assert_eq!(line("cannot be read").await, (Stream::Stderr, Level::Error));
    for LogLine { stream, text, .. } in world.host.log() {
        let is_trouble = text.starts_with("WARN ") || text.starts_with("ERROR ");
        assert_eq!(stream == Stream::Stderr, is_trouble, "{text}");
    }
}
