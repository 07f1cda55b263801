//! The fold is the same in any order, and what is worked out from it is what the events themselves say.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "the slow way is written the short way"
)]

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::model::Label;

/// The present of these tests: 2026-11-23 04:30 UTC.
const NOW: i64 = 1_795_408_200;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}

/// An event so many seconds before the present.
fn ago(seconds: i64, score: f32, label: Label) -> Contribution {
    let time = Timestamp::from_second(NOW - seconds).expect("a time");
    Contribution { time, label, score: Micros::of(score), channel: Channel::LineChat }
}

fn any_event(days: i64) -> impl Strategy<Value = Contribution> {
    let millis = 0..days * 86_400_000;
    (millis, -1.0_f32..=1.0, 0..Label::COUNT, 0..Channel::COUNT).prop_map(
        |(before, score, label, channel)| Contribution {
            time: Timestamp::from_millisecond(NOW * 1000 - before).expect("a time"),
            label: Label::ALL[label],
            score: Micros::of(score),
            channel: Channel::ALL[channel],
        },
    )
}

fn folded<'a>(events: impl IntoIterator<Item = &'a Contribution>) -> State {
    let mut state = State::default();
    events.into_iter().for_each(|event| state.fold(Sign::Plus, event, now()));
    state
}

fn features(state: &State, events: &[Contribution]) -> Features {
    let mut newest = events.to_vec();
    newest.sort_by_key(|event| std::cmp::Reverse(event.time));
    Features::of(state, &Tail::of(newest), now())
}

fn present(value: Known<f64>) -> f64 {
    let Known::Present(value) = value else { panic!("{value:?}") };
    value
}

proptest! {
    /// Any order, any interleaving with events that are taken back again, before or after they came.
    #[test]
    fn order_and_retractions_change_nothing(
        kept in prop::collection::vec(any_event(120), 0..40),
        taken in prop::collection::vec(any_event(120), 0..40),
        seed in any::<u64>(),
    ) {
        let mut work: Vec<(Sign, Contribution)> = kept.iter().map(|event| (Sign::Plus, *event)).collect();
        work.extend(taken.iter().flat_map(|event| [(Sign::Plus, *event), (Sign::Minus, *event)]));
        let mut random = seed | 1;
        for at in (1..work.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            work.swap(at, usize::try_from(random >> 33).expect("31 bits") % (at + 1));
        }
        let mut state = State::default();
        work.iter().for_each(|(sign, event)| state.fold(*sign, event, now()));
        prop_assert_eq!(&state, &folded(&kept));
        state.prune(now());
        prop_assert_eq!(&state, &folded(&kept), "nothing is folded that is not kept");
    }

    /// Folding early and pruning late is folding late.
    #[test]
    fn what_is_pruned_is_what_a_later_fold_would_not_take(events in prop::collection::vec(any_event(3), 0..60), later in 0_i64..100 * 86_400) {
        let later = Timestamp::from_second(NOW + later).expect("a time");
        let mut early = folded(&events);
        early.prune(later);
        let mut late = State::default();
        events.iter().for_each(|event| late.fold(Sign::Plus, event, later));
        prop_assert_eq!(early, late);
    }

    /// Decayed means against the sum over all events, in 64-bit floats.
    /// Tiles as they are, out of what they were and what tells them apart.
    #[test]
    fn differences_are_what_tells_two_series_apart(tiles in prop::collection::vec((0_i64..12, 0..3_u8, any::<bool>()), 0..40)) {
        let (mut was, mut is) = (Series::default(), Series::default());
        for (tile, value, old) in tiles {
            if old { was.put(tile, value) } else { is.put(tile, value) }
        }
        let mut made: Series<u8> = was.clone();
        for (tile, value) in is.differences(&was) {
            prop_assert_ne!(was.get(tile), value);
            made.put(tile, value.copied().unwrap_or_default());
        }
        prop_assert_eq!(made, is);
    }

    /// What is kept of the last events as they come and go is what looking at all of them gives.
    #[test]
    fn the_tail_is_that_of_the_events(steps in prop::collection::vec((0_i64..30, any::<bool>(), any::<bool>()), 1..60)) {
        let event = |seconds: i64, negative: bool| {
            ago(-seconds, 0.5, if negative { Label::Negative } else { Label::Positive })
        };
        // Of those of one time the one with the larger number is the later.
        let mut there: Vec<(i64, usize, Contribution)> = Vec::new();
        let (mut tail, mut looks) = (Tail::default(), 0);
        for (number, (seconds, negative, back)) in steps.into_iter().enumerate() {
            let place = there.iter().position(|(at, ..)| back && *at == seconds);
            let (sign, contribution) = match place {
                Some(place) => (Sign::Minus, there.remove(place).2),
                None => {
                    there.push((seconds, number, event(seconds, negative)));
                    (Sign::Plus, event(seconds, negative))
                }
            };
            there.sort_by_key(|(at, number, _)| (-at, std::cmp::Reverse(*number)));
            let whole = Tail::of(there.iter().map(|(.., contribution)| *contribution));
            if !tail.fold(sign, &contribution) {
                looks += 1;
                tail = whole;
            }
            prop_assert_eq!(tail, whole, "after {} looks", looks);
        }
    }

    #[test]
    fn decayed_means_are_those_of_the_events(events in prop::collection::vec(any_event(90), 1..200)) {
        let found = features(&folded(&events), &events);
        for (days, found) in HALF_LIVES.into_iter().zip(found.decayed) {
            let (mut weights, mut scores) = (0.0, 0.0);
            for event in &events {
                let age = (now().as_millisecond() - event.time.as_millisecond()) as f64 / 1000.0;
                let left = weight(age, days);
                weights += left;
                scores += left * event.score.score();
            }
            prop_assert!((present(found) - scores / weights).abs() < 1e-8);
        }
    }

    /// Windows against a count of the events that lie in them.
    #[test]
    fn windows_hold_the_events_since_their_first_tile(events in prop::collection::vec(any_event(120), 0..100)) {
        let found = features(&folded(&events), &events);
        let begins = |unit: i64, count: i64| (NOW.div_euclid(unit) - count) * unit;
        let from = [begins(60, 60), begins(3600, 24), begins(86_400, 7), begins(86_400, 30), begins(86_400, 90), 0];
        for (window, from) in found.windows.iter().zip(from) {
            let inside: Vec<f64> =
                events.iter().filter(|event| event.time.as_second() >= from).map(|event| event.score.score()).collect();
            let count = inside.len() as f64;
            prop_assert_eq!(window.sums.count(), inside.len() as i64);
            if count > 0.0 {
                let mean = inside.iter().sum::<f64>() / count;
                prop_assert!((present(window.mean) - mean).abs() < 1e-9);
                if count > 1.0 {
                    let spread: f64 = inside.iter().map(|score| (score - mean).powi(2)).sum();
                    let deviation = (spread / (count - 1.0)).sqrt();
                    prop_assert!((present(window.deviation) - deviation).abs() < 1e-9);
                    prop_assert!((present(window.mean_error) - deviation / count.sqrt()).abs() < 1e-9);
                }
            } else {
                prop_assert!(!matches!(window.mean, Known::Present(_)));
            }
        }
    }
}

