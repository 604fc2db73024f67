//! OpenTelemetry: a span for each item, one for each of its stages, and the SDK's own spans below them; metrics beside them.
//! Nothing of it is there unless an endpoint is set.

mod export;
mod metrics;
mod otlp;
mod protobuf;
mod settings;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use axum::http::{HeaderMap, HeaderName};
use azure_core::http::{ClientOptions, InstrumentationOptions, Transport};
use azure_core_opentelemetry::OpenTelemetryTracerProvider;
use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{SpanKind, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use signet_azure::client_options;

use self::{
    export::{Failures, Inlet, Waiting},
    metrics::Meters,
};
pub(crate) use self::{
    metrics::{End, Observed, Point},
    settings::Settings,
};

/// Where spans and counts go.
pub(crate) struct Telemetry {
    settings: Settings,
    transport: Transport,
    resource: Resource,
    waiting: Arc<Waiting>,
    /// Held by whoever sends.
    sending: tokio::sync::Mutex<Failures>,
    traces: Option<(SdkTracer, Arc<SdkTracerProvider>)>,
    meters: Meters,
    /// What else is told when metrics are sent.
    observer: OnceLock<Box<dyn Fn() -> Observed + Send + Sync>>,
}

/// An item's span, and what makes its children.
#[derive(Clone)]
pub(crate) struct ItemSpan {
    tracer: SdkTracer,
    context: Context,
}

impl Telemetry {
    pub(crate) fn new(settings: Settings, transport: Transport) -> Self {
        for mistake in &settings.mistakes {
            tracing::warn!("telemetry: {mistake}");
        }
        for target in settings.traces.iter().chain(&settings.metrics) {
            let host = target.url.host_str().unwrap_or_default();
            tracing::debug!(host, scheme = target.url.scheme(), "telemetry is sent");
        }
        let waiting = Arc::new(Waiting::new(settings.most_waiting, settings.most_at_once));
        let resource = if settings.traces.is_some() || settings.metrics.is_some() {
            let named = KeyValue::new("service.name", "signet");
            let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
            let named = (!settings.is_named).then_some(named);
            Resource::builder().with_attributes(named.into_iter().chain([version])).build()
        } else {
            Resource::builder_empty().build()
        };
        let traces = settings.traces.is_some().then(|| {
            let provider = SdkTracerProvider::builder()
                .with_span_processor(Inlet(Arc::clone(&waiting)))
                .with_resource(resource.clone())
                .build();
            (provider.tracer_with_scope(scope()), Arc::new(provider))
        });
        let (meters, observer) = (Meters::new(), OnceLock::new());
        Self {
            settings,
            transport,
            resource,
            waiting,
            sending: tokio::sync::Mutex::default(),
            traces,
            meters,
            observer,
        }
    }

    /// Whether there is anything to send.
    pub(crate) fn is_on(&self) -> bool {
        self.settings.traces.is_some() || self.settings.metrics.is_some()
    }

    /// Options for an SDK client, whose requests become spans.
    pub(crate) fn client_options(&self) -> ClientOptions {
        let mut options = client_options(&self.transport);
        if let Some((_, provider)) = &self.traces {
            let provider = OpenTelemetryTracerProvider::new(Arc::clone(provider) as _);
            options.instrumentation = InstrumentationOptions { tracer_provider: Some(provider) };
        }
        options
    }

    /// The span of an item, below the one that the caller's `traceparent` names (<https://www.w3.org/TR/trace-context/>).
    pub(crate) fn item(&self, name: &'static str, headers: &HeaderMap) -> Option<ItemSpan> {
        let (tracer, _) = self.traces.as_ref()?;
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
        let builder = tracer.span_builder(name).with_kind(SpanKind::Consumer);
        let span = tracer.build_with_context(builder, &parent);
        Some(ItemSpan { tracer: tracer.clone(), context: parent.with_span(span) })
    }

    /// Counts an item that has ended.
    pub(crate) fn count(&self, end: End<'_>) {
        if self.settings.metrics.is_some() {
            self.meters.count(end);
        }
    }

    /// Has this asked whenever metrics are sent.
    pub(crate) fn observe(&self, observer: impl Fn() -> Observed + Send + Sync + 'static) {
        let _ = self.observer.set(Box::new(observer));
    }
}

impl ItemSpan {
    /// A span for a part of the item's way.
    pub(crate) fn child(&self, name: &'static str) -> Context {
        let builder = self.tracer.span_builder(name);
        self.context.with_span(self.tracer.build_with_context(builder, &self.context))
    }

    /// The span's own context.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }
}

impl fmt::Debug for ItemSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemSpan").field("context", &self.context).finish_non_exhaustive()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("signet").with_version(env!("CARGO_PKG_VERSION")).build()
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
