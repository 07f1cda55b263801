//! What a book refuses, forgets and counts: erasure, conflicts, corrections, ties, and features that no sweep changes.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};

use super::super::event::{Channel, Contribution, Event, Key, Micros};
use super::super::features::{Features, Known};
use super::super::rows::{Audit, encode, everything, owner};
use super::super::signals::SignalKind;
use super::super::storage::Table;
use super::super::storage::memory::Memory;
use super::{Book, Command, Erasure, Held, Outcome, Terms};
use crate::model::Label;

/// The present of these tests: 2026-11-23 04:30 UTC.
const NOW: i64 = 1_795_408_200;

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;

/// So many milliseconds after the present.
fn after(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(NOW * 1000 + millis).expect("a time")
}

fn book() -> Book<Memory> {
    Book::open(Memory::default(), Terms::default(), [7; 32]).expect("an empty storage")
}

/// An event at so many milliseconds after the present; one with a score below 0 is negative.
fn event(id: &str, customer: &str, brands: &[&str], millis: i64, score: f32) -> Event {
    let label = if score < 0.0 { Label::Negative } else { Label::Positive };
    Event {
        id: id.to_owned(),
        customer: (!customer.is_empty()).then(|| customer.to_owned()),
        brands: brands.iter().map(|brand| (*brand).to_owned()).collect(),
        contribution: Contribution {
            time: after(millis),
            label,
            score: Micros::of(score),
            channel: Channel::Social,
        },
    }
}

fn scored(event: Event) -> Command {
    Command::Record { event, content: Vec::new(), replaces: None }
}

fn correcting(event: Event, old: &str) -> Command {
    Command::Record { event, content: Vec::new(), replaces: Some(old.to_owned()) }
}

fn erase(customer: &str) -> Command {
    Command::Erase { customer: customer.to_owned(), from_brands: false }
}

fn at(book: &Book<Memory>, millis: i64, command: Command) -> Outcome {
    let applied = book.apply(&[command], after(millis)).expect("written");
    *applied.outcomes.first().expect("one outcome")
}

fn features(book: &Book<Memory>, key: &Key, millis: i64) -> Features {
    book.profile(key, after(millis)).expect("readable").expect("it is there").features
}

fn count(book: &Book<Memory>, key: &Key) -> i64 {
    let profile = book.profile(key, after(0)).expect("readable");
    profile.map_or(0, |profile| profile.features.windows.last().expect("lifetime").sums.count())
}

fn customer(id: &str) -> Key {
    Key::Customer(id.to_owned())
}

fn brand(id: &str) -> Key {
    Key::Brand(id.to_owned())
}

/// A copy of a book as another program would open it.
fn reopened(book: &Book<Memory>) -> Book<Memory> {
    let rows = book.storage().rows.lock().expect("whole").clone();
    let copy = Memory { rows: Mutex::new(rows), ..Memory::default() };
    Book::open(copy, Terms::default(), [0; 32]).expect("it opens")
}

/// Clears away what is old, as upkeep does.
fn sweep(book: &Book<Memory>, millis: i64) {
    for table in [Table::Ledger, Table::Events, Table::Profiles, Table::Erased, Table::Audit] {
        let (overdue, _) = book.overdue(table, &[], usize::MAX, after(millis)).expect("readable");
        if !overdue.is_empty() {
            at(book, millis, Command::Expire(overdue));
        }
    }
}

/// Clocks of devices may be ahead: what was erased does not come back because it was dated later than its erasure.
#[test]
fn an_erased_event_that_was_ahead_of_the_clock_is_refused_when_it_comes_again() {
    let (book, ahead) = (book(), event("ahead", "c", &["b"], 9 * MINUTE, 0.5));
    assert_eq!(at(&book, 0, scored(ahead.clone())), Outcome::Recorded);
    assert_eq!(at(&book, 1, erase("c")), Outcome::Forgotten(1));
    for millis in [2, 5 * MINUTE, 9 * MINUTE + 1] {
        assert_eq!(at(&book, millis, scored(ahead.clone())), Outcome::Erased, "{millis}");
    }
    let later = event("later", "c", &["b"], 9 * MINUTE + 1, 0.5);
    assert_eq!(at(&book, 9 * MINUTE + 1, scored(later)), Outcome::Recorded);
    // Erased again, the tombstone does not reach less far than before.
    let book = self::book();
    at(&book, 0, scored(ahead.clone()));
    at(&book, 1, erase("c"));
    at(&book, 2, erase("c"));
    assert_eq!(at(&book, 3, scored(ahead.clone())), Outcome::Erased);
    // One that was taken back is among what was erased.
    let book = self::book();
    at(&book, 0, scored(ahead.clone()));
    at(&book, 1, Command::Retract("ahead".to_owned()));
    at(&book, 2, erase("c"));
    assert_eq!(at(&book, 3, scored(ahead)), Outcome::Erased);
}

