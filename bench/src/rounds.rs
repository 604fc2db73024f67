//! The measurements, in rounds: each contender in turn, so that what changes on the machine changes for all.

use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    Error, Result,
    apps::{App, Contender},
    load::{self, Connection, closed_loop},
    process::{Process, cpu_time, pin_self, resident_memory},
    services::Services,
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often each contender has its turn.
    pub rounds: usize,
    /// Cold starts in each turn.
    pub starts: usize,
    /// Items one after the other, from which the steady state's median is taken.
    pub steady_items: usize,
    /// Items whose CPU time is taken, at least.
    pub cpu_items: u32,
    /// Items that come before, for the sake of compilers that work at run time.
    pub warm_up: u32,
    /// For how long items on one core are counted; zero: not at all.
    pub one_core: Duration,
}

impl Plan {
    /// What numbers to be quoted take.
    #[must_use]
    pub const fn full(rounds: usize) -> Self {
        let one_core = Duration::from_millis(2500);
        Self { rounds, starts: 3, steady_items: 15, cpu_items: 2000, warm_up: 500, one_core }
    }

    /// A first impression.
    #[must_use]
    pub const fn quick(rounds: usize) -> Self {
        let one_core = Duration::from_millis(1500);
        Self { rounds, starts: 1, steady_items: 7, cpu_items: 1000, warm_up: 200, one_core }
    }
}

/// What is measured of each contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// From exec to the first answer, ms.
    FirstAnswer,
    /// Resident memory two seconds after the start, MiB.
    IdleMemory,
    /// Resident memory after the load, MiB.
    LoadedMemory,
    /// The most resident memory that there was, MiB.
    PeakMemory,
    /// The first item, two seconds after the start, every remote request 20 ms longer; ms.
    FirstItem,
    /// The median of the items after it, with the same delay; ms.
    SteadyItem,
    /// The first item against that median, times.
    FirstToSteady,
    /// CPU time of an item, µs.
    CpuPerItem,
    /// Items per second on one core.
    ItemsPerSecond,
    /// How much of the other core the services and the load took meanwhile, %.
    HarnessShare,
    /// CPU time of an item in a client that makes the two requests only, µs.
    BareCpuPerItem,
    /// CPU time of an item against that client's in the same round, times.
    CpuToBare,
    /// CPU time of an item in a client that makes them with the SDK, µs.
    SdkCpuPerItem,
    /// The package, bytes.
    PackageSize,
}

/// All that was measured.
#[derive(Debug, Default)]
pub struct Samples {
    values: BTreeMap<(Contender, Metric), Vec<f64>>,
    /// Why a contender has no numbers, or no more of them.
    pub lost: BTreeMap<Contender, String>,
}

/// A median with its spread.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The value in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Samples {
    /// Adds a value.
    pub fn add(&mut self, contender: Contender, metric: Metric, value: f64) {
        self.values.entry((contender, metric)).or_default().push(value);
    }

    /// The values of a metric, if there are any.
    #[must_use]
    pub fn spread(&self, contender: Contender, metric: Metric) -> Option<Spread> {
        Spread::of(self.values.get(&(contender, metric))?.clone())
    }
}

impl Spread {
    /// That of some values, if there are any.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self { median: median(&values), min, max })
    }
}

/// Clients that make the two requests of an item and nothing else: what no handler can be cheaper than.
#[derive(Clone, Copy, Debug)]
pub struct Floors<'a> {
    /// With an HTTP client alone.
    pub bare: &'a Path,
    /// With the SDK.
    pub sdk: &'a Path,
}

/// Measures everything.
pub async fn measure(apps: &[App], services: &Services, floors: Floors<'_>, plan: Plan, samples: &mut Samples) {
    for round in 1..=plan.rounds {
        for app in apps {
            if samples.lost.contains_key(&app.contender) {
                continue;
            }
            eprintln!("  round {round} of {}: {}", plan.rounds, app.contender);
            if let Err(error) = turn(app, services, floors, plan, samples).await {
                samples.lost.insert(app.contender, error.to_string());
            }
            services.delay.set(Duration::ZERO);
            services.clear();
        }
    }
}

