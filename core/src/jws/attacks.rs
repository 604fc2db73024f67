//! What has broken other verifiers: keys out of the header, one algorithm for another, numbers out of range, texts that two
//! parsers read in two ways.

use hmac::{Hmac, Mac};
use rsa::pkcs8::EncodePublicKey;
use sha2::Sha256;

use super::{
    refusals::{CONTENT, SIGNER, assert_malformed, flattened, good, refusal, refusal_with, set},
    *,
};
use crate::{
    algorithm::unhex,
    jwks::jwk,
    testing::{Signer, stranger},
};

fn signed(header: &str) -> String {
    SIGNER.jws(header, CONTENT).join(".")
}

/// RFC 7515, section 10.3 and RFC 8725, section 3.10: otherwise whoever signs would choose the key.
#[test]
fn a_key_in_the_header_is_no_key() {
    let attacker = Signer::new(Algorithm::Es256);
    let key = jwk("https://attacker.example/key", &attacker.key.public);
    let x5c = base64::encode(b"a certificate");
    for member in [
        format!(r#""jwk":{key}"#),
        r#""jku":"https://attacker.example/jwks.json""#.to_owned(),
        r#""x5u":"https://attacker.example/key.pem""#.to_owned(),
        format!(r#""x5c":["{x5c}"]"#),
        r#""x5t#S256":"AAAA""#.to_owned(),
    ] {
        let ours = &SIGNER.key.kid;
        for kid in [String::new(), format!(r#","kid":"{ours}""#)] {
            let header = format!(r#"{{"alg":"ES256",{member}{kid}}}"#);
            let document = attacker.jws(&header, CONTENT).join(".");
            assert_eq!(refusal(&document), Refusal::Signature, "{header}");
            // What our key has signed is none the worse for it.
            assert!(verify(&signed(&header), None, &SIGNER.published()).is_ok(), "{header}");
        }
        let header = format!(r#"{{"alg":"ES256",{member},"kid":"https://attacker.example/key"}}"#);
        let document = attacker.jws(&header, CONTENT).join(".");
        assert!(matches!(refusal(&document), Refusal::Key(SelectError::NotInSet(_))), "{header}");
        let [protected, payload, signature] = attacker.jws(r#"{"alg":"ES256"}"#, CONTENT);
        let document = format!(
            r#"{{"protected":"{protected}","header":{{{member}}},"payload":"{payload}","signature":"{signature}"}}"#
        );
        assert_eq!(refusal(&document), Refusal::Signature, "{document}");
    }
}

/// RFC 8725, section 2.1, with what can be had of a public RSA key.
#[test]
fn a_public_rsa_key_is_no_secret_in_any_form() {
    let signer = Signer::new(Algorithm::Rs256);
    let (n, e) = signer.key.public.rsa_parts().expect("an RSA key");
    let key = rsa::RsaPublicKey::new(rsa::BigUint::from_bytes_be(&n), rsa::BigUint::from_bytes_be(&e)).expect("a key");
    let der = key.to_public_key_der().expect("DER").into_vec();
    let text = base64::encode(&der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
    let secrets = [format!("{pem}\n").into_bytes(), pem.into_bytes(), der, base64::encode_url(&n).into_bytes(), n];
    for secret in secrets {
        let [protected, payload, _] = signer.jws(r#"{"alg":"HS256"}"#, CONTENT);
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("any length");
        mac.update(format!("{protected}.{payload}").as_bytes());
        let signature = base64::encode_url(&mac.finalize().into_bytes());
        let document = format!("{protected}.{payload}.{signature}");
        assert_eq!(refusal_with(&document, &signer.published()), Refusal::Algorithm("HS256".to_owned()));
        // Nor is it one when the header says that it is a signature.
        for algorithm in ["RS256", "PS256"] {
            let protected = base64::encode_url(format!(r#"{{"alg":"{algorithm}"}}"#).as_bytes());
            let document = format!("{protected}.{payload}.{signature}");
            assert_eq!(refusal_with(&document, &signer.published()), Refusal::Signature);
        }
    }
}

#[test]
fn a_shared_secret_in_the_set_verifies_nothing() {
    let kid = &SIGNER.key.kid;
    let secret = format!(r#"{{"kty":"oct","kid":"{kid}","k":"AAAA"}}"#);
    let unusable = refusal_with(&good().join("."), &set(std::slice::from_ref(&secret)));
    assert!(matches!(unusable, Refusal::Key(SelectError::Unusable(_))), "{unusable:?}");
    // Beside the signer's own key, under the same name, it does no harm either.
    let both = set(&[secret, jwk(kid, &SIGNER.key.public)]);
    assert!(verify(&good().join("."), None, &both).is_ok());
    let hmac = SIGNER.jws(&format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#), CONTENT).join(".");
    assert_eq!(refusal_with(&hmac, &both), Refusal::Algorithm("HS256".to_owned()));
}

#[test]
fn a_signature_of_one_algorithm_is_none_of_another() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        for claimed in Algorithm::ALL.into_iter().filter(|claimed| *claimed != algorithm) {
            let document = signer.jws(&format!(r#"{{"alg":"{claimed}"}}"#), CONTENT).join(".");
            // With the key that has signed, and with one that has the algorithm claimed.
            let expected =
                if signer.key.public.can(claimed) { Refusal::Signature } else { Refusal::AlgorithmDoesNotFitKey };
            assert_eq!(refusal_with(&document, &signer.published()), expected, "{algorithm} as {claimed}");
            let other = set(&[jwk("other", &stranger(&Signer::new(claimed).key.public))]);
            assert_eq!(refusal_with(&document, &other), Refusal::Signature, "{algorithm} as {claimed}");
        }
    }
}

/// RFC 8725, section 3.1: one key for one algorithm, when the publisher says so.
#[test]
fn a_key_with_an_algorithm_of_its_own_has_no_other() {
    let signer = Signer::new(Algorithm::Rs256);
    let ours = jwk("k", &signer.key.public);
    for restriction in Algorithm::ALL {
        let keys = set(&[ours.replace(r#""use":"sig""#, &format!(r#""alg":"{restriction}""#))]);
        let document = signer.jws(r#"{"alg":"RS256"}"#, CONTENT).join(".");
        let verified = verify(&document, None, &keys).map(|verified| verified.algorithm);
        let expected =
            if restriction == Algorithm::Rs256 { Ok(Algorithm::Rs256) } else { Err(Refusal::AlgorithmDoesNotFitKey) };
        assert_eq!(verified, expected, "{restriction}");
    }
    for restriction in ["", "none", "RSA-OAEP", "rs256", "RS256 "] {
        let keys = set(&[ours.replace(r#""use":"sig""#, &format!(r#""alg":"{restriction}""#))]);
        let document = signer.jws(&format!(r#"{{"alg":"{restriction}"}}"#), CONTENT).join(".");
        assert_eq!(refusal_with(&document, &keys), Refusal::Algorithm(restriction.to_owned()));
    }
}

#[test]
fn an_algorithm_is_a_name_and_is_there_once() {
    for name in ["nOnE", "NoNe", " none", "none\\n", "RS1", "ES256,RS256", "ES256\\u200b", "\\ud800"] {
        let document = signed(&format!(r#"{{"alg":"{name}"}}"#));
        assert!(matches!(refusal(&document), Refusal::Algorithm(_)), "{name}");
        let [protected, payload, _] = SIGNER.jws(&format!(r#"{{"alg":"{name}"}}"#), CONTENT);
        assert!(matches!(refusal(&format!("{protected}.{payload}.")), Refusal::Algorithm(_)), "{name}");
    }
    for value in ["-7", "true", r#"{"name":"ES256"}"#, r#"["none","ES256"]"#] {
        assert!(matches!(refusal(&signed(&format!(r#"{{"alg":{value}}}"#))), Refusal::Algorithm(_)), "{value}");
    }
    for header in [
        r#"{"alg":"none","alg":"ES256"}"#,
        r#"{"alg":"ES256","alg":"none"}"#,
        r#"{"alg":"ES256","\u0061lg":"none"}"#,
        r#"{"alg":"ES256","b64":false,"b64":true,"crit":["b64"]}"#,
        r#"{"alg":"ES256","crit":["b64"],"b64":true,"cr\u0069t":["exp"]}"#,
        r#"{"alg":"ES256","jwk":1,"jwk":1}"#,
    ] {
        assert_malformed(&signed(header), "twice");
    }
    // An escape is another spelling of the same name.
    let spelt = signed(r#"{"\u0061lg":"ES\u0032\u00356"}"#);
    assert_eq!(verify(&spelt, None, &SIGNER.published()).map(|verified| verified.algorithm), Ok(Algorithm::Es256));
}

#[test]
fn a_crit_that_is_not_understood_is_refused() {
    for name in ["kid", "cty", "typ", "jwk", "crit", "iat", "", "b64 ", "http://example.invalid/UNDEFINED"] {
        let header = format!(r#"{{"alg":"ES256","crit":["{name}"],"{name} ":1}}"#);
        assert_eq!(refusal(&signed(&header)), Refusal::Critical(name.to_owned()), "{header}");
    }
    // However it is spelt.
    let escaped = signed(r#"{"alg":"ES256","cr\u0069t":["\u0065xp"],"exp":1}"#);
    assert_eq!(refusal(&escaped), Refusal::Critical("exp".to_owned()));
    let document = signed(r#"{"alg":"ES256","b64":false,"crit":["b64","exp"],"exp":1}"#);
    assert_eq!(refusal(&document), Refusal::Critical("exp".to_owned()));
}

#[test]
fn a_crit_that_is_no_list_of_names_is_refused() {
    for value in ["null", "true", "1", "{}", r#"{"b64":true}"#, "[null]", "[[]]", r#"[["b64"]]"#, r#"["b64",1]"#] {
        assert_malformed(&signed(&format!(r#"{{"alg":"ES256","b64":true,"crit":{value}}}"#)), "`crit` is no list");
    }
}

#[test]
fn a_b64_that_is_no_boolean_is_refused() {
    for value in ["1", r#""""#, r#""true""#, "[]", "[false]", "{}"] {
        let header = format!(r#"{{"alg":"ES256","b64":{value},"crit":["b64"]}}"#);
        assert_malformed(&signed(&header), "neither true nor false");
    }
    // The name counts as it is decoded.
    assert_malformed(&signed(r#"{"alg":"ES256","b\u00364":false}"#), "not named in `crit`");
}

#[test]
fn what_changes_the_meaning_is_protected_however_it_is_spelt() {
    for header in [r#"{"\u0063rit":["exp"],"exp":1}"#, r#"{"b6\u0034":false}"#] {
        assert_malformed(&flattened(r#"{"alg":"ES256"}"#, &format!(r#""header":{header},"#)), "unprotected");
    }
    let named = flattened(r#"{"alg":"ES256","crit":["b64"]}"#, r#""header":{"x":true},"#);
    assert_malformed(&named, "not there");
    let twice = flattened(r#"{"alg":"ES256"}"#, r#""header":{"\u0061lg":"none"},"#);
    assert_malformed(&twice, "both protected and unprotected");
}

#[test]
fn no_member_of_the_whole_is_there_twice() {
    let document = flattened(r#"{"alg":"ES256"}"#, r#""header":{},"#);
    for name in ["payload", "protected", "signature", "header"] {
        for again in [name.to_owned(), format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..])] {
            for value in [r#""""#, "{}", "null"] {
                let doubled = document.replacen('{', &format!(r#"{{"{again}":{value},"#), 1);
                assert_malformed(&doubled, "twice");
                let doubled = format!(r#"{},"{again}":{value}}}"#, &document[..document.len() - 1]);
                assert_malformed(&doubled, "twice");
            }
        }
    }
}

#[test]
fn empty_parts_are_refused() {
    for name in ["protected", "signature"] {
        let members = [("protected", 0), ("payload", 1), ("signature", 2)].map(|(member, i)| {
            let value = if member == name { String::new() } else { good()[i].clone() };
            format!(r#""{member}":"{value}""#)
        });
        let refusal = refusal(&format!("{{{}}}", members.join(",")));
        match name {
            "signature" => assert_eq!(refusal, Refusal::Signature),
            _ => assert!(matches!(refusal, Refusal::Malformed(_)), "{refusal:?}"),
        }
    }
    assert_malformed("{}", "`protected`");
    assert_malformed(&flattened("", ""), "the header");
}

#[test]
fn stray_bits_are_refused_in_every_part() {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for more in ["", " ", "  "] {
        let parts = SIGNER.jws(&format!(r#"{{"alg":"ES256"}}{more}"#), format!("12{more}").as_bytes());
        assert!(verify(&parts.join("."), None, &SIGNER.published()).is_ok());
        for (at, why) in [(0, "the protected"), (1, "the payload")] {
            let (front, last) = parts[at].split_at(parts[at].len() - 1);
            let clear = ALPHABET.find(last).expect("of the alphabet");
            // One byte in the last group leaves four bits over, two bytes leave two, three none.
            let spellings = match parts[at].len() % 4 {
                2 => 15,
                3 => 3,
                _ => 0,
            };
            for other in ALPHABET[clear + 1..].chars().take(spellings) {
                let mut parts = parts.clone();
                parts[at] = format!("{front}{other}");
                // The signature holds for this spelling, so that nothing else can be the reason.
                parts[2] = SIGNER.sign_parts(&parts[0], parts[1].as_bytes());
                assert_malformed(&parts.join("."), why);
            }
        }
    }
}

/// RFC 7516, appendix A.1 by form: five parts, or a member `ciphertext`.
#[test]
fn an_encrypted_message_is_no_signed_one() {
    let [protected, payload, signature] = good();
    assert_malformed(&format!("{protected}.{payload}.{payload}.{payload}.{signature}"), "three parts");
    assert_malformed(&format!("{protected}....{signature}"), "three parts");
    assert_malformed(&format!("{protected}.{payload}.{signature}.."), "three parts");
    let jwe = format!(r#"{{"protected":"{protected}","iv":"AA","ciphertext":"{payload}","tag":"{signature}"}}"#);
    assert_malformed(&jwe, "`signature`");
}

#[test]
fn a_header_is_one_object_in_utf8() {
    for header in [
        " ",
        "{}{\"alg\":\"ES256\"}",
        "{\"alg\":\"ES256\",}",
        "{\"alg\":\"ES256\"/**/}",
        "{'alg':'ES256'}",
        "{alg:\"ES256\"}",
        "{\"alg\":\"ES256\"}\0",
        "{\"alg\":\"ES256\",\"x\":\"\n\"}",
        "{\"alg\":\"ES256\",\"x\":01}",
        "{\"alg\":\"ES256\",\"x\":NaN}",
        "{\"alg\":\"ES256\",\"\\ud800\":1}",
    ] {
        assert_malformed(&signed(header), "the header");
    }
    let raw = |header: &[u8]| {
        let (protected, payload) = (base64::encode_url(header), base64::encode_url(CONTENT));
        let signature = SIGNER.sign_parts(&protected, payload.as_bytes());
        format!("{protected}.{payload}.{signature}")
    };
    let utf16: Vec<u8> = "{\"alg\":\"ES256\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for header in
        [&utf16[..], b"\xff\xfe{\0}\0", b"\xc0\xbb\"alg\":\"ES256\"}", b"{\"alg\":\"ES256\",\"x\":\"\xed\xa0\x80\"}"]
    {
        assert_malformed(&raw(header), "the header");
    }
    // Depth does no harm to what is not read.
    let deep = format!(r#"{{"alg":"ES256","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(verify(&signed(&deep), None, &SIGNER.published()).is_ok());
}

#[test]
fn white_space_and_marks_around_a_part_are_refused() {
    let [protected, payload, signature] = good();
    for mark in ["\u{feff}", "\u{200b}", "\u{a0}", "\u{b}"] {
        assert_malformed(&format!("{mark}{protected}.{payload}.{signature}"), "the protected");
        assert_malformed(&format!("{protected}.{payload}.{signature}{mark}"), "the signature");
    }
    let document = flattened(r#"{"alg":"ES256"}"#, "");
    assert_malformed(&format!("\u{feff}{document}"), "");
    for part in ["protected", "payload", "signature"] {
        for space in [" ", "\\n", "\\u0000", "="] {
            let changed = document.replacen(&format!(r#""{part}":""#), &format!(r#""{part}":"{space}"#), 1);
            assert_ne!(changed, document);
            assert_malformed(&changed, part);
        }
    }
}

/// The orders of the groups (SEC 2, sections 2.4.1, 2.4.2, 2.5.1 and 2.6.1).
const ORDERS: [(Algorithm, &str); 4] = [
    (Algorithm::Es256, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    (Algorithm::Es256K, "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
    (
        Algorithm::Es384,
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    ),
    (
        Algorithm::Es512,
        "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
    ),
];

/// SEC 1, section 4.1.4, step 1: r and s are at least 1 and less than n, and are not taken modulo n.
#[test]
fn numbers_out_of_range_are_refused() {
    for (algorithm, order) in ORDERS {
        let signer = Signer::new(algorithm);
        let keys = signer.published();
        let n = unhex(order).expect("hexadecimal");
        let [zero, one] = [0, 1].map(|value| [&vec![0; n.len() - 1][..], &[value]].concat());
        let [protected, payload, signature] = signer.jws(&format!(r#"{{"alg":"{algorithm}"}}"#), CONTENT);
        let good = base64::decode_url(&signature).expect("Base64url");
        let (r, s) = good.split_at(n.len());
        let refused = |r: &[u8], s: &[u8]| {
            let document = format!("{protected}.{payload}.{}", base64::encode_url(&[r, s].concat()));
            assert_eq!(refusal_with(&document, &keys), Refusal::Signature, "{algorithm} {r:02x?} {s:02x?}");
        };
        let next = sum(&n, &one).expect("n is not all ones");
        for bad in [&zero, &n, &next, &vec![0xff; n.len()]] {
            refused(bad, s);
            refused(r, bad);
            for other in [&zero, &one, &n, &next] {
                refused(bad, other);
                refused(other, bad);
            }
        }
        refused(&one, &one);
        // On P-521 there is room for the same number once more.
        let (more_r, more_s) = (sum(r, &n), sum(s, &n));
        assert_eq!(more_r.is_some() && more_s.is_some(), algorithm == Algorithm::Es512);
        if let Some(more) = more_r {
            refused(&more, s);
        }
        if let Some(more) = more_s {
            refused(r, &more);
        }
        assert!(verify(&format!("{protected}.{payload}.{signature}"), None, &keys).is_ok());
    }
}

/// The sum of two numbers of the same length, big-endian, where it has no more bytes than they have.
fn sum(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let mut carry = 0;
    let mut sum: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            let [high, low] = (u16::from(*a) + u16::from(*b) + carry).to_be_bytes();
            carry = u16::from(high);
            low
        })
        .collect();
    sum.reverse();
    (carry == 0).then_some(sum)
}
