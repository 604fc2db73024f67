//! `signet keys` on what is published without an enabled version behind it, and `signet keys --unpublish`.

use serde_json::{Value, json};
use signet::local::{
    stack::{Deployment, VAULT},
    tap::{Action, Fault},
    vault::{Attributes, KeySpec},
};
use signet_core::jwks::JwkSet;

use crate::{
    tool::{Desk, url},
    verbs::{publish, published},
    world::{Setup, World, deployment, eventually},
};

/// RFC 8037, appendix A.2: a key that nobody here can use.
const OF_OTHERS: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"ed"}"#;

fn enable(deployment: &Deployment, kid: &str, enabled: bool) {
    let attributes = Attributes { enabled: Some(enabled), ..Attributes::default() };
    let id = kid.rsplit('/').next();
    deployment.vault.update_attributes(VAULT, "signing", id, attributes).expect("a version");
}

fn current(deployment: &Deployment, vault: &str, key: &str) -> String {
    let key = deployment.vault.key(vault, key, None).expect("a key");
    key["key"]["kid"].as_str().expect("a kid").to_owned()
}

/// What the tool says of each key of the set that no enabled version is behind: its name, and its status.
async fn others(desk: &Desk, code: i32) -> Vec<(String, String)> {
    let ran = desk.run(&["keys", "--json"]).await;
    assert_eq!(ran.code, Some(code), "{ran:?}");
    let found = ran.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    found["others"].as_array().expect("others").iter().map(|o| (text(&o["kid"]), text(&o["status"]))).collect()
}

#[tokio::test]
async fn what_is_published_without_an_enabled_version_is_told_apart() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let second = deployment.create_key_in("second", "other", KeySpec::P256).await.expect("a key");
    let mut desk = Desk::new(deployment.settings(&format!("{key},{second}")));
    let disabled = current(&deployment, VAULT, "signing");
    let signing = deployment.vault.rotate(VAULT, "signing").await.expect("a version");
    let of_second = current(&deployment, "second", "other");
    desk.run(&["keys", "--publish"]).await.exits(0, "Every enabled version is published");
    assert!(others(&desk, 0).await.is_empty());

    enable(&deployment, &disabled, false);
    // The set as others may leave it: a version that the vault does not have, a key of theirs, and one without a name.
    let forged = format!("{key}/00000000000000000000000000000000");
    let text = published(&deployment).await;
    let twin = text.split_once('[').expect("keys").1.split_once("},").expect("a key").0.to_owned() + "}";
    assert!(twin.contains(&disabled) || twin.contains(&signing) || twin.contains(&of_second), "{twin}");
    let kid =
        JwkSet::parse(&format!("{{\"keys\":[{twin}]}}")).expect("a set").entries().next().expect("a key").0.unwrap();
    let (twin, nameless) = (twin.replace(&kid, &forged), twin.replace(&format!("\"kid\":\"{kid}\","), ""));
    let hostile = r#"{"kty":"x","kid":"a\u001b[31m\u202eb"}"#;
    let extra = format!("[{twin},{nameless},{OF_OTHERS},{hostile},");
    publish(&deployment, &text.replacen('[', &extra, 1)).await;
    let expected = [
        (forged.as_str(), "published; not in the vault"),
        ("", "published; not of a vault"),
        ("ed", "published; not of a vault"),
        ("a\u{1b}[31m\u{202e}b", "published; not of a vault"),
        (&disabled, "published; disabled"),
    ];
    let expected: Vec<_> = expected.map(|(kid, status)| (kid.to_owned(), status.to_owned())).into();
    assert_eq!(others(&desk, 0).await, expected);
    let ran = desk.run(&["keys"]).await.exits(0, "published; not in the vault");
    assert!(ran.stdout.contains("published; disabled") && ran.stdout.contains("(without a kid)"), "{ran:?}");
    assert!(!ran.stdout.contains(['\u{1b}', '\u{202e}']), "{ran:?}");
    assert!(ran.stderr.contains(&format!("signet keys --unpublish {forged}")), "{ran:?}");

    // A vault that is named no longer is not asked.
    desk.settings.insert("SIGNET_KEY".to_owned(), key.clone());
    deployment.taps.vault.clear();
    assert!(others(&desk, 0).await.contains(&(of_second.clone(), "published; of no key in SIGNET_KEY".to_owned())));
    assert_eq!(deployment.taps.vault.count(|seen| seen.path.contains("/keys/other")), 0);

    // Deleted in the vault, all versions are gone, and what was published of them stands out.
    desk.settings.insert("SIGNET_KEY".to_owned(), format!("{key},{second}"));
    deployment.vault.delete("second", "other").expect("a deletion");
    assert!(others(&desk, 2).await.contains(&(of_second.clone(), "published; not in the vault".to_owned())));
    let ran = desk.run(&["keys"]).await.exits(2, &format!("{second} is not in its vault: create it, recover it"));
    assert!(ran.stdout.contains("  not in the vault\n") && !ran.stdout.contains("Every enabled"), "{ran:?}");
    desk.run(&["keys", "--unpublish", &of_second]).await.exits(0, "unpublished now: ");
    deployment.vault.recover("second", "other").expect("a recovery");
    desk.run(&["keys"]).await.exits(1, &format!("not published: {of_second}"));
}