#[test]
fn what_there_was_is_told_from_what_there_never_was() {
    let nothing = Features::of(&State::default(), &Tail::default(), now());
    assert!(nothing.windows.iter().all(|window| window.mean == Known::NoData));
    assert_eq!(
        (nothing.last, nothing.days_since_negative, nothing.trend),
        (Known::NoData, Known::NoData, Known::NoData)
    );
    let old = ago(100 * 86_400, -0.9, Label::Negative);
    let state = folded(&[old]);
    // Nothing of it is kept but its part in the lifetime.
    let old = Features::of(&state, &Tail::default(), now());
    assert_eq!(present(old.windows[5].mean), -0.9);
    assert_eq!(old.windows[4].mean, Known::OutsideRetention);
    assert_eq!(old.windows[0].mean, Known::NoData);
    assert_eq!((old.last, old.days_since_negative), (Known::OutsideRetention, Known::OutsideRetention));
    assert_eq!(old.decayed, [Known::OutsideRetention; 3]);
    let praise = ago(60, 0.5, Label::Positive);
    let one = features(&folded(&[praise]), &[praise]);
    assert_eq!((one.days_since_negative, one.windows[0].deviation), (Known::NoData, Known::NoData));
}

#[test]
fn moods_that_fall_and_runs_of_negatives_are_seen() {
    let mut events: Vec<Contribution> = (1..=20).map(|day| ago(day * 86_400, 0.6, Label::Positive)).collect();
    events.extend((0..4).map(|hour| ago(hour * 3600, -0.8, Label::Negative)));
    let found = features(&folded(&events), &events);
    assert_eq!((found.negative_run, found.days_since_negative), (4, Known::Present(0)));
    assert!(present(found.trend) < -0.5 && present(found.slope) < 0.0 && present(found.volatility) > 0.2);
    let Known::Present(last) = found.last else { panic!("{:?}", found.last) };
    assert_eq!((last.time, last.score), (now(), Micros::of(-0.8)));
    let steady: Vec<Contribution> = (1..=20).map(|day| ago(day * 86_400, 0.5, Label::Positive)).collect();
    let steady = features(&folded(&steady), &steady);
    assert!(
        present(steady.trend).abs() < 1e-9
            && present(steady.slope).abs() < 1e-9
            && present(steady.volatility) < 1e-9
    );
    assert_eq!(steady.negative_run, 0);
}

#[test]
fn an_event_has_a_key_for_each_it_is_about() {
    let event = Event {
        id: "1".to_owned(),
        customer: Some("c".to_owned()),
        brands: vec!["a".to_owned(), "b".to_owned()],
        contribution: ago(0, 0.1, Label::Neutral),
    };
    let keys = |event: &Event| event.keys().iter().map(Key::to_string).collect::<Vec<_>>();
    assert_eq!(
        keys(&event),
        ["customer/c", "brand/a", "brand/b", "customer/c/brand/a", "customer/c/brand/b"]
    );
    assert_eq!(keys(&Event { customer: None, ..event.clone() }), ["brand/a", "brand/b"]);
    assert_eq!(keys(&Event { brands: Vec::new(), ..event }), ["customer/c"]);
}

