//! What the Functions host posts for a queue message: `{"Data":{…},"Metadata":{…}}`, down to the message's bytes.
//!
//! With `"dataType": "binary"` the one member of `Data` is Base64 of the message's bytes. Without it, it is a JSON string
//! that holds the message's text as JSON once more, and top-level members of the message overwrite `Metadata`.

use serde::Deserialize;
use serde_json::value::RawValue;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    base64,
    json::{self, Members},
};

/// One delivery of one queue message.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The message's bytes, as they stand in the queue.
    pub message: Vec<u8>,
    /// The queue's id of the message; `None` where the host gave none that could be one.
    pub message_id: Option<String>,
    /// How often the message was received, this time included; 1 where the host says nothing sensible.
    pub dequeue_count: u32,
    /// When the message was put on the queue.
    pub inserted: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "Data")]
    data: Members<'a>,
    #[serde(borrow, default, rename = "Metadata")]
    metadata: Metadata<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Metadata<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    dequeue_count: Option<&'a RawValue>,
    #[serde(borrow)]
    insertion_time: Option<&'a RawValue>,
}

/// Reads the body of an invocation.
///
/// # Errors
/// What is wrong with the envelope. That is the host's mistake or a caller's that is no host, never the sender's.
pub fn parse(body: &[u8]) -> Result<Delivery, String> {
    // A list of the values would be taken for the structure as well.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err("the body is no invocation of the host: it is no JSON object".to_owned());
    }
    let envelope: Envelope<'_> =
        serde_json::from_slice(body).map_err(|error| format!("the body is no invocation of the host: {error}"))?;
    let mut bindings = envelope.data.iter();
    let (Some((_, value)), None) = (bindings.next(), bindings.next()) else {
        return Err("`Data` must have exactly one member, the queue message".to_owned());
    };
    let metadata = &envelope.metadata;
    Ok(Delivery {
        message: message(value)?,
        message_id: metadata.id.and_then(text).filter(|id| is_message_id(id)),
        dequeue_count: metadata.dequeue_count.and_then(text).and_then(|count| count.parse().ok()).unwrap_or(1),
        inserted: metadata.insertion_time.and_then(text).and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok()),
    })
}

/// The message's bytes from the one value of `Data`.
fn message(value: &str) -> Result<Vec<u8>, String> {
    if !value.starts_with('"') {
        // Not what the host does today, but what its documentation shows: the message as it stands.
        return Ok(value.as_bytes().to_vec());
    }
    let outer = json::string(value).ok_or("the message is no JSON string that can be read")?;
    if outer.starts_with('"') {
        let inner = json::string(&outer).ok_or("the message is encoded twice, but its inner text is no JSON string")?;
        return Ok(inner.into_owned().into_bytes());
    }
    // Base64 never starts with a quotation mark, so the two forms cannot be confused.
    Ok(base64::decode_any(&outer).unwrap_or_else(|| outer.into_owned().into_bytes()))
}

/// A scalar of `Metadata`, whether it came quoted once, quoted twice or as a number.
fn text(value: &RawValue) -> Option<String> {
    let value = value.get();
    if !value.starts_with('"') {
        return Some(value.to_owned());
    }
    let outer = json::string(value)?;
    if outer.starts_with('"') {
        return json::string(&outer).map(std::borrow::Cow::into_owned);
    }
    Some(outer.into_owned())
}

