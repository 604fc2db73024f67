//! Verdicts on detached results that are made here.

use azure_core::time::OffsetDateTime;
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
use rand_core::OsRng;
use serde_json::json;
use signet_core::{
    algorithm::{Hash, sha256_hex},
    base64, cose, dsse,
    key::{Curve, PublicKey},
    raw,
};

use super::*;

const KID: &str = "https://dev.vault.azure.net/keys/signing/0123";
const CONTENT: &[u8] = b"any bytes.\x00\xff";

struct Signer(SigningKey);

impl Signer {
    fn new() -> Self {
        Self(SigningKey::random(&mut OsRng))
    }

    fn sign(&self, parts: &[&[u8]]) -> Vec<u8> {
        let signature: Signature = self.0.sign_prehash(&Hash::Sha256.digest(parts)).unwrap();
        signature.to_vec()
    }

    fn keys(&self) -> JwkSet {
        let point = self.0.verifying_key().to_encoded_point(false);
        let mut keys = JwkSet::default();
        keys.add(KID, &PublicKey::ec(Curve::P256, point.x().unwrap(), point.y().unwrap()).unwrap());
        keys
    }

    /// Detached JWS, flattened and compact, with further header members.
    fn jws(&self, header: &serde_json::Value) -> [Document; 2] {
        let protected = base64::encode_url(header.to_string().as_bytes());
        let signature = base64::encode_url(&self.sign(&[protected.as_bytes(), b".", CONTENT]));
        [format!(r#"{{"protected":"{protected}","signature":"{signature}"}}"#), format!("{protected}..{signature}")]
            .map(document)
    }

    fn cose(&self) -> Document {
        let protected = cose::protected_header(Algorithm::Es256, "text/plain", KID, 7);
        let signature = self.sign(&[&cose::before_payload(&protected, CONTENT.len() as u64), CONTENT]);
        document(cose::message(&protected, None, &signature))
    }

    fn raw(&self) -> Document {
        document(raw::encode(Algorithm::Es256, &self.sign(&[CONTENT])))
    }

    fn dsse(&self) -> Document {
        self.envelope(dsse::STATEMENT_TYPE, &statement(&[("a/b", CONTENT)]))
    }

    fn envelope(&self, payload_type: &str, payload: &str) -> Document {
        let before = dsse::before_payload(payload_type, payload.len());
        let signature = self.sign(&[before.as_bytes(), payload.as_bytes()]);
        let envelope = dsse::envelope(payload.as_bytes(), KID, Algorithm::Es256, &signature);
        document(envelope.replace(dsse::STATEMENT_TYPE, payload_type))
    }
}

/// A statement about contents, with their names.
fn statement(subjects: &[(&str, &[u8])]) -> String {
    let subject =
        |(name, content): &(&str, &[u8])| json!({ "name": name, "digest": { "sha256": sha256_hex(content) } });
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects.iter().map(subject).collect::<Vec<_>>(),
        "predicateType": dsse::DEFAULT_PREDICATE_TYPE,
        "predicate": { "contentType": "text/plain", "issuedAt": 7 },
    })
    .to_string()
}

fn document(bytes: impl Into<Vec<u8>>) -> Document {
    Document { bytes: bytes.into(), metadata: std::collections::HashMap::new() }
}

fn header() -> serde_json::Value {
    json!({ "alg": "ES256", "kid": KID, "cty": "text/plain", "iat": 7, "b64": false, "crit": ["b64"] })
}

/// Verified with content that comes a byte at a time.
fn in_pieces(document: &Document, content: &[u8], keys: &JwkSet) -> Result<Verdict, NoVerdict> {
    let reading = Reading::of(document, keys)?;
    let mut measure = reading.measure(Some(content.len() as u64))?;
    content.chunks(1).for_each(|piece| measure.update(piece));
    reading.judge(Some(&measure.finish()?))
}

