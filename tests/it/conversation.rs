//! Conversations from their messages to where they turned, by the real model, in the library and over gRPC.

use std::fs;
use std::sync::Arc;

use arom::conversation::{
    Analysis, Basis, Body, Cue, Format, Message, Role, Roles, Sender, Transcript, analyze, read,
};
use arom::grpc::ServerConfig;
use arom::grpc::v1::conversation_message::Content;
use arom::grpc::v1::conversation_service_client::ConversationServiceClient;
use arom::grpc::v1::stream_conversation_request::Event;
use arom::grpc::v1::stream_conversation_response::Outcome;
use arom::grpc::v1::{
    AnalyzeConversationRequest, AnalyzeConversationResponse, AnalyzedMessage, ConversationExport,
    ConversationFormat, ConversationMessage, ConversationRole, ConversationUpdate, EscalationCue, MediaType,
    SentimentBasis, Sticker, StreamConversationRequest,
};
use arom::model::Bundle;
use arom::scoring::{Features, MIXED_MARGIN, Scorer};
use futures_util::StreamExt;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::support::{Server, repository, runtime, scorer, server_config, uncached};

const REPLIES: &str = include_str!("../data/replies.txt");
const REPLIES_UNSEEN: &str = include_str!("../data/replies_unseen.txt");

fn parcel() -> Vec<u8> {
    fs::read(repository().join("examples/chats/parcel.txt")).expect("readable")
}

fn text(message: &Message) -> &str {
    match &message.body {
        Body::Text(text) => text,
        Body::Sticker(_) | Body::Media(_) | Body::Notice(_) | Body::Unsent => "",
    }
}

async fn heard(scorer: &Scorer, transcript: &Transcript) -> (Roles, Analysis) {
    let roles = Roles::of(&transcript.messages, &Default::default());
    let analysis = analyze(scorer, &transcript.messages, &roles.of, || {}).await.expect("scored");
    (roles, analysis)
}

#[tokio::test]
async fn a_chat_that_goes_wrong_and_is_rescued_is_seen_to() {
    let transcript = read(&parcel(), None).expect("a chat");
    assert_eq!((transcript.format, transcript.skipped.len()), (Format::LineTabs, 0));
    let messages = &transcript.messages;
    assert!(messages.len() >= 40);
    let (roles, analysis) = heard(&scorer(), &transcript).await;
    assert_eq!(roles.guessed, Vec::<String>::new());
    let trajectory = &analysis.trajectory;
    let customer = trajectory.customer().expect("the customer");
    let [worse, better, ..] = customer.turning_points.as_slice() else {
        panic!("{:?}", customer.turning_points)
    };
    assert!(worse.from > 0.25 && worse.to < -0.25 && better.to > worse.to + 0.5);
    // The rescue may come in two steps: the promise, and what kept it.
    assert!(customer.turning_points.last().is_some_and(|last| last.to > 0.25));
    assert_eq!(text(&messages[worse.message]), "ขนส่งบอกว่ายังไม่ได้รับของจากร้านเลยนะคะ");
    assert!(worse.after.is_some_and(|at| text(&messages[at]).contains("ลองเช็กกับขนส่งดู")));
    assert_eq!(text(&messages[better.message]), "จริงเหรอคะ ทันวันนี้ใช่ไหม");
    assert!(better.after.is_some_and(|at| text(&messages[at]).contains("ห่อของขวัญให้ฟรี")));
    assert!(customer.longest_negative_run.0 >= 3 && customer.closing > 0.5);
    assert!(!trajectory.unresolved_negative);
    let waits = trajectory.waits.as_ref().expect("answers");
    assert_eq!(waits.longest.as_secs(), (19 * 60 + 6) * 60);
    assert!(waits.after_long < Some(0.0) && waits.after_others > Some(0.0));
    let cues: Vec<(usize, &[Cue])> =
        analysis.heard.iter().enumerate().map(|(at, heard)| (at, heard.cues.as_slice())).collect();
    let cues: Vec<_> = cues.into_iter().filter(|(_, cues)| !cues.is_empty()).collect();
    assert_eq!(
        cues,
        [
            (11, [Cue::NoAnswer].as_slice()),
            (16, &[Cue::NoAnswer]),
            (19, &[Cue::RepeatedContact]),
            (21, &[Cue::ComplaintThreat, Cue::RefundDemand]),
        ]
    );
}

