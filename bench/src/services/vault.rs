//! A Key Vault with one P-256 key: real signatures, and of the checks of requests none but the one that makes clients ask
//! for a token.
//!
//! Shapes as in the Key Vault REST reference: Get Key, Get Key Versions, Sign.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use hyper::{
    Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE},
};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
use rand_core::OsRng;
use serde::Deserialize;
use serde_json::{Value, json};
use signet::local::listener::Service;

/// The key's name.
pub(super) const KEY: &str = "bench";

const VERSION: &str = "5f1d0c3a7e9b4d2680c4a6e8b0d2f416";

pub(super) struct Vault {
    key: SigningKey,
}

#[derive(Deserialize)]
struct SignBody<'a> {
    value: &'a str,
}

impl Vault {
    pub(super) fn new() -> Self {
        Self { key: SigningKey::random(&mut OsRng) }
    }

    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if !request.headers().contains_key(AUTHORIZATION) {
            let mut response = json_response(StatusCode::UNAUTHORIZED, &json!({"error": {"code": "Unauthorized"}}));
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            return response;
        }
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let kid = format!("https://{host}/keys/{KEY}/{VERSION}");
        let path = request.uri().path().trim_matches('/');
        let answer = match path.strip_prefix("keys/bench").map(|rest| rest.trim_start_matches('/')) {
            Some("" | VERSION) => Some(self.bundle(&kid)),
            Some("versions") => Some(json!({"value": [{"kid": kid, "attributes": attributes()}], "nextLink": null})),
            Some(rest) if rest.ends_with("sign") => self.sign(&kid, request.body()),
            _ => None,
        };
        match answer {
            Some(answer) => json_response(StatusCode::OK, &answer),
            None => {
                json_response(StatusCode::BAD_REQUEST, &json!({"error": {"code": "BadParameter", "message": path}}))
            }
        }
    }

    fn sign(&self, kid: &str, body: &[u8]) -> Option<Value> {
        let SignBody { value } = serde_json::from_slice(body).ok()?;
        let digest = URL_SAFE_NO_PAD.decode(value.trim_end_matches('=')).ok()?;
        let signature: Signature = self.key.sign_prehash(&digest).ok()?;
        Some(json!({"kid": kid, "value": URL_SAFE_NO_PAD.encode(signature.to_bytes())}))
    }

    fn bundle(&self, kid: &str) -> Value {
        // 4, x and y (SEC 1, section 2.3.3).
        let point = self.key.verifying_key().to_encoded_point(false);
        let coordinate =
            |range| point.as_bytes().get::<std::ops::Range<usize>>(range).map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        json!({
            "key": {
                "kid": kid, "kty": "EC", "crv": "P-256", "key_ops": ["sign", "verify"],
                "x": coordinate(1..33), "y": coordinate(33..65),
            },
            "attributes": attributes(),
        })
    }
}

impl Service for Vault {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        ready(self.answer(&request)).boxed()
    }
}

fn attributes() -> Value {
    json!({
        "enabled": true, "created": 1_780_000_000, "updated": 1_780_000_000, "recoveryLevel": "Recoverable",
        "recoverableDays": 90,
    })
}

fn json_response(status: StatusCode, value: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    headers.insert("x-ms-keyvault-region", HeaderValue::from_static("local"));
    headers.insert("x-ms-request-id", HeaderValue::from_static("9a1d7d2e-64f5-4a4e-9a39-6a9f3f1c2b10"));
    headers.insert("x-ms-keyvault-service-version", HeaderValue::from_static("1.9.2878.1"));
    response
}

const CHALLENGE: &str = "Bearer authorization=\"https://login.microsoftonline.com/7c1f0a52-3d0e-4b7a-9a55-5c6d1e5f0a11\", \
                         resource=\"https://vault.localhost\"";
