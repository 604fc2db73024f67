//! Access tokens: issued for an identity and a resource, verified by the local vault.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Identity, Person, TENANT_ID, random};

/// How long a token is good for unless told otherwise, as in App Service.
pub const DEFAULT_LIFETIME: Duration = Duration::from_hours(24);
/// The client id of Azure CLI, the same in every tenant.
const AZURE_CLI: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";

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
    /// How the client authenticated: 0 not at all, 2 with a certificate.
    pub appidacr: String,
    /// The identity provider, which is the issuer.
    pub idp: String,
    /// `app`, or `user`.
    pub idtyp: String,
    /// The object id.
    pub oid: String,
    /// A person's: what the client may do in their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scp: Option<String>,
    /// The object id again; of a person, another id.
    pub sub: String,
    /// The tenant.
    pub tid: String,
    /// A person's: the name that they sign in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upn: Option<String>,
    /// A number that makes each token another.
    pub uti: String,
    /// `1.0`.
    pub ver: String,
    /// A managed identity's resource id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xms_mirid: Option<String>,
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
        let state = IssuerState {
            key: RwLock::new(random()),
            lifetime: AtomicU64::new(DEFAULT_LIFETIME.as_secs()),
            ahead: AtomicI64::new(0),
        };
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

    /// Sets the issuer's clock ahead of this machine's, or behind it with a negative number, in seconds.
    pub fn set_clock(&self, ahead: i64) {
        self.inner.ahead.store(ahead, Ordering::Relaxed);
    }

    /// Makes every token issued so far invalid.
    pub fn revoke_all(&self) {
        *self.inner.key.write().unwrap_or_else(PoisonError::into_inner) = random();
    }

    /// A token for a resource, and when it ends, in seconds since 1970.
    #[must_use]
    pub fn issue(&self, identity: &Identity, resource: &str) -> (String, u64) {
        self.sign(&Claims {
            appid: identity.client_id.to_owned(),
            appidacr: "2".to_owned(),
            idtyp: "app".to_owned(),
            oid: identity.object_id.to_owned(),
            sub: identity.object_id.to_owned(),
            xms_mirid: Some(identity.resource_id.to_owned()),
            ..self.blank(resource)
        })
    }

    /// A token for a resource as Azure CLI gets one in the name of who is signed in to it, and when it ends, in seconds
    /// since 1970.
    #[must_use]
    pub fn issue_to_person(&self, person: &Person, resource: &str) -> (String, u64) {
        self.sign(&Claims {
            appid: AZURE_CLI.to_owned(),
            appidacr: "0".to_owned(),
            idtyp: "user".to_owned(),
            oid: person.object_id.to_owned(),
            scp: Some("user_impersonation".to_owned()),
            sub: URL_SAFE_NO_PAD.encode(random::<32>()),
            upn: Some(person.name.to_owned()),
            ..self.blank(resource)
        })
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
        if !(claims.nbf..claims.exp).contains(&self.inner.now()) {
            return Err(TokenError::Lifetime);
        }
        Ok(claims)
    }

    /// What all tokens for a resource say, whose they are left open.
    fn blank(&self, resource: &str) -> Claims {
        let now = self.inner.now();
        let issuer = format!("https://sts.windows.net/{TENANT_ID}/");
        Claims {
            aud: resource.to_owned(),
            iss: issuer.clone(),
            iat: now,
            nbf: now,
            exp: now + self.inner.lifetime.load(Ordering::Relaxed),
            appid: String::new(),
            appidacr: String::new(),
            idp: issuer,
            idtyp: String::new(),
            oid: String::new(),
            scp: None,
            sub: String::new(),
            tid: TENANT_ID.to_owned(),
            upn: None,
            uti: URL_SAFE_NO_PAD.encode(random::<16>()),
            ver: "1.0".to_owned(),
            xms_mirid: None,
        }
    }

    fn sign(&self, claims: &Claims) -> (String, u64) {
        let key = self.inner.key();
        let header = json!({"typ": "JWT", "alg": "HS256", "kid": key_id(&key)});
        let parts = [header, json!(claims)].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = parts.join(".");
        let signature = URL_SAFE_NO_PAD.encode(mac(&key, &signed).finalize().into_bytes());
        (format!("{signed}.{signature}"), claims.exp)
    }
}

#[derive(Debug)]
struct IssuerState {
    key: RwLock<[u8; 32]>,
    lifetime: AtomicU64,
    /// Seconds.
    ahead: AtomicI64,
}

impl IssuerState {
    fn key(&self) -> [u8; 32] {
        *self.key.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        now().saturating_add_signed(self.ahead.load(Ordering::Relaxed))
    }
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

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::identity::{OPERATOR, SYSTEM_ASSIGNED};

    const VAULT: &str = "https://vault.localhost";

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
    fn a_persons_token_is_as_good_and_says_that_it_is_one() {
        let issuer = Issuer::new();
        let (token, _) = issuer.issue_to_person(&OPERATOR, VAULT);
        let claims = issuer.verify(&token, VAULT).unwrap();
        assert_eq!((claims.idtyp.as_str(), claims.upn.as_deref()), ("user", Some(OPERATOR.name)));
        assert!(claims.sub != claims.oid && claims.scp.is_some() && claims.xms_mirid.is_none(), "{claims:?}");
        let (token, _) = issuer.issue(&SYSTEM_ASSIGNED, VAULT);
        let claims = issuer.verify(&token, VAULT).unwrap();
        assert!(claims.sub == claims.oid && claims.scp.is_none() && claims.upn.is_none(), "{claims:?}");
    }

    #[test]
    fn a_clock_that_jumps_ends_tokens_and_makes_others_that_are_not_yet_good() {
        let issuer = Issuer::new();
        let (token, expires_on) = issuer.issue(&SYSTEM_ASSIGNED, VAULT);
        issuer.set_clock(2 * 24 * 3600);
        assert_eq!(issuer.verify(&token, VAULT), Err(TokenError::Lifetime));
        let (later, _) = issuer.issue(&SYSTEM_ASSIGNED, VAULT);
        assert!(issuer.verify(&later, VAULT).is_ok());
        issuer.set_clock(-3600);
        assert_eq!(issuer.verify(&later, VAULT), Err(TokenError::Lifetime));
        let (_, earlier) = issuer.issue(&SYSTEM_ASSIGNED, VAULT);
        assert!(earlier < expires_on, "{earlier} {expires_on}");
    }
}
