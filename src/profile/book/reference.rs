//! Features worked out the slow way, straight from the list of events and from what the protos promise. Random streams with corrections,
//! retractions, erasures, ties, late events, sweeps and restarts must give the same outcomes and the same values.

#![allow(clippy::cast_precision_loss, reason = "the slow way is written the short way")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::event::{Channel, Contribution, Event, Key, Micros};
use super::super::features::{Features, Known};
use super::super::rows::encode;
use super::super::storage::Table;
use super::super::storage::memory::Memory;
use super::super::tiles::HALF_LIVES;
use super::{Book, Command, Outcome, Terms};
use crate::model::Label;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// 2026-11-23 04:30 UTC.
const BEGIN: i64 = 1_795_408_200_000;

/// An event that counts, or did.
#[derive(Clone, Debug)]
struct Counted {
    /// Nothing once the customer was erased.
    id: Option<String>,
    customer: Option<String>,
    brands: BTreeSet<String>,
    millis: i64,
    label: Label,
    score: i32,
    channel: Channel,
    is_retracted: bool,
    /// Its id is forgotten, and its part in sums stays.
    is_swept: bool,
}

impl Counted {
    fn counts_for(&self, key: &Key) -> bool {
        !self.is_retracted
            && match key {
                Key::Customer(customer) => self.customer.as_ref() == Some(customer),
                Key::Brand(brand) => self.brands.contains(brand),
                Key::Pair { customer, brand } => {
                    self.customer.as_ref() == Some(customer) && self.brands.contains(brand)
                }
            }
    }

    /// Of two events the later has the greater place.
    fn place(&self) -> (i64, Option<String>, Vec<u8>) {
        (self.millis, self.id.clone(), encode(&(self.label, Micros::of(self.score()), self.channel)))
    }

    #[allow(clippy::cast_possible_truncation, reason = "a score")]
    fn score(&self) -> f32 {
        (f64::from(self.score) / 1e6) as f32
    }
}

#[derive(Debug, Default)]
struct Reference {
    events: Vec<Counted>,
    refused_through: BTreeMap<String, i64>,
}

impl Reference {
    fn find(&mut self, id: &str) -> Option<&mut Counted> {
        self.events.iter_mut().find(|event| !event.is_swept && event.id.as_deref() == Some(id))
    }

    fn record(&mut self, now: i64, new: Counted, replaces: Option<&str>) -> Outcome {
        let id = new.id.clone().expect("an id");
        let old = replaces.and_then(|old| self.find(old)).cloned();
        if let Some(known) = self.find(&id) {
            let of = |event: &Counted| {
                let Counted { customer, brands, millis, label, score, channel, .. } = event.clone();
                (customer, brands, millis, label, score, channel)
            };
            let is_void = old.is_none_or(|old| old.is_retracted);
            return if of(known) == of(&new) && is_void { Outcome::Duplicate } else { Outcome::Conflict };
        }
        if new.millis < now - 90 * DAY {
            return Outcome::TooOld;
        }
        if new.millis > now + 10 * MINUTE {
            return Outcome::TooNew;
        }
        let through = new.customer.as_ref().and_then(|customer| self.refused_through.get(customer));
        if through.is_some_and(|through| new.millis <= *through) {
            return Outcome::Erased;
        }
        match (replaces, old) {
            (Some(_), None) => return Outcome::NotFound,
            (Some(_), Some(old)) if old.is_retracted => return Outcome::Superseded,
            (Some(old), Some(_)) => self.find(old).expect("found before").is_retracted = true,
            (None, _) => {}
        }
        self.events.push(new);
        Outcome::Recorded
    }

    fn retract(&mut self, id: &str) -> Outcome {
        match self.find(id) {
            None => Outcome::NotFound,
            Some(event) if event.is_retracted => Outcome::AlreadyRetracted,
            Some(event) => {
                event.is_retracted = true;
                Outcome::Retracted
            }
        }
    }

