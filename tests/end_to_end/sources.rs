//! Blobs by reference: read once for every format, in ranges of one state, never from where it is not allowed.

use serde_json::{Value, json};
use signet::{
    local::{
        host::{Message, Reply},
        tap::{Action, Fault},
    },
    remote::Document,
    verbs::verify,
};
use signet_core::{algorithm::sha256_hex, format::Format, jwks::JwkSet};

use crate::world::{Place, Setup, Stored, World, eventually};

const MIB: usize = 1024 * 1024;

/// Bytes that differ from range to range.
fn content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at / 4096 % 251).expect("a byte") ^ u8::try_from(at % 251).expect("a byte"))
        .collect()
}

fn item(id: &str, source: &Value, formats: &[Format]) -> String {
    let formats: Vec<&str> = formats.iter().map(|format| format.name()).collect();
    json!({ "id": id, "source": source, "format": formats }).to_string()
}

fn verified(result: Stored, content: Option<&[u8]>, keys: &JwkSet) -> bool {
    let document = Document { bytes: result.bytes, metadata: result.metadata };
    verify::verdict(&document, content, keys).is_ok()
}

/// The rejection of a message that was just refused.
async fn refused(world: &World, reply: &Reply) -> Value {
    assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    let records = world.rejections().await;
    let record = records.into_values().find(|record| record["invocationId"] == reply.invocation_id);
    record.expect("a record of this invocation")
}

impl World {
    /// Range requests for what was uploaded.
    fn reads(&self) -> Vec<signet::local::tap::Exchange> {
        let mut exchanges = self.deployment.taps.blob.exchanges();
        exchanges.retain(|exchange| exchange.method == "GET" && exchange.path.contains("-uploads/"));
        exchanges
    }
}

#[tokio::test]
async fn one_pass_over_a_blob_makes_every_format() {
    let world = World::start().await;
    let content = content(9 * MIB + 5);
    let etag = world.upload("releases/1 é.zip", &content).await;
    world.clear_taps();
    let url = world.upload_url("releases/1%20%C3%A9.zip");
    let reply = world.sign(&item("release", &json!({ "url": url }), &Format::ALL)).await;
    assert!(reply.outcome.succeeded(), "{}", reply.outcome);

    let reads = world.reads();
    assert_eq!(reads.len(), 3, "4 MiB at a time, each byte once: {reads:?}");
    let ranges: Vec<&str> =
        reads.iter().filter_map(|read| read.header("x-ms-range").or(read.header("range"))).collect();
    assert_eq!(ranges, ["bytes=0-4194303", "bytes=4194304-8388607", "bytes=8388608-9437188"]);
    let pins: Vec<Option<&str>> = reads.iter().map(|read| read.header("if-match")).collect();
    assert_eq!(pins, [None, Some(&*etag), Some(&*etag)]);

    let keys = world.keys().await;
    for format in Format::ALL {
        let result =
            world.result(&format!("release{}", format.suffix())).await.unwrap_or_else(|| panic!("no {format}"));
        let metadata = |name: &str| result.metadata.get(name).map(String::as_str);
        assert_eq!(metadata("signet_sha256"), Some(&*sha256_hex(&content)));
        assert_eq!(metadata("signet_source"), Some(&*url));
        assert_eq!(metadata("signet_source_etag"), Some(&*etag));
        assert!(result.bytes.len() < 2000, "{format} holds the content");
        assert!(verified(result, Some(&content), &keys), "{format}");
        let result =
            world.result(&format!("release{}", format.suffix())).await.unwrap_or_else(|| panic!("no {format}"));
        assert!(!verified(result, Some(b"other"), &keys), "{format}");
    }
}

#[tokio::test]
async fn every_size_around_a_range_is_read_whole() {
    let world = World::start().await;
    for length in [0, 1, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1] {
        let content = content(length);
        world.upload("x", &content).await;
        let id = length.to_string();
        let reply = world.sign(&item(&id, &json!({ "url": world.upload_url("x") }), &[Format::Cose])).await;
        assert!(reply.outcome.succeeded(), "{length}: {}", reply.outcome);
        let result = world.result(&format!("{id}.cose")).await.expect("a result");
        assert_eq!(result.metadata["signet_sha256"], sha256_hex(&content));
        assert!(verified(result, Some(&content), &world.keys().await), "{length}");
    }
}

