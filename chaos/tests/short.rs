//! A short run, from a seed that changes each day: the same day tries the same.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chaos::{
    report,
    run::{self, Options},
    workers::Door,
};
use signet::local::app::AppRoot;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_everything_fails() {
    let day = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() / (24 * 3600);
    let root = AppRoot::find().expect("the checkout");
    let handler = root.build_handler(&|line| println!("{line}")).await.expect("the handler");
    let options = Options {
        seed: day,
        door: Door::Host,
        items: 200,
        kills: 12,
        handler,
        given_up: false,
        fault_points: None,
        log: None,
    };
    println!("seed {day}: scripts/chaos --seed {day} --items 200 --kills 12 --without-fault-points");
    let outcome = run::run(&root, &options, &|line| println!("{line}")).await.expect("a run");
    let report = report::text(&outcome);
    println!("{report}");
    assert!(outcome.findings.all().is_empty(), "{report}");
    // It was chaos.
    assert!(outcome.kills.values().sum::<usize>() >= 12 && outcome.faults.values().sum::<u32>() > 100, "{report}");
    assert!(outcome.counts["deliveries"] > outcome.messages() + 50, "{report}");
    println!("{:?} of {:?}", outcome.took, outcome.took_in_all);
    assert!(outcome.took_in_all < Duration::from_mins(10), "{report}");
}
