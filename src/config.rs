//! Settings: defaults, then the file, then environment variables, then flags; every fault reported at once.

mod keys;
mod layers;
mod otel;
mod protected;
mod together;

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use crate::files::{read_at_most, read_text_at_most};
use crate::grpc::{Origins, OriginsError, ServerConfig};
use crate::profile::{Pseudonyms, Rules, Terms, Upkeep};
use crate::scoring::{Catalogue, CatalogueError, ScoringConfig};
use crate::sinks::{JsonLinesConfig, SinkConfig, Webhook, WebhookConfig};
use crate::telemetry::{self, LogFormat, Sampling, TelemetryConfig, TracesConfig};
use keys::KEYS;
use layers::{Said, Source};
use otel::Otel;
pub(crate) use protected::Protected;

pub use layers::{CommonFlags, ServeFlags};

/// The bundle that is used if none is named.
const DEFAULT_BUNDLE: &str = "arom-base";

/// A catalogue that is larger is none.
const CATALOGUE_BYTES: u64 = 16 << 20;

/// A key or secret that is longer is none.
const SECRET_BYTES: u64 = 64 << 10;

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
    /// Folder of the profile store, if profiles are kept.
    pub profile_store: Option<PathBuf>,
    /// Whether there must be a store in it already.
    pub profile_store_must_exist: bool,
    /// Which events are taken into profiles, and for how long they are kept.
    pub profile_terms: Terms,
    /// For how long changes of profiles stay known, and when the store is swept.
    pub profile_upkeep: Upkeep,
    /// Where changes of profiles are delivered.
    pub sinks: SinkConfig,
    /// What is logged and traced.
    pub telemetry: TelemetryConfig,
    /// Environment variables that begin as Arom's do, and name no setting.
    pub unknown_variables: Vec<String>,
    /// The settings file, if one was named.
    file: Option<PathBuf>,
    said: BTreeMap<&'static str, Said>,
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
    /// The settings file is not TOML.
    #[error("settings file {}, line {line}: {problem}", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Values that cannot be, all of them.
    #[error("settings refused:\n  {}", listed(.0))]
    Invalid(Vec<String>),
}

/// Faults one below the other, the first of many: a file may have as many as lines.
fn listed(faults: &[String]) -> String {
    const SHOWN: usize = 16;
    let more = faults.len().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("and {more} more"));
    let shown = faults.iter().take(SHOWN).map(|fault| layers::shortened(fault));
    shown.chain(more).collect::<Vec<_>>().join("\n  ")
}

impl ConfigError {
    /// One value that cannot be.
    pub fn invalid(fault: String) -> Self {
        Self::Invalid(vec![fault])
    }
}

