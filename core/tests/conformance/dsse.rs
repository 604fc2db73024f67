//! The test vector of DSSE's protocol (secure-systems-lab/dsse, `protocol.md`, "Test Vectors").

use rsa::BigUint;
use signet_core::{
    algorithm::Algorithm,
    base64, dsse,
    jwks::JwkSet,
    key::{Curve, PublicKey},
    raw,
};

const PAYLOAD_TYPE: &str = "http://example.com/HelloWorld";
const PAYLOAD: &[u8] = b"hello world";
const X: &str = "46950820868899156662930047687818585632848591499744589407958293238635476079160";
const Y: &str = "5640078356564379163099075877009565129882514886557779369047442380624545832820";
/// `r || s`.
const SIGNATURE: &str = "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==";

fn key() -> PublicKey {
    let coordinate = |decimal: &str| BigUint::parse_bytes(decimal.as_bytes(), 10).expect("decimal").to_bytes_be();
    PublicKey::ec(Curve::P256, &coordinate(X), &coordinate(Y)).expect("a point on the curve")
}

pub(crate) fn keys() -> JwkSet {
    let mut keys = JwkSet::default();
    keys.add("hello", &key());
    keys
}

/// The published envelope as it stands, with this for its signature.
fn envelope(signature: &str) -> String {
    format!(
        r#"{{"payload": "aGVsbG8gd29ybGQ=",
 "payloadType": "http://example.com/HelloWorld",
 "signatures": [{{"sig": "{signature}"}}]}}"#
    )
}

/// Everybody's envelopes have DER, and so have ours.
pub(crate) fn envelope_in_der() -> String {
    envelope(&base64::encode(&raw::ecdsa_to_der(&base64::decode_any(SIGNATURE).expect("Base64"))))
}

#[test]
fn the_pre_authentication_encoding_is_the_published_one() {
    let before = dsse::before_payload(PAYLOAD_TYPE, PAYLOAD.len());
    let encoded = [before.as_bytes(), PAYLOAD].concat();
    assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    // Lengths are of bytes.
    assert_eq!(dsse::before_payload("é", 0), "DSSEv1 2 é 0 ");
}

#[test]
fn the_published_signature_verifies() {
    let digest = Algorithm::Es256.hash().digest(&[b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"]);
    let signature = base64::decode_any(SIGNATURE).expect("Base64");
    assert_eq!(key().verify(Algorithm::Es256, &digest, &signature), Ok(()));
}

/// The protocol leaves the encoding of a signature open. Its example has `r || s`; everybody's envelopes have DER.
#[test]
fn the_published_envelope_verifies_in_either_encoding() {
    let expected = dsse::Verified {
        algorithm: Algorithm::Es256,
        kid: Some("hello".to_owned()),
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: PAYLOAD.to_owned(),
    };
    assert_eq!(dsse::verify(&envelope_in_der(), &keys()).as_ref(), Ok(&expected));
    assert_eq!(dsse::verify(&envelope(SIGNATURE), &keys()), Ok(expected));

    let good = envelope_in_der();
    for (from, to) in [
        ("aGVsbG8gd29ybGQ=", "aGVsbG8gd29ybGR="),
        ("aGVsbG8gd29ybGQ=", "aGVsbG8gd29ybGU="),
        ("aGVsbG8gd29ybGQ=", ""),
        ("HelloWorld", "Helloworld"),
        ("HelloWorld", "HelloWorld "),
        // The same bytes in all, split in another place.
        (PAYLOAD_TYPE, "http://example.com/HelloWorld 11"),
        (r#""payloadType""#, r#""payloadType":"x","payloadType""#),
        (r#""payload""#, r#""payload":"","payload""#),
        (r#"[{"sig""#, r#"[{"sig":"","sig""#),
        (r#"{"sig""#, r#"{"signature""#),
        ("signatures", "Signatures"),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good);
        assert!(dsse::verify(&changed, &keys()).is_err(), "{changed}");
    }
    for signatures in ["[]", "{}", "null", r#"[""]"#, "[null]"] {
        let (front, _) = good.split_once('[').expect("signatures");
        assert!(dsse::verify(&format!("{front}{signatures}}}"), &keys()).is_err(), "{signatures}");
    }
    assert!(dsse::verify(&good, &JwkSet::default()).is_err());
}

/// `envelope.md`: either alphabet may be used, and what is not known is ignored.
#[test]
fn an_envelope_may_be_written_in_other_ways() {
    let der = raw::ecdsa_to_der(&base64::decode_any(SIGNATURE).expect("Base64"));
    let [standard, url] = [base64::encode(&der), base64::encode_url(&der)];
    for signature in [&standard, &url] {
        for (from, to) in [
            ("aGVsbG8gd29ybGQ=", "aGVsbG8gd29ybGQ"),
            ("[{", r#"[{"keyid": "", "#),
            ("[{", r#"[{"keyid": "unknown", "#),
            ("[{", r#"[{"keyid": "hello", "#),
            ("[{", r#"[{"keyid": null, "cert": "x", "#),
            ("[{", r#"[{"sig": "AAAA"}, {"#),
            ("}]", r#"}, {"sig": "AAAA", "keyid": "another"}]"#),
            ("{\"payload\"", "{\"x\": {}, \"payload\""),
        ] {
            let document = envelope(signature);
            let changed = document.replacen(from, to, 1);
            assert_ne!(changed, document);
            assert!(dsse::verify(&changed, &keys()).is_ok(), "{changed}");
        }
    }
}

/// A key that may not be used for an algorithm, or not for signatures at all, verifies nothing.
#[test]
fn a_key_that_is_not_for_this_verifies_no_envelope() {
    for restriction in [r#""use":"enc""#, r#""alg":"ES384""#, r#""key_ops":["sign"]"#, r#""use":"sig","key_ops":[]"#] {
        let keys = keys().to_string().replace(r#""use":"sig""#, restriction);
        let keys = JwkSet::parse(&keys).expect("a set");
        assert_eq!(dsse::verify(&envelope_in_der(), &keys), Err(dsse::Refusal::Signature), "{restriction}");
    }
}
