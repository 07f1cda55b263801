//! The files of sinks: dead letters, and the folder of JSON Lines.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;

const STORE: &str = "urn:arom:store:1";

/// An erasure may be more batches than one; a later one must not take an earlier one out of the file.
#[test]
fn an_erasure_that_waits_stays_when_the_customer_is_forgotten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dead.jsonl");
    let event =
        |customer: &str, kind: &str| json!({ "subject": format!("customer/{customer}"), "type": kind });
    let (updated, erased) = ("arom.v1.profile.updated", "arom.v1.profile.erased");
    let letters = [event("a", updated), event("b", updated), event("a", erased)];
    let mut file = DeadLetters::open(&path).expect("it opens");
    let locked = file.try_lock().expect("usable").expect("free");
    file.add(&locked, &letters, 1, "gone").expect("written");
    file.forget(&locked, STORE, &BTreeSet::from(["a"])).expect("written");
    let text = fs::read_to_string(&path).expect("readable");
    let left = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let left: Vec<Value> = left.filter_map(|line| line.get("event").cloned()).collect();
    assert_eq!(left, [event("b", updated), event("a", erased)]);
}

fn updated(customer: &str) -> Value {
    json!({ "subject": format!("customer/{customer}"), "type": "arom.v1.profile.updated" })
}

fn add(file: &mut DeadLetters, customer: &str) {
    let locked = file.try_lock().expect("usable").expect("free");
    file.add(&locked, &[updated(customer)], 1, "gone").expect("written");
}

/// The subjects in a file of JSON Lines, of letters or of events.
fn subjects(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("readable");
    let subject = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let event = line.get("event").unwrap_or(&line);
        event.get("subject").and_then(Value::as_str).expect("a subject").to_owned()
    };
    text.lines().map(subject).collect()
}

/// A full disk took half a line, in the middle of a Thai letter: the next one does not stick to it.
#[test]
fn half_a_letter_spoils_no_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dead.jsonl");
    let mut file = DeadLetters::open(&path).expect("it opens");
    add(&mut file, "a");
    let mut bytes = fs::read(&path).expect("readable");
    bytes.extend_from_slice("{\"event\":{\"subject\":\"customer/ข".as_bytes());
    bytes.pop();
    fs::write(&path, bytes).expect("written");
    let mut file = DeadLetters::open(&path).expect("half a line is no reason to refuse");
    add(&mut file, "b");
    assert_eq!(subjects(&path), ["customer/a", "customer/b"]);
}

/// Half a line names a customer as a whole one does: after an erasure it is gone, whether the process was killed before it or no
/// other letter is of them.
#[test]
fn half_a_letter_goes_when_the_file_is_opened_and_with_the_customer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dead.jsonl");
    let mut file = DeadLetters::open(&path).expect("it opens");
    add(&mut file, "b");
    let whole = fs::read(&path).expect("readable");
    let half = [whole.as_slice(), b"{\"event\":{\"subject\":\"customer/ann"].concat();
    fs::write(&path, &half).expect("written");
    let locked = file.try_lock().expect("usable").expect("free");
    drop(DeadLetters::open(&path).expect("it opens"));
    assert_eq!(fs::read(&path).expect("readable"), half, "whoever has it locked may be writing");
    file.forget(&locked, STORE, &BTreeSet::from(["ann"])).expect("written");
    assert_eq!(fs::read(&path).expect("readable"), whole);
    drop(locked);
    fs::write(&path, &half).expect("written");
    drop(DeadLetters::open(&path).expect("it opens"));
    assert_eq!(fs::read(&path).expect("readable"), whole);
}

/// A batch may erase a hundred customers: the letters are read once.
#[test]
fn customers_who_are_erased_together_are_taken_out_together() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dead.jsonl");
    crate::work::assert_grows_with_its_input(30, |size| {
        let mut file = DeadLetters::open(&path).expect("it opens");
        let locked = file.try_lock().expect("usable").expect("free");
        let names: Vec<String> = (0..size).map(|number| format!("c{number}")).collect();
        let letters: Vec<Value> = names.iter().map(|name| updated(name)).collect();
        file.add(&locked, &letters, 1, "gone").expect("written");
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        file.forget(&locked, STORE, &names).expect("written");
        assert_eq!(fs::read(&path).expect("readable"), b"");
    });
}

