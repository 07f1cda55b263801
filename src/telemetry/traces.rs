//! Traces by OTLP over gRPC, named by OpenTelemetry's semantic conventions: the only file that names its crates.
//!
//! A call is a server span with the attributes of the RPC conventions (1.4x, stable) and, beside them, those of 1.37 and
//! before that most back ends still look for: `rpc.system`, `rpc.service` and `rpc.grpc.status_code`. Below it are a span
//! for the wait in the queue and one for the inference of each of its first texts.
//!
//! What the SDK reads by itself: `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, `_TIMEOUT`
//! and `_COMPRESSION` with their `_TRACES_` forms, `OTEL_BSP_*` and `OTEL_SPAN_*_LIMIT`. The endpoint, certificate and
//! sampler come through `config`, where Arom's own settings go first.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tonic::transport::{Certificate, ClientTlsConfig, Uri};
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;
use uuid::Uuid;

use crate::files::read_at_most;
use crate::secret_url::SecretUrl;

/// A file of certificates that is larger is none.
const CERTIFICATES_BYTES: u64 = 1 << 20;

/// Where traces go and which calls are traced.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// The collector's address for OTLP over gRPC.
    pub endpoint: SecretUrl,
    /// The certificates that vouch for a collector at `https`; the system's if none are named.
    pub ca_file: Option<PathBuf>,
    /// Which calls are traced, of those whose caller has not decided.
    pub sampling: Sampling,
}

/// Which calls are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// This share of those whose caller has not decided.
    Share(f64),
    /// As `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say.
    Environment,
}

/// Sends spans until it is flushed.
#[derive(Debug)]
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to send. Must be called within an async runtime.
    pub(super) fn start(config: &TracesConfig) -> Result<Self, String> {
        let url = &config.endpoint;
        let fault = |problem: String| {
            url.hide_in(&format!("--otlp-endpoint, trace.otlp_endpoint: {:?}: {problem}", url.expose()))
        };
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(url.expose());
        let exporter = match verify(config)? {
            Some(tls) => exporter.with_tls_config(tls),
            None => exporter,
        };
        let exporter = exporter.build().map_err(|error| fault(error.to_string()))?;
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource());
        let provider = match config.sampling {
            Sampling::Share(share) => {
                provider.with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
            }
            Sampling::Environment => provider,
        };
        Ok(Self(provider.build()))
    }

    /// Turns spans at info and above into traces.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        tracing_opentelemetry::layer().with_tracer(self.0.tracer("arom")).with_filter(LevelFilter::INFO)
    }

    /// Sends the spans that are still held.
    pub(super) fn flush(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(error = super::chain(&error), "the last traces were not sent");
        }
    }
}

/// Whether traces could be sent as the settings say, short of asking the collector; gives its TLS settings if it has any.
pub(super) fn verify(config: &TracesConfig) -> Result<Option<ClientTlsConfig>, String> {
    let (url, ca_file) = (&config.endpoint, config.ca_file.as_deref());
    let https = match url.place().as_ref().and_then(Uri::scheme_str) {
        Some("https") => true,
        Some("http") => false,
        Some(_) | None => {
            return Err(format!(
                "--otlp-endpoint, trace.otlp_endpoint: {url:?} is not a URL such as http://127.0.0.1:4317"
            ));
        }
    };
    match (https, ca_file) {
        (false, None) => Ok(None),
        (false, Some(_)) => Err(format!(
            "--otlp-ca-file, trace.otlp_ca_file: trace.otlp_endpoint, {url:?}, is not https and needs no certificates"
        )),
        (true, None) => Ok(Some(ClientTlsConfig::new().with_enabled_roots())),
        (true, Some(file)) => Ok(Some(ClientTlsConfig::new().ca_certificate(certificates(file)?))),
    }
}

fn certificates(file: &Path) -> Result<Certificate, String> {
    let fault = |problem: &str| format!("--otlp-ca-file, trace.otlp_ca_file: {}: {problem}", file.display());
    let pem = read_at_most(file, CERTIFICATES_BYTES).map_err(|error| fault(&error.to_string()))?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(fault("holds no certificate in PEM"));
    }
    Ok(Certificate::from_pem(pem))
}

