//! Behavioural tests of a model.

use std::sync::Arc;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;

use super::{EvaluateArgs, score};
use crate::cli::open_scorer;
use crate::cli::rows::{Lines, file_name};
use crate::cli::terminal::{padded, print, print_json};
use crate::config::Config;
use crate::scoring::{Behaviour, BehaviourTest};

/// How a model did.
#[derive(Serialize)]
struct Outcome {
    model_fingerprint: String,
    #[serde(flatten)]
    behaviour: Behaviour,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Box<Outcome>>,
}

pub(super) fn run(args: &EvaluateArgs, config: &Config) -> Result<()> {
    let tests = read(args)?;
    if tests.is_empty() {
        bail!("{} has no tests", file_name(&args.file));
    }
    let mut outcome = judge(&tests, config)?;
    if let Some(bundle) = &args.against {
        outcome.against = Some(Box::new(judge(&tests, &config.with_bundle(bundle))?));
    }
    let printed = if args.json {
        print_json(&format!("{:#}\n", serde_json::to_value(&outcome)?))
    } else {
        print(&as_table(&outcome))
    };
    printed.map(|_| ())
}

fn judge(tests: &[BehaviourTest], config: &Config) -> Result<Outcome> {
    let scorer = open_scorer(config, Arc::default())?;
    let texts: Vec<&str> = tests
        .iter()
        .flat_map(|test| [Some(&test.text), test.other.as_ref()])
        .flatten()
        .map(String::as_str)
        .collect();
    let (answers, _) = score(&scorer, texts.into_iter())?;
    let mut answers = answers.into_iter().map(|answer| answer.probabilities);
    let judged = tests.iter().filter_map(|test| {
        let text = answers.next()?;
        let other = if test.other.is_some() { answers.next() } else { None };
        Some((test.clone(), text, other))
    });
    let behaviour = Behaviour::of(judged);
    Ok(Outcome { model_fingerprint: scorer.fingerprint().to_owned(), behaviour, against: None })
}

fn read(args: &EvaluateArgs) -> Result<Vec<BehaviourTest>> {
    let mut lines = Lines::open_whole(&args.file)?;
    let mut tests = Vec::new();
    while let Some(object) = lines.object()? {
        let test: BehaviourTest =
            serde_json::from_value(Value::Object(object)).map_err(|error| lines.fault(&error.to_string()))?;
        test.verify().map_err(|problem| lines.fault(problem))?;
        tests.push(test);
    }
    Ok(tests)
}

fn as_table(outcome: &Outcome) -> String {
    let Outcome { model_fingerprint, behaviour, against } = outcome;
    let mut out = format!("{model_fingerprint}  {} tests\n", behaviour.tests);
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    let other = against.as_deref();
    if let Some(other) = other {
        line(format!("against {}", other.model_fingerprint));
    }
    let share = |passed: usize, tests: usize| format!("{passed:>4} of {tests:<4}");
    line(format!(
        "\n{:<20} {:<13} {}",
        "capability",
        "passed",
        if other.is_some() { "the other" } else { "" }
    ));
    let all = |behaviour: &Behaviour| {
        let passed = behaviour.tests - behaviour.failures.len();
        format!("{} {:.3}", share(passed, behaviour.tests).trim(), behaviour.pass_rate)
    };
    for (at, figures) in behaviour.capabilities.iter().enumerate() {
        let other = other.and_then(|other| other.behaviour.capabilities.get(at));
        let other = other.map(|other| share(other.passed, other.tests)).unwrap_or_default();
        line(format!(
            "{} {:<13} {other}",
            padded(&figures.capability, 20),
            share(figures.passed, figures.tests)
        ));
    }
    line(format!("{:<20} {:<13}", "all", all(behaviour)));
    if let Some(other) = other {
        line(format!("{:<20} {:<13}", "all, the other", all(&other.behaviour)));
    }
    if !behaviour.failures.is_empty() {
        line("\nfailed".to_owned());
    }
    for failure in &behaviour.failures {
        let test = &failure.test;
        let expect = serde_json::to_value(test.expect).ok().and_then(|name| name.as_str().map(str::to_owned));
        let expect = expect.unwrap_or_default();
        let answer = match (&test.other, failure.other_score) {
            (Some(other), Some(score)) => {
                format!("{:+.2}  {}  ->  {score:+.2}  {other}", failure.score, test.text)
            }
            _ => format!("{:+.2} {}  {}", failure.score, failure.label.name(), test.text),
        };
        line(format!("{} {expect:<10} {answer}", padded(&test.capability, 20)));
    }
    out
}
