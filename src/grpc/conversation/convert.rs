//! Between messages and the domain, for conversations.

use std::collections::BTreeMap;

use super::super::answer_size::Item;
use super::super::convert::{count, duration, moment, narrow, sentiment, timestamp};
use super::super::status::Failure;
use super::super::v1::conversation_message::Content;
use super::super::violations::{Violations, shown};
use super::super::{ServerConfig, v1};
use crate::conversation::{
    Analysis, Basis, Body, Cue, Disguise, Format, Heard, Media, Message, Role, RoleTrajectory, Roles, Sender,
    Trajectory, Transcript, TurningPoint, Waits, read,
};

const MAX_MESSAGE_ID_BYTES: usize = 128;
const MAX_SPEAKER_BYTES: usize = 256;

/// Most names whose role is said: more than a chat has people.
const MAX_SPEAKERS: usize = 1024;

/// As many as LINE sends, each of which is a word or two.
const MAX_KEYWORDS: usize = 15;
const MAX_KEYWORD_BYTES: usize = 64;

/// Most skipped lines that an answer names.
const NAMED: usize = 100;

/// What a conversation may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    messages: usize,
    text_bytes: usize,
    pub(super) max_risk: f32,
}

impl Limits {
    pub(super) fn of(config: &ServerConfig) -> Self {
        Self {
            messages: config.max_conversation_messages,
            text_bytes: config.max_text_bytes,
            max_risk: config.max_risk,
        }
    }
}

/// A conversation that has passed every check.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) messages: Vec<Message>,
    pub(super) known: BTreeMap<String, Role>,
    reading: Option<v1::ExportReading>,
    keep_names: bool,
    include_texts: bool,
    max_risk: f32,
}

impl Asked {
    /// Reads the conversation and reports every field that is out of range.
    pub(super) fn new(request: v1::AnalyzeConversationRequest, limits: &Limits) -> Result<Self, Failure> {
        let mut faults = Violations::default();
        let max_risk = request.max_risk.unwrap_or(limits.max_risk);
        if !(0.0..=1.0).contains(&max_risk) {
            faults.add("max_risk", format!("is {max_risk}; use a probability in [0, 1]"));
        }
        let before = faults.count();
        if request.messages.len() > limits.messages {
            faults.add("messages", too_many(request.messages.len(), limits));
        }
        if request.speaker_roles.len() > MAX_SPEAKERS {
            let count = request.speaker_roles.len();
            faults.add("speaker_roles", format!("holds {count} names, at most {MAX_SPEAKERS} are taken"));
        }
        // What is too much is not looked at.
        if faults.count() > before {
            return Err(faults.into());
        }
        let mut known = BTreeMap::new();
        for (name, given) in request.speaker_roles {
            if name.len() > MAX_SPEAKER_BYTES {
                let problem = format!(
                    "has a name of {} bytes, at most {MAX_SPEAKER_BYTES} are taken: {}",
                    name.len(),
                    shown(&name)
                );
                faults.add("speaker_roles", problem);
                continue;
            }
            match role(given) {
                Ok(Some(role)) => drop(known.insert(name, role)),
                Ok(None) => faults.add("speaker_roles", format!("says no role for {}", shown(&name))),
                Err(problem) => faults.add("speaker_roles", problem),
            }
        }
        let (messages, reading) = match (request.export, request.messages) {
            (Some(_), messages) if !messages.is_empty() => {
                faults.add("export", "is given beside messages; give one of them");
                (Vec::new(), None)
            }
            (Some(export), _) => exported(export, limits, &mut faults),
            (None, given) => {
                if given.is_empty() {
                    faults.add("messages", "are missing, and so is an export");
                }
                let mut messages = Vec::with_capacity(given.len());
                for (at, message) in given.into_iter().enumerate() {
                    messages.extend(checked(message, &format!("messages[{at}]."), limits, &mut faults));
                }
                (messages, None)
            }
        };
        faults.none_or(Self {
            messages,
            known,
            reading,
            keep_names: request.keep_names,
            include_texts: request.include_texts,
            max_risk,
        })
    }

