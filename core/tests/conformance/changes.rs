//! One change at every place of published documents: nothing else verifies than what was signed.

use signet_core::{cose, dsse, jwks::JwkSet, jws};

use crate::{cose as cose_example, dsse as dsse_example};

/// RFC 7515, appendix A.3.
const HEADER: &str = "eyJhbGciOiJFUzI1NiJ9";
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const SIGNATURE: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

/// Every document with one bit inverted, with one byte less, with one byte doubled, and every beginning of it.
fn changes(document: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..document.len()).flat_map(move |at| {
        let (before, byte, after) = (&document[..at], document[at], &document[at + 1..]);
        let inverted = (0..8).map(move |bit| [before, &[byte ^ 1 << bit], after].concat());
        let others = [[before, after].concat(), [before, &[byte, byte], after].concat(), before.to_vec()];
        inverted.chain(others).filter(move |changed| changed != document)
    })
}

/// The same for text: what is no UTF-8 is left out.
fn changed_texts(document: &str) -> impl Iterator<Item = String> {
    changes(document.as_bytes()).filter_map(|changed| String::from_utf8(changed).ok())
}

#[test]
fn a_jws_that_is_changed_anywhere_is_refused() {
    let keys = JwkSet::parse(KEYS).expect("a set");
    let compact = format!("{HEADER}.{PAYLOAD}.{SIGNATURE}");
    let flattened = format!(r#"{{"payload":"{PAYLOAD}","protected":"{HEADER}","signature":"{SIGNATURE}"}}"#);
    let mut count = 0;
    for document in [compact, flattened] {
        assert!(jws::verify(&document, None, &keys).is_ok());
        for changed in changed_texts(&document) {
            assert!(jws::verify(&changed, None, &keys).is_err(), "{changed}");
            count += 1;
        }
    }
    assert!(count > 4000, "{count}");
}

/// The kid is not protected, so that a change there may lead to the same key.
#[test]
fn a_cose_message_that_is_changed_anywhere_has_the_same_content_or_is_refused() {
    let (published, keys) = (cose_example::published(), cose_example::keys());
    let expected = cose::verify(&published, None, &keys).expect("good");
    let mut accepted = 0;
    for changed in changes(&published) {
        if let Ok(verified) = cose::verify(&changed, None, &keys) {
            assert_eq!(
                (verified.algorithm, &verified.content),
                (expected.algorithm, &expected.content),
                "{changed:02x?}"
            );
            accepted += 1;
        }
    }
    assert!(accepted < 16, "{accepted}");
}

/// White space, padding and the name of the key are not protected.
#[test]
fn an_envelope_that_is_changed_anywhere_has_the_same_content_or_is_refused() {
    let (document, keys) = (dsse_example::envelope_in_der(), dsse_example::keys());
    let expected = dsse::verify(&document, &keys).expect("good");
    let mut accepted = 0;
    for changed in changed_texts(&document) {
        if let Ok(verified) = dsse::verify(&changed, &keys) {
            assert_eq!(verified, expected, "{changed}");
            accepted += 1;
        }
    }
    assert!(accepted < 32, "{accepted}");
}