#[test]
fn scores_are_held_to_their_range() {
    for (score, held) in [
        (0.5, 500_000),
        (-1.0, -1_000_000),
        (7.0, 1_000_000),
        (f32::NAN, 0),
        (f32::INFINITY, 1_000_000),
        (f32::NEG_INFINITY, -1_000_000),
    ] {
        assert_eq!(Micros::of(score).get(), held);
    }
}

mod books {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::atomic::Ordering;
    use std::sync::{Arc, Mutex};

    use super::super::rows::{Kept, encode, mention_row};
    use super::*;
    use crate::profile::storage::memory::Memory;

    fn book() -> Book<Memory> {
        Book::open(Memory::default(), Terms::default(), [7; 32]).expect("an empty storage")
    }

    fn record(id: &str, customer: Option<&str>, brands: &[&str], contribution: Contribution) -> Command {
        let brands = brands.iter().map(|brand| (*brand).to_owned()).collect();
        let event = Event { id: id.to_owned(), customer: customer.map(str::to_owned), brands, contribution };
        let content = format!("{event:?}").into_bytes();
        Command::Record { event, content, replaces: None }
    }

    fn one(book: &Book<Memory>, command: Command) -> Outcome {
        book.apply(&[command], now()).expect("written").outcomes[0]
    }

    fn features_of(book: &Book<Memory>, key: &Key) -> Option<Features> {
        book.profile(key, now()).expect("readable").map(|profile| profile.features)
    }

    fn count(book: &Book<Memory>, key: Key) -> i64 {
        features_of(book, &key).map_or(0, |features| features.windows[5].sums.count())
    }

    fn customer(id: &str) -> Key {
        Key::Customer(id.to_owned())
    }

    fn brand(id: &str) -> Key {
        Key::Brand(id.to_owned())
    }

    #[test]
    fn an_event_counts_once_and_is_taken_back_exactly() {
        let book = book();
        let event = record("e1", Some("c"), &["b"], ago(60, -0.7, Label::Negative));
        assert_eq!(one(&book, event.clone()), Outcome::Recorded);
        let before = book.storage().rows.lock().expect("whole").clone();
        assert_eq!(one(&book, event.clone()), Outcome::Duplicate);
        assert_eq!(*book.storage().rows.lock().expect("whole"), before, "nothing is written");
        let other = record("e1", Some("c"), &["b"], ago(60, 0.7, Label::Positive));
        assert_eq!(one(&book, other), Outcome::Conflict);
        let pair = Key::Pair { customer: "c".to_owned(), brand: "b".to_owned() };
        for key in [customer("c"), brand("b"), pair] {
            let features = features_of(&book, &key).expect("it is there");
            assert_eq!((features.windows[0].sums.count(), features.negative_run), (1, 1), "{key}");
        }
        assert_eq!(one(&book, Command::Retract("e1".to_owned())), Outcome::Retracted);
        assert_eq!(one(&book, Command::Retract("e1".to_owned())), Outcome::AlreadyRetracted);
        assert_eq!(one(&book, Command::Retract("e2".to_owned())), Outcome::NotFound);
        assert_eq!(one(&book, event), Outcome::Duplicate, "what was taken back does not come again");
        assert_eq!(features_of(&book, &brand("b")), None);
        let rows = book.storage().rows.lock().expect("whole");
        assert!(
            rows.keys().all(|(table, _)| !matches!(table, Table::Tiles | Table::Profiles)),
            "nothing is left of them"
        );
    }

    #[test]
    fn a_correction_is_one_step() {
        let book = book();
        one(&book, record("e1", None, &["b"], ago(60, -0.7, Label::Negative)));
        let Command::Record { event, content, .. } =
            record("e2", None, &["b"], ago(60, 0.4, Label::Positive))
        else {
            panic!()
        };
        let replaces = |old: &str| Command::Record {
            event: event.clone(),
            content: content.clone(),
            replaces: Some(old.to_owned()),
        };
        assert_eq!(one(&book, replaces("e0")), Outcome::NotFound);
        assert_eq!(count(&book, brand("b")), 1);
        assert_eq!(one(&book, replaces("e1")), Outcome::Recorded);
        assert_eq!(one(&book, replaces("e1")), Outcome::Duplicate);
        let features = features_of(&book, &brand("b")).expect("it is there");
        assert_eq!((features.windows[5].sums.count(), features.windows[5].sums.of(Label::Positive)), (1, 1));
    }

    #[test]
    fn the_clock_bounds_what_is_taken() {
        let book = book();
        for (seconds, wanted) in [
            (91 * 86_400, Outcome::TooOld),
            (89 * 86_400, Outcome::Recorded),
            (-660, Outcome::TooNew),
            (-540, Outcome::Recorded),
        ] {
            assert_eq!(
                one(&book, record(&seconds.to_string(), None, &["b"], ago(seconds, 0.1, Label::Neutral))),
                wanted
            );
        }
    }

