//! Log lines on stderr, traces by OTLP, metrics.

mod connections;
mod metrics;
mod plain;

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, IsTerminal};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub use metrics::Metrics;

use crate::secret_url::SecretUrl;

/// What is logged and traced.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Which events are logged, as tracing directives.
    pub filter: String,
    /// Shape of the log lines.
    pub format: LogFormat,
    /// Where traces go by OTLP over gRPC, if anywhere.
    pub otlp_endpoint: Option<SecretUrl>,
    /// Share of the calls that are traced, of those whose caller has not decided.
    pub sample_ratio: f64,
}

/// Shape of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The end of the traces' way; [`Telemetry::flush`] sends what is still held.
#[derive(Debug)]
pub struct Telemetry(Option<SdkTracerProvider>);

/// Starts logging, and tracing if there is somewhere to send traces to. Call once, within an async runtime if
/// traces are sent.
///
/// # Errors
///
/// If the filter or the endpoint cannot be used; the message says why.
pub fn start(config: &TelemetryConfig) -> Result<Telemetry, String> {
    // ONNX Runtime tells every allocation at info; it is heard when the filter names it.
    let filter = &config.filter;
    // What libraries say of their own work is for those who ask for it: the last word on a name counts.
    let filter = format!("ort=warn,fjall=warn,lsm_tree=warn,{filter}");
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log, log.filter: {error}"))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let provider = config.otlp_endpoint.as_ref().map(|url| provider(url, config.sample_ratio)).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("arom")).with_filter(LevelFilter::INFO)
    });
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces).init();
    Ok(Telemetry(provider))
}

fn provider(url: &SecretUrl, sample_ratio: f64) -> Result<SdkTracerProvider, String> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(url.expose())
        .build()
        .map_err(|error| url.hide_in(&format!("--otlp-endpoint, trace.otlp_endpoint: {url:?}: {error}")))?;
    let resource = Resource::builder().with_service_name("arom").build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio))))
        .with_resource(resource)
        .build())
}

impl Telemetry {
    /// Sends the traces that are still held.
    pub fn flush(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown()) {
            tracing::warn!(error = chain(&error), "the last traces were not sent");
        }
    }
}

/// Makes a span a child of the one that a caller named by W3C trace context headers.
pub fn adopt(span: &Span, headers: &HashMap<String, String>) {
    if !headers.is_empty() {
        let parent = TraceContextPropagator::new().extract(headers);
        if let Err(error) = span.set_parent(parent) {
            tracing::trace!(%error, "nothing is traced");
        }
    }
}

/// The W3C `traceparent` of a span, if it is traced.
pub fn traceparent(span: &Span) -> Option<String> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut headers = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut headers);
    headers.remove("traceparent")
}

/// An error and its causes on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Has panics told as log lines, without what they say of the values at hand: these may hold what somebody wrote.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // A literal is written in the program; anything else is put together from values.
        let literal = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or_default();
        tracing::error!(place, literal, "the program panicked; please report this place");
    }));
}
