//! A vault to be checked: its address, how to get a token for it, whom to trust; and how it is asked.

use std::{
    io::{self, Write as _},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::{Context, Method, Request, Transport, Url},
    time::{Duration as Seconds, OffsetDateTime},
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use serde_json::{Value, json};
use signet::{
    local::{
        identity::{Issuer, SYSTEM_ASSIGNED},
        vault::{AUDIENCE, Vault},
    },
    remote::LARGEST_ANSWER,
};
use signet_azure::{client_options, roots::Roots, transport::transport};
use signet_core::base64;
use tokio::process::Command;

use crate::difference::Difference;

/// The version that the SDK's client speaks.
pub(crate) const API_VERSION: &str = "2025-07-01";

/// How often a request that is throttled is sent again; the service lets 20 software keys be made in ten seconds.
const THROTTLED_TRIES: u32 = 6;

pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Of the vault, without a slash at its end.
    pub(crate) url: String,
    tokens: Tokens,
    transport: Transport,
    differences: &'static [Difference],
    /// Names this run's keys, so that those of another are not in their way.
    run: String,
    keys: AtomicU32,
    /// The local vault, which makes RSA keys of 4096 bits in more time than a request has.
    pub(crate) local: Option<Vault>,
    /// What must live as long as the vault: its process, its listener, its files.
    _alive: Box<dyn Send + Sync>,
}

pub(crate) enum Tokens {
    /// Of the local identity.
    Issuer(Issuer),
    /// Always this one.
    Fixed(String),
    /// Of the Azure CLI, for this resource.
    AzureCli(&'static str),
}

/// What a vault answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// Null when it is empty.
    pub(crate) body: Value,
}

impl Target {
    pub(crate) fn new(
        name: &'static str,
        url: String,
        tokens: Tokens,
        roots: &Roots,
        alive: impl Send + Sync + 'static,
    ) -> Self {
        let run = OffsetDateTime::now_utc().unix_timestamp_nanos() % 1_000_000_000_000_000;
        Self {
            name,
            url,
            tokens,
            transport: transport(roots, LARGEST_ANSWER),
            differences: &[],
            local: None,
            run: format!("contract-{run:x}"),
            keys: AtomicU32::new(0),
            _alive: Box::new(alive),
        }
    }

    pub(crate) fn with(self, differences: &'static [Difference]) -> Self {
        Self { differences, ..self }
    }

    pub(crate) fn made_by(self, vault: Vault) -> Self {
        Self { local: Some(vault), ..self }
    }

    pub(crate) fn differs(&self, difference: Difference) -> bool {
        self.differences.contains(&difference)
    }

    /// A condition that every vault meets, but for those that are known to be different: these must not meet it.
    #[track_caller]
    pub(crate) fn expect(&self, difference: Difference, condition: bool, what: impl FnOnce() -> String) {
        if self.differs(difference) {
            assert!(!condition, "{difference:?} is no difference any longer: {}", what());
        } else {
            assert!(condition, "{}", what());
        }
    }

