//! What was felt in each message of a conversation, and over all: each is scored by the one scorer, a short reply
//! together with what it answers.
//!
//! | message | its sentiment |
//! | --- | --- |
//! | words | what the model says of them |
//! | a customer's reply of at most [`SHORT_REPLY`] letters, by itself within ±[`CLEAR`], to words of another | what the model says of those words and the reply together |
//! | sticker | what its keywords say; else neutral, and it does not count |
//! | anything else, and words without language | none |
//!
//! Only a customer's replies are heard so: an agent's "ค่ะ" to an angry customer is not anger. How much it helps is
//! measured in `tests/it/conversation.rs` (README.md, Conversations).

use std::collections::HashMap;
use std::iter::Zip;
use std::slice::Iter;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::course::Course;
use super::cues::{Cue, cues};
use super::message::{Body, Message};
use super::stickers::sticker;
use super::trajectory::{Felt, Role, Trajectory};
use crate::scoring::{Caller, Content, Features, ScoreError, Scorer, Sentiment};

/// A reply of at most so many letters, white space aside, may be heard with what it answers.
pub const SHORT_REPLY: usize = 12;

/// A reply that scores at least this, or at most its negative, speaks for itself.
pub const CLEAR: f32 = 0.5;

/// Messages of which a trajectory is worked out anew where it is asked for; of more on another thread.
const LONG: usize = 256;

/// Messages of a conversation that are scored at once.
const AT_ONCE: usize = 1024;

/// What the sentiment of a message is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// Its words.
    Text,
    /// Its words together with those that they answer.
    TextInContext,
    /// The keywords of a sticker.
    Keywords,
    /// Nothing: a sticker of which nothing is known is taken as neutral, and does not count.
    UnknownSticker,
    /// Nothing: it has no words, or they were taken back.
    Nothing,
}

impl Basis {
    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::TextInContext => "text_in_context",
            Self::Keywords => "sticker_keywords",
            Self::UnknownSticker => "unknown_sticker",
            Self::Nothing => "nothing",
        }
    }
}

/// What was heard in a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// What the sentiment is taken from.
    pub basis: Basis,
    /// What was felt in it, unless it holds nothing that could be.
    pub sentiment: Option<Sentiment>,
    /// What a customer threatens, demands or complains of in it.
    pub cues: Vec<Cue>,
}

impl Heard {
    /// What is heard where nothing can be.
    pub const NOTHING: Self = Self { basis: Basis::Nothing, sentiment: None, cues: Vec::new() };

    /// What counts of it for the trajectory.
    fn score(&self) -> Option<f64> {
        let counts = self.basis != Basis::UnknownSticker;
        self.sentiment.as_ref().filter(|_| counts).map(|sentiment| f64::from(sentiment.score))
    }
}

/// A conversation that has been heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// One for each message, in their order.
    pub heard: Vec<Heard>,
    /// How feeling moved.
    pub trajectory: Trajectory,
}

/// Hears a whole conversation; `roles` are those of its messages, `done` is told of each that is heard.
///
/// # Errors
///
/// As [`Caller::score`], for the first message that could not be scored.
pub async fn analyze(
    scorer: &Scorer,
    messages: &[Message],
    roles: &[Role],
    mut done: impl FnMut(),
) -> Result<Analysis, ScoreError> {
    let heard = hear(&scorer.caller(), messages, roles, &mut done).await?;
    Ok(Analysis::of(messages, roles, heard))
}

/// What was heard in each message of a whole conversation; the rest of [`analyze`] is [`Analysis::of`].
///
/// # Errors
///
/// As [`Caller::score`], for the first message that could not be scored.
pub async fn hear(
    caller: &Caller,
    messages: &[Message],
    roles: &[Role],
    mut done: impl FnMut(),
) -> Result<Vec<Heard>, ScoreError> {
    let asked = Asking { context: Context::default(), rest: messages.iter().zip(roles) };
    let heard = stream::iter(asked).map(|asked| asked.hear(caller)).buffered(AT_ONCE).inspect(|_| done());
    heard.try_collect().await
}

impl Analysis {
    /// How feeling moved through messages in which this was heard.
    pub fn of(messages: &[Message], roles: &[Role], heard: Vec<Heard>) -> Self {
        let felt = messages.iter().zip(roles).zip(&heard);
        let felt = felt.map(|((message, role), heard)| felt_in(message, *role, heard));
        let trajectory = Trajectory::of(&felt.collect::<Vec<_>>());
        Self { heard, trajectory }
    }
}

/// What is to be found out of each message, as it is wanted.
struct Asking<'a> {
    context: Context,
    rest: Zip<Iter<'a, Message>, Iter<'a, Role>>,
}

impl Iterator for Asking<'_> {
    type Item = Asked;

    fn next(&mut self) -> Option<Asked> {
        let (message, role) = self.rest.next()?;
        Some(self.context.ask(*role, &message.body))
    }
}

