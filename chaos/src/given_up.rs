//! A front door that gives up soon: what a host moves to the poison queue while a delivery is under way, and what replicas have
//! had too often while leases are lost, has either its results or a record in the end, and never both.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use signet::local::tap::{Action, Fault};
use tokio::time::sleep;

use crate::{
    arena::{Arena, Watch},
    census::Census,
    dice::Dice,
    error::Result,
    faults::{Service, one_in},
    findings::{Findings, What},
    items::Message,
    kills::{Kind, freeze},
    workers::{Door, Workers},
};

/// Deliveries until the host gives up. They bound those from the poison queue as well, of which the first two come too early
/// with this lease.
pub const MAX_DEQUEUE_COUNT: u32 = 5;
/// Shorter than an item may take.
pub const LEASE: Duration = Duration::from_secs(6);

/// The same of replicas: the third delivery gives up.
pub const ATTEMPTS: u32 = 2;
/// The shortest that there is.
pub const PULL_LEASE: Duration = Duration::from_secs(15);
/// Longer than a lease, so that an item must have it renewed.
pub const PULL_DEADLINE: u64 = 25;

/// How long the trouble goes on after the last message was sent: some deliveries of each, and what follows.
const TROUBLE: Duration = Duration::from_secs(45);

/// Sends the messages while leases are lost, signatures take long and handlers die, and judges each.
pub async fn run(
    arena: &Arena,
    workers: &Arc<Workers>,
    messages: &[Message],
    (seed, watch): (u64, Watch<'_>),
) -> Result<Findings> {
    let is_over = AtomicBool::new(false);
    let trouble = async {
        let mut dice = Dice::of(seed, "given up");
        let taps = &arena.deployment.taps;
        let (longest, is_pulled) = match arena.door {
            Door::Host => (9900, false),
            Door::Pull => (20_000, true),
        };
        let mut frozen = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let wait = Duration::from_millis(dice.between(4000, longest));
            let slow = Fault::new(Action::Delay(wait)).method("POST").path("/sign").when(one_in(2));
            let slow = taps.vault.fail(slow);
            // Renewals and releases fail, and so the leases end while the items go on.
            let lost = taps.queue.fail(Fault::status(503).method("PUT"));
            let kept = is_pulled.then(|| taps.queue.fail(Fault::status(503).method("DELETE").when(one_in(2))));
            let refused = taps.vault.fail(Fault::status(403).method("POST").path("/sign").when(one_in(2)));
            sleep(Duration::from_millis(dice.between(1000, 4000))).await;
            let met = [
                (Service::Vault, "slow", Some(slow)),
                (Service::Vault, "403 for a moment", Some(refused)),
                (Service::Queue, "leases lost while a service is slow", Some(lost)),
                (Service::Queue, "messages that cannot be deleted", kept),
            ];
            for (service, name, id) in met.into_iter().filter_map(|(service, name, id)| Some((service, name, id?))) {
                let tap = service.tap(taps);
                tap.remove(id);
                arena.fired.add(service, name, tap.fired(id));
            }
            if dice.one_in(5) {
                arena.struck.add(Kind::killed(arena.door));
                workers.worker(dice.below(workers.count())).kill();
            }
            if is_pulled && dice.one_in(6) {
                arena.struck.add(Kind::Frozen);
                let worker = workers.worker(dice.below(workers.count()));
                let (deployment, lasts) = (arena.deployment.clone(), PULL_LEASE + Duration::from_secs(2));
                frozen.push(tokio::spawn(async move { freeze(&worker, &deployment, lasts).await }));
            }
            sleep(Duration::from_millis(dice.between(100, 1500))).await;
        }
        join_all(frozen).await;
    };
    let feeding = async {
        let fed = arena.send(workers, messages).await;
        let begun = Instant::now();
        while fed.is_ok() && begun.elapsed() < TROUBLE && arena.look(watch).await? > 0 {
            sleep(Duration::from_millis(300)).await;
        }
        is_over.store(true, Ordering::Relaxed);
        fed
    };
    let (fed, ()) = tokio::join!(feeding, trouble);
    fed?;
    let mut findings = arena.drain(watch).await?;
    findings.extend(judge(arena, messages).await?.into_all());
    Ok(findings)
}

/// The host copies a message to the poison queue under another id, so records are known by what they hold.
async fn judge(arena: &Arena, messages: &[Message]) -> Result<Findings> {
    let census = Census::take(&arena.deployment).await?;
    let mut findings = Findings::default();
    let records: HashMap<String, usize> = census.records_by_text();
    let sent = arena.feed.sent();
    for message in messages {
        let Some(sent) = sent.get(&message.number) else { continue };
        let has_record = records.contains_key(&sent.text);
        let stands = message.wanted().is_some_and(|wanted| wanted.names().all(|name| census.has_result(&name)));
        match (stands, has_record) {
            (true, true) => findings.add(What::Doubled, Some(message.number), "results and a record".to_owned()),
            (false, false) => findings.add(What::Lost, Some(message.number), "neither results nor record".to_owned()),
            _ => {}
        }
    }
    Ok(findings)
}
