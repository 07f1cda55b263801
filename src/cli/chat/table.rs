//! Conversations on a terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::tz::{Offset, offset};

use super::super::terminal::{padded, shorten};
use super::{Chat, Row};
use crate::conversation::{Basis, RoleTrajectory, TurningPoint, spoken};
use crate::visible::visible;

/// Where the times of the table are told.
const BANGKOK: Offset = offset(7);

/// Half of a bar's width.
const HALF: usize = 6;

/// Columns of a curve.
const CURVE: usize = 60;

/// Columns of a message.
const TEXT: usize = 70;

/// A score that has a colour.
const SEEN: f64 = 0.1;

/// One conversation message by message, with its curves and figures.
pub(super) fn conversation(out: &mut impl Write, chat: &Chat) -> io::Result<()> {
    let (bold, faint) = (Style::new().bold(), Style::new().dimmed());
    let turns: Vec<&TurningPoint> =
        chat.trajectory().roles.iter().flat_map(|role| &role.turning_points).collect();
    let mut day = None;
    for (at, row) in chat.rows().enumerate() {
        let time = row.message.time.map(|time| BANGKOK.to_datetime(time));
        if let Some(date) = time.map(|time| time.date()).filter(|date| day != Some(*date)) {
            writeln!(out, "{bold}{}{bold:#}", date.strftime("%a %-d %b %Y"))?;
            day = Some(date);
        }
        let time = time.map_or_else(String::new, |time| time.strftime("%H:%M").to_string());
        let speaker = padded(chat.speaker(&row), 10);
        let text = shorten(&chat.shown(row.message), TEXT);
        let turn = turns.iter().find(|turn| turn.message == at);
        let turn = turn.map(|turn| format!("  ◆ turns from {:+.2} to {:+.2}", turn.from, turn.to));
        let cues: Vec<&str> = row.heard.cues.iter().map(|cue| cue.name()).collect();
        let cues = if cues.is_empty() { String::new() } else { format!("  ⚑ {}", cues.join(", ")) };
        writeln!(
            out,
            "{faint}{:>4} {time:<5}{faint:#} {speaker} {} {text}{bold}{}{cues}{bold:#}",
            at + 1,
            bar(&row),
            turn.unwrap_or_default()
        )?;
    }
    writeln!(out)?;
    for role in &chat.trajectory().roles {
        let curve = sparkline(role);
        writeln!(out, "{:<9} {curve} {:+.2} → {:+.2}", role.role.name(), role.opening, role.closing)?;
    }
    writeln!(out, "\n{bold}{}{bold:#}", chat.trajectory().summary())?;
    for role in &chat.trajectory().roles {
        let RoleTrajectory { message_count, scored_count, positive_count, negative_count, .. } = role;
        let neither = scored_count - positive_count - negative_count;
        writeln!(
            out,
            "{}: {message_count} messages, {scored_count} with a score: {positive_count} positive, {neither} neither, \
             {negative_count} negative; mean {:+.2}",
            role.role.name(),
            role.mean
        )?;
    }
    if let Some(waits) = &chat.trajectory().waits {
        let said = |score: Option<f64>| score.map_or("nothing".to_owned(), |score| format!("{score:+.2}"));
        writeln!(
            out,
            "waits: {}, median {}, longest {} until #{}; {} of 10 min or more, after which the customer said {} \
             (after the others {})",
            waits.count,
            spoken(waits.median),
            spoken(waits.longest),
            waits.longest_until + 1,
            waits.long_count,
            said(waits.after_long),
            said(waits.after_others)
        )?;
    }
    let transcript = &chat.transcript;
    writeln!(out, "{faint}read as {}, {}{faint:#}", transcript.format.name(), transcript.charset.name())?;
    for note in chat.notes() {
        writeln!(out, "{faint}{}{faint:#}", visible(&note))?;
    }
    Ok(())
}

fn colour(score: f64) -> Style {
    if score >= SEEN {
        AnsiColor::Green.on_default()
    } else if score <= -SEEN {
        AnsiColor::Red.on_default()
    } else {
        Style::new().dimmed()
    }
}

