//! Upload and get a signature: Event Grid's word that a blob was written is a work item.

use serde_json::{Value, json};
use signet::{
    local::event_grid::{Encoding, Schema, Subscription},
    remote::Document,
    verbs::verify,
};
use signet_core::base64;

use crate::world::{Setup, World};

impl World {
    /// A CloudEvents 1.0 event about a blob, as Event Grid makes it.
    fn cloud_event(url: &str, etag: &str) -> Value {
        let (container, name) = url
            .split_once("localhost")
            .expect("a local URL")
            .1
            .split_once('/')
            .expect("a path")
            .1
            .split_once('/')
            .expect("a container");
        json!({
            "source": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/devstoreaccount1",
            "subject": format!("/blobServices/default/containers/{container}/blobs/{name}"),
            "type": "Microsoft.Storage.BlobCreated",
            "time": "2026-11-21T18:41:00.9584103Z",
            "id": "831e1650-001e-001b-66ab-eeb76e069631",
            "specversion": "1.0",
            "data": {
                "api": "PutBlob", "requestId": "831e1650-001e-001b-66ab-eeb76e000000", "eTag": etag,
                "contentType": "application/zip", "contentLength": 3, "blobType": "BlockBlob", "url": url,
                "sequencer": "00000000000004420000000000028963",
                "storageDiagnostics": { "batchId": "b68529f3-68cd-4744-baa4-3c0498ec19f0" },
            },
        })
    }
}

/// The same event in Event Grid's own schema.
fn event_grid(cloud_event: &Value) -> Value {
    let member = |name: &str| cloud_event[name].clone();
    json!({
        "topic": member("source"), "subject": member("subject"), "eventType": member("type"), "eventTime": member("time"),
        "id": member("id"), "data": member("data"), "dataVersion": "", "metadataVersion": "1",
    })
}

#[tokio::test]
async fn an_upload_is_signed_in_whichever_form_its_event_comes() {
    let world = World::with(Setup::default().setting("SIGNET_FORMAT", "cose")).await;
    for (number, form) in (0..6).zip(["cloud", "own", "list", "cloud64", "own64", "list64"]) {
        let (name, content) = (format!("in/{form}.zip"), vec![number; 1000]);
        let etag = world.upload(&name, &content).await;
        let cloud =
            World::cloud_event(&world.upload_url(&name), if number % 2 == 0 { &etag } else { etag.trim_matches('"') });
        let own = event_grid(&cloud);
        let message = match form.trim_end_matches("64") {
            "cloud" => cloud.to_string(),
            "own" => own.to_string(),
            _ => json!([own]).to_string(),
        };
        let message = if form.ends_with("64") { base64::encode(message.as_bytes()) } else { message };
        assert!(world.sign(&message).await.outcome.succeeded());
        let id = format!("{}-uploads/{name}", world.deployment.queue_name);
        let result = world.result(&format!("{id}.cose")).await.unwrap_or_else(|| panic!("{form} is signed"));
        let document = Document { bytes: result.bytes, metadata: result.metadata };
        let verdict = verify::verdict(&document, Some(&content), &world.keys().await).expect("valid");
        assert_eq!(verdict.content_type.as_deref(), Some("application/zip"));
    }
    assert!(world.rejections().await.is_empty());
}

/// From the upload to the signature, with nobody between but the services.
#[tokio::test]
async fn an_upload_becomes_a_signature() {
    let world = World::with(Setup { queues: true, ..Setup::default() }).await;
    let usual = world.deployment.uploads_subscription();
    for (number, (schema, encoding)) in
        [(Schema::CloudEvents, Encoding::Base64), (Schema::EventGrid, Encoding::Plain)].into_iter().enumerate()
    {
        let suffix = Some(format!("{number}.bin"));
        world.deployment.subscribe(Subscription { schema, encoding, subject_ends_with: suffix, ..usual.clone() });
    }
    for number in 0..2 {
        let (name, content) = (format!("né/{number}.bin"), vec![number; 5_000_000]);
        world.upload(&name, &content).await;
        let result = world.awaited(&format!("{}-uploads/{name}.jws.json", world.deployment.queue_name)).await;
        let document = Document { bytes: result.bytes, metadata: result.metadata };
        verify::verdict(&document, Some(&content), &world.keys().await).expect("valid");
    }
    assert!(world.rejections().await.is_empty());
}

