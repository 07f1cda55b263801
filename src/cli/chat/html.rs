//! A conversation as one page: no script, no network, its chart drawn as SVG in the colours of the reader's choice.

use jiff::civil::DateTime;
use jiff::tz::{Offset, offset};
use maud::{Markup, PreEscaped, html};

use super::{Chat, Row};
use crate::conversation::{Basis, Role, RoleTrajectory, TurningPoint, Waits, spoken};
use crate::scoring::MIXED_MARGIN;

const STYLE: &str = include_str!("report.css");

/// Where the times of the page are told.
const BANGKOK: Offset = offset(7);

/// The chart in its own units, and the room around its curves.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 30.0;

/// Most points of a curve that are drawn; beyond that each stands for several.
const POINTS: usize = 2000;

/// What a page begins with.
pub(super) const HEAD: &str = "<!DOCTYPE html><!-- arom chat -->";

pub(super) fn page(chat: &Chat) -> String {
    let trajectory = chat.trajectory();
    let times: Vec<DateTime> = chat
        .transcript
        .messages
        .iter()
        .filter_map(|message| message.time)
        .map(|time| BANGKOK.to_datetime(time))
        .collect();
    let markup = html! {
        (PreEscaped(HEAD))
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { "Conversation: " (trajectory.summary()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "A conversation and where it turned" }
                    p.faint {
                        (chat.transcript.messages.len()) " messages"
                        @if let (Some(first), Some(last)) = (times.first(), times.last()) {
                            ", " (first.strftime("%-d %b %Y %H:%M").to_string()) " to " (last.strftime("%-d %b %Y %H:%M").to_string()) " (Thai time)"
                        }
                    }
                }
                main {
                    (figures(chat))
                    h2 id="curve" { "How feeling moved" }
                    (chart(chat))
                    (turns(chat))
                    (sides(chat))
                    h2 id="messages" { "Messages" }
                    (messages(chat))
                }
                footer {
                    h2 { "How to read this" }
                    p.faint {
                        "A score goes from −1 (negative) to +1 (positive). A curve is the exponentially weighted mean of its side's scores; "
                        "a turning point is where their level changes. “With context” marks a short reply that was scored together with what it answers. "
                        "Telephone, identity, account and card numbers and e-mail addresses are hidden"
                        @if !chat.disguise.keeps_names() { ", and those who speak have the names of their roles" }
                        "."
                    }
                    @for note in chat.notes() { p.faint { (note) "." } }
                    p.faint {
                        "Read as " (chat.transcript.format.name()) ", " (chat.transcript.charset.name()) "; scored by "
                        (chat.fingerprint) " with Arom " (env!("CARGO_PKG_VERSION")) "."
                    }
                }
            }
        }
    };
    markup.into_string()
}

fn signed(score: f64) -> Markup {
    let class = class(score);
    html! { span class=[(class != "neutral").then_some(if class == "positive" { "good" } else { "bad" })] { (format!("{score:+.2}").replace('-', "−")) } }
}

fn class(score: f64) -> &'static str {
    let margin = f64::from(MIXED_MARGIN);
    if score >= margin {
        "positive"
    } else if score <= -margin {
        "negative"
    } else {
        "neutral"
    }
}

/// A link to a message, by its number.
fn link(at: usize) -> Markup {
    html! { a href=(format!("#m{}", at + 1)) { "message " (at + 1) } }
}

fn figures(chat: &Chat) -> Markup {
    let trajectory = chat.trajectory();
    let said =
        |score: Option<f64>| html! { @match score { Some(score) => (signed(score)), None => "nothing" } };
    html! {
        dl.figures {
            @if let Some(customer) = trajectory.customer() {
                div { dt { "Customer, opening" } dd { (signed(customer.opening)) } }
                div { dt { "Customer, closing" } dd { (signed(customer.closing)) small { "shift " (signed(customer.shift())) } } }
                div {
                    dt { "How it ended" }
                    dd { @if trajectory.unresolved_negative { span.bad { "negative" } small { "unresolved" } } @else { "not negative" } }
                }
                div { dt { "Turning points" } dd { (customer.turning_points.len()) } }
                div {
                    dt { "Negative in a row" }
                    dd {
                        (customer.longest_negative_run.0)
                        @if let Some(from) = customer.longest_negative_run.1 { small { "from " (link(from)) } }
                    }
                }
            }
            @if let Some(Waits { median, longest, longest_until, long_count, after_long, .. }) = &trajectory.waits {
                div { dt { "Median wait" } dd { (spoken(*median)) } }
                div { dt { "Longest wait" } dd { (spoken(*longest)) small { "until " (link(*longest_until)) } } }
                @if *long_count > 0 {
                    div { dt { "After " (long_count) " waits of 10 min or more" } dd { (said(*after_long)) small { "what the customer said next" } } }
                }
            }
        }
    }
}

