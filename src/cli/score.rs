//! `arom score`: texts with their sentiment.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use anyhow::{Result, bail};
use clap::Args;
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::{Map, Value};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::normalize::written;
use super::progress::Progress;
use super::rows::{Format, Lines, Row, format_of};
use super::{open_scorer, wait};
use crate::config::Config;
use crate::model::{Label, Probabilities};
use crate::scoring::{
    Content, Contribution, EXPLANATION_INFERENCES, Explanation, Features, Intent, ScoreError, Scored,
    ScoredClause, ScoredMention, Sentiment, TargetKind,
};
use crate::text::{Encoding, Modifiers};

/// Texts that are scored together: enough to keep every worker busy, few enough to answer soon.
const CHUNK: usize = 256;

/// Score texts: a table on a terminal, JSON Lines when piped.
///
/// Texts come from the arguments, a file, or stdin, one a line. A file that ends in .jsonl holds one JSON
/// object a line with the text in its field `text`; its other fields are given back with --json. In the table a
/// label with a question mark is one that is wrong with a higher probability than --max-risk.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  arom score 'อร่อยมากกก' 'รอนานเกินไป ไม่มาอีกแล้ว'\n  \
    arom score --clauses 'อาหารอร่อยแต่รอนาน'\n  arom score --input reviews.txt\n  arom score --json <chat.txt | jq .score\n  \
    zcat dump.jsonl.gz | arom score --format jsonl >scored.jsonl")]
pub(super) struct ScoreArgs {
    /// The texts.
    #[arg(value_name = "TEXT", conflicts_with = "input")]
    texts: Vec<String>,
    /// Read texts from a file; "-" is stdin.
    #[arg(long, short, value_name = "FILE")]
    input: Option<PathBuf>,
    /// What the lines hold [default: jsonl for a file that ends in .jsonl or .ndjson, else text].
    #[arg(long, value_name = "FORMAT", conflicts_with = "texts")]
    format: Option<Format>,
    /// Show the clauses of each text as well, each with its own sentiment; in JSON with offsets in characters.
    #[arg(long)]
    clauses: bool,
    /// Show the brands and aspects that each text speaks of and what it says of each; --catalogue names the brands.
    #[arg(long)]
    targets: bool,
    /// Count what colours each text: stretched words, laughter, emoji, negation, abuse.
    #[arg(long)]
    modifiers: bool,
    /// Say whether each text asks something, and what it feels apart from that; in the table, "asks".
    #[arg(long)]
    intent: bool,
    /// Show what each word adds to the score: green or red by its sign, underlined where it decided the label. About an
    /// inference for each word.
    #[arg(long)]
    explain: bool,
    /// Print JSON Lines, also on a terminal.
    #[arg(long)]
    json: bool,
    /// Print the table, also when piped.
    #[arg(long, conflicts_with = "json")]
    table: bool,
}

