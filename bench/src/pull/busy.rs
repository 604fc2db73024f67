//! Workers whose queue is never empty: what they do in a second, and what that takes.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{task::JoinSet, time::sleep};

use super::{Plan, first_result, on_a_new_queue};
use crate::{
    Error, Result,
    apps::{App, Contender},
    process::{Process, Usage, resident_memory},
    rounds::{Spread, micros, millis},
    services::Services,
};

/// One turn of some replicas.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// From the start of the first one to the result of the message that waited for it, ms.
    pub first_result: f64,
    /// Results in a second, of all together.
    pub items_per_second: f64,
    /// CPU time of an item, µs.
    pub cpu_per_item: f64,
    /// Resident memory of the first one after that, MiB.
    pub memory: f64,
    /// CPU time of all replicas, in cores.
    pub app_cores: f64,
    /// CPU time of the services and the load, in cores.
    pub harness_cores: f64,
    /// CPU time that nobody on the machine wanted, in cores.
    pub idle_cores: f64,
}

/// All turns of so many replicas.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Busy {
    /// Whose.
    pub contender: Contender,
    /// How many.
    pub replicas: usize,
    /// See [`Turn`].
    pub first_result_ms: Spread,
    /// See [`Turn`].
    pub items_per_second: Spread,
    /// See [`Turn`].
    pub cpu_per_item_us: Spread,
    /// See [`Turn`].
    pub memory_mib: Spread,
    /// See [`Turn`].
    pub app_cores: Spread,
    /// See [`Turn`].
    pub harness_cores: Spread,
    /// See [`Turn`].
    pub idle_cores: Spread,
}

impl Turn {
    /// Starts replicas, and keeps them busy.
    pub async fn take(app: &App, replicas: usize, services: &Services, plan: &Plan) -> Result<Self> {
        services.clear();
        let (settings, queue) = on_a_new_queue(services, app.contender);
        let (first, first_result) = first_result(app, services, &settings, &queue).await?;
        let mut processes = vec![first];
        for _ in 1..replicas {
            processes.push(Process::start(app, &settings, None).await?);
        }
        // Dropped at the end.
        let mut running = JoinSet::new();
        running.spawn(Arc::clone(&queue).refill(BACKLOG));
        for process in &mut processes {
            while services.results() < plan.warm_up * replicas {
                process.still_within(LONGEST_WARM_UP)?;
                sleep(Duration::from_millis(20)).await;
            }
        }
        let (before, done) = (Usage::now(&processes)?, services.results());
        sleep(plan.busy).await;
        let (after, items) = (Usage::now(&processes)?, services.results().saturating_sub(done));
        let items = u32::try_from(items).map_err(|e| Error::new("the results", e))?;
        let memory = processes.first().map(|process| resident_memory(process.id())).transpose()?.unwrap_or_default().0;
        Ok(Self {
            first_result: millis(first_result),
            items_per_second: f64::from(items) / after.at.duration_since(before.at).as_secs_f64(),
            cpu_per_item: micros(after.apps.saturating_sub(before.apps)) / f64::from(items),
            memory,
            app_cores: after.cores(&before, |usage| usage.apps),
            harness_cores: after.cores(&before, |usage| usage.harness),
            idle_cores: after.cores(&before, |usage| usage.idle),
        })
    }
}

impl Busy {
    /// What the turns of so many replicas come to, if there was any.
    #[must_use]
    pub fn of(contender: Contender, replicas: usize, turns: &[Turn]) -> Option<Self> {
        let spread = |value: fn(&Turn) -> f64| Spread::of(turns.iter().map(value).collect());
        Some(Self {
            contender,
            replicas,
            first_result_ms: spread(|turn| turn.first_result)?,
            items_per_second: spread(|turn| turn.items_per_second)?,
            cpu_per_item_us: spread(|turn| turn.cpu_per_item)?,
            memory_mib: spread(|turn| turn.memory)?,
            app_cores: spread(|turn| turn.app_cores)?,
            harness_cores: spread(|turn| turn.harness_cores)?,
            idle_cores: spread(|turn| turn.idle_cores)?,
        })
    }
}

/// So many messages are on the queue at any time, those among them that workers have.
const BACKLOG: usize = 2000;
const LONGEST_WARM_UP: Duration = Duration::from_mins(1);
