//! The body of an invocation: one message as `Data`, its properties as `Metadata`.
//!
//! "Azure Functions custom handlers", request payload. What the page leaves open is as the host's own code has it: text is
//! JSON-encoded before it becomes a JSON string, times lose their fractions, and a JSON message's members are copied over
//! the system's own metadata where the binding asks for text.

use std::fmt;

use azure_core::Uuid;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use time::{OffsetDateTime, UtcOffset};

use super::{
    config::{DataType, Function},
    json::{Json, quote},
};

/// A message as it was dequeued.
#[derive(Clone, Debug)]
pub struct Message {
    /// The service's id, a GUID.
    pub id: String,
    /// The message itself, its `messageEncoding` undone.
    pub body: Vec<u8>,
    /// How often it was dequeued, this time included.
    pub dequeue_count: i64,
    /// When it was put on the queue.
    pub inserted: OffsetDateTime,
    /// When it leaves the queue by itself.
    pub expires: OffsetDateTime,
    /// When it is visible again.
    pub next_visible: OffsetDateTime,
    /// The receipt of this dequeuing.
    pub pop_receipt: String,
}

impl Message {
    /// A message that was sent and dequeued just now, for the first time, with a week to live and ten minutes' lease.
    #[must_use]
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            id: Uuid::new_v4().to_string(),
            body: body.into(),
            dequeue_count: 1,
            inserted: now,
            expires: now + time::Duration::days(7),
            next_visible: now + time::Duration::minutes(10),
            pop_receipt: BASE64_STANDARD.encode(Uuid::new_v4().as_bytes()),
        }
    }
}

/// The message is no UTF-8, and the binding's data type is `string`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotText;

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message is not UTF-8; only a binding with dataType \"binary\" takes it")
    }
}

impl std::error::Error for NotText {}

