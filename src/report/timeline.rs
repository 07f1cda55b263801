//! Scores over time, all together and brand by brand.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use jiff::tz::{Offset, offset};
use jiff::{Timestamp, ToSpan};

use super::figures::{OverTime, Period, Point, Reviewed, ReviewedBrand, Series};
use super::shown;
use super::statistics::{Moments, Tally};
use crate::model::Label;

/// Where days begin and end.
const BANGKOK: Offset = offset(7);

/// Most brands that are counted, and most days of all of them. Beyond that the half with the fewest rows is forgotten, or
/// the days of the smallest until half are left.
pub(super) const BRANDS: usize = 4000;
pub(super) const CELLS: usize = 400_000;

/// Most brands with a curve, and most in the table.
pub(super) const CURVES: usize = 8;
const LISTED: usize = 40;

/// Most points of a curve.
const POINTS: usize = 62;

/// Days that can be meant: 1970 to 2099. They bound the days of all rows together.
const DAYS: std::ops::Range<i64> = 0..47_482;

/// So few rows, and so many days from the others, are mistakes of a clock: they would press the chart flat.
const STRAY_SHARE: u64 = 1000;
const STRAY_DAYS: i64 = 366;

type Days = BTreeMap<i64, Moments>;

#[derive(Debug, Default)]
struct Brand {
    tally: Tally,
    days: Days,
}

/// Days of all rows, and of each brand.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    all: Days,
    brands: HashMap<String, Brand>,
    /// How many days all brands have.
    cells: usize,
    branded: u64,
    implausible: u64,
    forgotten: u64,
    forgotten_brands: bool,
}

impl Timeline {
    pub(super) fn add(&mut self, brand: Option<&str>, time: Option<Timestamp>, label: Label, score: f64) {
        let day = time.map(day);
        if day.is_some_and(|day| !DAYS.contains(&day)) {
            self.implausible += 1;
        }
        let day = day.filter(|day| DAYS.contains(day));
        if let Some(day) = day {
            self.all.entry(day).or_default().add(score);
        }
        let Some(key) = brand.map(shown::key).filter(|key| !key.is_empty()) else { return };
        self.branded += 1;
        let brand = self.brands.entry(key).or_default();
        brand.tally.add(label, score);
        if let Some(day) = day {
            let before = brand.days.len();
            brand.days.entry(day).or_default().add(score);
            self.cells += brand.days.len() - before;
        }
        if self.brands.len() > BRANDS {
            self.forget_brands();
        }
        if self.cells > CELLS {
            self.forget_days();
        }
    }

    /// Brands by rows, the smallest first.
    fn ranks(&self) -> Vec<(u64, String)> {
        let ranks = self.brands.iter().map(|(name, brand)| (brand.tally.count(), name.clone()));
        let mut ranks: Vec<(u64, String)> = ranks.collect();
        ranks.sort_unstable();
        ranks
    }

    fn forget_brands(&mut self) {
        for (count, name) in self.ranks().into_iter().take(BRANDS / 2) {
            if let Some(brand) = self.brands.remove(&name) {
                self.cells -= brand.days.len();
            }
            self.forgotten += count;
            self.forgotten_brands = true;
        }
    }

