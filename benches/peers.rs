//! Arom beside what others do with the same weights on the same CPUs in the same run.
//!
//! ```sh
//! make bench-peers
//! ```
//!
//! - The policy of text-embeddings-inference's ONNX backend, done again here: one session with every CPU behind a lock,
//!   first come first served, at most 8 rows a run, padded to the longest. Asked in this process by 64 callers, with
//!   tokenised rows: gRPC and tokenising are left out, which favours it. On three files: the graph as an exporter
//!   leaves it in fp32 and in dynamic int8 (benches/peers/graphs.py makes both from the shipped weights), and the
//!   shipped file itself.
//! - A Python pipeline with `tokenizers` and `onnxruntime`, batches of 1 and 32 (benches/peers/pipeline.py).
//! - `arom serve` in a process of its own, asked over gRPC, without a cache.
//!
//! Then latency at equal load: the open loop of bench-latency at half of what the peer's policy can do with dynamic
//! int8, on both. Needs python3 with pip. Writes target/bench/peers.json.

#![allow(clippy::expect_used, clippy::cast_precision_loss, reason = "a benchmark that panics has failed")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc as threads;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use arom::grpc::v1::StreamAnalyzeSentimentRequest;
use arom::model::{TokenId, Tokenizer, locate_runtime};
use arom::text::normalize;
use futures_util::{StreamExt, stream};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use tokio::sync::oneshot;

use support::{Figure, Server, bundle, median, one, open_loop, quantile, report, request, root, texts};

const CALLERS: usize = 64;
const PEER_ROWS: usize = 8;
const ROUNDS: usize = 5;
const LATENCY_TIME: Duration = Duration::from_secs(20);

type Row = Vec<TokenId>;

fn main() {
    // A quarter of them: the slowest do thirty a second.
    let texts: Vec<String> = texts().into_iter().step_by(4).collect();
    let folder = root().join("target/bench");
    let (plain, packages) = (folder.join("plain"), packages(&folder));
    let shipped = root().join("models/e5-small-wisesight");
    python(&packages, "graphs.py", &[&shipped, &plain]);
    let waiting = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut figures, mut rows) = (Vec::new(), Vec::new());
    let tokenizer = Arc::new(Tokenizer::open(&bundle()).expect("it fits"));
    rows.extend(texts.iter().map(|text| row(&tokenizer, text)));
    let library = locate_runtime(None).expect("the build fetched ONNX Runtime");
    let environment =
        ort::init_from(library).expect("it loads").with_telemetry(false).build().expect("one only");
    let files = [
        ("fp32, as exported", plain.join("plain-fp32.onnx")),
        ("int8, as exported", plain.join("plain-int8.onnx")),
        ("the shipped file", shipped.join("model.onnx")),
    ];
    let mut peers = Vec::new();
    for (name, file) in &files {
        let peer = Peer::start(&environment, file);
        let rate = waiting.block_on(peer_rate(&peer, &rows));
        peers.push((format!("peer's policy, {name}"), rate));
    }

    let server = Server::start(&["--cache-bytes", "0"]);
    let client = waiting.block_on(server.client());
    let (mut streamed, mut single) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        streamed.push(timed(texts.len(), || {
            let item = |text: &String| StreamAnalyzeSentimentRequest {
                request: Some(request(text)),
                in_order: false,
            };
            let items: Vec<_> = texts.iter().map(item).collect();
            waiting.block_on(async {
                let answers = client.clone().stream_analyze_sentiment(stream::iter(items)).await;
                assert_eq!(answers.expect("it opens").into_inner().count().await, texts.len());
            });
        }));
        single.push(timed(texts.len(), || {
            waiting.block_on(stream::iter(&texts).for_each_concurrent(CALLERS, async |text| {
                one(&client, text).await.expect("scored");
            }));
        }));
    }
    let (streamed, single) = (median(&streamed), median(&single));
    for (peer, rate) in &peers {
        for (name, value) in [("arom, gRPC stream", streamed), ("arom, gRPC unary, 64 at once", single)] {
            figures.push(Figure::beside(name, value, "texts/s", (peer, *rate)));
        }
    }

    let lines: Vec<String> =
        texts.iter().map(|text| serde_json::json!({ "text": text }).to_string()).collect();
    let file = folder.join("texts.jsonl");
    fs::write(&file, lines.join("\n")).expect("there is room");
    for (name, model) in &files {
        for batch in ["1", "32"] {
            let tokenizer = shipped.join("tokenizer.json");
            let args = [
                Path::new("--tokenizer"),
                &tokenizer,
                Path::new("--model"),
                model,
                Path::new("--texts"),
                &file,
            ];
            let args = [&args[..], &[Path::new("--batch"), Path::new(batch)]].concat();
            let rate: f64 = python(&packages, "pipeline.py", &args).trim().parse().expect("a number");
            let baseline = format!("Python, {name}, batches of {batch}");
            figures.push(Figure::beside("arom, gRPC stream", streamed, "texts/s", (&baseline, rate)));
        }
    }

    let rate = peers.get(1).map_or(0.0, |(_, rate)| rate / 2.0);
    let peer = Arc::new(Peer::start(&environment, &files[1].1));
    let theirs = waiting.block_on(open_loop(rate, LATENCY_TIME, &texts, |text| {
        let (peer, tokenizer) = (Arc::clone(&peer), Arc::clone(&tokenizer));
        async move {
            peer.score(row(&tokenizer, &text)).await;
            Ok(())
        }
    }));
    let ours = waiting.block_on(open_loop(rate, LATENCY_TIME, &texts, |text| {
        let client = client.clone();
        async move { one(&client, &text).await.map(drop) }
    }));
    assert!(ours.failed.is_empty() && ours.refused.is_empty(), "half of the peer's load is no overload");
    for share in [0.5, 0.99] {
        let baseline = format!("peer's policy, int8, as exported, {rate:.0} texts/s");
        let (ours, theirs) = (quantile(&ours.accepted, share), quantile(&theirs.accepted, share));
        let name = format!("arom at that load, p{:.0}", share * 100.0);
        figures.push(Figure::beside(name, ours, "ms", (&baseline, theirs)));
    }
    report("peers", &figures);
}

