//! Short runs, from a seed that changes each day: the same day tries the same.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chaos::{
    replicas::AS_TOLD,
    report,
    run::{self, Options, Outcome},
    workers::Door,
};
use signet::local::app::AppRoot;

/// How many each must meet, whatever the day's dice and the machine's speed make of it.
const FAULTS: u32 = 120;

/// A run that has found nothing.
async fn made(door: Door, (items, kills): (usize, usize)) -> Outcome {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() / (24 * 3600);
    let root = AppRoot::find().expect("the checkout");
    let handler = root.build_handler(&|line| println!("{line}")).await.expect("the handler");
    // One key in the one run, one in each of two vaults in the other.
    let vaults = if door == Door::Host { 2 } else { 1 };
    let options = Options {
        seed,
        door,
        items,
        kills,
        vaults,
        faults: FAULTS,
        handler,
        given_up: false,
        fault_points: None,
        log: None,
    };
    let pull = if door == Door::Pull { "--pull " } else { "" };
    println!(
        "scripts/chaos {pull}--seed {seed} --items {items} --kills {kills} --vaults {vaults} --faults {FAULTS} \
         --without-fault-points"
    );
    let outcome = run::run(&root, &options, &|line| println!("{line}")).await.expect("a run");
    let report = report::text(&outcome);
    println!("{report}");
    assert!(outcome.findings.all().is_empty(), "{report}");
    // It was chaos.
    assert!(outcome.kills.values().sum::<usize>() >= kills, "{report}");
    assert!(outcome.faults.values().sum::<u32>() >= FAULTS, "{report}");
    // No matter of luck or of speed: at the end some 50 messages are delivered once more, which counts as well.
    assert!(outcome.counts["deliveries"] > outcome.messages() + items / 4, "{report}");
    println!("{:?} of {:?}", outcome.took, outcome.took_in_all);
    assert!(outcome.took_in_all < Duration::from_mins(15), "{report}");
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_everything_fails() {
    made(Door::Host, (200, 12)).await;
}

/// What is handed back five times is hidden for more than a minute, so there are few.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_replicas_pull() {
    let outcome = made(Door::Pull, (100, 8)).await;
    assert!(outcome.counts[AS_TOLD] > 0, "{}", report::text(&outcome));
}