/// A backup holds neither the erasure nor the event that it took, so the report of erasures says how far the tombstone reaches.
#[test]
fn a_restored_book_refuses_what_was_erased_ahead_of_the_clock() {
    let live = book();
    at(&live, 0, scored(event("early", "c", &["b"], 0, 0.5)));
    let restored = reopened(&live);
    let ahead = event("ahead", "c", &["b"], 9 * MINUTE, 0.5);
    at(&live, 1, scored(ahead.clone()));
    at(&live, 2, erase("c"));
    let erasures = live.erasures(None, None, 10).expect("readable");
    assert_eq!(restored.erase_again(&erasures).expect("written"), 1);
    assert_eq!(at(&restored, 3, scored(ahead)), Outcome::Erased);
    assert_eq!(restored.erasures(None, None, 10).expect("readable"), erasures);
}

/// Records and erasures of one commit, in either order and with the commit before still on its way.
#[test]
fn an_erasure_among_commits_on_their_way_forgets_what_came_before_it() {
    let book = book();
    let (old, new) = (event("old", "c", &["b"], -5, -0.5), event("new", "c", &["b"], 5, 0.5));
    let first = book.prepare(&[scored(old.clone())], after(0), None).expect("readable");
    let commands = [erase("c"), scored(old.clone()), scored(new)];
    let second = book.prepare(&commands, after(0), Some(&first)).expect("readable");
    assert_eq!(second.outcomes, [Outcome::Forgotten(1), Outcome::Erased, Outcome::Recorded]);
    book.commit(&first).expect("written");
    book.commit(&second).expect("written");
    let found = features(&book, &customer("c"), 10);
    assert_eq!((found.negative_run, count(&book, &customer("c"))), (0, 1));
    assert_eq!(at(&book, 20, scored(old)), Outcome::Erased);
}

#[test]
fn the_same_event_said_otherwise_is_the_same_event() {
    let book = book();
    let first = event("x", "c", &["b1", "b2"], -1000, 0.5);
    assert_eq!(at(&book, 0, scored(first.clone())), Outcome::Recorded);
    let with = |change: &dyn Fn(&mut Event)| {
        let mut event = first.clone();
        change(&mut event);
        at(&book, 0, scored(event))
    };
    let rows = book.storage().rows.lock().expect("whole").clone();
    assert_eq!(with(&|_| {}), Outcome::Duplicate);
    assert_eq!(with(&|event| event.brands.reverse()), Outcome::Duplicate);
    let finer = SignedDuration::from_micros(900);
    assert_eq!(with(&|event| event.contribution.time += finer), Outcome::Duplicate, "kept to a millisecond");
    assert_eq!(
        with(&|event| event.contribution.score = Micros::of(0.500_000_4)),
        Outcome::Duplicate,
        "kept to a millionth"
    );
    assert_eq!(*book.storage().rows.lock().expect("whole"), rows, "nothing is written");
    for (what, outcome) in [
        ("score", with(&|event| event.contribution.score = Micros::of(0.500_002))),
        ("label", with(&|event| event.contribution.label = Label::Neutral)),
        ("time", with(&|event| event.contribution.time = after(-999))),
        ("channel", with(&|event| event.contribution.channel = Channel::Review)),
        ("customer", with(&|event| event.customer = Some("d".to_owned()))),
        ("no customer", with(&|event| event.customer = None)),
        ("fewer brands", with(&|event| drop(event.brands.pop()))),
        ("other brands", with(&|event| event.brands = vec!["b1".to_owned(), "b3".to_owned()])),
    ] {
        assert_eq!(outcome, Outcome::Conflict, "{what}");
    }
}

/// Another model scores the same words otherwise; an export has the score and no words.
#[test]
fn an_event_of_words_is_known_by_its_words_or_by_its_score() {
    let book = book();
    let words = |score: f32, text: &str| Command::Record {
        event: event("x", "c", &["b"], -1000, score),
        content: text.as_bytes().to_vec(),
        replaces: None,
    };
    assert_eq!(at(&book, 0, words(0.5, "ดี")), Outcome::Recorded);
    assert_eq!(at(&book, 0, words(0.5, "ดี")), Outcome::Duplicate);
    assert_eq!(at(&book, 0, words(0.25, "ดี")), Outcome::Duplicate, "another model");
    assert_eq!(at(&book, 0, words(-0.25, "แย่")), Outcome::Conflict, "other words");
    assert_eq!(at(&book, 0, scored(event("x", "c", &["b"], -1000, 0.5))), Outcome::Duplicate, "exported");
    assert_eq!(at(&book, 0, scored(event("x", "c", &["b"], -1000, 0.25))), Outcome::Conflict);
}

/// One event has one correction: whoever corrects it again corrects the correction.
#[test]
fn two_corrections_of_one_event_never_count_both() {
    let book = book();
    let (key, taken) = (customer("c"), event("first", "c", &["b"], -10, 0.25));
    at(&book, 0, scored(event("x", "c", &["b"], -10, -0.5)));
    assert_eq!(at(&book, 0, correcting(taken.clone(), "x")), Outcome::Recorded);
    let second = event("second", "c", &["b"], -10, 0.75);
    assert_eq!(at(&book, 0, correcting(second.clone(), "x")), Outcome::Superseded);
    assert_eq!(count(&book, &key), 1);
    assert_eq!(at(&book, 0, correcting(taken, "x")), Outcome::Duplicate, "the first comes again");
    assert_eq!(at(&book, 0, correcting(second, "first")), Outcome::Recorded);
    let found = features(&book, &key, 0);
    assert!(matches!(found.last, Known::Present(last) if last.score == Micros::of(0.75)));
    assert_eq!((count(&book, &key), count(&book, &brand("b"))), (1, 1));
    // What was taken back is not corrected, nor what never was.
    at(&book, 0, Command::Retract("second".to_owned()));
    let third = event("third", "c", &["b"], -10, 0.75);
    assert_eq!(at(&book, 0, correcting(third.clone(), "second")), Outcome::Superseded);
    assert_eq!(at(&book, 0, correcting(third, "never")), Outcome::NotFound);
    assert_eq!(count(&book, &key), 0);
}

