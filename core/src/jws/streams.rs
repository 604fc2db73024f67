//! Detached payloads that come bit by bit.

use super::*;
use crate::testing::Signer;

#[test]
fn a_payload_in_pieces_is_the_payload_whole() {
    let content: Vec<u8> = (0..200_000u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let signer = Signer::new(Algorithm::Es256);
    let keys = signer.published();
    let encoded = base64::encode_url(br#"{"alg":"ES256"}"#);
    let unencoded = base64::encode_url(br#"{"alg":"ES256","b64":false,"crit":["b64"]}"#);
    for (protected, payload) in [(encoded, base64::encode_url(&content).into_bytes()), (unencoded, content.clone())] {
        let signature = signer.sign_parts(&protected, &payload);
        for document in
            [format!("{protected}..{signature}"), format!(r#"{{"protected":"{protected}","signature":"{signature}"}}"#)]
        {
            let detached = Signed::parse(&document, &keys).expect("a detached JWS");
            assert_eq!(detached.payload, None);
            for size in [1, 2, 3, 4, 7, 1 << 16, 100_000, content.len()] {
                let mut input = detached.input();
                content.chunks(size).for_each(|piece| input.update(piece));
                assert_eq!(detached.verify_digest(&input.finish()), Ok(()), "{size}: {document}");
            }
            for other in [&content[1..], &content[..content.len() - 1], &[]] {
                let mut input = detached.input();
                input.update(other);
                assert_eq!(detached.verify_digest(&input.finish()), Err(Refusal::Signature), "{document}");
            }
            assert_eq!(verify(&document, Some(&content), &keys).expect("valid").content, content);
            assert_eq!(verify(&document, None, &keys), Err(Refusal::ContentMissing));
        }
    }
}

#[test]
fn what_no_content_can_mend_is_refused_at_once() {
    let signer = Signer::new(Algorithm::Es256);
    let stranger = Signer::new(Algorithm::Es256).key;
    let detached = |header: &str| {
        let [protected, _, signature] = signer.jws(header, b"");
        format!("{protected}..{signature}")
    };
    for (header, expected) in [
        (r#"{"alg":"none"}"#, Refusal::Algorithm("none".to_owned())),
        (r#"{"alg":"PS256"}"#, Refusal::AlgorithmDoesNotFitKey),
        (r#"{"alg":"ES256","crit":["b64","exp"],"b64":false,"exp":1}"#, Refusal::Critical("exp".to_owned())),
        (r#"{"alg":"ES256","kid":"9"}"#, Refusal::Key(SelectError::NotInSet("9".to_owned()))),
    ] {
        assert_eq!(Signed::parse(&detached(header), &signer.published()).expect_err(header), expected);
    }
    for header in [r#"{"alg":"ES256","b64":false}"#, r#"{"alg":"ES256","alg":"ES256"}"#] {
        let refusal = Signed::parse(&detached(header), &signer.published()).expect_err(header);
        assert!(matches!(refusal, Refusal::Malformed(_)), "{refusal}");
    }
    let mut keys = JwkSet::default();
    keys.add(&signer.key.kid, &stranger.public);
    assert!(Signed::parse(&detached(r#"{"alg":"ES256"}"#), &keys).is_ok(), "whose signature it is takes the content");
}
