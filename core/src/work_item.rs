//! What a sender wants signed: a queue message, read as a work item.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::{
    algorithm::{Hash, hex, unhex},
    base64,
    content::{Content, ContentName, Given, Predicate, Source, blob_url},
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
    let url = members.string("url").and_then(|url| blob_url(&url));
    let url = url.ok_or_else(|| invalid_item("`source` must have a `url`, the https:// URL of a blob"))?;
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
    // RFC 9052, section 3.1: white space may neither lead nor trail.
    well_formed && text.len() <= 255 && !text.ends_with(' ') && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests;
