//! What a webhook would not take, one event in a line, until somebody replays it.
//!
//! An event that is delivered later replaces letters of the same source and subject: a profile, or a signal of one kind. A line notes
//! that, and the letters before it are not replayed: they would put the receiver back. An erasure is always replayed. One process at a
//! time writes the file or replays a batch of it, under a lock, so that nothing newer is delivered in the middle of a batch.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::webhook::{PostError, Webhook};
use super::{BATCH, SinkError, lines};
use crate::files;
use crate::profile::Key;

/// The file of a webhook's dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    lock: PathBuf,
    /// What the letters in the file are of.
    waiting: BTreeSet<Matter>,
}

/// The field of a line that holds what was in the file and could not be read.
const UNREADABLE: &str = "unreadable";

/// The type of an event that says that a customer was erased. It is replayed whatever came after it.
const ERASED: &str = "arom.v1.profile.erased";

/// The source and subject of an event, and what of it: later events of the same replace it.
type Matter = (String, String, String);

/// Between two batches of a replay: a server that waits for the file has it meanwhile.
const PAUSE: Duration = Duration::from_millis(200);

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
#[derive(Debug, Default)]
pub struct Replayed {
    /// Events that were delivered.
    pub delivered: usize,
    /// Events that were left out, since newer ones of the same were delivered or follow.
    pub superseded: usize,
    /// Events that are still there.
    pub left: usize,
    /// Lines that cannot be read. They stay in the file.
    pub unreadable: usize,
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
        let lock = path.with_added_extension("lock");
        files::open(&lock, files::options().append(true)).map_err(SinkError::io(&lock))?;
        give_to_service(&lock).map_err(SinkError::io(&lock))?;
        let letters = Self { path: path.to_owned(), lock, waiting: BTreeSet::new() };
        // Another process that has it locked is writing it.
        if let Some(locked) = letters.try_lock()? {
            letters.cut(&locked)?;
        }
        let found = Found::read(path)?;
        if !found.unreadable.is_empty() {
            let (file, lines) = (path.display(), found.unreadable.len());
            tracing::warn!(%file, lines, "lines of the dead letters cannot be read; they stay there");
        }
        let waiting = found.letters.iter().filter_map(|letter| matter(letter.get("event")?)).collect();
        Ok(Self { waiting, ..letters })
    }

    /// The size of the file.
    pub(super) fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    /// Cuts off half a line that a kill or a full disk left at the end: it may name a customer, and was never acknowledged. A whole one
    /// that only lacks its end was written by hand, and gets it.
    fn cut(&self, _: &Locked) -> Result<(), SinkError> {
        let cut = || {
            if !self.path.exists() {
                return Ok(());
            }
            end_last_line(&self.path)?;
            lines::open(&self.path).and_then(|(file, _)| file.sync_all())
        };
        cut().map_err(SinkError::io(&self.path))
    }

    /// The customers whose letters wait.
    pub(super) fn customers(&self) -> BTreeSet<String> {
        let name = |(_, subject, _): &Matter| Key::parse(subject)?.customer().map(str::to_owned);
        self.waiting.iter().filter_map(name).collect()
    }

    /// Locks the file, unless another process has it locked.
    pub(super) fn try_lock(&self) -> Result<Option<Locked>, SinkError> {
        self.lock_by(|file| match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(cause)) => Err(cause),
        })
    }

    /// Locks the file that the path of the lock leads to: somebody may have deleted the one that was locked before.
    fn lock_by(&self, lock: impl Fn(&File) -> io::Result<bool>) -> Result<Option<Locked>, SinkError> {
        let locked = || loop {
            let file = files::open(&self.lock, files::options().append(true))?;
            if !lock(&file)? {
                return Ok(None);
            }
            if lines::is_at(&file, &self.lock)? {
                return Ok(Some(Locked(file)));
            }
        };
        locked().map_err(SinkError::io(&self.lock))
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
        let note = |(source, subject, of): &Matter| json!({ "time": time, "superseded": { "source": source, "subject": subject, "of": of } });
        append(&self.path, replaced.iter().map(note))?;
        self.waiting.retain(|matter| !replaced.contains(matter));
        Ok(replaced.len())
    }

    /// Takes the letters of a store's customers out, but for those that say that the customer was erased.
    pub(super) fn forget(
        &mut self,
        locked: &Locked,
        store: &str,
        customers: &BTreeSet<&str>,
    ) -> Result<(), SinkError> {
        let is_of = |subject: &str| {
            let key = Key::parse(subject);
            key.as_ref().and_then(Key::customer).is_some_and(|customer| customers.contains(customer))
        };
        let part = |line: &Value, name: &str| {
            let found = line.get("event").or_else(|| line.get("superseded"))?.get(name)?;
            found.as_str().map(str::to_owned)
        };
        let is_theirs = |line: &Value| {
            part(line, "source").is_none_or(|source| source == store)
                && part(line, "subject").is_some_and(|subject| is_of(&subject))
        };
        let is_erasure = |line: &Value| line.pointer("/event/type").is_some_and(|kind| kind == ERASED);
        self.cut(locked)?;
        let lines = read(&self.path)?;
        let stays = |line: &&Line| match line {
            Line::Read(value) => is_erasure(value) || !is_theirs(value),
            Line::Unreadable(bytes) => !customers.iter().any(|customer| holds(bytes, customer)),
        };
        let kept: Vec<&Line> = lines.iter().filter(stays).collect();
        if kept.len() < lines.len() {
            replace(&self.path, &kept)?;
        }
        let is_elsewhere = |source: &str| !source.is_empty() && source != store;
        self.waiting.retain(|(source, subject, _)| is_elsewhere(source) || !is_of(subject));
        Ok(())
    }

    /// Posts every letter again that is not superseded; those that are not taken stay. A server may write between two batches: what it
    /// erases is not sent, and what it gives up meanwhile stays for the next time.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn replay(&self, webhook: &Webhook) -> Result<Replayed, SinkError> {
        let mut replayed = Replayed::default();
        let mut first_count = None;
        loop {
            // A server that is delivering something newer is let finish.
            let Some(locked) = self.lock_by(|file| file.lock().map(|()| true))? else { return Ok(replayed) };
            self.cut(&locked)?;
            let Found { letters, superseded, unreadable } = Found::read(&self.path)?;
            let count = *first_count.get_or_insert(letters.len());
            replayed.unreadable = unreadable.len();
            let batch = letters.len().min(BATCH).min(count.saturating_sub(replayed.delivered));
            let events = letters.iter().take(batch).filter_map(|letter| letter.get("event").cloned());
            let events: Vec<Value> = events.collect();
            let posted = if events.is_empty() { Ok(()) } else { webhook.post(&events) };
            let taken = if posted.is_ok() { batch } else { 0 };
            replayed.superseded += superseded;
            replayed.delivered += taken;
            replayed.left = letters.len() - taken;
            if taken + superseded > 0 {
                let left = letters.into_iter().skip(taken).map(Line::Read);
                let rest: Vec<Line> = unreadable.into_iter().map(Line::Unreadable).chain(left).collect();
                replace(&self.path, &rest.iter().collect::<Vec<_>>())?;
            }
            replayed.failed = posted.err();
            if replayed.failed.is_some() || replayed.left == 0 || replayed.delivered >= count {
                return Ok(replayed);
            }
            drop(locked);
            thread::sleep(PAUSE);
        }
    }
}

