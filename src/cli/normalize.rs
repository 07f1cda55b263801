//! `arom normalize`: texts as the model sees them.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use super::rows::{Format, Lines};
use crate::text::normalize;
use crate::visible::{visible, visible_json};

/// Repair and mask texts as the model sees them, from stdin to stdout, a line for each line.
///
/// The training pipeline reads its data through this command, so that training and serving cannot differ.
/// White space inside a text becomes one space, but a line break stays: with --json it is written as \n.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  echo 'เเพงมากกกกก https://example.com/a' | arom normalize\n  \
    arom normalize --json <reviews.jsonl >normalized.jsonl")]
pub(super) struct NormalizeArgs {
    /// Read and write JSON Lines: the field `text` is normalised, the others stay.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &NormalizeArgs) -> Result<()> {
    let format = if args.json { Format::Json } else { Format::Text };
    let mut lines = Lines::open(None)?;
    let is_terminal = io::stdout().is_terminal();
    let mut out = BufWriter::new(io::stdout().lock());
    while let Some(row) = lines.next(format)? {
        let text = normalize(&row.text).as_str().to_owned();
        let line = match row.object {
            Some(mut object) => {
                object.insert("text".to_owned(), Value::String(text));
                visible_json(&Value::Object(object).to_string()).into_owned()
            }
            // What else breaks a line in Unicode would break this one.
            None if is_terminal => visible(&text.replace('\n', " ")).into_owned(),
            None => text.replace('\n', " "),
        };
        if !written(writeln!(out, "{line}"))? {
            return Ok(());
        }
    }
    written(out.flush()).map(|_| ())
}

/// Whether anyone still reads: a pipe that was closed, as by `head`, ends the work without an error.
pub(super) fn written(result: io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to stdout"),
    }
}
