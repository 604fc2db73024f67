//! What we sign, read by others and by ourselves; and what is changed, which nobody must take for good.

use std::collections::HashMap;

use signet::{
    remote::Document,
    verbs::verify::{NoVerdict, Verdict, verdict},
};
use signet_core::{
    base64,
    content::{Content, Given},
    format::Format,
    jwks::JwkSet,
    work_item::WorkItem,
};

use crate::{
    documents::{ISSUED_AT, OTHER_CONTENT, signed},
    foreign::Expected,
    keys::{SIGNERS, Signer, published},
};

/// The first byte chooses a key, the second a format. The rest is a work item; where it is none, it is the content of one.
pub fn results(data: &[u8]) {
    let [chosen, format, rest @ ..] = data else { return };
    let signer = &SIGNERS[usize::from(*chosen) % SIGNERS.len()];
    let format = Format::ALL[usize::from(*format) % Format::ALL.len()];
    let item = WorkItem::parse(rest, format).unwrap_or_else(|_| item_of(rest, format));
    let content = match &item.content {
        Content::Given(Given::Bytes { bytes, .. }) => bytes,
        // What a digest stands for is not known here: only its form can be checked.
        Content::Given(Given::Digest { .. }) => return drop(signed(&item, b"", signer)),
        Content::Source(_) => rest,
    };
    let is_detached = matches!(item.content, Content::Source(_));
    let expected = Expected { item: &item, content, is_detached, signer };
    // The signer's key and one other: all of them would be most of the work.
    let keys = published([signer, &SIGNERS[0]].into_iter());
    for (format, result) in signed(&item, content, signer) {
        expected.check(format, &result);
        let document = Document { bytes: result, metadata: HashMap::new() };
        check_verdict(&document, &expected, format, &keys);
        check_changed(document, &expected, format, rest, &keys);
    }
}

fn item_of(content: &[u8], format: Format) -> WorkItem {
    let message = format!(r#"{{"payloadBase64":"{}","format":"{format}"}}"#, base64::encode(content));
    // Content that Base64 takes beyond what a queue delivers is cut.
    WorkItem::parse(message.as_bytes(), format).unwrap_or_else(|_| item_of(&content[..40_000], format))
}

/// The tool says of a result what was signed, by whom and when, and that it is about nothing else.
fn check_verdict(document: &Document, expected: &Expected<'_>, format: Format, keys: &JwkSet) {
    let Signer { key, .. } = expected.signer;
    let good = verdict(document, Some(expected.content), keys).unwrap_or_else(|why| panic!("{format}: {why:?}"));
    let names_itself = !matches!(format, Format::Raw | Format::Dsse);
    assert!(good.algorithm == key.algorithm, "{good:?}");
    assert!(!names_itself || good.kid.as_ref() == Some(&key.kid), "{good:?}");
    assert!(
        format == Format::Raw || good.issued_at == Some(ISSUED_AT) || expected.item.predicate.is_some(),
        "{good:?}"
    );
    assert_eq!(good.sha256, Some(signet_core::algorithm::sha256_hex(expected.content)));
    assert_eq!(good.length, Some(expected.content.len() as u64));

    let alone = verdict(document, None, keys);
    let needs_content = format == Format::Raw || expected.is_detached && format.holds_content();
    match alone {
        Err(NoVerdict::Unknown(_)) => assert!(needs_content),
        Ok(alone) => assert!(!needs_content && alone.algorithm == good.algorithm),
        Err(NoVerdict::Invalid(why)) => panic!("{why}"),
    }
    if expected.content != OTHER_CONTENT {
        assert!(matches!(verdict(document, Some(OTHER_CONTENT), keys), Err(NoVerdict::Invalid(_))), "{format}");
    }
}

/// A byte is changed, taken away or put in, where the input says: the result says what it said, or is not good.
fn check_changed(mut document: Document, expected: &Expected<'_>, format: Format, how: &[u8], keys: &JwkSet) {
    let good = verdict(&document, Some(expected.content), keys).ok().map(essence);
    let sum = how.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let (at, byte) = (sum % document.bytes.len(), how.first().copied().unwrap_or(0xff));
    match sum / document.bytes.len() % 3 {
        0 => document.bytes[at] ^= 1 << (byte % 8),
        1 => document.bytes.insert(at, byte),
        _ => drop(document.bytes.remove(at)),
    }
    let changed = verdict(&document, Some(expected.content), keys).ok().map(essence);
    assert!(changed.is_none() || changed == good, "{format}: {changed:?}, not {good:?}");
}

/// What must not change.
fn essence(verdict: Verdict) -> Verdict {
    // `keyid` of an envelope is a hint, and stands outside of what is signed.
    if verdict.form == "dsse" { Verdict { kid: None, ..verdict } } else { verdict }
}
