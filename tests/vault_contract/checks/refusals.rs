//! What the vault refuses, and how.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    difference::Difference,
    target::{API_VERSION, Target, base64url, version_of},
};

/// No version that was ever made: they are random.
const NO_VERSION: &str = "00000000000000000000000000000000";

pub(crate) async fn the_api_version_is_checked(target: Arc<Target>) {
    let token = target.token().await;
    for query in ["", "?api-version=", "?api-version=1.0", "?api-version=2099-01-01"] {
        let answer = target.raw("GET", &format!("/keys{query}"), Some(&token), "").await;
        answer.refused(&target, 400, "BadParameter", None);
    }
    for known in ["7.4", "7.5", "7.6", API_VERSION] {
        let answer = target.raw("GET", &format!("/keys?api-version={known}"), Some(&token), "").await;
        assert_eq!(answer.status, 200, "{known}: {answer:?}");
    }
}

pub(crate) async fn what_is_not_there_is_not_found(target: Arc<Target>) {
    let (name, _) = target.create(json!({"kty": "EC", "crv": "P-256"})).await;
    for (method, path) in [
        ("GET", "/keys/none".to_owned()),
        ("GET", "/keys/none/versions".to_owned()),
        ("GET", format!("/keys/none/{NO_VERSION}")),
        ("GET", format!("/keys/{name}/{NO_VERSION}")),
        ("GET", "/deletedkeys/none".to_owned()),
        ("DELETE", "/keys/none".to_owned()),
        ("DELETE", "/deletedkeys/none".to_owned()),
        ("POST", "/deletedkeys/none/recover".to_owned()),
        ("POST", "/keys/none/rotate".to_owned()),
    ] {
        target.ask(method, &path, Value::Null).await.refused(&target, 404, "KeyNotFound", None);
    }
    for path in ["/keys/none/no-version".to_owned(), format!("/keys/{name}/no-version")] {
        let answer = target.ask("GET", &path, Value::Null).await;
        answer.refused_unless(Difference::AnyVersion, &target, 400, "BadParameter", None);
    }
    for path in [
        "/keys/none//sign".to_owned(),
        format!("/keys/none/{NO_VERSION}/sign"),
        format!("/keys/{name}/{NO_VERSION}/sign"),
    ] {
        target.ask("POST", &path, es256(&[0; 32])).await.refused(&target, 404, "KeyNotFound", None);
    }
}

pub(crate) async fn what_cannot_be_signed_is_refused(target: Arc<Target>) {
    let (name, bundle) = target.create(json!({"kty": "EC", "crv": "P-256"})).await;
    let path = |operation: &str| format!("/keys/{name}/{}/{operation}", version_of(&bundle));
    let digest = base64url(&[0; 32]);
    for body in [
        es256(&[0; 31]),
        es256(&[0; 48]),
        es256(&[]),
        json!({"alg": "none", "value": digest}),
        json!({"alg": "ES256", "value": "+/=="}),
        json!({"alg": "ES256", "value": 1}),
        json!({"alg": "ES256"}),
        json!({"value": digest}),
        json!({}),
    ] {
        target.ask("POST", &path("sign"), body).await.refused(&target, 400, "BadParameter", None);
    }
    let token = target.token().await;
    for body in ["", "{", "[]", "not JSON", "\"\""] {
        let path = format!("{}?api-version={API_VERSION}", path("sign"));
        target.raw("POST", &path, Some(&token), body).await.refused(&target, 400, "BadParameter", None);
    }
    let body = json!({"alg": "ES256", "digest": base64url(&[0; 31]), "value": base64url(&[0; 64])});
    target.ask("POST", &path("verify"), body).await.refused(&target, 400, "BadParameter", None);
}

pub(crate) async fn an_algorithm_that_is_not_for_the_key_is_refused(target: Arc<Target>) {
    let of = |alg, length| json!({"alg": alg, "value": base64url(&vec![0; length])});
    for (key, bodies) in [
        (json!({"kty": "EC", "crv": "P-256"}), [of("ES384", 48), of("ES256K", 32), of("PS256", 32)]),
        (json!({"kty": "RSA", "key_size": 2048}), [of("ES256", 32), of("ES384", 48), of("ES512", 64)]),
    ] {
        let (name, bundle) = target.create(key).await;
        for body in bodies {
            let answer = target.ask("POST", &format!("/keys/{name}/{}/sign", version_of(&bundle)), body).await;
            answer.refused_unless(Difference::ServerErrors, &target, 400, "BadParameter", None);
        }
    }
}

