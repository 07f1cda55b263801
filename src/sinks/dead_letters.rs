//! What a webhook would not take, one event in a line, until somebody replays it.
//!
//! An event that is delivered later replaces letters of the same subject: a profile, or a signal of one kind. A line notes that, and the
//! letters before it are not replayed: they would put the receiver back. An erasure is always replayed. One process at a time
//! writes the file or replays it, under a lock, so that nothing newer is delivered in the middle of a replay.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

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

    /// Cuts off half a line that a kill or a full disk left at the end: it may name a customer, and was never acknowledged.
    fn cut(&self, _: &Locked) -> Result<(), SinkError> {
        if !self.path.exists() {
            return Ok(());
        }
        let cut = lines::open(&self.path).and_then(|(file, _)| file.sync_all());
        cut.map_err(SinkError::io(&self.path))
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
        let note =
            |(subject, of): &Matter| json!({ "time": time, "superseded": { "subject": subject, "of": of } });
        append(&self.path, replaced.iter().map(note))?;
        self.waiting.retain(|matter| !replaced.contains(matter));
        Ok(replaced.len())
    }

    /// Takes the letters of customers out, but for those that say that the customer was erased.
    pub(super) fn forget(&mut self, locked: &Locked, customers: &BTreeSet<&str>) -> Result<(), SinkError> {
        let is_of = |subject: &str| {
            let key = Key::parse(subject);
            key.as_ref().and_then(Key::customer).is_some_and(|customer| customers.contains(customer))
        };
        let subject = |line: &Value| {
            let found = line.pointer("/event/subject").or_else(|| line.pointer("/superseded/subject"));
            found.and_then(Value::as_str).map(str::to_owned)
        };
        let is_erasure = |line: &Value| line.pointer("/event/type").is_some_and(|kind| kind == ERASED);
        self.cut(locked)?;
        let lines = read(&self.path)?;
        let stays = |line: &&Line| match line {
            Line::Read(value) => is_erasure(value) || !subject(value).is_some_and(|subject| is_of(&subject)),
            Line::Unreadable(bytes) => !customers.iter().any(|customer| holds(bytes, customer)),
        };
        let kept: Vec<&Line> = lines.iter().filter(stays).collect();
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
        let _locked = self.lock_by(|file| file.lock().map(|()| true))?;
        let Found { letters, superseded, unreadable } = Found::read(&self.path)?;
        let mut replayed = Replayed {
            delivered: 0,
            superseded,
            left: letters.len(),
            unreadable: unreadable.len(),
            failed: None,
        };
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
            let left = letters.into_iter().skip(replayed.delivered).map(Line::Read);
            let rest: Vec<Line> = unreadable.into_iter().map(Line::Unreadable).chain(left).collect();
            replace(&self.path, &rest.iter().collect::<Vec<_>>())?;
        }
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
struct Found {
    /// The letters that nothing newer replaces.
    letters: Vec<Value>,
    /// How many letters something newer replaces.
    superseded: usize,
    unreadable: Vec<Vec<u8>>,
}

impl Found {
    fn read(path: &Path) -> Result<Self, SinkError> {
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
                let part = |name: &str| note.get(name).and_then(Value::as_str).map(str::to_owned);
                seen.extend(part("subject").zip(part("of")));
                continue;
            }
            let is_new = line.get("event").and_then(matter).is_none_or(|matter| seen.insert(matter));
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
        let (file, end) = lines::open(path)?;
        file.write_all_at(text.as_bytes(), end)?;
        file.sync_all()
    };
    write().map_err(SinkError::io(path))
}

/// The whole lines of the file. Half a line at its end was never acknowledged.
fn read(path: &Path) -> Result<Vec<Line>, SinkError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(SinkError::Io { path: path.to_owned(), cause }),
    };
    let whole = bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    let line = |line: &[u8]| match serde_json::from_slice(line) {
        Ok(value) => Line::Read(value),
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
            Line::Unreadable(bytes) => text.extend_from_slice(bytes),
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
