//! However often a message comes, there is one result, and it is never overwritten.

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use signet::local::tap::{Action, Fault};

use crate::world::{Setup, World, eventually};

const ITEM: &str = r#"{"id":"invoices/1","payload":{"amount":"12.50"}}"#;
const RESULT: &str = "invoices/1.jws.json";

#[tokio::test]
async fn a_redelivery_looks_before_it_signs() {
    let world = World::start().await;
    assert!(world.deliver("sign", ITEM, 1).await.outcome.succeeded());
    let first = world.result(RESULT).await.expect("a result");
    world.clear_taps();
    assert!(world.deliver("sign", ITEM, 2).await.outcome.succeeded());
    assert_eq!(world.sign_requests(), 0, "nothing was signed again");
    assert_eq!(world.result(RESULT).await.expect("a result").bytes, first.bytes);
}

#[tokio::test]
async fn a_redelivery_of_what_was_not_done_signs() {
    let world = World::start().await;
    assert!(world.deliver("sign", ITEM, 2).await.outcome.succeeded());
    assert!(world.result(RESULT).await.is_some());
}

#[tokio::test]
async fn an_unannounced_duplicate_adopts_the_first_result() {
    let world = World::start().await;
    assert!(world.deliver("sign", ITEM, 1).await.outcome.succeeded());
    let first = world.result(RESULT).await.expect("a result");
    assert!(world.deliver("sign", ITEM, 1).await.outcome.succeeded());
    assert_eq!(world.sign_requests(), 2);
    assert_eq!(world.result(RESULT).await.expect("a result").bytes, first.bytes, "the first result stands");
    assert!(world.rejections().await.is_empty());
}

#[tokio::test]
async fn concurrent_duplicates_leave_one_result() {
    let world = World::start().await;
    // Every one has signed before the first has written.
    world.deployment.taps.blob.fail(Fault::new(Action::Delay(Duration::from_millis(300))).method("PUT").times(8));
    let replies = join_all((0..8).map(async |_| world.deliver("sign", ITEM, 1).await)).await;
    assert!(replies.iter().all(|reply| reply.outcome.succeeded()));
    assert_eq!(world.result_names().await, [RESULT]);
    let created =
        world.deployment.taps.blob.count(|e| e.method == "PUT" && e.status == Some(201) && e.path.contains("invoices"));
    assert_eq!(created, 1, "one of eight created it");
    assert!(world.rejections().await.is_empty());
}

#[tokio::test]
async fn a_lost_answer_to_the_upload_is_no_conflict() {
    let world = World::start().await;
    world.deployment.taps.blob.fail(Fault::new(Action::ResetAfter).method("PUT").path("invoices").times(1));
    let reply = world.deliver("sign", ITEM, 1).await;
    assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    assert_eq!(world.sign_requests(), 1, "what was signed is not signed again");
    assert_eq!(world.result_names().await, [RESULT]);
}

#[tokio::test]
async fn another_request_under_the_same_id_is_a_conflict() {
    let world = World::start().await;
    assert!(world.deliver("sign", ITEM, 1).await.outcome.succeeded());
    let first = world.result(RESULT).await.expect("a result");
    for (count, message) in [
        (1, r#"{"id":"invoices/1","payload":{"amount":"99.99"}}"#),
        (2, r#"{"id":"invoices/1","payload":{"amount":"12.50"},"contentType":"text/json"}"#),
    ] {
        assert!(world.deliver("sign", message, count).await.outcome.succeeded());
        let conflicts: Vec<Value> = world.rejections().await.into_values().collect();
        assert!(conflicts.iter().all(|record| record["reason"] == "id-conflict"), "{conflicts:?}");
        assert_eq!(conflicts.len(), usize::try_from(count).expect("small"));
    }
    assert_eq!(world.result(RESULT).await.expect("a result").bytes, first.bytes);
}

#[tokio::test]
async fn what_somebody_else_put_there_is_never_overwritten() {
    let world = World::start().await;
    world.occupy(RESULT, &[("owner", "somebody")]).await;
    assert!(world.deliver("sign", ITEM, 1).await.outcome.succeeded());
    assert_eq!(world.result(RESULT).await.expect("theirs").bytes, b"occupied");
    assert_eq!(world.rejection().await["reason"], "id-conflict");
}

#[tokio::test]
async fn several_formats_are_completed_by_a_redelivery() {
    let world = World::start().await;
    let item = r#"{"id":"a","payload":1,"format":["jws","raw","jws-compact"]}"#;
    world.deployment.taps.blob.fail(Fault::status(403).method("PUT").path("a.sig").times(1));
    let reply = world.deliver("sign", item, 1).await;
    assert_eq!(reply.status, Some(503));
    assert_eq!(world.result_names().await, ["a.jws", "a.jws.json"]);
    let first = world.result("a.jws.json").await.expect("a result").bytes;
    assert!(world.deliver("sign", item, 2).await.outcome.succeeded());
    assert_eq!(world.result_names().await, ["a.jws", "a.jws.json", "a.sig"]);
    assert_eq!(world.result("a.jws.json").await.expect("a result").bytes, first);
}

/// Each would have the other's first name, and neither all of its own.
#[tokio::test]
async fn of_two_that_want_the_same_names_in_another_order_one_gets_them_all() {
    let world = World::start().await;
    // Both have signed before the first has written.
    world.deployment.taps.blob.fail(Fault::new(Action::Delay(Duration::from_millis(300))).method("PUT").times(2));
    let items =
        [r#"{"id":"a","payload":1,"format":["jws","raw"]}"#, r#"{"id":"a","payload":2,"format":["raw","jws"]}"#];
    let replies = join_all(items.map(|item| world.deliver("sign", item, 1))).await;
    assert!(replies.iter().all(|reply| reply.outcome.succeeded()));
    assert_eq!(world.rejection().await["reason"], "id-conflict");
    assert_eq!(world.result_names().await, ["a.jws.json", "a.sig"]);
    let [jws, raw] = [world.result("a.jws.json").await, world.result("a.sig").await];
    let content = |result: Option<crate::world::Stored>| result.expect("it stands").metadata["signet_sha256"].clone();
    assert_eq!(content(jws), content(raw));
}

#[tokio::test]
async fn a_message_that_was_signed_but_not_deleted_ends_with_one_result() {
    let lease = Some(Duration::from_secs(8));
    let world = World::with(Setup { queues: true, lease, ..Setup::default() }).await;
    // The host cannot delete the message after the first attempt, so that it comes again when the lease is over.
    world.deployment.taps.queue.fail(Fault::status(503).method("DELETE").times(1));
    world.enqueue(ITEM).await;
    world.awaited(RESULT).await;
    eventually("the deletion", async || {
        let deleted = world.deployment.taps.queue.count(|e| e.method == "DELETE" && e.status == Some(204));
        (deleted == 1).then_some(())
    })
    .await;
    assert_eq!(world.host.invocations().len(), 2);
    assert_eq!(world.sign_requests(), 1);
    assert_eq!(world.result_names().await, [RESULT]);
    assert!(world.rejections().await.is_empty());
}
