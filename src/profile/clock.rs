//! The store's clock: which of the system's times is trusted. Pure: the caller reads the clocks.
//!
//! A wrong clock must not destroy data, so three times are kept apart.
//!
//! | time | what it is | what it decides |
//! | --- | --- | --- |
//! | now | the system's time while it is trusted, else the last good time and what the monotonic clock counted since | windows, EVENT_TOO_OLD, EVENT_IN_FUTURE, times of changes |
//! | proven | the time that passed while the store ran, by the monotonic clock, and time between two runs that fresh events confirmed | nothing by itself |
//! | horizon | proven, less [`STEP`]; it stands still while the clock is distrusted | what is forgotten: ledger, tombstones, changes, tiles |
//!
//! `proven` never runs ahead of the true time unless the clients' clocks are wrong together with the server's, or a person
//! accepted a wrong time. That is why only it may decide what is deleted.
//!
//! Rejected: to trust a large gap between two runs after some time of agreement with the monotonic clock. A clock that is 400 days
//! ahead agrees with it for ever.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::rows::time;

/// A smaller difference is an adjustment of the clock, not a jump. As much as events may be ahead of the clock.
pub const STEP: SignedDuration = SignedDuration::from_mins(10);

/// A store that was stopped for no longer trusts the system's time at once. The hour tiles last a day longer than the window of
/// 24 hours needs them, so a mistake of this size loses nothing.
const PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// Fresh events that confirm a time.
const WITNESSES: u32 = 20;

/// Fresh events must confirm a distrusted time for so long before it is trusted.
const CONFIRMED: SignedDuration = SignedDuration::from_mins(5);

/// Fresh events must confirm a pause of at most [`PAUSE`] for so long before something is deleted by it.
const PROVEN: SignedDuration = SignedDuration::from_hours(1);

/// The same for a longer pause.
const PROVEN_LONG: SignedDuration = SignedDuration::from_hours(24);

/// What the two clocks may differ in by drift alone: 200 µs a second. A crystal has less than 100.
const DRIFT: i64 = 5000;

/// What the system's clocks said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The time of day.
    pub wall: Timestamp,
    /// Time since some moment before this process, also while the machine slept; nobody can set it.
    pub monotonic: Duration,
}

/// By which time a commit judges events and forgets tiles.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time that events are judged by.
    pub now: Timestamp,
    /// What is older than is kept at this time may be forgotten.
    pub horizon: Timestamp,
    /// The system's time, if it is ahead and distrusted: it is not known whether an event up to it is of now or of the future.
    pub(super) doubtful: Option<Timestamp>,
    /// Whether the system's time is trusted: what waited for that is decided now.
    pub(super) is_trusted: bool,
    /// What is written of the clock with the commit.
    pub(super) row: Option<ClockRow>,
}

impl From<Timestamp> for Moment {
    /// A moment of a clock that is not in doubt, as of a test or a restored backup.
    fn from(now: Timestamp) -> Self {
        Self { now, horizon: now, doubtful: None, is_trusted: true, row: None }
    }
}

impl Moment {
    /// The moment of an erasure that is done again. Its time is only read from a report: nothing is forgotten or decided by it.
    pub(super) fn of_report(now: Timestamp) -> Self {
        Self { now, horizon: Timestamp::MIN, doubtful: None, is_trusted: false, row: None }
    }
}

/// What the store keeps of its clock, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClockRow {
    /// The last time that was used.
    pub(super) seen: i64,
    /// The time that is proven.
    pub(super) proven: i64,
    /// File times up to this one were accepted by a person.
    pub(super) files: i64,
}

/// What a store knows of time before it looks at the clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    /// What it has kept; nothing in a store of an earlier version.
    pub(super) row: Option<ClockRow>,
    /// Whether it has recorded anything: an empty one has nothing to lose.
    pub(super) is_used: bool,
    /// When the newest commit was made, if that is still known.
    pub(super) newest: Option<Timestamp>,
    /// When the newest file of the store was written.
    pub(super) files: Option<Timestamp>,
}

/// Why the system's time is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// At the start it was earlier than the last time on disk.
    Behind,
    /// At the start it was later than the last time on disk by more than a day.
    Ahead,
    /// It jumped back while the store was open.
    SteppedBack,
    /// It jumped ahead while the store was open.
    SteppedAhead,
    /// Files of the store are newer than it.
    NewerFiles,
}

