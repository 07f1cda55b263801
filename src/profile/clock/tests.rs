#![allow(clippy::indexing_slicing, reason = "an index that is wrong fails the test")]

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_795_408_200_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A machine: true time, how wrong its clock is, and a store's clock that is opened and closed on it.
struct Machine {
    truth: i64,
    error: i64,
    /// When the process began.
    began: i64,
    clock: StoreClock,
}

impl Machine {
    fn new() -> Self {
        let reading = Reading { wall: time(NOW), monotonic: Duration::ZERO };
        let past = Past { is_used: false, ..Past::default() };
        Self { truth: NOW, error: 0, began: NOW, clock: StoreClock::start(past, reading) }
    }

    fn reading(&self) -> Reading {
        let passed = u64::try_from(self.truth - self.began).expect("time goes on");
        Reading { wall: time(self.truth + self.error), monotonic: Duration::from_millis(passed) }
    }

    fn look(&mut self) -> ClockState {
        let reading = self.reading();
        self.clock.look(reading)
    }

    fn run(&mut self, millis: i64) -> ClockState {
        self.truth += millis;
        self.look()
    }

    /// The process ends, and another begins after a while under a clock that is so wrong.
    fn restart(&mut self, off: i64, error: i64) -> ClockState {
        self.look();
        let past = Past { row: Some(self.clock.row()), is_used: true, newest: None, files: None };
        self.truth += off;
        (self.error, self.began) = (error, self.truth);
        let reading = self.reading();
        self.clock = StoreClock::start(past, reading);
        self.look()
    }

    /// Events of now by clients whose clocks are right, each minute for so long.
    fn traffic(&mut self, minutes: i64) -> ClockState {
        for _ in 0..minutes {
            self.run(MINUTE);
            let now = self.truth;
            self.clock.hear(std::iter::repeat_n(now, 3));
        }
        self.look()
    }
}

fn distrusted(state: ClockState, why: Distrust) -> i64 {
    assert_eq!(state.distrust, Some(why), "{state:?}");
    state.now.as_millisecond()
}

fn trusted(state: ClockState) -> i64 {
    assert_eq!(state.distrust, None, "{state:?}");
    state.now.as_millisecond()
}

#[test]
fn a_clock_that_is_right_is_followed() {
    let mut machine = Machine::new();
    assert_eq!(trusted(machine.run(30 * DAY)), machine.truth);
    assert_eq!(trusted(machine.restart(5 * HOUR, 0)), machine.truth);
    assert_eq!(trusted(machine.run(HOUR)), machine.truth);
}

#[test]
fn a_start_400_days_ahead_is_distrusted_and_a_right_one_after_it_is_not() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    let now = distrusted(machine.restart(MINUTE, 400 * DAY), Distrust::Ahead);
    assert!(near(now, machine.truth), "the last good time");
    let state = machine.run(30 * DAY);
    assert!(near(distrusted(state, Distrust::Ahead), machine.truth), "and what passed since");
    assert_eq!(state.horizon.as_millisecond(), NOW + HOUR - millis(STEP), "nothing is forgotten");
    assert_eq!(trusted(machine.restart(MINUTE, 0)), machine.truth);
}

#[test]
fn a_start_behind_the_last_time_on_disk_is_distrusted_until_the_clock_is_set() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    let now = distrusted(machine.restart(MINUTE, -50 * DAY), Distrust::Behind);
    assert!(near(now, machine.truth));
    machine.error = 0;
    assert_eq!(trusted(machine.look()), machine.truth);
}

#[test]
fn steps_in_a_running_process_are_distrusted_until_they_are_taken_back() {
    for (error, why) in [(91 * DAY, Distrust::SteppedAhead), (-91 * DAY, Distrust::SteppedBack)] {
        let mut machine = Machine::new();
        machine.run(HOUR);
        machine.error = error;
        assert!(near(distrusted(machine.run(MINUTE), why), machine.truth));
        assert!(near(distrusted(machine.run(DAY), why), machine.truth), "the monotonic clock goes on");
        machine.error = 0;
        assert_eq!(trusted(machine.run(MINUTE)), machine.truth);
    }
}

