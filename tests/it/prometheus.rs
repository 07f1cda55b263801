//! Alerts and dashboard against a real Prometheus: `make check-prometheus`.
//!
//! The first run downloads Debian's package of it into the target folder and unpacks it there; nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{AnalyzeSentimentRequest, BatchAnalyzeSentimentRequest};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;

use crate::profile::{event, record};
use crate::support::{Process, eventually, repository};

/// The folder of `prometheus` and `promtool`.
fn programs() -> &'static PathBuf {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("prometheus");
        let programs = folder.join("usr/bin");
        if programs.join("promtool").exists() {
            return programs;
        }
        fs::create_dir_all(&folder).expect("made");
        let script = "apt-get download prometheus && dpkg-deb -x prometheus_*.deb .";
        let done = Command::new("sh").args(["-ec", script]).current_dir(&folder).status().expect("sh runs");
        assert!(done.success(), "Debian's package of Prometheus could not be had; run apt-get update first");
        programs
    })
}

fn promtool(folder: &Path, args: &[&str]) {
    let ran = Command::new(programs().join("promtool")).args(args).current_dir(folder).output();
    let ran = ran.expect("it runs");
    let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(ran.status.success(), "promtool {args:?}: {said}");
}

#[test]
#[ignore = "make check-prometheus: downloads Prometheus"]
fn every_alert_fires_in_its_condition_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["examples/prometheus/alerts.yml", "tests/data/alerts_test.yml"] {
        let name = Path::new(file).file_name().expect("a name");
        fs::copy(repository().join(file), folder.path().join(name)).expect("copied");
    }
    promtool(folder.path(), &["check", "rules", "--lint-fatal", "alerts.yml"]);
    promtool(folder.path(), &["test", "rules", "alerts_test.yml"]);
    let rules = fs::read_to_string(folder.path().join("alerts.yml")).expect("readable");
    let tests = fs::read_to_string(folder.path().join("alerts_test.yml")).expect("readable");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        for case in ["fires", "is quiet"] {
            assert!(tests.contains(&format!("- name: {alert} {case}")), "no test where {alert} {case}");
        }
    }
}

/// A Prometheus that scrapes a server each second.
struct Prometheus {
    child: Child,
    address: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

impl Prometheus {
    async fn start(folder: &Path, target: &str) -> Self {
        // A group of rules is first evaluated at some moment within its own interval, which may be minutes.
        let shipped = repository().join("examples/prometheus/alerts.yml");
        let each_second = |line: &str| {
            if line.trim().starts_with("interval:") { "    interval: 1s\n" } else { line }.to_owned()
        };
        let shipped = fs::read_to_string(shipped).expect("readable");
        let rules = folder.join("alerts.yml");
        fs::write(&rules, shipped.split_inclusive('\n').map(each_second).collect::<String>())
            .expect("written");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{rules:?}]\n\
             scrape_configs:\n- job_name: arom\n  static_configs: [{{targets: [{target:?}]}}]\n"
        );
        fs::write(folder.join("prometheus.yml"), config).expect("written");
        // It cannot be given port 0; another program may take the port in between, so it is tried again.
        loop {
            let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = free.local_addr().expect("bound").to_string();
            drop(free);
            let child = Command::new(programs().join("prometheus"))
                .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
                .arg(format!("--web.listen-address={address}"))
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts");
            let mut started = Self { child, address };
            eventually(async || {
                started.child.try_wait().expect("asked").is_some() || started.get("/-/ready").await.is_some()
            })
            .await;
            if started.child.try_wait().expect("asked").is_none() {
                return started;
            }
        }
    }

    /// The body of a page, if it answers well.
    async fn get(&self, path: &str) -> Option<String> {
        let mut socket = TcpStream::connect(&self.address).await.ok()?;
        // By HTTP/1.0 the body comes in one piece.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
    }

    async fn api(&self, path: &str) -> Option<Value> {
        let answer: Value = serde_json::from_str(&self.get(path).await?).expect("JSON");
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        Some(answer["data"].clone())
    }

    /// How many series an expression gives now; nothing if it is not understood.
    async fn series(&self, expression: &str) -> Option<usize> {
        let coded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = self.api(&format!("/api/v1/query?query={coded}")).await?;
        Some(found["result"].as_array().map_or(0, Vec::len))
    }
}

/// Something of everything that is measured.
async fn use_all(server: &Process) {
    let channel = Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    let channel = channel.connect().await.expect("it listens");
    let mut texts = SentimentServiceClient::new(channel.clone());
    let request = |number: usize| AnalyzeSentimentRequest {
        text: format!("รอบที่ {number} อาหารอร่อย"),
        ..AnalyzeSentimentRequest::default()
    };
    // Drift is shown from 500 texts on.
    for batch in 0..3 {
        let requests = (0..200).map(|number| request(batch * 200 + number)).collect();
        texts.batch_analyze_sentiment(BatchAnalyzeSentimentRequest { requests }).await.expect("answered");
    }
    texts.analyze_sentiment(request(1)).await.expect("scored");
    let mut profiles = ProfileServiceClient::new(channel);
    record(&mut profiles, vec![event("e1", "c", &["b"], 30, 0.5)]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make check-prometheus: downloads Prometheus"]
async fn every_expression_of_the_dashboard_has_data_and_every_rule_is_evaluated() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (store, lines) = (path("store"), path("lines"));
    let args = ["--http-listen", "127.0.0.1:0", "--profile-store", &store, "--sink-jsonl-folder", &lines];
    let mut server = Process::start(&args);
    server.wait_for("ready");
    use_all(&server).await;
    let prometheus =
        Prometheus::start(folder.path(), server.http_address.as_deref().expect("it says where")).await;
    let scraped = async || prometheus.series("count_over_time(up{job=\"arom\"}[1m]) > 3").await == Some(1);
    eventually(scraped).await;

    let dashboard = fs::read_to_string(repository().join("examples/grafana/dashboard.json")).expect("read");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut seen = 0;
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            let expression = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
            let found = prometheus.series(&expression).await;
            // A week ago there was nothing.
            let least = usize::from(!expression.contains("offset 7d"));
            assert!(found.is_some_and(|found| found >= least), "{}: {expression}: {found:?}", panel["title"]);
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} expressions");

    eventually(async || {
        let rules = prometheus.api("/api/v1/rules").await.expect("rules");
        let groups = rules["groups"].as_array().expect("groups").clone();
        let rules: Vec<Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect();
        for rule in &rules {
            assert_ne!(rule["health"], "err", "{rule}");
            // Nothing is wrong with this server.
            assert_ne!(rule["state"], "firing", "{rule}");
        }
        rules.len() > 15 && rules.iter().all(|rule| rule["health"] == "ok")
    })
    .await;
}
