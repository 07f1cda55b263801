//! When a connection is told to move on, and when it is closed: decisions only, on a clock that the caller reads.

use std::time::Duration;

use tokio::time::Instant;

/// How long a client has to leave that was told to move on and has no open call. Those who answer the ping that goes with
/// GOAWAY are gone before.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long the calls of a connection may go on from which its client takes nothing. One stream that is stuck is reset alone
/// ([`super::executor`]).
const STALLED_GRACE: Duration = Duration::from_secs(10);

/// Time limits of a connection; none where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// How long the first bytes may take.
    pub(super) handshake: Option<Duration>,
    /// How long it may have no open call.
    pub(super) idle: Option<Duration>,
    /// How long its client may take nothing that waits in the socket.
    pub(super) send: Option<Duration>,
    /// How old it may become.
    pub(super) age: Option<Duration>,
    /// How long its calls may go on after that.
    pub(super) age_grace: Option<Duration>,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Whether its first bytes have come.
    pub(super) greeted: bool,
    /// Since when it has no open call; none while it has one.
    pub(super) idle_since: Option<Instant>,
    /// Since when its client has taken nothing of the bytes that wait in the socket.
    pub(super) stalled_since: Option<Instant>,
}

/// Why a connection must leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Handshake,
    Idle,
    Age,
    Drain,
    Evicted,
    Resets,
    Frames,
    Stalled,
}

/// What is to be done with a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing until then; never if there is no time.
    Wait(Option<Instant>),
    /// Tell the client to move on.
    Tell(Why),
    /// Close.
    Close(Why),
}

/// The times of one connection.
#[derive(Debug)]
pub(super) struct Timetable {
    opened: Instant,
    limits: Limits,
    /// Since when the client is told to move on, why, and when it is cut.
    told: Option<(Instant, Why, Option<Instant>)>,
}

impl Timetable {
    pub(super) fn new(opened: Instant, limits: Limits) -> Self {
        Self { opened, limits, told: None }
    }

    /// The client was told to move on. Of two reasons the one that cuts earlier counts.
    pub(super) fn told(&mut self, now: Instant, why: Why, grace: Option<Duration>) {
        let cut = grace.map(|grace| now + grace);
        let earlier = |(_, _, before): &(Instant, Why, Option<Instant>)| match (before, cut) {
            (Some(before), Some(cut)) => *before <= cut,
            (before, None) => before.is_some(),
            (None, Some(_)) => false,
        };
        if !self.told.as_ref().is_some_and(earlier) {
            self.told = Some((now, why, cut));
        }
    }

    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// How long the calls of a connection may go on that is told to move on.
    pub(super) fn grace(&self, why: Why) -> Option<Duration> {
        if why == Why::Stalled { Some(STALLED_GRACE) } else { self.limits.age_grace }
    }

    pub(super) fn due(&self, now: Instant, seen: Seen) -> Due {
        // A connection without bytes that wait is looked at again when it could be stuck for too long at the earliest.
        let stalled = self.limits.send.map(|limit| seen.stalled_since.unwrap_or(now) + limit);
        match self.told {
            Some((at, why, cut)) => {
                let (why, cut) = match stalled.map(|stalled| stalled + STALLED_GRACE) {
                    Some(end) if cut.is_none_or(|cut| end < cut) => {
                        (if end <= now { Why::Stalled } else { why }, Some(end))
                    }
                    Some(_) | None => (why, cut),
                };
                leaving(now, seen, at, why, cut)
            }
            None if stalled.is_some_and(|limit| limit <= now) => Due::Tell(Why::Stalled),
            None => match (self.staying(now, seen), stalled) {
                (Due::Wait(until), Some(stalled)) => {
                    Due::Wait(Some(until.map_or(stalled, |until| until.min(stalled))))
                }
                (due, _) => due,
            },
        }
    }

    fn staying(&self, now: Instant, seen: Seen) -> Due {
        let Limits { handshake, idle, age, .. } = self.limits;
        let silent = handshake.filter(|_| !seen.greeted).map(|limit| self.opened + limit);
        if silent.is_some_and(|limit| limit <= now) {
            return Due::Close(Why::Handshake);
        }
        let old = age.map(|limit| self.opened + limit);
        if old.is_some_and(|limit| limit <= now) {
            return Due::Tell(Why::Age);
        }
        // A connection with open calls is looked at again when it could be idle for too long at the earliest.
        let idle = idle.map(|limit| seen.idle_since.unwrap_or(now) + limit);
        if idle.is_some_and(|limit| limit <= now) {
            return Due::Tell(Why::Idle);
        }
        Due::Wait([silent, old, idle].into_iter().flatten().min())
    }
}

