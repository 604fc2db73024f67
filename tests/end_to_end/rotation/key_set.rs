//! The key set that versions are published in: written by several at once, broken, not to be written, or meant to stay without one.

use signet_core::jwks::JwkSet;

use super::*;

#[tokio::test]
async fn instances_that_publish_at_once_lose_nothing() {
    let deployment = Arc::new(deployment().await);
    let mut kids = Vec::new();
    let mut keys = Vec::new();
    for number in 0..4 {
        let name = format!("key-{number}");
        keys.push(deployment.create_key(&name, KeySpec::P256).await.expect("a key"));
        kids.push(
            deployment.vault.key(VAULT, &name, None).expect("a key")["key"]["kid"].as_str().expect("kid").to_owned(),
        );
    }
    let theirs = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","kid":"theirs","use":"sig"}],"note":"ours"}"#;
    let set = deployment.results().expect("the container").blob_client(jwks::BLOB_NAME);
    set.upload(azure_core::http::RequestContent::from(theirs.as_bytes().to_vec()), None).await.expect("an upload");
    // Everybody has read before anybody writes.
    let blob = &deployment.taps.blob;
    let held = blob.fail(Fault::new(Action::Hang).method("PUT").path("jwks.json"));
    let worlds = keys.into_iter().map(async |key| World::around(Arc::clone(&deployment), key, Setup::default()).await);
    let worlds = join_all(worlds).await;
    eventually("four that have read, and would write", async || {
        let is_read =
            |seen: &Exchange| seen.method == "GET" && seen.path.contains("jwks.json") && seen.status.is_some();
        (blob.count(is_read) >= 4 && blob.fired(held) >= 4).then_some(())
    })
    .await;
    blob.remove(held);
    for world in &worlds {
        world.logged(" ready ").await;
    }
    let conflicts = blob.count(|put| put.path.contains("jwks.json") && matches!(put.status, Some(409 | 412)));
    assert!(conflicts > 0, "they were in each other's way");
    let set: JwkSet = worlds[0].keys().await;
    assert!(kids.iter().all(|kid| set.contains(kid)) && set.contains("theirs"), "{set}");
}

#[tokio::test]
async fn a_key_set_that_cannot_be_written_is_tried_with_patience() {
    let deployment = Arc::new(deployment().await);
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let policy = Action::respond(409, &[("x-ms-error-code", "BlobImmutableDueToPolicy")], "");
    let fault = deployment.taps.blob.fail(Fault::new(policy).method("PUT").path("jwks.json"));
    let world = World::around(Arc::clone(&deployment), key, Setup::default()).await;
    world.logged("BlobImmutableDueToPolicy").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(deployment.taps.blob.fired(fault) < 10, "{} tries", deployment.taps.blob.fired(fault));
    deployment.taps.blob.heal();
    world.signer("a").await;
}

/// While the key set cannot be kept up, the published version goes on signing, no other is used, and one that may not sign any
/// more is left at once.
#[tokio::test]
async fn a_key_set_that_is_broken_stops_no_look_at_the_vault() {
    let deployment = Arc::new(deployment().await);
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let world = World::around(deployment, key, attentive()).await;
    let first = world.signer("a").await;
    world.put_key_set(b"{").await;
    world.logged("the key set is not kept up").await;
    let second = world.deployment.vault.rotate(VAULT, "signing").await.expect("a version");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.signer("b").await, first, "the new version cannot be published");

    let version = first.rsplit_once('/').map(|(_, version)| version);
    world.deployment.vault.update_attributes(VAULT, "signing", version, enabled(false)).expect("disabled");
    let begun = Instant::now();
    let reply = world.sign(r#"{"id":"c","payload":1}"#).await;
    assert_eq!(reply.status, Some(503), "{}", reply.outcome);
    assert!(begun.elapsed() < Duration::from_secs(15), "handed back at once: {:?}", begun.elapsed());

    world.put_key_set(br#"{"keys":[]}"#).await;
    eventually("the new version", async || world.published(&second).await.then_some(())).await;
    assert_eq!(world.signer("d").await, second);
}

/// Whoever disables a version for good, and takes it out of the key set, does not find it there again.
#[tokio::test]
async fn a_disabled_pinned_version_is_not_published_again() {
    let (deployment, key, pinned) = with_version().await;
    let world = World::around(deployment, key, attentive().setting("SIGNET_KEY", pinned.clone())).await;
    assert_eq!(world.signer("a").await, pinned);
    let vault = &world.deployment.vault;
    vault.update_attributes(VAULT, "signing", None, enabled(false)).expect("disabled");
    eventually("an item that is handed back", async || {
        (!world.sign(r#"{"id":"b","payload":1}"#).await.outcome.succeeded()).then_some(())
    })
    .await;
    world.put_key_set(br#"{"keys":[]}"#).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!world.published(&pinned).await);
    vault.update_attributes(VAULT, "signing", None, enabled(true)).expect("enabled");
    eventually("its publication", async || world.published(&pinned).await.then_some(())).await;
    eventually("a signature", async || world.sign(r#"{"id":"c","payload":1}"#).await.outcome.succeeded().then_some(()))
        .await;
}

/// Under a name that is taken nothing is replaced; that what is signed does not verify with it has to be said.
#[tokio::test]
async fn another_key_under_the_name_of_ours_is_told_of() {
    let deployment = Arc::new(deployment().await);
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    deployment.create_key("other", KeySpec::P256).await.expect("a key");
    let kid =
        |name: &str| deployment.vault.key(VAULT, name, None).expect("a key")["key"]["kid"].as_str().map(str::to_owned);
    let mut other = deployment.vault.key(VAULT, "other", None).expect("a key")["key"].clone();
    other["kid"] = kid("signing").expect("a kid").into();
    let set = deployment.results().expect("the container").blob_client(jwks::BLOB_NAME);
    let theirs = serde_json::json!({ "keys": [other] }).to_string();
    set.upload(azure_core::http::RequestContent::from(theirs.clone().into_bytes()), None).await.expect("an upload");
    let world = World::around(Arc::clone(&deployment), key, attentive()).await;
    let told = |at_least: usize| {
        let lines = world.host.log().into_iter().map(|line| line.text);
        let told = lines.filter(|line| line.contains("another key under this name") && line.contains("ERROR")).count();
        (told >= at_least).then_some(())
    };
    // At the start, and with each look from then on.
    eventually("two errors", async || told(2)).await;
    assert!(world.sign(r#"{"id":"a","payload":1}"#).await.outcome.succeeded());
    assert_eq!(world.result(jwks::BLOB_NAME).await.expect("it stands").text(), theirs);
}
