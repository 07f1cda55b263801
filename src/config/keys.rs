//! The table of every setting: its key in the file, flag, environment variable, range, default and meaning. Flags,
//! help, `examples/arom.toml`, `arom config show` and the table in README.md are all made from it.

use std::net::SocketAddr;

use crate::secret_url::{HIDDEN, SecretUrl};
use crate::telemetry::check_filter;

/// One setting.
#[derive(Debug)]
pub(super) struct Key {
    /// Its place in the settings file: table, dot, key.
    pub(super) name: &'static str,
    pub(super) flag: &'static str,
    pub(super) variable: &'static str,
    pub(super) kind: Kind,
    /// What it is if nothing is said; empty if that depends, and `meaning` then says on what.
    pub(super) default: &'static str,
    pub(super) meaning: &'static str,
    /// Which commands take the flag.
    pub(super) scope: Scope,
}

/// Which commands take a setting as a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All.
    Common,
    /// `arom serve` and `arom config`.
    Serve,
}

/// What a setting may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A whole number within these, in a unit.
    Count { least: u64, most: u64, unit: &'static str },
    /// A number within these.
    Number { least: f64, most: f64 },
    /// An IP address and port.
    Address,
    /// Yes or no.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A file or folder.
    Path(&'static str),
    /// Any text.
    Text(&'static str),
    /// What to log: levels, and names of modules with theirs.
    LogFilter,
    /// A URL, which may hold a password or a token.
    Url,
}

impl Kind {
    /// What stands for the value in help texts.
    pub(super) fn value_name(self) -> &'static str {
        match self {
            Self::Count { unit, .. } => unit,
            Self::Number { .. } => "NUMBER",
            Self::Address => "ADDRESS",
            Self::Choice(_) => "FORMAT",
            Self::Switch => "true|false",
            Self::Path(name) | Self::Text(name) => name,
            Self::LogFilter => "FILTER",
            Self::Url => "URL",
        }
    }

    /// Whether the settings file writes it between quotes.
    pub(super) fn is_quoted(self) -> bool {
        match self {
            Self::Count { .. } | Self::Number { .. } | Self::Switch => false,
            Self::Address | Self::Choice(_) | Self::Path(_) | Self::Text(_) | Self::LogFilter | Self::Url => {
                true
            }
        }
    }

    /// Whether its value may hold a secret, so that it is never printed whole.
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::Url)
    }

    /// A value as it may be printed.
    pub(super) fn shown(self, value: &str) -> String {
        if self.is_secret() { SecretUrl::from(value.to_owned()).to_string() } else { value.to_owned() }
    }

    /// What is wrong with a value, if anything.
    pub(super) fn fault(self, value: &str) -> Option<String> {
        let fault = match self {
            Self::Count { least, most, .. } => match value.parse::<u64>() {
                Ok(count) if (least..=most).contains(&count) => return None,
                Ok(_) => format!("{value} is not within {least} to {most}"),
                Err(_) => format!("{value:?} is not a whole number within {least} to {most}"),
            },
            Self::Number { least, most } => match value.parse::<f64>() {
                Ok(number) if (least..=most).contains(&number) => return None,
                Ok(_) | Err(_) => format!("{value:?} is not a number within {least} to {most}"),
            },
            Self::Address => match value.parse::<SocketAddr>() {
                Ok(_) => return None,
                Err(_) => format!("{value:?} is not an address and port such as 0.0.0.0:50051"),
            },
            Self::Switch if matches!(value, "true" | "false") => return None,
            Self::Switch => format!("{value:?} is not true or false"),
            Self::Choice(words) if words.contains(&value) => return None,
            Self::Choice(words) => format!("{value:?} is not one of {}", words.join(", ")),
            Self::Url if value.contains(HIDDEN) => {
                format!(
                    "holds {HIDDEN}, which stands for a secret that arom does not print; write the whole URL"
                )
            }
            Self::LogFilter if !value.is_empty() => return check_filter(value).err(),
            Self::Path(_) | Self::Text(_) | Self::Url if !value.is_empty() => return None,
            Self::Path(_) | Self::Text(_) | Self::LogFilter | Self::Url => "is empty".to_owned(),
        };
        Some(fault)
    }
}

