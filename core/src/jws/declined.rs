//! What RFCs publish as valid and is refused here all the same: shared secrets, several signatures, unprotected algorithms.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{
    published::{A2_N, EC_X, EC_Y, HEADER_4_4, PAYLOAD_7515, PAYLOAD_7520, SIGNATURE_4_4, SIGNATURE_4_8},
    *,
};

/// RFC 7515, appendix A.1.1.
const SECRET_7515: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
/// RFC 7520, section 3.5.
const SECRET_7520: &str = "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg";
/// The name of that secret.
const SECRET_KID: &str = "018c0ae5-4d9b-471b-bfd6-eef314bc7037";
/// The header `{"alg":"HS256"}` of RFC 7520, section 4.6 and of RFC 7797, section 4.1.
const HS256: &str = "eyJhbGciOiJIUzI1NiJ9";
/// RFC 7520, section 4.6.2.
const SIGNATURE_4_6: &str = "bWUSVaxorn7bEF1djytBd0kHv70Ly5pvbomzMWSOr20";
/// RFC 7520, section 4.7.2.
const SIGNATURE_4_7: &str = "xuLifqLGiblpv9zBpuZczWhNj1gARaLV3UxvxhJxZuk";
/// RFC 7520, section 4.8.3: ES512, all of the header unprotected.
const SIGNATURE_4_8_3: &str = "\
    ARcVLnaJJaUWG8fG-8t5BREVAuTY8n8YHjwDO1muhcdCoFZFFjfISu0Cdkn9Ybdlmi54ho0x924DUz8sK7ZXkhc7AFM8ObLfTvNCrqcI3Jkl2U5I\
    X3utNhODH6v7xgy1Qahsn0fyb4zSAkje8bAWz4vIfj5pCMYxxm4fgV3q7ZYhm5eD";

/// The set of a publisher who has put the secrets themselves into it.
fn keys() -> JwkSet {
    let keys = format!(
        r#"{{"keys":[
            {{"kty":"oct","k":"{SECRET_7515}","alg":"HS256"}},
            {{"kty":"oct","kid":"{SECRET_KID}","use":"sig","alg":"HS256","k":"{SECRET_7520}"}},
            {{"kty":"EC","kid":"bilbo.baggins@hobbiton.example","crv":"P-521","x":"{EC_X}","y":"{EC_Y}"}},
            {{"kty":"RSA","kid":"2010-12-29","n":"{A2_N}","e":"AQAB"}}]}}"#
    );
    JwkSet::parse(&keys).expect("a set")
}

/// The published code must be the right one, or its refusal would say nothing.
fn assert_authentic(secret: &str, input: &str, signature: &str) {
    let secret = base64::decode_url(secret).expect("Base64url");
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("any length");
    mac.update(input.as_bytes());
    mac.verify_slice(&base64::decode_url(signature).expect("Base64url")).expect(input);
}

fn assert_refused(document: &str, content: Option<&[u8]>, expected: &Refusal) {
    assert_eq!(verify(document, content, &keys()).as_ref(), Err(expected), "{document}");
}

fn hs256() -> Refusal {
    Refusal::Algorithm("HS256".to_owned())
}

/// RFC 7515, appendix A.1.
#[test]
fn a_jws_with_a_shared_secret_is_refused() {
    let header = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
    let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_authentic(SECRET_7515, &format!("{header}.{PAYLOAD_7515}"), signature);
    assert_refused(&format!("{header}.{PAYLOAD_7515}.{signature}"), None, &hs256());
}

