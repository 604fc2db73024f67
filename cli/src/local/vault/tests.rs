use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::Full;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPublicKey};
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::*;
use crate::local::{
    certificates::{Certificates, LOCAL_NAMES},
    identity::SYSTEM_ASSIGNED,
    test_client::TestClient,
};

struct Bench {
    issuer: Issuer,
    vault: Vault,
}

struct Answer {
    status: u16,
    headers: hyper::HeaderMap,
    body: Value,
}

impl Answer {
    fn code(&self) -> (u16, &str, Option<&str>) {
        let error = &self.body["error"];
        (self.status, error["code"].as_str().unwrap_or_default(), error["innererror"]["code"].as_str())
    }
}

impl Bench {
    fn new() -> Self {
        let issuer = Issuer::new();
        Self { vault: Vault::new(issuer.clone()), issuer }
    }

    async fn raw(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "dev.vault.localhost:1");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.vault.call(request.body(Bytes::from(body.to_owned())).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let token = self.issuer.issue(&SYSTEM_ASSIGNED, AUDIENCE).0;
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}api-version=2025-07-01");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(method, &path, Some(&token), &body).await
    }

    async fn key(&self, name: &str, spec: KeySpec) -> String {
        self.vault.create_key("dev", name, spec).await.unwrap()
    }
}

fn decode(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

/// Checks a signature with the published key alone.
fn holds(jwk: &Value, alg: &str, digest: &[u8], signature: &[u8]) -> bool {
    let point = || [&[4][..], &decode(&jwk["x"]), &decode(&jwk["y"])].concat();
    let rsa = || {
        let [n, e] = ["n", "e"].map(|name| BigUint::from_bytes_be(&decode(&jwk[name])));
        RsaPublicKey::new(n, e).unwrap()
    };
    match alg {
        "RS256" => rsa().verify(Pkcs1v15Sign::new::<Sha256>(), digest, signature).is_ok(),
        "RS384" => rsa().verify(Pkcs1v15Sign::new::<Sha384>(), digest, signature).is_ok(),
        "RS512" => rsa().verify(Pkcs1v15Sign::new::<Sha512>(), digest, signature).is_ok(),
        "PS256" => rsa().verify(Pss::new_with_salt::<Sha256>(32), digest, signature).is_ok(),
        "PS384" => rsa().verify(Pss::new_with_salt::<Sha384>(48), digest, signature).is_ok(),
        "PS512" => rsa().verify(Pss::new_with_salt::<Sha512>(64), digest, signature).is_ok(),
        "ES256" => p256::ecdsa::VerifyingKey::from_sec1_bytes(&point())
            .unwrap()
            .verify_prehash(digest, &p256::ecdsa::Signature::from_slice(signature).unwrap())
            .is_ok(),
        "ES384" => p384::ecdsa::VerifyingKey::from_sec1_bytes(&point())
            .unwrap()
            .verify_prehash(digest, &p384::ecdsa::Signature::from_slice(signature).unwrap())
            .is_ok(),
        "ES512" => p521::ecdsa::VerifyingKey::from_sec1_bytes(&point())
            .unwrap()
            .verify_prehash(digest, &p521::ecdsa::Signature::from_slice(signature).unwrap())
            .is_ok(),
        "ES256K" => {
            let signature = k256::ecdsa::Signature::from_slice(signature).unwrap();
            k256::ecdsa::VerifyingKey::from_sec1_bytes(&point())
                .unwrap()
                .verify_prehash(digest, &signature.normalize_s().unwrap_or(signature))
                .is_ok()
        }
        _ => panic!("{alg}"),
    }
}

fn digest_for(alg: &str) -> Vec<u8> {
    match &alg[2..5] {
        "256" => Sha256::digest(b"content").to_vec(),
        "384" => Sha384::digest(b"content").to_vec(),
        _ => Sha512::digest(b"content").to_vec(),
    }
}

async fn every_algorithm_signs(spec: KeySpec, algorithms: &[&str]) {
    let bench = Bench::new();
    let kid = bench.key("k", spec).await;
    let jwk = bench.ask("GET", "/keys/k", Value::Null).await.body["key"].clone();
    assert_eq!(jwk["kid"], kid);
    for alg in algorithms {
        let digest = digest_for(alg);
        let value = URL_SAFE_NO_PAD.encode(&digest);
        let answer = bench.ask("POST", "/keys/k//sign", json!({"alg": alg, "value": value})).await;
        assert_eq!((answer.status, &answer.body["kid"]), (200, &json!(kid)), "{alg}: {}", answer.body);
        let signature = decode(&answer.body["value"]);
        assert!(holds(&jwk, alg, &digest, &signature), "{alg}");

        let mut body = json!({"alg": alg, "digest": value, "value": answer.body["value"]});
        assert_eq!(bench.ask("POST", "/keys/k/verify", body.clone()).await.body, json!({"value": true}), "{alg}");
        body["digest"] = json!(URL_SAFE_NO_PAD.encode(vec![1; digest.len()]));
        assert_eq!(bench.ask("POST", "/keys/k/verify", body).await.body, json!({"value": false}), "{alg}");
        let record = bench.vault.signatures().pop().unwrap();
        assert_eq!((record.kid, record.algorithm, record.digest), (kid.clone(), (*alg).to_owned(), digest));
        assert_eq!(record.signature, signature);
    }
}

const RSA: [&str; 6] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];

