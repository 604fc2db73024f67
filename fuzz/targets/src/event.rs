//! Events of Event Grid: the input is lines, each of them a member, so that most inputs are events.

use serde_json::{Value, json};
use signet_core::{base64, content::Content, format::Format, rejection::Rejection, work_item::WorkItem};

use crate::{
    bounds::in_proportion,
    work_item::{check, check_rejection},
};

/// Both schemas say the same, alone, in a list and in Base64; what is accepted is an item with an id that names the blob.
pub fn event(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n').map(Some).chain(std::iter::repeat(None));
    let mut line = || lines.next().flatten();
    let (url, subject, etag, content_type, api) = (line(), line(), line(), line(), line());
    let kind = line().unwrap_or("Microsoft.Storage.BlobCreated");
    let members = [("url", url), ("eTag", etag), ("contentType", content_type), ("api", api)];
    let data: serde_json::Map<String, Value> =
        members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))).collect();
    let mut cloud = json!({ "specversion": "1.0", "type": kind, "data": data });
    let mut own = json!({ "eventType": kind, "data": data, "dataVersion": "" });
    if let Some(subject) = subject {
        (cloud["subject"], own["subject"]) = (json!(subject), json!(subject));
    }

    let cloud = cloud.to_string();
    let read = in_proportion(cloud.len(), || WorkItem::parse(cloud.as_bytes(), Format::Jws));
    let forms =
        [own.to_string(), format!("[{own}]"), format!("\u{feff} [\n{cloud} ]"), base64::encode(cloud.as_bytes())];
    if forms.iter().all(|form| form.len() <= signet_core::work_item::MAX_MESSAGE_BYTES) {
        for form in forms {
            assert_eq!(WorkItem::parse(form.as_bytes(), Format::Jws), read, "{form}");
        }
    }
    match &read {
        Ok(item) => check_item(item),
        Err(rejection @ Rejection { .. }) => check_rejection(rejection),
    }
}

fn check_item(item: &WorkItem) {
    check(item);
    assert!(item.is_event && item.formats == [Format::Jws] && item.predicate.is_none());
    let (Some(id), Content::Source(source)) = (&item.id, &item.content) else { panic!("{item:?}") };
    assert!(id.contains('/') && source.version_id.is_none());
    // Where the container's name is written plainly, the id is it and the blob's name.
    let (container, _) = id.split_once('/').expect("a container");
    if container.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && let Ok(url) = source.url.join(&format!("/{container}"))
        && let Some(name) = source.name_in(&url)
    {
        assert_eq!(*id, format!("{container}/{name}"));
    }
}
