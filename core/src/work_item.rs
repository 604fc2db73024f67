//! What a sender wants signed: a queue message, read as a work item.

use std::borrow::Cow;

use serde_json::value::RawValue;
use url::Url;

use crate::{
    algorithm::{Hash, hex, unhex},
    base64,
    content::{Content, ContentName, Given, Predicate, Source},
    event::{self, parse_etag},
    format::Format,
    json::{self, Members},
    rejection::{Reason, Rejection},
};

/// The largest message that a storage queue delivers.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// What is to be signed, as what, and under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkItem {
    /// Names the result, if the sender has a name for it.
    pub id: Option<String>,
    /// At least one, none twice.
    pub formats: Vec<Format>,
    /// Media type of the content.
    pub content_type: String,
    /// What is to be signed.
    pub content: Content,
    /// What is to be attested of it, for [`Format::Dsse`].
    pub predicate: Option<Predicate>,
    /// Whether nobody has asked for it, but an event has told of it.
    pub is_event: bool,
}

impl WorkItem {
    /// Reads a message: a work item or an event, in JSON or Base64 of JSON.
    ///
    /// # Errors
    /// The reason why no later attempt can succeed either, with the item's id if that much could be read.
    pub fn parse(message: &[u8], default_format: Format) -> Result<Self, Rejection> {
        let text = json_text(message)?;
        let members =
            Members::parse(&text).map_err(|error| invalid_item(format!("the message is no work item: {error}")))?;
        if event::is_event(&members) {
            return Self::from_event(&members, default_format);
        }
        let id = members.value("id").map(parse_id).transpose()?;
        Self::from_members(&members, id.clone(), default_format).map_err(|rejection| Rejection { id, ..rejection })
    }

    fn from_members(members: &Members<'_>, id: Option<String>, default_format: Format) -> Result<Self, Rejection> {
        refuse_what_is_not_ours(members)?;
        let formats = members.value("format").map_or_else(|| Ok(vec![default_format]), parse_formats)?;
        let (content, default_type) = parse_content(members)?;
        let content_type =
            members.value("contentType").map_or_else(|| Ok(default_type.to_owned()), parse_content_type)?;
        let predicate = parse_predicate(members)?;
        if predicate.is_some() && !formats.contains(&Format::Dsse) {
            return Err(invalid_item("a predicate is for the format dsse, which the item does not ask for"));
        }
        if let Content::Given(Given::Digest { hash, .. }) = &content {
            if let Some(format) = formats.iter().find(|format| format.holds_content()) {
                return Err(invalid_item(format!("`digest` is for raw and dsse: `{format}` needs the content")));
            }
            if id.is_none() && *hash != Hash::Sha256 {
                return Err(invalid_item("`id` is missing, and only a SHA-256 digest can take its place"));
            }
        }
        Ok(Self { id, formats, content_type, content, predicate, is_event: false })
    }

    fn from_event(members: &Members<'_>, default_format: Format) -> Result<Self, Rejection> {
        let event = event::parse(members)?;
        if let Some(fault) = fault_of_id(&event.id) {
            return Err(invalid_item(format!("the blob's name is no id that a result could have: {fault}")));
        }
        let id = Some(event.id);
        if !event.source.is_bare() {
            return Err(Rejection { id, ..not_bare() });
        }
        let stated = event.content_type.filter(|content_type| is_media_type(content_type));
        Ok(Self {
            id,
            formats: vec![default_format],
            content_type: stated.unwrap_or_else(|| OCTET_STREAM.to_owned()),
            content: Content::Source(event.source),
            predicate: None,
            is_event: true,
        })
    }

    /// What names the content, as far as the message says.
    #[must_use]
    pub fn content_name(&self) -> Option<ContentName> {
        match &self.content {
            Content::Given(given) => Some(given.name()),
            Content::Source(_) => None,
        }
    }

    /// The id: the sender's, else one made of what names the content.
    #[must_use]
    pub fn id(&self, content: &ContentName) -> String {
        self.id.clone().unwrap_or_else(|| format!("{}/{}", content.hash.name(), content.hex))
    }

