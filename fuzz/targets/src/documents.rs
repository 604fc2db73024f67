//! Everything that the fixed keys sign and that a target can meet again.

use signet_core::{
    algorithm::Algorithm,
    content::{Content, Given},
    draft::{Draft, Pass, drafts},
    format::Format,
    work_item::WorkItem,
};

use crate::keys::{SIGNERS, Signer};

/// When everything was signed, in seconds since 1970.
pub(crate) const ISSUED_AT: i64 = 1_795_255_200;
/// What was signed.
pub(crate) const CONTENT: &[u8] = b"{\"amount\":\"12.50\"}";
/// What never was.
pub(crate) const OTHER_CONTENT: &[u8] = b"{\"amount\":\"99.50\"}";
/// The media type of what was signed.
pub(crate) const CONTENT_TYPE: &str = "application/json";

/// An item's results, in the order of its formats; none where the key cannot do what the item asks for. `content` is
/// that of its source, if it has one.
pub(crate) fn signed(item: &WorkItem, content: &[u8], signer: &Signer) -> Vec<(Format, Vec<u8>)> {
    let complete = |draft: &Draft<'_>| {
        let result = draft.complete(&signer.sign(draft.digest()), &signer.key);
        (draft.format, result.expect("a good signature"))
    };
    match &item.content {
        Content::Given(given) => match drafts(item, given, &signer.key, ISSUED_AT) {
            Ok(drafts) => drafts.iter().map(complete).collect(),
            // A digest has one hash function, and the key may have another.
            Err(_) if matches!(given, Given::Digest { .. }) => Vec::new(),
            Err(rejection) => panic!("{item:?}: {rejection:?}"),
        },
        Content::Source(_) => {
            let mut pass = Pass::new(item, &signer.key, ISSUED_AT, content.len() as u64);
            for piece in content.chunks(1000) {
                pass.update(piece);
            }
            pass.finish().1.iter().map(complete).collect()
        }
    }
}

/// Good results with the targets and file names whose seeds they are: one item in all formats, attached and detached.
#[must_use]
pub fn good_documents() -> Vec<(&'static str, String, Vec<u8>)> {
    let attached = format!(r#"{{"id":"a/b","payload":{}}}"#, String::from_utf8_lossy(CONTENT));
    let source = r#"{"id":"a/b","source":{"url":"https://a.example/in/b"},"contentType":"application/json"}"#;
    let mut documents = Vec::new();
    for (message, attachment) in [(attached.as_str(), ""), (source, "-detached")] {
        let mut item = WorkItem::parse(message.as_bytes(), Format::Jws).expect("an item");
        let is_detached = matches!(item.content, Content::Source(_));
        item.formats = Format::ALL.into_iter().filter(|format| format.holds_content() || !is_detached).collect();
        for signer in SIGNERS.iter().filter(|signer| SEEDED.contains(&signer.key.algorithm)) {
            for (format, bytes) in signed(&item, CONTENT, signer) {
                let name = format!("{}{attachment}{}", signer.key.algorithm, format.suffix());
                let target = match format {
                    Format::Jws | Format::JwsCompact => "jws",
                    Format::Dsse => "dsse",
                    Format::Raw => "raw",
                    Format::Cose => "cose",
                };
                documents.push((target, name.clone(), bytes.clone()));
                if signer.key.algorithm.is_ecdsa() {
                    documents.push(("verify", name, bytes));
                }
            }
        }
    }
    documents
}

/// One of each kind: seeds are to be few.
const SEEDED: [Algorithm; 2] = [Algorithm::Es256, Algorithm::Ps256];
