//! One connection over a pipe in memory, on a paused clock.

#![allow(clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::calls::CHECKED_BYTES;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        port: "grpc",
        protocol: Protocol::Http2,
        http2: Http2 {
            stream_window: 64 << 10,
            connection_window: 8 << 20,
            max_streams: 1024,
            max_header_bytes: 16 << 10,
            keepalive: 3600 * SECOND,
            keepalive_timeout: 20 * SECOND,
        },
        caps: Caps { total: 100, per_peer: 100 },
        handshake_timeout: 10 * SECOND,
        idle_timeout: 7200 * SECOND,
        send_timeout: 60 * SECOND,
        age: Some(Age { limit: 3600 * SECOND, grace: 600 * SECOND }),
    }
}

/// A body whose frames come through a channel; it ends when the sender is dropped.
#[derive(Debug)]
struct Piped(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Piped {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// `/open` is answered for as long as the test likes, `/never` not at all, everything else at once.
#[derive(Clone, Debug)]
struct Scripted {
    open: mpsc::Sender<mpsc::Sender<Bytes>>,
    calls: Arc<AtomicUsize>,
}

impl Service<Request<Received>> for Scripted {
    type Response = Response<Piped>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Piped>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Received>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (body, frames) = mpsc::channel(1);
        let open = self.open.clone();
        Box::pin(async move {
            match request.uri().path() {
                "/open" => open.send(body).await.expect("the test is there"),
                "/never" => std::future::pending().await,
                // Reads the request to its end, as gRPC does, and answers whatever that is.
                "/reads" => {
                    drop(body);
                    while let Some(Ok(_)) = std::future::poll_fn(|context| {
                        hyper::body::Body::poll_frame(std::pin::Pin::new(request.body_mut()), context)
                    })
                    .await
                    {}
                }
                _ => drop(body),
            }
            Ok(Response::new(Piped(frames)))
        })
    }
}

/// A connection that is served, seen from outside.
struct Served {
    ended: JoinHandle<End>,
    bodies: mpsc::Receiver<mpsc::Sender<Bytes>>,
    calls: Arc<AtomicUsize>,
    drain: Drain,
    metrics: Arc<Metrics>,
}

impl Served {
    /// How many streams were reset because their clients took nothing, by the metric.
    fn streams_reset(&self) -> u32 {
        let text = self.metrics.render();
        let name = "arom_streams_reset_total{port=\"grpc\",reason=\"stalled\"} ";
        let count = text.lines().find_map(|line| line.strip_prefix(name));
        count.expect("it is there before the first").parse().expect("a number")
    }
}

fn peer(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

fn serve_one(settings: &Settings, places: &Places) -> (DuplexStream, Served) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (open, bodies) = mpsc::channel(16);
    let (calls, drain) = (Arc::new(AtomicUsize::new(0)), Drain::default());
    let metrics = Arc::new(Metrics::default());
    let connection = Connection {
        builder: connection::builder(settings, &metrics),
        limits: connection::limits(settings),
        ends: Ends { peer: (peer(1), 1).into(), local: None },
        place: places.take(peer(1)).expect("a place"),
        stage: drain.watch(),
    };
    let service = Scripted { open, calls: Arc::clone(&calls) };
    let ended = tokio::spawn(connection.run(far, service));
    (near, Served { ended, bodies, calls, drain, metrics })
}

fn places() -> Places {
    Places::new(settings().caps)
}

type Client = SendRequest<String>;

async fn client(stream: DuplexStream) -> Client {
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a connection");
    tokio::spawn(connection);
    client
}

/// A client that gives each answer so much room, and no more before it reads.
async fn client_with_window(stream: DuplexStream, bytes: u32) -> Client {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(bytes);
    let (client, connection) = builder.handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    client
}

fn request(path: &str) -> Request<String> {
    Request::post(format!("http://arom{path}")).body(String::new()).expect("a request")
}

async fn next_frame(body: &mut Incoming) -> Option<Bytes> {
    let frame = std::future::poll_fn(|context| {
        hyper::body::Body::poll_frame(std::pin::Pin::new(&mut *body), context)
    });
    frame.await.map(|frame| frame.expect("the stream goes on").into_data().expect("data"))
}

/// A call that is open on the client and on the server.
async fn open(client: &mut Client, served: &mut Served) -> (Incoming, mpsc::Sender<Bytes>) {
    let answer = client.send_request(request("/open"));
    let (answer, body) = tokio::join!(answer, served.bodies.recv());
    (answer.expect("an answer").into_body(), body.expect("a body"))
}

async fn goes_on((answer, body): &mut (Incoming, mpsc::Sender<Bytes>)) {
    body.send(Bytes::from_static(b"x")).await.expect("the call is open");
    assert_eq!(next_frame(answer).await.as_deref(), Some(&b"x"[..]));
}

/// Waits until the client knows that it must open another connection.
async fn told_to_move_on(client: &mut Client) {
    while client.send_request(request("/")).await.is_ok() {
        tokio::time::sleep(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_gets_goaway_and_its_long_call_goes_on_to_its_end() {
    let (stream, mut served) = serve_one(&settings(), &places());
    let mut client = client(stream).await;
    let begun = Instant::now();
    let mut call = open(&mut client, &mut served).await;
    client.send_request(request("/")).await.expect("the connection is young");
    tokio::time::sleep(3200 * SECOND).await;
    client.send_request(request("/")).await.expect("an age of less than nine tenths");
    told_to_move_on(&mut client).await;
    let age = begun.elapsed().as_secs_f64();
    assert!((3240.0..=3961.0).contains(&age), "{age}");
    tokio::time::sleep(590 * SECOND).await;
    goes_on(&mut call).await;
    drop(call);
    assert_eq!(served.ended.await.expect("no panic"), End::Done);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_open_when_the_grace_ends_is_cut() {
    let (stream, mut served) = serve_one(&settings(), &places());
    let mut client = client(stream).await;
    let mut call = open(&mut client, &mut served).await;
    told_to_move_on(&mut client).await;
    let told = Instant::now();
    goes_on(&mut call).await;
    assert_eq!(served.ended.await.expect("no panic"), End::Closed(Why::Age));
    let grace = told.elapsed().as_secs_f64();
    assert!((599.0..=601.0).contains(&grace), "{grace}");
}

#[tokio::test(start_paused = true)]
async fn who_sends_nothing_or_half_a_preface_or_byte_by_byte_is_closed_in_time() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Both] {
        for (bytes, pause) in
            [(&preface[..0], 0), (&preface[..12], 0), (&preface[..20], 1), (&preface[..], 0)]
        {
            let (mut stream, served) = serve_one(&Settings { protocol, ..settings() }, &places());
            let begun = Instant::now();
            for byte in bytes.chunks(1) {
                stream.write_all(byte).await.unwrap_or_default();
                tokio::time::sleep(pause * SECOND).await;
            }
            let end = served.ended.await.expect("no panic");
            let took = begun.elapsed();
            assert!(end != End::Done && took <= 20 * SECOND, "{protocol:?} {bytes:?} {end:?} {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_request_over_http_1_must_come_in_time() {
    let settings = Settings { protocol: Protocol::Http1, ..settings() };
    let (mut stream, served) = serve_one(&settings, &places());
    let begun = Instant::now();
    stream.write_all(b"GET /a-path-of-some-length HTTP/1.1\r\n").await.expect("open");
    let dripping = async {
        while stream.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(2 * SECOND).await;
        }
    };
    let ((), ended) = tokio::join!(dripping, served.ended);
    assert_eq!(ended.expect("no panic"), End::Failed);
    assert!(begun.elapsed() <= 13 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_calls_moves_on_and_one_with_a_call_does_not() {
    let settings = Settings { idle_timeout: 60 * SECOND, ..settings() };
    let (stream, mut served) = serve_one(&settings, &places());
    let mut client = client(stream).await;
    let mut call = open(&mut client, &mut served).await;
    tokio::time::sleep(600 * SECOND).await;
    goes_on(&mut call).await;
    drop(call);
    let begun = Instant::now();
    // The client may be gone before it has answered the ping that goes with GOAWAY.
    assert!(matches!(served.ended.await.expect("no panic"), End::Done | End::Failed));
    let idle = begun.elapsed().as_secs();
    assert!((60..=125).contains(&idle), "{idle}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ignores_goaway_is_closed_anyway() {
    let settings = Settings { idle_timeout: 60 * SECOND, ..settings() };
    let (mut stream, served) = serve_one(&settings, &places());
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("open");
    assert_eq!(served.ended.await.expect("no panic"), End::Closed(Why::Idle));
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.expect("closed");
    // A frame of 8 bytes of type 7: GOAWAY.
    assert!(said.windows(5).any(|head| head == [0, 0, 8, 7, 0]), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn drain_lets_calls_finish_and_cut_does_not() {
    let (stream, mut served) = serve_one(&settings(), &places());
    let mut client = client(stream).await;
    let mut call = open(&mut client, &mut served).await;
    served.drain.start();
    told_to_move_on(&mut client).await;
    tokio::time::sleep(3 * 3600 * SECOND).await;
    goes_on(&mut call).await;
    assert!(!served.ended.is_finished());
    served.drain.cut();
    assert_eq!(served.ended.await.expect("no panic"), End::Closed(Why::Drain));
    served.drain.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_takes_the_place_of_a_connection_without_calls_only() {
    let places = Places::new(Caps { total: 2, per_peer: 2 });
    let (stream, mut busy) = serve_one(&settings(), &places);
    let mut caller = client(stream).await;
    let mut call = open(&mut caller, &mut busy).await;
    let (silent, served) = serve_one(&settings(), &places);
    let newcomer = places.take(peer(1)).expect("the silent one leaves");
    assert_eq!(served.ended.await.expect("no panic"), End::Closed(Why::Evicted));
    goes_on(&mut call).await;
    drop((silent, newcomer));
    let (_other, _served) = serve_one(&settings(), &places);
}

/// Opens so many calls, waits until the server has them, and cancels them.
async fn cancel(client: &mut Client, served: &Served, calls: usize) {
    const AT_ONCE: usize = 500;
    for _ in 0..calls / AT_ONCE {
        let before = served.calls.load(Ordering::SeqCst);
        let (leave, left) = watch::channel(());
        for _ in 0..AT_ONCE {
            let (answer, mut left) = (client.send_request(request("/never")), left.clone());
            tokio::spawn(async move {
                tokio::select! {
                    answer = answer => answer.is_ok(),
                    _ = left.changed() => false,
                }
            });
        }
        for _ in 0..10_000 {
            if served.calls.load(Ordering::SeqCst) >= before + AT_ONCE {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(leave);
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_thousand_cancelled_calls_at_once_hurt_no_other_call() {
    let (stream, mut served) = serve_one(&settings(), &places());
    let mut client = client(stream).await;
    let mut call = open(&mut client, &mut served).await;
    cancel(&mut client, &served, 2_000).await;
    assert!(served.calls.load(Ordering::SeqCst) > 2_000);
    goes_on(&mut call).await;
    client.send_request(request("/")).await.expect("the connection stays");
    // For hours, as long as they are not too many a second.
    for _ in 0..20 {
        tokio::time::sleep(SECOND).await;
        cancel(&mut client, &served, 1_000).await;
    }
    goes_on(&mut call).await;
    client.send_request(request("/")).await.expect("the connection stays");
}

#[tokio::test(start_paused = true)]
async fn who_cancels_too_many_is_told_to_move_on_and_the_other_call_goes_on() {
    let (stream, mut served) = serve_one(&settings(), &places());
    let mut client = client(stream).await;
    let mut call = open(&mut client, &mut served).await;
    cancel(&mut client, &served, 4_000).await;
    client.send_request(request("/")).await.expect_err("the client must open another connection");
    goes_on(&mut call).await;
    drop(call);
    assert_eq!(served.ended.await.expect("no panic"), End::Done);
}

/// HTTP/2 without a client that keeps the rules: a call and its reset, as often as wanted.
fn rapid_resets(calls: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for call in 0..calls {
        let stream = (2 * call + 1).to_be_bytes();
        // POST, http, /reads, and a body that does not come.
        bytes.extend([0, 0, 10, 1, 4]);
        bytes.extend(stream);
        bytes.extend([0x83, 0x86, 0x04, 0x06]);
        bytes.extend(b"/reads");
        bytes.extend([0, 0, 4, 3, 0]);
        bytes.extend(stream);
        bytes.extend([0, 0, 0, 8]);
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn rapid_resets_are_cut_whether_they_come_at_once_or_bit_by_bit() {
    // At once, as fast as the connection reads, and 2,000 a second.
    for (piece, pause_ms) in [(1 << 20, 0), (3_200, 0), (6_400, 100)] {
        let (mut stream, served) = serve_one(&settings(), &places());
        for piece in rapid_resets(20_000).chunks(piece) {
            if stream.write_all(piece).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        let end = served.ended.await.expect("no panic");
        assert!(matches!(end, End::Failed | End::Closed(Why::Resets)), "{piece} {end:?}");
        assert!(served.calls.load(Ordering::SeqCst) < 16_000, "{piece}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_frames_about_all_streams_is_cut_and_some_are_taken() {
    const WINDOW: [u8; 15] = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0x10, 0];
    let (mut stream, served) = serve_one(&settings(), &places());
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("open");
    stream.write_all(&WINDOW.repeat(30)).await.expect("open");
    tokio::time::sleep(SECOND).await;
    assert!(!served.ended.is_finished(), "a client may change its settings");
    stream.write_all(&WINDOW.repeat(50)).await.expect("open");
    assert_eq!(served.ended.await.expect("no panic"), End::Closed(Why::Frames));
}

#[tokio::test(start_paused = true)]
async fn a_target_of_several_addresses_is_an_authority() {
    let (mut stream, served) = serve_one(&settings(), &places());
    let authority = b"192.0.2.1:50051,192.0.2.2:50051";
    let length = u8::try_from(authority.len()).expect("short");
    let block = [&[0x83, 0x86, 0x84, 0x41, length][..], authority].concat();
    let frame = [&[0, 0, length + 5, 1, 5, 0, 0, 0, 1][..], &block].concat();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("open");
    stream.write_all(&frame).await.expect("open");
    while served.calls.load(Ordering::SeqCst) == 0 {
        assert!(!served.ended.is_finished(), "the connection failed");
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(Instant::now().elapsed() < SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_is_reset_and_the_others_go_on() {
    for early in [0, 30_000] {
        let (stream, mut served) = serve_one(&settings(), &places());
        // Its window is as it is: hyper enlarges it when a body is read.
        let mut client = client(stream).await;
        let (answer, body) = open(&mut client, &mut served).await;
        let mut other = open(&mut client, &mut served).await;
        body.send(Bytes::from(vec![b'x'; early])).await.expect("the call is open");
        tokio::time::sleep(1000 * SECOND).await;
        goes_on(&mut other).await;
        let begun = Instant::now();
        body.send(Bytes::from(vec![b'x'; 4 << 20])).await.expect("the call is open");
        body.closed().await;
        let reset = begun.elapsed();
        assert!((59 * SECOND..=62 * SECOND).contains(&reset), "{reset:?}");
        // Well after the time in which a connection would be cut.
        tokio::time::sleep(200 * SECOND).await;
        goes_on(&mut other).await;
        client.send_request(request("/")).await.expect("the connection goes on");
        assert!(!served.ended.is_finished());
        drop(answer);
    }
}

/// An answer that ends is watched to its end: its last part may wait in the connection, too.
#[tokio::test(start_paused = true)]
async fn a_stream_whose_last_part_stalls_is_reset() {
    for (window, bytes) in [(20_000, 30_000), (33_000, 40_000), (16_000, CHECKED_BYTES), (60_000, 65_536)] {
        let (stream, mut served) = serve_one(&settings(), &places());
        let mut client = client_with_window(stream, window).await;
        let (mut answer, body) = open(&mut client, &mut served).await;
        body.send(Bytes::from(vec![b'x'; bytes])).await.expect("the call is open");
        drop(body);
        tokio::time::sleep(63 * SECOND).await;
        let is_reset = loop {
            let frame = std::future::poll_fn(|context| {
                hyper::body::Body::poll_frame(std::pin::Pin::new(&mut answer), context)
            });
            match frame.await {
                Some(Ok(_)) => {}
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(is_reset, "an answer of {bytes} bytes in a window of {window}");
        client.send_request(request("/")).await.expect("the connection goes on");
        assert_eq!(served.streams_reset(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_answer_is_one_part() {
    let (stream, mut served) = serve_one(&settings(), &places());
    let mut client = client(stream).await;
    let (mut answer, body) = open(&mut client, &mut served).await;
    body.send(Bytes::from(vec![b'x'; CHECKED_BYTES - 1])).await.expect("the call is open");
    assert_eq!(next_frame(&mut answer).await.map(|part| part.len()), Some(CHECKED_BYTES - 1));
    assert_eq!(served.streams_reset(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_from_its_connection_is_cut() {
    let (mut stream, served) = serve_one(&settings(), &places());
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("open");
    // Each ping is answered, until there is no room for another answer.
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[0; 8]].concat().repeat(1000);
    let flood = async {
        while stream.write_all(&ping).await.is_ok() {
            // Within the ration of frames that ask for nothing.
            tokio::time::sleep(SECOND / 2).await;
        }
    };
    let begun = Instant::now();
    flood.await;
    assert_eq!(served.ended.await.expect("no panic"), End::Closed(Why::Stalled));
    assert!((60 * SECOND..=140 * SECOND).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_all_of_its_answer() {
    let (stream, mut served) = serve_one(&settings(), &places());
    let mut client = client(stream).await;
    let (mut answer, body) = open(&mut client, &mut served).await;
    let sent = 1 << 20;
    body.send(Bytes::from(vec![b'x'; sent])).await.expect("the call is open");
    drop(body);
    let mut read = 0;
    while let Some(part) = next_frame(&mut answer).await {
        read += part.len();
        tokio::time::sleep(20 * SECOND).await;
    }
    assert_eq!(read, sent);
    client.send_request(request("/")).await.expect("the connection goes on");
}
