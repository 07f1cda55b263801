//! Rows become sums, and sums figures.

use super::Entry;
use super::distinct::Sketch;
use super::extremes::Extremes;
use super::figures::{
    Bin, Disagreement, Figures, Language, Lengths, Quality, QualityFigures, Rated, Ratings, Snippet,
};
use super::sentences;
use super::shown;
use super::statistics::{Share, Tally, rounded, sound};
use super::targets::Targets;
use super::timeline::Timeline;
use super::words::WordTable;
use crate::model::Label;
use crate::scoring::Content;
use crate::text::{Mask, Modifiers, normalize, words};

/// A text is strong from this score on, either way.
const STRONG: f64 = 0.5;

/// Most examples of each disagreement.
const EXAMPLES: usize = 10;

/// A word or target in fewer rows than this, and than one row in so many, is rare.
const LEAST_ROWS: u64 = 10;
const LEAST_SHARE: u64 = 2000;

/// Most reasons of rejected rows.
const REASONS: usize = 20;

/// Where the bins of lengths begin, in characters; their last has no end.
const BINS: [u64; 9] = [0, 10, 20, 30, 50, 100, 200, 500, 1000];

/// Longest text whose length is counted to the character.
const COUNTED_CHARS: usize = 4096;

/// Sums of the rows of a dump, in bounded memory.
#[derive(Debug)]
pub struct Collector {
    all: Tally,
    counts: Counts,
    timeline: Timeline,
    aspects: Targets,
    brands: Targets,
    ratings: [Tally; 5],
    high_but_negative: (u64, Extremes),
    low_but_positive: (u64, Extremes),
    words: WordTable,
    /// How many texts are so many characters long; the last are longer.
    lengths: Vec<u64>,
    distinct: Sketch,
}

/// How many rows are so.
#[derive(Debug, Default)]
struct Counts {
    rows: u64,
    empty: u64,
    non_linguistic: u64,
    abstained: u64,
    mixed: u64,
    several_windows: u64,
    tokens: u64,
    without_time: u64,
    without_rating: u64,
    without_brand: u64,
    thai: u64,
    thai_and_latin: u64,
    latin: u64,
    neither: u64,
    emoji: u64,
    laughter: u64,
    elongation: u64,
}

impl Default for Collector {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector {
    /// Of no rows yet.
    pub fn new() -> Self {
        Self {
            all: Tally::default(),
            counts: Counts::default(),
            timeline: Timeline::default(),
            aspects: Targets::default(),
            brands: Targets::default(),
            ratings: [Tally::default(); 5],
            high_but_negative: (0, Extremes::lowest(EXAMPLES)),
            low_but_positive: (0, Extremes::highest(EXAMPLES)),
            words: WordTable::default(),
            lengths: vec![0; COUNTED_CHARS + 1],
            distinct: Sketch::default(),
        }
    }

    /// Adds a row. Its text is not kept, but for masked examples of what is clearest.
    pub fn add(&mut self, entry: &Entry<'_>) {
        let rating = entry.rating.filter(|rating| (1..=5).contains(rating));
        let brand = entry.brand.filter(|brand| !brand.trim().is_empty());
        let counts = &mut self.counts;
        counts.rows += 1;
        counts.tokens += u64::try_from(entry.token_count).unwrap_or_default();
        counts.without_time += u64::from(entry.time.is_none());
        counts.without_rating += u64::from(rating.is_none());
        counts.without_brand += u64::from(brand.is_none());
        self.distinct.add(entry.text);
        match entry.content {
            Content::Linguistic => {}
            Content::Empty => return counts.empty += 1,
            Content::NonLinguistic => return counts.non_linguistic += 1,
        }
        counts.abstained += u64::from(entry.abstain);
        counts.mixed += u64::from(entry.mixed);
        counts.several_windows += u64::from(entry.window_count > 1);
        let score = sound(entry.score);
        self.all.add(entry.label, score);
        self.timeline.add(brand, entry.time, entry.label, score);
        for spoken in entry.targets {
            if spoken.is_brand { &mut self.brands } else { &mut self.aspects }.add(spoken);
        }
        if let Some(rating) = rating {
            self.rate(entry, brand, rating, score);
        }
        let length = entry.text.chars().take(COUNTED_CHARS).count();
        if let Some(count) = self.lengths.get_mut(length) {
            *count += 1;
        }
        self.read(entry.text, score);
    }

