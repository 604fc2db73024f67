//! `signet rejected`: what could not be signed is listed, shown and sent again, once.

use azure_core::{http::RequestContent, time::OffsetDateTime};
use azure_storage_blob::models::BlobClientUploadOptions;
use serde_json::{Value, json};
use signet::local::{
    stack::Deployment,
    tap::{Action, Fault},
};
use signet_core::{base64, rejection};

#[cfg(unix)]
use crate::output;
use crate::{
    tool::{Desk, Ran, received},
    world::{Setup, World, deployment, eventually},
};

const UNUSED_KEY: &str = "https://unused.vault.localhost/keys/unused";

fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{ran:?}"))).collect()
}

/// A deployment, and a desk at it.
async fn at_a_desk() -> (Deployment, Desk) {
    let deployment = deployment().await;
    let desk = Desk::new(deployment.settings(UNUSED_KEY));
    (deployment, desk)
}

/// Puts a record into the container as the handler does; its blob's name.
async fn record(deployment: &Deployment, message_id: &str, changes: Value) -> String {
    let mut record = json!({
        "reason": "source-not-found", "stage": "resolve", "detail": "there is no such blob", "at": "2026-11-21T10:00:00Z",
        "id": format!("item/{message_id}"), "messageId": message_id, "dequeueCount": 1, "queue": deployment.queue_name,
        "invocationId": "i", "message": base64::encode(br#"{"payload":1}"#),
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        record[name] = value.clone();
    }
    put(deployment, message_id, record["reason"].as_str().expect("a reason"), record.to_string()).await
}

/// Puts any text where a record of a message would be; its blob's name.
async fn put(deployment: &Deployment, message_id: &str, reason: &str, text: String) -> String {
    let name = rejection::blob_name(OffsetDateTime::now_utc().date(), message_id);
    let metadata = [("signet_reason".to_owned(), reason.to_owned())].into();
    let options = BlobClientUploadOptions { metadata: Some(metadata), ..BlobClientUploadOptions::default() };
    let blob = deployment.past_taps().rejected().expect("the container").blob_client(&name);
    blob.upload(RequestContent::from(text.into_bytes()), Some(options)).await.expect("an upload");
    name
}

#[tokio::test]
async fn what_was_rejected_is_sent_again_and_signed_once_its_cause_is_mended() {
    let world = World::with(Setup { queues: true, ..Setup::default() }).await;
    let desk = Desk::of(&world);
    let item = format!("{{\"id\":\"late\",\r\n\t\"source\":{{\"url\":\"{}\"}}}}", world.upload_url("late.bin"));
    desk.pipe(&["send"], item.as_bytes()).await.exits(0, "- → ");
    let first = eventually("the record", async || world.rejections().await.into_iter().next()).await;
    assert_eq!(first.1["message"], base64::encode(item.as_bytes()), "line breaks included");

    let ran = desk.run(&["rejected", "list", "--since", "1h", "--reason", "source-not-found"]).await.exits(0, "late");
    let message_id = first.1["messageId"].as_str().expect("an id");
    assert!(ran.stdout.contains(message_id) && ran.stdout.contains("resolve"), "{ran:?}");
    let shown = desk.run(&["rejected", "show", message_id]).await.exits(0, "source-not-found");
    assert!(shown.stdout.contains("\"id\":\"late\",\\r\n\t\"source\""), "{shown:?}");
    let ran = desk.run(&["rejected", "show", &first.0, "--message"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), item.as_str()));

    world.upload("late.bin", b"here now").await;
    desk.run(&["rejected", "replay", "--since", "1h", "--dry-run"]).await.exits(0, "not sent");
    let ran = desk.run(&["rejected", "replay", "--since", "1h", "--json"]).await.exits(0, "\"sent\"");
    world.awaited("late.jws.json").await;
    let replayed = lines(&ran);
    assert_eq!((replayed.len(), &replayed[0]["blob"]), (1, &json!(first.0)));

    // The record stands as it was, and says nothing else; that it was replayed is said beside it.
    let listed = lines(&desk.run(&["rejected", "list", "--json"]).await.exits(0, "late"));
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["replay"]["messageId"], replayed[0]["messageId"]);
    assert_eq!((&listed[0]["replay"]["step"], &listed[0]["replay"]["attempt"]), (&json!("sent"), &json!(1)));
    assert_eq!(world.rejections().await.get(&first.0), Some(&first.1));
    desk.run(&["rejected", "list", "--not-replayed"]).await.exits(0, "No rejection record");
    desk.run(&["rejected", "replay", "--all"]).await.exits(0, "Nothing to replay");
}

