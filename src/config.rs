//! Settings: defaults, then the file, then environment variables, then flags; every fault reported at once.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::grpc::ServerConfig;
use crate::scoring::ScoringConfig;

/// The bundle that ships with Arom.
const SHIPPED_BUNDLE: &str = "e5-small-wisesight";

/// Flags and environment variables that every command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct CommonArgs {
    /// Settings file (TOML). Flags and environment variables go before it.
    #[arg(long, global = true, value_name = "FILE", env = "AROM_CONFIG", help_heading = "Settings")]
    pub config: Option<PathBuf>,
    /// Folder of the model bundle [default: the one that ships with Arom].
    #[arg(long, global = true, value_name = "FOLDER", env = "AROM_MODEL", help_heading = "Settings")]
    pub model: Option<PathBuf>,
    /// The ONNX Runtime library [default: beside the executable, in ../lib, or where the build put it].
    #[arg(long, global = true, value_name = "FILE", env = "ORT_DYLIB_PATH", help_heading = "Settings")]
    pub runtime_library: Option<PathBuf>,
    /// Threads that run the model [default: one per CPU].
    #[arg(long, global = true, value_name = "N", env = "AROM_WORKERS", help_heading = "Settings")]
    pub workers: Option<usize>,
    /// What to log on stderr, as tracing directives such as "info" or "arom=debug" [default: info].
    #[arg(long, global = true, value_name = "FILTER", env = "AROM_LOG", help_heading = "Settings")]
    pub log: Option<String>,
    /// Shape of the log lines [default: text].
    #[arg(long, global = true, value_name = "FORMAT", env = "AROM_LOG_FORMAT", help_heading = "Settings")]
    pub log_format: Option<LogFormat>,
}

/// Serve gRPC.
///
/// The port answers at once; calls are UNAVAILABLE until the model has answered a warm-up. SIGTERM and SIGINT stop
/// accepting and finish what was accepted; a second one ends at once. Every flag has a key in the settings file:
/// see examples/arom.toml.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:\n  arom serve\n  arom serve --listen 0.0.0.0:50051 --log-format json\n  \
    arom serve --config examples/arom.toml")]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:50051].
    #[arg(long, value_name = "ADDRESS", env = "AROM_LISTEN")]
    pub listen: Option<String>,
    /// Most bytes in one text [default: 65536].
    #[arg(long, value_name = "BYTES", env = "AROM_MAX_TEXT_BYTES")]
    pub max_text_bytes: Option<usize>,
    /// Most texts in one batch [default: 256].
    #[arg(long, value_name = "N", env = "AROM_MAX_BATCH_SIZE")]
    pub max_batch_size: Option<usize>,
    /// Most bytes in one message [default: 4194304].
    #[arg(long, value_name = "BYTES", env = "AROM_MAX_MESSAGE_BYTES")]
    pub max_message_bytes: Option<usize>,
    /// Most tokens that wait for a worker; beyond that callers are told to retry [default: 131072].
    #[arg(long, value_name = "TOKENS", env = "AROM_INBOX_TOKENS")]
    pub inbox_tokens: Option<usize>,
    /// How long accepted requests may take to finish after SIGTERM [default: 30].
    #[arg(long, value_name = "SECONDS", env = "AROM_SHUTDOWN_GRACE_SECONDS")]
    pub shutdown_grace_seconds: Option<u64>,
}

