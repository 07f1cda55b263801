//! `arom evaluate --drift`: whether texts are of another kind than those that the model was judged on. Needs no labels.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::{EvaluateArgs, distributions, drift_table, score, text};
use crate::cli::open_scorer;
use crate::cli::rows::{Lines, file_name};
use crate::cli::terminal::{print, print_json};
use crate::config::Config;
use crate::model::{Distributions, Drift};

/// What came out.
#[derive(Serialize)]
struct Outcome {
    model_fingerprint: String,
    distributions: Distributions,
    drift: Drift,
}

pub(super) fn run(args: &EvaluateArgs, config: &Config) -> Result<()> {
    let mut lines = Lines::open_whole(&args.file)?;
    let mut texts = Vec::new();
    while let Some(mut object) = lines.object()? {
        texts.push(text(&mut object, args, &lines)?);
    }
    if texts.is_empty() {
        bail!("{} has no rows", file_name(&args.file));
    }
    let scorer = open_scorer(config, Arc::default())?;
    let reference = scorer.reference().with_context(|| {
        format!(
            "{} has no [reference] in its manifest to compare with: models/training/bundle.py writes one",
            scorer.fingerprint()
        )
    })?;
    let (answers, _) = score(&scorer, texts.iter().map(String::as_str))?;
    let distributions = distributions(&answers);
    let drift = reference.drift(&distributions);
    let outcome = Outcome { model_fingerprint: scorer.fingerprint().to_owned(), distributions, drift };
    let printed = if args.json {
        print_json(&format!("{:#}\n", serde_json::to_value(&outcome)?))
    } else {
        print(&format!(
            "{}  {} texts\n\n{}",
            outcome.model_fingerprint,
            texts.len(),
            drift_table(&outcome.drift)
        ))
    };
    printed.map(|_| ())
}
