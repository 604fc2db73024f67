//! `COSE_Sign1`: the example of RFC 9052, appendix C.2.1, what can be made of it with its published private key, and
//! the examples of the working group where they are at hand.

use std::{env, fs, path::PathBuf};

use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
use serde_json::Value;
use signet_core::{
    algorithm::{self, Algorithm},
    base64, cbor,
    cose::{self, Refusal, Verified},
    jwks::{JwkSet, SelectError},
    raw,
};

/// RFC 9052, appendix C.2.1.
const PUBLISHED: &str = "\
    d28443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4\
    d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36";
const CONTENT: &[u8] = b"This is the content.";
/// RFC 9052, appendix C.7, the key with the kid 11.
const X: &str = "bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff";
const Y: &str = "20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e";
const D: &str = "57c92077664146e876760c9520d054aa93c3afb04e306705db6090308507b4d3";

/// `{1: -7}`: the algorithm ES256.
const ES256: &str = "a10126";
/// `{4: '11'}`: the key's name.
const KID: &str = "a104423131";

const SHAPE: Refusal = Refusal::Malformed("an array of four items, with tag 18 or none, is expected");

fn unhex(text: &str) -> Vec<u8> {
    algorithm::unhex(text).expect("hexadecimal")
}

fn jwk(kid: &str, restriction: &str) -> String {
    let [x, y] = [X, Y].map(|coordinate| base64::encode_url(&unhex(coordinate)));
    format!(r#"{{"kty":"EC","crv":"P-256","kid":"{kid}",{restriction}"x":"{x}","y":"{y}"}}"#)
}

fn set(keys: &[String]) -> JwkSet {
    JwkSet::parse(&format!("{{\"keys\":[{}]}}", keys.join(","))).expect("a set")
}

pub(crate) fn keys() -> JwkSet {
    set(&[jwk("11", "")])
}

pub(crate) fn published() -> Vec<u8> {
    unhex(PUBLISHED)
}

/// The `Sig_structure` (RFC 9052, section 4.4).
fn structure(protected: &[u8], external: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut structure = Vec::new();
    cbor::push_array_head(&mut structure, 4);
    cbor::push_text(&mut structure, "Signature1");
    cbor::push_bytes(&mut structure, protected);
    cbor::push_bytes(&mut structure, external);
    cbor::push_bytes(&mut structure, payload);
    structure
}

/// The signature that the published key makes.
fn sign(structure: &[u8]) -> Vec<u8> {
    let key = SigningKey::from_slice(&unhex(D)).expect("a private key");
    let signature: Signature = key.sign_prehash(&Algorithm::Es256.hash().digest(&[structure])).expect("a signature");
    signature.to_vec()
}

/// A message of four items that are given in hexadecimal, without a tag.
fn array(items: [&str; 4]) -> Vec<u8> {
    unhex(&format!("84{}", items.concat()))
}

fn bytes(content: &[u8]) -> String {
    let mut item = Vec::new();
    cbor::push_bytes(&mut item, content);
    algorithm::hex(&item)
}

/// A message with these headers, which the key has truly signed.
fn signed(protected: &str, unprotected: &str) -> Vec<u8> {
    let signature = sign(&structure(&unhex(protected), b"", CONTENT));
    array([&bytes(&unhex(protected)), unprotected, &bytes(CONTENT), &bytes(&signature)])
}

fn verify(message: &[u8]) -> Result<Verified, Refusal> {
    cose::verify(message, None, &keys())
}

#[test]
fn the_published_message_verifies() {
    let expected = Verified {
        algorithm: Algorithm::Es256,
        kid: Some("11".to_owned()),
        issued_at: None,
        content_type: None,
        content: CONTENT.to_owned(),
    };
    let published = published();
    // With tag and without (RFC 9052, section 2).
    for message in [&published[..], &published[1..]] {
        assert_eq!(verify(message).as_ref(), Ok(&expected));
        assert_eq!(cose::verify(message, Some(CONTENT), &keys()).as_ref(), Ok(&expected));
        assert_eq!(cose::verify(message, Some(b"other"), &keys()), Err(Refusal::OtherContent));
    }
    let detached = unhex(&PUBLISHED.replace(&bytes(CONTENT), "f6"));
    assert_eq!(cose::verify(&detached, Some(CONTENT), &keys()), Ok(expected));
    assert_eq!(cose::verify(&detached, Some(b"other"), &keys()), Err(Refusal::Signature));
    assert_eq!(cose::verify(&detached, None, &keys()), Err(Refusal::ContentMissing));
}

#[test]
fn the_fixtures_themselves_are_good() {
    // ECDSA as the RFC's authors made it is deterministic (RFC 6979).
    assert_eq!(signed(ES256, KID), unhex(PUBLISHED)[1..]);
    for (protected, unprotected) in [
        (ES256, "a0"),
        ("a201260300", KID),
        ("a2012604423131", "a0"),
        ("a2012604423131", "a203006161f5"),
        ("a301260fa10601036161", KID),
    ] {
        let message = signed(protected, unprotected);
        assert!(verify(&message).is_ok(), "{protected} {unprotected}");
    }
}

/// The working group's cases for `COSE_Sign1` that must fail, made of the published message.
#[test]
fn what_is_changed_in_the_published_message_is_refused() {
    let change = |from: &str, to: &str| {
        let changed = PUBLISHED.replacen(from, to, 1);
        assert_ne!(changed, PUBLISHED);
        verify(&unhex(&changed)).expect_err(&changed)
    };
    // Another tag: one that is unassigned, and those of the other messages (RFC 9052, section 2).
    for tag in ["d903e6", "d0", "d1", "d860", "d861", "d862", "d83d", "d2d2"] {
        assert_eq!(change("d284", &format!("{tag}84")), SHAPE, "{tag}");
    }
    assert_eq!(change("cacb36", "cacb37"), Refusal::Signature);
    assert_eq!(change("546869", "546868"), Refusal::Signature);
    assert_eq!(change("43a10126", "45a1013903e6"), Refusal::Algorithm(Some(-999)));
    assert_eq!(change("43a10126", "4aa10167756e6b6e6f776e"), Refusal::Algorithm(None));
    assert_eq!(change("43a10126", "45a201260300"), Refusal::Signature, "a parameter more");
    let removed = sign(&structure(&unhex("a201260300"), b"", CONTENT));
    let message = array([&bytes(&unhex(ES256)), KID, &bytes(CONTENT), &bytes(&removed)]);
    assert_eq!(verify(&message), Err(Refusal::Signature), "a parameter less");
    // The kid is not protected, and a wrong one finds no key.
    assert_eq!(change(KID, "a104423132"), Refusal::Key(SelectError::NotInSet("12".to_owned())));
    // The kid moves to where it is protected.
    assert_eq!(change("43a10126a104423131", "47a2012604423131a0"), Refusal::Signature);
}

/// What COSE allows and is declined here.
#[test]
fn what_is_not_offered_is_refused() {
    // The application's data beside the message, of which Signet has none (RFC 9052, section 4.3).
    let external = sign(&structure(&unhex(ES256), &unhex("11aa22bb33cc44dd55006699"), CONTENT));
    let message = array([&bytes(&unhex(ES256)), KID, &bytes(CONTENT), &bytes(&external)]);
    assert_eq!(verify(&message), Err(Refusal::Signature));
    // An algorithm that nothing protects, the protected header empty in either way.
    let empty = sign(&structure(b"", b"", CONTENT));
    for protected in ["40", "41a0"] {
        let message = array([protected, "a2012604423131", &bytes(CONTENT), &bytes(&empty)]);
        assert_eq!(verify(&message), Err(Refusal::Algorithm(None)), "{protected}");
    }
    assert_eq!(verify(&signed(ES256, "a2012604423131")), Err(twice()));
    // Other algorithms than the key's: RFC 9053, section 2.1 leaves the hash open, RFC 7518 does not.
    for (number, algorithm) in [("3822", "ES384"), ("3823", "ES512"), ("3824", "PS256"), ("382e", "ES256K")] {
        let refusal = verify(&signed(&format!("a101{number}"), KID));
        assert_eq!(refusal, Err(Refusal::AlgorithmDoesNotFitKey), "{algorithm}");
    }
    for (number, algorithm) in [("27", -8), ("28", -9), ("05", 5), ("24", -5), ("00", 0), ("39fffe", -65535)] {
        let refusal = verify(&signed(&format!("a101{number}"), KID));
        assert_eq!(refusal, Err(Refusal::Algorithm(Some(algorithm))), "{algorithm}");
    }
    // RFC 9052, appendix C.1.1: a message of several signatures, with one.
    let sign = "\
        d8628440a054546869732069732074686520636f6e74656e742e818343a10126a1044231315840e2aeafd40d69d19dfe6e52077c5d7ff4e4\
        08282cbefb5d06cbf414af2e19d982ac45ac98b8544c908b4507de1e90b717c3d34816fe926a2b98f53afd2fa0f30a";
    assert_eq!(verify(&unhex(sign)), Err(SHAPE));
    assert_eq!(verify(&unhex(sign)[2..]), Err(SHAPE));
}

fn twice() -> Refusal {
    Refusal::Malformed("a header parameter is there twice")
}

/// RFC 9052, section 3.1: none is understood here, not even where it need not be named.
#[test]
fn a_crit_is_refused_wherever_it_is() {
    let critical = Err(Refusal::Malformed("a critical header parameter is not understood"));
    for crit in ["8101", "8120", "81613f", "80", "f6", "01"] {
        assert_eq!(verify(&signed(&format!("a2012602{crit}"), KID)), critical, "{crit}");
        assert_eq!(verify(&signed(ES256, &format!("a20442313102{crit}"))), critical, "{crit}");
    }
}

#[test]
fn no_parameter_is_there_twice() {
    for (protected, unprotected) in [
        ("a201260126", KID),
        ("a201260127", KID),
        (ES256, "a20442313104423131"),
        ("a2012604423131", KID),
        ("a30126616100616101", KID),
        ("a201260300", "a2044231310300"),
    ] {
        let message = signed(protected, unprotected);
        assert_eq!(verify(&message), Err(twice()), "{protected} {unprotected}");
    }
}

#[test]
fn headers_that_are_none_are_refused() {
    let no_map = Refusal::Malformed("a header is no map");
    let label = Refusal::Malformed("a header's label is neither integer nor text");
    for (protected, unprotected, expected) in [
        ("80", KID, &no_map),
        ("f6", KID, &no_map),
        ("a101", KID, &no_map),
        ("a2012604", KID, &no_map),
        ("a1012600", KID, &no_map),
        ("bf0126ff", KID, &no_map),
        ("b8010126", KID, &no_map),
        ("a1180126", KID, &no_map),
        ("a1013806", KID, &no_map),
        ("a201260fa1061a00000001", KID, &no_map),
        // Floats are not read, whatever they stand for.
        ("a20126613ff93c00", KID, &no_map),
        (ES256, "80", &no_map),
        (ES256, "40", &no_map),
        ("a20126410100", KID, &label),
        ("a20126f600", KID, &label),
        ("a201268000", KID, &label),
        (ES256, "a1046131", &Refusal::Malformed("its kid is no byte string")),
        (ES256, "a10442ff31", &Refusal::Malformed("its kid is no text")),
        ("a10163455332", KID, &Refusal::Algorithm(None)),
        ("a101f6", KID, &Refusal::Algorithm(None)),
        ("a0", KID, &Refusal::Algorithm(None)),
        ("", KID, &Refusal::Algorithm(None)),
    ] {
        let message = signed(protected, unprotected);
        assert_eq!(verify(&message).as_ref(), Err(expected), "{protected} {unprotected}");
    }
}

#[test]
fn shapes_that_are_none_are_refused() {
    let signature = bytes(&sign(&structure(&unhex(ES256), b"", CONTENT)));
    let (protected, payload) = (bytes(&unhex(ES256)), bytes(CONTENT));
    let text = payload.replacen("54", "74", 1);
    for items in [
        [ES256, KID, &payload, &signature],
        ["f6", KID, &payload, &signature],
        [&protected, KID, &text, &signature],
        [&protected, KID, "f7", &signature],
        [&protected, KID, "f4", &signature],
        [&protected, KID, &payload, "f6"],
        [&protected, KID, &payload, "80"],
        [&protected, &payload, KID, &signature],
    ] {
        assert_eq!(verify(&array(items)), Err(SHAPE), "{items:?}");
    }
    let good = signed(ES256, KID);
    assert!(verify(&good).is_ok());
    let [head, rest] = [&good[..1], &good[1..]];
    for message in [
        &[][..],
        head,
        &[&[0x83], rest].concat(),
        &[&[0x85], rest, &[0]].concat(),
        &[&[0x9f], rest, &[0xff]].concat(),
        &[&[0x98, 4], rest].concat(),
        &[&[0x81], head, rest].concat(),
        &[&[0xd9, 0xd9, 0xf7], head, rest].concat(),
        &[&[0xd8, 18], head, rest].concat(),
    ] {
        assert_eq!(verify(message), Err(SHAPE), "{message:02x?}");
    }
    for end in 0..good.len() {
        assert!(verify(&good[..end]).is_err(), "{end} bytes");
    }
    let longer = [&good[..], &[0]].concat();
    assert_eq!(verify(&longer), Err(Refusal::Malformed("something follows the message")));
}

#[test]
fn signatures_that_are_none_are_refused() {
    let good = sign(&structure(&unhex(ES256), b"", CONTENT));
    let (r, s) = good.split_at(32);
    let zero = [0; 32];
    for bad in [
        vec![],
        good[..63].to_vec(),
        [&good[..], &[0]].concat(),
        [&[0], &good[..]].concat(),
        [s, r].concat(),
        [&zero[..], s].concat(),
        [r, &zero].concat(),
        vec![0; 64],
        vec![0xff; 64],
        raw::ecdsa_to_der(&good),
    ] {
        let message = array([&bytes(&unhex(ES256)), KID, &bytes(CONTENT), &bytes(&bad)]);
        assert_eq!(verify(&message), Err(Refusal::Signature), "{bad:02x?}");
    }
}

#[test]
fn keys_that_are_not_for_this_are_refused() {
    let published = published();
    for restriction in [r#""use":"enc","#, r#""key_ops":["sign"],"#, r#""key_ops":[],"#] {
        let refusal = cose::verify(&published, None, &set(&[jwk("11", restriction)]));
        assert!(matches!(refusal, Err(Refusal::Key(SelectError::Unusable(_)))), "{restriction}: {refusal:?}");
    }
    let restricted = set(&[jwk("11", r#""alg":"ES384","#)]);
    assert_eq!(cose::verify(&published, None, &restricted), Err(Refusal::AlgorithmDoesNotFitKey));
    let ambiguous = Err(Refusal::Key(SelectError::Ambiguous));
    assert_eq!(cose::verify(&published, None, &set(&[jwk("11", ""), jwk("11", "")])), ambiguous);
    assert_eq!(cose::verify(&signed(ES256, "a0"), None, &set(&[jwk("11", ""), jwk("12", "")])), ambiguous);
    assert!(cose::verify(&published, None, &set(&[jwk("11", ""), jwk("12", "")])).is_ok());
}

/// All of the working group's examples with a `COSE_Sign1`, and those with a `COSE_Sign`, which are refused.
#[test]
#[ignore = "needs a checkout of github.com/cose-wg/Examples, named by COSE_EXAMPLES"]
fn the_working_groups_examples_are_judged_as_they_say() {
    let root = PathBuf::from(env::var_os("COSE_EXAMPLES").expect("COSE_EXAMPLES names the checkout"));
    let (mut accepted, mut refused, mut declined) = (0, 0, Vec::new());
    for folder in ["sign1-tests", "ecdsa-examples", "eddsa-examples", "rsa-pss-examples", "RFC8152"] {
        for file in fs::read_dir(root.join(folder)).expect("a folder of the checkout") {
            let path = file.expect("an entry").path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let example: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
            let input = &example["input"];
            let key = &input["sign0"]["key"];
            let reason = if input["sign"].is_object() {
                "COSE_Sign"
            } else if input["sign0"].is_null() {
                continue;
            } else if !input["sign0"]["external"].is_null() {
                "external data"
            } else if input["sign0"]["protected"]["alg"].is_null() {
                "an algorithm that nothing protects"
            } else if key["kty"] == "OKP" {
                "EdDSA"
            } else if key["crv"] == "P-256" && input["sign0"]["protected"]["alg"] != "ES256" {
                "a hash that is not the curve's"
            } else {
                ""
            };
            let keys = JwkSet::parse(&format!("{{\"keys\":[{key}]}}")).expect("a set");
            let message = unhex(example["output"]["cbor"].as_str().expect("the message"));
            let outcome = cose::verify(&message, None, &keys);
            println!("{}: {:?}", path.display(), outcome.as_ref().map(|verified| verified.algorithm));
            if example["fail"] == true {
                assert!(outcome.is_err(), "{}", path.display());
                refused += 1;
            } else if reason.is_empty() {
                assert_eq!(outcome.expect("a good message").content, CONTENT, "{}", path.display());
                accepted += 1;
            } else {
                assert!(outcome.is_err(), "{}", path.display());
                declined.push((path, reason));
            }
        }
    }
    println!("{accepted} accepted, {refused} refused, {} declined: {declined:#?}", declined.len());
    assert!(accepted >= 5 && refused >= 6 && declined.len() >= 10);
}

/// They are looked for among each other: without a bound, a message of megabytes would take hours.
#[test]
fn a_message_has_no_more_parameters_than_anybody_gives() {
    let unprotected = |parameters: u8| {
        let others: Vec<u8> = (1..parameters).flat_map(|i| [0x18, 100 + i, 0]).collect();
        format!("b8{parameters:02x}04423131{}", algorithm::hex(&others))
    };
    // One more is protected.
    assert!(verify(&signed(ES256, &unprotected(63))).is_ok());
    let refusal = verify(&signed(ES256, &unprotected(64))).expect_err("65 parameters");
    assert!(matches!(refusal, Refusal::Malformed(why) if why.contains("more header parameters")), "{refusal}");
}
