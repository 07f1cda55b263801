//! What the benchmarks share: texts, a server of its own process, tables and the file of figures.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a benchmark that panics has failed, its counts are small, and none uses everything here"
)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{AnalyzeSentimentRequest, AnalyzeSentimentResponse};
use arom::model::{Bundle, Runtime, Session, TokenId};
use arom::scoring::Scorer;
use arom::text::{is_linguistic, normalize};
use serde::Serialize;
use tonic::transport::Channel;

pub type Client = SentimentServiceClient<Channel>;

/// As many texts as wisesight-valid has.
pub const TEXTS: usize = 2404;

/// Padded tokens of a run of [`raw`].
const RAW_BATCH_TOKENS: usize = 512;

/// One line of target/bench/<name>.json.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub baseline: String,
    pub ratio: f64,
}

impl Figure {
    /// A figure beside the one it is measured against.
    pub fn beside(name: impl Into<String>, value: f64, unit: &'static str, baseline: (&str, f64)) -> Self {
        let ratio = value / baseline.1;
        Self { name: name.into(), value, unit, baseline: baseline.0.to_owned(), ratio }
    }

    /// A figure beside a goal or a limit.
    pub fn against(name: impl Into<String>, value: f64, unit: &'static str, goal: f64) -> Self {
        Self::beside(name, value, unit, (&format!("goal {goal} {unit}"), goal))
    }
}

/// Prints the figures as a table and writes them to target/bench/<name>.json.
pub fn report(name: &str, figures: &[Figure]) {
    let width = figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or_default();
    let baselines = figures.iter().map(|figure| figure.baseline.chars().count()).max().unwrap_or_default();
    println!(
        "\n{name}\n{:<width$}  {:>10}  {:<8}  {:>7}  {:<baselines$}",
        "figure", "value", "unit", "ratio", "of"
    );
    for figure in figures {
        let Figure { name, value, unit, baseline, ratio } = figure;
        println!("{name:<width$}  {value:>10.2}  {unit:<8}  {ratio:>7.2}  {baseline:<baselines$}");
    }
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder).expect("the build made target");
    let json = serde_json::to_string_pretty(figures).expect("numbers and names");
    fs::write(folder.join(name).with_extension("json"), json).expect("there is room");
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// wisesight-valid where ../shared/data has it, else the sample messages.
pub fn texts_file() -> PathBuf {
    let shared = root().join("../shared/data/wisesight-valid.jsonl");
    if shared.is_file() { shared } else { root().join("examples/messages.jsonl") }
}

/// [`TEXTS`] texts, repeated if there are fewer.
pub fn texts() -> Vec<String> {
    let lines = fs::read_to_string(texts_file()).expect("readable");
    let texts: Vec<String> = lines
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
            row["text"].as_str().expect("a text").to_owned()
        })
        .collect();
    texts.into_iter().cycle().take(TEXTS).collect()
}

pub fn runtime() -> Runtime {
    Runtime::load(None).expect("the build fetched ONNX Runtime")
}

/// The folder of the model that is measured: as for `arom`, `AROM_MODEL` names another than the default.
#[allow(clippy::disallowed_methods, reason = "the server that is started reads the same variable")]
pub fn shipped() -> PathBuf {
    root().join("models").join(env::var("AROM_MODEL").unwrap_or_else(|_| "arom-base".to_owned()))
}

pub fn bundle() -> Bundle {
    Bundle::read(&shipped()).expect("the shipped bundle is whole")
}

/// The rows of token ids that the scorer gives the model for the texts.
pub fn rows(scorer: &Scorer, texts: &[String]) -> Vec<Vec<TokenId>> {
    let asked = texts.iter().filter(|text| is_linguistic(&normalize(text)));
    asked.flat_map(|text| scorer.rows(text).expect("any text can be tokenised")).collect()
}