impl Distrust {
    /// What happened, for a person.
    pub fn text(self) -> &'static str {
        match self {
            Self::Behind => "the system clock is behind the last time on disk",
            Self::Ahead => "the system clock is more than a day ahead of the last time on disk",
            Self::SteppedBack => "the system clock jumped back while the store was open",
            Self::SteppedAhead => "the system clock jumped ahead while the store was open",
            Self::NewerFiles => "files of the store are newer than the system clock",
        }
    }
}

/// How the clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockState {
    /// The time that the store goes by.
    pub now: Timestamp,
    /// The system's time.
    pub wall: Timestamp,
    /// The time that is proven.
    pub proven: Timestamp,
    /// What is older than is kept at this time may be forgotten.
    pub horizon: Timestamp,
    /// Why the system's time is not trusted; nothing if it is.
    pub distrust: Option<Distrust>,
}

/// Fresh events for and against the system's time.
#[derive(Clone, Copy, Debug)]
struct Witnesses {
    since: Option<i64>,
    last: i64,
    agree: u32,
    contradict: u32,
    /// How far the time can be ahead of the monotonic clock, so that each of them is no older than [`STEP`].
    bound: i64,
}

impl Default for Witnesses {
    fn default() -> Self {
        Self { since: None, last: 0, agree: 0, contradict: 0, bound: i64::MAX }
    }
}

impl Witnesses {
    /// Whether enough of them agree, for so long.
    fn confirm(&self, span: SignedDuration) -> bool {
        self.agree >= WITNESSES
            && self.contradict <= self.agree / 10
            && self.since.is_some_and(|since| self.last - since >= millis(span))
    }
}

/// The clock of a store. Times are in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct StoreClock {
    monotonic: i64,
    /// The last time that was used, and what the monotonic clock counted since.
    good: i64,
    /// What the system's time should be now.
    expected: i64,
    /// Up to when `expected` has followed the drift between the two clocks.
    drifted: i64,
    wall: i64,
    proven: i64,
    horizon: i64,
    /// When the newest file of the store was written, and up to which time a person accepted that.
    files: i64,
    accepted_files: i64,
    distrust: Option<Distrust>,
    witnesses: Witnesses,
}

const fn millis(duration: SignedDuration) -> i64 {
    duration.as_secs() * 1000
}

