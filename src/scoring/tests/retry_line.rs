//! The line of refused callers, under a clock that the tests move.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "the counts are small, and a test that panics has failed"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use proptest::prelude::*;

use crate::scoring::retry_line::{Arrival, Refused, RetryLine};

const LONGEST: Duration = Duration::from_secs(30);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn refused(key: Option<u64>, ahead: Duration, work: Duration) -> Refused {
    Refused { key, ahead, work, patience: None, comes_back: None, chance: 0.0 }
}

#[test]
fn each_refusal_takes_the_next_slot_and_the_line_moves_on_as_time_passes() {
    let mut line = RetryLine::new(LONGEST);
    let mut refuse = |key, now| line.refuse(refused(Some(key), ms(100), ms(80)), now);
    // A slot is an eighth wider than its work.
    assert_eq!([1, 2, 3].map(|key| refuse(key, ms(0))), [ms(100), ms(190), ms(280)]);
    assert_eq!(refuse(4, ms(200)), ms(170), "the line ends where it ended");
    assert_eq!(refuse(5, ms(9000)), ms(100), "it has run out");
}

#[test]
fn a_ticket_is_good_from_its_time_on_and_once() {
    let mut line = RetryLine::new(LONGEST);
    line.refuse(refused(Some(7), ms(1000), ms(10)), ms(0));
    assert_eq!(line.arrive(8, ms(500)), Arrival::New);
    assert_eq!(line.arrive(7, ms(500)), Arrival::Early(ms(500)));
    assert_eq!(line.arrive(7, ms(995)), Arrival::OnTime, "clients round");
    assert_eq!(line.arrive(7, ms(1000)), Arrival::New);
    line.refuse(refused(Some(7), ms(1000), ms(10)), ms(1000));
    assert!(!line.is_empty(ms(4000)));
    assert_eq!(line.arrive(7, ms(4001)), Arrival::New, "too late");
    assert!(line.is_empty(ms(4001)));
}

#[test]
fn a_caller_that_asks_again_too_early_is_told_the_rest_of_its_time() {
    let mut line = RetryLine::new(LONGEST);
    let told = line.refuse(refused(Some(1), ms(1000), ms(50)), ms(0));
    for now in (0..1000).step_by(10) {
        let rest = line.refuse(refused(Some(1), ms(1000), ms(50)), ms(now));
        assert_eq!(rest, told - ms(now).min(told - ms(10)));
    }
    // A hundred refusals took one slot.
    assert!(line.refuse(refused(Some(2), ms(0), ms(50)), ms(0)) < ms(1100));
}

#[test]
fn who_cannot_wait_for_a_slot_takes_none() {
    let mut line = RetryLine::new(LONGEST);
    let hasty = Refused { patience: Some(ms(99)), ..refused(Some(1), ms(100), ms(10)) };
    assert_eq!(line.refuse(hasty, ms(0)), ms(100), "it is told the truth");
    assert!(line.is_empty(ms(0)));
    assert_eq!(line.refuse(refused(Some(2), ms(100), ms(10)), ms(0)), ms(100));
}

#[test]
fn slots_of_callers_that_do_not_come_back_grow_narrow_and_wide_again() {
    let mut line = RetryLine::new(LONGEST);
    let width = |line: &mut RetryLine, now: u64| {
        let mut refuse = |key| line.refuse(refused(Some(key), ms(20), ms(80)), ms(now));
        let first = refuse(1_000_000);
        refuse(1_000_001) - first
    };
    assert_eq!(width(&mut line, 0), ms(90));
    (0..300).for_each(|key| _ = line.refuse(refused(Some(key), ms(1), ms(80)), ms(0)));
    assert!(width(&mut line, 60_000) < ms(10), "all 300 stayed away");
    for key in 0..300 {
        let now = ms(100_000 + 1000 * key);
        let delay = line.refuse(refused(Some(key), ms(1), ms(80)), now);
        assert_eq!(line.arrive(key, now + delay), Arrival::OnTime);
    }
    assert!(width(&mut line, 500_000) > ms(80), "all 300 came");
}

/// Callers that ask for one text each, all at the same moment, and their server.
#[derive(Clone, Copy, Debug)]
struct Herd {
    callers: u64,
    /// The first so many ask again at once, whatever they are told.
    hasty: u64,
    /// The last so many never ask again.
    leaving: u64,
    /// How long a text takes.
    work: Duration,
    /// How long the server believes that it takes, as a share of that.
    belief: f64,
    seed: u64,
}