/// Queue message ids are GUIDs. What is not one was forged by a member of the message, and must name no blob.
fn is_message_id(id: &str) -> bool {
    id.len() == 36
        && id.char_indices().all(|(i, c)| match i {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"DequeueCount":"3","ExpirationTime":"2026-08-28T09:30:15+00:00","Id":"\"7f3c1d1e-9d55-4d0a-8e55-2f9a3c6b7d10\"","InsertionTime":"2026-08-21T09:30:15+00:00","NextVisibleTime":"2026-08-21T09:40:16+00:00","PopReceipt":"\"AgAAAAMAAAAAAAAAAgtnj8x+1QE=\"","sys":{"MethodName":"sign","UtcNow":"2026-08-21T09:30:16.4211907Z","RandGuid":"0b8f5a0e-3a0e-4a5e-9d3c-6a1f2b7c9d11"}}"#;

    fn delivery(data: &str, metadata: &str) -> Delivery {
        parse(format!(r#"{{"Data":{data},"Metadata":{metadata}}}"#).as_bytes()).expect("an envelope")
    }

    #[test]
    fn the_binary_form_is_the_messages_bytes() {
        let delivery = delivery(r#"{"message":"eyJkb2N1bWVudElkIjoiZC00MiJ9"}"#, METADATA);
        assert_eq!(delivery.message, br#"{"documentId":"d-42"}"#);
        assert_eq!(delivery.message_id.as_deref(), Some("7f3c1d1e-9d55-4d0a-8e55-2f9a3c6b7d10"));
        assert_eq!(delivery.dequeue_count, 3);
        assert_eq!(delivery.inserted.map(OffsetDateTime::unix_timestamp), Some(1_787_304_615));
    }

    #[test]
    fn the_string_form_is_encoded_twice() {
        for (data, message) in [
            (r#"{"msg":"\"hello queue\""}"#, "hello queue"),
            (r#"{"msg":"\"{\\\"documentId\\\":\\\"d-42\\\"}\""}"#, r#"{"documentId":"d-42"}"#),
            (r#"{"msg":"\"he said \\\"hi\\\" \\\\ é \\u2028 </b>\\n\""}"#, "he said \"hi\" \\ é \u{2028} </b>\n"),
            (r#"{"msg":"\"\""}"#, ""),
            (r#"{"msg":"\"[1,2]\""}"#, "[1,2]"),
            (r#"{"msg":"\"\\\"abc\\\"\""}"#, "\"abc\""),
        ] {
            assert_eq!(String::from_utf8(delivery(data, METADATA).message).expect("text"), message, "{data}");
        }
    }

    #[test]
    fn forms_that_the_documentation_shows_are_understood() {
        let metadata = r#"{"DequeueCount":1,"Id":"7f3c1d1e-9d55-4d0a-8e55-2f9a3c6b7d10"}"#;
        let delivery = delivery(r#"{"msg":"{ message: 1 }"}"#, metadata);
        assert_eq!(delivery.message, b"{ message: 1 }");
        assert_eq!((delivery.dequeue_count, delivery.message_id.is_some()), (1, true));
        assert_eq!(super::tests::delivery(r#"{"msg":{"a": 1}}"#, "{}").message, br#"{"a": 1}"#);
    }

    #[test]
    fn forged_metadata_names_nothing() {
        let forged = r#"{"DequeueCount":"\"99\"","Id":"\"../../evil\"","InsertionTime":"\"08/21/2026 09:30:15\"","sys":{"x":1}}"#;
        let delivery = delivery(r#"{"msg":"\"{}\""}"#, forged);
        assert_eq!((delivery.message_id, delivery.dequeue_count, delivery.inserted), (None, 99, None));
        let id = "7f3c1d1e-9d55-4d0a-8e55-2f9a3c6b7d10";
        let named =
            |id: &str| super::tests::delivery(r#"{"msg":"{}"}"#, &format!(r#"{{"Id":"{id}"}}"#)).message_id.is_some();
        assert!(named(id) && named(&id.to_uppercase()));
        for no_id in [&id[1..], &id[..8], &format!("{id}0"), &id.replace('-', "0"), &id.replacen('7', "-", 1)] {
            assert!(!named(no_id), "{no_id}");
        }
    }

    #[test]
    fn depth_is_no_matter() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let metadata = format!(r#"{{"DequeueCount":{deep},"Id":{deep},"InsertionTime":{deep},"sys":{deep}}}"#);
        let delivery = delivery(&format!(r#"{{"message":{deep}}}"#), &metadata);
        assert_eq!((delivery.message.len(), delivery.message_id, delivery.dequeue_count), (deep.len(), None, 1));
        assert!(parse(format!(r#"{{"Data":{deep}}}"#).as_bytes()).is_err());
        assert!(parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        for body in
            ["", "null", "[]", "{}", r#"{"Data":{}}"#, r#"{"Data":{"a":"","b":""}}"#, r#"{"Data":{"a":"\"\\\""}}"#]
        {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(parse(b"\xff").is_err());
        assert!(parse(br#"[{"msg":"eA"},{}]"#).is_err(), "no list of what should be in an object");
    }
}