    /// A digest of everything the item asks for in one format: equal requests may share a result, others must not.
    #[must_use]
    pub fn request_digest(&self, format: Format, content: &ContentName) -> String {
        // A predicate is asked for in one format alone.
        let predicate = self.predicate.as_ref().filter(|_| format == Format::Dsse);
        let predicate_type = predicate.map_or("", |predicate| &predicate.predicate_type);
        let predicate_json = predicate.and_then(|predicate| predicate.json.as_deref()).unwrap_or_default();
        let mut hasher = Hash::Sha256.hasher();
        hasher.update(b"signet-request-1");
        let fields =
            [format.name(), &self.content_type, content.hash.name(), &content.hex, predicate_type, predicate_json];
        // A result with the content in it and one without are two.
        let detached = (content.detached && format.holds_content()).then_some("detached");
        for field in fields.into_iter().chain(detached) {
            hasher.update(&(field.len() as u64).to_be_bytes());
            hasher.update(field.as_bytes());
        }
        hex(&hasher.finish())
    }
}

fn invalid_item(detail: impl Into<String>) -> Rejection {
    Rejection::parse(Reason::InvalidWorkItem, detail)
}

/// The JSON object in a message, unwrapped from Base64 where it is that.
fn json_text(message: &[u8]) -> Result<String, Rejection> {
    if message.len() > MAX_MESSAGE_BYTES {
        let detail = format!("the message has {} bytes; a queue takes at most {MAX_MESSAGE_BYTES}", message.len());
        return Err(Rejection::parse(Reason::TooLarge, detail));
    }
    if let Some(text) = object_or_error(message)? {
        return Ok(text);
    }
    let neither = || Rejection::parse(Reason::InvalidJson, "the message is neither JSON in UTF-8 nor Base64 of it");
    let inner =
        std::str::from_utf8(message).ok().and_then(|text| base64::decode_any(text.trim())).ok_or_else(neither)?;
    object_or_error(&inner)?
        .ok_or_else(|| Rejection::parse(Reason::InvalidJson, "the message is Base64, but not of JSON in UTF-8"))
}

/// The text if it is JSON; a rejection if it is JSON but no object; `None` if it is no JSON.
fn object_or_error(bytes: &[u8]) -> Result<Option<String>, Rejection> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Ok(None) };
    // RFC 8259, section 8.1: a byte order mark may be ignored.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) if value.get().starts_with('{') => Ok(Some(value.get().to_owned())),
        Ok(value) => event_in_list(value.get()).map(Some),
        Err(error) if text.trim_start().starts_with('{') => {
            Err(Rejection::parse(Reason::InvalidJson, format!("the message is no JSON: {error}")))
        }
        Err(_) => Ok(None),
    }
}

/// The one event of a list, which is how Event Grid's own schema is delivered at times.
fn event_in_list(text: &str) -> Result<String, Rejection> {
    let no_object = || invalid_item("the message is JSON, but not an object");
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| no_object())?;
    let is_event = |item: &&&RawValue| Members::parse(item.get()).is_ok_and(|members| event::is_event(&members));
    match items.as_slice() {
        [item] if is_event(&item) => Ok(item.get().to_owned()),
        [first, ..] if is_event(&first) => {
            let detail = format!("the message is a list of {} events; one to a message is understood", items.len());
            Err(Rejection::parse(Reason::UnsupportedEvent, detail))
        }
        _ => Err(no_object()),
    }
}

fn refuse_what_is_not_ours(members: &Members<'_>) -> Result<(), Rejection> {
    for (name, value) in members.iter() {
        if !MEMBERS.contains(&name) {
            let name: String = name.chars().take(64).flat_map(char::escape_default).collect();
            return Err(invalid_item(format!("unknown member `{name}`; there are {}", MEMBERS.join(", "))));
        }
        if value == "null" && name != "payload" {
            return Err(invalid_item(format!("`{name}` is null; leave it out or give it a value")));
        }
    }
    Ok(())
}

const MEMBERS: [&str; 9] =
    ["id", "format", "contentType", "payload", "payloadBase64", "source", "digest", "predicateType", "predicate"];

const MAX_ID_CHARACTERS: usize = 900;
const MAX_ID_SEGMENTS: usize = 200;

fn parse_id(value: &str) -> Result<String, Rejection> {
    let id = json::string(value).ok_or_else(|| invalid_item("`id` must be a string of Unicode characters"))?;
    fault_of_id(&id).map_or_else(|| Ok(id.into_owned()), |fault| Err(invalid_item(format!("`id` {fault}"))))
}

