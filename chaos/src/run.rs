//! A whole run: its phases in turn.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use signet::local::{app::AppRoot, stack::Stack};

use crate::{
    arena::{Arena, Watch},
    error::{Context as _, Result},
    faults::Service,
    findings::Findings,
    items,
    kills::{self, Kind},
    redelivery,
};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// What everything is planned from.
    pub seed: u64,
    /// How many messages.
    pub items: usize,
    /// How many kills.
    pub kills: usize,
    /// The handler to try.
    pub handler: PathBuf,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was asked for.
    pub options: Options,
    /// What must not be.
    pub findings: Findings,
    /// The stories of those messages that something is found of.
    pub stories: BTreeMap<usize, Vec<String>>,
    /// How many messages of each kind there were.
    pub kinds: BTreeMap<&'static str, usize>,
    /// How often what was killed.
    pub kills: BTreeMap<Kind, usize>,
    /// How often each fault was met.
    pub faults: BTreeMap<(Service, &'static str), u32>,
    /// What else was counted.
    pub counts: BTreeMap<&'static str, usize>,
    /// How long the messages took.
    pub took: Duration,
}

/// Makes a run.
pub async fn run(root: &AppRoot, options: Options, watch: Watch<'_>) -> Result<Outcome> {
    let stack = Stack::start(&|line| watch(line)).await.context("the local stack")?;
    let arena = Arena::new(&stack, root, &options.handler, options.seed, ("chaos", 1000)).await?;
    let messages = items::messages(options.seed, options.items, "chaos");
    let kills = kills::kills(options.seed, options.kills, messages.len());
    let hosts = arena.hosts()?;
    let begun = Instant::now();
    let mut findings = arena.run(&hosts, &messages, &kills, watch).await?;
    let took = begun.elapsed();
    watch("counting");
    findings.extend(arena.count(&messages).await?.into_all());
    watch("delivering again what is done");
    let again = redelivery::redeliver(&arena, &hosts, &messages, (options.seed, 50 + options.items / 50)).await?;
    findings.extend(again.into_all());

    let mut kinds = BTreeMap::new();
    for message in &messages {
        *kinds.entry(message.kind).or_default() += 1;
    }
    let sent = arena.feed.sent();
    let numbers = findings.all().iter().filter_map(|finding| finding.number);
    let stories =
        numbers.filter_map(|number| Some((number, arena.stories.of(&sent.get(&number)?.message_id)))).collect();
    Ok(Outcome {
        options,
        findings,
        stories,
        kinds,
        kills: arena.struck.counts(),
        faults: arena.fired.counts(),
        counts: arena.stories.counts(),
        took,
    })
}
