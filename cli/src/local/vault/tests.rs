//! What the vault has beyond the service's contract, which the test `vault_contract` checks: its methods, and what the
//! contract does not ask of every vault.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::Full;
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use signet_core::{algorithm::Algorithm as Jwa, jwks::Jwk};

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
    let algorithm: Jwa = alg.parse().unwrap();
    // JWK has no types for hardware security modules.
    Jwk::parse(&jwk.to_string().replace("-HSM", "")).unwrap().key.verify(algorithm, digest, signature).is_ok()
}

fn digest_for(alg: &str) -> Vec<u8> {
    match &alg[2..5] {
        "256" => Sha256::digest(b"content").to_vec(),
        "384" => Sha384::digest(b"content").to_vec(),
        _ => Sha512::digest(b"content").to_vec(),
    }
}

#[tokio::test]
async fn signatures_are_kept() {
    let bench = Bench::new();
    for (name, spec, alg) in [("ec", KeySpec::P384, "ES384"), ("rsa", KeySpec::Rsa2048, "PS512")] {
        let kid = bench.key(name, spec).await;
        let digest = digest_for(alg);
        let body = json!({"alg": alg, "value": URL_SAFE_NO_PAD.encode(&digest)});
        let answer = bench.ask("POST", &format!("/keys/{name}//sign"), body).await;
        let record = bench.vault.signatures().pop().unwrap();
        assert_eq!((record.kid, record.algorithm, record.digest), (kid, alg.to_owned(), digest));
        assert_eq!(record.signature, decode(&answer.body["value"]));
    }
    assert_eq!(bench.vault.signatures().len(), 2);
    bench.vault.clear_signatures();
    assert!(bench.vault.signatures().is_empty());
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
async fn what_a_vault_has_not_is_refused() {
    let bench = Bench::new();
    bench.key("ec", KeySpec::P256).await;
    for (method, path, body, expected) in [
        ("POST", "/keys/new/create", json!({"kty": "oct"}), (400, "BadParameter", Some("KeyTypeNotSupported"))),
        ("GET", "/keys/ec/x/sign", Value::Null, (400, "BadParameter", None)),
        ("DELETE", "/keys/ec/versions", Value::Null, (400, "BadParameter", None)),
        ("PUT", "/keys/ec", Value::Null, (405, "MethodNotAllowed", None)),
        ("GET", "/secrets/x", Value::Null, (404, "NotFound", None)),
    ] {
        let answer = bench.ask(method, path, body).await;
        assert_eq!(answer.code(), expected, "{method} {path}: {}", answer.body);
    }
}

#[tokio::test]
async fn attributes_can_be_set_without_a_request() {
    let bench = Bench::new();
    let first = bench.key("k", KeySpec::P256).await;
    let newest = bench.vault.rotate("dev", "k").await.unwrap();
    let sign = json!({"alg": "ES256", "value": URL_SAFE_NO_PAD.encode([0; 32])});
    let version = first.rsplit('/').next();
    let path = format!("/keys/k/{}/sign", version.unwrap());
    for (attributes, inner) in [
        (Attributes { enabled: Some(false), ..Attributes::default() }, "KeyDisabled"),
        (Attributes { enabled: Some(true), nbf: Some(4_000_000_000), exp: None }, "KeyNotYetValid"),
        (Attributes { nbf: Some(1), exp: Some(2), ..Attributes::default() }, "KeyExpired"),
    ] {
        bench.vault.update_attributes("dev", "k", version, attributes).unwrap();
        assert_eq!(bench.ask("POST", &path, sign.clone()).await.code(), (403, "Forbidden", Some(inner)));
        assert_eq!(bench.ask("POST", "/keys/k/sign", sign.clone()).await.body["kid"], newest);
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
async fn a_page_is_of_25_unless_fewer_are_asked_for() {
    let bench = Bench::new();
    for _ in 0..27 {
        bench.key("k", KeySpec::P256).await;
    }
    let whole = bench.ask("GET", "/keys/k/versions", Value::Null).await.body;
    assert_eq!(whole["value"].as_array().unwrap().len(), 25);
    let next = whole["nextLink"].as_str().unwrap();
    let prefix = "https://dev.vault.localhost/keys/k/versions?api-version=2025-07-01&$skiptoken=";
    assert!(next.starts_with(prefix) && next.ends_with("&maxresults=25"), "{next}");
    let token = bench.issuer.issue(&SYSTEM_ASSIGNED, AUDIENCE).0;
    let path = next.strip_prefix("https://dev.vault.localhost").unwrap();
    let rest = bench.raw("GET", path, Some(&token), "").await.body;
    assert_eq!((rest["value"].as_array().unwrap().len(), &rest["nextLink"]), (2, &Value::Null));
}

#[tokio::test]
async fn keys_can_be_deleted_and_recovered_without_a_request() {
    let bench = Bench::new();
    bench.key("k", KeySpec::P256).await;
    bench.vault.delete("dev", "k").unwrap();
    assert_eq!(bench.ask("GET", "/keys/k", Value::Null).await.code(), (404, "KeyNotFound", None));
    let again = bench.vault.create_key("dev", "k", KeySpec::P256).await.unwrap_err();
    assert_eq!((again.status, again.inner), (409, Some("ObjectIsDeletedButRecoverable")));
    bench.vault.recover("dev", "k").unwrap();
    assert_eq!(bench.ask("GET", "/keys/k", Value::Null).await.status, 200);
    assert_eq!(bench.vault.recover("dev", "k").unwrap_err().status, 404);
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
    let listener = bench.vault.listen(certificates.server_config().unwrap(), 0, tap.clone()).unwrap();
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
