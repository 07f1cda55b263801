//! Dead letters of a customer who is erased.

use std::fs;

use serde_json::json;

use super::*;

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
    file.forget(&locked, "a").expect("written");
    let text = fs::read_to_string(&path).expect("readable");
    let left = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let left: Vec<Value> = left.filter_map(|line| line.get("event").cloned()).collect();
    assert_eq!(left, [event("b", updated), event("a", erased)]);
}