fn leaving(now: Instant, seen: Seen, at: Instant, why: Why, cut: Option<Instant>) -> Due {
    let farewell = seen.idle_since.map_or(now, |since| since.max(at)) + FAREWELL;
    let end = cut.map_or(farewell, |cut| cut.min(farewell));
    if end <= now { Due::Close(why) } else { Due::Wait(Some(end)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits {
            handshake: Some(10 * SECOND),
            idle: Some(60 * SECOND),
            send: None,
            age: Some(300 * SECOND),
            age_grace: Some(30 * SECOND),
        }
    }

    fn seen(greeted: bool, idle_since: Option<Instant>) -> Seen {
        Seen { greeted, idle_since, stalled_since: None }
    }

    #[test]
    fn a_client_that_takes_nothing_is_told_and_cut_and_a_slow_one_is_not() {
        let opened = Instant::now();
        let at = |seconds: u32| opened + seconds * SECOND;
        let stalled = |since: u32| Seen { stalled_since: Some(at(since)), ..seen(true, None) };
        let mut times = Timetable::new(opened, Limits { send: Some(20 * SECOND), ..limits() });
        assert_eq!(times.due(at(50), seen(true, None)), Due::Wait(Some(at(70))));
        assert_eq!(times.due(at(70), stalled(65)), Due::Wait(Some(at(85))));
        assert_eq!(times.due(at(85), stalled(65)), Due::Tell(Why::Stalled));
        times.told(at(85), Why::Stalled, times.grace(Why::Stalled));
        assert_eq!(times.due(at(94), stalled(65)), Due::Wait(Some(at(95))));
        assert_eq!(times.due(at(95), stalled(65)), Due::Close(Why::Stalled));
        // One that was told to move on for its age must still take its answers.
        let mut old = Timetable::new(opened, Limits { send: Some(20 * SECOND), ..limits() });
        old.told(at(300), Why::Age, Some(3600 * SECOND));
        assert_eq!(old.due(at(310), stalled(310)), Due::Wait(Some(at(315))));
        assert_eq!(old.due(at(339), stalled(310)), Due::Wait(Some(at(340))));
        assert_eq!(old.due(at(340), stalled(310)), Due::Close(Why::Stalled));
    }

    #[test]
    fn a_silent_connection_is_closed_and_one_that_spoke_is_not() {
        let opened = Instant::now();
        let times = Timetable::new(opened, limits());
        let at = |seconds: u32| opened + seconds * SECOND;
        assert_eq!(times.due(at(9), seen(false, Some(opened))), Due::Wait(Some(at(10))));
        assert_eq!(times.due(at(10), seen(false, Some(opened))), Due::Close(Why::Handshake));
        assert_eq!(times.due(at(10), seen(true, Some(opened))), Due::Wait(Some(at(60))));
    }

    #[test]
    fn an_idle_connection_moves_on_and_one_with_a_call_stays_until_it_is_old() {
        let opened = Instant::now();
        let times = Timetable::new(opened, limits());
        let at = |seconds: u32| opened + seconds * SECOND;
        assert_eq!(times.due(at(60), seen(true, Some(opened))), Due::Tell(Why::Idle));
        assert_eq!(times.due(at(100), seen(true, Some(at(90)))), Due::Wait(Some(at(150))));
        assert_eq!(times.due(at(299), seen(true, None)), Due::Wait(Some(at(300))));
        assert_eq!(times.due(at(300), seen(true, None)), Due::Tell(Why::Age));
    }

    #[test]
    fn calls_of_an_old_connection_go_on_until_the_grace_ends() {
        let opened = Instant::now();
        let mut times = Timetable::new(opened, limits());
        let at = |seconds: u32| opened + seconds * SECOND;
        times.told(at(300), Why::Age, Some(30 * SECOND));
        assert_eq!(times.due(at(329), seen(true, None)), Due::Wait(Some(at(330))));
        assert_eq!(times.due(at(330), seen(true, None)), Due::Close(Why::Age));
        // Without calls it need not stay so long, however old its last one is.
        assert_eq!(times.due(at(301), seen(true, Some(at(1)))), Due::Wait(Some(at(305))));
        assert_eq!(times.due(at(320), seen(true, Some(at(315)))), Due::Close(Why::Age));
    }

    #[test]
    fn the_earlier_end_counts() {
        let now = Instant::now();
        for (first, second, cut) in
            [(Some(30), None, 30), (None, Some(30), 30), (Some(30), Some(10), 10), (Some(10), Some(30), 10)]
        {
            let mut times = Timetable::new(now, limits());
            for grace in [first, second] {
                times.told(now, Why::Age, grace.map(|seconds: u32| seconds * SECOND));
            }
            assert_eq!(times.due(now + cut * SECOND, seen(true, None)), Due::Close(Why::Age));
        }
    }
}