#[test]
fn small_steps_are_followed_and_time_never_goes_back_by_them() {
    let mut machine = Machine::new();
    let before = trusted(machine.run(HOUR));
    machine.error = -5 * MINUTE;
    assert_eq!(trusted(machine.run(MINUTE)), before, "it stands still");
    assert_eq!(trusted(machine.run(3 * MINUTE)), before);
    assert_eq!(trusted(machine.run(2 * MINUTE)), before + MINUTE, "the system's time has caught up");
    assert_eq!(trusted(machine.run(HOUR)), before + HOUR + MINUTE);
    assert_eq!(
        trusted(machine.restart(MINUTE, -11 * MINUTE)),
        before + HOUR + MINUTE,
        "as of the last commit"
    );
}

#[test]
fn a_long_pause_is_trusted_once_fresh_events_confirm_it_and_forgets_nothing_for_a_day_more() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    distrusted(machine.restart(60 * DAY, 0), Distrust::Ahead);
    distrusted(machine.traffic(4), Distrust::Ahead);
    let state = machine.traffic(5);
    assert_eq!(trusted(state), machine.truth);
    assert!(machine.truth - state.horizon.as_millisecond() > 59 * DAY);
    machine.traffic(23 * 60);
    assert!(machine.truth - machine.look().horizon.as_millisecond() > 59 * DAY);
    machine.traffic(2 * 60);
    assert!(machine.truth - machine.look().horizon.as_millisecond() < HOUR);
}

#[test]
fn a_pause_of_a_day_is_trusted_at_once_and_forgets_after_an_hour_of_fresh_events() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    let state = machine.restart(20 * HOUR, 0);
    assert_eq!(trusted(state), machine.truth);
    assert!(machine.truth - state.horizon.as_millisecond() > 20 * HOUR);
    machine.traffic(30);
    assert!(machine.truth - machine.look().horizon.as_millisecond() > 20 * HOUR);
    machine.traffic(40);
    assert!(machine.truth - machine.look().horizon.as_millisecond() < HOUR);
}

#[test]
fn events_of_the_last_good_time_contradict_a_wrong_clock() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    machine.restart(MINUTE, 400 * DAY);
    distrusted(machine.traffic(48 * 60), Distrust::Ahead);
}

#[test]
fn a_person_accepts_a_time_ahead_and_behind() {
    for error in [400 * DAY, -50 * DAY] {
        let mut machine = Machine::new();
        machine.run(HOUR);
        assert!(machine.restart(MINUTE, error).distrust.is_some());
        machine.clock.accept();
        assert_eq!(trusted(machine.look()), machine.truth + error);
        assert_eq!(trusted(machine.restart(MINUTE, error)), machine.truth + error, "it is kept");
    }
}

#[test]
fn a_machine_without_a_battery_is_trusted_when_its_clock_is_set() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    distrusted(machine.restart(3 * HOUR, -20_000 * DAY), Distrust::Behind);
    machine.error = 0;
    assert_eq!(trusted(machine.run(MINUTE)), machine.truth);
}

#[test]
fn files_that_are_newer_than_the_clock_stop_forgetting_until_a_person_accepts() {
    let machine = Machine::new();
    let row = Some(machine.clock.row());
    let past = Past { row, is_used: true, newest: None, files: Some(time(NOW + DAY)) };
    let mut clock = StoreClock::start(past, machine.reading());
    assert_eq!(distrusted(clock.state(), Distrust::NewerFiles), NOW, "reading goes on by the clock");
    let past = Past { row: Some(clock.row()), ..past };
    clock.accept();
    assert_eq!(trusted(clock.state()), NOW);
    let accepted = Past { row: Some(clock.row()), ..past };
    trusted(StoreClock::start(accepted, machine.reading()).state());
    distrusted(StoreClock::start(past, machine.reading()).state(), Distrust::NewerFiles);
}

