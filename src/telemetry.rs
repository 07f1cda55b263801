//! Log lines on stderr, for people or as JSON.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging. Call once.
///
/// # Errors
///
/// If the filter cannot be read; the message says why.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    // ONNX Runtime tells every allocation at info; it is heard when the filter names it.
    let names_ort = filter.split(',').any(|directive| directive.trim().starts_with("ort"));
    let filter = if names_ort { filter.to_owned() } else { format!("ort=warn,{filter}") };
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log, log.filter: {error}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