    fn erase(&mut self, now: i64, customer: &str, from_brands: bool) -> Outcome {
        let (mut count, mut through) = (0, now);
        for event in self.events.iter_mut().filter(|event| event.customer.as_deref() == Some(customer)) {
            event.customer = None;
            if !event.is_swept {
                (count, through) = (count + 1, through.max(event.millis));
                event.id = None;
                event.is_retracted |= from_brands;
            }
        }
        let known = self.refused_through.entry(customer.to_owned()).or_insert(through);
        *known = through.max(*known);
        Outcome::Forgotten(count)
    }

    fn sweep(&mut self, now: i64) {
        let horizon = now - 90 * DAY - 10 * MINUTE;
        self.events.iter_mut().filter(|event| event.millis < horizon).for_each(|event| event.is_swept = true);
        self.events.retain(|event| !(event.is_swept && event.is_retracted));
        self.refused_through.retain(|_, through| *through >= horizon);
    }

    /// Holds features against the events that they are of.
    fn check(&self, key: &Key, now: i64, found: Option<&Features>) {
        let events: Vec<&Counted> = self.events.iter().filter(|event| event.counts_for(key)).collect();
        if events.is_empty() {
            return assert_eq!(found, None, "{key}");
        }
        let found = found.unwrap_or_else(|| panic!("{key} is known"));
        for (window, (length, tile)) in found.windows.iter().zip([
            (HOUR, MINUTE),
            (DAY, HOUR),
            (7 * DAY, DAY),
            (30 * DAY, DAY),
            (90 * DAY, DAY),
            (i64::MAX / 2, 1),
        ]) {
            let from = (now - length).div_euclid(tile) * tile;
            let inside: Vec<&&Counted> = events.iter().filter(|event| event.millis >= from).collect();
            let count_of =
                |is: &dyn Fn(&Counted) -> bool| inside.iter().filter(|event| is(event)).count() as i64;
            let labels = Label::ALL.map(|label| count_of(&|event| event.label == label));
            let channels = Channel::ALL.map(|channel| count_of(&|event| event.channel == channel));
            assert_eq!(
                (window.sums.labels, window.sums.channels),
                (labels, channels),
                "{key} {:?}",
                window.window
            );
            let scores: Vec<f64> = inside.iter().map(|event| f64::from(event.score) / 1e6).collect();
            let count = scores.len() as f64;
            let mean = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / count);
            same(window.mean, mean, 1e-9, key);
            let deviation = mean.filter(|_| scores.len() > 1).map(|mean| {
                let spread: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
                (spread / (count - 1.0)).sqrt()
            });
            same(window.deviation, deviation, 1e-9, key);
            same(window.mean_error, deviation.map(|deviation| deviation / count.sqrt()), 1e-9, key);
        }
        let today = now.div_euclid(DAY);
        let day = |event: &Counted| event.millis.div_euclid(DAY);
        let mut decayed = [None; HALF_LIVES.len()];
        for ((days, found), decayed) in HALF_LIVES.into_iter().zip(found.decayed).zip(&mut decayed) {
            let (mut weights, mut scores) = (0.0, 0.0);
            for event in events.iter().filter(|event| day(event) >= today - 90) {
                let weight = (-((now - event.millis) as f64) / (DAY as f64 * f64::from(days))).exp2();
                (weights, scores) = (weights + weight, scores + weight * f64::from(event.score) / 1e6);
            }
            *decayed = (weights > 0.0).then(|| scores / weights);
            // Weights are kept to 2⁻³² of those at the end of the event's day.
            same(found, *decayed, 2e-9, key);
        }
        let trend = decayed.first().copied().flatten().zip(decayed.last().copied().flatten());
        same(found.trend, trend.map(|(short, long)| short - long), 4e-9, key);
        let mut of_days: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for event in events.iter().filter(|event| day(event) >= today - 30) {
            of_days.entry(day(event)).or_default().push(f64::from(event.score) / 1e6);
        }
        let means: Vec<(f64, f64)> = of_days
            .into_iter()
            .map(|(day, scores)| (day as f64, scores.iter().sum::<f64>() / scores.len() as f64))
            .collect();
        let count = means.len() as f64;
        let of = |part: fn(&(f64, f64)) -> f64| means.iter().map(part).sum::<f64>() / count;
        let (x, y) = (of(|day| day.0), of(|day| day.1));
        let sum = |term: &dyn Fn(&(f64, f64)) -> f64| means.iter().map(term).sum::<f64>();
        let is_line = means.len() > 1;
        let slope = sum(&|day| (day.0 - x) * (day.1 - y)) / sum(&|day| (day.0 - x).powi(2));
        same(found.slope, is_line.then_some(slope), 1e-9, key);
        let volatility = (sum(&|day| (day.1 - y).powi(2)) / (count - 1.0)).sqrt();
        same(found.volatility, is_line.then_some(volatility), 1e-9, key);
        let mut kept: Vec<&&Counted> =
            events.iter().filter(|event| event.millis >= now - 90 * DAY - 10 * MINUTE).collect();
        kept.sort_by_key(|event| event.place());
        let last = kept.last().map(|event| (event.millis, event.score));
        let found_last = match found.last {
            Known::Present(last) => Some((last.time.as_millisecond(), last.score.get())),
            Known::NoData | Known::OutsideRetention => None,
        };
        assert_eq!(found_last, last, "{key}");
        let run = kept.iter().rev().take_while(|event| event.label == Label::Negative).count();
        assert_eq!(found.negative_run, run, "{key}");
        let negative =
            events.iter().filter(|event| event.label == Label::Negative).map(|event| day(event)).max();
        let since = match negative {
            None => Known::NoData,
            Some(day) if day < today - 90 => Known::OutsideRetention,
            Some(day) => Known::Present((today - day).max(0)),
        };
        assert_eq!(found.days_since_negative, since, "{key}");
    }
}

