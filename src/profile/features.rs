//! What is known of a key at a moment, worked out from its tiles. Pure: the moment is given.
//!
//! A window ends at the moment and begins with the tile that holds the moment its length before: the window of 24 hours has the
//! current hour and the 24 before it. Days are of UTC.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::{Contribution, Micros};
use super::series::Series;
use super::tiles::{Day, HALF_LIVES, Resolution, Sign, Sums, deviation, mean, weight};
use crate::model::Label;

/// Most events that a run is followed back.
pub const LONGEST_RUN: usize = 1000;

/// Days of which slope and volatility are taken.
const RECENT_DAYS: i64 = 30;

/// The tiles of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By their numbers.
    pub minutes: Series<Sums>,
    /// By their numbers.
    pub hours: Series<Sums>,
    /// By their numbers.
    pub days: Series<Day>,
    /// Of everything that was not taken back.
    pub lifetime: Sums,
}

impl State {
    /// Adds an event or takes it back. Of tiles that are not kept any more there are none.
    pub fn fold(&mut self, sign: Sign, event: &Contribution, now: Timestamp) {
        self.fold_where(sign, event, now, |_| true);
    }

    /// Takes an event back that was added before.
    ///
    /// A tile that does not hold it was forgotten under a later time, which a person took back since: it stays as it is, so that
    /// nothing counts below 0.
    pub fn take_back(&mut self, event: &Contribution, now: Timestamp) {
        self.fold_where(Sign::Minus, event, now, |sums| sums.may_hold(event));
    }

    fn fold_where(
        &mut self,
        sign: Sign,
        event: &Contribution,
        now: Timestamp,
        is_due: impl Fn(&Sums) -> bool,
    ) {
        let kept = |resolution: Resolution| {
            let tile = resolution.tile(event.time);
            (tile >= resolution.first_kept(now)).then_some(tile)
        };
        for (resolution, tiles) in
            [(Resolution::Minute, &mut self.minutes), (Resolution::Hour, &mut self.hours)]
        {
            if let Some(tile) = kept(resolution) {
                tiles.change(tile, |sums| {
                    if is_due(sums) {
                        sums.fold(sign, event);
                    }
                });
            }
        }
        if let Some(tile) = kept(Resolution::Day) {
            self.days.change(tile, |day| {
                if is_due(&day.sums) {
                    day.fold(sign, event);
                }
            });
        }
        self.lifetime.fold(sign, event);
    }

    /// Forgets what is not kept at a moment.
    pub fn prune(&mut self, now: Timestamp) {
        self.minutes.forget_before(Resolution::Minute.first_kept(now));
        self.hours.forget_before(Resolution::Hour.first_kept(now));
        self.days.forget_before(Resolution::Day.first_kept(now));
    }
}

/// The last events of a key.
///
/// Kept as events come, so that nobody has to look for them; what is taken back, or comes late between negative ones, may need a
/// look. Times are in milliseconds; of two events at the same time it takes a look to know which is later: the one with the greater
/// id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// The last: when, and its score.
    last: Option<(i64, Micros)>,
    /// How many of the last are negative, one after the other: at most [`LONGEST_RUN`].
    run: usize,
    /// When the first of them happened.
    since: Option<i64>,
    /// When the last happened that is not negative. Of a run of [`LONGEST_RUN`] it may be unknown.
    broken: Option<i64>,
}

impl Tail {
    /// That of events, the newest first.
    #[cfg(test)]
    pub fn of(newest: impl IntoIterator<Item = Contribution>) -> Self {
        let mut tail = Self::default();
        newest.into_iter().any(|event| tail.add_older(&event));
        tail
    }

    /// Adds an event that is older than all that were added before; true if no older one changes anything.
    pub fn add_older(&mut self, event: &Contribution) -> bool {
        let millis = event.time.as_millisecond();
        self.last.get_or_insert((millis, event.score));
        if event.label != Label::Negative {
            self.broken = Some(millis);
            return true;
        }
        (self.run, self.since) = (self.run + 1, Some(millis));
        self.run == LONGEST_RUN
    }

    /// Adds an event or takes it back; false if the events must be looked at to know what is last now.
    #[must_use]
    pub fn fold(&mut self, sign: Sign, event: &Contribution) -> bool {
        let (millis, negative) = (event.time.as_millisecond(), event.label == Label::Negative);
        match (sign, self.last) {
            (Sign::Plus, last) if last.is_none_or(|(last, _)| last < millis) => {
                self.last = Some((millis, event.score));
                if negative {
                    self.run = (self.run + 1).min(LONGEST_RUN);
                    self.since.get_or_insert(millis);
                } else {
                    (self.run, self.since, self.broken) = (0, None, Some(millis));
                }
                true
            }
            (Sign::Plus | Sign::Minus, Some((last, _))) if millis < last => {
                // What is before the last that is not negative matters to nobody.
                self.broken.is_some_and(|broken| millis < broken)
                    || self.fold_into_run(sign, millis, negative)
            }
            (Sign::Plus | Sign::Minus, _) => false,
        }
    }