    /// Most bytes of the answer; exact for names and texts if it may be more than `most`.
    pub(super) fn answer_bytes(&self, roles: &Roles, most: usize) -> usize {
        /// Of the trajectory without its turning points, of how the export was read, and of all that is there once.
        const ONCE: usize = 32 << 10;
        /// Hiding a name makes a text longer: "a" may be shown as "<customer 1234>".
        const LONGER: usize = 16;
        let id = |message: &Message| message.id.as_ref().map_or(0, String::len) + Item::Message.bytes();
        let ids = ONCE + self.messages.iter().map(id).sum::<usize>();
        let name = |message: &Message| LONGER * (2 + message.sender.name().map_or(0, str::len)) + 32;
        let text =
            |message: &Message| if self.include_texts { LONGER * (2 + message.body.bytes()) + 32 } else { 0 };
        let rough =
            ids + self.messages.iter().map(|message| 2 * name(message) + text(message)).sum::<usize>();
        if rough <= most {
            return rough;
        }
        let people = Disguise::of(&self.messages, &roles.of, self.keep_names);
        let shown = |(message, role): (&Message, &Role)| {
            let text = if self.include_texts { people.shown(message).len() + 4 } else { 0 };
            people.speaker(message, *role).len() + 4 + text
        };
        let guessed: usize = roles.guessed.iter().map(|name| people.name(name).len() + 4).sum();
        ids + guessed + self.messages.iter().zip(&roles.of).map(shown).sum::<usize>()
    }

    pub(super) fn answer(
        self,
        roles: &Roles,
        analysis: &Analysis,
        fingerprint: &str,
    ) -> v1::AnalyzeConversationResponse {
        let Self { messages, reading, keep_names, include_texts, max_risk, .. } = self;
        let people = Disguise::of(&messages, &roles.of, keep_names);
        let shown = Shown { people: &people, max_risk, texts: include_texts };
        let smoothed = analysis.trajectory.all_smoothed(messages.len());
        let parts = messages.iter().zip(&roles.of).zip(analysis.heard.iter().zip(smoothed)).enumerate();
        let analyzed = parts.map(|(at, ((message, role), (heard, smoothed)))| {
            shown.message(at, message, *role, heard, smoothed)
        });
        let cue_count = analysis.heard.iter().map(|heard| heard.cues.len()).sum();
        v1::AnalyzeConversationResponse {
            messages: analyzed.collect(),
            trajectory: Some(trajectory(&analysis.trajectory, cue_count)),
            guessed_speakers: roles.guessed.iter().map(|name| people.name(name).to_owned()).collect(),
            reading,
            model_fingerprint: fingerprint.to_owned(),
        }
    }
}

/// The messages of an export, and how it was read.
fn exported(
    export: v1::ConversationExport,
    limits: &Limits,
    faults: &mut Violations,
) -> (Vec<Message>, Option<v1::ExportReading>) {
    let none = (Vec::new(), None);
    let format = match v1::ConversationFormat::try_from(export.format) {
        Ok(format) => format_of(format),
        Err(_) => {
            faults.add("export.format", format!("{} is no ConversationFormat; use 0 to 6", export.format));
            return none;
        }
    };
    let Transcript { format, charset, messages, skipped } = match read(&export.content, format) {
        Ok(transcript) => transcript,
        Err(error) => {
            faults.add("export.content", error.to_string());
            return none;
        }
    };
    if messages.is_empty() {
        faults.add("export.content", "holds no message");
    }
    if messages.len() > limits.messages {
        faults.add("export.content", too_many(messages.len(), limits));
        return none;
    }
    for message in &messages {
        if let Body::Text(text) = &message.body
            && text.len() > limits.text_bytes
        {
            let (line, bytes, most) = (message.line, text.len(), limits.text_bytes);
            faults.add(
                "export.content",
                format!("line {line}: a text of {bytes} bytes, at most {most} are taken"),
            );
        }
    }
    if export.strict {
        for left in &skipped {
            faults.add("export.content", format!("line {}: {}", left.line, left.reason));
        }
    }
    let lines = skipped.iter().take(NAMED);
    let lines = lines.map(|left| v1::SkippedLine { line: count(left.line), reason: left.reason.to_owned() });
    let reading = v1::ExportReading {
        format: format_to(format).into(),
        charset: charset.name().to_owned(),
        skipped_count: count(skipped.len()),
        skipped_lines: lines.collect(),
    };
    (messages, Some(reading))
}

/// The next message of a conversation that goes on, of which so many were sent.
pub(super) fn live(
    message: v1::ConversationMessage,
    sent: usize,
    limits: &Limits,
) -> Result<(Message, Role), Failure> {
    let mut faults = Violations::default();
    if sent >= limits.messages {
        faults.add("message", format!("is one too many: {sent} were sent; begin another stream"));
    }
    let role = role(message.role).ok().flatten();
    if role.is_none() {
        faults.add("message.role", "must be said in a stream: use 1 to 4");
    }
    let message = checked(message, "message.", limits, &mut faults);
    match (message, role) {
        (Some(message), Some(role)) => faults.none_or((message, role)),
        _ => Err(faults.into()),
    }
}

pub(super) fn unknown_message(id: &str) -> Failure {
    let problem = format!("{} was not sent in this stream, or was taken back already", shown(id));
    Violations::of("unsend_message_id", problem).into()
}

