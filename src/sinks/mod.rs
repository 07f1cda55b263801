//! Sinks: what changes in profiles is delivered outward, at least once, as CloudEvents.
//!
//! Each sink is a thread that watches the store as a client would, delivers, and then has the store remember how far it
//! came. Killed at any moment, it begins again after the last change that it had delivered in full. Before each attempt it looks
//! for customers who were erased meanwhile: what it read of them before the erasure is not sent.

mod dead_letters;
mod envelope;
mod json_lines;
mod lines;
mod webhook;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::profile::{
    Command, Disk, Interest, KeepError, Keeper, Key, Position, Since, Step, Update, Watcher,
};
use crate::telemetry::{self, Metrics};
pub use dead_letters::{DeadLetters, Replayed};
use envelope::Envelope;
use json_lines::JsonLines;
pub(crate) use json_lines::current;
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

impl SinkConfig {
    /// The files of these sinks that hold something else than a sink's lines, by the setting that names each.
    pub fn foreign_files(&self) -> Vec<(&'static str, SinkError)> {
        let lines = self.json_lines.as_ref().map(|lines| ("sink.jsonl_folder", current(&lines.folder)));
        let letters =
            self.webhook.as_ref().map(|webhook| ("sink.webhook_dead_letters", webhook.dead_letters.clone()));
        let refused = |(key, path): (&'static str, PathBuf)| {
            let error = lines::is_ours_or_free(&path).map_err(SinkError::io(&path)).err()?;
            Some((key, error))
        };
        lines.into_iter().chain(letters).filter_map(refused).collect()
    }
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
    Store(#[from] KeepError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
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
        let names: Vec<String> = places.iter().map(|(name, _)| (*name).to_owned()).collect();
        tell_of_dropped(keeper, &names)?;
        let run = getrandom::u32().map_err(|error| SinkError::Random(error.to_string()))?;
        keeper.apply_blocking(vec![Command::Sinks { names, run }])?;
        let book = keeper.book();
        let runs = book.runs().map_err(|error| KeepError::Storage(Arc::new(error)))?;
        let envelope = Envelope::of(book.identity(), runs);
        let mut sinks = Self::default();
        for (name, place) in places {
            // Counters that are there from the start, so that an alert sees the first event of each.
            for outcome in ["delivered", "retried", "dead"] {
                metrics.sink_done(name, outcome, 0);
            }
            let (stop, stopped) = mpsc::sync_channel(1);
            let sink = Sink {
                name,
                place,
                letters_through: book.delivered(name).map_err(|error| KeepError::Storage(Arc::new(error)))?,
                keeper: Arc::clone(keeper),
                envelope: envelope.clone(),
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

/// Says what is not delivered any more, because its sink is not among the settings.
fn tell_of_dropped(keeper: &Keeper<Disk>, names: &[String]) -> Result<(), SinkError> {
    let book = keeper.book();
    let cursors = book.cursors().map_err(|error| KeepError::Storage(Arc::new(error)))?;
    for (sink, through) in cursors.into_iter().filter(|(name, _)| !names.contains(name)) {
        let changes = book.sequence().saturating_sub(through);
        if changes > 0 {
            tracing::warn!(
                sink,
                changes,
                "the settings do not name this sink any more: what it has not delivered is dropped, erasures among it"
            );
        }
    }
    Ok(())
}

/// A sink at work.
#[derive(Debug)]
struct Sink {
    name: &'static str,
    place: Place,
    /// The last change whose erasures the dead letters know.
    letters_through: u64,
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
            self.forget_letters();
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
                match self.send(batch.to_vec(), through) {
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
            self.stands(through);
            if level && rest(&self.stopped, GLANCE).is_err() {
                return Ok(());
            }
        }
    }

    /// Delivers a batch that was read after the change `through`, however long that takes.
    fn send(&mut self, mut batch: Vec<Parcel>, mut through: u64) -> Result<(), Undelivered> {
        let mut attempt = 0;
        loop {
            self.leave_out_erased(&mut batch, &mut through)?;
            if batch.is_empty() {
                return Ok(());
            }
            let now = self.keeper.now();
            let events: Vec<Value> = batch.iter().map(|parcel| self.envelope.seal(parcel, now)).collect();
            let (failed, wait) = match self.attempt(&batch, &events, attempt) {
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
            tracing::warn!(sink = self.name, attempt = attempt + 1, error = failed, "not delivered yet");
            self.metrics.sink_done(self.name, "retried", events.len());
            attempt += 1;
            self.wait(wait, batch.first().map_or(0, |parcel| parcel.position.next.saturating_sub(1)))?;
        }
    }

    /// Waits before the next attempt, and says meanwhile how many changes wait behind the last that was delivered.
    fn wait(&mut self, mut time: Duration, delivered: u64) -> Result<(), Undelivered> {
        while !time.is_zero() {
            self.stands(delivered);
            self.forget_letters();
            let part = time.min(GLANCE);
            rest(&self.stopped, part)?;
            time -= part;
        }
        Ok(())
    }

    /// Takes the letters of customers who were erased out of the file, also while the receiver takes nothing: a replay is not to
    /// send them. What fails is tried again.
    fn forget_letters(&mut self) {
        let Place::Webhook(_, letters) = &mut self.place else { return };
        let book = self.keeper.book();
        loop {
            let changes = match self.keeper.changes(self.letters_through, BATCH) {
                Ok(Since::Changes(changes)) => changes,
                Ok(Since::Forgotten) => {
                    self.letters_through = book.sequence();
                    return;
                }
                Err(_) => return,
            };
            let Some(last) = changes.last() else { return };
            let waiting = letters.customers();
            let erased = changes.iter().filter(|change| !change.erased.is_empty());
            let gone: BTreeSet<&str> = erased
                .flat_map(|change| waiting.iter().filter(|name| book.was_erased(change, name)))
                .map(String::as_str)
                .collect();
            if !gone.is_empty() {
                let Ok(Some(locked)) = letters.try_lock() else { return };
                if letters.forget(&locked, self.envelope.source(), &gone).is_err() {
                    return;
                }
            }
            self.letters_through = last.sequence;
        }
    }

    /// Tells how much is left to do after the change that was delivered last.
    fn stands(&self, delivered: u64) {
        self.metrics.sink_stands(self.name, self.keeper.book().sequence().saturating_sub(delivered));
        if let Place::Webhook(_, letters) = &self.place {
            // `arom sink replay` takes them out, too.
            self.metrics.dead_letters(letters.bytes());
        }
    }

    /// Takes out what is of customers who were erased after the change `through`, and moves that on to the last change. Events that
    /// such a customer has since are told of with their own changes.
    fn leave_out_erased(&self, batch: &mut Vec<Parcel>, through: &mut u64) -> Result<(), Undelivered> {
        loop {
            let since = self.keeper.changes(*through, BATCH);
            let since = since.map_err(|error| Undelivered::Unreadable(telemetry::chain(&error)))?;
            let Since::Changes(changes) = since else {
                let why = "the changes since the last attempt are forgotten";
                return Err(Undelivered::Unreadable(why.to_owned()));
            };
            let Some(last) = changes.last() else { return Ok(()) };
            *through = last.sequence;
            for change in changes.iter().filter(|change| !change.erased.is_empty()) {
                batch.retain(|parcel| {
                    let is_notice = matches!(parcel.update, Update::Gone { erased: true, .. });
                    let customer = parcel.key.customer();
                    is_notice || !customer.is_some_and(|name| self.keeper.book().was_erased(change, name))
                });
            }
        }
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
                let erased: BTreeSet<&str> = erased.filter_map(|parcel| parcel.key.customer()).collect();
                if !erased.is_empty() {
                    let locked = lock(letters)?;
                    letters
                        .forget(&locked, self.envelope.source(), &erased)
                        .map_err(|error| later(&error))?;
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