/// The same correction may come again after what it corrected is forgotten, and into a store that was filled from an export.
#[test]
fn a_correction_that_comes_again_is_known_if_what_it_corrects_does_not_count() {
    let book = book();
    at(&book, 0, scored(event("x", "c", &["b"], -10, -0.5)));
    let correction = event("y", "d", &["b"], -10, 0.5);
    at(&book, 0, correcting(correction.clone(), "x"));
    at(&book, 1, erase("c"));
    assert_eq!(at(&book, 2, correcting(correction.clone(), "x")), Outcome::Duplicate);
    assert_eq!(at(&book, 2, scored(correction.clone())), Outcome::Duplicate, "as it is exported");
    at(&book, 2, scored(event("z", "d", &["b"], -10, -0.5)));
    assert_eq!(at(&book, 2, correcting(correction, "z")), Outcome::Conflict, "z counts, and would go on so");
    // A correction of what was erased, and taking that back, find nothing.
    assert_eq!(at(&book, 3, correcting(event("w", "d", &["b"], -10, 0.5), "x")), Outcome::NotFound);
    assert_eq!(at(&book, 3, Command::Retract("x".to_owned())), Outcome::NotFound);
    // An erased correction is refused as any event of that customer.
    at(&book, 4, erase("d"));
    assert_eq!(at(&book, 5, correcting(event("y", "d", &["b"], -10, 0.5), "x")), Outcome::Erased);
}

/// Features are of the events and of the moment; when somebody wrote, and when it was swept, is not among these.
#[test]
fn days_since_the_last_negative_do_not_depend_on_who_wrote_when() {
    let since = |book: &Book<Memory>, millis| features(book, &customer("c"), millis).days_since_negative;
    let (quiet, busy) = (book(), book());
    for book in [&quiet, &busy] {
        at(book, 0, scored(event("neg", "c", &["b"], -2 * DAY, -0.5)));
        at(book, 0, scored(event("pos", "c", &["b"], 0, 0.5)));
    }
    assert_eq!(since(&quiet, 87 * DAY), Known::Present(89));
    let later = 89 * DAY;
    at(&busy, later, scored(event("new", "c", &["b"], later, 0.5)));
    at(&busy, later, Command::Retract("new".to_owned()));
    assert_eq!(since(&quiet, later), Known::OutsideRetention, "91 days ago");
    assert_eq!(since(&quiet, later), since(&busy, later));
    sweep(&quiet, later);
    assert_eq!(since(&quiet, later), since(&busy, later));
}

#[test]
fn an_event_of_tomorrow_was_no_day_before_today() {
    let book = book();
    // 23:59 UTC, and 9 minutes later.
    let night = 19 * 3_600_000 + 29 * MINUTE;
    at(&book, night, scored(event("x", "c", &[], night + 9 * MINUTE, -0.5)));
    assert_eq!(features(&book, &customer("c"), night).days_since_negative, Known::Present(0));
}

/// Last event and run are of the events that are kept: whether what is older was swept already does not tell.
#[test]
fn a_sweep_changes_no_feature() {
    let book = book();
    let keys = [customer("c"), brand("b"), Key::Pair { customer: "c".to_owned(), brand: "b".to_owned() }];
    for (id, days) in [("e1", 89), ("e2", 88), ("e3", 1)] {
        at(&book, 0, scored(event(id, "c", &["b"], -days * DAY, -0.5)));
    }
    let all = |book: &Book<Memory>, millis| keys.clone().map(|key| features(book, &key, millis));
    let mut runs = Vec::new();
    for days in [0, 1, 2, 3, 60, 89, 90, 120] {
        let later = days * DAY + 30 * MINUTE;
        let before = all(&book, later);
        sweep(&book, later);
        assert_eq!(before, all(&book, later), "day {days}");
        runs.push(before.map(|features| features.negative_run));
    }
    assert_eq!(runs, [3, 2, 1, 1, 1, 0, 0, 0].map(|run| [run; 3]));
    assert_eq!(all(&book, 120 * DAY).map(|features| features.last), [Known::OutsideRetention; 3]);
}

/// Whoever watches is told that an event is the last no more.
#[test]
fn a_sweep_that_takes_the_last_event_is_a_change() {
    let book = book();
    at(&book, 0, scored(event("x", "c", &["b"], -89 * DAY, -0.5)));
    let before = book.sequence();
    sweep(&book, 2 * DAY);
    let changes = book.changes(before, 10).expect("readable");
    let keys: Vec<String> =
        changes.iter().flat_map(|change| change.keys.iter().flatten()).map(Key::to_string).collect();
    assert_eq!(keys, ["customer/c", "brand/b", "customer/c/brand/b"]);
    let profile = book.profile(&customer("c"), after(2 * DAY)).expect("readable").expect("it is there");
    assert!(profile.revision > before);
}

