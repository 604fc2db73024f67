//! A vault at its limit: what comes through when twice as much is asked of it, in real time and with real signatures.
//!
//! The services are those of the other measurements, but the vault is the local one with the limits that Key Vault documents.
//! Several instances of an app, none of which knows of the others, read one queue as the Functions host does.

mod chart;
mod queue;
mod report;

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use signet::local::{
    app::AppRoot,
    host::config,
    vault::{KeyOptions, KeySpec},
};
use tokio::{task::JoinSet, time::sleep_until};

use self::queue::Queue;
pub(crate) use self::queue::Settled;
pub use self::{
    chart::chart,
    report::{json, table},
};
use crate::{
    Error, Result,
    apps::{App, Contender, Form},
    load::{Connection, work_item},
    process::{Process, Usage},
    services::{LocalVault, QUEUE, Services},
};

/// How many times the limit arrives.
pub const OVERLOAD: u32 = 2;
/// What Key Vault counts in, seconds.
pub const WINDOW: usize = 10;

/// A key that is measured, and what Key Vault lets one vault do with it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// In words.
    pub name: &'static str,
    /// What it is made of.
    pub key: KeyOptions,
    /// Signatures in ten seconds.
    pub limit: u32,
}

/// "Azure Key Vault service limits", software and HSM keys.
#[must_use]
pub fn kinds() -> [Kind; 4] {
    [
        Kind { name: "P-256", key: KeySpec::P256.into(), limit: 4_000 },
        Kind { name: "P-256, HSM", key: KeySpec::P256.hsm(), limit: 2_000 },
        Kind { name: "RSA-4096", key: KeySpec::Rsa4096.into(), limit: 500 },
        Kind { name: "RSA-4096, HSM", key: KeySpec::Rsa4096.hsm(), limit: 250 },
    ]
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Whose app.
    pub contender: Contender,
    /// How many of it at once.
    pub instances: usize,
    /// With which key.
    pub kind: Kind,
    /// For how long, seconds.
    pub seconds: usize,
}

impl Case {
    /// Requests to sign that the vault bears in a second.
    #[must_use]
    pub fn limit(&self) -> f64 {
        f64::from(self.kind.limit) / 10.0
    }

    /// Messages that arrive in a second.
    #[must_use]
    pub fn offered(&self) -> u32 {
        self.kind.limit * OVERLOAD / 10
    }
}

/// What happened within a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Second {
    /// Results that were created.
    pub results: u64,
    /// Requests to sign, those that were refused among them.
    pub requests: u64,
    /// Requests that the vault answered 429.
    pub refused: u64,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Which run.
    pub case: Case,
    /// Second by second.
    pub timeline: Vec<Second>,
    /// Dequeues of a message that became a result: the mean.
    pub mean_dequeues: f64,
    /// The same: the most.
    pub most_dequeues: i64,
    /// Messages that were answered other than 200 and became visible again.
    pub returned: u64,
    /// Messages that went to the poison queue.
    pub poisoned: u64,
    /// Messages that were still on the queue at the end.
    pub waiting: usize,
    /// CPU time of all instances, in cores.
    pub app_cores: f64,
    /// CPU time of the services, the queue and the host, in cores.
    pub harness_cores: f64,
    /// CPU time that nobody on the machine wanted, in cores.
    pub idle_cores: f64,
}

impl Outcome {
    /// The sum over the seconds from this one on.
    #[must_use]
    pub fn sum(&self, from: usize) -> Second {
        self.timeline.iter().skip(from).fold(Second::default(), |sum, second| Second {
            results: sum.results + second.results,
            requests: sum.requests + second.requests,
            refused: sum.refused + second.refused,
        })
    }

    /// Results per second, from this second on.
    #[must_use]
    pub fn goodput(&self, from: usize) -> f64 {
        ratio(self.sum(from).results, self.timeline.len().saturating_sub(from) as u64)
    }

    /// The share of the requests to sign that was refused.
    #[must_use]
    pub fn refused(&self, from: usize) -> f64 {
        let sum = self.sum(from);
        ratio(sum.refused, sum.requests)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Starts the services and the instances, has each do an item, then lets the messages come.
pub async fn measure(case: Case, root: &AppRoot) -> Result<(App, Outcome)> {
    let (services, vault) = Services::with_limits(case.kind.key).await?;
    let app = App::build(case.contender, Form::Functions, root, services.authority()).await?;
    let settings = services.settings(app.contender.knows_localhost_names());
    let read = config::App::read(&app.directory, &settings, &|_| None);
    let config = queues(case.contender, read.map_err(|e| Error::new("host.json", e))?.queues);
    let messages = services.queue(QUEUE);
    let queue = Arc::new(Queue::new(config, Arc::clone(&messages)));
    let mut processes = Vec::new();
    for _ in 0..case.instances {
        let process = Process::start(&app, &settings, None).await?;
        Connection::open(process.port()).await?.invoke(&work_item()).await?;
        processes.push(process);
    }

    // Dropped at the end, they leave what is in flight.
    let mut running = JoinSet::new();
    running.spawn(messages.feed(case.offered()));
    for process in &processes {
        running.spawn(Arc::clone(&queue).listen(process.port()));
    }
    let outcome = watch(case, &services, &vault, &processes, || queue.settled()).await?;
    Ok((app, outcome))
}

/// Counts, second by second, what comes of what is under way.
pub(crate) async fn watch(
    case: Case,
    services: &Services,
    vault: &LocalVault,
    processes: &[Process],
    settled: impl FnOnce() -> Settled,
) -> Result<Outcome> {
    let usage = || Usage::now(processes);
    let (begun, before) = (tokio::time::Instant::now(), usage()?);
    let mut timeline = Vec::with_capacity(case.seconds);
    let mut last = counts(services, vault);
    for second in 1..=case.seconds {
        sleep_until(begun + Duration::from_secs(second as u64)).await;
        let now = counts(services, vault);
        timeline.push(Second {
            results: now.results - last.results,
            requests: now.requests - last.requests,
            refused: now.refused - last.refused,
        });
        last = now;
    }
    let after = usage()?;
    let settled = settled();
    Ok(Outcome {
        case,
        timeline,
        mean_dequeues: ratio(settled.dequeues, settled.done),
        most_dequeues: settled.most_dequeues,
        returned: settled.returned,
        poisoned: settled.poisoned,
        waiting: settled.waiting,
        app_cores: after.cores(&before, |usage| usage.apps),
        harness_cores: after.cores(&before, |usage| usage.harness),
        idle_cores: after.cores(&before, |usage| usage.idle),
    })
}

/// Signet's as `host.json` has them; a peer's as the host has them where nobody has thought of throttling. How many are in
/// flight is the same for all.
fn queues(contender: Contender, ours: config::QueuesConfig) -> config::QueuesConfig {
    match contender {
        Contender::Signet => ours,
        _ => config::QueuesConfig { visibility_timeout: Duration::ZERO, max_dequeue_count: 5, ..ours },
    }
}

/// All that was counted so far.
fn counts(services: &Services, vault: &LocalVault) -> Second {
    Second { results: services.results() as u64, requests: vault.asked(), refused: vault.refused() }
}
