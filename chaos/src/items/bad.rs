//! Messages that can never succeed: every reason that a message can cause.

use super::{
    Expect, Maker, RESULTS, Route, UPLOADS, Upload, object, quoted,
    sources::{cloud_event_text, upload, url},
};

const STALE: &str = "0x8D00000000000000";

/// One of them.
pub(super) fn rejected(maker: &mut Maker<'_>) {
    let number = maker.messages.len();
    let id = quoted(&format!("bad/{number}"));
    let item = |name: &str, value: String| object(&[("id", id.clone()), (name, value)]);
    let source = |url: &str| item("source", object(&[("url", quoted(url))]));
    let blob = Upload { name: format!("in/{number}"), length: 0 };
    let event = cloud_event_text(maker.queue, &blob, STALE);
    let of: &[(&'static str, String)] = &[
        ("invalid-json", format!("no JSON {number}")),
        ("invalid-json", format!("{{\"payload\": {number}")),
        ("invalid-work-item", object(&[("id", id.clone()), ("payload", "1".into()), ("paylaod", number.to_string())])),
        ("invalid-work-item", object(&[("id", quoted(&format!("../{number}"))), ("payload", "1".into())])),
        ("invalid-work-item", object(&[("id", id.clone())])),
        ("invalid-work-item", format!("[{number}]")),
        ("invalid-work-item", item("payloadBase64", quoted("n o"))),
        ("unsupported-format", object(&[("id", id.clone()), ("format", quoted("pdf")), ("payload", "1".into())])),
        ("unsupported-event", event.replace("BlobCreated", "BlobDeleted")),
        ("unsupported-event", event.replace("PutBlob", "CreateFile")),
        ("source-forbidden", source(&format!("{RESULTS}/x"))),
        ("source-forbidden", source(&format!("https://example.com/uploads/{number}"))),
        ("source-forbidden", source(&format!("{UPLOADS}/in/{number}?sig=none"))),
        ("source-not-found", source(&format!("{UPLOADS}/missing/{number}"))),
    ];
    let (reason, text) = maker.dice.pick(of).clone();
    match maker.dice.below(8) {
        0 => changed_source(maker),
        1 => changed_event(maker),
        _ => {
            maker.add(reason, text, Expect::Rejected(reason));
        }
    }
}

/// The blob has been written again since the item was made.
fn changed_source(maker: &mut Maker<'_>) {
    let upload = upload(maker, 100);
    let id = quoted(&format!("bad/{}", maker.messages.len()));
    let text = object(&[("id", id), ("source", object(&[("url", quoted(&url(&upload))), ("etag", quoted(STALE))]))]);
    maker.add("source-changed", text, Expect::Rejected("source-changed")).upload = Some(upload);
}

fn changed_event(maker: &mut Maker<'_>) {
    let upload = upload(maker, 100);
    let text = cloud_event_text(maker.queue, &upload, STALE);
    maker.add("source-changed", text, Expect::Rejected("source-changed")).upload = Some(upload);
}

/// No queue delivers it.
pub(super) fn too_large(maker: &mut Maker<'_>) {
    let text =
        object(&[("id", quoted(&format!("bad/{}", maker.messages.len()))), ("payload", quoted(&"x".repeat(65_536)))]);
    let message = maker.add("too-large", text, Expect::Rejected("too-large"));
    (message.route, message.is_encoded) = (Route::Direct, false);
}