/// Events of one millisecond: the same events in another order, in a store with another salt, give the same features.
#[test]
fn ties_of_time_are_decided_by_id_in_every_store() {
    let ids = ["e9", "e10", "Z", "ก", "e1", "a/b"];
    let events: Vec<Event> = ids
        .iter()
        .zip(1_i16..)
        .map(|(id, number)| {
            let score = f32::from(number) / 10.0 * if *id == "ก" || *id == "e9" { -1.0 } else { 1.0 };
            event(id, "c", &["b"], -MINUTE, score)
        })
        .collect();
    let keys = [customer("c"), brand("b"), Key::Pair { customer: "c".to_owned(), brand: "b".to_owned() }];
    for (turn, salt) in (0..ids.len()).zip([1, 2, 3, 4, 5, 6]) {
        let book = Book::open(Memory::default(), Terms::default(), [salt; 32]).expect("an empty storage");
        let mut events = events.clone();
        events.rotate_left(turn);
        if turn % 2 == 1 {
            events.reverse();
        }
        // One that is taken back leaves nothing.
        at(&book, 0, scored(event("zz", "c", &["b"], -MINUTE, 0.9)));
        for event in events {
            at(&book, 0, scored(event));
        }
        at(&book, 0, Command::Retract("zz".to_owned()));
        for key in &keys {
            let found = features(&book, key, 0);
            let Known::Present(last) = found.last else { panic!("{:?}", found.last) };
            assert_eq!(
                (last.score, found.negative_run),
                (Micros::of(-0.4), 2),
                "ก and e9 are the last: {key}"
            );
        }
        // Without its name an event comes before those that have one.
        let other = event("~", "d", &["b"], -MINUTE, -0.9);
        at(&book, 0, scored(other));
        assert_eq!(features(&book, &brand("b"), 0).negative_run, 3, "~ comes after e9 and before ก");
        at(&book, 0, erase("d"));
        assert_eq!(features(&book, &brand("b"), 0).negative_run, 2);
        at(&book, 0, erase("c"));
        let nameless = features(&book, &brand("b"), 0);
        assert_eq!(nameless, features(&reopened(&book), &brand("b"), 0));
    }
}

/// Rows that scans found while something was done.
fn scanned<T>(book: &Book<Memory>, work: impl FnOnce() -> T) -> usize {
    let scanned = || book.storage().scanned.load(std::sync::atomic::Ordering::Relaxed);
    let before = scanned();
    work();
    scanned() - before
}

fn rows_of(book: &Book<Memory>, table: Table) -> Vec<Vec<u8>> {
    book.all(table, &everything()).expect("readable").into_iter().map(|(row, _)| row).collect()
}

/// Who asks for the erasure of names that were never there holds up nobody, and fills no disk.
#[test]
fn erasing_a_stranger_costs_little_and_leaves_nothing_for_ever() {
    let book = book();
    for number in 0..300 {
        let id = format!("e{number}");
        at(&book, 0, scored(event(&id, &format!("c{}", number % 40), &["b"], -MINUTE, 0.5)));
    }
    for stranger in ["s1", "s2", "s1", "s1"] {
        let cost = scanned(&book, || at(&book, 0, erase(stranger)));
        assert!(cost < 10, "{cost} rows");
    }
    at(&book, MINUTE, erase("s1"));
    assert_eq!(book.unscrubbed().expect("readable"), None, "nothing was there to be wiped");
    assert_eq!(rows_of(&book, Table::Audit).len(), 2);
    let listed = book.erasures(None, Some("s1"), 10).expect("readable");
    assert_eq!(listed.iter().map(|erasure| erasure.events).collect::<Vec<_>>(), [0], "the last of them");
    // What is late of them is refused, as of whoever was erased.
    let late = scored(event("late", "s1", &["b"], 0, 0.5));
    assert_eq!(at(&book, MINUTE, late), Outcome::Erased);
    // Who was known stays noted, also as somebody who is asked for once more.
    at(&book, MINUTE, erase("c1"));
    at(&book, 2 * MINUTE, erase("c1"));
    sweep(&book, 91 * DAY);
    let listed = book.erasures(None, None, 10).expect("readable");
    assert_eq!(listed.iter().map(|erasure| erasure.events).collect::<Vec<_>>(), [8]);
    assert_eq!((rows_of(&book, Table::Erased).len(), rows_of(&book, Table::Subjects).len()), (0, 1));
}

#[test]
fn the_erasures_of_a_customer_are_found_by_their_name() {
    let book = book();
    for number in 0..60 {
        let (id, who) = (format!("e{number}"), format!("c{}", number % 20));
        at(&book, number * MINUTE, scored(event(&id, &who, &["b"], number * MINUTE, 0.5)));
        at(&book, number * MINUTE, erase(&who));
    }
    let mut found = Vec::new();
    let cost = scanned(&book, || {
        while let page = book.erasures(found.last(), Some("c7"), 2).expect("readable")
            && !page.is_empty()
        {
            found.extend(page);
        }
    });
    assert!(cost < 10, "{cost} rows");
    let all = book.erasures(None, None, 100).expect("readable");
    let wanted: Vec<Erasure> = all.into_iter().filter(|one| one.subject == book.hash("c7")).collect();
    assert_eq!((found.len(), &found), (3, &wanted));
}

