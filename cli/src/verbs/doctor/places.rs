//! What the settings name, and whether they are well-formed.
//!
//! The handler's own reader is the one that counts, so the handler itself is asked where it can be run here: started with a
//! port that is none, it names every other mistake, and ends before it opens anything. `handler pull` has no port to be told, so
//! it is asked with one bad setting of its own in place of yours, and for yours once more with another bad one.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use azure_core::http::Url;
use signet_azure::{
    identity::Source,
    names::{KeyIdentifier, container_url, container_urls, https_url, queue_name},
};
use signet_core::{algorithm::Algorithm, format::Format};
use tokio::{process::Command, time::timeout};

use super::report::Report;
use crate::settings::{self, given};

const PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
const HEALTH: &str = "SIGNET_HEALTH";
const LEASE: &str = "SIGNET_LEASE";
/// No port, no address and no lease.
const NONE: &str = "0";
/// What the handler ends with where settings are bad.
const EX_CONFIG: i32 = 78;

/// What the settings name, as far as they are well-formed.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) keys: Vec<KeyIdentifier>,
    pub(super) results: Option<Url>,
    pub(super) rejected: Option<Url>,
    pub(super) sources: Vec<Url>,
    pub(super) queue_service: Option<Url>,
    pub(super) queue: Option<String>,
    pub(super) algorithm: Option<Algorithm>,
    /// Seconds.
    pub(super) deadline: u64,
    is_pulled: bool,
    mistakes: Vec<String>,
}

impl Places {
    /// Reads the settings by rules that are the handler's; with those of `handler pull`, if the messages are pulled.
    pub(super) fn read(is_pulled: bool) -> Self {
        let mut places = Self { is_pulled, ..Self::default() };
        if is_pulled {
            places.read_pull();
        }
        places.keys = places
            .required("SIGNET_KEY", "such as https://myvault.vault.azure.net/keys/mykey", KeyIdentifier::list)
            .unwrap_or_default();
        places.results =
            places.required("SIGNET_RESULTS", "such as https://myaccount.blob.core.windows.net/signed", container_url);
        places.rejected = match given("SIGNET_REJECTED") {
            Some(_) => places.required("SIGNET_REJECTED", "", container_url),
            None => settings::rejected_container().ok().filter(|_| places.results.is_some()),
        };
        if places.results.is_some() && places.results == places.rejected {
            places.mistakes.push("SIGNET_REJECTED must be another container than SIGNET_RESULTS".to_owned());
        }
        places.sources = places.optional("SIGNET_SOURCES", container_urls).unwrap_or_default();
        places.queue = places.required("SIGNET_QUEUE", "the name of the work queue", queue_name);
        let service = "such as https://myaccount.queue.core.windows.net";
        places.queue_service = places.required("WorkQueue__queueServiceUri", service, https_url);
        places.algorithm = places.optional("SIGNET_ALGORITHM", |name| {
            name.parse().map_err(|known| format!("is no algorithm here; {known}"))
        });
        places.optional("SIGNET_FORMAT", |name| Format::from_name(name).ok_or_else(|| "is no format here".to_owned()));
        places.deadline = places.optional("SIGNET_DEADLINE", |text| number(text, 1, 240)).unwrap_or(60);
        places.optional("SIGNET_CONCURRENCY", |text| number(text, 1, 10_000));
        places.optional("SIGNET_KEY_REFRESH", |text| number(text, 1, 24 * 60 * 60));
        if let Err(mistake) = Source::choose(given) {
            places.mistakes.push(format!("AZURE_TOKEN_CREDENTIALS {mistake}"));
        }
        if let Err(mistake) = settings::roots() {
            places.mistakes.push(format!("SSL_CERT_FILE {mistake}"));
        }
        places
    }

    /// Those that `handler pull` has beside the others.
    fn read_pull(&mut self) {
        self.optional(HEALTH, |text| {
            text.parse::<SocketAddr>().map_err(|_| "must be address:port, such as 127.0.0.1:8080".to_owned())
        });
        for (name, least, most) in [
            (LEASE, 15, 600),
            ("SIGNET_DRAIN", 0, 600),
            ("SIGNET_POLL", 1, 600),
            ("SIGNET_ATTEMPTS", 1, 10_000),
            ("SIGNET_EXIT_WHEN_IDLE", 1, 24 * 60 * 60),
        ] {
            self.optional(name, |text| number(text, least, most));
        }
    }

    /// Reports what is wrong with the settings, by the word of the handler where it can be asked.
    pub(super) async fn check(&self, handler: Option<&Path>, report: &mut Report) {
        report.area("settings");
        let asked = match handler {
            Some(handler) if self.is_pulled => ask_pull(handler).await,
            Some(handler) => ask(handler, &[], PORT).await,
            None => None,
        };
        let (mistakes, whose) = match asked {
            Some((mistakes, version)) => (mistakes, format!("by the word of {version}")),
            None => (self.mistakes.clone(), "by this tool's reading; --app asks the handler itself".to_owned()),
        };
        for mistake in &mistakes {
            let (name, why) = mistake.split_once(' ').unwrap_or((mistake, ""));
            report.failure(name, why, "set it as docs/reference.md has it");
        }
        if mistakes.is_empty() {
            report.ok("all", format!("well-formed, {whose}"));
        }
    }

    fn required<T>(&mut self, name: &str, example: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        if given(name).is_none() {
            self.mistakes.push(format!("{name} is missing: {example}"));
        }
        self.optional(name, parse)
    }

    fn optional<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let parsed = parse(given(name)?.trim());
        parsed.map_err(|mistake| self.mistakes.push(format!("{name} {mistake}"))).ok()
    }
}

/// The mistakes that `handler pull` finds. Nothing, too, where it is older than that.
async fn ask_pull(handler: &Path) -> Option<(Vec<String>, String)> {
    let (others, version) = ask(handler, &["pull"], HEALTH).await?;
    let (mut mistakes, _) = ask(handler, &["pull"], LEASE).await?;
    mistakes.retain(|mistake| mistake.starts_with(HEALTH));
    mistakes.extend(others);
    Some((mistakes, version))
}

/// The mistakes that the handler finds in the settings of this process but for one, which it is given a bad value of so that
/// it ends, and its version; nothing where it does not run here.
async fn ask(handler: &Path, door: &[&str], bad: &str) -> Option<(Vec<String>, String)> {
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(handler);
        command.args(arguments).env(bad, NONE).stdin(Stdio::null()).kill_on_drop(true);
        timeout(Duration::from_secs(10), command.output()).await.ok()?.ok()
    };
    let version = run(&["--version"]).await?;
    let answer = run(door).await.filter(|answer| answer.status.code() == Some(EX_CONFIG))?;
    let stderr = String::from_utf8_lossy(&answer.stderr).into_owned();
    let mistakes = stderr.lines().filter_map(|line| line.strip_prefix("configuration: "));
    let mistakes = mistakes.filter(|line| !line.starts_with(bad)).map(str::to_owned).collect();
    Some((mistakes, String::from_utf8_lossy(&version.stdout).trim().to_owned()))
}

fn number(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let parsed = text.parse().ok().filter(|number| (least..=most).contains(number));
    parsed.ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_bounds() {
        assert_eq!((number("240", 1, 240), number("241", 1, 240).is_err()), (Ok(240), true));
    }
}
