//! Signals: a brand's negative share leaves its baseline, a customer's mood falls, a run of negatives. Pure.
//!
//! | signal | of | statistic | raised | cleared |
//! | --- | --- | --- | --- | --- |
//! | negative share | brands | signed root of the G-test of two shares, in standard deviations | at `share_raise`, if the share rose by `share_rise` and enough events say so | below `share_clear` |
//! | mood fell | customers | trend: decayed mean of 1 day less that of 30 days | at −`mood_raise` by a negative event, with at least 3 events in 7 days | above −`mood_clear`, or after `silence` |
//! | negative run | customers | the last events that are negative, one after the other | at `run_raise` by a negative event | at 0, or after `silence` |
//!
//! The shares are those of the last minutes and of the seven days before them. The G-test is the likelihood-ratio test of a 2×2 table,
//! `G = 2 Σ observed · ln(observed / expected)`, one degree of freedom, so that its root is normal where nothing changed (Sokal
//! and Rohlf, Biometry, chapter 17). It is better than the usual z for small shares. It is looked at after each commit, thousands of
//! times a day: hence the high bar.
//!
//! A signal is raised once and stays raised until it is cleared, which needs less than raising it (hysteresis); then it rests
//! for the cool-down. Time alone clears, too: the upkeep looks at what is raised, and a customer who has not written for `silence` since
//! the last event and since the signal was raised is over with it, though its statistic stays as it is.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::Key;
use super::features::{State, Tail, Window, decayed};
use super::rows::time;
use super::tiles::{Resolution, Sums};
use crate::model::Label;

/// A baseline is of at least so many times the events of the least recent share.
const BASELINE: i64 = 5;

/// Events in seven days without which no mood falls.
const MOOD_EVENTS: i64 = 3;

/// What there are signals of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignalKind {
    /// A brand's negative share left its baseline.
    NegativeShare,
    /// A customer's mood fell.
    MoodFell,
    /// A customer's last events were all negative.
    NegativeRun,
}

/// When signals are raised and cleared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Minutes whose share is looked at: 1 to 60.
    pub share_minutes: i64,
    /// Standard deviations at which it is raised.
    pub share_raise: f64,
    /// Standard deviations below which it is cleared.
    pub share_clear: f64,
    /// How much the share must have risen.
    pub share_rise: f64,
    /// Recent events without which nothing is raised.
    pub share_events: i64,
    /// The fall at which it is raised.
    pub mood_raise: f64,
    /// The fall below which it is cleared.
    pub mood_clear: f64,
    /// How long a run is.
    pub run_raise: usize,
    /// How long a signal rests after it was raised.
    pub cool_down: SignedDuration,
    /// A customer's signal is over after this time without events of theirs.
    pub silence: SignedDuration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            share_minutes: 15,
            share_raise: 4.0,
            share_clear: 2.0,
            share_rise: 0.1,
            share_events: 20,
            mood_raise: 0.5,
            mood_clear: 0.25,
            run_raise: 3,
            cool_down: SignedDuration::from_hours(1),
            silence: SignedDuration::from_hours(1),
        }
    }
}

/// How a signal stands for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Which.
    pub kind: SignalKind,
    /// Whether it is raised.
    pub raised: bool,
    millis: i64,
}

impl Alarm {
    /// When it was last raised.
    pub fn since(&self) -> Timestamp {
        time(self.millis)
    }
}

/// The figures behind a signal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Figures {
    /// Of a share.
    Share {
        /// Events of the last minutes.
        recent: i64,
        /// Those of them that are negative.
        recent_negative: i64,
        /// Events of the seven days before.
        baseline: i64,
        /// Those of them that are negative.
        baseline_negative: i64,
    },
    /// Of a mood.
    Mood {
        /// The decayed mean of 1 day.
        short: f64,
        /// The decayed mean of 30 days.
        long: f64,
    },
    /// Of a run.
    Run {
        /// Its length.
        length: u64,
    },
}

