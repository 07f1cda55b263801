//! `arom evaluate`: the model against labelled texts, and in behavioural tests.

mod behaviour;
mod drift;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use futures_util::StreamExt;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value};

use super::progress::Progress;
use super::rows::{Lines, file_name};
use super::terminal::{padded, print, print_json};
use super::{open_scorer, wait};
use crate::config::Config;
use crate::dumps::customary_rating;
use crate::model::{Distributions, Drift, Label, Observation, Probabilities};
use crate::scoring::{Evaluation, Features, McNemar, Scorer, slice_names, slices};

/// Measure the model on labelled texts.
///
/// The file holds one JSON object a line with the fields `text` and `label`: positive, neutral, negative or
/// question. Without labels, stars may stand for them: --stars. Texts are compared with those the model was judged on, too: the
/// population stability index of labels, probabilities, lengths, unknown tokens and scripts says whether they are of another kind.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  arom evaluate examples/messages.jsonl\n  \
    arom evaluate --json valid.jsonl | jq .macro_f1\n  arom evaluate --slices valid.jsonl\n  \
    arom evaluate --against arom-fast valid.jsonl\n  arom evaluate --drift new.jsonl\n  \
    arom score --json --input valid.jsonl | jq 'select(.label != .input.label)'   # which it got wrong\n  \
    arom evaluate --behaviour tests/behaviour/pairs.jsonl\n  \
    arom batch reviews.csv --out reviews.jsonl\n  arom evaluate --stars rating --text review_text reviews.jsonl")]
pub(super) struct EvaluateArgs {
    /// The labelled texts, or the behavioural tests; "-" is stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The field of the texts.
    #[arg(long, value_name = "FIELD", default_value = "text")]
    text: String,
    /// Take stars for labels: 1 and 2 in this field are negative, 4 and 5 positive, the others are left out. Weak labels: people give
    /// stars for other things than their words say.
    #[arg(long, value_name = "FIELD")]
    stars: Option<String>,
    /// Show each kind of text on its own: by channel (field `channel`), length, emoji, 555, elongation, ๆ, particles, negation, code-mixing,
    /// URL and hashtag.
    #[arg(long)]
    slices: bool,
    /// The file holds behavioural tests: one JSON object a line with the fields `capability`, `text`, `expect`, and `other`, the same
    /// text with one thing changed. `expect` says how `other` must score beside `text`: lower or higher (by 0.1 or more), not_lower,
    /// not_higher or same (within 0.1); or, without `other`, the label that `text` must get. What fails is listed.
    #[arg(long, conflicts_with_all = ["stars", "slices", "text"])]
    behaviour: bool,
    /// Only say whether the texts are of another kind than those that the model was judged on; labels are not needed. Each population
    /// stability index below 0.1 is steady, up to 0.25 is worth a look, over that the texts have shifted; it takes 500 texts to say.
    #[arg(long, conflicts_with_all = ["stars", "slices", "behaviour", "against"])]
    drift: bool,
    /// Compare with the model in this folder, or of this name, on the same texts (McNemar's test).
    #[arg(long, value_name = "BUNDLE")]
    against: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A text whose label is known.
struct Labelled {
    label: Label,
    text: String,
    channel: Option<String>,
}

/// What came out.
#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    evaluation: Evaluation,
    /// Texts among them that have nothing but white space; the model answers them with neutral.
    empty: usize,
    /// Rows without such stars as stand for a label.
    left_out: usize,
    texts_per_second: f64,
    workers: usize,
    model_fingerprint: String,
    /// What a bundle keeps as its reference.
    distributions: Distributions,
    /// Beside the reference of the model, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<Drift>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    slices: Vec<Slice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
}

/// A kind of text.
#[derive(Serialize)]
struct Slice {
    name: String,
    rows: usize,
    micro_f1: f64,
    macro_f1: f64,
    expected_calibration_error: f64,
}

/// Another model on the same texts.
#[derive(Serialize)]
struct Against {
    model_fingerprint: String,
    micro_f1: f64,
    macro_f1: f64,
    expected_calibration_error: f64,
    log_loss: f64,
    mcnemar: McNemar,
}

