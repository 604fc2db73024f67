//! What operators may say: app settings, read once, with every mistake reported together.

mod pull;

use std::{ops::RangeInclusive, path::Path, time::Duration};

use signet_azure::{
    identity::Source,
    names::{KeyIdentifier, container_url, container_urls, https_url, queue_name},
    roots::Roots,
};
use signet_core::{algorithm::Algorithm, format::Format};
use url::Url;

pub(crate) use self::pull::Pull;
use crate::{log::Filter, telemetry};

const PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
const KEY: &str = "SIGNET_KEY";
const RESULTS: &str = "SIGNET_RESULTS";
const REJECTED: &str = "SIGNET_REJECTED";
const SOURCES: &str = "SIGNET_SOURCES";
const ALGORITHM: &str = "SIGNET_ALGORITHM";
const FORMAT: &str = "SIGNET_FORMAT";
const DEADLINE: &str = "SIGNET_DEADLINE";
const CONCURRENCY: &str = "SIGNET_CONCURRENCY";
const KEY_REFRESH: &str = "SIGNET_KEY_REFRESH";
const QUEUE: &str = "SIGNET_QUEUE";
const QUEUE_SERVICE: &str = "WorkQueue__queueServiceUri";
const CLIENT_ID: &str = "AZURE_CLIENT_ID";
const TOKEN_CREDENTIALS: &str = "AZURE_TOKEN_CREDENTIALS";
const ROOTS: &str = "SSL_CERT_FILE";
const LOG: &str = "RUST_LOG";

const DEFAULT_DEADLINE: u64 = 60;
/// Below the `functionTimeout` in host.json (five minutes), at which the host would end every item in flight.
const LONGEST_DEADLINE: u64 = 240;
const DEFAULT_CONCURRENCY: u64 = 64;
const DEFAULT_KEY_REFRESH: u64 = 300;
const LONGEST_KEY_REFRESH: u64 = 24 * 60 * 60;

/// Everything that the handler is told from outside, whichever front door it serves.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// At least one, each in a vault of its own.
    pub(crate) keys: Vec<KeyIdentifier>,
    /// Container URL.
    pub(crate) results: Url,
    /// Container URL.
    pub(crate) rejected: Url,
    /// URLs of the containers that a source may be in.
    pub(crate) sources: Vec<Url>,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) format: Format,
    /// How long an item may take, waiting included.
    pub(crate) deadline: Duration,
    pub(crate) concurrency: usize,
    /// How long a new version of a key may go unnoticed.
    pub(crate) key_refresh: Duration,
    /// Name of the work queue.
    pub(crate) queue: String,
    pub(crate) queue_service: Url,
    pub(crate) source: Source,
    pub(crate) client_id: Option<String>,
    pub(crate) roots: Roots,
    pub(crate) log: Filter,
    pub(crate) telemetry: telemetry::Settings,
}

impl Settings {
    /// Reads every setting for the Functions host, and the port that it calls.
    ///
    /// # Errors
    /// One line for each setting that is missing or wrong, with what would be right.
    pub(crate) fn for_host(variable: impl Fn(&str) -> Option<String>) -> Result<(Self, u16), Vec<String>> {
        Self::read(variable, |mistakes, given| {
            mistakes.required(PORT, given(PORT), "the Functions host sets it", |port| {
                port.parse().ok().filter(|port| *port != 0).ok_or_else(|| "is no port".to_owned())
            })
        })
    }

    /// Reads every setting for `handler pull`.
    ///
    /// # Errors
    /// As [`Self::for_host`].
    pub(crate) fn for_pull(variable: impl Fn(&str) -> Option<String>) -> Result<(Self, Pull), Vec<String>> {
        Self::read(variable, Pull::read)
    }

