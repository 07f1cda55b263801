//! The figures of a report; as JSON they are the report for programs.

use serde::Serialize;

use super::statistics::{Labels, Mean, Share};

/// What only the caller knows: where the rows came from, and what never became a row.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// The files that were read.
    pub sources: Vec<String>,
    /// The model that scored them, with its fingerprint.
    pub model: String,
    /// Rows that could not be read, by reason.
    pub rejected: Vec<Rejected>,
    /// Anything else a reader must know, a sentence each.
    pub notes: Vec<String>,
}

/// How many rows could not be read, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rejected {
    /// Why.
    pub reason: String,
    /// How many.
    pub row_count: u64,
}

/// A dump of reviews in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// The main findings in plain words, a sentence each.
    pub summary: Vec<String>,
    /// How many rows came.
    pub row_count: u64,
    /// How many of them say anything; all that follows but the quality is of these.
    pub scored_row_count: u64,
    /// The classes of the rows.
    pub labels: Labels,
    /// The mean score of the rows.
    pub mean: Mean,
    /// The mean score over time.
    pub over_time: OverTime,
    /// The brands whose reviews these are, by rows.
    pub reviewed: Reviewed,
    /// What is spoken of that is no brand.
    pub aspects: Ranking,
    /// Brands that are spoken of.
    pub brands: Ranking,
    /// Stars beside what is written.
    pub ratings: Ratings,
    /// Words that come with high or low scores.
    pub words: Words,
    /// How long the texts are.
    pub lengths: Lengths,
    /// In what they are written.
    pub language: Language,
    /// How far the figures can be trusted.
    pub quality: QualityFigures,
}

/// How long a point of a curve is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// A day of Thai time.
    Day,
    /// Seven days from Monday.
    Week,
    /// A calendar month.
    Month,
    /// Three months from January, April, July or October.
    Quarter,
    /// A calendar year.
    Year,
}

impl Period {
    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
            Period::Quarter => "quarter",
            Period::Year => "year",
        }
    }
}

/// Mean scores over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverTime {
    /// How long each point is: the shortest with which there are not too many.
    pub period: Period,
    /// In whose time days begin.
    pub time_zone: String,
    /// The first day of the curves; nothing if no row has a time.
    pub first_day: Option<String>,
    /// The last day of the curves.
    pub last_day: Option<String>,
    /// Rows with a time that can be meant.
    pub row_count: u64,
    /// Rows of the brands that have a curve of their own.
    pub brand_curve_row_count: u64,
    /// Rows left out because they lie over a year from the others and are at most one in a thousand.
    pub stray_row_count: u64,
    /// Rows left out because their time is before 1970 or after 2099.
    pub implausible_row_count: u64,
    /// All rows first, then the largest brands.
    pub series: Vec<Series>,
}

/// A curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Whose it is; nothing if it is of all rows.
    pub brand: Option<String>,
    /// Rows in its points. A brand that was small while there were too many days of brands lacks its first rows.
    pub row_count: u64,
    /// Their mean score.
    pub mean: Mean,
    /// Its points; a period without rows has none.
    pub points: Vec<Point>,
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The first day of the period.
    pub from: String,
    /// The mean score in it.
    #[serde(flatten)]
    pub mean: Mean,
}

/// The brands whose reviews these are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reviewed {
    /// Rows with a brand.
    pub row_count: u64,
    /// How many brands were counted to the end.
    pub brand_count: u64,
    /// Whether there were more: the smallest are forgotten when there are too many.
    pub more_brands: bool,
    /// Rows of brands that are not listed.
    pub left_out_row_count: u64,
    /// Rows of brands that were forgotten; some may belong to a brand that came again and is listed.
    pub forgotten_row_count: u64,
    /// The largest, by rows.
    pub brands: Vec<ReviewedBrand>,
}

/// A brand with reviews.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReviewedBrand {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub row_count: u64,
    /// Their classes.
    pub labels: Labels,
    /// Their mean score.
    pub mean: Mean,
}

/// What is spoken of, by the share of mentions that is negative.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranking {
    /// The highest share first; those of few mentions after all others.
    pub targets: Vec<Aspect>,
    /// All mentions.
    pub mention_count: u64,
    /// Fewer mentions than this are few.
    pub few_mentions: u64,
    /// Targets that were counted and are not listed.
    pub left_out_count: u64,
    /// Mentions of targets that are not listed.
    pub left_out_mention_count: u64,
    /// Mentions of targets that were forgotten because there were too many.
    pub forgotten_mention_count: u64,
}

