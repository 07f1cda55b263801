//! A webhook: batches of CloudEvents by HTTPS POST, signed as Standard Webhooks has it.
//!
//! The body is a JSON array, `application/cloudevents-batch+json`. `webhook-signature` is `v1,` and the base64 of HMAC-SHA-256 over
//! `webhook-id.webhook-timestamp.body` (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//! What answers 2xx has it. 408, 425, 429, 5xx and broken connections are tried again, as `Retry-After` says or with exponential
//! back-off and full jitter; any other status is final.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tonic::transport::Uri;
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::SinkError;
use crate::files::read_at_most;
use crate::secret_url::SecretUrl;
use crate::telemetry::chain;

/// The first wait; each later one may be twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A secret that is longer is none.
const SECRET_BYTES: u64 = 64 << 10;

/// Certificates that are larger are none; those of all public authorities are 220 KB.
const CERTIFICATES_BYTES: u64 = 16 << 20;

/// Where events are posted.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// An https URL; http is taken to this machine only.
    pub url: SecretUrl,
    /// The file that holds the secret: its bytes, or `whsec_` and their base64.
    pub secret_file: PathBuf,
    /// Certificates in PEM that are trusted instead of the usual ones.
    pub ca_file: Option<PathBuf>,
    /// How often a batch is tried before it is given up.
    pub attempts: u32,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// The file for what was given up.
    pub dead_letters: PathBuf,
}

/// A webhook that is posted to.
pub struct Webhook {
    url: SecretUrl,
    secret: Vec<u8>,
    attempts: u32,
    agent: Agent,
}

impl fmt::Debug for Webhook {
    /// Without its secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why a post did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The receiver answered, but not well.
    #[error("the receiver answered {status}")]
    Status {
        /// Its status.
        status: u16,
        /// When it asked to come back.
        retry_after: Option<Duration>,
    },
    /// There was no answer, and what the library says of that, without the secrets of the URL.
    #[error("{0}")]
    Transport(String),
}

