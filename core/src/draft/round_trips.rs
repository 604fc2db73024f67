//! A draft's way from a work item to a result and back, and the signatures that it refuses.

use std::{
    fs,
    process::{Command, Stdio},
};

use rsa::pkcs8::EncodePublicKey;

use super::*;
use crate::{
    content::{Content, Predicate, Source},
    json::Members,
    jws,
    key::Curve,
    testing::{Signer, stranger},
};

const ISSUED_AT: i64 = 1_795_255_200;

fn item(content_type: &str, content: &[u8]) -> WorkItem {
    WorkItem {
        id: Some("invoices/2026/0042".to_owned()),
        formats: Format::ALL.to_vec(),
        content_type: content_type.to_owned(),
        content: Content::Given(Given::bytes(content.to_owned())),
        predicate: None,
        is_event: false,
    }
}

fn complete(signer: &Signer, item: &WorkItem, format: Format) -> String {
    String::from_utf8(complete_bytes(signer, item, format)).expect("text")
}

fn complete_bytes(signer: &Signer, item: &WorkItem, format: Format) -> Vec<u8> {
    let draft = draft(item, format, &signer.key).expect("content");
    let signature = signer.sign(draft.digest());
    draft.complete(&signature, &signer.key).expect("its own signature")
}

fn draft<'a>(item: &'a WorkItem, format: Format, key: &SigningKey) -> Result<Draft<'a>, Rejection> {
    let Content::Given(given) = &item.content else { panic!("content that came with the item") };
    Draft::new(item, given, format, key, ISSUED_AT)
}

#[test]
fn every_algorithm_in_every_jws_format_verifies() {
    let contents: [(&str, &[u8]); 4] = [
        ("application/json", br#"{ "amount": "12.50", "currency": "EUR" }"#),
        ("application/octet-stream", &[0x00, 0xff, 0x2e, 0x0a]),
        (r#"text/plain; charset="utf-8""#, "Grüße. \u{1f58b}\r\n".as_bytes()),
        ("application/octet-stream", b""),
    ];
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        for (content_type, content) in contents {
            for format in [Format::Jws, Format::JwsCompact] {
                let result = complete(&signer, &item(content_type, content), format);
                let keys = signer.published();
                let [verified, without] = [Some(content), None].map(|given| jws::verify(&result, given, &keys));
                assert_eq!(verified, without, "the content is in it, even if it is empty");
                let expected = jws::Verified {
                    algorithm,
                    kid: Some(signer.key.kid.clone()),
                    issued_at: Some(ISSUED_AT),
                    content_type: Some(content_type.to_owned()),
                    content: content.to_owned(),
                };
                assert_eq!(verified, Ok(expected), "{algorithm} {format}: {result}");
            }
        }
    }
}

#[test]
fn an_item_has_a_draft_for_each_of_its_formats_in_their_order() {
    let signer = Signer::new(Algorithm::Es256);
    let mut item = item("text/plain", b"content");
    item.formats.reverse();
    let Content::Given(given) = &item.content else { panic!("content that came with the item") };
    let drafts = drafts(&item, given, &signer.key, ISSUED_AT).expect("content");
    assert_eq!(drafts.iter().map(|draft| draft.format).collect::<Vec<_>>(), item.formats);
    let digest = Hash::Sha256.digest(&[b"content"]);
    let bare: Vec<bool> = drafts.iter().map(|draft| draft.digest() == digest).collect();
    assert_eq!(bare, [false, true, false, false, false], "raw alone is over the content and nothing else");
}

#[test]
fn a_jws_is_of_its_serialisation_and_its_header_has_four_members() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let item = item("application/json", b"{}");

        let compact = complete(&signer, &item, Format::JwsCompact);
        let [protected, payload, signature] = compact.split('.').collect::<Vec<_>>()[..] else {
            panic!("three parts: {compact}");
        };
        assert_eq!(payload, "e30");
        let header = String::from_utf8(base64::decode_url(protected).expect("Base64url")).expect("UTF-8");
        let kid = &signer.key.kid;
        assert_eq!(
            header,
            format!(r#"{{"alg":"{algorithm}","kid":"{kid}","cty":"application/json","iat":{ISSUED_AT}}}"#)
        );
        assert!(base64::decode_url(signature).is_some(), "{signature}");

        let flattened = complete(&signer, &item, Format::Jws);
        let members = Members::parse(&flattened).expect("an object");
        let names: Vec<&str> = members.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["payload", "protected", "signature"]);
        assert_eq!(members.string("payload").as_deref(), Some("e30"));
        assert_eq!(members.string("protected").as_deref(), Some(protected));
    }
}

