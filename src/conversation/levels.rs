//! Where the mean of a series changes: the partition with the least squared error, at a price of 2 σ² ln n for each change (PELT,
//! Killick, Fearnhead and Eckley 2012), σ being that of the differences of neighbours, by their median, so that the changes
//! themselves do not count.
//!
//! A series that grows is not searched anew for each value: that would take minutes for a conversation of some thousand messages.
//! The price of up to [`EXACT`] values is that of all of them. Of more it is that of the first so many (see [`basis`]), which stays
//! the same until the series is up to a quarter longer; until then a value costs one step of the search.

/// Fewest values of one level.
const SEGMENT: usize = 2;

/// Values up to which the price is that of all of them.
const EXACT: usize = 256;

/// Most places at which the current level may have begun that are kept in mind. Beyond that the dearer half is given up,
/// which is exact for up to so many values and keeps the work small for more.
const CANDIDATES: usize = 512;

/// The least standard deviation that is believed: so much a score may be off by, however quiet a chat is.
const LEAST_NOISE: f64 = 0.3;

/// The best partition of the values up to some place.
#[derive(Clone, Copy, Debug, Default)]
struct Best {
    cost: f64,
    /// Where its last level begins.
    from: usize,
    /// How many levels it has.
    levels: usize,
}

/// The levels of a series that grows.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    values: Vec<f64>,
    /// Sums up to each place, of values and of their squares: they make the error of any stretch one subtraction.
    sums: Vec<(f64, f64)>,
    /// What the price is of; nothing before the first search.
    basis: usize,
    price: f64,
    best: Vec<Best>,
    candidates: Vec<usize>,
    /// How many steps the search took, in all.
    steps: usize,
}

impl Default for Levels {
    fn default() -> Self {
        let (values, best, candidates) = (Vec::new(), Vec::new(), Vec::new());
        Self { values, sums: vec![(0.0, 0.0)], basis: 0, price: 0.0, best, candidates, steps: 0 }
    }
}

impl Levels {
    /// Adds a value. [`search`](Self::search) does the work.
    pub(super) fn push(&mut self, value: f64) {
        let (sum, squares) = self.sums.last().copied().unwrap_or_default();
        self.sums.push((sum + value, squares + value * value));
        self.values.push(value);
    }

    /// The values so far.
    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// Steps that the next search takes, about; each may look at [`CANDIDATES`] places.
    pub(super) fn due(&self) -> usize {
        let count = self.values.len();
        if basis(count) == self.basis { count + 1 - self.best.len() } else { count }
    }

    /// Steps that all searches took so far, each of which looked at some places.
    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Brings the partition up to the last value.
    pub(super) fn search(&mut self) {
        let count = self.values.len();
        let basis = basis(count);
        if basis != self.basis {
            self.basis = basis;
            let first = self.values.get(..basis).unwrap_or_default();
            self.price = 2.0 * noise(first).powi(2) * as_float(basis.max(1)).ln();
            self.best.clear();
            self.candidates.clear();
        }
        if self.best.is_empty() {
            self.best.push(Best { cost: -self.price, from: 0, levels: 0 });
            self.candidates.push(0);
        }
        for to in self.best.len()..=count {
            self.step(to);
        }
    }

    fn step(&mut self, to: usize) {
        let Self { sums, best, candidates, price, steps, .. } = self;
        let error = |from: usize, to: usize| {
            let ((s0, q0), (s1, q1)) = (at(sums, from), at(sums, to));
            (q1 - q0) - (s1 - s0).powi(2) / as_float(to - from)
        };
        *steps += candidates.len();
        // A start that does worse than a cut at `past` is out of the race once a level can begin at `past`.
        if let Some(past) = to.checked_sub(SEGMENT) {
            let least = at(best, past).cost;
            candidates.retain(|from| *from >= past || at(best, *from).cost + error(*from, past) <= least);
        }
        let cost = |from: &usize| at(best, *from).cost + error(*from, to);
        let open = candidates.iter().filter(|from| to - **from >= SEGMENT);
        let least = open.min_by(|left, right| cost(left).total_cmp(&cost(right))).copied();
        // A stretch too short to be a level of its own has no cost yet.
        let next = least.map_or(Best { cost: f64::INFINITY, from: 0, levels: 0 }, |from| Best {
            cost: cost(&from) + *price,
            from,
            levels: at(best, from).levels + 1,
        });
        if candidates.len() == CANDIDATES {
            candidates
                .select_nth_unstable_by(CANDIDATES / 2, |left, right| cost(left).total_cmp(&cost(right)));
            candidates.truncate(CANDIDATES / 2);
        }
        best.push(next);
        candidates.push(to);
    }

    /// How often the level changed, after a search.
    pub(super) fn change_count(&self) -> usize {
        self.end().levels.saturating_sub(1)
    }

    /// The first values of the last levels, at most so many, in their order, after a search; never that of the first level.
    pub(super) fn last_changes(&self, most: usize) -> Vec<usize> {
        let mut found: Vec<usize> =
            std::iter::successors(Some(self.end().from), |from| Some(at(&self.best, *from).from))
                .take_while(|from| *from > 0)
                .take(most)
                .collect();
        found.reverse();
        found
    }

    /// The first value of the level before the one that begins there.
    pub(super) fn level_before(&self, from: usize) -> usize {
        at(&self.best, from).from
    }

    fn end(&self) -> Best {
        // Fewer values than two levels have are one.
        if self.values.len() < 2 * SEGMENT { Best::default() } else { at(&self.best, self.values.len()) }
    }
}

/// How many of so many values, from the first, the price is of: all of up to [`EXACT`]; else the number rounded down to a quarter of the
/// power of two below it.
fn basis(count: usize) -> usize {
    if count <= EXACT {
        return count;
    }
    let step = (1 << count.ilog2()) / 4;
    count / step * step
}

/// Where the mean of a series changes, as the index of the first value of each new level.
pub fn change_points(values: &[f64]) -> Vec<usize> {
    let mut levels = Levels::default();
    values.iter().for_each(|value| levels.push(*value));
    levels.search();
    levels.last_changes(usize::MAX)
}

fn noise(values: &[f64]) -> f64 {
    /// The median of what is normally distributed is so much of its standard deviation; a difference has √2 of it.
    const OF_MEDIAN: f64 = 1.4826 / std::f64::consts::SQRT_2;
    let pairs = values.iter().zip(values.iter().skip(1));
    let mut steps: Vec<f64> = pairs.map(|(left, right)| (right - left).abs()).collect();
    steps.sort_by(f64::total_cmp);
    (steps.get(steps.len() / 2).copied().unwrap_or_default() * OF_MEDIAN).max(LEAST_NOISE)
}

fn at<T: Copy + Default>(values: &[T], index: usize) -> T {
    values.get(index).copied().unwrap_or_default()
}

/// Exact up to 2⁵³.
#[allow(clippy::cast_precision_loss, reason = "a count of messages")]
pub(super) fn as_float(count: usize) -> f64 {
    count as f64
}