    /// The same for an event that is neither the last nor before the run.
    fn fold_into_run(&mut self, sign: Sign, millis: i64, negative: bool) -> bool {
        let Some(since) = self.since.filter(|_| self.run < LONGEST_RUN && self.broken != Some(millis)) else {
            return false;
        };
        match (sign, negative) {
            (Sign::Plus, true) => {
                (self.run, self.since) = (self.run + 1, Some(since.min(millis)));
                true
            }
            (Sign::Plus, false) if millis < since => {
                self.broken = Some(millis);
                true
            }
            (Sign::Minus, true) if millis > since => {
                self.run -= 1;
                true
            }
            (Sign::Plus | Sign::Minus, true | false) => false,
        }
    }

    /// Whether an event may be the last, or in the run.
    pub fn may_hold(&self, event: &Contribution) -> bool {
        self.broken.is_none_or(|broken| broken <= event.time.as_millisecond())
    }

    /// This without what happened before a moment, in milliseconds; nothing if it takes a look to know.
    pub fn kept_since(self, horizon: i64) -> Option<Self> {
        match (self.last, self.since) {
            (Some((last, _)), _) if last < horizon => Some(Self::default()),
            (Some(_), Some(since)) if since < horizon => None,
            (_, _) => Some(self),
        }
    }

    /// Whether features say the same of both.
    pub fn shows_as(&self, other: &Self) -> bool {
        (self.last, self.run) == (other.last, other.run)
    }

    /// When the last event happened, in milliseconds.
    pub fn last_millis(&self) -> Option<i64> {
        self.last.map(|(millis, _)| millis)
    }

    /// How many of the last events are negative, one after the other.
    pub fn negative_run(&self) -> usize {
        self.run
    }
}

/// Whether there is a value, and why not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known<T> {
    /// There is.
    Present(T),
    /// There was never anything to work it out from.
    NoData,
    /// There was, but longer ago than anything is kept.
    OutsideRetention,
}

impl<T> Known<T> {
    fn of(value: Option<T>, was: bool) -> Self {
        match value {
            Some(value) => Self::Present(value),
            None if was => Self::OutsideRetention,
            None => Self::NoData,
        }
    }
}

/// A stretch of time up to the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// 1 hour.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
    /// 90 days.
    Quarter,
    /// Since the first event.
    Lifetime,
}

impl Window {
    /// From the shortest.
    pub const ALL: [Self; 6] =
        [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Lifetime];

    pub(super) fn sums(self, state: &State, now: Timestamp) -> Sums {
        let sum = |tiles: &Series<Sums>, resolution: Resolution, count: i64| {
            let mut sums = Sums::default();
            tiles.since(resolution.tile(now) - count).iter().for_each(|(_, tile)| sums.add(tile));
            sums
        };
        let days = |count: i64| {
            let mut sums = Sums::default();
            state
                .days
                .since(Resolution::Day.tile(now) - count)
                .iter()
                .for_each(|(_, day)| sums.add(&day.sums));
            sums
        };
        match self {
            Self::Hour => sum(&state.minutes, Resolution::Minute, 60),
            Self::Day => sum(&state.hours, Resolution::Hour, 24),
            Self::Week => days(7),
            Self::Month => days(30),
            Self::Quarter => days(90),
            Self::Lifetime => state.lifetime,
        }
    }
}

/// What is known of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowFeatures {
    /// Which.
    pub window: Window,
    /// Counts of labels and channels, and sums.
    pub sums: Sums,
    /// The mean score.
    pub mean: Known<f64>,
    /// The standard deviation of the scores, as of a sample: of at least two.
    pub deviation: Known<f64>,
    /// The standard error of the mean: deviation / √count.
    pub mean_error: Known<f64>,
}

/// The last event of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// When it happened.
    pub time: Timestamp,
    /// Its score.
    pub score: Micros,
}

/// What is known of a key at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Each window, the shortest first.
    pub windows: [WindowFeatures; Window::ALL.len()],
    /// Exponentially weighted means with the half-lives of [`HALF_LIVES`], over what is kept of the days.
    pub decayed: [Known<f64>; HALF_LIVES.len()],
    /// The decayed mean of the shortest half-life less that of the longest: above 0 the mood rises.
    pub trend: Known<f64>,
    /// The change of the daily mean a day, by least squares over the last 30 days: of at least two with events.
    pub slope: Known<f64>,
    /// The standard deviation of the daily means of the last 30 days: of at least two with events.
    pub volatility: Known<f64>,
    /// The last event.
    pub last: Known<Last>,
    /// Days since the last negative event, counted by the calendar.
    pub days_since_negative: Known<i64>,
    /// How many of the last events were negative, one after the other: at most [`LONGEST_RUN`].
    pub negative_run: usize,
}