#[test]
fn a_header_escapes_what_json_must_escape() {
    let mut signer = Signer::new(Algorithm::Es256);
    signer.key.kid = "a \"quoted\\\u{1}\" kid".to_owned();
    let result = complete(&signer, &item("x/\"y\"", b"z"), Format::JwsCompact);
    let verified = jws::verify(&result, None, &signer.published()).expect("verifies");
    assert_eq!(verified.kid.as_ref(), Some(&signer.key.kid));
    assert_eq!(verified.content_type.as_deref(), Some("x/\"y\""));
}

#[test]
fn every_algorithms_raw_signature_verifies_after_decoding() {
    let content = b"the content";
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let (public, digest) = (&signer.key.public, algorithm.hash().digest(&[content]));
        let text = complete(&signer, &item("text/plain", content), Format::Raw);
        for text in [text.clone(), format!("{text}\n")] {
            let signature = raw::decode(algorithm, public.curve(), &text).expect("the signature's form");
            assert_eq!(public.verify(algorithm, &digest, &signature), Ok(()), "{algorithm}");
        }
        assert_eq!(raw::decode(algorithm, other_kind(public.curve()), &text), None, "{algorithm}");
    }
}

/// None for a curve, a curve for none.
fn other_kind(curve: Option<Curve>) -> Option<Curve> {
    curve.is_none().then_some(Curve::P256)
}

#[test]
fn every_algorithm_in_a_dsse_envelope_verifies() {
    let content = b"release.zip, say";
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let mut item = item("application/zip", content);
        let verified = dsse::verify(&complete(&signer, &item, Format::Dsse), &signer.published()).expect("valid");
        assert_eq!((verified.algorithm, verified.kid.as_ref()), (algorithm, Some(&signer.key.kid)));
        assert_eq!(verified.payload_type, "application/vnd.in-toto+json");
        let statement = dsse::Statement::parse(&verified.payload).expect("a statement");
        assert_eq!(
            (statement.name.as_str(), statement.predicate_type.as_str()),
            ("invoices/2026/0042", "urn:signet:signature:v1")
        );
        assert_eq!((statement.is_about(content), statement.is_about(b"another")), (Some(true), Some(false)));

        let (predicate_type, json) = ("https://slsa.dev/provenance/v1".to_owned(), Some("{ \"x\": 1.0 }".to_owned()));
        item.predicate = Some(Predicate { predicate_type, json });
        item.content = Content::Given(Given::Digest { hash: Hash::Sha512, digest: vec![7; 64] });
        let verified = dsse::verify(&complete(&signer, &item, Format::Dsse), &signer.published()).expect("valid");
        let expected = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"invoices/2026/0042","digest":{{"sha512":"{}"}}}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{{ "x": 1.0 }}}}"#,
            "07".repeat(64)
        );
        assert_eq!(String::from_utf8(verified.payload).expect("text"), expected);
    }
}

