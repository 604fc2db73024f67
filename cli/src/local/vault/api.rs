//! The REST interface: who may ask, what is asked, and the answer's shape.

use std::{collections::BTreeMap, time::Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    header::{
        AUTHORIZATION, CACHE_CONTROL, EXPIRES, HOST, HeaderName, HeaderValue, PRAGMA, STRICT_TRANSPORT_SECURITY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    AUDIENCE, Vault,
    bodies::{CreateBody, SignBody, UpdateBody, VerifyBody, base64url, digest, fitting, known_operations},
    errors::VaultError,
    store::{self, Store, Version},
    throttle::Transaction,
};
use crate::local::{identity::uuid, listener};

const API_VERSIONS: [&str; 4] = ["7.4", "7.5", "7.6", "2025-07-01"];

const LARGEST_PAGE: usize = 25;

/// Answers any request; what goes wrong is in the answer.
pub(super) async fn answer(vault: &Vault, request: &Request<Bytes>) -> Response<Bytes> {
    let mut response = match result(vault, request).await {
        Ok(body) if body.is_null() => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Ok(body) => listener::json(StatusCode::OK, &body),
        Err(error) => error.to_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-cache"),
        (PRAGMA, "no-cache"),
        (EXPIRES, "-1"),
        (STRICT_TRANSPORT_SECURITY, "max-age=31536000;includeSubDomains"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-ms-keyvault-region"), "local"),
        (HeaderName::from_static("x-ms-keyvault-service-version"), "1.9.2878.1"),
        (
            HeaderName::from_static("x-ms-keyvault-network-info"),
            "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::try_from(uuid()) {
        headers.insert(HeaderName::from_static("x-ms-request-id"), id);
    }
    if let Some(id) = request.headers().get("x-ms-client-request-id") {
        headers.insert(HeaderName::from_static("x-ms-client-request-id"), id.clone());
    }
    response
}

async fn result(vault: &Vault, request: &Request<Bytes>) -> Result<Value, VaultError> {
    let name = vault_name(request.headers())?;
    authorize(vault, request.headers())?;
    let query = request.uri().query().unwrap_or_default();
    let api_version = api_version(query)?;
    let segments: Vec<&str> = request.uri().path().trim_start_matches('/').split('/').collect();
    {
        let mut state = vault.state();
        let limit = state.limit;
        let store = state.vault(&name);
        let transaction = transaction(store, &segments, request.body());
        store.throttle.admit(limit, transaction, Instant::now())?;
    }
    let call = Call { vault, name: &name, api_version, query, body: request.body() };
    call.route(request.method().as_str(), &segments).await
}

/// As what a request counts, whether it succeeds or not.
fn transaction(store: &Store, segments: &[&str], body: &[u8]) -> Transaction {
    let named = |key, version| store.version(key, version).map(|version| &version.made_of);
    match segments {
        ["keys", _, "create"] => {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            Transaction::Create { hsm: body["kty"].as_str().is_some_and(|kty| kty.ends_with("-HSM")) }
        }
        ["keys", key, "rotate"] => Transaction::Create { hsm: named(key, None).is_ok_and(|made_of| made_of.hsm) },
        ["keys", key, rest @ ..] => {
            let version = rest.first().copied().filter(|version| !version.is_empty());
            let made_of = named(key, version).or_else(|_| named(key, None));
            made_of.map_or(Transaction::OfVault, |made_of| Transaction::OfKey { spec: made_of.spec, hsm: made_of.hsm })
        }
        _ => Transaction::OfVault,
    }
}

/// Identifiers of versions are 32 hexadecimal digits.
fn is_version(segment: &str) -> bool {
    segment.len() == 32 && segment.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The first label of the host name, in lower case.
fn vault_name(headers: &HeaderMap) -> Result<String, VaultError> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let name = host.split(':').next().and_then(|host| host.strip_suffix(".vault.localhost"));
    match name {
        Some(name) if !name.is_empty() && !name.contains('.') => Ok(name.to_owned()),
        _ => Err(VaultError::bad_parameter(format!(
            "The host '{host}' names no vault; use https://{{name}}.vault.localhost and the port."
        ))),
    }
}

fn authorize(vault: &Vault, headers: &HeaderMap) -> Result<(), VaultError> {
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(VaultError::missing_token)?;
    vault.inner.issuer.verify(token, AUDIENCE).map(drop).map_err(|error| VaultError::invalid_token(&error))
}

fn api_version(query: &str) -> Result<&'static str, VaultError> {
    let asked = parameter(query, "api-version").unwrap_or_default();
    if asked.is_empty() {
        return Err(VaultError::bad_parameter("api-version must be specified"));
    }
    API_VERSIONS.into_iter().find(|known| *known == asked).ok_or_else(|| {
        VaultError::bad_parameter(format!(
            "The specified version ({asked}) is not recognized. Consider using the latest supported version (2025-07-01)."
        ))
    })
}

struct Call<'a> {
    vault: &'a Vault,
    name: &'a str,
    api_version: &'static str,
    query: &'a str,
    body: &'a [u8],
}

impl Call<'_> {
    /// An absent version may also be written as an empty segment, which is how the SDKs ask for the newest.
    async fn route(&self, method: &str, segments: &[&str]) -> Result<Value, VaultError> {
        match (method, segments) {
            ("GET", ["keys"] | ["keys", ""]) => self.list_keys(),
            ("GET", ["keys", key] | ["keys", key, ""]) => self.get(key, None),
            ("GET", ["keys", key, "versions"]) => self.list_versions(key),
            ("GET" | "PATCH", ["keys", _, operation]) if !is_version(operation) && !operation.is_empty() => {
                Err(VaultError::operation_not_allowed(method, operation))
            }
            ("GET", ["keys", key, version]) => self.get(key, Some(version)),
            ("POST", ["keys", key, "create"]) => self.create(key).await,
            ("POST", ["keys", key, "rotate"]) => self.rotate(key).await,
            ("POST", ["keys", key, "sign"] | ["keys", key, "", "sign"]) => self.sign(key, None).await,
            ("POST", ["keys", key, version, "sign"]) => self.sign(key, Some(version)).await,
            ("POST", ["keys", key, "verify"] | ["keys", key, "", "verify"]) => self.verify(key, None),
            ("POST", ["keys", key, version, "verify"]) => self.verify(key, Some(version)),
            ("PATCH", ["keys", key] | ["keys", key, ""]) => self.update(key, None),
            ("PATCH", ["keys", key, version]) => self.update(key, Some(version)),
            ("DELETE", ["keys", key]) => {
                self.vault.delete(self.name, key)?;
                self.deleted(key)
            }
            ("GET", ["deletedkeys", key]) => self.deleted(key),
            ("DELETE", ["deletedkeys", key]) => self.vault.state().vault(self.name).purge(key).map(|()| Value::Null),
            ("POST", ["deletedkeys", key, "recover"]) => {
                self.vault.recover(self.name, key)?;
                self.get(key, None)
            }
            (_, ["keys", _, .., operation @ ("create" | "rotate" | "sign" | "verify" | "versions")]) => {
                Err(VaultError::operation_not_allowed(method, operation))
            }
            (_, ["keys" | "deletedkeys"] | ["keys" | "deletedkeys", _]) => Err(VaultError::method_not_allowed(method)),
            _ => Err(VaultError::no_such_resource(&segments.join("/"))),
        }
    }

    fn get(&self, key: &str, version: Option<&str>) -> Result<Value, VaultError> {
        let mut state = self.vault.state();
        let version = state.vault(self.name).spread_version(key, version)?;
        Ok(version.bundle(&self.vault.kid(self.name, key, &version.id)))
    }

    async fn create(&self, key: &str) -> Result<Value, VaultError> {
        let made_of = self.parse::<CreateBody>()?.into_new_version()?;
        let version = self.vault.create(self.name, key, made_of).await?;
        Ok(version.bundle(&self.vault.kid(self.name, key, &version.id)))
    }

    async fn rotate(&self, key: &str) -> Result<Value, VaultError> {
        let version = self.vault.new_version(self.name, key).await?;
        Ok(version.bundle(&self.vault.kid(self.name, key, &version.id)))
    }

    fn update(&self, key: &str, version: Option<&str>) -> Result<Value, VaultError> {
        let UpdateBody { attributes, key_ops, tags } = self.parse()?;
        if let Some(operations) = &key_ops {
            known_operations(operations)?;
        }
        let mut state = self.vault.state();
        let version =
            state.vault(self.name).update(key, version, |made_of| store::apply(made_of, attributes, key_ops, tags))?;
        Ok(version.bundle(&self.vault.kid(self.name, key, &version.id)))
    }

    fn deleted(&self, key: &str) -> Result<Value, VaultError> {
        let mut state = self.vault.state();
        let (version, more) = state.vault(self.name).deleted(key, &self.vault.url(self.name))?;
        let mut bundle = version.bundle(&self.vault.kid(self.name, key, &version.id));
        if let (Value::Object(bundle), Value::Object(more)) = (&mut bundle, more) {
            bundle.extend(more);
        }
        Ok(bundle)
    }

    async fn sign(&self, key: &str, version: Option<&str>) -> Result<Value, VaultError> {
        let SignBody { alg, value } = self.parse()?;
        let (version, kid) = self.permitted(key, version, "sign")?;
        let algorithm = fitting(&alg, &version, &kid)?;
        let digest = digest(algorithm, &alg, &value, "value")?;
        let signature = self.vault.sign(kid.clone(), version, (algorithm, alg), digest).await?;
        Ok(json!({"kid": kid, "value": URL_SAFE_NO_PAD.encode(signature)}))
    }

    fn verify(&self, key: &str, version: Option<&str>) -> Result<Value, VaultError> {
        let VerifyBody { alg, digest: hash, value } = self.parse()?;
        let (version, kid) = self.permitted(key, version, "verify")?;
        let algorithm = fitting(&alg, &version, &kid)?;
        let hash = digest(algorithm, &alg, &hash, "digest")?;
        let signature = base64url(&value, "value")?;
        Ok(json!({"value": version.key.verify(algorithm, &hash, &signature) == Some(true)}))
    }

    fn permitted(&self, key: &str, version: Option<&str>, operation: &str) -> Result<(Version, String), VaultError> {
        let mut state = self.vault.state();
        let version = state.vault(self.name).spread_version(key, version)?;
        version.permits(operation)?;
        Ok((version.clone(), self.vault.kid(self.name, key, &version.id)))
    }

    fn list_keys(&self) -> Result<Value, VaultError> {
        let url = self.vault.url(self.name);
        let mut state = self.vault.state();
        let keys = state.vault(self.name).keys();
        let items =
            keys.map(|(name, version)| (name.to_owned(), version.item(&format!("{url}/keys/{name}")))).collect();
        self.page("/keys", items)
    }

    /// In the order of the version identifiers, which says nothing of their age, as in the service.
    fn list_versions(&self, key: &str) -> Result<Value, VaultError> {
        let mut state = self.vault.state();
        let versions = state.vault(self.name).spread_versions(key)?;
        let items =
            versions.map(|version| (version.id.clone(), version.item(&self.vault.kid(self.name, key, &version.id))));
        self.page(&format!("/keys/{key}/versions"), items.collect())
    }

    fn page(&self, path: &str, items: BTreeMap<String, Value>) -> Result<Value, VaultError> {
        let size = match parameter(self.query, "maxresults") {
            None => LARGEST_PAGE,
            Some(text) => text.parse().ok().filter(|size| (1..=LARGEST_PAGE).contains(size)).ok_or_else(|| {
                VaultError::bad_parameter(format!(
                    "The request URI contains an invalid value for maxresults: {text}; use 1 to {LARGEST_PAGE}."
                ))
            })?,
        };
        let after = match parameter(self.query, "$skiptoken") {
            None => None,
            Some(token) => Some(
                String::from_utf8(base64url(&token, "$skiptoken")?)
                    .map_err(|_| VaultError::bad_parameter("The request URI contains an invalid $skiptoken."))?,
            ),
        };
        let mut rest =
            items.into_iter().filter(|(id, _)| after.as_deref().is_none_or(|after| id.as_str() > after)).peekable();
        let mut last = String::new();
        let mut value = Vec::new();
        while value.len() < size
            && let Some((id, item)) = rest.next()
        {
            value.push(item);
            last = id;
        }
        let next = rest.peek().map(|_| {
            let (url, version, token) = (self.vault.url(self.name), self.api_version, URL_SAFE_NO_PAD.encode(last));
            format!("{url}{path}?api-version={version}&$skiptoken={token}&maxresults={size}")
        });
        Ok(json!({"value": value, "nextLink": next}))
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, VaultError> {
        serde_json::from_slice(self.body)
            .map_err(|error| VaultError::bad_parameter(format!("The request body is not valid: {error}")))
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}
