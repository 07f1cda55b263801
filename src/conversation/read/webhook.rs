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
}

#[derive(Deserialize)]
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

/// Whether JSON is a call of the webhook.
pub(super) fn is_one(value: &Value) -> bool {
    value.get("events").is_some_and(Value::is_array)
}

/// Calls in the order in which they came. What came twice counts once.
pub(super) fn read(calls: Vec<Value>, charset: Charset) -> Result<Transcript, ReadError> {
    let (mut messages, mut skipped): (Vec<Message>, Vec<Skipped>) = (Vec::new(), Vec::new());
    let (mut seen, mut places) = (HashSet::new(), HashMap::new());
    let mut line = 0;
    for call in calls {
        let call = Call::deserialize(call).map_err(|_| ReadError::Unknown)?;
        for event in call.events {
            line += 1;
            let Ok(event) = Event::deserialize(event) else {
                skipped.push(Skipped { line, reason: "an event without type or timestamp" });
                continue;
            };
            if event.webhook_event_id.clone().is_some_and(|id| !seen.insert(id)) {
                continue;
            }
            if let Some(Unsend { message_id }) = event.unsend {
                match places.get(&message_id).and_then(|at: &usize| messages.get_mut(*at)) {
                    Some(message) => message.body = Body::Unsent,
                    None => skipped.push(Skipped { line, reason: "takes back a message that is not here" }),
                }
            } else if let Some(sent) = event.message {
                let Ok(time) = Timestamp::from_millisecond(event.timestamp) else {
                    skipped.push(Skipped { line, reason: "a timestamp that is none" });
                    continue;
                };
                places.insert(sent.id.clone(), messages.len());
                messages.push(Message {
                    line,
                    id: Some(sent.id.clone()),
                    time: Some(time),
                    sender: sender(event.source),
                    body: body(sent),
                });
            } else if event.r#type == "message" {
                skipped.push(Skipped { line, reason: "a message event without a message" });
            }
        }
    }
    Ok(Transcript { format: Format::Webhook, charset, messages, skipped })
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
