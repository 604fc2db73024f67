//! Workers with little to do: how long a message takes that comes to an empty queue, and what an empty queue costs.
//!
//! Messages that come seldom take long to count, so many replicas, each with a queue of its own, wait for them side by side:
//! what they do is far below what the machine can.

use std::{sync::Arc, time::Duration};

use rand_core::{OsRng, RngCore as _};
use serde::Serialize;
use tokio::{task::JoinSet, time::sleep};

use super::{Plan, first_result, on_a_new_queue, result_of};
use crate::{
    Error, Result,
    apps::{App, Contender},
    load::numbered_item,
    process::{Process, precise_cpu_time, resident_memory},
    rounds::millis,
    services::{Queue, Services},
};

/// What messages waited for that came seldom.
#[derive(Clone, Debug, Serialize)]
pub struct LowLoad {
    /// Whose replicas.
    pub contender: Contender,
    /// The longest pause between two looks at an empty queue, seconds.
    pub poll: u64,
    /// How many replicas there were, each with its own queue.
    pub replicas: usize,
    /// How many messages.
    pub messages: usize,
    /// From the queue to the result: the median, ms.
    pub median_ms: f64,
    /// The same: 99 of 100 take no longer, ms.
    pub p99_ms: f64,
    /// From the queue to the worker: the median, ms.
    pub waited_median_ms: f64,
    /// From the worker to the result: the median, ms.
    pub worked_median_ms: f64,
    /// The same: 99 of 100 take no longer, ms.
    pub worked_p99_ms: f64,
    /// How much of all time together was spent on the queue.
    pub waited_share: f64,
}

/// What a replica takes whose queue is empty.
#[derive(Clone, Debug, Serialize)]
pub struct Idle {
    /// Whose.
    pub contender: Contender,
    /// Requests to the queue in a minute.
    pub looks_per_minute: f64,
    /// Requests to all services in a minute.
    pub requests_per_minute: f64,
    /// CPU time in a minute, ms.
    pub cpu_ms_per_minute: f64,
    /// Resident memory, MiB.
    pub memory_mib: f64,
}

/// How long one message took.
#[derive(Clone, Copy, Debug)]
struct Took {
    waited: Duration,
    worked: Duration,
}

/// Starts all replicas one after the other, then measures them all at once.
pub async fn measure(apps: &[App], services: &Arc<Services>, plan: Plan) -> Result<(Vec<LowLoad>, Vec<Idle>)> {
    services.clear();
    let mut idle = JoinSet::new();
    for app in apps {
        // Services of its own, so that all their requests are its.
        let own = Services::start()?;
        let app = trusting(app, &own);
        let (settings, queue) = on_a_new_queue(&own, app.contender);
        let (process, _) = first_result(&app, &own, &settings, &queue).await?;
        idle.spawn(watch(app.contender, own, queue, process, plan));
    }
    let mut groups = Vec::new();
    for app in apps {
        let (polls, replicas): (&[u64], usize) = match app.contender {
            Contender::Signet => (&[DEFAULT_POLL, 1], plan.replicas),
            _ => (&[DEFAULT_POLL], plan.replicas / 6),
        };
        for poll in polls {
            let mut group = JoinSet::new();
            for _ in 0..replicas {
                let (mut settings, queue) = on_a_new_queue(services, app.contender);
                if *poll != DEFAULT_POLL {
                    settings.insert("SIGNET_POLL".to_owned(), poll.to_string());
                }
                let (process, _) = first_result(app, services, &settings, &queue).await?;
                group.spawn(seldom(process, Arc::clone(services), queue, plan.seldom));
            }
            groups.push((app.contender, *poll, group));
        }
    }
    let mut loads = Vec::new();
    for (contender, poll, mut group) in groups {
        let replicas = group.len();
        let mut took = Vec::new();
        while let Some(outcome) = group.join_next().await {
            took.extend(outcome.map_err(|e| Error::new("messages that come seldom", e))??);
        }
        loads.push(summary(contender, poll, replicas, &took));
    }
    let mut found = Vec::new();
    while let Some(outcome) = idle.join_next().await {
        found.push(outcome.map_err(|e| Error::new("an idle replica", e))??);
    }
    found.sort_by_key(|idle| idle.contender);
    Ok((loads, found))
}

/// An app as it is, with the authority of other services.
fn trusting(app: &App, services: &Services) -> App {
    let mut app = app.clone();
    for name in ["NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"] {
        if let Some(authority) = app.environment.get_mut(name) {
            *authority = services.authority().display().to_string();
        }
    }
    app
}

/// Puts one message after the other on an empty queue, at times that the worker knows nothing of.
async fn seldom(process: Process, services: Arc<Services>, queue: Arc<Queue>, messages: usize) -> Result<Vec<Took>> {
    let mut took = Vec::with_capacity(messages);
    for _ in 0..messages {
        sleep(SHORTEST_GAP + Duration::from_millis(u64::from(OsRng.next_u32()) % LONGER_MS)).await;
        let (id, item) = numbered_item();
        let put = std::time::Instant::now();
        queue.put(item);
        let written = result_of(&id, &services).await.map_err(|e| Error::new(&process.last_words(), e))?;
        let received = queue.tally().last_received.ok_or_else(|| Error::new(&id, "nobody has received it"))?;
        let received = received.into_std();
        took.push(Took { waited: received.duration_since(put), worked: written.duration_since(received) });
    }
    Ok(took)
}

/// Watches a worker whose queue has been empty for long enough.
async fn watch(
    contender: Contender,
    services: Services,
    queue: Arc<Queue>,
    process: Process,
    plan: Plan,
) -> Result<Idle> {
    sleep(SHORTEST_GAP).await;
    let now = || Ok((queue.tally().looks, services.delay.passed(), precise_cpu_time(process.id())?));
    let begun = tokio::time::Instant::now();
    let (looks, requests, cpu) = now()?;
    sleep(plan.idle).await;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let (looks_after, requests_after, cpu_after) = now()?;
    Ok(Idle {
        contender,
        looks_per_minute: count(looks_after.saturating_sub(looks)) / minutes,
        requests_per_minute: count(requests_after.saturating_sub(requests)) / minutes,
        cpu_ms_per_minute: millis(cpu_after.saturating_sub(cpu)) / minutes,
        memory_mib: resident_memory(process.id())?.0,
    })
}

fn summary(contender: Contender, poll: u64, replicas: usize, took: &[Took]) -> LowLoad {
    let sorted = |value: fn(&Took) -> Duration| {
        let mut values: Vec<f64> = took.iter().map(|took| millis(value(took))).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (all, waited, worked) =
        (sorted(|took| took.waited + took.worked), sorted(|took| took.waited), sorted(|took| took.worked));
    LowLoad {
        contender,
        poll,
        replicas,
        messages: took.len(),
        median_ms: percentile(&all, 50),
        p99_ms: percentile(&all, 99),
        waited_median_ms: percentile(&waited, 50),
        worked_median_ms: percentile(&worked, 50),
        worked_p99_ms: percentile(&worked, 99),
        waited_share: waited.iter().sum::<f64>() / all.iter().sum::<f64>(),
    }
}

/// By nearest rank.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(count: u64) -> f64 {
    count as f64
}

/// `SIGNET_POLL` where nothing is set, seconds.
const DEFAULT_POLL: u64 = 5;
/// Between a result and the next message: after pauses of 0.1 to 3.2 s, whose sum is 6.3 s, they are as long as they get.
const SHORTEST_GAP: Duration = Duration::from_secs(10);
/// It is longer by up to so much, by chance.
const LONGER_MS: u64 = 5_000;
