//! The main job: a queue message becomes a verified signature in Blob Storage, in every format, with every key.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use signet::{
    local::{
        stack::VAULT,
        vault::{Attributes, KeySpec},
    },
    remote::Document,
    verbs::verify,
};
use signet_core::{
    algorithm::{Algorithm, sha256_hex},
    base64,
    format::Format,
    jwks::JwkSet,
    jws,
    work_item::WorkItem,
};

use crate::world::{Setup, Stored, World, deployment, eventually};

/// Spelled as no serialiser would.
const PAYLOAD: &str = "{ \"b\":1.0,\t\"a\" :[1e3 , \"\\u00e9\\/\"],\"b\":2 }";

#[tokio::test]
async fn queue_messages_become_verified_results() {
    let world = World::with(Setup { queues: true, ..Setup::default() }).await;
    let item = format!(r#"{{"id":"a/é 1","payload": {PAYLOAD} }}"#);
    world.enqueue(&item).await;
    world.enqueue(&base64::encode(br#"{"id":"b","payloadBase64":"AP8","format":["raw","jws-compact"]}"#)).await;
    world.enqueue(r#"{"payload":"no id","contentType":"text/plain; charset=utf-8"}"#).await;
    let unnamed = format!("sha256/{}", sha256_hex(br#""no id""#));

    for (id, format, content_type, content, message) in [
        ("a/é 1", Format::Jws, "application/json", PAYLOAD.as_bytes(), item.as_str()),
        ("b", Format::Raw, "application/octet-stream", &[0, 255], r#"{"id":"b","payloadBase64":"AP8"}"#),
        ("b", Format::JwsCompact, "application/octet-stream", &[0, 255], r#"{"id":"b","payloadBase64":"AP8"}"#),
        (
            &unnamed,
            Format::Jws,
            "text/plain; charset=utf-8",
            br#""no id""#,
            r#"{"payload":"no id","contentType":"text/plain; charset=utf-8"}"#,
        ),
    ] {
        let result = world.awaited(&format!("{id}{}", format.suffix())).await;
        assert_eq!(result.content_type, format.content_type());
        let item = WorkItem::parse(message.as_bytes(), format).expect("an item");
        let keys = world.keys().await;
        let verdict = judge(&result, content, &keys);
        let kid = verdict.kid.clone().expect("the signer");
        assert!(kid.starts_with(&format!("{}/", world.key)), "{kid}");
        if format != Format::Raw {
            assert_eq!(verdict.content_type.as_deref(), Some(content_type));
        }
        let invocation = &result.metadata["signet_invocation"];
        let invoked = world.host.invocations().into_iter().any(|known| known.invocation_id == *invocation);
        assert!(invoked, "{invocation} is none of the host's");
        for (name, expected) in [
            ("signet_sha256", sha256_hex(content)),
            ("signet_request", item.request_digest(format, &item.content_name().expect("content in the message"))),
            ("signet_kid", kid),
            ("signet_alg", "ES256".to_owned()),
            ("signet_version", env!("CARGO_PKG_VERSION").to_owned()),
        ] {
            assert_eq!(result.metadata.get(name), Some(&expected), "{id} {name}");
        }
        // And the message's id.
        assert_eq!(result.metadata.len(), 7, "{:?}", result.metadata);
    }
    eventually("an empty queue", async || {
        let deleted = world.deployment.taps.queue.count(|e| e.method == "DELETE" && e.status == Some(204));
        (deleted == 3).then_some(())
    })
    .await;
    assert!(world.rejections().await.is_empty());
}

#[tokio::test]
async fn a_header_says_who_signed_what_and_when() {
    let world = World::start().await;
    assert!(world.sign(r#"{"id":"a","payload":1,"format":"jws-compact"}"#).await.outcome.succeeded());
    let result = world.result("a.jws").await.expect("a result");
    let header = base64::decode_url(result.text().split('.').next().expect("a header")).expect("Base64url");
    let header = String::from_utf8(header).expect("text");
    let iat: i64 = serde_json::from_str::<Value>(&header).expect("JSON")["iat"].as_i64().expect("seconds");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    assert!(now.abs_diff(iat.unsigned_abs()) < 60, "{iat}");
    let kid = &result.metadata["signet_kid"];
    assert_eq!(header, format!(r#"{{"alg":"ES256","kid":"{kid}","cty":"application/json","iat":{iat}}}"#));
}

#[tokio::test]
async fn every_kind_of_key_signs_by_default() {
    for (spec, algorithm) in [
        (KeySpec::Rsa2048, Algorithm::Ps256),
        (KeySpec::Rsa3072, Algorithm::Ps256),
        (KeySpec::Rsa4096, Algorithm::Ps256),
        (KeySpec::P256, Algorithm::Es256),
        (KeySpec::P384, Algorithm::Es384),
        (KeySpec::P521, Algorithm::Es512),
        (KeySpec::P256K, Algorithm::Es256K),
    ] {
        let world = World::with(Setup { key: spec, ..Setup::default() }).await;
        sign_in_every_format(&world, algorithm).await;
    }
}

#[tokio::test]
async fn an_rsa_key_signs_with_every_algorithm() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::Rsa2048).await.expect("a key");
    let deployment = Arc::new(deployment);
    for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let setup = Setup::default().setting("SIGNET_ALGORITHM", name);
        let world = World::around(Arc::clone(&deployment), key.clone(), setup).await;
        world.logged(" ready ").await;
        sign_in_every_format(&world, name.parse().expect("an algorithm")).await;
    }
}

/// P-256K's signatures have a high s half the time, so it takes several to see both.
#[tokio::test]
async fn signatures_with_a_high_s_are_good() {
    let world = World::with(Setup { key: KeySpec::P256K, ..Setup::default() }).await;
    for number in 0..8 {
        let reply = world.sign(&format!(r#"{{"id":"{number}","payload":1}}"#)).await;
        assert!(reply.outcome.succeeded(), "{}", reply.outcome);
    }
}

#[tokio::test]
async fn the_default_format_is_a_setting() {
    let world = World::with(Setup::default().setting("SIGNET_FORMAT", "raw")).await;
    assert!(world.sign(r#"{"id":"a","payload":1}"#).await.outcome.succeeded());
    assert_eq!(world.result_names().await, ["a.sig"]);
}

#[tokio::test]
async fn a_pinned_version_signs_though_a_newer_one_is_there() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    let first = deployment.vault.key(VAULT, "signing", None).expect("a key")["key"]["kid"].clone();
    deployment.vault.rotate(VAULT, "signing").await.expect("a newer version");
    let pinned = first.as_str().expect("a kid").to_owned();
    assert!(pinned.starts_with(&key));
    let world = World::around(Arc::new(deployment), pinned.clone(), Setup::default()).await;
    assert!(world.sign(r#"{"id":"a","payload":1}"#).await.outcome.succeeded());
    assert_eq!(world.result("a.jws.json").await.expect("a result").metadata["signet_kid"], pinned);
}

#[tokio::test]
async fn the_newest_version_that_can_sign_now_is_used() {
    let deployment = deployment().await;
    let key = deployment.create_key("signing", KeySpec::P256).await.expect("a key");
    // Creation times have a resolution of one second.
    let a_second = Duration::from_millis(1100);
    tokio::time::sleep(a_second).await;
    let usable = deployment.vault.rotate(VAULT, "signing").await.expect("a version");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    for unusable in [
        Attributes { enabled: Some(false), ..Attributes::default() },
        Attributes { exp: Some(now - 10), ..Attributes::default() },
        Attributes { nbf: Some(now + 1000), ..Attributes::default() },
    ] {
        tokio::time::sleep(a_second).await;
        let kid = deployment.vault.rotate(VAULT, "signing").await.expect("a version");
        let version = kid.rsplit('/').next().expect("a version");
        deployment.vault.update_attributes(VAULT, "signing", Some(version), unusable).expect("changed");
    }
    let world = World::around(Arc::new(deployment), key, Setup::default()).await;
    assert!(world.sign(r#"{"id":"a","payload":1}"#).await.outcome.succeeded());
    assert_eq!(world.result("a.jws.json").await.expect("a result").metadata["signet_kid"], usable);
}

async fn sign_in_every_format(world: &World, algorithm: Algorithm) {
    let id = algorithm.name();
    for format in Format::ALL {
        let message = format!(r#"{{"id":"{id}","payload":{PAYLOAD},"format":"{format}"}}"#);
        let reply = world.sign(&message).await;
        assert!(reply.outcome.succeeded(), "{algorithm} {format}: {}", reply.outcome);
        let result = world.result(&format!("{id}{}", format.suffix())).await.expect("a result");
        let verdict = judge(&result, PAYLOAD.as_bytes(), &world.keys().await);
        assert_eq!(verdict.algorithm, algorithm, "{format}");
    }
}

/// The verdict of the tool on a result, which must be good, and on the same result over other content, which must not.
fn judge(result: &Stored, content: &[u8], keys: &JwkSet) -> verify::Verdict {
    let document = Document { bytes: result.bytes.clone(), metadata: result.metadata.clone() };
    assert!(verify::verdict(&document, Some(b"other content"), keys).is_err());
    if [Format::Jws, Format::JwsCompact].map(Format::content_type).contains(&result.content_type.as_str()) {
        let attached = jws::verify(result.text(), None, keys).expect("valid");
        assert_eq!(attached.content, content, "the payload is the message's, byte for byte");
    }
    verify::verdict(&document, Some(content), keys).expect("valid")
}
