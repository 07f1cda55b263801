use super::*;
use proptest::prelude::*;

fn check(original: &str, expected: &str) {
    let once = normalize(original);
    assert_eq!(once.as_str(), expected, "from {original:?}");
    assert_eq!(normalize(once.as_str()).as_str(), expected, "twice, from {original:?}");
}

#[test]
fn invisible_characters_go() {
    check("ดี\u{200B}มาก", "ดีมาก");
    check("\u{FEFF}สวัสดี\u{2068}คุณ\u{2069}", "สวัสดีคุณ");
    check("รัก❤\u{FE0F}เลย", "รัก❤เลย");
    check("a\u{0}b\u{7F}c", "abc");
    check("\u{200B}\u{200D}", "");
}

#[test]
fn entities_are_decoded_once_and_for_all() {
    check("A&amp;W อร่อย", "A&W อร่อย");
    check("&amp;amp;lt;3", "<3");
    check("&#3604;&#3637;", "ดี");
    check("&#xE14;&#xE35;", "ดี");
    check("&hearts;&nbsp;&quot;ok&quot;", "♥ \"ok\"");
    check("ไป&#8203;มา", "ไป มา");
    check("&#99999999;x", "x");
    check("&l&#8203;t;", "&l t;");
    check("&&#35;60;", "&&#35;60;");
    check("Q&A; ถาม", "Q&A; ถาม");
    check("&", "&");
    check("& ;", "& ;");
}

#[test]
fn thai_marks_are_repaired() {
    check("เเพง", "แพง");
    check("เเเปลก", "แเปลก");
    check("นํ้าใจ", "น้ำใจ");
    check("น้ํา", "น้ำ");
    check("ทํา", "ทำ");
    check("นำ้", "น้ำ");
    check("ก่ี", "กี่");
    check("ก่ี่", "กี่");
    check("ดีี", "ดี");
    check("พู้่่", "พู้่");
    check("จันทร์์", "จันทร์");
    check("ป่าน", "ป่าน");
    check("ํา", "ำ");
    check("ำํา้", "้ำำ");
    check("\u{0E48}", "\u{0E48}");
}

#[test]
fn white_space_collapses_and_lines_stay() {
    check("  ดี   มาก  ", "ดี มาก");
    check("ดี\t\u{A0}\u{3000}มาก", "ดี มาก");
    check("ดี \r\n\r\n มาก\n", "ดี\nมาก");
    check(" \n\t ", "");
    check("", "");
}

#[test]
fn masks_hide_what_names_someone() {
    check("ดู https://example.com/a?b=1&c=2 สิ", "ดู <url> สิ");
    check("ดูที่www.example.co.thนะ", "ดูที่ <url> นะ");
    check("HTTP://EXAMPLE.COM!!!", "<url> !!!");
    check("bit.ly/abc กดเลย", "<url> กดเลย");
    check("ซื้อจาก example.com", "ซื้อจาก example.com");
    check("ติดต่อ some.one+x@example.co.th ค่ะ", "ติดต่อ <email> ค่ะ");
    check("ขอบคุณ@someone_99มาก", "ขอบคุณ <user> มาก");
    check("@aa@bb", "<user> <user>");
    check("3@ครั้ง @ บ้าน", "3@ครั้ง @ บ้าน");
    check("โทร 081-234-5678 นะ", "โทร <phone> นะ");
    check("0812345678", "<phone>");
    check("02 345 6789", "<phone>");
    check("+66 81 234 5678", "<phone>");
    check("081  234 5678", "<phone>");
    check("0812345678@aa", "<phone> <user>");
    check("@08 0812345678", "<user> <phone>");
    check("สาขา 2 0812345678", "สาขา 2 <phone>");
    check("01-02-2560 081-234-5678", "01-02-2560 <phone>");
    check("66812345678", "<phone>");
    check("0812345678-0812345678", "<phone> - <phone>");
    check("@a1-0812345678", "<user> - <phone>");
    check("x@ab 0812345678", "x@ab <phone>");
    check("x@a1-0812345678", "x@a1-0812345678");
    check("a@b.co@foo", "<email> <user>");
}

#[test]
fn amounts_and_dates_are_not_telephone_numbers() {
    for text in [
        "10,000,000 บาท",
        "0.50 10 20 30",
        "01-02-2560 08:30",
        "เลขบัตร 1234567890123",
        "08123456789012",
        "1175 กด 9",
        "30 31 32 33 34 35",
    ] {
        check(text, text);
    }
}

