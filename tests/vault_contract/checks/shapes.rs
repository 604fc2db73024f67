//! What answers look like, success or not.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    difference::Difference,
    target::{Target, version_of},
};

/// As the service's answers had them in every recording.
const HEADERS: [(&str, Option<&str>); 9] = [
    ("cache-control", Some("no-cache")),
    ("pragma", Some("no-cache")),
    ("expires", Some("-1")),
    ("strict-transport-security", Some("max-age=31536000;includeSubDomains")),
    ("x-content-type-options", Some("nosniff")),
    ("x-ms-keyvault-region", None),
    ("x-ms-keyvault-service-version", None),
    ("x-ms-keyvault-network-info", None),
    ("x-ms-request-id", None),
];

pub(crate) async fn every_answer_has_the_service_s_headers(target: Arc<Target>) {
    let (name, _) = target.create(json!({"kty": "EC", "crv": "P-256"})).await;
    for (path, status) in [(format!("/keys/{name}"), 200), ("/keys/none".to_owned(), 404)] {
        let answer = target.ask("GET", &path, Value::Null).await;
        assert_eq!(answer.status, status, "{answer:?}");
        for (header, expected) in HEADERS {
            let found = answer.header(header);
            let holds = found.is_some() && (expected.is_none() || found == expected);
            target.expect(Difference::Headers, holds, || format!("{header}: {answer:?}"));
        }
        let content_type = answer.header("content-type");
        target.expect(Difference::Headers, content_type == Some("application/json; charset=utf-8"), || {
            format!("{content_type:?}")
        });
    }
}

pub(crate) async fn bundles_have_the_service_s_members(target: Arc<Target>) {
    let given = json!({
        "kty": "EC", "crv": "P-521", "tags": {"a": "b"},
        "attributes": {"enabled": true, "nbf": 1_700_000_000, "exp": 4_000_000_000_u64},
    });
    let (name, bundle) = target.create(given).await;
    let (key, attributes) = (&bundle["key"], &bundle["attributes"]);
    assert_eq!((&key["kty"], &key["crv"]), (&json!("EC"), &json!("P-521")));
    assert_eq!(key["key_ops"], json!(["sign", "verify"]));
    let lengths = ["x", "y"].map(|member| key[member].as_str().map(str::len));
    assert_eq!(lengths, [Some(88); 2], "66 bytes each, in Base64url without padding");
    let version = version_of(&bundle);
    assert_eq!(key["kid"], format!("{}/keys/{name}/{version}", target.url));
    assert!(version.len() == 32 && version.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{version}");
    assert_eq!(
        (&attributes["enabled"], &attributes["nbf"], &attributes["exp"]),
        (&json!(true), &json!(1_700_000_000), &json!(4_000_000_000_u64))
    );
    assert!(attributes["created"].is_u64() && attributes["updated"].is_u64(), "{attributes}");
    assert!(attributes["recoveryLevel"].is_string() && attributes["recoverableDays"].is_u64(), "{attributes}");
    assert_eq!(bundle["tags"], json!({"a": "b"}));

    for path in [format!("/keys/{name}"), format!("/keys/{name}/"), format!("/keys/{name}/{version}")] {
        assert_eq!(target.ask("GET", &path, Value::Null).await.body, bundle, "{path}");
    }

    let (_, rsa) = target.create(json!({"kty": "RSA", "key_size": 2048})).await;
    assert_eq!((&rsa["key"]["kty"], &rsa["key"]["e"]), (&json!("RSA"), &json!("AQAB")));
    let length = rsa["key"]["n"].as_str().map(str::len);
    target.expect(Difference::LeadingZero, length == Some(342), || format!("256 bytes are expected: {rsa}"));
}

pub(crate) async fn what_was_not_given_is_not_in_a_bundle(target: Arc<Target>) {
    let name = target.key_name();
    let answer = target.ask("POST", &format!("/keys/{name}/create"), json!({"kty": "EC"})).await;
    assert_eq!((answer.status, &answer.body["key"]["crv"]), (200, &json!("P-256")), "{answer:?}");
    assert!(answer.body["attributes"].get("nbf").is_none() && answer.body["attributes"].get("exp").is_none());
    assert_eq!(answer.body["attributes"]["enabled"], true);
    target.expect(Difference::Defaults, answer.body.get("tags").is_none(), || format!("{answer:?}"));
    target.expect(Difference::Defaults, answer.body["key"]["key_ops"] == json!(["sign", "verify"]), || {
        format!("{answer:?}")
    });
}