fn same(found: Known<f64>, wanted: Option<f64>, within: f64, key: &Key) {
    let value = match found {
        Known::Present(value) => Some(value),
        Known::NoData | Known::OutsideRetention => None,
    };
    let alike = match (value, wanted) {
        (Some(value), Some(wanted)) => (value - wanted).abs() <= within,
        (value, wanted) => value.is_none() && wanted.is_none(),
    };
    assert!(alike, "{key}: {value:?}, not {wanted:?}");
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Record {
        new: Counted,
        replaces: Option<String>,
    },
    /// An earlier event, as it was sent.
    Replay(usize),
    Retract(String),
    Erase {
        customer: String,
        from_brands: bool,
    },
    Pass(i64),
    Sweep,
    Restart,
}

const CUSTOMERS: [&str; 3] = ["c1", "c2", "c3"];
const BRANDS: [&str; 2] = ["b1", "b2"];

fn any_id() -> impl Strategy<Value = String> {
    (0..25_u8).prop_map(|number| format!("e{number}"))
}

/// Times are before the present, on whole minutes so that many are the same, or up to eleven minutes ahead of it.
fn any_step() -> impl Strategy<Value = Step> {
    let customer = prop::option::weighted(0.8, prop::sample::select(CUSTOMERS.to_vec()));
    let brands = prop::sample::subsequence(BRANDS.to_vec(), 0..=2);
    let before = prop_oneof![
        4 => (0..5_i64).prop_map(|minutes| minutes * MINUTE),
        3 => (0..3000_i64).prop_map(|minutes| minutes * MINUTE),
        2 => (0..92_i64).prop_map(|days| days * DAY),
        1 => (-11..0_i64).prop_map(|minutes| minutes * MINUTE),
    ];
    let felt = (0..Label::COUNT, -1_000_000..=1_000_000_i32, 0..Channel::COUNT);
    let event = (any_id(), customer, brands, before, felt);
    let counted = event.prop_map(|(id, customer, brands, before, (label, score, channel))| Counted {
        id: Some(id),
        customer: customer.map(str::to_owned),
        brands: brands.into_iter().map(str::to_owned).collect(),
        // From the present when the step is taken.
        millis: -before,
        label: *Label::ALL.get(label).expect("a label"),
        score,
        channel: *Channel::ALL.get(channel).expect("a channel"),
        is_retracted: false,
        is_swept: false,
    });
    prop_oneof![
        10 => (counted, prop::option::weighted(0.2, any_id())).prop_map(|(new, replaces)| Step::Record { new, replaces }),
        3 => (0..40_usize).prop_map(Step::Replay),
        2 => any_id().prop_map(Step::Retract),
        1 => (prop::sample::select(CUSTOMERS.to_vec()), any::<bool>())
            .prop_map(|(customer, from_brands)| Step::Erase { customer: customer.to_owned(), from_brands }),
        2 => prop_oneof![0..3 * MINUTE, 0..DAY, 0..50 * DAY].prop_map(Step::Pass),
        1 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ]
}

