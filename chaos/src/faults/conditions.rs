//! What changes about the services themselves: keys that come and go, tokens that end, clocks that jump.

use std::time::Duration;

use signet::local::{
    stack::{Deployment, VAULT},
    vault::Attributes,
};
use tokio::time::sleep;

use super::{Service, one_in, signatures};

/// The name of the key that signs, in each vault.
pub const KEY: &str = "signing";
/// The vaults, of which a run has the first so many.
pub const VAULTS: [&str; 2] = [VAULT, "second"];
/// How long tokens are good for while the run lasts.
pub const TOKEN_LIFE: Duration = Duration::from_secs(40);

/// A state that a service is in for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key has a new version from now on.
    Rotated,
    /// The newest version may not sign.
    Disabled,
    /// The newest version's time is over.
    Expired,
    /// The newest version's time has not come.
    NotYetValid,
    /// The key is deleted, and recovered later.
    Deleted,
    /// There is a new version that requests do not find yet.
    Spreading,
    /// The vault takes few requests in ten seconds.
    Limited,
    /// Tokens end after a few seconds.
    ShortTokens,
    /// Every token so far is refused.
    Revoked,
    /// The clock of the issuer is ahead, so that tokens come before their time.
    ClockAhead,
    /// The clock of the issuer is behind, so that tokens come when their time is over.
    ClockBehind,
    /// Every open connection is reset.
    Disconnected,
    /// Some signatures are by a key that is not the vault's.
    ForeignKey,
}

impl Condition {
    /// All of them, and how often.
    pub(super) const ALL: &[(u32, Self)] = &[
        (4, Self::Rotated),
        (3, Self::Disabled),
        (2, Self::Expired),
        (2, Self::NotYetValid),
        (2, Self::Deleted),
        (2, Self::Spreading),
        (2, Self::Limited),
        (3, Self::ShortTokens),
        (3, Self::Revoked),
        (2, Self::ClockAhead),
        (2, Self::ClockBehind),
        (4, Self::Disconnected),
        (3, Self::ForeignKey),
    ];

    /// For the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rotated => "a new version of the key",
            Self::Disabled => "the version disabled",
            Self::Expired => "the version expired",
            Self::NotYetValid => "the version not yet valid",
            Self::Deleted => "the key deleted and recovered",
            Self::Spreading => "a new version that is not found yet",
            Self::Limited => "the vault's limit of requests",
            Self::ShortTokens => "tokens that end at once",
            Self::Revoked => "all tokens revoked",
            Self::ClockAhead => "the issuer's clock ahead",
            Self::ClockBehind => "the issuer's clock behind",
            Self::Disconnected => "every connection reset",
            Self::ForeignKey => "a signature by another key",
        }
    }

    pub(super) fn service(self) -> Service {
        match self {
            Self::ShortTokens | Self::Revoked | Self::ClockAhead | Self::ClockBehind => Service::Identity,
            Self::Disconnected => Service::Blob,
            _ => Service::Vault,
        }
    }

    /// Lets it be so for a while, in one of the vaults where it is about a key; how many requests met it, as far as that can be told.
    pub(super) async fn run(self, deployment: &Deployment, whose: &str, lasts: Duration) -> u32 {
        let vault = &deployment.vault;
        // A step that fails has another of these conditions to thank for it.
        let set = |attributes| drop(vault.update_attributes(whose, KEY, None, attributes));
        let enabled = |enabled| Attributes { enabled: Some(enabled), ..Attributes::default() };
        let times = |nbf, exp| Attributes { enabled: None, nbf: Some(nbf), exp: Some(exp) };
        match self {
            Self::Rotated => drop(vault.rotate(whose, KEY).await),
            Self::Disabled => {
                set(enabled(false));
                sleep(lasts).await;
                set(enabled(true));
            }
            Self::Expired => {
                set(times(0, 1));
                sleep(lasts).await;
                set(times(0, NEVER));
            }
            Self::NotYetValid => {
                set(times(NEVER - 1, NEVER));
                sleep(lasts).await;
                set(times(0, NEVER));
            }
            Self::Deleted => {
                let _ = vault.delete(whose, KEY);
                sleep(lasts).await;
                let _ = vault.recover(whose, KEY);
            }
            Self::Spreading => {
                vault.set_readiness_delay(lasts);
                let _ = vault.rotate(whose, KEY).await;
                sleep(lasts).await;
                vault.set_readiness_delay(Duration::ZERO);
            }
            Self::Limited => {
                vault.limit(Some(15));
                sleep(lasts).await;
                vault.limit(None);
            }
            Self::ShortTokens => {
                deployment.issuer.set_lifetime(Duration::from_secs(2));
                sleep(lasts).await;
                deployment.issuer.set_lifetime(TOKEN_LIFE);
            }
            Self::Revoked => deployment.issuer.revoke_all(),
            Self::ClockAhead | Self::ClockBehind => {
                let ahead = if self == Self::ClockAhead { CLOCK_JUMP } else { -CLOCK_JUMP };
                deployment.issuer.set_clock(ahead);
                sleep(lasts).await;
                deployment.issuer.set_clock(0);
            }
            Self::Disconnected => {
                for tap in deployment.taps.all() {
                    tap.disconnect();
                }
            }
            Self::ForeignKey => {
                let tap = &deployment.taps.vault;
                let fault = tap.fail(signatures::by_foreign_key(vault.clone()).when(one_in(3)));
                sleep(lasts).await;
                tap.remove(fault);
                return tap.fired(fault);
            }
        }
        1
    }
}

/// Seconds by which the issuer's clock jumps: more than a token's life.
const CLOCK_JUMP: i64 = 45;
/// The last second of 2099, in seconds since 1970.
const NEVER: u64 = 4_102_444_799;

/// Puts everything right again, whatever was under way.
pub fn mend(deployment: &Deployment) {
    let vault = &deployment.vault;
    for whose in VAULTS {
        // There may be no second one.
        let _ = vault.recover(whose, KEY);
        let good = Attributes { enabled: Some(true), nbf: Some(0), exp: Some(NEVER) };
        let _ = vault.update_attributes(whose, KEY, None, good);
    }
    vault.set_readiness_delay(Duration::ZERO);
    vault.limit(None);
    deployment.issuer.set_clock(0);
    deployment.issuer.set_lifetime(TOKEN_LIFE);
    for tap in deployment.taps.all() {
        tap.heal();
    }
}