    #[test]
    fn who_is_erased_is_gone_and_late_replays_do_not_bring_them_back() {
        for (from_brands, left) in [(false, 3), (true, 1)] {
            let book = book();
            let events = [
                record("e1", Some("c"), &["b"], ago(600, -0.7, Label::Negative)),
                record("e2", Some("c"), &["b", "b2"], ago(500, 0.2, Label::Positive)),
                record("e3", Some("d"), &["b"], ago(400, 0.3, Label::Positive)),
                record("e4", Some("c"), &["b"], ago(300, 0.3, Label::Positive)),
            ];
            book.apply(&events, now()).expect("written");
            assert_eq!(one(&book, Command::Retract("e4".to_owned())), Outcome::Retracted);
            assert_eq!(
                book.held("c").expect("readable").iter().map(|held| held.retracted).collect::<Vec<_>>(),
                [false, false, true]
            );
            let erase = Command::Erase { customer: "c".to_owned(), from_brands };
            assert_eq!(one(&book, erase), Outcome::Forgotten(3));
            assert_eq!((book.held("c").expect("readable").len(), count(&book, customer("c"))), (0, 0));
            assert_eq!((count(&book, brand("b")), count(&book, customer("d"))), (left, 1));
            // Neither the name nor the ids of the events are anywhere.
            for ((table, key), value) in book.storage().rows.lock().expect("whole").iter() {
                let bytes = [key.as_slice(), value.as_slice()].concat();
                for trace in ["customer/c", "e1", "e2", "e4"] {
                    let found = bytes.windows(trace.len()).any(|part| part == trace.as_bytes());
                    assert!(!found, "{trace} is in table {}", table.name());
                }
            }
            assert_eq!(one(&book, events[0].clone()), Outcome::Erased);
            assert_eq!(
                one(&book, record("e9", Some("c"), &[], ago(-60, 0.5, Label::Positive))),
                Outcome::Recorded
            );
            let erasures = book.erasures(None, Some("c"), 10).expect("readable");
            let [Erasure { time, events, from_brands: brands, .. }] = erasures[..] else {
                panic!("{erasures:?}")
            };
            assert_eq!((time, events, brands), (now(), 3, from_brands));
            assert_eq!(book.erasures(None, Some("d"), 10).expect("readable"), []);
            assert_eq!(book.erasures(Some(&erasures[0]), None, 10).expect("readable"), []);
        }
    }

    #[test]
    fn a_full_disk_loses_nothing_and_halves_nothing() {
        let book = book();
        one(&book, record("e1", None, &["b"], ago(60, 0.1, Label::Neutral)));
        book.storage().full.store(true, Ordering::Relaxed);
        let second = record("e2", None, &["b"], ago(50, 0.1, Label::Neutral));
        assert!(matches!(book.apply(std::slice::from_ref(&second), now()), Err(StorageError::Io { .. })));
        assert_eq!(count(&book, brand("b")), 1, "reads go on");
        book.storage().full.store(false, Ordering::Relaxed);
        assert_eq!(one(&book, second), Outcome::Recorded);
    }

    /// What may be asked, of few enough names that they meet.
    fn any_command() -> impl Strategy<Value = Command> {
        let customers = prop::option::of(prop::sample::select(vec!["c1", "c2", "c3"]));
        let brands = prop::sample::subsequence(vec!["b1", "b2"], 0..=2);
        let event = (0..30_u8, customers, brands, any_event(100));
        let event = event
            .prop_map(|(id, customer, brands, event)| record(&format!("e{id}"), customer, &brands, event));
        prop_oneof![
            6 => event,
            2 => (0..30_u8).prop_map(|id| Command::Retract(format!("e{id}"))),
            1 => (prop::sample::select(vec!["c1", "c2", "c3"]), any::<bool>())
                .prop_map(|(customer, from_brands)| Command::Erase { customer: customer.to_owned(), from_brands }),
        ]
    }

    /// The book the plain way: every event that counts for a key, by its id.
    #[derive(Default)]
    struct Plain {
        counts: BTreeMap<Key, BTreeMap<String, Contribution>>,
        ledger: BTreeMap<String, (Event, bool)>,
        erased: BTreeSet<String>,
        nobodys: usize,
    }

    impl Plain {
        fn retract(&mut self, id: &str) {
            if let Some((event, gone)) = self.ledger.get_mut(id) {
                *gone = true;
                for key in event.keys() {
                    self.counts.entry(key).or_default().remove(id);
                }
            }
        }

