//! Conversations as JSON Lines, for programs.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::{Chat, Row};
use crate::conversation::{RoleTrajectory, TurningPoint};
use crate::visible::visible_json;

/// One line of JSON. Messages are numbered from 0, times told in UTC, waits in seconds.
#[derive(Serialize)]
struct Line<'a> {
    file: String,
    format: &'static str,
    charset: &'static str,
    summary: String,
    unresolved_negative: bool,
    roles: Vec<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits: Option<Waiting>,
    guessed: Vec<&'a str>,
    skipped: Vec<Left>,
    messages: Vec<Said<'a>>,
    model_fingerprint: &'a str,
}

#[derive(Serialize)]
struct Side {
    role: &'static str,
    message_count: usize,
    scored_count: usize,
    positive_count: usize,
    negative_count: usize,
    opening: f64,
    closing: f64,
    shift: f64,
    mean: f64,
    turning_points: Vec<Turn>,
    longest_negative_run: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    longest_negative_run_from: Option<usize>,
}

#[derive(Serialize)]
struct Turn {
    message: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<usize>,
    from: f64,
    to: f64,
}

#[derive(Serialize)]
struct Waiting {
    count: usize,
    median_seconds: u64,
    longest_seconds: u64,
    longest_until: usize,
    long_count: usize,
    score_after_long: Option<f64>,
    score_after_others: Option<f64>,
}

#[derive(Serialize)]
struct Left {
    line: usize,
    reason: &'static str,
}

#[derive(Serialize)]
struct Said<'a> {
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    role: &'static str,
    speaker: &'a str,
    kind: &'static str,
    text: String,
    basis: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    smoothed: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cues: Vec<&'static str>,
}

pub(super) fn line(out: &mut impl Write, chat: &Chat) -> io::Result<()> {
    let trajectory = chat.trajectory();
    let transcript = &chat.transcript;
    let smoothed = trajectory.all_smoothed(transcript.messages.len());
    let waits = trajectory.waits.as_ref().map(|waits| Waiting {
        count: waits.count,
        median_seconds: waits.median.as_secs(),
        longest_seconds: waits.longest.as_secs(),
        longest_until: waits.longest_until,
        long_count: waits.long_count,
        score_after_long: waits.after_long,
        score_after_others: waits.after_others,
    });
    let line = Line {
        file: chat.disguise.text(&chat.name),
        format: transcript.format.name(),
        charset: transcript.charset.name(),
        summary: trajectory.summary(),
        unresolved_negative: trajectory.unresolved_negative,
        roles: trajectory.roles.iter().map(side).collect(),
        waits,
        guessed: chat.roles.guessed.iter().map(|name| chat.disguise.name(name)).collect(),
        skipped: transcript
            .skipped
            .iter()
            .map(|left| Left { line: left.line, reason: left.reason })
            .collect(),
        messages: chat.rows().zip(smoothed).map(|(row, smoothed)| said(chat, &row, smoothed)).collect(),
        model_fingerprint: &chat.fingerprint,
    };
    writeln!(out, "{}", visible_json(&serde_json::to_string(&line)?))
}

fn side(role: &RoleTrajectory) -> Side {
    let turn =
        |turn: &TurningPoint| Turn { message: turn.message, after: turn.after, from: turn.from, to: turn.to };
    Side {
        role: role.role.name(),
        message_count: role.message_count,
        scored_count: role.scored_count,
        positive_count: role.positive_count,
        negative_count: role.negative_count,
        opening: role.opening,
        closing: role.closing,
        shift: role.shift(),
        mean: role.mean,
        turning_points: role.turning_points.iter().map(turn).collect(),
        longest_negative_run: role.longest_negative_run.0,
        longest_negative_run_from: role.longest_negative_run.1,
    }
}

fn said<'a>(chat: &'a Chat, row: &Row<'a>, smoothed: Option<f64>) -> Said<'a> {
    let sentiment = row.heard.sentiment.as_ref();
    Said {
        line: row.message.line,
        id: row.message.id.as_deref(),
        time: row.message.time,
        role: row.role.name(),
        speaker: chat.speaker(row),
        kind: row.message.body.name(),
        text: chat.shown(row.message),
        basis: row.heard.basis.name(),
        label: sentiment.map(|sentiment| sentiment.label.name()),
        score: sentiment.map(|sentiment| sentiment.score),
        smoothed,
        cues: row.heard.cues.iter().map(|cue| cue.name()).collect(),
    }
}
