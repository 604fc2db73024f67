//! Blob Storage, as far as handlers use it: blobs are created, replaced by `ETag`, looked at and read.
//!
//! Shapes as in the Blob service REST API, Put Blob, Get Blob and Get Container Properties.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, RANGE},
};
use signet::local::listener::Service;
use time::{OffsetDateTime, macros::format_description};

/// All containers, each of which exists.
#[derive(Default)]
pub(super) struct Blobs(Mutex<State>);

#[derive(Default)]
struct State {
    blobs: HashMap<String, Blob>,
    changes: u64,
}

struct Blob {
    content: Bytes,
    content_type: Option<HeaderValue>,
    etag: HeaderValue,
}

impl Blobs {
    pub(super) fn len(&self) -> usize {
        self.state().blobs.len()
    }

    pub(super) fn clear(&self) {
        self.state().blobs.clear();
    }

    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default();
        let path = request.uri().path();
        let mut response = if query.contains("restype=container") {
            Response::new(Bytes::new())
        } else {
            match *request.method() {
                Method::PUT => self.put(path, request),
                Method::GET | Method::HEAD => self.get(path, request),
                _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb"),
            }
        };
        for (name, value) in [
            ("server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"),
            ("x-ms-request-id", "0f2b2a3c-901e-0045-5d2c-5b7a1e000000"),
            ("x-ms-version", "2026-02-06"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        if let Some(id) = request.headers().get("x-ms-client-request-id") {
            response.headers_mut().insert("x-ms-client-request-id", id.clone());
        }
        response
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
        let blob = Blob { content: request.body().clone(), content_type, etag: etag.clone() };
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
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let now = OffsetDateTime::now_utc().format(&format).unwrap_or_default();
    headers.insert(ETAG, etag);
    headers.extend(HeaderValue::try_from(now).ok().map(|value| (LAST_MODIFIED, value)));
}

fn refusal(status: StatusCode, code: &'static str) -> Response<Bytes> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    );
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response.headers_mut().insert("x-ms-error-code", HeaderValue::from_static(code));
    response
}