fn whole(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn near(one: i64, other: i64) -> bool {
    one.abs_diff(other) <= millis(STEP).unsigned_abs()
}

impl StoreClock {
    /// The clock of a store that is opened now.
    pub(super) fn start(past: Past, reading: Reading) -> Self {
        let (wall, monotonic) = (reading.wall.as_millisecond(), whole(reading.monotonic));
        let newest = past.newest.or(past.files).filter(|_| past.is_used).map(Timestamp::as_millisecond);
        // A store of an earlier version has no row. Its newest commit says that time had come so far, and nothing says for how
        // long it was stopped: it goes by the system's time, and forgets nothing until that is proven.
        let row = past.row.filter(|_| past.is_used).unwrap_or(ClockRow {
            seen: newest.unwrap_or(wall).max(wall),
            proven: newest.unwrap_or(wall),
            files: i64::MIN,
        });
        let mut clock = Self {
            monotonic,
            good: row.seen.max(row.proven),
            expected: wall,
            drifted: monotonic,
            wall,
            proven: row.proven,
            horizon: row.proven - millis(STEP),
            files: past.files.map_or(i64::MIN, Timestamp::as_millisecond),
            accepted_files: row.files,
            distrust: None,
            witnesses: Witnesses::default(),
        };
        clock.distrust = clock.judge_start();
        if clock.distrust.is_none() && clock.has_newer_files() && clock.files > row.files {
            clock.distrust = Some(Distrust::NewerFiles);
        }
        if !clock.is_wall_good() {
            clock.expected = clock.good;
        }
        clock.look(reading);
        clock
    }

    fn has_newer_files(&self) -> bool {
        self.files > self.wall.saturating_add(millis(STEP))
    }

    /// Whether the time between two runs can be as long as the system's time says.
    fn judge_start(&self) -> Option<Distrust> {
        if self.wall < self.proven - millis(STEP) {
            return Some(Distrust::Behind);
        }
        (self.wall > self.good + millis(PAUSE)).then_some(Distrust::Ahead)
    }

    /// Looks at the system's clocks. Readings come in their order.
    pub(super) fn look(&mut self, reading: Reading) -> ClockState {
        let passed = (whole(reading.monotonic) - self.monotonic).max(0);
        let wall = reading.wall.as_millisecond();
        if !near(wall, self.wall.saturating_add(passed)) {
            // What they confirmed was another time.
            self.witnesses = Witnesses::default();
        }
        self.monotonic += passed;
        self.wall = wall;
        let before = self.good;
        self.good += passed;
        self.expected += passed;
        let proven = self.proven + passed;
        self.proven = if self.is_wall_good() { self.proven.max(proven.min(wall)) } else { proven };
        self.distrust = self.judge();
        if self.is_wall_good() {
            self.follow_drift();
            // After a small step back it stands still until the system's time has caught up.
            self.good = if near(self.good, wall) { before.max(wall) } else { wall };
            self.prove();
        }
        if self.distrust.is_none() {
            self.horizon = self.horizon.max(self.proven - millis(STEP));
        }
        self.state()
    }

    fn follow_drift(&mut self) {
        let drift = (self.monotonic - self.drifted) / DRIFT;
        self.drifted += drift * DRIFT;
        self.expected += (self.wall - self.expected).clamp(-drift, drift);
    }

    /// Whether the system's time is the store's.
    fn is_wall_good(&self) -> bool {
        matches!(self.distrust, None | Some(Distrust::NewerFiles))
    }

    /// Whether the system's time is trusted now.
    fn judge(&mut self) -> Option<Distrust> {
        let wall = self.wall;
        let doubt = match self.distrust {
            Some(Distrust::NewerFiles) if near(wall, self.expected) => {
                return self.distrust.filter(|_| self.has_newer_files());
            }
            None if near(wall, self.expected) => return None,
            None | Some(Distrust::NewerFiles) if wall > self.expected => Some(Distrust::SteppedAhead),
            None | Some(Distrust::NewerFiles) => Some(Distrust::SteppedBack),
            // It may have been set right after the start.
            Some(Distrust::Behind | Distrust::Ahead) => self.judge_start(),
            stepped @ Some(Distrust::SteppedBack | Distrust::SteppedAhead) => stepped,
        };
        let is_ahead = matches!(doubt, Some(Distrust::Ahead | Distrust::SteppedAhead));
        let confirmed = is_ahead && self.witnesses.confirm(CONFIRMED);
        if !self.is_wall_good() && near(wall, self.expected) {
            // It is where it should be. Nothing is set by it: else it could creep away, step by step.
            return None;
        }
        if doubt.is_some() && !confirmed && !near(wall, self.proven) {
            return doubt;
        }
        self.expected = wall;
        None
    }

    /// Takes a pause for proven once fresh events have confirmed it for long enough.
    fn prove(&mut self) {
        let pause = self.wall - self.proven;
        let span = if pause <= millis(PAUSE) { PROVEN } else { PROVEN_LONG };
        if pause > 0 && self.witnesses.confirm(span) {
            let bound = self.monotonic.saturating_add(self.witnesses.bound);
            self.proven = self.proven.max(self.wall.min(bound));
            self.witnesses = Witnesses::default();
        }
    }

    /// Hears when events happened, in milliseconds: those of now tell which of two times is right.
    pub(super) fn hear(&mut self, events: impl Iterator<Item = i64>) {
        for event in events {
            if near(event, self.wall) {
                self.witnesses.since.get_or_insert(self.monotonic);
                self.witnesses.last = self.monotonic;
                self.witnesses.agree = self.witnesses.agree.saturating_add(1);
                self.witnesses.bound = self.witnesses.bound.min(event + millis(STEP) - self.monotonic);
            } else if near(event, self.good) || near(event, self.proven) {
                self.witnesses.contradict = self.witnesses.contradict.saturating_add(1);
            }
        }
    }

    /// Takes the system's time for right because a person says so.
    pub(super) fn accept(&mut self) {
        (self.good, self.expected, self.proven) = (self.wall, self.wall, self.wall);
        self.horizon = self.wall - millis(STEP);
        self.accepted_files = self.accepted_files.max(self.files);
        self.distrust = None;
        self.witnesses = Witnesses::default();
    }

    /// What is to be kept of it.
    pub(super) fn row(&self) -> ClockRow {
        ClockRow { seen: self.good, proven: self.proven, files: self.accepted_files }
    }

    /// How it stands as of the last look.
    pub(super) fn state(&self) -> ClockState {
        ClockState {
            now: time(self.good.max(self.horizon)),
            wall: time(self.wall),
            proven: time(self.proven),
            horizon: time(self.horizon),
            distrust: self.distrust,
        }
    }

    /// The moment of a commit.
    pub(super) fn moment(&self) -> Moment {
        let ClockState { now, wall, horizon, distrust, .. } = self.state();
        let doubtful = distrust.filter(|_| wall > now).map(|_| wall);
        Moment { now, horizon, doubtful, is_trusted: distrust.is_none(), row: Some(self.row()) }
    }
}

#[cfg(test)]
mod tests;
