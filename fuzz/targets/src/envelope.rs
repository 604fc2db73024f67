//! What the Functions host posts.

use serde_json::{Value, json};
use signet_core::{
    base64,
    envelope::{self, Delivery},
    rejection::{self, Circumstances, Reason, Rejection},
};
use time::OffsetDateTime;

use crate::{base64::foreign, bounds::in_proportion, json::Scanner};

/// An envelope is an object whose `Data` has one member; its message is what another reading makes of that member, and
/// nothing that the metadata say can name a blob elsewhere. Any bytes come through an envelope unchanged.
pub fn envelope(data: &[u8]) {
    if let Ok(delivery) = in_proportion(data.len(), || envelope::parse(data)) {
        // What is passed over in the metadata need not be UTF-8: nobody looks at it.
        let text = String::from_utf8_lossy(data);
        assert_eq!(Some(&delivery.message), message_of(&text).as_ref());
        check_metadata(&delivery);
        check_record(&delivery);
    }
    check_carriage(data);
}

/// The message by the documented forms: the value itself, Base64, or a string that was encoded twice.
fn message_of(text: &str) -> Option<Vec<u8>> {
    let members = Scanner::members_of(text)?;
    let (_, data) = members.iter().find(|(name, _)| name == "Data")?;
    let bindings = Scanner::members_of(&text[data.clone()])?;
    let [(_, value)] = bindings.as_slice() else { return None };
    let value = &text[data.clone()][value.clone()];
    let Some(outer) = Scanner::string_of(value) else {
        return (!value.starts_with('"')).then(|| value.as_bytes().to_vec());
    };
    if outer.starts_with('"') {
        return Scanner::string_of(&outer).map(String::into_bytes);
    }
    Some(foreign(&outer).unwrap_or_else(|| outer.into_bytes()))
}

fn check_metadata(delivery: &Delivery) {
    let Some(id) = &delivery.message_id else { return };
    let lengths: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
    assert!(id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()), "{id}");
    let day = delivery.inserted.unwrap_or(OffsetDateTime::UNIX_EPOCH).date();
    let name = rejection::blob_name(day, id);
    let digits: Vec<usize> = name.splitn(4, '/').map(str::len).collect();
    assert_eq!(digits, [4, 2, 2, 36 + ".json".len()], "{name}");
}

/// The record of a rejection holds the message whole.
fn check_record(delivery: &Delivery) {
    let rejection = Rejection::parse(Reason::InvalidJson, String::from_utf8_lossy(&delivery.message));
    let circumstances = Circumstances {
        message_id: delivery.message_id.as_deref().unwrap_or("sha256-0"),
        dequeue_count: delivery.dequeue_count,
        queue: "work",
        invocation_id: "i",
        at: delivery.inserted.unwrap_or(OffsetDateTime::UNIX_EPOCH),
        message: &delivery.message,
    };
    let record: Value = serde_json::from_slice(&rejection::record(&rejection, &circumstances)).expect("JSON");
    assert_eq!(record["message"].as_str().and_then(foreign).as_ref(), Some(&delivery.message));
    assert_eq!(record["detail"], *rejection.detail);
    assert_eq!(record["dequeueCount"], delivery.dequeue_count);
}

/// Both of the host's own forms carry a message as it is.
fn check_carriage(message: &[u8]) {
    let mut forms = vec![base64::encode(message)];
    if let Ok(text) = std::str::from_utf8(message) {
        forms.push(Value::from(text).to_string());
    }
    for form in forms {
        let envelope = json!({ "Data": { "message": form }, "Metadata": { "DequeueCount": "3" } });
        let delivery = envelope::parse(envelope.to_string().as_bytes()).expect("an envelope");
        assert_eq!((delivery.message.as_slice(), delivery.dequeue_count), (message, 3));
    }
}