/// However many events were taken back, the last one that counts is found at once, and all are exported, the oldest first.
#[test]
fn what_was_taken_back_does_not_stand_in_the_way() {
    let book = book();
    at(&book, 0, scored(event("first", "c", &["b"], -90 * MINUTE, 0.5)));
    for number in 0..400 {
        let id = format!("e{number:03}");
        at(&book, 0, scored(event(&id, "c", &["b"], number - 80 * MINUTE, -0.5)));
        at(&book, 0, Command::Retract(id));
    }
    at(&book, 0, scored(event("last", "c", &["b2"], -MINUTE, 0.5)));
    let cost = scanned(&book, || at(&book, 0, Command::Retract("last".to_owned())));
    assert!(cost < 20, "{cost} rows");
    let Known::Present(last) = features(&book, &customer("c"), 0).last else { panic!("there is one") };
    assert_eq!(last.score, Micros::of(0.5));
    let mut places: Vec<(Vec<u8>, Held)> = Vec::new();
    loop {
        let after = places.last().map(|(place, _)| place.as_slice());
        let page = book.held_after("c", after, 7).expect("readable");
        if page.is_empty() {
            break;
        }
        places.extend(page);
    }
    let ids: Vec<&str> = places.iter().map(|(_, held)| held.event.id.as_str()).collect();
    let wanted: Vec<String> = (0..400).map(|number| format!("e{number:03}")).collect();
    assert_eq!(ids.first(), Some(&"first"));
    assert_eq!(ids.get(1..401), Some(wanted.iter().map(String::as_str).collect::<Vec<_>>().as_slice()));
    assert_eq!(ids.get(401..), Some(["last"].as_slice()));
    at(&book, 0, erase("c"));
    assert_eq!(rows_of(&book, Table::Mentions), Vec::<Vec<u8>>::new());
    assert!(rows_of(&book, Table::Events).iter().all(|row| owner(row) == Some(brand("b"))));
    assert!(
        book.changes(0, usize::MAX).expect("readable").iter().all(|change| change.customers().is_empty())
    );
}

/// As version 4 had it: a salted hash in the place of the id, and no list of what is raised.
fn as_version_4(book: &Book<Memory>) -> Memory {
    let mut rows = book.storage().rows.lock().expect("whole").clone();
    let events: Vec<(Vec<u8>, Vec<u8>)> = rows
        .iter()
        .filter(|((table, _), _)| *table == Table::Events)
        .map(|((_, row), value)| (row.clone(), value.clone()))
        .collect();
    for (row, value) in events {
        rows.remove(&(Table::Events, row.clone()));
        let end = row.iter().position(|byte| *byte == 0).expect("a name");
        let (name, tail) = row.split_at(end);
        let (time, rank) = tail.get(2..).expect("0 and the mark").split_at(8);
        let hash = match rank.split_first().expect("a rank") {
            (0, felt) => felt.last_chunk::<16>().expect("a hash").to_vec(),
            (_, id) => book.hash(std::str::from_utf8(id).expect("UTF-8")).to_vec(),
        };
        rows.insert((Table::Events, [name, &[0], time, &hash].concat()), value);
    }
    rows.retain(|(table, _), _| ![Table::Raised, Table::Mentions, Table::Subjects].contains(table));
    rows.insert((Table::Meta, b"version".to_vec()), 4_u32.to_be_bytes().to_vec());
    Memory { rows: Mutex::new(rows), ..Memory::default() }
}

/// As version 5 had it: what was taken back lay among the others, and nothing was listed.
fn as_version_5(book: &Book<Memory>) -> Memory {
    let mut rows = BTreeMap::new();
    for ((table, mut row), value) in book.storage().rows.lock().expect("whole").clone() {
        if [Table::Mentions, Table::Subjects].contains(&table) {
            continue;
        }
        if table == Table::Events {
            let mark = row.iter().position(|byte| *byte == 0).expect("a name") + 1;
            *row.get_mut(mark).expect("a mark") = 1;
        }
        rows.insert((table, row), value);
    }
    rows.insert((Table::Meta, b"version".to_vec()), 5_u32.to_be_bytes().to_vec());
    Memory { rows: Mutex::new(rows), ..Memory::default() }
}

#[test]
fn what_older_versions_noted_of_erasures_is_read() {
    let noted = |events, through| Audit { events, from_brands: true, through, was_known: true };
    for (bytes, wanted) in [
        (encode(&(3_u64, true)), noted(3, 77)),
        (encode(&(3_u64, true, 5_i64)), noted(3, 5)),
        (encode(&noted(3, 5)), noted(3, 5)),
    ] {
        assert_eq!(Audit::decode(&bytes, 77).expect("readable"), wanted);
    }
}