impl Key {
    const fn common(self) -> Self {
        Self { scope: Scope::Common, ..self }
    }

    /// Table and key in the settings file.
    pub(super) fn place(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }

    /// A value as the settings file writes it.
    pub(super) fn written(&self, value: &str) -> String {
        if self.kind.is_quoted() { toml::Value::from(value).to_string() } else { value.to_owned() }
    }
}

const fn key(
    name: &'static str,
    (flag, variable): (&'static str, &'static str),
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, flag, variable, kind, default, meaning, scope: Scope::Serve }
}

const fn count(least: u64, most: u64, unit: &'static str) -> Kind {
    Kind::Count { least, most, unit }
}

const DAY: u64 = 86_400;

/// Every setting, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    key(
        "model.bundle",
        ("model", "AROM_MODEL"),
        Kind::Path("FOLDER"),
        "",
        "Folder of the model bundle, or one that ships with Arom: arom-base, the default, or arom-fast",
    )
    .common(),
    key(
        "model.runtime_library",
        ("runtime-library", "ORT_DYLIB_PATH"),
        Kind::Path("FILE"),
        "",
        "The ONNX Runtime library; by default beside the executable, in ../lib, or where the build put it",
    )
    .common(),
    key(
        "scoring.workers",
        ("workers", "AROM_WORKERS"),
        count(1, 1024, "N"),
        "",
        "Threads that run the model; by default one for each CPU",
    )
    .common(),
    key(
        "scoring.cache_bytes",
        ("cache-bytes", "AROM_CACHE_BYTES"),
        count(0, 1 << 40, "BYTES"),
        "67108864",
        "Most memory for the answers of texts seen before, kept without the texts; 0 keeps none",
    )
    .common(),
    key(
        "scoring.max_risk",
        ("max-risk", "AROM_MAX_RISK"),
        Kind::Number { least: 0.0, most: 1.0 },
        "0.5",
        "A label that is wrong with a higher probability than this is marked `abstain`",
    )
    .common(),
    key(
        "scoring.catalogue",
        ("catalogue", "AROM_CATALOGUE"),
        Kind::Path("FILE"),
        "",
        "Brands and aspects to look for (TOML); by default the aspects that `arom targets` shows",
    )
    .common(),
    key(
        "scoring.inbox_tokens",
        ("inbox-tokens", "AROM_INBOX_TOKENS"),
        count(512, 1 << 30, "TOKENS"),
        "131072",
        "Most tokens that wait for a worker; beyond that callers are told to retry",
    ),
    key(
        "scoring.max_wait_ms",
        ("max-wait-ms", "AROM_MAX_WAIT_MS"),
        count(1, 600_000, "MS"),
        "150",
        "A caller's first text is refused if it would wait longer for a worker, once 64 others wait",
    ),
    key(
        "server.listen",
        ("listen", "AROM_LISTEN"),
        Kind::Address,
        "127.0.0.1:50051",
        "Address and port for gRPC; port 0 takes a free one",
    ),
    key(
        "server.http_listen",
        ("http-listen", "AROM_HTTP_LISTEN"),
        Kind::Address,
        "",
        "Address and port for /metrics, /healthz and /readyz over HTTP; by default there is none",
    ),
    key(
        "server.max_text_bytes",
        ("max-text-bytes", "AROM_MAX_TEXT_BYTES"),
        count(1, 1 << 24, "BYTES"),
        "65536",
        "Most bytes in one text",
    ),
    key(
        "server.max_batch_size",
        ("max-batch-size", "AROM_MAX_BATCH_SIZE"),
        count(1, 65_536, "N"),
        "256",
        "Most texts in one batch",
    ),
    key(
        "server.max_conversation_messages",
        ("max-conversation-messages", "AROM_MAX_CONVERSATION_MESSAGES"),
        count(1, 1 << 20, "N"),
        "5000",
        "Most messages in one conversation",
    ),
    key(
        "server.max_message_bytes",
        ("max-message-bytes", "AROM_MAX_MESSAGE_BYTES"),
        count(1024, 1 << 30, "BYTES"),
        "4194304",
        "Most bytes in one gRPC message",
    ),
    key(
        "server.max_answer_bytes",
        ("max-answer-bytes", "AROM_MAX_ANSWER_BYTES"),
        count(65_536, 1 << 30, "BYTES"),
        "3670016",
        "Most bytes in one answer; clients take 4 MiB unless told otherwise",
    ),
    key(
        "server.max_request_bytes",
        ("max-request-bytes", "AROM_MAX_REQUEST_BYTES"),
        count(65_536, 1 << 40, "BYTES"),
        "268435456",
        "Most bytes that requests and answers hold at once, with 16 KiB for each call; beyond that callers are told to retry",
    ),
    key(
        "server.max_peer_request_bytes",
        ("max-peer-request-bytes", "AROM_MAX_PEER_REQUEST_BYTES"),
        count(65_536, 1 << 40, "BYTES"),
        "67108864",
        "Most of these bytes of one IP address; behind a proxy set it to max_request_bytes",
    ),
    key(
        "server.max_header_bytes",
        ("max-header-bytes", "AROM_MAX_HEADER_BYTES"),
        count(1024, 1 << 20, "BYTES"),
        "16384",
        "Most bytes in the headers of one call",
    ),
    key(
        "server.max_calls",
        ("max-calls", "AROM_MAX_CALLS"),
        count(1, 1 << 20, "N"),
        "4096",
        "Most calls that are answered at once; beyond that callers are told to retry",
    ),
    key(
        "server.max_peer_calls",
        ("max-peer-calls", "AROM_MAX_PEER_CALLS"),
        count(1, 1 << 20, "N"),
        "3072",
        "Most calls at once of one IP address, streams at most three quarters of them; behind a proxy set it to max_calls",
    ),
    key(
        "server.max_connection_calls",
        ("max-connection-calls", "AROM_MAX_CONNECTION_CALLS"),
        count(1, 1 << 20, "N"),
        "1024",
        "Most calls at once on one connection; its client holds back the rest",
    ),
    key(
        "server.stream_window",
        ("stream-window", "AROM_STREAM_WINDOW"),
        count(1, 65_536, "N"),
        "512",
        "Most texts of one stream on their way at once; beyond that the stream is not read",
    ),
    key(
        "server.stream_idle_seconds",
        ("stream-idle-seconds", "AROM_STREAM_IDLE_SECONDS"),
        count(1, DAY, "SECONDS"),
        "1800",
        "A stream of texts or of a conversation is ended after so long without a message",
    ),
    key(
        "server.keepalive_seconds",
        ("keepalive-seconds", "AROM_KEEPALIVE_SECONDS"),
        count(1, DAY, "SECONDS"),
        "60",
        "A connection is pinged after so long without a word",
    ),
    key(
        "server.keepalive_timeout_seconds",
        ("keepalive-timeout-seconds", "AROM_KEEPALIVE_TIMEOUT_SECONDS"),
        count(1, DAY, "SECONDS"),
        "20",
        "A connection that has not answered a ping in so long is closed",
    ),
    key(
        "server.max_connection_age_seconds",
        ("max-connection-age-seconds", "AROM_MAX_CONNECTION_AGE_SECONDS"),
        count(1, 365 * DAY, "SECONDS"),
        "3600",
        "A connection is told to move on after so long, so that clients find new replicas",
    ),
    key(
        "server.max_connection_age_grace_seconds",
        ("max-connection-age-grace-seconds", "AROM_MAX_CONNECTION_AGE_GRACE_SECONDS"),
        count(1, 365 * DAY, "SECONDS"),
        "3600",
        "How long a connection that was told to move on has to finish its calls",
    ),
    key(
        "server.max_connections",
        ("max-connections", "AROM_MAX_CONNECTIONS"),
        count(1, 1 << 20, "N"),
        "10000",
        "Most open connections; fewer where the limit on open files (ulimit -n) leaves room for fewer",
    ),
    key(
        "server.max_peer_connections",
        ("max-peer-connections", "AROM_MAX_PEER_CONNECTIONS"),
        count(1, 1 << 20, "N"),
        "1000",
        "Most open connections of one client address, and at most three quarters of all",
    ),
    key(
        "server.handshake_timeout_seconds",
        ("handshake-timeout-seconds", "AROM_HANDSHAKE_TIMEOUT_SECONDS"),
        count(1, 3600, "SECONDS"),
        "10",
        "A new connection that has not sent the HTTP/2 preface in so long is closed, as is one that sends the head of an HTTP/1 request too slowly",
    ),
    key(
        "server.max_connection_idle_seconds",
        ("max-connection-idle-seconds", "AROM_MAX_CONNECTION_IDLE_SECONDS"),
        count(1, 365 * DAY, "SECONDS"),
        "900",
        "A connection without a call is told to move on after so long; its client connects again with the next call",
    ),
    key(
        "server.send_timeout_seconds",
        ("send-timeout-seconds", "AROM_SEND_TIMEOUT_SECONDS"),
        count(1, 3600, "SECONDS"),
        "60",
        "A call is reset if its client reads nothing of the answer for so long; a connection from which the client reads nothing at all is closed 10 s later",
    ),
    key(
        "server.web_origins",
        ("web-origins", "AROM_WEB_ORIGINS"),
        Kind::Text("ORIGINS"),
        "",
        "Origins whose pages may call by gRPC-Web, such as https://console.example,http://localhost:3000; * for all; by default none",
    ),
    key(
        "server.listen_when_ready",
        ("listen-when-ready", "AROM_LISTEN_WHEN_READY"),
        Kind::Switch,
        "true",
        "The gRPC port opens when the model is loaded; if false, at once, and calls are UNAVAILABLE until then",
    ),
    key(
        "server.shutdown_delay_seconds",
        ("shutdown-delay-seconds", "AROM_SHUTDOWN_DELAY_SECONDS"),
        count(0, DAY, "SECONDS"),
        "5",
        "How long the server serves on after SIGTERM while readiness and health say that it stops",
    ),
    key(
        "server.shutdown_grace_seconds",
        ("shutdown-grace-seconds", "AROM_SHUTDOWN_GRACE_SECONDS"),
        count(0, DAY, "SECONDS"),
        "30",
        "How long open calls may take to finish after that delay",
    ),
    key(
        "profile.store",
        ("profile-store", "AROM_PROFILE_STORE"),
        Kind::Path("FOLDER"),
        "",
        "Folder in which profiles of customers and brands are kept; by default none are",
    ),
    key(
        "profile.retention_days",
        ("profile-retention-days", "AROM_PROFILE_RETENTION_DAYS"),
        count(90, 3660, "DAYS"),
        "90",
        "Events are taken up to this age, at least 90, and their ids remembered for as long",
    ),
    key(
        "profile.history_hours",
        ("profile-history-hours", "AROM_PROFILE_HISTORY_HOURS"),
        count(1, 8760, "HOURS"),
        "24",
        "How long a watcher that was away can go on from where it was",
    ),
    key(
        "profile.history_changes",
        ("profile-history-changes", "AROM_PROFILE_HISTORY_CHANGES"),
        count(1, 1 << 32, "N"),
        "1000000",
        "Most changes that are kept for those who were away",
    ),
    key(
        "profile.store_must_exist",
        ("profile-store-must-exist", "AROM_PROFILE_STORE_MUST_EXIST"),
        Kind::Switch,
        "false",
        "Refuse to start if profile.store has no store yet, so that a disk which is not mounted is noticed",
    ),
    key(
        "profile.readiness",
        ("profile-readiness", "AROM_PROFILE_READINESS"),
        Kind::Choice(&["ignored", "required"]),
        "ignored",
        "Whether /readyz is 503 while the profile store takes no writes: \"required\", or \"ignored\", so that scoring goes on",
    ),
    key(
        "profile.pseudonym_key_file",
        ("profile-pseudonym-key-file", "AROM_PROFILE_PSEUDONYM_KEY_FILE"),
        Kind::Path("FILE"),
        "",
        "File whose bytes are the key by which customer ids are replaced before anything is kept; by default they are kept as they are",
    ),
    key(
        "signal.share_minutes",
        ("signal-share-minutes", "AROM_SIGNAL_SHARE_MINUTES"),
        count(1, 60, "MINUTES"),
        "15",
        "Minutes whose share of negative events is held against the seven days before",
    ),
    key(
        "signal.share_raise",
        ("signal-share-raise", "AROM_SIGNAL_SHARE_RAISE"),
        Kind::Number { least: 0.0, most: 100.0 },
        "4.0",
        "Standard deviations (root of G) at which a brand's negative share is raised",
    ),
    key(
        "signal.share_clear",
        ("signal-share-clear", "AROM_SIGNAL_SHARE_CLEAR"),
        Kind::Number { least: 0.0, most: 100.0 },
        "2.0",
        "Standard deviations below which it is cleared",
    ),
    key(
        "signal.share_rise",
        ("signal-share-rise", "AROM_SIGNAL_SHARE_RISE"),
        Kind::Number { least: 0.0, most: 1.0 },
        "0.1",
        "How much the share must have risen",
    ),
    key(
        "signal.share_events",
        ("signal-share-events", "AROM_SIGNAL_SHARE_EVENTS"),
        count(1, 1 << 32, "N"),
        "20",
        "Events of these minutes without which nothing is raised; the days before need five times as many",
    ),
    key(
        "signal.mood_raise",
        ("signal-mood-raise", "AROM_SIGNAL_MOOD_RAISE"),
        Kind::Number { least: 0.0, most: 2.0 },
        "0.5",
        "Fall of the trend at which a customer's mood is raised",
    ),
    key(
        "signal.mood_clear",
        ("signal-mood-clear", "AROM_SIGNAL_MOOD_CLEAR"),
        Kind::Number { least: 0.0, most: 2.0 },
        "0.25",
        "Fall below which it is cleared",
    ),
    key(
        "signal.run_raise",
        ("signal-run-raise", "AROM_SIGNAL_RUN_RAISE"),
        count(2, 1000, "N"),
        "3",
        "Negative events of a customer, one after the other, that are a run",
    ),
    key(
        "signal.cool_down_minutes",
        ("signal-cool-down-minutes", "AROM_SIGNAL_COOL_DOWN_MINUTES"),
        count(0, 100_000, "MINUTES"),
        "60",
        "A signal is not raised again within this time",
    ),
    key(
        "signal.silence_minutes",
        ("signal-silence-minutes", "AROM_SIGNAL_SILENCE_MINUTES"),
        count(1, 100_000, "MINUTES"),
        "60",
        "A customer's signal is cleared after this time without events of theirs",
    ),
    key(
        "sink.jsonl_folder",
        ("sink-jsonl-folder", "AROM_SINK_JSONL_FOLDER"),
        Kind::Path("FOLDER"),
        "",
        "Folder in which every change of a profile is written as a line of JSON; by default nowhere",
    ),
    key(
        "sink.jsonl_rotate_bytes",
        ("sink-jsonl-rotate-bytes", "AROM_SINK_JSONL_ROTATE_BYTES"),
        count(4096, 1 << 40, "BYTES"),
        "134217728",
        "A file of it that is so large is closed and the next begun",
    ),
    key(
        "sink.webhook_url",
        ("sink-webhook-url", "AROM_SINK_WEBHOOK_URL"),
        Kind::Url,
        "",
        "Where every change of a profile is posted, as https://cdp.example/hook; by default nowhere",
    ),
    key(
        "sink.webhook_secret_file",
        ("sink-webhook-secret-file", "AROM_SINK_WEBHOOK_SECRET_FILE"),
        Kind::Path("FILE"),
        "",
        "File with the secret by which posts are signed",
    ),
    key(
        "sink.webhook_ca_file",
        ("sink-webhook-ca-file", "AROM_SINK_WEBHOOK_CA_FILE"),
        Kind::Path("FILE"),
        "",
        "Certificates in PEM that are trusted instead of the usual ones",
    ),
    key(
        "sink.webhook_attempts",
        ("sink-webhook-attempts", "AROM_SINK_WEBHOOK_ATTEMPTS"),
        count(1, 1000, "N"),
        "10",
        "How often a post is tried before it goes to the dead letters",
    ),
    key(
        "sink.webhook_timeout_seconds",
        ("sink-webhook-timeout-seconds", "AROM_SINK_WEBHOOK_TIMEOUT_SECONDS"),
        count(1, 600, "SECONDS"),
        "10",
        "How long a post may take",
    ),
    key(
        "sink.webhook_dead_letters",
        ("sink-webhook-dead-letters", "AROM_SINK_WEBHOOK_DEAD_LETTERS"),
        Kind::Path("FILE"),
        "",
        "File for posts that were given up; by default webhook-dead-letters.jsonl in the store",
    ),
    key(
        "log.filter",
        ("log", "AROM_LOG"),
        Kind::LogFilter,
        "info",
        "What to log on stderr, as tracing directives such as \"info\" or \"arom=debug\"",
    )
    .common(),
    key(
        "log.format",
        ("log-format", "AROM_LOG_FORMAT"),
        Kind::Choice(&["text", "json"]),
        "text",
        "Shape of the log lines",
    )
    .common(),
    key(
        "trace.otlp_endpoint",
        ("otlp-endpoint", "AROM_OTLP_ENDPOINT"),
        Kind::Url,
        "",
        "Where to send traces by OTLP over gRPC, such as http://127.0.0.1:4317; by default nowhere",
    ),
    key(
        "trace.otlp_ca_file",
        ("otlp-ca-file", "AROM_OTLP_CA_FILE"),
        Kind::Path("FILE"),
        "",
        "Certificates (PEM) that vouch for an otlp_endpoint at https; by default those of the system",
    ),
    key(
        "trace.sample_ratio",
        ("trace-sample-ratio", "AROM_TRACE_SAMPLE_RATIO"),
        Kind::Number { least: 0.0, most: 1.0 },
        "1.0",
        "Share of the calls that are traced, of those whose caller has not decided",
    ),
];