/// A line that is damaged stays until a person has looked, unless it names a customer who is erased.
#[test]
fn a_damaged_letter_is_not_dropped_in_silence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dead.jsonl");
    let damaged = ["{\"time\":\"customer/ann\"{", "{\"time\":\"customer/bob\"{\u{fffd}"].join("\n") + "\n";
    fs::write(&path, &damaged).expect("written");
    let mut file = DeadLetters::open(&path).expect("it opens");
    add(&mut file, "a");
    assert!(fs::read_to_string(&path).expect("readable").starts_with(&damaged));
    let locked = file.try_lock().expect("usable").expect("free");
    file.forget(&locked, STORE, &BTreeSet::from(["ann"])).expect("written");
    let left = fs::read_to_string(&path).expect("readable");
    assert!(
        !left.contains("ann") && left.contains("customer/bob") && left.contains("customer/a\""),
        "{left}"
    );
}

/// What somebody changed by hand is posted to nobody, and does not go. The file stays one that a sink has written.
#[test]
fn what_was_spoilt_by_hand_stays_and_locks_nobody_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dead.jsonl");
    let mut file = DeadLetters::open(&path).expect("it opens");
    add(&mut file, "gone");
    let spoilt = "DAMAGED{\n7\n{\"time\":\"t\",\"evnt\":{\"subject\":\"customer/x\",\"type\":\"y\"}}\n";
    let whole = json!({ "time": "t", "event": updated("last") }).to_string();
    let before = fs::read_to_string(&path).expect("readable");
    // The last line lacks its end.
    fs::write(&path, [before.as_str(), spoilt, &whole].concat()).expect("written");
    let mut file = DeadLetters::open(&path).expect("it opens");
    let locked = file.try_lock().expect("usable").expect("free");
    file.forget(&locked, STORE, &BTreeSet::from(["gone"])).expect("written");
    drop(locked);
    for _ in 0..2 {
        let mut file = DeadLetters::open(&path).expect("it is a sink's");
        let found = dead_letters::Found::read(&path).expect("readable");
        assert_eq!((found.letters.len(), found.unreadable.len()), (1, 3));
        let locked = file.try_lock().expect("usable").expect("free");
        file.forget(&locked, STORE, &BTreeSet::from(["nobody"])).expect("written");
    }
    let text = fs::read_to_string(&path).expect("readable");
    assert!(["DAMAGED{", "evnt", "customer/last"].iter().all(|part| text.contains(part)), "{text}");
}

/// Two servers may have one file: what one delivers or erases is nothing to the other's letters.
#[test]
fn letters_of_another_store_are_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dead.jsonl");
    let from =
        |store: &str| json!({ "source": store, "subject": "customer/a", "type": "arom.v1.profile.updated" });
    let mut file = DeadLetters::open(&path).expect("it opens");
    let locked = file.try_lock().expect("usable").expect("free");
    file.add(&locked, &[from(STORE), from("urn:arom:store:2")], 1, "gone").expect("written");
    assert_eq!(file.supersede(&locked, &[from("urn:arom:store:2")]).expect("written"), 1);
    let left = dead_letters::Found::read(&path).expect("readable").letters;
    assert_eq!(left.iter().filter_map(|letter| letter.get("event")).collect::<Vec<_>>(), [&from(STORE)]);
    file.forget(&locked, "urn:arom:store:2", &BTreeSet::from(["a"])).expect("written");
    assert_eq!(dead_letters::Found::read(&path).expect("readable").letters.len(), 1);
    file.forget(&locked, STORE, &BTreeSet::from(["a"])).expect("written");
    assert!(dead_letters::Found::read(&path).expect("readable").letters.is_empty());
}

