use std::ops::Range;

use nlpo3::tokenizer::newmm::NewmmTokenizer;
use nlpo3::tokenizer::tokenizer_trait::Tokenizer;
use proptest::prelude::*;

use super::super::words::dictionary_words;
use super::*;

static OURS: LazyLock<Dictionary> = LazyLock::new(|| Dictionary::of(dictionary_words()));
static THEIRS: LazyLock<NewmmTokenizer> =
    LazyLock::new(|| NewmmTokenizer::from_word_list(dictionary_words().map(str::to_owned).collect()));

fn same_as_nlpo3(text: &str) {
    let theirs = THEIRS.segment(text, false, false).expect("segmented");
    let mut from = 0;
    let ours: Vec<&str> = OURS
        .word_ends(text)
        .into_iter()
        .map(|end| text.get(std::mem::replace(&mut from, end)..end).expect("an edge"))
        .collect();
    assert_eq!(ours, theirs, "of {text}");
}

#[test]
fn sentences_have_the_words_that_nlpo3_finds() {
    let files =
        [include_str!("../../../tests/data/words.txt"), include_str!("../../../tests/data/mentions.txt")];
    for line in files.iter().flat_map(|file| file.lines()) {
        same_as_nlpo3(&line.replace('|', ""));
    }
}

/// Pieces of words, and what stands between them.
fn thai() -> impl Strategy<Value = String> {
    let words: Vec<&str> = dictionary_words().collect();
    let word = proptest::sample::select(words);
    let cut = (word.clone(), 0..8usize, 0..8usize).prop_map(|(word, skip, less)| {
        let length = word.chars().count();
        word.chars().skip(skip.min(length / 2)).take(length - less.min(length / 2)).collect::<String>()
    });
    let other = proptest::sample::select(vec![
        " ",
        "  ",
        "\n",
        "\r\n",
        "a",
        "-",
        "abc",
        "1",
        "1,234.5",
        "๑๒",
        "๑,๒",
        ".",
        "😀",
        "🇹🇭",
        "์",
        "ๆ",
        "ฯ",
        "ะ",
        "เ",
        "แ",
        "ั",
        "็",
        "ก",
        "กก",
        "รร",
        "อิ",
        "ทุ",
        "นอก",
        "รอบ",
    ]);
    let piece = prop_oneof![3 => word.prop_map(str::to_owned), 3 => cut, 2 => other.prop_map(str::to_owned),
        1 => "[ก-๛]{1,6}"];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_text_has_the_words_that_nlpo3_finds(text in thai()) {
        // nlpO3 takes for ever where long stretches are ambiguous.
        prop_assume!(longest_stretch(&text) <= 30);
        same_as_nlpo3(&text);
    }

    #[test]
    fn words_end_in_order_and_with_the_text(text in "\\PC{0,200}") {
        let ends = OURS.word_ends(&text);
        prop_assert!(ends.is_sorted_by(|left, right| left < right));
        prop_assert_eq!(ends.last().copied().unwrap_or(0), text.len());
        prop_assert!(ends.iter().all(|end| text.is_char_boundary(*end)));
    }
}

/// The most letters between two certain ends.
fn longest_stretch(text: &str) -> usize {
    let mut matching = Matching::of(&OURS, text);
    matching.search();
    matching.longest_stretch / 3
}

/// Texts that are ambiguous from begin to end, or that have no word at all.
#[test]
fn the_work_is_in_proportion_to_the_text() {
    let seeds: [(&str, &str); 10] = [
        ("ศาลาลูกขุน", "นอกรอบ"),
        ("", "อิ"),
        ("พินทุ", "อิ"),
        ("", "ทีน"),
        ("", "ก"),
        ("", "กา"),
        ("", "ฅ"),
        ("", "๏"),
        ("", "😀"),
        ("ตา", "กลม"),
    ];
    for (head, repeated) in seeds {
        let steps = |times: usize| {
            let text = format!("{head}{}", repeated.repeat(times));
            let mut matching = Matching::of(&OURS, &text);
            matching.search();
            matching.steps.max(times)
        };
        let (short, long) = (steps(500), steps(16_000));
        assert!(long <= short * 32 * 2, "{head}{repeated}…: {short} steps, then {long}");
    }
}

#[test]
fn a_dictionary_gives_the_words_that_begin_a_text() {
    let dictionary = Dictionary::of(["กา", "กาแฟ", "แฟ", "กาแฟดำ", "กา"].into_iter());
    let found: Vec<usize> = dictionary.prefixes("กาแฟร้อน").collect();
    assert_eq!(found, ["กา".len(), "กาแฟ".len()]);
    let none: Range<usize> = 0..0;
    assert_eq!(dictionary.prefixes("ร้อน").count(), none.len());
}
