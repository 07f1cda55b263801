//! Scored texts as a table, for people.

use anstyle::{AnsiColor, Style};

use super::super::terminal::shorten;
use super::Row;
use crate::model::Label;
use crate::scoring::{Content, Explanation, ScoreError, Scored, Sentiment};

pub(super) fn header() -> String {
    let bold = Style::new().bold();
    format!("{bold}{:<9} {:>5} {:>6}  text{bold:#}", "label", "sure", "score")
}

/// The text's line, and one below it for each of several clauses.
pub(super) fn table_lines(row: &Row, result: &Result<Scored, ScoreError>, max_risk: f32) -> String {
    let scored = match result {
        Ok(scored) => scored,
        Err(error) => return format!("{:<9} {:>5} {:>6}  {error}", "error", "", ""),
    };
    let note = match scored.content {
        Content::Linguistic => "",
        Content::Empty => "(empty)",
        Content::NonLinguistic => "(no language) ",
    };
    let asks = scored.intent.is_some_and(|intent| intent.question >= 0.5);
    let note = if asks { format!("{note}(asks) ") } else { note.to_owned() };
    let mut lines = table_line(&scored.sentiment, max_risk, &note, &row.text);
    for clause in scored.clauses.iter().filter(|_| scored.clauses.len() > 1) {
        let text = row.text.get(clause.span.clone()).unwrap_or_default();
        lines.push('\n');
        lines.push_str(&table_line(&clause.sentiment, max_risk, "  · ", text));
    }
    for mention in &scored.mentions {
        let said = row.text.get(mention.statement.clone()).unwrap_or_default();
        let sign = if mention.compared { "≠ " } else { "" };
        lines.push('\n');
        let note = format!("  @ {}: {sign}", shorten(&mention.target.id, 40));
        lines.push_str(&table_line(&mention.sentiment, max_risk, &note, said));
    }
    if let Some(explanation) = &scored.explanation {
        lines.push_str("\n    ");
        lines.push_str(&shaded(&row.text, explanation));
    }
    lines
}

/// What is worth a colour, and what a strong one.
const SEEN: (f32, f32) = (0.05, 0.2);

/// The words of a text with what they add to its score.
fn shaded(text: &str, explanation: &Explanation) -> String {
    let words = explanation.contributions.iter().map(|word| {
        let strength = word.contribution.abs();
        let colour = if word.contribution > 0.0 { AnsiColor::Green } else { AnsiColor::Red };
        let style = if strength < SEEN.0 { Style::new() } else { colour.on_default() };
        let style = if strength < SEEN.1 { style } else { style.bold() };
        let style = if word.decisive { style.underline() } else { style };
        let shown = shorten(text.get(word.span.clone()).unwrap_or_default(), usize::MAX);
        format!("{style}{shown}{style:#} {:+.2}", word.contribution)
    });
    words.collect::<Vec<_>>().join("  ")
}

fn table_line(sentiment: &Sentiment, max_risk: f32, note: &str, text: &str) -> String {
    let colour = match sentiment.label {
        Label::Positive => AnsiColor::Green.on_default(),
        Label::Neutral => Style::new().dimmed(),
        Label::Negative => AnsiColor::Red.on_default(),
        Label::Question => AnsiColor::Cyan.on_default(),
    };
    let doubt = if sentiment.probabilities.risk() > max_risk { "?" } else { "" };
    let label = format!("{}{doubt}", sentiment.label.name());
    let sure = sentiment.probabilities.of(sentiment.label) * 100.0;
    format!(
        "{colour}{:<9}{colour:#} {sure:>4.0}% {:>+6.2}  {note}{}",
        label,
        sentiment.score,
        shorten(text, 70)
    )
}