    fn read<T>(
        variable: impl Fn(&str) -> Option<String>,
        door: impl FnOnce(&mut Mistakes, &dyn Fn(&str) -> Option<String>) -> Option<T>,
    ) -> Result<(Self, T), Vec<String>> {
        // A setting that is there but empty is what a template leaves behind: it counts as not given.
        let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let mut mistakes = Mistakes(Vec::new());

        let door = door(&mut mistakes, &given);
        let keys = mistakes.required(
            KEY,
            given(KEY),
            "such as https://myvault.vault.azure.net/keys/mykey",
            KeyIdentifier::list,
        );
        let results = mistakes.required(
            RESULTS,
            given(RESULTS),
            "such as https://myaccount.blob.core.windows.net/signed",
            container_url,
        );
        let rejected = match given(REJECTED) {
            Some(url) => mistakes.take(REJECTED, container_url(&url)),
            None => results.as_ref().map(|results| beside(results, "rejected")),
        };
        if let (Some(results), Some(rejected)) = (&results, &rejected)
            && results == rejected
        {
            mistakes.0.push(format!("{REJECTED} must be another container than {RESULTS}"));
        }
        let sources =
            given(SOURCES).map_or_else(|| Some(Vec::new()), |list| mistakes.take(SOURCES, container_urls(&list)));
        let algorithm = given(ALGORITHM).map(|name| {
            mistakes
                .take(ALGORITHM, name.parse::<Algorithm>().map_err(|known| format!("is no algorithm here; {known}")))
        });
        let format = given(FORMAT).map_or(Some(Format::Jws), |name| {
            let known = Format::ALL.map(Format::name).join(", ");
            mistakes
                .take(FORMAT, Format::from_name(&name).ok_or_else(|| format!("is no format here; use one of {known}")))
        });
        let deadline = mistakes.seconds(DEADLINE, given(DEADLINE), DEFAULT_DEADLINE, 1..=LONGEST_DEADLINE);
        let concurrency = mistakes
            .number(CONCURRENCY, given(CONCURRENCY), DEFAULT_CONCURRENCY, 1..=10_000, "")
            .and_then(|count| usize::try_from(count).ok());
        let key_refresh =
            mistakes.seconds(KEY_REFRESH, given(KEY_REFRESH), DEFAULT_KEY_REFRESH, 1..=LONGEST_KEY_REFRESH);
        let queue = mistakes.required(QUEUE, given(QUEUE), "the name of the work queue", queue_name);
        let queue_service = mistakes.required(
            QUEUE_SERVICE,
            given(QUEUE_SERVICE),
            "such as https://myaccount.queue.core.windows.net",
            https_url,
        );
        let source = mistakes.take(TOKEN_CREDENTIALS, Source::choose(given));
        let roots = given(ROOTS).map_or_else(
            || Some(Roots::built_in()),
            |path| mistakes.take(ROOTS, Roots::from_pem_file(Path::new(&path)).map_err(|error| error.to_string())),
        );
        let log = given(LOG).map_or(Some(Filter::default()), |filter| mistakes.take(LOG, filter.parse()));

        let times = deadline.zip(key_refresh);
        let queues = queue.zip(queue_service);
        match (door, keys, results, rejected, sources, format, times, concurrency, queues, source, roots, log) {
            (
                Some(door),
                Some(keys),
                Some(results),
                Some(rejected),
                Some(sources),
                Some(format),
                Some((deadline, key_refresh)),
                Some(concurrency),
                Some((queue, queue_service)),
                Some(source),
                Some(roots),
                Some(log),
            ) if mistakes.0.is_empty() => {
                let settings = Self {
                    keys,
                    results,
                    rejected,
                    sources,
                    algorithm: algorithm.flatten(),
                    format,
                    deadline,
                    concurrency,
                    key_refresh,
                    queue,
                    queue_service,
                    source,
                    client_id: given(CLIENT_ID),
                    roots,
                    log,
                    telemetry: telemetry::Settings::read(given),
                };
                Ok((settings, door))
            }
            _ => Err(mistakes.0),
        }
    }
}

/// Lines for the operator, in the order of the settings.
struct Mistakes(Vec<String>);

impl Mistakes {
    fn take<T>(&mut self, name: &str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|mistake| self.0.push(format!("{name} {mistake}"))).ok()
    }

    /// A whole number of seconds within bounds.
    fn seconds(
        &mut self,
        name: &str,
        value: Option<String>,
        default: u64,
        allowed: RangeInclusive<u64>,
    ) -> Option<Duration> {
        self.number(name, value, default, allowed, "of seconds ").map(Duration::from_secs)
    }

    /// A whole number, of what its name says, within bounds.
    fn number(
        &mut self,
        name: &str,
        value: Option<String>,
        default: u64,
        allowed: RangeInclusive<u64>,
        of: &str,
    ) -> Option<u64> {
        let Some(value) = value else { return Some(default) };
        let parsed = value.trim().parse().ok().filter(|number| allowed.contains(number));
        let (least, most) = allowed.into_inner();
        self.take(name, parsed.ok_or_else(|| format!("must be a whole number {of}from {least} to {most}")))
    }

    fn required<T>(
        &mut self,
        name: &str,
        value: Option<String>,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match value {
            Some(value) => self.take(name, parse(value.trim())),
            None => self.take(name, Err(format!("is missing: {example}"))),
        }
    }
}

