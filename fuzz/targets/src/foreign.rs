//! Our results as others read them: each format by strict structures or another library, each signature by another library.

use std::collections::BTreeMap;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use coset::{ContentType, CoseSign1, Label, RegisteredLabelWithPrivate, TaggedCborSerializable, iana::EnumI64};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use signet_core::{cose, format::Format, jwks, work_item::WorkItem};

use crate::{documents::ISSUED_AT, keys::Signer};

/// What another reader must find in a result.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) item: &'a WorkItem,
    pub(crate) content: &'a [u8],
    pub(crate) is_detached: bool,
    pub(crate) signer: &'a Signer,
}

impl Expected<'_> {
    /// Reads a result as others do.
    ///
    /// # Panics
    /// Something else is in it, or the signature is not good.
    pub(crate) fn check(&self, format: Format, result: &[u8]) {
        match format {
            Format::Jws => self.flattened(result),
            Format::JwsCompact => self.compact(result),
            Format::Dsse => self.dsse(result),
            Format::Cose => self.cose(result),
            Format::Raw => {
                let signature = Base64::decode_vec(text(result)).expect("Base64");
                assert!(self.signer.verifies_der(&[self.content], &signature));
            }
        }
    }

    fn flattened(&self, result: &[u8]) {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Flattened {
            payload: Option<String>,
            protected: String,
            signature: String,
        }
        let Flattened { payload, protected, signature } = strict(result);
        self.jws(&protected, payload.as_deref(), &signature);
    }

    fn compact(&self, result: &[u8]) {
        let result = text(result);
        let parts: Vec<&str> = result.split('.').collect();
        let [protected, payload, signature] = parts[..] else { panic!("{result}") };
        self.jws(protected, Some(payload).filter(|_| !self.is_detached), signature);
        assert!(!self.is_detached || payload.is_empty());

        let Ok(algorithm) = self.signer.key.algorithm.name().parse() else { return };
        let header = jsonwebtoken::decode_header(result).expect("a header");
        assert_eq!((header.alg, header.kid.as_deref()), (algorithm, Some(self.signer.key.kid.as_str())));
        assert_eq!(header.cty.as_deref(), Some(self.item.content_type.as_str()));
        assert_eq!(header.crit.is_some(), self.is_detached);
        let jwk = jwks::jwk(&self.signer.key.kid, &self.signer.key.public);
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_str(&jwk).expect("a JWK");
        let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).expect("a key");
        let payload = if self.is_detached { self.content } else { payload.as_bytes() };
        let input = [protected.as_bytes(), b".", payload].concat();
        assert!(jsonwebtoken::crypto::verify(signature, &input, &key, algorithm).expect("a signature"));
    }

    fn jws(&self, protected: &str, payload: Option<&str>, signature: &str) {
        #[derive(Debug, Deserialize, PartialEq)]
        #[serde(deny_unknown_fields)]
        struct Header {
            alg: String,
            kid: String,
            cty: String,
            iat: i64,
            b64: Option<bool>,
            crit: Option<Vec<String>>,
        }
        let decode = |text: &str| Base64UrlUnpadded::decode_vec(text).expect("Base64url");
        let key = &self.signer.key;
        let expected = Header {
            alg: key.algorithm.name().to_owned(),
            kid: key.kid.clone(),
            cty: self.item.content_type.clone(),
            iat: ISSUED_AT,
            b64: self.is_detached.then_some(false),
            crit: self.is_detached.then(|| vec!["b64".to_owned()]),
        };
        assert_eq!(strict::<Header>(&decode(protected)), expected);
        assert_eq!(payload.map(decode).as_deref(), (!self.is_detached).then_some(self.content));
        let payload = payload.map_or(self.content, str::as_bytes);
        assert!(self.signer.verifies(&[protected.as_bytes(), b".", payload], &decode(signature)));
    }

    /// DSSE's `envelope.md` and `protocol.md`; in-toto's Statement v1.
    fn dsse(&self, result: &[u8]) {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        struct Envelope {
            payload: String,
            payload_type: String,
            signatures: [Signature; 1],
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Signature {
            keyid: String,
            sig: String,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        struct Statement<'a> {
            #[serde(rename = "_type")]
            kind: String,
            subject: [Subject; 1],
            predicate_type: String,
            #[serde(borrow)]
            predicate: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Subject {
            name: String,
            digest: BTreeMap<String, String>,
        }
        let Envelope { payload, payload_type, signatures: [Signature { keyid, sig }] } = strict(result);
        assert_eq!((payload_type.as_str(), keyid), ("application/vnd.in-toto+json", self.signer.key.kid.clone()));
        let payload = Base64::decode_vec(&payload).expect("Base64");
        let before = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
        let signature = Base64::decode_vec(&sig).expect("Base64");
        assert!(self.signer.verifies_der(&[before.as_bytes(), &payload], &signature));

        let statement: Statement<'_> = serde_json::from_slice(&payload).expect("a statement");
        let [Subject { name, digest }] = statement.subject;
        assert_eq!(statement.kind, "https://in-toto.io/Statement/v1");
        assert!(self.item.id.as_ref().is_none_or(|id| *id == name), "{name}");
        assert_eq!(digest.len(), 1);
        let sha256 = signet_core::algorithm::sha256_hex(self.content);
        let is_bytes = self.is_detached || self.item.content_name().is_some_and(|name| name.hex == sha256);
        assert!(!is_bytes || digest.get("sha256") == Some(&sha256), "{digest:?}");
        if let Some(predicate) = &self.item.predicate {
            assert_eq!(statement.predicate_type, predicate.predicate_type);
            assert_eq!(statement.predicate.map(RawValue::get), predicate.json.as_deref());
        } else {
            assert_eq!(statement.predicate_type, "urn:signet:signature:v1");
            let predicate: serde_json::Value =
                serde_json::from_str(statement.predicate.expect("a predicate").get()).expect("JSON");
            let expected = serde_json::json!({ "contentType": self.item.content_type, "issuedAt": ISSUED_AT });
            assert_eq!(predicate, expected);
        }
    }

    fn cose(&self, result: &[u8]) {
        // The other library takes no parameter that has a slash in it.
        if self.item.content_type.matches('/').count() > 1 {
            return;
        }
        let message = CoseSign1::from_tagged_slice(result).expect("a COSE_Sign1");
        let header = &message.protected.header;
        assert!(message.unprotected.is_empty());
        let Some(RegisteredLabelWithPrivate::Assigned(algorithm)) = &header.alg else { panic!("{header:?}") };
        assert_eq!(algorithm.to_i64(), cose::number(self.signer.key.algorithm));
        assert_eq!(header.key_id, self.signer.key.kid.as_bytes());
        assert_eq!(header.content_type, Some(ContentType::Text(self.item.content_type.clone())));
        let claims = ciborium::Value::Map(vec![(6.into(), ISSUED_AT.into())]);
        assert_eq!(header.rest, [(Label::Int(15), claims)]);
        let good = |signature: &[u8], input: &[u8]| {
            if self.signer.verifies(&[input], signature) { Ok(()) } else { Err("the signature is not good") }
        };
        assert_eq!(message.payload.as_deref(), (!self.is_detached).then_some(self.content));
        let verdict = if self.is_detached {
            message.verify_detached_signature(self.content, b"", good)
        } else {
            message.verify_signature(b"", good)
        };
        assert_eq!(verdict, Ok(()));
    }
}

fn text(result: &[u8]) -> &str {
    std::str::from_utf8(result).expect("text")
}

fn strict<T: DeserializeOwned>(json: &[u8]) -> T {
    serde_json::from_slice(json).expect("just these members")
}