pub(super) fn run(args: &EvaluateArgs, config: &Config) -> Result<()> {
    if args.behaviour {
        return behaviour::run(args, config);
    }
    if args.drift {
        return drift::run(args, config);
    }
    let (rows, left_out) = read(args)?;
    if rows.is_empty() {
        bail!("{} has no rows", file_name(&args.file));
    }
    let texts = || rows.iter().map(|row| row.text.as_str());
    let scorer = open_scorer(config, Arc::default())?;
    let (answers, rate) = score(&scorer, texts())?;
    let distributions = distributions(&answers);
    let drift = scorer.reference().map(|reference| reference.drift(&distributions));
    let answers = probabilities(answers);
    let truths = || rows.iter().map(|row| row.label);
    let against = match &args.against {
        None => None,
        Some(bundle) => {
            let other = open_scorer(&config.with_bundle(bundle), Arc::default())?;
            let others = probabilities(score(&other, texts())?.0);
            let labels = truths().zip(&answers).zip(&others);
            let labels = labels.map(|((truth, first), second)| (truth, first.label(), second.label()));
            let mcnemar = McNemar::of(labels);
            let evaluation = Evaluation::of(&truths().zip(others).collect::<Vec<_>>());
            Some(Against {
                model_fingerprint: other.fingerprint().to_owned(),
                micro_f1: evaluation.micro_f1,
                macro_f1: evaluation.macro_f1,
                expected_calibration_error: evaluation.expected_calibration_error,
                log_loss: evaluation.log_loss,
                mcnemar,
            })
        }
    };
    let answers: Vec<_> = truths().zip(answers).collect();
    let outcome = Outcome {
        evaluation: Evaluation::of(&answers),
        empty: texts().filter(|text| text.trim().is_empty()).count(),
        left_out,
        texts_per_second: rate,
        workers: config.scoring.workers,
        model_fingerprint: scorer.fingerprint().to_owned(),
        distributions,
        drift,
        slices: if args.slices { by_slice(&rows, &answers) } else { Vec::new() },
        against,
    };
    let printed = if args.json {
        print_json(&format!("{:#}\n", serde_json::to_value(&outcome)?))
    } else {
        print(&as_table(&outcome))
    };
    printed.map(|_| ())
}

/// What is kept of a scored text.
struct Answer {
    probabilities: Probabilities,
    observation: Option<Observation>,
}

fn distributions(answers: &[Answer]) -> Distributions {
    let mut distributions = Distributions::default();
    answers.iter().filter_map(|answer| answer.observation).for_each(|text| distributions.count(&text));
    distributions
}

fn probabilities(answers: Vec<Answer>) -> Vec<Probabilities> {
    answers.into_iter().map(|answer| answer.probabilities).collect()
}

/// The answers in the order of the texts, and texts per second.
fn score<'a>(scorer: &Scorer, texts: impl ExactSizeIterator<Item = &'a str>) -> Result<(Vec<Answer>, f64)> {
    let count = texts.len();
    let progress = Progress::new(Some(count));
    let answers = wait(async {
        let mut answers = Vec::with_capacity(count);
        let mut scored = pin!(scorer.score_all(texts.map(|text| (text, Features::default()))));
        while let Some(result) = scored.next().await {
            let scored = result?;
            let observation = scored.observation();
            answers.push(Answer { probabilities: scored.sentiment.probabilities, observation });
            progress.advance(1);
        }
        anyhow::Ok(answers)
    })??;
    let seconds = progress.finish().as_secs_f64();
    let rate =
        if seconds > 0.0 { f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds } else { 0.0 };
    Ok((answers, rate))
}

/// Each kind of text that there is: by length, by marks, by channel.
fn by_slice(rows: &[Labelled], answers: &[(Label, Probabilities)]) -> Vec<Slice> {
    let mut found: IndexMap<String, Vec<(Label, Probabilities)>> =
        slice_names().map(|name| (name.to_owned(), Vec::new())).collect();
    for (row, answer) in rows.iter().zip(answers) {
        for name in slices(&row.text, row.channel.as_deref()) {
            found.entry(name).or_default().push(*answer);
        }
    }
    found.retain(|_, answers| !answers.is_empty());
    let slice = |(name, answers): (String, Vec<_>)| {
        let Evaluation { rows, micro_f1, macro_f1, expected_calibration_error, .. } =
            Evaluation::of(&answers);
        Slice { name, rows, micro_f1, macro_f1, expected_calibration_error }
    };
    found.into_iter().map(slice).collect()
}

