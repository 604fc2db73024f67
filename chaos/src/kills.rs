//! Processes that end, or stand still, at the worst moment.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use signet::local::stack::Deployment;
use tokio::time::sleep;

use crate::{
    dice::Dice,
    workers::{Door, Worker, Workers},
};

/// What happens to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL to a handler; its host starts another, and stops after the third time.
    Handler,
    /// SIGKILL to both handlers at once.
    Both,
    /// A host ends with its handler, and leaves its messages to their leases.
    Host,
    /// A handler stands still for longer than its messages' leases, while the services close its connections.
    Frozen,
    /// SIGKILL to a replica of `handler pull`.
    Replica,
    /// SIGKILL to two replicas at once.
    Pair,
    /// SIGTERM to a replica, which ends well.
    Told,
    /// SIGTERM twice, so that it does not wait for what is in flight.
    ToldTwice,
}

impl Kind {
    /// Those that there are behind a front door, and how often.
    fn of(door: Door) -> &'static [(u32, Self)] {
        match door {
            Door::Host => &[(14, Self::Handler), (2, Self::Both), (2, Self::Host), (2, Self::Frozen)],
            Door::Pull => {
                &[(8, Self::Replica), (2, Self::Pair), (6, Self::Told), (2, Self::ToldTwice), (2, Self::Frozen)]
            }
        }
    }

    /// SIGKILL to one handler.
    #[must_use]
    pub fn killed(door: Door) -> Self {
        match door {
            Door::Host => Self::Handler,
            Door::Pull => Self::Replica,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handler => "handler killed",
            Self::Both => "both handlers killed at once",
            Self::Host => "host ended with leases outstanding",
            Self::Frozen => "handler frozen beyond its leases",
            Self::Replica => "replica killed",
            Self::Pair => "two replicas killed at once",
            Self::Told => "replica told to end",
            Self::ToldTwice => "replica told twice to end",
        })
    }
}

/// One planned kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// How many messages are done before it comes.
    pub after: usize,
    /// How long after that.
    pub delay: Duration,
    /// What happens.
    pub kind: Kind,
    /// To which of those who run the handler.
    pub worker: usize,
    /// How long a frozen handler stands still.
    pub lasts: Duration,
}

/// So many kills, in the order in which they come, while so many messages are done, which are leased for so long. Of each kind there
/// is one, if there is room for that.
#[must_use]
pub fn kills(seed: u64, count: usize, messages: usize, (door, lease): (Door, Duration)) -> Vec<Kill> {
    let mut dice = Dice::of(seed, "kills");
    let kinds = Kind::of(door);
    let mut kills: Vec<Kill> = (0..count)
        .map(|number| Kill {
            after: dice.below(messages * 9 / 10 + 1),
            delay: Duration::from_millis(dice.between(0, 300)),
            kind: kinds.get(number).map_or_else(|| dice.weighted(kinds), |(_, kind)| *kind),
            worker: dice.below(door.names().len()),
            lasts: lease + Duration::from_millis(dice.between(200, 4000)),
        })
        .collect();
    kills.sort_by_key(|kill| kill.after);
    kills
}

impl Kill {
    /// SIGTERM to a replica, now.
    #[must_use]
    pub fn tell_at_once() -> Self {
        Self { after: 0, delay: Duration::ZERO, kind: Kind::Told, worker: 0, lasts: Duration::ZERO }
    }

    /// Does it. Returns at once, but for a handler that is to go on.
    pub async fn strike(self, workers: &Workers, deployment: &Deployment) {
        sleep(self.delay).await;
        let worker = workers.worker(self.worker);
        match self.kind {
            Kind::Handler | Kind::Replica => worker.kill(),
            Kind::Both | Kind::Pair => {
                worker.kill();
                workers.worker(self.worker + 1).kill();
            }
            Kind::Host => worker.stop(),
            Kind::Frozen => freeze(&worker, deployment, self.lasts).await,
            Kind::Told => tell(&workers.running(self.worker), deployment),
            Kind::ToldTwice => {
                let worker = workers.running(self.worker);
                tell(&worker, deployment);
                // Not so soon that both come as one.
                sleep(Duration::from_millis(200)).await;
                tell(&worker, deployment);
            }
        }
    }
}

/// Stops the handler's process, closes its connections, and lets it go on.
#[cfg(unix)]
pub(crate) async fn freeze(worker: &Worker, deployment: &Deployment, lasts: Duration) {
    use nix::sys::signal::{Signal, kill};
    let Some(pid) = pid(worker) else { return };
    // It may have ended by itself.
    let _ = kill(pid, Signal::SIGSTOP);
    sleep(lasts / 2).await;
    let taps = &deployment.taps;
    for tap in [&taps.vault, &taps.blob, &taps.identity] {
        tap.disconnect();
    }
    if let Some(replica) = worker.replica() {
        // A host's connections to the queue are its own.
        taps.queue.disconnect();
        replica.stood_still(lasts);
    }
    sleep(lasts / 2).await;
    if self::pid(worker) == Some(pid) {
        let _ = kill(pid, Signal::SIGCONT);
    }
}

/// SIGTERM.
#[cfg(unix)]
fn tell(worker: &Worker, deployment: &Deployment) {
    use nix::sys::signal::{Signal, kill};
    if let (Some(replica), Some(pid)) = (worker.replica(), pid(worker)) {
        replica.expect_end(deployment.receipts());
        // It may have ended by itself.
        let _ = kill(pid, Signal::SIGTERM);
    }
}

#[cfg(unix)]
fn pid(worker: &Worker) -> Option<nix::unistd::Pid> {
    worker.pid().and_then(|pid| i32::try_from(pid).ok()).map(nix::unistd::Pid::from_raw)
}

/// No process stands still here: it is killed.
#[cfg(not(unix))]
pub(crate) async fn freeze(worker: &Worker, _: &Deployment, _: Duration) {
    worker.kill();
}

/// Nothing can be told here: it is killed.
#[cfg(not(unix))]
fn tell(worker: &Worker, _: &Deployment) {
    worker.kill();
}

/// How often what happened.
#[derive(Debug, Default)]
pub struct Struck(Mutex<BTreeMap<Kind, usize>>);

impl Struck {
    /// Once more.
    pub fn add(&self, kind: Kind) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    /// All of them.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Kind, usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_come_in_their_order_and_from_the_seed() {
        for door in [Door::Host, Door::Pull] {
            let lease = Duration::from_secs(3);
            let planned = kills(5, 200, 1000, (door, lease));
            assert_eq!(planned, kills(5, 200, 1000, (door, lease)));
            assert!(planned.is_sorted_by_key(|kill| kill.after) && planned.iter().all(|kill| kill.after <= 900));
            for count in [200, Kind::of(door).len()] {
                let planned = kills(5, count, 1000, (door, lease));
                for (_, kind) in Kind::of(door) {
                    assert!(planned.iter().any(|kill| kill.kind == *kind), "{kind}");
                }
            }
            for worker in 0..door.names().len() {
                assert!(planned.iter().any(|kill| kill.worker == worker), "{worker}");
            }
            assert!(planned.iter().all(|kill| kill.lasts > lease));
        }
    }
}
