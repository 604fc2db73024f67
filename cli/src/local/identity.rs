//! The managed-identity endpoint of App Service, and the tokens that it issues.
//!
//! Shapes as in "How to use managed identities for App Service and Azure Functions", REST endpoint reference,
//! api-version 2019-08-01.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use hmac::{Hmac, Mac as _};
use hyper::{
    Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, HeaderValue},
};
use rand_core::{OsRng, RngCore as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;
use url::form_urlencoded;

use super::listener::{self, Service};

/// The tenant that the local stack's tokens name.
pub const TENANT_ID: &str = "7c1f0a52-3d0e-4b7a-9a55-5c6d1e5f0a11";

/// The identity that a request without an id gets.
pub const SYSTEM_ASSIGNED: Identity = Identity {
    client_id: "0b5d7c3e-52a7-4a0e-8f3b-1d8a6f0e9c21",
    object_id: "f3a1c9d4-7b1e-4d57-9c02-6a4e8b2d7f31",
    resource_id: "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/local/providers/Microsoft.Web/sites/signet",
};

/// The identity that a request gets by its client id, object id or resource id.
pub const USER_ASSIGNED: Identity = Identity {
    client_id: "4e2f8b6a-9c1d-47e3-b5a8-2f7d0c3e6b41",
    object_id: "a9d6e2f1-4c8b-4f0a-8e7d-3b5c1a9f2e51",
    resource_id: "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/local/providers/Microsoft.ManagedIdentity/userAssignedIdentities/signet",
};

/// How long a token is good for unless told otherwise, as in App Service.
pub const DEFAULT_LIFETIME: Duration = Duration::from_hours(24);

/// Where the endpoint answers.
pub const TOKEN_PATH: &str = "/msi/token";

const API_VERSION: &str = "2019-08-01";

/// A managed identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The application's id, UUID.
    pub client_id: &'static str,
    /// The service principal's object id, UUID.
    pub object_id: &'static str,
    /// The Azure resource's id.
    pub resource_id: &'static str,
}

/// Issues access tokens, and knows those that it issued. Clones are the same issuer.
#[derive(Clone, Debug)]
pub struct Issuer {
    inner: Arc<IssuerState>,
}

/// What an access token says (the claims of a version 1.0 token of Microsoft Entra ID).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The resource that it is for.
    pub aud: String,
    /// `https://sts.windows.net/{tenant}/`.
    pub iss: String,
    /// Issued at, seconds since 1970.
    pub iat: u64,
    /// Not before, seconds since 1970.
    pub nbf: u64,
    /// Not after, seconds since 1970.
    pub exp: u64,
    /// The client id.
    pub appid: String,
    /// 2: the client authenticated with a certificate.
    pub appidacr: String,
    /// The identity provider, which is the issuer.
    pub idp: String,
    /// `app`.
    pub idtyp: String,
    /// The object id.
    pub oid: String,
    /// The object id again.
    pub sub: String,
    /// The tenant.
    pub tid: String,
    /// A number that makes each token another.
    pub uti: String,
    /// `1.0`.
    pub ver: String,
    /// The identity's resource id.
    pub xms_mirid: String,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It is no JWT of this issuer's kind.
    Malformed,
    /// It was not signed with the present key: foreign, changed or revoked.
    Signature,
    /// It is for another resource, this one.
    Audience(String),
    /// Its time is over, or has not begun.
    Lifetime,
}

impl Default for Issuer {
    fn default() -> Self {
        let state = IssuerState { key: RwLock::new(random()), lifetime: AtomicU64::new(DEFAULT_LIFETIME.as_secs()) };
        Self { inner: Arc::new(state) }
    }
}

impl Issuer {
    /// An issuer with a new signing key.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the tokens issued from now on are good for; whole seconds count.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.inner.lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    /// Makes every token issued so far invalid.
    pub fn revoke_all(&self) {
        *self.inner.key.write().unwrap_or_else(PoisonError::into_inner) = random();
    }

    /// A token for a resource, and when it ends, in seconds since 1970.
    #[must_use]
    pub fn issue(&self, identity: &Identity, resource: &str) -> (String, u64) {
        let now = now();
        let issuer = format!("https://sts.windows.net/{TENANT_ID}/");
        let exp = now + self.inner.lifetime.load(Ordering::Relaxed);
        let claims = Claims {
            aud: resource.to_owned(),
            iss: issuer.clone(),
            iat: now,
            nbf: now,
            exp,
            appid: identity.client_id.to_owned(),
            appidacr: "2".to_owned(),
            idp: issuer,
            idtyp: "app".to_owned(),
            oid: identity.object_id.to_owned(),
            sub: identity.object_id.to_owned(),
            tid: TENANT_ID.to_owned(),
            uti: URL_SAFE_NO_PAD.encode(random::<16>()),
            ver: "1.0".to_owned(),
            xms_mirid: identity.resource_id.to_owned(),
        };
        let key = self.inner.key();
        let header = json!({"typ": "JWT", "alg": "HS256", "kid": key_id(&key)});
        let parts = [header, json!(claims)].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = parts.join(".");
        let signature = URL_SAFE_NO_PAD.encode(mac(&key, &signed).finalize().into_bytes());
        (format!("{signed}.{signature}"), exp)
    }

