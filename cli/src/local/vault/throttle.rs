//! What a vault lets pass in ten seconds.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{errors::VaultError, keys::KeySpec};

const WINDOW: Duration = Duration::from_secs(10);

/// Of what a vault lets only so much pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Limit {
    #[default]
    None,
    /// Of all operations together, this many.
    Operations(u32),
    /// "Azure Key Vault service limits", "Resource type: vault" (learn.microsoft.com/azure/key-vault/general/service-limits;
    /// these figures since 2021-05-28).
    AsDocumented,
}

/// A request, as the limits tell requests apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    /// Makes a key, or a version of one.
    Create { hsm: bool },
    /// Any other that is about a key.
    OfKey { spec: KeySpec, hsm: bool },
    /// All the rest.
    OfVault,
}

/// What one vault has let pass, and what it has not.
#[derive(Default)]
pub(super) struct Throttle {
    windows: BTreeMap<Shared, Window>,
    /// How many requests were refused.
    pub(super) refused: u64,
}

/// Transactions that share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    Everything,
    CreatingSoftwareKeys,
    CreatingHsmKeys,
    SoftwareKeys,
    HsmKeys,
    Vault,
}

#[derive(Default)]
struct Window {
    passed: VecDeque<(Instant, u32)>,
    weight: u64,
}

impl Throttle {
    /// Lets a transaction pass, or answers 429; one that is refused does not count ("Azure Key Vault throttling guidance").
    ///
    /// Whether the service's ten seconds slide, as these do, or start anew at fixed times is not documented.
    pub(super) fn admit(&mut self, limit: Limit, transaction: Transaction, now: Instant) -> Result<(), VaultError> {
        let Some((shared, weight, most)) = limit.of(transaction) else { return Ok(()) };
        let window = self.windows.entry(shared).or_default();
        window.forget(now);
        if window.weight + u64::from(weight) > u64::from(most) {
            self.refused += 1;
            return Err(VaultError::throttled());
        }
        window.passed.push_back((now, weight));
        window.weight += u64::from(weight);
        Ok(())
    }
}

impl Limit {
    /// With what a transaction shares its limit, what it weighs, and the most that passes in a window; none: any number.
    fn of(self, transaction: Transaction) -> Option<(Shared, u32, u32)> {
        match (self, transaction) {
            (Self::None, _) => None,
            (Self::Operations(most), _) => Some((Shared::Everything, 1, most)),
            (Self::AsDocumented, Transaction::Create { hsm: false }) => Some((Shared::CreatingSoftwareKeys, 1, 20)),
            (Self::AsDocumented, Transaction::Create { hsm: true }) => Some((Shared::CreatingHsmKeys, 1, 10)),
            (Self::AsDocumented, Transaction::OfKey { spec, hsm: false }) => {
                Some((Shared::SoftwareKeys, weight(spec), 4_000))
            }
            (Self::AsDocumented, Transaction::OfKey { spec, hsm: true }) => {
                Some((Shared::HsmKeys, weight(spec), 2_000))
            }
            (Self::AsDocumented, Transaction::OfVault) => Some((Shared::Vault, 1, 4_000)),
        }
    }
}

/// "The throttling thresholds are weighted, and enforcement is on their sum": of software keys 4,000 transactions with
/// RSA-2048 and any curve, 1,000 with RSA-3072, 500 with RSA-4096; of HSM keys half as many of each.
fn weight(spec: KeySpec) -> u32 {
    match spec {
        KeySpec::Rsa3072 => 4,
        KeySpec::Rsa4096 => 8,
        KeySpec::Rsa2048 | KeySpec::P256 | KeySpec::P384 | KeySpec::P521 | KeySpec::P256K => 1,
    }
}

impl Window {
    fn forget(&mut self, now: Instant) {
        while let Some(&(at, weight)) = self.passed.front()
            && now.duration_since(at) >= WINDOW
        {
            self.passed.pop_front();
            self.weight -= u64::from(weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(throttle: &mut Throttle, transaction: Transaction, now: Instant) -> usize {
        (0..5_000).take_while(|_| throttle.admit(Limit::AsDocumented, transaction, now).is_ok()).count()
    }

    #[test]
    fn as_many_pass_as_the_service_s_page_has_it() {
        let now = Instant::now();
        for (spec, software, hsm) in [
            (KeySpec::Rsa2048, 4_000, 2_000),
            (KeySpec::Rsa3072, 1_000, 500),
            (KeySpec::Rsa4096, 500, 250),
            (KeySpec::P256, 4_000, 2_000),
            (KeySpec::P384, 4_000, 2_000),
            (KeySpec::P521, 4_000, 2_000),
            (KeySpec::P256K, 4_000, 2_000),
        ] {
            let mut throttle = Throttle::default();
            assert_eq!(pass(&mut throttle, Transaction::OfKey { spec, hsm: false }, now), software, "{spec:?}");
            assert_eq!(pass(&mut throttle, Transaction::OfKey { spec, hsm: true }, now), hsm, "{spec:?}, HSM");
            assert_eq!(pass(&mut throttle, Transaction::Create { hsm: false }, now), 20);
            assert_eq!(pass(&mut throttle, Transaction::Create { hsm: true }, now), 10);
            assert_eq!(pass(&mut throttle, Transaction::OfVault, now), 4_000);
            assert_eq!(throttle.refused, 5);
        }
    }

    #[test]
    fn keys_share_by_weight_as_in_the_page_s_example() {
        let now = Instant::now();
        let mut throttle = Throttle::default();
        let [large, small] = [KeySpec::Rsa4096, KeySpec::Rsa2048].map(|spec| Transaction::OfKey { spec, hsm: true });
        for _ in 0..248 {
            throttle.admit(Limit::AsDocumented, large, now).unwrap();
        }
        assert_eq!(pass(&mut throttle, small, now), 16);
        assert_eq!(pass(&mut throttle, large, now), 0);
    }

    #[test]
    fn ten_seconds_later_as_many_pass_again_and_the_refused_did_not_count() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        let transaction = Transaction::OfKey { spec: KeySpec::Rsa4096, hsm: true };
        assert_eq!(pass(&mut throttle, transaction, start), 250);
        assert_eq!(pass(&mut throttle, transaction, start + Duration::from_millis(9_999)), 0);
        assert_eq!(pass(&mut throttle, transaction, start + WINDOW), 250);
        assert_eq!(throttle.refused, 3);
    }
}
