//! Items whose content is a blob, and events, which are such items that nobody has written.

use signet_core::{algorithm::sha256_hex, format::Format};

use super::{Content, ETAG, Expect, Maker, REJECTED, UPLOADS, Upload, Wanted, format_member, object, quoted};

const MIB: usize = 1024 * 1024;

pub(super) fn small(maker: &mut Maker<'_>) {
    let length = maker.dice.below(20_000);
    source(maker, "source", length);
}

/// Of several ranges.
pub(super) fn large(maker: &mut Maker<'_>) {
    let length = maker.dice.below(7 * MIB) + 2 * MIB;
    source(maker, "large source", length);
}

/// The same message twice.
pub(super) fn duplicates(maker: &mut Maker<'_>) {
    let upload = upload(maker, 1000);
    let has_etag = maker.dice.one_in(2);
    let (id, formats) = (maker.id(), vec![maker.format()]);
    for _ in 0..2 {
        let text = text(Some(&id), &formats, &upload, has_etag);
        add(maker, "duplicate source", text, &upload, id.clone(), formats.clone());
    }
}

pub(super) fn named_by_content(maker: &mut Maker<'_>) {
    let upload = upload(maker, 1000);
    let formats = if maker.dice.one_in(3) { maker.formats() } else { vec![maker.format()] };
    let id = format!("sha256/{}", sha256_hex(&upload.bytes(maker.seed)));
    let text = text(None, &formats, &upload, false);
    add(maker, "source named by content", text, &upload, id, formats);
}

fn source(maker: &mut Maker<'_>, kind: &'static str, length: usize) {
    let upload = upload(maker, length);
    let formats = if maker.dice.one_in(4) { maker.formats() } else { vec![maker.format()] };
    let (id, has_etag) = (maker.id(), maker.dice.one_in(2));
    let text = text(Some(&id), &formats, &upload, has_etag);
    add(maker, kind, text, &upload, id, formats);
}

fn add(maker: &mut Maker<'_>, kind: &'static str, text: String, upload: &Upload, id: String, formats: Vec<Format>) {
    let expect = Expect::Results(Wanted { id, formats, content: Content::Upload });
    maker.add(kind, text, expect).upload = Some(upload.clone());
}

pub(super) fn upload(maker: &mut Maker<'_>, length: usize) -> Upload {
    let number = maker.messages.len();
    let folder = *maker.dice.pick(&["in", "né w"]);
    Upload { name: format!("{folder}/{number}.bin"), length }
}

fn text(id: Option<&str>, formats: &[Format], upload: &Upload, has_etag: bool) -> String {
    let mut source = vec![("url", quoted(&url(upload)))];
    source.extend(has_etag.then(|| ("etag", quoted(ETAG))));
    let mut members = vec![("source", object(&source)), ("format", format_member(formats))];
    members.extend(id.map(|id| ("id", quoted(id))));
    object(&members)
}

/// The upload's URL, percent-encoded.
pub(super) fn url(upload: &Upload) -> String {
    format!("{UPLOADS}/{}", upload.name.replace(' ', "%20").replace('é', "%C3%A9"))
}

/// CloudEvents 1.0.
pub(super) fn cloud_event(maker: &mut Maker<'_>) {
    let upload = upload(maker, 500);
    let text = cloud_event_text(maker.queue, &upload, ETAG);
    event(maker, "CloudEvents event", text, &upload);
}

/// Event Grid's own schema, alone or in a list of one.
pub(super) fn event_grid_event(maker: &mut Maker<'_>) {
    let upload = upload(maker, 500);
    let text = cloud_event_text(maker.queue, &upload, ETAG)
        .replace("\"source\":", "\"topic\":")
        .replace("\"type\":", "\"eventType\":")
        .replace("\"time\":", "\"eventTime\":")
        .replace("\"specversion\":\"1.0\"", "\"dataVersion\":\"\", \"metadataVersion\":\"1\"");
    let text = if maker.dice.one_in(2) { format!("[{text}]") } else { text };
    event(maker, "Event Grid event", text, &upload);
}

fn event(maker: &mut Maker<'_>, kind: &'static str, text: String, upload: &Upload) {
    let id = format!("{}-uploads/{}", maker.queue, upload.name);
    let is_encoded = !maker.dice.one_in(4);
    let expect = Expect::Results(Wanted { id, formats: vec![Format::Jws], content: Content::Upload });
    let message = maker.add(kind, text, expect);
    message.upload = Some(upload.clone());
    message.is_encoded = is_encoded;
}

/// About a rejection record: to reject it would bring another event.
pub(super) fn event_of_our_own(maker: &mut Maker<'_>) {
    let record = Upload { name: format!("2026/11/21/{}.json", maker.messages.len()), length: 0 };
    let text = cloud_event_text(maker.queue, &record, "0x8D")
        .replace(&format!("{}-uploads", maker.queue), &format!("{}-rejected", maker.queue))
        .replace(UPLOADS, REJECTED);
    maker.add("event of our own", text, Expect::Nothing);
}

pub(super) fn cloud_event_text(queue: &str, upload: &Upload, etag: &str) -> String {
    let data = object(&[
        ("api", quoted("PutBlob")),
        ("eTag", quoted(etag)),
        ("contentType", quoted("application/zip")),
        ("blobType", quoted("BlockBlob")),
        ("url", quoted(&url(upload))),
    ]);
    object(&[
        ("source", quoted("/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a")),
        ("subject", quoted(&format!("/blobServices/default/containers/{queue}-uploads/blobs/{}", upload.name))),
        ("type", quoted("Microsoft.Storage.BlobCreated")),
        ("time", quoted("2026-11-21T18:41:00.9584103Z")),
        ("id", quoted("831e1650-001e-001b-66ab-eeb76e069631")),
        ("specversion", quoted("1.0")),
        ("data", data),
    ])
}
