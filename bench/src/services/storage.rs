//! What the storage services' answers have in common.

use bytes::Bytes;
use hyper::{
    Request, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, SERVER},
};
use time::{OffsetDateTime, macros::format_description};

/// An answer with the headers that every answer has.
pub(super) fn described(
    mut response: Response<Bytes>,
    request: &Request<Bytes>,
    server: &'static str,
) -> Response<Bytes> {
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(server));
    headers.insert("x-ms-request-id", HeaderValue::from_static("0f2b2a3c-901e-0045-5d2c-5b7a1e000000"));
    headers.insert("x-ms-version", HeaderValue::from_static("2026-02-06"));
    if let Some(id) = request.headers().get("x-ms-client-request-id") {
        headers.insert("x-ms-client-request-id", id.clone());
    }
    response
}

/// A time as headers and lists have it (RFC 9110, section 5.6.7).
pub(super) fn http_date(time: OffsetDateTime) -> String {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    time.format(&format).unwrap_or_default()
}

pub(super) fn refusal(status: StatusCode, code: &'static str) -> Response<Bytes> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    );
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response.headers_mut().insert("x-ms-error-code", HeaderValue::from_static(code));
    response
}