pub(super) fn missing_event() -> Failure {
    Violations::of("event", "is missing; send a message or unsend_message_id").into()
}

/// One message, if every field is within its range.
fn checked(
    message: v1::ConversationMessage,
    field: &str,
    limits: &Limits,
    faults: &mut Violations,
) -> Option<Message> {
    let before = faults.count();
    let v1::ConversationMessage { message_id, role: given, speaker, send_time, content } = message;
    let mut most = |name: &str, bytes: usize, most: usize| {
        if bytes > most {
            faults.add(&format!("{field}{name}"), format!("is {bytes} bytes long, at most {most} are taken"));
        }
    };
    most("message_id", message_id.len(), MAX_MESSAGE_ID_BYTES);
    most("speaker", speaker.len(), MAX_SPEAKER_BYTES);
    if let Some(Content::Text(text)) = &content {
        most("text", text.len(), limits.text_bytes);
    }
    let sender = match role(given) {
        Ok(Some(Role::Customer)) => Sender::User(speaker),
        Ok(Some(Role::Agent)) => Sender::Account(speaker),
        Ok(Some(Role::Bot)) => Sender::Bot(speaker),
        Ok(Some(Role::System)) => Sender::System,
        Ok(None) if speaker.is_empty() => {
            faults.add(&format!("{field}role"), "is not said, and there is no speaker to tell it by");
            Sender::System
        }
        Ok(None) => Sender::Named(speaker),
        Err(problem) => {
            faults.add(&format!("{field}role"), problem);
            Sender::System
        }
    };
    let time = send_time.as_ref().and_then(moment);
    if send_time.is_some() && time.is_none() {
        faults.add(&format!("{field}send_time"), "is no time");
    }
    let body = match content {
        Some(Content::Text(text)) => Body::Text(text),
        Some(Content::Sticker(v1::Sticker { keywords })) => {
            let fits =
                keywords.len() <= MAX_KEYWORDS && keywords.iter().all(|word| word.len() <= MAX_KEYWORD_BYTES);
            if !fits {
                let problem =
                    format!("are more than {MAX_KEYWORDS}, or one is longer than {MAX_KEYWORD_BYTES} bytes");
                faults.add(&format!("{field}sticker.keywords"), problem);
            }
            Body::Sticker(keywords)
        }
        Some(Content::Media(media)) => match v1::MediaType::try_from(media) {
            Ok(media) => Body::Media(media_of(media)),
            Err(_) => {
                faults.add(&format!("{field}media"), format!("{media} is no MediaType; use 0 to 8"));
                Body::Media(Media::Other)
            }
        },
        None => Body::Media(Media::Other),
    };
    let id = Some(message_id).filter(|id| !id.is_empty());
    (faults.count() == before).then_some(Message { line: 0, id, time, sender, body })
}

fn too_many(count: usize, limits: &Limits) -> String {
    format!("holds {count} messages, at most {} are taken", limits.messages)
}

/// How messages are written into answers.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) people: &'a Disguise,
    pub(super) max_risk: f32,
    pub(super) texts: bool,
}

impl Shown<'_> {
    pub(super) fn message(
        &self,
        at: usize,
        message: &Message,
        role: Role,
        heard: &Heard,
        smoothed: Option<f64>,
    ) -> v1::AnalyzedMessage {
        v1::AnalyzedMessage {
            index: count(at),
            message_id: message.id.clone().unwrap_or_default(),
            line: count(message.line),
            role: role_to(role).into(),
            speaker: self.people.speaker(message, role).to_owned(),
            send_time: message.time.map(timestamp),
            basis: basis(heard.basis).into(),
            sentiment: heard.sentiment.as_ref().map(|felt| sentiment(felt, self.max_risk)),
            smoothed_score: smoothed.map(narrow),
            cues: heard.cues.iter().map(|seen| cue(*seen).into()).collect(),
            text: if self.texts { self.people.shown(message) } else { String::new() },
        }
    }
}

pub(super) fn trajectory(of: &Trajectory, cue_count: usize) -> v1::Trajectory {
    v1::Trajectory {
        roles: of.roles.iter().map(side).collect(),
        response_times: of.waits.as_ref().map(waits),
        unresolved_negative: of.unresolved_negative,
        cue_count: count(cue_count),
        summary: of.summary(),
    }
}

