//! A host that gives up soon: what it moves to the poison queue while a delivery is under way has either its results or a
//! record in the end, and never both.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use signet::local::tap::{Action, Fault};
use tokio::time::sleep;

use crate::{
    arena::{Arena, Watch},
    census::Census,
    dice::Dice,
    error::Result,
    faults::one_in,
    findings::{Findings, What},
    hosts::Hosts,
    items::Message,
    kills::Kind,
};

/// Deliveries until the host gives up.
pub const MAX_DEQUEUE_COUNT: u32 = 3;

/// Sends the messages while leases are lost, signatures take long and handlers die, and judges each.
pub async fn run(
    arena: &Arena,
    hosts: &Arc<Hosts>,
    messages: &[Message],
    (seed, watch): (u64, Watch<'_>),
) -> Result<Findings> {
    let is_over = AtomicBool::new(false);
    let trouble = async {
        let mut dice = Dice::of(seed, "given up");
        let taps = &arena.deployment.taps;
        while !is_over.load(Ordering::Relaxed) {
            let wait = Duration::from_millis(dice.between(2000, 4900));
            let slow = Fault::new(Action::Delay(wait)).method("POST").path("/sign").when(one_in(2));
            let slow = taps.vault.fail(slow);
            // Renewals and releases fail, and so the leases end while the items go on.
            let lost = taps.queue.fail(Fault::status(503).method("PUT"));
            let refused = taps.vault.fail(Fault::status(403).method("POST").path("/sign").when(one_in(5)));
            sleep(Duration::from_millis(dice.between(1000, 4000))).await;
            taps.vault.remove(slow);
            taps.vault.remove(refused);
            taps.queue.remove(lost);
            if dice.one_in(3) {
                arena.struck.add(Kind::Handler);
                hosts.host(dice.below(2)).kill_handler();
            }
            sleep(Duration::from_millis(dice.between(100, 1500))).await;
        }
    };
    let feeding = async {
        let fed = arena.send(hosts, messages).await;
        while fed.is_ok() && arena.look(watch).await? > messages.len() / 10 {
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
