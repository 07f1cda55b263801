use super::super::change::Erased;
use super::super::event::Key;
use super::*;
use crate::work::assert_grows_with_its_input;

fn customers(sequence: u64, numbers: std::ops::Range<usize>) -> Arc<Change> {
    let keys = numbers.map(|number| Some(Key::Customer(format!("c{number}"))));
    Arc::new(Change { sequence, millis: 0, keys: keys.collect(), signals: Vec::new(), erased: Vec::new() })
}

fn erasing(sequence: u64, numbers: std::ops::Range<usize>) -> Arc<Change> {
    let erased = numbers.map(|number| Erased { hash: [0; 16], customer: Some(format!("c{number}")) });
    Arc::new(Change { sequence, millis: 0, keys: Vec::new(), signals: Vec::new(), erased: erased.collect() })
}

fn sequences(recent: &Recent, after: u64, most: usize) -> Option<Vec<u64>> {
    let found = recent.after(after, most)?;
    Some(found.iter().map(|change| change.sequence).collect())
}

#[test]
fn what_is_recent_is_bounded_by_changes_and_by_what_they_name() {
    let mut recent = Recent::default();
    assert_eq!(sequences(&recent, 0, 9), None);
    for sequence in 1..=CHANGES as u64 + 2 {
        recent.push(customers(sequence, 0..1));
    }
    assert_eq!((recent.first(), recent.changes.len()), (Some(3), CHANGES));
    assert_eq!(sequences(&recent, 1, 9), None);
    assert_eq!(sequences(&recent, 2, 3), Some(vec![3, 4, 5]));
    let last = CHANGES as u64 + 2;
    assert_eq!(sequences(&recent, last, 9), Some(Vec::new()));
    for number in 1..=3 {
        recent.push(customers(last + number, 0..PARTS / 2));
    }
    assert_eq!(sequences(&recent, last + 1, 9), Some(vec![last + 2, last + 3]));
    recent.push(customers(last + 4, 0..PARTS + 1));
    assert_eq!(sequences(&recent, last + 3, 9), Some(vec![last + 4]));
    assert_eq!(sequences(&recent, last + 2, 9), None);
    recent.push(erasing(last + 5, 0..3));
    assert_eq!((recent.first(), recent.parts), (Some(last + 5), 3));
}

#[test]
fn only_changes_that_name_whom_was_erased_are_written_anew() {
    let mut recent = Recent::default();
    let (mine, others) = (customers(1, 0..4), customers(2, 4..8));
    recent.push(Arc::clone(&mine));
    recent.push(Arc::clone(&others));
    recent.push(erasing(3, 1..3));
    let found = recent.after(0, 9).expect("it is here");
    let keys: Vec<Option<String>> =
        found.iter().flat_map(|change| &change.keys).map(|key| key.as_ref().map(Key::name)).collect();
    let wanted = ["c0", "", "", "c3", "c4", "c5", "c6", "c7"];
    let wanted = wanted.map(|name| (!name.is_empty()).then(|| format!("customer/{name}")));
    assert_eq!(keys, wanted);
    assert!(found.get(1).is_some_and(|change| Arc::ptr_eq(change, &others)), "it was copied");
    assert!(mine.keys.iter().all(Option::is_some), "who has it keeps it");
}

/// As many erasures as customers that are named.
#[test]
fn a_commit_of_erasures_goes_through_what_is_recent_once() {
    assert_grows_with_its_input(200, |size| {
        let mut recent = Recent::default();
        for part in 0..8 {
            recent.push(customers(part + 1, 0..size));
        }
        recent.push(erasing(9, 0..size));
        assert_eq!(recent.after(0, 9).map(|changes| changes.len()), Some(9));
    });
}
