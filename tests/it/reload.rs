//! Another model in the place of the one that serves, without a failed call.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arom::grpc::Parts;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::stream_analyze_sentiment_response::Outcome;
use arom::grpc::v1::{AnalyzeSentimentRequest, StreamAnalyzeSentimentRequest};
use arom::model::Bundle;
use arom::scoring::{Features, Scorer, ScoringConfig};
use arom::telemetry::Metrics;
use futures_util::{StreamExt, stream};
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::scripted::{Script, Turn};
use crate::support::{
    PATIENCE, Process, Server, bundle_folder, eventually, keeper, open_scorer, runtime, server_config,
    uncached, until,
};

type Client = SentimentServiceClient<Channel>;

/// The model that a caller was answered by last.
type Seen = Arc<Mutex<String>>;

fn text(text: &str) -> AnalyzeSentimentRequest {
    AnalyzeSentimentRequest { text: text.to_owned(), ..AnalyzeSentimentRequest::default() }
}

/// The shipped bundle under another name, and so with another fingerprint.
fn copy(to: &Path, name: &str) {
    fs::create_dir_all(to).expect("created");
    for file in ["model.onnx", "tokenizer.json"] {
        fs::copy(bundle_folder().join(file), to.join(file)).expect("copied");
    }
    let manifest = fs::read_to_string(bundle_folder().join("manifest.toml")).expect("readable");
    let manifest = manifest.replace("\"arom-fast\"", &format!("\"{name}\""));
    fs::write(to.join("manifest.toml"), manifest).expect("written");
}