#[test]
fn elongation_is_capped_at_three() {
    check("มากกกกกก", "มากกก");
    check("จ้าาาาา", "จ้าาา");
    check("ดีๆๆๆๆๆ", "ดีๆๆๆ");
    check("ทำำำำำ", "ทำำำ");
    check("goooood!!!!!!", "goood!!!");
    check("😂😂😂😂😂", "😂😂😂");
    check("กกก", "กกก");
    check("....https://x.co/a", "... <url>");
    check("<<<<https://x.co/a", "<<< <url>");
}

#[test]
fn laughter_is_capped_and_amounts_are_not() {
    check("55555555", "555");
    check("ฮา5555+", "ฮา555+");
    check("100000 บาท", "100000 บาท");
    check("15555 บาท", "15555 บาท");
    check("1,5555", "1,5555");
    check("081 5555", "081 5555");
    check("0812345 5555555555", "0812345 5555555555");
    check("5555 ตลก", "555 ตลก");
}

#[test]
fn feeling_stays() {
    for text in ["ลำแต๊ๆ เจ้า", "บ่ดีเลย T_T", "กากมาก มองแรง", "service ดีมาก แต่ app ช้าสุดๆ", ":) ^^ :("]
    {
        check(text, text);
    }
}

#[test]
fn ranges_map_back_to_the_original() {
    let original = "เเพงมากกกกกก ที่ https://x.co/a น&amp;ํ้า";
    let text = normalize(original);
    assert_eq!(text.as_str(), "แพงมากกก ที่ <url> น&\u{E4D}้า".replace("\u{E4D}้า", "้ำ"));
    let back = |part: &str| {
        let start = text.as_str().find(part).expect("the part is in the text");
        original.get(text.original_range(start..start + part.len())).expect("on character edges")
    };
    assert_eq!(back("แ"), "เเ");
    assert_eq!(back("พง"), "พง");
    assert_eq!(back("มากกก"), "มากกกกกก");
    assert_eq!(back("url"), "https://x.co/a");
    assert_eq!(back("&"), "&amp;");
    assert_eq!(back("ที่"), "ที่");
    assert_eq!(text.original_range(0..text.as_str().len()), 0..original.len());
    assert_eq!(text.original_range(3..3), 6..6);
    assert_eq!(normalize("").original_range(0..0), 0..0);
}

#[test]
fn text_without_language_is_known() {
    let said = |text: &str| is_linguistic(&normalize(text));
    for nothing in
        ["", " \n", "https://x.co/a", "[สติกเกอร์]", "[Sticker] [รูป]", "@someone 0812345678", "\u{E48}\u{E48}"]
    {
        assert!(!said(nothing), "{nothing:?}");
    }
    for something in ["ดี", "555", "😡", ":)", "ok", "[สติกเกอร์] ดี", "https://x.co/a แย่", "..."]
    {
        assert!(said(something), "{something:?}");
    }
}

#[test]
fn offsets_count_in_the_callers_unit() {
    let text = "ก😀ข";
    let range = text.find('ข').map(|at| at..text.len()).expect("it is there");
    assert_eq!(Encoding::Utf8.offsets(text).range(range.clone()), 7..10);
    assert_eq!(Encoding::Utf16.offsets(text).range(range.clone()), 3..4);
    assert_eq!(Encoding::Utf32.offsets(text).range(range), 2..3);
}

#[test]
fn a_letter_keeps_its_marks() {
    let text = "ก้ามปู👨‍👩‍👧";
    assert_eq!(snap_to_graphemes(text, 3..3), 0..6);
    assert_eq!(snap_to_graphemes(text, 0..3), 0..6);
    let family = text.find('👨').expect("it is there");
    assert_eq!(snap_to_graphemes(text, family + 4..family + 7), family..text.len());
    assert_eq!(snap_to_graphemes(text, 0..9999), 0..text.len());
    let edges = GraphemeEdges::of(text);
    for range in [3..3, 0..3, family + 4..family + 7, 0..9999, text.len()..text.len()] {
        assert_eq!(edges.snap(range.clone()), snap_to_graphemes(text, range));
    }
    assert_eq!(GraphemeEdges::of("").snap(0..0), 0..0);
}