impl Config {
    /// Settings from all their sources.
    ///
    /// # Errors
    ///
    /// Lists every value that cannot be, with where it was said.
    pub fn resolve(common: &CommonFlags, serve: &ServeFlags) -> Result<Self, ConfigError> {
        let mut faults = Vec::new();
        let otel = Otel::of_environment();
        let said = layers::gather(common, serve, &otel, &mut faults)?;
        let values = Values(&said);
        faults.extend(together::faults(&values));
        let web_origins = values.find::<String>("server.web_origins").unwrap_or_default().parse();
        let web_origins = web_origins.unwrap_or_else(|error: OriginsError| {
            faults.push(format!("server.web_origins: {error}"));
            Origins::None
        });
        let traced = said.contains_key("trace.otlp_endpoint") && !otel.disabled;
        if traced {
            faults.extend(otel.faults.iter().cloned());
        }
        let catalogue = values
            .find::<PathBuf>("scoring.catalogue")
            .map_or_else(|| Ok(Catalogue::default()), |file| read_catalogue(&file));
        let catalogue = Arc::new(catalogue.unwrap_or_else(|found| {
            faults.extend(found);
            Catalogue::default()
        }));
        let key_file = values.find::<PathBuf>("profile.pseudonym_key_file");
        let pseudonyms = key_file.map(|file| pseudonyms(&file)).transpose().unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        if !faults.is_empty() {
            return Err(ConfigError::Invalid(faults));
        }
        let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let config = Self {
            bundle: values.find("model.bundle").map_or_else(|| shipped(Path::new(DEFAULT_BUNDLE)), located),
            runtime_library: values.find("model.runtime_library"),
            scoring: ScoringConfig {
                workers: values.find("scoring.workers").unwrap_or(cpus),
                inbox_tokens: values.get("scoring.inbox_tokens"),
                max_wait: Duration::from_millis(values.get("scoring.max_wait_ms")),
                cache_bytes: values.get("scoring.cache_bytes"),
                catalogue,
            },
            server: ServerConfig {
                listen: values.get("server.listen"),
                http_listen: values.find("server.http_listen"),
                max_risk: values.get("scoring.max_risk"),
                max_text_bytes: values.get("server.max_text_bytes"),
                max_batch_size: values.get("server.max_batch_size"),
                max_conversation_messages: values.get("server.max_conversation_messages"),
                max_message_bytes: values.get("server.max_message_bytes"),
                max_answer_bytes: values.get("server.max_answer_bytes"),
                max_request_bytes: values.get("server.max_request_bytes"),
                max_peer_request_bytes: values.get("server.max_peer_request_bytes"),
                max_header_bytes: values.get("server.max_header_bytes"),
                max_calls: values.get("server.max_calls"),
                max_peer_calls: values.get("server.max_peer_calls"),
                stream_idle: values.seconds("server.stream_idle_seconds"),
                max_connection_calls: values.get("server.max_connection_calls"),
                stream_window: values.get("server.stream_window"),
                pseudonyms,
                readiness_needs_store: values.get::<String>("profile.readiness") == "required",
                keepalive: values.seconds("server.keepalive_seconds"),
                keepalive_timeout: values.seconds("server.keepalive_timeout_seconds"),
                max_connection_age: values.seconds("server.max_connection_age_seconds"),
                max_connection_age_grace: values.seconds("server.max_connection_age_grace_seconds"),
                max_connections: values.get("server.max_connections"),
                max_peer_connections: values.get("server.max_peer_connections"),
                handshake_timeout: values.seconds("server.handshake_timeout_seconds"),
                send_timeout: values.seconds("server.send_timeout_seconds"),
                max_connection_idle: values.seconds("server.max_connection_idle_seconds"),
                web_origins,
                listen_when_ready: values.get("server.listen_when_ready"),
                shutdown_delay: values.seconds("server.shutdown_delay_seconds"),
                shutdown_grace: values.seconds("server.shutdown_grace_seconds"),
                join_within: ServerConfig::default().join_within,
            },
            profile_store: values.find("profile.store"),
            profile_store_must_exist: values.get("profile.store_must_exist"),
            profile_terms: Terms {
                retention: SignedDuration::from_hours(24 * values.get::<i64>("profile.retention_days")),
                rules: Rules {
                    share_minutes: values.get("signal.share_minutes"),
                    share_raise: values.get("signal.share_raise"),
                    share_clear: values.get("signal.share_clear"),
                    share_rise: values.get("signal.share_rise"),
                    share_events: values.get("signal.share_events"),
                    mood_raise: values.get("signal.mood_raise"),
                    mood_clear: values.get("signal.mood_clear"),
                    run_raise: values.get("signal.run_raise"),
                    cool_down: SignedDuration::from_mins(values.get("signal.cool_down_minutes")),
                    silence: SignedDuration::from_mins(values.get("signal.silence_minutes")),
                },
                ..Terms::default()
            },
            profile_upkeep: Upkeep {
                history: SignedDuration::from_hours(values.get("profile.history_hours")),
                history_count: values.get("profile.history_changes"),
                ..Upkeep::default()
            },
            sinks: sinks(&values),
            telemetry: TelemetryConfig {
                filter: values.get("log.filter"),
                format: if values.get::<String>("log.format") == "json" {
                    LogFormat::Json
                } else {
                    LogFormat::Text
                },
                traces: values.find("trace.otlp_endpoint").filter(|_| traced).map(|endpoint| TracesConfig {
                    endpoint,
                    ca_file: values.find("trace.otlp_ca_file"),
                    sampling: values.sampling(&otel),
                }),
            },
            unknown_variables: layers::unknown_variables(),
            file: common.file.clone(),
            said,
        };
        let has_sinks = config.sinks.json_lines.is_some() || config.sinks.webhook.is_some();
        let faults = if has_sinks { config.protected().sink_faults(&config.sinks) } else { Vec::new() };
        if faults.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(faults)) }
    }

    /// Whether what the sinks need is there: the URL, secret and certificates of the webhook, and files that a sink may write to.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub fn check_sinks(&self) -> Result<(), ConfigError> {
        let webhook = self.sinks.webhook.as_ref().map_or(Ok(()), |webhook| Webhook::new(webhook).map(drop));
        let mut faults: Vec<String> =
            webhook.err().map(|error| telemetry::chain(&error)).into_iter().collect();
        let files = self.sinks.foreign_files().into_iter();
        faults.extend(files.map(|(key, error)| format!("{key}: {}", telemetry::chain(&error))));
        if faults.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(faults)) }
    }

    /// The same settings with another bundle: a folder, or the name of one that ships with Arom.
    pub fn with_bundle(&self, bundle: &Path) -> Self {
        Self { bundle: located(bundle.to_owned()), ..self.clone() }
    }

    /// The settings as a file that says them again, with where each comes from. The secrets in URLs are left out.
    pub fn to_toml(&self) -> String {
        keys::as_toml(|key| match self.said.get(key.name) {
            Some(Said { value, source }) => (Some(key.kind.shown(value)), Some(source.to_string())),
            None => (None, self.worked_out(key.name).map(|value| format!("default, here {value}"))),
        })
    }

    /// The files that no output may be: those that the settings name, the one that they stand in, the model's, the program's and the
    /// store's.
    pub(crate) fn protected(&self) -> Protected {
        Protected::of(self)
    }

    /// The settings that differ in another reading, and that a running server does not take over.
    pub fn needing_restart(&self, other: &Self) -> Vec<&'static str> {
        const RELOADED: [&str; 2] = ["model.bundle", "scoring.catalogue"];
        let value = |config: &Self, name: &str| config.said.get(name).map(|said| said.value.clone());
        let names = KEYS.iter().map(|key| key.name).filter(|name| !RELOADED.contains(name));
        names.filter(|name| value(self, name) != value(other, name)).collect()
    }

    /// The value of a setting whose default depends on the machine.
    fn worked_out(&self, name: &str) -> Option<String> {
        match name {
            "model.bundle" => Some(self.bundle.display().to_string()),
            "scoring.workers" => Some(self.scoring.workers.to_string()),
            _ => None,
        }
    }
}

