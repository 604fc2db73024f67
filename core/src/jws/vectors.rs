//! What the RFCs publish as valid is valid in every form, and nothing else made of the same parts is.

use super::{
    published::{
        A2_N, A2_SIGNATURE, A3_SIGNATURE, A3_X, A3_Y, A4_SIGNATURE, A4_X, A4_Y, EC_X, EC_Y, HEADER_4_1, HEADER_4_2,
        HEADER_4_3, HEADER_4_4, PAYLOAD_7515, PAYLOAD_7520, RSA_N, SIGNATURE_4_1, SIGNATURE_4_2, SIGNATURE_4_3,
        SIGNATURE_4_4, SIGNATURE_4_8,
    },
    *,
};
use crate::testing::Signer;

const BILBO: &str = "bilbo.baggins@hobbiton.example";

struct Vector {
    section: &'static str,
    algorithm: Algorithm,
    kid: Option<&'static str>,
    jwk: String,
    header: &'static str,
    payload: &'static str,
    signature: &'static str,
}

impl Vector {
    fn keys(&self) -> JwkSet {
        JwkSet::parse(&format!("{{\"keys\":[{}]}}", self.jwk)).expect("a set")
    }

    fn content(&self) -> Vec<u8> {
        base64::decode_url(self.payload).expect("Base64url")
    }

    fn compact(&self, payload: &str) -> String {
        format!("{}.{payload}.{}", self.header, self.signature)
    }

