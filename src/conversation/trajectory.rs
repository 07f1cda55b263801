//! How feeling moved through a conversation: who felt what, where it turned, how long people waited, how it ended.
//!
//! | figure | how |
//! | --- | --- |
//! | opening, closing | mean of the first and of the last quarter of a role's scored messages, at most [`ENDS`] of them |
//! | curve | exponentially weighted mean, `s ← s + α (x − s)` with α = [`SMOOTHING`], beginning at the first score |
//! | turning points | where the mean level changes: PELT (Killick, Fearnhead and Eckley 2012) |
//! | positive, negative | a score of at least [`MIXED_MARGIN`], of at most −[`MIXED_MARGIN`] |
//! | wait | from the first of a customer's messages that nobody has answered to an agent's next; long from [`LONG_WAIT`] on. What is positive, or has no words, waits for no answer |

use std::time::Duration;

use jiff::Timestamp;

use crate::scoring::MIXED_MARGIN;

/// Most messages that an opening or a closing is the mean of.
pub const ENDS: usize = 5;

/// Weight of the newest message in a curve: half of what it says is from the last two messages.
pub const SMOOTHING: f64 = 0.3;

/// A wait of a customer that is long.
pub const LONG_WAIT: Duration = Duration::from_secs(600);

/// Fewest messages between two turning points.
const SEGMENT: usize = 2;

/// Most places at which the current level may have begun that are kept in mind. Beyond that the dearer half is given up,
/// which is exact for up to so many scored messages and keeps the work small for more.
const CANDIDATES: usize = 2048;

/// The least standard deviation that is believed: so much a score may be off by, however quiet a chat is.
const LEAST_NOISE: f64 = 0.3;

/// Which side of a conversation somebody is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Who came with a wish.
    Customer,
    /// A person who answers for the business.
    Agent,
    /// A program that answers for it.
    Bot,
    /// The application.
    System,
}

impl Role {
    /// Its name in files and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
            Self::Bot => "bot",
            Self::System => "system",
        }
    }
}

/// What is known of one message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Felt {
    /// Who sent it.
    pub role: Role,
    /// When.
    pub time: Option<Timestamp>,
    /// What was felt in it, in [-1, 1]; nothing if it has no words.
    pub score: Option<f64>,
}

/// The feeling of one role.
#[derive(Clone, Debug, PartialEq)]
pub struct RoleTrajectory {
    /// Whose.
    pub role: Role,
    /// Their messages, words or not.
    pub message_count: usize,
    /// Those that have a score.
    pub scored_count: usize,
    /// Those of these that are positive.
    pub positive_count: usize,
    /// Those of these that are negative.
    pub negative_count: usize,
    /// At the beginning, in [-1, 1].
    pub opening: f64,
    /// At the end.
    pub closing: f64,
    /// Over all.
    pub mean: f64,
    /// The smoothed score after each scored message, with the message's index.
    pub curve: Vec<(usize, f64)>,
    /// Where the level changed.
    pub turning_points: Vec<TurningPoint>,
    /// The most negative messages one after the other, and the index of the first.
    pub longest_negative_run: (usize, Option<usize>),
}

impl RoleTrajectory {
    /// Closing less opening, in [-2, 2].
    pub fn shift(&self) -> f64 {
        self.closing - self.opening
    }
}

/// Where the level of feeling changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TurningPoint {
    /// The first message of the new level.
    pub message: usize,
    /// The last message of somebody else before it: what it may be an answer to.
    pub after: Option<usize>,
    /// The mean score since the turning point before.
    pub from: f64,
    /// The mean score up to the next one.
    pub to: f64,
}

/// How long the customer waited for a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Waits {
    /// How many there were.
    pub count: usize,
    /// Half of the waits were no longer.
    pub median: Duration,
    /// The longest.
    pub longest: Duration,
    /// The message that was waited for longest.
    pub longest_until: usize,
    /// How many were long.
    pub long_count: usize,
    /// The mean of what the customer said next after a long wait; nothing if they said nothing more.
    pub after_long: Option<f64>,
    /// The mean of what they said next after the others.
    pub after_others: Option<f64>,
}

/// How feeling moved through a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// Each role that said something in words, customer first.
    pub roles: Vec<RoleTrajectory>,
    /// The customer's waits for an agent, if any was answered.
    pub waits: Option<Waits>,
    /// Whether the customer's last words were negative, or the end as a whole was.
    pub unresolved_negative: bool,
}

impl Trajectory {
    /// That of messages in the order in which they were sent.
    pub fn of(messages: &[Felt]) -> Self {
        let roles = [Role::Customer, Role::Agent, Role::Bot];
        let roles: Vec<RoleTrajectory> =
            roles.into_iter().filter_map(|role| of_role(role, messages)).collect();
        let last_words =
            messages.iter().rev().filter(|felt| felt.role == Role::Customer).find_map(|felt| felt.score);
        let mut whole = Self { waits: waits(messages), unresolved_negative: false, roles };
        whole.unresolved_negative = last_words.is_some_and(is_negative)
            || whole.customer().is_some_and(|role| is_negative(role.closing));
        whole
    }

