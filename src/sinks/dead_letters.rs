//! What a webhook would not take, one event in a line, until somebody replays it.
//!
//! An event that is delivered later replaces letters of the same subject: a profile, or a signal of one kind. A line notes that, and the
//! letters before it are not replayed: they would put the receiver back. An erasure is always replayed. One process at a time
//! writes the file or replays it, under a lock, so that nothing newer is delivered in the middle of a replay.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::webhook::{PostError, Webhook};
use super::{BATCH, SinkError};
use crate::files;
use crate::profile::Key;

/// The file of a webhook's dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    lock: File,
    /// What the letters in the file are of.
    waiting: BTreeSet<Matter>,
}

/// The type of an event that says that a customer was erased. It is replayed whatever came after it.
const ERASED: &str = "arom.v1.profile.erased";

/// What an event is of: later events of the same replace it.
type Matter = (String, String);

/// That this process alone uses the file, for as long as it lives.
#[derive(Debug)]
pub(super) struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing the file would unlock it as well.
        drop(self.0.unlock());
    }
}

/// How a replay went.
#[derive(Debug)]
pub struct Replayed {
    /// Events that were delivered.
    pub delivered: usize,
    /// Events that were left out, since newer ones of the same were delivered or follow.
    pub superseded: usize,
    /// Events that are still there.
    pub left: usize,
    /// Why the first of them was not delivered.
    pub failed: Option<PostError>,
}

impl DeadLetters {
    /// The letters in a file, if there are any.
    ///
    /// # Errors
    ///
    /// If the file, or its folder, cannot be used.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        if let Some(folder) = path.parent() {
            files::create_folder(folder).map_err(SinkError::io(folder))?;
        }
        let lock_path = path.with_added_extension("lock");
        let lock = files::open(&lock_path, files::options().append(true));
        let lock = lock.map_err(SinkError::io(&lock_path))?;
        let (letters, _) = current(read(path)?);
        let waiting = letters.iter().filter_map(|letter| matter(letter.get("event")?)).collect();
        Ok(Self { path: path.to_owned(), lock, waiting })
    }

    /// Locks the file, unless another process has it locked.
    pub(super) fn try_lock(&self) -> Result<Option<Locked>, SinkError> {
        let handle = self.lock.try_clone().map_err(SinkError::io(&self.path))?;
        match handle.try_lock() {
            Ok(()) => Ok(Some(Locked(handle))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(SinkError::Io { path: self.path.clone(), cause }),
        }
    }

    /// Whether letters wait that these events replace once they are delivered.
    pub(super) fn waits_for(&self, events: &[Value]) -> bool {
        !self.waiting.is_empty()
            && events.iter().filter_map(matter).any(|matter| self.waiting.contains(&matter))
    }

    /// Puts events there, on the disk.
    pub(super) fn add(
        &mut self,
        _: &Locked,
        events: &[Value],
        attempts: u32,
        error: &str,
    ) -> Result<(), SinkError> {
        let time = Timestamp::now().to_string();
        let letter =
            |event: &Value| json!({ "time": time, "attempts": attempts, "error": error, "event": event });
        append(&self.path, events.iter().map(letter))?;
        self.waiting.extend(events.iter().filter_map(matter));
        Ok(())
    }

    /// Notes that these events were delivered: letters of the same are not replayed any more. How many subjects these were of.
    pub(super) fn supersede(&mut self, _: &Locked, events: &[Value]) -> Result<usize, SinkError> {
        let delivered: BTreeSet<Matter> = events.iter().filter_map(matter).collect();
        let replaced: BTreeSet<Matter> = self.waiting.intersection(&delivered).cloned().collect();
        let time = Timestamp::now().to_string();
        let note =
            |(subject, of): &Matter| json!({ "time": time, "superseded": { "subject": subject, "of": of } });
        append(&self.path, replaced.iter().map(note))?;
        self.waiting.retain(|matter| !replaced.contains(matter));
        Ok(replaced.len())
    }

    /// Takes a customer's letters out, but for those that say that the customer was erased.
    pub(super) fn forget(&mut self, _: &Locked, customer: &str) -> Result<(), SinkError> {
        let is_of = |subject: &str| Key::parse(subject).is_some_and(|key| key.customer() == Some(customer));
        let lines = read(&self.path)?;
        let subject = |line: &Value| {
            let found = line.pointer("/event/subject").or_else(|| line.pointer("/superseded/subject"));
            found.and_then(Value::as_str).map(str::to_owned)
        };
        let is_erasure = |line: &Value| line.pointer("/event/type").is_some_and(|kind| kind == ERASED);
        let is_kept =
            |line: &&Value| is_erasure(line) || !subject(line).is_some_and(|subject| is_of(&subject));
        let kept: Vec<&Value> = lines.iter().filter(is_kept).collect();
        if kept.len() < lines.len() {
            replace(&self.path, &kept)?;
        }
        self.waiting.retain(|(subject, _)| !is_of(subject));
        Ok(())
    }

    /// Posts every letter again that is not superseded; those that are not taken stay.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn replay(&self, webhook: &Webhook) -> Result<Replayed, SinkError> {
        // A server that is delivering something newer is let finish.
        self.lock.lock().map_err(SinkError::io(&self.path))?;
        let (letters, superseded) = current(read(&self.path)?);
        let mut replayed = Replayed { delivered: 0, superseded, left: letters.len(), failed: None };
        for batch in letters.chunks(BATCH) {
            let events: Vec<Value> = batch.iter().filter_map(|letter| letter.get("event").cloned()).collect();
            if let Err(error) = webhook.post(&events) {
                replayed.failed = Some(error);
                break;
            }
            replayed.delivered += batch.len();
            replayed.left -= batch.len();
        }
        if replayed.delivered + replayed.superseded > 0 {
            let rest: Vec<&Value> = letters.iter().skip(replayed.delivered).collect();
            replace(&self.path, &rest)?;
        }
        self.lock.unlock().map_err(SinkError::io(&self.path))?;
        Ok(replayed)
    }
}