#[tokio::test]
async fn a_source_without_id_is_named_by_its_content() {
    let world = World::start().await;
    world.upload("x", b"abc").await;
    let message = json!({ "source": { "url": world.upload_url("x") }, "format": "raw" }).to_string();
    assert!(world.sign(&message).await.outcome.succeeded());
    assert!(world.deliver("sign", message, 2).await.outcome.succeeded());
    assert_eq!(world.sign_requests(), 1, "the redelivery found the result");
    assert_eq!(world.result_names().await, [format!("sha256/{}.sig", sha256_hex(b"abc"))]);
}

#[tokio::test]
async fn a_range_that_fails_is_read_again_and_no_other() {
    let world = World::start().await;
    let content = content(9 * MIB);
    world.upload("x", &content).await;
    for (number, fault) in
        [Fault::status(503), Fault::new(Action::ResetAfter), Fault::new(Action::Truncate { bytes: 100_000 })]
            .into_iter()
            .enumerate()
    {
        world.clear_taps();
        world.deployment.taps.blob.fail(fault.method("GET").path("-uploads/").skip(1).times(1));
        let id = number.to_string();
        let reply = world.sign(&item(&id, &json!({ "url": world.upload_url("x") }), &[Format::Raw])).await;
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
        assert_eq!(world.reads().len(), 4, "three ranges, one of them twice");
        let result = world.result(&format!("{id}.sig")).await.expect("a result");
        assert!(verified(result, Some(&content), &world.keys().await));
    }
}

#[tokio::test]
async fn a_blob_that_changes_while_it_is_read_is_refused() {
    let world = World::start().await;
    world.upload("x", &content(9 * MIB)).await;
    let taps = &world.deployment.taps;
    let hang = taps.blob.fail(Fault::new(Action::Hang).method("GET").path("-uploads/").skip(1).times(1));
    let message = item("a", &json!({ "url": world.upload_url("x") }), &Format::ALL);
    let (reply, ()) = tokio::join!(world.sign(&message), async {
        eventually("the second range", async || (taps.blob.fired(hang) > 0).then_some(())).await;
        world.upload("x", &content(9 * MIB)[1..]).await;
        taps.blob.heal();
    });
    let record = refused(&world, &reply).await;
    assert_eq!((&record["reason"], &record["stage"]), (&json!("source-changed"), &json!("resolve")));
    assert!(world.result_names().await.is_empty());
    assert_eq!(world.sign_requests(), 0);
}

#[tokio::test]
async fn an_etag_means_one_state_and_no_other() {
    let world = World::start().await;
    let old = world.upload("x", b"old").await;
    let pinned =
        |id: &str, etag: &str| item(id, &json!({ "url": world.upload_url("x"), "etag": etag }), &[Format::Raw]);
    assert!(world.sign(&pinned("quoted", &old)).await.outcome.succeeded());
    assert!(world.sign(&pinned("bare", old.trim_matches('"'))).await.outcome.succeeded());
    world.upload("x", b"new").await;
    let reply = world.sign(&pinned("stale", &old)).await;
    assert_eq!(refused(&world, &reply).await["reason"], "source-changed");
    assert_eq!(world.result_names().await, ["bare.sig", "quoted.sig"]);
}

