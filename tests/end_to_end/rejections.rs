//! What can never succeed becomes one durable record with a reason and the original bytes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signet::local::{
    host::{Message, Post},
    tap::{Action, Fault},
};
use signet_core::{algorithm::sha256_hex, base64};

use crate::world::{Setup, World, eventually};

#[tokio::test]
async fn each_reason_has_its_record_with_the_original_bytes() {
    let world = World::start().await;
    world.occupy("taken.jws.json", &[("signet_request", "another")]).await;
    let large = format!(r#"{{"payload":"{}"}}"#, "x".repeat(64 * 1024));
    let cases: [(&[u8], &str, &str, Option<&str>); 10] = [
        (b"no JSON", "invalid-json", "parse", None),
        (b"{\"payload\":", "invalid-json", "parse", None),
        (b"\xff\xfe\x00", "invalid-json", "parse", None),
        (b"", "invalid-json", "parse", None),
        (br#"{"id":"a","payload":1,"paylaod":2}"#, "invalid-work-item", "parse", Some("a")),
        (
            br#"{"id":"e","specversion":"1.0","type":"Microsoft.Storage.BlobDeleted"}"#,
            "unsupported-event",
            "parse",
            None,
        ),
        (br#"{"id":"f","payload":1,"format":"pdf"}"#, "unsupported-format", "parse", Some("f")),
        (large.as_bytes(), "too-large", "parse", None),
        (
            br#"{"id":"s","source":{"url":"https://a.blob.core.windows.net/c/b"}}"#,
            "source-forbidden",
            "resolve",
            Some("s"),
        ),
        (br#"{"id":"taken","payload":1}"#, "id-conflict", "publish", Some("taken")),
    ];
    for (bytes, reason, stage, id) in cases {
        let mut message = Message::new(bytes);
        message.dequeue_count = 3;
        let (message_id, day) = (message.id.clone(), message.inserted.date());
        let reply = world.host.invoke("sign", Post::Message(message)).await;
        assert!(reply.outcome.succeeded(), "{reason}: {}", reply.outcome);

        let name = format!("{:04}/{:02}/{:02}/{message_id}.json", day.year(), u8::from(day.month()), day.day());
        let mut record = world.rejections().await.remove(&name).unwrap_or_else(|| panic!("no {name}"));
        let at = record["at"].take();
        let at = at.as_str().expect("a time");
        assert!(at.len() == 20 && at.ends_with('Z'), "{at}");
        let detail = record["detail"].take();
        assert!(detail.as_str().is_some_and(|detail| detail.len() > 10), "{detail}");
        let mut expected = json!({
            "reason": reason, "stage": stage, "detail": null, "at": null, "messageId": message_id, "dequeueCount": 3,
            "queue": world.deployment.queue_name, "invocationId": reply.invocation_id, "message": base64::encode(bytes),
        });
        if let Some(id) = id {
            expected["id"] = id.into();
        }
        assert_eq!(record, expected);
    }
    assert_eq!(world.rejections().await.len(), cases.len());
    assert_eq!(world.result_names().await, ["taken.jws.json"], "nothing was signed");
}

#[tokio::test]
async fn a_redelivered_rejection_is_still_one_record() {
    let world = World::start().await;
    let mut message = Message::new("no JSON");
    for count in 1..=3 {
        message.dequeue_count = count;
        assert!(world.host.invoke("sign", Post::Message(message.clone())).await.outcome.succeeded());
    }
    assert_eq!(world.rejection().await["dequeueCount"], 1, "the first record stands");
}

/// What was not there when the record was made may be there when its message, which could not be deleted, comes again.
#[tokio::test]
async fn what_was_rejected_is_not_signed_by_a_later_delivery() {
    let world = World::start().await;
    let source = json!({ "url": world.upload_url("late") });
    let mut message = Message::new(json!({ "id": "late", "source": source }).to_string());
    assert!(world.invoke(&message).await.outcome.succeeded());
    assert_eq!(world.rejection().await["reason"], "source-not-found");
    world.upload("late", b"here by now").await;
    message.dequeue_count = 2;
    let reply = world.invoke(&message).await;
    assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    assert_eq!((world.result_names().await.len(), world.rejections().await.len()), (0, 1));
    // Another message is another matter.
    message = Message::new(message.body);
    assert!(world.invoke(&message).await.outcome.succeeded());
    assert_eq!(world.result_names().await, ["late.jws.json"]);
}

/// Without `"dataType": "binary"`, a member `id` of the message takes the place of the message's id.
#[tokio::test]
async fn messages_with_the_same_forged_id_do_not_hide_each_other() {
    let world = World::start().await;
    let forged = "7f3c1d1e-9d55-4d0a-8e55-2f9a3c6b7d10";
    let mut names = Vec::new();
    for (id, text) in [(forged, "first"), (forged, "second"), ("../../x", "third"), (forged, "first")] {
        let message = json!({ "id": id, "text": text }).to_string();
        let data = Value::from(Value::from(message.clone()).to_string());
        let metadata_id = Value::from(Value::from(id).to_string());
        let inserted = "2026-08-21T09:30:15+00:00";
        let body = json!({ "Data": { "message": data }, "Metadata": { "Id": metadata_id, "InsertionTime": inserted } });
        let reply = world.host.invoke("sign", Post::Body(body.to_string().into())).await;
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
        names.push(sha256_hex(message.as_bytes()));
    }
    let records = world.rejections().await;
    let expected = [
        format!("2026/08/21/{forged}-{}.json", names[1]),
        format!("2026/08/21/{forged}.json"),
        format!("2026/08/21/sha256-{}.json", names[2]),
    ];
    assert_eq!(records.into_keys().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_message_is_kept_until_its_record_can_be_written() {
    let world = World::with(Setup::default().setting("SIGNET_DEADLINE", "2")).await;
    let mut message = Message::new("no JSON");
    for fault in [Fault::status(503), Fault::status(403)] {
        world.deployment.taps.blob.fail(fault.method("PUT").path("-rejected"));
        let reply = world.host.invoke("sign", Post::Message(message.clone())).await;
        assert_eq!(reply.status, Some(503));
        let error: Value = serde_json::from_slice(&reply.body).expect("a JSON object");
        assert_eq!(error["error"]["stage"], "reject");
        world.deployment.taps.blob.heal();
    }
    message.dequeue_count = 3;
    assert!(world.host.invoke("sign", Post::Message(message)).await.outcome.succeeded());
    assert_eq!(world.rejection().await["reason"], "invalid-json");
}

#[tokio::test]
async fn what_the_host_gives_up_is_rescued_from_the_poison_queue() {
    // Of the poison queue as well, a host may give up what it has had back so often.
    let setup = Setup { queues: true, ..Setup::default() }
        .setting("SIGNET_DEADLINE", "1")
        .setting("AzureFunctionsJobHost__extensions__queues__visibilityTimeout", "00:00:00")
        .setting("AzureFunctionsJobHost__extensions__queues__maxDequeueCount", "2");
    let world = World::with(setup).await;
    world.deployment.taps.vault.fail(Fault::status(503).method("POST").path("/sign"));
    let text = r#"{"id":"lost/1","payload":{"x": 1.0}}"#;
    world.enqueue(text).await;
    let record = eventually("the record", async || world.rejections().await.into_values().next()).await;
    assert_eq!((&record["reason"], &record["stage"]), (&"attempts-exhausted".into(), &"poison".into()));
    assert_eq!((&record["id"], &record["message"]), (&"lost/1".into(), &base64::encode(text.as_bytes()).into()));
    let functions: Vec<_> = world.host.invocations().into_iter().map(|invocation| invocation.function).collect();
    assert_eq!(functions, ["sign", "sign", "poison"], "it waits in the handler until it may be looked at");
    eventually("an empty poison queue", async || {
        let deleted = |path: &str| {
            world
                .deployment
                .taps
                .queue
                .count(|e| e.method == "DELETE" && e.path.contains(path) && e.status == Some(204))
        };
        (deleted("-poison/") == 1).then_some(())
    })
    .await;
    assert!(world.result_names().await.is_empty());
}

/// Its lease was lost, the host gave it up, and the first delivery is still under way.
#[tokio::test]
async fn a_message_that_was_given_up_a_moment_ago_waits_until_no_delivery_can_publish() {
    let world = World::with(Setup::default().setting("SIGNET_DEADLINE", "3")).await;
    let slow = Fault::new(Action::Delay(Duration::from_secs(2))).method("POST").path("/sign");
    world.deployment.taps.vault.fail(slow.times(1));
    let item = r#"{"id":"late","payload":1}"#;
    let begun = Instant::now();
    let given_up = world.host.invoke("poison", Post::Message(Message::new(item)));
    let (signed, reply) = tokio::join!(world.sign(item), given_up);
    assert!(signed.outcome.succeeded() && reply.outcome.succeeded(), "{reply:?}");
    assert!(begun.elapsed() > Duration::from_secs(7), "{:?}", begun.elapsed());
    assert!(world.result("late.jws.json").await.is_some());
    assert!(world.rejections().await.is_empty());
}

#[tokio::test]
async fn a_poisoned_message_whose_result_stands_is_no_rejection() {
    let world = World::start().await;
    let item = r#"{"id":"a","payload":1,"format":["jws","raw"]}"#;
    assert!(world.sign(item).await.outcome.succeeded());
    assert!(world.give_up(item).await.outcome.succeeded());
    assert!(world.rejections().await.is_empty());
    let unfinished = r#"{"id":"a","payload":1,"format":["jws","raw","jws-compact"]}"#;
    assert!(world.give_up(unfinished).await.outcome.succeeded());
    assert_eq!(world.rejection().await["reason"], "attempts-exhausted");
}

#[tokio::test]
async fn a_poisoned_message_that_was_never_good_says_so() {
    let world = World::start().await;
    assert!(world.give_up(r#"{"id":"a","paylaod":1}"#).await.outcome.succeeded());
    let record = world.rejection().await;
    let detail = record["detail"].as_str().expect("text");
    assert_eq!((&record["reason"], &record["id"]), (&"attempts-exhausted".into(), &"a".into()));
    assert!(detail.contains("invalid-work-item") && detail.contains("paylaod"), "{detail}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(world.host.log().iter().all(|line| !line.text.contains("paylaod")), "details stay in the record");
}
