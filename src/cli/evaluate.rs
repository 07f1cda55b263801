//! `arom evaluate`: the model against labelled texts.

use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::normalize::written;
use super::progress::Progress;
use super::rows::{Format, Lines};
use super::{open_scorer, wait};
use crate::config::Config;
use crate::model::Label;
use crate::scoring::{Evaluation, Features, Scorer};

/// Measure the model on labelled texts.
///
/// The file holds one JSON object a line with the fields `text` and `label`: positive, neutral, negative or
/// question.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  arom evaluate examples/messages.jsonl\n  \
    arom evaluate --json valid.jsonl | jq .macro_f1")]
pub(super) struct EvaluateArgs {
    /// The labelled texts; "-" is stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &EvaluateArgs, config: &Config) -> Result<()> {
    let rows = read(args)?;
    if rows.is_empty() {
        bail!("{} has no rows", args.file.display());
    }
    let scorer = open_scorer(config, Arc::default())?;
    let progress = Progress::new(Some(rows.len()));
    let answers = wait(async {
        let mut answers = Vec::with_capacity(rows.len());
        let mut scored = pin!(scorer.score_all(rows.iter().map(|(_, text)| (text, Features::default()))));
        while let Some(result) = scored.next().await {
            answers.push(result?.sentiment.probabilities);
            progress.advance(1);
        }
        anyhow::Ok(answers)
    })??;
    let answers: Vec<_> = rows.iter().map(|(label, _)| *label).zip(answers).collect();
    let seconds = progress.finish().as_secs_f64();
    let evaluation = Evaluation::of(&answers);
    let rate =
        if seconds > 0.0 { f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX)) / seconds } else { 0.0 };
    let shown = if args.json {
        as_json(&evaluation, rate, config.scoring.workers, &scorer)?
    } else {
        as_table(&evaluation, rate, config.scoring.workers, &scorer)
    };
    written(io::stdout().lock().write_all(shown.as_bytes())).map(|_| ())
}

fn read(args: &EvaluateArgs) -> Result<Vec<(Label, String)>> {
    let mut lines = Lines::open(Some(&args.file))?;
    let mut rows = Vec::new();
    while let Some(row) = lines.next(Format::Json)? {
        let label = row.object.as_ref().and_then(|object| object.get("label"));
        let known = label.and_then(Value::as_str).and_then(Label::from_name).ok_or_else(|| {
            let wanted = Label::ALL.map(Label::name).join(", ");
            lines.fault(&format!(
                "field `label` is {}; use {wanted}",
                label.map_or("missing".to_owned(), Value::to_string)
            ))
        })?;
        rows.push((known, row.text));
    }
    Ok(rows)
}

fn as_json(evaluation: &Evaluation, rate: f64, workers: usize, scorer: &Scorer) -> Result<String> {
    let mut value = serde_json::to_value(evaluation).context("the figures cannot be written as JSON")?;
    if let (Value::Object(object), Value::Object(more)) = (
        &mut value,
        json!({ "texts_per_second": rate, "workers": workers, "model_fingerprint": scorer.fingerprint() }),
    ) {
        object.extend(more);
    }
    Ok(format!("{value:#}\n"))
}

fn as_table(evaluation: &Evaluation, rate: f64, workers: usize, scorer: &Scorer) -> String {
    let mut out = format!("{}  {} texts\n\n", scorer.fingerprint(), evaluation.rows);
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(format!("micro-F1                    {:.4}", evaluation.micro_f1));
    line(format!("macro-F1                    {:.4}", evaluation.macro_f1));
    line(format!("expected calibration error  {:.4}  (15 bins)", evaluation.expected_calibration_error));
    if let Some(auc) = evaluation.polarity_auc {
        line(format!("polarity AUC                {auc:.4}"));
    }
    line(format!("texts per second            {rate:.0}  ({workers} workers)"));
    line(format!("\n{:<10} {:>9} {:>9} {:>9} {:>9}", "class", "precision", "recall", "F1", "texts"));
    for class in &evaluation.classes {
        let (name, support) = (class.label.name(), class.support);
        line(format!(
            "{name:<10} {:>9.4} {:>9.4} {:>9.4} {support:>9}",
            class.precision, class.recall, class.f1
        ));
    }
    line(format!("\n{:<10} {:>9} {:>9}", "max risk", "answered", "wrong"));
    for point in &evaluation.risk_coverage {
        line(format!("{:<10} {:>9.4} {:>9.4}", point.max_risk, point.coverage, point.error));
    }
    line(format!("area under the risk-coverage curve  {:.4}", evaluation.risk_coverage_area));
    let names = Label::ALL.map(Label::name);
    let columns = |cells: [String; Label::COUNT]| cells.map(|cell| format!(" {cell:>9}")).concat();
    line(format!("\n{:<10}{}", "truth", columns(names.map(str::to_owned))));
    for (name, row) in names.iter().zip(evaluation.confusion) {
        line(format!("{name:<10}{}", columns(row.map(|cell| cell.to_string()))));
    }
    out
}
