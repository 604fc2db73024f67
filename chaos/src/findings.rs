//! What must not be, and of which message it is.

use std::{collections::BTreeMap, fmt};

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Neither results nor a record, where there must be one of them.
    Lost,
    /// Results and a record, or several records.
    Doubled,
    /// Another fate, or another content, than what was asked for.
    Wrong,
    /// A result that does not verify with the published keys.
    Unverifiable,
    /// A blob that was written twice, or a key taken from the key set.
    Overwritten,
    /// A message left in a queue, or a blob that nobody asked for.
    LeftOver,
    /// A signature that was asked for though its result stood.
    InVain,
    /// A place at which nothing was ever killed.
    NotReached,
    /// A replica that did not end as it was told to, or ended by itself.
    BadEnd,
}

impl What {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Lost,
        Self::Doubled,
        Self::Wrong,
        Self::Unverifiable,
        Self::Overwritten,
        Self::LeftOver,
        Self::InVain,
        Self::NotReached,
        Self::BadEnd,
    ];
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Wrong => "wrong",
            Self::Unverifiable => "unverifiable",
            Self::Overwritten => "overwritten",
            Self::LeftOver => "left over",
            Self::InVain => "signed in vain",
            Self::NotReached => "fault point not reached",
            Self::BadEnd => "ended badly",
        })
    }
}

/// One thing that must not be.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its kind.
    pub what: What,
    /// The message's place in the plan, where it is of one.
    pub number: Option<usize>,
    /// In words.
    pub why: String,
    /// What is known of the message's way.
    pub story: Vec<String>,
}

/// All that must not be.
#[derive(Clone, Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// One more.
    pub fn add(&mut self, what: What, number: Option<usize>, why: String) {
        self.0.push(Finding { what, number, why, story: Vec::new() });
    }

    /// Adds what is known of the messages.
    pub fn explain(&mut self, story: impl Fn(usize) -> Vec<String>) {
        for finding in &mut self.0 {
            finding.story = finding.number.map(&story).unwrap_or_default();
        }
    }

    /// Several more.
    pub fn extend(&mut self, others: impl IntoIterator<Item = Finding>) {
        self.0.extend(others);
    }

    /// All of them, in the order in which they were found.
    #[must_use]
    pub fn all(&self) -> &[Finding] {
        &self.0
    }

    /// All of them.
    #[must_use]
    pub fn into_all(self) -> Vec<Finding> {
        self.0
    }

    /// How many of each kind; those of which there are none as well.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<What, usize> {
        What::ALL.into_iter().map(|what| (what, self.0.iter().filter(|found| found.what == what).count())).collect()
    }

    /// How many of one kind.
    #[must_use]
    pub fn count(&self, what: What) -> usize {
        self.counts()[&what]
    }
}
