//! A dump of reviews in figures, and these on one page. Pure: the rows come from the caller, and so does what only it
//! knows.
//!
//! Rows pass once and none is kept. Whatever grows with what people write (brands, days, targets, words) is bounded;
//! the smallest are forgotten first, and the figures say how many rows that concerns. The same rows in the same order
//! give the same bytes.

mod collector;
mod distinct;
mod extremes;
mod figures;
mod page;
mod sentences;
mod shown;
mod statistics;
mod targets;
mod timeline;
mod words;

pub use collector::Collector;
pub use figures::{
    Aspect, Bin, Disagreement, Distinct, Figures, Language, Lengths, OverTime, Period, Point, Quality,
    QualityFigures, Ranking, Rated, Ratings, Rejected, Reviewed, ReviewedBrand, Series, Snippet, Word, Words,
};
pub use page::page;
pub use statistics::{Labels, Mean, Share};

use jiff::Timestamp;

use crate::model::Label;
use crate::scoring::Content;

/// A scored row of a dump.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What was written.
    pub text: &'a str,
    /// The most probable class.
    pub label: Label,
    /// Polarity in [-1, 1].
    pub score: f32,
    /// Whether the model is too unsure of the class to stand by it.
    pub abstain: bool,
    /// Whether parts of the text disagree.
    pub mixed: bool,
    /// Whether the text says anything; a row that does not counts in the data quality alone.
    pub content: Content,
    /// How many tokens it was for the model.
    pub token_count: usize,
    /// In how many windows it was scored.
    pub window_count: usize,
    /// Whose review it is, if the dump says so.
    pub brand: Option<&'a str>,
    /// When it was written, if the dump says so.
    pub time: Option<Timestamp>,
    /// Its stars, 1 to 5, if the dump says so.
    pub rating: Option<u8>,
    /// The brands and aspects it speaks of.
    pub targets: &'a [Spoken<'a>],
}

/// What a text says of a brand or an aspect.
#[derive(Clone, Copy, Debug)]
pub struct Spoken<'a> {
    /// The name of the brand or aspect.
    pub target: &'a str,
    /// Whether it is a brand; else it is an aspect.
    pub is_brand: bool,
    /// The most probable class of the statement.
    pub label: Label,
    /// Polarity of the statement in [-1, 1].
    pub score: f32,
    /// The words that say it.
    pub statement: &'a str,
}

#[cfg(test)]
mod tests;
