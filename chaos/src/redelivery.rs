//! What was done comes again, and nothing may come of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use signet::local::receipts::Done;

use crate::{
    arena::{Arena, Watch},
    dice::Dice,
    error::Result,
    feed::Sent,
    findings::{Findings, What},
    items::{Expect, Message, Route},
    workers::{Door, Workers},
};

/// Delivers some of the messages a second time: none may ask for a signature, and none may write a blob.
pub async fn redeliver(
    arena: &Arena,
    workers: &Arc<Workers>,
    messages: &[Message],
    (seed, count, watch): (u64, usize, Watch<'_>),
) -> Result<Findings> {
    let comes_again = |message: &&Message| match workers.door {
        Door::Host => message.route != Route::Poison,
        // It comes as another message, and there is one record for each.
        Door::Pull => message.route != Route::Poison && matches!(message.expect, Expect::Results(_)),
    };
    let mut numbers: Vec<usize> = messages.iter().filter(comes_again).map(|message| message.number).collect();
    Dice::of(seed, "redelivery").shuffle(&mut numbers);
    numbers.truncate(count);
    // New handlers, which have no tokens from when clocks were wrong; warm, so that nothing is asked for but by these messages.
    for number in 0..workers.count() {
        workers.worker(number).stop();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (sent, taps) = (arena.feed.sent(), &arena.deployment.taps);
    let writes = arena.deployment.ledger().len();
    taps.vault.clear();
    let again: Vec<(usize, &Sent)> = numbers.iter().filter_map(|number| Some((*number, sent.get(number)?))).collect();
    let mut findings = match workers.door {
        Door::Host => by_hand(workers, &again).await,
        Door::Pull => by_queue(arena, &again, watch).await?,
    };
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

async fn by_hand(workers: &Workers, again: &[(usize, &Sent)]) -> Findings {
    let mut findings = Findings::default();
    let replies: Vec<_> = stream::iter(again)
        .map(|(number, sent)| async { (*number, workers.deliver(*number, "sign", sent.delivery(2)).await) })
        .buffer_unordered(16)
        .collect()
        .await;
    for (number, outcome) in replies.into_iter().filter_map(|(number, reply)| Some((number, reply?.outcome))) {
        if !outcome.succeeded() {
            findings.add(What::Wrong, Some(number), format!("delivered again, it is handed back: {outcome}"));
        }
    }
    findings
}

/// Where nobody can be handed a message, the queue has them again, and says that they were delivered before.
async fn by_queue(arena: &Arena, again: &[(usize, &Sent)], watch: Watch<'_>) -> Result<Findings> {
    let receipts = arena.deployment.receipts();
    let before = receipts.len();
    let mut numbers = HashMap::new();
    for (number, sent) in again {
        let put = arena.feed.put_counted(sent.text.clone(), 1).await?;
        numbers.insert(put.message_id, *number);
    }
    let mut findings = arena.drain(watch).await?;
    for change in receipts.since(before) {
        if let (Some(number), Done::Received(3..)) = (numbers.get(&change.message_id), change.done) {
            findings.add(What::Wrong, Some(*number), "delivered again, it is handed back".to_owned());
        }
    }
    Ok(findings)
}