/// Blob Storage's own limits (characters count as UTF-16 there), less what could be read as a path.
fn fault_of_id(id: &str) -> Option<String> {
    let characters = id.encode_utf16().count();
    if characters == 0 || characters > MAX_ID_CHARACTERS {
        Some(format!("has {characters} characters; 1 to {MAX_ID_CHARACTERS} are allowed"))
    } else if id.chars().any(|c| c.is_control() || matches!(c, '\\' | '\u{fffe}' | '\u{ffff}')) {
        // The last two are no characters of XML, in which blobs are listed.
        Some("holds a control character, a backslash, U+FFFE or U+FFFF".to_owned())
    } else if id.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        Some("has an empty, `.` or `..` segment".to_owned())
    } else if id.split('/').count() > MAX_ID_SEGMENTS {
        Some(format!("has more than {MAX_ID_SEGMENTS} segments"))
    } else {
        None
    }
}

fn parse_formats(value: &str) -> Result<Vec<Format>, Rejection> {
    let malformed = || invalid_item("`format` must be a format's name or a list of such names");
    let names: Vec<&RawValue> = if value.starts_with('[') {
        serde_json::from_str(value).map_err(|_| malformed())?
    } else {
        vec![serde_json::from_str(value).map_err(|_| malformed())?]
    };
    let mut formats = Vec::new();
    for name in names {
        let name = json::string(name.get()).ok_or_else(malformed)?;
        let format = Format::from_name(&name).ok_or_else(|| {
            let name: String = name.chars().take(64).flat_map(char::escape_default).collect();
            let known = Format::ALL.map(Format::name).join(", ");
            Rejection::parse(Reason::UnsupportedFormat, format!("there is no format `{name}`; there are {known}"))
        })?;
        if formats.contains(&format) {
            return Err(invalid_item(format!("`format` names `{format}` twice")));
        }
        formats.push(format);
    }
    if formats.is_empty() {
        return Err(invalid_item("`format` is an empty list"));
    }
    Ok(formats)
}

/// What to sign, and the media type that it has unless the item says otherwise.
fn parse_content(members: &Members<'_>) -> Result<(Content, &'static str), Rejection> {
    let mut given = CONTENTS.into_iter().filter_map(|name| members.value(name).map(|value| (name, value)));
    match (given.next(), given.next()) {
        (Some(("payload", value)), None) => {
            Ok((Content::Given(Given::bytes(value.as_bytes().to_vec())), "application/json"))
        }
        (Some(("payloadBase64", value)), None) => {
            let bytes = json::string(value).and_then(|text| base64::decode_any(&text));
            let bytes = bytes.ok_or_else(|| invalid_item("`payloadBase64` must be a string in Base64 or Base64url"))?;
            Ok((Content::Given(Given::bytes(bytes)), OCTET_STREAM))
        }
        (Some(("source", value)), None) => Ok((Content::Source(parse_source(value)?), OCTET_STREAM)),
        (Some((_, value)), None) => Ok((Content::Given(parse_digest(value)?), OCTET_STREAM)),
        (None, _) => Err(invalid_item("there is nothing to sign; give payload, payloadBase64, source or digest")),
        (Some((one, _)), Some((other, _))) => {
            Err(invalid_item(format!("`{one}` and `{other}` exclude each other: one thing is signed")))
        }
    }
}

/// Exactly one of them must be there.
const CONTENTS: [&str; 4] = ["payload", "payloadBase64", "source", "digest"];
const OCTET_STREAM: &str = "application/octet-stream";

/// `{"url": …, "etag": …, "versionId": …}`, of which the URL is needed.
fn parse_source(value: &str) -> Result<Source, Rejection> {
    let members =
        Members::parse(value).map_err(|error| invalid_item(format!("`source` must be an object: {error}")))?;
    if let Some((name, _)) = members.iter().find(|(name, _)| !matches!(*name, "url" | "etag" | "versionId")) {
        let name: String = name.chars().take(64).flat_map(char::escape_default).collect();
        return Err(invalid_item(format!("unknown member `{name}` in `source`; there are url, etag, versionId")));
    }
    let url = members.string("url").and_then(|url| Url::parse(&url).ok());
    let url = url.ok_or_else(|| invalid_item("`source` must have a `url`, that of a blob"))?;
    let etag = members.value("etag").map(|etag| {
        parse_etag(etag)
            .ok_or_else(|| invalid_item("`etag` in `source` must be an entity tag, as the service gives it"))
    });
    let is_version = |text: &Cow<'_, str>| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":.-".contains(&byte))
    };
    let version_id = members.value("versionId").map(|version| {
        let version = json::string(version).filter(is_version).map(Cow::into_owned);
        version.ok_or_else(|| invalid_item("`versionId` in `source` must be a version's id, as the service gives it"))
    });
    let source = Source { url, etag: etag.transpose()?, version_id: version_id.transpose()? };
    if source.is_bare() { Ok(source) } else { Err(not_bare()) }
}