    /// The claims of a token that this issuer signed, that is for this resource and whose time it is.
    pub fn verify(&self, token: &str, audience: &str) -> Result<Claims, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Value = decode(header)?;
        if header["alg"] != "HS256" {
            return Err(TokenError::Malformed);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
        mac(&self.inner.key(), signed).verify_slice(&signature).map_err(|_| TokenError::Signature)?;
        let claims: Claims = decode(payload)?;
        if claims.aud.trim_end_matches('/') != audience.trim_end_matches('/') {
            return Err(TokenError::Audience(claims.aud));
        }
        if !(claims.nbf..claims.exp).contains(&now()) {
            return Err(TokenError::Lifetime);
        }
        Ok(claims)
    }
}

/// The endpoint that a function app reaches through `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
#[derive(Clone, Debug)]
pub struct IdentityEndpoint {
    issuer: Issuer,
    secret: Arc<str>,
}

impl IdentityEndpoint {
    /// An endpoint with a new random `IDENTITY_HEADER`.
    #[must_use]
    pub fn new(issuer: Issuer) -> Self {
        Self { issuer, secret: uuid().into() }
    }

    /// The value that requests must carry in `X-IDENTITY-HEADER`.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The value of `IDENTITY_ENDPOINT`, when it listens on this port.
    #[must_use]
    pub fn url(port: u16) -> String {
        format!("http://127.0.0.1:{port}{TOKEN_PATH}")
    }

    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let mut response = match self.token(request) {
            Ok(body) => listener::json(StatusCode::OK, &body),
            Err((status, message)) => refusal(status, message),
        };
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
        response
    }

    fn token(&self, request: &Request<Bytes>) -> Result<Value, (StatusCode, &'static str)> {
        if request.uri().path().trim_end_matches('/') != TOKEN_PATH {
            return Err((StatusCode::NOT_FOUND, "No resource at this path; tokens are at /msi/token."));
        }
        if request.method() != Method::GET {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "The requested resource does not support this http method."));
        }
        match request.headers().get("x-identity-header") {
            None => return Err((StatusCode::UNAUTHORIZED, "No MSI secret found in request.")),
            Some(secret) if secret.as_bytes() != self.secret.as_bytes() => {
                return Err((StatusCode::UNAUTHORIZED, "Invalid MSI secret in request."));
            }
            Some(_) => {}
        }
        let bad_request = |message| (StatusCode::BAD_REQUEST, message);
        let query: Vec<_> = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).collect();
        let parameter = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref());
        if parameter("api-version") != Some(API_VERSION) {
            return Err(bad_request("The HTTP resource does not support this API version; use 2019-08-01."));
        }
        let resource = parameter("resource")
            .filter(|resource| !resource.is_empty())
            .ok_or_else(|| bad_request("A resource is required in the query."))?;
        let identity = identity(parameter).ok_or_else(|| {
            bad_request(
                "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.",
            )
        })?;
        let (access_token, expires_on) = self.issuer.issue(&identity, resource);
        Ok(json!({
            "access_token": access_token,
            "expires_on": expires_on.to_string(),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": identity.client_id,
        }))
    }
}

impl Service for IdentityEndpoint {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        ready(self.answer(&request)).boxed()
    }
}

#[derive(Debug)]
struct IssuerState {
    key: RwLock<[u8; 32]>,
    lifetime: AtomicU64,
}

impl IssuerState {
    fn key(&self) -> [u8; 32] {
        *self.key.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity<'a>(parameter: impl Fn(&str) -> Option<&'a str>) -> Option<Identity> {
    let known = [SYSTEM_ASSIGNED, USER_ASSIGNED];
    let find = |id: &str, of: fn(&Identity) -> &'static str| {
        known.into_iter().find(|identity| of(identity).eq_ignore_ascii_case(id))
    };
    if let Some(id) = parameter("client_id") {
        find(id, |identity| identity.client_id)
    } else if let Some(id) = parameter("object_id").or_else(|| parameter("principal_id")) {
        find(id, |identity| identity.object_id)
    } else if let Some(id) = parameter("mi_res_id") {
        find(id, |identity| identity.resource_id)
    } else {
        Some(SYSTEM_ASSIGNED)
    }
}

