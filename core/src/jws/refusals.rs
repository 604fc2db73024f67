//! What is no valid JWS, and the reason that is given for it.

use std::sync::LazyLock;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::*;
use crate::{jwks::jwk, testing::Signer};

pub(super) const CONTENT: &[u8] = br#"{"amount":"12.50"}"#;
pub(super) static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::Es256));

pub(super) fn refusal(document: &str) -> Refusal {
    refusal_with(document, &SIGNER.published())
}

pub(super) fn refusal_with(document: &str, keys: &JwkSet) -> Refusal {
    let refusal = verify(document, None, keys).expect_err(document);
    assert!(refusal.is_invalid(), "{refusal}: {document}");
    assert!(!refusal.to_string().is_empty());
    refusal
}

pub(super) fn assert_malformed(document: &str, why: &str) {
    match refusal(document) {
        Refusal::Malformed(reason) if reason.contains(why) => {}
        other => panic!("{other:?}, and not `{why}`: {document}"),
    }
}

/// A compact JWS with this header, which the key has truly signed.
fn signed(header: &str) -> String {
    SIGNER.jws(header, CONTENT).join(".")
}

/// A flattened JWS with this protected header and further members in front.
pub(super) fn flattened(header: &str, members: &str) -> String {
    let [protected, payload, signature] = SIGNER.jws(header, CONTENT);
    format!(r#"{{{members}"payload":"{payload}","protected":"{protected}","signature":"{signature}"}}"#)
}

pub(super) fn good() -> [String; 3] {
    let kid = &SIGNER.key.kid;
    SIGNER.jws(&format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#), CONTENT)
}

pub(super) fn set(keys: &[String]) -> JwkSet {
    JwkSet::parse(&format!("{{\"keys\":[{}]}}", keys.join(","))).expect("a set")
}

#[test]
fn the_fixtures_themselves_are_good() {
    let keys = SIGNER.published();
    for document in [good().join("."), signed(r#"{"alg":"ES256"}"#), flattened(r#"{"alg":"ES256"}"#, r#""header":{},"#)]
    {
        assert_eq!(verify(&document, None, &keys).expect("good").content, CONTENT, "{document}");
    }
}

#[test]
fn algorithms_that_nobody_should_accept() {
    for name in ["none", "None", "NONE", "", "HS256", "HS512", "es256", "ES256 ", "EdDSA", "RSA1_5", "ES256\\u0000"] {
        let name_read = name.replace("\\u0000", "\0");
        let header = format!(r#"{{"alg":"{name}"}}"#);
        assert_eq!(refusal(&signed(&header)), Refusal::Algorithm(name_read.clone()), "signed");
        let [protected, payload, _] = SIGNER.jws(&header, CONTENT);
        assert_eq!(refusal(&format!("{protected}.{payload}.")), Refusal::Algorithm(name_read), "not signed");
    }
    for header in ["{}", r#"{"alg":null}"#, r#"{"alg":["ES256"]}"#, r#"{"ALG":"ES256"}"#] {
        assert!(matches!(refusal(&signed(header)), Refusal::Algorithm(_)), "{header}");
    }
    let unprotected = flattened("{}", r#""header":{"alg":"ES256"},"#);
    assert!(matches!(refusal(&unprotected), Refusal::Algorithm(_)), "an algorithm that nothing protects");
}

/// The published key taken for the secret of an HMAC: RFC 8725, section 2.1.
#[test]
fn a_public_key_is_no_secret() {
    for (kid, secret) in [
        ("", jwk(&SIGNER.key.kid, &SIGNER.key.public).into_bytes()),
        (SIGNER.key.kid.as_str(), SIGNER.key.public.ec_parts().map(|(_, x, y)| [x, y].concat()).expect("an EC key")),
    ] {
        let kid = if kid.is_empty() { String::new() } else { format!(r#","kid":"{kid}""#) };
        let [protected, payload, _] = SIGNER.jws(&format!(r#"{{"alg":"HS256"{kid}}}"#), CONTENT);
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("any length");
        mac.update(format!("{protected}.{payload}").as_bytes());
        let signature = base64::encode_url(&mac.finalize().into_bytes());
        assert_eq!(refusal(&format!("{protected}.{payload}.{signature}")), Refusal::Algorithm("HS256".to_owned()));
    }
}

#[test]
fn algorithms_that_do_not_fit_the_key() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        for other in Algorithm::ALL.into_iter().filter(|other| !signer.key.public.can(*other)) {
            let document = signer.jws(&format!(r#"{{"alg":"{other}"}}"#), CONTENT).join(".");
            assert_eq!(
                refusal_with(&document, &signer.published()),
                Refusal::AlgorithmDoesNotFitKey,
                "{other} with a key for {algorithm}"
            );
        }
    }
    // The padding is not interchangeable either, though the key fits both.
    let signer = Signer::new(Algorithm::Ps256);
    let document = signer.jws(r#"{"alg":"RS256"}"#, CONTENT).join(".");
    assert_eq!(refusal_with(&document, &signer.published()), Refusal::Signature);
}

#[test]
fn critical_headers() {
    let critical = |name: &str| Refusal::Critical(name.to_owned());
    for (header, expected) in [
        (r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, critical("exp")),
        (r#"{"alg":"ES256","crit":["exp"]}"#, critical("exp")),
        (r#"{"alg":"ES256","crit":["alg"]}"#, critical("alg")),
        (r#"{"alg":"ES256","b64":true,"crit":["b64","exp"],"exp":1}"#, critical("exp")),
        (r#"{"alg":"ES256","crit":["B64"],"B64":true}"#, critical("B64")),
    ] {
        assert_eq!(refusal(&signed(header)), expected, "{header}");
    }
    for (header, why) in [
        (r#"{"alg":"ES256","crit":[]}"#, "empty"),
        (r#"{"alg":"ES256","b64":true,"crit":[]}"#, "empty"),
        (r#"{"alg":"ES256","b64":true,"crit":["b64","b64"]}"#, "twice"),
        (r#"{"alg":"ES256","crit":["b64"]}"#, "not there"),
        (r#"{"alg":"ES256","b64":true,"crit":"b64"}"#, "no list"),
        (r#"{"alg":"ES256","b64":true,"crit":[1]}"#, "no list"),
        (r#"{"alg":"ES256","b64":true,"crit":null}"#, "no list"),
        (r#"{"alg":"ES256","b64":true,"crit":{"b64":1}}"#, "no list"),
        (r#"{"alg":"ES256","b64":false}"#, "not named in `crit`"),
        (r#"{"alg":"ES256","b64":"false","crit":["b64"]}"#, "neither true nor false"),
        (r#"{"alg":"ES256","b64":null,"crit":["b64"]}"#, "neither true nor false"),
        (r#"{"alg":"ES256","b64":0}"#, "neither true nor false"),
    ] {
        assert_malformed(&signed(header), why);
    }
    // RFC 7797, section 6: to name an encoding that is the default is allowed.
    let named = signed(r#"{"alg":"ES256","b64":true,"crit":["b64"]}"#);
    assert!(verify(&named, None, &SIGNER.published()).is_ok());
}

#[test]
fn critical_headers_that_nothing_protects() {
    for header in [r#"{"crit":["exp"],"exp":1}"#, r#"{"crit":["b64"],"b64":false}"#, r#"{"crit":[]}"#] {
        assert_malformed(&flattened(r#"{"alg":"ES256"}"#, &format!(r#""header":{header},"#)), "unprotected");
    }
    assert_malformed(&flattened(r#"{"alg":"ES256"}"#, r#""header":{"b64":false},"#), "unprotected");
}

#[test]
fn headers() {
    assert_malformed(&signed(r#"{"alg":"ES256","alg":"ES256"}"#), "`alg`");
    assert_malformed(&signed(r#"{"alg":"ES256","kid":"a","k\u0069d":"b"}"#), "`kid`");
    assert_malformed(&signed(r#"{"alg":"ES256","kid":1}"#), "`kid`");
    assert_malformed(&signed(r#"{"alg":"ES256","kid":null}"#), "`kid`");
    for header in ["", "[]", "null", r#""ES256""#, "{", r#"{"alg":"ES256"}{}"#, "\u{feff}{\"alg\":\"ES256\"}"] {
        assert_malformed(&signed(header), "the header");
    }
    let [_, payload, signature] = good();
    let not_utf8 = base64::encode_url(b"{\"alg\":\"ES256\",\"kid\":\"\xff\"}");
    assert_malformed(&format!("{not_utf8}.{payload}.{signature}"), "not UTF-8");

    let twice = flattened(r#"{"alg":"ES256","kid":"a"}"#, r#""header":{"kid":"a"},"#);
    assert_malformed(&twice, "both protected and unprotected");
    for header in ["1", "null", "[]", r#"{"x":1,"x":2}"#] {
        assert_malformed(&flattened(r#"{"alg":"ES256"}"#, &format!(r#""header":{header},"#)), "unprotected header");
    }
    assert_malformed(&flattened(r#"{"alg":"ES256"}"#, r#""header":{"kid":1},"#), "`kid`");
}

#[test]
fn keys() {
    let other = Signer::new(Algorithm::Es256);
    let document = good().join(".");
    let kid = SIGNER.key.kid.as_str();
    let ours = jwk(kid, &SIGNER.key.public);
    let not_in_set = Refusal::Key(SelectError::NotInSet(kid.to_owned()));
    assert_eq!(refusal_with(&document, &JwkSet::default()), not_in_set);
    assert_eq!(refusal_with(&document, &set(&[jwk("another", &SIGNER.key.public)])), not_in_set);
    let ambiguous = Refusal::Key(SelectError::Ambiguous);
    assert_eq!(refusal_with(&document, &set(&[ours.clone(), ours.clone()])), ambiguous);
    assert_eq!(refusal_with(&document, &set(&[ours.clone(), jwk(kid, &other.key.public)])), ambiguous);
    let nameless = signed(r#"{"alg":"ES256"}"#);
    assert_eq!(refusal_with(&nameless, &JwkSet::default()), ambiguous);
    assert_eq!(refusal_with(&nameless, &set(&[ours.clone(), jwk("another", &other.key.public)])), ambiguous);
    assert_eq!(refusal_with(&document, &set(&[jwk(kid, &other.key.public)])), Refusal::Signature);
}

#[test]
fn keys_that_are_not_for_this() {
    let document = good().join(".");
    let ours = jwk(&SIGNER.key.kid, &SIGNER.key.public);
    let restricted = |members: &str| set(&[ours.replace(r#""use":"sig""#, members)]);
    for members in [
        r#""use":"enc""#,
        r#""use":1"#,
        r#""key_ops":["sign"]"#,
        r#""key_ops":[]"#,
        r#""key_ops":"verify""#,
        r#""use":"enc","key_ops":["verify"]"#,
        r#""use":"sig","key_ops":["encrypt"]"#,
        r#""use":"sig","use":"sig""#,
        r#""alg":1"#,
    ] {
        let refusal = refusal_with(&document, &restricted(members));
        assert!(matches!(refusal, Refusal::Key(_)), "{members}: {refusal:?}");
    }
    for members in [r#""alg":"ES384""#, r#""alg":"ECDH-ES""#, r#""alg":"es256""#] {
        assert_eq!(refusal_with(&document, &restricted(members)), Refusal::AlgorithmDoesNotFitKey, "{members}");
    }
    for members in [r#""x":1"#, r#""alg":"ES256""#, r#""use":"sig","key_ops":["sign","verify"]"#] {
        let keys = restricted(&members.replace(r#""x":1"#, r#""unknown":1"#));
        assert!(verify(&document, None, &keys).is_ok(), "{members}");
    }
}

#[test]
fn contents() {
    let [protected, payload, signature] = good();
    let changed = base64::encode_url(br#"{"amount":"92.50"}"#);
    assert_eq!(refusal(&format!("{protected}.{changed}.{signature}")), Refusal::Signature);
    let keys = SIGNER.published();
    let attached = format!("{protected}.{payload}.{signature}");
    for other in [&b""[..], b"other", payload.as_bytes()] {
        assert_eq!(verify(&attached, Some(other), &keys), Err(Refusal::OtherContent));
    }
    let detached = format!("{protected}..{signature}");
    assert_eq!(verify(&detached, Some(b"other"), &keys), Err(Refusal::Signature));
    assert_eq!(verify(&detached, None, &keys), Err(Refusal::ContentMissing));
    assert!(!Refusal::ContentMissing.is_invalid());
    // Without the content too, this much can be told.
    for signature in ["A", "=", "AA==", "+/8"] {
        assert_malformed(&format!("{protected}..{signature}"), "the signature");
    }
    // An empty payload that is attached is no detached one.
    let empty = format!(r#"{{"payload":"","protected":"{protected}","signature":"{signature}"}}"#);
    assert_eq!(verify(&empty, None, &keys), Err(Refusal::Signature));
    assert_eq!(verify(&empty, Some(CONTENT), &keys), Err(Refusal::OtherContent));
}