#[test]
fn every_algorithm_in_a_cose_message_verifies() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        for content in [&b"\x00\xff"[..], b"", &vec![b'x'; 70_000]] {
            let message = complete_bytes(&signer, &item("text/plain", content), Format::Cose);
            let expected = cose::Verified {
                algorithm,
                kid: Some(signer.key.kid.clone()),
                issued_at: Some(ISSUED_AT),
                content_type: Some("text/plain".to_owned()),
                content: content.to_owned(),
            };
            for given in [None, Some(content)] {
                assert_eq!(cose::verify(&message, given, &signer.published()).as_ref(), Ok(&expected), "{algorithm}");
            }
            let other = cose::verify(&message, Some(b"other"), &signer.published());
            assert_eq!(other, Err(cose::Refusal::OtherContent));
        }
    }
}

/// A pass over content that comes in pieces of so many bytes; the results in the order of the item's formats.
fn pass(signer: &Signer, item: &WorkItem, content: &[u8], piece: usize) -> (ContentName, Vec<Vec<u8>>) {
    let mut pass = Pass::new(item, &signer.key, ISSUED_AT, content.len() as u64);
    content.chunks(piece).for_each(|piece| pass.update(piece));
    let (name, drafts) = pass.finish();
    assert_eq!(drafts.iter().map(|draft| draft.format).collect::<Vec<_>>(), item.formats);
    let results = drafts.iter().map(|draft| draft.complete(&signer.sign(draft.digest()), &signer.key));
    (name, results.collect::<Result<_, _>>().expect("its own signatures"))
}

#[test]
fn one_pass_over_a_source_makes_every_format_of_every_algorithm() {
    let content: Vec<u8> = (0..100_000u32).map(|n| u8::try_from(n % 251).expect("a byte")).collect();
    let url = "https://a.blob.core.windows.net/in/x".parse().expect("a URL");
    let source = Source { url, etag: None, version_id: None };
    let mut item = item("application/zip", b"");
    item.content = Content::Source(source);
    item.formats.reverse();
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let keys = signer.published();
        for content in [&content[..], b"", b"."] {
            let (name, results) = pass(&signer, &item, content, 4_096);
            let sha256 = crate::algorithm::sha256_hex(content);
            assert_eq!(name.sha256(), Some(&*sha256));
            assert_eq!(name, pass(&signer, &item, content, 7).0, "pieces are no matter");
            let [cose, raw, dsse, compact, jws] = &results[..] else { panic!("five results") };
            let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).expect("text");

            for document in [text(compact), text(jws)] {
                let verified = jws::verify(&document, Some(content), &keys).expect("valid");
                assert_eq!((verified.issued_at, verified.content), (Some(ISSUED_AT), content.to_vec()));
                assert_eq!(jws::verify(&document, None, &keys), Err(jws::Refusal::ContentMissing));
                assert_eq!(jws::verify(&document, Some(b"other"), &keys), Err(jws::Refusal::Signature));
            }
            assert!(text(compact).contains(".."), "no payload: {}", text(compact));
            assert!(Members::parse(&text(jws)).expect("JSON").value("payload").is_none());

            assert_eq!(cose::verify(cose, Some(content), &keys).expect("valid").content, content);
            assert_eq!(cose::verify(cose, None, &keys), Err(cose::Refusal::ContentMissing));
            assert_eq!(cose::verify(cose, Some(b"other"), &keys), Err(cose::Refusal::Signature));

            let signature = raw::decode(algorithm, signer.key.public.curve(), &text(raw)).expect("a signature");
            let digest = algorithm.hash().digest(&[content]);
            assert_eq!(signer.key.public.verify(algorithm, &digest, &signature), Ok(()), "{algorithm}");

            let envelope = dsse::verify(&text(dsse), &keys).expect("valid");
            let statement = dsse::Statement::parse(&envelope.payload).expect("a statement");
            assert_eq!(statement.digests, [("sha256".to_owned(), sha256)]);
            assert_eq!(statement.is_about(content), Some(true));
        }
    }
}

