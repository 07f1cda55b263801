//! Texts per second on each way into the model, each beside the ceiling measured in the same run.
//!
//! ```sh
//! make bench-serving
//! ```
//!
//! The ceiling, `raw`, is ONNX Runtime in a tight loop: texts tokenised beforehand, sorted by length, batches of 512
//! padded tokens, a thread and a session for each CPU. The others score the same texts from the start, without a
//! cache: in this process, and over gRPC from this process to an `arom serve` of its own. Texts are those of
//! wisesight-valid when ../shared/data has them, else the sample messages, over and over. Every way is run five times,
//! turn about, and the median counts. Writes target/bench/serving.json.

#![allow(clippy::expect_used, clippy::cast_precision_loss, reason = "a benchmark that panics has failed")]

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use arom::grpc::v1::batch_analyze_sentiment_result::Outcome;
use arom::grpc::v1::stream_analyze_sentiment_response::Outcome as Streamed;
use arom::grpc::v1::{BatchAnalyzeSentimentRequest, StreamAnalyzeSentimentRequest};
use arom::model::{Model, Session, Tokenizer};
use arom::scoring::{Features, Scorer, ScoringConfig};
use futures_util::{StreamExt, stream};

use support::{Client, Figure, Server, bundle, median, one, raw, report, request, rows, runtime, texts};

const ROUNDS: usize = 5;
const GRPC_BATCH: usize = 128;

fn main() {
    let texts = texts();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (runtime, bundle) = (runtime(), bundle());
    let tokenizer = Tokenizer::open(&bundle).expect("it fits");
    let model = Model::load(&runtime, &bundle).expect("it fits");
    let mut sessions: Vec<Session> = (0..workers).map(|_| model.session().expect("it fits")).collect();
    let config = ScoringConfig { workers, cache_bytes: 0, ..ScoringConfig::default() };
    let scorer = Scorer::open(&bundle, &runtime, &config, Arc::default()).expect("it fits");
    let mut rows = rows(&scorer, &texts);
    rows.sort_by_key(|row| std::cmp::Reverse(row.len()));
    let server = Server::start(&["--cache-bytes", "0", "--max-wait-ms", "5000"]);
    let waiting = tokio::runtime::Runtime::new().expect("a runtime");
    let client = waiting.block_on(server.client());

    let mut measured: Vec<(String, Vec<f64>)> = Vec::new();
    for _ in 0..ROUNDS {
        let mut note = |name: &str, run: &mut dyn FnMut()| {
            let started = Instant::now();
            run();
            let rate = texts.len() as f64 / started.elapsed().as_secs_f64();
            match measured.iter_mut().find(|(known, _)| known == name) {
                Some((_, rates)) => rates.push(rate),
                None => measured.push((name.to_owned(), vec![rate])),
            }
        };
        note("raw", &mut || raw(&mut sessions, &rows, tokenizer.padding()));
        note("scorer", &mut || {
            let scored = waiting.block_on(
                scorer.score_all(texts.iter().map(|text| (text, Features::default()))).collect::<Vec<_>>(),
            );
            assert!(scored.iter().all(Result::is_ok), "every text is scored");
        });
        note("grpc batch of 128", &mut || waiting.block_on(batches(&client, &texts)));
        note("grpc stream", &mut || waiting.block_on(streamed(&client, &texts)));
        for concurrency in [1, 16, 64] {
            let name = format!("grpc unary, {concurrency} at once");
            note(&name, &mut || waiting.block_on(unary(&client, &texts, concurrency)));
        }
    }
    let ceiling = measured.first().map_or(0.0, |(_, rates)| median(rates));
    let figures: Vec<Figure> = measured
        .iter()
        .map(|(name, rates)| Figure::beside(name, median(rates), "texts/s", ("raw", ceiling)))
        .collect();
    println!("{} texts, {workers} workers, median of {ROUNDS}", texts.len());
    report("serving", &figures);
}

/// Two batches at once, so that the server always has the next.
async fn batches(client: &Client, texts: &[String]) {
    let chunks = texts.chunks(GRPC_BATCH).map(|chunk| chunk.iter().map(|text| request(text)).collect());
    at_once(2, chunks, async |requests| {
        let batch = BatchAnalyzeSentimentRequest { requests };
        let answer = client.clone().batch_analyze_sentiment(batch).await.expect("answered").into_inner();
        assert!(answer.results.iter().all(|result| matches!(result.outcome, Some(Outcome::Response(_)))));
    })
    .await;
}

async fn streamed(client: &Client, texts: &[String]) {
    let items: Vec<_> = texts
        .iter()
        .map(|text| StreamAnalyzeSentimentRequest { request: Some(request(text)), in_order: false })
        .collect();
    let answers = client.clone().stream_analyze_sentiment(stream::iter(items)).await.expect("it opens");
    let mut answers = answers.into_inner();
    let mut seen = 0;
    while let Some(answer) = answers.message().await.expect("the stream goes on") {
        assert!(matches!(answer.outcome, Some(Streamed::Response(_))));
        seen += 1;
    }
    assert_eq!(seen, texts.len());
}

async fn unary(client: &Client, texts: &[String], concurrency: usize) {
    at_once(concurrency, texts.iter(), async |text| {
        one(client, text).await.expect("scored");
    })
    .await;
}

/// Runs `work` on every item, so many at a time.
async fn at_once<T>(concurrency: usize, items: impl Iterator<Item = T>, work: impl AsyncFn(T)) {
    stream::iter(items).for_each_concurrent(concurrency, |item| work(item)).await;
}