#[tokio::test]
async fn a_message_that_is_rejected_again_has_a_record_of_its_own() {
    let world = World::with(Setup { queues: true, ..Setup::default() }).await;
    let desk = Desk::of(&world);
    world.enqueue(r#"{"id":"bad","payload":1,"x":2}"#).await;
    eventually("the record", async || world.rejections().await.into_iter().next()).await;
    let ran = desk.run(&["rejected", "replay", "--id", "bad", "--json"]).await.exits(0, "sent");
    let second = lines(&ran)[0]["messageId"].as_str().expect("an id").to_owned();
    let both = async || {
        let listed = lines(&desk.run(&["rejected", "list", "--id", "bad", "--json"]).await);
        (listed.len() == 2).then_some(listed)
    };
    let listed = eventually("a second record", both).await;
    let again = listed.iter().find(|line| line["messageId"] == second.as_str()).expect("the new message's record");
    assert!(again["replay"].is_null(), "{again}");
    // The new record is a record like any other; the old one stays replayed.
    let ran = desk.run(&["rejected", "replay", "--all", "--dry-run", "--json"]).await.exits(0, "would-be-sent");
    assert_eq!(lines(&ran).iter().map(|line| &line["blob"]).collect::<Vec<_>>(), [&again["blob"]]);
}

#[tokio::test]
async fn two_operators_at_once_send_each_message_once() {
    let (deployment, desk) = at_a_desk().await;
    let messages: Vec<String> = (0..6).map(|number| format!("{{\"payload\":{number}}}")).collect();
    for (number, message) in messages.iter().enumerate() {
        let changes = json!({ "message": base64::encode(message.as_bytes()) });
        record(&deployment, &format!("m{number}"), changes).await;
    }
    let arguments = ["rejected", "replay", "--all", "--json"];
    let (one, other) = tokio::join!(desk.run(&arguments), desk.run(&arguments));
    let sent = |ran: &Ran| lines(ran).iter().filter(|line| line["outcome"] == "sent").count();
    assert_eq!(sent(&one) + sent(&other), messages.len(), "{one:?} {other:?}");
    let mut received = received(&deployment).await;
    received.sort();
    assert_eq!(received, messages, "each once");
    let ran = desk.run(&["rejected", "replay", "--all"]).await.exits(0, "Nothing to replay");
    assert_eq!(ran.stderr, "");
}

#[tokio::test]
async fn what_broke_off_is_in_doubt_until_somebody_decides() {
    let (deployment, desk) = at_a_desk().await;
    let name = record(&deployment, "m1", json!({})).await;
    record(&deployment, "m2", json!({ "at": "later" })).await;
    let posts = |deployment: &Deployment| deployment.taps.queue.count(|exchange| exchange.method == "POST");
    // The message is taken, and the answer lost.
    deployment.taps.queue.fail(Fault::new(Action::ResetAfter).method("POST").times(1));
    let ran = desk.run(&["rejected", "replay", "--id", "m1", "--id", "m2"]).await.exits(2, "it may have been sent");
    assert_eq!((ran.stdout.as_str(), posts(&deployment)), ("", 1), "it ends there");
    let doubtful = lines(&desk.run(&["rejected", "list", "--json"]).await);
    let doubtful: Vec<_> = doubtful.iter().filter(|line| line["replay"]["step"] == "begun").collect();
    assert_eq!(doubtful.len(), 1);
    let doubtful = doubtful[0]["messageId"].as_str().expect("an id").to_owned();
    desk.run(&["rejected", "list", "--id", &doubtful]).await.exits(0, "in doubt");

    let ran = desk.run(&["rejected", "replay", "--all", "--json"]).await.exits(1, &format!("--id {doubtful} --again"));
    let outcomes: Vec<Value> = lines(&ran).iter().map(|line| line["outcome"].clone()).collect();
    assert!(outcomes.contains(&json!("in-doubt")) && outcomes.contains(&json!("sent")), "{outcomes:?}");
    assert_eq!(posts(&deployment), 2, "the other one alone");

    desk.run(&["rejected", "replay", "--all", "--again"]).await.exits(2, "name it with --id");
    desk.run(&["rejected", "replay", "--id", &doubtful, "--again"]).await.exits(0, &doubtful);
    let ran = desk.run(&["rejected", "show", &name, "--json"]).await.exits(0, "");
    assert_eq!(ran.json()["replay"]["step"], "sent");
    assert_eq!(posts(&deployment), 3);
    assert_eq!(received(&deployment).await.len(), 3);
}

#[tokio::test]
async fn what_the_queue_refuses_is_not_in_doubt() {
    let (deployment, desk) = at_a_desk().await;
    record(&deployment, "m1", json!({})).await;
    deployment.taps.queue.fail(Fault::status(403).method("POST"));
    desk.run(&["rejected", "replay", "--all"]).await.exits(2, "does not take it: HTTP 403");
    let listed = lines(&desk.run(&["rejected", "list", "--not-replayed", "--json"]).await);
    assert_eq!(listed[0]["replay"]["step"], "not-sent");
    deployment.taps.queue.heal();
    desk.run(&["rejected", "replay", "--all"]).await.exits(0, "m1.json → ");
    let listed = lines(&desk.run(&["rejected", "list", "--json"]).await);
    assert_eq!((&listed[0]["replay"]["step"], &listed[0]["replay"]["attempt"]), (&json!("sent"), &json!(2)));
    assert_eq!(received(&deployment).await, [r#"{"payload":1}"#]);
}

#[tokio::test]
async fn a_lost_answer_about_a_mark_is_no_doubt() {
    let (deployment, desk) = at_a_desk().await;
    record(&deployment, "m1", json!({})).await;
    deployment.taps.blob.fail(Fault::new(Action::ResetAfter).method("PUT").path("begun").times(1));
    deployment.taps.blob.fail(Fault::new(Action::ResetAfter).method("PUT").path("sent").times(1));
    desk.run(&["rejected", "replay", "--all"]).await.exits(0, "m1.json → ");
    assert_eq!(received(&deployment).await.len(), 1);
    // Nothing is sent where the mark cannot be made.
    record(&deployment, "m2", json!({})).await;
    deployment.taps.blob.fail(Fault::status(403).method("PUT"));
    desk.run(&["rejected", "replay", "--all"]).await.exits(2, "Storage Blob Data Contributor");
    assert!(received(&deployment).await.is_empty());
}

#[tokio::test]
async fn filters_choose_and_recent_windows_do_not_read_everything() {
    let (deployment, desk) = at_a_desk().await;
    record(&deployment, "m1", json!({ "reason": "id-conflict" })).await;
    record(&deployment, "m2", json!({ "id": "other", "detail": "x".repeat(100) })).await;
    let ids = async |arguments: &[&str]| {
        let ran = desk.run(&[&["rejected", "list", "--json"], arguments].concat()).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        let mut ids: Vec<String> =
            lines(&ran).iter().map(|line| line["messageId"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids.join(" ")
    };
    assert_eq!(ids(&[]).await, "m1 m2");
    assert_eq!(ids(&["--reason", "id-conflict"]).await, "m1");
    assert_eq!(ids(&["--reason", "id-conflict", "--reason", "source-not-found"]).await, "m1 m2");
    assert_eq!(ids(&["--id", "other"]).await, "m2");
    assert_eq!(ids(&["--id", "m1", "--id", "none"]).await, "m1");
    assert_eq!(ids(&["--limit", "1"]).await.len(), 2);
    assert_eq!(ids(&["--older-than", "1h"]).await, "");
    assert_eq!(ids(&["--older-than", "0s", "--id", "none"]).await, "");
    deployment.taps.blob.clear();
    assert_eq!(ids(&["--since", "2001-01-01", "--reason", "id-conflict"]).await, "m1");
    let reads = |path: &str| deployment.taps.blob.count(|seen| seen.method == "GET" && seen.path.contains(path));
    assert_eq!(reads("m2.json"), 0, "the listing tells the reason");
    deployment.taps.blob.clear();
    ids(&["--since", "30m"]).await;
    let mut listings = deployment.taps.blob.exchanges();
    listings.retain(|seen| seen.query.contains("comp=list"));
    assert!(listings.iter().all(|listing| listing.query.contains("prefix=")), "{listings:?}");
    assert!((20..=22).contains(&listings.len()), "ten days, and what is noted of each");

    let table = desk.run(&["rejected", "list"]).await.exits(0, "dequeued").stdout;
    assert!(table.contains('…') && !table.contains(&"x".repeat(70)), "{table}");
    for (arguments, why) in [
        (&["--reason", "source-missing"][..], "source-not-found"),
        (&["--since", "soon"], "no age"),
        (&["--limit", "-1"], "unexpected"),
    ] {
        desk.run(&[&["rejected", "list"], arguments].concat()).await.exits(2, why);
    }
    desk.run(&["rejected", "replay"]).await.exits(2, "--all for every record");
    desk.run(&["rejected", "show", "nothing"]).await.exits(2, "has no record of nothing");
    deployment.taps.blob.fail(Fault::status(403));
    desk.run(&["rejected", "list"]).await.exits(2, "Storage Blob Data Reader");
}

#[tokio::test]
async fn records_of_strangers_harm_nobody() {
    let (deployment, desk) = at_a_desk().await;
    let hostile = "\u{1b}]0;owned\u{7}\u{202e}";
    record(
        &deployment,
        "m1",
        json!({ "id": hostile, "detail": hostile, "message": base64::encode(hostile.as_bytes()) }),
    )
    .await;
    record(&deployment, "m2", json!({ "message": base64::encode(b"\xff\0\x1b") })).await;
    record(&deployment, "m3", json!({ "queue": "another" })).await;
    record(&deployment, "m4", json!({ "message": base64::encode(&vec![b'x'; 65537]) })).await;
    record(&deployment, "m5", json!({ "message": 5 })).await;
    for arguments in [&["list"][..], &["show", "m1"], &["show", "m2"]] {
        let ran = desk.run(&[&["rejected"], arguments].concat()).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let told = ran.stdout + &ran.stderr;
        assert!(!told.contains(['\u{1b}', '\u{7}', '\u{202e}', '\0']), "{told:?}");
        assert!(!told.contains("m5") || told.contains("m5.json is no rejection record"), "{told}");
    }
    desk.run(&["rejected", "show", "m2"]).await.exits(0, "3 bytes are no UTF-8").exits(0, "/wAb");
    let ran = desk.run(&["rejected", "show", "m2", "--json"]).await.exits(0, "");
    assert!(ran.json()["text"].is_null());
    let encoded = base64::encode(br#"{"payload": 6}"#);
    record(&deployment, "m6", json!({ "message": base64::encode(encoded.as_bytes()) })).await;
    desk.run(&["rejected", "show", "m6"]).await.exits(0, "which is Base64 of:\n\n{\"payload\": 6}");

    let ran = desk.run(&["rejected", "replay", "--all"]).await.exits(1, "another, and SIGNET_QUEUE is");
    for why in ["no UTF-8", "65537 bytes", "no message of a queue can", "m5.json is no rejection record"] {
        assert!(ran.stderr.contains(why), "{why}: {ran:?}");
    }
    assert_eq!(received(&deployment).await, [encoded]);
}

#[tokio::test]
async fn what_is_asked_for_by_an_id_that_no_record_has_is_not_sent_and_that_is_said() {
    let (deployment, desk) = at_a_desk().await;
    record(&deployment, "m1", json!({})).await;
    let ran = desk.run(&["rejected", "replay", "--id", "item/m2"]).await;
    assert_eq!(ran.stdout, "", "nothing that sounds well");
    ran.exits(1, "item/m2 was not replayed: ").exits(1, "has no record of it");
    let ran = desk.run(&["rejected", "replay", "--id", "m2", "--json"]).await.exits(1, "m2");
    let told = lines(&ran);
    assert_eq!((&told[0]["outcome"], &told[0]["id"], told.len()), (&json!("no-record"), &json!("m2"), 1));
    let ran = desk.run(&["rejected", "replay", "--id", "m1", "--older-than", "1h"]).await;
    ran.exits(1, "m1 was not replayed");
    assert!(received(&deployment).await.is_empty());

    let ran = desk.run(&["rejected", "replay", "--id", "m2", "--id", "item/m1"]).await;
    assert!(ran.stdout.contains("m1.json → "), "{ran:?}");
    ran.exits(1, "m2 was not replayed");
    assert_eq!(received(&deployment).await.len(), 1, "the one that there is");
    // What was sent before has a record, by either of its ids.
    for id in ["m1", "item/m1"] {
        desk.run(&["rejected", "replay", "--id", id]).await.exits(0, "Nothing to replay");
    }

    let name = put(&deployment, "m3", "id-conflict", "[]".to_owned()).await;
    desk.run(&["rejected", "replay", "--id", "m1"]).await.exits(0, "Nothing to replay");
    for arguments in [&["--all"][..], &["--id", "m3"]] {
        let ran = desk.run(&[&["rejected", "replay", "--json"], arguments].concat()).await;
        let blobs: Vec<Value> = lines(&ran).iter().map(|line| line["blob"].clone()).collect();
        assert_eq!(blobs, [json!(name)], "{ran:?}");
        ran.exits(1, "m3.json is no rejection record");
    }
}

#[tokio::test]
async fn a_list_of_a_records_values_is_no_record() {
    let (deployment, desk) = at_a_desk().await;
    let queue = &deployment.queue_name;
    let list = json!(["id-conflict", "publish", "detail", "at", "id", "m1", 1, queue, base64::encode(b"{}")]);
    put(&deployment, "m1", "id-conflict", list.to_string()).await;
    for arguments in [&["show", "m1"][..], &["show", "m1", "--json"], &["show", "m1", "--message"]] {
        let ran = desk.run(&[&["rejected"], arguments].concat()).await;
        assert_eq!(ran.stdout, "");
        ran.exits(2, "m1.json is no rejection record");
    }
    let ran = desk.run(&["rejected", "list", "--json"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stderr.contains("m1.json is no rejection record"), "{ran:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_to_be_sent_is_sent_whether_or_not_anybody_reads_of_it() {
    let (deployment, desk) = at_a_desk().await;
    let replay = ["rejected", "replay", "--all"];
    for number in 0..3 {
        record(&deployment, &format!("m{number}"), json!({})).await;
    }
    let ran = output::run_onto(&desk, output::CLOSED_PIPE, &replay).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(received(&deployment).await.len(), 3);
    #[cfg(target_os = "linux")]
    {
        for number in 3..6 {
            record(&deployment, &format!("m{number}"), json!({})).await;
        }
        let ran = output::run_onto(&desk, output::FULL_DISK, &replay).await;
        ran.exits(2, "cannot be written to stdout");
        assert_eq!(received(&deployment).await.len(), 3);
    }
}