/// Every setting with its default, as a settings file.
pub fn default_toml() -> String {
    keys::as_toml(|key| (Some(key.default.to_owned()).filter(|value| !value.is_empty()), None))
}

/// Every setting, as the table in README.md.
pub fn markdown_table() -> String {
    keys::as_markdown()
}

/// Values that the table of keys has checked.
struct Values<'a>(&'a BTreeMap<&'static str, Said>);

impl Values<'_> {
    fn find<T: FromStr>(&self, name: &str) -> Option<T> {
        debug_assert!(KEYS.iter().any(|key| key.name == name), "{name} is in the table");
        self.0.get(name).and_then(|said| said.value.parse().ok())
    }

    fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn get<T: FromStr>(&self, name: &str) -> T {
        self.find(name).expect("a key with a default has a value, and its kind was checked")
    }

    /// OpenTelemetry's own variable decides where Arom's settings leave it open.
    fn sampling(&self, otel: &Otel) -> Sampling {
        let key = "trace.sample_ratio";
        let open = self.0.get(key).is_none_or(|said| said.source == Source::Default);
        if open && otel.sampler { Sampling::Environment } else { Sampling::Share(self.get(key)) }
    }

    fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.get(name))
    }
}

/// The other names of customers, under the key in a file.
fn pseudonyms(file: &Path) -> Result<Pseudonyms, String> {
    let fault = |problem: String| format!("profile.pseudonym_key_file: {}: {problem}", file.display());
    let key = read_at_most(file, SECRET_BYTES).map_err(|cause| fault(cause.to_string()))?;
    if key.len() < 16 {
        return Err(fault(format!("{} bytes are too few, use 32", key.len())));
    }
    Ok(Pseudonyms::new(&key))
}

/// Where changes of profiles are delivered.
fn sinks(values: &Values<'_>) -> SinkConfig {
    let beside =
        || values.find::<PathBuf>("profile.store").map(|store| store.join("webhook-dead-letters.jsonl"));
    let json_lines = values
        .find("sink.jsonl_folder")
        .map(|folder| JsonLinesConfig { folder, rotate_bytes: values.get("sink.jsonl_rotate_bytes") });
    let webhook = values.find("sink.webhook_url").zip(values.find("sink.webhook_secret_file"));
    let webhook = webhook.map(|(url, secret_file)| WebhookConfig {
        url,
        secret_file,
        ca_file: values.find("sink.webhook_ca_file"),
        attempts: values.get("sink.webhook_attempts"),
        timeout: values.seconds("sink.webhook_timeout_seconds"),
        dead_letters: values.find("sink.webhook_dead_letters").or_else(beside).unwrap_or_default(),
    });
    SinkConfig { json_lines, webhook }
}

/// The catalogue in a file, or all that is wrong with it.
fn read_catalogue(file: &Path) -> Result<Catalogue, Vec<String>> {
    let name = file.display();
    let text = read_text_at_most(file, CATALOGUE_BYTES)
        .map_err(|cause| vec![format!("scoring.catalogue: cannot read {name}: {cause}")])?;
    Catalogue::parse(&text).map_err(|error| match error {
        CatalogueError::Parse(cause) => vec![format!("{name}: {}", layers::shortened(&cause.to_string()))],
        CatalogueError::Invalid(faults) => {
            faults.into_iter().map(|fault| format!("{name}, {fault}")).collect()
        }
    })
}

/// Installed, a bundle lies in `../share/arom` of the executable; in a checkout, in `models`.
fn shipped(name: &Path) -> PathBuf {
    let installed = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.join("share/arom").join(name)));
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
    installed.filter(|folder| folder.is_dir()).unwrap_or(checkout)
}

/// A folder, or where there is none, the one of a bundle that ships with Arom by that name.
fn located(bundle: PathBuf) -> PathBuf {
    let shipped = shipped(&bundle);
    if !bundle.exists() && shipped.is_dir() { shipped } else { bundle }
}

#[cfg(test)]
mod tests;
