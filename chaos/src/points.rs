//! A handler that ends itself, at each point of its way in turn.

#[path = "../../handler/src/fault/points.rs"]
mod list;

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use signet::local::{
    stack::VAULT,
    tap::{Action, Fault},
};
use tokio::time::sleep;

use crate::{
    arena::{Arena, Watch},
    error::Result,
    faults::{KEY, one_in},
    findings::{Findings, What},
    items::Message,
    workers::{Door, Workers},
};

use self::list::{POINTS, PULL_POINTS};

/// How long a point may take until something has come to it.
const PATIENCE: Duration = Duration::from_secs(40);
/// The kills at a point that are waited for: the host starts the handler again after the first two.
const ENOUGH: usize = 2;
/// Longer than half a lease, after which it is renewed.
const LONG: Duration = Duration::from_secs(8);

/// The points that an item can come to. Those of `handler pull` alone come first: what is handed back there was not delivered
/// often before, and so comes again soon.
#[must_use]
pub fn of(door: Door) -> Vec<&'static str> {
    let pulled = PULL_POINTS.into_iter().filter(|_| door == Door::Pull);
    pulled.chain(POINTS).collect()
}

/// What brings an item to a point that few come to by themselves.
fn bringing_to(point: &str) -> Option<Fault> {
    let sign = |fault: Fault| fault.method("POST").path("/sign").when(one_in(2));
    match point.split_once('.')?.0 {
        "release" => Some(sign(Fault::status(403))),
        "renew" => Some(sign(Fault::new(Action::Delay(LONG)))),
        _ => None,
    }
}

/// One batch of messages for each point, with handlers that end there; what one point leaves undone is done at the next.
pub async fn run(
    arena: &Arena,
    workers: &Arc<Workers>,
    batches: &[Vec<Message>],
    watch: Watch<'_>,
) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut feeding = FuturesUnordered::new();
    let (taps, vault) = (&arena.deployment.taps, &arena.deployment.vault);
    for (point, batch) in of(arena.door).into_iter().zip(batches) {
        watch(&format!("killing at {point}"));
        let brought = bringing_to(point).map(|fault| taps.vault.fail(fault));
        // Now and then a failure to be tried again.
        let failing = taps.vault.fail(Fault::status(503).method("POST").path("/sign").when(one_in(3)));
        let slow = Fault::new(Action::Delay(Duration::from_millis(300))).method("PUT").path("-signed/");
        let slow = slow.when(one_in(2));
        let slow = taps.blob.fail(slow);
        workers.set("SIGNET_FAULT_POINT", Some(point));
        let reached = async {
            let begun = Instant::now();
            while arena.stories.killed_at(point) < ENOUGH && begun.elapsed() < PATIENCE {
                // A new version to be published, by whichever handler sees it first.
                let _ = vault.rotate(VAULT, KEY).await;
                for _ in 0..20 {
                    if arena.stories.killed_at(point) < ENOUGH {
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
            workers.set("SIGNET_FAULT_POINT", None);
        };
        // Some messages are sent once others are done, which nobody does at some of the points.
        feeding.push(arena.send(workers, batch));
        let mut reached = pin!(reached);
        loop {
            tokio::select! {
                () = &mut reached => break,
                Some(fed) = feeding.next() => fed?,
            }
        }
        for fault in [failing].into_iter().chain(brought) {
            taps.vault.remove(fault);
        }
        taps.blob.remove(slow);
        if arena.stories.killed_at(point) == 0 {
            findings.add(What::NotReached, None, point.to_owned());
        }
    }
    loop {
        tokio::select! {
            fed = feeding.next() => match fed {
                Some(fed) => fed?,
                None => break,
            },
            () = sleep(Duration::from_secs(1)) => drop(arena.look(watch).await?),
        }
    }
    findings.extend(arena.drain(watch).await?.into_all());
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use signet::local::app::AppRoot;

    use super::*;

    #[test]
    fn the_list_has_every_point_of_the_sources() {
        let handler = AppRoot::find().expect("the checkout").directory().join("handler/src");
        let found = |files: &[&str]| {
            let mut found = BTreeSet::new();
            for file in files {
                let source = fs::read_to_string(handler.join(file)).expect("a source");
                let names = source.split("fault::point(\"").skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(names.map(str::to_owned));
            }
            found
        };
        let named = |points: &[&str]| points.iter().map(|point| (*point).to_owned()).collect::<BTreeSet<_>>();
        let items = ["pipeline.rs", "pipeline/rescue.rs", "results.rs", "source.rs", "publication.rs"];
        assert_eq!(found(&items), named(&POINTS));
        assert_eq!(found(&["pull.rs"]), named(&PULL_POINTS));
        assert_eq!((of(Door::Host).len(), of(Door::Pull).len()), (POINTS.len(), POINTS.len() + PULL_POINTS.len()));
    }
}
