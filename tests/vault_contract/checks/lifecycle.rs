//! Rotation, updates, deletion.

use std::{sync::Arc, time::Duration};

use azure_security_keyvault_keys::models::DeletedKey;
use serde_json::{Value, json};

use crate::{
    difference::Difference,
    target::{Answer, Target, base64url, version_of},
};

pub(crate) async fn a_rotated_key_signs_with_its_newest_version_and_keeps_the_old(target: Arc<Target>) {
    let (name, first) = target.create(json!({"kty": "EC", "crv": "P-384"})).await;
    let rotated = target.ask("POST", &format!("/keys/{name}/rotate"), Value::Null).await;
    assert_eq!((rotated.status, &rotated.body["key"]["crv"]), (200, &json!("P-384")), "{rotated:?}");
    assert_eq!(rotated.body["key"]["key_ops"], first["key"]["key_ops"]);
    assert_ne!(rotated.body["key"]["kid"], first["key"]["kid"]);
    assert_ne!(rotated.body["key"]["x"], first["key"]["x"]);
    let newest = target.ask("GET", &format!("/keys/{name}"), Value::Null).await;
    assert_eq!(newest.version(), rotated.version());
    for version in [rotated.version(), version_of(&first)] {
        let body = json!({"alg": "ES384", "value": base64url(&[0; 48])});
        let signed = target.ask("POST", &format!("/keys/{name}/{version}/sign"), body).await;
        assert_eq!((signed.status, signed.version()), (200, version));
    }
}

/// The SDKs leave the version's segment of the path empty.
pub(crate) async fn no_version_is_the_newest(target: Arc<Target>) {
    let (name, _) = target.create(json!({"kty": "EC", "crv": "P-256"})).await;
    let newest = target.create_version(&name, json!({"kty": "EC", "crv": "P-256"})).await;
    let read = target.ask("GET", &format!("/keys/{name}/"), Value::Null).await;
    assert_eq!((read.status, &read.body), (200, &newest));
    for (method, path, body) in [
        ("POST", format!("/keys/{name}//sign"), json!({"alg": "ES256", "value": base64url(&[0; 32])})),
        ("PATCH", format!("/keys/{name}/"), json!({"tags": {"a": "b"}})),
    ] {
        let answer = target.ask(method, &path, body).await;
        let done = answer.status == 200 && answer.version() == version_of(&newest);
        target.expect(Difference::NoNewest, done, || format!("{method} {path}: {answer:?}"));
    }
}

pub(crate) async fn attributes_are_updated_one_by_one(target: Arc<Target>) {
    let given = json!({"kty": "EC", "crv": "P-256", "attributes": {"exp": 4_000_000_000_u64}, "tags": {"a": "b"}});
    let (name, made) = target.create(given).await;
    let path = format!("/keys/{name}/{}", version_of(&made));
    let disabled = target.ask("PATCH", &path, json!({"attributes": {"enabled": false}})).await;
    assert_eq!((disabled.status, &disabled.body["key"]), (200, &made["key"]), "{disabled:?}");
    let attributes = &disabled.body["attributes"];
    assert_eq!((&attributes["enabled"], &attributes["exp"]), (&json!(false), &json!(4_000_000_000_u64)));
    assert_eq!(disabled.body["tags"], json!({"a": "b"}));
    let tagged = target.ask("PATCH", &path, json!({"tags": {"c": "d"}})).await;
    assert_eq!((tagged.status, &tagged.body["tags"]), (200, &json!({"c": "d"})), "{tagged:?}");
    assert_eq!(tagged.body["attributes"]["enabled"], false);
    let read = target.ask("GET", &path, Value::Null).await;
    target.expect(Difference::DisabledIsGone, read.body == tagged.body, || format!("{read:?}"));
}

pub(crate) async fn a_deleted_key_is_gone_and_can_be_recovered(target: Arc<Target>) {
    let (name, made) = target.create(json!({"kty": "EC", "crv": "P-256"})).await;
    let deleted = target.ask("DELETE", &format!("/keys/{name}"), Value::Null).await;
    assert_eq!((deleted.status, &deleted.body["key"]), (200, &made["key"]), "{deleted:?}");
    assert_eq!(deleted.body["recoveryId"], format!("{}/deletedkeys/{name}", target.url));
    assert!(deleted.body["deletedDate"].is_u64() && deleted.body["scheduledPurgeDate"].is_u64(), "{deleted:?}");
    let read: DeletedKey = serde_json::from_value(deleted.body).expect("what the SDK reads");
    assert!(read.recovery_id.is_some() && read.deleted_date.is_some() && read.key.is_some());

    let path = format!("/keys/{name}/{}", version_of(&made));
    let sign = json!({"alg": "ES256", "value": base64url(&[0; 32])});
    for answer in [
        target.ask("GET", &format!("/keys/{name}"), Value::Null).await,
        target.ask("GET", &path, Value::Null).await,
        target.ask("POST", &format!("{path}/sign"), sign.clone()).await,
    ] {
        answer.refused(&target, 404, "KeyNotFound", None);
    }
    let shown = eventually(&target, &format!("/deletedkeys/{name}"), 200).await;
    assert_eq!(shown.body["key"], made["key"]);
    let again = target.ask("POST", &format!("/keys/{name}/create"), json!({"kty": "EC"})).await;
    again.refused(&target, 409, "Conflict", Some("ObjectIsDeletedButRecoverable"));

    let recovered = target.ask("POST", &format!("/deletedkeys/{name}/recover"), Value::Null).await;
    assert_eq!((recovered.status, &recovered.body["key"]), (200, &made["key"]), "{recovered:?}");
    eventually(&target, &format!("/keys/{name}"), 200).await;
    assert_eq!(target.ask("POST", &format!("{path}/sign"), sign).await.status, 200);

    assert_eq!(target.ask("DELETE", &format!("/keys/{name}"), Value::Null).await.status, 200);
    eventually(&target, &format!("/deletedkeys/{name}"), 200).await;
    let purged = target.ask("DELETE", &format!("/deletedkeys/{name}"), Value::Null).await;
    let done = purged.status == 204 && purged.body.is_null();
    target.expect(Difference::NoPurge, done, || format!("{purged:?}"));
    if done {
        eventually(&target, &format!("/deletedkeys/{name}"), 404).await;
    }
}

/// The service takes some seconds to delete and to recover.
async fn eventually(target: &Target, path: &str, status: u16) -> Answer {
    for _ in 0..60 {
        let answer = target.ask("GET", path, Value::Null).await;
        if answer.status == status {
            return answer;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("GET {path} is not answered {status} within a minute");
}