#[tokio::test]
async fn an_event_means_the_state_that_it_tells_of() {
    let world = World::start().await;
    let old = world.upload("x", b"old").await;
    world.upload("x", b"new").await;
    assert!(world.sign(&World::cloud_event(&world.upload_url("x"), &old).to_string()).await.outcome.succeeded());
    assert_eq!(world.rejection().await["reason"], "source-changed");
    assert!(world.result_names().await.is_empty());
}

#[tokio::test]
async fn events_of_other_kinds_and_other_places_are_refused() {
    let world = World::start().await;
    let etag = world.upload("x", b"abc").await;
    let event = World::cloud_event(&world.upload_url("x"), &etag);
    let mut deleted = event.clone();
    deleted["type"] = "Microsoft.Storage.BlobDeleted".into();
    let elsewhere = World::cloud_event(&world.upload_url("x").replace("-uploads/", "-elsewhere/"), &etag);
    for (message, reason) in [
        (deleted.to_string(), "unsupported-event"),
        (json!([event_grid(&event), event_grid(&event)]).to_string(), "unsupported-event"),
        (elsewhere.to_string(), "source-forbidden"),
    ] {
        let reply = world.sign(&message).await;
        assert!(reply.outcome.succeeded());
        let records = world.rejections().await;
        let record = records.values().find(|record| record["invocationId"] == reply.invocation_id).expect("a record");
        assert_eq!(record["reason"], reason);
    }
}

/// A subscription to the whole account tells of everything that the handler writes itself.
#[tokio::test]
async fn no_loop_arises_from_our_own_containers() {
    let container = |world: &World, role: &str| world.upload_url("").replace("-uploads/", &format!("-{role}"));
    let cold = World::cold(Setup::default()).await;
    let sources = ["uploads", "signed", "rejected"].map(|role| container(&cold, role)).join(",");
    let setup = Setup::default().setting("SIGNET_SOURCES", sources);
    let world = World::around(cold.deployment.clone(), cold.key.clone(), setup).await;
    world.logged(" ready ").await;

    assert!(world.sign(r#"{"id":"a","payload":1}"#).await.outcome.succeeded());
    for name in ["a.jws.json", ".well-known/jwks.json"] {
        let url = format!("{}/{name}", container(&world, "signed"));
        assert!(world.sign(&World::cloud_event(&url, "\"0x8D\"").to_string()).await.outcome.succeeded());
    }
    let records = world.rejections().await;
    assert!(records.values().all(|record| record["reason"] == "source-forbidden"), "{records:?}");
    assert_eq!((records.len(), world.sign_requests()), (2, 1));

    for name in records.keys() {
        let url = format!("{}/{name}", container(&world, "rejected"));
        let mut event = World::cloud_event(&url, "\"0x8D\"");
        assert!(world.sign(&event.to_string()).await.outcome.succeeded());
        assert!(world.give_up(event.to_string()).await.outcome.succeeded());
        event["type"] = "Microsoft.Storage.BlobDeleted".into();
        assert!(world.sign(&event.to_string()).await.outcome.succeeded());
        assert!(world.give_up(event.to_string()).await.outcome.succeeded());
    }
    assert_eq!(world.rejections().await.len(), 2, "a record of a record would bring another event");
    world.logged("ignored function=sign").await;
    assert_eq!(world.result_names().await, ["a.jws.json"]);
}

/// The name of the container alone does not make it ours.
#[tokio::test]
async fn events_of_another_account_are_no_records_of_ours() {
    let world = World::start().await;
    let url = format!("{}/x.json", world.upload_url("").replace("-uploads/", "-rejected"));
    for (account, records) in [("devstoreaccount1-secondary", 0), ("another", 1)] {
        let url = url.replacen("devstoreaccount1", account, 1);
        assert!(world.sign(&World::cloud_event(&url, "\"0x8D\"").to_string()).await.outcome.succeeded());
        assert_eq!(world.rejections().await.len(), records, "{account}");
    }
    assert_eq!(world.rejection().await["reason"], "source-forbidden");
}
