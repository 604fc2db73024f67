//! JWS in both serialisations, attached, detached and unencoded.

use serde_json::Value;
use signet_core::{
    algorithm::Algorithm,
    jws::{self, Refusal, Signed, Verified},
};

use crate::{
    base64::foreign,
    bounds::in_proportion,
    documents::{CONTENT, CONTENT_TYPE, ISSUED_AT, OTHER_CONTENT},
    json::Scanner,
    keys::{KEYS, SIGNERS},
};

/// What is valid was signed. What is read has a header that another reader takes, the same meaning in either
/// serialisation, and the same digest however its content comes.
pub fn jws(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for content in [None, Some(CONTENT), Some(OTHER_CONTENT)] {
        match in_proportion(data.len(), || jws::verify(text, content, &KEYS)) {
            Ok(valid) => check(&valid, content),
            Err(refusal) => assert!(refusal.is_invalid() || content.is_none()),
        }
    }
    let parsed = Signed::parse(text, &KEYS);
    if let Ok(signed) = &parsed {
        check_header(text, signed);
        check_digest(signed);
    }
    check_other_serialisation(text, &parsed);
}

fn check(valid: &Verified, content: Option<&[u8]>) {
    let Verified { algorithm, kid, issued_at, content_type, .. } = valid;
    assert_ne!(content, Some(OTHER_CONTENT));
    assert_eq!(valid.content, CONTENT);
    let signer = SIGNERS.iter().find(|signer| Some(&signer.key.kid) == kid.as_ref());
    assert_eq!(signer.map(|signer| signer.key.algorithm), Some(*algorithm));
    assert_eq!((*issued_at, content_type.as_deref()), (Some(ISSUED_AT), Some(CONTENT_TYPE)));
}

/// The header is an object, its algorithm is the one that was read, and nothing critical was passed over.
fn check_header(text: &str, signed: &Signed) {
    let text = text.trim_ascii();
    let protected = if text.starts_with('{') {
        let members = Scanner::members_of(text).expect("an object");
        let (_, place) = members.iter().find(|(name, _)| name == "protected").expect("the header");
        Scanner::string_of(&text[place.clone()]).expect("a string")
    } else {
        text.split('.').next().expect("a part").to_owned()
    };
    let header = foreign(&protected).and_then(|bytes| String::from_utf8(bytes).ok()).expect("UTF-8 in Base64url");
    let members = Scanner::members_of(&header).expect("an object");
    let value = |wanted: &str| {
        let place = members.iter().find(|(name, _)| name == wanted).map(|(_, place)| place.clone());
        place.map(|place| &header[place])
    };
    let algorithm: Option<Algorithm> = value("alg").and_then(Scanner::string_of).and_then(|name| name.parse().ok());
    assert_eq!(algorithm, Some(signed.algorithm));
    assert_eq!(signed.content_type, value("cty").and_then(Scanner::string_of));
    let critical = value("crit").map(|names| Scanner::items_of(names).expect("a list"));
    let critical = critical.map(|names| names.into_iter().map(Scanner::string_of).collect::<Vec<_>>());
    assert!(critical.is_none_or(|names| names == [Some("b64".to_owned())] && value("b64").is_some()));
    assert!(value("b64") != Some("false") || value("crit").is_some());
}

fn check_digest(signed: &Signed) {
    let digest = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut input = signed.input();
        pieces.for_each(|piece| input.update(piece));
        input.finish()
    };
    let content = signed.payload.as_deref().unwrap_or(CONTENT);
    assert_eq!(digest(&mut content.chunks(7)), digest(&mut std::iter::once(content)));
}

/// The compact form as the flattened one.
fn check_other_serialisation(text: &str, parsed: &Result<Signed, Refusal>) {
    let parts: Vec<&str> = text.trim_ascii().split('.').collect();
    let [protected, payload, signature] = parts[..] else { return };
    if text.trim_ascii().starts_with('{') || payload.is_empty() {
        return;
    }
    let [protected, payload, signature] = [protected, payload, signature].map(|part| Value::from(part).to_string());
    let flattened = format!(r#"{{"protected":{protected},"signature":{signature},"payload":{payload}}}"#);
    match (Signed::parse(&flattened, &KEYS), parsed) {
        (Ok(flattened), Ok(compact)) => {
            assert_eq!((&flattened.payload, flattened.algorithm), (&compact.payload, compact.algorithm));
            assert_eq!(flattened.input().finish(), compact.input().finish());
        }
        (flattened, compact) => assert_eq!(flattened.is_err(), compact.is_err(), "{flattened:?} {compact:?}"),
    }
}
