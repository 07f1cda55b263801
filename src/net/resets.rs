//! How many cancelled calls a connection may have: a budget that time and answered calls refill.
//!
//! A client whose deadlines are short cancels thousands of calls, and so does an attack by rapid resets
//! (CVE-2023-44487). They differ in how fast and for how long. So each cancelled call costs a little, and the h2 crate's limit on resets
//! that wait at one moment, 20 by default, is raised far above that of a burst.

use std::time::Duration;

use tokio::time::Instant;

/// What a cancelled call costs, in time after which it is paid off: 1,000 a second cost nothing in the long run. An
/// answered call pays for one.
const COST: Duration = Duration::from_millis(1);

/// A debt above this ends the connection gently: the client gets GOAWAY and opens another.
const MOVE_ON: Duration = Duration::from_millis(3_000);

/// A debt above this ends it at once: the client has seen GOAWAY and goes on. It is beyond [`MOVE_ON`] by twice the calls that a
/// client may have open, so that one that moves on can cancel all of these.
const CUT: Duration = Duration::from_millis(5_000);

/// What to do with a connection after a call was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Fine,
    MoveOn,
    Cut,
}

/// The budget of one connection.
#[derive(Debug)]
pub(super) struct Budget {
    debt: Duration,
    at: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self { debt: Duration::ZERO, at: now }
    }

    /// A call was answered to its end.
    pub(super) fn answered(&mut self) {
        self.debt = self.debt.saturating_sub(COST);
    }

    /// A call was cancelled.
    pub(super) fn cancelled(&mut self, now: Instant) -> Verdict {
        let paid = now.saturating_duration_since(self.at);
        self.at = now;
        self.debt = self.debt.saturating_sub(paid) + COST;
        if self.debt > CUT {
            Verdict::Cut
        } else if self.debt > MOVE_ON {
            Verdict::MoveOn
        } else {
            Verdict::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict after so many cancelled calls, one after the other, in so much time.
    fn after(calls: u32, time: Duration) -> Verdict {
        let mut now = Instant::now();
        let mut budget = Budget::new(now);
        let mut verdict = Verdict::Fine;
        for _ in 0..calls {
            now += time / calls;
            verdict = budget.cancelled(now);
        }
        verdict
    }

    #[test]
    fn bursts_of_short_deadlines_pass_and_rapid_resets_do_not() {
        for (calls, seconds, verdict) in [
            (2_000, 0, Verdict::Fine),
            (3_000, 0, Verdict::Fine),
            (4_000, 0, Verdict::MoveOn),
            (6_000, 0, Verdict::Cut),
            (100_000, 100, Verdict::Fine),
            (100_000, 96, Verdict::MoveOn),
            (100_000, 10, Verdict::Cut),
        ] {
            assert_eq!(after(calls, Duration::from_secs(seconds)), verdict, "{calls} in {seconds} s");
        }
    }

    #[test]
    fn answered_calls_pay_for_cancelled_ones() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        for _ in 0..100_000 {
            budget.answered();
            assert_eq!(budget.cancelled(now), Verdict::Fine);
        }
        // But not in advance.
        (0..100_000).for_each(|_| budget.answered());
        assert_eq!((0..6_000).map(|_| budget.cancelled(now)).last(), Some(Verdict::Cut));
    }
}
