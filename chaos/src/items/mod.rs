//! The messages of a run, each with what is expected of it.

mod bad;
mod good;
mod poison;
mod sources;

use signet_core::{base64, format::Format};

use crate::{dice::Dice, workers::Door};

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its place in the plan.
    pub number: usize,
    /// What is special about it, for the table.
    pub kind: &'static str,
    /// How it comes to the handler.
    pub route: Route,
    /// Its text, in which [`UPLOADS`] and the like stand for what is known only once the run has begun.
    pub text: String,
    /// Whether it is sent as Base64 of the text.
    pub is_encoded: bool,
    /// What must be in the container of uploads before it is sent.
    pub upload: Option<Upload>,
    /// What is to become of it.
    pub expect: Expect,
    /// The message that must be done before this one is sent.
    pub after: Option<usize>,
}

/// Stands in a text for the URL of the container of uploads.
pub const UPLOADS: &str = "@UPLOADS@";
/// Stands in a text for the URL of the container of results.
pub const RESULTS: &str = "@RESULTS@";
/// Stands in a text for the URL of the container of rejection records.
pub const REJECTED: &str = "@REJECTED@";
/// Stands in a text for the `ETag` of the message's upload, without quotation marks.
pub const ETAG: &str = "@ETAG@";

/// How a message comes to the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By the work queue.
    Queue,
    /// By the work queue, and at once as two more deliveries of the same message, one on each host; or as one more to another
    /// replica, since its lease is taken from the first.
    Twice,
    /// By the hand of the run, until it is done: no queue takes it.
    Direct,
    /// By the poison queue, as if the host had given it up; where replicas pull, by the work queue, which says that it was
    /// delivered too often already.
    Poison,
}

/// A blob that is there before the message is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its name, not encoded.
    pub name: String,
    /// Its length; the bytes come of the seed and the name.
    pub length: usize,
}

/// What is to become of a message.
#[derive(Clone, Debug)]
pub enum Expect {
    /// All its results, and no record.
    Results(Wanted),
    /// Either all its results, or a record `id-conflict`: one of the contestants gets the results.
    Contested {
        /// Names the contest.
        contest: usize,
        /// What it asks for.
        wanted: Wanted,
    },
    /// One record with this reason, and no result.
    Rejected(&'static str),
    /// Neither result nor record of its own.
    Nothing,
}

/// The results that a message asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What their names begin with.
    pub id: String,
    /// One result for each.
    pub formats: Vec<Format>,
    /// What is signed.
    pub content: Content,
}

/// What is signed.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The upload's.
    Upload,
}

impl Wanted {
    /// The names of the results.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.formats.iter().map(|format| format!("{}{}", self.id, format.suffix()))
    }
}

impl Message {
    /// What it asks for, if that can be had at all.
    #[must_use]
    pub fn wanted(&self) -> Option<&Wanted> {
        match &self.expect {
            Expect::Results(wanted) | Expect::Contested { wanted, .. } => Some(wanted),
            Expect::Rejected(_) | Expect::Nothing => None,
        }
    }