/// Inference in a tight loop: rows by length, the longest first, as many a run as [`RAW_BATCH_TOKENS`] hold, a thread for
/// each session.
pub fn raw(sessions: &mut [Session], rows: &[Vec<TokenId>], padding: TokenId) {
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

pub fn request(text: &str) -> AnalyzeSentimentRequest {
    AnalyzeSentimentRequest { text: text.to_owned(), ..AnalyzeSentimentRequest::default() }
}

/// Scores one text and gives the answer.
pub async fn one(client: &Client, text: &str) -> Result<AnalyzeSentimentResponse, tonic::Status> {
    Ok(client.clone().analyze_sentiment(request(text)).await?.into_inner())
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that this share of the values do not exceed.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the values")]
    let index = (share * sorted.len() as f64).ceil() as usize;
    sorted[index.saturating_sub(1).min(sorted.len() - 1)]
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A server in a process of its own, killed when dropped.
pub struct Server {
    child: Child,
    pub address: String,
}

impl Server {
    /// Starts `arom serve` with more arguments and waits until it is ready.
    pub fn start(args: &[&str]) -> Self {
        let mut arom = Command::new(env!("CARGO_BIN_EXE_arom"));
        Self::of(arom.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]).args(args))
    }

    /// Starts a server that logs as `arom serve` does.
    pub fn of(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut address = String::new();
        for line in log.by_ref() {
            let line: serde_json::Value = serde_json::from_str(&line.expect("readable")).expect("JSON");
            if let Some(found) = line["address"].as_str() {
                found.clone_into(&mut address);
            }
            if line["message"] == "ready" {
                break;
            }
        }
        // Whoever does not read a pipe stops who writes into it.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address }
    }

    pub async fn client(&self) -> Client {
        let client = Client::connect(format!("http://{}", self.address)).await.expect("it listens");
        client.max_decoding_message_size(16 << 20)
    }

    /// Memory in RAM now and at most, in MB.
    pub fn memory(&self) -> (f64, f64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let field = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says so");
            line.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number") * 1024.0 / 1e6
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

/// What became of calls that were sent on a clock of their own, whether or not earlier ones had been answered.
#[derive(Debug, Default)]
pub struct OpenLoop {
    /// From when each call was due to its answer, in ms.
    pub accepted: Vec<f64>,
    /// The same for calls that were refused for want of room.
    pub refused: Vec<f64>,
    /// Calls that failed in any other way, or hung.
    pub failed: Vec<String>,
}

/// Sends calls at random moments, `rate` a second on average, for a time. Latency counts from the moment a call was
/// due, so that a generator held up by a slow server hides nothing.
pub async fn open_loop<F>(rate: f64, time: Duration, texts: &[String], call: impl Fn(String) -> F) -> OpenLoop
where
    F: Future<Output = Result<(), tonic::Status>> + Send + 'static,
{
    let started = tokio::time::Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut due = Duration::ZERO;
    for text in texts.iter().cycle() {
        // xorshift64*, and from it the waiting time of a Poisson process.
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        let uniform =
            ((random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        due += Duration::from_secs_f64(-uniform.ln() / rate);
        if due > time {
            break;
        }
        tokio::time::sleep_until(started + due).await;
        let (call, due) = (call(text.clone()), started + due);
        calls.spawn(async move {
            let answer = tokio::time::timeout(Duration::from_secs(20), call).await;
            (answer, milliseconds(due.elapsed()))
        });
    }
    let mut seen = OpenLoop::default();
    while let Some(done) = calls.join_next().await {
        match done.expect("no panic") {
            (Ok(Ok(())), took) => seen.accepted.push(took),
            (Ok(Err(status)), took) if status.code() == tonic::Code::ResourceExhausted => {
                seen.refused.push(took)
            }
            (Ok(Err(status)), _) => seen.failed.push(status.to_string()),
            (Err(_), took) => seen.failed.push(format!("no answer in {took} ms")),
        }
    }
    seen
}