#[tokio::test]
async fn rsa_2048_signs() {
    every_algorithm_signs(KeySpec::Rsa2048, &RSA).await;
}

#[tokio::test]
async fn rsa_3072_signs() {
    every_algorithm_signs(KeySpec::Rsa3072, &RSA).await;
}

#[tokio::test]
async fn rsa_4096_signs() {
    every_algorithm_signs(KeySpec::Rsa4096, &RSA).await;
}

#[tokio::test]
async fn every_curve_signs() {
    for (spec, alg) in
        [(KeySpec::P256, "ES256"), (KeySpec::P384, "ES384"), (KeySpec::P521, "ES512"), (KeySpec::P256K, "ES256K")]
    {
        every_algorithm_signs(spec, &[alg]).await;
    }
}

#[tokio::test]
async fn p_256k_signatures_come_with_s_in_either_half() {
    let bench = Bench::new();
    bench.key("k", KeySpec::P256K).await;
    let body = json!({"alg": "ES256K", "value": URL_SAFE_NO_PAD.encode([7; 32])});
    let mut halves = BTreeSet::new();
    for _ in 0..64 {
        let answer = bench.ask("POST", "/keys/k/sign", body.clone()).await;
        let signature = k256::ecdsa::Signature::from_slice(&decode(&answer.body["value"])).unwrap();
        halves.insert(signature.normalize_s().is_some());
    }
    assert_eq!(halves.len(), 2);
}

