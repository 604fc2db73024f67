//! A result's metadata: how it came about, and so whether it is the one that an item asks for.

use std::collections::HashMap;

use signet_core::{
    algorithm::sha256_hex,
    content::{Content, ContentName, Source},
    draft::SigningKey,
    format::Format,
    work_item::WorkItem,
};

/// Metadata of a blob, names without a prefix.
pub(crate) type Metadata = HashMap<String, String>;

const REQUEST: &str = "signet_request";
const SHA256: &str = "signet_sha256";
const MESSAGE: &str = "signet_message";
const SOURCE: &str = "signet_source";
const SOURCE_ETAG: &str = "signet_source_etag";

/// What all results of one attempt at an item have in common.
pub(crate) struct Origin<'a> {
    pub(crate) item: &'a WorkItem,
    pub(crate) content: &'a ContentName,
    /// The state of the source that was read.
    pub(crate) source_etag: Option<&'a str>,
    pub(crate) message_id: Option<&'a str>,
    pub(crate) invocation_id: &'a str,
}

impl Origin<'_> {
    /// The metadata of a result.
    pub(crate) fn metadata(&self, format: Format, key: &SigningKey) -> Metadata {
        let request = self.item.request_digest(format, self.content);
        let entries = [
            (REQUEST, Some(request.as_str())),
            // Not known where the sender gave another digest in place of the content.
            (SHA256, self.content.sha256()),
            ("signet_kid", Some(key.kid.as_str())),
            ("signet_alg", Some(key.algorithm.name())),
            ("signet_version", Some(env!("CARGO_PKG_VERSION"))),
            ("signet_invocation", Some(self.invocation_id).filter(|id| !id.is_empty())),
            (MESSAGE, self.message_id),
            (SOURCE_ETAG, self.source_etag),
        ];
        let named = entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        let source = match &self.item.content {
            Content::Source(source) => Some((SOURCE.to_owned(), mark(source))),
            Content::Given(_) => None,
        };
        named.chain(source).collect()
    }

    /// Whether a result that stands is of the same request.
    pub(crate) fn is_of(&self, standing: &Metadata, format: Format) -> bool {
        is(standing, REQUEST, &self.item.request_digest(format, self.content))
    }
}

/// Whether a result is of the same request for a source, as far as can be told without reading it: by the message itself, or
/// by one that meant the same state of the same blob.
pub(crate) fn is_of_source(
    standing: &Metadata,
    item: &WorkItem,
    source: &Source,
    format: Format,
    message_id: Option<&str>,
) -> bool {
    let request = standing.get(SHA256).map(|sha256| item.request_digest(format, &ContentName::of_source(sha256)));
    let is_same_request = request.is_some_and(|request| is(standing, REQUEST, &request));
    let is_same_state = source.etag.as_ref().is_some_and(|etag| is(standing, SOURCE_ETAG, etag))
        || message_id.is_some_and(|id| is(standing, MESSAGE, id));
    is_same_request && is_same_state && is(standing, SOURCE, &mark(source))
}

/// Whether two results are of the same request.
pub(crate) fn is_same_request(standing: &Metadata, other: &Metadata) -> bool {
    other.get(REQUEST).is_some_and(|request| is(standing, REQUEST, request))
}

/// The state of the source that a result was made from.
pub(crate) fn source_etag(standing: &Metadata) -> Option<&str> {
    standing.get(SOURCE_ETAG).map(String::as_str)
}

fn is(standing: &Metadata, name: &str, value: &str) -> bool {
    standing.get(name).is_some_and(|found| found == value)
}

/// The source's URL, which is ASCII, unless it is longer than metadata can hold beside the rest (8 KiB in all).
fn mark(source: &Source) -> String {
    let url = source.url.as_str();
    let version = source.version_id.as_ref().map(|version| format!("?versionid={version}")).unwrap_or_default();
    if url.len() <= 4096 {
        format!("{url}{version}")
    } else {
        format!("sha256:{}{version}", sha256_hex(url.as_bytes()))
    }
}
