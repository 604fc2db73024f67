//! The managed-identity endpoint of App Service, and the tokens that it issues.
//!
//! Shapes as in "How to use managed identities for App Service and Azure Functions", REST endpoint reference,
//! api-version 2019-08-01.

mod issuer;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use hyper::{
    Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, HeaderValue},
};
use rand_core::{OsRng, RngCore as _};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::listener::{self, Service};

pub use self::issuer::{Claims, DEFAULT_LIFETIME, Issuer, TokenError};

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

/// Somebody who is signed in on a machine of theirs.
pub const OPERATOR: Person =
    Person { name: "operator@signet.example", object_id: "5d0c7e9a-1f64-4b83-9a27-e8b6d4c3f210" };

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

/// A user of the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// What they sign in with.
    pub name: &'static str,
    /// The user's object id, UUID.
    pub object_id: &'static str,
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
    fn uuids_say_that_they_are_random() {
        let uuid = uuid();
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"), "{uuid}");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
    }
}
