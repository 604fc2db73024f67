//! Results as `signet verify` reads them, with keys whose every signature is known.

use std::collections::HashMap;

use signet::{
    remote::Document,
    verbs::verify::{Verdict, verdict},
};
use signet_core::algorithm::sha256_hex;

use crate::{
    bounds::in_proportion,
    documents::{CONTENT, CONTENT_TYPE, ISSUED_AT, OTHER_CONTENT},
    keys::{KEYS, SIGNERS},
};

/// What is valid was signed: its content, its header and its key are those of a result that we have made.
pub fn verify(data: &[u8]) {
    let mut document = Document { bytes: data.to_vec(), metadata: HashMap::new() };
    for content in [None, Some(CONTENT), Some(OTHER_CONTENT)] {
        if let Ok(valid) = in_proportion(data.len(), || verdict(&document, content, &KEYS)) {
            check(&valid);
            assert_ne!(content, Some(OTHER_CONTENT));
        }
    }
    // A blob says who signed it; that may be wrong, but makes nothing valid that is not.
    document.metadata.insert("signet_alg".to_owned(), "ES256".to_owned());
    document.metadata.insert("signet_kid".to_owned(), "https://vault.example/keys/ES256/1".to_owned());
    if let Ok(valid) = verdict(&document, Some(CONTENT), &KEYS) {
        check(&valid);
    }
}

/// Whether a result is good with the keys and the content that the seeds are signed with.
#[must_use]
pub fn is_good(result: &[u8]) -> bool {
    let document = Document { bytes: result.to_vec(), metadata: HashMap::new() };
    verdict(&document, Some(CONTENT), &KEYS).is_ok_and(|valid| {
        check(&valid);
        true
    })
}

fn check(valid: &Verdict) {
    assert!(SIGNERS.iter().any(|signer| signer.key.algorithm == valid.algorithm), "{valid:?}");
    assert!(valid.sha256.as_ref().is_none_or(|sha256| *sha256 == sha256_hex(CONTENT)), "{valid:?}");
    assert!(valid.length.is_none_or(|length| length == CONTENT.len() as u64), "{valid:?}");
    let is_bare = valid.form == "raw";
    assert_eq!(valid.issued_at, (!is_bare).then_some(ISSUED_AT));
    assert_eq!(valid.content_type.as_deref(), (!is_bare).then_some(CONTENT_TYPE));
    let kid = valid.kid.as_deref().expect("every key has a name");
    assert!(KEYS.contains(kid), "{kid}");
    assert_eq!(valid.subject.as_deref(), (valid.form == "dsse").then_some("a/b"));
}
