use std::mem::size_of;

use super::super::v1::{
    AnalyzeConversationRequest, AnalyzeSentimentRequest, BatchAnalyzeSentimentRequest,
    BatchGetProfilesRequest, ConversationMessage, ProfileEvent, ProfileKey, RecordEventsRequest, Recording,
    RetractEventsRequest, Sticker, StreamAnalyzeSentimentRequest, StreamConversationRequest,
    WatchProfilesRequest, conversation_message, stream_conversation_request,
};
use super::*;

fn checked<M: Message + Name>(message: &M) -> Result<(), String> {
    let request = SHAPES.requests.get(&M::full_name()).copied().expect("a request");
    check(request, &message.encode_to_vec())
}

fn refused<M: Message + Name>(message: &M) -> String {
    checked(message).expect_err("too many")
}

/// A message of 4 MiB of items of two bytes.
const EMPTY_ITEMS: usize = 2 << 20;

#[test]
fn a_message_of_empty_items_is_refused_before_it_is_decoded() {
    let texts = vec![AnalyzeSentimentRequest::default(); EMPTY_ITEMS];
    assert_eq!(refused(&BatchAnalyzeSentimentRequest { requests: texts }), "requests");
    let messages = vec![ConversationMessage::default(); EMPTY_ITEMS];
    assert_eq!(refused(&AnalyzeConversationRequest { messages, ..Default::default() }), "messages");
    let names = vec![String::new(); EMPTY_ITEMS];
    let sticker = || conversation_message::Content::Sticker(Sticker { keywords: names.clone() });
    let message = || ConversationMessage { content: Some(sticker()), ..Default::default() };
    let conversation = AnalyzeConversationRequest { messages: vec![message()], ..Default::default() };
    assert_eq!(refused(&conversation), "messages.sticker.keywords");
    let event = Some(stream_conversation_request::Event::Message(message()));
    assert_eq!(refused(&StreamConversationRequest { event }), "message.sticker.keywords");
    let events = vec![ProfileEvent::default(); EMPTY_ITEMS];
    assert_eq!(refused(&RecordEventsRequest { events }), "events");
    let event = ProfileEvent { brand_ids: names.clone(), ..Default::default() };
    assert_eq!(refused(&RecordEventsRequest { events: vec![event] }), "events.brand_ids");
    assert_eq!(refused(&RetractEventsRequest { event_ids: names.clone() }), "event_ids");
    let keys = vec![ProfileKey::default(); EMPTY_ITEMS];
    assert_eq!(refused(&BatchGetProfilesRequest { keys: keys.clone() }), "keys");
    assert_eq!(refused(&WatchProfilesRequest { keys, ..Default::default() }), "keys");
    let watch = WatchProfilesRequest { key_prefixes: names.clone(), ..Default::default() };
    assert_eq!(refused(&watch), "key_prefixes");
    let recording = Some(Recording { brand_ids: names, ..Default::default() });
    let text = AnalyzeSentimentRequest { recording, ..Default::default() };
    assert_eq!(refused(&text), "recording.brand_ids");
    let stream = StreamAnalyzeSentimentRequest { request: Some(text), ..Default::default() };
    assert_eq!(refused(&stream), "request.recording.brand_ids");
}

#[test]
fn many_entries_of_a_map_are_refused() {
    // 2 bytes an entry, all of the same name.
    let bytes: Vec<u8> = std::iter::repeat_n([0x1A, 0x00], EMPTY_ITEMS).flatten().collect();
    let request = SHAPES.requests.get("arom.v1.AnalyzeConversationRequest").copied().expect("a request");
    assert_eq!(check(request, &bytes).err().as_deref(), Some("speaker_roles"));
}

#[test]
fn a_group_or_an_unknown_field_hides_nothing() {
    let items: Vec<u8> = std::iter::repeat_n([0x0A, 0x00], EMPTY_ITEMS).flatten().collect();
    let request = SHAPES.requests.get("arom.v1.BatchAnalyzeSentimentRequest").copied().expect("a request");
    // Groups of field 15, a number, eight bytes, four bytes, and text that nobody knows.
    for before in
        [&[0x7B, 0x7C][..], &[0x78, 1], &[0x79, 0, 0, 0, 0, 0, 0, 0, 0], &[0x7D, 0, 0, 0, 0], &[0x7A, 1, 9]]
    {
        let bytes = [before, &items].concat();
        assert_eq!(check(request, &bytes).err().as_deref(), Some("requests"), "{before:?}");
    }
    assert_eq!(check(request, &[0x0A]), Ok(()), "what ends early is left to prost");
}

#[test]
fn what_the_settings_allow_is_taken() {
    let text = |text: &str| AnalyzeSentimentRequest { text: text.to_owned(), ..Default::default() };
    assert_eq!(checked(&BatchAnalyzeSentimentRequest { requests: vec![text(""); 65_536] }), Ok(()));
    let message = ConversationMessage {
        role: 1,
        content: Some(conversation_message::Content::Text("ขอบคุณมากค่ะ จะรอนะคะ".to_owned())),
        ..Default::default()
    };
    // All that fit into 4 MiB.
    let count = (4 << 20) / (message.encoded_len() + 2);
    let messages = vec![message; count];
    assert_eq!(checked(&AnalyzeConversationRequest { messages, ..Default::default() }), Ok(()), "{count}");
    let event =
        ProfileEvent { event_id: "e".to_owned(), brand_ids: vec!["b".to_owned(); 16], ..Default::default() };
    assert_eq!(checked(&RecordEventsRequest { events: vec![event; 256] }), Ok(()));
}

#[test]
fn no_item_is_much_larger_than_it_is_reckoned_with() {
    for (name, bytes) in [
        ("AnalyzeSentimentRequest", size_of::<AnalyzeSentimentRequest>()),
        ("ConversationMessage", size_of::<ConversationMessage>()),
        ("ProfileEvent", size_of::<ProfileEvent>()),
        ("ProfileKey", size_of::<ProfileKey>()),
    ] {
        assert!(bytes <= MESSAGE_BYTES * 3 / 2, "{name}: {bytes}");
    }
    assert!(size_of::<String>() <= VALUE_BYTES);
}