/// The URL is not repeated: there may be a key in it.
fn not_bare() -> Rejection {
    let detail = "the source's URL has a query, a fragment or user information; the handler's own identity reads it, \
                  so give the blob's URL alone";
    Rejection::parse(Reason::SourceForbidden, detail)
}

/// `{"sha256": hex}`, or sha384 or sha512.
fn parse_digest(value: &str) -> Result<Given, Rejection> {
    let malformed =
        || invalid_item("`digest` must be an object with one member, sha256, sha384 or sha512, in hexadecimal");
    let members = Members::parse(value).map_err(|_| malformed())?;
    let mut all = members.iter();
    let (Some((name, text)), None) = (all.next(), all.next()) else { return Err(malformed()) };
    let hash = Hash::from_name(name).ok_or_else(malformed)?;
    let digest = json::string(text).and_then(|text| unhex(&text)).ok_or_else(malformed)?;
    if digest.len() != hash.length() {
        return Err(invalid_item(format!("`digest` has {} bytes; {name} has {}", digest.len(), hash.length())));
    }
    Ok(Given::Digest { hash, digest })
}

/// In-toto's Statement v1: the predicate's type is a URI, the predicate an object.
fn parse_predicate(members: &Members<'_>) -> Result<Option<Predicate>, Rejection> {
    let Some(predicate_type) = members.value("predicateType") else {
        return match members.value("predicate") {
            None => Ok(None),
            Some(_) => Err(invalid_item("`predicate` needs a `predicateType`")),
        };
    };
    let predicate_type = json::string(predicate_type).map(Cow::into_owned);
    let is_uri = |text: &String| url::Url::parse(text).is_ok() && text.len() <= 2048;
    let predicate_type = predicate_type.filter(is_uri).ok_or_else(|| invalid_item("`predicateType` must be a URI"))?;
    let json = members.value("predicate").map(str::to_owned);
    if json.as_ref().is_some_and(|json| !json.starts_with('{')) {
        return Err(invalid_item("`predicate` must be a JSON object"));
    }
    Ok(Some(Predicate { predicate_type, json }))
}

fn parse_content_type(value: &str) -> Result<String, Rejection> {
    let text = json::string(value).ok_or_else(|| invalid_item("`contentType` must be a string"))?;
    if is_media_type(&text) {
        Ok(text.into_owned())
    } else {
        Err(invalid_item("`contentType` must be a media type such as application/json"))
    }
}