async fn turn(app: &App, services: &Services, floors: Floors<'_>, plan: Plan, samples: &mut Samples) -> Result<()> {
    let contender = app.contender;
    let settings = services.settings(contender.knows_localhost_names());
    for _ in 1..plan.starts {
        let process = Process::start(app, &settings, None).await?;
        samples.add(contender, Metric::FirstAnswer, millis(process.first_answer));
        // What it does at its start should be over, one way or the other, before the next one is timed.
        sleep(Duration::from_millis(300)).await;
    }

    services.delay.set(REMOTE_DELAY);
    let process = Process::start(app, &settings, None).await?;
    samples.add(contender, Metric::FirstAnswer, millis(process.first_answer));
    sleep(WARM_START).await;
    samples.add(contender, Metric::IdleMemory, resident_memory(process.id())?.0);
    let mut connection = Connection::open(process.port()).await?;
    connection.probe("/").await?;
    let first = load::one_by_one(&mut connection, 1).await?;
    let steady = load::one_by_one(&mut connection, plan.steady_items).await?;
    let first: f64 = first.into_iter().map(millis).sum();
    let mut steady: Vec<f64> = steady.into_iter().map(millis).collect();
    steady.sort_by(f64::total_cmp);
    let steady = median(&steady);
    samples.add(contender, Metric::FirstItem, first);
    samples.add(contender, Metric::SteadyItem, steady);
    samples.add(contender, Metric::FirstToSteady, first / steady);
    services.delay.set(Duration::ZERO);

    closed_loop(process.port(), plan.warm_up, Duration::ZERO).await?;
    let before = cpu_time(process.id())?;
    let done = closed_loop(process.port(), plan.cpu_items, LEAST_LOAD).await?;
    let cpu = micros(cpu_time(process.id())?.saturating_sub(before)) / f64::from(done.items);
    samples.add(contender, Metric::CpuPerItem, cpu);
    let (resident, peak) = resident_memory(process.id())?;
    samples.add(contender, Metric::LoadedMemory, resident);
    samples.add(contender, Metric::PeakMemory, peak);
    drop(process);
    if contender == Contender::Signet {
        let bare = client(floors.bare, services, plan.cpu_items * 8).await?;
        samples.add(contender, Metric::BareCpuPerItem, bare);
        samples.add(contender, Metric::CpuToBare, cpu / bare);
        samples.add(contender, Metric::SdkCpuPerItem, client(floors.sdk, services, plan.cpu_items * 2).await?);
    }

    if plan.one_core.is_zero() {
        return Ok(());
    }
    let outcome = one_core(app, services, plan, samples).await;
    pin_self(ALL_CORES)?;
    outcome
}

/// The contender on the second core, everything else on the first.
async fn one_core(app: &App, services: &Services, plan: Plan, samples: &mut Samples) -> Result<()> {
    pin_self("0")?;
    let settings = services.settings(app.contender.knows_localhost_names());
    let process = Process::start(app, &settings, Some(1)).await?;
    closed_loop(process.port(), plan.warm_up, Duration::ZERO).await?;
    let (begun, before) = (Instant::now(), cpu_time(std::process::id())?);
    let done = closed_loop(process.port(), 0, plan.one_core).await?;
    let harness = cpu_time(std::process::id())?.saturating_sub(before);
    samples.add(app.contender, Metric::ItemsPerSecond, f64::from(done.items) / done.time.as_secs_f64());
    let share = harness.as_secs_f64() / begun.elapsed().as_secs_f64();
    samples.add(app.contender, Metric::HarnessShare, share * 100.0);
    Ok(())
}

/// CPU time of an item in such a client, µs.
async fn client(program: &Path, services: &Services, items: u32) -> Result<f64> {
    let mut command = Command::new(program);
    command.arg(items.to_string()).env_clear().envs(services.settings(false));
    let output = tokio::process::Command::from(command).output().await.map_err(|e| Error::new("a client", e))?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().map_err(|_| Error::new("a client", String::from_utf8_lossy(&output.stderr)))
}

fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// What every remote request takes longer, for the first item: a vault in the same region.
const REMOTE_DELAY: Duration = Duration::from_millis(20);
/// Between the start and the first item.
const WARM_START: Duration = Duration::from_secs(2);
/// Enough for the 10 ms of a tick not to matter.
const LEAST_LOAD: Duration = Duration::from_secs(1);
/// Every core that a machine can have: to name more than there are is as good as all.
pub const ALL_CORES: &str = "0-1023";
