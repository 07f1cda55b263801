//! Log lines on stderr, traces by OTLP, metrics.

mod connections;
mod metrics;
mod plain;
mod traces;

use std::error::Error;
use std::io::{self, IsTerminal, Write};

use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub use metrics::Metrics;
pub use traces::{Sampling, TracesConfig, traceparent};
pub(crate) use traces::{ServerAddress, WindowTrace, call_ended, call_span, inference_failed, is_traced};

use traces::Traces;

use crate::secret_url::{hide_json_urls, hide_urls};
use crate::visible::upright;

/// What is logged and traced.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Which events are logged, as tracing directives.
    pub filter: String,
    /// Shape of the log lines.
    pub format: LogFormat,
    /// Where traces go by OTLP over gRPC, if anywhere.
    pub traces: Option<TracesConfig>,
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
pub struct Telemetry(Option<Traces>);

/// Starts logging, and tracing if there is somewhere to send traces to. Call once, within an async runtime if
/// traces are sent.
///
/// # Errors
///
/// If the filter or the endpoint cannot be used; the message says why.
pub fn start(config: &TelemetryConfig) -> Result<Telemetry, String> {
    let filter = filter(config)?;
    let format = config.format;
    let lines = tracing_subscriber::fmt::layer().with_writer(move || Lines(format));
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let traces = config.traces.as_ref().map(Traces::start).transpose()?;
    let layer = traces.as_ref().map(Traces::layer);
    tracing_subscriber::registry().with(lines.with_filter(filter.and(filter_fn(is_safe)))).with(layer).init();
    Ok(Telemetry(traces))
}

/// Whether an event may be told at all: below info, ureq tells whole URLs and headers.
fn is_safe(event: &tracing::Metadata<'_>) -> bool {
    !event.target().starts_with("ureq") || *event.level() <= tracing::Level::INFO
}

/// Log lines on stderr, whoever wrote them: URLs have no secrets, and no character turns the order of the others.
struct Lines(LogFormat);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let text = match self.0 {
            LogFormat::Text => hide_urls(&text),
            LogFormat::Json => hide_json_urls(&text),
        };
        io::stderr().write_all(upright(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Whether [`start`] would take the settings.
///
/// # Errors
///
/// As [`start`].
pub fn verify(config: &TelemetryConfig) -> Result<(), String> {
    config.traces.as_ref().map_or(Ok(()), |traces| traces::verify(traces).map(drop))
}

/// Whether a log filter says what it seems to. A word that is no level would be taken for the name of a module, and nothing else
/// be logged.
///
/// # Errors
///
/// If it does not, with what to write.
pub(crate) fn check_filter(value: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_known = |word: &str| LEVELS.contains(&word.to_lowercase().as_str()) || word.starts_with("arom");
    let is_bare = |part: &&str| !part.is_empty() && !part.contains(['=', '[']) && !is_known(part);
    if let Some(word) = value.split(',').map(str::trim).find(is_bare) {
        let levels = LEVELS.join(", ");
        return Err(format!(
            "{word:?} is no level: use {levels}, or a name with its level such as hyper=debug"
        ));
    }
    EnvFilter::try_new(value).map(drop).map_err(|error| format!("{value:?}: {error}"))
}

fn filter(config: &TelemetryConfig) -> Result<EnvFilter, String> {
    // ONNX Runtime tells every allocation at info; it is heard when the filter names it.
    let filter = &config.filter;
    // What libraries say of their own work is for those who ask for it: the last word on a name counts. h2 warns of each frame that a
    // stranger sends out of turn.
    let filter = format!("ort=warn,fjall=warn,lsm_tree=warn,opentelemetry=warn,h2=error,{filter}");
    EnvFilter::try_new(filter).map_err(|error| format!("--log, log.filter: {error}"))
}

impl Telemetry {
    /// Sends the traces that are still held.
    pub fn flush(self) {
        if let Some(traces) = self.0 {
            traces.flush();
        }
    }
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
