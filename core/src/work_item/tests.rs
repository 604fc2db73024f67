use super::*;

fn parse(message: &str) -> Result<WorkItem, Rejection> {
    WorkItem::parse(message.as_bytes(), Format::Jws)
}

fn bytes(item: &WorkItem) -> &[u8] {
    match &item.content {
        Content::Given(Given::Bytes { bytes, .. }) => bytes,
        _ => panic!("inline content is expected"),
    }
}

/// The item's id, and what names its content.
fn named(item: &WorkItem) -> (String, Hash, String) {
    let name = item.content_name().expect("content in the message");
    (item.id(&name), name.hash, name.hex)
}

fn reason(message: &str) -> (Reason, String) {
    let rejection = parse(message).expect_err(message);
    (rejection.reason, rejection.detail)
}

#[test]
fn a_payloads_bytes_are_those_of_the_message() {
    for payload in ["{ \"b\":1.0,\n\"a\" :[1e3 , \"\\u00e9\\/\"] }", "null", "1E400", "\"\\ud800\"", "[]", "-0.0"] {
        let item = parse(&format!("{{\"id\":\"a\",\"payload\": {payload} }}")).expect(payload);
        assert_eq!(bytes(&item), payload.as_bytes());
        assert_eq!(item.content_type, "application/json");
    }
}

#[test]
fn base64_of_a_work_item_is_the_work_item() {
    let text = "{\"id\":\"a/é\",\"payloadBase64\":\"-_8\",\"format\":[\"raw\",\"jws\"],\"contentType\":\"text/plain; charset=utf-8\"}";
    let item = parse(text).expect("an item");
    assert_eq!((item.id.as_deref(), bytes(&item)), (Some("a/é"), &[0xfb, 0xff][..]));
    assert_eq!(item.formats, [Format::Raw, Format::Jws]);
    for message in [base64::encode(text.as_bytes()), base64::encode_url(text.as_bytes()), format!("\u{feff} {text}\n")]
    {
        assert_eq!(parse(&message).as_ref(), Ok(&item), "{message}");
    }
}

