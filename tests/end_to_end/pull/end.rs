//! How a replica ends that is told to: what it has is finished, or is there for others.

use super::*;

#[tokio::test]
async fn at_the_end_what_is_under_way_is_finished() {
    let site = Site::prepare(&[]).await;
    let mut puller = site.replica().await;
    let slow = Fault::new(Action::Delay(Duration::from_secs(2))).method("POST").path("/sign");
    site.place.deployment.taps.vault.fail(slow);
    for number in 0..20 {
        site.place.enqueue(&item(&number.to_string())).await;
    }
    eventually("items under way", async || (site.place.sign_requests() > 0).then_some(())).await;
    signal(&puller, Signal::SIGTERM);
    let status = puller.ended().await.expect("an end");
    assert!(status.success(), "{status}");
    assert!(says(&puller, "ending: nothing more is received").await.contains("in_flight="));
    assert!(says(&puller, " ended ").await.contains("handed_back=0"));
    let done = site.place.result_names().await.len();
    assert!(done > 0);
    assert_eq!(usize::try_from(site.messages().await).expect("a count"), 20 - done, "the others are in the queue");
}

#[tokio::test]
async fn at_the_end_what_cannot_be_finished_is_visible_to_others_at_once() {
    let site = Site::prepare(&[("SIGNET_DRAIN", "1"), ("SIGNET_LEASE", "60")]).await;
    let mut first = site.replica().await;
    site.place.deployment.taps.vault.fail(Fault::new(Action::Hang).method("POST").path("/sign"));
    site.place.enqueue(&item("passed-on")).await;
    eventually("an item under way", async || (site.place.sign_requests() > 0).then_some(())).await;
    signal(&first, Signal::SIGTERM);
    let begun = Instant::now();
    assert!(first.ended().await.expect("an end").success());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(says(&first, " handed back ").await.contains("code=drain"));

    site.place.deployment.taps.vault.heal();
    let _second = site.replica().await;
    site.place.awaited("passed-on.jws.json").await;
    assert!(begun.elapsed() < Duration::from_secs(30), "before its lease would have ended: {:?}", begun.elapsed());
    site.empty().await;
}

/// Received while the process was told to end, and the queue takes nothing back: the end comes in its time nevertheless.
#[tokio::test]
async fn at_the_end_a_queue_that_fails_holds_nothing_up() {
    let site = Site::prepare(&[("SIGNET_DRAIN", "1"), ("SIGNET_LEASE", "60")]).await;
    let queue = &site.place.deployment.taps.queue;
    site.place.enqueue(&item("held-up")).await;
    let slow = queue.fail(Fault::new(Action::Delay(Duration::from_secs(2))).method("GET").path("/messages"));
    let refused = queue.fail(Fault::status(503).method("PUT").path("/messages/"));
    let mut puller = site.starting().await;
    eventually("a look at the queue", async || (queue.fired(slow) > 0).then_some(())).await;
    signal(&puller, Signal::SIGTERM);
    let begun = Instant::now();
    assert!(puller.ended().await.expect("an end").success());
    assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
    assert!(queue.fired(refused) > 0, "there was something to give back");
}

/// Neither a result nor a record that is still on its way may meet a next delivery that comes to another end.
#[tokio::test]
async fn what_was_being_written_at_the_end_is_not_visible_at_once() {
    for (what, container) in
        [(item("a"), "-signed/a"), (r#"{"payload":1,"payloadBase64":"AA"}"#.to_owned(), "-rejected/")]
    {
        let site = Site::prepare(&[("SIGNET_DRAIN", "1"), ("SIGNET_LEASE", "60")]).await;
        let blob = &site.place.deployment.taps.blob;
        let mut replica = site.replica().await;
        let hang = blob.fail(Fault::new(Action::Hang).method("PUT").path(container));
        site.place.enqueue(&what).await;
        eventually("an upload on its way", async || (blob.fired(hang) > 0).then_some(())).await;
        signal(&replica, Signal::SIGTERM);
        assert!(replica.ended().await.expect("an end").success());
        assert!(says(&replica, " handed back ").await.contains("code=drain"));
        let given_back: Vec<u64> = site.requests("PUT").iter().map(visibility).collect();
        assert_eq!(given_back, [5], "{container}");
    }
}
