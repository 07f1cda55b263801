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
    assert_eq!(Encoding::Utf8.range(text, range.clone()), 7..10);
    assert_eq!(Encoding::Utf16.range(text, range.clone()), 3..4);
    assert_eq!(Encoding::Utf32.range(text, range), 2..3);
}

#[test]
fn a_letter_keeps_its_marks() {
    let text = "ก้ามปู👨‍👩‍👧";
    assert_eq!(snap_to_graphemes(text, 3..3), 0..6);
    assert_eq!(snap_to_graphemes(text, 0..3), 0..6);
    let family = text.find('👨').expect("it is there");
    assert_eq!(snap_to_graphemes(text, family + 4..family + 7), family..text.len());
    assert_eq!(snap_to_graphemes(text, 0..9999), 0..text.len());
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
        for encoding in [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32] {
            let range = encoding.range(&text, snapped.clone());
            prop_assert!(range.end <= encoding.length(&text));
        }
    }
}
