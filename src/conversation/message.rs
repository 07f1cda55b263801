//! One message of a conversation, whatever it was read from.

use jiff::Timestamp;

/// A message, or something that happened between messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Line of the file on which it begins, from 1; of JSON, the number of the event.
    pub line: usize,
    /// The source's own name for it.
    pub id: Option<String>,
    /// When it was sent, if the source says.
    pub time: Option<Timestamp>,
    /// Who sent it.
    pub sender: Sender,
    /// What was sent.
    pub body: Body,
}

/// Who sent a message, as far as the source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A person or account of that name.
    Named(String),
    /// The customer's side of a business chat.
    User(String),
    /// The business's side, by a person of that name.
    Account(String),
    /// The business's side, by a program.
    Bot(String),
    /// Nobody: the application speaks.
    System,
}

impl Sender {
    /// The name, if anybody has one.
    pub fn name(&self) -> Option<&str> {
        let name = match self {
            Self::Named(name) | Self::User(name) | Self::Account(name) | Self::Bot(name) => name,
            Self::System => return None,
        };
        Some(name.as_str()).filter(|name| !name.is_empty())
    }
}

/// What a message holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Words.
    Text(String),
    /// A sticker, with the moods that its maker names, if they are given.
    Sticker(Vec<String>),
    /// Something else than words, which is not kept.
    Media(Media),
    /// A line of the application: someone joined, a call was missed.
    Notice(String),
    /// Taken back by who sent it.
    Unsent,
}

/// What else is sent than words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// A picture.
    Image,
    /// A film.
    Video,
    /// Speech or music.
    Audio,
    /// A document.
    File,
    /// A place on a map.
    Location,
    /// Somebody's name card.
    Contact,
    /// A call, answered or missed.
    Call,
    /// A poll, a gift, a note, or what nobody knows.
    Other,
}

impl Media {
    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::File => "file",
            Self::Location => "location",
            Self::Contact => "contact",
            Self::Call => "call",
            Self::Other => "other",
        }
    }
}

impl Body {
    /// The bytes of its words.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Notice(text) => text.len(),
            Self::Sticker(keywords) => keywords.iter().map(|word| word.len() + 2).sum(),
            Self::Media(_) | Self::Unsent => 0,
        }
    }

    /// Its name in output.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Sticker(_) => "sticker",
            Self::Media(media) => media.name(),
            Self::Notice(_) => "notice",
            Self::Unsent => "unsent",
        }
    }
}
