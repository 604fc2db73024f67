//! Who Signet is, towards Entra ID: one credential per audience, refreshed in the background before it is needed.
//!
//! A token is fetched once however many callers wait for it, replaced at half its life, and used as long as it is valid
//! even if every refresh fails meanwhile. Callers never wait for a refresh while a valid token is there. The SDK's clients, which
//! would keep a token of their own until shortly before its end, are made to ask for it each time.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use azure_core::{
    Error,
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::Transport,
    time::OffsetDateTime,
};
use azure_identity::{
    AzureCliCredential, AzureDeveloperCliCredential, ClientAssertionCredentialOptions, DeveloperToolsCredential,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use once_cell::sync::OnceCell;
use tokio::sync::{Notify, watch};

use crate::{
    client_options,
    failure::{Failure, until},
};

/// The audience of Azure Storage, the same in every cloud.
pub const STORAGE_SCOPE: &str = "https://storage.azure.com/.default";

/// Where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The platform's endpoint: App Service and Functions, Container Apps, or a virtual machine's.
    ManagedIdentity,
    /// A Kubernetes service account's token, exchanged at Entra ID.
    WorkloadIdentity,
    /// Azure CLI, then Azure Developer CLI.
    DeveloperTools,
    /// `az` alone.
    AzureCli,
    /// `azd` alone.
    AzureDeveloperCli,
}

impl Source {
    /// Chooses by `AZURE_TOKEN_CREDENTIALS` (`prod`, `dev` or one credential's name), else by what the platform offers.
    ///
    /// # Errors
    /// A value that names no credential of ours; the message lists those that there are.
    pub fn choose(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        let platform = if set("IDENTITY_ENDPOINT") {
            Some(Self::ManagedIdentity)
        } else if set("AZURE_FEDERATED_TOKEN_FILE") {
            Some(Self::WorkloadIdentity)
        } else {
            None
        };
        let wish = variable("AZURE_TOKEN_CREDENTIALS").unwrap_or_default();
        match wish.trim().to_ascii_lowercase().as_str() {
            "" => Ok(platform.unwrap_or(Self::DeveloperTools)),
            "prod" => Ok(platform.unwrap_or(Self::ManagedIdentity)),
            "dev" | "developertoolscredential" => Ok(Self::DeveloperTools),
            "managedidentitycredential" => Ok(Self::ManagedIdentity),
            "workloadidentitycredential" => Ok(Self::WorkloadIdentity),
            "azureclicredential" => Ok(Self::AzureCli),
            "azuredeveloperclicredential" => Ok(Self::AzureDeveloperCli),
            _ => Err(format!(
                "`{wish}` names no credential here; use prod, dev, ManagedIdentityCredential, WorkloadIdentityCredential, \
                 AzureCliCredential or AzureDeveloperCliCredential"
            )),
        }
    }
}

/// An identity from which credentials are made.
#[derive(Clone, Debug)]
pub struct Identity {
    source: Source,
    client_id: Option<String>,
    transport: Transport,
}

impl Identity {
    /// `client_id` is that of a user-assigned managed identity (or of the workload identity's application).
    #[must_use]
    pub fn new(source: Source, client_id: Option<String>, transport: Transport) -> Self {
        Self { source, client_id, transport }
    }

    /// A credential for one audience: whichever it is first asked for.
    #[must_use]
    pub fn credential(&self) -> Arc<Credential> {
        Arc::new(Credential { shared: Arc::new(Shared::new(self.clone())), scope: OnceCell::new() })
    }

    /// The SDK's own credential, made anew for each fetch: each keeps a cache of its own that would otherwise hand back
    /// the very token that is to be replaced.
    fn sdk_credential(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let options = client_options(&self.transport);
        let client_id = self.client_id.clone();
        Ok(match self.source {
            Source::ManagedIdentity => ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: client_id.map(UserAssignedId::ClientId),
                client_options: options,
            }))?,
            Source::WorkloadIdentity => WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options: options },
                client_id,
                ..WorkloadIdentityCredentialOptions::default()
            }))?,
            Source::DeveloperTools => DeveloperToolsCredential::new(None)?,
            Source::AzureCli => AzureCliCredential::new(None)?,
            Source::AzureDeveloperCli => AzureDeveloperCliCredential::new(None)?,
        })
    }

    async fn fetch(&self, scope: &str) -> azure_core::Result<AccessToken> {
        self.sdk_credential()?.get_token(&[scope], None).await
    }
}

