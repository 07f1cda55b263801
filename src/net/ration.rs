//! How many frames about all of its streams a connection may send.
//!
//! For each SETTINGS and each GOAWAY the h2 crate goes through all streams of the connection. A client with a thousand of them that
//! sends such frames without end would keep a thread of the port busy. Clients send a few: gRPC's own change the size of
//! their windows some times a second at most.

use std::time::Duration;

use tokio::time::Instant;

/// What a frame costs, in time after which it is paid off: ten a second cost nothing in the long run.
const COST: Duration = Duration::from_millis(100);

/// A debt above this ends the connection: forty frames at once are no more than a thread does in some milliseconds.
const MOST: Duration = Duration::from_secs(4);

/// The ration of one connection.
#[derive(Debug)]
pub(super) struct Ration {
    debt: Duration,
    at: Instant,
}

impl Ration {
    pub(super) fn new(now: Instant) -> Self {
        Self { debt: Duration::ZERO, at: now }
    }

    /// So many frames came. Says whether they are too many.
    pub(super) fn is_used_up(&mut self, frames: u32, now: Instant) -> bool {
        let paid = now.saturating_duration_since(self.at);
        self.at = now;
        self.debt = self.debt.saturating_sub(paid).saturating_add(COST.saturating_mul(frames));
        self.debt > MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_change_its_settings_and_not_without_end() {
        let now = Instant::now();
        let mut ration = Ration::new(now);
        assert!(!ration.is_used_up(40, now));
        assert!(ration.is_used_up(1, now));
        // Five a second for an hour.
        let mut ration = Ration::new(now);
        for fifth in 1..18_000 {
            assert!(!ration.is_used_up(1, now + Duration::from_millis(200) * fifth), "{fifth}");
        }
    }
}
