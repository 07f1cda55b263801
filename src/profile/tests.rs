//! The fold is the same in any order, and what is worked out from it is what the events themselves say.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "the slow way is written the short way"
)]

use jiff::Timestamp;
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
    Features::of(state, newest, now())
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
    let nothing = Features::of(&State::default(), [], now());
    assert!(nothing.windows.iter().all(|window| window.mean == Known::NoData));
    assert_eq!(
        (nothing.last, nothing.days_since_negative, nothing.trend),
        (Known::NoData, Known::NoData, Known::NoData)
    );
    let old = ago(100 * 86_400, -0.9, Label::Negative);
    let state = folded(&[old]);
    // Nothing of it is kept but its part in the lifetime.
    let old = Features::of(&state, [], now());
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