/// Each would write over what the other had delivered.
#[test]
fn two_servers_do_not_write_into_one_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = JsonLinesConfig { folder: folder.path().to_owned(), rotate_bytes: 1 << 20 };
    let one = JsonLines::open(&config).expect("it opens");
    let refused = telemetry::chain(&JsonLines::open(&config).expect_err("refused"));
    assert!(refused.contains("another server writes into this folder"), "{refused}");
    drop(one);
    JsonLines::open(&config).expect("it is free");
}

/// The lock is what the path leads to, for both who use it.
#[test]
fn a_lock_that_was_deleted_locks_nobody_out_and_lets_nobody_in() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dead.jsonl");
    let (one, other) =
        (DeadLetters::open(&path).expect("it opens"), DeadLetters::open(&path).expect("it opens"));
    fs::remove_file(path.with_added_extension("lock")).expect("there");
    let held = one.try_lock().expect("usable").expect("free");
    assert!(other.try_lock().expect("usable").is_none());
    drop(held);
    assert!(other.try_lock().expect("usable").is_some());
}

#[test]
fn a_file_of_json_lines_that_was_taken_away_is_begun_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = folder.path().join("events");
    let (path, aside) = (place.join("profiles.jsonl"), folder.path().join("aside"));
    let mut lines =
        JsonLines::open(&JsonLinesConfig { folder: place.clone(), rotate_bytes: 1 << 20 }).expect("it opens");
    lines.write(&[updated("a")]).expect("written");
    fs::rename(&path, &aside).expect("there");
    lines.write(&[updated("b")]).expect("written");
    assert_eq!(
        (subjects(&aside), subjects(&path)),
        (vec!["customer/a".to_owned()], vec!["customer/b".to_owned()])
    );
    // As `logrotate` does with `copytruncate`.
    fs::write(&path, "").expect("written");
    lines.write(&[updated("c")]).expect("written");
    assert_eq!(subjects(&path), ["customer/c"]);
    // A folder that is gone may be a disk that is not mounted: nothing is written beside it, and nothing counts as delivered.
    fs::rename(&place, folder.path().join("elsewhere")).expect("there");
    let refused = telemetry::chain(&lines.write(&[updated("d")]).expect_err("there is no folder"));
    assert!(refused.contains("profiles.jsonl") && !place.exists(), "{refused}");
    fs::rename(folder.path().join("elsewhere"), &place).expect("there");
    lines.write(&[updated("d")]).expect("written");
    assert_eq!(subjects(&path), ["customer/c", "customer/d"]);
}

/// A key, a settings file or any other file that was named by mistake is neither cut nor added to.
#[test]
fn a_file_that_no_sink_wrote_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let events = folder.path().join("events");
    fs::create_dir(&events).expect("made");
    let (path, key) = (events.join("profiles.jsonl"), folder.path().join("key"));
    let config = JsonLinesConfig { folder: events, rotate_bytes: 1 << 20 };
    let texts = [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "[log]\nfilter = \"info\"",
        "a,b\n1,2\n",
        "{\"type\":\"service_account\"}",
        "{\n  \"a\": 1\n}",
        "{\"text\":\"ดี\"}\n",
    ];
    for text in texts {
        fs::write(&path, text).expect("written");
        JsonLines::open(&config).expect_err("refused");
        DeadLetters::open(&path).expect_err("refused");
        assert_eq!(fs::read_to_string(&path).expect("there"), text);
    }
    // Half a first line of a sink is cut, but not where the file has another name as well.
    let half = "{\"specversion\":\"1.0\",\"id";
    fs::write(&key, half).expect("written");
    fs::remove_file(&path).expect("there");
    fs::hard_link(&key, &path).expect("linked");
    let refused = telemetry::chain(&JsonLines::open(&config).expect_err("refused"));
    assert!(refused.contains("hard link"), "{refused}");
    assert_eq!(fs::read_to_string(&key).expect("there"), half);
    fs::remove_file(&key).expect("there");
    JsonLines::open(&config).expect("it is a sink's");
    assert_eq!(fs::read_to_string(&path).expect("there"), "");
}