    /// The name of a new key.
    pub(crate) fn key_name(&self) -> String {
        format!("{}-{}", self.run, self.keys.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a key of a new name that signs and verifies; gives its name and the answer's body.
    pub(crate) async fn create(&self, body: Value) -> (String, Value) {
        let name = self.key_name();
        let bundle = self.create_version(&name, body).await;
        (name, bundle)
    }

    /// Makes a version of a key that signs and verifies, unless the body says otherwise; gives the answer's body.
    pub(crate) async fn create_version(&self, name: &str, mut body: Value) -> Value {
        if body["key_ops"].is_null() {
            body["key_ops"] = json!(["sign", "verify"]);
        }
        let answer = self.ask("POST", &format!("/keys/{name}/create"), body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Deletes and purges what the run has made, as far as the vault lets it.
    pub(crate) async fn clean_up(&self) {
        let names: Vec<_> =
            (0..self.keys.load(Ordering::Relaxed)).map(|number| format!("{}-{number}", self.run)).collect();
        for name in &names {
            self.ask("DELETE", &format!("/keys/{name}"), Value::Null).await;
        }
        for name in &names {
            // The service takes some seconds to delete a key; one that is purged too soon is answered 409.
            for _ in 0..30 {
                if self.ask("DELETE", &format!("/deletedkeys/{name}"), Value::Null).await.status != 409 {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Asks with a token and the API version.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let separator = if path.contains('?') { '&' } else { '?' };
        let token = self.token().await;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(method, &format!("{path}{separator}api-version={API_VERSION}"), Some(&token), &body).await
    }

    pub(crate) async fn raw(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Answer {
        let mut tries = 0;
        loop {
            let answer = self.once(method, path, token, body).await;
            tries += 1;
            if answer.status != 429 || tries == THROTTLED_TRIES {
                return answer;
            }
            tokio::time::sleep(Duration::from_secs(1 << tries)).await;
        }
    }

    async fn once(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Answer {
        let url = Url::parse(&format!("{}{path}", self.url)).expect("a URL");
        let mut request = Request::new(url, method.parse::<Method>().expect("a method"));
        if let Some(token) = token {
            request.insert_header("authorization", format!("Bearer {token}"));
        }
        request.insert_header("content-type", "application/json");
        request.insert_header("content-length", body.len().to_string());
        request.set_body(body.to_owned());
        let response = self.transport.send(&Context::new(), &mut request).await.expect("an answer");
        let (status, headers, body) = response.deconstruct();
        let bytes = body.collect().await.expect("a whole answer");
        Answer {
            status: status.into(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
                .collect(),
            body: if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") },
        }
    }

    pub(crate) async fn token(&self) -> String {
        self.tokens.token().await.expect("a token")
    }

    /// The SDK's client, which checks that the challenge is for the vault's domain.
    pub(crate) fn client(&self) -> KeyClient {
        let options =
            KeyClientOptions { client_options: client_options(&self.transport), ..KeyClientOptions::default() };
        let credential = Arc::new(self.tokens.clone());
        KeyClient::new(&self.url, credential, Some(options)).expect("a client")
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// That the request was refused with this status, `error.code` and `error.innererror.code`.
    #[track_caller]
    pub(crate) fn refused(&self, target: &Target, status: u16, code: &str, inner: Option<&str>) {
        let error = &self.body["error"];
        assert_eq!(self.status, status, "{self:?}");
        let found = (error["code"].as_str(), error["innererror"]["code"].as_str());
        let told = error["message"].is_string() && found == (Some(code), inner);
        target.expect(Difference::ErrorBodies, told, || format!("{code}, {inner:?} is expected: {self:?}"));
    }

    /// The same, but for a vault that is known to give another status.
    #[track_caller]
    pub(crate) fn refused_unless(
        &self,
        difference: Difference,
        target: &Target,
        status: u16,
        code: &str,
        inner: Option<&str>,
    ) {
        if target.differs(difference) {
            assert_ne!(self.status, status, "{difference:?} is no difference any longer: {self:?}");
        } else {
            self.refused(target, status, code, inner);
        }
    }

    /// The version at the end of a key identifier in the body.
    pub(crate) fn version(&self) -> &str {
        version_of(&self.body)
    }
}

/// The version of a key bundle or of the result of an operation.
pub(crate) fn version_of(body: &Value) -> &str {
    let kid = body["key"]["kid"].as_str().or(body["kid"].as_str()).expect("a key identifier");
    kid.rsplit('/').next().expect("a version")
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    base64::encode_url(bytes)
}

/// Says so even where the output of tests that pass is not shown.
pub(crate) fn not_checked(what: &str) {
    writeln!(io::stderr(), "NOT CHECKED: {what}").expect("somewhere to say it");
}

/// The roots that a PEM file holds.
pub(crate) fn roots(authority: &Path) -> Roots {
    Roots::from_pem_file(authority).expect("a certificate")
}

impl Clone for Tokens {
    fn clone(&self) -> Self {
        match self {
            Self::Issuer(issuer) => Self::Issuer(issuer.clone()),
            Self::Fixed(token) => Self::Fixed(token.clone()),
            Self::AzureCli(resource) => Self::AzureCli(resource),
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    async fn token(&self) -> Result<String, String> {
        match self {
            Self::Issuer(issuer) => Ok(issuer.issue(&SYSTEM_ASSIGNED, AUDIENCE).0),
            Self::Fixed(token) => Ok(token.clone()),
            Self::AzureCli(resource) => {
                let arguments = ["account", "get-access-token", "--query", "accessToken", "--output", "tsv"];
                let mut az = Command::new("az");
                az.args(arguments).args(["--resource", resource]).stdin(Stdio::null());
                let output = az.output().await.map_err(|error| format!("az: {error}"))?;
                if !output.status.success() {
                    return Err(format!("az: {}", String::from_utf8_lossy(&output.stderr)));
                }
                Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
            }
        }
    }
}

#[async_trait]
impl TokenCredential for Tokens {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let token = self.token().await.map_err(|why| azure_core::Error::with_message(ErrorKind::Credential, why))?;
        Ok(AccessToken::new(token, OffsetDateTime::now_utc() + Seconds::hours(1)))
    }
}
