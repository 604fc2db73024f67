//! What was done comes again, and nothing may come of it.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};

use crate::{
    arena::Arena,
    dice::Dice,
    error::Result,
    findings::{Findings, What},
    hosts::Hosts,
    items::{Message, Route},
};

/// Delivers some of the messages a second time: none may ask for a signature, and none may write a blob.
pub async fn redeliver(
    arena: &Arena,
    hosts: &Arc<Hosts>,
    messages: &[Message],
    (seed, count): (u64, usize),
) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut numbers: Vec<usize> =
        messages.iter().filter(|message| message.route != Route::Poison).map(|message| message.number).collect();
    Dice::of(seed, "redelivery").shuffle(&mut numbers);
    numbers.truncate(count);
    // New handlers, which have no tokens from when clocks were wrong; warm, so that nothing is asked for but by these messages.
    for number in 0..2 {
        hosts.host(number).stop();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (sent, taps) = (arena.feed.sent(), &arena.deployment.taps);
    let writes = arena.deployment.ledger().len();
    taps.vault.clear();
    let outcomes: Vec<_> = stream::iter(&numbers)
        .map(|number| async {
            let delivery = sent.get(number).map(|sent| sent.delivery(2));
            let reply = hosts.deliver(*number, "sign", delivery?).await;
            Some((*number, reply.outcome))
        })
        .buffer_unordered(16)
        .collect()
        .await;
    for (number, outcome) in outcomes.into_iter().flatten().filter(|(_, outcome)| !outcome.succeeded()) {
        findings.add(What::Wrong, Some(number), format!("delivered again, it is handed back: {outcome}"));
    }
    let asked = taps.vault.count(|exchange| exchange.path.ends_with("/sign"));
    if asked > 0 {
        let why = format!("{asked} requests to sign for {} messages that were done before", numbers.len());
        findings.add(What::InVain, None, why);
    }
    for write in arena.deployment.ledger().since(writes) {
        findings.add(What::Overwritten, None, format!("{}/{} was written again", write.container, write.blob));
    }
    Ok(findings)
}