#[test]
fn a_source_without_id_is_named_by_what_is_read() {
    let signer = Signer::new(Algorithm::Es256);
    let url = "https://a.blob.core.windows.net/in/x".parse().expect("a URL");
    let content = Content::Source(Source { url, etag: None, version_id: None });
    let item = WorkItem { id: None, content, ..item("text/plain", b"") };
    let (name, _) = pass(&signer, &item, b"abc", 1);
    assert_eq!(item.id(&name), "sha256/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let given = Given::bytes(b"abc".to_vec()).name();
    assert_ne!(item.request_digest(Format::Jws, &name), item.request_digest(Format::Jws, &given), "another result");
    assert_eq!(item.request_digest(Format::Raw, &name), item.request_digest(Format::Raw, &given), "the same result");
}

#[test]
fn a_digest_in_place_of_the_content_must_be_the_algorithms() {
    let signer = Signer::new(Algorithm::Es384);
    let content = b"large";
    let digest = |hash: Hash| {
        let content = Content::Given(Given::Digest { hash, digest: hash.digest(&[content]) });
        WorkItem { content, ..item("application/octet-stream", b"") }
    };
    let text = complete(&signer, &digest(Hash::Sha384), Format::Raw);
    let signature = raw::decode(Algorithm::Es384, Some(Curve::P384), &text).expect("a signature");
    let hashed = Hash::Sha384.digest(&[content]);
    assert_eq!(signer.key.public.verify(Algorithm::Es384, &hashed, &signature), Ok(()));
    for (hash, format) in [(Hash::Sha256, Format::Raw), (Hash::Sha384, Format::Jws), (Hash::Sha384, Format::Cose)] {
        let rejection = draft(&digest(hash), format, &signer.key).expect_err("a rejection");
        assert_eq!((rejection.reason, rejection.stage), (Reason::InvalidWorkItem, Stage::Resolve), "{format}");
    }
}

#[test]
fn no_draft_is_completed_by_another_signature() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let other = SigningKey { public: stranger(&signer.key.public), ..signer.key.clone() };
        let (item, other_item) = (item("text/plain", b"signed"), item("text/plain", b"other"));
        for format in Format::ALL {
            let draft = || draft(&item, format, &signer.key).expect("content");
            let good = signer.sign(draft().digest());
            let refused = |signature: &[u8], why: &str| {
                let outcome = draft().complete(signature, &signer.key);
                assert_eq!(outcome, Err(SignatureError::Invalid), "{algorithm} {format}: {why}");
            };
            for at in [0, good.len() / 2, good.len() - 1] {
                let mut changed = good.clone();
                changed[at] ^= 1;
                refused(&changed, "one bit changed");
            }
            refused(&[], "empty");
            refused(&good[..good.len() - 1], "a byte short");
            refused(&good[1..], "a byte short in front");
            refused(&[&good[..], &[0]].concat(), "a byte long");
            refused(&[&[0], &good[..]].concat(), "a byte long in front");
            refused(&[&good[..], &good[..]].concat(), "twice");
            refused(&vec![0; good.len()], "zero");
            refused(&vec![0xff; good.len()], "beyond the modulus");
            if algorithm.is_ecdsa() {
                refused(&raw::ecdsa_to_der(&good), "in DER");
                let half = good.len() / 2;
                refused(&[&vec![0; half], &good[half..]].concat(), "r is zero");
                refused(&[&good[..half], &vec![0; half]].concat(), "s is zero");
                refused(&[&good[half..], &good[..half]].concat(), "s || r");
            }
            let elsewhere = super::round_trips::draft(&other_item, format, &signer.key).expect("content");
            refused(&signer.sign(elsewhere.digest()), "over another content");
            assert_eq!(draft().complete(&good, &other), Err(SignatureError::Invalid), "{algorithm}: another key");
            assert!(draft().complete(&good, &signer.key).is_ok(), "{algorithm}");
        }
    }
}

