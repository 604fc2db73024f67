//! A Key Vault with one P-256 key: real signatures, and of the checks of requests none but the one that makes clients ask
//! for a token.
//!
//! Shapes as in the Key Vault REST reference: Get Key, Get Key Versions, Sign.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use hyper::{
    Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE},
};
use p256::{
    ProjectivePoint, Scalar, U256,
    ecdsa::{Signature, SigningKey},
    elliptic_curve::{Field as _, ops::Reduce, point::AffineCoordinates as _},
};
use rand_core::OsRng;
use serde::Deserialize;
use serde_json::{Value, json};
use signet::local::listener::Service;

/// The key's name.
pub(super) const KEY: &str = "bench";

const VERSION: &str = "5f1d0c3a7e9b4d2680c4a6e8b0d2f416";

/// How many signatures there are before a nonce comes again.
const NONCES: usize = 256;

pub(super) struct Vault {
    key: SigningKey,
    nonces: Vec<Nonce>,
    signed: AtomicUsize,
}

/// What of an ECDSA signature can be worked out before anything is to be signed. To use it twice gives the key away, which is
/// no loss here, and makes this vault a tenth as dear as one whose time would be measured with the contenders'.
struct Nonce {
    /// The inverse of `k`.
    inverse: Scalar,
    r: Scalar,
}

#[derive(Deserialize)]
struct SignBody<'a> {
    value: &'a str,
}

impl Vault {
    pub(super) fn new() -> Self {
        let nonces = (0..NONCES).filter_map(|_| Nonce::new()).collect();
        Self { key: SigningKey::random(&mut OsRng), nonces, signed: AtomicUsize::new(0) }
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
        let nonce = self.nonces.get(self.signed.fetch_add(1, Ordering::Relaxed) % NONCES)?;
        let signature = nonce.sign(&self.key, &digest)?;
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

impl Nonce {
    fn new() -> Option<Self> {
        let k = Scalar::random(&mut OsRng);
        let point = (ProjectivePoint::GENERATOR * k).to_affine();
        let inverse = Option::<Scalar>::from(k.invert())?;
        Some(Self { inverse, r: <Scalar as Reduce<U256>>::reduce_bytes(&point.x()) })
    }

    /// FIPS 186-5, section 6.4.1.
    fn sign(&self, key: &SigningKey, digest: &[u8]) -> Option<Signature> {
        let digest: [u8; 32] = digest.try_into().ok()?;
        let z = <Scalar as Reduce<U256>>::reduce_bytes(&digest.into());
        let s = self.inverse * (z + self.r * **key.as_nonzero_scalar());
        Signature::from_scalars(self.r.to_bytes(), s.to_bytes()).ok()
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