/// Brought up, a book of version 4 or 5 has the very rows that this version writes; a crash after any commit of it changes nothing.
#[test]
fn a_book_of_an_older_version_is_brought_up_even_if_it_crashes_on_the_way() {
    let book = book();
    for number in 0..60_i64 {
        let (id, of) = (format!("e{number}"), format!("c{}", number % 4));
        let score = if number % 5 == 0 { 0.5 } else { -0.5 };
        at(&book, 0, scored(event(&id, &of, &["b", "b2"], -MINUTE * (number % 6), score)));
    }
    at(&book, 0, Command::Retract("e7".to_owned()));
    at(&book, 0, erase("c2"));
    assert!(!book.all(Table::Raised, &everything()).expect("readable").is_empty(), "runs are raised");
    let wanted = book.storage().rows.lock().expect("whole").clone();
    type Before = fn(&Book<Memory>) -> Memory;
    // The version, the steps of 4, what was taken back, four chunks of changes, the erasures, the end.
    for (version, before, steps) in
        [(4, as_version_4 as Before, 1 + 3 + 1 + 4 + 1 + 1), (5, as_version_5, 1 + 1 + 4 + 1 + 1)]
    {
        let crashes = (0..20).take_while(|commits| {
            let old = before(&book);
            *old.commits_left.lock().expect("whole") = Some(*commits);
            let crashed = super::migrate::up(&old, version, &book.salt).is_err();
            *old.commits_left.lock().expect("whole") = None;
            let opened = Book::open(old, Terms::default(), [0; 32]).expect("it opens");
            assert_eq!(*opened.storage().rows.lock().expect("whole"), wanted, "after {commits} commits");
            crashed
        });
        assert_eq!(crashes.count(), steps, "{version}");
    }
}

/// Time passes without events: what was raised is over, is said to be, and is another revision.
#[test]
fn signals_are_over_when_nobody_writes_any_more() {
    const HOUR: i64 = 60 * MINUTE;
    let book = book();
    for number in 0..200 {
        let mut calm = event(&format!("calm{number}"), "", &["b"], -3 * DAY + number, 0.0);
        calm.contribution.label = Label::Neutral;
        at(&book, 0, scored(calm));
    }
    for number in 0..40 {
        at(&book, 0, scored(event(&format!("storm{number}"), "", &["b"], -MINUTE + number, -0.8)));
    }
    for number in 0..4 {
        at(&book, 0, scored(event(&format!("run{number}"), "c", &[], -MINUTE + number, -0.8)));
    }
    for number in 0..20 {
        at(&book, 0, scored(event(&format!("glad{number}"), "d", &[], -20 * DAY + number, 0.9)));
    }
    at(&book, 0, scored(event("fair", "d", &[], -2 * MINUTE, 0.1)));
    for number in 0..2 {
        at(&book, 0, scored(event(&format!("sad{number}"), "d", &[], -MINUTE + number, -0.9)));
    }
    let keys = [brand("b"), customer("c"), customer("d")];
    let raised = |millis| {
        keys.clone().map(|key| {
            let profile = book.profile(&key, after(millis)).expect("readable").expect("it is there");
            (profile.raised.len(), profile.revision)
        })
    };
    let before = raised(0);
    assert_eq!(before.map(|(count, _)| count), [1, 1, 1], "a share, a run, a mood");
    let over = |millis| book.over(&[], 100, after(millis)).expect("readable").0;
    assert_eq!(over(5 * MINUTE), []);
    assert_eq!(over(30 * MINUTE), [brand("b")], "its figures fell by themselves");
    let at_hour = over(HOUR);
    assert_eq!(at_hour, keys);
    let applied = book.apply(&[Command::Judge(at_hour)], after(HOUR)).expect("written");
    let change = applied.change.expect("something changed");
    let said: Vec<(Key, bool)> =
        change.signals.iter().flatten().map(|signal| (signal.key.clone(), signal.raised)).collect();
    assert_eq!(said, keys.clone().map(|key| (key, false)));
    assert_eq!(raised(HOUR), keys.clone().map(|_| (0, change.sequence)));
    assert_eq!(over(2 * HOUR), []);
    assert!(book.all(Table::Raised, &everything()).expect("readable").is_empty());
    // Asked again, nothing changes; the next negative event raises the run anew.
    let again = book.apply(&[Command::Judge(keys.clone().into())], after(HOUR)).expect("written");
    assert_eq!(again.change, None);
    at(&book, 2 * HOUR, scored(event("run4", "c", &[], 2 * HOUR, -0.8)));
    assert_eq!(raised(2 * HOUR).map(|(count, _)| count), [0, 1, 0]);
    // Who is erased has no signal that could be cleared.
    at(&book, 2 * HOUR, erase("c"));
    assert_eq!(over(9 * HOUR), []);
}

/// Each erasure looks at rows and puts some. However many are one commit, the work grows with them: all customers of one change, and
/// the change itself, which is on the disk or on its way there.
#[test]
fn erasures_of_one_commit_cost_what_they_erase() {
    for on_its_way in [false, true] {
        crate::work::assert_grows_with_its_input(50, |size| {
            let book = book();
            let names: Vec<String> = (0..size).map(|number| format!("c{number}")).collect();
            let record = |name: &String| scored(event(name, name, &["b"], -MINUTE, 0.5));
            let records: Vec<Command> = names.iter().map(record).collect();
            let recorded = book.prepare(&records, after(0), None).expect("readable");
            if !on_its_way {
                book.commit(&recorded).expect("written");
            }
            let erasures: Vec<Command> = names.iter().map(|name| erase(name)).collect();
            let before = on_its_way.then_some(&recorded);
            let erased = book.prepare(&erasures, after(1), before).expect("readable");
            if on_its_way {
                book.commit(&recorded).expect("written");
            }
            book.commit(&erased).expect("written");
            assert!(erased.outcomes.iter().all(|outcome| *outcome == Outcome::Forgotten(1)));
            assert!(rows_of(&book, Table::Mentions).is_empty());
            let changes = book.changes(0, usize::MAX).expect("readable");
            assert!(changes.iter().all(|change| change.customers().is_empty()));
        });
    }
}