#[test]
fn a_store_of_an_earlier_version_goes_by_the_clock_and_forgets_nothing_unproven() {
    let machine = Machine::new();
    let past = Past { row: None, is_used: true, newest: Some(time(NOW - 30 * DAY)), files: None };
    let state = StoreClock::start(past, machine.reading()).state();
    assert_eq!(trusted(state), NOW);
    assert!(state.horizon.as_millisecond() < NOW - 30 * DAY);
    let ahead = Past { newest: Some(time(NOW + DAY)), ..past };
    distrusted(StoreClock::start(ahead, machine.reading()).state(), Distrust::Behind);
}

#[test]
fn drift_between_the_clocks_is_no_jump_however_often_it_is_looked_at() {
    let mut machine = Machine::new();
    for _ in 0..200_000 {
        // 100 µs a second, for 69 days.
        machine.error += 3;
        trusted(machine.run(30_000));
    }
    // But who looks all the time lets nothing creep.
    let mut machine = Machine::new();
    for _ in 0..2_000_000 {
        machine.error += 1;
        if machine.look().distrust.is_some() {
            return;
        }
    }
    panic!("it crept ahead by {} ms", machine.error);
}

#[derive(Clone, Debug)]
enum Turn {
    Run(i64),
    Traffic(i64),
    Step(i64),
    Restart(i64, i64),
}

fn any_turn() -> impl Strategy<Value = Turn> {
    let error = || prop_oneof![Just(0), -20 * MINUTE..20 * MINUTE, -500 * DAY..500 * DAY, -DAY..DAY];
    prop_oneof![
        (0..3 * DAY).prop_map(Turn::Run),
        (0_i64..200).prop_map(Turn::Traffic),
        error().prop_map(Turn::Step),
        (prop_oneof![0..HOUR, 0..90 * DAY], error()).prop_map(|(off, error)| Turn::Restart(off, error)),
    ]
}

proptest! {
    /// Whatever the system's clock does: while clients' clocks are right, nothing is forgotten before its time, the horizon does not
    /// go back, and once the clock is right again and fresh events come, it is trusted.
    #[test]
    fn the_horizon_never_runs_ahead_of_the_truth(turns in prop::collection::vec(any_turn(), 1..40)) {
        let mut machine = Machine::new();
        let mut horizon = i64::MIN;
        for turn in turns {
            let state = match turn {
                Turn::Run(millis) => machine.run(millis),
                Turn::Traffic(minutes) => machine.traffic(minutes),
                Turn::Step(error) => {
                    machine.error = error;
                    machine.look()
                }
                Turn::Restart(off, error) => machine.restart(off, error),
            };
            let found = state.horizon.as_millisecond();
            prop_assert!(found <= machine.truth, "{} ms ahead", found - machine.truth);
            prop_assert!(found >= horizon, "it went back");
            prop_assert!(state.now.as_millisecond() >= found);
            horizon = found;
        }
        machine.restart(0, 0);
        let state = machine.traffic(30);
        prop_assert_eq!(state.distrust, None);
        prop_assert!(near(state.now.as_millisecond(), machine.truth));
    }
}

/// A store on a [`Machine`], beside one whose clock was never wrong.
mod stores {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::model::Label;
    use crate::profile::storage::memory::Memory;
    use crate::profile::{
        Book, Channel, Command, Contribution, Event, Features, Key, Micros, Outcome, Table, Terms,
    };

    struct Store {
        machine: Machine,
        book: Book<Memory>,
        right: Book<Memory>,
        /// Goes by the system's time as if it were right.
        naive: bool,
        recorded: BTreeMap<u32, i64>,
        /// Events that were recorded and whose customer was erased then.
        erased: BTreeSet<u32>,
    }

    fn book() -> Book<Memory> {
        Book::open(Memory::default(), Terms::default(), [7; 32]).expect("an empty storage")
    }

    fn customer(number: u32) -> String {
        format!("c{}", number % 4)
    }

    fn event(number: u32, millis: i64) -> Command {
        let negative = number.is_multiple_of(3);
        let contribution = Contribution {
            time: time(millis),
            label: if negative { Label::Negative } else { Label::Positive },
            score: Micros::of(if negative { -0.5 } else { 0.25 }),
            channel: Channel::Review,
        };
        let event = Event {
            id: format!("e{number}"),
            customer: Some(customer(number)),
            brands: vec!["b".to_owned()],
            contribution,
        };
        Command::Record { content: format!("{event:?}").into_bytes(), event, replaces: None }
    }

