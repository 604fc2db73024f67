//! What is no JWS by its form, from the whole down to the last bits of a signature.

use super::{
    published::{A2_SIGNATURE, A3_SIGNATURE, PAYLOAD_7515},
    refusals::{CONTENT, SIGNER, assert_malformed, flattened, good, refusal, refusal_with, set},
    *,
};
use crate::{
    jwks::jwk,
    testing::{Signer, stranger},
};

#[test]
fn json_that_is_no_flattened_jws() {
    // RFC 7515, appendix A.6.
    let general = format!(
        r#"{{"payload":"{PAYLOAD_7515}","signatures":[
            {{"protected":"eyJhbGciOiJSUzI1NiJ9","header":{{"kid":"2010-12-29"}},"signature":"{A2_SIGNATURE}"}},
            {{"protected":"eyJhbGciOiJFUzI1NiJ9","header":{{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"}},
             "signature":"{A3_SIGNATURE}"}}]}}"#
    );
    assert_malformed(&general, "general serialisation");
    assert_malformed(&flattened(r#"{"alg":"ES256"}"#, r#""signatures":[],"#), "general serialisation");

    let document = flattened(r#"{"alg":"ES256"}"#, "");
    for (from, to, why) in [
        (r#""protected":"#, r#""Protected":"#, "`protected`"),
        (r#""signature":"#, r#""sig":"#, "`signature`"),
        (r#""signature":"#, r#""signature":null,"x":"#, "`signature`"),
        (r#""payload":"#, r#""payload":null,"x":"#, "`payload`"),
        (r#""payload":"#, r#""payload":{},"x":"#, "`payload`"),
        (r#""payload":"#, r#""payload":"e30","payload":"#, "`payload`"),
        (r#""signature":"#, r#""signature":"AA","signature":"#, "`signature`"),
        ("}", "", ""),
        ("}", "}}", ""),
    ] {
        let changed = document.replacen(from, to, 1);
        assert_ne!(changed, document);
        assert_malformed(&changed, why);
    }
}

#[test]
fn signatures() {
    for algorithm in [Algorithm::Es256, Algorithm::Es512, Algorithm::Es256K, Algorithm::Rs256, Algorithm::Ps512] {
        let signer = Signer::new(algorithm);
        let keys = signer.published();
        let [protected, payload, signature] = signer.jws(&format!(r#"{{"alg":"{algorithm}"}}"#), CONTENT);
        let good = base64::decode_url(&signature).expect("Base64url");
        let (r, s) = good.split_at(good.len() / 2);
        let zero = vec![0; r.len()];
        let mut bit = good.clone();
        bit[7] ^= 0x10;
        for bad in [
            vec![],
            bit,
            good[..good.len() - 1].to_vec(),
            [&good[..], &[0]].concat(),
            [&[0], &good[..]].concat(),
            [&zero[..], s].concat(),
            [r, &zero].concat(),
            [&zero[..], &zero].concat(),
            [s, r].concat(),
            vec![0xff; good.len()],
            crate::raw::ecdsa_to_der(&good),
        ] {
            let document = format!("{protected}.{payload}.{}", base64::encode_url(&bad));
            assert_eq!(refusal_with(&document, &keys), Refusal::Signature, "{algorithm}: {bad:02x?}");
        }
        let same_name = set(&[jwk(&signer.key.kid, &stranger(&signer.key.public))]);
        let document = format!("{protected}.{payload}.{signature}");
        assert_eq!(refusal_with(&document, &same_name), Refusal::Signature, "{algorithm}: another key");
        assert!(verify(&document, None, &keys).is_ok());
    }
}

#[test]
fn encodings() {
    let [protected, payload, signature] = good();
    let whole = |protected: &str, payload: &str, signature: &str| format!("{protected}.{payload}.{signature}");
    let broken = |part: &str| {
        let half = part.len() / 2;
        let mut broken: Vec<String> = ["=", "==", "+", "/", "\n", " ", "\u{e9}", "%3D", "\0"]
            .iter()
            .flat_map(|more| [format!("{part}{more}"), format!("{}{more}{}", &part[..half], &part[half..])])
            .collect();
        broken.push(format!(" {part}"));
        broken
    };
    for part in broken(&protected) {
        // What stands around the document is no part of it.
        if !part.starts_with(' ') {
            assert_malformed(&whole(&part, &payload, &signature), "the protected");
        }
    }
    for part in broken(&payload) {
        assert_malformed(&whole(&protected, &part, &signature), "the payload");
    }
    for part in broken(&signature) {
        if part.trim_ascii() != part && part.starts_with(&signature) {
            continue;
        }
        assert_malformed(&whole(&protected, &payload, &part), "the signature");
    }
    // The other alphabet, of the same bytes.
    let plus = SIGNER.jws(r#"{"alg":"ES256"}"#, &[0xfb, 0xff, 0xfe]);
    assert_malformed(&whole(&plus[0], "+//+", &plus[2]), "the payload");
    // 64 bytes leave four bits over in the last character; only one of sixteen spellings has them clear.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (front, last) = signature.split_at(signature.len() - 1);
    let at = alphabet.find(last).expect("of the alphabet");
    assert_eq!(at % 16, 0);
    for other in alphabet[at + 1..at + 16].chars() {
        assert_malformed(&whole(&protected, &payload, &format!("{front}{other}")), "the signature");
    }
}

#[test]
fn shapes() {
    let [protected, payload, signature] = good();
    let three = "three parts";
    for document in [
        String::new(),
        " ".to_owned(),
        protected.clone(),
        format!("{protected}.{payload}"),
        format!("{protected}.{payload}.{signature}."),
        format!(".{protected}.{payload}.{signature}"),
        format!("{protected}.{payload}.{signature}.{signature}"),
        format!("{protected}..{payload}.{signature}"),
        format!("{protected}.{payload}..{signature}"),
        format!("[{{\"payload\":\"{payload}\"}}]"),
    ] {
        assert_malformed(&document, three);
    }
    assert_malformed(&format!(".{payload}.{signature}"), "the header");
    assert_malformed("..", "the header");
    assert_eq!(refusal(&format!("{protected}.{payload}.")), Refusal::Signature);

    // RFC 7797, section 5.2: an unencoded payload with dots has no place in the compact form.
    let protected = base64::encode_url(br#"{"alg":"ES256","b64":false,"crit":["b64"]}"#);
    let signature = SIGNER.sign_parts(&protected, b"$.02");
    assert_malformed(&format!("{protected}.$.02.{signature}"), three);
}