/// A position in the chart.
fn place(at: usize, score: f64, count: usize) -> (f64, f64) {
    let last = as_float(count.saturating_sub(1).max(1));
    let x = LEFT + as_float(at) / last * (WIDTH - LEFT - RIGHT);
    let y = TOP + (1.0 - score) / 2.0 * (HEIGHT - TOP - BOTTOM);
    (x, y)
}

fn chart(chat: &Chat) -> Markup {
    let count = chat.transcript.messages.len();
    let roles = &chat.trajectory().roles;
    let level = |score: f64| place(0, score, count).1;
    let end = WIDTH - RIGHT;
    let days = days(chat);
    html! {
        figure {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="group" aria-label=(format!("Curves of sentiment over {count} messages: {}", chat.trajectory().summary())) {
                @for (score, name) in [(1.0, "+1"), (0.0, "0"), (-1.0, "−1")] {
                    line class=(if score == 0.0 { "zero" } else { "grid" }) x1=(LEFT) x2=(end) y1=(level(score)) y2=(level(score)) {}
                    text x=(LEFT - 8.0) y=(level(score) + 4.0) text-anchor="end" { (name) }
                }
                @for (at, name) in days {
                    @let x = tenth(place(at, 0.0, count).0);
                    line.grid x1=(x) x2=(x) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
                    text x=(x + 3.0) y=(HEIGHT - 10.0) { (name) }
                }
                @for role in roles {
                    @for row in points(chat, role.role) {
                        @let (x, y) = place(row.0, row.1, count);
                        circle class=(format!("point {}", role.role.name())) cx=(tenth(x)) cy=(tenth(y)) r="3" {}
                    }
                    polyline class=(format!("curve {}", role.role.name())) points=(curve(role, count)) {}
                }
                @for role in roles {
                    @for turn in &role.turning_points {
                        @let (x, y) = place(turn.message, chat.trajectory().smoothed(turn.message).unwrap_or_default(), count);
                        @let (x, y) = (tenth(x), tenth(y));
                        a.turn href=(format!("#m{}", turn.message + 1)) aria-label=(said_of(role.role, turn)) {
                            line x1=(x) x2=(x) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
                            circle cx=(x) cy=(y) r="7" {}
                            text x=(x) y=(TOP - 9.0) text-anchor="middle" { "#" (turn.message + 1) }
                        }
                    }
                }
            }
            ul.key {
                @for role in roles {
                    li {
                        svg viewBox="0 0 36 12" aria-hidden="true" { line class=(format!("curve {}", role.role.name())) x1="0" x2="36" y1="6" y2="6" {} }
                        (role.role.name())
                    }
                }
                li { "○ turning point: choose it to read the message" }
            }
        }
    }
}

fn said_of(role: Role, turn: &TurningPoint) -> String {
    format!(
        "Turning point of the {} at message {}, from {:+.2} to {:+.2}",
        role.name(),
        turn.message + 1,
        turn.from,
        turn.to
    )
}

/// Where a day begins, and its name; of very many only some.
fn days(chat: &Chat) -> Vec<(usize, String)> {
    const MOST: usize = 10;
    let mut days = Vec::new();
    let mut last = None;
    for (at, message) in chat.transcript.messages.iter().enumerate() {
        let day = message.time.map(|time| BANGKOK.to_datetime(time).date());
        if let Some(day) = day.filter(|day| last != Some(*day)) {
            last = Some(day);
            days.push((at, day.strftime("%-d %b").to_string()));
        }
    }
    let step = days.len().div_ceil(MOST).max(1);
    days.into_iter().step_by(step).collect()
}

/// The scored messages of a role: where each stands, and its score.
fn points(chat: &Chat, role: Role) -> Vec<(usize, f64)> {
    let scored = |(at, row): (usize, Row<'_>)| {
        let counts = row.role == role && row.heard.basis != Basis::UnknownSticker;
        Some((at, f64::from(row.heard.sentiment.as_ref().filter(|_| counts)?.score)))
    };
    let points: Vec<(usize, f64)> = chat.rows().enumerate().filter_map(scored).collect();
    let step = points.len().div_ceil(POINTS).max(1);
    points.into_iter().step_by(step).collect()
}

fn curve(role: &RoleTrajectory, count: usize) -> String {
    let step = role.curve.len().div_ceil(POINTS).max(1);
    let points = role.curve.iter().step_by(step).map(|(at, score)| {
        let (x, y) = place(*at, *score, count);
        format!("{:.1},{:.1}", x, y)
    });
    points.collect::<Vec<_>>().join(" ")
}

