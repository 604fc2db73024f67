use std::collections::{BTreeMap, BTreeSet};

use signet_core::work_item::WorkItem;

use super::*;

const UPLOADS_URL: &str = "https://devstoreaccount1.blob.localhost:1/chaos-uploads";

fn rendered(message: &Message) -> String {
    message.rendered(UPLOADS_URL, Some("\"0x8D1\""))
}

#[test]
fn the_same_seed_makes_the_same_messages() {
    let texts = |seed| messages(seed, 300, "chaos", Door::Host).iter().map(rendered).collect::<Vec<_>>();
    assert_eq!(texts(1), texts(1));
    assert_ne!(texts(1), texts(2));
}

#[test]
fn every_kind_and_every_reason_is_there() {
    let messages = messages(1, 2000, "chaos", Door::Host);
    let kinds: BTreeSet<&str> = messages.iter().map(|message| message.kind).collect();
    for reason in [
        "invalid-json",
        "invalid-work-item",
        "unsupported-event",
        "unsupported-format",
        "too-large",
        "source-forbidden",
        "source-not-found",
        "source-changed",
    ] {
        assert!(kinds.contains(reason), "{reason}: {kinds:?}");
    }
    assert!(kinds.len() > 20, "{kinds:?}");
    assert!(messages.iter().any(|message| message.route == Route::Poison && message.after.is_some()));
    assert!(messages.iter().any(|message| message.route == Route::Twice));
}

#[test]
fn what_is_expected_is_what_the_message_says() {
    let messages = messages(3, 3000, "chaos", Door::Host);
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for message in &messages {
        let text = rendered(message);
        let item = WorkItem::parse(text.as_bytes(), Format::Jws);
        match &message.expect {
            Expect::Results(wanted) | Expect::Contested { wanted, .. } => {
                let item = item.unwrap_or_else(|why| panic!("{text}: {why:?}"));
                assert_eq!(item.formats, wanted.formats, "{text}");
                assert!(item.id.is_none_or(|id| id == wanted.id), "{text}");
                // Nobody else's results have the same names, but those of its own contest or its duplicates.
                let owner = match &message.expect {
                    Expect::Contested { contest, .. } => contest.to_string(),
                    _ => message.text.clone(),
                };
                for name in wanted.names() {
                    assert_eq!(owners.entry(name).or_insert_with(|| owner.clone()), &owner, "{text}");
                }
            }
            Expect::Rejected(reason) => {
                let early = item.err().map(|rejection| rejection.reason.name());
                assert!(early.is_none_or(|early| early == *reason || *reason == "attempts-exhausted"), "{text}");
            }
            Expect::Nothing => assert!(message.after.is_some() || text.contains("-rejected") || message.is_encoded),
        }
        assert!(message.route == Route::Direct || text.len() <= 48 * 1024, "{}", text.len());
    }
}