#[tokio::test]
async fn a_message_has_the_score_of_its_text_unless_it_is_heard_in_context() {
    let transcript = read(&parcel(), None).expect("a chat");
    let scorer = scorer();
    let (roles, analysis) = heard(&scorer, &transcript).await;
    let mut bases = Vec::new();
    for ((message, role), heard) in transcript.messages.iter().zip(&roles.of).zip(&analysis.heard) {
        bases.push(heard.basis);
        match heard.basis {
            Basis::Text => {
                let alone = scorer.score(text(message), Features::default()).await.expect("scored");
                assert_eq!(heard.sentiment.as_ref(), Some(&alone.sentiment));
            }
            Basis::TextInContext => assert_eq!(*role, Role::Customer),
            Basis::UnknownSticker => assert!(heard.sentiment.as_ref().is_some_and(|felt| felt.score == 0.0)),
            Basis::Keywords | Basis::Nothing => assert_eq!(heard.sentiment, None),
        }
    }
    assert!(
        [Basis::Text, Basis::TextInContext, Basis::UnknownSticker, Basis::Nothing]
            .iter()
            .all(|basis| bases.contains(basis))
    );
}

/// How short replies are heard alone and after what they answer, beside what a reader says of them.
#[derive(Debug, Default)]
struct Judged {
    rows: f64,
    in_context: f64,
    right: [f64; 2],
    opposite: [f64; 2],
}

async fn judged(scorer: &Scorer, rows: &str) -> Judged {
    let margin = MIXED_MARGIN;
    let mut judged = Judged::default();
    for row in rows.lines().filter(|line| !line.starts_with('#')) {
        let [own, turn, reply, sign] = row.split(" | ").collect::<Vec<_>>()[..] else { panic!("{row}") };
        let wanted = match sign {
            "+" => 1,
            "-" => -1,
            _ => 0,
        };
        let message = |sender: Sender, text: &str| Message {
            line: 1,
            id: None,
            time: None,
            sender,
            body: Body::Text(text.to_owned()),
        };
        let (customer, agent) = (Sender::User("ก".to_owned()), Sender::Account("ข".to_owned()));
        let messages = [message(customer.clone(), own), message(agent, turn), message(customer, reply)];
        let roles = [Role::Customer, Role::Agent, Role::Customer];
        let analysis = analyze(scorer, &messages, &roles, || {}).await.expect("scored");
        let heard = analysis.heard.last().expect("the reply");
        let alone = scorer.score(reply, Features::default()).await.expect("scored").sentiment.score;
        let felt = heard.sentiment.as_ref().map_or(alone, |felt| felt.score);
        judged.rows += 1.0;
        judged.in_context += f64::from(u8::from(heard.basis == Basis::TextInContext));
        for (slot, score) in [alone, felt].into_iter().enumerate() {
            let said = i32::from(score >= margin) - i32::from(score <= -margin);
            judged.right[slot] += f64::from(u8::from(said == wanted));
            judged.opposite[slot] += f64::from(u8::from(said * wanted == -1));
        }
    }
    judged
}

/// `cargo test --release replies -- --nocapture` prints the figures of README.md, which are of `arom-base`.
#[tokio::test]
async fn short_replies_are_better_heard_with_what_they_answer() {
    let bundle = Bundle::read(&repository().join("models/arom-base")).expect("whole");
    let scorer = Scorer::open(&bundle, &runtime(), &uncached(), Arc::default()).expect("it fits");
    for (name, rows, least) in [("replies.txt", REPLIES, 60.0), ("replies_unseen.txt", REPLIES_UNSEEN, 150.0)]
    {
        let Judged { rows, in_context, right, opposite } = judged(&scorer, rows).await;
        println!(
            "{name}: {rows} replies, {in_context} heard in context; right alone {:.2}, as heard {:.2}; opposite alone {:.2}, \
             as heard {:.2}",
            right[0] / rows,
            right[1] / rows,
            opposite[0] / rows,
            opposite[1] / rows
        );
        assert!(rows >= least && in_context > rows / 2.0);
        assert!(right[1] > right[0] * 1.1 && opposite[1] < opposite[0] * 0.8, "{name}");
    }
}

type Client = ConversationServiceClient<Channel>;