fn side(of: &RoleTrajectory) -> v1::RoleTrajectory {
    let turn = |turn: &TurningPoint| v1::TurningPoint {
        index: count(turn.message),
        after_index: turn.after.map(count),
        from_score: narrow(turn.from),
        to_score: narrow(turn.to),
    };
    v1::RoleTrajectory {
        role: role_to(of.role).into(),
        message_count: count(of.message_count),
        scored_count: count(of.scored_count),
        positive_count: count(of.positive_count),
        negative_count: count(of.negative_count),
        opening_score: narrow(of.opening),
        closing_score: narrow(of.closing),
        score_shift: narrow(of.shift()),
        mean_score: narrow(of.mean),
        turning_points: of.turning_points.iter().map(turn).collect(),
        turning_point_count: count(of.turning_point_count),
        longest_negative_run: count(of.longest_negative_run.0),
        longest_negative_run_index: of.longest_negative_run.1.map(count),
    }
}

fn waits(of: &Waits) -> v1::ResponseTimes {
    v1::ResponseTimes {
        wait_count: count(of.count),
        median_wait: duration(of.median),
        longest_wait: duration(of.longest),
        longest_wait_index: count(of.longest_until),
        long_wait_count: count(of.long_count),
        score_after_long_waits: of.after_long.map(narrow),
        score_after_other_waits: of.after_others.map(narrow),
    }
}

fn role(given: i32) -> Result<Option<Role>, String> {
    match v1::ConversationRole::try_from(given) {
        Ok(v1::ConversationRole::Unspecified) => Ok(None),
        Ok(v1::ConversationRole::Customer) => Ok(Some(Role::Customer)),
        Ok(v1::ConversationRole::Agent) => Ok(Some(Role::Agent)),
        Ok(v1::ConversationRole::Bot) => Ok(Some(Role::Bot)),
        Ok(v1::ConversationRole::System) => Ok(Some(Role::System)),
        Err(_) => Err(format!("{given} is no ConversationRole; use 0 to 4")),
    }
}

fn role_to(role: Role) -> v1::ConversationRole {
    match role {
        Role::Customer => v1::ConversationRole::Customer,
        Role::Agent => v1::ConversationRole::Agent,
        Role::Bot => v1::ConversationRole::Bot,
        Role::System => v1::ConversationRole::System,
    }
}

fn media_of(media: v1::MediaType) -> Media {
    match media {
        v1::MediaType::Image => Media::Image,
        v1::MediaType::Video => Media::Video,
        v1::MediaType::Audio => Media::Audio,
        v1::MediaType::File => Media::File,
        v1::MediaType::Location => Media::Location,
        v1::MediaType::Contact => Media::Contact,
        v1::MediaType::Call => Media::Call,
        v1::MediaType::Unspecified | v1::MediaType::Other => Media::Other,
    }
}

fn format_of(format: v1::ConversationFormat) -> Option<Format> {
    match format {
        v1::ConversationFormat::Unspecified => None,
        v1::ConversationFormat::LineTabs => Some(Format::LineTabs),
        v1::ConversationFormat::LineSpaces => Some(Format::LineSpaces),
        v1::ConversationFormat::OfficialAccount => Some(Format::OfficialAccount),
        v1::ConversationFormat::Webhook => Some(Format::Webhook),
        v1::ConversationFormat::Json => Some(Format::Json),
        v1::ConversationFormat::Csv => Some(Format::Csv),
    }
}

fn format_to(format: Format) -> v1::ConversationFormat {
    match format {
        Format::LineTabs => v1::ConversationFormat::LineTabs,
        Format::LineSpaces => v1::ConversationFormat::LineSpaces,
        Format::OfficialAccount => v1::ConversationFormat::OfficialAccount,
        Format::Webhook => v1::ConversationFormat::Webhook,
        Format::Json => v1::ConversationFormat::Json,
        Format::Csv => v1::ConversationFormat::Csv,
    }
}

fn basis(basis: Basis) -> v1::SentimentBasis {
    match basis {
        Basis::Text => v1::SentimentBasis::Text,
        Basis::TextInContext => v1::SentimentBasis::TextInContext,
        Basis::Keywords => v1::SentimentBasis::StickerKeywords,
        Basis::UnknownSticker => v1::SentimentBasis::UnknownSticker,
        Basis::Nothing => v1::SentimentBasis::Unspecified,
    }
}

fn cue(cue: Cue) -> v1::EscalationCue {
    match cue {
        Cue::ComplaintThreat => v1::EscalationCue::ComplaintThreat,
        Cue::ChurnThreat => v1::EscalationCue::ChurnThreat,
        Cue::PublicityThreat => v1::EscalationCue::PublicityThreat,
        Cue::RefundDemand => v1::EscalationCue::RefundDemand,
        Cue::SupervisorRequest => v1::EscalationCue::SupervisorRequest,
        Cue::RepeatedContact => v1::EscalationCue::RepeatedContact,
        Cue::NoAnswer => v1::EscalationCue::NoAnswer,
    }
}