/// What an event is of; nothing if no later event replaces it.
fn matter(event: &Value) -> Option<Matter> {
    let subject = event.get("subject")?.as_str()?.to_owned();
    let of = match event.get("type")?.as_str()? {
        "arom.v1.profile.updated" | "arom.v1.profile.gone" => "profile",
        "arom.v1.signal.raised" | "arom.v1.signal.cleared" => event.pointer("/data/kind")?.as_str()?,
        _ => return None,
    };
    Some((subject, of.to_owned()))
}

/// The letters that nothing newer replaces, and how many others there are.
fn current(lines: Vec<Value>) -> (Vec<Value>, usize) {
    let (mut seen, mut letters, mut superseded) = (BTreeSet::new(), Vec::new(), 0);
    for line in lines.into_iter().rev() {
        if let Some(note) = line.get("superseded") {
            let part = |name: &str| note.get(name).and_then(Value::as_str).map(str::to_owned);
            seen.extend(part("subject").zip(part("of")));
            continue;
        }
        let is_new = line.get("event").and_then(matter).is_none_or(|matter| seen.insert(matter));
        if is_new {
            letters.push(line);
        } else {
            superseded += 1;
        }
    }
    letters.reverse();
    (letters, superseded)
}

fn append(path: &Path, letters: impl Iterator<Item = Value>) -> Result<(), SinkError> {
    let lines: String = letters.map(|letter| format!("{letter}\n")).collect();
    let write = || {
        let mut file = files::open(path, files::options().append(true))?;
        file.write_all(lines.as_bytes())?;
        file.sync_all()
    };
    write().map_err(SinkError::io(path))
}

/// The letters in a file; a line that a crash cut off is none.
fn read(path: &Path) -> Result<Vec<Value>, SinkError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(SinkError::Io { path: path.to_owned(), cause }),
    };
    let mut letters = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(SinkError::io(path))?;
        letters.extend(serde_json::from_str::<Value>(&line).ok());
    }
    Ok(letters)
}

fn replace(path: &Path, letters: &[&Value]) -> Result<(), SinkError> {
    let new = path.with_added_extension("new");
    let lines: String = letters.iter().map(|letter| format!("{letter}\n")).collect();
    let write = || {
        let mut file = files::create(&new)?;
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(SinkError::io(path))
}
