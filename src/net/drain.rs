//! The end of a port, in two steps: tell the clients to move on, then cut what is left.

use std::sync::Arc;

use tokio::sync::watch;

/// Ends the connections of a port. Copies act on the same port.
///
/// ```text
/// let drain = Drain::default();
/// let serving = net::serve(listener, service, settings, &drain);   // ends after drain.start(), with the last connection
/// drain.start();            // stops accepting, sends GOAWAY on every connection; open calls go on
/// drain.closed().await;     // waits until every connection has closed
/// drain.cut();              // closes what is still open
/// ```
#[derive(Clone, Debug)]
pub struct Drain(Arc<watch::Sender<Step>>);

/// How far the end of a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Open,
    Started,
    Cut,
}

impl Default for Drain {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Step::Open)))
    }
}

impl Drain {
    /// Stops accepting and sends GOAWAY on every connection. Open calls go on; a connection closes with its last call.
    pub fn start(&self) {
        self.reach(Step::Started);
    }

    /// Closes every connection at once, whatever it does.
    pub fn cut(&self) {
        self.reach(Step::Cut);
    }

    /// Completes when nothing is accepted and no connection is open.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    fn reach(&self, step: Step) {
        self.0.send_if_modified(|now| {
            let later = *now < step;
            *now = step.max(*now);
            later
        });
    }

    pub(super) fn watch(&self) -> Stage {
        Stage { steps: self.0.subscribe(), seen: Step::Open }
    }
}

/// What a connection sees of its port's end. The port is not closed while one of these lives.
#[derive(Debug)]
pub(super) struct Stage {
    steps: watch::Receiver<Step>,
    seen: Step,
}

impl Stage {
    /// Completes with the next step that was not given yet.
    pub(super) async fn next(&mut self) -> Step {
        let seen = self.seen;
        let next = self.steps.wait_for(|now| *now > seen).await.map(|step| *step);
        let Ok(step) = next else {
            // Nobody can drain the port any more: it ends with the process.
            return std::future::pending().await;
        };
        self.seen = step;
        step
    }
}
