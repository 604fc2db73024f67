//! Work items: what is accepted is what the reference describes, and means what the message says.

use serde_json::{Value, json};
use signet_core::{
    algorithm::{Hash, hex},
    base64,
    content::{Content, Given, Source},
    draft::{Pass, drafts},
    format::Format,
    rejection::{Reason, Rejection},
    work_item::{MAX_MESSAGE_BYTES, WorkItem},
};
use url::Url;

use crate::{base64::foreign, bounds::in_proportion, json::Scanner, keys::SIGNERS};

/// What is accepted obeys the reference, is what a generic reader finds in the message, with the payload's bytes those of
/// the message, and is the same item again when it is printed, or wrapped in Base64. What is rejected says why, briefly.
pub fn work_item(data: &[u8]) {
    let outcome = in_proportion(data.len(), || WorkItem::parse(data, Format::Jws));
    check_defaults(data, &outcome);
    match &outcome {
        Ok(item) => {
            check(item);
            check_wrapped(data, item);
            if !item.is_event {
                check_against_generic_reader(data, item);
                check_printed(item);
            }
        }
        Err(rejection) => check_rejection(rejection),
    }
}

/// The default format changes nothing but the formats of an item that names none.
fn check_defaults(message: &[u8], outcome: &Result<WorkItem, Rejection>) {
    for default in Format::ALL {
        match (&WorkItem::parse(message, default), outcome) {
            (Ok(other), Ok(item)) => {
                let formats = if item.formats == [Format::Jws] { &other.formats } else { &item.formats };
                assert_eq!(*other, WorkItem { formats: formats.clone(), ..item.clone() });
                assert!(formats.contains(&default) || *formats == item.formats);
            }
            // A digest or a predicate fits some formats alone.
            (Err(rejection), _) | (_, Err(rejection)) => {
                assert!(rejection.id.as_deref().is_none_or(is_id) || rejection.reason == Reason::UnsupportedEvent);
            }
        }
    }
}