/// An aspect or a brand that is spoken of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Aspect {
    /// Its name.
    pub name: String,
    /// How often it is spoken of.
    pub mention_count: u64,
    /// Whether that is too few to be ranked with the others.
    pub few: bool,
    /// The classes of what is said of it.
    pub labels: Labels,
    /// The mean score of what is said of it.
    pub mean: Mean,
    /// The most negative statements, masked and cut.
    pub examples: Vec<Snippet>,
}

/// A part of what somebody wrote, masked and cut.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snippet {
    /// The words.
    pub text: String,
    /// Their score.
    pub score: f64,
    /// The stars given with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rating: Option<u8>,
    /// Whose review it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
}

/// Stars beside what is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratings {
    /// Rows with a rating.
    pub row_count: u64,
    /// One star first.
    pub ratings: Vec<Rated>,
    /// Strongly negative texts with four or five stars.
    pub high_but_negative: Disagreement,
    /// Strongly positive texts with one or two stars.
    pub low_but_positive: Disagreement,
}

/// The rows with so many stars.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rated {
    /// The stars.
    pub rating: u8,
    /// How many rows have them.
    pub row_count: u64,
    /// The classes of their texts.
    pub labels: Labels,
    /// The mean score of their texts.
    pub mean: Mean,
}

/// Rows whose stars say other than their text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Disagreement {
    /// From what score on, either way, a text is strong.
    pub least_score: f64,
    /// Their share of the rows with such ratings.
    pub share: Share,
    /// The clearest of them.
    pub examples: Vec<Snippet>,
}

/// Words that come with high or low scores. This is association: a word need not be the cause.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Words {
    /// In how many rows a word must be to be considered.
    pub least_row_count: u64,
    /// How many words are.
    pub considered_count: u64,
    /// A word in at most so many rows may be missing, and a count may be too low by as much.
    pub missed_row_count: u64,
    /// The lowering words, the surest first.
    pub lowering: Vec<Word>,
    /// The raising words, the surest first.
    pub raising: Vec<Word>,
}

/// A word, and the scores of rows with it and without it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Word {
    /// The word.
    pub word: String,
    /// In how many rows it is.
    pub row_count: u64,
    /// The mean score of these.
    pub mean_with: f64,
    /// The mean score of all others.
    pub mean_without: f64,
    /// The first less the second.
    pub difference: f64,
    /// The difference in standard errors, by which words are ranked.
    pub z: f64,
}

/// How long the texts are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lengths {
    /// Half of the texts are at most so long.
    pub median_chars: u64,
    /// The texts by their length.
    pub bins: Vec<Bin>,
}

/// Texts of about one length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// The shortest.
    pub from_chars: u64,
    /// The longest; nothing if there is no limit.
    pub to_chars: Option<u64>,
    /// How many, among all rows that say anything.
    pub share: Share,
}

/// In what the texts are written. The first four add up to all, the others need not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Language {
    /// Thai letters, and no Latin word.
    pub thai: Share,
    /// Thai letters and Latin words.
    pub thai_and_latin: Share,
    /// Latin words, and no Thai letter.
    pub latin: Share,
    /// Neither: emoji, numbers, other scripts.
    pub neither: Share,
    /// With emoji.
    pub emoji: Share,
    /// With laughter: `555`.
    pub laughter: Share,
    /// With stretched words: `มากกก`.
    pub elongation: Share,
}

/// How many different texts there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Distinct {
    /// How many.
    pub count: u64,
    /// Whether that was counted; else it is estimated, and off by 1.6 % as a rule.
    pub exact: bool,
}

/// How far the figures can be trusted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QualityFigures {
    /// What the caller knows.
    #[serde(flatten)]
    pub told: Quality,
    /// Rows that could not be read, of all that were.
    pub rejected_rows: Share,
    /// Rows that say nothing.
    pub empty: Share,
    /// Rows of nothing but links, numbers or placeholders.
    pub non_linguistic: Share,
    /// Scored rows of whose class the model is too unsure to stand by it.
    pub abstained: Share,
    /// Scored rows whose parts disagree.
    pub mixed: Share,
    /// Scored rows that were too long for one window of the model.
    pub several_windows: Share,
    /// Tokens of all rows.
    pub token_count: u64,
    /// Different texts among all rows.
    pub distinct_texts: Distinct,
    /// Rows without a time.
    pub without_time: Share,
    /// Rows without a rating of 1 to 5.
    pub without_rating: Share,
    /// Rows without a brand.
    pub without_brand: Share,
}
