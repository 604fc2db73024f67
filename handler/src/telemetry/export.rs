//! Sending: in the background, a batch at a time. What cannot be sent is dropped; no item ever waits for it.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use azure_core::http::{Context, Method, Request, Transport};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Telemetry, otlp, settings::Target};
use crate::retry::backoff;

/// Spans that have ended and are not sent yet.
#[derive(Debug)]
pub(super) struct Waiting {
    spans: Mutex<VecDeque<SpanData>>,
    most: usize,
    at_once: usize,
    dropped: AtomicU64,
    is_enough: Notify,
}

impl Waiting {
    pub(super) fn new(most: usize, at_once: usize) -> Self {
        let spans = Mutex::default();
        Self { spans, most, at_once, dropped: AtomicU64::new(0), is_enough: Notify::new() }
    }

    fn push(&self, span: SpanData) {
        let mut spans = self.spans();
        if spans.len() >= self.most {
            drop(spans);
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "telemetry: spans come faster than they can be sent");
            }
            return;
        }
        spans.push_back(span);
        if spans.len() >= self.at_once {
            self.is_enough.notify_one();
        }
    }

    fn take(&self) -> Vec<SpanData> {
        let mut spans = self.spans();
        let count = spans.len().min(self.at_once);
        spans.drain(..count).collect()
    }

    fn spans(&self) -> MutexGuard<'_, VecDeque<SpanData>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the tracer hands its spans to.
#[derive(Debug)]
pub(super) struct Inlet(pub(super) std::sync::Arc<Waiting>);

impl SpanProcessor for Inlet {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.push(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Telemetry {
    /// Sends what there is, for ever.
    pub(crate) async fn keep_sending(&self) {
        let mut metrics_due = self.after_interval();
        loop {
            tokio::select! {
                () = sleep(self.settings.delay) => {}
                () = self.waiting.is_enough.notified() => {}
            }
            let mut failures = self.sending.lock().await;
            self.send_spans(&mut failures).await;
            if Instant::now() >= metrics_due {
                self.send_metrics(&mut failures).await;
                metrics_due = self.after_interval();
            }
        }
    }

    /// Sends what there is, once, before the end, when what is on its way has arrived.
    pub(crate) async fn flush(&self) {
        let all = async {
            let mut failures = self.sending.lock().await;
            self.send_spans(&mut failures).await;
            self.send_metrics(&mut failures).await;
        };
        let _ = timeout(LAST_WORDS, all).await;
    }

    fn after_interval(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.settings.interval).unwrap_or(now)
    }

    async fn send_spans(&self, failures: &mut Failures) {
        let Some(target) = &self.settings.traces else { return };
        loop {
            let spans = self.waiting.take();
            if spans.is_empty() {
                return;
            }
            self.deliver(target, otlp::traces(&self.resource, &spans), failures).await;
        }
    }

    async fn send_metrics(&self, failures: &mut Failures) {
        let Some(target) = &self.settings.metrics else { return };
        let observed = self.observer.get().map(|observe| observe()).unwrap_or_default();
        let metrics = self.meters.collect(observed);
        if !metrics.is_empty() {
            let body = otlp::metrics(&self.resource, &metrics, self.meters.begun, SystemTime::now());
            self.deliver(target, body, failures).await;
        }
    }

    /// A few tries, within the target's time for each; then it is dropped.
    async fn deliver(&self, target: &Target, body: Vec<u8>, failures: &mut Failures) {
        for attempt in 1..=ATTEMPTS {
            match post(&self.transport, target, body.clone()).await {
                Ok(()) => return failures.over(target),
                Err(Refusal { is_final: false, wish, .. }) if attempt < ATTEMPTS => {
                    let until = Instant::now().checked_add(backoff(attempt).max(wish).min(LONGEST_WISH));
                    sleep_until(until.unwrap_or_else(Instant::now)).await;
                }
                Err(refusal) => return failures.add(target, &refusal.why),
            }
        }
    }
}

const ATTEMPTS: u32 = 3;
const LONGEST_WISH: Duration = Duration::from_secs(10);
/// A host that stops gives no more than ten seconds to all of it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Failures in a row, told now and then.
#[derive(Default)]
pub(super) struct Failures(u32);

impl Failures {
    fn add(&mut self, target: &Target, why: &str) {
        self.0 = self.0.saturating_add(1);
        if self.0.is_power_of_two() {
            let host = target.url.host_str().unwrap_or_default();
            tracing::warn!(host, failures = self.0, error = why, "telemetry is dropped: it could not be sent");
        }
    }

    fn over(&mut self, target: &Target) {
        if self.0 > 0 {
            tracing::info!(host = target.url.host_str().unwrap_or_default(), "telemetry is sent again");
        }
        self.0 = 0;
    }
}

struct Refusal {
    /// Nothing would be gained by another try.
    is_final: bool,
    wish: Duration,
    why: String,
}

async fn post(transport: &Transport, target: &Target, body: Vec<u8>) -> Result<(), Refusal> {
    let lost = |why: String| Refusal { is_final: false, wish: Duration::ZERO, why };
    let mut request = Request::new(target.url.clone(), Method::Post);
    request.insert_header("content-type", "application/x-protobuf");
    for (name, value) in &target.headers {
        request.insert_header(name.clone(), value.clone());
    }
    request.set_body(body);
    let context = Context::new();
    let answer = match timeout(target.timeout, transport.send(&context, &mut request)).await {
        Err(_elapsed) => return Err(lost("no answer in time".to_owned())),
        Ok(Err(error)) => return Err(lost(error.kind().to_string())),
        Ok(Ok(answer)) => answer,
    };
    let status = u16::from(answer.status());
    if (200..300).contains(&status) {
        return Ok(());
    }
    let wish = answer.headers().get_optional_str(&azure_core::http::headers::RETRY_AFTER).and_then(|v| v.parse().ok());
    Err(Refusal {
        is_final: !matches!(status, 429 | 502..=504),
        wish: Duration::from_secs(wish.unwrap_or_default()),
        why: format!("HTTP {status}"),
    })
}
