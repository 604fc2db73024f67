//! Events that say that a blob was written: CloudEvents 1.0, and Event Grid's own schema (Microsoft Learn, "Azure Blob
//! Storage as an Event Grid source").

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::{
    content::{Source, blob_url},
    json::{self, Members},
    rejection::{Reason, Rejection},
};

/// The one type of event that there is something to sign in.
const BLOB_CREATED: &str = "Microsoft.Storage.BlobCreated";

/// A blob that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobCreated {
    /// `{container}/{blob name}`.
    pub id: String,
    /// The blob in the state that the event tells of.
    pub source: Source,
    /// The media type that it was uploaded with, if the event says.
    pub content_type: Option<String>,
}

/// Whether a JSON object is an event in one of the two schemas.
#[must_use]
pub fn is_event(members: &Members<'_>) -> bool {
    members.value("specversion").is_some() || members.value("eventType").is_some()
}

/// Reads an event.
///
/// # Errors
/// [`Reason::UnsupportedEvent`] for what tells of nothing to sign, [`Reason::InvalidWorkItem`] for a member that is missing
/// or malformed.
pub fn parse(members: &Members<'_>) -> Result<BlobCreated, Rejection> {
    let kind = if let Some(version) = members.value("specversion") {
        if json::string(version).as_deref() != Some("1.0") {
            return Err(unsupported("only version 1.0 of CloudEvents is understood".to_owned()));
        }
        members.string("type")
    } else {
        members.string("eventType")
    };
    if kind.as_deref() != Some(BLOB_CREATED) {
        let kind: String = kind.unwrap_or_default().chars().take(64).flat_map(char::escape_default).collect();
        let detail = format!("the event is of type `{kind}`; only {BLOB_CREATED} brings something to sign");
        let id = members.string("subject").and_then(|subject| id_of_subject(&subject));
        return Err(Rejection { id, ..unsupported(detail) });
    }
    let data = members.value("data").and_then(|data| Members::parse(data).ok());
    let data = data.ok_or_else(|| invalid("the event's `data` is missing, or no object"))?;
    // A file system's blob is created empty and filled after that; both are events of this type.
    if let Some(api) = data.string("api").filter(|api| matches!(api.as_ref(), "CreateFile" | "SftpCreate")) {
        return Err(unsupported(format!(
            "`{api}` creates an empty file; the event of its last write is the one to sign"
        )));
    }
    let url = data.string("url").and_then(|url| blob_url(&url)).map(blob_endpoint);
    let url = url.ok_or_else(|| invalid("the event's `data.url` is missing, or no https:// URL"))?;
    let id = blob_id(&url).ok_or_else(|| invalid("the event's `data.url` names no blob in a container"))?;
    if let Some(subject) = members.string("subject")
        && let Some(named) = id_of_subject(&subject)
        && named != id
        && percent_decode_str(&named).decode_utf8().ok().as_deref() != Some(&*id)
    {
        return Err(invalid("the event's `subject` and `data.url` name different blobs"));
    }
    let etag = match data.value("eTag") {
        None => None,
        Some(etag) => Some(parse_etag(etag).ok_or_else(|| invalid("the event's `data.eTag` is no entity tag"))?),
    };
    let content_type = data.string("contentType").map(Cow::into_owned);
    Ok(BlobCreated { id, source: Source { url, etag, version_id: None }, content_type })
}

/// An entity tag in the form that the header `If-Match` takes, quotation marks included; events and SDKs leave them out at
/// times. `None` for what is none, a weak one included (RFC 9110, section 8.8.3).
#[must_use]
pub fn parse_etag(value: &str) -> Option<String> {
    let text = json::string(value)?;
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&text);
    let is_opaque = bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    ((1..=128).contains(&bare.len()) && is_opaque).then(|| format!("\"{bare}\""))
}

/// Accounts with a hierarchical namespace name the same blob at their other endpoint.
fn blob_endpoint(mut url: Url) -> Url {
    // Also where the account is in a DNS zone of its own: `a.z01.dfs.storage.azure.net`.
    let blob_host =
        url.host_str().filter(|host| host.contains(".dfs.")).map(|host| host.replacen(".dfs.", ".blob.", 1));
    if let Some(host) = blob_host {
        // It differs in one label from a host that was good.
        let _ = url.set_host(Some(&host));
    }
    url
}

/// `{container}/{blob name}` of a blob's URL.
fn blob_id(url: &Url) -> Option<String> {
    let path = percent_decode_str(url.path().strip_prefix('/')?).decode_utf8().ok()?;
    let (container, name) = path.split_once('/')?;
    (!container.is_empty() && !name.is_empty()).then(|| path.clone().into_owned())
}

fn id_of_subject(subject: &str) -> Option<String> {
    let (container, name) = subject.strip_prefix("/blobServices/default/containers/")?.split_once("/blobs/")?;
    Some(format!("{container}/{name}"))
}

fn unsupported(detail: String) -> Rejection {
    Rejection::parse(Reason::UnsupportedEvent, detail)
}