impl Webhook {
    /// A webhook as it is said.
    ///
    /// # Errors
    ///
    /// If its URL, secret or certificates cannot be used.
    pub fn new(config: &WebhookConfig) -> Result<Self, SinkError> {
        if !config.url.place().is_some_and(|url| is_safe(&url)) {
            let url = &config.url;
            return Err(SinkError::Webhook(format!(
                "sink.webhook_url: {url:?} is no https URL with a host and a good port; http is taken to 127.0.0.1, [::1] and localhost only"
            )));
        }
        let secret = read_at_most(&config.secret_file, SECRET_BYTES)
            .map_err(unread("secret_file", &config.secret_file))?;
        let secret = secret.trim_ascii();
        let secret = match secret.strip_prefix(b"whsec_") {
            Some(coded) => STANDARD.decode(coded).map_err(|_| {
                SinkError::Webhook("sink.webhook_secret_file: what follows whsec_ is no base64".to_owned())
            })?,
            None => {
                tracing::warn!(
                    "sink.webhook_secret_file has no whsec_ before its secret: it is used byte by byte, while \
                     libraries for Standard Webhooks expect whsec_ and base64"
                );
                secret.to_vec()
            }
        };
        if secret.len() < 16 {
            let problem = format!("sink.webhook_secret_file: {} bytes are too few, use 32", secret.len());
            return Err(SinkError::Webhook(problem));
        }
        let mut tls = TlsConfig::builder();
        if let Some(file) = &config.ca_file {
            let pem = read_at_most(file, CERTIFICATES_BYTES).map_err(unread("ca_file", file))?;
            let certificates = parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            let certificates: Vec<_> = certificates.collect();
            if certificates.is_empty() {
                let problem = format!("sink.webhook_ca_file: {} holds no certificate in PEM", file.display());
                return Err(SinkError::Webhook(problem));
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
        }
        let agent = Agent::config_builder()
            .timeout_global(Some(config.timeout))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("arom/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build()
            .new_agent();
        Ok(Self { url: config.url.clone(), secret, attempts: config.attempts, agent })
    }

    /// Posts a batch.
    ///
    /// # Errors
    ///
    /// If the receiver does not say that it has it.
    pub fn post(&self, events: &[Value]) -> Result<(), PostError> {
        let body = Value::from(events).to_string();
        let id = batch_id(events);
        let time = Timestamp::now().as_second();
        let response = self
            .agent
            .post(self.url.expose())
            .header("content-type", "application/cloudevents-batch+json; charset=utf-8")
            .header("webhook-id", &id)
            .header("webhook-timestamp", time.to_string())
            .header("webhook-signature", self.signature(&id, time, &body))
            .send(&body)
            .map_err(|error| {
                let url = self.url.place();
                // Without the user and password that may stand before it.
                let host = url.as_ref().and_then(|url| url.authority()?.as_str().rsplit('@').next());
                let error = self.url.hide_in(&chain(&error));
                PostError::Transport(format!("{}: {error}", host.unwrap_or_default()))
            })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        Err(PostError::Status { status: status.as_u16(), retry_after: retry_after.map(Duration::from_secs) })
    }

    fn signature(&self, id: &str, time: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("a key of any length is taken");
        mac.update(format!("{id}.{time}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    /// How long to wait before the next attempt after so many; nothing if there is none.
    pub(super) fn wait(&self, failed: &PostError, attempt: u32) -> Option<Duration> {
        if attempt + 1 >= self.attempts {
            return None;
        }
        match failed {
            PostError::Status { status: 408 | 425 | 429 | 500..=599, retry_after } => {
                Some(retry_after.map_or_else(|| backoff(attempt), |asked| asked.min(LONGEST_WAIT)))
            }
            PostError::Status { .. } => None,
            PostError::Transport(_) => Some(backoff(attempt)),
        }
    }
}

/// The id of a batch: the store and the first and last event of it, and a digest of the ids of all. Receivers drop what comes with an
/// id that they know, so no other batch may have it: not one of another store, nor one that begins and ends alike.
fn batch_id(events: &[Value]) -> String {
    let text =
        |event: &Value, name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let id = |event: Option<&Value>| event.map(|event| text(event, "id")).unwrap_or_default();
    let mut digest = Sha256::new();
    for event in events {
        for name in ["source", "id"] {
            digest.update(text(event, name));
            digest.update([0]);
        }
    }
    let digest: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}..{}.{digest}", id(events.first()), id(events.last()))
}

/// Anywhere between nothing and twice as long as before, so that many do not come back at once.
pub(super) fn backoff(attempt: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << attempt.min(16)).min(LONGEST_WAIT);
    let mut random = [0; 4];
    // Without random numbers it is the longest.
    let share = getrandom::fill(&mut random)
        .map_or(1.0, |()| f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX));
    longest.mul_f64(share)
}

/// A file of a setting that cannot be read.
fn unread(key: &str, file: &Path) -> impl FnOnce(std::io::Error) -> SinkError {
    move |cause| SinkError::Webhook(format!("sink.webhook_{key}: cannot read {}: {cause}", file.display()))
}

/// Whether words go there in the clear to this machine only.
fn is_safe(url: &Uri) -> bool {
    let is_here = || url.host().is_some_and(|host| ["127.0.0.1", "[::1]", "localhost"].contains(&host));
    match url.scheme_str() {
        Some("https") => true,
        Some("http") => is_here(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_two_batches_have_one_id() {
        let event = |store: &str, place: &str| json!({ "id": format!("{store}-{place}"), "source": store });
        let of = |store: &str, places: &[&str]| {
            batch_id(&places.iter().map(|place| event(store, place)).collect::<Vec<_>>())
        };
        let first = of("a", &["1-1", "2-1", "3-1"]);
        assert!(first.starts_with("a-1-1..a-3-1."), "{first}");
        assert_eq!(first, of("a", &["1-1", "2-1", "3-1"]), "tried again");
        for other in
            [of("b", &["1-1", "2-1", "3-1"]), of("a", &["1-1", "3-1"]), of("a", &["1-1", "2-2", "3-1"])]
        {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn words_go_in_the_clear_to_this_machine_only() {
        for (url, safe) in [
            ("https://cdp.example/hook", true),
            ("http://127.0.0.1:8080/hook", true),
            ("http://localhost/x", true),
            ("http://[::1]:80", true),
            ("http://cdp.example/hook", false),
            ("http://127.0.0.1.example/", false),
            ("http://localhost@cdp.example/", false),
            ("http://localhost:80@cdp.example/", false),
            ("ftp://127.0.0.1", false),
            ("https://cdp.example:99999/hook", false),
            ("https://cdp.example:0/hook", false),
            ("https://cdp.example:port/hook", false),
            ("https:///hook", false),
            ("https://user:word@cdp.example:8443/hook", true),
        ] {
            let place = SecretUrl::from(url.to_owned()).place();
            assert_eq!(place.is_some_and(|url| is_safe(&url)), safe, "{url}");
        }
    }
}
