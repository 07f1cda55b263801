//! What the tests share: paths, the shipped bundle, a scorer, servers in this process and in another.

use std::fs::{self, File};
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::{self, Listeners, Parts, Port, ServerConfig};
use arom::model::{Bundle, Runtime};
use arom::profile::{Book, Clock, Disk, Keeper, Terms, Upkeep};
use arom::scoring::{Scorer, ScoringConfig};
use arom::telemetry::Metrics;
use prost::bytes::{Buf, BufMut};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

use crate::scripted::Script;

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The bundle of all tests that do not ask for another: the one that is read and runs faster.
pub fn bundle_folder() -> PathBuf {
    repository().join("models/arom-fast")
}

pub fn runtime() -> Runtime {
    Runtime::load(None).expect("the build fetched ONNX Runtime")
}

/// A folder below target/ that is made once of what it is `made_of`, and anew when that is something else.
///
/// Processes wait for each other. Every content has a folder of its own, so no process loses what it uses.
pub fn made_once(name: &str, made_of: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let whole = Sha256::digest(made_of);
    let digest: String = whole.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (folder, begun) = (all.join(format!("{name}-{digest}")), all.join(format!("{name}-{digest}.part")));
    fs::create_dir_all(all).expect("created");
    let lock = File::create(all.join(format!("{name}.lock"))).expect("created");
    lock.lock().expect("the file system has locks");
    if !folder.exists() {
        fs::remove_dir_all(&begun).unwrap_or_default();
        fs::create_dir_all(&begun).expect("created");
        make(&begun);
        fs::rename(&begun, &folder).expect("it is whole");
    }
    folder
}

/// How long a test waits for what must come. It is long, so that only what never comes fails the test.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The shipped bundle, read and verified once.
pub fn bundle() -> &'static Bundle {
    static BUNDLE: OnceLock<Bundle> = OnceLock::new();
    BUNDLE.get_or_init(|| Bundle::read(&bundle_folder()).expect("the shipped bundle is whole"))
}

/// One scorer for all tests of this process.
pub fn scorer() -> Scorer {
    static SCORER: OnceLock<Scorer> = OnceLock::new();
    SCORER.get_or_init(|| open_scorer(&ScoringConfig { workers: 2, ..uncached() }, Arc::default())).clone()
}

/// Settings under which every text is inferred.
pub fn uncached() -> ScoringConfig {
    ScoringConfig { cache_bytes: 0, max_wait: Duration::from_secs(60), ..ScoringConfig::default() }
}

pub fn open_scorer(config: &ScoringConfig, metrics: Arc<Metrics>) -> Scorer {
    Scorer::open(bundle(), &runtime(), config, metrics).expect("the shipped bundle fits")
}

pub fn server_config() -> ServerConfig {
    ServerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        shutdown_delay: Duration::ZERO,
        ..ServerConfig::default()
    }
}

type Patient =
    hyper_util::client::legacy::Client<hyper_util::client::legacy::connect::HttpConnector, tonic::body::Body>;