/// A credential for one audience, with its token kept fresh by a task of its own.
pub struct Credential {
    shared: Arc<Shared>,
    scope: OnceCell<String>,
}

struct Shared {
    identity: Identity,
    state: watch::Sender<State>,
    refresh_now: Notify,
}

/// `failure` is that of the newest attempt; `token` is the newest that was got.
#[derive(Clone, Default)]
struct State {
    token: Option<AccessToken>,
    failure: Option<Failure>,
    fetching: bool,
}

impl Shared {
    fn new(identity: Identity) -> Self {
        Self { identity, state: watch::Sender::new(State::default()), refresh_now: Notify::new() }
    }
}

impl Credential {
    /// Forgets a token that a service has refused, so that the next one is fetched now.
    pub fn distrust(&self) {
        self.shared.state.send_modify(|state| state.token = None);
        self.shared.refresh_now.notify_one();
    }

    /// When the token in use is over; `None` while there is none.
    #[must_use]
    pub fn expires_on(&self) -> Option<OffsetDateTime> {
        self.shared.state.borrow().token.as_ref().map(|token| token.expires_on)
    }

    fn keep_fresh(&self, scope: &str) -> azure_core::Result<()> {
        let mine = self.scope.get_or_init(|| {
            self.shared.state.send_modify(|state| state.fetching = true);
            tokio::spawn(keep_fresh(Arc::clone(&self.shared), scope.to_owned()));
            scope.to_owned()
        });
        if mine == scope {
            return Ok(());
        }
        let message = format!("a credential for {mine} was asked for a token for {scope}");
        Err(Error::with_message(ErrorKind::Credential, message))
    }
}

