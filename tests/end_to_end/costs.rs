//! What an item costs, counted at the services.

use std::time::Duration;

use futures::future::join_all;
use signet::local::tap::{Action, Exchange, Fault};

use crate::world::{Setup, World, eventually};

#[tokio::test]
async fn in_the_steady_state_an_item_costs_one_vault_and_one_blob_request() {
    let world = World::start().await;
    assert!(world.sign(r#"{"id":"first","payload":1}"#).await.outcome.succeeded());
    world.settled().await;
    for number in 0..10 {
        world.clear_taps();
        let reply = world.sign(&format!(r#"{{"id":"item-{number}","payload":{number}}}"#)).await;
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
        let taps = &world.deployment.taps;
        assert_eq!(taps.vault.exchanges().len(), 1, "{:?}", taps.vault.exchanges());
        assert_eq!(taps.blob.exchanges().len(), 1, "{:?}", taps.blob.exchanges());
        assert_eq!(taps.identity.exchanges().len(), 0);
    }
}

#[tokio::test]
async fn with_two_seconds_to_warm_up_the_first_item_costs_no_more() {
    let world = World::cold(Setup::default()).await;
    world.host.ready().await.expect("a handler");
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.settled().await;
    let connections = |world: &World| {
        let taps = &world.deployment.taps;
        let exchanges = [taps.vault.exchanges(), taps.blob.exchanges()].concat();
        exchanges.iter().map(|exchange| exchange.connection).max()
    };
    let warmed = connections(&world);
    world.clear_taps();
    assert!(world.sign(r#"{"id":"first","payload":1}"#).await.outcome.succeeded());
    let taps = &world.deployment.taps;
    assert_eq!(taps.vault.exchanges().len(), 1, "{:?}", taps.vault.exchanges());
    assert_eq!(taps.blob.exchanges().len(), 1, "{:?}", taps.blob.exchanges());
    assert_eq!(taps.identity.exchanges().len(), 0);
    assert_eq!(connections(&world), warmed, "the TLS sessions of the warm-up are used");
}

#[tokio::test]
async fn eight_concurrent_first_items_share_one_warm_up() {
    let world = World::cold(Setup::default()).await;
    // Slow enough for all eight to arrive while nothing is ready.
    world.deployment.taps.identity.fail(Fault::new(Action::Delay(Duration::from_millis(500))));
    world.host.ready().await.expect("a handler");
    let items = (0..8).map(async |number| world.sign(&format!(r#"{{"id":"{number}","payload":{number}}}"#)).await);
    for reply in join_all(items).await {
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    }
    let taps = &world.deployment.taps;
    let mut audiences: Vec<String> = taps.identity.exchanges().into_iter().map(|exchange| exchange.query).collect();
    audiences.sort();
    assert_eq!(audiences.len(), 2, "{audiences:?}");
    assert!(audiences[0].contains("storage.azure.com") && audiences[1].contains("vault.localhost"), "{audiences:?}");
    // The first look at the versions, a second after the start, is no part of it, and a read of the key set follows it.
    let is_look = |exchange: &Exchange| exchange.path.ends_with("/versions");
    let vault = taps.vault.exchanges();
    let look = vault.iter().find(|exchange| is_look(exchange)).map(|look| look.at);
    let look_ups =
        vault.iter().filter(|seen| seen.method == "GET" && seen.status == Some(200) && !is_look(seen)).count();
    let challenges = taps.vault.count(|exchange| exchange.status == Some(401));
    assert_eq!((look_ups, challenges), (1, 1), "{vault:?}");
    assert_eq!(world.sign_requests(), 8);
    let is_sooner = |exchange: &Exchange| look.is_none_or(|look| exchange.at < look);
    let key_sets = taps.blob.count(|seen| seen.method == "GET" && seen.path.contains("jwks.json") && is_sooner(seen));
    assert_eq!(key_sets, 1);
}

#[tokio::test]
async fn a_key_that_is_published_already_is_not_published_again() {
    let world = World::start().await;
    world.clear_taps();
    world.host.kill_handler();
    eventually("a second warm-up", async || {
        let ready = world.host.log().iter().filter(|line| line.text.contains(" ready ")).count();
        (ready == 2).then_some(())
    })
    .await;
    assert!(world.sign(r#"{"id":"after","payload":1}"#).await.outcome.succeeded());
    let puts = world.deployment.taps.blob.count(|exchange| exchange.method == "PUT" && exchange.path.contains("jwks"));
    assert_eq!(puts, 0);
    assert_eq!(world.keys().await.len(), 1);
}