#[tokio::test]
async fn a_version_is_asked_for_by_its_id() {
    let world = World::start().await;
    world.upload("x", b"abc").await;
    world.clear_taps();
    let source = json!({ "url": world.upload_url("x"), "versionId": "2026-11-21T10:00:00.1234567Z" });
    // Azurite keeps no versions; what it is asked is what counts.
    world.sign(&item("a", &source, &[Format::Raw])).await;
    let reads = world.reads();
    assert!(reads[0].query.contains("versionid=2026-11-21T10%3A00%3A00.1234567Z"), "{}", reads[0].query);
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_has_its_reason() {
    let world = World::start().await;
    world.upload("x", b"abc").await;
    let results = world.deployment.results().expect("the container").url().to_string();
    for (url, reason) in [
        (world.upload_url("missing"), "source-not-found"),
        (world.upload_url("x?sig=secret"), "source-forbidden"),
        (world.upload_url("..%2Fwork-signed%2Fx"), "source-forbidden"),
        (world.upload_url("../x"), "source-forbidden"),
        (world.upload_url(""), "source-forbidden"),
        (world.upload_url("x").replace("-uploads", "-uploads2"), "source-forbidden"),
        (world.upload_url("x").replace("https://", "https://user:password@"), "source-forbidden"),
        (world.upload_url("x").replace("https://", "http://"), "source-forbidden"),
        (format!("{results}/.well-known/jwks.json"), "source-forbidden"),
        ("https://example.com/uploads/x".to_owned(), "source-forbidden"),
        ("https://169.254.169.254/metadata/identity".to_owned(), "source-forbidden"),
    ] {
        let reply = world.sign(&item("a", &json!({ "url": url }), &[Format::Jws])).await;
        let record = refused(&world, &reply).await;
        assert_eq!((&record["reason"], &record["id"]), (&json!(reason), &json!("a")), "{url}");
        assert!(!record["detail"].to_string().contains("secret"), "{record}");
    }
    assert!(world.result_names().await.is_empty());
    assert!(!world.host.log().iter().any(|line| line.text.contains("secret")));
}

#[tokio::test]
async fn without_the_setting_every_source_is_forbidden() {
    let world = World::with(Setup::default().setting("SIGNET_SOURCES", "")).await;
    world.upload("x", b"abc").await;
    let reply = world.sign(&item("a", &json!({ "url": world.upload_url("x") }), &[Format::Raw])).await;
    assert_eq!(refused(&world, &reply).await["reason"], "source-forbidden");
    assert!(world.reads().is_empty());
}

#[tokio::test]
async fn what_a_person_can_mend_is_handed_back() {
    let world = World::start().await;
    let missing_container = world.deployment.uploads().expect("the container");
    world.upload("x", b"abc").await;
    let message = item("a", &json!({ "url": world.upload_url("x") }), &[Format::Raw]);
    for (status, code) in [(403, "AuthorizationPermissionMismatch"), (409, "BlobArchived")] {
        let answer = Action::respond(status, &[("x-ms-error-code", code)], "");
        let fault = world.deployment.taps.blob.fail(Fault::new(answer).method("GET").path("-uploads/").times(1));
        let reply = world.sign(&message).await;
        assert_eq!(reply.status, Some(503), "{code}");
        let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!((&body["error"]["code"], &body["error"]["stage"]), (&json!(code), &json!("resolve")));
        assert_eq!(world.deployment.taps.blob.fired(fault), 1);
    }
    missing_container.delete(None).await.expect("deleted");
    assert_eq!(world.sign(&message).await.status, Some(503), "the container is the operator's to make");
    assert!(world.rejections().await.is_empty());
}

#[tokio::test]
async fn a_redelivery_of_what_was_done_reads_nothing() {
    let world = World::start().await;
    world.upload("x", b"first").await;
    let mut message = Message::new(item("a", &json!({ "url": world.upload_url("x") }), &Format::ALL));
    assert!(world.invoke(&message).await.outcome.succeeded());
    // The blob has moved on, but the message has been done.
    world.upload("x", b"second").await;
    world.clear_taps();
    message.dequeue_count = 2;
    assert!(world.invoke(&message).await.outcome.succeeded());
    assert_eq!((world.reads().len(), world.sign_requests()), (0, 0));
    assert!(world.rejections().await.is_empty());
    // Another message asks for what the blob holds now, under a name that is taken.
    let reply = world.sign(&item("a", &json!({ "url": world.upload_url("x") }), &Format::ALL)).await;
    assert_eq!(refused(&world, &reply).await["reason"], "id-conflict");
    assert_eq!(world.sign_requests(), 0, "nothing is signed in vain");
}

#[tokio::test]
async fn all_results_of_an_item_are_of_one_state_of_the_blob() {
    let world = World::start().await;
    world.upload("x", b"first").await;
    let mut message = Message::new(item("a", &json!({ "url": world.upload_url("x") }), &[Format::Raw, Format::Cose]));
    world.deployment.taps.blob.fail(Fault::status(403).method("PUT").path("a.cose").times(1));
    assert_eq!(world.invoke(&message).await.status, Some(503));
    assert_eq!(world.result_names().await, ["a.sig"]);
    world.upload("x", b"second").await;
    message.dequeue_count = 2;
    let reply = world.invoke(&message).await;
    assert_eq!(refused(&world, &reply).await["reason"], "source-changed");
    assert_eq!(world.result_names().await, ["a.sig"]);
}

#[tokio::test]
async fn inline_and_by_reference_are_two_requests_where_the_results_differ() {
    let world = World::start().await;
    world.upload("x", b"1").await;
    let source = json!({ "url": world.upload_url("x") });
    for (format, same) in [(Format::Jws, false), (Format::Raw, true), (Format::Dsse, true)] {
        let (id, name) = (format.name(), format.name());
        let inline =
            format!(r#"{{"id":"{id}","payload":1,"contentType":"application/octet-stream","format":"{name}"}}"#);
        assert!(world.sign(&inline).await.outcome.succeeded());
        let before = world.rejections().await.len();
        assert!(world.sign(&item(id, &source, &[format])).await.outcome.succeeded());
        assert_eq!(world.rejections().await.len() == before, same, "{format}");
    }
}

#[tokio::test]
async fn what_the_host_gave_up_is_done_if_its_results_stand() {
    let world = World::start().await;
    let etag = world.upload("x", b"abc").await;
    let message = item("a", &json!({ "url": world.upload_url("x"), "etag": etag }), &[Format::Raw]);
    assert!(world.sign(&message).await.outcome.succeeded());
    assert!(world.give_up(message).await.outcome.succeeded());
    assert!(world.rejections().await.is_empty());
    // The queue gives a message that it moves another id: only the content tells that these are done.
    let unpinned = item("c", &json!({ "url": world.upload_url("x") }), &[Format::Raw, Format::Jws]);
    let unnamed = json!({ "source": { "url": world.upload_url("x") }, "format": "raw" }).to_string();
    for message in [&unpinned, &unnamed] {
        assert!(world.sign(message).await.outcome.succeeded());
        assert!(world.give_up(message.as_str()).await.outcome.succeeded());
        assert!(world.rejections().await.is_empty(), "{message}");
    }
    let undone = item("b", &json!({ "url": world.upload_url("x") }), &[Format::Raw]);
    let reply = world.give_up(undone).await;
    assert_eq!(refused(&world, &reply).await["reason"], "attempts-exhausted");
    // What it asks for now is not what stands.
    world.upload("x", b"other").await;
    let reply = world.give_up(unpinned).await;
    assert_eq!(refused(&world, &reply).await["reason"], "attempts-exhausted");
}

#[tokio::test]
async fn another_key_halfway_changes_nothing_about_the_state_that_is_signed() {
    let world = World::start().await;
    world.upload("x", b"first").await;
    // The second signature is refused; by the time another version is chosen, the blob is another one.
    let taps = &world.deployment.taps;
    let refuse = taps.vault.fail(Fault::status(403).method("POST").path("/sign").skip(1));
    world.deployment.vault.rotate(signet::local::stack::VAULT, "signing").await.expect("a version");
    let message = item("a", &json!({ "url": world.upload_url("x") }), &[Format::Raw, Format::Dsse]);
    let (reply, ()) = tokio::join!(world.sign(&message), async {
        eventually("a refusal", async || (taps.vault.fired(refuse) > 0).then_some(())).await;
        world.upload("x", b"second").await;
        taps.vault.heal();
    });
    if reply.outcome.succeeded() && world.rejections().await.is_empty() {
        let results =
            [world.result("a.sig").await, world.result("a.dsse.json").await].map(|result| result.expect("it stands"));
        assert_eq!(results[0].metadata["signet_sha256"], results[1].metadata["signet_sha256"]);
    } else {
        assert!(world.result("a.sig").await.is_none());
    }
}

#[tokio::test]
async fn a_duplicate_of_what_is_done_is_done_though_the_blob_is_gone() {
    let world = World::start().await;
    let etag = world.upload("x", b"abc").await;
    let message = item("a", &json!({ "url": world.upload_url("x"), "etag": etag }), &[Format::Raw]);
    assert!(world.sign(&message).await.outcome.succeeded());
    world.upload("x", b"other").await;
    assert!(world.sign(&message).await.outcome.succeeded());
    assert!(world.rejections().await.is_empty());
}

/// A record beside a result would be wrong for ever; another delivery is not.
#[tokio::test]
async fn what_may_be_done_is_not_rejected_while_that_cannot_be_told() {
    let world = World::start().await;
    let etag = world.upload("x", b"abc").await;
    let message = item("a", &json!({ "url": world.upload_url("x"), "etag": etag }), &[Format::Raw]);
    assert!(world.sign(&message).await.outcome.succeeded());
    world.upload("x", b"other").await;
    let blob = &world.deployment.taps.blob;
    blob.fail(Fault::status(403).method("HEAD").path("-signed/"));
    assert_eq!(world.sign(&message).await.status, Some(503));
    assert!(world.rejections().await.is_empty());
    blob.heal();
    assert!(world.sign(&message).await.outcome.succeeded());
    assert!(world.rejections().await.is_empty());
}

#[tokio::test]
async fn what_is_done_stays_done_though_its_container_may_not_be_read_any_more() {
    let world = World::start().await;
    world.upload("x", b"abc").await;
    let mut message = Message::new(item("a", &json!({ "url": world.upload_url("x") }), &[Format::Raw]));
    assert!(world.invoke(&message).await.outcome.succeeded());
    let Place { deployment, key } = world.without_host();
    let world = World::around(deployment, key, Setup::default().setting("SIGNET_SOURCES", "")).await;
    world.logged(" ready ").await;
    message.dequeue_count = 2;
    assert!(world.invoke(&message).await.outcome.succeeded());
    assert!(world.rejections().await.is_empty());
    let other = item("b", &json!({ "url": world.upload_url("x") }), &[Format::Raw]);
    let reply = world.sign(&other).await;
    assert_eq!(refused(&world, &reply).await["reason"], "source-forbidden");
}

/// As a host does that has lost the connection to its handler: both are of one message, and its source has changed in between.
#[tokio::test]
async fn of_two_deliveries_at_once_none_rejects_what_the_other_has_done() {
    let world = World::start().await;
    world.upload("x", b"first").await;
    let first = Message::new(item("a", &json!({ "url": world.upload_url("x") }), &[Format::Raw]));
    let vault = &world.deployment.taps.vault;
    let slow =
        vault.fail(Fault::new(Action::Delay(std::time::Duration::from_secs(3))).method("POST").path("/sign").times(1));
    let again = async {
        eventually("a first delivery", async || (vault.fired(slow) > 0).then_some(())).await;
        world.upload("x", b"second").await;
        world.invoke(&Message { dequeue_count: 2, ..first.clone() }).await
    };
    let (late, again) = tokio::join!(world.invoke(&first), again);
    assert!(again.outcome.succeeded(), "{}", again.outcome);
    assert_eq!(late.status, Some(503), "it comes again, and is done then");
    assert!(world.invoke(&Message { dequeue_count: 3, ..first }).await.outcome.succeeded());
    assert!(world.rejections().await.is_empty());
}

/// Of an empty blob the SDK asks for the whole, which may be anything by then: it is not taken into memory.
#[tokio::test]
async fn a_blob_that_grows_between_two_requests_takes_no_memory() {
    let world = World::start().await;
    world.upload("x", b"").await;
    let blob = &world.deployment.taps.blob;
    let grown = Action::alter(|answer| {
        let mut answer = answer.map(|_| vec![0; 9 * MIB].into());
        answer.headers_mut().remove("content-length");
        answer
    });
    let whole = |seen: &signet::local::tap::Exchange| seen.header("x-ms-range").or(seen.header("range")).is_none();
    let grown = blob.fail(Fault::new(grown).method("GET").path("-uploads/").when(whole).times(1));
    let reply = world.sign(&item("a", &json!({ "url": world.upload_url("x") }), &[Format::Raw])).await;
    assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    assert_eq!(blob.fired(grown), 1);
    let result = world.result("a.sig").await.expect("it stands");
    assert_eq!(result.metadata["signet_sha256"], sha256_hex(b""), "it was asked for again");
}
