//! The main findings in plain words, and how numbers are said.

use super::figures::{Aspect, Figures, OverTime, Period, Point, Ranking, Series};
use super::statistics::Mean;

/// A period needs so many rows to be named as the lowest or the highest.
const LEAST_ROWS: u64 = 20;

/// `12,400`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut said = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            said.push(',');
        }
        said.push(digit);
    }
    said
}

/// `1 review`, `12,400 reviews`.
pub(super) fn counted(value: u64, one: &str, several: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { several })
}

/// `31 %`, and below ten `4.2 %`, with a space that no line breaks.
pub(super) fn percent(share: f64) -> String {
    let hundredths = share * 100.0;
    if share == 0.0 || (9.95..=99.5).contains(&hundredths) || share == 1.0 {
        format!("{hundredths:.0}\u{A0}%")
    } else if hundredths < 0.05 {
        "under 0.1\u{A0}%".to_owned()
    } else {
        format!("{hundredths:.1}\u{A0}%")
    }
}

/// `+0.12`, `−0.30`.
pub(super) fn signed(score: f64) -> String {
    let said = format!("{score:+.2}").replace('-', "−");
    if said == "−0.00" { "+0.00".to_owned() } else { said }
}

/// `29 to 33 %`.
pub(super) fn range(low: f64, high: f64) -> String {
    let (low, high) = (percent(low), percent(high));
    format!("{} to {high}", low.trim_end_matches("\u{A0}%"))
}

/// When, by the first day of a period: `in March 2024`, `in the week from 4 March 2024`.
pub(super) fn when(period: Period, from: &str) -> String {
    let Ok(date) = from.parse::<jiff::civil::Date>() else { return from.to_owned() };
    let told = |pattern: &str| date.strftime(pattern).to_string();
    match period {
        Period::Day => told("on %-d %B %Y"),
        Period::Week => told("in the week from %-d %B %Y"),
        Period::Month => told("in %B %Y"),
        Period::Quarter => format!("in the {} quarter of {}", ordinal(date.month()), date.year()),
        Period::Year => told("in %Y"),
    }
}

fn ordinal(month: i8) -> &'static str {
    match month {
        ..=3 => "first",
        4..=6 => "second",
        7..=9 => "third",
        10.. => "last",
    }
}

/// What stands at the head of the page.
pub(super) fn summary(figures: &Figures) -> Vec<String> {
    if figures.scored_row_count == 0 {
        let came = counted(figures.row_count, "row", "rows");
        return vec![if figures.row_count == 0 {
            "There are no rows, so there is nothing to report.".to_owned()
        } else {
            format!("None of {came} says anything that could be scored, so there is nothing to report.")
        }];
    }
    let labels = &figures.labels;
    let mut said = vec![format!(
        "Of {}, {} are negative and {} positive.",
        counted(figures.scored_row_count, "review", "reviews"),
        percent(labels.negative.share),
        percent(labels.positive.share),
    )];
    said.extend(moved(&figures.over_time));
    said.extend(worst(&figures.aspects, "aspect"));
    said.extend(best(&figures.aspects));
    let disagreement = &figures.ratings.high_but_negative.share;
    if disagreement.count > 0 {
        said.push(format!(
            "{} of reviews with four or five stars read as strongly negative.",
            sentence(&percent(disagreement.share)),
        ));
    }
    let quality = &figures.quality;
    if quality.abstained.share >= 0.05 {
        said.push(format!("The model is unsure about {} of the reviews.", percent(quality.abstained.share)));
    }
    if quality.rejected_rows.count > 0 {
        said.push(format!("{} could not be read.", counted(quality.rejected_rows.count, "row", "rows")));
    }
    said
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Whether the mean changed from the beginning to the end, and when it was lowest.
pub(super) fn moved(over_time: &OverTime) -> Option<String> {
    let points = &over_time.series.first()?.points;
    let firm: Vec<&Point> = points.iter().filter(|point| point.mean.count >= LEAST_ROWS).collect();
    let (first, last) = (firm.first()?, firm.last()?);
    let (before, after) = (first.mean.score?, last.mean.score?);
    if first.from == last.from {
        return None;
    }
    let name = |point: &Point| when(over_time.period, &point.from);
    let apart = |one: &Mean, other: &Mean| one.high < other.low || other.high < one.low;
    let change = if apart(&first.mean, &last.mean) {
        let verb = if after > before { "rose" } else { "fell" };
        format!(
            "The mean score {verb} from {} {} to {} {}",
            signed(before),
            name(first),
            signed(after),
            name(last)
        )
    } else {
        "The mean score shows no clear change from the beginning to the end".to_owned()
    };
    let lowest = firm.iter().min_by(|one, other| {
        one.mean.score.partial_cmp(&other.mean.score).unwrap_or(std::cmp::Ordering::Equal)
    })?;
    let clearly = over_time.series.first().is_some_and(|all| apart(&lowest.mean, &all.mean));
    Some(match lowest.mean.score {
        Some(score) if clearly && lowest.from != last.from && lowest.from != first.from => {
            format!("{change}; it was lowest {}, at {}.", name(lowest), signed(score))
        }
        Some(_) | None => format!("{change}."),
    })
}

fn firm(ranking: &Ranking) -> impl DoubleEndedIterator<Item = &Aspect> {
    ranking.targets.iter().filter(|target| !target.few)
}

/// The aspect or brand that is spoken of worst.
pub(super) fn worst(ranking: &Ranking, kind: &str) -> Option<String> {
    let worst = firm(ranking).next().filter(|worst| worst.labels.negative.count > 0)?;
    Some(format!(
        "{} is the {kind} with the highest negative share: {} of {}.",
        sentence(&worst.name),
        percent(worst.labels.negative.share),
        counted(worst.mention_count, "mention", "mentions"),
    ))
}

/// The aspect that is praised most.
fn best(ranking: &Ranking) -> Option<String> {
    let best = firm(ranking)
        .max_by(|one, other| one.labels.positive.share.total_cmp(&other.labels.positive.share))
        .filter(|best| best.labels.positive.share > best.labels.negative.share)?;
    Some(format!(
        "Praised most is {}: {} of its mentions are positive.",
        best.name,
        percent(best.labels.positive.share)
    ))
}

/// A curve in a sentence.
pub(super) fn curve(series: &Series, period: Period) -> String {
    let score = series.mean.score.map_or_else(|| "no score".to_owned(), signed);
    let mut said = format!("{}, mean {score}", counted(series.row_count, "review", "reviews"));
    let firm = || series.points.iter().filter(|point| point.mean.count >= LEAST_ROWS);
    let by_score = |one: &&Point, other: &&Point| {
        one.mean.score.unwrap_or_default().total_cmp(&other.mean.score.unwrap_or_default())
    };
    if let (Some(lowest), Some(highest)) = (firm().min_by(by_score), firm().max_by(by_score))
        && lowest.from != highest.from
    {
        let told = |point: &Point| {
            format!("{} ({})", when(period, &point.from), signed(point.mean.score.unwrap_or_default()))
        };
        said = format!("{said}; lowest {}, highest {}", told(lowest), told(highest));
    }
    format!("{said}.")
}