    impl Store {
        fn new(naive: bool) -> Self {
            let (recorded, erased) = (BTreeMap::new(), BTreeSet::new());
            Self { machine: Machine::new(), book: book(), right: book(), naive, recorded, erased }
        }

        fn moment(&mut self) -> Moment {
            self.machine.look();
            if self.naive { self.machine.reading().wall.into() } else { self.machine.clock.moment() }
        }

        fn ask(&mut self, command: Command) -> Outcome {
            let moment = self.moment();
            let applied = self.book.apply(std::slice::from_ref(&command), moment).expect("written");
            let outcome = applied.outcomes[0];
            // What it refused, the other one is not asked.
            let taken = matches!(outcome, Outcome::Recorded | Outcome::Retracted | Outcome::Forgotten(_));
            if taken && !matches!(command, Command::Expire(_)) {
                let right = Moment { now: moment.now, ..time(self.machine.truth).into() };
                self.right.apply(&[command], right).expect("written");
            }
            outcome
        }

        /// A person accepts a clock that is so wrong.
        fn accept(&mut self, error: i64) {
            self.machine.error = error;
            self.machine.look();
            self.machine.clock.accept();
            self.ask(Command::AcceptClock);
        }

        fn record(&mut self, number: u32, age: i64) {
            let millis = self.recorded.get(&number).copied().unwrap_or(self.machine.truth - age);
            let known = self.recorded.contains_key(&number);
            self.machine.clock.hear(std::iter::once(millis));
            let outcome = self.ask(event(number, millis));
            if known {
                assert_ne!(outcome, Outcome::Recorded, "a replay of e{number} counts again");
            } else if outcome == Outcome::Recorded {
                self.recorded.insert(number, millis);
            }
        }

        fn erase(&mut self, number: u32) {
            let customer = customer(number);
            let of = |other: &u32| self::customer(*other) == customer;
            let gone: Vec<u32> = self.recorded.keys().copied().filter(of).collect();
            self.ask(Command::Erase { customer, from_brands: false });
            self.erased.extend(gone);
        }

        /// As the keeper does.
        fn sweep(&mut self) {
            let state = self.machine.look();
            if state.distrust.is_some() && !self.naive {
                return;
            }
            let moment = self.moment();
            for table in [Table::Ledger, Table::Events, Table::Profiles, Table::Erased] {
                let (overdue, _) = self.book.overdue(table, &[], 10_000, moment.horizon).expect("readable");
                self.ask(Command::Expire(overdue));
            }
        }

        fn features(book: &Book<Memory>, key: &Key, now: i64) -> Option<Features> {
            book.profile(key, time(now)).expect("readable").map(|profile| profile.features)
        }

        fn check(&mut self) {
            let now = self.machine.look().now.as_millisecond();
            let first = self.machine.truth - millis(Terms::default().retention);
            for number in 0..4 {
                let held = self.book.held(&customer(number)).expect("readable");
                let held: BTreeSet<String> = held.into_iter().map(|held| held.event.id).collect();
                for (number, millis) in self.recorded.iter().filter(|(other, _)| *other % 4 == number) {
                    let lost = *millis > first && !self.erased.contains(number);
                    assert!(!lost || held.contains(&format!("e{number}")), "e{number} is lost");
                }
                let key = Key::Customer(customer(number));
                for window in Self::features(&self.book, &key, now).iter().flat_map(|found| &found.windows) {
                    assert!(window.sums.labels.iter().chain(&window.sums.channels).all(|count| *count >= 0));
                }
            }
        }

        /// What is worked out from tiles is as if the clock had never been wrong.
        fn compare(&self) {
            let keys =
                (0..4).map(|number| Key::Customer(customer(number))).chain([Key::Brand("b".to_owned())]);
            for key in keys {
                let now = self.machine.truth;
                let pair = (Self::features(&self.book, &key, now), Self::features(&self.right, &key, now));
                let (Some(found), Some(wanted)) = pair else {
                    assert_eq!(pair.0, pair.1, "{key}");
                    continue;
                };
                assert_eq!(found.windows, wanted.windows, "{key}");
                assert_eq!((found.decayed, found.trend), (wanted.decayed, wanted.trend), "{key}");
                assert_eq!((found.slope, found.volatility), (wanted.slope, wanted.volatility), "{key}");
            }
        }

