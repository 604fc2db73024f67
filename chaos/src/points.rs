//! A handler that ends itself, at each point of its way in turn.

#[path = "../../handler/src/fault/points.rs"]
mod list;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

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
    hosts::Hosts,
    items::Message,
};

pub(crate) use self::list::POINTS;

/// How long a point may take until something has come to it.
const PATIENCE: Duration = Duration::from_secs(40);
/// The kills at a point that are waited for: the host starts the handler again after the first two.
const ENOUGH: usize = 2;

/// One batch of messages for each point, with handlers that end there; what one point leaves undone is done at the next.
pub async fn run(arena: &Arena, hosts: &Arc<Hosts>, batches: &[Vec<Message>], watch: Watch<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let (taps, vault) = (&arena.deployment.taps, &arena.deployment.vault);
    for (point, batch) in POINTS.iter().zip(batches) {
        watch(&format!("killing at {point}"));
        // Now and then a failure to be tried again.
        let failing = taps.vault.fail(Fault::status(503).method("POST").path("/sign").when(one_in(3)));
        let slow = Fault::new(Action::Delay(Duration::from_millis(300))).method("PUT").path("-signed/");
        let slow = slow.when(one_in(2));
        let slow = taps.blob.fail(slow);
        for host in 0..2 {
            hosts.set(host, "SIGNET_FAULT_POINT", Some(point));
        }
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
            // Some messages are sent once others are done, which nobody does at some of the points.
            for host in 0..2 {
                hosts.set(host, "SIGNET_FAULT_POINT", None);
            }
        };
        let (fed, ()) = tokio::join!(arena.send(hosts, batch), reached);
        fed?;
        taps.vault.remove(failing);
        taps.blob.remove(slow);
        if arena.stories.killed_at(point) == 0 {
            findings.add(What::NotReached, None, (*point).to_owned());
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
        let mut found = BTreeSet::new();
        for file in ["pipeline.rs", "pipeline/rescue.rs", "results.rs", "source.rs", "publication.rs"] {
            let source = fs::read_to_string(handler.join(file)).expect("a source");
            let names = source.split("fault::point(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(names.map(str::to_owned));
        }
        assert_eq!(found, POINTS.iter().map(|point| (*point).to_owned()).collect());
    }
}
