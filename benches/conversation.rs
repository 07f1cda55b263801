//! What hearing a conversation costs beside scoring its texts, and what an export of 100,000 messages takes.
//!
//! ```sh
//! make bench-conversation
//! ```
//!
//! The scorer in this process without a cache, one worker for each CPU, on the texts of bench-serving as a chat, every
//! fourth message a short reply; then `arom serve`; then `arom chat --json` in a process of its own. No two messages of
//! the large exports are alike, so that the cache cannot do the work. Writes target/bench/conversation.json.

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    reason = "a benchmark that panics has failed"
)]

mod support;

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arom::conversation::{Body, Message, Role, Sender, analyze, read};
use arom::grpc::v1::conversation_message::Content;
use arom::grpc::v1::conversation_service_client::ConversationServiceClient;
use arom::grpc::v1::stream_conversation_request::Event;
use arom::grpc::v1::{
    AnalyzeConversationRequest, ConversationMessage, ConversationRole, StreamConversationRequest,
};
use arom::scoring::{Features, Scorer, ScoringConfig};
use arom::telemetry::Metrics;
use futures_util::StreamExt;

use support::{Figure, Server, bundle, median, one, report, root, runtime, texts};

const ROUNDS: usize = 3;

const REPLIES: [&str; 8] = ["ค่ะ", "โอเคค่ะ", "ครับ", "ได้ค่ะ", "อ้าว", "ขอบคุณค่ะ", "เหรอคะ", "รับทราบค่ะ"];

/// Messages of the streams, each of which waits for the answer to the one before.
const STREAMED: usize = 400;

fn main() {
    let chat = chat();
    let texts: Vec<&str> = chat.iter().map(|(_, text)| text.as_str()).collect();
    let mut figures = in_process(&chat, &texts);
    figures.extend(served(&chat));
    figures.extend(exports());
    report("conversation", &figures);
}

/// The texts of bench-serving, by turns from the customer and the agent, every fourth message a short reply.
fn chat() -> Vec<(Role, String)> {
    let mut chat = Vec::new();
    for (at, text) in texts().into_iter().enumerate() {
        let (role, text) = match at % 4 {
            1 => (Role::Agent, text),
            2 => (Role::Customer, REPLIES[at / 4 % REPLIES.len()].to_owned()),
            _ => (Role::Customer, text),
        };
        chat.push((role, text));
    }
    chat
}

fn message(role: Role, text: &str) -> Message {
    let name = String::new();
    let sender = if role == Role::Agent { Sender::Account(name) } else { Sender::User(name) };
    Message { line: 0, id: None, time: None, sender, body: Body::Text(text.to_owned()) }
}

fn in_process(chat: &[(Role, String)], texts: &[&str]) -> Vec<Figure> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let config = ScoringConfig {
        workers,
        cache_bytes: 0,
        max_wait: Duration::from_secs(600),
        ..ScoringConfig::default()
    };
    let scorer = Scorer::open(&bundle(), &runtime(), &config, Arc::<Metrics>::default()).expect("it fits");
    let waiting = tokio::runtime::Runtime::new().expect("a runtime");
    let messages: Vec<Message> = chat.iter().map(|(role, text)| message(*role, text)).collect();
    let roles: Vec<Role> = chat.iter().map(|(role, _)| *role).collect();
    let (mut plain, mut heard) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let scored = scorer.score_all(texts.iter().map(|text| (*text, Features::default())));
        waiting.block_on(scored.for_each(async |scored| drop(scored.expect("scored"))));
        plain.push(texts.len() as f64 / started.elapsed().as_secs_f64());
        let started = Instant::now();
        waiting.block_on(analyze(&scorer, &messages, &roles, || {})).expect("scored");
        heard.push(texts.len() as f64 / started.elapsed().as_secs_f64());
    }
    let plain = median(&plain);
    vec![
        Figure::beside("texts scored by themselves", plain, "msg/s", ("itself", plain)),
        Figure::beside("a conversation heard", median(&heard), "msg/s", ("by themselves", plain)),
    ]
}

fn asked(chat: &[(Role, String)]) -> Vec<ConversationMessage> {
    let message = |(role, text): &(Role, String)| ConversationMessage {
        role: match role {
            Role::Agent => ConversationRole::Agent,
            Role::Customer | Role::Bot | Role::System => ConversationRole::Customer,
        }
        .into(),
        content: Some(Content::Text(text.clone())),
        ..ConversationMessage::default()
    };
    chat.iter().map(message).collect()
}