/// One sink is behind by many erasures, and keeps their notices. Another that delivers does not read them.
#[test]
fn a_delivery_reads_no_notices_but_those_that_it_forgets() {
    let book = book();
    let sinks = Command::Sinks { names: vec!["far".to_owned(), "near".to_owned()], run: 1 };
    at(&book, 0, sinks.clone());
    for number in 0..300 {
        at(&book, 0, erase(&format!("c{number}")));
    }
    let delivered = |sink: &str, through| Command::Delivered { sink: sink.to_owned(), through };
    let cost = |sink: &str, through| scanned(&book, || at(&book, 0, delivered(sink, through)));
    let few = cost("near", 1).max(cost("near", 300));
    assert!(few < 10, "{few} rows");
    assert_eq!(rows_of(&book, Table::Notices).len(), 300);
    let some = cost("far", 250);
    assert!((250..260).contains(&some), "{some} rows");
    assert_eq!(rows_of(&book, Table::Notices).len(), 50);
    let rest = cost("far", 300);
    assert!((50..60).contains(&rest), "{rest} rows");
    assert_eq!(rows_of(&book, Table::Notices), Vec::<Vec<u8>>::new());
    at(&book, 0, erase("last"));
    assert_eq!(rows_of(&book, Table::Notices).len(), 1);
    at(&book, 0, Command::Sinks { names: Vec::new(), run: 2 });
    assert_eq!(rows_of(&book, Table::Notices), Vec::<Vec<u8>>::new());
}

/// A change keeps the run in which it was made until every sink has said it.
#[test]
fn a_change_that_waits_keeps_its_run() {
    let book = book();
    let start = |run| {
        let sinks = Command::Sinks { names: vec!["s".to_owned()], run };
        at(&book, 0, sinks);
    };
    let change = |id: &str| at(&book, 0, scored(event(id, "c", &[], -MINUTE, 0.5)));
    change("before any");
    start(11);
    change("of the first run");
    start(12);
    start(13);
    change("of the last run");
    assert_eq!(book.runs().expect("readable"), [(2, 11), (3, 13)].into());
    at(&book, 0, Command::Delivered { sink: "s".to_owned(), through: 2 });
    start(14);
    assert_eq!(book.runs().expect("readable"), [(3, 13), (4, 14)].into());
}

/// Takes back the last events of many pairs of one customer at once: the customer's later events are read once for all of them, and
/// not once for each pair.
#[test]
fn the_last_events_of_the_pairs_of_a_customer_are_found_in_one_pass() {
    const PAIRS: usize = 64;
    const LATER: usize = 3000;
    let pair = |number: usize| Key::Pair { customer: "c".to_owned(), brand: format!("b{number}") };
    let id = |turn: usize, number: usize| format!("e{turn}-{number}");
    let begin = || {
        let book = book();
        let brands: Vec<String> = (0..PAIRS).map(|number| format!("b{number}")).collect();
        for turn in 0..2_usize {
            let millis = -120 * MINUTE + if turn == 0 { 0 } else { MINUTE };
            let record = |(number, brand): (usize, &String)| {
                scored(event(&id(turn, number), "c", &[brand], millis, if turn == 0 { -0.5 } else { 0.5 }))
            };
            book.apply(&brands.iter().enumerate().map(record).collect::<Vec<_>>(), after(0))
                .expect("written");
        }
        let later =
            |number: i64| scored(event(&format!("later{number}"), "c", &["x"], number - 60 * MINUTE, 0.5));
        let later: Vec<Command> = (0..i64::try_from(LATER).expect("few")).map(later).collect();
        book.apply(&later, after(0)).expect("written");
        book
    };
    let check = |book: &Book<Memory>, cost: usize| {
        assert!(cost < 2 * (LATER + 4 * PAIRS), "{cost} rows");
        for number in 0..PAIRS {
            let Known::Present(last) = features(book, &pair(number), 0).last else { panic!("{number}") };
            assert_eq!((last.score, last.time), (Micros::of(-0.5), after(-120 * MINUTE)), "{number}");
        }
    };
    let retract: Vec<Command> = (0..PAIRS).map(|number| Command::Retract(id(1, number))).collect();
    let book = begin();
    let cost = scanned(&book, || book.apply(&retract, after(0)).expect("written"));
    check(&book, cost);
    // Corrections take them back as well.
    let book = begin();
    let correct = |number: usize| {
        correcting(event(&format!("new{number}"), "c", &["y"], -90 * MINUTE, 0.5), &id(1, number))
    };
    let corrections: Vec<Command> = (0..PAIRS).map(correct).collect();
    let cost = scanned(&book, || book.apply(&corrections, after(0)).expect("written"));
    check(&book, cost);
}

