//! Asked for more than it can do, the server says so at once and does what it accepted.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use arom::grpc::ServerConfig;
use arom::grpc::v1::conversation_message::Content;
use arom::grpc::v1::conversation_service_client::ConversationServiceClient;
use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::stream_conversation_request::Event;
use arom::grpc::v1::{
    AnalyzeSentimentRequest, ConversationMessage, ConversationRole, ProfileKey,
    StreamAnalyzeSentimentRequest, StreamConversationRequest, WatchProfilesRequest,
};
use arom::scoring::ScoringConfig;
use futures_util::StreamExt as _;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::scripted::{Script, Turn};
use crate::support::{PATIENCE, Raw, Server, count, eventually, metric, server_config, uncached, until};

type Client = SentimentServiceClient<Channel>;

fn text(text: &str) -> AnalyzeSentimentRequest {
    AnalyzeSentimentRequest { text: text.to_owned(), ..AnalyzeSentimentRequest::default() }
}

/// Settings of a scripted model.
fn scripted() -> ScoringConfig {
    ScoringConfig { workers: 1, ..uncached() }
}

/// Reason of a refusal and when to come back.
fn refusal(status: &Status) -> (String, Duration) {
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    let delay = details.retry_info().and_then(|info| info.retry_delay).expect("a delay");
    let pushback = status.metadata().get("grpc-retry-pushback-ms").expect("for gRPC's own retries");
    assert_eq!(pushback.to_str().expect("ASCII"), delay.as_millis().to_string());
    (details.error_info().expect("a reason").reason.clone(), delay)
}

