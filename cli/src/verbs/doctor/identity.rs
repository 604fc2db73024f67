//! Who asks, and whether there are tokens for it. Of a token nothing is said but whose it is and how long it lives.

use std::time::Duration;

use azure_core::{credentials::TokenCredential, http::Transport, time::OffsetDateTime};
use serde_json::Value;
use signet_azure::identity::Source;
use signet_core::base64;
use tokio::time::timeout;

use super::{
    report::Report,
    rights::{Asker, SAY_WHO},
};
use crate::settings::{self, given};

const PATIENCE: Duration = Duration::from_secs(45);
/// Of a token that is good for less, the handler would have to fetch one again and again.
const SHORTEST_LIFE: time::Duration = time::Duration::minutes(5);

/// Whom roles are given to.
#[derive(Clone, Debug, Default)]
pub(super) struct Principal {
    /// As whom it asks, where that can be told.
    pub(super) asker: Option<Asker>,
    object_id: Option<String>,
    kind: &'static str,
}

/// What a token is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Person,
    /// A service principal, which a managed identity is, too.
    Application,
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

/// Fetches a token for one audience, and says whose it is. Whether the handler pulls decides what is said of its identity.
pub(super) async fn check(
    resource: &str,
    is_pulled: bool,
    transport: &Transport,
    report: &mut Report,
) -> Option<Principal> {
    let name = format!("token for {resource}");
    let scope = format!("{resource}/.default");
    let token = async {
        let credential = settings::identity(transport).map_err(|error| error.to_string())?.credential();
        let scopes = [scope.as_str()];
        let fetched = timeout(PATIENCE, credential.get_token(&scopes, None)).await;
        let token = fetched.map_err(|_| "no answer in 45 s".to_owned())?.map_err(|error| error.to_string())?;
        // What the token itself has is the end that the SDK's clients are told, which is a near one.
        Ok::<_, String>((credential.expires_on().unwrap_or(token.expires_on), token))
    };
    let (expires_on, token) = match token.await {
        Ok(token) => token,
        Err(why) => {
            let remedy = match Source::choose(given) {
                Ok(Source::ManagedIdentity) if is_pulled => {
                    "az containerapp identity assign -g GROUP -n APP --user-assigned IDENTITY; AZURE_CLIENT_ID is its client id"
                }
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
    let life = expires_on - OffsetDateTime::now_utc();
    let detail = format!("{}, for {} min", who(&claims), life.whole_minutes());
    if life < SHORTEST_LIFE {
        report.warning(name, detail, "check this machine's clock, and the identity endpoint");
    } else {
        report.ok(name, detail);
    }
    let nature = nature(&claims);
    let kind = if nature == Some(Nature::Application) { "ServicePrincipal" } else { "User" };
    Some(Principal {
        asker: asker(nature, Source::choose(given).ok().as_ref()),
        object_id: claim(&claims, "oid"),
        kind,
    })
}

/// Says as whom all is tried that follows, and why. `wish` is the option's.
pub(super) fn check_asker<'a>(
    wish: Option<Asker>,
    principals: impl Iterator<Item = &'a Principal> + Clone,
    report: &mut Report,
) -> Option<Asker> {
    let mut askers = principals.clone().filter_map(|principal| principal.asker);
    // One credential has fetched all tokens; of those that say less than others, nothing follows.
    let asker = wish.or_else(|| askers.clone().find(|asker| *asker == Asker::Operator)).or_else(|| askers.next());
    let why = if wish.is_some() { "by --as" } else { "by the token" };
    let name = "asks as";
    match asker {
        Some(Asker::App) => report.ok(name, format!("the app, {why}: each right must be there")),
        Some(Asker::Operator) => {
            report.ok(name, format!("an operator, {why}: rights that are the app's alone are tried, and not missed"));
        }
        None if principals.count() == 0 => {}
        None => {
            let detail = "nobody knows: an identity that is no person's, from a developer's tool, is the app's, or a \
                          pipeline's that only sends and reads";
            report.warning(name, detail, SAY_WHO);
        }
    }
    report.asks_as(asker);
    asker
}

/// What a token is of, by what it says (<https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>);
/// nothing where it does not say.
fn nature(claims: &Value) -> Option<Nature> {
    let has = |name: &str| claims[name].as_str().is_some_and(|value| !value.is_empty());
    match claims["idtyp"].as_str() {
        Some("app") => Some(Nature::Application),
        Some("user") => Some(Nature::Person),
        // A client that acts in somebody's name has scopes; one that acts in its own is its own subject.
        _ if ["scp", "upn", "unique_name"].into_iter().any(has) => Some(Nature::Person),
        _ if has("oid") && claims["oid"] == claims["sub"] => Some(Nature::Application),
        _ => None,
    }
}

/// A person is an operator, and what the platform gives to an app is the app's. A service principal that is signed in to a
/// developer's tool may be the app's, or a pipeline's.
fn asker(nature: Option<Nature>, source: Option<&Source>) -> Option<Asker> {
    match (nature, source) {
        (Some(Nature::Person), _) => Some(Asker::Operator),
        (_, Some(Source::ManagedIdentity | Source::WorkloadIdentity)) => Some(Asker::App),
        _ => None,
    }
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
        let principal = Principal { object_id: Some("0-1".to_owned()), kind: "User", asker: None };
        let command = principal.role("Key Vault Reader", "SCOPE");
        assert!(command.contains("--assignee-object-id 0-1 --assignee-principal-type User"), "{command}");
        assert!(Principal::default().role("R", "S").contains("PRINCIPAL_ID"));
    }

    #[test]
    fn a_person_is_told_from_an_application() {
        let person = Some(Nature::Person);
        let application = Some(Nature::Application);
        for (claims, expected) in [
            (json!({"idtyp": "user", "oid": "1", "sub": "1"}), person),
            (json!({"idtyp": "app", "scp": "x"}), application),
            (json!({"scp": "user_impersonation", "oid": "1", "sub": "2"}), person),
            (json!({"upn": "a@b.example"}), person),
            (json!({"unique_name": "live.com#a@b.example"}), person),
            (json!({"appid": "0", "oid": "1", "sub": "1"}), application),
            (json!({"appid": "0", "oid": "1", "sub": "2", "scp": ""}), None),
            (json!({"appid": "0"}), None),
            (Value::Null, None),
        ] {
            assert_eq!(nature(&claims), expected, "{claims}");
        }
        for (nature, source, expected) in [
            (person, Source::AzureCli, Some(Asker::Operator)),
            (person, Source::ManagedIdentity, Some(Asker::Operator)),
            (application, Source::ManagedIdentity, Some(Asker::App)),
            (None, Source::WorkloadIdentity, Some(Asker::App)),
            (application, Source::DeveloperTools, None),
            (None, Source::AzureDeveloperCli, None),
        ] {
            assert_eq!(asker(nature, Some(&source)), expected, "{nature:?} {source:?}");
        }
    }
}
