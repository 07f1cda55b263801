//! Sums over stretches of time, from which every feature is worked out. Pure.
//!
//! All sums are of whole numbers: scores in millionths, weights in 2⁻³². So any order, any grouping and any taking back give
//! the same sums to the bit, and a retraction is the exact inverse.
//!
//! | resolution | kept for | what for |
//! | --- | --- | --- |
//! | minute | 1 hour | the window of 1 hour |
//! | hour | 2 days | the window of 24 hours |
//! | day | 90 days | the windows of 7, 30 and 90 days, decayed means, slope, volatility |
//! | lifetime | ever | the window without an end |
//!
//! A day also keeps decayed sums: each of its events weighs `2^(−(end − time) / half-life)`, with the end of its day. A decayed mean is
//! then `Σ 2^(−(now − end) / half-life) · sum` over the days.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::{Channel, Contribution, Micros};
use crate::model::Label;

/// Half-lives of the decayed means, in days.
pub const HALF_LIVES: [u32; 3] = [1, 7, 30];

/// The length of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// For the last hour.
    Minute,
    /// For the last two days.
    Hour,
    /// For the last ninety days.
    Day,
}

impl Resolution {
    /// From the finest.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// How long a tile is, in seconds.
    pub const fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }

    /// How many tiles are kept before the one that holds the present.
    pub const fn kept(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 48,
            Self::Day => 90,
        }
    }

    /// The number of the tile that holds a moment, from 1970 on.
    pub fn tile(self, time: Timestamp) -> i64 {
        time.as_second().div_euclid(self.seconds())
    }

    /// The first tile that is kept at a moment.
    pub fn first_kept(self, now: Timestamp) -> i64 {
        self.tile(now) - self.kept()
    }
}

/// Counts and sums of some events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Events of each label, in the order of [`Label::ALL`].
    pub labels: [i64; Label::COUNT],
    /// Events of each channel, in the order of [`Channel::ALL`].
    pub channels: [i64; Channel::COUNT],
    /// Sum of scores, in millionths.
    pub score: i64,
    /// Sum of the squares of scores, in millionths of millionths.
    pub squares: i128,
}

/// Whether an event is added or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Added.
    Plus,
    /// Taken back.
    Minus,
}

impl Sign {
    fn of(self, value: i64) -> i64 {
        match self {
            Self::Plus => value,
            Self::Minus => -value,
        }
    }
}

impl Sums {
    /// Adds an event or takes it back.
    pub fn fold(&mut self, sign: Sign, event: &Contribution) {
        let one = sign.of(1);
        for (label, count) in Label::ALL.into_iter().zip(&mut self.labels) {
            *count += if label == event.label { one } else { 0 };
        }
        for (channel, count) in Channel::ALL.into_iter().zip(&mut self.channels) {
            *count += if channel == event.channel { one } else { 0 };
        }
        let score = i64::from(event.score.get());
        self.score += sign.of(score);
        self.squares += i128::from(sign.of(score * score));
    }

    /// Adds other sums.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.labels.iter_mut().zip(other.labels) {
            *count += more;
        }
        for (count, more) in self.channels.iter_mut().zip(other.channels) {
            *count += more;
        }
        self.score += other.score;
        self.squares += other.squares;
    }

    /// Whether an event can be among these.
    pub fn may_hold(&self, event: &Contribution) -> bool {
        let mut channels = Channel::ALL.into_iter().zip(self.channels);
        let of_channel = channels.any(|(channel, count)| channel == event.channel && count > 0);
        self.of(event.label) > 0 && of_channel
    }

    /// How many events these are.
    pub fn count(&self) -> i64 {
        self.labels.iter().sum()
    }

    /// Events of one label.
    pub fn of(&self, wanted: Label) -> i64 {
        Label::ALL
            .into_iter()
            .zip(self.labels)
            .find(|(label, _)| *label == wanted)
            .map_or(0, |(_, count)| count)
    }
}

/// Sums whose events weigh the less the older they are, for one half-life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decayed {
    /// Sum of the weights, in 2⁻³².
    pub weight: i128,
    /// Sum of the scores times their weights, in millionths of 2⁻³².
    pub score: i128,
}

/// A day: its sums, plain and decayed to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// The plain sums.
    pub sums: Sums,
    /// The decayed ones, in the order of [`HALF_LIVES`].
    pub decayed: [Decayed; HALF_LIVES.len()],
}

impl Day {
    /// Adds an event of this day or takes it back.
    pub fn fold(&mut self, sign: Sign, event: &Contribution) {
        self.sums.fold(sign, event);
        let left = until_end_of_day(event.time);
        for (days, decayed) in HALF_LIVES.into_iter().zip(&mut self.decayed) {
            let weight = i128::from(sign.of(fixed(weight(left, days))));
            decayed.weight += weight;
            decayed.score += weight * i128::from(event.score.get());
        }
    }
}

/// Seconds from a moment to the end of its day.
fn until_end_of_day(time: Timestamp) -> f64 {
    let end = (Resolution::Day.tile(time) + 1) * Resolution::Day.seconds();
    let whole = end - time.as_second();
    // At most a day, and no less than nothing.
    f64::from(i32::try_from(whole).unwrap_or(0)) - f64::from(time.subsec_nanosecond()) / 1e9
}

/// What is left of a weight of 1 after so many seconds.
pub fn weight(seconds: f64, half_life_days: u32) -> f64 {
    (-seconds / (f64::from(half_life_days) * 86_400.0)).exp2()
}

/// One in the unit of weights.
const WEIGHT_ONE: f64 = 4_294_967_296.0;

#[expect(clippy::cast_possible_truncation, reason = "a weight is at most 1")]
fn fixed(weight: f64) -> i64 {
    (weight * WEIGHT_ONE).round() as i64
}

/// A mean of scores out of their sum in millionths.
#[expect(clippy::cast_precision_loss, reason = "a mean keeps its meaning in 53 bits")]
pub fn mean(sums: &Sums) -> Option<f64> {
    let count = sums.count();
    (count > 0).then(|| sums.score as f64 / count as f64 / f64::from(Micros::ONE))
}

/// The standard deviation of scores as of a sample; nothing of fewer than two.
#[expect(clippy::cast_precision_loss, reason = "a standard deviation keeps its meaning in 53 bits")]
pub fn deviation(sums: &Sums) -> Option<f64> {
    let count = i128::from(sums.count());
    // n Σx² − (Σx)² is exact in whole numbers, so nothing cancels.
    let spread = count * sums.squares - i128::from(sums.score).pow(2);
    (count > 1).then(|| (spread as f64 / (count * (count - 1)) as f64).sqrt() / f64::from(Micros::ONE))
}
