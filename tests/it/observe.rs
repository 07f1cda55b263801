//! What operators see: probes, metrics, traces.

use std::time::Duration;

use arom::grpc::v1::conversation_service_client::ConversationServiceClient;
use arom::grpc::v1::profile_event::Felt;
use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{
    AnalysisFeatures, AnalyzeConversationRequest, AnalyzeSentimentRequest, ConversationExport,
    EraseSubjectRequest, ProfileEvent, RecordEventsRequest,
};
use arom::model::{Distributions, Label, Observation};
use arom::telemetry::Metrics;
use arom::text::Script;
use tonic::transport::Channel;

use crate::support::{Process, http_get, http_get_as, repository};

#[tokio::test]
async fn probes_say_whether_it_lives_and_whether_it_is_ready() {
    let mut server = Process::start(&["--http-listen", "127.0.0.1:0"]);
    let address = server.http_address.clone().expect("it says where");
    assert_eq!(http_get(&address, "/healthz").await, ("HTTP/1.1 200 OK".to_owned(), "alive\n".to_owned()));
    server.wait_for("ready");
    assert_eq!(http_get(&address, "/readyz").await, ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned()));
    assert!(http_get(&address, "/nothing").await.0.contains("404"));
    let (_, plain) = http_get(&address, "/metrics").await;
    assert!(
        plain.contains("# TYPE arom_queue_refused_texts_total counter\n") && !plain.contains("# EOF"),
        "{plain}"
    );
    let (status, metrics) = http_get_as(&address, "/metrics", "application/openmetrics-text").await;
    assert!(status.contains("200"), "{status}");
    for part in ["arom_queue_tokens 0", "arom_workers_whole 1", "arom_model_info{model=\"arom-fast@", "# EOF"]
    {
        assert!(metrics.contains(part), "{part} is not in {metrics}");
    }
}

#[tokio::test]
async fn nothing_of_a_text_and_no_id_is_in_the_log_or_the_metrics() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().to_str().expect("UTF-8");
    let mut server = Process::start(&[
        "--http-listen",
        "127.0.0.1:0",
        "--log",
        "info,arom=trace",
        "--profile-store",
        store,
    ]);
    server.wait_for("ready");
    let http = server.http_address.clone().expect("it says where");
    let mut client =
        SentimentServiceClient::connect(format!("http://{}", server.address)).await.expect("it listens");
    let asked = |text: &str, max_risk| AnalyzeSentimentRequest {
        text: text.to_owned(),
        message_id: "id-of-somchai".to_owned(),
        features: Some(AnalysisFeatures {
            clauses: true,
            targets: true,
            modifiers: true,
            explanation: true,
            intent: true,
            ..AnalysisFeatures::default()
        }),
        max_risk,
        ..AnalyzeSentimentRequest::default()
    };
    let text = "คุณสมชายบอกว่าอาหารอร่อย แต่แพงมาก โทร 081-234-5678";
    client.analyze_sentiment(asked(text, None)).await.expect("scored");
    client.analyze_sentiment(asked(text, Some(2.0))).await.expect_err("refused");
    let long = text.repeat(2000);
    client.analyze_sentiment(asked(&long, None)).await.expect_err("too long");
    let channel = Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    let channel = channel.connect().await.expect("it listens");
    let chat = format!("text,sender\n{text},สมชาย\nค่ะ,\n").into_bytes();
    let export = Some(ConversationExport { content: chat, ..ConversationExport::default() });
    let chat = AnalyzeConversationRequest { export, include_texts: true, ..Default::default() };
    ConversationServiceClient::new(channel.clone()).analyze_conversation(chat).await.expect("scored");
    let time = jiff::Timestamp::now();
    let event = |id: &str| ProfileEvent {
        event_id: id.to_owned(),
        customer_id: "somchai".to_owned(),
        event_time: Some(prost_types::Timestamp { seconds: time.as_second(), nanos: 0 }),
        felt: Some(Felt::Text(text.to_owned())),
        ..ProfileEvent::default()
    };
    let events = RecordEventsRequest { events: vec![event("id-of-somchai"), event("")] };
    let mut profiles = ProfileServiceClient::new(channel);
    let results = profiles.record_events(events).await.expect("an answer").into_inner().results;
    assert_eq!(results.len(), 2);
    let erase = EraseSubjectRequest { customer_id: "somchai".to_owned(), ..EraseSubjectRequest::default() };
    assert_eq!(profiles.erase_subject(erase).await.expect("an answer").into_inner().event_count, 1);
    let (_, metrics) = http_get(&http, "/metrics").await;
    drop(client);
    let logged = server.stop();
    assert!(logged.contains("stopped"), "{logged}");
    let mut folders = vec![folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("readable");
                let word = "อร่อย".as_bytes();
                assert!(
                    !bytes.windows(word.len()).any(|part| part == word),
                    "words are in {}",
                    path.display()
                );
            }
        }
    }
    for secret in ["สมชาย", "อร่อย", "somchai", "081-234", "234-5678", "0812345678"] {
        assert!(!logged.contains(secret) && !metrics.contains(secret), "{secret} is in {logged}{metrics}");
    }
}

