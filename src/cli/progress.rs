//! A progress bar for work that takes longer than two seconds.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

const PATIENCE: Duration = Duration::from_secs(2);

/// Counts; shows itself on stderr once the work has taken two seconds, if that is a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// Counts texts; `total` is unknown for a stream.
    pub(super) fn new(total: Option<usize>) -> Self {
        Self::of(total, "texts")
    }

    /// Counts something else.
    pub(super) fn of(total: Option<usize>, what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(
            total.and_then(|n| u64::try_from(n).ok()),
            ProgressDrawTarget::hidden(),
        );
        let template = if total.is_some() {
            format!("{{bar:30}} {{human_pos}}/{{human_len}} {what}  {{per_sec}}  {{eta}} left")
        } else {
            format!("{{spinner}} {{human_pos}} {what}  {{per_sec}}")
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self { bar, started: Instant::now() }
    }

    pub(super) fn advance(&self, more: usize) {
        if self.bar.is_hidden() && self.started.elapsed() > PATIENCE && io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(u64::try_from(more).unwrap_or(0));
    }

    /// Runs `print` with the bar out of the way.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    pub(super) fn finish(self) -> Duration {
        self.bar.finish_and_clear();
        self.started.elapsed()
    }
}

/// A number with its thousands told apart.
pub(super) fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}
