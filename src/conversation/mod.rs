//! Conversations: messages out of LINE exports and other files, and what was felt in them. Pure.

mod message;
mod read;

pub use message::{Body, Media, Message, Sender};
pub use read::{Charset, Format, ReadError, Skipped, Transcript, read};

#[cfg(test)]
mod tests;