#[tokio::test]
async fn more_calls_than_the_server_takes_are_refused_at_once() {
    let config = ServerConfig { max_calls: 2, ..server_config() };
    let script = Script::new(Turn::Hold);
    let (server, metrics) = Server::scripted(config, &scripted(), &script).await;
    let channel = server.ready().await;
    let work: Vec<_> = (0..2)
        .map(|_| {
            let mut client = Client::new(channel.clone());
            tokio::spawn(async move { client.analyze_sentiment(text("รอนานมาก")).await })
        })
        .collect();
    until(|| metric(&metrics, "arom_calls_in_flight") == 2.0).await;
    let status = Client::new(channel.clone()).analyze_sentiment(text("ดี")).await.expect_err("refused");
    assert_eq!(refusal(&status).0, "TOO_MANY_CALLS");
    script.all(Turn::Answer);
    for call in work {
        call.await.expect("no panic").expect("what was accepted is answered");
    }
    // An answer may reach its caller before its end is counted.
    until(|| metric(&metrics, "arom_calls_in_flight") == 0.0).await;
    Client::new(channel).analyze_sentiment(text("ดี")).await.expect("there is room again");
    let refused =
        "arom_request_duration_seconds_count{method=\"AnalyzeSentiment\",status=\"RESOURCE_EXHAUSTED\"}";
    assert_eq!(metric(&metrics, refused), 1.0);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn who_would_wait_too_long_is_told_when_to_come_back() {
    /// So many callers may always wait.
    const BURST: usize = 64;
    let scoring = ScoringConfig { max_wait: Duration::from_millis(60), ..scripted() };
    let script = Script::new(Turn::Hold);
    let (server, metrics) = Server::scripted(server_config(), &scoring, &script).await;
    let channel = server.ready().await;
    let request = text(&"คิวยาวมากแต่คุ้มค่าที่รอ ".repeat(10));
    let call = || {
        let (mut client, request) = (Client::new(channel.clone()), request.clone());
        async move { client.analyze_sentiment(request).await }
    };
    let mut accepted = vec![tokio::spawn(call())];
    script.begun(1).await;
    accepted.extend((0..BURST).map(|_| tokio::spawn(call())));
    until(|| count(&metrics, "arom_queue_windows") == BURST).await;
    let mut delays = BTreeSet::new();
    for _ in 0..20 {
        let (reason, delay) = refusal(&call().await.expect_err("more would wait too long"));
        assert_eq!(reason, "QUEUE_FULL");
        assert!(delay >= Duration::from_millis(10), "{delay:?}");
        delays.insert(delay);
    }
    // Each has a slot of its own, so that they do not come back together.
    assert!(delays.len() > 10, "{delays:?}");
    assert_eq!(count(&metrics, "arom_queue_refused_texts_total"), 20);
    assert_eq!(count(&metrics, "arom_retry_delay_seconds_count"), 20);
    script.all(Turn::Answer);
    for answer in accepted {
        answer.await.expect("no panic").expect("what was accepted is answered");
    }
    call().await.expect("there is room again");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_refused_caller_that_comes_before_its_time_is_refused_although_there_is_room() {
    // A machine with much else to do may take longer than the caller was told to stay away.
    while !early_caller_is_refused().await {}
}

/// Whether the caller came before its time; if so, it was refused.
async fn early_caller_is_refused() -> bool {
    // A caller is known by its text, so texts must not be inferred twice: with a cache they are not.
    let scoring = ScoringConfig { max_wait: Duration::from_millis(1), cache_bytes: 1 << 20, ..scripted() };
    let script = Script::new(Turn::Hold);
    let (server, metrics) = Server::scripted(server_config(), &scoring, &script).await;
    let channel = server.ready().await;
    let call = |text: String| {
        let mut client = Client::new(channel.clone());
        // Long texts, so that the queue takes far longer than this test.
        let text = AnalyzeSentimentRequest {
            text: format!("{text} {}", "รอคิวนานมาก ".repeat(60)),
            ..AnalyzeSentimentRequest::default()
        };
        async move { client.analyze_sentiment(text).await }
    };
    let mut accepted = vec![tokio::spawn(call("ก่อน".to_owned()))];
    script.begun(1).await;
    // A long text is more than one window, and the first has some of its own in the queue.
    let waiting = count(&metrics, "arom_queue_windows");
    let each = script.rows() + waiting;
    accepted.extend((0..64).map(|number| tokio::spawn(call(format!("ในคิว {number:02}")))));
    until(|| count(&metrics, "arom_queue_windows") == waiting + 64 * each).await;
    let asked = Instant::now();
    let refused = tokio::time::timeout(PATIENCE, call("ถูกปฏิเสธ".to_owned()));
    let (_, told) = refusal(&refused.await.expect("it does not wait").expect_err("the queue is full"));
    assert!(told > Duration::from_secs(1), "the time that the queue takes, and not {told:?}");
    script.all(Turn::Answer);
    for answer in accepted {
        answer.await.expect("no panic").expect("what was accepted is answered");
    }
    let again = call("ถูกปฏิเสธ".to_owned()).await;
    let was_early = asked.elapsed() < told;
    if was_early {
        let (_, rest) = refusal(&again.expect_err("it is early"));
        assert!(rest < told, "{rest:?} is the rest of {told:?}");
    }
    call("อีกคน".to_owned()).await.expect("a new caller takes the room");
    server.stop().await.expect("a clean stop");
    was_early
}

#[tokio::test]
async fn a_deadline_that_has_passed_costs_nothing_and_one_that_passes_frees_the_work() {
    const CANCELLED: &str = "arom_queue_cancelled_windows_total";
    let script = Script::new(Turn::Hold);
    let (server, metrics) = Server::scripted(server_config(), &scripted(), &script).await;
    server.ready().await;
    let late = |milliseconds: u32| {
        let mut request = Request::new(text(&"รอนานมากกว่าจะได้กิน ".repeat(1000)));
        let timeout = format!("{milliseconds}m").parse().expect("a header");
        request.metadata_mut().insert("grpc-timeout", timeout);
        let mut client = server.patient_client();
        async move { client.analyze_sentiment(request).await.expect_err("too late").code() }
    };
    assert_eq!(late(1).await, Code::DeadlineExceeded);
    assert_eq!((count(&metrics, CANCELLED), script.runs()), (0, 0), "it was never queued");
    // Longer and longer, until a deadline leaves the server the time to queue the text first.
    for doubling in 0.. {
        let call = tokio::spawn(late(100 << doubling));
        let mut queued = false;
        until(|| {
            queued |= count(&metrics, "arom_queue_windows") > 0;
            call.is_finished()
        })
        .await;
        assert_eq!(call.await.expect("no panic"), Code::DeadlineExceeded);
        until(|| metric(&metrics, "arom_queue_windows") == 0.0).await;
        if queued {
            break;
        }
    }
    assert!(count(&metrics, CANCELLED) > 0);
    until(|| metric(&metrics, "arom_calls_in_flight") == 0.0).await;
    let begun = script.rows();
    script.all(Turn::Answer);
    server.stop().await.expect("a clean stop");
    assert_eq!(script.rows(), begun, "nothing of the rest was run");
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let mut request = Request::new(text("ดี"));
    request.metadata_mut().insert("x-large", "x".repeat(20_000).parse().expect("a header"));
    let status = client.analyze_sentiment(request).await.expect_err("refused");
    // Without details: HTTP says it.
    assert!(status.code() == Code::Unknown && status.message().contains("431"), "{status}");
    Client::new(server.channel().await).analyze_sentiment(text("ดี")).await.expect("others are served");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn what_requests_hold_is_bounded_as_it_is_inflated() {
    /// Room for two long texts of a peer, with what each call counts beside its message.
    const ROOM: usize = 2 * (60_000 + 20_000);
    let config = ServerConfig { max_peer_request_bytes: ROOM, ..server_config() };
    let script = Script::new(Turn::Hold);
    let (server, metrics) = Server::scripted(config, &scripted(), &script).await;
    let channel = server.ready().await;
    let long = text(&"x".repeat(60_000));
    let mut held = Vec::new();
    for encoding in [None, Some(CompressionEncoding::Gzip)] {
        let mut client = Client::new(channel.clone());
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        let long = long.clone();
        held.push(tokio::spawn(async move { client.analyze_sentiment(long).await }));
        until(|| count(&metrics, "arom_calls_in_flight") == held.len()).await;
    }
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = Client::new(channel.clone()).send_compressed(encoding);
        let status = client.analyze_sentiment(long.clone()).await.expect_err("no room once it is inflated");
        assert_eq!(refusal(&status).0, "TOO_MANY_BYTES");
    }
    let status = Client::new(channel.clone()).analyze_sentiment(long.clone()).await.expect_err("no room");
    assert_eq!(refusal(&status).0, "TOO_MANY_BYTES");
    assert!(metric(&metrics, "arom_calls_refused_total{outcome=\"peer_bytes\"}") >= 3.0);
    script.all(Turn::Answer);
    for call in held {
        call.await.expect("no panic").expect("what was accepted is answered");
    }
    // An answer may reach its caller before its bytes are given back.
    let again = async || Client::new(channel.clone()).analyze_sentiment(long.clone()).await.is_ok();
    eventually(again).await;
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_message_that_is_not_whole_counts_as_it_arrives() {
    let config = ServerConfig { max_peer_request_bytes: 100_000, ..server_config() };
    let (server, metrics) = Server::measured(config, &uncached()).await;
    let channel = server.ready().await;
    // Of a stream, too, which is read as it comes: this is one message.
    let endless = futures_util::stream::iter([vec![0; 200_000]]).chain(futures_util::stream::pending());
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("the connection is open");
    let path = PathAndQuery::from_static("/arom.v1.SentimentService/StreamAnalyzeSentiment");
    let answers = client.streaming(Request::new(endless), path, Raw).await;
    let status = match answers {
        Ok(answers) => answers.into_inner().message().await.expect_err("it does not fit"),
        Err(status) => status,
    };
    assert_eq!(refusal(&status).0, "TOO_MANY_BYTES");
    assert!(metric(&metrics, "arom_calls_refused_total{outcome=\"peer_bytes\"}") >= 1.0);
    Client::new(channel).analyze_sentiment(text("ดี")).await.expect("there is room for others");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn what_streams_remember_is_bounded() {
    /// Room for a stream, its longest message, and some messages that it remembers, and a quarter for others.
    const ROOM: usize = (16_384 + 1_000 + 10 * 320) * 4 / 3;
    let config = ServerConfig { max_peer_request_bytes: ROOM, ..server_config() };
    let (server, _) = Server::scripted(config, &scripted(), &Script::new(Turn::Answer)).await;
    let channel = server.ready().await;
    let message = |number: usize| StreamConversationRequest {
        event: Some(Event::Message(ConversationMessage {
            message_id: number.to_string(),
            content: Some(Content::Text("ดี".to_owned())),
            role: ConversationRole::Customer.into(),
            ..ConversationMessage::default()
        })),
    };
    let messages = futures_util::stream::iter((0..100).map(message));
    let mut client = ConversationServiceClient::new(channel.clone());
    let mut answers = client.stream_conversation(messages).await.expect("it opens").into_inner();
    let mut answered = 0;
    let end = loop {
        match answers.message().await {
            Ok(answer) => answered += usize::from(answer.expect("it does not end well").outcome.is_some()),
            Err(status) => break status,
        }
    };
    assert_eq!(refusal(&end).0, "TOO_MANY_BYTES");
    assert!((10..20).contains(&answered), "{answered}");
    // Texts have answers, so a stream of them waits for room instead.
    let long = |_| StreamAnalyzeSentimentRequest {
        request: Some(text(&"ดีมาก ".repeat(50))),
        in_order: false,
    };
    let texts = futures_util::stream::iter((0..50).map(long));
    let all = async || {
        let mut client = Client::new(channel.clone());
        let answers = client.stream_analyze_sentiment(texts.clone()).await?.into_inner();
        answers.collect::<Vec<_>>().await.into_iter().collect::<Result<Vec<_>, _>>()
    };
    // The first stream may be there for a moment yet.
    eventually(async || all().await.is_ok_and(|answers| answers.len() == 50)).await;
    server.stop().await.expect("a clean stop");
}

/// A watch holds its keys and prefixes as long as it is there, and they are counted as long.
#[tokio::test]
async fn what_watches_hold_is_bounded() {
    const ROOM: usize = 1_000_000;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = ServerConfig { max_peer_request_bytes: ROOM, ..server_config() };
    let server = Server::keeping_with(folder.path(), config).await;
    let channel = server.ready().await;
    let key = |number: usize| ProfileKey { customer_id: format!("{number:0128}"), brand_id: String::new() };
    let request = WatchProfilesRequest {
        keys: (0..500).map(key).collect(),
        skip_snapshot: true,
        ..WatchProfilesRequest::default()
    };
    let bytes = prost::Message::encoded_len(&request);
    let mut open = Vec::new();
    let refused = loop {
        let mut client = ProfileServiceClient::new(channel.clone());
        match client.watch_profiles(request.clone()).await {
            Ok(stream) => open.push(stream.into_inner()),
            Err(status) => break status,
        }
    };
    assert_eq!(refusal(&refused).0, "TOO_MANY_BYTES");
    assert!((1..=ROOM / (2 * bytes)).contains(&open.len()), "{} of {bytes} bytes", open.len());
    let count = open.len();
    drop(open);
    // What they held is given back.
    eventually(async || {
        let mut again = Vec::new();
        while again.len() < count {
            match ProfileServiceClient::new(channel.clone()).watch_profiles(request.clone()).await {
                Ok(stream) => again.push(stream),
                Err(_) => return false,
            }
        }
        true
    })
    .await;
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_stream_that_was_said_to_end_has_its_deadline_yet() {
    let script = Script::new(Turn::Hold);
    let (server, metrics) = Server::scripted(server_config(), &scripted(), &script).await;
    server.ready().await;
    let one = StreamAnalyzeSentimentRequest { request: Some(text("ดี")), in_order: false };
    let mut request = Request::new(futures_util::stream::iter([one]));
    request.metadata_mut().insert("grpc-timeout", "300m".parse().expect("a header"));
    let late = async {
        let answers = server.patient_client().stream_analyze_sentiment(request).await?;
        answers.into_inner().message().await
    };
    let late = tokio::time::timeout(PATIENCE, late).await.expect("it ends by itself");
    assert_eq!(late.expect_err("nothing was answered").code(), Code::DeadlineExceeded);
    until(|| metric(&metrics, "arom_calls_in_flight") == 0.0).await;
    script.all(Turn::Answer);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn streams_that_take_all_room_leave_some_to_calls() {
    let config = ServerConfig { max_peer_request_bytes: 400_000, stream_window: 1000, ..server_config() };
    let script = Script::new(Turn::Hold);
    let (server, metrics) = Server::scripted(config, &scripted(), &script).await;
    let channel = server.ready().await;
    let streams = 6;
    let mut held = Vec::new();
    for stream in 0..streams {
        let one = move |number: usize| StreamAnalyzeSentimentRequest {
            request: Some(text(&format!("{stream} {number} {}", "ดี".repeat(150)))),
            in_order: false,
        };
        let requests = futures_util::stream::iter((0..200).map(one));
        let mut client = Client::new(channel.clone());
        held.push(client.stream_analyze_sentiment(requests).await.expect("it opens"));
    }
    until(|| count(&metrics, "arom_queue_windows") > 60).await;
    // A call finds room, although the streams have more to send than there is.
    let found = tokio::spawn({
        let mut client = Client::new(channel.clone());
        async move { client.analyze_sentiment(text("ดี")).await }
    });
    until(|| count(&metrics, "arom_calls_in_flight") == streams + 1).await;
    script.all(Turn::Answer);
    found.await.expect("no panic").expect("there was room for it");
    for answers in held {
        let answers: Vec<_> = answers.into_inner().collect().await;
        assert!(answers.len() == 200 && answers.iter().all(Result::is_ok), "{}", answers.len());
    }
    server.stop().await.expect("a clean stop");
}