        fn apply(&mut self, command: &Command) {
            match command {
                Command::Record { event, .. } => {
                    let old = event.contribution.time < now() - Terms::default().retention;
                    let erased =
                        event.customer.as_ref().is_some_and(|customer| self.erased.contains(customer));
                    if old || erased || self.ledger.contains_key(&event.id) {
                        return;
                    }
                    for key in event.keys() {
                        self.counts.entry(key).or_default().insert(event.id.clone(), event.contribution);
                    }
                    self.ledger.insert(event.id.clone(), (event.clone(), false));
                }
                Command::Retract(id) => self.retract(id),
                Command::Erase { customer, from_brands } => {
                    let of = |event: &Event| event.customer.as_ref() == Some(customer);
                    let ids: Vec<String> = self
                        .ledger
                        .iter()
                        .filter(|(_, (event, _))| of(event))
                        .map(|(id, _)| id.clone())
                        .collect();
                    for id in ids {
                        if *from_brands {
                            self.retract(&id);
                        }
                        // What stays with a brand is nobody's: an event of the same id is another.
                        if let Some((event, _)) = self.ledger.remove(&id) {
                            for key in event.keys() {
                                let events = self.counts.entry(key.clone()).or_default();
                                match (key, events.remove(&id)) {
                                    (Key::Brand(_), Some(event)) => {
                                        self.nobodys += 1;
                                        events.insert(format!("nobody's {}", self.nobodys), event);
                                    }
                                    (Key::Brand(_) | Key::Customer(_) | Key::Pair { .. }, _) => {}
                                }
                            }
                        }
                    }
                    self.erased.insert(customer.clone());
                }
                Command::Expire(_)
                | Command::Judge(_)
                | Command::Swept
                | Command::Trim(_)
                | Command::Scrubbed(_)
                | Command::Tick
                | Command::AcceptClock
                | Command::Sinks { .. }
                | Command::BeginRun(_)
                | Command::Delivered { .. } => {}
            }
        }
    }