    /// The customer's side, if they said anything in words.
    pub fn customer(&self) -> Option<&RoleTrajectory> {
        self.roles.first().filter(|first| first.role == Role::Customer)
    }

    /// The curve of its side after each of so many messages.
    pub fn all_smoothed(&self, count: usize) -> Vec<Option<f64>> {
        let mut smoothed = vec![None; count];
        for (at, score) in self.roles.iter().flat_map(|role| &role.curve) {
            if let Some(slot) = smoothed.get_mut(*at) {
                *slot = Some(*score);
            }
        }
        smoothed
    }

    /// The curve of its side after one message; nothing if that has no score.
    pub fn smoothed(&self, at: usize) -> Option<f64> {
        let on = |role: &RoleTrajectory| {
            let found = role.curve.binary_search_by_key(&at, |(at, _)| *at).ok();
            found.and_then(|found| role.curve.get(found)).map(|(_, score)| *score)
        };
        self.roles.iter().find_map(on)
    }

    /// All of it in one line of numbers; messages are numbered from 1 in it.
    pub fn summary(&self) -> String {
        let Some(customer) = self.customer() else { return "the customer said nothing in words".to_owned() };
        let turn = |turn: &TurningPoint| {
            format!("at #{} from {:+.2} to {:+.2}", turn.message + 1, turn.from, turn.to)
        };
        let mut parts = vec![format!(
            "customer opening {:+.2}, closing {:+.2}, shift {:+.2}",
            customer.opening,
            customer.closing,
            customer.shift()
        )];
        let turns: Vec<String> = customer.turning_points.iter().map(turn).collect();
        parts.push(if turns.is_empty() {
            "no turn".to_owned()
        } else {
            format!("turned {}", turns.join(", "))
        });
        if let (run @ 2.., Some(first)) = customer.longest_negative_run {
            parts.push(format!("{run} negative in a row from #{}", first + 1));
        }
        if let Some(waits) = &self.waits {
            let (median, longest) = (spoken(waits.median), spoken(waits.longest));
            parts.push(format!("median wait {median}, longest {longest}"));
        }
        parts.push(
            if self.unresolved_negative { "ended negative, unresolved" } else { "did not end negative" }
                .to_owned(),
        );
        parts.join("; ")
    }
}

/// A span of time in its two largest units.
pub fn spoken(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut rest = time.as_secs();
    let mut parts = Vec::new();
    for (seconds, unit) in UNITS {
        let count = rest / seconds;
        rest %= seconds;
        if (count > 0 || !parts.is_empty()) && parts.len() < 2 {
            parts.push((count, unit));
        }
    }
    let shown: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count} {unit}")).collect();
    if shown.is_empty() { "0 s".to_owned() } else { shown.join(" ") }
}

fn is_negative(score: f64) -> bool {
    score <= -f64::from(MIXED_MARGIN)
}

fn of_role(role: Role, messages: &[Felt]) -> Option<RoleTrajectory> {
    let own = || messages.iter().enumerate().filter(move |(_, felt)| felt.role == role);
    let scored: Vec<(usize, f64)> = own().filter_map(|(at, felt)| Some((at, felt.score?))).collect();
    let scores: Vec<f64> = scored.iter().map(|(_, score)| *score).collect();
    let ends = scores.len().div_ceil(4).min(ENDS);
    let mut smooth = *scores.first()?;
    let curve = scored.iter().map(|(at, score)| {
        smooth += SMOOTHING * (score - smooth);
        (*at, smooth)
    });
    let curve = curve.collect();
    let mut run = (0, None);
    let mut current = (0, None);
    for (at, score) in &scored {
        current = if is_negative(*score) { (current.0 + 1, current.1.or(Some(*at))) } else { (0, None) };
        run = if current.0 > run.0 { current } else { run };
    }
    Some(RoleTrajectory {
        role,
        message_count: own().count(),
        scored_count: scores.len(),
        positive_count: scores.iter().filter(|score| is_negative(-**score)).count(),
        negative_count: scores.iter().filter(|score| is_negative(**score)).count(),
        opening: mean(scores.get(..ends)?),
        closing: mean(scores.get(scores.len() - ends..)?),
        mean: mean(&scores),
        curve,
        turning_points: turning_points(role, &scored, messages),
        longest_negative_run: run,
    })
}

