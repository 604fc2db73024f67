//! Every target over its seeds, over what is hostile by its form, and over seeds that are changed at random: what a fuzzer
//! does, in a few seconds and without one.

mod files;
mod hostile;
mod mutations;
mod runner;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use fuzz_targets::{TARGETS, Target};

use self::{mutations::Mutator, runner::Runner};

/// Allocations are counted for the whole process, so no test runs beside another.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many changed seeds each target is given.
const MUTATIONS: u64 = 600;
/// Where the random numbers begin; the environment variable `FUZZ_SEED` has them begin elsewhere.
const FIRST_SEED: u64 = 1;

#[test]
fn seeds_and_all_their_truncations() {
    for_each_target(|name, runner| {
        for (seed, bytes) in files::seeds(name) {
            for length in (0..=bytes.len()).rev() {
                runner.run(&bytes[..length], &format!("the first {length} bytes of the seed {seed}"))?;
            }
        }
        Ok(())
    });
}

#[test]
fn what_is_hostile_by_its_form() {
    for_each_target(|name, runner| hostile::inputs(name).iter().try_for_each(|(what, input)| runner.run(input, what)));
}

#[test]
fn seeds_that_are_changed_at_random() {
    let first = std::env::var("FUZZ_SEED").map_or(FIRST_SEED, |text| text.parse().expect("FUZZ_SEED is a number"));
    let words = files::words();
    for_each_target(|name, runner| {
        let seeds: Vec<Vec<u8>> = files::seeds(name).into_iter().map(|(_, seed)| seed).collect();
        (first..first + MUTATIONS).try_for_each(|seed| {
            let input = Mutator::new(seed, &seeds, &words).input();
            runner.run(&input, &format!("FUZZ_SEED={seed}"))
        })
    });
}

/// Every target goes on until its first finding.
fn for_each_target(work: impl Fn(&str, &Runner) -> Result<(), String>) {
    let _alone = alone();
    let run = |target: &'static Target| {
        let since = Instant::now();
        let outcome = work(target.0, &Runner::new(target));
        println!("{}: {:.1?}", target.0, since.elapsed());
        outcome.err()
    };
    let findings: Vec<String> = TARGETS.iter().filter_map(run).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// A target without seeds or a program, or the reverse, would be fuzzed by nobody.
#[test]
fn each_target_has_seeds_and_a_program() {
    let _alone = alone();
    let names: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(names.is_sorted());
    assert_eq!(files::names_in("seeds"), names);
    assert_eq!(files::names_in("fuzz_targets"), names);
    for name in &names {
        assert!(
            files::read(&format!("fuzz_targets/{name}.rs")).contains(&format!("fuzz_targets::{name}(data)")),
            "{name}"
        );
        assert!(files::read("Cargo.toml").contains(&format!("fuzz_targets/{name}.rs")), "{name}");
        let bytes: usize = files::seeds(name).iter().map(|(_, seed)| seed.len()).sum();
        assert!((1..16 * 1024).contains(&bytes), "the seeds of {name} have {bytes} bytes");
    }
}

/// A fuzzer cannot sign: without good results to begin with, it would never come to where a signature is good.
#[test]
fn the_seeds_that_are_signed_are_good() {
    let _alone = alone();
    for (target, name, bytes) in fuzz_targets::good_documents() {
        let seeds = files::seeds(target);
        let seed = seeds.iter().find(|(seed, _)| *seed == name).map(|(_, seed)| seed);
        let hint = "run `cargo run -p fuzz-targets --example seeds`";
        assert_eq!(seed, Some(&bytes), "{target}/{name} is not what is signed now; {hint}");
        assert!(fuzz_targets::is_good(&bytes), "{target}/{name}");
    }
}