/// RFC 7797, sections 4.1 and 4.2.
#[test]
fn an_unencoded_payload_with_a_shared_secret_is_refused() {
    let signature = "5mvfOroL-g7HyqJoozehmsaqmvTYGEq5jTI1gVvoEoQ";
    assert_authentic(SECRET_7515, &format!("{HS256}.JC4wMg"), signature);
    assert_refused(&format!("{HS256}.JC4wMg.{signature}"), None, &hs256());

    let header = "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19";
    let signature = "A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY";
    assert_authentic(SECRET_7515, &format!("{header}.$.02"), signature);
    assert_refused(&format!("{header}..{signature}"), Some(b"$.02"), &hs256());
    let flattened = format!(r#"{{"protected":"{header}","payload":"$.02","signature":"{signature}"}}"#);
    assert_refused(&flattened, None, &hs256());
}

/// RFC 7520, section 4.5.
#[test]
fn a_detached_jws_with_a_shared_secret_is_refused() {
    let content = base64::decode_url(PAYLOAD_7520).expect("Base64url");
    assert_authentic(SECRET_7520, &format!("{HEADER_4_4}.{PAYLOAD_7520}"), SIGNATURE_4_4);
    let flattened = format!(r#"{{"protected":"{HEADER_4_4}","signature":"{SIGNATURE_4_4}"}}"#);
    for document in [format!("{HEADER_4_4}..{SIGNATURE_4_4}"), flattened] {
        assert_refused(&document, Some(&content), &hs256());
        assert_refused(&document, None, &hs256());
    }
}

/// RFC 7520, section 4.6.
#[test]
fn an_unprotected_kid_with_a_shared_secret_is_refused() {
    assert_authentic(SECRET_7520, &format!("{HS256}.{PAYLOAD_7520}"), SIGNATURE_4_6);
    let document = format!(
        r#"{{"payload":"{PAYLOAD_7520}","protected":"{HS256}","header":{{"kid":"{SECRET_KID}"}},
            "signature":"{SIGNATURE_4_6}"}}"#
    );
    assert_refused(&document, None, &hs256());
}

/// RFC 7520, section 4.7: an algorithm that nothing protects can be exchanged, so a protected header there must be.
#[test]
fn a_jws_without_a_protected_header_is_refused() {
    assert_authentic(SECRET_7520, &format!(".{PAYLOAD_7520}"), SIGNATURE_4_7);
    let missing = malformed("`protected` is missing or no plain string");
    let header = format!(r#"{{"alg":"HS256","kid":"{SECRET_KID}"}}"#);
    let document = format!(r#"{{"payload":"{PAYLOAD_7520}","header":{header},"signature":"{SIGNATURE_4_7}"}}"#);
    assert_refused(&document, None, &missing);

    // Section 4.8.3 has such a one with an algorithm of ours, and the signature is good.
    let key = keys().select(Some("bilbo.baggins@hobbiton.example"), Algorithm::Es512).expect("the key").key;
    let digest = Algorithm::Es512.hash().digest(&[b".", PAYLOAD_7520.as_bytes()]);
    let signature = base64::decode_url(SIGNATURE_4_8_3).expect("Base64url");
    assert_eq!(key.verify(Algorithm::Es512, &digest, &signature), Ok(()));
    let header = r#"{"alg":"ES512","kid":"bilbo.baggins@hobbiton.example"}"#;
    let document = format!(r#"{{"payload":"{PAYLOAD_7520}","header":{header},"signature":"{SIGNATURE_4_8_3}"}}"#);
    assert_refused(&document, None, &missing);
    let document = document.replacen("\"header\"", r#""protected":"","header""#, 1);
    assert!(matches!(verify(&document, None, &keys()), Err(Refusal::Malformed(_))), "{document}");
}

/// RFC 7520, section 4.8.
#[test]
fn a_jws_with_several_signatures_is_refused() {
    let document = format!(
        r#"{{"payload":"{PAYLOAD_7520}","signatures":[
            {{"protected":"eyJhbGciOiJSUzI1NiJ9","header":{{"kid":"bilbo.baggins@hobbiton.example"}},
              "signature":"{SIGNATURE_4_8}"}},
            {{"header":{{"alg":"ES512","kid":"bilbo.baggins@hobbiton.example"}},"signature":"{SIGNATURE_4_8_3}"}},
            {{"protected":"{HEADER_4_4}","signature":"{SIGNATURE_4_4}"}}]}}"#
    );
    assert_refused(&document, None, &malformed("the general serialisation, with several signatures, is not read here"));
}