/// A conversation that goes on: messages as they are sent.
#[derive(Debug, Default)]
pub struct Live {
    context: Context,
    felt: Vec<Felt>,
    /// What is known of them.
    course: Course,
    /// Whether one was taken back since, so that it must be worked out anew.
    stale: bool,
    /// Where messages with an id are, and how many cues were seen in each.
    places: HashMap<String, (usize, usize)>,
}

impl Live {
    /// Hears the next message.
    ///
    /// # Errors
    ///
    /// As [`Caller::score`]; the message then counts as one without words.
    pub async fn hear(
        &mut self,
        caller: &Caller,
        message: &Message,
        role: Role,
    ) -> Result<Heard, ScoreError> {
        let heard = self.context.ask(role, &message.body).hear(caller).await;
        if let Some(id) = &message.id {
            let cues = heard.as_ref().map_or(0, |heard| heard.cues.len());
            self.places.insert(id.clone(), (self.felt.len(), cues));
        }
        let felt = felt_in(message, role, heard.as_ref().unwrap_or(&Heard::NOTHING));
        self.felt.push(felt);
        self.course.push(&felt);
        heard
    }

    /// Takes a message back, and says which it was, from 0, whose, and how many cues go with it; nothing if it was never
    /// sent.
    pub fn unsend(&mut self, id: &str) -> Option<(usize, Role, usize)> {
        let (at, cues) = self.places.remove(id)?;
        let felt = self.felt.get_mut(at)?;
        self.stale |= felt.score.take().is_some();
        Some((at, felt.role, cues))
    }

    /// How many messages were sent, those taken back among them.
    pub fn len(&self) -> usize {
        self.felt.len()
    }

    /// Whether nothing was sent yet.
    pub fn is_empty(&self) -> bool {
        self.felt.is_empty()
    }

    /// Whether [`trajectory`](Self::trajectory) takes long enough to be worked out on another thread: of a long conversation after
    /// a message was taken back, and each time that it has grown by a quarter.
    pub fn is_long(&self) -> bool {
        (self.stale && self.felt.len() > LONG) || self.course.is_long()
    }

    /// How feeling moved up to now, with the last of its turning points.
    pub fn trajectory(&mut self) -> Trajectory {
        if std::mem::take(&mut self.stale) {
            self.course = Course::of(&self.felt);
        }
        self.course.latest()
    }

    /// The curve of its side after a message; nothing if that has no score.
    pub fn smoothed(&self, at: usize) -> Option<f64> {
        self.course.smoothed(at)
    }
}

fn felt_in(message: &Message, role: Role, heard: &Heard) -> Felt {
    Felt { role, time: message.time, score: heard.score() }
}

/// What was said last, and by which side.
#[derive(Debug, Default)]
struct Context(Option<(Role, String)>);

impl Context {
    /// What is to be found out of the next message.
    fn ask(&mut self, role: Role, body: &Body) -> Asked {
        let text = match body {
            Body::Text(text) if role != Role::System => text,
            Body::Sticker(keywords) => return Asked::Known(of_sticker(keywords)),
            Body::Text(_) | Body::Media(_) | Body::Notice(_) | Body::Unsent => {
                return Asked::Known(Heard::NOTHING);
            }
        };
        let before = self.0.replace((role, text.clone()));
        let letters = text.chars().filter(|ch| !ch.is_whitespace()).count();
        let answers = role == Role::Customer && letters <= SHORT_REPLY;
        let answered = before.filter(|(other, _)| answers && *other != role).map(|(_, words)| words);
        Asked::Scores { text: text.clone(), role, answered }
    }
}

fn of_sticker(keywords: &[String]) -> Heard {
    let (basis, sentiment) = match sticker(keywords) {
        Some(sentiment) => (Basis::Keywords, sentiment),
        None => (Basis::UnknownSticker, Sentiment::neutral()),
    };
    Heard { basis, sentiment: Some(sentiment), cues: Vec::new() }
}

/// What is to be found out of a message.
#[derive(Debug)]
enum Asked {
    Known(Heard),
    /// Its words, and those of another that it may be an answer to.
    Scores {
        text: String,
        role: Role,
        answered: Option<String>,
    },
}

impl Asked {
    async fn hear(self, caller: &Caller) -> Result<Heard, ScoreError> {
        let (text, role, answered) = match self {
            Self::Known(heard) => return Ok(heard),
            Self::Scores { text, role, answered } => (text, role, answered),
        };
        let alone = caller.score(&text, Features::default()).await?;
        if alone.content != Content::Linguistic {
            return Ok(Heard::NOTHING);
        }
        let (cues, text) = match role {
            Role::Customer => caller.work_on(text.len(), move || (cues(&text), text)).await?,
            Role::Agent | Role::Bot | Role::System => (Vec::new(), text),
        };
        let (basis, scored) = match answered.filter(|_| alone.sentiment.score.abs() < CLEAR) {
            Some(words) => {
                let together = caller.score(&format!("{words}\n{text}"), Features::default()).await?;
                (Basis::TextInContext, together)
            }
            None => (Basis::Text, alone),
        };
        Ok(Heard { basis, sentiment: Some(scored.sentiment), cues })
    }
}