/// Shape of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The settings file. Every key may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    model: ModelTable,
    scoring: ScoringTable,
    server: ServerTable,
    log: LogTable,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ModelTable {
    bundle: Option<PathBuf>,
    runtime_library: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ScoringTable {
    workers: Option<usize>,
    inbox_tokens: Option<usize>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ServerTable {
    listen: Option<String>,
    max_text_bytes: Option<usize>,
    max_batch_size: Option<usize>,
    max_message_bytes: Option<usize>,
    shutdown_grace_seconds: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LogTable {
    filter: Option<String>,
    format: Option<LogFormat>,
}

/// Settings that have passed every check.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the model bundle.
    pub bundle: PathBuf,
    /// The ONNX Runtime library, if one was named.
    pub runtime_library: Option<PathBuf>,
    /// Settings of the scorer.
    pub scoring: ScoringConfig,
    /// Settings of the server.
    pub server: ServerConfig,
    /// What to log.
    pub log_filter: String,
    /// Shape of the log lines.
    pub log_format: LogFormat,
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The settings file cannot be read.
    #[error("cannot read settings file {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The settings file is not TOML of the expected shape.
    #[error("settings file {}", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// The line and what is wrong with it.
        #[source]
        cause: Box<toml::de::Error>,
    },
    /// Values out of range, all of them.
    #[error("settings out of range:\n  {}", .0.join("\n  "))]
    Invalid(Vec<String>),
}

impl ConfigError {
    /// One value out of range.
    pub fn invalid(fault: String) -> Self {
        Self::Invalid(vec![fault])
    }
}

impl Config {
    /// Settings from all their sources.
    ///
    /// # Errors
    ///
    /// Lists every value out of range with its flag and key.
    pub fn resolve(common: &CommonArgs, serve: &ServeArgs) -> Result<Self, ConfigError> {
        let file = match &common.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        let mut check = Check::default();
        let common = common.clone();
        let serve = serve.clone();
        let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = common.workers.or(file.scoring.workers).unwrap_or(cpus);
        let inbox_tokens = serve.inbox_tokens.or(file.scoring.inbox_tokens).unwrap_or(131_072);
        let listen = serve.listen.or(file.server.listen).unwrap_or_else(|| "127.0.0.1:50051".to_owned());
        let grace = serve.shutdown_grace_seconds.or(file.server.shutdown_grace_seconds).unwrap_or(30);
        let server = ServerConfig {
            listen: listen.parse().unwrap_or_else(|_| {
                check.fault(format!(
                    "--listen, server.listen: {listen:?} is not an address and port such as 0.0.0.0:50051"
                ));
                SocketAddr::from(([127, 0, 0, 1], 0))
            }),
            max_text_bytes: serve.max_text_bytes.or(file.server.max_text_bytes).unwrap_or(65_536),
            max_batch_size: serve.max_batch_size.or(file.server.max_batch_size).unwrap_or(256),
            max_message_bytes: serve.max_message_bytes.or(file.server.max_message_bytes).unwrap_or(4 << 20),
            shutdown_grace: Duration::from_secs(grace),
        };
        check.range("--workers, scoring.workers", workers, 1, 1024);
        check.range("--inbox-tokens, scoring.inbox_tokens", inbox_tokens, 512, 1 << 30);
        check.range("--max-text-bytes, server.max_text_bytes", server.max_text_bytes, 1, 1 << 24);
        check.range("--max-batch-size, server.max_batch_size", server.max_batch_size, 1, 65_536);
        check.range("--max-message-bytes, server.max_message_bytes", server.max_message_bytes, 1024, 1 << 30);
        if server.max_message_bytes <= server.max_text_bytes {
            check.fault(format!(
                "--max-message-bytes, server.max_message_bytes: {} leaves no room for a text of {} bytes",
                server.max_message_bytes, server.max_text_bytes
            ));
        }
        check.finish()?;
        Ok(Self {
            bundle: common.model.or(file.model.bundle).unwrap_or_else(shipped_bundle),
            runtime_library: common.runtime_library.or(file.model.runtime_library),
            scoring: ScoringConfig { workers, inbox_tokens },
            server,
            log_filter: common.log.or(file.log.filter).unwrap_or_else(|| "info".to_owned()),
            log_format: common.log_format.or(file.log.format).unwrap_or_default(),
        })
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let file = path.to_owned();
    let text = fs::read_to_string(path).map_err(|cause| ConfigError::Read { file: file.clone(), cause })?;
    toml::from_str(&text).map_err(|cause| ConfigError::Parse { file, cause: Box::new(cause) })
}

/// Installed, the bundle lies in `../share/arom` of the executable; in a checkout, in `models`.
fn shipped_bundle() -> PathBuf {
    let installed = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.join("share/arom").join(SHIPPED_BUNDLE)));
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(SHIPPED_BUNDLE);
    installed.filter(|folder| folder.is_dir()).unwrap_or(checkout)
}

/// Gathers faults, so that a person mends all of them in one go.
#[derive(Default)]
struct Check(Vec<String>);

impl Check {
    fn fault(&mut self, fault: String) {
        self.0.push(fault);
    }

    fn range(&mut self, names: &str, value: usize, least: usize, most: usize) {
        if !(least..=most).contains(&value) {
            self.fault(format!("{names}: {value} is not within {least} to {most}"));
        }
    }

    fn finish(self) -> Result<(), ConfigError> {
        if self.0.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(self.0)) }
    }
}

#[cfg(test)]
mod tests;
