//! The figures as one page that fetches nothing: tables that are complete by themselves, and charts drawn beside them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::figures::{
    Bin, Disagreement, Figures, OverTime, Period, Ranking, Reviewed, Series, Snippet, Word,
};
use super::sentences::{count, counted, curve, moved, percent, range, signed, worst};
use super::statistics::{Mean, Share};
use crate::model::Label;

const STYLE: &str = include_str!("page.css");

/// D3, Plot on top of it, and what draws the charts of this page with them.
const SCRIPTS: [&str; 3] = [
    include_str!("vendor/d3-7.9.0.min.js"),
    include_str!("vendor/plot-0.6.17.umd.min.js"),
    include_str!("page.js"),
];

/// Their licences, which go with every copy of them.
const LICENCES: [(&str, &str); 2] = [
    ("D3 7.9.0", include_str!("vendor/d3-LICENSE")),
    ("Observable Plot 0.6.17", include_str!("vendor/plot-LICENSE")),
];

/// Longest table that is printed; a longer one would bury the page.
const PRINTED_ROWS: usize = 45;

/// How many targets have their examples on the page itself.
const QUOTED: usize = 6;

/// The report as a page of its own, to be kept, sent and printed.
pub fn page(figures: &Figures) -> String {
    let title = if figures.scored_row_count == 0 {
        "No reviews to report on".to_owned()
    } else {
        format!("What {} say", counted(figures.scored_row_count, "review", "reviews"))
    };
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy());
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the figures" }
                header {
                    h1 { (title) }
                    p.faint { (origin(figures)) }
                }
                main id="main" tabindex="-1" {
                    p.lead { @for sentence in &figures.summary { (sentence) " " } }
                    @if figures.scored_row_count > 0 { (body(figures)) }
                    (quality(figures))
                }
                (footer(figures))
                @if figures.scored_row_count > 0 {
                    script type="application/json" id="figures" { (PreEscaped(json(figures))) }
                    @for script in SCRIPTS { script { (PreEscaped(script)) } }
                }
            }
        }
    };
    markup.into_string()
}

/// Nothing is fetched, and no script runs but ours: text of a review that became markup would still do nothing.
fn policy() -> String {
    let hashes = SCRIPTS.map(|script| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(script))));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src {}; base-uri 'none'; form-action 'none'",
        hashes.join(" ")
    )
}