pub(crate) async fn what_cannot_be_made_is_refused(target: Arc<Target>) {
    let path = format!("/keys/{}/create", target.key_name());
    for body in [json!({}), json!({"kty": "RSA", "key_size": 1024}), json!({"kty": "RSA", "key_size": 2049})] {
        target.ask("POST", &path, body).await.refused(&target, 400, "BadParameter", None);
    }
    for (path, body, difference) in [
        (path.as_str(), json!({"kty": "EC", "crv": "P-999"}), Difference::UnknownCurve),
        (&path, json!({"kty": "EC", "key_ops": ["sing"]}), Difference::ServerErrors),
        ("/keys/a_b/create", json!({"kty": "EC"}), Difference::ServerErrors),
    ] {
        let answer = target.ask("POST", path, body).await;
        answer.refused_unless(difference, &target, 400, "BadParameter", None);
    }
}

/// "About keys", "Key attributes": a disabled version, and one outside `nbf` and `exp`, does not sign; what the public half
/// can do, it does at any time.
pub(crate) async fn a_version_that_may_not_sign_does_not(target: Arc<Target>) {
    let (name, first) = target.create(json!({"kty": "EC", "crv": "P-256"})).await;
    let newest = target.create_version(&name, json!({"kty": "EC", "crv": "P-256"})).await;
    let version = version_of(&first);
    let path = |operation: &str| format!("/keys/{name}/{version}{operation}");
    let signed = target.ask("POST", &path("/sign"), es256(&[7; 32])).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    for (attributes, inner, difference) in [
        (json!({"enabled": false}), "KeyDisabled", Difference::DisabledIsGone),
        (json!({"enabled": true, "nbf": 4_000_000_000_u64}), "KeyNotYetValid", Difference::NoValidity),
        (json!({"nbf": 1_600_000_000, "exp": 1_700_000_000}), "KeyExpired", Difference::NoValidity),
    ] {
        let update = target.ask("PATCH", &path(""), json!({"attributes": attributes})).await;
        assert_eq!(update.status, 200, "{update:?}");
        let refused = target.ask("POST", &path("/sign"), es256(&[7; 32])).await;
        refused.refused_unless(difference, &target, 403, "Forbidden", Some(inner));

        let bundle = target.ask("GET", &path(""), Value::Null).await;
        let body = json!({"alg": "ES256", "digest": base64url(&[7; 32]), "value": signed.body["value"]});
        let verified = target.ask("POST", &path("/verify"), body).await;
        let public = bundle.body["key"] == first["key"] && verified.body == json!({"value": true});
        if inner == "KeyDisabled" {
            target.expect(difference, public, || format!("{bundle:?} {verified:?}"));
        } else {
            assert!(public, "{bundle:?} {verified:?}");
        }
        // The other versions go on as before.
        let other = target.ask("POST", &format!("/keys/{name}/{}/sign", version_of(&newest)), es256(&[7; 32])).await;
        assert_eq!((other.status, other.version()), (200, version_of(&newest)), "{inner}");
    }
    let again = target.ask("PATCH", &path(""), json!({"attributes": {"exp": 4_000_000_000_u64}})).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(target.ask("POST", &path("/sign"), es256(&[7; 32])).await.status, 200);
}

pub(crate) async fn an_operation_that_a_key_is_not_for_is_refused(target: Arc<Target>) {
    let (name, bundle) = target.create(json!({"kty": "EC", "crv": "P-256", "key_ops": ["verify"]})).await;
    let path = format!("/keys/{name}/{}", version_of(&bundle));
    let refused = target.ask("POST", &format!("{path}/sign"), es256(&[0; 32])).await;
    refused.refused_unless(Difference::ServerErrors, &target, 403, "Forbidden", Some("KeyOperationForbidden"));
    let update = target.ask("PATCH", &path, json!({"key_ops": ["sign"]})).await;
    assert_eq!((update.status, &update.body["key"]["key_ops"]), (200, &json!(["sign"])), "{update:?}");
    assert_eq!(target.ask("POST", &format!("{path}/sign"), es256(&[0; 32])).await.status, 200);
}

fn es256(digest: &[u8]) -> Value {
    json!({"alg": "ES256", "value": base64url(digest)})
}