        fn turn(&mut self, turn: &Act) {
            match *turn {
                Act::Clock(Turn::Run(millis)) => drop(self.machine.run(millis)),
                Act::Clock(Turn::Traffic(minutes)) => drop(self.machine.traffic(minutes)),
                Act::Clock(Turn::Step(error)) => {
                    self.machine.error = error;
                    self.machine.look();
                }
                Act::Clock(Turn::Restart(off, error)) => drop(self.machine.restart(off, error)),
                Act::Record(number, age) => self.record(number, age),
                Act::Retract(number) => drop(self.ask(Command::Retract(format!("e{number}")))),
                Act::Erase(number) => self.erase(number),
                Act::Sweep => self.sweep(),
            }
            self.check();
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Clock(Turn),
        Record(u32, i64),
        Retract(u32),
        Erase(u32),
        Sweep,
    }

    fn any_act() -> impl Strategy<Value = Act> {
        let age = || prop_oneof![0..5 * MINUTE, 0..3 * DAY, 0..91 * DAY];
        prop_oneof![
            3 => any_turn().prop_map(Act::Clock),
            6 => (0_u32..40, age()).prop_map(|(number, age)| Act::Record(number, age)),
            1 => (0_u32..40).prop_map(Act::Retract),
            1 => (0_u32..40).prop_map(Act::Erase),
            3 => Just(Act::Sweep),
        ]
    }

    proptest! {
        /// Whatever jumps, sweeps, restarts, replays and reads come: no event that was acknowledged is lost, none counts twice, of
        /// whom was erased nothing comes again, nothing counts below 0; and once the clock is right, all that is worked out from tiles
        /// is as if it had never been wrong.
        #[test]
        fn a_wrong_clock_loses_nothing_and_doubles_nothing(acts in prop::collection::vec(any_act(), 1..60)) {
            let mut store = Store::new(false);
            acts.iter().for_each(|act| store.turn(act));
            store.turn(&Act::Clock(Turn::Restart(0, 0)));
            store.turn(&Act::Clock(Turn::Traffic(30)));
            store.sweep();
            store.compare();
            let recorded: Vec<u32> = store.recorded.keys().copied().collect();
            recorded.into_iter().for_each(|number| store.record(number, 0));
        }
    }

    /// An erasure while the clock is distrusted reaches up to the system's time once that turns out right, and not if it was wrong.
    #[test]
    fn an_erasure_in_doubt_reaches_as_far_as_the_clock_turns_out_right() {
        let erased = |error: i64| {
            let mut store = Store::new(false);
            store.turn(&Act::Record(1, HOUR));
            store.turn(&Act::Clock(Turn::Step(error)));
            store.turn(&Act::Erase(1));
            // Between the erasure by the store's time and by the system's.
            let between = event(5, store.machine.truth + 5 * MINUTE);
            assert_eq!(store.ask(between.clone()), Outcome::InDoubt);
            (store, between)
        };
        let through = |store: &Store| {
            let erasures = store.book.erasures(None, None, 10).expect("readable");
            erasures.last().expect("there is one").through.as_millisecond()
        };
        let (mut store, between) = erased(2 * DAY);
        let at = store.machine.truth + 2 * DAY;
        store.machine.clock.accept();
        assert_eq!(store.ask(between), Outcome::Erased);
        assert_eq!(store.ask(event(9, at - HOUR)), Outcome::Erased);
        assert_eq!(store.ask(event(13, at + MINUTE)), Outcome::Recorded);
        assert_eq!(through(&store), at, "the report says so, for a restored store");

        let (mut store, between) = erased(400 * DAY);
        let at = store.machine.truth;
        store.turn(&Act::Clock(Turn::Step(0)));
        assert_eq!(store.ask(between), Outcome::Recorded);
        assert_eq!(through(&store), at);
    }