#[async_trait]
impl TokenCredential for Credential {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let [scope] = scopes else {
            return Err(Error::with_message(ErrorKind::Credential, "exactly one scope is needed"));
        };
        self.keep_fresh(scope)?;
        let mut changes = self.shared.state.subscribe();
        loop {
            {
                let state = changes.borrow_and_update();
                match (&state.token, &state.failure) {
                    (Some(token), _) if token.expires_on > OffsetDateTime::now_utc() => return Ok(for_now(token)),
                    (_, Some(failure)) if !state.fetching => return Err(no_token(scope, failure)),
                    // An expired token and no attempt under way: the machine slept past the refresh.
                    (Some(_), None) if !state.fetching => self.shared.refresh_now.notify_one(),
                    _ => {}
                }
            }
            if changes.changed().await.is_err() {
                return Err(Error::with_message(ErrorKind::Credential, "the runtime is ending"));
            }
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// The token as one that is about to end: else the SDK would go on with it after it was replaced, or forgotten as one that a service
/// had refused with another status than 401.
fn for_now(token: &AccessToken) -> AccessToken {
    let soon = OffsetDateTime::now_utc().checked_add(SDK_REFRESHES_BEFORE).unwrap_or(token.expires_on);
    AccessToken { token: token.token.clone(), expires_on: token.expires_on.min(soon) }
}

/// The SDK asks again for a token with no more time than this (`azure_core` 1.1, `BearerTokenAuthorizationPolicy`).
const SDK_REFRESHES_BEFORE: azure_core::time::Duration = azure_core::time::Duration::minutes(5);

fn no_token(scope: &str, failure: &Failure) -> Error {
    let message = format!("no token for {scope}: {}", failure.message);
    Error::with_message(ErrorKind::Credential, message)
}

/// Fetches, waits for half the token's life, and fetches again, for ever.
async fn keep_fresh(shared: Arc<Shared>, scope: String) {
    let mut failures = 0;
    loop {
        shared.state.send_modify(|state| state.fetching = true);
        let fetched = shared.identity.fetch(&scope).await.and_then(not_over);
        let wait = match fetched {
            Ok(token) => {
                failures = 0;
                let wait = until_refresh(token.expires_on);
                tracing::debug!(scope, refresh_in_s = wait.as_secs(), "token");
                let state = State { token: Some(token), failure: None, fetching: false };
                shared.state.send_replace(state);
                wait
            }
            Err(error) => {
                failures = u32::saturating_add(failures, 1);
                let failure = Failure::from(&error);
                let wait = backoff(failures).max(failure.retry_after.unwrap_or_default().min(LONGEST_BACKOFF));
                tracing::warn!(scope, failures, retry_in_ms = wait.as_millis(), error = failure.message, "no token");
                shared.state.send_modify(|state| {
                    state.failure = Some(failure);
                    state.fetching = false;
                });
                wait
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = forced(&shared) => {}
        }
    }
}

/// What is over as it comes would be waited for again and again without a word.
fn not_over(token: AccessToken) -> azure_core::Result<AccessToken> {
    let now = OffsetDateTime::now_utc();
    if token.expires_on > now {
        return Ok(token);
    }
    let message = format!(
        "the token that came was over at {}, and it is {now} by this machine's clock; is that right?",
        token.expires_on
    );
    Err(Error::with_message(ErrorKind::Credential, message))
}

/// A refresh out of turn, at most one in [`SHORTEST_REFRESH`]: the platform may hand back the token that was refused.
async fn forced(shared: &Shared) {
    tokio::time::sleep(SHORTEST_REFRESH).await;
    shared.refresh_now.notified().await;
}

const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

/// Half the remaining life, which for every lifetime over ten minutes is before the SDK would fetch one inline.
#[expect(clippy::arithmetic_side_effects, reason = "two is not zero")]
fn until_refresh(expires_on: OffsetDateTime) -> Duration {
    let life = until(expires_on).unwrap_or_default();
    (life / 2).max(SHORTEST_REFRESH)
}

/// 250 ms, doubled by each failure in a row, up to a minute.
fn backoff(failures: u32) -> Duration {
    Duration::from_millis(250).saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(variables: &[(&str, &str)]) -> Result<Source, String> {
        Source::choose(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_platform_decides_unless_told_otherwise() {
        assert_eq!(choose(&[]), Ok(Source::DeveloperTools));
        assert_eq!(choose(&[("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")]), Ok(Source::ManagedIdentity));
        assert_eq!(choose(&[("AZURE_FEDERATED_TOKEN_FILE", "/t")]), Ok(Source::WorkloadIdentity));
        let both = [("IDENTITY_ENDPOINT", "http://127.0.0.1:1"), ("AZURE_FEDERATED_TOKEN_FILE", "/t")];
        assert_eq!(choose(&both), Ok(Source::ManagedIdentity));
        assert_eq!(choose(&[("AZURE_TOKEN_CREDENTIALS", "prod")]), Ok(Source::ManagedIdentity));
        assert_eq!(
            choose(&[("AZURE_TOKEN_CREDENTIALS", "dev"), ("IDENTITY_ENDPOINT", "x")]),
            Ok(Source::DeveloperTools)
        );
        assert_eq!(choose(&[("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")]), Ok(Source::AzureCli));
    }

    #[test]
    fn an_unknown_credential_is_named_with_the_known_ones() {
        let error = choose(&[("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")]).expect_err("not ours");
        assert!(error.contains("EnvironmentCredential") && error.contains("AzureCliCredential"), "{error}");
    }

    #[test]
    fn refreshes_come_early_and_retries_slow_down() {
        let in_an_hour = OffsetDateTime::now_utc() + azure_core::time::Duration::hours(1);
        assert_eq!(until_refresh(in_an_hour).as_secs() / 60, 29);
        assert_eq!(backoff(1), Duration::from_millis(250));
        assert_eq!(backoff(3), Duration::from_secs(1));
        assert_eq!(backoff(40), LONGEST_BACKOFF);
        assert_eq!((backoff(0), backoff(u32::MAX)), (backoff(1), LONGEST_BACKOFF));
    }

    #[tokio::test]
    async fn a_token_that_never_expires_or_always_had_is_waited_for() {
        let at = |seconds| until_refresh(OffsetDateTime::from_unix_timestamp(seconds).expect("a date"));
        for never in [253_402_300_799, 100_000_000_000] {
            let wait = tokio::time::sleep(at(never));
            assert!(tokio::time::timeout(Duration::from_millis(1), wait).await.is_err(), "{never}");
        }
        for passed in [-62_135_596_800, 0] {
            assert_eq!(at(passed), SHORTEST_REFRESH, "{passed}");
        }
    }
}