/// A server in this process, on a port of its own.
pub struct Server {
    pub address: String,
    /// Asks for another model.
    pub reload: mpsc::Sender<()>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), String>>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(server_config(), |_| Ok(scorer())).await
    }

    /// A server with a scorer of its own, and what both measure.
    pub async fn measured(config: ServerConfig, scoring: &ScoringConfig) -> (Self, Arc<Metrics>) {
        let metrics = Arc::<Metrics>::default();
        let scorer = open_scorer(scoring, Arc::clone(&metrics));
        (Self::scoring(config, scorer, Arc::clone(&metrics)).await, metrics)
    }

    /// A server whose model does what a script says, and what both measure.
    pub async fn scripted(
        config: ServerConfig,
        scoring: &ScoringConfig,
        script: &Script,
    ) -> (Self, Arc<Metrics>) {
        let metrics = Arc::<Metrics>::default();
        let scorer = script.scorer(scoring, Arc::clone(&metrics));
        let parts = Parts { metrics: Arc::clone(&metrics), ..Parts::default() };
        // The server alone holds the scorer: what drops the last one waits for its workers, which may be stuck.
        let scorer = Mutex::new(Some(scorer));
        let load = move |_: Option<&Scorer>| {
            let scorer = scorer.lock().expect("whole").take();
            scorer.ok_or_else(|| std::io::Error::other("a scripted model is loaded once"))
        };
        (Self::start_with(config, parts, load).await, metrics)
    }

    async fn scoring(config: ServerConfig, scorer: Scorer, metrics: Arc<Metrics>) -> Self {
        let parts = Parts { metrics, ..Parts::default() };
        Self::start_with(config, parts, move |_| Ok(scorer.clone())).await
    }

    pub async fn with(
        config: ServerConfig,
        load: impl Fn(Option<&Scorer>) -> Result<Scorer, std::io::Error> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(config, Parts::default(), load).await
    }

    /// A server that keeps profiles in a folder.
    pub async fn keeping(folder: &Path) -> Self {
        Self::keeping_with(folder, server_config()).await
    }

    pub async fn keeping_with(folder: &Path, config: ServerConfig) -> Self {
        Self::keeping_by(folder, config, arom::profile::system_clock(), Upkeep::default()).await
    }

    /// A server that keeps profiles in a folder by a clock.
    pub async fn keeping_by(folder: &Path, config: ServerConfig, clock: Clock, upkeep: Upkeep) -> Self {
        let metrics = Arc::<Metrics>::default();
        let profiles = Some(keeper_by(folder, clock, upkeep, &metrics));
        let parts = Parts { metrics, profiles, ..Parts::default() };
        Self::start_with(config, parts, |_| Ok(scorer())).await
    }

    pub async fn start_with(
        config: ServerConfig,
        parts: Parts,
        load: impl Fn(Option<&Scorer>) -> Result<Scorer, std::io::Error> + Send + Sync + 'static,
    ) -> Self {
        let grpc = TcpListener::bind(config.listen).await.expect("a free port");
        let address = format!("http://{}", grpc.local_addr().expect("bound"));
        let (stop, stopped) = oneshot::channel::<()>();
        let (reload, reloads) = mpsc::channel(1);
        let listeners = Listeners { grpc: Port::Open(grpc), http: None };
        let served = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or(()) };
            let served = grpc::serve(listeners, &config, parts, load, reloads, stopped);
            served.await.map_err(|error| error.to_string())
        });
        Self { address, reload, stop, served }
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(self.address.clone()).expect("an address").connect().await.expect("it listens")
    }

    /// A channel once the model is loaded.
    pub async fn ready(&self) -> Channel {
        let channel = self.channel().await;
        wait_for_serving(channel.clone()).await;
        channel
    }

    /// A client that sends deadlines and leaves them to the server: tonic's own channel watches them too, and may
    /// be first.
    pub fn patient_client(&self) -> SentimentServiceClient<Patient> {
        patient_client(&self.address)
    }

    /// Waits for a server that ends by itself.
    pub async fn ended(self) -> Result<(), String> {
        let Self { stop: _running, reload: _idle, served, .. } = self;
        served.await.expect("the server did not panic")
    }

    pub fn stop(self) -> impl Future<Output = Result<(), String>> {
        self.stop.send(()).expect("the server still runs");
        async { self.served.await.expect("the server did not panic") }
    }
}

/// A profile store in a folder.
pub fn keeper(folder: &Path, metrics: &Arc<Metrics>) -> Arc<Keeper<Disk>> {
    keeper_by(folder, arom::profile::system_clock(), Upkeep::default(), metrics)
}

fn keeper_by(folder: &Path, clock: Clock, upkeep: Upkeep, metrics: &Arc<Metrics>) -> Arc<Keeper<Disk>> {
    let book = Book::open(Disk::open(folder).expect("it opens"), Terms::default(), [7; 32]).expect("a book");
    Arc::new(Keeper::start(book, clock, upkeep, Arc::clone(metrics)).expect("two threads"))
}

/// As [`Server::patient_client`], of any server.
pub fn patient_client(address: &str) -> SentimentServiceClient<Patient> {
    SentimentServiceClient::with_origin(patient(), address.parse().expect("a URI"))
}

/// The same for requests of bytes as they are.
pub fn patient_raw(address: &str) -> tonic::client::Grpc<Patient> {
    tonic::client::Grpc::with_origin(patient(), address.parse().expect("a URI"))
}

fn patient() -> Patient {
    hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

/// The value of a metric, by its name and labels as they are written.
pub fn metric(metrics: &Metrics, name: &str) -> f64 {
    shown(metrics, name).parse().expect("a number")
}

/// The value of a metric that counts, as [`metric`].
pub fn count(metrics: &Metrics, name: &str) -> usize {
    shown(metrics, name).parse().expect("a whole number")
}

fn shown(metrics: &Metrics, name: &str) -> String {
    let text = metrics.render();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

/// Status line and body of a GET.
pub async fn http_get(address: &str, path: &str) -> (String, String) {
    http_get_as(address, path, "*/*").await
}

/// The same, of a kind that the caller accepts.
pub async fn http_get_as(address: &str, path: &str, accept: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).await.expect("it listens");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().expect("a status").to_owned(), body.to_owned())
}

