//! Events that LINE's Messaging API sends to a business: what customers write, send and take back.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Charset, Format, ReadError, Skipped, Transcript};
use crate::conversation::message::{Body, Media, Message, Sender};

#[derive(Deserialize)]
struct Call {
    events: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    r#type: String,
    timestamp: i64,
    webhook_event_id: Option<String>,
    source: Option<Source>,
    message: Option<Sent>,
    unsend: Option<Unsend>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    user_id: Option<String>,
    group_id: Option<String>,
    room_id: Option<String>,
}

impl Source {
    fn conversation(&self) -> Option<String> {
        self.group_id.clone().or_else(|| self.room_id.clone()).or_else(|| self.user_id.clone())
    }
}

#[derive(Clone, Deserialize)]
struct Sent {
    r#type: String,
    id: String,
    text: Option<String>,
    keywords: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unsend {
    message_id: String,
}

/// The type of an event that gives a message another text.
const EDITED: &str = "messageEdited";

/// Whether JSON is a call of the webhook.
pub(super) fn is_one(value: &Value) -> bool {
    value.get("events").is_some_and(Value::is_array)
}

/// What calls tell, one conversation for each group, room and user. What came twice counts once, an edited message with its latest text.
pub(super) fn read(calls: Vec<Value>, charset: Charset) -> Result<Transcript, ReadError> {
    let mut log = Log::default();
    for call in calls {
        let call = Call::deserialize(call).map_err(|_| ReadError::Unknown)?;
        for event in call.events {
            log.line += 1;
            match Event::deserialize(event) {
                Ok(event) => log.take(event),
                Err(_) => log.skip("an event without type or timestamp"),
            }
        }
    }
    Ok(log.transcript(charset))
}

/// Events may come late and in any order: what they say of each other is put together at the end.
#[derive(Default)]
struct Log {
    line: usize,
    seen: HashSet<String>,
    messages: Vec<(Option<String>, Message)>,
    places: HashMap<String, usize>,
    /// The newest text of messages that were edited.
    edits: HashMap<String, (i64, Body)>,
    /// The messages that were taken back, and the numbers of the events that say so.
    unsent: Vec<(String, usize)>,
    skipped: Vec<Skipped>,
}

impl Log {
    fn skip(&mut self, reason: &'static str) {
        self.skipped.push(Skipped { line: self.line, reason });
    }

    fn take(&mut self, event: Event) {
        let Event { r#type, timestamp, webhook_event_id, source, message, unsend } = event;
        if webhook_event_id.is_some_and(|id| !self.seen.insert(id)) {
            return;
        }
        if let Some(Unsend { message_id }) = unsend {
            self.unsent.push((message_id, self.line));
            return;
        }
        let Some(sent) = message else {
            if ["message", EDITED].contains(&r#type.as_str()) {
                self.skip("a message event without a message");
            }
            return;
        };
        let Ok(time) = Timestamp::from_millisecond(timestamp) else {
            return self.skip("a timestamp that is none");
        };
        let id = sent.id.clone();
        if r#type == EDITED {
            let is_newer = self.edits.get(&id).is_none_or(|(at, _)| *at < timestamp);
            if is_newer {
                self.edits.insert(id.clone(), (timestamp, body(sent.clone())));
            }
        }
        // Delivered again under another id, or edited; an edit may come first.
        if let Some(known) = self.places.get(&id).and_then(|at| self.messages.get_mut(*at)) {
            known.1.time = known.1.time.min(Some(time));
            return;
        }
        self.places.insert(id.clone(), self.messages.len());
        let conversation = source.as_ref().and_then(Source::conversation);
        let message = Message {
            line: self.line,
            id: Some(id),
            time: Some(time),
            sender: sender(source),
            body: body(sent),
        };
        self.messages.push((conversation, message));
    }

    fn transcript(mut self, charset: Charset) -> Transcript {
        for (id, (_, body)) in std::mem::take(&mut self.edits) {
            if let Some((_, message)) = self.places.get(&id).and_then(|at| self.messages.get_mut(*at)) {
                message.body = body;
            }
        }
        for (id, line) in std::mem::take(&mut self.unsent) {
            match self.places.get(&id).and_then(|at| self.messages.get_mut(*at)) {
                Some((_, message)) => message.body = Body::Unsent,
                None => self.skipped.push(Skipped { line, reason: "takes back a message that is not here" }),
            }
        }
        self.skipped.sort_by_key(|skipped| skipped.line);
        Transcript::of_many(Format::Webhook, charset, self.messages, self.skipped)
    }
}

/// Who sent it. A member of a group need not have a name here.
fn sender(source: Option<Source>) -> Sender {
    Sender::User(source.and_then(|source| source.user_id).unwrap_or_default())
}

fn body(sent: Sent) -> Body {
    match sent.r#type.as_str() {
        "text" => Body::Text(sent.text.unwrap_or_default()),
        "sticker" => Body::Sticker(sent.keywords.unwrap_or_default()),
        "image" => Body::Media(Media::Image),
        "video" => Body::Media(Media::Video),
        "audio" => Body::Media(Media::Audio),
        "file" => Body::Media(Media::File),
        "location" => Body::Media(Media::Location),
        _ => Body::Media(Media::Other),
    }
}