/// Who sends: what the environment says, and what it leaves out.
fn resource() -> Resource {
    let said = Resource::builder().build();
    let find = |key: &'static str| said.get(&Key::from_static_str(key));
    // The SDK's own name for a process whose name is not said.
    let unnamed = find("service.name").is_none_or(|name| name.as_str().starts_with("unknown_service"));
    let ours = [
        ("service.name", "arom".to_owned(), unnamed),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned(), find("service.version").is_none()),
        ("service.instance.id", Uuid::new_v4().to_string(), find("service.instance.id").is_none()),
    ];
    let missing = ours.into_iter().filter(|(_, _, missing)| *missing);
    Resource::builder().with_attributes(missing.map(|(key, value, _)| KeyValue::new(key, value))).build()
}

/// Where this server is reached, as its spans say it.
#[derive(Clone, Debug)]
pub(crate) struct ServerAddress {
    address: String,
    port: u16,
}

impl ServerAddress {
    /// Of a bound socket. One that listens on every address is named by its host.
    pub(crate) fn of(bound: SocketAddr) -> Self {
        let address = if bound.ip().is_unspecified() {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        } else {
            bound.ip().to_string()
        };
        Self { address, port: bound.port() }
    }
}

/// The span of a call.
pub(crate) fn call_span(
    service: &str,
    method: &str,
    server: &ServerAddress,
    headers: &HashMap<String, String>,
) -> Span {
    let name = format!("{service}/{method}");
    let span = info_span!(
        "call",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        rpc.system.name = "grpc",
        rpc.method = name,
        rpc.response.status_code = tracing::field::Empty,
        error.type = tracing::field::Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.grpc.status_code = tracing::field::Empty,
        server.address = server.address,
        server.port = i64::from(server.port),
    );
    if !headers.is_empty() {
        let parent = TraceContextPropagator::new().extract(headers);
        if let Err(error) = span.set_parent(parent) {
            tracing::trace!(%error, "nothing is traced");
        }
    }
    span
}

/// Notes on the span of a call how it ended. Only a fault of the server makes it an error.
pub(crate) fn call_ended(span: &Span, status: &'static str, code: i32, is_fault: bool) {
    span.record("rpc.response.status_code", status);
    span.record("rpc.grpc.status_code", code);
    if is_fault {
        span.record("error.type", status);
        span.record("otel.status_code", "ERROR");
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

/// Whether what this task does now belongs to a call whose trace is sent.
pub(crate) fn is_traced() -> bool {
    Span::current().context().span().span_context().is_sampled()
}

/// The spans of one window's way: its wait in the queue, then its inference. Without a traced call it does nothing.
#[derive(Debug)]
pub(crate) struct WindowTrace {
    call: Span,
    /// Ends when it is dropped, so also when the caller leaves.
    queue: Span,
}

impl WindowTrace {
    /// Nothing is traced.
    pub(crate) fn none() -> Self {
        Self { call: Span::none(), queue: Span::none() }
    }

    /// The wait of a window of the current call begins.
    pub(crate) fn queued(tokens: usize) -> Self {
        let call = Span::current();
        let queue = info_span!(parent: &call, "queue", arom.tokens = whole(tokens));
        Self { call, queue }
    }

    /// The wait is over and the inference begins, in a run with others; it lasts until the span is dropped.
    pub(crate) fn infer(self, rows: usize, tokens: usize) -> Span {
        let Self { call, queue } = self;
        drop(queue);
        if call.is_none() {
            return Span::none();
        }
        info_span!(
            parent: &call,
            "inference",
            arom.batch.rows = whole(rows),
            arom.batch.tokens = whole(tokens),
            otel.status_code = tracing::field::Empty,
        )
    }
}

/// Marks the span of an inference that failed.
pub(crate) fn inference_failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// A count as traces have it: an unsigned number would be sent as text.
fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
