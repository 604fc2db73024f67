//! A whole run: its phases in turn.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use signet::local::{app::AppRoot, stack::Stack};

use crate::{
    arena::{Arena, Load, Terms, Watch},
    error::{Context as _, Result},
    faults::Service,
    findings::{Findings, What},
    given_up,
    items::{self, Message},
    kills::{self, Kind},
    points, redelivery,
    workers::Door,
};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// What everything is planned from.
    pub seed: u64,
    /// How messages come to the handler.
    pub door: Door,
    /// How many messages.
    pub items: usize,
    /// How many kills.
    pub kills: usize,
    /// How many vaults there are in the main phase, one or two.
    pub vaults: usize,
    /// How many faults must be met at least: there are more messages until they are.
    pub faults: u32,
    /// The handler to try.
    pub handler: PathBuf,
    /// Whether there is the phase in which messages are given up soon.
    pub given_up: bool,
    /// The handler that ends itself at fault points; none: that phase is left out.
    pub fault_points: Option<PathBuf>,
    /// Where everything goes that the hosts tell.
    pub log: Option<Arc<File>>,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// How messages came to the handler.
    pub door: Door,
    /// What must not be.
    pub findings: Findings,
    /// How many messages of each kind there were.
    pub kinds: BTreeMap<&'static str, usize>,
    /// How often what was killed.
    pub kills: BTreeMap<Kind, usize>,
    /// How often a handler has ended itself at which point.
    pub points: BTreeMap<String, usize>,
    /// How often each fault was met.
    pub faults: BTreeMap<(Service, &'static str), u32>,
    /// What else was counted.
    pub counts: BTreeMap<&'static str, usize>,
    /// How long the main phase took.
    pub took: Duration,
    /// How long all took.
    pub took_in_all: Duration,
}

impl Outcome {
    fn add(&mut self, arena: &Arena, messages: &[Message], mut findings: Findings) {
        findings.extend(arena.conclude().into_all());
        arena.explain(&mut findings);
        self.findings.extend(findings.into_all());
        for message in messages {
            *self.kinds.entry(message.kind).or_default() += 1;
        }
        for (kind, count) in arena.struck.counts() {
            *self.kills.entry(kind).or_default() += count;
        }
        for (what, count) in arena.stories.counts() {
            *self.counts.entry(what).or_default() += count;
        }
        for (fault, count) in arena.fired.counts() {
            *self.faults.entry(fault).or_default() += count;
        }
        self.points.extend(arena.stories.points());
    }

    /// What must be zero, as far as it was looked at.
    #[must_use]
    pub fn zeros(&self) -> BTreeMap<What, usize> {
        let mut zeros = self.findings.counts();
        zeros.retain(|what, _| *what != What::BadEnd || self.door == Door::Pull);
        zeros
    }

    /// How many messages there were.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.kinds.values().sum()
    }
}

/// Messages that there may be more than were asked for, so that enough faults are met.
const MORE: usize = 500;

/// Of hosts, leases that end while an item's time is not over; replicas have none that are shorter.
fn short_lease(door: Door) -> Duration {
    match door {
        Door::Host => Duration::from_secs(3),
        Door::Pull => given_up::PULL_LEASE,
    }
}

/// Makes a run.
pub async fn run(root: &AppRoot, options: &Options, watch: Watch<'_>) -> Result<Outcome> {
    let begun = Instant::now();
    let stack = Stack::start(&|line| watch(line)).await.context("the local stack")?;
    let mut outcome = Outcome { seed: options.seed, door: options.door, ..Outcome::default() };
    everything_at_once(&stack, root, options, watch, &mut outcome).await?;
    if options.given_up {
        watch("given up while a delivery is under way");
        giving_up(&stack, root, options, watch, &mut outcome).await?;
    }
    if let Some(handler) = &options.fault_points {
        fault_points(&stack, root, (options, handler), watch, &mut outcome).await?;
    }
    outcome.took_in_all = begun.elapsed();
    Ok(outcome)
}

async fn everything_at_once(
    stack: &Arc<Stack>,
    root: &AppRoot,
    options: &Options,
    watch: Watch<'_>,
    outcome: &mut Outcome,
) -> Result<()> {
    let door = options.door;
    let (lease, log) = (short_lease(door), options.log.clone());
    let vaults = options.vaults;
    let terms = Terms { name: "chaos", door, max_dequeue_count: 1000, vaults, lease, deadline: 10, log };
    let arena = Arena::new(stack, root, &options.handler, options.seed, terms.clone()).await?;
    let more = if options.faults > 0 { MORE } else { 0 };
    let plan = items::messages(options.seed, options.items + more, terms.name, door);
    let (messages, more) = plan.split_at(items::whole(&plan, options.items));
    let kills = kills::kills(options.seed, options.kills, messages.len(), (door, lease));
    let workers = arena.workers()?;
    let begun = Instant::now();
    let load = Load { messages, more, faults: options.faults };
    let mut findings = arena.run(&workers, &load, &kills, watch).await?;
    outcome.took = begun.elapsed();
    let (sent, _) = arena.feed.progress();
    let messages = &plan[..sent];
    watch("counting");
    findings.extend(arena.count(messages).await?.into_all());
    watch("delivering again what is done");
    let again =
        redelivery::redeliver(&arena, &workers, messages, (options.seed, 50 + options.items / 50, watch)).await?;
    findings.extend(again.into_all());
    outcome.add(&arena, messages, findings);
    Ok(())
}

async fn giving_up(
    stack: &Arc<Stack>,
    root: &AppRoot,
    options: &Options,
    watch: Watch<'_>,
    outcome: &mut Outcome,
) -> Result<()> {
    let (door, log) = (options.door, options.log.clone());
    let (max_dequeue_count, lease, deadline) = match door {
        Door::Host => (given_up::MAX_DEQUEUE_COUNT, given_up::LEASE, 10),
        Door::Pull => (given_up::ATTEMPTS, given_up::PULL_LEASE, given_up::PULL_DEADLINE),
    };
    let terms = Terms { name: "given-up", door, max_dequeue_count, vaults: 1, lease, deadline, log };
    let arena = Arena::new(stack, root, &options.handler, options.seed, terms.clone()).await?;
    let messages = items::plain(options.seed, 100 + options.items / 100, terms.name);
    let workers = arena.workers()?;
    let findings = given_up::run(&arena, &workers, &messages, (options.seed, watch)).await?;
    outcome.add(&arena, &messages, findings);
    Ok(())
}

async fn fault_points(
    stack: &Arc<Stack>,
    root: &AppRoot,
    (options, handler): (&Options, &Path),
    watch: Watch<'_>,
    outcome: &mut Outcome,
) -> Result<()> {
    let (door, log) = (options.door, options.log.clone());
    let deadline = match door {
        Door::Host => 4,
        // Longer than half a lease, after which it is renewed; and so long that a machine that is busy hands nothing back,
        // which would be hidden for minutes after so many deliveries.
        Door::Pull => 40,
    };
    let terms =
        Terms { name: "points", door, max_dequeue_count: 1000, vaults: 1, lease: short_lease(door), deadline, log };
    let arena = Arena::new(stack, root, handler, options.seed, terms.clone()).await?;
    let batches = items::batches(options.seed, points::of(door).len(), terms.name);
    let workers = arena.workers()?;
    let mut findings = points::run(&arena, &workers, &batches, watch).await?;
    let messages: Vec<Message> = batches.into_iter().flatten().collect();
    findings.extend(arena.count(&messages).await?.into_all());
    outcome.add(&arena, &messages, findings);
    Ok(())
}
