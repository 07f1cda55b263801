//! The course of a conversation beside the same worked out anew for each message.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::course::{Course, LATEST_TURNS};
use super::super::levels::{Levels, change_points};
use super::super::trajectory::is_negative;
use super::super::*;

/// The slow way: everything from all messages, as often as it is asked for.
fn anew(messages: &[Felt]) -> Trajectory {
    let roles = [Role::Customer, Role::Agent, Role::Bot];
    let roles: Vec<RoleTrajectory> = roles.into_iter().filter_map(|role| of_role(role, messages)).collect();
    let last_words =
        messages.iter().rev().filter(|felt| felt.role == Role::Customer).find_map(|felt| felt.score);
    let mut whole = Trajectory { waits: waits(messages), unresolved_negative: false, roles };
    whole.unresolved_negative =
        last_words.is_some_and(is_negative) || whole.customer().is_some_and(|role| is_negative(role.closing));
    whole
}

fn of_role(role: Role, messages: &[Felt]) -> Option<RoleTrajectory> {
    let own = || messages.iter().enumerate().filter(move |(_, felt)| felt.role == role);
    let scored: Vec<(usize, f64)> = own().filter_map(|(at, felt)| Some((at, felt.score?))).collect();
    let scores: Vec<f64> = scored.iter().map(|(_, score)| *score).collect();
    let ends = scores.len().div_ceil(4).min(ENDS);
    let mut smooth = *scores.first()?;
    let curve = scored.iter().map(|(at, score)| {
        smooth += SMOOTHING * (score - smooth);
        (*at, smooth)
    });
    let curve = curve.collect();
    let mut run = (0, None);
    let mut current = (0, None);
    for (at, score) in &scored {
        current = if is_negative(*score) { (current.0 + 1, current.1.or(Some(*at))) } else { (0, None) };
        run = if current.0 > run.0 { current } else { run };
    }
    Some(RoleTrajectory {
        role,
        message_count: own().count(),
        scored_count: scores.len(),
        positive_count: scores.iter().filter(|score| is_negative(-**score)).count(),
        negative_count: scores.iter().filter(|score| is_negative(**score)).count(),
        opening: mean(scores.get(..ends)?),
        closing: mean(scores.get(scores.len() - ends..)?),
        mean: mean(&scores),
        curve,
        turning_point_count: turning_points(role, &scored, messages).len(),
        turning_points: turning_points(role, &scored, messages),
        longest_negative_run: run,
    })
}

fn turning_points(role: Role, scored: &[(usize, f64)], messages: &[Felt]) -> Vec<TurningPoint> {
    let scores: Vec<f64> = scored.iter().map(|(_, score)| *score).collect();
    let mut edges = vec![0];
    edges.extend(change_points(&scores));
    edges.push(scores.len());
    let level = |edges: &[usize]| match edges {
        [from, to] => scores.get(*from..*to).map_or(0.0, mean),
        _ => 0.0,
    };
    let triple = |edges: &[usize]| {
        let [_, at, _] = *edges else { return None };
        let message = scored.get(at)?.0;
        let after =
            messages.get(..message)?.iter().rposition(|felt| felt.role != role && felt.role != Role::System);
        Some(TurningPoint { message, after, from: level(edges.get(..2)?), to: level(edges.get(1..)?) })
    };
    edges.windows(3).filter_map(triple).collect()
}

/// How long the first of a customer's unanswered messages that wants an answer waited for an agent, each time.
fn waits(messages: &[Felt]) -> Option<Waits> {
    let mut asked: Option<Timestamp> = None;
    let mut waits: Vec<(Duration, usize)> = Vec::new();
    for (at, felt) in messages.iter().enumerate() {
        match (felt.role, felt.time) {
            (Role::Customer, time) => {
                let wants = felt.score.is_some_and(|score| !is_negative(-score));
                asked = asked.or(time.filter(|_| wants));
            }
            (Role::Agent, Some(time)) => {
                let waited =
                    asked.take().and_then(|asked| Duration::try_from(time.duration_since(asked)).ok());
                waits.extend(waited.map(|waited| (waited, at)));
            }
            (Role::Agent | Role::Bot | Role::System, _) => {}
        }
    }
    // In the order of the messages, as sums of scores are rounded.
    let in_order = waits.clone();
    waits.sort();
    let (longest, longest_until) = *waits.last()?;
    let next = |until: usize| {
        let mut after = messages.iter().skip(until + 1).filter(|felt| felt.role == Role::Customer);
        after.find_map(|felt| felt.score)
    };
    let (long, others): (Vec<_>, Vec<_>) = in_order.iter().partition(|(waited, _)| *waited >= LONG_WAIT);
    let said = |of: &[(Duration, usize)]| {
        let scores: Vec<f64> = of.iter().filter_map(|(_, until)| next(*until)).collect();
        (!scores.is_empty()).then(|| mean(&scores))
    };
    Some(Waits {
        count: waits.len(),
        median: waits.get((waits.len() - 1) / 2)?.0,
        longest,
        longest_until,
        long_count: long.len(),
        after_long: said(&long),
        after_others: said(&others),
    })
}

