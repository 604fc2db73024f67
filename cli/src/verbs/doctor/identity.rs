//! Who asks, and whether there are tokens for it. Of a token nothing is said but whose it is and how long it lives.

use std::time::Duration;

use azure_core::{credentials::TokenCredential, http::Transport, time::OffsetDateTime};
use serde_json::Value;
use signet_azure::identity::Source;
use signet_core::base64;
use tokio::time::timeout;

use super::report::Report;
use crate::settings::{self, given};

const PATIENCE: Duration = Duration::from_secs(45);
/// Of a token that is good for less, the handler would have to fetch one again and again.
const SHORTEST_LIFE: time::Duration = time::Duration::minutes(5);

/// Whom roles are given to.
#[derive(Clone, Debug, Default)]
pub(super) struct Principal {
    object_id: Option<String>,
    kind: &'static str,
}

impl Principal {
    /// The command that gives it a role. `scope` is the id of a resource, or a command in place of it.
    pub(super) fn role(&self, role: &str, scope: &str) -> String {
        let (id, kind) = match &self.object_id {
            Some(id) => (id.as_str(), self.kind),
            None => ("PRINCIPAL_ID", "ServicePrincipal"),
        };
        format!(
            "az role assignment create --role \"{role}\" --assignee-object-id {id} --assignee-principal-type {kind} \
             --scope \"{scope}\""
        )
    }
}

/// The credential that the settings choose, in words.
pub(super) fn chosen() -> String {
    let source = match Source::choose(given) {
        Ok(Source::ManagedIdentity) => "managed identity",
        Ok(Source::WorkloadIdentity) => "workload identity",
        Ok(Source::DeveloperTools) => "who is signed in to Azure CLI or Azure Developer CLI",
        Ok(Source::AzureCli) => "who is signed in to Azure CLI",
        Ok(Source::AzureDeveloperCli) => "who is signed in to Azure Developer CLI",
        Err(why) => return format!("none: {why}"),
    };
    match given("AZURE_CLIENT_ID") {
        Some(id) => format!("{source}, client id {id}"),
        None => source.to_owned(),
    }
}

/// Fetches a token for one audience, and says whose it is.
pub(super) async fn check(resource: &str, transport: &Transport, report: &mut Report) -> Option<Principal> {
    let name = format!("token for {resource}");
    let scope = format!("{resource}/.default");
    let token = async {
        let credential = settings::identity(transport).map_err(|error| error.to_string())?.credential();
        let scopes = [scope.as_str()];
        let fetched = timeout(PATIENCE, credential.get_token(&scopes, None)).await;
        fetched.map_err(|_| "no answer in 45 s".to_owned())?.map_err(|error| error.to_string())
    };
    let token = match token.await {
        Ok(token) => token,
        Err(why) => {
            let remedy = match Source::choose(given) {
                Ok(Source::ManagedIdentity) => {
                    "az functionapp identity assign -g GROUP -n APP; for a user-assigned identity, AZURE_CLIENT_ID is its client id"
                }
                Ok(Source::WorkloadIdentity) => {
                    "check the service account's annotations and the federated credential of the identity"
                }
                _ => "az login",
            };
            report.failure(name, why, remedy);
            return None;
        }
    };
    let claims = claims(token.token.secret()).unwrap_or_default();
    let life = token.expires_on - OffsetDateTime::now_utc();
    let detail = format!("{}, for {} min", who(&claims), life.whole_minutes());
    if life < SHORTEST_LIFE {
        report.warning(name, detail, "check this machine's clock, and the identity endpoint");
    } else {
        report.ok(name, detail);
    }
    let kind = if claims["idtyp"] == "app" { "ServicePrincipal" } else { "User" };
    Some(Principal { object_id: claim(&claims, "oid"), kind })
}

/// What a token says, which is checked by whom it is for.
fn claims(token: &str) -> Option<Value> {
    serde_json::from_slice(&base64::decode_url(token.split('.').nth(1)?)?).ok()
}

/// Whose a token is: names and ids, no more.
fn who(claims: &Value) -> String {
    let known = [("upn", "user"), ("unique_name", "user"), ("appid", "client id"), ("oid", "object id")];
    let mut said: Vec<String> =
        known.into_iter().filter_map(|(name, word)| Some(format!("{word} {}", claim(claims, name)?))).collect();
    said.dedup();
    if said.is_empty() { "of an identity that it does not name".to_owned() } else { said.join(", ") }
}

/// A claim that is safe in a command.
fn claim(claims: &Value, name: &str) -> Option<String> {
    let value = claims[name].as_str()?;
    let is_safe = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._@#".contains(&byte));
    (is_safe && !value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_token_only_names_are_said() {
        let part = |claims: Value| base64::encode_url(claims.to_string().as_bytes());
        let token = |claims| format!("{}.{}.c2ln", part(json!({"alg": "RS256"})), part(claims));
        let read = claims(&token(json!({"oid": "0-1", "appid": "2-3", "idtyp": "app", "uti": "secret"}))).unwrap();
        assert_eq!(who(&read), "client id 2-3, object id 0-1");
        let hostile = claims(&token(json!({"oid": "x\"; rm -rf ~", "upn": "a@b.example"}))).unwrap();
        assert_eq!(who(&hostile), "user a@b.example");
        for opaque in ["", "opaque", "a.b.c"] {
            assert_eq!(claims(opaque), None, "{opaque}");
        }
        let principal = Principal { object_id: Some("0-1".to_owned()), kind: "User" };
        let command = principal.role("Key Vault Crypto User", "SCOPE");
        assert!(command.contains("--assignee-object-id 0-1 --assignee-principal-type User"), "{command}");
        assert!(Principal::default().role("R", "S").contains("PRINCIPAL_ID"));
    }
}