#[test]
fn an_item_without_id_is_named_by_its_content() {
    let item = parse(r#"{"payloadBase64":"YWJj"}"#).expect("an item");
    assert_eq!(named(&item).0, "sha256/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(item.content_type, "application/octet-stream");
}

#[test]
fn each_mistake_has_its_reason_and_names_the_thing() {
    for (message, expected, names) in [
        ("", Reason::InvalidJson, "Base64"),
        ("hello world", Reason::InvalidJson, "Base64"),
        ("{", Reason::InvalidJson, "EOF"),
        ("{\"payload\":1} x", Reason::InvalidJson, "trailing"),
        ("aGVsbG8gd29ybGQ=", Reason::InvalidJson, "Base64"),
        ("[]", Reason::InvalidWorkItem, "object"),
        ("1234", Reason::InvalidWorkItem, "object"),
        ("null", Reason::InvalidWorkItem, "object"),
        ("MTIzNA==", Reason::InvalidWorkItem, "object"),
        ("{}", Reason::InvalidWorkItem, "nothing to sign"),
        (r#"{"payload":1,"paylaod":2}"#, Reason::InvalidWorkItem, "`paylaod`"),
        (r#"{"payload":1,"payload":2}"#, Reason::InvalidWorkItem, "`payload`"),
        (r#"{"payload":1,"payloadBase64":""}"#, Reason::InvalidWorkItem, "exclude"),
        (r#"{"payload":1,"id":null}"#, Reason::InvalidWorkItem, "`id`"),
        (r#"{"payload":1,"id":7}"#, Reason::InvalidWorkItem, "`id`"),
        (r#"{"payload":1,"format":null}"#, Reason::InvalidWorkItem, "`format`"),
        (r#"{"payload":1,"format":[]}"#, Reason::InvalidWorkItem, "empty"),
        (r#"{"payload":1,"format":["raw","raw"]}"#, Reason::InvalidWorkItem, "twice"),
        (r#"{"payload":1,"format":{"a":1}}"#, Reason::InvalidWorkItem, "`format`"),
        (r#"{"payload":1,"format":"pdf"}"#, Reason::UnsupportedFormat, "`pdf`"),
        (r#"{"payload":1,"contentType":"json"}"#, Reason::InvalidWorkItem, "`contentType`"),
        (r#"{"payload":1,"contentType":"a/b\nc"}"#, Reason::InvalidWorkItem, "`contentType`"),
        (r#"{"payload":1,"contentType":"a/b; c=d "}"#, Reason::InvalidWorkItem, "`contentType`"),
        (r#"{"payload":1,"contentType":"/b"}"#, Reason::InvalidWorkItem, "`contentType`"),
        (r#"{"payload":1,"contentType":"a/"}"#, Reason::InvalidWorkItem, "`contentType`"),
        (r#"{"payload":1,"contentType":"a b/c"}"#, Reason::InvalidWorkItem, "`contentType`"),
        (r#"{"payload":1,"contentType":"a/b c"}"#, Reason::InvalidWorkItem, "`contentType`"),
        (r#"{"payload":1,"contentType":"a/b;é"}"#, Reason::InvalidWorkItem, "`contentType`"),
        (r#"{"payloadBase64":"*"}"#, Reason::InvalidWorkItem, "`payloadBase64`"),
        (r#"{"payloadBase64":null}"#, Reason::InvalidWorkItem, "`payloadBase64`"),
        (r#"{"digest":{"sha256":"00"}}"#, Reason::InvalidWorkItem, "1 bytes"),
        (r#"{"digest":{"md5":"00"}}"#, Reason::InvalidWorkItem, "`digest`"),
        (r#"{"digest":{"sha256":"0g"}}"#, Reason::InvalidWorkItem, "`digest`"),
        (r#"{"digest":{}}"#, Reason::InvalidWorkItem, "`digest`"),
        (r#"{"digest":"00"}"#, Reason::InvalidWorkItem, "`digest`"),
        (r#"{"payload":1,"predicate":{}}"#, Reason::InvalidWorkItem, "`predicateType`"),
        (r#"{"payload":1,"predicateType":"urn:a:b"}"#, Reason::InvalidWorkItem, "dsse"),
        (r#"{"payload":1,"format":"dsse","predicateType":"no uri"}"#, Reason::InvalidWorkItem, "URI"),
        (r#"{"payload":1,"format":"dsse","predicateType":"urn:a:b","predicate":1}"#, Reason::InvalidWorkItem, "object"),
        (r#"{"source":{"url":"https://a/b?sig=x"}}"#, Reason::SourceForbidden, "query"),
        (r#"{"source":{"url":"https://u:p@a/b"}}"#, Reason::SourceForbidden, "user"),
        (r#"{"source":{"url":"a/b"}}"#, Reason::InvalidWorkItem, "`url`"),
        (r#"{"source":{"url":"file://a./\\//y:"}}"#, Reason::InvalidWorkItem, "https://"),
        (r#"{"source":{}}"#, Reason::InvalidWorkItem, "`url`"),
        (r#"{"source":"https://a/b"}"#, Reason::InvalidWorkItem, "`source`"),
        (r#"{"source":{"url":"https://a/b","eTag":"x"}}"#, Reason::InvalidWorkItem, "`eTag`"),
        (r#"{"source":{"url":"https://a/b","etag":null}}"#, Reason::InvalidWorkItem, "`etag`"),
        (r#"{"source":{"url":"https://a/b","etag":"a b"}}"#, Reason::InvalidWorkItem, "`etag`"),
        (r#"{"source":{"url":"https://a/b","versionId":"a&b"}}"#, Reason::InvalidWorkItem, "`versionId`"),
        (r#"{"source":{"url":"https://a/b","url":"https://a/c"}}"#, Reason::InvalidWorkItem, "`url`"),
        (r#"{"payload":1,"source":{"url":"https://a/b"}}"#, Reason::InvalidWorkItem, "exclude"),
        (r#"{"specversion":"1.0","type":"x"}"#, Reason::UnsupportedEvent, "event"),
        (r#"[{"eventType":"x"},{"eventType":"x"}]"#, Reason::UnsupportedEvent, "2 events"),
        (r#"[{"payload":1}]"#, Reason::InvalidWorkItem, "object"),
    ] {
        let (reason, detail) = reason(message);
        assert_eq!(reason, expected, "{message}: {detail}");
        assert!(detail.contains(names), "{message}: {detail}");
    }
}

#[test]
fn a_detail_repeats_little_of_the_message() {
    let key_in_url = r#"{"source":"https://a/b?sig=secret"}"#.to_owned();
    let long = "\\n".repeat(10_000);
    for message in [key_in_url, format!(r#"{{"source":"{long}"}}"#), format!(r#"{{"{long}":1,"{long}":1}}"#)] {
        let (found, detail) = reason(&message);
        assert_eq!(found, Reason::InvalidWorkItem);
        assert!(detail.len() < 300 && !detail.contains("secret") && !detail.contains('\n'), "{detail}");
    }
}

#[test]
fn an_id_is_a_name_and_never_a_path() {
    let long = "x".repeat(901);
    let deep = vec!["s"; 201].join("/");
    for id in
        ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\\\\b", "a\\u0000", "a\\n", "\\u0085", "a\\uffff", &long, &deep]
    {
        assert_eq!(reason(&format!("{{\"id\":\"{id}\",\"payload\":1}}")).0, Reason::InvalidWorkItem, "{id}");
    }
    for id in ["a", "...", "a b", "%2e%2e", "?#", &long[1..], &deep[2..], "発票/42"] {
        assert_eq!(parse(&format!("{{\"id\":\"{id}\",\"payload\":1}}")).expect(id).id.as_deref(), Some(id));
    }
}

#[test]
fn a_digest_stands_for_its_content_where_that_is_enough() {
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let upper = sha256.to_uppercase();
    let item = parse(&format!(r#"{{"digest":{{"sha256":"{upper}"}},"format":["raw","dsse"]}}"#)).expect("an item");
    assert_eq!(named(&item), (format!("sha256/{sha256}"), Hash::Sha256, sha256.to_owned()));
    for format in ["jws", "jws-compact", "cose"] {
        let message = format!(r#"{{"id":"a","digest":{{"sha256":"{sha256}"}},"format":["raw","{format}"]}}"#);
        let (found, detail) = reason(&message);
        assert_eq!((found, detail.contains(format)), (Reason::InvalidWorkItem, true), "{detail}");
    }
    let sha384 = "00".repeat(48);
    let unnamed = format!(r#"{{"digest":{{"sha384":"{sha384}"}},"format":"raw"}}"#);
    assert!(reason(&unnamed).1.contains("`id`"), "{}", reason(&unnamed).1);
}

#[test]
fn a_predicate_keeps_its_exact_text() {
    let item = parse(
        r#"{"payload":1,"format":"dsse","predicateType":"https://slsa.dev/provenance/v1","predicate":{ "a" :1.0 }}"#,
    );
    let predicate = item.expect("an item").predicate.expect("a predicate");
    assert_eq!(predicate.predicate_type, "https://slsa.dev/provenance/v1");
    assert_eq!(predicate.json.as_deref(), Some(r#"{ "a" :1.0 }"#));
}

/// The longest name that there is, and one that no service has a blob of.
#[test]
fn a_url_that_no_blob_can_have_is_refused() {
    for (length, is_one) in [(1024, true), (1200, false)] {
        let url = format!("https://a.blob.core.windows.net/in/{}", "€".repeat(length));
        let item = format!(r#"{{"source":{{"url":"{url}"}}}}"#);
        let outcome = WorkItem::parse(item.as_bytes(), Format::Jws).map_err(|rejection| rejection.reason);
        assert_eq!(outcome.is_ok(), is_one, "{length}");
        assert!(is_one || outcome.is_err_and(|reason| reason == Reason::InvalidWorkItem));
    }
}

#[test]
fn a_source_is_a_blob_with_what_pins_it() {
    let item = parse(
        r#"{"source":{"url":"https://a/b/c","etag":"0x8D","versionId":"2026-11-21T10:00:00.1234567Z"},"format":["raw","cose"]}"#,
    );
    let item = item.expect("an item");
    let Content::Source(source) = &item.content else { panic!("a source") };
    assert_eq!(source.url.as_str(), "https://a/b/c");
    assert_eq!(source.etag.as_deref(), Some("\"0x8D\""));
    assert_eq!(source.version_id.as_deref(), Some("2026-11-21T10:00:00.1234567Z"));
    assert_eq!((item.content_type.as_str(), &item.id, item.is_event), ("application/octet-stream", &None, false));
}

#[test]
fn an_event_is_an_item_in_the_default_format() {
    let event = r#"{"specversion":"1.0","type":"Microsoft.Storage.BlobCreated",
        "data":{"url":"https://a.blob.core.windows.net/in/x/y","eTag":"0x8D","contentType":"text/plain"}}"#;
    let item = WorkItem::parse(event.as_bytes(), Format::Cose).expect("an item");
    assert_eq!((item.id.as_deref(), &item.formats[..], item.is_event), (Some("in/x/y"), &[Format::Cose][..], true));
    assert_eq!(item.content_type, "text/plain");
    let own = event.replace(r#""specversion":"1.0","type""#, r#""eventType""#);
    for message in [format!("[{event}]"), own.clone(), format!(" [ {own} ] "), base64::encode(own.as_bytes())] {
        assert_eq!(WorkItem::parse(message.as_bytes(), Format::Cose).as_ref(), Ok(&item), "{message}");
    }
    let untyped = event.replace("text/plain", "nothing much");
    assert_eq!(parse(&untyped).expect("an item").content_type, "application/octet-stream");
    for (from, to, expected) in
        [("in/x/y", "in/x//y", Reason::InvalidWorkItem), ("in/x/y", "in/x/y?sig=x", Reason::SourceForbidden)]
    {
        let rejection = parse(&event.replace(from, to)).expect_err(to);
        let id = (expected == Reason::SourceForbidden).then_some("in/x/y");
        assert_eq!((rejection.reason, rejection.id.as_deref()), (expected, id), "{to}");
    }
}

#[test]
fn a_rejection_knows_the_id_if_it_was_good() {
    assert_eq!(parse(r#"{"x":1,"id":"a"}"#).expect_err("unknown member").id.as_deref(), Some("a"));
}

/// Microsoft Learn, "Scalability and performance targets for Queue Storage".
#[test]
fn the_largest_message_is_the_queues() {
    assert_eq!(MAX_MESSAGE_BYTES, 65_536);
    let message = |length: usize| format!("{{\"payload\":\"{}\"}}", "a".repeat(length - 14));
    assert_eq!(message(MAX_MESSAGE_BYTES).len(), MAX_MESSAGE_BYTES);
    assert!(parse(&message(MAX_MESSAGE_BYTES)).is_ok());
    assert_eq!(reason(&message(MAX_MESSAGE_BYTES + 1)).0, Reason::TooLarge);
}

#[test]
fn everything_asked_for_is_in_the_request_digest() {
    let digest = |message: &str, format| {
        let item = parse(message).expect(message);
        item.request_digest(format, &item.content_name().expect("content in the message"))
    };
    let base = digest(r#"{"id":"a","payload":1}"#, Format::Jws);
    assert_eq!(digest(r#"{"payload":1, "id":"a"}"#, Format::Jws), base, "spelling is no matter");
    assert_ne!(digest(r#"{"id":"a","payload":1}"#, Format::Raw), base);
    assert_ne!(digest(r#"{"id":"a","payload":2}"#, Format::Jws), base);
    assert_ne!(digest(r#"{"id":"a","payload":1,"contentType":"a/b"}"#, Format::Jws), base);
    let attested = |predicate: &str| {
        digest(&format!(r#"{{"id":"a","payload":1,"format":["jws","dsse"]{predicate}}}"#), Format::Dsse)
    };
    let plain = attested("");
    let typed = attested(r#","predicateType":"urn:a:b""#);
    let full = attested(r#","predicateType":"urn:a:b","predicate":{}"#);
    assert!(plain != typed && typed != full && plain != full);
    let jws = digest(r#"{"id":"a","payload":1,"format":["jws","dsse"],"predicateType":"urn:a:b"}"#, Format::Jws);
    assert_eq!(jws, base, "the predicate is no part of the JWS");
}
