//! Arom beside what others do with the same weights on the same CPUs in the same run.
//!
//! ```sh
//! make bench-peers
//! ```
//!
//! - The policy of text-embeddings-inference's ONNX backend, done again here: one session with every CPU behind a lock,
//!   first come first served, at most 8 rows a run, padded to the longest. Behind the same gRPC service as Arom, in a
//!   process of its own. On three files: the graph as an exporter leaves it in fp32 and in dynamic int8
//!   (benches/peers/graphs.py makes both from the shipped weights), and the shipped file itself.
//! - A Python pipeline with `tokenizers` and `onnxruntime`, batches of 1 and 32 (benches/peers/pipeline.py).
//! - `arom serve`, without a cache.
//!
//! Each server is asked in turn, in rounds, by the same client. Then latency at equal load: the open loop of
//! bench-latency at half of what the peer's policy can do with dynamic int8, on both. Needs python3 with pip. Writes
//! target/bench/peers.json.

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a benchmark that panics has failed"
)]

mod support;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc as threads};
use std::thread;
use std::time::{Duration, Instant};

use arom::grpc::v1::sentiment_service_server::{SentimentService, SentimentServiceServer};
use arom::grpc::v1::stream_analyze_sentiment_response::Outcome;
use arom::grpc::v1::{
    AnalyzeSentimentRequest, AnalyzeSentimentResponse, BatchAnalyzeSentimentRequest,
    BatchAnalyzeSentimentResponse, Sentiment, StreamAnalyzeSentimentRequest, StreamAnalyzeSentimentResponse,
};
use arom::model::{TokenId, Tokenizer, locate_runtime};
use arom::text::normalize;
use futures_util::{Stream, StreamExt, stream};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

use support::{
    Client, Figure, Server, bundle, median, one, open_loop, quantile, report, request, root, shipped, texts,
};

const CALLERS: usize = 64;
const PEER_ROWS: usize = 8;
const ROUNDS: usize = 3;
const LATENCY_TIME: Duration = Duration::from_secs(20);
/// The argument that makes this program the peer.
const SERVE: &str = "--serve-peer";

type Row = Vec<TokenId>;

fn main() {
    let mut args = env::args().skip_while(|arg| arg != SERVE).skip(1);
    match args.next() {
        Some(file) => Runtime::new().expect("a runtime").block_on(Peer::serve(Path::new(&file))),
        None => compare(),
    }
}

/// One who answers, and what it did in each round.
struct Side {
    name: String,
    server: Server,
    client: Client,
    streamed: Vec<f64>,
    single: Vec<f64>,
}

impl Side {
    fn new(name: &str, server: Server, waiting: &Runtime) -> Self {
        let client = waiting.block_on(server.client());
        Self { name: name.to_owned(), server, client, streamed: Vec::new(), single: Vec::new() }
    }

    fn peer(name: &str, file: &Path, waiting: &Runtime) -> Self {
        let mut peer = Command::new(env::current_exe().expect("this program"));
        Self::new(name, Server::of(peer.arg(SERVE).arg(file)), waiting)
    }

