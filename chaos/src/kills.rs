//! Processes that end, or stand still, at the worst moment.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use signet::local::{host::Host, stack::Deployment};
use tokio::time::sleep;

use crate::{dice::Dice, hosts::Hosts};

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
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handler => "handler killed",
            Self::Both => "both handlers killed at once",
            Self::Host => "host ended with leases outstanding",
            Self::Frozen => "handler frozen beyond its leases",
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
    /// To which host, of the two.
    pub host: usize,
    /// How long a frozen handler stands still.
    pub lasts: Duration,
}

/// So many kills, in the order in which they come, while so many messages are done.
#[must_use]
pub fn kills(seed: u64, count: usize, messages: usize) -> Vec<Kill> {
    let mut dice = Dice::of(seed, "kills");
    let mut kills: Vec<Kill> = (0..count)
        .map(|_| Kill {
            after: dice.below(messages * 9 / 10 + 1),
            delay: Duration::from_millis(dice.between(0, 300)),
            kind: dice.weighted(&[(14, Kind::Handler), (2, Kind::Both), (2, Kind::Host), (2, Kind::Frozen)]),
            host: dice.below(2),
            lasts: Duration::from_millis(dice.between(3200, 7000)),
        })
        .collect();
    kills.sort_by_key(|kill| kill.after);
    kills
}

impl Kill {
    /// Does it. Returns at once, but for a handler that is to go on.
    pub async fn strike(self, hosts: &Hosts, deployment: &Deployment) {
        sleep(self.delay).await;
        let host = hosts.host(self.host);
        match self.kind {
            Kind::Handler => host.kill_handler(),
            Kind::Both => {
                for number in 0..2 {
                    hosts.host(number).kill_handler();
                }
            }
            Kind::Host => host.stop(),
            Kind::Frozen => freeze(&host, deployment, self.lasts).await,
        }
    }
}

/// Stops the handler's process, closes its connections, and lets it go on.
#[cfg(unix)]
async fn freeze(host: &Host, deployment: &Deployment, lasts: Duration) {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    let Some(pid) = host.pid().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw) else { return };
    // It may have ended by itself.
    let _ = kill(pid, Signal::SIGSTOP);
    sleep(lasts / 2).await;
    let taps = &deployment.taps;
    for tap in [&taps.vault, &taps.blob, &taps.identity] {
        tap.disconnect();
    }
    sleep(lasts / 2).await;
    if host.pid() == u32::try_from(pid.as_raw()).ok() {
        let _ = kill(pid, Signal::SIGCONT);
    }
}

/// No process stands still here: it is killed.
#[cfg(not(unix))]
async fn freeze(host: &Host, _: &Deployment, _: Duration) {
    host.kill_handler();
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
        let planned = kills(5, 200, 1000);
        assert_eq!(planned, kills(5, 200, 1000));
        assert!(planned.is_sorted_by_key(|kill| kill.after) && planned.iter().all(|kill| kill.after <= 900));
        for kind in [Kind::Handler, Kind::Both, Kind::Host, Kind::Frozen] {
            assert!(planned.iter().any(|kill| kill.kind == kind), "{kind}");
        }
    }
}
