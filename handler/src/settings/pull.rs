//! What `handler pull` is told beside the rest.

use std::{net::SocketAddr, time::Duration};

use super::Mistakes;

const HEALTH: &str = "SIGNET_HEALTH";
const LEASE: &str = "SIGNET_LEASE";
const DRAIN: &str = "SIGNET_DRAIN";
const POLL: &str = "SIGNET_POLL";
const ATTEMPTS: &str = "SIGNET_ATTEMPTS";
const EXIT_WHEN_IDLE: &str = "SIGNET_EXIT_WHEN_IDLE";

const DEFAULT_HEALTH: &str = "127.0.0.1:8080";
const DEFAULT_LEASE: u64 = 30;
/// An item ends five seconds before its lease, which is renewed at half of it.
const SHORTEST_LEASE: u64 = 15;
const LONGEST_LEASE: u64 = 600;
const DEFAULT_DRAIN: u64 = 20;
const LONGEST_DRAIN: u64 = 600;
const DEFAULT_POLL: u64 = 5;
const LONGEST_POLL: u64 = 600;
/// With waits of up to ten minutes, hours: a service that is down for a night is survived.
const DEFAULT_ATTEMPTS: u64 = 64;
const MOST_ATTEMPTS: u64 = 10_000;
const LONGEST_IDLENESS: u64 = 24 * 60 * 60;

/// How the queue is pulled.
#[derive(Clone, Debug)]
pub(crate) struct Pull {
    /// Where probes are answered.
    pub(crate) health: SocketAddr,
    /// How long a received message is hidden from others before that is renewed.
    pub(crate) lease: Duration,
    /// How long what is in flight may go on after SIGTERM.
    pub(crate) drain: Duration,
    /// The longest wait between two looks at an empty queue.
    pub(crate) poll: Duration,
    /// Deliveries after which a message is given up.
    pub(crate) attempts: u32,
    /// Ends when there was nothing to do for so long.
    pub(crate) exit_when_idle: Option<Duration>,
}

impl Pull {
    pub(super) fn read(mistakes: &mut Mistakes, given: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let health = given(HEALTH).unwrap_or_else(|| DEFAULT_HEALTH.to_owned());
        let health = health.trim().parse::<SocketAddr>();
        let health =
            mistakes.take(HEALTH, health.map_err(|_| format!("must be address:port, such as {DEFAULT_HEALTH}")));
        let lease = mistakes.seconds(LEASE, given(LEASE), DEFAULT_LEASE, SHORTEST_LEASE..=LONGEST_LEASE);
        let drain = mistakes.seconds(DRAIN, given(DRAIN), DEFAULT_DRAIN, 0..=LONGEST_DRAIN);
        let poll = mistakes.seconds(POLL, given(POLL), DEFAULT_POLL, 1..=LONGEST_POLL);
        let attempts = mistakes.number(ATTEMPTS, given(ATTEMPTS), DEFAULT_ATTEMPTS, 1..=MOST_ATTEMPTS, "");
        let exit_when_idle = match given(EXIT_WHEN_IDLE) {
            Some(seconds) => mistakes.seconds(EXIT_WHEN_IDLE, Some(seconds), 1, 1..=LONGEST_IDLENESS).map(Some),
            None => Some(None),
        };
        Some(Self {
            health: health?,
            lease: lease?,
            drain: drain?,
            poll: poll?,
            attempts: attempts.and_then(|attempts| u32::try_from(attempts).ok())?,
            exit_when_idle: exit_when_idle?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::with, *};
    use crate::settings::Settings;

    fn read(changes: &[(&str, &str)]) -> Result<Pull, Vec<String>> {
        Settings::for_pull(with(changes)).map(|(_, pull)| pull)
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let pull = read(&[("FUNCTIONS_CUSTOMHANDLER_PORT", "")]).expect("the host's port is not needed");
        assert_eq!(pull.health.to_string(), "127.0.0.1:8080");
        assert_eq!([pull.lease, pull.drain, pull.poll].map(|time| time.as_secs()), [30, 20, 5]);
        assert_eq!((pull.attempts, pull.exit_when_idle), (64, None));
    }

    #[test]
    fn every_bad_value_is_named() {
        for (name, value) in [
            (HEALTH, "8080"),
            (HEALTH, "localhost:8080"),
            (LEASE, "14"),
            (LEASE, "601"),
            (DRAIN, "-1"),
            (POLL, "0"),
            (ATTEMPTS, "0"),
            (EXIT_WHEN_IDLE, "0"),
            (EXIT_WHEN_IDLE, "soon"),
        ] {
            let mistakes = read(&[(name, value)]).expect_err(name);
            assert!(matches!(&mistakes[..], [mistake] if mistake.starts_with(name)), "{name}={value}: {mistakes:?}");
        }
        assert_eq!(read(&[(LEASE, "0"), (DRAIN, "x"), (POLL, "x")]).expect_err("three").len(), 3);
        let pull = read(&[(EXIT_WHEN_IDLE, " 60 "), (HEALTH, "[::]:80"), (DRAIN, "0")]).expect("good settings");
        assert_eq!((pull.exit_when_idle, pull.drain), (Some(Duration::from_mins(1)), Duration::ZERO));
    }
}