/// A media type with parameters, if it is one by form (RFC 9110, section 8.3.1).
fn is_media_type(text: &str) -> bool {
    let is_token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let well_formed = essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    well_formed && text.len() <= 255 && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(message: &str) -> Result<WorkItem, Rejection> {
        WorkItem::parse(message.as_bytes(), Format::Jws)
    }

    fn bytes(item: &WorkItem) -> &[u8] {
        match &item.content {
            Content::Given(Given::Bytes { bytes, .. }) => bytes,
            _ => panic!("inline content is expected"),
        }
    }

    /// The item's id, and what names its content.
    fn named(item: &WorkItem) -> (String, Hash, String) {
        let name = item.content_name().expect("content in the message");
        (item.id(&name), name.hash, name.hex)
    }

    fn reason(message: &str) -> (Reason, String) {
        let rejection = parse(message).expect_err(message);
        (rejection.reason, rejection.detail)
    }

    #[test]
    fn a_payloads_bytes_are_those_of_the_message() {
        for payload in ["{ \"b\":1.0,\n\"a\" :[1e3 , \"\\u00e9\\/\"] }", "null", "1E400", "\"\\ud800\"", "[]", "-0.0"] {
            let item = parse(&format!("{{\"id\":\"a\",\"payload\": {payload} }}")).expect(payload);
            assert_eq!(bytes(&item), payload.as_bytes());
            assert_eq!(item.content_type, "application/json");
        }
    }

    #[test]
    fn base64_of_a_work_item_is_the_work_item() {
        let text = "{\"id\":\"a/é\",\"payloadBase64\":\"-_8\",\"format\":[\"raw\",\"jws\"],\"contentType\":\"text/plain; charset=utf-8\"}";
        let item = parse(text).expect("an item");
        assert_eq!((item.id.as_deref(), bytes(&item)), (Some("a/é"), &[0xfb, 0xff][..]));
        assert_eq!(item.formats, [Format::Raw, Format::Jws]);
        for message in
            [base64::encode(text.as_bytes()), base64::encode_url(text.as_bytes()), format!("\u{feff} {text}\n")]
        {
            assert_eq!(parse(&message).as_ref(), Ok(&item), "{message}");
        }
    }

    #[test]
    fn an_item_without_id_is_named_by_its_content() {
        let item = parse(r#"{"payloadBase64":"YWJj"}"#).expect("an item");
        assert_eq!(named(&item).0, "sha256/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(item.content_type, "application/octet-stream");
    }

    #[test]
    fn each_mistake_has_its_reason_and_names_the_thing() {
        for (message, expected, names) in [
            ("", Reason::InvalidJson, "Base64"),
            ("hello world", Reason::InvalidJson, "Base64"),
            ("{", Reason::InvalidJson, "EOF"),
            ("{\"payload\":1} x", Reason::InvalidJson, "trailing"),
            ("aGVsbG8gd29ybGQ=", Reason::InvalidJson, "Base64"),
            ("[]", Reason::InvalidWorkItem, "object"),
            ("1234", Reason::InvalidWorkItem, "object"),
            ("null", Reason::InvalidWorkItem, "object"),
            ("MTIzNA==", Reason::InvalidWorkItem, "object"),
            ("{}", Reason::InvalidWorkItem, "nothing to sign"),
            (r#"{"payload":1,"paylaod":2}"#, Reason::InvalidWorkItem, "`paylaod`"),
            (r#"{"payload":1,"payload":2}"#, Reason::InvalidWorkItem, "`payload`"),
            (r#"{"payload":1,"payloadBase64":""}"#, Reason::InvalidWorkItem, "exclude"),
            (r#"{"payload":1,"id":null}"#, Reason::InvalidWorkItem, "`id`"),
            (r#"{"payload":1,"id":7}"#, Reason::InvalidWorkItem, "`id`"),
            (r#"{"payload":1,"format":null}"#, Reason::InvalidWorkItem, "`format`"),
            (r#"{"payload":1,"format":[]}"#, Reason::InvalidWorkItem, "empty"),
            (r#"{"payload":1,"format":["raw","raw"]}"#, Reason::InvalidWorkItem, "twice"),
            (r#"{"payload":1,"format":{"a":1}}"#, Reason::InvalidWorkItem, "`format`"),
            (r#"{"payload":1,"format":"pdf"}"#, Reason::UnsupportedFormat, "`pdf`"),
            (r#"{"payload":1,"contentType":"json"}"#, Reason::InvalidWorkItem, "`contentType`"),
            (r#"{"payload":1,"contentType":"a/b\nc"}"#, Reason::InvalidWorkItem, "`contentType`"),
            (r#"{"payloadBase64":"*"}"#, Reason::InvalidWorkItem, "`payloadBase64`"),
            (r#"{"payloadBase64":null}"#, Reason::InvalidWorkItem, "`payloadBase64`"),
            (r#"{"digest":{"sha256":"00"}}"#, Reason::InvalidWorkItem, "1 bytes"),
            (r#"{"digest":{"md5":"00"}}"#, Reason::InvalidWorkItem, "`digest`"),
            (r#"{"digest":{"sha256":"0g"}}"#, Reason::InvalidWorkItem, "`digest`"),
            (r#"{"digest":{}}"#, Reason::InvalidWorkItem, "`digest`"),
            (r#"{"digest":"00"}"#, Reason::InvalidWorkItem, "`digest`"),
            (r#"{"payload":1,"predicate":{}}"#, Reason::InvalidWorkItem, "`predicateType`"),
            (r#"{"payload":1,"predicateType":"urn:a:b"}"#, Reason::InvalidWorkItem, "dsse"),
            (r#"{"payload":1,"format":"dsse","predicateType":"no uri"}"#, Reason::InvalidWorkItem, "URI"),
            (
                r#"{"payload":1,"format":"dsse","predicateType":"urn:a:b","predicate":1}"#,
                Reason::InvalidWorkItem,
                "object",
            ),
            (r#"{"source":{"url":"https://a/b?sig=x"}}"#, Reason::SourceForbidden, "query"),
            (r#"{"source":{"url":"https://u:p@a/b"}}"#, Reason::SourceForbidden, "user"),
            (r#"{"source":{"url":"a/b"}}"#, Reason::InvalidWorkItem, "`url`"),
            (r#"{"source":{}}"#, Reason::InvalidWorkItem, "`url`"),
            (r#"{"source":"https://a/b"}"#, Reason::InvalidWorkItem, "`source`"),
            (r#"{"source":{"url":"https://a/b","eTag":"x"}}"#, Reason::InvalidWorkItem, "`eTag`"),
            (r#"{"source":{"url":"https://a/b","etag":null}}"#, Reason::InvalidWorkItem, "`etag`"),
            (r#"{"source":{"url":"https://a/b","etag":"a b"}}"#, Reason::InvalidWorkItem, "`etag`"),
            (r#"{"source":{"url":"https://a/b","versionId":"a&b"}}"#, Reason::InvalidWorkItem, "`versionId`"),
            (r#"{"source":{"url":"https://a/b","url":"https://a/c"}}"#, Reason::InvalidWorkItem, "`url`"),
            (r#"{"payload":1,"source":{"url":"https://a/b"}}"#, Reason::InvalidWorkItem, "exclude"),
            (r#"{"specversion":"1.0","type":"x"}"#, Reason::UnsupportedEvent, "event"),
            (r#"[{"eventType":"x"},{"eventType":"x"}]"#, Reason::UnsupportedEvent, "2 events"),
            (r#"[{"payload":1}]"#, Reason::InvalidWorkItem, "object"),
        ] {
            let (reason, detail) = reason(message);
            assert_eq!(reason, expected, "{message}: {detail}");
            assert!(detail.contains(names), "{message}: {detail}");
        }
    }

    #[test]
    fn an_id_is_a_name_and_never_a_path() {
        let long = "x".repeat(901);
        let deep = vec!["s"; 201].join("/");
        for id in [
            "", "/a", "a/", "a//b", ".", "..", "a/../b", "a\\\\b", "a\\u0000", "a\\n", "\\u0085", "a\\uffff", &long,
            &deep,
        ] {
            assert_eq!(reason(&format!("{{\"id\":\"{id}\",\"payload\":1}}")).0, Reason::InvalidWorkItem, "{id}");
        }
        for id in ["a", "...", "a b", "%2e%2e", "?#", &long[1..], &deep[2..], "発票/42"] {
            assert_eq!(parse(&format!("{{\"id\":\"{id}\",\"payload\":1}}")).expect(id).id.as_deref(), Some(id));
        }
    }

    #[test]
    fn a_digest_stands_for_its_content_where_that_is_enough() {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let upper = sha256.to_uppercase();
        let item = parse(&format!(r#"{{"digest":{{"sha256":"{upper}"}},"format":["raw","dsse"]}}"#)).expect("an item");
        assert_eq!(named(&item), (format!("sha256/{sha256}"), Hash::Sha256, sha256.to_owned()));
        for format in ["jws", "jws-compact", "cose"] {
            let message = format!(r#"{{"id":"a","digest":{{"sha256":"{sha256}"}},"format":["raw","{format}"]}}"#);
            let (found, detail) = reason(&message);
            assert_eq!((found, detail.contains(format)), (Reason::InvalidWorkItem, true), "{detail}");
        }
        let sha384 = "00".repeat(48);
        let unnamed = format!(r#"{{"digest":{{"sha384":"{sha384}"}},"format":"raw"}}"#);
        assert!(reason(&unnamed).1.contains("`id`"), "{}", reason(&unnamed).1);
    }

    #[test]
    fn a_predicate_keeps_its_exact_text() {
        let item = parse(
            r#"{"payload":1,"format":"dsse","predicateType":"https://slsa.dev/provenance/v1","predicate":{ "a" :1.0 }}"#,
        );
        let predicate = item.expect("an item").predicate.expect("a predicate");
        assert_eq!(predicate.predicate_type, "https://slsa.dev/provenance/v1");
        assert_eq!(predicate.json.as_deref(), Some(r#"{ "a" :1.0 }"#));
    }

    #[test]
    fn a_source_is_a_blob_with_what_pins_it() {
        let item = parse(
            r#"{"source":{"url":"https://a/b/c","etag":"0x8D","versionId":"2026-11-21T10:00:00.1234567Z"},"format":["raw","cose"]}"#,
        );
        let item = item.expect("an item");
        let Content::Source(source) = &item.content else { panic!("a source") };
        assert_eq!(source.url.as_str(), "https://a/b/c");
        assert_eq!(source.etag.as_deref(), Some("\"0x8D\""));
        assert_eq!(source.version_id.as_deref(), Some("2026-11-21T10:00:00.1234567Z"));
        assert_eq!((item.content_type.as_str(), &item.id, item.is_event), ("application/octet-stream", &None, false));
    }

    #[test]
    fn an_event_is_an_item_in_the_default_format() {
        let event = r#"{"specversion":"1.0","type":"Microsoft.Storage.BlobCreated",
            "data":{"url":"https://a.blob.core.windows.net/in/x/y","eTag":"0x8D","contentType":"text/plain"}}"#;
        let item = WorkItem::parse(event.as_bytes(), Format::Cose).expect("an item");
        assert_eq!((item.id.as_deref(), &item.formats[..], item.is_event), (Some("in/x/y"), &[Format::Cose][..], true));
        assert_eq!(item.content_type, "text/plain");
        let own = event.replace(r#""specversion":"1.0","type""#, r#""eventType""#);
        for message in [format!("[{event}]"), own.clone(), format!(" [ {own} ] "), base64::encode(own.as_bytes())] {
            assert_eq!(WorkItem::parse(message.as_bytes(), Format::Cose).as_ref(), Ok(&item), "{message}");
        }
        let untyped = event.replace("text/plain", "nothing much");
        assert_eq!(parse(&untyped).expect("an item").content_type, "application/octet-stream");
        for (from, to, expected) in
            [("in/x/y", "in/x//y", Reason::InvalidWorkItem), ("in/x/y", "in/x/y?sig=x", Reason::SourceForbidden)]
        {
            assert_eq!(reason(&event.replace(from, to)).0, expected, "{to}");
        }
    }

    #[test]
    fn a_rejection_knows_the_id_if_it_was_good() {
        assert_eq!(parse(r#"{"x":1,"id":"a"}"#).expect_err("unknown member").id.as_deref(), Some("a"));
    }

    #[test]
    fn the_largest_message_is_the_queues() {
        let message = |length: usize| format!("{{\"payload\":\"{}\"}}", "a".repeat(length - 14));
        assert_eq!(message(MAX_MESSAGE_BYTES).len(), MAX_MESSAGE_BYTES);
        assert!(parse(&message(MAX_MESSAGE_BYTES)).is_ok());
        assert_eq!(reason(&message(MAX_MESSAGE_BYTES + 1)).0, Reason::TooLarge);
    }

    #[test]
    fn everything_asked_for_is_in_the_request_digest() {
        let digest = |message: &str, format| {
            let item = parse(message).expect(message);
            item.request_digest(format, &item.content_name().expect("content in the message"))
        };
        let base = digest(r#"{"id":"a","payload":1}"#, Format::Jws);
        assert_eq!(digest(r#"{"payload":1, "id":"a"}"#, Format::Jws), base, "spelling is no matter");
        assert_ne!(digest(r#"{"id":"a","payload":1}"#, Format::Raw), base);
        assert_ne!(digest(r#"{"id":"a","payload":2}"#, Format::Jws), base);
        assert_ne!(digest(r#"{"id":"a","payload":1,"contentType":"a/b"}"#, Format::Jws), base);
        let attested = |predicate: &str| {
            digest(&format!(r#"{{"id":"a","payload":1,"format":["jws","dsse"]{predicate}}}"#), Format::Dsse)
        };
        let plain = attested("");
        let typed = attested(r#","predicateType":"urn:a:b""#);
        let full = attested(r#","predicateType":"urn:a:b","predicate":{}"#);
        assert!(plain != typed && typed != full && plain != full);
        let jws = digest(r#"{"id":"a","payload":1,"format":["jws","dsse"],"predicateType":"urn:a:b"}"#, Format::Jws);
        assert_eq!(jws, base, "the predicate is no part of the JWS");
    }
}
