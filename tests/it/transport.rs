//! Connections and what reaches a method: caps, age, content types, pages of browsers, methods that are not there.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use arom::grpc::ServerConfig;
use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{
    AnalyzeSentimentRequest, AnalyzeSentimentResponse, EraseSubjectRequest, GetProfileRequest, ProfileEvent,
    ProfileKey, RecordEventsRequest, ScoredText, StreamAnalyzeSentimentRequest, profile_event,
};
use arom::telemetry::Metrics;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{Server, metric, server_config, uncached, until};

fn text(text: &str) -> AnalyzeSentimentRequest {
    AnalyzeSentimentRequest { text: text.to_owned(), ..AnalyzeSentimentRequest::default() }
}

fn host(server: &Server) -> &str {
    server.address.trim_start_matches("http://")
}

fn opened(metrics: &Metrics) -> f64 {
    metric(metrics, "arom_connections_opened_total{port=\"grpc\"}")
}

fn open(metrics: &Metrics) -> f64 {
    metric(metrics, "arom_connections{port=\"grpc\"}")
}

#[tokio::test]
async fn an_old_connection_gets_goaway_and_no_call_fails() {
    let config = ServerConfig { max_connection_age: Duration::from_millis(100), ..server_config() };
    let (server, metrics) = Server::measured(config, &uncached()).await;
    server.ready().await;
    // It opens another connection only when it is told to; the grace is an hour, so none is cut. tonic's own channel may fail a
    // call that it has not sent yet when its connection goes, and does not try again.
    let mut client = server.patient_client();
    while opened(&metrics) < 4.0 {
        client.analyze_sentiment(text("ดี")).await.expect("the client connects anew by itself");
    }
    until(|| open(&metrics) <= 1.0).await;
    let cut = metric(&metrics, "arom_connections_closed_total{port=\"grpc\",reason=\"age\"}");
    assert_eq!(cut, 0.0, "a connection was cut");
    server.stop().await.expect("a clean stop");
}

/// A connection that sends nothing.
fn silent(server: &Server) -> TcpStream {
    TcpStream::connect(host(server)).expect("it listens")
}

#[tokio::test]
async fn silent_connections_make_room_for_a_client() {
    let config = ServerConfig { max_connections: 4, ..server_config() };
    let (server, metrics) = Server::measured(config, &uncached()).await;
    let silent: Vec<_> = (0..40).map(|_| silent(&server)).collect();
    let refused = || metric(&metrics, "arom_connections_refused_total{port=\"grpc\",reason=\"peer\"}");
    until(|| opened(&metrics) + refused() >= 40.0).await;
    let mut client = SentimentServiceClient::new(server.ready().await);
    client.analyze_sentiment(text("ดี")).await.expect("there is room");
    until(|| open(&metrics) <= 4.0).await;
    let evicted = metric(&metrics, "arom_connections_closed_total{port=\"grpc\",reason=\"evicted\"}");
    assert!(evicted + refused() >= 36.0, "{evicted}");
    drop(silent);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_peer_whose_connections_have_calls_gets_no_more_and_another_peer_does() {
    let config = ServerConfig { max_connections: 4, max_peer_connections: 100, ..server_config() };
    let (server, metrics) = Server::measured(config, &uncached()).await;
    let mut streams = Vec::new();
    // Three quarters of all.
    for _ in 0..3 {
        let mut client = SentimentServiceClient::new(server.ready().await);
        let (send, texts) = mpsc::channel(1);
        let answers = client.stream_analyze_sentiment(received(texts)).await.expect("it opens");
        streams.push((send, answers.into_inner()));
    }
    let mut more = silent(&server);
    let mut byte = [0];
    let closed = tokio::task::spawn_blocking(move || more.read(&mut byte));
    assert_eq!(closed.await.expect("no panic").unwrap_or(0), 0, "it is closed");
    assert_eq!(metric(&metrics, "arom_connections_refused_total{port=\"grpc\",reason=\"peer\"}"), 1.0);
    let other = TcpSocket::new_v4().expect("a socket");
    other.bind(([127, 0, 0, 2], 0).into()).expect("the loopback network has more addresses");
    let other = other.connect(host(&server).parse().expect("an address")).await.expect("it listens");
    until(|| open(&metrics) == 4.0).await;
    drop(other);
    for (send, answers) in &mut streams {
        let request = StreamAnalyzeSentimentRequest { request: Some(text("ดี")), in_order: false };
        send.send(request).await.expect("the stream is open");
        answers.message().await.expect("the stream is open").expect("an answer");
    }
    drop(streams);
    server.stop().await.expect("a clean stop");
}

fn received<T: Send + 'static>(mut channel: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send + 'static {
    futures_util::stream::poll_fn(move |context| channel.poll_recv(context))
}

#[tokio::test]
async fn who_does_not_finish_the_handshake_is_closed() {
    let config = ServerConfig { handshake_timeout: Duration::from_millis(50), ..server_config() };
    let (server, metrics) = Server::measured(config, &uncached()).await;
    let mut connections: Vec<_> = [&b""[..], b"PRI", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
        .iter()
        .map(|bytes| {
            let mut connection = silent(&server);
            connection.write_all(bytes).expect("open");
            connection
        })
        .collect();
    until(|| metric(&metrics, "arom_connections_closed_total{port=\"grpc\",reason=\"handshake\"}") >= 3.0)
        .await;
    for connection in &mut connections {
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).unwrap_or_default();
    }
    server.stop().await.expect("a clean stop");
}

type Plain =
    hyper_util::client::legacy::Client<hyper_util::client::legacy::connect::HttpConnector, tonic::body::Body>;

fn plain_client(http_2: bool) -> Plain {
    hyper_util::client::legacy::Client::builder(TokioExecutor::new()).http2_only(http_2).build_http()
}

/// One message in the frame of gRPC.
fn framed(message: &impl Message) -> tonic::body::Body {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let bytes = Bytes::from([&[0][..], &length, &message].concat());
    tonic::body::Body::new(Whole(Some(bytes)))
}

/// A body of one piece.
struct Whole(Option<Bytes>);

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    trailers: HeaderMap,
    body: Vec<u8>,
}