fn row(tokenizer: &Tokenizer, text: &str) -> Row {
    let mut tokens = tokenizer.encode(&normalize(text)).expect("any text can be tokenised").0;
    tokens.truncate(254);
    tokenizer.window(&tokens)
}

fn timed(texts: usize, run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    texts as f64 / started.elapsed().as_secs_f64()
}

/// The policy of the peer: a queue in the order of arrival, and a thread that takes up to eight rows of it.
struct Peer {
    queue: Mutex<threads::SyncSender<(Row, oneshot::Sender<[f32; 4]>)>>,
}

impl Peer {
    fn start(environment: &Environment, file: &Path) -> Self {
        let mut session = session(environment, file).expect("it loads");
        let (queue, waiting) = threads::sync_channel::<(Row, oneshot::Sender<[f32; 4]>)>(512);
        thread::spawn(move || {
            while let Ok(first) = waiting.recv() {
                let (rows, replies): (Vec<Row>, Vec<_>) =
                    std::iter::once(first).chain(waiting.try_iter().take(PEER_ROWS - 1)).unzip();
                let logits = run(&mut session, &rows).expect("it runs");
                for (reply, logits) in replies.into_iter().zip(logits) {
                    reply.send(logits).expect("the caller waits");
                }
            }
        });
        Self { queue: Mutex::new(queue) }
    }

    async fn score(&self, row: Row) -> [f32; 4] {
        let (reply, answer) = oneshot::channel();
        self.queue.lock().expect("unpoisoned").send((row, reply)).expect("the thread runs");
        answer.await.expect("it answers")
    }
}

async fn peer_rate(peer: &Peer, rows: &[Row]) -> f64 {
    let started = Instant::now();
    stream::iter(rows.to_vec())
        .for_each_concurrent(CALLERS, async |row| {
            peer.score(row).await;
        })
        .await;
    rows.len() as f64 / started.elapsed().as_secs_f64()
}

fn session(environment: &Environment, file: &Path) -> ort::Result<Session> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_threads(cpus)?
        .commit_from_file(file)
}

fn run(session: &mut Session, rows: &[Row]) -> ort::Result<Vec<[f32; 4]>> {
    let length = rows.iter().map(Vec::len).max().unwrap_or_default();
    let padded =
        |row: &Row, token: TokenId| (0..length).map(|at| row.get(at).copied().unwrap_or(token)).collect();
    let ids: Vec<i64> = rows.iter().flat_map(|row| -> Vec<i64> { padded(row, 1) }).collect();
    let mask: Vec<i64> =
        rows.iter().flat_map(|row| (0..length).map(|at| i64::from(at < row.len()))).collect();
    let shape = [rows.len(), length];
    let outputs = session.run(ort::inputs![
        "input_ids" => TensorRef::from_array_view((shape, &ids[..]))?,
        "attention_mask" => TensorRef::from_array_view((shape, &mask[..]))?,
    ])?;
    let output = outputs.get("logits").ok_or_else(|| ort::Error::new("no output named logits"))?;
    let (_, logits) = output.try_extract_tensor::<f32>()?;
    Ok(logits.as_chunks().0.to_vec())
}

/// The pinned packages of benches/peers, for PYTHONPATH.
fn packages(folder: &Path) -> PathBuf {
    let packages = folder.join("python");
    let wanted = root().join("benches/peers/requirements.txt");
    let marker = packages.join("requirements.txt");
    if fs::read(&marker).ok() != fs::read(&wanted).ok() {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", "--target"];
        let installed = Command::new("python3").args(pip).arg(&packages).arg("-r").arg(&wanted).status();
        assert!(
            installed.expect("python3 is installed").success(),
            "pip could not install {}",
            wanted.display()
        );
        fs::copy(&wanted, &marker).expect("there is room");
    }
    packages
}

fn python(packages: &Path, script: &str, args: &[impl AsRef<Path>]) -> String {
    let output = Command::new("python3")
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(root().join("benches/peers").join(script))
        .args(args.iter().map(AsRef::as_ref))
        .output()
        .expect("python3 is installed");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