    fn flattened(&self, payload: Option<&str>) -> String {
        let payload = payload.map(|payload| format!(r#""payload":"{payload}","#)).unwrap_or_default();
        format!(r#"{{{payload}"protected":"{}","signature":"{}"}}"#, self.header, self.signature)
    }

    fn assert_verified(&self, document: &str, content: Option<&[u8]>) {
        let expected = Verified {
            algorithm: self.algorithm,
            kid: self.kid.map(str::to_owned),
            issued_at: None,
            content_type: None,
            content: self.content(),
        };
        assert_eq!(verify(document, content, &self.keys()), Ok(expected), "{}: {document}", self.section);
    }
}

fn rsa_jwk(kid: &str, n: &str) -> String {
    format!(r#"{{"kty":"RSA","kid":"{kid}","n":"{n}","e":"AQAB"}}"#)
}

fn ec_jwk(kid: &str, crv: &str, x: &str, y: &str) -> String {
    format!(r#"{{"kty":"EC","kid":"{kid}","crv":"{crv}","x":"{x}","y":"{y}"}}"#)
}

fn vectors() -> [Vector; 6] {
    [
        Vector {
            section: "RFC 7515, appendix A.2",
            algorithm: Algorithm::Rs256,
            kid: None,
            jwk: rsa_jwk("2010-12-29", A2_N),
            header: "eyJhbGciOiJSUzI1NiJ9",
            payload: PAYLOAD_7515,
            signature: A2_SIGNATURE,
        },
        Vector {
            section: "RFC 7515, appendix A.3",
            algorithm: Algorithm::Es256,
            kid: None,
            jwk: ec_jwk("e9bc097a-ce51-4036-9562-d2ade882db0d", "P-256", A3_X, A3_Y),
            header: "eyJhbGciOiJFUzI1NiJ9",
            payload: PAYLOAD_7515,
            signature: A3_SIGNATURE,
        },
        Vector {
            section: "RFC 7515, appendix A.4",
            algorithm: Algorithm::Es512,
            kid: None,
            jwk: ec_jwk("A.4", "P-521", A4_X, A4_Y),
            header: "eyJhbGciOiJFUzUxMiJ9",
            payload: "UGF5bG9hZA",
            signature: A4_SIGNATURE,
        },
        Vector {
            section: "RFC 7520, section 4.1",
            algorithm: Algorithm::Rs256,
            kid: Some(BILBO),
            jwk: rsa_jwk(BILBO, RSA_N),
            header: HEADER_4_1,
            payload: PAYLOAD_7520,
            signature: SIGNATURE_4_1,
        },
        Vector {
            section: "RFC 7520, section 4.2",
            algorithm: Algorithm::Ps384,
            kid: Some(BILBO),
            jwk: rsa_jwk(BILBO, RSA_N),
            header: HEADER_4_2,
            payload: PAYLOAD_7520,
            signature: SIGNATURE_4_2,
        },
        Vector {
            section: "RFC 7520, section 4.3",
            algorithm: Algorithm::Es512,
            kid: Some(BILBO),
            jwk: ec_jwk(BILBO, "P-521", EC_X, EC_Y),
            header: HEADER_4_3,
            payload: PAYLOAD_7520,
            signature: SIGNATURE_4_3,
        },
    ]
}

#[test]
fn published_signatures_verify_in_every_form() {
    for vector in vectors() {
        let content = vector.content();
        for document in [vector.compact(vector.payload), vector.flattened(Some(vector.payload))] {
            vector.assert_verified(&document, None);
            vector.assert_verified(&document, Some(&content));
            vector.assert_verified(&format!(" {document}\r\n"), None);
        }
        for document in [vector.compact(""), vector.flattened(None)] {
            vector.assert_verified(&document, Some(&content));
            assert_eq!(verify(&document, None, &vector.keys()), Err(Refusal::ContentMissing), "{}", vector.section);
        }
    }
}

#[test]
fn published_signatures_verify_for_no_other_content_and_with_no_other_key() {
    for (i, vector) in vectors().iter().enumerate() {
        let mut changed = vector.content();
        changed[0] ^= 1;
        let refusal = verify(&vector.compact(""), Some(&changed), &vector.keys());
        assert_eq!(refusal, Err(Refusal::Signature), "{}", vector.section);
        let refusal = verify(&vector.compact(&base64::encode_url(&changed)), None, &vector.keys());
        assert_eq!(refusal, Err(Refusal::Signature), "{}", vector.section);
        for (j, other) in vectors().iter().enumerate().filter(|(_, other)| other.jwk != vector.jwk) {
            assert!(verify(&vector.compact(vector.payload), None, &other.keys()).is_err(), "{i} with the key of {j}");
        }
    }
}

#[test]
fn an_unprotected_kid_chooses_the_key() {
    // RFC 7515, appendix A.7, with both of the keys of appendix A.6.
    let (rsa, ec) = (rsa_jwk("2010-12-29", A2_N), ec_jwk("e9bc097a-ce51-4036-9562-d2ade882db0d", "P-256", A3_X, A3_Y));
    let keys = JwkSet::parse(&format!("{{\"keys\":[{rsa},{ec}]}}")).expect("a set");
    let document = format!(
        r#"{{"payload":"{PAYLOAD_7515}","protected":"eyJhbGciOiJFUzI1NiJ9",
            "header":{{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"}},"signature":"{A3_SIGNATURE}"}}"#
    );
    let verified = verify(&document, None, &keys).expect("appendix A.7");
    assert_eq!(verified.kid.as_deref(), Some("e9bc097a-ce51-4036-9562-d2ade882db0d"));

    // RFC 7520, section 4.8, the first signature.
    let keys = JwkSet::parse(&format!("{{\"keys\":[{rsa},{}]}}", rsa_jwk(BILBO, RSA_N))).expect("a set");
    let document = format!(
        r#"{{"payload":"{PAYLOAD_7520}","protected":"eyJhbGciOiJSUzI1NiJ9",
            "header":{{"kid":"{BILBO}"}},"signature":"{SIGNATURE_4_8}"}}"#
    );
    assert_eq!(verify(&document, None, &keys).expect("section 4.8").kid.as_deref(), Some(BILBO));
}

#[test]
fn what_is_published_with_a_shared_secret_or_with_none_is_refused() {
    let keys = vectors()[0].keys();
    // RFC 7515, appendix A.5.
    let unsecured = format!("eyJhbGciOiJub25lIn0.{PAYLOAD_7515}.");
    assert_eq!(verify(&unsecured, None, &keys), Err(Refusal::Algorithm("none".to_owned())));
    // RFC 7520, section 4.4.
    let hmac = format!("{HEADER_4_4}.{PAYLOAD_7520}.{SIGNATURE_4_4}");
    assert_eq!(verify(&hmac, None, &keys), Err(Refusal::Algorithm("HS256".to_owned())));
}

#[test]
fn of_two_keys_with_one_name_the_algorithm_chooses() {
    // RFC 7520 gives its EC key and its RSA key the same name.
    let (ec, rsa) = (ec_jwk(BILBO, "P-521", EC_X, EC_Y), rsa_jwk(BILBO, RSA_N));
    let keys = JwkSet::parse(&format!("{{\"keys\":[{ec},{rsa}]}}")).expect("a set");
    for (header, signature) in [(HEADER_4_1, SIGNATURE_4_1), (HEADER_4_2, SIGNATURE_4_2), (HEADER_4_3, SIGNATURE_4_3)] {
        assert!(verify(&format!("{header}.{PAYLOAD_7520}.{signature}"), None, &keys).is_ok(), "{header}");
    }
    let other_kind = format!("{HEADER_4_3}.{PAYLOAD_7520}.{SIGNATURE_4_1}");
    assert_eq!(verify(&other_kind, None, &keys), Err(Refusal::Signature));
    let twice = JwkSet::parse(&format!("{{\"keys\":[{ec},{rsa},{ec}]}}")).expect("a set");
    let document = format!("{HEADER_4_3}.{PAYLOAD_7520}.{SIGNATURE_4_3}");
    assert_eq!(verify(&document, None, &twice), Err(Refusal::Key(SelectError::Ambiguous)));
}

/// RFC 7797, section 4 has its examples with HS256 only: the same header and payload with other keys.
#[test]
fn unencoded_payloads_verify() {
    let content = b"$.02";
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let keys = signer.published();
        let protected = base64::encode_url(format!(r#"{{"alg":"{algorithm}","b64":false,"crit":["b64"]}}"#).as_bytes());
        let signature = signer.sign_parts(&protected, content);

        let attached = format!(r#"{{"protected":"{protected}","payload":"$.02","signature":"{signature}"}}"#);
        let escaped = format!(r#"{{"protected":"{protected}","payload":"\u0024.02","signature":"{signature}"}}"#);
        for document in [&attached, &escaped] {
            assert_eq!(verify(document, None, &keys).expect("attached").content, content, "{algorithm}");
            assert_eq!(verify(document, Some(b"$.03"), &keys), Err(Refusal::OtherContent), "{algorithm}");
        }
        let detached = format!(r#"{{"protected":"{protected}","signature":"{signature}"}}"#);
        for document in [detached, format!("{protected}..{signature}")] {
            assert_eq!(verify(&document, Some(content), &keys).expect("detached").content, content, "{algorithm}");
            assert_eq!(verify(&document, Some(b"$.03"), &keys), Err(Refusal::Signature), "{algorithm}");
            assert_eq!(verify(&document, Some(b"JC4wMg"), &keys), Err(Refusal::Signature), "{algorithm}");
            assert_eq!(verify(&document, None, &keys), Err(Refusal::ContentMissing), "{algorithm}");
        }
        // Section 5.2: a payload without dots may stand in the compact form as it is.
        let bare = format!("{protected}.$02.{}", signer.sign_parts(&protected, b"$02"));
        assert_eq!(verify(&bare, None, &keys).expect("compact").content, b"$02", "{algorithm}");
        // The encoded form of the same content has another signature (section 4.1).
        let encoded = base64::encode_url(format!(r#"{{"alg":"{algorithm}"}}"#).as_bytes());
        assert_eq!(verify(&format!("{encoded}.JC4wMg.{signature}"), None, &keys), Err(Refusal::Signature));
    }
}
