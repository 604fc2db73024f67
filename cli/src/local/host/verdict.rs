//! What the host makes of a handler's reply.

use std::fmt;

use serde::Deserialize as _;
use serde_json::Value;

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message is done. `Logs` of the reply.
    Succeeded {
        /// Lines for the function's own log.
        logs: Vec<String>,
    },
    /// The message goes back, or to the poison queue; why.
    Failed(String),
    /// No usable reply before `functionTimeout`: failed, and the handler was killed and started again.
    TimedOut,
}

impl Outcome {
    /// Whether the message is done.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self, Self::Succeeded { .. })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded { .. } => f.write_str("succeeded"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
            Self::TimedOut => f.write_str("timed out"),
        }
    }
}

/// The judgement of a whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It decides the invocation.
    Ends(Outcome),
    /// It reads as null, which the host neither takes for a result nor for an error: it waits for `functionTimeout`.
    Hangs,
}

/// Judges a reply by its final status, its `Content-Type` and its body.
pub(super) fn judge(status: u16, content_type: Option<&str>, body: &[u8]) -> Verdict {
    if !(200..300).contains(&status) {
        return failed(format!("response status code does not indicate success: {status}"));
    }
    if body.is_empty() {
        return Verdict::Hangs;
    }
    let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !["application/json", "text/json"].iter().any(|json| json.eq_ignore_ascii_case(media_type)) {
        return failed(match media_type {
            "" => "a response body without content type cannot be read as JSON".to_owned(),
            other => format!("a response body of content type {other} cannot be read as JSON"),
        });
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.trim_ascii().is_empty() {
        return Verdict::Hangs;
    }
    // The first value counts; what follows it is not looked at.
    match Value::deserialize(&mut serde_json::Deserializer::from_slice(body)) {
        Ok(Value::Null) => Verdict::Hangs,
        Ok(Value::Object(members)) => match result(members) {
            Ok(logs) => Verdict::Ends(Outcome::Succeeded { logs }),
            Err(reason) => failed(format!("invalid response body: {reason}")),
        },
        Ok(_) => failed("invalid response body: not a JSON object".to_owned()),
        Err(error) => failed(format!("invalid response body: {error}")),
    }
}

fn failed(reason: String) -> Verdict {
    Verdict::Ends(Outcome::Failed(reason))
}

/// The logs of a reply whose members have the types that the host expects.
fn result(members: serde_json::Map<String, Value>) -> Result<Vec<String>, &'static str> {
    let mut logs = Vec::new();
    for (name, value) in members {
        match (name.to_lowercase().as_str(), value) {
            ("outputs", Value::Object(_)) | (_, Value::Null) => {}
            ("outputs", _) => return Err("Outputs is no object"),
            ("logs", Value::Array(lines)) => {
                logs = lines.into_iter().map(log_line).collect::<Option<_>>().ok_or("Logs holds more than text")?;
            }
            ("logs", _) => return Err("Logs is no array"),
            _ => {}
        }
    }
    Ok(logs)
}

fn log_line(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Null => Some(String::new()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Option<&str> = Some("application/json; charset=utf-8");

    #[test]
    fn a_json_object_succeeds() {
        let objects = [
            "{}",
            r#" {"Outputs":{},"Logs":[],"ReturnValue":1,"other":[]}"#,
            r#"{"outputs":null,"LOGS":null}"#,
            "\u{feff}{} trailing",
        ];
        for body in objects {
            let verdict = judge(201, JSON, body.as_bytes());
            assert_eq!(verdict, Verdict::Ends(Outcome::Succeeded { logs: vec![] }), "{body}");
        }
        let logs = vec!["a".to_owned(), "1".to_owned()];
        assert_eq!(judge(200, Some("text/json"), br#"{"logs":["a",1]}"#), Verdict::Ends(Outcome::Succeeded { logs }));
    }

    #[test]
    fn nothing_and_null_hang() {
        for (content_type, body) in [(None, ""), (Some("text/plain"), ""), (JSON, " \r\n"), (JSON, "null")] {
            assert_eq!(judge(204, content_type, body.as_bytes()), Verdict::Hangs, "{content_type:?} {body:?}");
        }
    }

    #[test]
    fn everything_else_fails() {
        let replies = [
            (200, None, "{}"),
            (200, Some("text/plain"), "{}"),
            (200, Some("application/jsonp"), "{}"),
            (200, JSON, "{"),
            (200, JSON, "[]"),
            (200, JSON, "1"),
            (200, JSON, "\"{}\""),
            (200, JSON, r#"{"Outputs":[]}"#),
            (200, JSON, r#"{"Logs":"a"}"#),
            (200, JSON, r#"{"Logs":[["a"]]}"#),
            (302, JSON, "{}"),
            (404, JSON, "{}"),
            (503, JSON, ""),
        ];
        for (status, content_type, body) in replies {
            let verdict = judge(status, content_type, body.as_bytes());
            assert!(matches!(verdict, Verdict::Ends(Outcome::Failed(_))), "{status} {content_type:?} {body}");
        }
    }
}