/// Runs that began before what is kept are looked for when they are read and when the sweep takes their first events: once for all
/// pairs of a customer.
#[test]
fn runs_that_are_too_old_in_part_are_found_in_one_pass() {
    const PAIRS: usize = 64;
    const LATER: usize = 3000;
    let book = book();
    let keys: Vec<Key> = (0..PAIRS)
        .map(|number| Key::Pair { customer: "c".to_owned(), brand: format!("b{number}") })
        .collect();
    let old = -90 * DAY;
    for turn in 0..2 {
        let record = |number: usize| {
            let (id, brand) = (format!("e{turn}-{number}"), format!("b{number}"));
            scored(event(&id, "c", &[&brand], old + MINUTE * (1 + 60 * turn), -0.5))
        };
        book.apply(&(0..PAIRS).map(record).collect::<Vec<_>>(), after(0)).expect("written");
    }
    let later =
        |number: i64| scored(event(&format!("later{number}"), "c", &["x"], number - 60 * MINUTE, 0.5));
    let later: Vec<Command> = (0..i64::try_from(LATER).expect("few")).map(later).collect();
    book.apply(&later, after(0)).expect("written");
    let then = 30 * MINUTE;
    let most = 2 * (LATER + 4 * PAIRS);
    let read = || book.profiles(&keys, after(then)).expect("readable");
    let cost = scanned(&book, || drop(read()));
    assert!(cost < most, "{cost} rows");
    let before: Vec<Option<Features>> = read().into_iter().map(|one| one.map(|one| one.features)).collect();
    let overdue = book.overdue(Table::Ledger, &[], usize::MAX, after(then)).expect("readable").0;
    assert_eq!(overdue.len(), PAIRS);
    let cost = scanned(&book, || at(&book, then, Command::Expire(overdue)));
    assert!(cost < most, "{cost} rows");
    let after: Vec<Option<Features>> = read().into_iter().map(|one| one.map(|one| one.features)).collect();
    assert!(before.iter().all(Option::is_some));
    assert_eq!(before, after);
}

/// The time of an erasure in a report may be anything: by it no tile of a brand goes.
#[test]
fn an_erasure_of_a_report_prunes_nothing() {
    let live = book();
    at(&live, 0, scored(event("gone", "c", &["b"], -MINUTE, 0.5)));
    at(&live, 0, scored(event("kept", "d", &["b"], -MINUTE, 0.5)));
    let restored = reopened(&live);
    at(&live, 1, Command::Erase { customer: "c".to_owned(), from_brands: true });
    let mut erasures = live.erasures(None, None, 10).expect("readable");
    for erasure in &mut erasures {
        erasure.time = after(400 * DAY);
    }
    assert_eq!(restored.erase_again(&erasures).expect("written"), 1);
    let wanted = features(&live, &brand("b"), MINUTE);
    assert_eq!(features(&restored, &brand("b"), MINUTE).windows, wanted.windows);
}

/// A report may have several erasures of one customer: the brands lose what any of them took.
#[test]
fn a_report_takes_from_brands_what_any_erasure_took() {
    let live = book();
    at(&live, 0, scored(event("old", "c", &["b"], -MINUTE, -0.5)));
    at(&live, 0, scored(event("kept", "d", &["b"], -MINUTE, 0.5)));
    let restored = reopened(&live);
    at(&live, 1, Command::Erase { customer: "c".to_owned(), from_brands: true });
    at(&live, 2, erase("c"));
    let erasures = live.erasures(None, None, 10).expect("readable");
    assert_eq!((erasures.len(), restored.erase_again(&erasures).expect("written")), (2, 1));
    let wanted = features(&live, &brand("b"), MINUTE);
    assert_eq!(features(&restored, &brand("b"), MINUTE).windows, wanted.windows);
}

/// Who has no events any more has no mood that is low.
#[test]
fn a_signal_is_cleared_when_all_events_are_taken_back() {
    let book = book();
    let mut ids: Vec<String> = Vec::new();
    for number in 0..20 {
        ids.push(format!("glad{number}"));
        at(&book, 0, scored(event(&format!("glad{number}"), "c", &[], -20 * DAY + number, 0.9)));
    }
    for number in 0..6 {
        ids.push(format!("sad{number}"));
        at(&book, 0, scored(event(&format!("sad{number}"), "c", &[], -MINUTE + number, -0.9)));
    }
    let raised = book.profile(&customer("c"), after(0)).expect("readable").expect("it is there").raised;
    assert_eq!(raised.len(), 2, "a mood and a run");
    let retract: Vec<Command> = ids.into_iter().map(Command::Retract).collect();
    let change = book.apply(&retract, after(1)).expect("written").change.expect("something changed");
    let mut cleared: Vec<_> =
        change.signals.iter().flatten().map(|signal| (signal.kind, signal.raised)).collect();
    cleared.sort_by_key(|(kind, _)| format!("{kind:?}"));
    assert_eq!(cleared, [(SignalKind::MoodFell, false), (SignalKind::NegativeRun, false)]);
}

/// A customer may be erased again after the sweep saw that their tombstone is old.
#[test]
fn a_sweep_takes_no_tombstone_that_was_made_anew() {
    let book = book();
    at(&book, 0, erase("c"));
    let late = 91 * DAY;
    let (overdue, _) = book.overdue(Table::Erased, &[], 10, after(late)).expect("readable");
    assert_eq!(overdue.len(), 1);
    at(&book, late, erase("c"));
    at(&book, late, Command::Expire(overdue));
    assert_eq!(at(&book, late, scored(event("e", "c", &[], late - MINUTE, 0.5))), Outcome::Erased);
}