fn turns(chat: &Chat) -> Markup {
    let roles = &chat.trajectory().roles;
    let cues = || chat.rows().enumerate().filter(|(_, row)| !row.heard.cues.is_empty());
    html! {
        @if roles.iter().any(|role| !role.turning_points.is_empty()) {
            h2 id="turns" { "Where it turned" }
            ul {
                @for role in roles {
                    @for turn in &role.turning_points {
                        li {
                            "The " (role.role.name()) " at " (link(turn.message)) ": from " (signed(turn.from)) " to " (signed(turn.to))
                            @if let Some(after) = turn.after { ", after " (link(after)) }
                        }
                    }
                }
            }
        }
        @if cues().next().is_some() {
            h2 id="cues" { "Signs of escalation" }
            ul { @for (at, row) in cues() { li { (link(at)) ": " (named(&row)) } } }
        }
    }
}

fn named(row: &Row<'_>) -> String {
    row.heard.cues.iter().map(|cue| cue.name().replace('_', " ")).collect::<Vec<_>>().join(", ")
}

fn sides(chat: &Chat) -> Markup {
    html! {
        h2 id="sides" { "Each side" }
        div.wide {
            table {
                thead { tr {
                    @for name in ["", "messages", "with a score", "positive", "neither", "negative", "opening", "closing", "mean"] { th scope="col" { (name) } }
                } }
                tbody {
                    @for role in &chat.trajectory().roles {
                        tr {
                            th scope="row" { (role.role.name()) }
                            td { (role.message_count) }
                            td { (role.scored_count) }
                            td { (role.positive_count) }
                            td { (role.scored_count - role.positive_count - role.negative_count) }
                            td { (role.negative_count) }
                            td { (signed(role.opening)) }
                            td { (signed(role.closing)) }
                            td { (signed(role.mean)) }
                        }
                    }
                }
            }
        }
    }
}

fn messages(chat: &Chat) -> Markup {
    let turns: Vec<(Role, &TurningPoint)> = chat
        .trajectory()
        .roles
        .iter()
        .flat_map(|role| role.turning_points.iter().map(|turn| (role.role, turn)))
        .collect();
    let mut day = None;
    let rows: Vec<Markup> = chat
        .rows()
        .enumerate()
        .map(|(at, row)| {
            let time = row.message.time.map(|time| BANGKOK.to_datetime(time));
            let begins = time.map(|time| time.date()).filter(|date| day.replace(*date) != Some(*date));
            let turn = turns.iter().find(|(_, turn)| turn.message == at).map(|(_, turn)| *turn);
            html! {
                @if let Some(date) = begins { li.day { (date.strftime("%A %-d %B %Y").to_string()) } }
                (message(chat, at, &row, time, turn))
            }
        })
        .collect();
    html! { ol.messages { @for row in rows { (row) } } }
}

fn message(
    chat: &Chat,
    at: usize,
    row: &Row<'_>,
    time: Option<DateTime>,
    turn: Option<&TurningPoint>,
) -> Markup {
    let score = row.heard.sentiment.as_ref().map(|sentiment| f64::from(sentiment.score));
    let note = match row.heard.basis {
        Basis::Text | Basis::Nothing => "",
        Basis::TextInContext => " with context",
        Basis::Keywords => " by its keywords",
        Basis::UnknownSticker => " unknown, not counted",
    };
    html! {
        li id=(format!("m{}", at + 1)) class=(format!("message {} {}", row.role.name(), score.map_or("neutral", class))) {
            div.head {
                span { "#" (at + 1) }
                span { (chat.speaker(row)) }
                @if let Some(time) = time { time datetime=(time.strftime("%Y-%m-%dT%H:%M:%S+07:00").to_string()) { (time.strftime("%H:%M").to_string()) } }
                @if let Some(score) = score { span.score { (meter(score)) (signed(score)) (note) } }
            }
            p.said lang="th" { (chat.shown(row.message)) }
            @if let Some(turn) = turn {
                span.tag.turns { "◆ turns from " (signed(turn.from)) " to " (signed(turn.to)) }
            }
            @for cue in &row.heard.cues { span.tag.bad { "⚑ " (cue.name().replace('_', " ")) } }
        }
    }
}

/// The score as a bar to the left of the middle or to the right.
fn meter(score: f64) -> Markup {
    let from = if score < 0.0 { 50.0 * (1.0 + score) } else { 50.0 };
    let class = if score < 0.0 { "bad" } else { "good" };
    html! {
        svg.meter viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect class=(class) x=(tenth(from)) y="0" width=(tenth(50.0 * score.abs())) height="8" {}
            line x1="50" x2="50" y1="0" y2="8" {}
        }
    }
}

/// To a tenth of a unit, which nobody sees.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "a count of messages")]
fn as_float(count: usize) -> f64 {
    count as f64
}