pub(super) fn run(args: &ScoreArgs, config: &Config) -> Result<()> {
    let mut source = if args.texts.is_empty() {
        if args.input.is_none() && io::stdin().is_terminal() {
            bail!("no text to score; give texts as arguments, --input FILE, or lines on stdin");
        }
        Source::Lines(Lines::open(args.input.as_deref())?)
    } else {
        Source::Given(args.texts.clone().into_iter())
    };
    let format = args.format.unwrap_or_else(|| format_of(args.input.as_ref()));
    let scorer = open_scorer(config, Arc::default())?;
    let as_table = args.table || (!args.json && io::stdout().is_terminal());
    // Colours only where the terminal has them; JSON goes out as it is.
    let mut out: Box<dyn Write> = if as_table {
        Box::new(anstream::stdout().lock())
    } else {
        Box::new(BufWriter::new(io::stdout().lock()))
    };
    let features = Features {
        clauses: args.clauses,
        targets: args.targets,
        modifiers: args.modifiers,
        intent: args.intent,
        explanation: args.explain.then_some(EXPLANATION_INFERENCES.2),
    };
    let max_risk = config.server.max_risk;
    let progress = Progress::new(None);
    let mut failed = 0;
    if as_table && !written(writeln!(out, "{}", header()))? {
        return Ok(());
    }
    loop {
        // A fault in the input ends the work only after what came before it is answered.
        let (rows, fault) = source.chunk(format);
        if rows.is_empty() && fault.is_none() {
            break;
        }
        let texts = rows.iter().map(|row| (&row.text, features));
        let results = wait(scorer.score_all(texts).collect::<Vec<_>>())?;
        progress.advance(rows.len());
        let printed = progress.suspend(|| -> Result<bool> {
            for (row, result) in rows.into_iter().zip(results) {
                failed += usize::from(result.is_err());
                let line = if as_table {
                    table_lines(&row, &result, max_risk)
                } else {
                    json_line(row, result, scorer.fingerprint(), max_risk)?
                };
                if !written(writeln!(out, "{line}"))? {
                    return Ok(false);
                }
            }
            written(out.flush())
        })?;
        if !printed {
            return Ok(());
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
    }
    progress.finish();
    if failed > 0 {
        bail!("{failed} texts could not be scored");
    }
    Ok(())
}

enum Source {
    Given(std::vec::IntoIter<String>),
    Lines(Lines),
}

impl Source {
    fn chunk(&mut self, format: Format) -> (Vec<Row>, Option<anyhow::Error>) {
        let mut rows = Vec::new();
        while rows.len() < CHUNK && (rows.is_empty() || self.has_next()) {
            match self.next(format) {
                Ok(Some(row)) => rows.push(row),
                Ok(None) => break,
                Err(fault) => return (rows, Some(fault)),
            }
        }
        (rows, None)
    }

    /// Whether asking for more will not wait: what was read is answered before a slow writer goes on.
    fn has_next(&self) -> bool {
        match self {
            Source::Given(_) => true,
            Source::Lines(lines) => lines.has_next(),
        }
    }

    fn next(&mut self, format: Format) -> Result<Option<Row>> {
        match self {
            Source::Given(texts) => Ok(texts.next().map(|text| Row { text, object: None })),
            Source::Lines(lines) => lines.next(format),
        }
    }
}

/// One line of JSON: the text, the input's other fields, and what was found. Nothing in it depends on the clock.
#[derive(Serialize)]
struct JsonLine<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Map<String, Value>>,
    #[serde(flatten)]
    found: Found<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Found<'a> {
    Failed {
        error: String,
    },
    Scored {
        label: &'static str,
        score: f32,
        magnitude: f32,
        mixed: bool,
        entropy: f32,
        abstain: bool,
        probabilities: Shares,
        content: &'static str,
        token_count: usize,
        window_count: usize,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        clauses: Vec<Clause<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        targets: Vec<Spoken<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        modifiers: Option<Modifiers>,
        #[serde(skip_serializing_if = "Option::is_none")]
        intent: Option<Asked>,
        #[serde(skip_serializing_if = "Option::is_none")]
        explanation: Option<Vec<Word<'a>>>,
        model_fingerprint: &'a str,
    },
}

#[derive(Serialize)]
struct Asked {
    question: f32,
    polarity: &'static str,
}

#[derive(Serialize)]
struct Word<'a> {
    #[serde(flatten)]
    part: Part<'a>,
    contribution: f32,
    decisive: bool,
}

/// A brand or aspect that the text speaks of.
#[derive(Serialize)]
struct Spoken<'a> {
    target: String,
    kind: TargetKind,
    #[serde(flatten)]
    named: Part<'a>,
    statement: Part<'a>,
    compared: bool,
    label: &'static str,
    score: f32,
    probabilities: Shares,
}

#[derive(Serialize)]
struct Clause<'a> {
    #[serde(flatten)]
    part: Part<'a>,
    label: &'static str,
    score: f32,
    probabilities: Shares,
}

/// A part of a text, with offsets in characters.
#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
    begin_offset: usize,
    end_offset: usize,
}

impl<'a> Part<'a> {
    fn of(text: &'a str, span: Range<usize>) -> Self {
        let characters = Encoding::Utf32.range(text, span.clone());
        Self {
            text: text.get(span).unwrap_or_default(),
            begin_offset: characters.start,
            end_offset: characters.end,
        }
    }
}