#[tokio::test]
async fn before_the_model_is_loaded_it_lives_but_is_not_ready() {
    // A pipe nobody writes to keeps the bundle from being read to its end.
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("manifest.toml")).status();
    assert!(made.expect("mkfifo runs").success());
    let model = folder.path().to_str().expect("UTF-8");
    let open = ["--http-listen", "127.0.0.1:0", "--listen-when-ready", "false"];
    let server = Process::start(&[&open[..], &["--model", model]].concat());
    let address = server.http_address.clone().expect("it says where");
    assert!(http_get(&address, "/healthz").await.0.contains("200"));
    let (status, body) = http_get(&address, "/readyz").await;
    assert!(status.contains("503") && body == "not ready\n", "{status} {body}");
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_there_are() {
    let metrics = Metrics::default();
    // Labels that are not known beforehand show up with their first value.
    metrics.request_done("AnalyzeSentiment", "OK", Duration::ZERO);
    metrics.item_done("AnalyzeSentiment", "OK");
    let text = Observation {
        label: Label::Neutral,
        confidence: 0.9,
        tokens: 12,
        unknown_tokens: 0,
        script: Script::Thai,
    };
    let mut reference = Distributions::default();
    reference.count(&text);
    metrics.model_serves("model", Some(&reference));
    (0..500).for_each(|_| metrics.text_observed(&text));
    metrics.scorer_stands(true, (0, 0));
    metrics.sink_done("webhook", "dead", 1);
    metrics.sink_stands("webhook", 1);
    metrics.call_refused("calls");
    let rendered = metrics.render();
    for file in ["examples/grafana/dashboard.json", "examples/prometheus/alerts.yml"] {
        let text = std::fs::read_to_string(repository().join(file)).expect("readable");
        let names = text.split(|ch: char| ch != '_' && !ch.is_ascii_alphanumeric());
        let names: Vec<&str> = names.filter(|name| name.starts_with("arom_")).collect();
        assert!(names.len() > 10, "{file}");
        for name in names {
            let family = ["_total", "_bucket", "_sum", "_count"]
                .iter()
                .find_map(|ending| name.strip_suffix(ending))
                .unwrap_or(name);
            let known = [name, family].iter().any(|name| rendered.contains(&format!("# TYPE {name} ")));
            assert!(known, "{file} asks for {name}");
        }
    }
}

#[test]
fn drift_is_of_recent_texts_and_of_the_model_that_serves() {
    let shown = |metrics: &Metrics, of: &str| -> Option<f64> {
        metrics.scorer_stands(true, (0, 0));
        let rendered = metrics.render();
        let line = rendered.lines().find_map(|line| {
            line.strip_prefix(&format!("arom_drift_stability_index{{of=\"{of}\"}} ")).map(str::to_owned)
        });
        line.map(|index| index.parse().expect("a number"))
    };
    let text = |label, script| Observation { label, confidence: 0.8, tokens: 12, unknown_tokens: 0, script };
    let usual = [Label::Positive, Label::Neutral, Label::Negative, Label::Neutral];
    let mut reference = Distributions::default();
    (0..1000).for_each(|at| reference.count(&text(usual[at % 4], Script::Thai)));
    let metrics = Metrics::default();
    let observe = |count: usize, labels: &[Label], script| {
        (0..count).for_each(|at| metrics.text_observed(&text(labels[at % labels.len()], script)));
    };
    metrics.model_serves("model", Some(&reference));
    observe(499, &usual, Script::Thai);
    assert_eq!(shown(&metrics, "labels"), None, "of fewer than 500 texts it would be chance");
    observe(1, &usual, Script::Thai);
    assert!(shown(&metrics, "labels").expect("of 500 texts") < 0.01);
    observe(500, &[Label::Negative], Script::Thai);
    assert!(shown(&metrics, "labels").expect("a figure") > 0.25, "half is bad all of a sudden");
    assert!(shown(&metrics, "script").expect("a figure") < 0.01);
    observe(10_000, &usual, Script::Other);
    assert!(shown(&metrics, "labels").expect("a figure") < 0.01, "what was bad is long past");
    assert!(shown(&metrics, "script").expect("a figure") > 0.25);
    metrics.model_serves("another", Some(&reference));
    assert_eq!(shown(&metrics, "script"), None, "another model, another count");
    metrics.model_serves("without", None);
    observe(1000, &usual, Script::Thai);
    assert_eq!(shown(&metrics, "labels"), None);
}

#[tokio::test]
async fn a_head_of_http_1_has_the_limit_of_headers() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Process::start(&["--http-listen", "127.0.0.1:0", "--web-origins", "https://a.example"]);
    let http = server.http_address.clone().expect("it says where");
    for address in [&http, &server.address] {
        for (bytes, is_taken) in [(4 << 10, true), (64 << 10, false)] {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
            let head = format!(
                "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-a: {}\r\n\r\n",
                "a".repeat(bytes)
            );
            // It may be refused before it is whole.
            stream.write_all(head.as_bytes()).await.unwrap_or_default();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap_or_default();
            let answer = String::from_utf8_lossy(&answer);
            let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 431");
            assert_eq!(refused, !is_taken, "{address}, {bytes}: {answer}");
        }
    }
}
