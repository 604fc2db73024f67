//! `COSE_Sign1`, beside another library's reading.

use ciborium::Value;
use signet_core::cose::{self, Refusal, Signed, Verified};

use crate::{
    bounds::in_proportion,
    documents::{CONTENT, CONTENT_TYPE, ISSUED_AT, OTHER_CONTENT},
    keys::{KEYS, SIGNERS},
};

/// What is valid was signed, and what is read says the same to another library.
pub fn cose(data: &[u8]) {
    for content in [None, Some(CONTENT), Some(OTHER_CONTENT)] {
        match in_proportion(data.len(), || cose::verify(data, content, &KEYS)) {
            Ok(valid) => check(&valid, content),
            Err(refusal) => assert!(content.is_none() || refusal != Refusal::ContentMissing),
        }
    }
    if let Ok(signed) = Signed::parse(data, &KEYS) {
        check_reading(data, &signed);
    }
}

fn check(valid: &Verified, content: Option<&[u8]>) {
    let Verified { algorithm, kid, issued_at, content_type, .. } = valid;
    assert_ne!(content, Some(OTHER_CONTENT));
    assert_eq!(valid.content, CONTENT);
    let signer = SIGNERS.iter().find(|signer| Some(&signer.key.kid) == kid.as_ref());
    assert_eq!(signer.map(|signer| signer.key.algorithm), Some(*algorithm));
    assert_eq!((*issued_at, content_type.as_deref()), (Some(ISSUED_AT), Some(CONTENT_TYPE)));
}

fn check_reading(message: &[u8], signed: &Signed) {
    let message = match ciborium::from_reader(message).expect("CBOR") {
        Value::Tag(18, message) => *message,
        untagged => untagged,
    };
    let Value::Array(items) = message else { panic!("{message:?}") };
    let [Value::Bytes(protected), Value::Map(unprotected), payload, Value::Bytes(_)] = items.as_slice() else {
        panic!("{items:?}")
    };
    assert_eq!(signed.payload.as_ref(), payload.as_bytes());
    assert!(payload.is_null() || payload.is_bytes(), "{payload:?}");
    let protected: Value = ciborium::from_reader(protected.as_slice()).expect("CBOR");
    let protected = protected.as_map().expect("a map");
    let both = || protected.iter().chain(unprotected);
    let found = |label: i64| both().find(|(other, _)| *other == Value::from(label)).map(|(_, value)| value);
    let algorithm = protected.iter().find(|(label, _)| *label == Value::from(1)).map(|(_, value)| value);
    assert_eq!(algorithm, Some(&Value::from(cose::number(signed.algorithm))));
    assert_eq!(found(2), None, "nothing critical is understood");
    assert_eq!(found(4).and_then(Value::as_bytes).map(Vec::as_slice), signed.kid.as_deref().map(str::as_bytes));
    if let Some(content_type) = &signed.content_type {
        assert_eq!(found(3).and_then(Value::as_text), Some(content_type.as_str()));
    }
    if let Some(issued_at) = signed.issued_at {
        let claims = found(15).and_then(Value::as_map).expect("claims");
        assert!(claims.contains(&(Value::from(6), Value::from(issued_at))), "{claims:?}");
    }
    for label in [1, 3, 4, 15] {
        assert!(both().filter(|(other, _)| *other == Value::from(label)).count() <= 1, "{label} stands there twice");
    }
}