    /// A second erasure, under another wrong time, takes nothing from the first.
    #[test]
    fn a_second_erasure_in_doubt_leaves_the_first_as_far_as_it_reached() {
        for second in [400 * DAY, 30 * MINUTE] {
            let mut store = Store::new(false);
            store.turn(&Act::Record(1, HOUR));
            store.turn(&Act::Clock(Turn::Step(HOUR)));
            store.turn(&Act::Erase(1));
            store.turn(&Act::Clock(Turn::Step(second)));
            store.turn(&Act::Erase(1));
            let before_first = event(5, store.machine.truth + 40 * MINUTE);
            assert_eq!(store.ask(before_first.clone()), Outcome::InDoubt);
            // The time of the first was right.
            store.turn(&Act::Clock(Turn::Step(HOUR)));
            store.machine.clock.accept();
            assert_eq!(store.ask(before_first), Outcome::Erased, "{second}");
            let after = event(9, store.machine.truth + HOUR + MINUTE);
            assert_eq!(store.ask(after), Outcome::Recorded, "{second}");
        }
    }

    /// What showed the fault: a store that goes by the system's clock counts replays twice after a few seconds of a wrong one. The
    /// same with the store's clock is well.
    #[test]
    fn seconds_of_a_clock_400_days_ahead_destroy_nothing() {
        let acts = [
            Act::Record(1, 100_000),
            Act::Record(2, 100_000),
            Act::Erase(2),
            Act::Clock(Turn::Restart(MINUTE, 400 * DAY)),
            Act::Sweep,
            Act::Clock(Turn::Restart(MINUTE, 0)),
            Act::Record(1, 0),
            Act::Record(2, 0),
        ];
        let run = |naive| {
            let mut store = Store::new(naive);
            acts.iter().for_each(|act| store.turn(act));
        };
        run(false);
        assert!(std::panic::catch_unwind(|| run(true)).is_err(), "the test can fail");
    }

    #[test]
    fn a_commit_under_a_wrong_clock_makes_no_later_event_too_old_and_loses_no_hour() {
        let mut store = Store::new(false);
        for (number, age) in [(1, 30 * HOUR), (2, 3 * HOUR), (3, 50 * MINUTE)] {
            store.turn(&Act::Record(number, age));
        }
        for error in [2 * DAY + 5 * HOUR, 400 * DAY] {
            store.turn(&Act::Clock(Turn::Step(error)));
            let ahead = event(9, store.machine.truth + error);
            assert_eq!(store.ask(ahead), Outcome::InDoubt);
            store.turn(&Act::Record(4, MINUTE));
            store.turn(&Act::Clock(Turn::Step(0)));
            store.compare();
        }
        assert!(store.recorded.contains_key(&4), "it is judged by the last good time");
        let brand = Store::features(&store.book, &Key::Brand("b".to_owned()), store.machine.truth);
        let counts = brand.map(|found| found.windows.map(|window| window.sums.count()));
        assert_eq!(counts, Some([2, 3, 4, 4, 4, 4]));
    }

    #[test]
    fn a_clock_that_was_set_back_counts_nothing_below_0() {
        let mut store = Store::new(false);
        for (number, age) in [(1, 63 * MINUTE), (2, 80 * MINUTE)] {
            store.turn(&Act::Record(number, age));
        }
        store.turn(&Act::Clock(Turn::Restart(MINUTE, -5 * MINUTE)));
        store.turn(&Act::Retract(1));
        let found =
            Store::features(&store.book, &Key::Customer("c1".to_owned()), store.machine.truth - 5 * MINUTE);
        assert_eq!(found, None);
        // Nor where a person accepted a time that was ahead, and takes that back.
        store.accept(3 * DAY);
        store.sweep();
        store.accept(0);
        store.ask(Command::Retract("e2".to_owned()));
        store.check();
        let found = Store::features(&store.book, &Key::Customer("c2".to_owned()), store.machine.truth);
        assert_eq!(found, None);
        // What a wrong time forgot does not come again, and what is new comes.
        store.record(3, MINUTE);
        store.accept(400 * DAY);
        store.sweep();
        store.accept(0);
        store.record(3, 0);
        store.machine.run(MINUTE);
        store.record(5, 0);
        assert!(store.recorded.contains_key(&5));
    }
}
