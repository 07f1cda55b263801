//! What is counted and measured, for Prometheus. No text, no customer, no key of theirs is a label.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::connections::Connections;
use super::plain;
use crate::model::{Distributions, Drift, Label, Observation};
use crate::profile::{self, SignalKind};
use crate::scoring::Scored;

/// Texts after which those before the last so many are forgotten: drift is of the last 5,000 to 10,000.
const DRIFT_TEXTS: u64 = 5_000;

/// The outcome of events that the store refused.
const UNAVAILABLE: &str = "unavailable";

/// Every figure of a process; one is made at start and handed to all that measure.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections: Connections,
    requests: Family<Request, Histogram, fn() -> Histogram>,
    unread: Family<Reason, Counter>,
    items: Family<Request, Counter>,
    in_flight: Gauge,
    panics: Counter,
    calls_refused: Family<Outcome, Counter>,
    queue_tokens: Gauge,
    queue_windows: Gauge,
    refused: Counter,
    retry_delays: Histogram,
    cancelled: Counter,
    batch_rows: Histogram,
    batch_tokens: Histogram,
    padding_tokens: Counter,
    steps: Family<Step, Histogram, fn() -> Histogram>,
    cache: Family<Lookup, Counter>,
    cache_entries: Gauge,
    cache_bytes: Gauge,
    labels: Family<LabelName, Counter>,
    confidence: Histogram,
    tokens: Counter,
    unknown_tokens: Counter,
    drift: Family<Drifting, Gauge<f64, AtomicU64>>,
    drift_texts: Gauge,
    watched: Mutex<Option<Watched>>,
    models: Family<ModelName, Gauge>,
    reloads: Family<Outcome, Counter>,
    workers_whole: Gauge,
    resident: Gauge,
    profile_events: Family<Outcome, Counter>,
    profile_commits: Histogram,
    profile_signals: Family<Signalled, Counter>,
    profile_sequence: Gauge,
    profile_swept: Counter,
    profile_sweeps: Counter,
    watchers: Gauge,
    store_writable: Gauge,
    store_outages: Counter,
    disk_free: Gauge,
    disk_total: Gauge,
    clock_trusted: Gauge,
    clock_ahead: Gauge<f64, AtomicU64>,
    clock_unproven: Gauge<f64, AtomicU64>,
    sink_events: Family<Delivery, Counter>,
    sink_behind: Family<Sink, Gauge>,
    dead_letters: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lookup {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LabelName {
    label: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Drifting {
    of: &'static str,
}

/// Recent texts beside those that the model was judged on.
#[derive(Debug)]
struct Watched {
    reference: Distributions,
    /// The texts before those of `now`, of which there are [`DRIFT_TEXTS`] or none.
    before: Distributions,
    now: Distributions,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelName {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Signalled {
    kind: &'static str,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sink {
    sink: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivery {
    sink: &'static str,
    outcome: &'static str,
}

/// From a tenth of a millisecond to the patience of a person.
fn seconds() -> Histogram {
    Histogram::new([
        0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("arom"),
            connections: Connections::default(),
            requests: Family::new_with_constructor(seconds),
            unread: Family::default(),
            items: Family::default(),
            in_flight: Gauge::default(),
            panics: Counter::default(),
            calls_refused: Family::default(),
            queue_tokens: Gauge::default(),
            queue_windows: Gauge::default(),
            refused: Counter::default(),
            retry_delays: seconds(),
            cancelled: Counter::default(),
            batch_rows: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]),
            batch_tokens: Histogram::new([16.0, 32.0, 64.0, 128.0, 256.0, 384.0, 512.0]),
            padding_tokens: Counter::default(),
            steps: Family::new_with_constructor(seconds),
            cache: Family::default(),
            cache_entries: Gauge::default(),
            cache_bytes: Gauge::default(),
            labels: Family::default(),
            confidence: Histogram::new([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0]),
            tokens: Counter::default(),
            unknown_tokens: Counter::default(),
            drift: Family::default(),
            drift_texts: Gauge::default(),
            watched: Mutex::default(),
            models: Family::default(),
            reloads: Family::default(),
            workers_whole: Gauge::default(),
            resident: Gauge::default(),
            profile_events: Family::default(),
            profile_commits: Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0]),
            profile_signals: Family::default(),
            profile_sequence: Gauge::default(),
            profile_swept: Counter::default(),
            profile_sweeps: Counter::default(),
            watchers: Gauge::default(),
            store_writable: Gauge::default(),
            store_outages: Counter::default(),
            disk_free: Gauge::default(),
            disk_total: Gauge::default(),
            clock_trusted: Gauge::default(),
            clock_ahead: Gauge::default(),
            clock_unproven: Gauge::default(),
            sink_events: Family::default(),
            sink_behind: Family::default(),
            dead_letters: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register_with_unit(
            "request_duration",
            "Calls, from their arrival to the end of their answer",
            Unit::Seconds,
            self.requests.clone(),
        );
        registry.register(
            "unread_requests",
            "Requests that were refused before their service saw them, since they could not be read",
            self.unread.clone(),
        );
        registry.register(
            "items",
            "Texts in calls, by the status each was answered with; those whose caller left are not among them",
            self.items.clone(),
        );
        registry.register("calls_in_flight", "Calls that are being answered", self.in_flight.clone());
        registry.register(
            "calls_refused",
            "Calls that found all calls, or those of streams or of their peer, used up",
            self.calls_refused.clone(),
        );
        registry.register(
            "call_panics",
            "Calls that panicked and were answered with INTERNAL",
            self.panics.clone(),
        );
        registry.register("queue_tokens", "Tokens that wait for a worker", self.queue_tokens.clone());
        registry.register("queue_windows", "Windows that wait for a worker", self.queue_windows.clone());
        registry.register(
            "queue_refused_texts",
            "Texts that the queue had no room for",
            self.refused.clone(),
        );
        registry.register_with_unit(
            "retry_delay",
            "How long refused callers were told to stay away",
            Unit::Seconds,
            self.retry_delays.clone(),
        );
        registry.register(
            "queue_cancelled_windows",
            "Windows taken out of the queue because nobody waited for them any more",
            self.cancelled.clone(),
        );
        registry.register("batch_rows", "Windows in one run of the model", self.batch_rows.clone());
        registry.register(
            "batch_tokens",
            "Tokens in one run of the model, without padding",
            self.batch_tokens.clone(),
        );
        registry.register(
            "batch_padding_tokens",
            "Padding in all runs of the model, in tokens",
            self.padding_tokens.clone(),
        );
        registry.register_with_unit(
            "text_duration",
            "Scored texts: time to tokenise, wait, infer, and in all",
            Unit::Seconds,
            self.steps.clone(),
        );
        registry.register("cache_lookups", "Texts looked up in the cache", self.cache.clone());
        registry.register("cache_entries", "Texts in the cache", self.cache_entries.clone());
        registry.register_with_unit(
            "cache_size",
            "Memory of the cache's entries, estimated",
            Unit::Bytes,
            self.cache_bytes.clone(),
        );
        registry.register("labels", "Scored texts by their label", self.labels.clone());
        registry.register(
            "confidence",
            "Probability of the label of texts the model scored",
            self.confidence.clone(),
        );
        registry.register("tokens", "Tokens of scored texts", self.tokens.clone());
        registry.register(
            "unknown_tokens",
            "Tokens of scored texts that the vocabulary does not have",
            self.unknown_tokens.clone(),
        );
        registry.register(
            "drift_stability_index",
            "Population stability index of recent texts beside the model's validation texts; shown from 500 texts on",
            self.drift.clone(),
        );
        registry.register("drift_texts", "Texts that the drift is of", self.drift_texts.clone());
        registry.register("model_info", "1 for the model that serves", self.models.clone());
        registry.register("reloads", "Attempts to load another model while serving", self.reloads.clone());
        registry.register("workers_whole", "1 while every worker works", self.workers_whole.clone());
        registry.register_with_unit(
            "process_resident_memory",
            "Memory of the process in RAM",
            Unit::Bytes,
            self.resident.clone(),
        );
        registry.register("profile_events", "Events by what became of them", self.profile_events.clone());
        registry.register(
            "profile_commit_commands",
            "Events and other commands in one commit of the profile store",
            self.profile_commits.clone(),
        );
        registry.register("profile_signals", "Signals raised and cleared", self.profile_signals.clone());
        registry.register("profile_sequence", "Sequence of the last change", self.profile_sequence.clone());
        registry.register(
            "profile_swept_rows",
            "Rows cleared away because they are older than is kept",
            self.profile_swept.clone(),
        );
        registry.register("profile_sweeps", "Sweeps of the profile store", self.profile_sweeps.clone());
        registry.register(
            "profile_store_writable",
            "1 while the profile store takes writes",
            self.store_writable.clone(),
        );
        registry.register(
            "profile_store_outages",
            "How often the profile store began to take no writes",
            self.store_outages.clone(),
        );
        registry.register_with_unit(
            "profile_disk_free",
            "Room on the disk of the profile store",
            Unit::Bytes,
            self.disk_free.clone(),
        );
        registry.register_with_unit(
            "profile_disk_total",
            "Size of the disk of the profile store",
            Unit::Bytes,
            self.disk_total.clone(),
        );
        registry.register(
            "profile_clock_trusted",
            "1 while the profile store trusts the system's time, 0 while it forgets nothing because it does not",
            self.clock_trusted.clone(),
        );
        registry.register_with_unit(
            "profile_clock_ahead",
            "The system's time less the profile store's",
            Unit::Seconds,
            self.clock_ahead.clone(),
        );
        registry.register_with_unit(
            "profile_clock_unproven",
            "The profile store's time less the time that it is proven to be: the store forgets that much later",
            Unit::Seconds,
            self.clock_unproven.clone(),
        );
        registry.register("profile_watchers", "Streams of WatchProfiles", self.watchers.clone());
        registry.register("sink_events", "Events of sinks by their end", self.sink_events.clone());
        registry.register(
            "sink_behind_changes",
            "Changes that a sink has yet to deliver",
            self.sink_behind.clone(),
        );
        registry.register_with_unit(
            "sink_dead_letters",
            "Size of the webhook's file of dead letters, until they are replayed",
            Unit::Bytes,
            self.dead_letters.clone(),
        );
        self.connections.register(registry);
        let started: Gauge<f64, AtomicU64> = Gauge::default();
        #[allow(
            clippy::disallowed_methods,
            reason = "when the process started, not when a message was written"
        )]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        started.set(now.as_secs_f64());
        registry.register_with_unit("process_start_time", "Start, since 1970", Unit::Seconds, started);
        // What has not happened yet is 0, not missing.
        for step in ["tokenize", "queue", "infer", "total"] {
            drop(self.steps.get_or_create(&Step { step }));
        }
        for result in ["hit", "miss"] {
            self.cache.get_or_create(&Lookup { result }).inc_by(0);
        }
        for label in Label::ALL.map(Label::name) {
            self.labels.get_or_create(&LabelName { label }).inc_by(0);
        }
        self.connections.start_at_zero();
        for outcome in [
            "recorded",
            "duplicate",
            "conflict",
            "too_old",
            "in_future",
            "in_doubt",
            "erased",
            "retracted",
            UNAVAILABLE,
        ] {
            self.profile_events.get_or_create(&Outcome { outcome }).inc_by(0);
        }
        for outcome in ["done", "refused"] {
            self.reloads.get_or_create(&Outcome { outcome }).inc_by(0);
        }
    }

    /// Figures of connections.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// A call has ended.
    pub fn request_done(&self, method: &'static str, status: &'static str, took: Duration) {
        self.requests.get_or_create(&Request { method, status }).observe(took.as_secs_f64());
    }

    /// A request could not be read, and no service saw it.
    pub(crate) fn request_unread(&self, reason: &'static str) {
        self.unread.get_or_create(&Reason { reason }).inc();
    }

    /// A text of a call has its answer.
    pub fn item_done(&self, method: &'static str, status: &'static str) {
        self.items.get_or_create(&Request { method, status }).inc();
    }

    /// Calls that are being answered.
    pub fn in_flight(&self, calls: usize) {
        self.in_flight.set(whole(calls));
    }

    /// A call found no room; `outcome` says what was used up.
    pub fn call_refused(&self, outcome: &'static str) {
        self.calls_refused.get_or_create(&Outcome { outcome }).inc();
    }

    /// A call panicked.
    pub fn call_panicked(&self) {
        self.panics.inc();
    }

    /// What waits for a worker.
    pub fn queue_level(&self, tokens: usize, windows: usize) {
        self.queue_tokens.set(whole(tokens));
        self.queue_windows.set(whole(windows));
    }

    /// A text found no room in the queue.
    pub fn text_refused(&self, retry_after: Duration) {
        self.refused.inc();
        self.told_to_retry(retry_after);
    }

    /// A refused caller was told when to come back.
    pub fn told_to_retry(&self, after: Duration) {
        self.retry_delays.observe(after.as_secs_f64());
    }

    /// A window was taken out of the queue before a worker had it.
    pub fn window_cancelled(&self) {
        self.cancelled.inc();
    }

    /// The model has run once, on rows with so many tokens in all.
    pub fn batch_done<T>(&self, rows: &[Vec<T>], tokens: usize) {
        let longest = rows.iter().map(Vec::len).max().unwrap_or_default();
        self.batch_rows.observe(float(rows.len()));
        self.batch_tokens.observe(float(tokens));
        self.padding_tokens.inc_by((rows.len() * longest - tokens) as u64);
    }

    /// A text was looked up in the cache.
    pub fn cache_asked(&self, hit: bool) {
        self.cache.get_or_create(&Lookup { result: if hit { "hit" } else { "miss" } }).inc();
    }

    /// A text has its score.
    pub fn text_scored(&self, scored: &Scored) {
        let times = &scored.timings;
        for (step, took) in [
            ("tokenize", times.tokenize),
            ("queue", times.queue),
            ("infer", times.infer),
            ("total", times.total),
        ] {
            self.steps.get_or_create(&Step { step }).observe(took.as_secs_f64());
        }
        let label = scored.sentiment.label;
        self.labels.get_or_create(&LabelName { label: label.name() }).inc();
        if scored.window_count > 0 {
            self.confidence.observe(scored.sentiment.probabilities.of(label).into());
            self.tokens.inc_by(scored.token_count as u64);
            self.unknown_tokens.inc_by(scored.unknown_count as u64);
        }
        if let Some(observation) = scored.observation() {
            self.text_observed(&observation);
        }
    }

    /// A text is compared with those that the model was judged on.
    pub fn text_observed(&self, text: &Observation) {
        if let Some(watched) = &mut *self.watched.lock().unwrap_or_else(PoisonError::into_inner) {
            watched.now.count(text);
            if watched.now.texts() >= DRIFT_TEXTS {
                watched.before = std::mem::take(&mut watched.now);
            }
        }
    }

    /// Shows how far recent texts are from those that the model was judged on.
    fn show_drift(&self) {
        let recent = {
            let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            watched.as_ref().map(|watched| {
                let recent = watched.before.clone() + &watched.now;
                watched.reference.drift(&recent)
            })
        };
        self.drift.clear();
        self.drift_texts.set(recent.map_or(0, |drift| i64::try_from(drift.texts).unwrap_or(i64::MAX)));
        if let Some(drift) = recent.filter(|drift| drift.texts >= Drift::LEAST_TEXTS) {
            for (of, index) in drift.figures() {
                self.drift.get_or_create(&Drifting { of }).set(index);
            }
        }
    }

    /// This model serves from now on, and no other; texts are compared with its reference.
    pub fn model_serves(&self, fingerprint: &str, reference: Option<&Distributions>) {
        let watched = reference.map(|reference| Watched {
            reference: reference.clone(),
            before: Distributions::default(),
            now: Distributions::default(),
        });
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = watched;
        self.models.clear();
        self.models.get_or_create(&ModelName { model: fingerprint.to_owned() }).set(1);
    }

    /// Another model was loaded while serving, or refused.
    pub fn reload_tried(&self, done: bool) {
        self.reloads.get_or_create(&Outcome { outcome: if done { "done" } else { "refused" } }).inc();
    }

    /// How the scorer stands: read when somebody asks.
    pub fn scorer_stands(&self, whole_workers: bool, cache: (u64, u64)) {
        self.show_drift();
        self.workers_whole.set(whole_workers.into());
        self.cache_entries.set(i64::try_from(cache.0).unwrap_or(i64::MAX));
        self.cache_bytes.set(i64::try_from(cache.1).unwrap_or(i64::MAX));
    }

    /// A commit of the profile store.
    pub(crate) fn profile_commit(&self, outcomes: &[profile::Outcome]) {
        self.profile_commits.observe(u32::try_from(outcomes.len()).unwrap_or(u32::MAX).into());
        for outcome in outcomes {
            let outcome = match outcome {
                profile::Outcome::Recorded => "recorded",
                profile::Outcome::Duplicate => "duplicate",
                profile::Outcome::Conflict | profile::Outcome::Superseded => "conflict",
                profile::Outcome::TooOld => "too_old",
                profile::Outcome::TooNew => "in_future",
                profile::Outcome::InDoubt => "in_doubt",
                profile::Outcome::Erased => "erased",
                profile::Outcome::Retracted => "retracted",
                profile::Outcome::AlreadyRetracted
                | profile::Outcome::NotFound
                | profile::Outcome::Forgotten(_)
                | profile::Outcome::Done => continue,
            };
            self.profile_events.get_or_create(&Outcome { outcome }).inc();
        }
    }

    /// The profile store refused so many events.
    pub(crate) fn profile_unrecorded(&self, count: usize) {
        let outcome = Outcome { outcome: UNAVAILABLE };
        self.profile_events.get_or_create(&outcome).inc_by(count.try_into().unwrap_or(u64::MAX));
    }

    /// What changed in the profile store.
    pub(crate) fn profile_changed(&self, change: &profile::Change) {
        self.profile_sequence.set(i64::try_from(change.sequence).unwrap_or(i64::MAX));
        for signal in change.signals.iter().flatten() {
            let kind = match signal.kind {
                SignalKind::NegativeShare => "negative_share",
                SignalKind::MoodFell => "mood_fell",
                SignalKind::NegativeRun => "negative_run",
            };
            let phase = if signal.raised { "raised" } else { "cleared" };
            self.profile_signals.get_or_create(&Signalled { kind, phase }).inc();
        }
    }

    /// The profile store was swept.
    pub(crate) fn profile_swept(&self, rows: usize) {
        self.profile_sweeps.inc();
        self.profile_swept.inc_by(rows.try_into().unwrap_or(u64::MAX));
    }

    /// Whether the profile store takes writes, and the room on its disk.
    pub(crate) fn profile_store(&self, writable: bool, space: Option<profile::DiskSpace>) {
        self.store_writable.set(writable.into());
        if let Some(profile::DiskSpace { free, total }) = space {
            self.disk_free.set(i64::try_from(free).unwrap_or(i64::MAX));
            self.disk_total.set(i64::try_from(total).unwrap_or(i64::MAX));
        }
    }

    /// The profile store began to take no writes.
    pub(crate) fn profile_outage(&self) {
        self.store_outages.inc();
    }

    /// How the clock of the profile store stands.
    pub(crate) fn profile_clock(&self, clock: &profile::ClockState) {
        self.clock_trusted.set(clock.distrust.is_none().into());
        self.clock_ahead.set(clock.wall.duration_since(clock.now).as_secs_f64());
        self.clock_unproven.set(clock.now.duration_since(clock.proven).as_secs_f64());
    }

    /// Somebody watches, or does not any more.
    pub(crate) fn watching(&self, more: i64) {
        self.watchers.inc_by(more);
    }

    /// How many watch.
    pub(crate) fn watchers(&self) -> i64 {
        self.watchers.get()
    }

    /// A sink delivered so many events, or gave them up.
    pub fn sink_done(&self, sink: &'static str, outcome: &'static str, events: usize) {
        self.sink_events
            .get_or_create(&Delivery { sink, outcome })
            .inc_by(events.try_into().unwrap_or(u64::MAX));
    }

    /// How far a sink is behind.
    pub fn sink_stands(&self, sink: &'static str, behind: u64) {
        self.sink_behind.get_or_create(&Sink { sink }).set(i64::try_from(behind).unwrap_or(i64::MAX));
    }

    /// How large the file of dead letters is.
    pub fn dead_letters(&self, bytes: u64) {
        self.dead_letters.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Everything, in the older text format of Prometheus (0.0.4).
    pub fn render_plain(&self) -> String {
        plain::plain(&self.render())
    }

    /// Everything, in the OpenMetrics text format.
    pub fn render(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes);
        }
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

/// Memory of this process in RAM, where the system says so.
fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Exact up to 2⁵³.
#[allow(clippy::cast_precision_loss, reason = "rows and tokens of one batch")]
fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