/// Waits until something is so.
pub async fn until(mut so: impl FnMut() -> bool) {
    let patience = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, patience).await.expect("it becomes so");
}

/// Waits until something that has to be asked for is so.
pub async fn eventually(mut so: impl AsyncFnMut() -> bool) {
    let patience = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, patience).await.expect("it becomes so");
}

/// As [`until`], on a thread that may wait.
pub fn until_blocking(mut so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "it becomes so");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A codec of bytes: what is sent need not be a message of the method.
#[derive(Clone, Debug, Default)]
pub struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl tonic::codec::Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// Calls a unary method with bytes as they are and gives those of the answer.
pub async fn raw(channel: Channel, method: &'static str, bytes: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("the connection is open");
    let path = PathAndQuery::from_static(method);
    client.unary(tonic::Request::new(bytes), path, Raw).await.map(tonic::Response::into_inner)
}

/// Watches health until it is SERVING; gives the statuses seen, that one included.
pub async fn wait_for_serving(channel: Channel) -> Vec<i32> {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = HealthClient::new(channel).watch(request).await.expect("health answers").into_inner();
    let mut seen = Vec::new();
    while let Some(status) = watch.message().await.expect("the watch goes on") {
        seen.push(status.status);
        if status.status == ServingStatus::Serving as i32 {
            break;
        }
    }
    seen
}

/// `arom` with the bundle of [`bundle_folder`]; a flag goes before it.
pub fn arom() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arom"));
    command.env("AROM_MODEL", bundle_folder());
    command
}

/// Runs `arom` with arguments and stdin to its end.
pub fn run(args: &[&str], stdin: &str) -> Output {
    run_command(arom().args(args), stdin)
}

pub fn run_command(command: &mut Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || {
        // A command that refuses its settings does not read its input.
        input.write_all(text.as_bytes()).unwrap_or_default();
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer ends");
    output
}

pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The setting of how long a server serves on after SIGTERM; a flag goes before it.
const DELAY: &str = "AROM_SHUTDOWN_DELAY_SECONDS";

/// An `arom serve` process, killed when dropped.
pub struct Process {
    pub child: Child,
    pub address: String,
    /// Where metrics are, if anywhere.
    pub http_address: Option<String>,
    log: BufReader<ChildStderr>,
}

impl Process {
    pub fn start(args: &[&str]) -> Self {
        Self::run(arom(), args)
    }

    /// One that is told by an error, not killed, when a file would be larger than it may be.
    pub fn start_ignoring_size(args: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_arom")]);
        Self::run(shell, args)
    }

    /// By a command that takes the arguments of `arom`.
    pub fn run(mut command: Command, args: &[&str]) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]).args(args);
        Self::run_plain(command)
    }

    /// By a command that needs no more arguments.
    pub fn run_plain(mut command: Command) -> Self {
        // No proxy has to turn away from a server of a test, unless the test says so.
        if command.get_envs().all(|(name, _)| name != DELAY) {
            command.env(DELAY, "0");
        }
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let line = wait_for_line(&mut log, "listening");
        let field = |name: &str| line.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        let (address, http_address) = (field("address").expect("an address"), field("http_address"));
        Self { child, address, http_address, log }
    }

    /// As [`stop`](Self::stop), where a tracer runs the server.
    pub fn stop_child_of_tracer(mut self) {
        let tracer = self.child.id().to_string();
        let children = fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children"));
        let children = children.expect("the tracer runs");
        let server = children.split_whitespace().next().expect("it has a child");
        assert!(Command::new("kill").args(["-TERM", server]).status().expect("kill runs").success());
        let mut logged = String::new();
        self.log.read_to_string(&mut logged).expect("the log is readable");
        assert!(self.child.wait().expect("it ends").success(), "{logged}");
    }

    pub fn wait_for(&mut self, message: &str) -> serde_json::Value {
        wait_for_line(&mut self.log, message)
    }

    /// Stops it with SIGTERM and gives what it has logged since it was last waited for.
    pub fn stop(mut self) -> String {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        let mut logged = String::new();
        self.log.read_to_string(&mut logged).expect("the log is readable");
        assert!(self.child.wait().expect("it ends").success(), "{logged}");
        logged
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

fn wait_for_line(log: &mut impl BufRead, message: &str) -> serde_json::Value {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).expect("the log is readable") > 0, "no {message:?} in: {seen}");
        seen.push_str(&line);
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&line)
            && value.get("message").and_then(serde_json::Value::as_str) == Some(message)
        {
            return value;
        }
    }
}