/// A signal that was raised or cleared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Which.
    pub kind: SignalKind,
    /// Of what.
    pub key: Key,
    /// Raised, or cleared.
    pub raised: bool,
    pub(super) millis: i64,
    /// The value of the statistic.
    pub statistic: f64,
    /// What it was held against.
    pub threshold: f64,
    /// What it was worked out from.
    pub figures: Figures,
}

impl Signal {
    /// When.
    pub fn time(&self) -> Timestamp {
        time(self.millis)
    }
}

/// What is looked at after a commit.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) key: &'a Key,
    pub(super) state: &'a State,
    /// Whether a negative event came.
    pub(super) negative: bool,
    /// Whether nothing came and only time passed: then nothing is raised.
    pub(super) silent: bool,
    /// What came last.
    pub(super) tail: &'a Tail,
    pub(super) now: Timestamp,
}

/// How a statistic stands: where it is raised and cleared.
struct Reading {
    kind: SignalKind,
    statistic: f64,
    figures: Figures,
    raise: Option<f64>,
    clear: Option<f64>,
    /// Where it is cleared.
    bar: f64,
}

impl Rules {
    /// The signals of a commit; `alarms` then stand as they do after it.
    pub(super) fn judge(&self, case: &Case<'_>, alarms: &mut Vec<Alarm>) -> Vec<Signal> {
        let readings = match case.key {
            Key::Brand(_) => vec![self.share(case)],
            Key::Customer(_) => vec![self.mood(case), self.run(case)],
            Key::Pair { .. } => return Vec::new(),
        };
        let now = case.now.as_millisecond();
        let mut signals = Vec::new();
        for reading in readings.into_iter().flatten() {
            let found = alarms.iter().position(|alarm| alarm.kind == reading.kind);
            let alarm = found.and_then(|at| alarms.get(at).copied());
            let raised = alarm.is_some_and(|alarm| alarm.raised);
            let rests = case.silent
                || alarm.is_some_and(|alarm| case.now.duration_since(alarm.since()) < self.cool_down);
            let over = alarm.is_some_and(|alarm| self.is_over(case, &alarm));
            let clear = reading.clear.or(over.then_some(reading.bar));
            let (threshold, after) = match (raised, reading.raise, clear) {
                (false, Some(threshold), _) if !rests => {
                    (threshold, Alarm { kind: reading.kind, raised: true, millis: now })
                }
                (true, _, Some(threshold)) => {
                    let since = alarm.map_or(now, |alarm| alarm.millis);
                    (threshold, Alarm { kind: reading.kind, raised: false, millis: since })
                }
                (true | false, _, _) => continue,
            };
            match found.and_then(|at| alarms.get_mut(at)) {
                Some(alarm) => *alarm = after,
                None => alarms.push(after),
            }
            let Reading { kind, statistic, figures, .. } = reading;
            let (key, raised) = (case.key.clone(), after.raised);
            signals.push(Signal { kind, key, raised, millis: now, statistic, threshold, figures });
        }
        signals
    }

    fn share(&self, case: &Case<'_>) -> Option<Reading> {
        let mut recent = Sums::default();
        let first = Resolution::Minute.tile(case.now) - self.share_minutes;
        case.state.minutes.since(first).iter().for_each(|(_, tile)| recent.add(tile));
        let week = Window::Week.sums(case.state, case.now);
        let of = |sums: &Sums| (sums.count(), sums.of(Label::Negative));
        let ((recent, recent_negative), (all, all_negative)) = (of(&recent), of(&week));
        let (baseline, baseline_negative) = (all - recent, all_negative - recent_negative);
        let statistic = departure((recent_negative, recent), (baseline_negative, baseline));
        let rise = share(recent_negative, recent) - share(baseline_negative, baseline);
        let enough = recent >= self.share_events && baseline >= BASELINE * self.share_events;
        let high = enough && rise >= self.share_rise && statistic >= self.share_raise;
        Some(Reading {
            kind: SignalKind::NegativeShare,
            statistic,
            figures: Figures::Share { recent, recent_negative, baseline, baseline_negative },
            raise: high.then_some(self.share_raise),
            clear: (statistic < self.share_clear).then_some(self.share_clear),
            bar: self.share_clear,
        })
    }

