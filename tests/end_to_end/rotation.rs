//! Keys come and go: a new version is published, then used; what may not sign is never chosen; several vaults share the load.

mod key_set;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use azure_core::http::RequestContent;
use futures::future::join_all;
use signet::{
    local::{
        stack::{Deployment, VAULT},
        tap::{Action, Exchange, Fault},
        vault::{Attributes, KeyOptions, KeySpec},
    },
    remote::Document,
    verbs::verify,
};
use signet_core::jwks;

use crate::world::{Setup, World, deployment, eventually};

/// Looks for new versions every second.
fn attentive() -> Setup {
    Setup::default().setting("SIGNET_KEY_REFRESH", "1")
}

/// A deployment, its key, and the one version that there is of it.
async fn with_version() -> (Arc<Deployment>, String, String) {
    let deployment = Arc::new(deployment().await);
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let version = deployment.vault.key(VAULT, "signing", None).expect("a key");
    (deployment, key, version["key"]["kid"].as_str().expect("kid").to_owned())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

fn enabled(enabled: bool) -> Attributes {
    Attributes { enabled: Some(enabled), ..Attributes::default() }
}

impl World {
    /// The version that signs an item.
    async fn signer(&self, id: &str) -> String {
        let reply = self.sign(&format!(r#"{{"id":"{id}","payload":1}}"#)).await;
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
        self.result(&format!("{id}.jws.json")).await.expect("a result").metadata["signet_kid"].clone()
    }

    async fn published(&self, kid: &str) -> bool {
        self.keys().await.contains(kid)
    }

    /// Puts something in place of the key set.
    async fn put_key_set(&self, text: &[u8]) {
        let set = self.deployment.results().expect("the container").blob_client(jwks::BLOB_NAME);
        set.upload(RequestContent::from(text.to_vec()), None).await.expect("an upload");
    }

    async fn all_verify(&self) {
        let keys = self.keys().await;
        for name in self.result_names().await {
            let result = self.result(&name).await.expect("it was listed");
            let document = Document { bytes: result.bytes, metadata: result.metadata };
            verify::verdict(&document, None, &keys).unwrap_or_else(|why| panic!("{name}: {why:?}"));
        }
    }
}

#[tokio::test]
async fn a_rotation_under_load_fails_no_item_and_signs_with_published_versions_alone() {
    let world = World::with(attentive()).await;
    let (done, signed) = (AtomicBool::new(false), AtomicBool::new(false));
    let load = async |lane: usize| {
        let mut number = 0;
        while !done.load(Ordering::Relaxed) {
            number += 1;
            let reply = world.sign(&format!(r#"{{"id":"{lane}/{number}","payload":{number}}}"#)).await;
            assert!(reply.outcome.succeeded(), "{}", reply.outcome);
            signed.store(true, Ordering::Relaxed);
        }
        number
    };
    let rotations = async {
        let mut versions = Vec::new();
        for round in 0..3 {
            let version = world.deployment.vault.rotate(VAULT, "signing").await.expect("a version");
            let begun = Instant::now();
            eventually("a signature by the new version", async || {
                let signatures = world.deployment.vault.signatures();
                signatures.iter().any(|signature| signature.kid == version).then_some(())
            })
            .await;
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
            if round == 1 {
                // An operator in a hurry: what is under way with the old version must go on with the new one.
                let old: &String = versions.last().expect("the first round's");
                let old = old.rsplit('/').next().expect("a version");
                world
                    .deployment
                    .vault
                    .update_attributes(VAULT, "signing", Some(old), enabled(false))
                    .expect("disabled");
            }
            versions.push(version);
            // The vault's clock has seconds.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        done.store(true, Ordering::Relaxed);
        versions
    };
    let (items, versions) = tokio::join!(join_all((0..4).map(load)), rotations);

    let items: usize = items.into_iter().sum();
    println!("{items} items through three rotations");
    assert!(items > 50, "there was load: {items}");
    assert_eq!(world.result_names().await.len(), items);
    assert!(world.rejections().await.is_empty());
    world.all_verify().await;
    let signatures = world.deployment.vault.signatures();
    let used: BTreeSet<&str> = signatures.iter().map(|signature| signature.kid.as_str()).collect();
    assert_eq!(used.len(), 4, "{used:?}");
    for version in &versions {
        // Published first: the key set was written before the vault was first asked to sign with it.
        let first = signatures.iter().find(|signature| signature.kid == *version).expect("it has signed").at;
        let writes = world.deployment.taps.blob.exchanges().into_iter();
        let writes = writes.filter(|write| write.method == "PUT" && write.path.contains("jwks.json"));
        assert!(
            writes.filter(|write| write.at <= first).count() > versions.iter().position(|v| v == version).unwrap_or(9)
        );
        assert!(world.published(version).await);
    }
}

#[tokio::test]
async fn a_version_is_published_before_it_is_used() {
    let world = World::with(attentive()).await;
    let first = world.signer("first").await;
    // Nothing can be published, so nothing new may be used, and what is published already goes on.
    let fault = Fault::status(503).method("PUT").path("jwks.json");
    let fault = world.deployment.taps.blob.fail(fault);
    let second = world.deployment.vault.rotate(VAULT, "signing").await.expect("a version");
    eventually("an attempt to publish", async || (world.deployment.taps.blob.fired(fault) > 1).then_some(())).await;
    assert_eq!(world.signer("second").await, first);
    world.deployment.taps.blob.heal();
    eventually("the new version", async || world.published(&second).await.then_some(())).await;
    eventually("a signature by it", async || (world.signer(&format!("third/{}", now())).await == second).then_some(()))
        .await;
    assert!(world.published(&first).await, "a retired version stays");
}

#[tokio::test]
async fn every_enabled_version_is_published_and_no_other() {
    let deployment = Arc::new(deployment().await);
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let vault = &deployment.vault;
    let id = |kid: &str| kid.rsplit('/').next().expect("a version").to_owned();
    let mut versions = Vec::new();
    for attributes in [
        enabled(false),
        enabled(true),
        Attributes { exp: Some(now() - 60), ..Attributes::default() },
        Attributes { nbf: Some(now() + 3600), ..Attributes::default() },
    ] {
        let version = vault.rotate(VAULT, "signing").await.expect("a version");
        vault.update_attributes(VAULT, "signing", Some(&id(&version)), attributes).expect("set");
        versions.push(version);
    }
    let world = World::around(Arc::clone(&deployment), key, Setup::default()).await;
    world.logged(" ready ").await;
    let [disabled, usable, expired, later] = &versions[..] else { panic!("four versions") };
    // All were made within a second or two, so the vault's clock does not tell which of the usable ones is newest.
    let signer = world.signer("a").await;
    assert!(![disabled, expired, later].contains(&&signer), "{signer}");
    for version in [usable, expired, later] {
        eventually("a published version", async || world.published(version).await.then_some(())).await;
    }
    assert!(!world.published(disabled).await);
}

#[tokio::test]
async fn a_version_is_used_from_its_time_on_and_until_its_time() {
    let world = World::with(Setup::default().setting("SIGNET_KEY_REFRESH", "3600")).await;
    let vault = &world.deployment.vault;
    let first = world.signer("first").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let made_of = KeyOptions::from(KeySpec::P256);
    let (from, until) = (now() + 12, now() + 25);
    let short = Attributes { nbf: Some(from), exp: Some(until), ..Attributes::default() };
    let second =
        vault.create_key(VAULT, "signing", KeyOptions { attributes: short, ..made_of }).await.expect("a version");
    world.host.kill_handler();
    eventually("a second start", async || {
        let starts = world.host.log().iter().filter(|line| line.text.contains(" ready ")).count();
        (starts == 2).then_some(())
    })
    .await;
    assert_eq!(world.signer("too-early").await, first);
    // No look at the vault is due for an hour: the version's own times bring the change.
    eventually("the second version", async || {
        (world.signer(&format!("on-time/{}", now())).await == second).then_some(())
    })
    .await;
    eventually("the first version again", async || {
        (world.signer(&format!("over/{}", now())).await == first).then_some(())
    })
    .await;
    assert_eq!(world.host.log().iter().filter(|line| line.text.contains("handed back")).count(), 0);
}

#[tokio::test]
async fn a_disabled_version_is_left_at_once_and_a_lonely_one_comes_back() {
    let world = World::with(Setup::default().setting("SIGNET_KEY_REFRESH", "3600")).await;
    let vault = &world.deployment.vault;
    let first = world.signer("first").await;
    let second = vault.rotate(VAULT, "signing").await.expect("a version");
    let version = first.rsplit('/').next().expect("a version");
    vault.update_attributes(VAULT, "signing", Some(version), enabled(false)).expect("disabled");
    assert_eq!(world.signer("second").await, second, "the same item goes on with the newer version");
    assert_eq!(world.sign_requests(), 3, "one refused, two good");

    vault.update_attributes(VAULT, "signing", None, enabled(false)).expect("disabled");
    let begun = Instant::now();
    let reply = world.sign(r#"{"id":"third","payload":1}"#).await;
    assert_eq!(reply.status, Some(503));
    assert!(begun.elapsed() < Duration::from_secs(5), "handed back at once: {:?}", begun.elapsed());
    vault.update_attributes(VAULT, "signing", None, enabled(true)).expect("enabled");
    assert_eq!(world.signer("third").await, second);
}

#[tokio::test]
async fn a_pinned_version_is_not_left() {
    let (deployment, key, pinned) = with_version().await;
    deployment.vault.rotate(VAULT, "signing").await.expect("a version");
    let setup = attentive().setting("SIGNET_KEY", pinned.clone());
    let world = World::around(deployment, key, setup).await;
    world.logged(" ready ").await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(world.signer("a").await, pinned);
    assert_eq!(world.keys().await.len(), 1);
    assert_eq!(world.deployment.taps.vault.count(|exchange| exchange.path.ends_with("/versions")), 0);
}

#[tokio::test]
async fn a_key_that_has_just_been_made_is_waited_for() {
    let deployment = deployment().await;
    deployment.vault.set_readiness_delay(Duration::from_secs(6));
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let world = World::around(Arc::new(deployment), key, attentive()).await;
    world.host.ready().await.expect("a handler");
    let first = world.signer("a").await;
    let second = world.deployment.vault.rotate(VAULT, "signing").await.expect("a version");
    assert_eq!(world.signer("b").await, first, "the new version cannot be seen yet");
    eventually("the new version", async || (world.signer(&format!("c/{}", now())).await == second).then_some(())).await;
}

/// A world whose handler signs with a key in each of two vaults.
async fn two_vaults(setup: Setup) -> World {
    let deployment = Arc::new(deployment().await);
    let mut keys = Vec::new();
    for vault in ["first", "second"] {
        keys.push(deployment.create_key_in(vault, "signing", KeySpec::P256).await.expect("a key"));
    }
    let keys = keys.join(",");
    let world = World::around(deployment, keys.clone(), setup.setting("SIGNET_KEY", keys)).await;
    eventually("both keys", async || {
        (world.host.log().iter().filter(|line| line.text.contains(" ready ")).count() == 2).then_some(())
    })
    .await;
    world
}

/// Signature requests to each of the two vaults.
fn shares(world: &World) -> [usize; 2] {
    ["first.", "second."].map(|vault| {
        world.deployment.taps.vault.count(|exchange| {
            exchange.host.starts_with(vault) && exchange.method == "POST" && exchange.path.ends_with("/sign")
        })
    })
}

#[tokio::test]
async fn load_is_spread_over_vaults() {
    let world = two_vaults(Setup::default()).await;
    for number in 0..10 {
        world.signer(&number.to_string()).await;
    }
    assert_eq!(shares(&world), [5, 5]);
    assert_eq!(world.keys().await.len(), 2);
    world.all_verify().await;
}

#[tokio::test]
async fn a_vault_that_throttles_or_fails_is_left_alone_for_a_while() {
    let busy = Action::respond(429, &[("retry-after", "3")], r#"{"error":{"code":"Throttled","message":"slow down"}}"#);
    for fault in [Fault::new(busy), Fault::status(503), Fault::new(Action::ResetBefore), Fault::status(403)] {
        let world = two_vaults(Setup::default()).await;
        let fault = world.deployment.taps.vault.fail(fault.clone().host("first").method("POST"));
        let begun = Instant::now();
        for number in 0..10 {
            let signer = world.signer(&number.to_string()).await;
            assert!(signer.contains("//second."), "{signer}");
        }
        assert!(begun.elapsed() < Duration::from_secs(3), "nobody waits: {:?}", begun.elapsed());
        let asked = world.deployment.taps.vault.fired(fault);
        assert!((1..5).contains(&asked), "it was asked {asked} times");
        assert!(world.rejections().await.is_empty());
        world.deployment.taps.vault.heal();
    }
}

#[tokio::test]
async fn a_vault_comes_back_when_it_is_well() {
    let world = two_vaults(Setup::default()).await;
    let busy = Action::respond(429, &[("retry-after", "1")], r#"{"error":{"code":"Throttled","message":"slow down"}}"#);
    world.deployment.taps.vault.fail(Fault::new(busy).host("second").method("POST").times(1));
    for number in 0..4 {
        world.signer(&number.to_string()).await;
    }
    // It is asked a little at first.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.clear_taps();
    for number in 4..8 {
        world.signer(&number.to_string()).await;
    }
    assert_eq!(shares(&world), [2, 2]);
}

#[tokio::test]
async fn one_vault_is_enough_to_begin_with() {
    let deployment = Arc::new(deployment().await);
    let there = deployment.create_key_in("first", "signing", KeySpec::P256).await.expect("a key");
    let missing = deployment.key_url("second", "signing");
    let keys = format!("{there},{missing}");
    let world = World::around(deployment, keys.clone(), Setup::default().setting("SIGNET_KEY", keys)).await;
    world.host.ready().await.expect("a handler");
    assert!(world.signer("a").await.starts_with(&there));
    world.logged("does not exist in second.").await;
    assert!(world.signer("b").await.starts_with(&there), "the handler goes on");
}

#[tokio::test]
async fn a_newer_version_that_cannot_do_what_is_asked_is_not_used() {
    let world = World::with(attentive().setting("SIGNET_ALGORITHM", "ES256")).await;
    let first = world.signer("a").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.deployment.vault.create_key(VAULT, "signing", KeySpec::Rsa2048).await.expect("a version of another kind");
    world.logged("a newer version is not used").await;
    assert_eq!(world.signer("b").await, first);
}

#[tokio::test]
async fn keys_of_hardware_modules_sign_as_others_do() {
    for spec in [KeySpec::P384.hsm(), KeySpec::Rsa3072.hsm()] {
        let deployment = Arc::new(deployment().await);
        let key = deployment.create_key("signing", spec).await.expect("a key");
        let world = World::around(deployment, key, Setup::default()).await;
        world.logged(" ready ").await;
        world.signer("a").await;
        world.all_verify().await;
    }
}

#[tokio::test]
async fn a_start_beside_a_newer_version_of_another_kind_signs_with_the_one_that_fits() {
    let (deployment, key, fitting) = with_version().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    deployment.vault.create_key(VAULT, "signing", KeySpec::Rsa2048).await.expect("a version of another kind");
    let world = World::around(deployment, key, Setup::default().setting("SIGNET_ALGORITHM", "ES256")).await;
    world.logged("the newest version is not used").await;
    assert_eq!(world.signer("a").await, fitting);
}

#[tokio::test]
async fn a_digest_waits_for_the_vault_whose_key_fits_it() {
    let deployment = Arc::new(deployment().await);
    let first = deployment.create_key_in("first", "signing", KeySpec::P256).await.expect("a key");
    let second = deployment.create_key_in("second", "signing", KeySpec::P384).await.expect("a key");
    deployment.taps.vault.fail(Fault::status(503).host("second"));
    let setup = Setup::default().setting("SIGNET_KEY", format!("{first},{second}")).setting("SIGNET_DEADLINE", "3");
    let world = World::around(deployment, first, setup).await;
    world.logged(" ready ").await;
    let item = format!(r#"{{"id":"a","digest":{{"sha384":"{}"}},"format":"raw"}}"#, "ab".repeat(48));
    assert_eq!(world.sign(&item).await.status, Some(503), "it can succeed later");
    world.deployment.taps.vault.heal();
    eventually("a signature", async || world.deliver("sign", item.as_str(), 2).await.outcome.succeeded().then_some(()))
        .await;
    assert!(world.rejections().await.is_empty());
    assert!(world.result("a.sig").await.expect("a result").metadata["signet_kid"].starts_with(&second));
}

#[tokio::test]
async fn a_pinned_version_whose_time_is_over_says_so_and_comes_back() {
    let (deployment, key, pinned) = with_version().await;
    let times = |exp: u64| Attributes { exp: Some(exp), ..Attributes::default() };
    deployment.vault.update_attributes(VAULT, "signing", None, times(now() - 60)).expect("set");
    let world = World::around(deployment, key, Setup::default().setting("SIGNET_KEY", pinned.clone())).await;
    world.logged(" ready ").await;
    let begun = Instant::now();
    assert_eq!(world.sign(r#"{"id":"a","payload":1}"#).await.status, Some(503));
    assert!(begun.elapsed() < Duration::from_secs(5), "handed back at once: {:?}", begun.elapsed());
    world.deployment.vault.update_attributes(VAULT, "signing", None, times(now() + 600)).expect("set");
    assert_eq!(world.signer("a").await, pinned);
}
