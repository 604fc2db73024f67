//! What time or a person can mend is tried again within the deadline, then handed back; never rejected, never published
//! wrong.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use signet::local::{
    host::Reply,
    stack::VAULT,
    tap::{Action, Fault},
    vault::{Attributes, KeySpec},
};
use signet_core::base64;
use tokio::time::timeout;

use crate::world::{Setup, World, deployment};

const ITEM: &str = r#"{"id":"a","payload":{"x":1}}"#;

/// The JSON error of an item that was handed back.
fn setback(reply: &Reply) -> Value {
    assert_eq!(reply.status, Some(503), "{}", reply.outcome);
    let body: Value = serde_json::from_slice(&reply.body).expect("a JSON object");
    body["error"].clone()
}

#[tokio::test]
async fn throttling_is_waited_out_as_long_as_the_vault_asks() {
    let world = World::start().await;
    let busy = Action::respond(429, &[("retry-after", "1")], r#"{"error":{"code":"Throttled","message":"slow down"}}"#);
    world.deployment.taps.vault.fail(Fault::new(busy).method("POST").path("/sign").times(2));
    let begun = Instant::now();
    let reply = world.sign(ITEM).await;
    assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(world.sign_requests(), 3);
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let world = World::start().await;
    let busy =
        Action::respond(429, &[("retry-after", "600")], r#"{"error":{"code":"Throttled","message":"slow down"}}"#);
    world.deployment.taps.vault.fail(Fault::new(busy).method("POST").path("/sign"));
    let begun = Instant::now();
    let error = setback(&world.sign(ITEM).await);
    assert_eq!((&error["code"], &error["stage"]), (&"Throttled".into(), &"sign".into()));
    assert!(begun.elapsed() < Duration::from_secs(5), "handed back at once: {:?}", begun.elapsed());
    assert_eq!(world.sign_requests(), 1);
    assert!(world.result("a.jws.json").await.is_none());
    assert!(world.rejections().await.is_empty());
}

#[tokio::test]
async fn every_passing_failure_of_every_service_is_passed() {
    let world = World::start().await;
    let faults = [500, 502, 503, 504, 408].map(Fault::status);
    let lost = [Action::ResetBefore, Action::ResetAfter, Action::Truncate { bytes: 10 }].map(Fault::new);
    for (number, fault) in faults.into_iter().chain(lost).enumerate() {
        let taps = &world.deployment.taps;
        taps.vault.fail(fault.clone().method("POST").path("/sign").times(1));
        taps.blob.fail(fault.method("PUT").times(1));
        let reply = world.sign(&format!(r#"{{"id":"item-{number}","payload":1}}"#)).await;
        assert!(reply.outcome.succeeded(), "{number}: {}", reply.outcome);
        taps.vault.heal();
        taps.blob.heal();
    }
    assert_eq!(world.result_names().await.len(), 8);
    assert!(world.rejections().await.is_empty());
}

#[tokio::test]
async fn a_service_that_hangs_costs_no_more_than_the_deadline() {
    for (service, stage) in [("vault", "sign"), ("blob", "publish")] {
        let world = World::with(Setup::default().setting("SIGNET_DEADLINE", "2")).await;
        let taps = &world.deployment.taps;
        let tap = if service == "vault" { &taps.vault } else { &taps.blob };
        tap.fail(Fault::new(Action::Hang));
        let begun = Instant::now();
        let error = setback(&world.sign(ITEM).await);
        assert_eq!((&error["code"], &error["stage"]), (&"deadline".into(), &stage.into()));
        assert!((2..4).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        tap.heal();
        assert!(world.deliver("sign", ITEM, 2).await.outcome.succeeded(), "the next attempt is good");
    }
}

#[tokio::test]
async fn a_signature_that_does_not_verify_is_never_published() {
    let world = World::start().await;
    let flipped = |signature: &mut Vec<u8>| signature[5] ^= 1;
    let shortened = |signature: &mut Vec<u8>| signature.truncate(63);
    let emptied = |signature: &mut Vec<u8>| signature.clear();
    for spoil in [flipped as fn(&mut Vec<u8>), shortened, emptied] {
        let spoiled = Action::alter(move |response| {
            response.map(|body| {
                let mut answer: Value = serde_json::from_slice(&body).expect("the vault's JSON");
                let mut signature = base64::decode_url(answer["value"].as_str().expect("a value")).expect("Base64url");
                spoil(&mut signature);
                answer["value"] = base64::encode_url(&signature).into();
                answer.to_string().into()
            })
        });
        world.deployment.taps.vault.fail(Fault::new(spoiled).method("POST").path("/sign").times(1));
        let error = setback(&world.sign(ITEM).await);
        assert_eq!((&error["code"], &error["stage"]), (&"bad-signature".into(), &"verify".into()));
    }
    assert!(world.result_names().await.is_empty());
    assert!(world.rejections().await.is_empty());
    world.logged("the vault returned a signature that is not good").await;
    assert!(world.deliver("sign", ITEM, 2).await.outcome.succeeded());
}

#[tokio::test]
async fn a_signature_by_another_key_version_is_never_published() {
    let world = World::start().await;
    let elsewhere = Action::alter(|response| {
        response.map(|body| {
            let mut answer: Value = serde_json::from_slice(&body).expect("the vault's JSON");
            let kid = answer["kid"].as_str().expect("a kid");
            answer["kid"] = format!("{}{}", &kid[..kid.len() - 32], "0".repeat(32)).into();
            answer.to_string().into()
        })
    });
    world.deployment.taps.vault.fail(Fault::new(elsewhere).method("POST").path("/sign").times(1));
    assert_eq!(setback(&world.sign(ITEM).await)["code"], "bad-signature");
    assert!(world.result_names().await.is_empty());
}

#[tokio::test]
async fn what_a_person_must_mend_is_handed_back_at_once() {
    let world = World::start().await;
    let key = |enabled| Attributes { enabled: Some(enabled), ..Attributes::default() };
    world.deployment.vault.update_attributes(VAULT, "signing", None, key(false)).expect("disabled");
    let error = setback(&world.sign(ITEM).await);
    assert_eq!((&error["code"], &error["stage"]), (&"KeyDisabled".into(), &"sign".into()));
    assert_eq!(world.sign_requests(), 1);
    world.deployment.vault.update_attributes(VAULT, "signing", None, key(true)).expect("enabled");
    world.deployment.taps.blob.fail(Fault::status(403).method("PUT").times(1));
    assert_eq!(setback(&world.sign(ITEM).await)["stage"], "publish");
    assert!(world.deliver("sign", ITEM, 2).await.outcome.succeeded());
    assert!(world.rejections().await.is_empty());
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let world = World::start().await;
    world.settled().await;
    world.clear_taps();
    world.deployment.issuer.revoke_all();
    let reply = world.sign(ITEM).await;
    assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    let tokens = world.deployment.taps.identity.count(|exchange| exchange.query.contains("vault.localhost"));
    assert_eq!(tokens, 1);
}

#[tokio::test]
async fn the_first_request_to_the_vault_may_fail_without_harm() {
    for fault in [Fault::status(503), Fault::new(Action::ResetBefore)] {
        let deployment = deployment().await;
        deployment.taps.vault.fail(fault.unauthenticated().times(2));
        let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
        let world = World::around(Arc::new(deployment), key, Setup::default()).await;
        world.host.ready().await.expect("a handler");
        let reply = world.sign(ITEM).await;
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
        assert_eq!(world.sign_requests(), 1, "no request lost its body");
    }
}

#[tokio::test]
async fn tokens_are_replaced_before_they_expire_and_off_the_hot_path() {
    const LIFE: Duration = Duration::from_secs(30);
    let deployment = deployment().await;
    deployment.issuer.set_lifetime(LIFE);
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let world = World::around(Arc::new(deployment), key, Setup::default()).await;
    world.logged("ready").await;
    let begun = Instant::now();
    let mut number = 0;
    let mut item = async || {
        number += 1;
        let text = format!(r#"{{"id":"{number}","payload":1}}"#);
        let reply = timeout(LIFE, world.sign(&text)).await.expect("an item that waits for no token");
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    // At half of a token's life its refresh hangs, and whoever waits for that would hang with it. The other half is for two items.
    let identity = &world.deployment.taps.identity;
    let held = identity.fail(Fault::new(Action::Hang));
    while identity.fired(held) < 2 {
        item().await;
        assert!(begun.elapsed() < LIFE, "both are replaced before they are over");
    }
    item().await;
    item().await;
    identity.heal();
    while begun.elapsed() < LIFE + Duration::from_secs(1) {
        item().await;
    }
    assert!(identity.count(|exchange| exchange.status == Some(200)) >= 4, "{:?}", identity.exchanges());
    let refused = world.deployment.taps.vault.count(|exchange| exchange.status == Some(401));
    assert_eq!(refused, 1, "the challenge alone");
}

/// As Blob Storage does with a token whose life is over, and the emulated one with every token that it does not take.
#[tokio::test]
async fn a_token_that_storage_answers_403_is_replaced_as_well() {
    let world = World::start().await;
    assert!(world.sign(r#"{"id":"first","payload":1}"#).await.outcome.succeeded());
    world.settled().await;
    let tokens = world.deployment.taps.identity.count(|_| true);
    let refusal = Action::respond(403, &[("x-ms-error-code", "AuthenticationFailed")], "");
    world.deployment.taps.blob.fail(Fault::new(refusal).method("PUT").times(1));
    let reply = world.sign(r#"{"id":"second","payload":1}"#).await;
    assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    assert_eq!(world.deployment.taps.identity.count(|_| true), tokens + 1);
}

#[tokio::test]
async fn a_valid_token_is_used_while_refreshes_fail() {
    let deployment = deployment().await;
    deployment.issuer.set_lifetime(Duration::from_secs(8));
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let world = World::around(Arc::new(deployment), key, Setup::default()).await;
    world.logged("ready").await;
    world.deployment.taps.identity.fail(Fault::status(500));
    world.logged("no token").await;
    assert!(world.sign(r#"{"id":"while","payload":1}"#).await.outcome.succeeded());
    world.deployment.taps.identity.heal();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.sign(r#"{"id":"after","payload":1}"#).await.outcome.succeeded());
}

#[tokio::test]
async fn more_items_than_places_wait_their_turn() {
    let world = World::with(Setup::default().setting("SIGNET_CONCURRENCY", "2").setting("SIGNET_DEADLINE", "20")).await;
    world
        .deployment
        .taps
        .vault
        .fail(Fault::new(Action::Delay(Duration::from_millis(200))).method("POST").path("/sign"));
    let begun = Instant::now();
    let items = (0..8).map(async |number| world.sign(&format!(r#"{{"id":"{number}","payload":1}}"#)).await);
    let replies = futures::future::join_all(items).await;
    assert!(replies.iter().all(|reply| reply.outcome.succeeded()));
    assert!(begun.elapsed() >= Duration::from_millis(800), "four turns of two: {:?}", begun.elapsed());
}