#[test]
fn detached_results_are_verified_with_their_content() {
    let signer = Signer::new();
    let keys = signer.keys();
    let [flattened, compact] = signer.jws(&header());
    for document in [flattened, compact, signer.cose(), signer.raw(), signer.dsse()] {
        for verdict in [verdict(&document, Some(CONTENT), &keys), in_pieces(&document, CONTENT, &keys)] {
            let verdict = verdict.unwrap();
            assert_eq!((verdict.kid.as_deref(), verdict.algorithm), (Some(KID), Algorithm::Es256));
            assert_eq!(verdict.sha256, Some(sha256_hex(CONTENT)));
            assert_eq!(verdict.length, Some(CONTENT.len() as u64));
            assert_eq!(verdict.issued_at, (verdict.form != "raw").then_some(7), "{}", verdict.form);
            assert_eq!(verdict.content_type.is_some(), verdict.form != "raw", "{}", verdict.form);
        }
        for other in [&b"other"[..], b"", &CONTENT[1..], &[CONTENT, CONTENT].concat()] {
            assert!(matches!(in_pieces(&document, other, &keys), Err(NoVerdict::Invalid(_))));
        }
        match verdict(&document, None, &keys) {
            Ok(alone) => assert_eq!(alone.form, "dsse"),
            Err(why) => assert!(matches!(why, NoVerdict::Unknown(_)), "{why:?}"),
        }
        let stranger = Signer::new().keys();
        assert!(matches!(in_pieces(&document, CONTENT, &stranger), Err(NoVerdict::Invalid(_))));
    }
}

#[test]
fn a_payload_is_a_statement_only_where_the_signed_type_says_so() {
    let signer = Signer::new();
    let (keys, payload) = (signer.keys(), statement(&[("a/b", CONTENT)]));
    let envelope = signer.envelope("application/json", &payload);
    for content in [None, Some(payload.as_bytes())] {
        let verdict = verdict(&envelope, content, &keys).unwrap();
        assert_eq!((&verdict.subject, &verdict.predicate_type, verdict.issued_at), (&None, &None, None));
        assert_eq!(verdict.sha256, Some(sha256_hex(payload.as_bytes())));
        let report = Report { verdict, surroundings: Surroundings::default() };
        assert_eq!(report.as_json()["payloadType"], "application/json");
        assert_eq!(report.as_json()["contentSeen"], true);
        assert!(report.as_text().contains("\n  payload    application/json\n"), "{}", report.as_text());
    }
    for other in [CONTENT, b"", &payload.as_bytes()[1..]] {
        assert!(matches!(in_pieces(&envelope, other, &keys), Err(NoVerdict::Invalid(_))));
    }
    // The type is signed: it cannot be put there afterwards.
    let forged = String::from_utf8(envelope.bytes).unwrap().replace("application/json", dsse::STATEMENT_TYPE);
    assert!(matches!(verdict(&document(forged), None, &keys), Err(NoVerdict::Invalid(_))));

    let foreign = signer.envelope(dsse::STATEMENT_TYPE, &payload.replace("Statement/v1", "Statement/v0.1"));
    let alone = verdict(&foreign, None, &keys).unwrap();
    assert_eq!((alone.payload_type.as_deref(), alone.subject), (Some(dsse::STATEMENT_TYPE), None));
    assert!(matches!(in_pieces(&foreign, CONTENT, &keys), Err(NoVerdict::Unknown(_))));
}

