//! A conversation as it goes on: each message adds to what is known of those before it, so that the trajectory of a long
//! conversation is not worked out anew for each.

use std::time::Duration;

use jiff::Timestamp;

use super::levels::Levels;
use super::trajectory::{
    ENDS, Felt, LONG_WAIT, Role, RoleTrajectory, SMOOTHING, Trajectory, TurningPoint, Waits, is_negative,
    mean,
};

/// The sides that have a trajectory, in its order.
const SIDES: [Role; 3] = [Role::Customer, Role::Agent, Role::Bot];

/// Most turning points of a side that are shown of a conversation that goes on: the last ones.
pub const LATEST_TURNS: usize = 64;

/// A search for levels of so many steps is long enough to be done elsewhere.
const LONG_SEARCH: usize = 512;

/// What is known of the messages so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    sides: [Side; 3],
    /// The last message of each side.
    last_of: [Option<usize>; 3],
    count: usize,
    waits: WaitsSoFar,
}

/// One side so far.
#[derive(Clone, Debug, Default)]
struct Side {
    message_count: usize,
    positive_count: usize,
    negative_count: usize,
    sum: f64,
    /// The smoothed score after each scored message, with the message's index.
    curve: Vec<(usize, f64)>,
    /// The last message of another side before each scored message.
    after: Vec<Option<usize>>,
    run: (usize, Option<usize>),
    longest_run: (usize, Option<usize>),
    levels: Levels,
}

impl Course {
    /// Of these messages.
    pub(super) fn of(messages: &[Felt]) -> Self {
        let mut course = Self::default();
        messages.iter().for_each(|felt| course.push(felt));
        course
    }

    /// Adds the next message.
    pub(super) fn push(&mut self, felt: &Felt) {
        let at = self.count;
        self.count += 1;
        self.waits.push(at, felt);
        let Some(own) = SIDES.iter().position(|role| *role == felt.role) else { return };
        let others = self.last_of.iter().enumerate().filter(|(side, _)| *side != own);
        let after = others.filter_map(|(_, last)| *last).max();
        if let Some(side) = self.sides.get_mut(own) {
            side.push(at, after, felt.score);
        }
        if let Some(last) = self.last_of.get_mut(own) {
            *last = Some(at);
        }
    }

    /// Whether working out the trajectory takes longer than handing it to another thread.
    pub(super) fn is_long(&self) -> bool {
        self.sides.iter().any(|side| side.levels.due() > LONG_SEARCH)
    }

    /// How feeling moved up to now.
    pub(super) fn whole(&mut self) -> Trajectory {
        self.trajectory(usize::MAX, usize::MAX)
    }

    /// The same with no more than the last turning points, and of each curve the last point: as much for the thousandth message as
    /// for the hundredth.
    pub(super) fn latest(&mut self) -> Trajectory {
        self.trajectory(LATEST_TURNS, 1)
    }

    /// The curve of its side after a message; nothing if that has no score.
    pub(super) fn smoothed(&self, at: usize) -> Option<f64> {
        let on = |side: &Side| {
            let found = side.curve.binary_search_by_key(&at, |(at, _)| *at).ok()?;
            side.curve.get(found).map(|(_, score)| *score)
        };
        self.sides.iter().find_map(on)
    }

    fn trajectory(&mut self, turns: usize, points: usize) -> Trajectory {
        let last_words = self.sides.first().and_then(|customer| customer.levels.values().last().copied());
        let sides = SIDES.into_iter().zip(&mut self.sides);
        let roles = sides.filter_map(|(role, side)| side.trajectory(role, turns, points)).collect();
        let mut whole = Trajectory { waits: self.waits.figures(), unresolved_negative: false, roles };
        whole.unresolved_negative = last_words.is_some_and(is_negative)
            || whole.customer().is_some_and(|role| is_negative(role.closing));
        whole
    }
}