#[tokio::test]
async fn bundles_have_the_service_s_shape() {
    let bench = Bench::new();
    let body = json!({
        "kty": "EC-HSM", "crv": "P-521", "key_ops": ["sign", "verify"], "tags": {"a": "b"},
        "attributes": {"enabled": true, "nbf": 1, "exp": 4_000_000_000_u64},
    });
    let answer = bench.ask("POST", "/keys/k/create", body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let (key, attributes) = (&answer.body["key"], &answer.body["attributes"]);
    assert_eq!(
        (&key["kty"], &key["crv"], &key["key_ops"]),
        (&json!("EC-HSM"), &json!("P-521"), &json!(["sign", "verify"]))
    );
    assert_eq!((decode(&key["x"]).len(), decode(&key["y"]).len()), (66, 66));
    let (prefix, version) = key["kid"].as_str().unwrap().rsplit_once('/').unwrap();
    assert_eq!(prefix, "https://dev.vault.localhost/keys/k");
    assert!(version.len() == 32 && version.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!((&attributes["nbf"], &attributes["exp"]), (&json!(1), &json!(4_000_000_000_u64)));
    assert_eq!((&attributes["exportable"], &attributes["hsmPlatform"]), (&json!(false), &json!("2")));
    assert!(attributes["created"].is_u64() && attributes["updated"].is_u64());
    assert_eq!(answer.body["tags"], json!({"a": "b"}));
    assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8");
    for name in ["x-ms-request-id", "x-ms-keyvault-region", "x-ms-keyvault-service-version"] {
        assert!(answer.headers.contains_key(name), "{name}");
    }

    let rsa = bench.ask("POST", "/keys/r/create", json!({"kty": "RSA", "key_size": 2048})).await;
    assert_eq!((&rsa.body["key"]["e"], decode(&rsa.body["key"]["n"]).len()), (&json!("AQAB"), 256));
    let fetched = bench.ask("GET", "/keys/r/", Value::Null).await;
    assert_eq!(fetched.body, rsa.body);
}

#[tokio::test]
async fn the_azure_sdk_reads_what_the_vault_answers() {
    use azure_security_keyvault_keys::models::{
        CurveName, DeletedKey, Key, KeyOperationResult, KeyType, ListKeyPropertiesResult,
    };
    let bench = Bench::new();
    let kid = bench.key("k", KeySpec::P256K).await;
    let key: Key = serde_json::from_value(bench.ask("GET", "/keys/k", Value::Null).await.body).unwrap();
    let jwk = key.key.unwrap();
    assert_eq!((jwk.kid.as_ref(), jwk.kty, jwk.crv), (Some(&kid), Some(KeyType::Ec), Some(CurveName::P256K)));
    assert_eq!((jwk.x.unwrap().len(), key.attributes.unwrap().enabled), (32, Some(true)));
    let sign = json!({"alg": "ES256K", "value": URL_SAFE_NO_PAD.encode([0; 32])});
    let signed: KeyOperationResult =
        serde_json::from_value(bench.ask("POST", "/keys/k/sign", sign).await.body).unwrap();
    assert_eq!((signed.kid, signed.result.map(|value| value.len())), (Some(kid), Some(64)));
    let path = "/keys/k/versions";
    let list: ListKeyPropertiesResult = serde_json::from_value(bench.ask("GET", path, Value::Null).await.body).unwrap();
    assert_eq!((list.value.len(), list.next_link), (1, None));
    let deleted: DeletedKey = serde_json::from_value(bench.ask("DELETE", "/keys/k", Value::Null).await.body).unwrap();
    assert!(deleted.recovery_id.is_some() && deleted.deleted_date.is_some());
}

#[tokio::test]
async fn without_a_good_token_there_is_a_challenge() {
    let bench = Bench::new();
    let path = "/keys?api-version=7.4";
    let answer = bench.raw("GET", path, None, "").await;
    assert_eq!(answer.code(), (401, "Unauthorized", None));
    assert_eq!(answer.body["error"]["message"], "AKV10000: Request is missing a Bearer or PoP token.");
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("Bearer authorization=\"https://login.localhost/"), "{challenge}");
    assert!(challenge.ends_with(", resource=\"https://vault.localhost\""), "{challenge}");

    let other = bench.issuer.issue(&SYSTEM_ASSIGNED, "https://storage.azure.com").0;
    let foreign = Issuer::new().issue(&SYSTEM_ASSIGNED, AUDIENCE).0;
    bench.issuer.set_lifetime(Duration::ZERO);
    let expired = bench.issuer.issue(&SYSTEM_ASSIGNED, AUDIENCE).0;
    for (token, message) in [
        (other, "AKV10022: Invalid audience"),
        (foreign, "AKV10046:"),
        (expired, "[TokenExpired]"),
        ("abc".to_owned(), "[BearerReadAccessTokenFailed]"),
    ] {
        let answer = bench.raw("GET", path, Some(&token), "").await;
        assert_eq!(answer.code(), (401, "Unauthorized", None));
        assert!(answer.body["error"]["message"].as_str().unwrap().starts_with(message), "{}", answer.body);
        assert!(answer.headers["www-authenticate"].to_str().unwrap().contains("error=\"invalid_token\""));
    }
}

#[tokio::test]
async fn the_api_version_is_checked() {
    let bench = Bench::new();
    let token = bench.issuer.issue(&SYSTEM_ASSIGNED, AUDIENCE).0;
    for (query, status) in [("", 400), ("?api-version=1.0", 400), ("?api-version=7.4", 200), ("?api-version=7.6", 200)]
    {
        let answer = bench.raw("GET", &format!("/keys{query}"), Some(&token), "").await;
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
        if status == 400 {
            assert_eq!(answer.code(), (400, "BadParameter", None));
        }
    }
}

#[tokio::test]
async fn what_the_service_refuses_is_refused_with_its_codes() {
    let bench = Bench::new();
    bench.key("ec", KeySpec::P256).await;
    bench.key("rsa", KeySpec::Rsa2048).await;
    let digest = URL_SAFE_NO_PAD.encode([0; 32]);
    let es256 = json!({"alg": "ES256", "value": digest});
    let bad = |inner| (400, "BadParameter", inner);
    for (method, path, body, expected) in [
        ("GET", "/keys/none", Value::Null, (404, "KeyNotFound", None)),
        ("GET", "/keys/ec/00000000000000000000000000000000", Value::Null, (404, "KeyNotFound", None)),
        ("POST", "/keys/none//sign", es256.clone(), (404, "KeyNotFound", None)),
        ("POST", "/keys/ec/sign", json!({"alg": "ES256", "value": "AAAA"}), bad(None)),
        ("POST", "/keys/ec/sign", json!({"alg": "ES384", "value": digest}), bad(None)),
        ("POST", "/keys/ec/sign", json!({"alg": "PS256", "value": digest}), bad(None)),
        ("POST", "/keys/ec/sign", json!({"alg": "none", "value": digest}), bad(None)),
        ("POST", "/keys/ec/sign", json!({"alg": "ES256", "value": "+/=="}), bad(None)),
        ("POST", "/keys/ec/sign", json!({"alg": "ES256"}), bad(None)),
        ("POST", "/keys/ec/sign", Value::Null, bad(None)),
        ("POST", "/keys/rsa/sign", es256, bad(None)),
        ("POST", "/keys/new/create", json!({"kty": "oct"}), bad(Some("KeyTypeNotSupported"))),
        ("POST", "/keys/new/create", json!({"kty": "RSA", "key_size": 1024}), bad(None)),
        ("POST", "/keys/new/create", json!({"kty": "EC", "crv": "P-999"}), bad(None)),
        ("POST", "/keys/a_b/create", json!({"kty": "EC"}), bad(None)),
        ("GET", "/keys/ec/versions?maxresults=26", Value::Null, bad(None)),
        ("GET", "/keys/ec/x/sign", Value::Null, (405, "MethodNotAllowed", None)),
        ("PUT", "/keys/ec", Value::Null, (405, "MethodNotAllowed", None)),
        ("GET", "/secrets/x", Value::Null, (404, "NotFound", None)),
    ] {
        let answer = bench.ask(method, path, body).await;
        assert_eq!(answer.code(), expected, "{method} {path}: {}", answer.body);
    }
    assert!(bench.vault.signatures().is_empty());
}

#[tokio::test]
async fn a_key_that_may_not_sign_does_not() {
    let bench = Bench::new();
    let first = bench.key("k", KeySpec::P256).await;
    let version = first.rsplit('/').next().unwrap();
    let sign = json!({"alg": "ES256", "value": URL_SAFE_NO_PAD.encode([0; 32])});
    for (attributes, inner) in [
        (json!({"enabled": false}), Some("KeyDisabled")),
        (json!({"enabled": true, "nbf": 4_000_000_000_u64}), Some("KeyNotYetValid")),
        (json!({"nbf": 1, "exp": 2}), Some("KeyExpired")),
    ] {
        let update = bench.ask("PATCH", &format!("/keys/k/{version}"), json!({"attributes": attributes})).await;
        assert_eq!(update.status, 200, "{}", update.body);
        assert_eq!(bench.ask("POST", "/keys/k/sign", sign.clone()).await.code(), (403, "Forbidden", inner));
        assert_eq!(bench.ask("GET", "/keys/k", Value::Null).await.status, 200);
    }
    let open = Attributes { exp: Some(4_000_000_000), ..Attributes::default() };
    bench.vault.update_attributes("dev", "k", None, open).unwrap();
    assert_eq!(bench.ask("POST", "/keys/k/sign", sign.clone()).await.status, 200);
    bench.ask("PATCH", "/keys/k", json!({"key_ops": ["verify"]})).await;
    let refused = bench.ask("POST", "/keys/k/sign", sign).await;
    assert_eq!(refused.code(), (403, "Forbidden", Some("KeyOperationForbidden")));
}

#[tokio::test]
async fn a_version_that_may_not_sign_does_not_when_it_is_named_either() {
    let bench = Bench::new();
    let first = bench.key("k", KeySpec::P256).await;
    let path = format!("/keys/k/{}/sign", first.rsplit('/').next().unwrap());
    let newest = bench.vault.rotate("dev", "k").await.unwrap();
    let sign = json!({"alg": "ES256", "value": URL_SAFE_NO_PAD.encode([0; 32])});
    let version = first.rsplit('/').next();
    for (attributes, inner) in [
        (Attributes { enabled: Some(false), ..Attributes::default() }, "KeyDisabled"),
        (Attributes { enabled: Some(true), nbf: Some(4_000_000_000), exp: None }, "KeyNotYetValid"),
        (Attributes { nbf: Some(1), exp: Some(2), ..Attributes::default() }, "KeyExpired"),
    ] {
        bench.vault.update_attributes("dev", "k", version, attributes).unwrap();
        assert_eq!(bench.ask("POST", &path, sign.clone()).await.code(), (403, "Forbidden", Some(inner)));
        // The public half can be had of a key in any state; so can those of the other versions.
        let bundle = bench.ask("GET", &format!("/keys/k/{}", version.unwrap()), Value::Null).await;
        assert_eq!((bundle.status, &bundle.body["key"]["kid"]), (200, &json!(first)), "{inner}");
        assert_eq!(bench.ask("POST", "/keys/k/sign", sign.clone()).await.body["kid"], newest);
    }
    bench.vault.delete("dev", "k").unwrap();
    for path in [path.as_str(), "/keys/k/sign"] {
        assert_eq!(bench.ask("POST", path, sign.clone()).await.code(), (404, "KeyNotFound", None), "{path}");
    }
}

#[tokio::test]
async fn keys_of_the_hsm_types_are_made_as_the_others_and_sign_as_they_do() {
    let bench = Bench::new();
    for (spec, kty, alg) in [
        (KeySpec::Rsa2048, "RSA-HSM", "PS256"),
        (KeySpec::P256, "EC-HSM", "ES256"),
        (KeySpec::P384, "EC-HSM", "ES384"),
        (KeySpec::P521, "EC-HSM", "ES512"),
        (KeySpec::P256K, "EC-HSM", "ES256K"),
    ] {
        bench.vault.create_key("dev", "k", spec.hsm()).await.unwrap();
        let bundle = bench.ask("GET", "/keys/k", Value::Null).await.body;
        assert_eq!((&bundle["key"]["kty"], &bundle["attributes"]["hsmPlatform"]), (&json!(kty), &json!("2")));
        let digest = digest_for(alg);
        let body = json!({"alg": alg, "value": URL_SAFE_NO_PAD.encode(&digest)});
        let answer = bench.ask("POST", "/keys/k/sign", body).await;
        assert!(holds(&bundle["key"], alg, &digest, &decode(&answer.body["value"])), "{alg}: {}", answer.body);
    }
    bench.vault.rotate("dev", "k").await.unwrap();
    assert_eq!(bench.vault.key("dev", "k", None).unwrap()["key"]["kty"], "EC-HSM");
    let later = Attributes { nbf: Some(4_000_000_000), ..Attributes::default() };
    let options = KeyOptions { attributes: later, ..KeySpec::P256.into() };
    bench.vault.create_key("dev", "later", options).await.unwrap();
    let body = json!({"alg": "ES256", "value": URL_SAFE_NO_PAD.encode([0; 32])});
    let refused = bench.ask("POST", "/keys/later/sign", body).await;
    assert_eq!(refused.code(), (403, "Forbidden", Some("KeyNotYetValid")));
}

#[tokio::test]
async fn what_is_new_can_be_unknown_for_a_time() {
    const LONG: Duration = Duration::from_hours(1);
    let bench = Bench::new();
    let old = bench.key("old", KeySpec::P256).await;
    bench.vault.set_readiness_delay(LONG);
    let new = bench.vault.rotate("dev", "old").await.unwrap();
    bench.key("new", KeySpec::P256).await;

    let sign = json!({"alg": "ES256", "value": URL_SAFE_NO_PAD.encode([0; 32])});
    let named = format!("/keys/old/{}", new.rsplit('/').next().unwrap());
    let not_found = (404, "KeyNotFound", None);
    for path in ["/keys/new", "/keys/new/versions", named.as_str()] {
        assert_eq!(bench.ask("GET", path, Value::Null).await.code(), not_found, "{path}");
    }
    for path in ["/keys/new/sign", &format!("{named}/sign")] {
        assert_eq!(bench.ask("POST", path, sign.clone()).await.code(), not_found, "{path}");
    }
    assert_eq!(bench.ask("GET", "/keys/old", Value::Null).await.body["key"]["kid"], old);
    assert_eq!(bench.ask("POST", "/keys/old/sign", sign.clone()).await.body["kid"], old);
    for path in ["/keys", "/keys/old/versions"] {
        assert_eq!(bench.ask("GET", path, Value::Null).await.body["value"].as_array().unwrap().len(), 1, "{path}");
    }
    assert_eq!(bench.vault.key("dev", "old", None).unwrap()["key"]["kid"], new);

    bench.vault.set_readiness_delay(Duration::from_millis(1));
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(bench.ask("POST", "/keys/old/sign", sign.clone()).await.body["kid"], new);
    bench.vault.set_readiness_delay(LONG);
    assert_eq!(bench.ask("POST", "/keys/old/sign", sign.clone()).await.body["kid"], new);
    bench.key("newer", KeySpec::P256).await;
    assert_eq!(bench.ask("POST", "/keys/newer/sign", sign.clone()).await.code(), not_found);
    bench.vault.set_readiness_delay(Duration::ZERO);
    assert_eq!(bench.ask("POST", "/keys/newer/sign", sign).await.status, 200);
}

#[tokio::test]
async fn a_rotated_key_signs_with_its_newest_version_and_keeps_the_old() {
    let bench = Bench::new();
    let first = bench.key("k", KeySpec::P256).await;
    let rotated = bench.ask("POST", "/keys/k/rotate", Value::Null).await.body["key"]["kid"].clone();
    assert_ne!(rotated, first);
    let sign = json!({"alg": "ES256", "value": URL_SAFE_NO_PAD.encode([0; 32])});
    assert_eq!(bench.ask("POST", "/keys/k/sign", sign.clone()).await.body["kid"], rotated);
    let path = format!("/keys/k/{}/sign", first.rsplit('/').next().unwrap());
    assert_eq!(bench.ask("POST", &path, sign).await.body["kid"], first);
    let third = bench.vault.rotate("dev", "k").await.unwrap();
    assert_eq!(bench.vault.key("dev", "k", None).unwrap()["key"]["kid"], third);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let bench = Bench::new();
    let mut made = BTreeSet::new();
    for _ in 0..27 {
        made.insert(bench.key("k", KeySpec::P256).await);
    }
    let whole = bench.ask("GET", "/keys/k/versions", Value::Null).await;
    assert_eq!(whole.body["value"].as_array().unwrap().len(), 25);
    let mut path = "/keys/k/versions?maxresults=10".to_owned();
    let (mut listed, mut pages) = (BTreeSet::new(), 0);
    loop {
        let body = bench.ask("GET", &path, Value::Null).await.body;
        for item in body["value"].as_array().unwrap() {
            assert!(item["attributes"]["enabled"].as_bool().unwrap());
            listed.insert(item["kid"].as_str().unwrap().to_owned());
        }
        pages += 1;
        let Some(next) = body["nextLink"].as_str() else { break };
        assert!(next.contains("$skiptoken=") && next.contains("api-version=2025-07-01"), "{next}");
        path = next.strip_prefix("https://dev.vault.localhost").unwrap().to_owned();
    }
    assert_eq!((listed, pages), (made, 3));

    bench.key("other", KeySpec::P256).await;
    let keys = bench.ask("GET", "/keys?maxresults=1", Value::Null).await.body;
    assert_eq!(keys["value"][0]["kid"], "https://dev.vault.localhost/keys/k");
    assert!(keys["nextLink"].is_string());
}

#[tokio::test]
async fn a_deleted_key_is_gone_but_recoverable() {
    let bench = Bench::new();
    bench.key("k", KeySpec::P256).await;
    let deleted = bench.ask("DELETE", "/keys/k", Value::Null).await;
    assert_eq!(deleted.body["recoveryId"], "https://dev.vault.localhost/deletedkeys/k");
    assert_eq!(bench.ask("GET", "/keys/k", Value::Null).await.code(), (404, "KeyNotFound", None));
    let again = bench.ask("POST", "/keys/k/create", json!({"kty": "EC"})).await;
    assert_eq!(again.code(), (409, "Conflict", Some("ObjectIsDeletedButRecoverable")));
    assert_eq!(bench.ask("POST", "/deletedkeys/k/recover", Value::Null).await.status, 200);
    assert_eq!(bench.ask("GET", "/keys/k", Value::Null).await.status, 200);
    bench.vault.delete("dev", "k").unwrap();
    assert_eq!(bench.ask("DELETE", "/deletedkeys/k", Value::Null).await.status, 204);
    bench.key("k", KeySpec::P256).await;
}

#[tokio::test]
async fn too_many_operations_are_throttled() {
    let bench = Bench::new();
    bench.vault.limit(Some(2));
    for expected in [200, 200, 429] {
        let answer = bench.ask("GET", "/keys", Value::Null).await;
        assert_eq!(answer.status, expected);
        if expected == 429 {
            assert_eq!(answer.code(), (429, "Throttled", None));
            assert!(!answer.headers.contains_key("retry-after"));
        }
    }
    assert_eq!((bench.vault.throttled("dev"), bench.vault.throttled("other")), (1, 0));
    bench.vault.limit(None);
    assert_eq!(bench.ask("GET", "/keys", Value::Null).await.status, 200);
}

#[tokio::test]
async fn the_documented_limits_are_by_class_of_key() {
    let bench = Bench::new();
    bench.vault.create_key("dev", "hsm", KeySpec::Rsa3072.hsm()).await.unwrap();
    bench.key("software", KeySpec::P256).await;
    bench.vault.limit_as_documented();
    let sign = json!({"alg": "none", "value": ""});
    for _ in 0..500 {
        assert_eq!(bench.ask("POST", "/keys/hsm/sign", sign.clone()).await.status, 400);
    }
    for path in ["/keys/hsm//sign", "/keys/hsm/sign", "/keys/hsm/00000000000000000000000000000000/sign"] {
        assert_eq!(bench.ask("POST", path, sign.clone()).await.code(), (429, "Throttled", None), "{path}");
    }
    for path in ["/keys", "/keys/none", "/keys/software", "/keys/software/versions"] {
        assert_ne!(bench.ask("GET", path, Value::Null).await.status, 429, "{path}");
    }
    for made in 0..21 {
        let answer = match made % 2 {
            0 => bench.ask("POST", "/keys/new/create", json!({"kty": "EC"})).await,
            _ => bench.ask("POST", "/keys/new/rotate", Value::Null).await,
        };
        assert_eq!(answer.status, if made < 20 { 200 } else { 429 }, "{made}: {}", answer.body);
    }
    assert_eq!(bench.ask("POST", "/keys/new/create", json!({"kty": "EC-HSM"})).await.status, 200);
    assert_eq!(bench.vault.throttled("dev"), 4);
}

#[tokio::test]
async fn vaults_of_one_listener_have_their_own_keys_and_names() {
    let bench = Bench::new();
    let certificates = Certificates::generate(&LOCAL_NAMES).unwrap();
    let tap = Tap::new();
    let listener = bench.vault.listen(certificates.server_config().unwrap(), 0, tap.clone()).await.unwrap();
    let kid = bench.key("k", KeySpec::P256).await;
    assert!(kid.starts_with(&format!("https://dev.vault.localhost:{}/keys/k/", listener.port())), "{kid}");
    let token = bench.issuer.issue(&SYSTEM_ASSIGNED, AUDIENCE).0;
    for (vault, status) in [("dev", 200), ("other", 404)] {
        let host = format!("{vault}.vault.localhost");
        let client = TestClient::tls(listener.port(), certificates.client_config().unwrap(), &host).await;
        let request = Request::get("/keys/k?api-version=7.5")
            .header("host", format!("{host}:{}", listener.port()))
            .header("authorization", format!("Bearer {token}"));
        let response = client.unwrap().send(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{vault}");
    }
    assert_eq!(tap.count(|exchange| exchange.service == "vault" && exchange.path == "/keys/k"), 2);
}
