//! Tokens that services refuse, and tokens that are of no use as they come.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use signet::local::{
    tap::{Action, Fault},
    vault::KeySpec,
};

use crate::world::{Setup, World, deployment};

/// The SDK's clients replace theirs after 401 alone.
#[tokio::test]
async fn a_token_that_storage_refuses_with_403_is_not_sent_again() {
    let world = World::start().await;
    assert!(world.sign(r#"{"id":"first","payload":1}"#).await.outcome.succeeded());
    world.settled().await;
    let blob = &world.deployment.taps.blob;
    let refused = blob.exchanges().last().and_then(|seen| seen.credential).expect("a token");
    let refusal = Action::respond(403, &[("x-ms-error-code", "AuthenticationFailed")], "");
    let refusal = blob.fail(Fault::new(refusal).when(move |seen| seen.credential == Some(refused)));
    for id in ["second", "third"] {
        let reply = world.sign(&format!(r#"{{"id":"{id}","payload":1}}"#)).await;
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    }
    assert_eq!(blob.fired(refusal), 1);
}

#[tokio::test]
async fn a_token_that_is_over_as_it_comes_is_told_of() {
    let deployment = Arc::new(deployment().await);
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    deployment.issuer.set_clock(-7 * 24 * 3600);
    let world = World::around(Arc::clone(&deployment), key, Setup::default().setting("SIGNET_DEADLINE", "2")).await;
    let told = world.logged("not ready yet").await;
    assert!(told.contains("by this machine's clock; is that right?"), "{told}");
    deployment.issuer.set_clock(0);
    world.logged(" ready ").await;
    assert!(world.sign(r#"{"id":"a","payload":1}"#).await.outcome.succeeded());
}

/// Whoever waits for a new one keeps nobody else, and waits no longer than its deadline.
#[tokio::test]
async fn a_token_that_does_not_come_is_waited_for_until_the_deadline() {
    let world = World::with(Setup::default().setting("SIGNET_DEADLINE", "3")).await;
    world.settled().await;
    let taps = &world.deployment.taps;
    taps.identity.fail(Fault::new(Action::Hang));
    let refusal = Action::respond(403, &[("x-ms-error-code", "AuthenticationFailed")], "");
    let refusal = taps.blob.fail(Fault::new(refusal));
    let begun = Instant::now();
    let items = ["a", "b", "c"].map(async |id| world.sign(&format!(r#"{{"id":"{id}","payload":1}}"#)).await);
    for reply in futures::future::join_all(items).await {
        assert_eq!(reply.status, Some(503), "{}", reply.outcome);
    }
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert!(taps.blob.fired(refusal) > 0);
    taps.blob.heal();
    taps.identity.heal();
    assert!(world.sign(r#"{"id":"d","payload":1}"#).await.outcome.succeeded());
}
