//! What goes wrong with the services, in episodes: a few kinds at a time, each for a moment.

mod catalogue;
mod conditions;
mod queue;
mod signatures;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use signet::local::{
    stack::{Deployment, Taps},
    tap::{Exchange, Fault, Tap},
};

pub use self::conditions::{Condition, KEY, TOKEN_LIFE, VAULTS, mend};
use crate::{dice::Dice, workers::Door};

/// A service that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Key Vault.
    Vault,
    /// The token endpoint.
    Identity,
    /// Blob Storage.
    Blob,
    /// Queue Storage, as the host sees it, or the replicas.
    Queue,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vault => "vault",
            Self::Identity => "identity",
            Self::Blob => "blob",
            Self::Queue => "queue",
        })
    }
}

impl Service {
    /// Its tap.
    #[must_use]
    pub fn tap(self, taps: &Taps) -> &Tap {
        match self {
            Self::Vault => &taps.vault,
            Self::Identity => &taps.identity,
            Self::Blob => &taps.blob,
            Self::Queue => &taps.queue,
        }
    }
}

/// Something that goes wrong for a while.
#[derive(Debug)]
pub struct Episode {
    /// Its name, for the table.
    pub name: &'static str,
    what: What,
    lasts: Duration,
}

#[derive(Debug)]
enum What {
    Faults(Vec<(Service, Fault)>),
    Condition(Condition, &'static str),
}

impl Episode {
    /// The next one that is drawn, where there are so many vaults.
    #[must_use]
    pub fn draw(dice: &mut Dice, door: Door, vaults: usize) -> Self {
        let lasts = Duration::from_millis(dice.between(200, 3000));
        if door == Door::Pull && dice.one_in(4) {
            let (name, make) = dice.weighted(queue::ALL);
            return Self { name, what: What::Faults(make(dice)), lasts };
        }
        if dice.one_in(5) {
            let condition = dice.weighted(Condition::ALL);
            // With one vault there is nothing to draw, and a plan stays as it was.
            let whose = if vaults > 1 { *dice.pick(&VAULTS) } else { VAULTS[0] };
            return Self { name: condition.name(), what: What::Condition(condition, whose), lasts };
        }
        let (name, make) = dice.weighted(catalogue::ALL);
        Self { name, what: What::Faults(make(dice)), lasts }
    }

    /// Lets it happen, and mends it again.
    pub async fn run(self, deployment: &Deployment, fired: &Fired) {
        match self.what {
            What::Condition(condition, whose) => {
                let hits = condition.run(deployment, whose, self.lasts).await;
                fired.add(condition.service(), self.name, hits);
            }
            What::Faults(faults) => {
                let taps = &deployment.taps;
                let installed: Vec<_> =
                    faults.into_iter().map(|(service, fault)| (service, service.tap(taps).fail(fault))).collect();
                tokio::time::sleep(self.lasts).await;
                for (service, id) in installed {
                    let tap = service.tap(taps);
                    tap.remove(id);
                    fired.add(service, self.name, tap.fired(id));
                }
            }
        }
    }
}

/// How often each kind of fault was met.
#[derive(Debug, Default)]
pub struct Fired(Mutex<BTreeMap<(Service, &'static str), u32>>);

impl Fired {
    pub(crate) fn add(&self, service: Service, name: &'static str, hits: u32) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((service, name)).or_default() += hits;
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.counts().values().sum()
    }

    /// All of them.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(Service, &'static str), u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One request in so many that the other conditions hold for.
pub(crate) fn one_in(of: u64) -> impl Fn(&Exchange) -> bool + Send + Sync + 'static {
    let seen = Arc::new(AtomicU64::new(0));
    move |_| seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(of)
}