/// What a stream shows of it.
fn latest(mut whole: Trajectory) -> Trajectory {
    for role in &mut whole.roles {
        role.curve.drain(..role.curve.len() - 1);
        role.turning_points.drain(..role.turning_points.len().saturating_sub(LATEST_TURNS));
    }
    whole
}

fn message() -> impl Strategy<Value = Felt> {
    let role =
        prop::sample::select(vec![Role::Customer, Role::Customer, Role::Agent, Role::Bot, Role::System]);
    // Few values, so that levels are long and equal costs are met; any, so that sums are rounded.
    let score = prop_oneof![
        2 => Just(None),
        4 => prop::sample::select(vec![-0.9, -0.25, 0.0, 0.3, 0.9]).prop_map(Some),
        4 => (-1.0..1.0_f64).prop_map(Some),
    ];
    let time = prop::option::of((0..5000_i64).prop_map(|at| Timestamp::from_second(at).expect("a time")));
    (role, time, score).prop_map(|(role, time, score)| Felt { role, time, score })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_message_gives_what_all_would_anew(messages in prop::collection::vec(message(), 1..120)) {
        let mut course = Course::default();
        for (at, felt) in messages.iter().enumerate() {
            course.push(felt);
            let slow = anew(messages.get(..=at).expect("a prefix"));
            prop_assert_eq!(course.smoothed(at), slow.smoothed(at));
            prop_assert_eq!(course.latest(), latest(slow.clone()));
            prop_assert_eq!(course.whole(), slow);
        }
    }
}

/// A series that goes up and down by blocks, as costly to search as can be, with some noise.
fn blocks(count: usize, block: usize) -> Vec<f64> {
    let value = |at: usize| {
        let noise = super::super::levels::as_float(at * 7919 % 101) / 500.0;
        if (at / block).is_multiple_of(2) { 0.7 + noise } else { -0.9 + noise }
    };
    (0..count).map(value).collect()
}

#[test]
fn a_long_conversation_is_what_it_would_be_anew() {
    let felt = |score: f64| Felt { role: Role::Customer, time: None, score: Some(score) };
    for block in [3, 90, 5000] {
        let messages: Vec<Felt> = blocks(1400, block).into_iter().map(felt).collect();
        let mut course = Course::default();
        for (at, felt) in messages.iter().enumerate() {
            course.push(felt);
            let shown = course.latest();
            if at % 97 == 0 || [255, 256, 319, 320, 1023, 1024].contains(&at) {
                let slow = anew(messages.get(..=at).expect("a prefix"));
                assert_eq!(shown, latest(slow), "after {at}, blocks of {block}");
            }
        }
        assert!(course.latest().roles.iter().all(|role| role.turning_points.len() <= LATEST_TURNS));
        assert!(course.latest().summary().len() < 1000);
    }
}

/// Twice the messages may cost twice the work and the longer searches, not four times.
#[test]
fn the_work_of_a_conversation_grows_with_its_length() {
    let steps = |count: usize, block: usize| {
        let mut levels = Levels::default();
        for value in blocks(count, block) {
            levels.push(value);
            levels.search();
        }
        levels.steps()
    };
    for block in [3, 7, 1000, 100_000] {
        let (once, twice) = (steps(2000, block), steps(4000, block));
        assert!(twice < once * 3, "{once} and {twice} steps, blocks of {block}");
        assert!(twice < 4000 * 512 * 6, "{twice} steps, blocks of {block}");
    }
    assert_eq!(change_points(&blocks(600, 100)), [100, 200, 300, 400, 500]);
}

#[test]
fn taking_back_is_as_if_it_had_never_counted() {
    let felt: Vec<Felt> = blocks(40, 8)
        .into_iter()
        .enumerate()
        .map(|(at, score)| Felt { role: Role::Customer, time: None, score: (at != 11).then_some(score) })
        .collect();
    assert_eq!(Course::of(&felt).whole(), anew(&felt));
}

#[test]
fn waits_keep_their_order() {
    let at = |role, minute: i64, score| Felt {
        role,
        time: Some(Timestamp::from_second(minute * 60).expect("a time")),
        score,
    };
    let chat = [
        at(Role::Customer, 0, Some(-0.5)),
        at(Role::Agent, 30, Some(0.5)),
        at(Role::Customer, 31, Some(-0.8)),
        at(Role::Agent, 32, None),
        at(Role::Customer, 33, Some(0.6)),
    ];
    let waits = Course::of(&chat).whole().waits.expect("two");
    assert_eq!((waits.count, waits.long_count), (2, 1));
    assert_eq!((waits.after_long, waits.after_others), (Some(-0.8), Some(0.6)));
    assert_eq!(waits.longest, Duration::from_secs(1800));
}
