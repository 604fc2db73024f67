//! What an error of an Azure SDK client means to its caller.

use std::{error::Error as _, time::Duration};

use azure_core::{
    Error,
    error::ErrorKind,
    http::{
        StatusCode,
        headers::{HeaderName, Headers, RETRY_AFTER},
    },
    time::OffsetDateTime,
};

/// An SDK error, reduced to what decides what happens next.
#[derive(Clone, Debug)]
pub struct Failure {
    /// HTTP status of the service's answer; `None` where no answer came.
    pub status: Option<u16>,
    /// The service's own error code (`BlobAlreadyExists`, `Forbidden`), or a word of ours (`connection`, `io`, `credential`).
    pub code: String,
    /// The chain of causes in one line, without bodies, URLs' queries or tokens.
    pub message: String,
    /// How long the service asked to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether the same request may well succeed within seconds.
    pub transient: bool,
}

impl Failure {
    /// Whether the service answered with this status.
    #[must_use]
    pub fn is(&self, status: u16) -> bool {
        self.status == Some(status)
    }

    /// Whether the service did not take the token, so that another one may do: 401 everywhere, and 403 `AuthenticationFailed`
    /// where Blob Storage meets a token whose life is over.
    #[must_use]
    pub fn refuses_token(&self) -> bool {
        self.is(401) || (self.is(403) && self.code == "AuthenticationFailed")
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        match innermost_http(error) {
            Some(ErrorKind::HttpResponse { status, error_code, raw_response }) => {
                let headers = raw_response.as_ref().map(|response| response.headers());
                let body = raw_response.as_ref().map(|response| response.body().as_ref());
                // The vault's inner code says more than the one that the SDK takes from its answer.
                let code = body
                    .and_then(code_in_json)
                    .or_else(|| error_code.clone())
                    .unwrap_or_else(|| u16::from(*status).to_string());
                Self {
                    status: Some((*status).into()),
                    message: format!("HTTP {} {code}", u16::from(*status)),
                    code,
                    retry_after: headers.and_then(retry_after).map(|wait| wait.min(LONGEST_WISH)),
                    transient: is_transient(*status),
                }
            }
            _ => Self {
                status: None,
                code: word(error.kind()).to_owned(),
                message: causes(error),
                retry_after: None,
                transient: matches!(error.kind(), ErrorKind::Connection | ErrorKind::Io | ErrorKind::Credential),
            },
        }
    }
}

/// No deadline here is longer, and adding it to a clock overflows nothing.
const LONGEST_WISH: Duration = Duration::from_hours(24);

/// 408, 429 and what a gateway or a restarting service says.
fn is_transient(status: StatusCode) -> bool {
    matches!(u16::from(status), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The HTTP answer behind an error, also where a credential has wrapped it.
fn innermost_http(error: &Error) -> Option<&ErrorKind> {
    if let kind @ ErrorKind::HttpResponse { .. } = error.kind() {
        return Some(kind);
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(inner) = cause.downcast_ref::<Error>()
            && let kind @ ErrorKind::HttpResponse { .. } = inner.kind()
        {
            return Some(kind);
        }
        source = cause.source();
    }
    None
}

/// `error.innererror.code` or `error.code` of a JSON error body, as Key Vault answers.
fn code_in_json(body: &[u8]) -> Option<String> {
    let error: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = error.get("error")?;
    let code = error.pointer("/innererror/code").or_else(|| error.get("code"))?.as_str()?;
    (code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric())).then(|| code.to_owned())
}

/// The service's wish, in whichever of its three headers it stands: milliseconds, seconds or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &Headers) -> Option<Duration> {
    for name in ["x-ms-retry-after-ms", "retry-after-ms"] {
        if let Some(milliseconds) =
            headers.get_optional_str(&HeaderName::from_static(name)).and_then(|v| v.parse().ok())
        {
            return Some(Duration::from_millis(milliseconds));
        }
    }
    let value = headers.get_optional_str(&RETRY_AFTER)?;
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = azure_core::time::parse_rfc7231(value).ok()?;
    until(date)
}