/// The invocation's body, on one line. `now` and `random` are what `sys` holds.
pub fn envelope(function: &Function, message: &Message, now: OffsetDateTime, random: Uuid) -> Result<String, NotText> {
    let mut metadata = Metadata(vec![
        ("DequeueCount".into(), quote(&message.dequeue_count.to_string())),
        ("ExpirationTime".into(), quote(&seconds(message.expires))),
        ("Id".into(), text(&message.id)),
        ("InsertionTime".into(), quote(&seconds(message.inserted))),
        ("NextVisibleTime".into(), quote(&seconds(message.next_visible))),
        ("PopReceipt".into(), text(&message.pop_receipt)),
        ("sys".into(), system(&function.name, now, random)),
    ]);
    let data = match function.data_type {
        DataType::Binary => quote(&BASE64_STANDARD.encode(&message.body)),
        DataType::String => {
            let body = std::str::from_utf8(&message.body).map_err(|_| NotText)?;
            metadata.add_members_of(body);
            text(body)
        }
    };
    Ok(format!(r#"{{"Data":{{{}:{data}}},"Metadata":{}}}"#, quote(&function.binding), metadata.print()))
}

/// Names and values, the values as JSON.
struct Metadata(Vec<(String, String)>);

impl Metadata {
    /// Copies the members of a message that is a JSON object. Where a name is taken, in any case, the value is replaced.
    fn add_members_of(&mut self, body: &str) {
        let trimmed = body.trim();
        let object = trimmed.starts_with('{') && trimmed.ends_with('}');
        let Some(Json::Object(members)) = object.then(|| Json::parse(trimmed)).flatten() else { return };
        for (name, value) in members {
            let value = match (&value, value.invariant()) {
                (Json::Object(_), _) => value.print(),
                (_, Some(scalar)) => text(&scalar),
                _ => continue,
            };
            match self.0.iter_mut().find(|(present, _)| present.to_lowercase() == name.to_lowercase()) {
                Some((_, present)) => *present = value,
                None => self.0.push((name, value)),
            }
        }
    }

    fn print(&self) -> String {
        let sent = self.0.iter().filter(|(name, _)| !name.to_lowercase().ends_with("trigger"));
        let members: Vec<_> = sent.map(|(name, value)| format!("{}:{value}", quote(name))).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// Text becomes JSON, and that JSON a string.
fn text(text: &str) -> String {
    quote(&quote(text))
}

fn system(function: &str, now: OffsetDateTime, random: Uuid) -> String {
    format!(r#"{{"MethodName":{},"UtcNow":"{}","RandGuid":"{random}"}}"#, quote(function), ticks(now))
}

fn date_time(at: OffsetDateTime) -> String {
    let (date, time) = (at.date(), at.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
}

fn seconds(at: OffsetDateTime) -> String {
    date_time(at.to_offset(UtcOffset::UTC)) + "+00:00"
}

fn ticks(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let fraction = format!(".{:07}", at.nanosecond() / 100);
    date_time(at) + fraction.trim_end_matches('0').trim_end_matches('.') + "Z"
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const METADATA: &str = concat!(
        r#""Metadata":{"DequeueCount":"1","ExpirationTime":"2026-08-28T09:30:15+00:00","#,
        r#""Id":"\"7f3c1d1e-9d55-4d0a-8e55-2f9a3c6b7d10\"","InsertionTime":"2026-08-21T09:30:15+00:00","#,
        r#""NextVisibleTime":"2026-08-21T09:40:16+00:00","PopReceipt":"\"AgAAAAMAAAAAAAAAAgtnj8x+1QE=\"","#,
        r#""sys":{"MethodName":"SignDocument","UtcNow":"2026-08-21T09:30:16.4211907Z","#,
        r#""RandGuid":"0b8f5a0e-3a0e-4a5e-9d3c-6a1f2b7c9d11"}"#,
    );

    fn body(data_type: DataType, message: impl Into<Vec<u8>>) -> Result<String, NotText> {
        let function = Function {
            name: "SignDocument".into(),
            binding: "msg".into(),
            queue: "work".into(),
            connection: "Work".into(),
            data_type,
        };
        let message = Message {
            id: "7f3c1d1e-9d55-4d0a-8e55-2f9a3c6b7d10".into(),
            body: message.into(),
            dequeue_count: 1,
            inserted: datetime!(2026-08-21 09:30:15.9 UTC),
            expires: datetime!(2026-08-28 09:30:15 UTC),
            next_visible: datetime!(2026-08-21 11:40:16 +2),
            pop_receipt: "AgAAAAMAAAAAAAAAAgtnj8x+1QE=".into(),
        };
        let random = "0b8f5a0e-3a0e-4a5e-9d3c-6a1f2b7c9d11".parse().unwrap();
        envelope(&function, &message, datetime!(2026-08-21 09:30:16.4211907 UTC), random)
    }

    #[test]
    fn a_json_object_is_doubly_encoded_and_expanded() {
        let message = concat!(
            r#"{"documentId":"d-42","pages":3,"urgent":true,"tags":["a"],"meta":{"k":1},"#,
            r#""requestedAt":"2026-08-21T09:30:15Z"}"#
        );
        let data = concat!(
            r#""\"{\\\"documentId\\\":\\\"d-42\\\",\\\"pages\\\":3,\\\"urgent\\\":true,\\\"tags\\\":[\\\"a\\\"],"#,
            r#"\\\"meta\\\":{\\\"k\\\":1},\\\"requestedAt\\\":\\\"2026-08-21T09:30:15Z\\\"}\"""#
        );
        let expanded = concat!(
            r#","documentId":"\"d-42\"","pages":"\"3\"","urgent":"\"True\"","meta":{"k":1},"#,
            r#""requestedAt":"\"08/21/2026 09:30:15\"""#
        );
        let expected = format!(r#"{{"Data":{{"msg":{data}}},{METADATA}{expanded}}}}}"#);
        assert_eq!(body(DataType::String, message).unwrap(), expected);
    }

    #[test]
    fn plain_text_is_doubly_encoded() {
        let expected = format!(r#"{{"Data":{{"msg":"\"hello queue\""}},{METADATA}}}}}"#);
        assert_eq!(body(DataType::String, "hello queue").unwrap(), expected);
    }

    #[test]
    fn other_data() {
        let cases = [
            ("he said \"hi\" \\ é \u{2028} </b>\n", r#""\"he said \\\"hi\\\" \\\\ é \\u2028 </b>\\n\"""#),
            ("", r#""\"\"""#),
            ("[1,2]", r#""\"[1,2]\"""#),
            ("\"abc\"", r#""\"\\\"abc\\\"\"""#),
            ("{not json}", r#""\"{not json}\"""#),
            ("dGVzdA==", r#""\"dGVzdA==\"""#),
        ];
        for (message, data) in cases {
            let expected = format!(r#"{{"Data":{{"msg":{data}}},{METADATA}}}}}"#);
            assert_eq!(body(DataType::String, message).unwrap(), expected);
        }
    }

    #[test]
    fn a_hostile_object_overwrites_the_metadata() {
        let message = r#"{"id":"evil","dequeueCount":99,"sys":{"x":1},"replyTrigger":"gone"}"#;
        let data = r#""\"{\\\"id\\\":\\\"evil\\\",\\\"dequeueCount\\\":99,\\\"sys\\\":{\\\"x\\\":1},\\\"replyTrigger\\\":\\\"gone\\\"}\"""#;
        let metadata = concat!(
            r#""Metadata":{"DequeueCount":"\"99\"","ExpirationTime":"2026-08-28T09:30:15+00:00","Id":"\"evil\"","#,
            r#""InsertionTime":"2026-08-21T09:30:15+00:00","NextVisibleTime":"2026-08-21T09:40:16+00:00","#,
            r#""PopReceipt":"\"AgAAAAMAAAAAAAAAAgtnj8x+1QE=\"","sys":{"x":1}}"#
        );
        let expected = format!(r#"{{"Data":{{"msg":{data}}},{metadata}}}"#);
        assert_eq!(body(DataType::String, message).unwrap(), expected);
    }

    #[test]
    fn a_binary_binding_has_base64_and_expands_nothing() {
        let expected = format!(r#"{{"Data":{{"msg":"eyJkb2N1bWVudElkIjoiZC00MiJ9"}},{METADATA}}}}}"#);
        assert_eq!(body(DataType::Binary, r#"{"documentId":"d-42"}"#).unwrap(), expected);
    }

    #[test]
    fn bytes_that_are_no_text_need_a_binary_binding() {
        assert_eq!(body(DataType::String, [0xff]), Err(NotText));
        assert!(body(DataType::Binary, [0xff]).unwrap().contains(r#""msg":"/w==""#));
    }
}
