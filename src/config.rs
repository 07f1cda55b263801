//! Settings: defaults, then the file, then environment variables, then flags; every fault reported at once.

mod keys;
mod layers;
mod otel;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
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
use keys::{KEYS, Kind};
use layers::{Said, Source};
use otel::Otel;

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
    #[error("settings file {}: {problem}", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// The line and what is wrong with it.
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
        let (message, text) = ("server.max_message_bytes", "server.max_text_bytes");
        let values = Values(&said);
        if faults.is_empty() && values.get::<u64>(message) <= values.get(text) {
            let (message_bytes, text_bytes) = (values.get::<u64>(message), values.get::<u64>(text));
            faults
                .push(format!("{message}: {message_bytes} leaves no room for a text of {text_bytes} bytes"));
        }
        let (requests, of_peer) = ("server.max_request_bytes", "server.max_peer_request_bytes");
        if faults.is_empty() {
            // One call with the largest message must have room.
            let least = values.get::<u64>(message) + values.get::<u64>("server.max_answer_bytes");
            let too_small = [(of_peer, least), (requests, values.get::<u64>(of_peer))];
            let too_small = too_small.into_iter().filter(|(name, least)| values.get::<u64>(name) < *least);
            faults.extend(too_small.map(|(name, least)| {
                let given = values.get::<u64>(name);
                format!("{name}: {given} is less than {least}, which a largest message and answer, or one peer, may hold")
            }));
        }
        let sound = faults.is_empty();
        for (clear, raise) in
            [("signal.share_clear", "signal.share_raise"), ("signal.mood_clear", "signal.mood_raise")]
        {
            if sound && values.get::<f64>(clear) >= values.get(raise) {
                let (low, high) = (values.get::<f64>(clear), values.get::<f64>(raise));
                faults.push(format!("{clear}: {low} is not below {raise}, {high}"));
            }
        }
        let needs = [
            ("sink.jsonl_folder", "profile.store"),
            ("sink.webhook_url", "profile.store"),
            ("sink.webhook_url", "sink.webhook_secret_file"),
        ];
        for (key, other) in needs {
            if said.contains_key(key) && !said.contains_key(other) {
                faults.push(format!("{key}: needs {other}, which is not set"));
            }
        }
        let web_origins = values.find::<String>("server.web_origins").unwrap_or_default().parse();
        let web_origins = web_origins.unwrap_or_else(|error: OriginsError| {
            faults.push(format!("server.web_origins: {error}"));
            Origins::None
        });
        if sound {
            faults.extend(one_port_twice(&values));
        }
        for key in ["profile.store", "sink.jsonl_folder"] {
            if let Some(path) = values.find::<PathBuf>(key).filter(|path| path.is_file()) {
                faults.push(format!("{key}: {} is a file, and a folder is needed", path.display()));
            }
        }
        let traced = said.contains_key("trace.otlp_endpoint") && !otel.disabled;
        if traced {
            faults.extend(otel.faults.iter().cloned());
        }
        if !faults.is_empty() {
            return Err(ConfigError::Invalid(faults));
        }
        let catalogue = values.find::<PathBuf>("scoring.catalogue");
        let catalogue = catalogue.map_or_else(|| Ok(Catalogue::default()), |file| read_catalogue(&file));
        let catalogue = Arc::new(catalogue.map_err(ConfigError::Invalid)?);
        let pseudonyms = values.find::<PathBuf>("profile.pseudonym_key_file").map(|file| pseudonyms(&file));
        let pseudonyms = pseudonyms.transpose().map_err(ConfigError::invalid)?;
        let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Self {
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
                max_text_bytes: values.get(text),
                max_batch_size: values.get("server.max_batch_size"),
                max_conversation_messages: values.get("server.max_conversation_messages"),
                max_message_bytes: values.get(message),
                max_answer_bytes: values.get("server.max_answer_bytes"),
                max_request_bytes: values.get(requests),
                max_peer_request_bytes: values.get(of_peer),
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
            said,
        })
    }

    /// Whether what the sinks need is there: the URL, secret and certificates of the webhook.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub fn check_sinks(&self) -> Result<(), ConfigError> {
        let webhook = self.sinks.webhook.as_ref().map_or(Ok(()), |webhook| Webhook::new(webhook).map(drop));
        webhook.map_err(|error| ConfigError::invalid(telemetry::chain(&error)))
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

    /// The files that the settings name, the one that they stand in, and the model's: nothing may be written over them.
    pub(crate) fn named_files(&self) -> Vec<PathBuf> {
        let paths = KEYS.iter().filter(|key| matches!(key.kind, Kind::Path(_)));
        let named = paths.filter_map(|key| Some(PathBuf::from(&self.said.get(key.name)?.value)));
        let settings = self.said.values().filter_map(|said| match &said.source {
            Source::File { file, .. } => Some(file.clone()),
            Source::Default | Source::Variable(_) | Source::Flag(_) => None,
        });
        let model = fs::read_dir(&self.bundle).into_iter().flatten();
        let model = model.filter_map(|entry| Some(entry.ok()?.path()));
        named.chain(settings).chain(model).collect()
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

/// Two listeners on one port: the second could not begin. Port 0 is another one each time.
fn one_port_twice(values: &Values<'_>) -> Option<String> {
    let grpc = values.get::<SocketAddr>("server.listen");
    let http = values.find::<SocketAddr>("server.http_listen")?;
    let overlap = grpc.ip() == http.ip() || grpc.ip().is_unspecified() || http.ip().is_unspecified();
    (overlap && grpc.port() == http.port() && grpc.port() != 0)
        .then(|| format!("server.http_listen: {http} is taken by server.listen, {grpc}; choose another port"))
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
