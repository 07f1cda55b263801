//! How large an answer may become, worked out from the request before anything is done for it.
//!
//! gRPC clients refuse messages over 4 MiB unless they are told otherwise. So lists are cut into pages that fit, and a call
//! whose one answer might not fit is refused at once, instead of after the work. Each size here is an upper bound of the
//! encoded message; the tests encode the largest of each.

use super::ServerConfig;
use super::convert::Checked;
use super::status::Failure;
use crate::scoring::{Caller, MAX_CLAUSES};

/// What answers hold many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// `Profile`, or why there is none.
    Profile,
    /// `Erasure`.
    Erasure,
    /// `RecordEventResult`, of an event that passed the checks.
    Recorded,
    /// `RetractStatus`.
    Retracted,
    /// `AnalyzedMessage` without its id, its speaker and its text, with the turning point that it may be.
    Message,
    /// `AnalyzeSentimentResponse` without the parts below.
    Text,
    /// `ScoredWindow`.
    Window,
    /// `ScoredClause`.
    Clause,
    /// `WordContribution`.
    Word,
    /// `TargetMention` without the id and name of its target.
    Mention,
}

impl Item {
    /// The most bytes that one takes, with its tag and length.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Profile => 1536,
            Self::Erasure => 96,
            Self::Recorded => 512,
            Self::Retracted => 1,
            Self::Message => 192,
            Self::Text => 1280,
            Self::Window => 32,
            Self::Clause => 80,
            Self::Word => 32,
            Self::Mention => 112,
        }
    }
}

/// How many of an item a request may ask for: what the server is set to, or less if the answer would not fit.
pub(super) fn most_of(item: Item, config: &ServerConfig) -> usize {
    (config.max_answer_bytes / item.bytes()).clamp(1, config.max_batch_size)
}

/// Refuses a request whose answer may be of so many bytes, if that is too many; `instead` says what to ask for.
pub(super) fn fits(
    field: &'static str,
    bytes: usize,
    config: &ServerConfig,
    instead: &'static str,
) -> Result<(), Failure> {
    let most = config.max_answer_bytes;
    if bytes <= most { Ok(()) } else { Err(Failure::AnswerTooLarge { field, bytes, most, instead }) }
}

/// Refuses texts whose answers together may be too large, beside so many bytes of other items. What their answers will hold is
/// found out without an inference, and only where their lengths do not tell that they fit.
pub(super) async fn texts_fit<'a>(
    field: &'static str,
    caller: &Caller,
    texts: impl Iterator<Item = &'a Checked> + Clone,
    others: usize,
    config: &ServerConfig,
) -> Result<(), Failure> {
    let most = texts.clone().map(|text| most_bytes(caller, text)).fold(others, usize::saturating_add);
    if most <= config.max_answer_bytes {
        return Ok(());
    }
    let plain = texts.clone().map(|text| plain_bytes(caller, text)).fold(others, usize::saturating_add);
    let asked = texts.map(|checked| (checked.text.clone(), checked.features)).collect();
    let outline = caller.outline(asked).await.map_err(Failure::Score)?;
    let bytes = plain
        + outline.clauses * Item::Clause.bytes()
        + outline.words * Item::Word.bytes()
        + outline.mentions * Item::Mention.bytes()
        + outline.target_bytes;
    fits(
        field,
        bytes,
        config,
        "send fewer or shorter texts at once, ask for less of each, or use StreamAnalyzeSentiment",
    )
}

/// Of an answer without clauses, explanation and targets.
fn plain_bytes(caller: &Caller, checked: &Checked) -> usize {
    Item::Text.bytes() + caller.most_windows(checked.text.len()) * Item::Window.bytes()
}

/// Of an answer with all that is asked for, by the length of its text alone: each part has one byte of it at least.
fn most_bytes(caller: &Caller, checked: &Checked) -> usize {
    /// Of the id and the name of a target that a catalogue may have.
    const TARGET_BYTES: usize = 1024;
    let (parts, asked) = (checked.text.len(), checked.features);
    let clauses = if asked.clauses { parts.min(MAX_CLAUSES) * Item::Clause.bytes() } else { 0 };
    let words = asked.explanation.map_or(0, |most| parts.min(most) * Item::Word.bytes());
    let mentions = if asked.targets { parts * (Item::Mention.bytes() + TARGET_BYTES) } else { 0 };
    plain_bytes(caller, checked) + clauses + words + mentions
}

#[cfg(test)]
mod tests;