    /// Forgets days of brands that would have no curve, but not their tallies.
    fn forget_days(&mut self) {
        let ranks = self.ranks();
        for (_, name) in ranks.iter().take(ranks.len().saturating_sub(CURVES)) {
            if self.cells <= CELLS / 2 {
                break;
            }
            if let Some(brand) = self.brands.get_mut(name) {
                self.cells -= brand.days.len();
                brand.days.clear();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.brands.len(), self.cells)
    }

    pub(super) fn finish(self) -> (OverTime, Reviewed) {
        let timed: u64 = self.all.values().map(|moments| moments.count).sum();
        let kept = core(&self.all, timed);
        let within: u64 =
            self.all.iter().filter(|(day, _)| kept.contains(day)).map(|(_, moments)| moments.count).sum();
        let period = period(&self.all, &kept);
        let brand_count = self.brands.len();
        let mut brands: Vec<(String, Brand)> = self.brands.into_iter().collect();
        brands.sort_by(|(name, one), (other_name, other)| {
            other.tally.count().cmp(&one.tally.count()).then_with(|| name.cmp(other_name))
        });
        let mut series = Vec::new();
        if !self.all.is_empty() {
            series.push(curve(None, &self.all, period, &kept));
            let curves = brands.iter().take(CURVES).map(|(name, brand)| (name, &brand.days));
            let curves = curves.filter(|(_, days)| days.range(kept.clone()).next().is_some());
            series.extend(curves.map(|(name, days)| curve(Some(shown::name(name)), days, period, &kept)));
        }
        let curved: u64 =
            series.iter().filter(|series| series.brand.is_some()).map(|series| series.row_count).sum();
        brands.truncate(LISTED);
        let listed: u64 = brands.iter().map(|(_, brand)| brand.tally.count()).sum();
        let over_time = OverTime {
            period,
            time_zone: "+07:00".to_owned(),
            first_day: (timed > 0).then(|| Period::Day.start(*kept.start()).to_string()),
            last_day: (timed > 0).then(|| Period::Day.start(*kept.end()).to_string()),
            row_count: timed,
            brand_curve_row_count: curved,
            stray_row_count: timed - within,
            implausible_row_count: self.implausible,
            series,
        };
        let reviewed = Reviewed {
            row_count: self.branded,
            brand_count: u64::try_from(brand_count).unwrap_or(u64::MAX),
            more_brands: self.forgotten_brands,
            left_out_row_count: self.branded - listed,
            forgotten_row_count: self.forgotten,
            brands: brands
                .into_iter()
                .map(|(name, brand)| ReviewedBrand {
                    name: shown::name(&name),
                    row_count: brand.tally.count(),
                    labels: brand.tally.labels(),
                    mean: brand.tally.moments.interval(),
                })
                .collect(),
        };
        (over_time, reviewed)
    }
}

/// The day of a moment, counted from 1970, in Thai time.
fn day(time: Timestamp) -> i64 {
    const SECONDS: i64 = 86_400;
    (time.as_second() + i64::from(BANGKOK.seconds())).div_euclid(SECONDS)
}

/// The days from the first that is no stray to the last that is none.
fn core(days: &Days, timed: u64) -> std::ops::RangeInclusive<i64> {
    let forward = edge(days.iter().map(|(day, moments)| (*day, moments.count)), timed);
    let backward = edge(days.iter().rev().map(|(day, moments)| (*day, moments.count)), timed);
    forward.unwrap_or_default()..=backward.unwrap_or_default()
}

/// The first day that has no long gap after it with few rows before.
fn edge(days: impl Iterator<Item = (i64, u64)>, timed: u64) -> Option<i64> {
    let (mut first, mut last, mut passed) = (None, None, 0);
    for (day, count) in days {
        let gap = last.is_some_and(|last: i64| (day - last).abs() > STRAY_DAYS);
        if passed * STRAY_SHARE > timed {
            break;
        }
        if first.is_none() || gap {
            first = Some(day);
        }
        passed += count;
        last = Some(day);
    }
    first
}

/// The shortest period that gives few enough points.
fn period(days: &Days, kept: &std::ops::RangeInclusive<i64>) -> Period {
    let enough = |period: &Period| {
        let (first, last) = (period.start(*kept.start()), period.start(*kept.end()));
        let mut starts: Vec<Date> = days.range(kept.clone()).map(|(day, _)| period.start(*day)).collect();
        starts.dedup();
        // Empty periods take their room in the chart, too.
        starts.len() <= POINTS && period.count(first, last) <= POINTS
    };
    Period::ALL.into_iter().find(enough).unwrap_or(Period::Year)
}

impl Period {
    const ALL: [Period; 5] = [Period::Day, Period::Week, Period::Month, Period::Quarter, Period::Year];

    /// The first day of the period that holds a day.
    fn start(self, day: i64) -> Date {
        let date = |day: i64| Date::constant(1970, 1, 1).saturating_add(day.days());
        let found = date(day);
        let first = |month: i8| Date::new(found.year(), month, 1).unwrap_or(found);
        match self {
            Period::Day => found,
            // 1 January 1970 was a Thursday.
            Period::Week => date(day - (day + 3).rem_euclid(7)),
            Period::Month => found.first_of_month(),
            Period::Quarter => first((found.month() - 1) / 3 * 3 + 1),
            Period::Year => first(1),
        }
    }

    /// How many of it there are from one that begins on this date to one that begins on that.
    fn count(self, first: Date, last: Date) -> usize {
        let months = |date: Date| i64::from(date.year()) * 12 + i64::from(date.month());
        let days = first.until(last).map_or(0, |span| i64::from(span.get_days()));
        let steps = match self {
            Period::Day => days,
            Period::Week => days / 7,
            Period::Month => months(last) - months(first),
            Period::Quarter => (months(last) - months(first)) / 3,
            Period::Year => (months(last) - months(first)) / 12,
        };
        usize::try_from(steps + 1).unwrap_or(0)
    }
}

fn curve(brand: Option<String>, days: &Days, period: Period, kept: &std::ops::RangeInclusive<i64>) -> Series {
    let mut periods: BTreeMap<Date, Moments> = BTreeMap::new();
    for (day, moments) in days.range(kept.clone()) {
        periods.entry(period.start(*day)).or_default().merge(moments);
    }
    let points: Vec<Point> = periods
        .iter()
        .map(|(from, moments)| Point { from: from.to_string(), mean: moments.interval() })
        .collect();
    let mut whole = Moments::default();
    for moments in periods.values() {
        whole.merge(moments);
    }
    Series { brand, row_count: whole.count, mean: whole.interval(), points }
}