#[test]
fn an_algorithm_of_another_kind_of_key_completes_nothing() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        for other in Algorithm::ALL.into_iter().filter(|other| !signer.key.public.can(*other)) {
            let key = SigningKey { algorithm: other, ..signer.key.clone() };
            let item = item("text/plain", b"x");
            let draft = draft(&item, Format::Raw, &key).expect("content");
            let signature = signer.sign(&algorithm.hash().digest(&[b"x"]));
            let outcome = draft.complete(&signature, &key);
            assert_eq!(outcome, Err(SignatureError::AlgorithmDoesNotFitKey), "{algorithm} as {other}");
        }
    }
}

/// ECDSA has `(r, s)` and `(r, n - s)` for the same digest (SEC 1, section 4.1.4), and a vault returns either.
#[test]
fn both_halves_of_s_are_accepted_on_secp256k1() {
    let signer = Signer::new(Algorithm::Es256K);
    let item = item("text/plain", b"x");
    for format in Format::ALL {
        let draft = || draft(&item, format, &signer.key).expect("content");
        let signature = k256::ecdsa::Signature::from_slice(&signer.sign(draft().digest())).expect("r || s");
        let low = signature.normalize_s().unwrap_or(signature);
        let (r, s) = low.split_scalars();
        let high = k256::ecdsa::Signature::from_scalars(r, -s).expect("r || n - s");
        assert!(high.normalize_s().is_some() && low.normalize_s().is_none());
        for signature in [low, high] {
            let result = draft().complete(&signature.to_vec(), &signer.key).expect("either half");
            if matches!(format, Format::Jws | Format::JwsCompact) {
                let result = String::from_utf8(result).expect("text");
                assert!(jws::verify(&result, None, &signer.published()).is_ok());
            }
        }
    }
}

/// `openssl dgst -verify` is the judge; without it the test says so and ends.
#[test]
fn openssl_verifies_every_raw_signature() {
    let Ok(version) = Command::new("openssl").arg("version").output() else {
        println!("skipped: there is no openssl on the PATH");
        return;
    };
    println!("{}", String::from_utf8_lossy(&version.stdout).trim());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [key, signature, content] = ["key.pem", "content.sig", "content"].map(|name| folder.path().join(name));
    let verifies = |algorithm: Algorithm| {
        let mut openssl = Command::new("openssl");
        let digest = if algorithm == Algorithm::Es256K { "256" } else { &algorithm.name()[2..] };
        openssl.arg("dgst").arg(format!("-sha{digest}")).arg("-verify").arg(&key).arg("-signature").arg(&signature);
        if algorithm.name().starts_with("PS") {
            openssl.args(["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"]);
        }
        openssl.arg(&content).stdin(Stdio::null()).output().expect("openssl runs").status.success()
    };
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let text = complete(&signer, &item("text/plain", b"the content"), Format::Raw);
        fs::write(&key, pem(&signer.key.public)).expect("written");
        fs::write(&signature, base64::decode_any(&text).expect("Base64")).expect("written");
        fs::write(&content, b"the content").expect("written");
        assert!(verifies(algorithm), "{algorithm}: {text}");
        fs::write(&content, b"other content").expect("written");
        assert!(!verifies(algorithm), "{algorithm} with other content");
    }
}

/// The key as a `SubjectPublicKeyInfo` (RFC 5280, section 4.1.2.7; RFC 5480, section 2) in PEM (RFC 7468).
fn pem(key: &PublicKey) -> String {
    let der = if let Some((curve, x, y)) = key.ec_parts() {
        let head: &[u8] = match curve {
            Curve::P256 => {
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42"
            }
            Curve::P384 => b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62",
            Curve::P521 => {
                b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86"
            }
            Curve::P256K => b"\x30\x56\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x0a\x03\x42",
        };
        [head, &[0x00, 0x04], &x, &y].concat()
    } else {
        let (n, e) = key.rsa_parts().expect("an RSA key");
        let key = rsa::RsaPublicKey::new(rsa::BigUint::from_bytes_be(&n), rsa::BigUint::from_bytes_be(&e));
        key.expect("sound parts").to_public_key_der().expect("an encoding").into_vec()
    };
    let text = base64::encode(&der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}