/// JSON that no parser of HTML takes for its own: without `<`, `>` and `&`.
fn json(figures: &Figures) -> String {
    let json = serde_json::to_string(figures).expect("figures are numbers, strings and lists of them");
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn origin(figures: &Figures) -> Markup {
    let over_time = &figures.over_time;
    let day = |day: &str| {
        day.parse::<jiff::civil::Date>()
            .map_or_else(|_| day.to_owned(), |date| date.strftime("%-d %B %Y").to_string())
    };
    html! {
        @if !figures.quality.told.sources.is_empty() { "From " bdi { (figures.quality.told.sources.join(", ")) } ". " }
        @if let (Some(first), Some(last)) = (&over_time.first_day, &over_time.last_day) {
            "Written from " (day(first)) " to " (day(last)) " (Thai time)."
        }
    }
}

fn body(figures: &Figures) -> Markup {
    let over_time = figures.over_time.series.first().is_some_and(|all| !all.points.is_empty());
    let sections: Vec<(&str, &str, Markup)> = [
        (true, "feeling", "How people feel", feeling(figures)),
        (over_time, "time", "Over time", timeline(&figures.over_time)),
        (!figures.reviewed.brands.is_empty(), "reviewed", "Brand by brand", reviewed(&figures.reviewed)),
        (
            !figures.aspects.targets.is_empty(),
            "aspects",
            "What reviews are about",
            ranking(&figures.aspects, "aspect"),
        ),
        (
            !figures.brands.targets.is_empty(),
            "brands",
            "Brands people speak of",
            ranking(&figures.brands, "brand"),
        ),
        (figures.ratings.row_count > 0, "ratings", "Stars and words", ratings(figures)),
        (true, "words", "Words of high and low scores", words(figures)),
        (true, "texts", "How the texts are written", texts(figures)),
    ]
    .into_iter()
    .filter(|(there, ..)| *there)
    .map(|(_, id, name, section)| (id, name, section))
    .collect();
    html! {
        (cards(figures))
        nav aria-label="Contents" {
            ul { @for (id, name, _) in &sections { li { a href=(format!("#{id}")) { (name) } } } li { a href="#quality" { "How good the data is" } } }
        }
        p.note id="undrawn" { "The charts need JavaScript. The tables hold the same figures without it." }
        @for (id, name, section) in sections {
            section aria-labelledby=(id) { h2 id=(id) { (name) } (section) }
        }
    }
}

fn cards(figures: &Figures) -> Markup {
    let labels = &figures.labels;
    html! {
        dl.figures {
            div { dt { "Reviews" } dd { (count(figures.scored_row_count)) small { (count(figures.row_count)) " rows" } } }
            div { dt { "Negative" } dd.bad { (percent(labels.negative.share)) small { (count(labels.negative.count)) " reviews" } } }
            div { dt { "Positive" } dd.good { (percent(labels.positive.share)) small { (count(labels.positive.count)) " reviews" } } }
            div { dt { "Mean score" } dd { (score(&figures.mean)) small { (interval(&figures.mean)) } } }
            div {
                dt { "Different texts" }
                dd {
                    @if !figures.quality.distinct_texts.exact { "≈ " }
                    (count(figures.quality.distinct_texts.count))
                    small { "of " (count(figures.row_count)) " rows" }
                }
            }
        }
    }
}

fn score(mean: &Mean) -> String {
    mean.score.map_or_else(|| "–".to_owned(), signed)
}

fn interval(mean: &Mean) -> String {
    mean.low
        .zip(mean.high)
        .map_or_else(|| "–".to_owned(), |(low, high)| format!("{} to {}", signed(low), signed(high)))
}

fn ends(share: &Share) -> String {
    range(share.low, share.high)
}

/// A chart with its name, what it says in a sentence, room to draw it in, and a table of all of it.
fn chart(id: &str, name: &str, says: &str, table: &Table) -> Markup {
    let caption = format!("{id}-name");
    html! {
        figure aria-labelledby=(caption) {
            figcaption id=(caption) { strong { (name) } @if !says.is_empty() { span { (says) } } }
            div.chart data-chart=(id) data-name=(name) {}
            (table.details())
        }
    }
}

/// A table of a chart's figures.
struct Table {
    caption: String,
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    printed: bool,
}

impl Table {
    fn new(caption: &str, heads: &[&'static str], rows: Vec<Vec<String>>) -> Self {
        let printed = rows.len() <= PRINTED_ROWS;
        Self { caption: caption.to_owned(), heads: heads.to_vec(), rows, printed }
    }

    /// For the screen alone.
    fn unprinted(self) -> Self {
        Self { printed: false, ..self }
    }

    fn details(&self) -> Markup {
        html! {
            details class=[(!self.printed).then_some("long")] {
                summary { "Table" span.unseen { ": " (self.caption) } }
                (self.table())
            }
        }
    }

    fn table(&self) -> Markup {
        html! {
            div.wide tabindex="0" role="region" aria-label=(self.caption) {
                table {
                    caption { (self.caption) }
                    thead { tr { @for head in &self.heads { th scope="col" { (head) } } } }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (at, cell) in row.iter().enumerate() {
                                    @if at == 0 { th scope="row" { bdi { (cell) } } } @else { td { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn feeling(figures: &Figures) -> Markup {
    let rows = [Label::Positive, Label::Neutral, Label::Question, Label::Negative].map(|label| {
        let share = figures.labels.share(label);
        vec![label.name().to_owned(), count(share.count), percent(share.share), ends(&share)]
    });
    let labels = &figures.labels;
    let says = format!(
        "{} positive, {} neutral, {} questions, {} negative.",
        percent(labels.positive.share),
        percent(labels.neutral.share),
        percent(labels.question.share),
        percent(labels.negative.share),
    );
    let table =
        Table::new("Reviews by class", &["Class", "Reviews", "Share", "95 % interval"], rows.to_vec());
    chart("labels", "Reviews by class", &says, &table)
}

fn timeline(over_time: &OverTime) -> Markup {
    let period = over_time.period;
    let all = over_time.series.first();
    let brands: Vec<&Series> = over_time.series.iter().skip(1).collect();
    html! {
        @if let Some(all) = all {
            @let says = moved(over_time).unwrap_or_else(|| curve(all, period));
            (chart("time-all", &format!("Mean score by {}, all reviews", period.name()), &says, &points(all, period, "all reviews")))
        }
        @if !brands.is_empty() {
            h3 { "The " (if brands.len() == 1 { "largest brand".to_owned() } else { format!("{} largest brands", brands.len()) }) ", beside all reviews (dashed)" }
            div.panels {
                @for (at, series) in brands.iter().enumerate() {
                    @let name = series.brand.as_deref().unwrap_or_default();
                    (chart(&format!("time-{}", at + 1), name, &curve(series, period), &points(series, period, name).unprinted()))
                }
            }
        }
        @if over_time.stray_row_count > 0 {
            p.note { (counted(over_time.stray_row_count, "review", "reviews")) " dated more than a year from all others are left out here." }
        }
        @if over_time.implausible_row_count > 0 {
            p.note { (counted(over_time.implausible_row_count, "review", "reviews")) " dated before 1970 or after 2099 are left out here." }
        }
    }
}

fn points(series: &Series, period: Period, of: &str) -> Table {
    let rows = series.points.iter().map(|point| {
        vec![point.from.clone(), count(point.mean.count), score(&point.mean), interval(&point.mean)]
    });
    let head = match period {
        Period::Day => "Day",
        Period::Week => "Week from",
        Period::Month => "Month from",
        Period::Quarter => "Quarter from",
        Period::Year => "Year from",
    };
    Table::new(
        &format!("mean score by {}, {of}", period.name()),
        &[head, "Reviews", "Mean score", "95 % interval"],
        rows.collect(),
    )
}

fn reviewed(reviewed: &Reviewed) -> Markup {
    let rows = reviewed.brands.iter().map(|brand| {
        let negative = &brand.labels.negative;
        vec![
            brand.name.clone(),
            count(brand.row_count),
            score(&brand.mean),
            interval(&brand.mean),
            percent(negative.share),
            ends(negative),
            percent(brand.labels.positive.share),
        ]
    });
    let heads = ["Brand", "Reviews", "Mean score", "95 % interval", "Negative", "95 % interval", "Positive"];
    let table = Table::new("brands by number of reviews", &heads, rows.collect());
    let named = |worst: bool| {
        let by = |brand: &&super::ReviewedBrand| brand.mean.score.unwrap_or_default();
        let brands = reviewed.brands.iter();
        let found = if worst {
            brands.min_by(|one, other| by(one).total_cmp(&by(other)))
        } else {
            brands.max_by(|one, other| by(one).total_cmp(&by(other)))
        };
        found.map(|brand| format!("{} ({})", brand.name, score(&brand.mean))).unwrap_or_default()
    };
    let says = if reviewed.brands.len() > 1 {
        format!("The highest mean score is that of {}, the lowest that of {}.", named(false), named(true))
    } else {
        String::new()
    };
    html! {
        (chart("reviewed", "Mean score of each brand's reviews", &says, &table))
        @if reviewed.left_out_row_count > 0 {
            p.note { (counted(reviewed.left_out_row_count, "review", "reviews")) " of smaller brands are not listed." }
        }
        @if reviewed.more_brands { p.note { "There were more brands than are counted; the smallest were forgotten on the way." } }
    }
}

fn ranking(ranking: &Ranking, kind: &str) -> Markup {
    let rows = ranking.targets.iter().map(|target| {
        let negative = &target.labels.negative;
        vec![
            if target.few { format!("{} (few)", target.name) } else { target.name.clone() },
            count(target.mention_count),
            percent(negative.share),
            ends(negative),
            percent(target.labels.positive.share),
            score(&target.mean),
        ]
    });
    let heads = ["Name", "Mentions", "Negative", "95 % interval", "Positive", "Mean score"];
    let table = Table::new(&format!("{kind}s by negative share"), &heads, rows.collect());
    let quoted: Vec<_> = ranking
        .targets
        .iter()
        .filter(|target| !target.few && !target.examples.is_empty())
        .take(QUOTED)
        .collect();
    html! {
        (chart(&format!("{kind}s"), &format!("Share of mentions that are negative, by {kind}"), &worst(ranking, kind).unwrap_or_default(), &table))
        @if !quoted.is_empty() {
            h3 { "What is said, at its most negative" }
            div.panels {
                @for target in quoted {
                    div.card {
                        h4 { bdi { (target.name) } " " span.faint { (percent(target.labels.negative.share)) " of " (count(target.mention_count)) " negative" } }
                        (quotes(&target.examples))
                    }
                }
            }
        }
        @if ranking.targets.iter().any(|target| target.few) {
            p.note { "With fewer than " (count(ranking.few_mentions)) " mentions a share says little; those come last, in the table." }
        }
        @if ranking.left_out_mention_count > 0 {
            p.note { (counted(ranking.left_out_mention_count, "mention", "mentions")) " of " (if ranking.forgotten_mention_count > 0 { "more".to_owned() } else { count(ranking.left_out_count) }) " others are not listed." }
        }
    }
}

fn quotes(snippets: &[Snippet]) -> Markup {
    html! {
        ul.quotes {
            @for snippet in snippets {
                li {
                    q lang="th" dir="auto" { (snippet.text) }
                    span.faint {
                        @if let Some(rating) = snippet.rating { span role="img" aria-label=(format!("{rating} of 5 stars")) { (stars(rating)) } " " }
                        @if let Some(brand) = &snippet.brand { bdi { (brand) } " " }
                        span class=(if snippet.score < 0.0 { "bad" } else { "good" }) { (signed(snippet.score)) }
                    }
                }
            }
        }
    }
}

fn stars(rating: u8) -> String {
    (1..=5).map(|star| if star <= rating { '★' } else { '☆' }).collect()
}

fn ratings(figures: &Figures) -> Markup {
    let ratings = &figures.ratings;
    let rows = ratings.ratings.iter().rev().map(|rated| {
        let labels = &rated.labels;
        let told = |share: &Share| format!("{} ({})", count(share.count), percent(share.share));
        vec![
            rated.rating.to_string(),
            count(rated.row_count),
            told(&labels.positive),
            told(&labels.neutral),
            told(&labels.question),
            told(&labels.negative),
            score(&rated.mean),
        ]
    });
    let heads = ["Stars", "Reviews", "Positive", "Neutral", "Question", "Negative", "Mean score"];
    let table = Table::new("class of the text by stars", &heads, rows.collect());
    let (high, low) = (&ratings.high_but_negative.share, &ratings.low_but_positive.share);
    let says = format!(
        "{} of reviews with four or five stars read as strongly negative, {} of those with one or two as strongly positive.",
        percent(high.share),
        percent(low.share),
    );
    html! {
        (chart("ratings", "How the text reads, for each number of stars", &says, &table))
        div.pair {
            (disagreement("Many stars, harsh words", &ratings.high_but_negative))
            (disagreement("Few stars, kind words", &ratings.low_but_positive))
        }
    }
}

fn disagreement(name: &str, found: &Disagreement) -> Markup {
    let share = &found.share;
    html! {
        div.card {
            h3 { (name) }
            p.faint { (counted(share.count, "review", "reviews")) ", " (percent(share.share)) " of those with such stars (95 % interval " (ends(share)) ")." }
            (quotes(&found.examples))
        }
    }
}

fn words(figures: &Figures) -> Markup {
    let words = &figures.words;
    let list = |words: &[Word]| {
        words
            .iter()
            .map(|word| {
                vec![
                    word.word.clone(),
                    count(word.row_count),
                    signed(word.mean_with),
                    signed(word.mean_without),
                    signed(word.difference),
                    format!("{:+.1}", word.z).replace('-', "−"),
                ]
            })
            .collect()
    };
    let heads = ["Word", "Reviews", "Mean with it", "Mean without", "Difference", "Standard errors"];
    let first = |words: &[Word]| {
        words.iter().take(3).map(|word| format!("“{}”", word.word)).collect::<Vec<_>>().join(", ")
    };
    let says = |way: &str, words: &[Word]| {
        if words.is_empty() {
            format!("No word comes with clearly {way} scores.")
        } else {
            format!("Most surely {}.", first(words))
        }
    };
    let side = |id: &str, name: &str, way: &str, found: &[Word]| {
        chart(
            id,
            name,
            &says(way, found),
            &Table::new(&format!("words of {way}-scoring reviews"), &heads, list(found)),
        )
    };
    html! {
        p { "How much lower or higher reviews with a word score than those without it. This is association: a word need not be the cause." }
        div.pair {
            (side("words-lowering", "In lower-scoring reviews", "lower", &words.lowering))
            (side("words-raising", "In higher-scoring reviews", "higher", &words.raising))
        }
        p.note {
            "Of the " (count(words.considered_count)) " words in at least " (counted(words.least_row_count, "review", "reviews")) ", the surest first."
            @if words.missed_row_count > 0 { " Rare words are not followed to the end: one in up to " (counted(words.missed_row_count, "review", "reviews")) " may be missing." }
        }
    }
}

fn texts(figures: &Figures) -> Markup {
    let length = |bin: &Bin| match bin.to_chars {
        Some(to) => format!("{}–{}", count(bin.from_chars), count(to)),
        None => format!("{} or more", count(bin.from_chars)),
    };
    let bins = figures
        .lengths
        .bins
        .iter()
        .map(|bin| vec![length(bin), count(bin.share.count), percent(bin.share.share)]);
    let lengths = Table::new("texts by length", &["Characters", "Reviews", "Share"], bins.collect());
    let language = &figures.language;
    let kinds = [
        ("Thai only", &language.thai),
        ("Thai with Latin words", &language.thai_and_latin),
        ("Latin only", &language.latin),
        ("Neither", &language.neither),
        ("With emoji", &language.emoji),
        ("With laughter (555)", &language.laughter),
        ("With stretched words (มากกก)", &language.elongation),
    ];
    let rows = kinds
        .map(|(name, share)| vec![name.to_owned(), count(share.count), percent(share.share), ends(share)]);
    let written = Table::new(
        "texts by script and style",
        &["Texts", "Reviews", "Share", "95 % interval"],
        rows.to_vec(),
    );
    let median =
        format!("Half have at most {}.", counted(figures.lengths.median_chars, "character", "characters"));
    let says = format!(
        "{} are Thai with Latin words among them, {} have emoji.",
        percent(language.thai_and_latin.share),
        percent(language.emoji.share)
    );
    html! {
        div.pair {
            (chart("lengths", "Length in characters", &median, &lengths))
            (chart("language", "Script and style", &says, &written))
        }
    }
}

fn quality(figures: &Figures) -> Markup {
    let quality = &figures.quality;
    let of = |name: &str, share: &Share, of: &str| {
        vec![name.to_owned(), count(share.count), format!("{} of {of}", percent(share.share))]
    };
    let mut rows = vec![of("could not be read", &quality.rejected_rows, "all rows")];
    rows.extend(
        quality
            .told
            .rejected
            .iter()
            .map(|rejected| vec![format!("– {}", rejected.reason), count(rejected.row_count), String::new()]),
    );
    rows.extend([
        of("empty", &quality.empty, "rows read"),
        of("nothing but links, numbers or placeholders", &quality.non_linguistic, "rows read"),
        of("without a time", &quality.without_time, "rows read"),
        of("without stars", &quality.without_rating, "rows read"),
        of("without a brand", &quality.without_brand, "rows read"),
        of("the model is unsure", &quality.abstained, "reviews"),
        of("parts disagree", &quality.mixed, "reviews"),
        of("longer than one window of the model", &quality.several_windows, "reviews"),
    ]);
    let distinct = &quality.distinct_texts;
    rows.push(vec![
        if distinct.exact { "different texts" } else { "different texts, about" }.to_owned(),
        count(distinct.count),
        if distinct.exact { String::new() } else { "within 3 % as a rule".to_owned() },
    ]);
    rows.push(vec!["tokens".to_owned(), count(quality.token_count), String::new()]);
    html! {
        section aria-labelledby="quality" {
            h2 id="quality" { "How good the data is" }
            (Table::new("data quality", &["Rows", "Count", "Share"], rows).table())
            @for note in &quality.told.notes { p.note { (note) } }
        }
    }
}

fn footer(figures: &Figures) -> Markup {
    let model = &figures.quality.told.model;
    html! {
        footer {
            h2 { "How to read this" }
            p.faint {
                "A score goes from −1 (negative) to +1 (positive); a model works it out, and it errs. A 95 % interval is made so that 19 times in 20 it "
                "holds the value of all the reviews from which these are a random part; it says nothing of the model's errors. Shares have Wilson's "
                "interval, means that of the normal distribution. Telephone, identity, account and card numbers and e-mail addresses in examples are hidden."
            }
            p.faint { @if !model.is_empty() { "Scored by " (model) " with " } @else { "Made with " } "Arom " (env!("CARGO_PKG_VERSION")) "." }
            details.long {
                summary { "Licences of what draws the charts" }
                @for (name, licence) in LICENCES { h3 { (name) } pre { (licence) } }
            }
        }
    }
}