/// The score as a bar to the left of the middle or to the right, and as a number; `~` marks one that was heard with
/// what it answers.
fn bar(row: &Row<'_>) -> String {
    let Some(sentiment) = &row.heard.sentiment else { return " ".repeat(2 * HALF + 8) };
    let score = f64::from(sentiment.score);
    let filled = "█".repeat(steps(score.abs(), HALF));
    let (left, right) = if score < 0.0 { (filled.as_str(), "") } else { ("", filled.as_str()) };
    let sign = match row.heard.basis {
        Basis::TextInContext => "~",
        Basis::UnknownSticker => "?",
        Basis::Text | Basis::Keywords | Basis::Nothing => " ",
    };
    let style = colour(score);
    format!("{style}{left:>HALF$}│{right:<HALF$}{score:>+6.2}{style:#}{sign}")
}

/// How many of `most` steps a share in [0, 1] is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a few steps")]
#[expect(clippy::cast_precision_loss, reason = "a few steps")]
fn steps(share: f64, most: usize) -> usize {
    (share.clamp(0.0, 1.0) * most as f64).round() as usize
}

/// The curve of a role in so many columns at most, each the mean of its share of the curve.
fn sparkline(role: &RoleTrajectory) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let share = role.curve.len().div_ceil(CURVE).max(1);
    let mut line = String::new();
    for points in role.curve.chunks(share) {
        let scores: Vec<f64> = points.iter().map(|(_, score)| *score).collect();
        let score = crate::conversation::mean(&scores);
        let level = LEVELS.get(steps((score + 1.0) / 2.0, LEVELS.len() - 1)).copied().unwrap_or('▄');
        let style = colour(score);
        line.push_str(&format!("{style}{level}{style:#}"));
    }
    line
}

/// What the table of several conversations says of one.
pub(super) struct Summary {
    name: String,
    messages: usize,
    unresolved: bool,
    opening: Option<f64>,
    closing: Option<f64>,
    turns: usize,
    run: usize,
    longest: Option<std::time::Duration>,
    cues: usize,
    skipped: usize,
}

impl Summary {
    pub(super) fn of(chat: &Chat) -> Self {
        let customer = chat.trajectory().customer();
        Self {
            name: chat.disguise.text(&chat.name),
            messages: chat.transcript.messages.len(),
            unresolved: chat.trajectory().unresolved_negative,
            opening: customer.map(|customer| customer.opening),
            closing: customer.map(|customer| customer.closing),
            turns: customer.map_or(0, |customer| customer.turning_points.len()),
            run: customer.map_or(0, |customer| customer.longest_negative_run.0),
            longest: chat.trajectory().waits.as_ref().map(|waits| waits.longest),
            cues: chat.analysis.heard.iter().map(|heard| heard.cues.len()).sum(),
            skipped: chat.transcript.skipped.len(),
        }
    }
}

/// Several conversations, the worst end first.
pub(super) fn overview(out: &mut impl Write, mut rows: Vec<Summary>) -> io::Result<()> {
    let bold = Style::new().bold();
    let end = |row: &Summary| (!row.unresolved, row.closing.unwrap_or(0.0));
    rows.sort_by(|left, right| {
        let ((left_ok, left), (right_ok, right)) = (end(left), end(right));
        left_ok.cmp(&right_ok).then(left.total_cmp(&right))
    });
    writeln!(
        out,
        "{bold}{:<10} {:>7} {:>7} {:>6} {:>5} {:>8} {:>4} {:>9} {:>8}  conversation{bold:#}",
        "", "closing", "opening", "shift", "turns", "negative", "cues", "wait", "messages"
    )?;
    let number = |score: Option<f64>| score.map_or_else(String::new, |score| format!("{score:+.2}"));
    for row in rows {
        let style = row.closing.map_or(Style::new().dimmed(), colour);
        let end = if row.unresolved { "unresolved" } else { "" };
        let shift = row.opening.zip(row.closing).map(|(opening, closing)| closing - opening);
        let note = if row.skipped > 0 { format!(" ({} lines left out)", row.skipped) } else { String::new() };
        writeln!(
            out,
            "{style}{end:<10} {:>7}{style:#} {:>7} {:>6} {:>5} {:>8} {:>4} {:>9} {:>8}  {}{note}",
            number(row.closing),
            number(row.opening),
            number(shift),
            row.turns,
            row.run,
            row.cues,
            row.longest.map_or_else(String::new, spoken),
            row.messages,
            visible(&row.name),
        )?;
    }
    Ok(())
}
