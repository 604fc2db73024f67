//! The vault's refusals, in the shape and with the codes of the service.

use std::{error::Error, fmt};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    header::{HeaderValue, WWW_AUTHENTICATE},
};
use serde_json::json;

use crate::local::{
    identity::{TENANT_ID, TokenError},
    listener,
};

use super::AUDIENCE;

/// Why the vault refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultError {
    /// HTTP status.
    pub status: u16,
    /// `error.code`.
    pub code: &'static str,
    /// `error.message`.
    pub message: String,
    /// `error.innererror.code`.
    pub inner: Option<&'static str>,
    challenge: Option<Challenge>,
}

/// What is wrong with the token, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Challenge(Option<String>);

impl VaultError {
    pub(super) fn missing_token() -> Self {
        let message = "AKV10000: Request is missing a Bearer or PoP token.".to_owned();
        Self { challenge: Some(Challenge(None)), ..Self::new(401, "Unauthorized", message, None) }
    }

    pub(super) fn invalid_token(error: &TokenError) -> Self {
        let message = match error {
            TokenError::Malformed => "[BearerReadAccessTokenFailed] Error reading access token: 'S2S12005'.".to_owned(),
            TokenError::Signature => "AKV10046: Unable to resolve the key used for signature validation.".to_owned(),
            TokenError::Audience(found) => {
                format!("AKV10022: Invalid audience. Expected {AUDIENCE}, found: {found}.")
            }
            TokenError::Lifetime => "[TokenExpired] Error validating token: 'S2S12086'.".to_owned(),
        };
        Self { challenge: Some(Challenge(Some(message.clone()))), ..Self::new(401, "Unauthorized", message, None) }
    }

    pub(super) fn bad_parameter(message: impl Into<String>) -> Self {
        Self::new(400, "BadParameter", message, None)
    }

    pub(super) fn bad_key_type(kty: &str) -> Self {
        Self::new(400, "BadParameter", format!("Invalid kty value: {kty}"), Some("KeyTypeNotSupported"))
    }

    pub(super) fn key_not_found(name: &str) -> Self {
        let message = format!(
            "A key with (name/id) {name} was not found in this key vault. If you recently deleted this key you may be \
             able to recover it using the correct recovery command. For help resolving this issue, please see \
             https://go.microsoft.com/fwlink/?linkid=2125182"
        );
        Self::new(404, "KeyNotFound", message, None)
    }

    pub(super) fn deleted_key_not_found(name: &str) -> Self {
        Self::new(404, "KeyNotFound", format!("Deleted Key not found: {name}"), None)
    }

    pub(super) fn deleted_but_recoverable(name: &str) -> Self {
        let message = format!(
            "Key {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, \
             the key can only be recovered or purged."
        );
        Self::new(409, "Conflict", message, Some("ObjectIsDeletedButRecoverable"))
    }

    pub(super) fn forbidden(message: impl Into<String>, inner: &'static str) -> Self {
        Self::new(403, "Forbidden", message, Some(inner))
    }

    /// With no `Retry-After`: the service's answers to `sign`, as clients logged them in full in 2021 (dotnet/sign#403) and
    /// 2023 (vcsjones/AzureSignTool#219), have none, and its throttling guidance is to wait 1, 2, 4, 8, 16 seconds.
    pub(super) fn throttled() -> Self {
        let message = "Request was not processed because too many requests were received. Reason: \
                       VaultRequestTypeLimitReached";
        Self::new(429, "Throttled", message, None)
    }

    /// Also what the service answers where the path has something else in the place of a version (notaryproject/ratify's
    /// documents have such an answer, to `GET …/invalidVersion`).
    pub(super) fn operation_not_allowed(method: &str, operation: &str) -> Self {
        Self::bad_parameter(format!("Method {method} does not allow operation '{operation}'"))
    }

    pub(super) fn method_not_allowed(method: &str) -> Self {
        Self::new(405, "MethodNotAllowed", format!("The local vault has no method {method} for this resource"), None)
    }

    pub(super) fn no_such_resource(path: &str) -> Self {
        Self::new(404, "NotFound", format!("The local vault has no resource /{path}"), None)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalServerError", message, None)
    }

    /// The response that says so.
    pub(super) fn to_response(&self) -> Response<Bytes> {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(inner) = self.inner {
            error["innererror"] = json!({"code": inner});
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = listener::json(status, &json!({"error": error}));
        if let Some(Challenge(invalid)) = &self.challenge
            && let Ok(value) = HeaderValue::try_from(challenge(invalid.as_deref()))
        {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        response
    }

    fn new(status: u16, code: &'static str, message: impl Into<String>, inner: Option<&'static str>) -> Self {
        Self { status, code, message: message.into(), inner, challenge: None }
    }
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}

impl Error for VaultError {}

/// "Authentication, requests and responses" of Key Vault: the challenge names the authority and the resource.
fn challenge(invalid: Option<&str>) -> String {
    let known = format!("Bearer authorization=\"https://login.localhost/{TENANT_ID}\", resource=\"{AUDIENCE}\"");
    match invalid.map(|description| description.replace('"', "'")) {
        None => known,
        Some(description) => format!("{known}, error=\"invalid_token\", error_description=\"{description}\""),
    }
}