/// What became of the callers: when each was answered, if it was.
fn answered(herd: Herd) -> Vec<Option<Duration>> {
    const ATTEMPTS: u32 = 5;
    const MAX_WAIT: Duration = ms(150);
    let Herd { callers, hasty, leaving, work, mut belief, seed } = herd;
    let mut line = RetryLine::new(LONGEST);
    let mut state = seed;
    let mut chance = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((state >> 32) as u32) / f64::from(u32::MAX)
    };
    let mut answered = vec![None; callers as usize];
    // The first attempts arrive over half a second, in no order of the callers' numbers.
    let mut arrivals: BinaryHeap<_> = (0..callers)
        .map(|caller| {
            let turn = caller * 7919 % callers;
            Reverse((Duration::from_micros(500_000 * turn / callers), caller, 1))
        })
        .collect();
    // When all that is queued is done.
    let mut done = Duration::ZERO;
    while let Some(Reverse((now, caller, attempt))) = arrivals.pop() {
        let ahead = done.saturating_sub(now);
        let has_room = match line.arrive(caller, now) {
            Arrival::Early(_) => false,
            Arrival::New if !line.is_empty(now) => ahead <= MAX_WAIT / 4,
            Arrival::New | Arrival::OnTime => ahead <= MAX_WAIT,
        };
        if has_room {
            // The server learns its pace from a second of work.
            belief += (1.0 - belief) * work.as_secs_f64();
            done = now + ahead + work;
            answered[caller as usize] = Some(done);
            continue;
        }
        let (ahead, work) = (ahead.mul_f64(belief), work.mul_f64(belief));
        let delay = line.refuse(Refused { chance: chance(), ..refused(Some(caller), ahead, work) }, now);
        if caller < hasty && now < Duration::from_secs(10) {
            arrivals.push(Reverse((now + ms(5), caller, attempt)));
        } else if caller >= hasty && attempt < ATTEMPTS && caller < callers - leaving {
            arrivals.push(Reverse((now + delay + ms(1), caller, attempt + 1)));
        }
    }
    answered
}

const HERD: Herd = Herd { callers: 2000, hasty: 0, leaving: 0, work: ms(3), belief: 1.0, seed: 1 };

fn count(answered: &[Option<Duration>]) -> usize {
    answered.iter().flatten().count()
}

#[test]
fn of_two_thousand_callers_at_once_all_are_answered_within_five_attempts() {
    let answered = answered(HERD);
    assert_eq!(count(&answered), 2000);
    let last = answered.iter().flatten().max().expect("answers");
    assert!(*last < ms(2000 * 3 * 5 / 4), "the server was never idle for long: {last:?}");
}

#[test]
fn a_caller_that_ignores_its_delay_is_not_answered_sooner() {
    for hasty in [100, 1000, 1900] {
        let answered = answered(Herd { hasty: hasty as u64, ..HERD });
        let (hasty, patient) = answered.split_at(hasty);
        assert_eq!(count(&answered), 2000);
        let mean = |of: &[Option<Duration>]| {
            of.iter().flatten().map(Duration::as_secs_f64).sum::<f64>() / count(of) as f64
        };
        let (hasty, patient) = (mean(hasty), mean(patient));
        // By chance alone the mean of a hundred callers is a twentieth off.
        assert!(hasty > 0.9 * patient, "{hasty} s against {patient} s");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// However fast the server is, whatever it believes of its pace at first, and whoever stays away.
    #[test]
    fn a_herd_is_answered_within_the_attempts_of_its_policy(
        callers in 1..4000_u64,
        leaving in 0.0..0.9_f64,
        work_us in 100..6000_u64,
        belief in 0.4..3.0_f64,
        seed: u64,
    ) {
        let leaving = (callers as f64 * leaving) as u64;
        let work = Duration::from_micros(work_us);
        let herd = Herd { callers, hasty: 0, leaving, work, belief, seed };
        let answered = answered(herd);
        let staying = &answered[..(callers - leaving) as usize];
        prop_assert!(count(staying) * 20 >= staying.len() * 19, "{} of {}", count(staying), staying.len());
    }

    #[test]
    fn delays_are_bounded_and_refusals_never_make_a_ticket_holder_wait_longer(
        steps in prop::collection::vec((0..50_u64, 0..2000_u64, 0..400_u64, 0..500_u64, 0.0..1.0_f64), 1..300),
    ) {
        let mut line = RetryLine::new(LONGEST);
        let mut now = Duration::ZERO;
        let mut told = std::collections::HashMap::new();
        for (key, pause, ahead, work, chance) in steps {
            now += ms(pause);
            let standing = line.arrive(key, now);
            if let Arrival::Early(rest) = standing {
                prop_assert_eq!(now + rest, told[&key]);
            }
            let refused = Refused { chance, ..refused(Some(key), ms(ahead), ms(work)) };
            let delay = line.refuse(refused, now);
            prop_assert!((ms(10)..=LONGEST).contains(&delay));
            if !matches!(standing, Arrival::Early(_)) {
                told.insert(key, now + delay);
            }
        }
    }
}