    /// Asks for every text in a stream and in single calls, and notes how many were answered a second.
    fn round(&mut self, texts: &[String], waiting: &Runtime) {
        let client = &self.client;
        self.streamed.push(timed(texts.len(), || {
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
        self.single.push(timed(texts.len(), || {
            waiting.block_on(stream::iter(texts).for_each_concurrent(CALLERS, async |text| {
                one(client, text).await.expect("scored");
            }));
        }));
    }
}

fn compare() {
    // A quarter of them: the slowest do thirty a second.
    let texts: Vec<String> = texts().into_iter().step_by(4).collect();
    let folder = root().join("target/bench");
    let (plain, packages) = (folder.join("plain"), packages(&folder));
    let shipped = shipped();
    python(&packages, "graphs.py", &[&shipped, &plain]);
    let waiting = Runtime::new().expect("a runtime");
    let files = [
        ("fp32, as exported", plain.join("plain-fp32.onnx")),
        ("int8, as exported", plain.join("plain-int8.onnx")),
        ("the shipped file", shipped.join("model.onnx")),
    ];
    let peers = files.iter().map(|(name, file)| Side::peer(name, file, &waiting));
    let mut sides: Vec<Side> = peers.collect();
    sides.push(Side::new("arom", Server::start(&["--cache-bytes", "0"]), &waiting));
    for side in &mut sides {
        // Not measured: the first runs of a session are slow.
        side.round(&texts[..100], &waiting);
        side.streamed.clear();
        side.single.clear();
    }
    for _ in 0..ROUNDS {
        sides.iter_mut().for_each(|side| side.round(&texts, &waiting));
    }
    let arom = sides.pop().expect("the last one");
    let (streamed, single) = (median(&arom.streamed), median(&arom.single));
    let mut figures = Vec::new();
    for Side { name, streamed: theirs, single: theirs_single, .. } in &sides {
        let baseline = format!("peer's policy, {name}, gRPC stream");
        figures.push(Figure::beside("arom, gRPC stream", streamed, "texts/s", (&baseline, median(theirs))));
        let baseline = format!("peer's policy, {name}, gRPC unary, {CALLERS} at once");
        let theirs = median(theirs_single);
        figures.push(Figure::beside("arom, gRPC unary, 64 at once", single, "texts/s", (&baseline, theirs)));
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

    let peer = &sides[1];
    let rate = median(&peer.single) / 2.0;
    let baseline = format!("peer's policy, {}, {rate:.0} texts/s", peer.name);
    let [theirs, ours] = [peer, &arom].map(|side| {
        let answered = waiting.block_on(open_loop(rate, LATENCY_TIME, &texts, |text| {
            let client = side.client.clone();
            async move { one(&client, &text).await.map(drop) }
        }));
        assert!(answered.failed.is_empty() && answered.refused.is_empty(), "half a load is no overload");
        answered.accepted
    });
    for share in [0.5, 0.99] {
        let name = format!("arom at that load, p{:.0}", share * 100.0);
        let theirs = quantile(&theirs, share);
        figures.push(Figure::beside(name, quantile(&ours, share), "ms", (&baseline, theirs)));
    }
    for Side { name, server, .. } in sides.iter().chain([&arom]) {
        figures.push(Figure::against(format!("memory at most, {name}"), server.memory().1, "MB", 350.0));
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
    tokenizer: Tokenizer,
    queue: Mutex<threads::SyncSender<(Row, oneshot::Sender<[f32; 4]>)>>,
}

impl Peer {
    /// Serves a model file until it is killed.
    async fn serve(file: &Path) {
        let library = locate_runtime(None).expect("the build fetched ONNX Runtime");
        let environment =
            ort::init_from(library).expect("it loads").with_telemetry(false).build().expect("one only");
        let mut session = session(&environment, file).expect("it loads");
        let (queue, waiting) = threads::sync_channel::<(Row, oneshot::Sender<[f32; 4]>)>(1024);
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
        let tokenizer = Tokenizer::open(&bundle()).expect("it fits");
        let service =
            SentimentServiceServer::new(Shared(Arc::new(Self { tokenizer, queue: Mutex::new(queue) })));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it listens").to_string();
        eprintln!("{}", serde_json::json!({ "address": address, "message": "ready" }));
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tonic::transport::Server::builder().add_service(service);
        server.serve_with_incoming(incoming).await.expect("it serves");
    }

    async fn score(&self, request: AnalyzeSentimentRequest) -> AnalyzeSentimentResponse {
        let (reply, answer) = oneshot::channel();
        let row = row(&self.tokenizer, &request.text);
        self.queue.lock().expect("unpoisoned").send((row, reply)).expect("the thread runs");
        let [positive, ..] = answer.await.expect("it answers");
        let sentiment = Sentiment { score: positive, ..Sentiment::default() };
        AnalyzeSentimentResponse { sentiment: Some(sentiment), ..AnalyzeSentimentResponse::default() }
    }
}

struct Shared(Arc<Peer>);

#[tonic::async_trait]
impl SentimentService for Shared {
    type StreamAnalyzeSentimentStream =
        Pin<Box<dyn Stream<Item = Result<StreamAnalyzeSentimentResponse, Status>> + Send>>;

    async fn analyze_sentiment(
        &self,
        request: Request<AnalyzeSentimentRequest>,
    ) -> Result<Response<AnalyzeSentimentResponse>, Status> {
        Ok(Response::new(self.0.score(request.into_inner()).await))
    }

    async fn batch_analyze_sentiment(
        &self,
        _: Request<BatchAnalyzeSentimentRequest>,
    ) -> Result<Response<BatchAnalyzeSentimentResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn stream_analyze_sentiment(
        &self,
        requests: Request<Streaming<StreamAnalyzeSentimentRequest>>,
    ) -> Result<Response<Self::StreamAnalyzeSentimentStream>, Status> {
        let peer = Arc::clone(&self.0);
        let answers = requests.into_inner().map(move |item| {
            let peer = Arc::clone(&peer);
            async move {
                let response = peer.score(item?.request.unwrap_or_default()).await;
                let outcome = Some(Outcome::Response(response));
                Ok(StreamAnalyzeSentimentResponse { outcome, ..StreamAnalyzeSentimentResponse::default() })
            }
        });
        Ok(Response::new(answers.buffer_unordered(512).boxed()))
    }
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