/// A settings file with every key, as `values` and a note on each have it; a key without a value is a comment.
pub(super) fn as_toml(mut entry: impl FnMut(&Key) -> (Option<String>, Option<String>)) -> String {
    let mut text = String::new();
    let mut table = "";
    for key in KEYS {
        let (found, name) = key.place();
        if found != table {
            text.push_str(if table.is_empty() { "" } else { "\n" });
            text.push_str(&format!("[{found}]\n"));
            table = found;
        }
        let (value, note) = entry(key);
        let note = note.map(|note| format!(" # {note}")).unwrap_or_default();
        text.push_str(&format!("# {}.\n", key.meaning));
        match value {
            Some(value) => text.push_str(&format!("{name} = {}{note}\n", key.written(&value))),
            None => text.push_str(&format!("# {name} = {}{note}\n", key.written(key.kind.value_name()))),
        }
    }
    text
}

/// The table of README.md.
pub(super) fn as_markdown() -> String {
    let mut text =
        String::from("| key | flag | variable | default | meaning |\n| --- | --- | --- | --- | --- |\n");
    for key in KEYS {
        let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        let Key { name, flag, variable, meaning, .. } = key;
        text.push_str(&format!("| `{name}` | `--{flag}` | `{variable}` | {default} | {meaning} |\n"));
    }
    text
}