fn command(counted: &Counted, replaces: Option<String>) -> Command {
    let contribution = Contribution {
        time: Timestamp::from_millisecond(counted.millis).expect("a time"),
        label: counted.label,
        score: Micros::of(counted.score()),
        channel: counted.channel,
    };
    let (id, customer) = (counted.id.clone().expect("an id"), counted.customer.clone());
    let event = Event { id, customer, brands: counted.brands.iter().cloned().collect(), contribution };
    Command::Record { event, content: Vec::new(), replaces }
}

proptest! {
    #[test]
    fn features_are_those_of_the_reference(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut book = Book::open(Memory::default(), Terms::default(), [7; 32]).expect("an empty storage");
        let (mut reference, mut now, mut sent) = (Reference::default(), BEGIN, Vec::new());
        let mut keys: Vec<Key> = BRANDS.iter().map(|brand| Key::Brand((*brand).to_owned())).collect();
        for customer in CUSTOMERS.map(str::to_owned) {
            let pair = |brand: &&str| Key::Pair { customer: customer.clone(), brand: (*brand).to_owned() };
            keys.extend(BRANDS.iter().map(pair));
            keys.push(Key::Customer(customer));
        }
        for step in steps {
            let moment = |now| Timestamp::from_millisecond(now).expect("a time");
            let (commands, wanted) = match step {
                Step::Record { mut new, replaces } => {
                    new.millis += now.div_euclid(MINUTE) * MINUTE;
                    if new.customer.is_none() && new.brands.is_empty() {
                        continue;
                    }
                    sent.push((new.clone(), replaces.clone()));
                    let wanted = reference.record(now, new.clone(), replaces.as_deref());
                    (vec![command(&new, replaces)], Some(wanted))
                }
                Step::Replay(at) => {
                    let Some((event, replaces)) = sent.get(at).cloned() else { continue };
                    let wanted = reference.record(now, event.clone(), replaces.as_deref());
                    (vec![command(&event, replaces)], Some(wanted))
                }
                Step::Retract(id) => {
                    let wanted = reference.retract(&id);
                    (vec![Command::Retract(id)], Some(wanted))
                }
                Step::Erase { customer, from_brands } => {
                    let wanted = reference.erase(now, &customer, from_brands);
                    (vec![Command::Erase { customer, from_brands }], Some(wanted))
                }
                Step::Pass(millis) => {
                    now += millis;
                    (Vec::new(), None)
                }
                Step::Sweep => {
                    for table in [Table::Ledger, Table::Events, Table::Profiles, Table::Erased] {
                        let (overdue, _) = book.overdue(table, &[], usize::MAX, moment(now)).expect("readable");
                        book.apply(&[Command::Expire(overdue)], moment(now)).expect("written");
                    }
                    reference.sweep(now);
                    (Vec::new(), None)
                }
                Step::Restart => {
                    let rows = book.storage().rows.lock().expect("whole").clone();
                    let storage = Memory { rows: Mutex::new(rows), ..Memory::default() };
                    book = Book::open(storage, Terms::default(), [0; 32]).expect("it opens");
                    (Vec::new(), None)
                }
            };
            let outcomes = book.apply(&commands, moment(now)).expect("written").outcomes;
            prop_assert_eq!(outcomes.first().copied(), wanted);
            for key in &keys {
                let found = book.profile(key, moment(now)).expect("readable");
                reference.check(key, now, found.map(|profile| profile.features).as_ref());
            }
        }
    }
}