#[tokio::test]
async fn a_key_is_unpublished_once_nothing_publishes_it_again() {
    let setup = Setup::default().setting("SIGNET_KEY_REFRESH", "1");
    let world = World::with(setup).await;
    let deployment = &world.deployment;
    let desk = Desk::of(&world);
    assert!(world.sign(r#"{"id":"doc","payload":1}"#).await.outcome.succeeded());
    let (result, kid) = (url(&world, "doc.jws.json"), current(deployment, VAULT, "signing"));
    desk.run(&["verify", &result]).await.exits(0, "VALID");
    let newer = deployment.vault.rotate(VAULT, "signing").await.expect("a version");
    eventually("the new version", async || world.keys().await.contains(&newer).then_some(())).await;
    publish(deployment, &published(deployment).await.replacen('[', &format!("[{OF_OTHERS},"), 1)).await;

    // As long as it is enabled, the handler would bring it back.
    let before = published(deployment).await;
    let refused =
        desk.run(&["keys", "--unpublish", &kid]).await.exits(2, "would publish it again: first az keyvault key");
    let version = kid.rsplit('/').next().expect("a version");
    let remedy = format!("--vault-name {VAULT} --name signing --version {version} --enabled false");
    assert!(refused.stderr.contains(&remedy), "{refused:?}");
    assert_eq!(published(deployment).await, before);

    enable(deployment, &kid, false);
    // Somebody else is quicker, twice.
    deployment.taps.blob.clear();
    deployment.taps.blob.fail(Fault::status(412).method("PUT").path("jwks.json").times(2));
    desk.run(&["keys", "--unpublish", &kid]).await.exits(0, &format!("unpublished now: {kid}"));
    let after = published(deployment).await;
    assert!(after.contains(OF_OTHERS) && after.contains(&newer) && !after.contains(&kid), "{after}");
    let puts = deployment.taps.blob.exchanges().into_iter();
    let puts: Vec<_> = puts.filter(|seen| seen.method == "PUT" && seen.path.contains("jwks.json")).collect();
    assert_eq!(puts.len(), 3, "{puts:?}");
    assert!(puts.iter().all(|put| put.header("if-match").is_some()), "{puts:?}");
    desk.run(&["verify", &result]).await.exits(1, "is not in the set");

    // The handler looks each second, and lets it be.
    let looks = || deployment.taps.blob.count(|seen| seen.method == "GET" && seen.path.contains("jwks.json"));
    let seen = looks();
    eventually("three more looks", async || (looks() >= seen + 3).then_some(())).await;
    assert_eq!(published(deployment).await, after);

    // Once more is no error, and no write.
    deployment.taps.blob.clear();
    desk.run(&["keys", "--unpublish", &kid]).await.exits(0, "not in https://");
    let ran = desk.run(&["keys", "--unpublish", &kid, "--json"]).await.exits(0, "");
    assert_eq!((&ran.json()["removed"], &ran.json()["kid"]), (&json!(false), &json!(kid)));
    assert_eq!(deployment.taps.blob.count(|seen| seen.method == "PUT"), 0);
    let ran = desk.run(&["keys", "--unpublish", "ed", "--json"]).await.exits(0, "");
    assert_eq!(ran.json()["removed"], true);
    assert!(ran.stderr.contains("was not looked at"), "{ran:?}");
    assert!(!published(deployment).await.contains(OF_OTHERS));
    desk.run(&["keys", "--unpublish", "ed", "--publish"]).await.exits(2, "cannot be used with");
}

#[tokio::test]
async fn unpublishing_asks_the_keys_own_vault_and_no_other() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let second = deployment.create_key_in("second", "other", KeySpec::P256).await.expect("a key");
    let desk = Desk::new(deployment.settings(&format!("{key},{second}")));
    desk.run(&["keys", "--publish"]).await.exits(0, "published now");
    let kid = current(&deployment, VAULT, "signing");
    enable(&deployment, &kid, false);
    let of_second = current(&deployment, "second", "other");

    // What its own vault does not say is not guessed.
    deployment.taps.vault.fail(Fault::status(403).authenticated().path("/versions"));
    desk.run(&["keys", "--unpublish", &kid]).await.exits(2, "the role Key Vault Reader");
    deployment.taps.vault.heal();
    assert!(published(&deployment).await.contains(&kid));
    // The set cannot be written with the rights that reading takes.
    deployment.taps.blob.fail(Fault::status(403).authenticated().method("PUT"));
    desk.run(&["keys", "--unpublish", &kid]).await.exits(2, "the role Storage Blob Data Contributor on the container");
    deployment.taps.blob.heal();

    // The other vault is away, and a stranger's name is no address to send a token to.
    deployment.taps.vault.fail(Fault::new(Action::respond(500, &[], "")).path("/keys/other"));
    let strangers = format!("https://stranger.vault.localhost:{}/keys/signing/0f", deployment.vault_port());
    let text = published(&deployment).await;
    publish(&deployment, &text.replacen('[', &format!(r#"[{{"kty":"x","kid":"{strangers}"}},"#), 1)).await;
    deployment.taps.vault.clear();
    desk.run(&["keys", "--unpublish", &strangers]).await.exits(0, "unpublished now");
    assert_eq!(deployment.taps.vault.count(|_| true), 0);
    desk.run(&["keys", "--unpublish", &kid]).await.exits(0, "unpublished now");
    deployment.taps.vault.heal();
    assert_eq!(JwkSet::parse(&published(&deployment).await).expect("a set").len(), 1);

    // Another key under the name of an enabled version may go, for the right one to come.
    let swapped = text.replace(&of_second, "x").replace(&kid, &of_second);
    publish(&deployment, &swapped).await;
    desk.run(&["keys"]).await.exits(1, &format!("signet keys --unpublish {of_second}"));
    desk.run(&["keys", "--unpublish", &of_second]).await.exits(0, "unpublished now");
    desk.run(&["keys", "--publish"]).await.exits(0, "published now");
    desk.run(&["keys", "--unpublish", &of_second]).await.exits(2, "is enabled in its vault");
}