async fn served(config: ServerConfig) -> (Server, Client) {
    let (server, _) = Server::measured(config, &uncached()).await;
    let client = Client::new(server.ready().await);
    (server, client)
}

fn export(content: &[u8]) -> AnalyzeConversationRequest {
    let export = ConversationExport { content: content.to_vec(), ..ConversationExport::default() };
    AnalyzeConversationRequest { export: Some(export), ..AnalyzeConversationRequest::default() }
}

fn said(role: ConversationRole, text: &str) -> ConversationMessage {
    let content = Some(Content::Text(text.to_owned()));
    ConversationMessage { role: role.into(), content, ..ConversationMessage::default() }
}

async fn asked(client: &mut Client, request: AnalyzeConversationRequest) -> AnalyzeConversationResponse {
    client.analyze_conversation(request).await.expect("scored").into_inner()
}

#[tokio::test]
async fn an_export_is_answered_message_by_message() {
    let (server, mut client) = served(server_config()).await;
    let answer = asked(&mut client, export(&parcel())).await;
    let reading = answer.reading.expect("a reading");
    assert_eq!((reading.format(), reading.charset.as_str()), (ConversationFormat::LineTabs, "utf-8"));
    assert_eq!((answer.messages.len(), reading.skipped_count, answer.guessed_speakers.len()), (43, 0, 0));
    let trajectory = answer.trajectory.expect("a trajectory");
    let [customer, agent] = trajectory.roles.as_slice() else { panic!("{:?}", trajectory.roles) };
    assert_eq!((customer.role(), agent.role()), (ConversationRole::Customer, ConversationRole::Agent));
    let turns: Vec<(i32, Option<i32>)> =
        customer.turning_points.iter().map(|turn| (turn.index, turn.after_index)).collect();
    assert!(turns.starts_with(&[(13, Some(12)), (29, Some(28))]), "{turns:?}");
    assert_eq!(trajectory.cue_count, 5);
    assert!(trajectory.summary.contains("#14") && !trajectory.unresolved_negative);
    let waits = trajectory.response_times.expect("answers");
    assert_eq!(waits.longest_wait.expect("a wait").seconds, (19 * 60 + 6) * 60);
    // No name and no text unless they are asked for.
    let speakers: Vec<&str> = answer.messages.iter().map(|message| message.speaker.as_str()).collect();
    assert!(["customer", "agent", "agent 2", "system"].iter().all(|name| speakers.contains(name)));
    assert!(speakers.iter().all(|name| ["customer", "agent", "agent 2", "system"].contains(name)));
    assert!(answer.messages.iter().all(|message| message.text.is_empty()));
    let cued = &answer.messages[21];
    assert_eq!(
        cued.cues().collect::<Vec<_>>(),
        [EscalationCue::ComplaintThreat, EscalationCue::RefundDemand]
    );
    assert_eq!((cued.line, cued.basis()), (30, SentimentBasis::Text));
    assert!(cued.smoothed_score.is_some() && cued.send_time.is_some());
    let texts = AnalyzeConversationRequest { include_texts: true, ..export(&parcel()) };
    let texts = asked(&mut client, texts).await;
    assert_eq!(texts.messages[31].text, "คุณเอก โทร <phone> ออกจากร้านแล้วค่ะ");
    assert!(texts.messages[27].text.contains("คุณ<customer>"));
    let named = AnalyzeConversationRequest { include_texts: true, keep_names: true, ..export(&parcel()) };
    let named = asked(&mut client, named).await;
    assert_eq!(
        (named.messages[27].speaker.as_str(), named.messages[31].text.contains("<phone>")),
        ("แอน ร้านบ้านใบชา", true)
    );
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn structured_messages_are_scored_as_they_are() {
    let (server, mut client) = served(server_config()).await;
    let sticker = |keywords: &[&str]| ConversationMessage {
        content: Some(Content::Sticker(Sticker {
            keywords: keywords.iter().map(|word| (*word).to_owned()).collect(),
        })),
        ..said(ConversationRole::Customer, "")
    };
    let media = ConversationMessage {
        content: Some(Content::Media(MediaType::Image.into())),
        ..said(ConversationRole::Customer, "")
    };
    let unnamed = ConversationMessage {
        speaker: "พี่หมี".to_owned(),
        ..said(ConversationRole::Unspecified, "ได้เลยค่ะ")
    };
    let messages = vec![
        said(ConversationRole::Customer, "ของแตกมาทั้งกล่อง แย่มาก"),
        unnamed,
        sticker(&["angry", "mad"]),
        sticker(&[]),
        media,
        said(ConversationRole::System, "ห้องนี้ถูกปิด"),
    ];
    let roles = [("พี่หมี".to_owned(), ConversationRole::Agent.into())];
    let request = AnalyzeConversationRequest { messages, speaker_roles: roles.into(), ..Default::default() };
    let answer = asked(&mut client, request).await;
    let bases: Vec<SentimentBasis> = answer.messages.iter().map(AnalyzedMessage::basis).collect();
    let nothing = SentimentBasis::Unspecified;
    assert_eq!(
        bases,
        [
            SentimentBasis::Text,
            SentimentBasis::Text,
            SentimentBasis::StickerKeywords,
            SentimentBasis::UnknownSticker,
            nothing,
            nothing
        ]
    );
    assert_eq!(answer.messages[1].role(), ConversationRole::Agent);
    let score = |at: usize| answer.messages[at].sentiment.as_ref().map(|felt| felt.score);
    assert!(score(0) < Some(-0.5) && score(2) < Some(-0.5) && score(3) == Some(0.0) && score(4).is_none());
    let trajectory = answer.trajectory.expect("a trajectory");
    assert!(trajectory.unresolved_negative && trajectory.response_times.is_none());
    assert_eq!((trajectory.roles[0].message_count, trajectory.roles[0].scored_count), (4, 2));
    assert_eq!(answer.reading, None);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_every_field_at_fault() {
    let config = ServerConfig { max_conversation_messages: 3, max_text_bytes: 40, ..server_config() };
    let (server, mut client) = served(config).await;
    let customer = |text: &str| said(ConversationRole::Customer, text);
    let long = ConversationMessage { role: 9, ..customer(&"ก".repeat(20)) };
    let nobody = said(ConversationRole::Unspecified, "ค่ะ");
    let strict =
        ConversationExport {
            content: "text,sender\nดีค่ะ,\nดี,ก".into(), strict: true, ..Default::default()
        };
    let rows: Vec<(AnalyzeConversationRequest, &[&str])> = vec![
        (AnalyzeConversationRequest::default(), &["messages"]),
        (
            AnalyzeConversationRequest {
                messages: vec![long, nobody],
                max_risk: Some(2.0),
                ..Default::default()
            },
            &["max_risk", "messages[0].text", "messages[0].role", "messages[1].role"],
        ),
        (
            AnalyzeConversationRequest { messages: vec![customer("ดี"); 4], ..Default::default() },
            &["messages"],
        ),
        (AnalyzeConversationRequest { messages: vec![customer("ดี")], ..export(b"") }, &["export"]),
        (export("ไม่ใช่แชท".as_bytes()), &["export.content"]),
        (export(&parcel()), &["export.content"]),
        (AnalyzeConversationRequest { export: Some(strict), ..Default::default() }, &["export.content"]),
    ];
    for (request, fields) in rows {
        let status = client.analyze_conversation(request).await.expect_err("it is refused");
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        let found = status.get_details_bad_request().expect("details").field_violations;
        let found: Vec<&str> = found.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(found, fields, "{}", status.message());
    }
    server.stop().await.expect("a clean stop");
}

async fn streamed(client: &mut Client, events: Vec<Event>) -> Vec<Result<ConversationUpdate, tonic::Code>> {
    let requests = events.into_iter().map(|event| StreamConversationRequest { event: Some(event) });
    let answers = client.stream_conversation(futures_util::stream::iter(requests.collect::<Vec<_>>())).await;
    let answers = answers.expect("a stream").into_inner().enumerate();
    let outcome =
        |(at, answer): (usize, Result<arom::grpc::v1::StreamConversationResponse, tonic::Status>)| {
            let answer = answer.expect("an answer");
            assert_eq!(usize::try_from(answer.index), Ok(at));
            match answer.outcome.expect("an outcome") {
                Outcome::Update(update) => Ok(update),
                Outcome::Error(status) => Err(tonic::Code::from_i32(status.code)),
            }
        };
    answers.map(outcome).collect().await
}

#[tokio::test]
async fn a_conversation_that_goes_on_ends_as_the_whole_would() {
    let (server, mut client) = served(server_config()).await;
    let (customer, agent) = (ConversationRole::Customer, ConversationRole::Agent);
    let mut messages = vec![
        said(customer, "ร้านน่ารักมาก ชอบสุด ๆ"),
        said(agent, "ขอบคุณมากค่ะ"),
        said(customer, "ส่งไวดีจัง ประทับใจ"),
        said(customer, "แกะแล้วค่ะ สวยมาก"),
        said(agent, "ดีใจค่ะ"),
        said(customer, "ใช้วันเดียวพังเลย แย่มาก"),
        said(agent, "เปลี่ยนไม่ได้นะคะ เกินกำหนดแล้วค่ะ"),
        said(customer, "ค่ะ"),
        said(customer, "ผิดหวังมาก ไม่ซื้ออีกแล้ว"),
        said(customer, "ห่วยแตก เสียเงินฟรี"),
    ];
    for (at, message) in messages.iter_mut().enumerate() {
        message.message_id = format!("m{at}");
        let seconds = 1_790_000_000 + 60 * i64::try_from(at).expect("few");
        message.send_time = Some(prost_types::Timestamp { seconds, nanos: 0 });
    }
    let whole =
        asked(&mut client, AnalyzeConversationRequest { messages: messages.clone(), ..Default::default() })
            .await;
    let updates = streamed(&mut client, messages.into_iter().map(Event::Message).collect()).await;
    let updates: Vec<ConversationUpdate> = updates.into_iter().map(|update| update.expect("taken")).collect();
    assert_eq!(updates.len(), 10);
    let last = updates.last().and_then(|update| update.trajectory.clone()).expect("a trajectory");
    assert_eq!(Some(last.clone()), whole.trajectory);
    assert_eq!(last.roles[0].turning_points.len(), 1);
    assert_eq!(
        (last.roles[0].turning_points[0].index, last.unresolved_negative, last.cue_count),
        (5, true, 1)
    );
    for (update, wanted) in updates.iter().zip(&whole.messages) {
        assert_eq!(update.message.as_ref(), Some(wanted));
    }
    assert_eq!(whole.messages[7].basis(), SentimentBasis::TextInContext);
    let first = updates[0].trajectory.as_ref().expect("a trajectory");
    assert!(first.roles[0].turning_points.is_empty() && !first.unresolved_negative);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_message_taken_back_counts_no_more_and_a_bad_one_ends_nothing() {
    let config = ServerConfig { max_conversation_messages: 3, ..server_config() };
    let (server, mut client) = served(config).await;
    let mut angry = said(ConversationRole::Customer, "บริการแย่มาก ขอเงินคืนค่ะ");
    angry.message_id = "a".to_owned();
    let good = said(ConversationRole::Customer, "ขอบคุณมากค่ะ ดีมาก");
    let events = vec![
        Event::Message(angry),
        Event::Message(said(ConversationRole::Unspecified, "ค่ะ")),
        Event::UnsendMessageId("b".to_owned()),
        Event::Message(good.clone()),
        Event::UnsendMessageId("a".to_owned()),
        Event::UnsendMessageId("a".to_owned()),
        Event::Message(good.clone()),
        Event::Message(good),
    ];
    let updates = streamed(&mut client, events).await;
    let invalid = Err(tonic::Code::InvalidArgument);
    let codes: Vec<Result<(), tonic::Code>> =
        updates.iter().map(|update| update.as_ref().map(|_| ()).map_err(|code| *code)).collect();
    assert_eq!(codes, [Ok(()), invalid, invalid, Ok(()), Ok(()), invalid, Ok(()), invalid]);
    let trajectory =
        |at: usize| updates[at].as_ref().expect("taken").trajectory.clone().expect("a trajectory");
    assert!(trajectory(0).unresolved_negative && trajectory(0).cue_count == 1);
    let after = trajectory(4);
    assert!(!after.unresolved_negative && after.cue_count == 0);
    assert_eq!((after.roles[0].message_count, after.roles[0].scored_count), (2, 1));
    let taken = updates[4].as_ref().expect("taken").message.clone().expect("the message");
    assert_eq!((taken.index, taken.message_id.as_str(), taken.sentiment), (0, "a", None));
    server.stop().await.expect("a clean stop");
}