/// From now until a date; `None` where it has passed.
#[expect(clippy::arithmetic_side_effects, reason = "no two dates are so far apart that a duration could not hold it")]
pub(crate) fn until(date: OffsetDateTime) -> Option<Duration> {
    (date - OffsetDateTime::now_utc()).try_into().ok()
}

fn word(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Connection => "connection",
        ErrorKind::Io => "io",
        ErrorKind::Credential => "credential",
        ErrorKind::DataConversion => "unexpected-answer",
        _ => "client",
    }
}

/// The messages of an error and its causes, on one line. The SDK's own text often hides the reason in the source.
fn causes(error: &Error) -> String {
    let mut source = error.source();
    if matches!(error.kind(), ErrorKind::DataConversion) && source.is_some() {
        // The SDK quotes the whole answer, and its sources parts of it: messages, receipts, tokens.
        return "the answer cannot be read".to_owned();
    }
    let mut text = error.to_string();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use azure_core::http::RawResponse;

    use super::*;

    #[test]
    fn an_answer_that_cannot_be_read_is_not_quoted() {
        let error = azure_core::xml::from_xml::<_, Vec<u32>>(b"<a>secret</a").expect_err("no XML");
        assert!(error.to_string().contains("secret"), "{error}");
        assert_eq!(Failure::from(&error).message, "the answer cannot be read");
        let ours = Error::with_message(ErrorKind::DataConversion, "no key set");
        assert_eq!(Failure::from(&ours).message, "no key set");
    }

    #[test]
    fn the_vaults_inner_code_says_more_than_its_outer_one() {
        let body = br#"{"error":{"code":"Forbidden","message":"m","innererror":{"code":"KeyDisabled"}}}"#;
        assert_eq!(code_in_json(body).as_deref(), Some("KeyDisabled"));
        assert_eq!(code_in_json(br#"{"error":{"code":"Throttled"}}"#).as_deref(), Some("Throttled"));
        assert_eq!(code_in_json(br#"{"error":{"code":"two words"}}"#), None);
        assert_eq!(code_in_json("[".repeat(100_000).as_bytes()), None);
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let read = |name: &'static str, value: &'static str| {
            let mut headers = Headers::new();
            headers.insert(name, value);
            retry_after(&headers)
        };
        assert_eq!(read("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(read("x-ms-retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(read("retry-after", "Fri, 21 Nov 1997 09:55:06 GMT"), None, "a date that has passed");
        assert_eq!(read("retry-after", "soon"), None);
    }

    #[test]
    fn no_wish_is_longer_than_a_day() {
        let failure = |name: &'static str, value: &str| {
            let mut headers = Headers::new();
            headers.insert(name, value.to_owned());
            let raw_response = Some(Box::new(RawResponse::from_bytes(StatusCode::ServiceUnavailable, headers, "")));
            let status = StatusCode::ServiceUnavailable;
            Failure::from(&Error::from(ErrorKind::HttpResponse { status, error_code: None, raw_response }))
        };
        for (name, value, expected) in [
            ("retry-after", "1000000000000000000", Some(LONGEST_WISH)),
            ("retry-after", "18446744073709551615", Some(LONGEST_WISH)),
            ("retry-after", "18446744073709551616", None),
            ("retry-after", "-1", None),
            ("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT", Some(LONGEST_WISH)),
            ("retry-after", "Mon, 01 Jan 0001 00:00:00 GMT", None),
            ("x-ms-retry-after-ms", "18446744073709551615", Some(LONGEST_WISH)),
            ("retry-after-ms", "86399999", Some(Duration::from_millis(86_399_999))),
        ] {
            assert_eq!(failure(name, value).retry_after, expected, "{name}: {value}");
        }
    }

    #[test]
    fn a_lost_connection_is_transient_and_its_cause_is_told() {
        let error = Error::new(ErrorKind::Connection, std::io::Error::other("refused by peer"));
        let failure = Failure::from(&error);
        assert!(failure.transient);
        assert!(failure.message.contains("refused by peer"), "{}", failure.message);
    }
}
