//! What a webhook would not take, one event in a line, until somebody replays it.

use std::fs::{self, File};
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
}

/// How a replay went.
#[derive(Debug)]
pub struct Replayed {
    /// Events that were delivered.
    pub delivered: usize,
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
    /// If the folder of the file cannot be made.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        if let Some(folder) = path.parent() {
            files::create_folder(folder).map_err(SinkError::io(folder))?;
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Where what is being replayed lies meanwhile.
    fn replaying(&self) -> PathBuf {
        self.path.with_added_extension("replaying")
    }

    /// Puts events there, on the disk.
    pub(super) fn add(&self, events: &[Value], attempts: u32, error: &str) -> Result<(), SinkError> {
        let time = Timestamp::now().to_string();
        let letter =
            |event: &Value| json!({ "time": time, "attempts": attempts, "error": error, "event": event });
        append(&self.path, events.iter().map(letter))
    }

    /// Takes a customer's letters out.
    pub(super) fn forget(&self, customer: &str) -> Result<(), SinkError> {
        for path in [self.path.clone(), self.replaying()] {
            let letters = read(&path)?;
            let of = |letter: &Value| {
                let subject = letter.pointer("/event/subject")?.as_str()?;
                Key::parse(subject)?.customer().map(str::to_owned)
            };
            let kept: Vec<&Value> =
                letters.iter().filter(|letter| of(letter).as_deref() != Some(customer)).collect();
            if kept.len() < letters.len() {
                replace(&path, &kept)?;
            }
        }
        Ok(())
    }

    /// Posts every letter again; those that are not taken stay. What is given up meanwhile is not lost.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn replay(&self, webhook: &Webhook) -> Result<Replayed, SinkError> {
        let replaying = self.replaying();
        // What an earlier replay left behind comes first.
        if !replaying.exists() {
            match fs::rename(&self.path, &replaying) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Ok(Replayed { delivered: 0, left: 0, failed: None });
                }
                Err(cause) => return Err(SinkError::Io { path: self.path.clone(), cause }),
            }
        }
        let letters = read(&replaying)?;
        let mut replayed = Replayed { delivered: 0, left: letters.len(), failed: None };
        for batch in letters.chunks(BATCH) {
            let events: Vec<Value> = batch.iter().filter_map(|letter| letter.get("event").cloned()).collect();
            if let Err(error) = webhook.post(&events) {
                replayed.failed = Some(error);
                break;
            }
            replayed.delivered += batch.len();
            replayed.left -= batch.len();
        }
        let rest = letters.iter().skip(replayed.delivered).cloned();
        if replayed.left > 0 {
            append(&self.path, rest)?;
        }
        fs::remove_file(&replaying).map_err(SinkError::io(&replaying))?;
        Ok(replayed)
    }
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