impl Side {
    fn push(&mut self, at: usize, after: Option<usize>, score: Option<f64>) {
        self.message_count += 1;
        let Some(score) = score else { return };
        let smooth = self.curve.last().map_or(score, |(_, before)| *before);
        self.curve.push((at, smooth + SMOOTHING * (score - smooth)));
        self.after.push(after);
        self.sum += score;
        self.positive_count += usize::from(is_negative(-score));
        self.negative_count += usize::from(is_negative(score));
        let (length, first) = self.run;
        self.run = if is_negative(score) { (length + 1, first.or(Some(at))) } else { (0, None) };
        if self.run.0 > self.longest_run.0 {
            self.longest_run = self.run;
        }
        self.levels.push(score);
    }

    /// Nothing of a side that said nothing in words.
    fn trajectory(&mut self, role: Role, turns: usize, points: usize) -> Option<RoleTrajectory> {
        self.levels.search();
        let scores = self.levels.values();
        let count = scores.len();
        if count == 0 {
            return None;
        }
        let ends = count.div_ceil(4).min(ENDS);
        Some(RoleTrajectory {
            role,
            message_count: self.message_count,
            scored_count: count,
            positive_count: self.positive_count,
            negative_count: self.negative_count,
            opening: mean(scores.get(..ends)?),
            closing: mean(scores.get(count - ends..)?),
            mean: self.sum / super::levels::as_float(count),
            curve: self.curve.get(count.saturating_sub(points)..)?.to_vec(),
            turning_point_count: self.levels.change_count(),
            turning_points: self.turning_points(turns),
            longest_negative_run: self.longest_run,
        })
    }

    fn turning_points(&self, most: usize) -> Vec<TurningPoint> {
        let mut edges = self.levels.last_changes(most);
        edges.push(self.levels.values().len());
        let level = |from: usize, to: usize| self.levels.values().get(from..to).map_or(0.0, mean);
        let turn = |edges: &[usize]| {
            let [at, next] = *edges else { return None };
            Some(TurningPoint {
                message: self.curve.get(at)?.0,
                after: *self.after.get(at)?,
                from: level(self.levels.level_before(at), at),
                to: level(at, next),
            })
        };
        edges.windows(2).filter_map(turn).collect()
    }
}

/// How long the first of a customer's unanswered messages that wants an answer waited for an agent, each time.
#[derive(Clone, Debug, Default)]
struct WaitsSoFar {
    asked: Option<Timestamp>,
    /// The shortest first, each with the message that was waited for.
    sorted: Vec<(Duration, usize)>,
    long_count: usize,
    /// Whether the last wait was long, until the customer says something more.
    unheard: Option<bool>,
    after_long: Sum,
    after_others: Sum,
}

/// Scores, as their mean is worked out.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: usize,
    sum: f64,
}

impl Sum {
    fn add(&mut self, score: f64) {
        self.count += 1;
        self.sum += score;
    }

    fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / super::levels::as_float(self.count))
    }
}

impl WaitsSoFar {
    fn push(&mut self, at: usize, felt: &Felt) {
        match (felt.role, felt.time) {
            (Role::Customer, time) => {
                // A customer's words are all that a wait can begin with, so at most one wait is unheard.
                if let Some(score) = felt.score
                    && let Some(long) = self.unheard.take()
                {
                    if long { self.after_long.add(score) } else { self.after_others.add(score) }
                }
                let wants = felt.score.is_some_and(|score| !is_negative(-score));
                self.asked = self.asked.or(time.filter(|_| wants));
            }
            (Role::Agent, Some(time)) => {
                let asked = self.asked.take();
                let waited = asked.and_then(|asked| Duration::try_from(time.duration_since(asked)).ok());
                if let Some(waited) = waited {
                    let long = waited >= LONG_WAIT;
                    self.long_count += usize::from(long);
                    self.unheard = Some(long);
                    let place = self.sorted.partition_point(|wait| *wait < (waited, at));
                    self.sorted.insert(place, (waited, at));
                }
            }
            (Role::Agent | Role::Bot | Role::System, _) => {}
        }
    }

    fn figures(&self) -> Option<Waits> {
        let (longest, longest_until) = *self.sorted.last()?;
        let count = self.sorted.len();
        Some(Waits {
            count,
            median: self.sorted.get((count - 1) / 2)?.0,
            longest,
            longest_until,
            long_count: self.long_count,
            after_long: self.after_long.mean(),
            after_others: self.after_others.mean(),
        })
    }
}