    proptest! {
        /// Whatever is asked and however it is grouped into commits, the book is what the plain one is; asked for again, all
        /// of it changes nothing more than asking in one go.
        #[test]
        fn the_book_is_the_plain_book(commands in prop::collection::vec(any_command(), 0..60), sizes in prop::collection::vec(1..8_usize, 1..20)) {
            let (grouped, single, ahead) = (book(), book(), book());
            let mut plain = Plain::default();
            let mut rest = commands.as_slice();
            // Each is worked out before the one before it is written.
            let mut before: Option<Prepared> = None;
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (group, after) = rest.split_at((*size).min(rest.len()));
                grouped.apply(group, now()).expect("written");
                let next = ahead.prepare(group, now(), before.as_ref()).expect("readable");
                before.iter().for_each(|before| ahead.commit(before).expect("written"));
                before = Some(next);
                rest = after;
            }
            before.iter().for_each(|before| ahead.commit(before).expect("written"));
            prop_assert_eq!(&*grouped.storage().rows.lock().expect("whole"), &*ahead.storage().rows.lock().expect("whole"));
            prop_assert_eq!((grouped.sequence(), grouped.trimmed()), (ahead.sequence(), ahead.trimmed()));
            for command in &commands {
                single.apply(std::slice::from_ref(command), now()).expect("written");
                plain.apply(command);
            }
            // What tells commits apart are their numbers, and signals: these are judged once a commit.
            let rows = |book: &Book<Memory>| -> Vec<_> {
                let rows = book.storage().rows.lock().expect("whole");
                let same = |table: Table| {
                    !matches!(
                        table,
                        Table::Meta | Table::Changes | Table::Profiles | Table::Raised | Table::Mentions
                    )
                };
                rows.clone().into_iter().filter(|((table, _), _)| same(*table)).collect()
            };
            prop_assert_eq!(rows(&grouped), rows(&single));
            for book in [&grouped, &single, &ahead] {
                let changes = book.changes(0, usize::MAX).expect("readable");
                let named = changes.iter().flat_map(|change| change.customers().into_iter().map(|name| mention_row(name, change.sequence)));
                let listed = book.storage().scan(Table::Mentions, &[], &[0xFF], Order::Ascending, usize::MAX).expect("readable");
                prop_assert_eq!(named.collect::<BTreeSet<_>>(), listed.into_iter().map(|(row, _)| row).collect::<BTreeSet<_>>());
            }
            let mut keys: BTreeSet<Key> = plain.counts.keys().cloned().collect();
            keys.extend(["c1", "c2", "c3"].map(customer));
            for key in keys {
                let events: Vec<Contribution> = plain.counts.get(&key).map(|events| events.values().copied().collect()).unwrap_or_default();
                let found = features_of(&grouped, &key);
                if events.is_empty() {
                    prop_assert_eq!(found, None, "{}", key);
                    continue;
                }
                let found = found.expect("it is there");
                // Neither the cache nor the grouping tells.
                let other = features_of(&single, &key);
                prop_assert_eq!(Some(&found), other.as_ref());
                let again = Book::open(Memory { rows: Mutex::new(grouped.storage().rows.lock().expect("whole").clone()), ..Memory::default() }, Terms::default(), [0; 32]).expect("it opens");
                let again = features_of(&again, &key);
                prop_assert_eq!(Some(&found), again.as_ref());
                let mut wanted = features(&folded(&events), &events);
                let moments: BTreeSet<_> = events.iter().map(|event| event.time).collect();
                if moments.len() < events.len() {
                    // Of events of one moment, any may be the last.
                    wanted.last = found.last;
                    wanted.negative_run = found.negative_run;
                }
                prop_assert_eq!(found, wanted, "{}", key);
            }
        }
    }

    /// A commit that fails takes with it what was worked out on top of it, and nothing else.
    #[test]
    fn a_disk_that_fails_now_and_then_loses_nothing_and_doubles_nothing() {
        const EVENTS: usize = 400;
        let keeper =
            Keeper::start(book(), frozen_clock(now()), Upkeep::default(), Arc::default()).expect("threads");
        // The first commit begins the book. Of those that follow, every third fails.
        *keeper.book().storage().refuses_each.lock().expect("whole") = Some(3);
        let refused: usize = std::thread::scope(|scope| {
            let writers = ["w1", "w2", "w3", "w4"].map(|writer| {
                let keeper = &keeper;
                scope.spawn(move || {
                    let mut refused = 0;
                    for number in 0..EVENTS {
                        let id = format!("{writer}-{number}");
                        let event = record(&id, Some(writer), &["b"], ago(60, 0.5, Label::Positive));
                        loop {
                            match keeper.apply_blocking(vec![event.clone()]) {
                                Ok(outcomes) => break assert_eq!(outcomes, [Outcome::Recorded]),
                                Err(_) => refused += 1,
                            }
                        }
                    }
                    refused
                })
            });
            let refused = writers.map(|writer| writer.join());
            refused.into_iter().map(|refused| refused.expect("it wrote")).sum()
        });
        assert!(refused > 0, "the disk failed");
        let book = keeper.book();
        assert_eq!(count(book, brand("b")), i64::try_from(4 * EVENTS).expect("few"));
        for writer in ["w1", "w2", "w3", "w4"] {
            assert_eq!(book.held(writer).expect("readable").len(), EVENTS);
            assert_eq!(count(book, customer(writer)), i64::try_from(EVENTS).expect("few"));
        }
        let sequences: Vec<u64> =
            book.changes(0, usize::MAX).expect("readable").iter().map(|change| change.sequence).collect();
        assert_eq!(sequences, (1..=book.sequence()).collect::<Vec<_>>(), "none is left out");
    }

    /// What was kept in version 2 did not say what came last, in version 3 not enough of it: it is looked for, and said from the
    /// next change on.
    #[test]
    fn books_of_versions_2_and_3_go_on() {
        type Now = (Option<(i64, Micros)>, usize, Option<i64>, Option<i64>);
        for version in [2_u32, 3] {
            let book = book();
            for (id, seconds) in [("e1", 60), ("e2", 50)] {
                one(&book, record(id, Some("c"), &["b"], ago(seconds, -0.5, Label::Negative)));
            }
            let mut rows = book.storage().rows.lock().expect("whole").clone();
            for ((table, row), value) in &mut rows {
                if *table == Table::Profiles {
                    let kept = Kept::decode(value).expect("whole");
                    let (last, run, ..): Now =
                        postcard::from_bytes(&encode(&kept.tail.expect("known"))).expect("four");
                    *value = encode(&(kept.state, kept.alarms, kept.revision));
                    if version == 3 {
                        value.extend(encode(&Some((last, run))));
                    }
                } else if (*table, row.as_slice()) == (Table::Meta, b"version") {
                    *value = version.to_be_bytes().to_vec();
                }
            }
            let old =
                Book::open(Memory { rows: Mutex::new(rows), ..Memory::default() }, Terms::default(), [0; 32])
                    .expect("it opens");
            let pair = Key::Pair { customer: "c".to_owned(), brand: "b".to_owned() };
            for next in [None, Some(("e3", 40)), Some(("e4", 55))] {
                for book in [&book, &old] {
                    if let Some((id, seconds)) = next {
                        one(book, record(id, Some("c"), &["b"], ago(seconds, -0.25, Label::Negative)));
                    }
                }
                for key in [customer("c"), brand("b"), pair.clone()] {
                    assert_eq!(
                        features_of(&old, &key),
                        features_of(&book, &key),
                        "{key} {next:?} from {version}"
                    );
                }
            }
        }
    }

    /// A book of version 1, as the program of that version wrote it, has the same features in this one.
    #[test]
    fn a_book_of_version_1_is_brought_up() {
        let text = include_str!("../../tests/data/profiles/store-v1.txt");
        let bytes = |hex: &str| -> Vec<u8> {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            hex.as_bytes()
                .chunks(2)
                .map(|pair| digit(pair[0]).expect("hex") << 4 | digit(pair[1]).expect("hex"))
                .collect()
        };
        let mut rows = BTreeMap::new();
        for line in text.lines() {
            let [table, key, value] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let table = Table::ALL.into_iter().find(|known| known.name() == table).expect("a table");
            rows.insert((table, bytes(key)), bytes(value));
        }
        let old = Memory { rows: Mutex::new(rows), ..Memory::default() };
        let old = Book::open(old, Terms::default(), [0; 32]).expect("it opens");
        let new = book();
        new.apply(
            &[
                record("e1", Some("c"), &["b"], ago(60, -0.7, Label::Negative)),
                record("e2", Some("c"), &["b", "b2"], ago(90_000, 0.25, Label::Positive)),
                record("e3", Some("d"), &["b"], ago(40 * 86_400, 0.5, Label::Positive)),
                record("e4", None, &["b"], ago(3000, -0.5, Label::Negative)),
                record("e5", Some("c"), &["b"], ago(50, 0.0, Label::Neutral)),
                record("e6", Some("x"), &["b"], ago(50, 0.0, Label::Neutral)),
                Command::Retract("e5".to_owned()),
                Command::Erase { customer: "x".to_owned(), from_brands: false },
            ],
            now(),
        )
        .expect("written");
        let pair = |brand: &str| Key::Pair { customer: "c".to_owned(), brand: brand.to_owned() };
        for key in
            [customer("c"), customer("d"), customer("x"), brand("b"), brand("b2"), pair("b"), pair("b2")]
        {
            assert_eq!(features_of(&old, &key), features_of(&new, &key), "{key}");
        }
        assert_eq!(old.held("c").expect("readable"), new.held("c").expect("readable"));
        assert_eq!(
            old.erasures(None, None, 10).expect("readable"),
            new.erasures(None, None, 10).expect("readable")
        );
        assert_eq!(one(&old, Command::Retract("e1".to_owned())), Outcome::Retracted);
        assert_eq!(
            one(&old, record("e7", Some("x"), &[], ago(50, 0.0, Label::Neutral))),
            Outcome::Erased,
            "the salt and the tombstones are the same"
        );
    }

    fn run(book: &Book<Memory>, command: Command, seconds: i64) -> Vec<Signal> {
        let at = Timestamp::from_second(NOW + seconds).expect("a time");
        let applied = book.apply(&[command], at).expect("written");
        applied.change.map(|change| change.signals.iter().flatten().cloned().collect()).unwrap_or_default()
    }

    #[test]
    fn a_run_of_negatives_is_raised_once_and_cleared() {
        let book = book();
        let mut raised = Vec::new();
        for (number, (seconds, score)) in
            [(0, -0.5_f32), (1, -0.5), (2, -0.5), (3, -0.5), (4, 0.5), (5, -0.5), (6, -0.5), (7, -0.5)]
                .into_iter()
                .enumerate()
        {
            let label = if score < 0.0 { Label::Negative } else { Label::Positive };
            let event = record(&format!("e{number}"), Some("c"), &[], ago(-seconds, score, label));
            raised.extend(run(&book, event, seconds).into_iter().map(|signal| {
                assert_eq!((signal.kind, &signal.key), (SignalKind::NegativeRun, &customer("c")));
                (number, signal.raised, signal.statistic)
            }));
        }
        assert_eq!(raised, [(2, true, 3.0), (4, false, 0.0)], "then it rests");
        let event = record("late", Some("c"), &[], ago(-3700, -0.5, Label::Negative));
        let signals = run(&book, event, 3700);
        assert!(signals.iter().any(|signal| signal.raised && signal.statistic == 4.0), "{signals:?}");
    }

    #[test]
    fn what_is_old_is_swept() {
        let book = book();
        one(&book, record("old", Some("c"), &["b"], ago(89 * 86_400, -0.5, Label::Negative)));
        one(&book, record("new", Some("c"), &["b"], ago(60, 0.5, Label::Positive)));
        one(&book, record("x", Some("x"), &["b"], ago(89 * 86_400, -0.5, Label::Negative)));
        one(&book, Command::Erase { customer: "x".to_owned(), from_brands: false });
        let later = Timestamp::from_second(NOW + 3 * 86_400).expect("a time");
        let mut overdue = Vec::new();
        // As the keeper does: the ledger first.
        for table in [Table::Ledger, Table::Events, Table::Profiles, Table::Erased] {
            overdue.extend(book.overdue(table, &[], 100, later).expect("readable").0);
        }
        assert_eq!(overdue.iter().filter(|one| matches!(one, Overdue::Event(id) if id == "old")).count(), 1);
        assert_eq!(overdue.iter().filter(|one| matches!(one, Overdue::Tiles(_))).count(), 3);
        let applied = book.apply(&[Command::Expire(overdue)], later).expect("written");
        assert_eq!((applied.outcomes, applied.change), (vec![Outcome::Forgotten(2)], None));
        assert_eq!(book.held("c").expect("readable").len(), 1);
        for table in Table::ALL {
            assert_eq!(book.overdue(table, &[], 100, later).expect("readable").0, []);
        }
        let lifetime = book.profile(&brand("b"), later).expect("readable").expect("it is there");
        assert_eq!(lifetime.features.windows[5].sums.count(), 3, "the lifetime stays");
    }

    /// Of whom no event is kept any more there is a profile, and a restored one is forgotten again as well.
    #[test]
    fn who_is_erased_after_their_events_were_swept_is_erased_again() {
        let book = book();
        one(&book, record("e1", Some("c"), &["b"], ago(89 * 86_400, -0.5, Label::Negative)));
        one(&book, Command::Expire(vec![Overdue::Event("e1".to_owned())]));
        let backup = book.storage().rows.lock().expect("whole").clone();
        one(&book, Command::Erase { customer: "c".to_owned(), from_brands: false });
        let erasures = book.erasures(None, None, 10).expect("readable");
        let backup = Memory { rows: Mutex::new(backup), ..Memory::default() };
        let restored = Book::open(backup, Terms::default(), [0; 32]).expect("it opens");
        assert!(features_of(&restored, &customer("c")).is_some());
        assert_eq!(restored.erase_again(&erasures).expect("written"), 1);
        let pair = Key::Pair { customer: "c".to_owned(), brand: "b".to_owned() };
        for key in [customer("c"), pair] {
            assert_eq!(features_of(&restored, &key), None);
        }
    }

    /// What is forgotten while earlier bytes are taken off the disk still waits for its turn, though no change came between.
    #[test]
    fn what_is_forgotten_meanwhile_is_not_taken_for_gone() {
        let book = book();
        one(&book, record("e1", Some("c"), &["b"], ago(60, -0.5, Label::Negative)));
        one(&book, Command::Swept);
        let first = book.unscrubbed().expect("readable").expect("something was forgotten");
        one(&book, Command::Erase { customer: "c".to_owned(), from_brands: false });
        one(&book, Command::Scrubbed(first));
        let second = book.unscrubbed().expect("readable").expect("the customer's bytes are still there");
        one(&book, Command::Scrubbed(second));
        assert_eq!(book.unscrubbed().expect("readable"), None);
    }

    #[test]
    fn what_is_swept_is_last_no_more() {
        let book = book();
        for (id, days, score) in [("e1", 89, -0.5), ("e2", 88, -0.4), ("e3", 87, -0.3)] {
            one(&book, record(id, Some("c"), &["b"], ago(days * 86_400, score, Label::Negative)));
        }
        let pair = Key::Pair { customer: "c".to_owned(), brand: "b".to_owned() };
        let seen = || {
            let features = [customer("c"), brand("b"), pair.clone()]
                .map(|key| features_of(&book, &key).expect("it is there"));
            let [(run, last), second, third] =
                features.map(|features| (features.negative_run, features.last));
            assert!((run, last) == second && second == third, "all alike");
            (run, last)
        };
        let last = |days: i64, score| {
            let event = ago(days * 86_400, score, Label::Negative);
            Known::Present(Last { time: event.time, score: event.score })
        };
        assert_eq!(seen(), (3, last(87, -0.3)));
        let expire = |id: &str| one(&book, Command::Expire(vec![Overdue::Event(id.to_owned())]));
        assert_eq!(expire("e1"), Outcome::Forgotten(1));
        assert_eq!(seen(), (2, last(87, -0.3)));
        assert_eq!(expire("e3"), Outcome::Forgotten(1));
        assert_eq!(seen(), (1, last(88, -0.4)));
        assert_eq!(expire("e2"), Outcome::Forgotten(1));
        assert_eq!(seen(), (0, Known::OutsideRetention));
    }

    #[test]
    fn changes_are_numbered_and_forgotten_with_their_customer() {
        let book = book();
        one(&book, record("e1", Some("c"), &["b"], ago(60, 0.5, Label::Positive)));
        one(&book, record("e1", Some("c"), &["b"], ago(60, 0.5, Label::Positive)));
        one(&book, record("e2", Some("d"), &[], ago(50, 0.5, Label::Positive)));
        one(&book, Command::Sinks { names: vec!["s".to_owned()], run: 1 });
        one(&book, Command::Erase { customer: "c".to_owned(), from_brands: false });
        let changes = book.changes(0, 10).expect("readable");
        let keys: Vec<(u64, Vec<Key>)> = changes
            .iter()
            .map(|change| (change.sequence, change.keys.iter().flatten().cloned().collect()))
            .collect();
        assert_eq!(keys, [(1, vec![brand("b")]), (2, vec![customer("d")]), (3, Vec::new())]);
        assert!(book.was_erased(&changes[2], "c") && !book.was_erased(&changes[2], "d"));
        assert_eq!(book.notices(3).expect("readable"), ["c"], "until the sink has said so");
        let none = SignedDuration::ZERO;
        assert_eq!(book.spent(none, 10, 10, now() + none).expect("readable"), 0, "a sink needs it");
        one(&book, Command::Delivered { sink: "s".to_owned(), through: 3 });
        assert!(book.notices(3).expect("readable").is_empty());
        let later = Timestamp::from_second(NOW + 1).expect("a time");
        assert_eq!(book.spent(none, 10, 10, later).expect("readable"), 3);
        assert_eq!(book.spent(SignedDuration::from_hours(1), 1, 10, later).expect("readable"), 2);
        one(&book, Command::Trim(2));
        assert_eq!((book.trimmed(), book.sequence()), (2, 3));
        assert_eq!(book.changes(0, 10).expect("readable").len(), 1);
    }
}