#[test]
fn a_megabyte_of_marks_is_small_work() {
    for mark in ['\u{E49}', '\u{301}', '\u{E34}'] {
        let flood: String = std::iter::repeat_n(mark, 1 << 19).collect();
        assert!(normalize(&flood).as_str().chars().count() <= 3);
    }
}

/// Strings built from what the rules look for, so that they meet each other.
fn hostile() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "ก",
        "น",
        "เ",
        "แ",
        "า",
        "ำ",
        "ํ",
        "่",
        "้",
        "ี",
        "์",
        "ๆ",
        "5",
        "5555",
        "๕",
        "0",
        "08",
        "12",
        "1234567",
        "0812345678",
        "+66",
        "-",
        ".",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\u{200B}",
        "\u{200D}",
        "\u{FE0F}",
        "&",
        "amp;",
        "&amp;",
        "&lt;",
        "lt;",
        "#",
        "&#",
        "38;",
        "&#38;",
        "&#35;",
        "&#8203;",
        "&#3656;",
        "x",
        ";",
        "@",
        "@ab",
        "@a1",
        "-0",
        "+66 81 234 5678",
        "02 345 678",
        "a@b.co",
        ".co",
        "www.",
        "http://",
        "https://x",
        "x.com/",
        "/",
        "<",
        ">",
        "<url>",
        "<user>",
        "!",
        "!!!!",
        "😂",
        "w",
        "\u{301}",
        "_",
        ",",
    ]);
    prop::collection::vec(parts, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn normalising_twice_changes_nothing(text in prop_oneof![hostile(), any::<String>()]) {
        let once = normalize(&text);
        let twice = normalize(once.as_str());
        prop_assert_eq!(once.as_str(), twice.as_str());
    }

    #[test]
    fn every_range_maps_into_the_original(text in prop_oneof![hostile(), any::<String>()], a in 0usize..99, b in 0usize..99) {
        let normalized = normalize(&text);
        let length = normalized.as_str().len();
        let clamp = |at: usize| (0..=at.min(length)).rev().find(|&at| normalized.as_str().is_char_boundary(at)).unwrap_or(0);
        let (start, end) = (clamp(a.min(b)), clamp(a.max(b)));
        let original = normalized.original_range(start..end);
        prop_assert!(original.start <= original.end);
        prop_assert!(text.get(original.clone()).is_some(), "{:?} cuts a character of {:?}", original, text);
        prop_assert_eq!(original.is_empty(), start == end);
        let snapped = snap_to_graphemes(&text, original.clone());
        prop_assert!(snapped.start <= original.start && snapped.end >= original.end);
        prop_assert_eq!(GraphemeEdges::of(&text).snap(original), snapped.clone());
        for encoding in [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32] {
            let range = encoding.offsets(&text).range(snapped.clone());
            prop_assert!(range.end <= encoding.length(&text));
        }
    }
}

#[test]
fn modifiers_are_counted() {
    // stretched words, laughter, emoji, negation, abuse
    for (text, wanted) in [
        ("อาหารอร่อย", [0, 0, 0, 0, 0]),
        ("อร่อยมากกกกก สุดยอดดดด", [2, 0, 0, 0, 0]),
        ("ตลกมาก 55555+ ฮ่าๆ ฮ่า ๆ haha", [0, 4, 0, 0, 0]),
        ("โทร 02 555 5555 ราคา 1,555 บาท", [0, 0, 0, 0, 0]),
        ("😍😍 👨\u{200D}👩\u{200D}👧 🇹🇭 👍🏽 ❤\u{FE0F} © 1️⃣", [0, 0, 6, 0, 0]),
        ("ไม่อร่อย ไม่ได้เรื่อง อย่าซื้อ", [0, 0, 0, 3, 0]),
        ("แม่งโคตรห่วย เชี่ยยยย", [1, 0, 0, 0, 2]),
        ("แม่งานยุ่ง สัสดี หีบห่อสวย", [0, 0, 0, 0, 0]),
        ("", [0; 5]),
    ] {
        let normalized = normalize(text);
        let found = Modifiers::of(text, &normalized, &words(normalized.as_str()));
        let [elongations, laughs, emoji, negations, profanities] = wanted;
        let wanted = Modifiers { elongations, laughs, emoji, negations, profanities };
        assert_eq!(found, wanted, "in {text}");
    }
}

