//! How a server starts and stops, as its clients, proxies and probes see it.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use arom::grpc::v1::conversation_service_client::ConversationServiceClient;
use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{AnalyzeSentimentRequest, Recording, StreamConversationRequest, WatchProfilesRequest};
use arom::grpc::{self, Listeners, Parts, Port, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::scripted::{Script, Turn};
use crate::support::{Process, Server, http_get, scorer, server_config, uncached};

const HOUR: Duration = Duration::from_secs(3600);

async fn score(channel: Channel) {
    let request =
        AnalyzeSentimentRequest { text: "ดีมาก".to_owned(), ..AnalyzeSentimentRequest::default() };
    SentimentServiceClient::new(channel).analyze_sentiment(request).await.expect("an answer");
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_says_so_and_serves_on() {
    let config = ServerConfig { shutdown_delay: HOUR, ..server_config() };
    let server = Server::with(config, |_| Ok(scorer())).await;
    let (channel, address) = (server.ready().await, server.address.clone());
    let services = ["", "arom.v1.SentimentService", "arom.v1.ConversationService"];
    let mut watches = Vec::new();
    for service in services {
        let request = HealthCheckRequest { service: service.to_owned() };
        let watch = HealthClient::new(channel.clone()).watch(request).await.expect("health answers");
        watches.push(watch.into_inner());
    }
    for watch in &mut watches {
        let first = watch.message().await.expect("it goes on").expect("a status");
        assert_eq!(first.status, ServingStatus::Serving as i32);
    }
    let stopping = tokio::spawn(server.stop());
    for watch in &mut watches {
        let next = watch.message().await.expect("the watch goes on").expect("a status");
        assert_eq!(next.status, ServingStatus::NotServing as i32);
    }
    score(channel).await;
    let newcomer = Channel::from_shared(address).expect("an address").connect().await;
    score(newcomer.expect("the port is open")).await;
    assert!(!stopping.is_finished());
}

#[tokio::test]
async fn probes_tell_a_stopping_server_from_a_dead_one_and_a_second_signal_ends_it() {
    let mut server = Process::start(&[
        "--http-listen",
        "127.0.0.1:0",
        "--shutdown-delay-seconds",
        "3600",
        "--workers",
        "1",
    ]);
    server.wait_for("ready");
    let http = server.http_address.clone().expect("it listens");
    let signal = |server: &Process| {
        let sent = Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    };
    assert_eq!(http_get(&http, "/readyz").await.0, "HTTP/1.1 200 OK");
    signal(&server);
    server.wait_for("stopping");
    until_unready(&http).await;
    assert_eq!(http_get(&http, "/healthz").await.0, "HTTP/1.1 200 OK");
    let address = format!("http://{}", server.address);
    let channel = Channel::from_shared(address).expect("an address").connect().await;
    score(channel.expect("the port is open")).await;
    signal(&server);
    assert_eq!(server.child.wait().expect("it ends").code(), Some(1));
}

async fn until_unready(http: &str) {
    // The log line comes before the probe changes.
    while http_get(http, "/readyz").await.0 != "HTTP/1.1 503 Service Unavailable" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_port_opens_when_the_model_is_loaded_and_probes_are_answered_before() {
    let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
    let held = Mutex::new(held);
    let load = move |_: Option<&arom::scoring::Scorer>| -> Result<_, Infallible> {
        held.lock().expect("one loads").recv().expect("the test lets it go");
        Ok(scorer())
    };
    let config = ServerConfig { listen: ([127, 0, 0, 1], 0).into(), ..server_config() };
    let port = Port::bind(config.listen, true).await.expect("a free port");
    let address = port.local_addr().expect("bound");
    let http = TcpListener::bind(config.listen).await.expect("a free port");
    let http_address = http.local_addr().expect("bound").to_string();
    let listeners = Listeners { grpc: port, http: Some(http) };
    let (stop, stopped) = oneshot::channel::<()>();
    let (_reload, reloads) = mpsc::channel(1);
    let served = tokio::spawn(async move {
        let stopped = async { stopped.await.unwrap_or(()) };
        grpc::serve(listeners, &config, Parts::default(), load, reloads, stopped).await
    });
    assert_eq!(http_get(&http_address, "/readyz").await.0, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(http_get(&http_address, "/healthz").await.0, "HTTP/1.1 200 OK");
    let refused = TcpStream::connect(address).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    release.send(()).expect("it waits");
    while http_get(&http_address, "/readyz").await.0 != "HTTP/1.1 200 OK" {
        tokio::task::yield_now().await;
    }
    // Ready means that the port is open.
    let channel = Channel::from_shared(format!("http://{address}")).expect("an address").connect().await;
    score(channel.expect("it listens")).await;
    stop.send(()).expect("it runs");
    served.await.expect("no panic").expect("a clean stop");
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_while_it_loads_stops_at_once() {
    let config = ServerConfig { shutdown_delay: HOUR, ..server_config() };
    let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
    let held = Mutex::new(held);
    let server = Server::with(config, move |_| {
        held.lock().expect("one loads").recv().unwrap_or_default();
        Ok(scorer())
    })
    .await;
    server.stop().await.expect("a clean stop");
    drop(release);
}

#[tokio::test]
async fn open_watches_and_silent_conversations_do_not_hold_up_the_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let channel = server.ready().await;
    let silence = futures_util::stream::pending::<StreamConversationRequest>();
    let mut conversation = ConversationServiceClient::new(channel.clone());
    let mut conversation = conversation.stream_conversation(silence).await.expect("it begins").into_inner();
    let mut profiles = ProfileServiceClient::new(channel);
    let watch = profiles.watch_profiles(WatchProfilesRequest::default()).await;
    let mut watch = watch.expect("it begins").into_inner();
    let stopping = tokio::spawn(server.stop());
    assert_eq!(conversation.message().await.expect_err("it stops").code(), Code::Unavailable);
    let ended = loop {
        match watch.message().await {
            Ok(message) => assert!(message.is_some(), "it ends with a status"),
            Err(status) => break status.code(),
        }
    };
    assert_eq!(ended, Code::Unavailable);
    stopping.await.expect("no panic").expect("a clean stop");
}

#[tokio::test]
async fn a_stuck_worker_does_not_keep_the_server_from_ending() {
    let script = Script::new(Turn::Hold);
    let config = ServerConfig {
        shutdown_grace: Duration::from_millis(50),
        join_within: Duration::from_millis(50),
        ..server_config()
    };
    let scoring = arom::scoring::ScoringConfig { workers: 1, ..uncached() };
    let (server, _) = Server::scripted(config, &scoring, &script).await;
    let channel = server.ready().await;
    let call = tokio::spawn(score_fails(channel));
    script.begun(1).await;
    let ended = server.stop().await.expect_err("it was not clean");
    assert!(ended.contains("not finished"), "{ended}");
    call.await.expect("no panic");
    script.all(Turn::Answer);
}

async fn score_fails(channel: Channel) {
    let request =
        AnalyzeSentimentRequest { text: "ดีมาก".to_owned(), ..AnalyzeSentimentRequest::default() };
    SentimentServiceClient::new(channel).analyze_sentiment(request).await.expect_err("its worker is stuck");
}

#[tokio::test]
async fn a_sink_whose_receiver_is_away_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("secret"), "s".repeat(32)).expect("written");
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/hook", closed.local_addr().expect("bound"));
    drop(closed);
    let mut server = Process::start(&[
        "--profile-store",
        &path("store"),
        "--sink-webhook-url",
        &url,
        "--sink-webhook-secret-file",
        &path("secret"),
        "--workers",
        "1",
    ]);
    server.wait_for("ready");
    let channel = Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    let mut client = SentimentServiceClient::new(channel.connect().await.expect("it listens"));
    let recording = Recording {
        customer_id: "c1".to_owned(),
        event_id: "e1".to_owned(),
        event_time: Some(prost_types::Timestamp { seconds: jiff::Timestamp::now().as_second(), nanos: 0 }),
        ..Recording::default()
    };
    let request = AnalyzeSentimentRequest {
        text: "ดีมาก".to_owned(),
        recording: Some(recording),
        ..AnalyzeSentimentRequest::default()
    };
    client.analyze_sentiment(request).await.expect("recorded");
    server.wait_for("not delivered yet");
    let logged = server.stop();
    assert!(!logged.contains("left behind"), "{logged}");
}
