//! Items that hold what is signed.

use signet_core::{
    algorithm::{Hash, hex, sha256_hex},
    base64,
    format::Format,
};

use super::{Content, Expect, Maker, Wanted, format_member, object, quoted};

pub(super) fn payload(maker: &mut Maker<'_>) {
    let (id, formats, payload) = (maker.id(), vec![maker.format()], maker.payload());
    item(maker, "payload", id, formats, payload);
}

pub(super) fn several_formats(maker: &mut Maker<'_>) {
    let (id, formats, payload) = (maker.id(), maker.formats(), maker.payload());
    item(maker, "several formats", id, formats, payload);
}

/// The same message several times.
pub(super) fn duplicates(maker: &mut Maker<'_>) {
    let formats = if maker.dice.one_in(3) { maker.formats() } else { vec![maker.format()] };
    let (id, payload) = (maker.id(), maker.payload());
    for _ in 0..2 + maker.dice.below(2) {
        item(maker, "duplicate", id.clone(), formats.clone(), payload.clone());
    }
}

/// Different content under one id: the first gets the results, whichever that is.
pub(super) fn contested(maker: &mut Maker<'_>) {
    let mut formats = if maker.dice.one_in(3) { maker.formats() } else { vec![maker.format()] };
    let (id, contest) = (maker.id(), maker.messages.len());
    for _ in 0..2 {
        let payload = maker.payload();
        let text = text(&id, &formats, &payload);
        let wanted = Wanted { id: id.clone(), formats: formats.clone(), content: Content::Bytes(payload.into_bytes()) };
        maker.add("same id, other content", text, Expect::Contested { contest, wanted });
        // Two that ask for the same in another order must not stand in each other's way.
        maker.dice.shuffle(&mut formats);
    }
}

fn item(maker: &mut Maker<'_>, kind: &'static str, id: String, formats: Vec<Format>, payload: String) {
    let text = text(&id, &formats, &payload);
    let wanted = Wanted { id, formats, content: Content::Bytes(payload.into_bytes()) };
    maker.add(kind, text, Expect::Results(wanted));
}

fn text(id: &str, formats: &[Format], payload: &str) -> String {
    object(&[("id", quoted(id)), ("format", format_member(formats)), ("payload", payload.to_owned())])
}

pub(super) fn bytes(maker: &mut Maker<'_>) {
    let length = maker.dice.below(3000);
    let (id, format, bytes) = (maker.id(), maker.format(), maker.dice.bytes(length));
    let encoded = if maker.dice.one_in(2) { base64::encode(&bytes) } else { base64::encode_url(&bytes) };
    let text = object(&[
        ("payloadBase64", quoted(&encoded)),
        ("contentType", quoted("application/x-chaos; q=\"1\"")),
        ("id", quoted(&id)),
        ("format", format_member(&[format])),
    ]);
    maker.add(
        "payloadBase64",
        text,
        Expect::Results(Wanted { id, formats: vec![format], content: Content::Bytes(bytes) }),
    );
}

pub(super) fn digest(maker: &mut Maker<'_>) {
    let content = maker.dice.bytes(100);
    let format = *maker.dice.pick(&[Format::Raw, Format::Dsse]);
    let member = object(&[("sha256", quoted(&hex(&Hash::Sha256.digest(&[&content]))))]);
    let has_id = maker.dice.one_in(2);
    let id = if has_id { maker.id() } else { format!("sha256/{}", sha256_hex(&content)) };
    let mut members = vec![("digest", member), ("format", format_member(&[format]))];
    members.extend(has_id.then(|| ("id", quoted(&id))));
    let wanted = Wanted { id, formats: vec![format], content: Content::Bytes(content) };
    maker.add("digest", object(&members), Expect::Results(wanted));
}

pub(super) fn named_by_content(maker: &mut Maker<'_>) {
    let formats = if maker.dice.one_in(3) { maker.formats() } else { vec![maker.format()] };
    let payload = maker.payload();
    let text = object(&[("format", format_member(&formats)), ("payload", payload.clone())]);
    let id = format!("sha256/{}", sha256_hex(payload.as_bytes()));
    let wanted = Wanted { id, formats, content: Content::Bytes(payload.into_bytes()) };
    for _ in 0..=maker.dice.below(2) {
        maker.add("named by content", text.clone(), Expect::Results(wanted.clone()));
    }
}

pub(super) fn predicate(maker: &mut Maker<'_>) {
    let (id, payload) = (maker.id(), maker.payload());
    let mut formats = vec![Format::Dsse];
    if maker.dice.one_in(2) {
        formats.push(Format::Cose);
    }
    let text = object(&[
        ("id", quoted(&id)),
        ("format", format_member(&formats)),
        ("predicateType", quoted("https://example.com/chaos/v1")),
        ("predicate", r#"{ "builder" : {"id":1.0} }"#.to_owned()),
        ("payload", payload.clone()),
    ]);
    let wanted = Wanted { id, formats, content: Content::Bytes(payload.into_bytes()) };
    maker.add("predicate", text, Expect::Results(wanted));
}
