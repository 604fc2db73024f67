//! What had left for a service when its item ended, and may arrive after the next delivery has begun.

use super::*;

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