/// The labelled rows, and how many were left out.
fn read(args: &EvaluateArgs) -> Result<(Vec<Labelled>, usize)> {
    let mut lines = Lines::open_whole(&args.file)?;
    let mut rows = Vec::new();
    let mut left_out = 0_usize;
    while let Some(mut object) = lines.object()? {
        let text = text(&mut object, args, &lines)?;
        let channel = object.get("channel").and_then(Value::as_str).map(str::to_owned);
        let label = match &args.stars {
            Some(field) => match object.get(field).and_then(stars) {
                Some(1 | 2) => Label::Negative,
                Some(4 | 5) => Label::Positive,
                _ => {
                    left_out += 1;
                    continue;
                }
            },
            None => {
                let label = object.get("label");
                label.and_then(Value::as_str).and_then(Label::from_name).ok_or_else(|| {
                    let wanted = Label::ALL.map(Label::name).join(", ");
                    lines.fault(&format!(
                        "field `label` is {}; use {wanted}",
                        label.map_or("missing".to_owned(), Value::to_string)
                    ))
                })?
            }
        };
        rows.push(Labelled { label, text, channel });
    }
    if let Some(field) = &args.stars
        && rows.is_empty()
        && left_out > 0
    {
        let file = file_name(&args.file);
        bail!("{file}: all {left_out} rows are left out; none has 1, 2, 4 or 5 stars in the field `{field}`");
    }
    Ok((rows, left_out))
}

/// The text of a row.
fn text(object: &mut Map<String, Value>, args: &EvaluateArgs, lines: &Lines) -> Result<String> {
    match object.get_mut(&args.text).map(Value::take) {
        Some(Value::String(text)) => Ok(text),
        // As `arom batch` takes them.
        Some(Value::Null) => Ok(String::new()),
        Some(other @ (Value::Bool(_) | Value::Number(_))) => Ok(other.to_string()),
        None | Some(Value::Array(_) | Value::Object(_)) => {
            Err(lines.fault(&format!("no field `{}` with a text", args.text)))
        }
    }
}

/// Stars as a number or in words.
fn stars(value: &Value) -> Option<u8> {
    match value {
        Value::String(text) => customary_rating(text),
        Value::Number(number) => customary_rating(&number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn drift_table(drift: &Drift) -> String {
    let rows =
        drift.figures().map(|(of, index)| format!("{of:<16} {index:>9.4}  {}\n", drift.verdict(index)));
    format!("population stability index beside the model's validation texts\n{}", rows.concat())
}

fn as_table(outcome: &Outcome) -> String {
    let Outcome { evaluation, empty, left_out, texts_per_second: rate, workers, model_fingerprint, .. } =
        outcome;
    let Outcome { distributions: _, drift, slices, against, .. } = outcome;
    let mut out = format!("{model_fingerprint}  {} texts", evaluation.rows);
    for (rows, what) in [(empty, "of them empty"), (left_out, "rows left out")] {
        if *rows > 0 {
            out.push_str(&format!(", {rows} {what}"));
        }
    }
    out.push_str("\n\n");
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(format!("micro-F1                    {:.4}", evaluation.micro_f1));
    let absent: Vec<_> = evaluation.classes.iter().filter(|class| class.support == 0).collect();
    let absent = absent.iter().map(|class| class.label.name()).collect::<Vec<_>>().join(", ");
    let note = if absent.is_empty() { absent } else { format!("  (no text is labelled {absent})") };
    line(format!("macro-F1                    {:.4}{note}", evaluation.macro_f1));
    line(format!("expected calibration error  {:.4}  (15 bins)", evaluation.expected_calibration_error));
    line(format!("log loss                    {:.4}  (nats)", evaluation.log_loss));
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
    if let Some(drift) = drift {
        line(format!("\n{}", drift_table(drift)));
    }
    if !slices.is_empty() {
        line(format!("\n{:<24} {:>9} {:>9} {:>9} {:>9}", "slice", "texts", "micro-F1", "macro-F1", "ECE"));
    }
    for Slice { name, rows, micro_f1, macro_f1, expected_calibration_error: error } in slices {
        let name = padded(name, 24);
        line(format!("{name} {rows:>9} {micro_f1:>9.4} {macro_f1:>9.4} {error:>9.4}"));
    }
    if let Some(Against {
        model_fingerprint,
        micro_f1,
        macro_f1,
        expected_calibration_error: error,
        log_loss,
        mcnemar,
    }) = against
    {
        line(format!(
            "\nagainst {model_fingerprint}: micro-F1 {micro_f1:.4}, macro-F1 {macro_f1:.4}, ECE {error:.4}, log loss {log_loss:.4}"
        ));
        let McNemar { both_right, first_right, second_right, neither_right, p_value } = mcnemar;
        line(format!(
            "both right {both_right}, only this one {first_right}, only the other {second_right}, neither {neither_right}; McNemar's p {p_value:.4}"
        ));
    }
    out
}