fn invalid(detail: &str) -> Rejection {
    Rejection::parse(Reason::InvalidWorkItem, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After Microsoft Learn's sample of a CloudEvents 1.0 event.
    const CLOUD_EVENT: &str = r#"{
        "source": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
        "subject": "/blobServices/default/containers/in/blobs/x/né w.txt",
        "type": "Microsoft.Storage.BlobCreated",
        "time": "2026-11-21T18:41:00.9584103Z",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": {
            "api": "PutBlockList", "clientRequestId": "6d79dbfb-0e37-4fc4-981f-442c9ca65760",
            "requestId": "831e1650-001e-001b-66ab-eeb76e000000", "eTag": "0x8D4BCC2E4835CD0",
            "contentType": "text/plain", "contentLength": 524288, "blobType": "BlockBlob",
            "url": "https://a.blob.core.windows.net/in/x/n%C3%A9%20w.txt",
            "sequencer": "00000000000004420000000000028963",
            "storageDiagnostics": { "batchId": "b68529f3-68cd-4744-baa4-3c0498ec19f0" } },
        "specversion": "1.0" }"#;

    fn read(text: &str) -> Result<BlobCreated, Rejection> {
        parse(&Members::parse(text).expect(text))
    }

    #[test]
    fn both_schemas_say_the_same() {
        let cloud = read(CLOUD_EVENT).expect("an event");
        assert_eq!(cloud.id, "in/x/né w.txt");
        assert_eq!(cloud.source.url.as_str(), "https://a.blob.core.windows.net/in/x/n%C3%A9%20w.txt");
        assert_eq!(cloud.source.etag.as_deref(), Some("\"0x8D4BCC2E4835CD0\""));
        assert_eq!(cloud.content_type.as_deref(), Some("text/plain"));
        let own = CLOUD_EVENT
            .replace("\"source\"", "\"topic\"")
            .replace("\"type\"", "\"eventType\"")
            .replace("\"time\"", "\"eventTime\"")
            .replace("\"specversion\": \"1.0\"", "\"dataVersion\": \"\", \"metadataVersion\": \"1\"")
            .replace("\"0x8D4BCC2E4835CD0\"", r#""\"0x8D4BCC2E4835CD0\"""#);
        assert_eq!(read(&own).as_ref(), Ok(&cloud), "with its entity tag in quotation marks");
        let file_system = CLOUD_EVENT.replace("a.blob.core", "a.dfs.core").replace("PutBlockList", "FlushWithClose");
        assert_eq!(read(&file_system), Ok(cloud));
    }

    #[test]
    fn what_tells_of_nothing_to_sign_is_refused() {
        for (from, to, reason, names) in [
            ("Storage.BlobCreated", "Storage.BlobDeleted", Reason::UnsupportedEvent, "BlobDeleted"),
            ("\"1.0\"", "\"0.3\"", Reason::UnsupportedEvent, "1.0"),
            ("\"1.0\"", "1.0", Reason::UnsupportedEvent, "1.0"),
            ("PutBlockList", "CreateFile", Reason::UnsupportedEvent, "CreateFile"),
            ("\"data\"", "\"dato\"", Reason::InvalidWorkItem, "`data`"),
            ("\"url\"", "\"uri\"", Reason::InvalidWorkItem, "data.url"),
            ("https://a.blob.core.windows.net/in/x/n%C3%A9%20w.txt", "x", Reason::InvalidWorkItem, "data.url"),
            ("net/in/x/n%C3%A9%20w.txt", "net/in", Reason::InvalidWorkItem, "data.url"),
            ("net/in/x/n%C3%A9%20w.txt", "net/in/", Reason::InvalidWorkItem, "names no blob"),
            ("net/in/x/n%C3%A9%20w.txt", "net//x", Reason::InvalidWorkItem, "names no blob"),
            ("blobs/x/né", "blobs/y", Reason::InvalidWorkItem, "subject"),
            ("\"0x8D4BCC2E4835CD0\"", "\"a b\"", Reason::InvalidWorkItem, "data.eTag"),
            ("\"0x8D4BCC2E4835CD0\"", "null", Reason::InvalidWorkItem, "data.eTag"),
        ] {
            let rejection = read(&CLOUD_EVENT.replacen(from, to, 1)).expect_err(to);
            assert_eq!(rejection.reason, reason, "{to}: {}", rejection.detail);
            assert!(rejection.detail.contains(names), "{to}: {}", rejection.detail);
        }
    }

    #[test]
    fn of_an_event_of_another_type_the_blob_is_told_all_the_same() {
        let deleted = CLOUD_EVENT.replacen("Storage.BlobCreated", "Storage.BlobDeleted", 1);
        assert_eq!(read(&deleted).expect_err("nothing to sign").id.as_deref(), Some("in/x/né w.txt"));
    }

    #[test]
    fn an_entity_tag_has_quotation_marks_or_gets_them() {
        for (value, expected) in [
            (r#""0x8D""#, Some("\"0x8D\"")),
            (r#""\"0x8D\"""#, Some("\"0x8D\"")),
            (r#""*""#, Some("\"*\"")),
            (r#""""#, None),
            (r#""\"\"""#, None),
            (r#""W/\"x\"""#, None),
            (r#""a\r\nb""#, None),
            ("7", None),
        ] {
            assert_eq!(parse_etag(value).as_deref(), expected, "{value}");
        }
    }
}
