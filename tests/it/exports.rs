//! Chat exports of every kind, written by a hand that knew the formats but not these readers, and what stands in each.

use std::fs;
use std::path::PathBuf;

use arom::conversation::{Body, Message, read};
use jiff::Timestamp;
use serde::Deserialize;

use crate::support::repository;

#[derive(Deserialize)]
struct Expected {
    messages: Vec<Line>,
}

/// A message as the golden files have it.
#[derive(Debug, PartialEq, Deserialize)]
struct Line {
    time: Option<Timestamp>,
    sender: Option<String>,
    kind: String,
    text: Option<String>,
}

impl Line {
    fn of(message: &Message) -> Self {
        let text = match &message.body {
            Body::Text(text) => Some(text.clone()),
            Body::Sticker(_) | Body::Media(_) | Body::Notice(_) | Body::Unsent => None,
        };
        let sender = message.sender.name().map(str::to_owned);
        Self { time: message.time, sender, kind: message.body.name().to_owned(), text }
    }
}

#[test]
fn exports_of_every_kind_are_read_as_a_reader_would() {
    let folder = repository().join("tests/data/chats");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| !file.to_string_lossy().ends_with(".expected.json"));
    files.sort();
    assert!(files.len() >= 30);
    let mut faults = Vec::new();
    for file in files {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let golden =
            fs::read_to_string(file.with_file_name(format!("{name}.expected.json"))).expect("readable");
        let Expected { messages } = serde_json::from_str(&golden).expect("what stands in it");
        let transcript = match read(&fs::read(&file).expect("readable"), None) {
            Ok(transcript) => transcript,
            Err(error) => {
                faults.push(format!("{name}: {error}"));
                continue;
            }
        };
        let found: Vec<Line> = transcript.messages.iter().map(Line::of).collect();
        if let Some((at, _)) =
            found.iter().zip(&messages).enumerate().find(|(_, (found, wanted))| found != wanted)
        {
            faults.push(format!(
                "{name}, message {at}:\n  found  {:?}\n  wanted {:?}",
                found[at], messages[at]
            ));
        } else if found.len() != messages.len() {
            faults.push(format!("{name}: {} messages, not {}", found.len(), messages.len()));
        }
        if !transcript.skipped.is_empty() {
            faults.push(format!("{name}: left out {:?}", transcript.skipped));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