fn beside(container: &Url, name: &str) -> Url {
    let mut url = container.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop().push(name);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 5] = [
        (PORT, "7071"),
        (KEY, "https://v.vault.azure.net/keys/k"),
        (RESULTS, "https://a.blob.core.windows.net/signed"),
        (QUEUE, "work"),
        (QUEUE_SERVICE, "https://a.queue.core.windows.net"),
    ];

    fn read(changes: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        Settings::for_host(with(changes)).map(|(settings, _)| settings)
    }

    /// Good settings, but for these.
    pub(super) fn with(changes: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| {
            let value = changes.iter().chain(&GOOD).find(|(key, _)| *key == name).map(|(_, value)| *value);
            value.map(str::to_owned)
        }
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let settings = read(&[]).expect("good settings");
        assert_eq!(settings.rejected.as_str(), "https://a.blob.core.windows.net/rejected");
        assert_eq!((settings.deadline, settings.concurrency), (Duration::from_mins(1), 64));
        assert_eq!((settings.format, settings.algorithm), (Format::Jws, None));
        let [key] = &settings.keys[..] else { panic!("one key") };
        assert_eq!((key.vault.as_str(), key.name.as_str(), &key.version), ("https://v.vault.azure.net/", "k", &None));
        assert_eq!((settings.key_refresh, settings.sources), (Duration::from_mins(5), vec![]));
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let mistakes =
            Settings::for_host(|name| (name == DEADLINE).then(|| "0".to_owned())).expect_err("nearly all missing");
        for name in [PORT, KEY, RESULTS, DEADLINE, QUEUE, QUEUE_SERVICE] {
            assert_eq!(mistakes.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}: {mistakes:?}");
        }
        assert_eq!(mistakes.len(), 6);
    }

    #[test]
    fn each_bad_value_is_named() {
        for (name, value) in [
            (PORT, "0"),
            (PORT, "http"),
            (KEY, "http://v.vault.azure.net/keys/k"),
            (KEY, "https://v.vault.azure.net/secrets/k"),
            (KEY, "https://v.vault.azure.net/keys/k/v/w"),
            (KEY, "https://v.vault.azure.net/keys/k%2F.."),
            (KEY, "https://v.vault.azure.net/keys/k?x=1"),
            (KEY, "https://u:p@v.vault.azure.net/keys/k"),
            (KEY, "https://v.vault.azure.net/keys/"),
            (KEY, "https://v.vault.azure.net/keys/k,https://v.vault.azure.net:443/keys/l"),
            (KEY, "https://v.vault.azure.net/keys/k,"),
            (SOURCES, "https://a.blob.core.windows.net/in,https://a.blob.core.windows.net/"),
            (SOURCES, "https://a.blob.core.windows.net/in?sig=secret"),
            (KEY_REFRESH, "0"),
            (KEY_REFRESH, "86401"),
            (RESULTS, "https://a.blob.core.windows.net/"),
            (RESULTS, "https://a.blob.core.windows.net/signed?sig=secret"),
            (REJECTED, "https://a.blob.core.windows.net/signed"),
            (REJECTED, "ftp://a/b"),
            (ALGORITHM, "HS256"),
            (FORMAT, "pdf"),
            (DEADLINE, "241"),
            (DEADLINE, "1.5"),
            (CONCURRENCY, "0"),
            (QUEUE, "Work"),
            (QUEUE, "a--b"),
            (QUEUE_SERVICE, "http://127.0.0.1:10001"),
            (TOKEN_CREDENTIALS, "password"),
            (ROOTS, "no/such/file.pem"),
            (LOG, "loud"),
        ] {
            let mistakes = read(&[(name, value)]).expect_err(value);
            assert_eq!(mistakes.len(), 1, "{mistakes:?}");
            assert!(mistakes[0].starts_with(name), "{mistakes:?}");
            assert!(!mistakes[0].contains("sig="), "{mistakes:?}");
        }
    }

    #[test]
    fn a_version_pins_the_key() {
        let settings = read(&[(KEY, "https://v.vault.localhost:8443/keys/k-1/0123456789abcdef0123456789abcdef")]);
        let key = settings.expect("good settings").keys.remove(0);
        assert_eq!(key.version.as_deref(), Some("0123456789abcdef0123456789abcdef"));
        assert_eq!(key.vault.as_str(), "https://v.vault.localhost:8443/");
    }

    #[test]
    fn lists_have_commas() {
        let keys = "https://v.vault.azure.net/keys/k , https://w.vault.azure.net/keys/k/0";
        let sources = "https://a.blob.core.windows.net/in/, https://b.blob.core.windows.net/out,";
        let settings = read(&[(KEY, keys), (SOURCES, sources), (KEY_REFRESH, "7")]).expect("good settings");
        let names: Vec<&str> = settings.keys.iter().filter_map(|key| key.vault.host_str()).collect();
        assert_eq!(names, ["v.vault.azure.net", "w.vault.azure.net"]);
        let sources: Vec<&str> = settings.sources.iter().map(Url::as_str).collect();
        assert_eq!(sources, ["https://a.blob.core.windows.net/in", "https://b.blob.core.windows.net/out"]);
        assert_eq!(settings.key_refresh.as_secs(), 7);
    }

    #[test]
    fn an_empty_setting_is_none() {
        assert!(
            read(&[(REJECTED, ""), (ALGORITHM, " "), (LOG, ""), (CLIENT_ID, "")]).expect("good").client_id.is_none()
        );
    }
}
