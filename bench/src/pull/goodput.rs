//! Replicas that share a vault at its documented limit.

use signet::local::app::AppRoot;
use tokio::task::JoinSet;

use crate::{
    Result,
    apps::{App, Contender, Form},
    process::Process,
    services::{QUEUE, Services},
    throttle::{Case, Outcome, Settled, kinds, watch},
};

/// Twice the limit arrives for so many replicas of Signet that know nothing of each other.
pub async fn measure(replicas: usize, seconds: usize, root: &AppRoot) -> Result<Outcome> {
    let [kind, ..] = kinds();
    let case = Case { contender: Contender::Signet, instances: replicas, kind, seconds };
    let (services, vault) = Services::with_limits(kind.key).await?;
    let app = App::build(case.contender, Form::Pull, root, services.authority()).await?;
    let settings = services.settings(case.contender.knows_localhost_names());
    let mut processes = Vec::new();
    for _ in 0..replicas {
        processes.push(Process::start(&app, &settings, None).await?);
    }
    let queue = services.queue(QUEUE);
    // Dropped at the end.
    let mut running = JoinSet::new();
    running.spawn(queue.clone().feed(case.offered()));
    let settled = || {
        let tally = queue.tally();
        Settled {
            done: tally.deleted,
            dequeues: tally.dequeues,
            most_dequeues: tally.most_dequeues,
            returned: tally.hidden,
            poisoned: 0,
            waiting: queue.count(),
        }
    };
    watch(case, &services, &vault, &processes, settled).await
}