#[derive(Serialize)]
struct Shares {
    positive: f32,
    neutral: f32,
    negative: f32,
    question: f32,
}

impl Shares {
    fn of(probabilities: Probabilities) -> Self {
        let share = |label| probabilities.of(label);
        Self {
            positive: share(Label::Positive),
            neutral: share(Label::Neutral),
            negative: share(Label::Negative),
            question: share(Label::Question),
        }
    }
}

fn json_line(
    row: Row,
    result: Result<Scored, ScoreError>,
    fingerprint: &str,
    max_risk: f32,
) -> Result<String> {
    let mut input = row.object;
    if let Some(fields) = &mut input {
        fields.shift_remove("text");
    }
    let found = match result {
        Err(error) => Found::Failed { error: error.to_string() },
        Ok(Scored {
            sentiment,
            content,
            token_count,
            window_count,
            clauses,
            mentions,
            modifiers,
            intent,
            explanation,
            ..
        }) => Found::Scored {
            label: sentiment.label.name(),
            score: sentiment.score,
            magnitude: sentiment.magnitude,
            mixed: sentiment.mixed,
            entropy: sentiment.probabilities.entropy(),
            abstain: sentiment.probabilities.risk() > max_risk,
            probabilities: Shares::of(sentiment.probabilities),
            content: content_name(content),
            token_count,
            window_count,
            clauses: clauses.into_iter().map(|clause| json_clause(&row.text, clause)).collect(),
            targets: mentions.into_iter().map(|mention| json_mention(&row.text, mention)).collect(),
            modifiers,
            intent: intent.map(|Intent { question, polarity }| Asked { question, polarity: polarity.name() }),
            explanation: explanation.map(|explanation| json_words(&row.text, explanation)),
            model_fingerprint: fingerprint,
        },
    };
    Ok(serde_json::to_string(&JsonLine { text: &row.text, input, found })?)
}

fn json_words(text: &str, explanation: Explanation) -> Vec<Word<'_>> {
    let word = |word: Contribution| Word {
        part: Part::of(text, word.span),
        contribution: word.contribution,
        decisive: word.decisive,
    };
    explanation.contributions.into_iter().map(word).collect()
}

fn json_clause(text: &str, clause: ScoredClause) -> Clause<'_> {
    let ScoredClause { span, sentiment } = clause;
    Clause {
        part: Part::of(text, span),
        label: sentiment.label.name(),
        score: sentiment.score,
        probabilities: Shares::of(sentiment.probabilities),
    }
}

fn json_mention(text: &str, mention: ScoredMention) -> Spoken<'_> {
    let ScoredMention { target, span, statement, sentiment, compared } = mention;
    Spoken {
        target: target.id.clone(),
        kind: target.kind,
        named: Part::of(text, span),
        statement: Part::of(text, statement),
        compared,
        label: sentiment.label.name(),
        score: sentiment.score,
        probabilities: Shares::of(sentiment.probabilities),
    }
}

fn content_name(content: Content) -> &'static str {
    match content {
        Content::Linguistic => "linguistic",
        Content::Empty => "empty",
        Content::NonLinguistic => "non_linguistic",
    }
}

fn header() -> String {
    let bold = Style::new().bold();
    format!("{bold}{:<9} {:>5} {:>6}  text{bold:#}", "label", "sure", "score")
}

/// The text's line, and one below it for each of several clauses.
fn table_lines(row: &Row, result: &Result<Scored, ScoreError>, max_risk: f32) -> String {
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
        let note = format!("  @ {}: {sign}", mention.target.id);
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

/// One line of at most so many columns, cut between grapheme clusters, that tells the terminal nothing.
fn shorten(text: &str, columns: usize) -> String {
    let text: String = text.chars().filter(|ch| ch.is_whitespace() || !ch.is_control()).collect();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.width() <= columns {
        return line;
    }
    let mut kept = String::new();
    for cluster in line.graphemes(true) {
        if kept.width() + cluster.width() + 1 > columns {
            break;
        }
        kept.push_str(cluster);
    }
    kept + "…"
}
