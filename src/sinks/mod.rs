//! Sinks: what changes in profiles is delivered outward, at least once, as CloudEvents.
//!
//! Each sink is a thread that watches the store as a client would, delivers, and then has the store remember how far it
//! came. Killed at any moment, it begins again after the last change that it had delivered in full. What is known of a key is read
//! again before each attempt, so that nothing of a customer who was erased leaves any more.

mod dead_letters;
mod envelope;
mod json_lines;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::profile::{Command, Disk, Interest, Keeper, Key, Position, Step, Update, Watcher};
use crate::telemetry::{self, Metrics};
pub use dead_letters::{DeadLetters, Replayed};
use envelope::Envelope;
use json_lines::JsonLines;
pub use webhook::{Webhook, WebhookConfig};

/// Events that are delivered in one go.
const BATCH: usize = 100;

/// How often a sink looks for changes.
const GLANCE: Duration = Duration::from_millis(50);

/// How long a sink waits for a store that refuses.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Where changes go.
#[derive(Clone, Debug, Default)]
pub struct SinkConfig {
    /// The folder of JSON Lines, if any.
    pub json_lines: Option<JsonLinesConfig>,
    /// The webhook, if any.
    pub webhook: Option<WebhookConfig>,
}

/// Where JSON Lines go.
#[derive(Clone, Debug)]
pub struct JsonLinesConfig {
    /// The folder.
    pub folder: PathBuf,
    /// A file that has so many bytes is closed and the next begun.
    pub rotate_bytes: u64,
}

/// Why a sink cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A file or folder of it cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] crate::profile::KeepError),
    /// The webhook cannot be as it is said.
    #[error("{0}")]
    Webhook(String),
}

impl SinkError {
    fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { path, cause }
    }
}

/// The sinks of a store. Dropping them ends their threads, after the delivery that is under way.
#[derive(Debug, Default)]
pub struct Sinks(Vec<(mpsc::SyncSender<()>, JoinHandle<()>)>);

/// One event, and what it is of.
#[derive(Clone, Debug)]
struct Parcel {
    key: Key,
    position: Position,
    update: Update,
}

/// Why a batch was not delivered.
#[derive(Debug)]
enum Undelivered {
    /// The server stops.
    Stopped,
    /// The store cannot be read, for this reason.
    Unreadable(String),
}

/// Why an attempt did not end.
#[derive(Debug)]
enum Failed {
    /// For this reason; it may be tried again after this time.
    Later(String, Duration),
    /// Dead letters are being replayed, and what is newer waits for that.
    Replaying,
}

/// Why a sink does not go on.
#[derive(Debug)]
enum Stall {
    /// The store refuses, for this reason.
    Store(String),
    /// What comes next is not known any more.
    Forgotten,
}

impl Stall {
    fn store(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Store(telemetry::chain(error))
    }
}

/// Somewhere that events go.
#[derive(Debug)]
enum Place {
    JsonLines(JsonLines),
    Webhook(Webhook, DeadLetters),
}

impl Sinks {
    /// Begins to deliver what changes from now on, or since the last that was delivered.
    ///
    /// # Errors
    ///
    /// If a place cannot be used.
    pub fn start(
        keeper: &Arc<Keeper<Disk>>,
        config: &SinkConfig,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, SinkError> {
        let mut places = Vec::new();
        if let Some(config) = &config.json_lines {
            places.push(("jsonl", Place::JsonLines(JsonLines::open(config)?)));
        }
        if let Some(config) = &config.webhook {
            let letters = DeadLetters::open(&config.dead_letters)?;
            places.push(("webhook", Place::Webhook(Webhook::new(config)?, letters)));
        }
        let names = places.iter().map(|(name, _)| (*name).to_owned()).collect();
        keeper.apply_blocking(vec![Command::Sinks(names)])?;
        let mut sinks = Self::default();
        for (name, place) in places {
            let (stop, stopped) = mpsc::sync_channel(1);
            let sink = Sink {
                name,
                place,
                keeper: Arc::clone(keeper),
                envelope: Envelope::of(keeper.book().identity()),
                metrics: Arc::clone(metrics),
                stopped,
            };
            let thread = thread::Builder::new()
                .name(format!("sink {name}"))
                .spawn(move || sink.run())
                .map_err(SinkError::io(std::path::Path::new("a thread")))?;
            sinks.0.push((stop, thread));
        }
        Ok(sinks)
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        let (stops, threads): (Vec<_>, Vec<_>) = self.0.drain(..).unzip();
        drop(stops);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("the thread of a sink died");
            }
        }
    }
}

/// A sink at work.
#[derive(Debug)]
struct Sink {
    name: &'static str,
    place: Place,
    keeper: Arc<Keeper<Disk>>,
    envelope: Envelope,
    metrics: Arc<Metrics>,
    stopped: mpsc::Receiver<()>,
}

/// Waits, unless it is told to stop.
fn rest(stopped: &mpsc::Receiver<()>, time: Duration) -> Result<(), Undelivered> {
    match stopped.recv_timeout(time) {
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => Err(Undelivered::Stopped),
    }
}