#[test]
fn content_may_be_any_subject_of_a_statement() {
    let signer = Signer::new();
    let keys = signer.keys();
    let document = signer.envelope(dsse::STATEMENT_TYPE, &statement(&[("other", b"other"), ("a/b", CONTENT)]));
    let verdict_on = |content| verdict(&document, content, &keys);
    let verdict = verdict_on(Some(CONTENT)).unwrap();
    assert_eq!((verdict.subject.as_deref(), verdict.sha256.clone()), (Some("a/b"), Some(sha256_hex(CONTENT))));
    let report = Report { verdict, surroundings: Surroundings::default() };
    assert!(report.as_text().contains("\n  subject    a/b (one of 2)\n"), "{}", report.as_text());
    assert_eq!(report.as_json()["subjects"], 2);
    assert_eq!(verdict_on(None).unwrap().subject.as_deref(), Some("other"));
    assert!(matches!(verdict_on(Some(b"neither")), Err(NoVerdict::Invalid(_))));
}

#[test]
fn what_no_content_can_mend_is_known_without_it() {
    let signer = Signer::new();
    let changed = |name: &str, value: serde_json::Value| {
        let mut header = header();
        header[name] = value;
        header
    };
    for header in [
        changed("alg", json!("none")),
        changed("alg", json!("PS256")),
        changed("alg", json!("HS256")),
        changed("kid", json!("https://dev.vault.azure.net/keys/other/1")),
        changed("crit", json!(["b64", "exp"])),
        changed("crit", json!([])),
    ] {
        for document in signer.jws(&header) {
            assert!(matches!(verdict(&document, None, &signer.keys()), Err(NoVerdict::Invalid(_))), "{header}");
        }
    }
    for text in ["", "AAAA", "not Base64!"] {
        assert!(matches!(verdict(&document(text), None, &signer.keys()), Err(NoVerdict::Invalid(_))), "{text}");
    }
    let doubled = r#"{"protected":"e30","protected":"e30","signature":"AA"}"#;
    assert!(matches!(verdict(&document(doubled), None, &signer.keys()), Err(NoVerdict::Invalid(_))));
}

#[test]
fn a_length_that_was_announced_must_come() {
    let signer = Signer::new();
    let (document, keys) = (signer.cose(), signer.keys());
    let reading = Reading::of(&document, &keys).unwrap();
    assert_eq!(reading.needs(), Needs::ContentOfKnownLength);
    assert!(matches!(reading.measure(None), Err(NoVerdict::Unknown(_))));
    let mut measure = reading.measure(Some(CONTENT.len() as u64 + 1)).unwrap();
    measure.update(CONTENT);
    assert!(matches!(measure.finish(), Err(NoVerdict::Unknown(_))));
}

#[test]
fn what_stands_beside_a_result_is_told_apart_from_what_is_signed() {
    let signer = Signer::new();
    let mut document = signer.raw();
    for (name, value) in [
        ("signet_kid", KID),
        ("signet_alg", "ES256"),
        ("signet_sha256", "00"),
        ("signet_source", "https://a.blob.core.windows.net/in/x"),
        ("signet_source_etag", "\"0x1\""),
    ] {
        document.metadata.insert(name.to_owned(), value.to_owned());
    }
    let mut surroundings = Surroundings::default();
    let fetched = Fetched { document, last_modified: Some(OffsetDateTime::from_unix_timestamp(60).unwrap()) };
    surroundings.note_result(&fetched);
    assert!(surroundings.content_wanted().contains("--content https://a.blob.core.windows.net/in/x"));
    surroundings.content_etag = Some("\"0x2\"".to_owned());
    assert!(surroundings.other_state().contains("\"0x1\""), "{}", surroundings.other_state());

    let verdict = verdict(&fetched.document, Some(CONTENT), &signer.keys()).unwrap();
    surroundings.compare(&verdict);
    let report = Report { verdict, surroundings };
    let text = report.as_text();
    for line in
        ["\n  version    0123\n", "  stored at  1970-01-01T00:01:00Z (the blob's Last-Modified", "  warning    "]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("\n  at "), "{text}");
    let json = report.as_json();
    assert_eq!((&json["keyVersion"], &json["signedAt"]), (&json!("0123"), &json!(null)));
    assert_eq!(json["warnings"].as_array().map(Vec::len), Some(1), "{json}");
}