    fn rate(&mut self, entry: &Entry<'_>, brand: Option<&str>, rating: u8, score: f64) {
        if let Some(tally) = self.ratings.get_mut(usize::from(rating - 1)) {
            tally.add(entry.label, score);
        }
        let (count, examples) = if rating >= 4 && entry.label == Label::Negative && score <= -STRONG {
            &mut self.high_but_negative
        } else if rating <= 2 && entry.label == Label::Positive && score >= STRONG {
            &mut self.low_but_positive
        } else {
            return;
        };
        *count += 1;
        examples.offer(score, || Snippet {
            text: shown::snippet(entry.text),
            score: rounded(score),
            rating: Some(rating),
            brand: brand.map(|brand| shown::name(&shown::key(brand))),
        });
    }

    /// Counts the words of a text and what it is written in.
    fn read(&mut self, text: &str, score: f64) {
        let normalized = normalize(text);
        let ranges = words(normalized.as_str());
        let modifiers = Modifiers::of(text, &normalized, &ranges);
        let counts = &mut self.counts;
        counts.emoji += u64::from(modifiers.emoji > 0);
        counts.laughter += u64::from(modifiers.laughs > 0);
        counts.elongation += u64::from(modifiers.elongations > 0);
        // The letters of a mask are nobody's words.
        let masked = normalized.as_str().contains('<');
        let bare = if masked { without_masks(normalized.as_str()) } else { String::new() };
        let (said, ranges) =
            if masked { (bare.as_str(), words(&bare)) } else { (normalized.as_str(), ranges) };
        let kind = match (said.chars().any(is_thai), has_latin_word(said)) {
            (true, false) => &mut counts.thai,
            (true, true) => &mut counts.thai_and_latin,
            (false, true) => &mut counts.latin,
            (false, false) => &mut counts.neither,
        };
        *kind += 1;
        self.words.add(said, &ranges, score);
    }

    #[cfg(test)]
    pub(super) fn timeline_of(&mut self, brand: &str, time: Option<jiff::Timestamp>) {
        self.timeline.add(Some(brand), time, Label::Neutral, 0.0);
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        let (brands, cells) = self.timeline.sizes();
        (brands, cells, self.words.len())
    }

    /// The figures of all rows.
    pub fn finish(self, quality: Quality) -> Figures {
        let scored = self.all.count();
        let least = LEAST_ROWS.max(scored.div_ceil(LEAST_SHARE));
        let lengths = lengths(&self.lengths, scored);
        let language = self.counts.language(scored);
        let quality = self.counts.quality(quality, scored, &self.distinct);
        let (over_time, reviewed) = self.timeline.finish();
        let mut figures = Figures {
            summary: Vec::new(),
            row_count: self.counts.rows,
            scored_row_count: scored,
            labels: self.all.labels(),
            mean: self.all.moments.interval(),
            over_time,
            reviewed,
            aspects: self.aspects.finish(least),
            brands: self.brands.finish(least),
            ratings: ratings(&self.ratings, self.high_but_negative, self.low_but_positive),
            words: self.words.finish(&self.all.moments, least),
            lengths,
            language,
            quality,
        };
        figures.summary = sentences::summary(&figures);
        figures
    }
}

impl Counts {
    fn language(&self, scored: u64) -> Language {
        let share = |count| Share::of(count, scored);
        Language {
            thai: share(self.thai),
            thai_and_latin: share(self.thai_and_latin),
            latin: share(self.latin),
            neither: share(self.neither),
            emoji: share(self.emoji),
            laughter: share(self.laughter),
            elongation: share(self.elongation),
        }
    }

