//! Who may ask.

use std::sync::Arc;

use azure_core::http::Url;
use serde_json::json;

use crate::{
    difference::Difference,
    target::{API_VERSION, Target},
};

/// "Authentication, requests and responses": the challenge names the authority and the resource, and the resource's host
/// is what the vault's ends with, which clients check before they send a token.
pub(crate) async fn without_a_token_there_is_a_challenge(target: Arc<Target>) {
    let host = Url::parse(&target.url).expect("a URL").host_str().expect("a host").to_owned();
    for (method, path) in [("GET", "/keys"), ("POST", "/keys/none//sign"), ("GET", "/keys/none/none")] {
        let answer = target.raw(method, &format!("{path}?api-version={API_VERSION}"), None, "").await;
        assert_eq!(answer.status, 401, "{answer:?}");
        let challenge = answer.header("www-authenticate").expect("a challenge");
        let resource = quoted(challenge, "resource").expect("a resource");
        let resource = Url::parse(resource).expect("a resource that is a URL");
        assert!(host.ends_with(&format!(".{}", resource.host_str().expect("a host"))), "{challenge}");
        let authority = quoted(challenge, "authorization");
        target.expect(
            Difference::Challenge,
            challenge.starts_with("Bearer ") && authority.is_some_and(|url| url.starts_with("https://login.")),
            || challenge.to_owned(),
        );
        if !target.differs(Difference::Challenge) {
            answer.refused(&target, 401, "Unauthorized", None);
            assert_eq!(answer.body["error"]["message"], "AKV10000: Request is missing a Bearer or PoP token.");
        }
    }
}

pub(crate) async fn a_token_that_is_none_is_refused(target: Arc<Target>) {
    let answer = target.raw("GET", &format!("/keys?api-version={API_VERSION}"), Some("no-token"), "").await;
    target.expect(Difference::AnyToken, answer.status == 401, || format!("{answer:?}"));
    if !target.differs(Difference::AnyToken) {
        answer.refused(&target, 401, "Unauthorized", None);
        let challenge = answer.header("www-authenticate").expect("a challenge");
        assert!(quoted(challenge, "resource").is_some(), "{challenge}");
        assert_eq!(quoted(challenge, "error"), Some("invalid_token"), "{challenge}");
    }
}

/// Its first request goes without a token and without a body; the challenge check is on.
pub(crate) async fn the_sdk_s_client_is_let_in(target: Arc<Target>) {
    let (name, bundle) = target.create(json!({"kty": "EC", "crv": "P-256"})).await;
    let key = target.client().get_key(&name, None).await.expect("a key").into_model().expect("a key bundle");
    assert_eq!(key.key.expect("a key").kid.as_deref(), bundle["key"]["kid"].as_str());
}

/// The value of a parameter of a challenge.
fn quoted<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}