fn turning_points(role: Role, scored: &[(usize, f64)], messages: &[Felt]) -> Vec<TurningPoint> {
    let scores: Vec<f64> = scored.iter().map(|(_, score)| *score).collect();
    let mut edges = vec![0];
    edges.extend(change_points(&scores));
    edges.push(scores.len());
    let level = |edges: &[usize]| match edges {
        [from, to] => scores.get(*from..*to).map_or(0.0, mean),
        _ => 0.0,
    };
    let triple = |edges: &[usize]| {
        let [_, at, _] = *edges else { return None };
        let message = scored.get(at)?.0;
        let after =
            messages.get(..message)?.iter().rposition(|felt| felt.role != role && felt.role != Role::System);
        Some(TurningPoint { message, after, from: level(edges.get(..2)?), to: level(edges.get(1..)?) })
    };
    edges.windows(3).filter_map(triple).collect()
}

/// Where the mean of a series changes, as the index of the first value of each new level: the partition with the least
/// squared error, at a price of 2 σ² ln n for each change, σ being that of the differences of neighbours (by their
/// median, so that the changes themselves do not count).
pub fn change_points(values: &[f64]) -> Vec<usize> {
    let count = values.len();
    if count < 2 * SEGMENT {
        return Vec::new();
    }
    let price = 2.0 * noise(values).powi(2) * as_float(count).ln();
    // Sums up to each place, of values and of their squares, make the error of any stretch one subtraction.
    let mut sums = vec![(0.0, 0.0)];
    for value in values {
        let (sum, squares) = sums.last().copied().unwrap_or_default();
        sums.push((sum + value, squares + value * value));
    }
    let error = |from: usize, to: usize| {
        let ((s0, q0), (s1, q1)) = (at(&sums, from), at(&sums, to));
        (q1 - q0) - (s1 - s0).powi(2) / as_float(to - from)
    };
    let mut best = vec![(-price, 0_usize)];
    let mut candidates = vec![0];
    for to in 1..=count {
        // A start that does worse than a cut at `past` is out of the race once a level can begin at `past`.
        if let Some(past) = to.checked_sub(SEGMENT) {
            let beaten = |from: usize| at(&best, from).0 + error(from, past) > at(&best, past).0;
            candidates.retain(|from| *from >= past || !beaten(*from));
        }
        let cost = |from: &usize| at(&best, *from).0 + error(*from, to);
        let open = candidates.iter().filter(|from| to - **from >= SEGMENT);
        let least = open.min_by(|left, right| cost(left).total_cmp(&cost(right))).copied();
        // A stretch too short to be a level of its own has no cost yet.
        let (total, from) = least.map_or((f64::INFINITY, 0), |from| (cost(&from) + price, from));
        if candidates.len() == CANDIDATES {
            candidates
                .select_nth_unstable_by(CANDIDATES / 2, |left, right| cost(left).total_cmp(&cost(right)));
            candidates.truncate(CANDIDATES / 2);
        }
        best.push((total, from));
        candidates.push(to);
    }
    let mut found = Vec::new();
    let mut end = at(&best, count).1;
    while end > 0 {
        found.push(end);
        end = at(&best, end).1;
    }
    found.reverse();
    found
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

/// How long the first of a customer's unanswered messages that wants an answer waited for an agent, each time.
fn waits(messages: &[Felt]) -> Option<Waits> {
    let mut asked: Option<Timestamp> = None;
    let mut waits: Vec<(Duration, usize)> = Vec::new();
    for (at, felt) in messages.iter().enumerate() {
        match (felt.role, felt.time) {
            (Role::Customer, time) => {
                let wants = felt.score.is_some_and(|score| !is_negative(-score));
                asked = asked.or(time.filter(|_| wants));
            }
            (Role::Agent, Some(time)) => {
                let waited =
                    asked.take().and_then(|asked| Duration::try_from(time.duration_since(asked)).ok());
                waits.extend(waited.map(|waited| (waited, at)));
            }
            (Role::Agent | Role::Bot | Role::System, _) => {}
        }
    }
    waits.sort();
    let (longest, longest_until) = *waits.last()?;
    let next = |until: usize| {
        let mut after = messages.iter().skip(until + 1).filter(|felt| felt.role == Role::Customer);
        after.find_map(|felt| felt.score)
    };
    let (long, others): (Vec<_>, Vec<_>) = waits.iter().partition(|(waited, _)| *waited >= LONG_WAIT);
    let said = |of: &[(Duration, usize)]| {
        let scores: Vec<f64> = of.iter().filter_map(|(_, until)| next(*until)).collect();
        (!scores.is_empty()).then(|| mean(&scores))
    };
    Some(Waits {
        count: waits.len(),
        median: waits.get((waits.len() - 1) / 2)?.0,
        longest,
        longest_until,
        long_count: long.len(),
        after_long: said(&long),
        after_others: said(&others),
    })
}

/// The mean of some values; 0 of none.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / as_float(values.len()) }
}

/// Exact up to 2⁵³.
#[allow(clippy::cast_precision_loss, reason = "a count of messages")]
fn as_float(count: usize) -> f64 {
    count as f64
}
