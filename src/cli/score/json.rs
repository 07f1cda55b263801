//! Scored texts as JSON Lines, for programs.

use std::ops::Range;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Row;
use crate::model::{Label, Probabilities};
use crate::scoring::{
    Content, Contribution, Explanation, Intent, ScoreError, Scored, ScoredClause, ScoredMention, TargetKind,
};
use crate::text::{Encoding, Modifiers, Offsets};
use crate::visible::visible_json;

/// One line of JSON: the text, the input's other fields, and what was found. Nothing in it depends on the clock.
#[derive(Serialize)]
struct JsonLine<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Map<String, Value>>,
    #[serde(flatten)]
    found: Found<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Found<'a> {
    Failed { error: String },
    Scored(Box<Figures<'a>>),
}

#[derive(Serialize)]
struct Figures<'a> {
    label: &'static str,
    score: f32,
    magnitude: f32,
    mixed: bool,
    entropy: f32,
    abstain: bool,
    probabilities: Shares,
    content: &'static str,
    token_count: usize,
    window_count: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clauses: Vec<Clause<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<Spoken<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modifiers: Option<Modifiers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<Asked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Vec<Word<'a>>>,
    model_fingerprint: &'a str,
}

#[derive(Serialize)]
struct Asked {
    question: f32,
    polarity: &'static str,
}

#[derive(Serialize)]
struct Word<'a> {
    #[serde(flatten)]
    part: Part<'a>,
    contribution: f32,
    decisive: bool,
}

/// A brand or aspect that the text speaks of.
#[derive(Serialize)]
struct Spoken<'a> {
    target: String,
    kind: TargetKind,
    #[serde(flatten)]
    named: Part<'a>,
    statement: Part<'a>,
    compared: bool,
    label: &'static str,
    score: f32,
    probabilities: Shares,
}

#[derive(Serialize)]
struct Clause<'a> {
    #[serde(flatten)]
    part: Part<'a>,
    label: &'static str,
    score: f32,
    probabilities: Shares,
}

/// A text, and its offsets in characters.
type Counted<'a, 'b> = (&'a str, &'b Offsets);

/// A part of a text, with offsets in characters.
#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
    begin_offset: usize,
    end_offset: usize,
}

impl<'a> Part<'a> {
    fn of((text, offsets): Counted<'a, '_>, span: Range<usize>) -> Self {
        let characters = offsets.range(span.clone());
        Self {
            text: text.get(span).unwrap_or_default(),
            begin_offset: characters.start,
            end_offset: characters.end,
        }
    }
}

#[derive(Serialize)]
struct Shares {
    positive: f32,
    neutral: f32,
    negative: f32,
    question: f32,
}

impl Shares {
    fn of(probabilities: Probabilities) -> Self {
        let share = |label| probabilities.of(label);
        Self {
            positive: share(Label::Positive),
            neutral: share(Label::Neutral),
            negative: share(Label::Negative),
            question: share(Label::Question),
        }
    }
}

pub(super) fn json_line(
    row: Row,
    result: Result<Scored, ScoreError>,
    fingerprint: &str,
    max_risk: f32,
) -> Result<String> {
    let mut input = row.object;
    if let Some(fields) = &mut input {
        fields.shift_remove("text");
    }
    let offsets = Encoding::Utf32.offsets(&row.text);
    let text = (row.text.as_str(), &offsets);
    let found = match result {
        Err(error) => Found::Failed { error: error.to_string() },
        Ok(Scored {
            sentiment,
            content,
            token_count,
            window_count,
            clauses,
            mentions,
            modifiers,
            intent,
            explanation,
            ..
        }) => Found::Scored(Box::new(Figures {
            label: sentiment.label.name(),
            score: sentiment.score,
            magnitude: sentiment.magnitude,
            mixed: sentiment.mixed,
            entropy: sentiment.probabilities.entropy(),
            abstain: sentiment.probabilities.risk() > max_risk,
            probabilities: Shares::of(sentiment.probabilities),
            content: content_name(content),
            token_count,
            window_count,
            clauses: clauses.into_iter().map(|clause| json_clause(text, clause)).collect(),
            targets: mentions.into_iter().map(|mention| json_mention(text, mention)).collect(),
            modifiers,
            intent: intent.map(|Intent { question, polarity }| Asked { question, polarity: polarity.name() }),
            explanation: explanation.map(|explanation| json_words(text, explanation)),
            model_fingerprint: fingerprint,
        })),
    };
    Ok(visible_json(&serde_json::to_string(&JsonLine { text: &row.text, input, found })?).into_owned())
}

fn json_words<'a>(text: Counted<'a, '_>, explanation: Explanation) -> Vec<Word<'a>> {
    let word = |word: Contribution| Word {
        part: Part::of(text, word.span),
        contribution: word.contribution,
        decisive: word.decisive,
    };
    explanation.contributions.into_iter().map(word).collect()
}

fn json_clause<'a>(text: Counted<'a, '_>, clause: ScoredClause) -> Clause<'a> {
    let ScoredClause { span, sentiment } = clause;
    Clause {
        part: Part::of(text, span),
        label: sentiment.label.name(),
        score: sentiment.score,
        probabilities: Shares::of(sentiment.probabilities),
    }
}

fn json_mention<'a>(text: Counted<'a, '_>, mention: ScoredMention) -> Spoken<'a> {
    let ScoredMention { target, span, statement, sentiment, compared } = mention;
    Spoken {
        target: target.id.clone(),
        kind: target.kind,
        named: Part::of(text, span),
        statement: Part::of(text, statement),
        compared,
        label: sentiment.label.name(),
        score: sentiment.score,
        probabilities: Shares::of(sentiment.probabilities),
    }
}

fn content_name(content: Content) -> &'static str {
    match content {
        Content::Linguistic => "linguistic",
        Content::Empty => "empty",
        Content::NonLinguistic => "non_linguistic",
    }
}
