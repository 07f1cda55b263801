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

use super::course::Course;
use crate::scoring::MIXED_MARGIN;

/// Most messages that an opening or a closing is the mean of.
pub const ENDS: usize = 5;

/// Weight of the newest message in a curve: half of what it says is from the last two messages.
pub const SMOOTHING: f64 = 0.3;

/// Most turning points that a summary tells.
const TOLD_TURNS: usize = 8;

/// A wait of a customer that is long.
pub const LONG_WAIT: Duration = Duration::from_secs(600);

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
    /// The smoothed score after each scored message, with the message's index; of a conversation that goes on after the last.
    pub curve: Vec<(usize, f64)>,
    /// How often the level changed.
    pub turning_point_count: usize,
    /// Where it did: all, or of a conversation that goes on the last ones.
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
        Course::of(messages).whole()
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
        // The last ones tell how it is now; a line of thousands would tell nobody anything.
        let turns = &customer.turning_points;
        let told = turns.get(turns.len().saturating_sub(TOLD_TURNS)..).unwrap_or_default();
        let told: Vec<String> = told.iter().map(turn).collect();
        parts.push(match customer.turning_point_count - told.len() {
            _ if told.is_empty() => "no turn".to_owned(),
            0 => format!("turned {}", told.join(", ")),
            earlier => format!("turned {earlier} times, then {}", told.join(", ")),
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

pub(super) fn is_negative(score: f64) -> bool {
    score <= -f64::from(MIXED_MARGIN)
}

/// The mean of some values; 0 of none.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / super::levels::as_float(values.len()) }
}
