//! Bare signatures, and the DER that they stand in.

use signet_core::{
    algorithm::Hash,
    raw::{self, Signed, ecdsa_from_der, ecdsa_to_der},
};

use crate::{
    bounds::in_proportion,
    documents::{CONTENT, OTHER_CONTENT},
    keys::{KEYS, SIGNERS},
};

/// What is valid was signed; DER is read as another library reads it, and written again as it stood.
pub fn raw(data: &[u8]) {
    check_der(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let signed = in_proportion(data.len(), || Signed::parse(text, None, None, &KEYS)).expect("no key was named");
    assert!(signed.signer(|hash| hash.digest(&[OTHER_CONTENT])).is_none());
    let about_content = |hash: Hash| hash.digest(&[CONTENT]);
    if let Some(candidate) = signed.signer(about_content) {
        let known = SIGNERS.iter().find(|known| known.key.algorithm == candidate.algorithm).expect("a key of ours");
        assert_eq!(candidate.jwk.key.kind(), known.key.public.kind());
        assert!(signed.hashes().any(|hash| hash == candidate.algorithm.hash()));
        let signature = raw::decode(candidate.algorithm, candidate.jwk.key.curve(), text).expect("a signature");
        assert!(known.verifies(&[CONTENT], &signature), "another library does not take it");
    }
}

fn check_der(der: &[u8]) {
    macro_rules! curve {
        ($library:ident, $width:expr) => {{
            use $library::ecdsa::Signature;
            let ours = in_proportion(der.len(), || ecdsa_from_der(der, $width));
            if let Some(signature) = &ours {
                assert_eq!(ecdsa_to_der(signature), der, "there is one encoding");
            }
            // Zero, and what is not below the order, is a pair of integers here, and no signature there.
            let ours = ours.filter(|signature| Signature::from_slice(signature).is_ok());
            assert_eq!(Signature::from_der(der).ok().map(|theirs| theirs.to_bytes().to_vec()), ours);
        }};
    }
    curve!(p256, 32);
    curve!(p384, 48);
    curve!(p521, 66);
    curve!(k256, 32);
}