/// What an event is of; nothing if no later event replaces it.
fn matter(event: &Value) -> Option<Matter> {
    let source = event.get("source").and_then(Value::as_str).unwrap_or_default().to_owned();
    let subject = event.get("subject")?.as_str()?.to_owned();
    let of = match event.get("type")?.as_str()? {
        "arom.v1.profile.updated" | "arom.v1.profile.gone" => "profile",
        "arom.v1.signal.raised" | "arom.v1.signal.cleared" => event.pointer("/data/kind")?.as_str()?,
        _ => return None,
    };
    Some((source, subject, of.to_owned()))
}

/// Whether a line is a letter or a note. What is another was changed by hand, and is posted to nobody.
fn is_ours(line: &Value) -> bool {
    let has =
        |of: &Value, names: &[&str]| names.iter().all(|name| of.get(name).is_some_and(Value::is_string));
    line.get("event").is_some_and(|event| has(event, &["type", "subject"]))
        || line.get("superseded").is_some_and(|note| has(note, &["subject", "of"]))
}

/// A line of the file.
#[derive(Debug)]
enum Line {
    /// A letter, or a note.
    Read(Value),
    /// Bytes that are neither.
    Unreadable(Vec<u8>),
}

/// What is in the file.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The letters that nothing newer replaces.
    pub(super) letters: Vec<Value>,
    /// How many letters something newer replaces.
    superseded: usize,
    pub(super) unreadable: Vec<Vec<u8>>,
}