impl Features {
    /// Those at a moment.
    pub fn of(state: &State, tail: &Tail, now: Timestamp) -> Self {
        let was = state.lifetime.count() > 0;
        let last = tail.last.and_then(|(millis, score)| {
            Some(Last { time: Timestamp::from_millisecond(millis).ok()?, score })
        });
        let decayed = decayed(state, now);
        let [short, .., long] = decayed;
        // What is not kept any more may still be there: when it was cleared away must not tell.
        let kept = state.days.since(Resolution::Day.first_kept(now));
        let negative = kept.iter().rev().find(|(_, day)| day.sums.of(Label::Negative) > 0);
        let days = daily_means(state, now);
        Self {
            windows: Window::ALL.map(|window| of_window(window, state, now, was)),
            decayed: decayed.map(|mean| Known::of(mean, was)),
            trend: Known::of(short.zip(long).map(|(short, long)| short - long), was),
            slope: Known::of(slope(&days), false),
            volatility: Known::of(volatility(&days), false),
            last: Known::of(last, was),
            days_since_negative: Known::of(
                // An event may be ahead of the clock, and its day ahead of today.
                negative.map(|(day, _)| (Resolution::Day.tile(now) - day).max(0)),
                state.lifetime.of(Label::Negative) > 0,
            ),
            negative_run: tail.run,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of events")]
fn of_window(window: Window, state: &State, now: Timestamp, was: bool) -> WindowFeatures {
    let sums = window.sums(state, now);
    // An empty window is no lost one, unless it is the longest of those that end.
    let lost = was && window == Window::Quarter;
    let deviation = deviation(&sums);
    WindowFeatures {
        window,
        sums,
        mean: Known::of(mean(&sums), lost),
        deviation: Known::of(deviation, lost && sums.count() == 0),
        mean_error: Known::of(
            deviation.map(|deviation| deviation / (sums.count() as f64).sqrt()),
            lost && sums.count() == 0,
        ),
    }
}

/// The decayed means at a moment.
#[expect(clippy::cast_precision_loss, reason = "a mean keeps its meaning in 53 bits")]
pub(super) fn decayed(state: &State, now: Timestamp) -> [Option<f64>; HALF_LIVES.len()] {
    let mut sums = [(0.0, 0.0); HALF_LIVES.len()];
    for (tile, day) in state.days.since(Resolution::Day.first_kept(now)) {
        let end = (tile + 1) * Resolution::Day.seconds();
        let since = (now.as_second() - end) as f64 + f64::from(now.subsec_nanosecond()) / 1e9;
        for ((days, sums), decayed) in HALF_LIVES.into_iter().zip(&mut sums).zip(day.decayed) {
            let left = weight(since, days);
            sums.0 += left * decayed.weight as f64;
            sums.1 += left * decayed.score as f64;
        }
    }
    sums.map(|(weight, score)| (weight > 0.0).then(|| score / weight / f64::from(Micros::ONE)))
}

/// The mean of each of the last days that has events, by the day's place before the present.
#[expect(clippy::cast_precision_loss, reason = "a number of days")]
fn daily_means(state: &State, now: Timestamp) -> Vec<(f64, f64)> {
    let today = Resolution::Day.tile(now);
    let days = state.days.since(today - RECENT_DAYS);
    days.iter().filter_map(|(day, tile)| Some(((day - today) as f64, mean(&tile.sums)?))).collect()
}

fn slope(days: &[(f64, f64)]) -> Option<f64> {
    let (x, y) = (mean_of(days.iter().map(|day| day.0))?, mean_of(days.iter().map(|day| day.1))?);
    let spread: f64 = days.iter().map(|day| (day.0 - x).powi(2)).sum();
    let together: f64 = days.iter().map(|day| (day.0 - x) * (day.1 - y)).sum();
    (days.len() > 1).then(|| together / spread)
}

fn volatility(days: &[(f64, f64)]) -> Option<f64> {
    let mean = mean_of(days.iter().map(|day| day.1))?;
    let spread: f64 = days.iter().map(|day| (day.1 - mean).powi(2)).sum();
    (days.len() > 1).then(|| (spread / (as_float(days.len()) - 1.0)).sqrt())
}

fn mean_of(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / as_float(count))
}

#[expect(clippy::cast_precision_loss, reason = "a number of days")]
fn as_float(count: usize) -> f64 {
    count as f64
}
