//! `arom score`: texts with their sentiment.

mod json;
mod table;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use futures_util::StreamExt;

use super::normalize::written;
use super::progress::Progress;
use super::rows::{Format, Lines, Row, format_of};
use super::{open_scorer, wait};
use crate::config::Config;
use crate::scoring::{EXPLANATION_INFERENCES, Features};
use json::json_line;
use table::{header, table_lines};

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
