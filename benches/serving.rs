//! Texts per second on each way into the model, each beside the ceiling measured in the same run.
//!
//! ```sh
//! make bench-serving
//! ```
//!
//! The ceiling, `raw`, is ONNX Runtime in a tight loop: texts tokenised beforehand, sorted by length, batches of 512
//! padded tokens, a thread and a session for each CPU. The others score the same texts from the start: in this
//! process, and over gRPC from this process to an `arom serve` of its own. Texts are those of wisesight-valid when
//! ../shared/data has them, else the sample messages, over and over. Every way is run three times, turn about, and
//! the median counts. Writes target/bench/serving.json.

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a benchmark that panics has failed, and its counts are small"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use arom::grpc::v1::batch_analyze_sentiment_result::Outcome;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{AnalyzeSentimentRequest, BatchAnalyzeSentimentRequest};
use arom::model::{Bundle, Model, Runtime, Session, TokenId, Tokenizer};
use arom::scoring::{Scorer, ScoringConfig};
use arom::text::normalize;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tonic::transport::Channel;

const TEXTS: usize = 2404;
const ROUNDS: usize = 3;
const RAW_BATCH_TOKENS: usize = 512;
const GRPC_BATCH: usize = 128;

type Client = SentimentServiceClient<Channel>;

#[derive(Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    baseline: &'static str,
    ratio: f64,
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = texts(root);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let runtime = Runtime::load(None).expect("the build fetched ONNX Runtime");
    let bundle = Bundle::read(&root.join("models/e5-small-wisesight")).expect("the shipped bundle is whole");
    let tokenizer = Tokenizer::open(&bundle).expect("it fits");
    let rows = rows(&tokenizer, &texts, bundle.manifest.max_tokens);
    let model = Model::load(&runtime, &bundle).expect("it fits");
    let mut sessions: Vec<Session> = (0..workers).map(|_| model.session().expect("it fits")).collect();
    let config = ScoringConfig { workers, cache_bytes: 0, ..ScoringConfig::default() };
    let scorer = Scorer::open(&bundle, &runtime, &config, Arc::default()).expect("it fits");
    let server = Server::start();
    let waiting = tokio::runtime::Runtime::new().expect("a runtime");
    let client = waiting
        .block_on(Client::connect(format!("http://{}", server.address)))
        .expect("it listens")
        .max_decoding_message_size(16 << 20);

    let mut measured: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut order = Vec::new();
    for _ in 0..ROUNDS {
        let mut note = |name: &str, run: &mut dyn FnMut()| {
            let started = Instant::now();
            run();
            let rate = texts.len() as f64 / started.elapsed().as_secs_f64();
            if !measured.contains_key(name) {
                order.push(name.to_owned());
            }
            measured.entry(name.to_owned()).or_default().push(rate);
        };
        note("raw", &mut || raw(&mut sessions, &rows, tokenizer.padding()));
        note("scorer", &mut || {
            let scored = waiting.block_on(scorer.score_all(&texts).collect::<Vec<_>>());
            assert!(scored.iter().all(Result::is_ok), "every text is scored");
        });
        note("grpc batch", &mut || waiting.block_on(batches(&client, &texts)));
        for concurrency in [1, 16, 64] {
            let name = format!("grpc unary, {concurrency} at once");
            note(&name, &mut || waiting.block_on(unary(&client, &texts, concurrency)));
        }
    }
    let medians: Vec<(String, f64)> =
        order.into_iter().map(|name| (name.clone(), median(&measured[&name]))).collect();
    let ceiling = medians[0].1;
    println!("{} texts, {workers} workers, median of {ROUNDS}\n", texts.len());
    println!("{:<24} {:>12} {:>8}", "way", "texts/s", "of raw");
    for (name, rate) in &medians {
        println!("{name:<24} {rate:>12.0} {:>8.2}", rate / ceiling);
    }
    let figures: Vec<Figure> = medians
        .into_iter()
        .map(|(name, value)| Figure { name, value, unit: "texts/s", baseline: "raw", ratio: value / ceiling })
        .collect();
    let folder = root.join("target/bench");
    fs::create_dir_all(&folder).expect("the build made target");
    let json = serde_json::to_string_pretty(&figures).expect("numbers and names");
    fs::write(folder.join("serving.json"), json).expect("there is room");
}

fn texts(root: &Path) -> Vec<String> {
    let shared = root.join("../shared/data/wisesight-valid.jsonl");
    let file = if shared.is_file() { shared } else { root.join("examples/messages.jsonl") };
    let lines = fs::read_to_string(file).expect("readable");
    let texts: Vec<String> = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["text"]
                .as_str()
                .expect("a text")
                .to_owned()
        })
        .collect();
    texts.into_iter().cycle().take(TEXTS).collect()
}

/// The texts' rows of token ids, by length; of a text of several windows, the first.
fn rows(tokenizer: &Tokenizer, texts: &[String], max_tokens: usize) -> Vec<Vec<TokenId>> {
    let mut rows: Vec<Vec<TokenId>> = texts
        .iter()
        .map(|text| {
            let mut tokens = tokenizer.encode(&normalize(text)).expect("any text can be tokenised").0;
            tokens.truncate(max_tokens - 2);
            tokenizer.window(&tokens)
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.len()));
    rows
}

fn raw(sessions: &mut [Session], rows: &[Vec<TokenId>], padding: TokenId) {
    let mut batches = Vec::new();
    let mut rest = rows;
    while let Some(longest) = rest.first().map(Vec::len) {
        let (batch, after) = rest.split_at((RAW_BATCH_TOKENS / longest).clamp(1, rest.len()));
        batches.push(batch);
        rest = after;
    }
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for session in sessions {
            scope.spawn(|| {
                while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    session.run(batch, padding).expect("it runs");
                }
            });
        }
    });
}

fn request(text: &str) -> AnalyzeSentimentRequest {
    AnalyzeSentimentRequest { text: text.to_owned(), ..AnalyzeSentimentRequest::default() }
}

/// Two batches at once, so that the server always has the next.
async fn batches(client: &Client, texts: &[String]) {
    let chunks: Vec<Vec<AnalyzeSentimentRequest>> =
        texts.chunks(GRPC_BATCH).map(|chunk| chunk.iter().map(|text| request(text)).collect()).collect();
    at_once(2, chunks, async |requests| {
        let batch = BatchAnalyzeSentimentRequest { requests };
        let answer = client.clone().batch_analyze_sentiment(batch).await.expect("answered").into_inner();
        assert!(answer.results.iter().all(|result| matches!(result.outcome, Some(Outcome::Response(_)))));
    })
    .await;
}

async fn unary(client: &Client, texts: &[String], concurrency: usize) {
    let requests = texts.iter().map(|text| request(text)).collect();
    at_once(concurrency, requests, async |request| {
        client.clone().analyze_sentiment(request).await.expect("scored");
    })
    .await;
}

/// Runs `work` on every item, so many at a time.
async fn at_once<T>(concurrency: usize, items: Vec<T>, work: impl AsyncFn(T)) {
    stream::iter(items).for_each_concurrent(concurrency, |item| work(item)).await;
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// An `arom serve` of its own process.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_arom"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--cache-bytes", "0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let mut address = String::new();
        for line in log.lines() {
            let line: serde_json::Value = serde_json::from_str(&line.expect("readable")).expect("JSON");
            if let Some(found) = line["address"].as_str() {
                found.clone_into(&mut address);
            }
            if line["message"] == "ready" {
                break;
            }
        }
        Self { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}