/// What holds of every item.
pub(crate) fn check(item: &WorkItem) {
    assert!(item.id.as_deref().is_none_or(is_id), "{:?}", item.id);
    assert!(!item.formats.is_empty());
    assert!(item.formats.iter().enumerate().all(|(i, format)| !item.formats[..i].contains(format)));
    assert!((3..=255).contains(&item.content_type.len()), "{:?}", item.content_type);
    assert!(item.content_type.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{:?}", item.content_type);
    assert_eq!(item.content_type.trim(), item.content_type, "RFC 9052, section 3.1");
    match &item.content {
        Content::Given(given) => check_given(item, given),
        Content::Source(source) => check_source(item, source),
    }
}

/// The reference's rules, once more.
pub(crate) fn is_id(id: &str) -> bool {
    let segments: Vec<&str> = id.split('/').collect();
    let is_allowed = |c: char| !c.is_control() && !['\\', '\u{fffe}', '\u{ffff}'].contains(&c);
    (1..=900).contains(&id.encode_utf16().count())
        && segments.len() <= 200
        && id.chars().all(is_allowed)
        && !segments.iter().any(|segment| ["", ".", ".."].contains(segment))
}

fn check_given(item: &WorkItem, given: &Given) {
    let name = item.content_name().expect("given content has a name");
    assert_eq!(name, given.name());
    let id = item.id(&name);
    assert!(is_id(&id), "{id}");
    let digests: Vec<String> = Format::ALL.iter().map(|format| item.request_digest(*format, &name)).collect();
    assert!(digests.iter().enumerate().all(|(i, digest)| !digests[..i].contains(digest)), "{digests:?}");
    for signer in SIGNERS.iter() {
        let hash = signer.key.algorithm.hash();
        match drafts(item, given, &signer.key, 0) {
            Ok(drafts) => {
                assert!(drafts.iter().map(|draft| draft.format).eq(item.formats.iter().copied()));
                assert!(drafts.iter().all(|draft| draft.digest().len() == hash.length()));
            }
            Err(rejection) => {
                let Given::Digest { hash: given, .. } = given else { panic!("{rejection:?}") };
                assert!(*given != hash && item.formats.contains(&Format::Raw), "{rejection:?}");
                check_rejection(&rejection);
            }
        }
    }
}

fn check_source(item: &WorkItem, source: &Source) {
    assert_eq!(item.content_name(), None);
    let url = &source.url;
    assert!(matches!(url.scheme(), "https" | "http"), "{url}");
    assert!(url.username().is_empty() && url.password().is_none(), "{url}");
    assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
    let is_tag = |tag: &String| {
        let bare = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        bare.is_some_and(|bare| {
            (1..=128).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_graphic() && b != b'"')
        })
    };
    assert!(source.etag.as_ref().is_none_or(is_tag), "{source:?}");
    let is_version = |version: &String| version.bytes().all(|b| b.is_ascii_alphanumeric() || b":.-".contains(&b));
    assert!(source.version_id.as_ref().is_none_or(is_version), "{source:?}");
    let mut containers: Vec<Url> = CONTAINERS.iter().map(|url| url.parse().expect("a URL")).collect();
    let own = url.path().split('/').nth(1).filter(|segment| !segment.is_empty());
    containers.extend(own.and_then(|segment| url.join(&format!("/{segment}")).ok()));
    for container in containers {
        let Some(name) = source.name_in(&container) else { continue };
        assert!(!name.is_empty() && !name.contains('\\') && !name.contains(char::is_control), "{name:?}");
        assert!(!name.split('/').any(|segment| [".", ".."].contains(&segment)), "{name:?}");
        let mut again = container.clone();
        again.path_segments_mut().expect("a base").pop_if_empty().extend(name.split('/'));
        assert_eq!(Source { url: again, ..source.clone() }.name_in(&container).as_ref(), Some(&name));
    }
    let pieces = [&b"con"[..], b"", b"tent"];
    let digests = |pieces: &[&[u8]]| {
        let mut pass = Pass::new(item, &SIGNERS[0].key, 0, 7);
        for piece in pieces {
            pass.update(piece);
        }
        let (name, drafts) = pass.finish();
        assert!(is_id(&item.id(&name)));
        drafts.iter().map(|draft| draft.digest().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(digests(&pieces), digests(&[b"content"]));
}

const CONTAINERS: [&str; 3] =
    ["https://a.blob.core.windows.net/in", "https://a.blob.core.windows.net/in/", "http://127.0.0.1:10000/account/in"];

/// Base64 of an item is the item.
fn check_wrapped(message: &[u8], item: &WorkItem) {
    let is_bare = message.trim_ascii_start().first().is_some_and(|first| matches!(first, b'{' | b'['));
    for wrapped in [base64::encode(message), base64::encode_url(message)] {
        if is_bare && wrapped.len() <= MAX_MESSAGE_BYTES {
            assert_eq!(WorkItem::parse(wrapped.as_bytes(), Format::Jws).as_ref(), Ok(item));
        }
    }
}

/// The members are those that another reader finds, the payload's bytes are the message's, and `serde_json` reads the same
/// values where it can.
fn check_against_generic_reader(message: &[u8], item: &WorkItem) {
    let text = json_text(message);
    let members = Scanner::members_of(&text).expect("an object");
    let value = |wanted: &str| {
        let place = members.iter().find(|(name, _)| name == wanted).map(|(_, place)| place.clone());
        place.map(|place| &text[place])
    };
    assert!(members.iter().all(|(name, _)| MEMBERS.contains(&name.as_str())), "{members:?}");
    assert!(members.iter().enumerate().all(|(i, (name, _))| members[..i].iter().all(|(other, _)| other != name)));
    assert_eq!(item.id, value("id").and_then(Scanner::string_of));
    let content_type = value("contentType").map(|text| Scanner::string_of(text).expect("a string"));
    assert!(content_type.is_none_or(|content_type| content_type == item.content_type));
    let predicate = item.predicate.as_ref();
    assert_eq!(predicate.and_then(|predicate| predicate.json.as_deref()), value("predicate"));
    let predicate_type = value("predicateType").and_then(Scanner::string_of);
    assert_eq!(predicate.map(|predicate| predicate.predicate_type.clone()), predicate_type);
    match &item.content {
        Content::Given(Given::Bytes { bytes, .. }) => match value("payload") {
            Some(payload) => assert_eq!(bytes, payload.as_bytes(), "as it stands in the message"),
            None => assert_eq!(
                value("payloadBase64").and_then(Scanner::string_of).and_then(|t| foreign(&t)).as_ref(),
                Some(bytes)
            ),
        },
        Content::Given(Given::Digest { .. }) => assert!(value("digest").is_some()),
        Content::Source(_) => assert!(value("source").is_some()),
    }

    // What is kept as text and never looked into may be what `serde_json` does not read: deeper than its stack, a number
    // beyond its range, half of a character. All else it must read, and find the same members.
    let read = members.iter().map(|(name, place)| {
        let is_kept = matches!(name.as_str(), "payload" | "predicate");
        format!("{}:{}", Value::from(name.as_str()), if is_kept { "{}" } else { &text[place.clone()] })
    });
    let read: Vec<String> = read.collect();
    let generic: Value =
        serde_json::from_str(&format!("{{{}}}", read.join(","))).expect("what another reader takes as well");
    assert_eq!(generic.as_object().map(serde_json::Map::len), Some(members.len()));
    assert_eq!(generic.get("id").and_then(Value::as_str), item.id.as_deref());
    if let Ok(whole) = serde_json::from_str::<Value>(&text)
        && let (Some(payload), Content::Given(Given::Bytes { bytes, .. })) = (whole.get("payload"), &item.content)
    {
        assert_eq!(serde_json::from_slice::<Value>(bytes).ok().as_ref(), Some(payload));
    }
}

const MEMBERS: [&str; 9] =
    ["id", "format", "contentType", "payload", "payloadBase64", "source", "digest", "predicateType", "predicate"];

/// The JSON text in a message that was accepted.
fn json_text(message: &[u8]) -> String {
    let bare = std::str::from_utf8(message).expect("JSON and Base64 are UTF-8");
    let without_mark = |text: &str| text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
    let text = without_mark(bare);
    if Scanner::is_json(&text) {
        return text;
    }
    let decoded = foreign(bare.trim()).and_then(|bytes| String::from_utf8(bytes).ok());
    without_mark(&decoded.expect("Base64 of JSON in UTF-8"))
}

/// An item that is written out says the same.
fn check_printed(item: &WorkItem) {
    let formats: Vec<&str> = item.formats.iter().map(|format| format.name()).collect();
    let mut printed = json!({ "format": formats, "contentType": item.content_type });
    let mut kept = String::new();
    if let Some(id) = &item.id {
        printed["id"] = json!(id);
    }
    match &item.content {
        Content::Given(Given::Bytes { bytes, .. }) => printed["payloadBase64"] = json!(base64::encode(bytes)),
        Content::Given(Given::Digest { hash, digest }) => {
            printed["digest"] = json!({ hash.name(): hex(digest).to_uppercase() });
            assert!(item.id.is_some() || *hash == Hash::Sha256);
        }
        Content::Source(Source { url, etag, version_id }) => {
            let mut source = json!({ "url": url.as_str() });
            let optional = [("etag", etag), ("versionId", version_id)];
            for (name, value) in optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
                source[name] = json!(value);
            }
            printed["source"] = source;
        }
    }
    if let Some(predicate) = &item.predicate {
        printed["predicateType"] = json!(predicate.predicate_type);
        if let Some(json) = &predicate.json {
            kept = format!(",\"predicate\":{json}");
        }
    }
    let text = printed.to_string();
    let text = format!("{}{kept}}}", text.strip_suffix('}').expect("an object"));
    // Base64 and escapes may take it beyond what a queue delivers.
    if text.len() <= MAX_MESSAGE_BYTES {
        assert_eq!(WorkItem::parse(text.as_bytes(), Format::Dsse).as_ref(), Ok(item), "{text}");
    }
}

/// Why, in a few words; a message does not come back whole.
pub(crate) fn check_rejection(rejection: &Rejection) {
    let Rejection { reason, detail, id, .. } = rejection;
    assert!((1..=1024).contains(&detail.len()), "{} bytes: {detail}", detail.len());
    assert!(!detail.contains(char::is_control), "{detail:?}");
    assert!(id.as_deref().is_none_or(is_id) || *reason == Reason::UnsupportedEvent, "{id:?}");
}
