//! What is counted: totals since the start, kept in memory until they are sent.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use opentelemetry::KeyValue;
use signet_azure::identity::Credential;
use time::OffsetDateTime;

/// A metric with its points, as it is sent.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    /// By the Unified Code for Units of Measure.
    pub(super) unit: &'static str,
    pub(super) data: Data,
}

#[derive(Debug)]
pub(super) enum Data {
    Sum(Vec<Point<u64>>),
    Gauge(Vec<Point<f64>>),
    Histogram(Vec<Point<Counted>>),
}

/// A value, and what it is of.
#[derive(Clone, Debug)]
pub(crate) struct Point<T> {
    pub(super) attributes: Vec<KeyValue>,
    pub(super) value: T,
}

impl<T> Point<T> {
    pub(crate) fn new(attributes: impl Into<Vec<KeyValue>>, value: T) -> Self {
        Self { attributes: attributes.into(), value }
    }
}

/// A histogram with bounds in seconds.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) bounds: &'static [f64],
    /// One more than there are bounds: what is at most each of them, and what is above.
    pub(super) buckets: Vec<u64>,
    /// Seconds.
    pub(super) sum: f64,
}

/// Of what takes milliseconds to minutes.
const LATENCY: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 240.0];
/// Of what may wait for days.
const AGE: &[f64] = &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0, 604_800.0];

impl Counted {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: vec![0; bounds.len().saturating_add(1)], sum: 0.0 }
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn add(&mut self, value: Duration) {
        let value = value.as_secs_f64();
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket = bucket.saturating_add(1);
        }
        self.sum += value;
    }
}

/// What is told of services at the moment when metrics are sent.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// How often each vault has refused for its limit.
    pub(crate) throttles: Vec<Point<u64>>,
    /// Requests a second that each vault is asked for, where it has refused before.
    pub(crate) paces: Vec<Point<f64>>,
    /// Seconds until the token for each audience is over.
    pub(crate) tokens: Vec<Point<f64>>,
}

impl Observed {
    /// The credential for a service, if it has a token.
    pub(crate) fn add_token(&mut self, service: &str, credential: &Credential) {
        let Some(expires_on) = credential.expires_on() else { return };
        let remaining = expires_on.unix_timestamp().saturating_sub(OffsetDateTime::now_utc().unix_timestamp());
        // Lives of tokens are far below what a float cannot count.
        let remaining = f64::from(i32::try_from(remaining).unwrap_or(i32::MAX));
        self.tokens.push(Point::new([KeyValue::new("server.address", service.to_owned())], remaining));
    }
}

/// The end of an item.
pub(crate) struct End<'a> {
    pub(crate) function: &'static str,
    pub(crate) outcome: &'static str,
    /// Of a rejection, its reason; of what was handed back, the code.
    pub(crate) reason: Option<&'a str>,
    pub(crate) took: Duration,
    /// From the message's insertion until it was picked up.
    pub(crate) age: Option<Duration>,
    pub(crate) stages: &'a mut dyn Iterator<Item = (&'static str, Duration)>,
}

/// Counts ends of items.
pub(super) struct Meters {
    pub(super) begun: SystemTime,
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    items: Vec<Point<u64>>,
    durations: Vec<Point<Counted>>,
    stages: Vec<Point<Counted>>,
    ages: Vec<Point<Counted>>,
}

/// Codes of services are foreign texts: beyond so many of them, all are one.
const MOST_SERIES: usize = 200;

impl Meters {
    pub(super) fn new() -> Self {
        Self { begun: SystemTime::now(), totals: Mutex::default() }
    }

    pub(super) fn count(&self, end: End<'_>) {
        let mut totals = self.totals();
        let outcome = KeyValue::new("signet.outcome", end.outcome);
        let function = KeyValue::new("signet.function", end.function);
        let mut attributes = vec![function.clone(), outcome.clone()];
        let many = totals.items.len() >= MOST_SERIES;
        attributes.extend(
            end.reason.map(|reason| {
                KeyValue::new("signet.reason", if many { "other".to_owned() } else { reason.to_owned() })
            }),
        );
        let items = series(&mut totals.items, attributes, || 0);
        *items = items.saturating_add(1);
        series(&mut totals.durations, vec![function.clone(), outcome], || Counted::new(LATENCY)).add(end.took);
        for (stage, took) in end.stages {
            let attributes = vec![KeyValue::new("signet.stage", stage)];
            series(&mut totals.stages, attributes, || Counted::new(LATENCY)).add(took);
        }
        if let Some(age) = end.age {
            series(&mut totals.ages, vec![function], || Counted::new(AGE)).add(age);
        }
    }

    /// Everything that there is something to say of.
    pub(super) fn collect(&self, observed: Observed) -> Vec<Metric> {
        let totals = self.totals();
        let metric = |name, description, unit, data| Metric { name, description, unit, data };
        let mut metrics = vec![
            metric("signet.items", "Deliveries by what became of them", "{item}", Data::Sum(totals.items.clone())),
            metric(
                "signet.item.duration",
                "From the invocation to its answer",
                "s",
                Data::Histogram(totals.durations.clone()),
            ),
            metric("signet.stage.duration", "An item's time in a stage", "s", Data::Histogram(totals.stages.clone())),
            metric(
                "signet.message.age",
                "From the message's insertion until it was picked up",
                "s",
                Data::Histogram(totals.ages.clone()),
            ),
            metric("signet.vault.throttles", "Answers 429 of a vault", "{response}", Data::Sum(observed.throttles)),
            metric(
                "signet.vault.budget",
                "Signatures a second that are asked of a vault which has refused",
                "{signature}/s",
                Data::Gauge(observed.paces),
            ),
            metric("signet.token.remaining", "Until the token in use is over", "s", Data::Gauge(observed.tokens)),
        ];
        metrics.retain(|metric| match &metric.data {
            Data::Sum(points) => !points.is_empty(),
            Data::Gauge(points) => !points.is_empty(),
            Data::Histogram(points) => !points.is_empty(),
        });
        metrics
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value for these attributes, made if there is none.
fn series<T>(points: &mut Vec<Point<T>>, attributes: Vec<KeyValue>, new: impl FnOnce() -> T) -> &mut T {
    let known = points.iter().position(|point| point.attributes == attributes);
    let at = known.unwrap_or(points.len());
    if known.is_none() {
        points.push(Point { attributes, value: new() });
    }
    #[expect(clippy::indexing_slicing, reason = "it was found there, or pushed there")]
    &mut points[at].value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_below_it() {
        let mut counted = Counted::new(&[0.5, 1.0]);
        for milliseconds in [500, 501, 1000, 9000] {
            counted.add(Duration::from_millis(milliseconds));
        }
        assert_eq!((counted.buckets.as_slice(), counted.count()), (&[1, 2, 1][..], 4));
        assert!((counted.sum - 11.001).abs() < 1e-9);
    }

    #[test]
    fn series_of_foreign_codes_are_bounded() {
        let meters = Meters::new();
        for number in 0..1000 {
            let (reason, mut none) = (format!("Code{number}"), std::iter::empty());
            let (took, stages) = (Duration::ZERO, &mut none);
            meters.count(End {
                function: "sign",
                outcome: "handed-back",
                reason: Some(&reason),
                took,
                age: None,
                stages,
            });
        }
        let metrics = meters.collect(Observed::default());
        let Some(Metric { data: Data::Sum(points), .. }) = metrics.first() else { panic!("{metrics:?}") };
        assert_eq!(points.len(), MOST_SERIES + 1);
        assert_eq!(points.iter().map(|point| point.value).sum::<u64>(), 1000);
    }
}