    fn mood(&self, case: &Case<'_>) -> Option<Reading> {
        let [short, .., long] = decayed(case.state, case.now);
        // Whose events are all gone has no mood, and none that is low.
        let (short, long) = short.zip(long).unwrap_or_default();
        let statistic = short - long;
        let enough = Window::Week.sums(case.state, case.now).count() >= MOOD_EVENTS;
        let low = case.negative && enough && statistic <= -self.mood_raise;
        Some(Reading {
            kind: SignalKind::MoodFell,
            statistic,
            figures: Figures::Mood { short, long },
            raise: low.then_some(-self.mood_raise),
            clear: (statistic > -self.mood_clear).then_some(-self.mood_clear),
            bar: -self.mood_clear,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of events")]
    fn run(&self, case: &Case<'_>) -> Option<Reading> {
        let run = case.tail.negative_run();
        // Without a negative event a run is not longer than it was.
        let long = case.negative && run >= self.run_raise;
        Some(Reading {
            kind: SignalKind::NegativeRun,
            statistic: run as f64,
            figures: Figures::Run { length: u64::try_from(run).ok()? },
            raise: long.then_some(self.run_raise as f64),
            clear: (run == 0).then_some(0.0),
            bar: 0.0,
        })
    }

    /// Whether a customer has been silent for so long that a signal of theirs is over. The figures of a brand's fall by themselves
    /// as time passes; a mean and a run stay as they are until somebody writes.
    fn is_over(&self, case: &Case<'_>, alarm: &Alarm) -> bool {
        let last = case.tail.last_millis().map_or(alarm.millis, |last| last.max(alarm.millis));
        matches!(case.key, Key::Customer(_)) && case.now.duration_since(time(last)) >= self.silence
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of events")]
fn share(part: i64, whole: i64) -> f64 {
    if whole > 0 { part as f64 / whole as f64 } else { 0.0 }
}

/// The signed root of the G-test that two shares are one: above 0 where the first is larger.
#[expect(clippy::cast_precision_loss, reason = "a count of events")]
fn departure((part, whole): (i64, i64), (base_part, base_whole): (i64, i64)) -> f64 {
    let total = (whole + base_whole) as f64;
    if whole <= 0 || base_whole <= 0 {
        return 0.0;
    }
    let negative = (part + base_part) as f64 / total;
    let term = |observed: i64, expected: f64| {
        if observed > 0 { observed as f64 * (observed as f64 / expected).ln() } else { 0.0 }
    };
    let of = |part: i64, whole: i64| {
        term(part, whole as f64 * negative) + term(whole - part, whole as f64 * (1.0 - negative))
    };
    let g = 2.0 * (of(part, whole) + of(base_part, base_whole));
    let root = g.max(0.0).sqrt();
    if share(part, whole) < share(base_part, base_whole) { -root } else { root }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G = 2 Σ O ln(O / E), worked out by hand for a 2×2 table.
    #[test]
    fn the_departure_is_the_root_of_g() {
        for ((part, whole), (base_part, base_whole), wanted) in [
            ((10, 20), (10, 100), 3.9233_f64),
            ((1, 10), (10, 100), 0.0),
            ((0, 20), (50, 100), -4.9373),
            ((5, 5), (0, 0), 0.0),
        ] {
            let found = departure((part, whole), (base_part, base_whole));
            assert!((found - wanted).abs() < 2e-3, "{part}/{whole}: {found}, not {wanted}");
        }
    }
}
