//! Word segmentation: Arom's, beside nlpO3 with PyThaiNLP's dictionary, and ICU4X's dictionary and LSTM.
//!
//! ```sh
//! make bench-words
//! ```
//!
//! Right: words of tests/data/words.txt (hand-segmented, this project's own sentences, white space not counted) that are
//! found with both edges, as F1. Cuts inside words: edges that are none of a reader's, the kind that hurts, as
//! "รอน|าน"; joining two words is a matter of taste. Arom's dictionary was mended on some of these rows, so its own
//! figures flatter it. Speed: texts as in bench-serving, one thread. Writes target/bench/words.json.

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::string_slice,
    reason = "a benchmark that panics has failed"
)]

mod support;

use std::fs;
use std::ops::Range;
use std::time::Instant;

use arom::text::{normalize, words};
use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed};
use nlpo3::tokenizer::newmm::NewmmTokenizer;
use nlpo3::tokenizer::tokenizer_trait::Tokenizer;

use support::{Figure, report, root, texts};

type Segment<'a> = Box<dyn Fn(&str) -> Vec<Range<usize>> + 'a>;

fn main() {
    let gold = fs::read_to_string(root().join("tests/data/words.txt")).expect("readable");
    let rows: Vec<Vec<&str>> = gold.lines().map(|line| line.split('|').collect()).collect();
    let texts: Vec<String> = texts().iter().map(|text| normalize(text).as_str().to_owned()).collect();
    let options = WordBreakInvariantOptions::default();
    let (dictionary, lstm) = (WordSegmenter::new_dictionary(options), WordSegmenter::new_lstm(options));
    let list = include_str!("../src/text/words_th.txt").lines().map(|word| word.trim().to_owned());
    let nlpo3 = NewmmTokenizer::from_word_list(list.filter(|word| !word.is_empty()).collect());
    let segmenters: [(&str, Segment<'_>); 4] = [
        ("Arom", Box::new(words)),
        ("nlpO3, PyThaiNLP's dictionary", Box::new(|text| matched(&nlpo3, text))),
        ("ICU4X, dictionary", Box::new(|text| icu(&dictionary, text))),
        ("ICU4X, LSTM", Box::new(|text| icu(&lstm, text))),
    ];
    let measured = segmenters.each_ref().map(|(name, segment)| {
        let (f1, inside) = quality(&rows, segment);
        // Once before, since the dictionary is read when it is first asked for.
        segment("ดี");
        let started = Instant::now();
        let found: usize = texts.iter().map(|text| segment(text).len()).sum();
        assert!(found > texts.len());
        (*name, f1, inside, started.elapsed().as_secs_f64() * 1e6 / texts.len() as f64)
    });
    let [(_, _, _, base), ..] = measured;
    let mut figures = Vec::new();
    for (name, f1, inside, took) in measured {
        figures.push(Figure::beside(format!("{name}: right"), f1, "F1", ("a reader", 1.0)));
        figures.push(Figure::beside(format!("{name}: cuts inside words"), inside, "share", ("words", 1.0)));
        figures.push(Figure::beside(format!("{name}: time"), took, "us/text", ("Arom", base)));
    }
    report("words", &figures);
}

/// The ranges of the words that nlpO3 gives.
fn matched(nlpo3: &NewmmTokenizer, text: &str) -> Vec<Range<usize>> {
    let mut from = 0;
    let words = nlpo3.segment(text, false, false).expect("segmented");
    let range = |word: String| {
        let start = from;
        from += word.len();
        start..from
    };
    words.into_iter().map(range).collect()
}

fn icu(segmenter: &WordSegmenterBorrowed<'static>, text: &str) -> Vec<Range<usize>> {
    let edges: Vec<usize> = segmenter.segment_str(text).collect();
    edges.iter().zip(edges.iter().skip(1)).map(|(from, to)| *from..*to).collect()
}

/// F1 of words, and edges inside words for each word.
fn quality(rows: &[Vec<&str>], segment: impl Fn(&str) -> Vec<Range<usize>>) -> (f64, f64) {
    let (mut right, mut wanted, mut found, mut inside) = (0, 0, 0, 0);
    for row in rows {
        let text = row.concat();
        let shows = |range: &Range<usize>| !text[range.clone()].trim().is_empty();
        let mut end = 0;
        let gold: Vec<Range<usize>> = row
            .iter()
            .map(|word| {
                end += word.len();
                end - word.len()..end
            })
            .filter(shows)
            .collect();
        let words: Vec<Range<usize>> = segment(&text).into_iter().filter(shows).collect();
        wanted += gold.len();
        found += words.len();
        right += words.iter().filter(|word| gold.contains(word)).count();
        inside += words
            .iter()
            .filter(|word| gold.iter().any(|gold| gold.start < word.end && word.end < gold.end))
            .count();
    }
    (2.0 * right as f64 / (wanted + found) as f64, inside as f64 / wanted as f64)
}