impl Found {
    pub(super) fn read(path: &Path) -> Result<Self, SinkError> {
        let (mut seen, mut found) = (BTreeSet::new(), Self::default());
        for line in read(path)?.into_iter().rev() {
            let line = match line {
                Line::Read(line) => line,
                Line::Unreadable(bytes) => {
                    found.unreadable.push(bytes);
                    continue;
                }
            };
            if let Some(note) = line.get("superseded") {
                // The notes of older versions have no source.
                let part = |name: &str| note.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                seen.insert((part("source"), part("subject"), part("of")));
                continue;
            }
            let is_new = line.get("event").and_then(matter).is_none_or(|(source, subject, of)| {
                !seen.contains(&(String::new(), subject.clone(), of.clone()))
                    && seen.insert((source, subject, of))
            });
            if is_new {
                found.letters.push(line);
            } else {
                found.superseded += 1;
            }
        }
        found.letters.reverse();
        found.unreadable.reverse();
        Ok(found)
    }
}

/// Writes lines at the end of the file, where a write that was cut off may have left half a line.
fn append(path: &Path, letters: impl Iterator<Item = Value>) -> Result<(), SinkError> {
    let text: String = letters.map(|letter| format!("{letter}\n")).collect();
    let write = || {
        end_last_line(path)?;
        let (file, end) = lines::open(path)?;
        file.write_all_at(text.as_bytes(), end)?;
        file.sync_all()
    };
    write().map_err(SinkError::io(path))
}

/// Puts an end to a last line that is whole but for that.
fn end_last_line(path: &Path) -> io::Result<()> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        bytes => bytes?,
    };
    let last = bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if !serde_json::from_slice::<Value>(last).is_ok_and(|line| is_ours(&line)) {
        return Ok(());
    }
    lines::is_ours_or_free(path)?;
    files::open(path, files::options().append(true))?.write_all(b"\n")
}

/// The whole lines of the file. Half a line at its end was never acknowledged.
fn read(path: &Path) -> Result<Vec<Line>, SinkError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(SinkError::Io { path: path.to_owned(), cause }),
    };
    let whole = bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    let line = |line: &[u8]| match serde_json::from_slice::<Value>(line) {
        Ok(value) if is_ours(&value) => Line::Read(value),
        Ok(value) => {
            let kept = value.get(UNREADABLE).and_then(Value::as_str).map(|kept| kept.as_bytes().to_vec());
            Line::Unreadable(kept.unwrap_or_else(|| line.to_vec()))
        }
        Err(_) => Line::Unreadable(line.to_vec()),
    };
    Ok(whole.filter(|line| !line.trim_ascii().is_empty()).map(line).collect())
}

/// Whether a line that cannot be read has a name in it, as JSON writes it.
fn holds(bytes: &[u8], name: &str) -> bool {
    let name = Value::from(name).to_string();
    let name = name.trim_matches('"').as_bytes();
    name.is_empty() || bytes.windows(name.len()).any(|part| part == name)
}

/// An operator may replay as root what a service goes on to write.
fn give_to_service(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| files::give_to_owner_of(folder, path))
}

fn replace(path: &Path, letters: &[&Line]) -> Result<(), SinkError> {
    let new = path.with_added_extension("new");
    let mut text = Vec::new();
    for letter in letters {
        match letter {
            Line::Read(value) => text.extend_from_slice(value.to_string().as_bytes()),
            // So that every line begins as one of a sink's.
            Line::Unreadable(bytes) => {
                let kept = json!({ "time": Timestamp::now().to_string(), UNREADABLE: String::from_utf8_lossy(bytes) });
                text.extend_from_slice(kept.to_string().as_bytes());
            }
        }
        text.push(b'\n');
    }
    let write = || {
        lines::is_ours_or_free(&new)?;
        let mut file = files::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        give_to_service(&new)?;
        fs::rename(&new, path)?;
        // Without it a power cut may bring back what was taken out.
        files::sync_folder_of(path)
    };
    write().map_err(SinkError::io(path))
}