fn refusal(status: StatusCode, message: &str) -> Response<Bytes> {
    listener::json(status, &json!({"statusCode": status.as_u16(), "message": message, "correlationId": uuid()}))
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenError> {
    let text = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&text).map_err(|_| TokenError::Malformed)
}

fn mac(key: &[u8; 32], signed: &str) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length").chain_update(signed)
}

/// Names the key without giving it away.
fn key_id(key: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(&mac(key, "kid").finalize().into_bytes()[..20])
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

/// A random UUID (RFC 9562, version 4).
pub(crate) fn uuid() -> String {
    let number = u128::from_be_bytes(random()) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{number:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: &str = "https://vault.localhost";

    fn ask(endpoint: &IdentityEndpoint, query: &str, secret: Option<&str>) -> (u16, Value) {
        let mut request = Request::get(format!("{TOKEN_PATH}?{query}"));
        if let Some(secret) = secret {
            request = request.header("X-IDENTITY-HEADER", secret);
        }
        let response = endpoint.answer(&request.body(Bytes::new()).unwrap());
        (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
    }

    #[test]
    fn a_token_has_the_shape_that_the_sdks_expect() {
        let issuer = Issuer::new();
        let endpoint = IdentityEndpoint::new(issuer.clone());
        let query = "api-version=2019-08-01&resource=https%3A%2F%2Fvault.localhost";
        let (status, body) = ask(&endpoint, query, Some(endpoint.secret()));
        assert_eq!((status, &body["token_type"], &body["resource"]), (200, &json!("Bearer"), &json!(VAULT)));
        assert_eq!(body["client_id"], SYSTEM_ASSIGNED.client_id);
        let claims = issuer.verify(body["access_token"].as_str().unwrap(), VAULT).unwrap();
        assert_eq!(body["expires_on"], claims.exp.to_string());
        assert_eq!((claims.exp - claims.iat, claims.oid.as_str()), (86_400, SYSTEM_ASSIGNED.object_id));
        assert_eq!(claims.iss, format!("https://sts.windows.net/{TENANT_ID}/"));
    }

    #[test]
    fn an_identity_is_chosen_by_any_of_its_ids() {
        let endpoint = IdentityEndpoint::new(Issuer::new());
        for (name, id) in [
            ("client_id", USER_ASSIGNED.client_id),
            ("object_id", USER_ASSIGNED.object_id),
            ("mi_res_id", USER_ASSIGNED.resource_id),
        ] {
            let query = format!("api-version=2019-08-01&resource=r&{name}={id}");
            let (status, body) = ask(&endpoint, &query, Some(endpoint.secret()));
            assert_eq!((status, &body["client_id"]), (200, &json!(USER_ASSIGNED.client_id)), "{name}");
        }
    }

    #[test]
    fn bad_requests_are_refused_as_app_service_refuses_them() {
        let endpoint = IdentityEndpoint::new(Issuer::new());
        let secret = Some(endpoint.secret());
        let good = "api-version=2019-08-01&resource=r";
        for (query, secret, expected) in [
            (good, None, 401),
            (good, Some("guess"), 401),
            ("resource=r", secret, 400),
            ("api-version=2017-09-01&resource=r", secret, 400),
            ("api-version=2019-08-01", secret, 400),
            ("api-version=2019-08-01&resource=r&client_id=unknown", secret, 400),
        ] {
            let (status, body) = ask(&endpoint, query, secret);
            assert_eq!((status, &body["statusCode"]), (expected, &json!(expected)), "{query}");
            assert!(body["message"].is_string() && body["correlationId"].is_string());
        }
    }

    #[test]
    fn a_token_is_refused_when_foreign_revoked_expired_or_for_another_resource() {
        let issuer = Issuer::new();
        let (token, _) = issuer.issue(&SYSTEM_ASSIGNED, VAULT);
        assert!(issuer.verify(&token, &format!("{VAULT}/")).is_ok());
        assert_eq!(issuer.verify("x", VAULT), Err(TokenError::Malformed));
        assert_eq!(Issuer::new().verify(&token, VAULT), Err(TokenError::Signature));
        assert_eq!(issuer.verify(&token, "https://other"), Err(TokenError::Audience(VAULT.to_owned())));
        issuer.revoke_all();
        assert_eq!(issuer.verify(&token, VAULT), Err(TokenError::Signature));
        issuer.set_lifetime(Duration::ZERO);
        let (token, _) = issuer.issue(&SYSTEM_ASSIGNED, VAULT);
        assert_eq!(issuer.verify(&token, VAULT), Err(TokenError::Lifetime));
    }

    #[test]
    fn uuids_say_that_they_are_random() {
        let uuid = uuid();
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"), "{uuid}");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
    }
}
