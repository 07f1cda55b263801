//! What a person sees of a run: a bar on a terminal, elsewhere a line now and then; and a line at its end.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::BatchArgs;
use super::checkpoint::Reached;
use super::files::Files;
use super::steps::Input;
use super::writer::Progress;
use crate::cli::progress::grouped;
use crate::dumps::Reading;

/// How far a run is.
#[derive(Debug)]
pub(super) struct Show {
    bar: ProgressBar,
    pub(super) reading: Reading,
    progress: Arc<Progress>,
    bytes: u64,
    before: u64,
    started: Instant,
    told: Instant,
    as_lines: bool,
}

/// Between two lines.
const TELL_EVERY: Duration = Duration::from_secs(10);

impl Show {
    pub(super) fn new(quiet: bool, inputs: &[Input], progress: &Arc<Progress>, before: Reached) -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(
            Some(1000),
            if terminal && !quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() },
        );
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        progress.read.store(before.read, Ordering::Relaxed);
        progress.rejected.store(before.counts.rejected, Ordering::Relaxed);
        Self {
            bar,
            reading: Reading::default(),
            progress: Arc::clone(progress),
            bytes: inputs.iter().map(|input| input.source.bytes).sum(),
            before: before.read,
            started: Instant::now(),
            told: Instant::now(),
            as_lines: !terminal && !quiet,
        }
    }

    pub(super) fn tick(&mut self) {
        let read = self.progress.read.load(Ordering::Relaxed);
        let (share, message) = self.state(read);
        self.bar.set_position(share);
        self.bar.set_message(message.clone());
        if self.as_lines && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            anstream::eprintln!("{:>3} %  {message}", share / 10);
        }
    }

    /// Thousandths that are done, and a line for people.
    fn state(&self, read: u64) -> (u64, String) {
        // Rows are read ahead of those that are done; the bytes behind them say how many there are in all.
        let bytes = self.reading.bytes.load(Ordering::Relaxed).min(self.bytes);
        let ahead = u128::from(self.reading.rows.load(Ordering::Relaxed));
        let all = ahead * u128::from(self.bytes);
        let share = (u128::from(read) * 1000 * u128::from(bytes)).checked_div(all).unwrap_or(0);
        let share = u64::try_from(share).unwrap_or(1000).min(1000);
        let before = u128::from(self.before) * 1000 * u128::from(bytes);
        let before = u64::try_from(before.checked_div(all).unwrap_or(0)).unwrap_or(0);
        let rate = rate(read - self.before, self.started.elapsed());
        let seconds = self.started.elapsed().as_secs();
        let left = seconds.saturating_mul(1000 - share).checked_div(share.saturating_sub(before));
        let left = left.map_or("?".to_owned(), |left| HumanDuration(Duration::from_secs(left)).to_string());
        let hits = self.progress.cache_hits.load(Ordering::Relaxed);
        let rejected = self.progress.rejected.load(Ordering::Relaxed);
        let message = format!(
            "{} rows, {} a second, {} seen before, {} refused, {left} left",
            grouped(read),
            grouped(rate),
            grouped(hits),
            grouped(rejected)
        );
        (share, message)
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A run that is whole, in a line.
pub(super) fn summary(
    args: &BatchArgs,
    files: &Files,
    before: Reached,
    reached: Reached,
    progress: &Progress,
    took: Duration,
) -> String {
    let counts = reached.counts;
    let rows = counts.rows - before.counts.rows;
    let rate = rate(reached.read - before.read, took);
    let hits = progress.cache_hits.load(Ordering::Relaxed);
    let mut line = format!(
        "{}: {} rows in {:.1} s, {} a second, {} of them seen before",
        files.out.display(),
        grouped(counts.rows),
        took.as_secs_f64(),
        grouped(rate),
        grouped(hits),
    );
    if before.read > 0 {
        line.push_str(&format!("; {} of the rows in this run", grouped(rows)));
    }
    if args.record.is_some() {
        line.push_str(&format!(
            "; {} recorded, {} known already, {} not recorded",
            grouped(counts.recorded),
            grouped(counts.known),
            grouped(counts.unrecorded)
        ));
    }
    if counts.damaged > 0 {
        line.push_str(&format!(
            "; {} have letters that could not be read (\u{FFFD})",
            grouped(counts.damaged)
        ));
    }
    if counts.rejected > 0 {
        line.push_str(&format!("; {} refused: {}", grouped(counts.rejected), files.rejects.display()));
    }
    line
}

/// In a second.
fn rate(rows: u64, took: Duration) -> u64 {
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    rows.saturating_mul(1000) / milliseconds
}
