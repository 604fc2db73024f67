//! `signet smoke`, at apps that do their job and at apps that do not.

use azure_core::{Bytes, http::RequestContent, time::OffsetDateTime};
use serde_json::{Value, json};
use signet::local::{
    tap::{Action, Fault},
    vault::KeySpec,
};
use signet_core::rejection;

use crate::{
    tool::{Desk, received},
    world::{Setup, World, deployment, eventually},
};

const UNUSED_KEY: &str = "https://unused.vault.localhost/keys/unused";

fn queues() -> Setup {
    Setup { queues: true, ..Setup::default() }
}

#[tokio::test]
async fn a_deployment_that_does_its_job_says_how_long_it_took() {
    let world = World::with(queues()).await;
    let desk = Desk::of(&world);
    let ran = desk.run(&["smoke"]).await.exits(0, "VERIFIED after ");
    assert!(ran.stdout.contains(&world.key) && ran.stdout.contains("ES256"), "{ran:?}");
    let ran = desk.run(&["smoke", "--json"]).await.exits(0, "");
    let told = ran.json();
    assert_eq!((&told["outcome"], &told["alg"]), (&json!("verified"), &json!("ES256")));
    let seconds = told["seconds"].as_f64().expect("a time");
    assert!(seconds > 0.0 && seconds < 60.0, "{told}");
    let id = told["id"].as_str().expect("an id");
    assert!(id.starts_with("smoke/") && world.result(&format!("{id}.jws.json")).await.is_some(), "{told}");
    assert_eq!(world.result_names().await.len(), 2, "every smoke is an item of its own");
}

#[tokio::test]
async fn a_result_that_is_not_valid_is_no_success() {
    let world = World::with(queues()).await;
    // Another payload of the same length.
    let alter = Action::alter(|response| {
        response
            .map(|body| Bytes::from(String::from_utf8_lossy(&body).replace("\"payload\":\"eyJ", "\"payload\":\"eyK")))
    });
    world.deployment.taps.blob.fail(Fault::new(alter).method("GET").path(".jws.json"));
    let ran = Desk::of(&world).run(&["smoke", "--json"]).await.exits(1, "waiting");
    assert_eq!(ran.json()["outcome"], "invalid", "{ran:?}");
}

/// A deployment without an app: the test says what became of the message.
#[tokio::test]
async fn a_rejection_is_shown() {
    let deployment = deployment().await;
    let desk = Desk::new(deployment.settings(UNUSED_KEY));
    for is_given_up in [false, true] {
        let smoke = desk.run(&["smoke", "--wait", "15"]);
        let reject = async {
            let message = eventually("the message", async || {
                let received = deployment.queue().expect("the queue").receive_messages(None).await.expect("messages");
                received.into_model().expect("messages").items.unwrap_or_default().into_iter().next()
            })
            .await;
            let item: Value = serde_json::from_str(message.message_text.as_deref().expect("a text")).expect("an item");
            // What the host gives up has another id on the poison queue.
            let id = if is_given_up { "given-up".to_owned() } else { message.message_id.expect("an id") };
            let record = json!({
                "reason": "attempts-exhausted", "stage": "poison", "detail": "no luck", "at": "2026-11-21T10:00:00Z",
                "id": item["id"], "messageId": id, "dequeueCount": 1, "queue": deployment.queue_name, "message": "",
            });
            let name = rejection::blob_name(OffsetDateTime::now_utc().date(), &id);
            let blob = deployment.rejected().expect("the container").blob_client(&name);
            blob.upload(RequestContent::from(record.to_string().into_bytes()), None).await.expect("an upload");
            name
        };
        let (ran, name) = tokio::join!(smoke, reject);
        ran.exits(1, "REJECTED: attempts-exhausted: no luck").exits(1, &name);
    }
}

#[tokio::test]
async fn nothing_in_time_says_whether_anybody_took_the_message() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let desk = Desk::new(deployment.settings(&key));
    desk.run(&["smoke", "--wait", "1"]).await.exits(1, "nobody has taken the message");
    assert!(received(&deployment).await.is_empty(), "it has been taken back");
    deployment.taps.queue.fail(Fault::status(403).method("DELETE"));
    desk.run(&["smoke", "--wait", "1"]).await.exits(1, "who only may send cannot look");

    let world = World::with(queues()).await;
    world.deployment.taps.vault.fail(Fault::status(403).method("POST").path("/sign"));
    let desk = Desk::of(&world);
    let ran = desk.run(&["smoke", "--wait", "15", "--json"]).await.exits(1, "waiting up to 15 s");
    let told = ran.json();
    assert_eq!(told["outcome"], "nothing", "{told}");
    assert!(told["why"].as_str().expect("a reason").contains("the app has taken the message"), "{told}");
}

#[tokio::test]
async fn what_cannot_be_tried_is_no_verdict() {
    let deployment = deployment().await;
    let mut desk = Desk::new(deployment.settings(UNUSED_KEY));
    deployment.taps.queue.fail(Fault::status(403));
    desk.run(&["smoke"]).await.exits(2, "nothing was sent");
    deployment.taps.queue.heal();
    deployment.taps.blob.fail(Fault::status(403));
    desk.run(&["smoke"]).await.exits(2, "the role Storage Blob Data Reader allows it");
    desk.settings.remove("SIGNET_QUEUE");
    desk.run(&["smoke"]).await.exits(2, "SIGNET_QUEUE is not set");
}
