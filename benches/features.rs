//! What each feature costs beside plain scoring.
//!
//! ```sh
//! make bench-features
//! ```
//!
//! The scorer in this process, one worker for each CPU, no cache; every eighth text of bench-serving. Writes
//! target/bench/features.json.

#![allow(clippy::expect_used, clippy::cast_precision_loss, reason = "a benchmark that panics has failed")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arom::scoring::{EXPLANATION_INFERENCES, Features, Scorer, ScoringConfig};
use arom::telemetry::Metrics;
use futures_util::StreamExt;

use support::{Figure, bundle, median, report, runtime, texts};

const ROUNDS: usize = 3;

fn main() {
    let texts: Vec<String> = texts().into_iter().step_by(8).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let config = ScoringConfig {
        workers,
        cache_bytes: 0,
        max_wait: Duration::from_secs(600),
        ..ScoringConfig::default()
    };
    let metrics = Arc::<Metrics>::default();
    let scorer = Scorer::open(&bundle(), &runtime(), &config, Arc::clone(&metrics)).expect("it fits");
    let waiting = tokio::runtime::Runtime::new().expect("a runtime");
    let plain = Features::default();
    let asked = [
        ("plain", plain),
        ("modifiers", Features { modifiers: true, ..plain }),
        ("clauses", Features { clauses: true, ..plain }),
        ("targets", Features { targets: true, ..plain }),
        ("clauses and targets", Features { clauses: true, targets: true, ..plain }),
        ("explanation", Features { explanation: Some(EXPLANATION_INFERENCES.2), ..plain }),
    ];
    let measured = asked.map(|(name, features)| {
        let (mut rates, mut inferences) = (Vec::new(), 0.0);
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let scored = scorer.score_all(texts.iter().map(|text| (text, features)));
            let before = inferred(&metrics);
            waiting.block_on(scored.for_each(async |scored| drop(scored.expect("scored"))));
            inferences = inferred(&metrics) - before;
            rates.push(started.elapsed().as_secs_f64() * 1e3 / texts.len() as f64);
        }
        (name, median(&rates), inferences / texts.len() as f64)
    });
    let mut figures = Vec::new();
    let [(_, base, base_inferences), ..] = measured;
    for (name, took, inferences) in measured {
        figures.push(Figure::beside(name, took, "ms/text", ("plain", base)));
        let name = format!("{name}: inferences");
        figures.push(Figure::beside(name, inferences, "per text", ("plain", base_inferences)));
    }
    report("features", &figures);
}

/// Rows that the model has been run on.
fn inferred(metrics: &Metrics) -> f64 {
    let text = metrics.render();
    let sum = text.lines().find_map(|line| line.strip_prefix("arom_batch_rows_sum "));
    sum.and_then(|sum| sum.parse().ok()).expect("the metric is there")
}