fn served(chat: &[(Role, String)]) -> Vec<Figure> {
    let server = Server::start(&["--cache-bytes", "0", "--max-wait-ms", "600000"]);
    let waiting = tokio::runtime::Runtime::new().expect("a runtime");
    waiting.block_on(async {
        let texts = server.client().await;
        let mut client = ConversationServiceClient::connect(format!("http://{}", server.address))
            .await
            .expect("it listens");
        let messages = asked(chat);
        let (mut unary, mut whole, mut live) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let request = AnalyzeConversationRequest { messages: messages.clone(), ..Default::default() };
            client.analyze_conversation(request).await.expect("scored");
            whole.push(messages.len() as f64 / started.elapsed().as_secs_f64());
            let started = Instant::now();
            for (_, text) in chat.iter().take(STREAMED) {
                one(&texts, text).await.expect("scored");
            }
            unary.push(STREAMED as f64 / started.elapsed().as_secs_f64());
            let started = Instant::now();
            let (send, receive) = tokio::sync::mpsc::channel(1);
            let events = futures_util::stream::unfold(receive, async |mut receive| {
                Some((receive.recv().await?, receive))
            });
            let mut answers = client.stream_conversation(events).await.expect("a stream").into_inner();
            for message in messages.iter().take(STREAMED) {
                let event = Some(Event::Message(message.clone()));
                send.send(StreamConversationRequest { event }).await.expect("it reads");
                answers.message().await.expect("an answer").expect("an answer");
            }
            live.push(STREAMED as f64 / started.elapsed().as_secs_f64());
        }
        let unary = median(&unary);
        vec![
            Figure::beside(
                "AnalyzeConversation, all at once",
                median(&whole),
                "msg/s",
                ("single calls", unary),
            ),
            Figure::beside("single calls, one after the other", unary, "msg/s", ("itself", unary)),
            Figure::beside(
                "StreamConversation, one after the other",
                median(&live),
                "msg/s",
                ("single calls", unary),
            ),
        ]
    })
}

/// Exports of 10,000 and 100,000 messages: reading alone, and `arom chat`.
fn exports() -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    let mut base = None;
    for count in [10_000, 100_000] {
        let text = export(count);
        let started = Instant::now();
        let transcript = read(text.as_bytes(), None).expect("a chat");
        let took = started.elapsed().as_secs_f64();
        assert_eq!((transcript.messages.len(), transcript.skipped.len()), (count, 0));
        drop(transcript);
        let file = root().join("target/bench/export.txt");
        std::fs::create_dir_all(root().join("target/bench")).expect("the build made target");
        std::fs::write(&file, &text).expect("there is room");
        let (peak, seconds) = chat_of(&file);
        let size = text.len() as f64 / 1e6;
        let (base_peak, base_rate) = *base.get_or_insert((peak, count as f64 / seconds));
        let of = |name: &str| format!("{count} messages, {size:.1} MB: {name}");
        figures.push(Figure::beside(of("reading"), took * 1e3, "ms", ("arom chat, ms", seconds * 1e3)));
        figures.push(Figure::beside(of("arom chat"), count as f64 / seconds, "msg/s", ("10,000", base_rate)));
        figures.push(Figure::beside(of("peak memory"), peak, "MB", ("10,000", base_peak)));
        std::fs::remove_file(&file).expect("it was there");
    }
    figures
}

/// A chat of so many messages, no two of them alike.
fn export(count: usize) -> String {
    let mut text = String::from("[LINE] Chat history with ร้านค้า\nSaved on: 2026/09/30 10:00\n\n");
    let samples: Vec<String> =
        texts().iter().map(|text| text.replace(['\n', '\r', '\t', '"'], " ")).collect();
    for at in 0..count {
        if at % 720 == 0 {
            let day = jiff::civil::date(2026, 1, 1)
                .checked_add(jiff::Span::new().days(i64::try_from(at / 720).expect("few")));
            let day = day.expect("within the calendar");
            let _ = write!(text, "\n{}\n", day.strftime("%a, %m/%d/%Y"));
        }
        let minute = at % 720;
        let name = if at % 3 == 1 { "ร้านค้า" } else { "ลูกค้า" };
        let _ = writeln!(
            text,
            "{:02}:{:02}\t{name}\t{} {at}",
            minute / 60,
            minute % 60,
            samples[at % samples.len()]
        );
    }
    text
}

/// The most memory in MB that `arom chat --json` of a file took, and the seconds.
fn chat_of(file: &std::path::Path) -> (f64, f64) {
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_arom"))
        .args(["chat", "--json"])
        .arg(file)
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut peak = 0.0_f64;
    while child.try_wait().expect("it runs").is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
        peak = peak.max(kilobytes.unwrap_or_default() * 1024.0 / 1e6);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(child.wait().expect("it ended").success());
    (peak, started.elapsed().as_secs_f64())
}