impl Sink {
    fn run(mut self) {
        loop {
            match self.deliver() {
                Ok(()) => return,
                Err(Stall::Forgotten) => {
                    let error = "what it has to deliver is forgotten";
                    return tracing::error!(
                        sink = self.name,
                        error,
                        "the sink stands still; restart the server"
                    );
                }
                // The store may take writes again.
                Err(Stall::Store(error)) => {
                    tracing::warn!(sink = self.name, error, "the sink waits for the profile store");
                    if rest(&self.stopped, STORE_PAUSE).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Delivers until it is told to stop.
    fn deliver(&mut self) -> Result<(), Stall> {
        let delivered = self.keeper.book().delivered(self.name).map_err(|error| Stall::store(&error))?;
        let (mut known, begin) = (delivered, Position { next: delivered + 1, parts: 0 });
        let mut watcher = Watcher::new(Arc::clone(&self.keeper), Interest::default(), Some(begin)).patient();
        loop {
            let step = watcher.step(self.keeper.now()).map_err(|error| Stall::store(&error))?;
            let updates = match step {
                Step::Updates(updates) => updates,
                Step::Anew(_) | Step::Lost => return Err(Stall::Forgotten),
            };
            let through = watcher.position().map_or(delivered, |position| position.next - 1);
            let level = updates.is_empty();
            let parcels = updates.into_iter().map(|(position, update)| {
                let key = match &update {
                    Update::Profile(seen) => seen.profile.key.clone(),
                    Update::Gone { key, .. } => key.clone(),
                    Update::Signal(signal) => signal.key.clone(),
                };
                Parcel { key, position, update }
            });
            let parcels: Vec<Parcel> = parcels.collect();
            for batch in parcels.chunks(BATCH) {
                match self.send(batch) {
                    Ok(()) => {}
                    Err(Undelivered::Stopped) => return Ok(()),
                    Err(Undelivered::Unreadable(why)) => return Err(Stall::Store(why)),
                }
            }
            // What was held back is said with a later change; until then it is not delivered.
            if through > known && watcher.has_said_all() {
                known = through;
                let done = Command::Delivered { sink: self.name.to_owned(), through };
                self.keeper.apply_blocking(vec![done]).map_err(|error| Stall::store(&error))?;
            }
            self.metrics.sink_stands(self.name, self.keeper.book().sequence().saturating_sub(through));
            if level && rest(&self.stopped, GLANCE).is_err() {
                return Ok(());
            }
        }
    }

    /// Delivers a batch, however long that takes.
    fn send(&mut self, batch: &[Parcel]) -> Result<(), Undelivered> {
        let mut attempt = 0;
        loop {
            let events = self.events(batch)?;
            if events.is_empty() {
                return Ok(());
            }
            let (failed, wait) = match self.attempt(batch, &events, attempt) {
                Ok(outcome) => {
                    self.metrics.sink_done(self.name, outcome, events.len());
                    return Ok(());
                }
                Err(Failed::Later(failed, wait)) => (failed, wait),
                Err(Failed::Replaying) => {
                    rest(&self.stopped, GLANCE)?;
                    continue;
                }
            };
            tracing::warn!(sink = self.name, attempt, error = failed, "not delivered yet");
            self.metrics.sink_done(self.name, "retried", events.len());
            attempt += 1;
            rest(&self.stopped, wait)?;
        }
    }

    /// The events of a batch, without what is of somebody who was erased meanwhile: that does not leave.
    fn events(&self, batch: &[Parcel]) -> Result<Vec<Value>, Undelivered> {
        let mut events = Vec::with_capacity(batch.len());
        for parcel in batch {
            let known = match &parcel.update {
                Update::Profile(_) | Update::Signal(_) if parcel.key.customer().is_some() => {
                    let found = self.keeper.book().profile(&parcel.key, self.keeper.now());
                    found.map_err(|error| Undelivered::Unreadable(telemetry::chain(&error)))?.is_some()
                }
                Update::Profile(_) | Update::Signal(_) | Update::Gone { .. } => true,
            };
            if known {
                events.push(self.envelope.seal(parcel, self.keeper.now()));
            }
        }
        Ok(events)
    }

    /// Tries once: how it ended, or why it must be tried again.
    fn attempt(&mut self, batch: &[Parcel], events: &[Value], attempt: u32) -> Result<&'static str, Failed> {
        let later =
            |error: &dyn std::error::Error| Failed::Later(telemetry::chain(error), webhook::backoff(attempt));
        match &mut self.place {
            Place::JsonLines(file) => file.write(events).map(|()| "delivered").map_err(|error| later(&error)),
            Place::Webhook(webhook, letters) => {
                let lock = |letters: &DeadLetters| {
                    let locked = letters.try_lock().map_err(|error| later(&error))?;
                    locked.ok_or(Failed::Replaying)
                };
                let erased =
                    batch.iter().filter(|parcel| matches!(parcel.update, Update::Gone { erased: true, .. }));
                for customer in erased.filter_map(|parcel| parcel.key.customer()) {
                    let locked = lock(letters)?;
                    letters.forget(&locked, customer).map_err(|error| later(&error))?;
                }
                // Older events of the same must not be replayed while this is on its way, nor after it.
                let locked = if letters.waits_for(events) { Some(lock(letters)?) } else { None };
                let Err(failed) = webhook.post(events) else {
                    if let Some(locked) = &locked {
                        let subjects = letters.supersede(locked, events).map_err(|error| later(&error))?;
                        tracing::info!(
                            sink = self.name,
                            subjects,
                            "delivered what is newer than dead letters"
                        );
                    }
                    return Ok("delivered");
                };
                if let Some(wait) = webhook.wait(&failed, attempt) {
                    return Err(Failed::Later(telemetry::chain(&failed), wait));
                }
                let reason = failed.to_string();
                let locked = locked.map_or_else(|| lock(letters), Ok)?;
                letters.add(&locked, events, attempt + 1, &reason).map_err(|error| later(&error))?;
                let (sink, events) = (self.name, events.len());
                tracing::error!(sink, events, error = reason, "not delivered; see `arom sink replay`");
                Ok("dead")
            }
        }
    }
}

#[cfg(test)]
mod tests;