    fn quality(&self, told: Quality, scored: u64, distinct: &Sketch) -> QualityFigures {
        let told = shortened(told);
        let rejected = told.rejected.iter().map(|rejected| rejected.row_count).sum();
        QualityFigures {
            rejected_rows: Share::of(rejected, rejected + self.rows),
            empty: Share::of(self.empty, self.rows),
            non_linguistic: Share::of(self.non_linguistic, self.rows),
            abstained: Share::of(self.abstained, scored),
            mixed: Share::of(self.mixed, scored),
            several_windows: Share::of(self.several_windows, scored),
            token_count: self.tokens,
            distinct_texts: distinct.finish(),
            without_time: Share::of(self.without_time, self.rows),
            without_rating: Share::of(self.without_rating, self.rows),
            without_brand: Share::of(self.without_brand, self.rows),
            told,
        }
    }
}

/// The most frequent reasons; all others are one.
fn shortened(mut told: Quality) -> Quality {
    told.rejected.sort_by(|one, other| {
        other.row_count.cmp(&one.row_count).then_with(|| one.reason.cmp(&other.reason))
    });
    if told.rejected.len() > REASONS {
        let rest = told.rejected.split_off(REASONS);
        let row_count = rest.iter().map(|rejected| rejected.row_count).sum();
        told.rejected.push(super::Rejected { reason: format!("{} other reasons", rest.len()), row_count });
    }
    told
}

fn ratings(tallies: &[Tally; 5], high: (u64, Extremes), low: (u64, Extremes)) -> Ratings {
    let rated: Vec<Rated> = (1..=5)
        .zip(tallies)
        .map(|(rating, tally)| Rated {
            rating,
            row_count: tally.count(),
            labels: tally.labels(),
            mean: tally.moments.interval(),
        })
        .collect();
    let rows = |of: &[u8]| -> u64 {
        rated.iter().filter(|rated| of.contains(&rated.rating)).map(|rated| rated.row_count).sum()
    };
    let disagreement = |(count, examples): (u64, Extremes), of: &[u8]| Disagreement {
        least_score: STRONG,
        share: Share::of(count, rows(of)),
        examples: examples.finish(),
    };
    Ratings {
        row_count: rows(&[1, 2, 3, 4, 5]),
        high_but_negative: disagreement(high, &[4, 5]),
        low_but_positive: disagreement(low, &[1, 2]),
        ratings: rated,
    }
}

fn lengths(counts: &[u64], scored: u64) -> Lengths {
    let long = |(length, count): (usize, &u64)| (u64::try_from(length).unwrap_or(u64::MAX), *count);
    let mut passed = 0;
    let median = counts.iter().enumerate().map(long).find(|(_, count)| {
        passed += count;
        passed * 2 >= scored
    });
    let bins = BINS.iter().enumerate().map(|(at, from)| {
        let to = BINS.get(at + 1).map(|next| next - 1);
        let within = |length: &u64| length >= from && to.is_none_or(|to| *length <= to);
        let count =
            counts.iter().enumerate().map(long).filter(|(length, _)| within(length)).map(|(_, count)| count);
        Bin { from_chars: *from, to_chars: to, share: Share::of(count.sum(), scored) }
    });
    Lengths { median_chars: median.map_or(0, |(length, _)| length), bins: bins.collect() }
}

fn without_masks(text: &str) -> String {
    Mask::ALL.iter().fold(text.to_owned(), |text, mask| text.replace(mask.token(), " "))
}

fn is_thai(ch: char) -> bool {
    matches!(ch, '\u{E01}'..='\u{E4E}')
}

/// Whether two Latin letters stand together; one alone is a size or a grade.
fn has_latin_word(text: &str) -> bool {
    text.as_bytes().windows(2).any(|pair| pair.iter().all(u8::is_ascii_alphabetic))
}