async fn read(mut response: Response<hyper::body::Incoming>) -> Answer {
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = std::future::poll_fn(|context| {
        hyper::body::Body::poll_frame(std::pin::Pin::new(response.body_mut()), context)
    })
    .await
    {
        match frame.expect("the body goes on").into_data() {
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().expect("data or trailers"),
        }
    }
    let (parts, _) = response.into_parts();
    Answer { status: parts.status.as_u16(), headers: parts.headers, trailers, body }
}

async fn post(
    client: &Plain,
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
    message: &impl Message,
) -> Answer {
    let mut request = Request::post(format!("{}{path}", server.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(client.request(request.body(framed(message)).expect("a request")).await.expect("an answer")).await
}

fn event(id: &str, customer: &str) -> ProfileEvent {
    ProfileEvent {
        event_id: id.to_owned(),
        event_time: Some(prost_types::Timestamp { seconds: jiff::Timestamp::now().as_second(), nanos: 0 }),
        customer_id: customer.to_owned(),
        channel: 1,
        felt: Some(profile_event::Felt::Scored(ScoredText { label: 3, score: -0.5 })),
        ..ProfileEvent::default()
    }
}

#[tokio::test]
async fn a_form_that_a_page_sends_does_not_erase_a_customer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut profiles = ProfileServiceClient::new(server.ready().await);
    let events = RecordEventsRequest { events: vec![event("e", "c")] };
    profiles.record_events(events).await.expect("recorded");
    let erase = EraseSubjectRequest { customer_id: "c".to_owned(), ..EraseSubjectRequest::default() };
    let path = "/arom.v1.ProfileService/EraseSubject";
    let client = plain_client(true);
    for content_type in [
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json",
        "application/grpc-web",
        "application/grpc-web-text",
        "application/grpc+json",
    ] {
        let answer = post(&client, &server, path, &[("content-type", content_type)], &erase).await;
        assert_eq!(answer.status, 415, "{content_type}");
        let said = String::from_utf8(answer.body).expect("UTF-8");
        assert!(said.contains("application/grpc") || said.contains("server.web_origins"), "{said}");
    }
    let origin = [("content-type", "application/grpc"), ("origin", "https://evil.example")];
    assert_eq!(post(&client, &server, path, &origin, &erase).await.status, 403);
    let key = Some(ProfileKey { customer_id: "c".to_owned(), ..ProfileKey::default() });
    let get = GetProfileRequest { key };
    profiles.get_profile(get.clone()).await.expect("the customer is still there");
    let answer = post(&client, &server, path, &[("content-type", "application/grpc")], &erase).await;
    assert_eq!((answer.status, answer.trailers["grpc-status"].as_bytes()), (200, &b"0"[..]));
    assert_eq!(profiles.get_profile(get).await.expect_err("erased").code(), Code::NotFound);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let server = Server::start().await;
    let channel = server.ready().await;
    for (path, reason, there) in [
        ("/arom.v1.SentimentService/Analyze", "UNKNOWN_METHOD", "AnalyzeSentiment"),
        ("/arom.v1.Sentiment/AnalyzeSentiment", "UNKNOWN_SERVICE", "arom.v1.SentimentService"),
        ("/grpc.health.v1.Health/Nothing", "UNKNOWN_METHOD", "Check"),
    ] {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.expect("connected");
        let codec = tonic_prost::ProstCodec::<AnalyzeSentimentRequest, AnalyzeSentimentResponse>::default();
        let path = path.parse().expect("a path");
        let status: Status =
            client.unary(tonic::Request::new(text("ดี")), path, codec).await.expect_err("not there");
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains(there), "{status}");
        let info = status.get_error_details().error_info().expect("details").clone();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "arom.v1"));
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_calls_by_grpc_web_and_no_other_page_does() {
    let origin = "https://console.example";
    let web_origins = origin.parse().expect("an origin");
    let config = ServerConfig { web_origins, ..server_config() };
    let server = Server::with(config, |_| Ok(crate::support::scorer())).await;
    server.ready().await;
    let path = "/arom.v1.SentimentService/AnalyzeSentiment";
    let web = [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];
    for http_2 in [false, true] {
        let client = plain_client(http_2);
        let from = |origin: &'static str| [&web[..], &[("origin", origin)]].concat();
        let answer = post(&client, &server, path, &from(origin), &text("ดีมาก")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["access-control-allow-origin"], origin);
        assert!(
            answer.headers["access-control-expose-headers"].to_str().expect("ASCII").contains("grpc-status")
        );
        let length = u32::from_be_bytes(answer.body[1..5].try_into().expect("four bytes")) as usize;
        let message = AnalyzeSentimentResponse::decode(&answer.body[5..5 + length]).expect("an answer");
        assert!(message.sentiment.is_some());
        // The trailers are the last frame of the body.
        let trailers = &answer.body[5 + length..];
        assert!(trailers[0] == 0x80 && trailers[5..].starts_with(b"grpc-status:0"), "{trailers:?}");
        for spelt in
            ["application/grpc-web;charset=utf-8", "Application/GRPC-Web", "application/grpc-web+proto ; a=b"]
        {
            let headers = [("content-type", spelt), ("x-grpc-web", "1"), ("origin", origin)];
            let answer = post(&client, &server, path, &headers, &text("ดีมาก")).await;
            assert_eq!(answer.status, 200, "{spelt}");
            assert!(answer.body.windows(13).any(|part| part == b"grpc-status:0"), "{spelt}");
        }
        let answer = post(&client, &server, path, &from("https://evil.example"), &text("ดีมาก")).await;
        assert_eq!(answer.status, 403);
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        // An error and a method that is not there can be read, too.
        let answer = post(&client, &server, path, &from(origin), &text(&"ก".repeat(65_536))).await;
        assert_eq!(answer.headers["access-control-allow-origin"], origin);
        let answer = post(&client, &server, "/arom.v1.None/None", &from(origin), &text("")).await;
        assert_eq!(answer.headers["grpc-status"], "12");
        assert_eq!(answer.headers["access-control-allow-origin"], origin);
        // A form is not a call, from whatever page.
        let form = [("content-type", "text/plain"), ("origin", origin)];
        assert_eq!(post(&client, &server, path, &form, &text("ดีมาก")).await.status, 415);
    }
    let preflight = |origin: &str| {
        let headers = "content-type,x-grpc-web,grpc-timeout";
        Request::options(format!("{}{path}", server.address))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", headers)
            .body(tonic::body::Body::empty())
            .expect("a request")
    };
    let client = plain_client(false);
    let answer = read(client.request(preflight(origin)).await.expect("an answer")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["access-control-allow-origin"], origin);
    assert_eq!(answer.headers["access-control-allow-methods"], "POST");
    assert!(answer.headers["access-control-allow-headers"].to_str().expect("ASCII").contains("grpc-timeout"));
    let answer = read(client.request(preflight("https://evil.example")).await.expect("an answer")).await;
    assert!(answer.status == 403 && !answer.headers.contains_key("access-control-allow-origin"));
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_client_that_never_ends_its_message_does_not_hold_up_the_others() {
    let (server, metrics) = Server::measured(server_config(), &uncached()).await;
    let mut client = SentimentServiceClient::new(server.ready().await);
    let held = plain_client(true);
    let requests = (0..200).map(|_| {
        let (_sender, receiver) = mpsc::channel::<Result<hyper::body::Frame<Bytes>, Infallible>>(1);
        let body = tonic::body::Body::new(Open(receiver, _sender));
        let request = Request::post(format!("{}/arom.v1.SentimentService/AnalyzeSentiment", server.address));
        held.request(request.header("content-type", "application/grpc").body(body).expect("a request"))
    });
    let _held: Vec<_> = requests.map(tokio::spawn).collect();
    until(|| open(&metrics) >= 2.0).await;
    client.analyze_sentiment(text("ดี")).await.expect("it is answered");
    assert_eq!(metric(&metrics, "arom_calls_in_flight"), 0.0, "what is not there yet is not counted");
    server.stop().await.unwrap_or_default();
}

/// A body that neither goes on nor ends.
struct Open(
    mpsc::Receiver<Result<hyper::body::Frame<Bytes>, Infallible>>,
    #[allow(dead_code, reason = "it keeps the body open")]
    mpsc::Sender<Result<hyper::body::Frame<Bytes>, Infallible>>,
);

impl hyper::body::Body for Open {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context)
    }
}