mod segments {
    //! Words and clauses against rows of examples, and what holds for any text.
    #![allow(clippy::string_slice, clippy::indexing_slicing, reason = "a range that is wrong fails its test")]

    use super::*;
    use crate::work::assert_grows_with_its_input;

    /// Rows of a file of examples: `#` begins a comment, `|` is a cut, `⏎` a line break.
    fn rows(file: &str) -> impl Iterator<Item = Vec<String>> {
        let lines = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.split('|').map(|part| part.replace('⏎', "\n")).collect())
    }

    /// The clauses of a text as it was sent.
    fn clauses_of(text: &str) -> Vec<String> {
        let normalized = normalize(text);
        let ranges = Reading::of(normalized.as_str(), &words(normalized.as_str())).clauses();
        let span = |range| snap_to_graphemes(text, normalized.original_range(range));
        ranges.into_iter().map(|range| text[span(range)].to_owned()).collect()
    }

    #[test]
    fn clauses_end_where_a_reader_would_end_them() {
        let mut wrong = Vec::new();
        let mut seen = 0;
        for row in rows(include_str!("../../tests/data/clauses.txt")) {
            let wanted: Vec<&str> = row.iter().map(|part| part.trim()).collect();
            let found = clauses_of(&row.concat());
            seen += 1;
            if found != wanted {
                let text = row.concat();
                let words: Vec<&str> = words(&text).into_iter().map(|range| &text[range]).collect();
                let (wanted, found, words) = (wanted.join("|"), found.join("|"), words.join("|"));
                wrong.push(format!("{wanted}\n  found {found}\n  words {words}"));
            }
        }
        assert!(seen >= 150, "{seen} rows");
        assert!(wrong.is_empty(), "{} of {seen} rows\n{}", wrong.len(), wrong.join("\n"));
    }

    /// Nothing was mended by these rows: they only measure (`cargo test --release unseen -- --nocapture`).
    #[test]
    fn most_cuts_of_unseen_texts_are_found() {
        let (mut wanted, mut found, mut both, mut whole, mut rows_seen) = (0, 0, 0, 0, 0);
        for row in rows(include_str!("../../tests/data/clauses_unseen.txt")) {
            let starts = |parts: &mut dyn Iterator<Item = usize>| {
                let start = parts.scan(0, |at, length| {
                    *at += length;
                    Some(*at)
                });
                start.collect::<Vec<usize>>()
            };
            // A cut is counted by the letters before it: white space belongs to either side.
            let letters = |text: &str| text.chars().filter(|ch| !ch.is_whitespace()).count();
            let gold = starts(&mut row.iter().map(|part| letters(part)));
            let clauses = clauses_of(&row.concat());
            let mine = starts(&mut clauses.iter().map(|part| letters(part)));
            // The end of the text is no cut.
            (wanted, found) = (wanted + gold.len() - 1, found + mine.len() - 1);
            both += gold.iter().filter(|cut| mine.contains(cut)).count() - 1;
            whole += usize::from(gold == mine);
            rows_seen += 1;
        }
        println!("cuts: {wanted} marked, {found} made, {both} both; {whole} of {rows_seen} rows right");
        assert!(rows_seen >= 50 && both * 10 > found * 8, "{both} of {found} cuts are right");
    }

    #[test]
    fn words_are_those_of_a_reader_but_for_compounds() {
        let (mut wanted, mut within, mut missed) = (0, Vec::new(), 0);
        for row in rows(include_str!("../../tests/data/words.txt")) {
            let text = row.concat();
            let edges: Vec<usize> = words(&text).into_iter().map(|range| range.end).collect();
            let mut end = 0;
            let gold: Vec<usize> = row
                .iter()
                .map(|word| {
                    end += word.len();
                    end
                })
                .collect();
            wanted += row.iter().filter(|word| !word.trim().is_empty()).count();
            missed += gold.iter().filter(|edge| !edges.contains(edge)).count();
            if edges.iter().any(|edge| !gold.contains(edge)) {
                let found: Vec<&str> = words(&text).into_iter().map(|range| &text[range]).collect();
                within.push(found.join("|"));
            }
        }
        assert!(wanted >= 200, "{wanted} words");
        assert!(within.is_empty(), "cut inside a word: {within:#?}");
        assert!(missed * 10 < wanted, "{missed} of {wanted} edges are not found");
    }

    #[test]
    fn a_long_text_without_a_cut_is_small_work() {
        for part in ["ก ", "ส่วนใหญ่", "มีอะไร"] {
            assert_grows_with_its_input(2000, |size| {
                let text = part.repeat(size);
                let words = words(&text);
                assert_eq!(Reading::of(&text, &words).clauses().len(), 1, "of {part}");
                asks(&text, &words);
            });
        }
    }

    #[test]
    fn questions_are_known_by_their_words() {
        let rows = include_str!("../../tests/data/questions.txt").lines();
        let rows = rows.filter_map(|line| line.split_once('|'));
        let (mut wrong, mut seen) = (Vec::new(), 0);
        for (kind, text) in rows {
            let normalized = normalize(text);
            seen += 1;
            if asks(normalized.as_str(), &words(normalized.as_str())) != (kind != "n") {
                let shown: Vec<&str> = words(text).into_iter().map(|range| &text[range]).collect();
                wrong.push(format!("{kind} {}", shown.join("|")));
            }
        }
        assert!(seen >= 70 && wrong.is_empty(), "{} of {seen}: {wrong:#?}", wrong.len());
    }

    /// Thai with stacked marks, clusters of several characters, and line ends.
    fn awkward() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("ก็่"),
            Just("น้ำ"),
            Just("เเ"),
            Just("ํ้า"),
            Just("แต่"),
            Just("เพราะ"),
            Just("ค่ะ"),
            Just("ดี"),
            Just("มากกกก"),
            Just("ๆ"),
            Just("👨\u{200D}👩\u{200D}👧"),
            Just("🇹🇭"),
            Just("🇹"),
            Just("👍🏽"),
            Just("❤\u{FE0F}"),
            Just("\r\n"),
            Just("\n"),
            Just(" "),
            Just("555555"),
            Just("!"),
            Just("..."),
            Just("e\u{301}"),
            Just("https://a.co/x"),
            Just("\u{200B}"),
            Just("&amp;"),
        ];
        prop::collection::vec(prop_oneof![4 => piece.prop_map(str::to_owned), 1 => any::<String>()], 0..24)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn words_cover_the_text_and_clauses_all_that_shows(text in awkward()) {
            let normalized = normalize(&text);
            let shown = normalized.as_str();
            let words = words(shown);
            prop_assert_eq!(words.iter().map(|range| &shown[range.clone()]).collect::<String>(), shown);
            let clauses = Reading::of(shown, &words).clauses();
            prop_assert!(clauses.iter().zip(clauses.iter().skip(1)).all(|(left, right)| left.end <= right.start));
            let mut outside = shown.to_owned();
            for range in clauses.iter().rev() {
                prop_assert!(!range.is_empty());
                outside.replace_range(range.clone(), "");
            }
            prop_assert_eq!(outside.trim(), "", "white space alone is outside");
        }

        #[test]
        fn spans_of_clauses_are_in_order_in_every_unit_and_split_no_cluster(text in awkward()) {
            let normalized = normalize(&text);
            let clauses = Reading::of(normalized.as_str(), &words(normalized.as_str())).clauses();
            let spans: Vec<_> = clauses
                .into_iter()
                .map(|range| snap_to_graphemes(&text, normalized.original_range(range)))
                .collect();
            let edges: Vec<usize> =
                unicode_segmentation::UnicodeSegmentation::grapheme_indices(text.as_str(), true).map(|(at, _)| at).collect();
            let utf16: Vec<u16> = text.encode_utf16().collect();
            let scalars: Vec<char> = text.chars().collect();
            for span in &spans {
                prop_assert!(edges.contains(&span.start) && (edges.contains(&span.end) || span.end == text.len()));
                let part = &text[span.clone()];
                prop_assert_eq!(&String::from_utf16(&utf16[Encoding::Utf16.offsets(&text).range(span.clone())]).expect("whole"), part);
                prop_assert_eq!(&scalars[Encoding::Utf32.offsets(&text).range(span.clone())].iter().collect::<String>(), part);
            }
            prop_assert!(spans.iter().zip(spans.iter().skip(1)).all(|(left, right)| left.end <= right.start), "{spans:?}");
        }
    }
}