    /// The text as it is sent, where the container of uploads has this URL and the upload this `ETag`.
    #[must_use]
    pub fn rendered(&self, uploads: &str, etag: Option<&str>) -> String {
        let etag = etag.unwrap_or_default().trim_matches('"');
        let beside = |role: &str| format!("{}-{role}", uploads.trim_end_matches("-uploads"));
        let text = self.text.replace(UPLOADS, uploads).replace(ETAG, etag);
        let text = text.replace(RESULTS, &beside("signed")).replace(REJECTED, &beside("rejected"));
        if self.is_encoded { base64::encode(text.as_bytes()) } else { text }
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn content(&self, seed: u64) -> Option<Vec<u8>> {
        match &self.wanted()?.content {
            Content::Bytes(bytes) => Some(bytes.clone()),
            Content::Upload => self.upload.as_ref().map(|upload| upload.bytes(seed)),
        }
    }
}

impl Upload {
    /// What is uploaded.
    #[must_use]
    pub fn bytes(&self, seed: u64) -> Vec<u8> {
        Dice::of(seed, &self.name).bytes(self.length)
    }
}

/// Makes so many messages for a queue of this name. What no queue takes cannot be pulled; and what was
/// delivered too often is hidden for ten minutes whenever it is handed back, which is too long for many faults.
#[must_use]
pub fn messages(seed: u64, count: usize, queue: &str, door: Door) -> Vec<Message> {
    let mut maker = Maker { seed, dice: Dice::of(seed, "items"), queue, count, messages: Vec::new() };
    // Each rare kind comes at least once in every so many.
    let rare: &[Make] = match door {
        Door::Host => &[sources::large, bad::too_large],
        Door::Pull => &[sources::large],
    };
    while maker.messages.len() < count {
        if maker.messages.len() % 400 == 150 {
            for make in rare {
                make(&mut maker);
            }
        }
        let make = maker.dice.weighted(match door {
            Door::Host => KINDS,
            Door::Pull => &KINDS[..KINDS.len() - POISON],
        });
        make(&mut maker);
    }
    maker.messages
}

/// So many of the messages or a few more: none is parted from the one that it comes after.
#[must_use]
pub fn whole(messages: &[Message], count: usize) -> usize {
    let more = messages.iter().skip(count).take_while(|message| message.after.is_some());
    count.min(messages.len()) + more.count()
}

/// Makes so many batches, each with every kind in it.
#[must_use]
pub fn batches(seed: u64, count: usize, queue: &str) -> Vec<Vec<Message>> {
    let mut maker = Maker { seed, dice: Dice::of(seed, "batches"), queue, count: usize::MAX, messages: Vec::new() };
    let mut batches = Vec::new();
    for _ in 0..count {
        let first = maker.messages.len();
        for (_, make) in KINDS {
            make(&mut maker);
        }
        // Each is looked at once alone, by one host or the other.
        for _ in 0..4 {
            poison::given_up(&mut maker);
        }
        batches.push(maker.messages[first..].to_vec());
    }
    batches
}

/// Makes so many messages that can succeed, no two alike, all by the work queue.
#[must_use]
pub fn plain(seed: u64, count: usize, queue: &str) -> Vec<Message> {
    let mut maker = Maker { seed, dice: Dice::of(seed, "plain"), queue, count, messages: Vec::new() };
    while maker.messages.len() < count {
        let kinds: &[(u32, Make)] =
            &[(5, good::payload), (2, good::bytes), (2, good::several_formats), (2, sources::small)];
        let make = maker.dice.weighted(kinds);
        make(&mut maker);
    }
    maker.messages.iter_mut().for_each(|message| message.route = Route::Queue);
    maker.messages
}

type Make = fn(&mut Maker<'_>);

/// What there is, and how often; last of all what comes by the poison queue.
const KINDS: &[(u32, Make)] = &[
    (26, good::payload),
    (10, good::bytes),
    (6, good::digest),
    (10, good::several_formats),
    (6, good::named_by_content),
    (3, good::predicate),
    (6, good::duplicates),
    (6, good::contested),
    (8, sources::small),
    (3, sources::named_by_content),
    (3, sources::duplicates),
    (4, sources::cloud_event),
    (4, sources::event_grid_event),
    (1, sources::event_of_our_own),
    (12, bad::rejected),
    (2, poison::given_up),
    (2, poison::done_before),
];

const POISON: usize = 2;

struct Maker<'a> {
    seed: u64,
    dice: Dice,
    queue: &'a str,
    count: usize,
    messages: Vec<Message>,
}

impl Maker<'_> {
    /// Adds a message that comes by the work queue, now and then as several deliveries at once.
    fn add(&mut self, kind: &'static str, text: String, expect: Expect) -> &mut Message {
        let number = self.messages.len();
        let route = if self.dice.one_in(12) { Route::Twice } else { Route::Queue };
        let is_encoded = self.dice.one_in(8);
        let message = Message { number, kind, route, text, is_encoded, upload: None, expect, after: None };
        self.messages.push(message);
        let last = self.messages.len() - 1;
        &mut self.messages[last]
    }

    /// An id that no other message has, of any shape that is allowed.
    fn id(&mut self) -> String {
        let number = self.messages.len();
        match self.dice.below(6) {
            0 => format!("né {number}/ü+%&=#?.{number}"),
            1 => format!("deep/{}/{number}", "x/".repeat(self.dice.below(30)).trim_end_matches('/')).replace("//", "/"),
            2 => format!("{}{number}", "long-".repeat(self.dice.below(100))),
            _ => format!("items/{number}"),
        }
    }

    fn format(&mut self) -> Format {
        *self.dice.pick(&Format::ALL)
    }

    /// Two formats or more, in any order.
    fn formats(&mut self) -> Vec<Format> {
        let mut formats = Format::ALL;
        self.dice.shuffle(&mut formats);
        let length = 2 + self.dice.below(4);
        formats[..length].to_vec()
    }

    /// A JSON text, with spaces and spellings that must be kept.
    fn payload(&mut self) -> String {
        let number = self.messages.len();
        let amount = self.dice.below(10_000);
        match self.dice.below(4) {
            0 => format!(r#"{{ "n" : {number}, "amount":{amount}.50, "é":"\u00e9" }}"#),
            1 => format!(r"[ {number},{amount} , null, 1e3]"),
            2 => format!(r#""text {number} {amount}""#),
            _ => format!(r#"{{"n":{number},"text":"{}"}}"#, "x".repeat(self.dice.below(2000))),
        }
    }
}

/// A JSON object of members whose values are JSON texts.
fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(", "))
}

/// Text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The member `format`: a name, or a list of names.
fn format_member(formats: &[Format]) -> String {
    match formats {
        [format] => quoted(format.name()),
        formats => serde_json::json!(formats.iter().map(|format| format.name()).collect::<Vec<_>>()).to_string(),
    }
}

#[cfg(test)]
mod tests;
