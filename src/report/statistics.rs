//! Counts, shares and means, with their 95 % intervals.

use serde::Serialize;

use crate::model::Label;

/// The normal quantile of a 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// A count among a whole, with Wilson's 95 % interval of its share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many.
    pub count: u64,
    /// The share, 0 to 1; 0 of nothing.
    pub share: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl Share {
    /// So many of so many. Of nothing anything is possible: the interval is the whole.
    pub fn of(count: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self { count, share: 0.0, low: 0.0, high: 1.0 };
        }
        // Wilson's interval, since the usual one leaves [0, 1] and has no width at its ends.
        let n = as_float(whole);
        let share = as_float(count) / n;
        let shrink = 1.0 + Z * Z / n;
        let middle = (share + Z * Z / (2.0 * n)) / shrink;
        let half = Z / shrink * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let (low, high) = ((middle - half).clamp(0.0, share), (middle + half).clamp(share, 1.0));
        Self { count, share: rounded(share), low: rounded(low), high: rounded(high) }
    }
}

/// A mean score with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// Of how many rows.
    pub count: u64,
    /// The mean, -1 to 1; nothing of no rows.
    pub score: Option<f64>,
    /// The lower end of the interval; nothing of fewer than two rows.
    pub low: Option<f64>,
    /// The upper end of the interval; nothing of fewer than two rows.
    pub high: Option<f64>,
}

/// How many rows are in each class, as shares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Labels {
    /// Praise, thanks, joy.
    pub positive: Share,
    /// No feeling either way.
    pub neutral: Share,
    /// Complaint, anger, disappointment.
    pub negative: Share,
    /// Questions.
    pub question: Share,
}

impl Labels {
    /// The share of a class.
    pub fn share(&self, label: Label) -> Share {
        match label {
            Label::Positive => self.positive,
            Label::Neutral => self.neutral,
            Label::Negative => self.negative,
            Label::Question => self.question,
        }
    }
}

/// Scores, summed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    pub(super) count: u64,
    sum: f64,
    squares: f64,
}

impl Moments {
    pub(super) fn add(&mut self, score: f64) {
        self.count += 1;
        self.sum += score;
        self.squares += score * score;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    /// What is left of these without others that are among them.
    pub(super) fn without(&self, part: &Self) -> Self {
        Self {
            count: self.count.saturating_sub(part.count),
            sum: self.sum - part.sum,
            squares: self.squares - part.squares,
        }
    }

    pub(super) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / as_float(self.count))
    }

    /// The variance of the mean; nothing of fewer than two rows.
    pub(super) fn variance_of_mean(&self) -> Option<f64> {
        let n = as_float(self.count);
        let spread = (self.squares - self.sum * self.sum / n).max(0.0);
        (self.count > 1).then(|| spread / (n - 1.0) / n)
    }

    pub(super) fn interval(&self) -> Mean {
        let half = self.variance_of_mean().map(|variance| Z * variance.sqrt());
        let end = |sign: f64| Some(rounded((self.mean()? + sign * half?).clamp(-1.0, 1.0)));
        Mean { count: self.count, score: self.mean().map(rounded), low: end(-1.0), high: end(1.0) }
    }
}

/// Scores and classes, summed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) moments: Moments,
    positive: u64,
    neutral: u64,
    negative: u64,
    question: u64,
}

impl Tally {
    pub(super) fn add(&mut self, label: Label, score: f64) {
        self.moments.add(score);
        let count = match label {
            Label::Positive => &mut self.positive,
            Label::Neutral => &mut self.neutral,
            Label::Negative => &mut self.negative,
            Label::Question => &mut self.question,
        };
        *count += 1;
    }

    pub(super) fn count(&self) -> u64 {
        self.moments.count
    }

    pub(super) fn labels(&self) -> Labels {
        let share = |count| Share::of(count, self.count());
        Labels {
            positive: share(self.positive),
            neutral: share(self.neutral),
            negative: share(self.negative),
            question: share(self.question),
        }
    }
}

/// How far two means lie apart, in standard errors (Welch's z); nothing of fewer than two rows on a side.
pub(super) fn distance(one: &Moments, other: &Moments) -> Option<f64> {
    // Rows that all have one score would be infinitely far from others.
    const LEAST_VARIANCE: f64 = 1e-9;
    let variance = one.variance_of_mean()? + other.variance_of_mean()?;
    Some((one.mean()? - other.mean()?) / variance.max(LEAST_VARIANCE).sqrt())
}

/// To a millionth, so that the JSON can be read.
pub(super) fn rounded(value: f64) -> f64 {
    // Adding 0 makes one zero of the two.
    (value * 1e6).round() / 1e6 + 0.0
}

#[expect(clippy::cast_precision_loss, reason = "a count of rows, far below 2^53")]
pub(super) fn as_float(count: u64) -> f64 {
    count as f64
}

/// A score as the sums take it: finite, and within its range.
pub(super) fn sound(score: f32) -> f64 {
    if score.is_finite() { f64::from(score.clamp(-1.0, 1.0)) } else { 0.0 }
}
