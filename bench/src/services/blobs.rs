//! Blob Storage, as far as handlers use it: blobs are created, replaced by `ETag`, looked at and read.
//!
//! Shapes as in the Blob service REST API, Put Blob, Get Blob and Get Container Properties.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, RANGE},
};
use signet::local::listener::Service;
use time::OffsetDateTime;

use super::{
    ACCOUNT,
    storage::{described, http_date, refusal},
};

/// All containers, each of which exists.
#[derive(Default)]
pub(super) struct Blobs(Mutex<State>);

#[derive(Default)]
struct State {
    /// By their paths, in which a `/` of a name is itself: some SDKs escape it.
    blobs: HashMap<String, Blob>,
    changes: u64,
}

struct Blob {
    content: Bytes,
    content_type: Option<HeaderValue>,
    etag: HeaderValue,
    written: Instant,
}

impl Blobs {
    pub(super) fn len(&self) -> usize {
        self.state().blobs.len()
    }

    /// When a blob was written; its path begins behind the account's name.
    pub(super) fn written(&self, path: &str) -> Option<Instant> {
        let state = self.state();
        let in_path = format!("/{ACCOUNT}{path}");
        state.blobs.get(path).or_else(|| state.blobs.get(&in_path)).map(|blob| blob.written)
    }

    pub(super) fn clear(&self) {
        self.state().blobs.clear();
    }

    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default();
        let path = &request.uri().path().replace("%2F", "/");
        let response = if query.contains("restype=container") {
            Response::new(Bytes::new())
        } else {
            match *request.method() {
                Method::PUT => self.put(path, request),
                Method::GET | Method::HEAD => self.get(path, request),
                _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb"),
            }
        };
        described(response, request, "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0")
    }

    fn put(&self, path: &str, request: &Request<Bytes>) -> Response<Bytes> {
        let headers = request.headers();
        let mut state = self.state();
        let present = state.blobs.get(path);
        if present.is_some() && headers.get(IF_NONE_MATCH).is_some_and(|value| value == "*") {
            return refusal(StatusCode::CONFLICT, "BlobAlreadyExists");
        }
        if headers.get(IF_MATCH).is_some_and(|value| present.is_none_or(|present| present.etag != value)) {
            return refusal(StatusCode::PRECONDITION_FAILED, "ConditionNotMet");
        }
        state.changes += 1;
        let etag = HeaderValue::try_from(format!("\"0x8DE{:012X}\"", state.changes)).expect("digits and quotes");
        let content_type = headers.get("x-ms-blob-content-type").cloned();
        let blob = Blob { content: request.body().clone(), content_type, etag: etag.clone(), written: Instant::now() };
        state.blobs.insert(path.to_owned(), blob);
        drop(state);
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::CREATED;
        dated(response.headers_mut(), etag);
        response.headers_mut().insert("x-ms-request-server-encrypted", HeaderValue::from_static("true"));
        response
    }

    fn get(&self, path: &str, request: &Request<Bytes>) -> Response<Bytes> {
        let state = self.state();
        let Some(blob) = state.blobs.get(path) else {
            return refusal(StatusCode::NOT_FOUND, "BlobNotFound");
        };
        let mut response = Response::new(blob.content.clone());
        let headers = response.headers_mut();
        headers.extend(blob.content_type.clone().map(|value| (CONTENT_TYPE, value)));
        headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
        dated(headers, blob.etag.clone());
        if let Some((first, last)) = range(request.headers(), blob.content.len()) {
            let of = format!("bytes {first}-{last}/{}", blob.content.len());
            headers.extend(HeaderValue::try_from(of).ok().map(|value| (CONTENT_RANGE, value)));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            *response.body_mut() = blob.content.slice(first..=last);
        }
        response
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service for Blobs {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        ready(self.answer(&request)).boxed()
    }
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobs").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The first and last byte that are asked for, as far as there are any.
fn range(headers: &HeaderMap, len: usize) -> Option<(usize, usize)> {
    let asked = headers.get("x-ms-range").or_else(|| headers.get(RANGE))?.to_str().ok()?;
    let (first, last) = asked.strip_prefix("bytes=")?.split_once('-')?;
    let (first, end) = (first.parse().ok()?, len.checked_sub(1)?);
    let last = last.parse().map_or(end, |last: usize| last.min(end));
    (first <= last).then_some((first, last))
}

fn dated(headers: &mut HeaderMap, etag: HeaderValue) {
    headers.insert(ETAG, etag);
    let now = HeaderValue::try_from(http_date(OffsetDateTime::now_utc()));
    headers.extend(now.ok().map(|value| (LAST_MODIFIED, value)));
}
