//! The OpenTelemetry SDK's standard variables:
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>. As it asks for, what is wrong here is
//! said and ignored: telemetry must not keep anything from being signed. The sampler's and the limits' are read by the SDK.

use std::time::Duration;

use url::Url;

/// Where telemetry goes, and when. What is `None` is not sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(super) traces: Option<Target>,
    pub(super) metrics: Option<Target>,
    /// Until spans that have ended are sent.
    pub(super) delay: Duration,
    /// So many spans may wait; the others are dropped.
    pub(super) most_waiting: usize,
    pub(super) most_at_once: usize,
    /// Between two times that metrics are sent.
    pub(super) interval: Duration,
    /// `service.name`, unless a variable says it.
    pub(super) is_named: bool,
    /// What was wrong.
    pub(super) mistakes: Vec<String>,
}

/// A receiver of OTLP over HTTP.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) url: Url,
    /// Names in lower case. Values may be secrets.
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Duration,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Settings {
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let mut settings = Self::default();
        if given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return settings;
        }
        let mut mistakes = Vec::new();
        let mut milliseconds = |name: &str, default: u64| {
            let value = given(name).map_or(Ok(default), |text| text.parse());
            Duration::from_millis(value.unwrap_or_else(|_| {
                mistakes.push(format!("{name} is no number of milliseconds; {default} is used"));
                default
            }))
        };
        settings.delay = milliseconds("OTEL_BSP_SCHEDULE_DELAY", DEFAULT_DELAY).max(Duration::from_millis(100));
        settings.interval = milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000).max(Duration::from_secs(1));
        let mut number = |name: &str, default: usize| {
            let value = given(name).map_or(Ok(default), |text| text.parse());
            value.ok().filter(|value| (1..=MOST_WAITING).contains(value)).unwrap_or_else(|| {
                mistakes.push(format!("{name} is no number from 1 to {MOST_WAITING}; {default} is used"));
                default
            })
        };
        settings.most_waiting = number("OTEL_BSP_MAX_QUEUE_SIZE", 2048);
        settings.most_at_once = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512);
        settings.traces = target(&given, "TRACES", "v1/traces", &mut mistakes);
        settings.metrics = target(&given, "METRICS", "v1/metrics", &mut mistakes);
        settings.is_named = given("OTEL_SERVICE_NAME").is_some()
            || given("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
        settings.mistakes = mistakes;
        settings
    }
}

/// The standard has five seconds; but a handler's end is sudden, and what was not sent by then is lost.
const DEFAULT_DELAY: u64 = 1000;
const MOST_WAITING: usize = 100_000;

/// Where one signal goes, if an endpoint is set for it or for all.
fn target(
    given: &impl Fn(&str) -> Option<String>,
    signal: &str,
    path: &str,
    mistakes: &mut Vec<String>,
) -> Option<Target> {
    // The signal's own variable counts before the one for all.
    let either = |rest: &str| {
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_{rest}");
        let of_all = format!("OTEL_EXPORTER_OTLP_{rest}");
        given(&own).map(|value| (own, value)).or_else(|| given(&of_all).map(|value| (of_all, value)))
    };
    let exporter = given(&format!("OTEL_{signal}_EXPORTER")).unwrap_or_else(|| "otlp".to_owned());
    match exporter.as_str() {
        "otlp" => {}
        "none" => return None,
        other => {
            mistakes.push(format!("OTEL_{signal}_EXPORTER is {other}; otlp and none are known, and none is used"));
            return None;
        }
    }
    let (name, endpoint) = either("ENDPOINT")?;
    let url = match Url::parse(&endpoint) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        _ => {
            mistakes.push(format!("{name} is no URL of http or https; nothing is sent"));
            return None;
        }
    };
    let mut url = url;
    if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
    }
    if let Some((name, protocol)) = either("PROTOCOL")
        && protocol != "http/protobuf"
    {
        mistakes.push(format!("{name} is {protocol}, which is not spoken here; http/protobuf is, and nothing is sent"));
        return None;
    }
    let headers = either("HEADERS").map_or_else(Vec::new, |(name, list)| {
        headers(&list).unwrap_or_else(|| {
            mistakes.push(format!("{name} is no list of name=value; it is left out"));
            Vec::new()
        })
    });
    let timeout = either("TIMEOUT").and_then(|(_, text)| text.parse().ok()).unwrap_or(10_000);
    Some(Target { url, headers, timeout: Duration::from_millis(timeout) })
}

/// `name=value,name=value`, with values percent-encoded, as W3C's baggage has them.
fn headers(list: &str) -> Option<Vec<(String, String)>> {
    let pairs = list.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let (name, value) = (name.trim().to_ascii_lowercase(), decoded(value.trim())?);
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            let is_value = value.bytes().all(|b| (b' '..=b'~').contains(&b));
            (is_name && is_value).then_some((name, value))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (code, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        Settings::read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn urls(settings: &Settings) -> [Option<&str>; 2] {
        [&settings.traces, &settings.metrics].map(|target| target.as_ref().map(|target| target.url.as_str()))
    }

    #[test]
    fn an_endpoint_for_all_gets_paths_and_one_of_its_own_is_taken_as_it_is() {
        assert_eq!(urls(&read(&[])), [None, None]);
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/");
        let both = [Some("http://localhost:4318/v1/traces"), Some("http://localhost:4318/v1/metrics")];
        assert_eq!(urls(&read(&[all])), both);
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://otlp.example/x");
        assert_eq!(urls(&read(&[all, own]))[0], Some("https://otlp.example/x"));
        assert_eq!(urls(&read(&[own])), [Some("https://otlp.example/x"), None]);
        assert_eq!(urls(&read(&[all, ("OTEL_METRICS_EXPORTER", "none")]))[1], None);
        assert_eq!(urls(&read(&[all, ("OTEL_SDK_DISABLED", "TRUE")])), [None, None]);
    }

    #[test]
    fn headers_are_read_and_never_shown() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otlp.example"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "API-Key=a%3Db%20c, x=y"),
        ]);
        let expected = [("api-key", "a=b c"), ("x", "y")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(settings.traces.as_ref().expect("a target").headers, expected);
        assert!(!format!("{settings:?}").contains("a=b"), "{settings:?}");
        for bad in ["x", "=y", "a b=c", "x=%0d", "x=%"] {
            assert_eq!(headers(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_ignored() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        for wrong in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "localhost:4318"),
        ] {
            let settings = read(&[all, wrong]);
            assert!(settings.traces.is_none() && settings.mistakes[0].starts_with(wrong.0), "{settings:?}");
        }
        let settings = read(&[all, ("OTEL_BSP_SCHEDULE_DELAY", "soon"), ("OTEL_BSP_MAX_QUEUE_SIZE", "0")]);
        assert_eq!((settings.delay, settings.most_waiting), (Duration::from_secs(1), 2048));
        assert_eq!(settings.mistakes.len(), 2, "{settings:?}");
    }
}