/// Loads one bundle after the other, over and over.
fn in_turn(bundles: [Bundle; 2]) -> impl Fn(Option<&Scorer>) -> Result<Scorer, std::io::Error> + Send + Sync {
    let turn = AtomicUsize::new(0);
    move |current: Option<&Scorer>| {
        let bundle = &bundles[turn.fetch_add(1, Ordering::Relaxed) % 2];
        match current {
            None => Scorer::open(bundle, &runtime(), &uncached(), Arc::default()),
            Some(current) => current.successor(bundle, &runtime(), Arc::default()),
        }
        .map_err(std::io::Error::other)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_models_change() {
    let folder = TempDir::new().expect("a temporary folder");
    for name in ["first", "second"] {
        copy(&folder.path().join(name), name);
    }
    let bundles = ["first", "second"].map(|name| Bundle::read(&folder.path().join(name)).expect("whole"));
    let server = Server::with(server_config(), in_turn(bundles)).await;
    server.ready().await;
    let running = Arc::new(AtomicBool::new(true));
    // The model that each caller and the stream were answered by last.
    let seen: Vec<Seen> = (0..5).map(|_| Seen::default()).collect();
    let mut callers = Vec::new();
    for (number, seen) in seen[1..].iter().cloned().enumerate() {
        let running = Arc::clone(&running);
        let mut client = Client::new(server.channel().await);
        callers.push(tokio::spawn(async move {
            for round in 0.. {
                if !running.load(Ordering::Relaxed) {
                    return;
                }
                let request = text(&format!("ผู้ใช้ {number} รอบที่ {round} บริการดี"));
                let answer = client.analyze_sentiment(request).await.expect("scored").into_inner();
                *seen.lock().expect("whole") = answer.model_fingerprint;
            }
        }));
    }
    // One stream over all changes: its later texts go to the later models.
    let going = Arc::clone(&running);
    let items = stream::unfold(0, move |id| {
        let going = Arc::clone(&going);
        async move {
            tokio::task::yield_now().await;
            let request = Some(text(&format!("ข้อความที่ {id} ส่งไวมาก")));
            let item = StreamAnalyzeSentimentRequest { request, in_order: true };
            going.load(Ordering::Relaxed).then_some((item, id + 1))
        }
    });
    let mut streaming = Client::new(server.channel().await);
    let last = Arc::clone(&seen[0]);
    let streamed = tokio::spawn(async move {
        let answers = streaming.stream_analyze_sentiment(items).await.expect("it opens");
        let mut answers = answers.into_inner();
        while let Some(answer) = answers.message().await.expect("the stream goes on") {
            let Some(Outcome::Response(response)) = answer.outcome else { panic!("{answer:?}") };
            *last.lock().expect("whole") = response.model_fingerprint;
        }
    });
    for change in 1..=3 {
        server.reload.send(()).await.expect("the server runs");
        let wanted = if change % 2 == 0 { "first@" } else { "second@" };
        until(|| seen.iter().all(|model| model.lock().expect("whole").starts_with(wanted))).await;
    }
    running.store(false, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no call failed");
    }
    streamed.await.expect("no text failed");
    server.stop().await.expect("a clean stop");
}

/// A long call of the old model must not keep it from load balancers that the profile store has halted.
#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_while_an_old_model_finishes_its_last_call() {
    let folder = TempDir::new().expect("a temporary folder");
    let [store, away] = ["store", "away"].map(|name| folder.path().join(name));
    let (old, new) = (Script::new(Turn::Hold), Script::new(Turn::Answer));
    let metrics = Arc::<Metrics>::default();
    let scorers = [&new, &old].map(|script| script.scorer(&uncached(), Arc::default()));
    let (scorers, loads) = (Mutex::new(Vec::from(scorers)), Arc::new(AtomicUsize::new(0)));
    let loaded = Arc::clone(&loads);
    let load = move |_: Option<&Scorer>| {
        let scorer = scorers.lock().expect("whole").pop();
        loaded.fetch_add(1, Ordering::SeqCst);
        scorer.ok_or_else(|| std::io::Error::other("two are loaded"))
    };
    let profiles = Some(keeper(&store, &metrics));
    let parts = Parts { metrics, profiles, ..Parts::default() };
    let server = Server::start_with(server_config(), parts, load).await;
    let channel = server.ready().await;
    let mut client = Client::new(channel.clone());
    let held = tokio::spawn(async move { client.analyze_sentiment(text("ดีมาก")).await });
    old.begun(1).await;
    server.reload.send(()).await.expect("the server runs");
    until(|| loads.load(Ordering::SeqCst) == 2).await;
    let watched = HealthCheckRequest { service: "arom.v1.ProfileService".to_owned() };
    let statuses = HealthClient::new(channel).watch(watched).await.expect("an answer");
    let mut statuses = statuses.into_inner();
    let mut told = async |wanted: ServingStatus| {
        let told = async {
            while statuses.message().await.expect("it goes on").expect("a status").status() != wanted {}
        };
        tokio::time::timeout(PATIENCE, told).await.expect("health is told while the call is open");
    };
    told(ServingStatus::Serving).await;
    fs::rename(&store, &away).expect("moved");
    told(ServingStatus::NotServing).await;
    fs::rename(&away, &store).expect("moved back");
    told(ServingStatus::Serving).await;
    assert!(!held.is_finished());
    old.all(Turn::Answer);
    held.await.expect("no panic").expect("answered by the old model");
    server.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_keeps_no_old_model() {
    let folder = TempDir::new().expect("a temporary folder");
    copy(folder.path(), "other");
    let bundles = [bundle_folder(), folder.path().to_owned()].map(|at| Bundle::read(&at).expect("whole"));
    let server = Server::with(server_config(), in_turn(bundles)).await;
    let mut client = Client::new(server.ready().await);
    let silent =
        stream::iter([StreamAnalyzeSentimentRequest { request: Some(text("ดี")), in_order: false }])
            .chain(stream::pending());
    let mut answers = client.stream_analyze_sentiment(silent).await.expect("it opens").into_inner();
    answers.message().await.expect("a clean answer").expect("an answer");
    // The second change waits for the end of what the first one replaced.
    for wanted in ["other@", "arom-fast@", "other@"] {
        server.reload.send(()).await.expect("the server runs");
        eventually(async || {
            let answer = client.analyze_sentiment(text("ดี")).await.expect("scored").into_inner();
            answer.model_fingerprint.starts_with(wanted)
        })
        .await;
    }
    drop(answers);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn entries_of_the_cache_belong_to_their_model() {
    let folder = TempDir::new().expect("a temporary folder");
    copy(folder.path(), "other");
    let config = ScoringConfig { cache_bytes: 1 << 20, ..uncached() };
    let first = open_scorer(&config, Arc::default());
    let bundle = Bundle::read(folder.path()).expect("whole");
    let second = first.successor(&bundle, &runtime(), Arc::default()).expect("it fits");
    for (scorer, hit) in [(&first, false), (&first, true), (&second, false), (&second, true), (&first, true)]
    {
        assert_eq!(scorer.score("คุ้มค่าคุ้มราคา", Features::default()).await.expect("scored").cache_hit, hit);
    }
}

#[tokio::test]
async fn sighup_loads_the_bundle_again_and_a_bad_one_is_refused() {
    let folder = TempDir::new().expect("a temporary folder");
    let bundle = folder.path().join("bundle");
    copy(&bundle, "before");
    let mut server = Process::start(&["--model", bundle.to_str().expect("UTF-8")]);
    server.wait_for("ready");
    let mut client = Client::connect(format!("http://{}", server.address)).await.expect("it listens");
    let mut model = async || {
        let answer = client.analyze_sentiment(text("ดีมาก")).await.expect("scored");
        answer.into_inner().model_fingerprint
    };
    let hangup = |server: &Process| {
        let sent = Command::new("kill").args(["-HUP", &server.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    };
    assert!(model().await.starts_with("before@"));

    fs::write(bundle.join("tokenizer.json"), "{}").expect("written");
    hangup(&server);
    let line = server.wait_for("the new model or catalogue is refused; the old one serves on");
    let error = line.get("error").and_then(serde_json::Value::as_str).expect("a cause");
    assert!(error.contains("tokenizer.json") && error.contains("sha256"), "{error}");
    assert!(model().await.starts_with("before@"));

    copy(&bundle, "after");
    hangup(&server);
    server.wait_for("ready");
    server.wait_for("retired");
    assert!(model().await.starts_with("after@"));
}

/// A server that is told to read its settings again says which of them it does not take over.
#[test]
fn settings_that_need_a_restart_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("arom.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("[model]\nbundle = \"arom-fast\"\n[server]\nmax_batch_size = 7\n");
    let mut server = Process::start(&["--config", file.to_str().expect("UTF-8"), "--workers", "1"]);
    write("[model]\nbundle = \"arom-fast\"\n[server]\nmax_batch_size = 8\nmax_calls = 9\n");
    let sent = std::process::Command::new("kill").args(["-HUP", &server.child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
    let line = server.wait_for("changed settings are not taken over; they need a restart");
    assert_eq!(line["settings"], "server.max_batch_size, server.max_calls");
    server.stop();
}
