#![allow(clippy::indexing_slicing, reason = "a place that is not there fails its test")]

use jiff::Timestamp;

use super::*;

fn entry(text: &str, score: f32) -> Entry<'_> {
    let label = match score {
        ..=-0.2 => Label::Negative,
        0.2.. => Label::Positive,
        _ => Label::Neutral,
    };
    Entry {
        text,
        label,
        score,
        abstain: false,
        mixed: false,
        content: Content::Linguistic,
        token_count: 10,
        window_count: 1,
        brand: None,
        time: None,
        rating: None,
        targets: &[],
    }
}

fn figures<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> Figures {
    let mut collector = Collector::new();
    for entry in entries {
        collector.add(&entry);
    }
    collector.finish(Quality::default())
}

fn at(time: &str) -> Option<Timestamp> {
    Some(time.parse().expect("a time"))
}

#[test]
fn wilson() {
    // The ends are the q at which (share - q)² = z² q (1 - q) / n, found by bisection.
    for (count, whole, low, high) in [
        (0, 10, 0.0, 0.277_533),
        (10, 10, 0.722_467, 1.0),
        (5, 10, 0.236_593, 0.763_407),
        (1, 100, 0.001_767, 0.054_486),
        (310, 1000, 0.282_108, 0.339_347),
        (0, 0, 0.0, 1.0),
    ] {
        let share = Share::of(count, whole);
        assert!(
            (share.low - low).abs() < 2e-6 && (share.high - high).abs() < 2e-6,
            "{count} of {whole}: {share:?}"
        );
    }
}

#[test]
fn a_mean_has_the_interval_of_its_sample() {
    let scores = [0.5, -0.5, 0.25, 0.0];
    let mean = figures(scores.map(|score| entry("ดี", score))).mean;
    // The sample's deviation is 0.426956.
    assert_eq!(mean.score, Some(0.0625));
    assert!((mean.high.unwrap() - (0.0625 + 1.959_964 * 0.426_956 / 2.0)).abs() < 1e-5, "{mean:?}");
    let one = figures([entry("ดี", 0.5)]).mean;
    assert_eq!((one.score, one.low), (Some(0.5), None), "one row has no spread");
}

/// The period and the first days of the points of rows at these times.
fn check_period(times: &[&str], period: Period, from: &[&str]) {
    let over_time = figures(times.iter().map(|time| Entry { time: at(time), ..entry("ดี", 0.5) })).over_time;
    let found: Vec<&str> = over_time.series[0].points.iter().map(|point| point.from.as_str()).collect();
    assert_eq!((over_time.period, found.as_slice()), (period, from), "{times:?}");
}

#[test]
fn days_are_merged_until_there_are_few_enough() {
    // 17:00 UTC is midnight in Thailand.
    check_period(
        &["2024-02-28T16:59:59Z", "2024-02-28T17:00:00Z", "2024-02-29T10:00:00Z"],
        Period::Day,
        &["2024-02-28", "2024-02-29"],
    );
    check_period(
        &["2024-01-01T00:00:00Z", "2024-03-02T00:00:00Z"],
        Period::Day,
        &["2024-01-01", "2024-03-02"],
    );
    check_period(
        &["2024-01-03T00:00:00Z", "2024-03-10T00:00:00Z"],
        Period::Week,
        &["2024-01-01", "2024-03-04"],
    );
    check_period(
        &["2023-01-31T00:00:00Z", "2025-01-31T00:00:00Z"],
        Period::Month,
        &["2023-01-01", "2025-01-01"],
    );
    check_period(
        &["2014-06-30T00:00:00Z", "2024-12-31T00:00:00Z"],
        Period::Quarter,
        &["2014-04-01", "2024-10-01"],
    );
    check_period(
        &["1975-06-30T00:00:00Z", "2024-12-31T00:00:00Z"],
        Period::Year,
        &["1975-01-01", "2024-01-01"],
    );
}

#[test]
fn merged_days_keep_every_row() {
    let rows = (0..700).map(|day| Entry {
        time: at("2023-01-01T00:00:00Z").map(|time| time + jiff::SignedDuration::from_hours(24 * day)),
        ..entry("ดี", if day % 2 == 0 { 0.5 } else { -0.5 })
    });
    let over_time = figures(rows).over_time;
    let points = &over_time.series[0].points;
    assert_eq!(points.iter().map(|point| point.mean.count).sum::<u64>(), 700);
    assert_eq!((points[0].mean.count, points[1].mean.count), (31, 28));
    assert_eq!(over_time.series[0].mean.score, Some(0.0));
}

#[test]
fn a_clock_that_stood_at_1970_does_not_press_the_chart_flat() {
    let mut rows: Vec<Entry<'_>> = (0..2000)
        .map(|minute| Entry {
            time: at("2024-03-01T00:00:00Z").map(|time| time + jiff::SignedDuration::from_mins(minute)),
            ..entry("ดี", 0.5)
        })
        .collect();
    rows.push(Entry { time: at("1970-01-01T00:00:00Z"), ..entry("ดี", 0.5) });
    rows.push(Entry { time: at("0900-01-01T00:00:00Z"), ..entry("ดี", 0.5) });
    let over_time = figures(rows).over_time;
    assert_eq!((over_time.stray_row_count, over_time.implausible_row_count), (1, 1));
    assert_eq!((over_time.period, over_time.series[0].points.len()), (Period::Day, 2));
}

#[test]
fn the_largest_brands_have_curves_and_rows_without_a_brand_are_in_all() {
    let names: Vec<String> = (0..12).map(|brand| format!("ร้าน {brand:02}")).collect();
    let rows = names.iter().enumerate().flat_map(|(at_brand, name)| {
        (0..=at_brand).map(|_| Entry {
            brand: Some(name),
            time: at("2024-03-01T00:00:00Z"),
            ..entry("ดี", 0.5)
        })
    });
    let unbranded = Entry { time: at("2024-03-01T00:00:00Z"), ..entry("ดี", 0.5) };
    let figures = figures(rows.chain([unbranded]));
    let series = &figures.over_time.series;
    assert_eq!((series[0].brand.as_deref(), series[0].row_count), (None, 79));
    let brands: Vec<&str> = series.iter().filter_map(|series| series.brand.as_deref()).collect();
    assert_eq!(brands.len(), timeline::CURVES);
    assert_eq!((brands[0], brands[7]), ("ร้าน 11", "ร้าน 04"));
    assert_eq!((figures.reviewed.brand_count, figures.quality.without_brand.count), (12, 1));
}

#[test]
fn targets_are_ranked_by_negative_share_and_few_mentions_come_last() {
    let said = |target, is_brand, score: f32, statement| Spoken {
        target,
        is_brand,
        label: if score < 0.0 { Label::Negative } else { Label::Positive },
        score,
        statement,
    };
    let mut rows = Vec::new();
    for at in 0..20 {
        let price = if at < 12 { -0.5 } else { 0.5 };
        rows.push(vec![
            said("ราคา", false, price, "ราคาแพง"),
            said("รสชาติ", false, if at < 4 { -0.5 } else { 0.5 }, "รสชาติแย่"),
        ]);
    }
    rows.push(vec![said("ที่จอดรถ", false, -0.9, "ไม่มีที่จอดรถ โทรไป 081-234-5678 ก็ไม่รับ")]);
    rows.push(vec![
        said("ราคา", false, -0.99, "แพงมาก"),
        said("ราคา", false, -0.7, "แพงไป"),
        said("ราคา", false, -0.6, "แพงอยู่"),
        said("ไทยฟู้ด", true, -0.8, "แย่"),
    ]);
    let figures = figures(rows.iter().map(|targets| Entry { targets, ..entry("ดี", 0.1) }));
    let aspects = &figures.aspects.targets;
    let names: Vec<(&str, u64, bool)> =
        aspects.iter().map(|aspect| (aspect.name.as_str(), aspect.mention_count, aspect.few)).collect();
    assert_eq!(names, [("ราคา", 23, false), ("รสชาติ", 20, false), ("ที่จอดรถ", 1, true)]);
    let examples: Vec<&str> = aspects[0].examples.iter().map(|snippet| snippet.text.as_str()).collect();
    assert_eq!(examples, ["แพงมาก", "แพงไป", "แพงอยู่"], "the most negative, each once");
    assert_eq!(aspects[2].examples[0].text, "ไม่มีที่จอดรถ โทรไป <phone> ก็ไม่รับ");
    assert_eq!(figures.brands.targets[0].name, "ไทยฟู้ด");
    let worst = "ราคา is the aspect with the highest negative share: 65\u{A0}% of 23 mentions.";
    assert!(figures.summary.iter().any(|sentence| sentence == worst), "{:?}", figures.summary);
}

#[test]
fn stars_that_say_other_than_the_words_are_counted_and_shown() {
    let texts: Vec<String> = (0..25).map(|at| format!("แย่มาก ครั้งที่ {at}")).collect();
    let rows = texts.iter().enumerate().map(|(at, text)| {
        let at = u16::try_from(at).unwrap();
        Entry { rating: Some(if at < 12 { 5 } else { 1 }), ..entry(text, -0.5 - f32::from(at) / 100.0) }
    });
    let more = [
        Entry { rating: Some(4), ..entry("ไม่ค่อยดี", -0.4) },
        Entry { rating: Some(3), ..entry("แย่", -0.9) },
        Entry { rating: Some(2), brand: Some("ร้าน ก"), ..entry("ดีมาก", 0.9) },
        Entry { rating: Some(9), ..entry("แย่", -0.9) },
    ];
    let ratings = figures(rows.chain(more)).ratings;
    let counts: Vec<u64> = ratings.ratings.iter().map(|rated| rated.row_count).collect();
    assert_eq!((counts.as_slice(), ratings.row_count), (&[13, 1, 1, 1, 12][..], 28));
    assert_eq!(ratings.ratings[4].labels.negative.count, 12);
    let high = &ratings.high_but_negative;
    assert_eq!((high.share.count, high.share.share, high.examples.len()), (12, 0.923_077, 10));
    assert_eq!(high.examples[0].text, "แย่มาก ครั้งที่ 11");
    let low = &ratings.low_but_positive;
    assert_eq!((low.share.count, low.examples[0].brand.as_deref()), (1, Some("ร้าน ก")));
}

#[test]
fn a_planted_word_is_found_and_common_ones_are_not() {
    let rows = (0..2000).map(|at| match at % 20 {
        0 => entry("ร้านนี้ห่วยและช้า", if at % 40 == 0 { -0.9 } else { -0.7 }),
        1 => entry("ร้านนี้ประทับใจ 😍 และช้า", if at % 40 == 1 { 0.9 } else { 0.7 }),
        kind if kind % 2 == 0 => entry("ร้านนี้ก็มีและช้า", 0.2),
        _ => entry("ร้านนี้ก็มี 08 และช้า", -0.2),
    });
    let words = figures(rows).words;
    let names = |words: &[Word]| words.iter().map(|word| word.word.clone()).collect::<Vec<_>>();
    assert_eq!(names(&words.lowering), ["ห่วย"]);
    assert_eq!(names(&words.raising), ["😍", "ประทับใจ"]);
    let word = &words.lowering[0];
    assert_eq!((word.row_count, word.mean_with, words.least_row_count), (100, -0.8, 10));
    assert!(word.mean_without > 0.0 && word.z < -50.0, "{word:?}");
}

#[test]
fn a_word_counts_once_a_row_and_in_ten_rows_at_least() {
    let often = "ห่วย ห่วย ห่วย";
    let rows = |rows: u32| (0..rows).map(move |at| entry(often, if at % 2 == 0 { -0.9 } else { -0.8 }));
    let others = || (0..100).map(|at| entry("เฉย", if at % 2 == 0 { 0.1 } else { 0.0 }));
    assert_eq!(figures(rows(10).chain(others())).words.lowering[0].row_count, 10);
    assert!(figures(rows(9).chain(others())).words.lowering.is_empty());
}

#[test]
fn memory_is_bounded_whatever_is_written() {
    // More words than are counted, the most of all kinds.
    const ROWS: u32 = 110_000;
    let mut collector = Collector::new();
    for number in 0..ROWS {
        let (text, brand, aspect) =
            (format!("{} ห่วย", spelled(number)), format!("brand {number}"), format!("aspect {number}"));
        // One that is everywhere must not be lost among them.
        let brand = if number % 10 == 0 { "ร้านใหญ่" } else { &brand };
        let aspect = if number % 10 == 0 { "ราคา" } else { &aspect };
        let targets = [Spoken {
            target: aspect,
            is_brand: false,
            label: Label::Negative,
            score: -0.5,
            statement: "ห่วย",
        }];
        let time =
            at("1980-01-01T00:00:00Z").map(|time| time + jiff::SignedDuration::from_hours(i64::from(number)));
        let row = Entry { brand: Some(brand), time, targets: &targets, ..entry(&text, -0.5) };
        collector.add(&row);
        if number % 1000 == 0 {
            let (brands, cells, words) = collector.sizes();
            assert!(brands <= timeline::BRANDS && cells <= timeline::CELLS && words <= words::COUNTED);
        }
    }
    let figures = collector.finish(Quality::default());
    assert_eq!(figures.row_count, u64::from(ROWS));
    assert_eq!(
        (figures.reviewed.brands[0].name.as_str(), figures.reviewed.brands[0].row_count),
        ("ร้านใหญ่", 11_000)
    );
    assert!(figures.reviewed.more_brands && figures.reviewed.left_out_row_count > 90_000);
    assert_eq!((figures.aspects.targets[0].name.as_str(), figures.aspects.mention_count), ("ราคา", 110_000));
    assert!(figures.aspects.left_out_mention_count > 90_000 && figures.aspects.targets.len() <= 40);
    assert!(figures.words.missed_row_count > 0);
    assert!(page(&figures).contains("There were more brands than are counted"));
}

/// A word of Latin letters for each number.
fn spelled(number: u32) -> String {
    let letters =
        [1, 26, 676, 17_576].map(|place| char::from(b'a' + u8::try_from(number / place % 26).unwrap()));
    letters.iter().collect()
}

#[test]
fn many_days_of_many_brands_are_bounded() {
    let mut collector = Collector::new();
    for number in 0..450_000_i64 {
        let brand = format!("brand {}", number % 300);
        let time =
            at("1980-01-01T00:00:00Z").map(|time| time + jiff::SignedDuration::from_hours(number / 300 * 24));
        collector.timeline_of(&brand, time);
    }
    let (brands, cells, _) = collector.sizes();
    // Days are forgotten, brands are not.
    assert!(cells <= timeline::CELLS && brands == 300, "{brands} {cells}");
}

#[test]
fn different_texts_are_counted_or_estimated() {
    let few: Vec<String> = (0..300).map(|at| format!("ข้อความ {}", at % 100)).collect();
    let distinct = figures(few.iter().map(|text| entry(text, 0.0))).quality.distinct_texts;
    assert_eq!((distinct.count, distinct.exact), (100, true));
    let mut sketch = distinct::Sketch::default();
    (0..100_000).for_each(|at| sketch.add(&format!("{}", at % 50_000)));
    let distinct = sketch.finish();
    assert!(!distinct.exact && (48_000..52_000).contains(&distinct.count), "{distinct:?}");
}

#[test]
fn texts_are_told_apart_by_script_and_style() {
    for (text, kind, style) in [
        ("อร่อยดี", "thai", ""),
        ("ส่ง delivery เร็ว", "thai_and_latin", ""),
        ("very good", "latin", ""),
        ("12345", "neither", ""),
        ("ดี 😍", "thai", "emoji"),
        ("ดี 55555", "thai", "laughter"),
        ("ดีมากกกก", "thai", "elongation"),
        ("ดูที่ https://example.com/page", "thai", ""),
        ("ไซซ์ M", "thai", ""),
    ] {
        let told = serde_json::to_value(figures([entry(text, 0.1)]).language).unwrap();
        let found: Vec<&str> = told
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, share)| share["count"] == 1)
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            found,
            [kind, style].into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>(),
            "{text}"
        );
    }
}

#[test]
fn lengths_fall_into_bins() {
    let long = "ก".repeat(5000);
    let lengths = figures(["ดี", "อร่อยมากครับ", "ดีมาก", long.as_str()].map(|text| entry(text, 0.1))).lengths;
    let counts: Vec<u64> = lengths.bins.iter().map(|bin| bin.share.count).collect();
    assert_eq!((counts.as_slice(), lengths.median_chars), (&[2, 1, 0, 0, 0, 0, 0, 0, 1][..], 5));
}

#[test]
fn quality_counts_what_says_nothing() {
    let mut collector = Collector::new();
    for entry in [
        entry("ดี", 0.5),
        Entry { content: Content::Empty, ..entry("", 0.0) },
        Entry { content: Content::NonLinguistic, ..entry("https://example.com", 0.0) },
        Entry { abstain: true, mixed: true, window_count: 3, ..entry("ดี", 0.4) },
    ] {
        collector.add(&entry);
    }
    let rejected = |reason: &str, row_count| Rejected { reason: reason.to_owned(), row_count };
    let told =
        Quality { rejected: vec![rejected("no text", 1), rejected("not UTF-8", 3)], ..Quality::default() };
    let figures = collector.finish(told);
    let quality = &figures.quality;
    assert_eq!((figures.row_count, figures.scored_row_count), (4, 2));
    assert_eq!((quality.empty.count, quality.non_linguistic.share), (1, 0.25));
    assert_eq!((quality.abstained.share, quality.mixed.count, quality.several_windows.count), (0.5, 1, 1));
    assert_eq!((quality.rejected_rows.share, quality.told.rejected[0].reason.as_str()), (0.5, "not UTF-8"));
    assert_eq!((quality.token_count, quality.without_time.count, quality.distinct_texts.count), (40, 4, 3));
    let reasons = (0..50).map(|at| rejected(&format!("reason {at}"), 1)).collect();
    let capped =
        Collector::new().finish(Quality { rejected: reasons, ..Quality::default() }).quality.told.rejected;
    assert_eq!((capped.len(), capped[20].row_count), (21, 30));
}

#[test]
fn examples_are_cut_between_letters() {
    for (text, shown) in [
        ("กข".repeat(71), format!("{}…", "กข".repeat(70))),
        ("กข".repeat(70), "กข".repeat(70)),
        ("กี่ขี่".repeat(24), format!("{}…", "กี่ขี่".repeat(23))),
        ("ดี\u{202E}มาก\n\tนะ\u{0}".to_owned(), "ดีมาก นะ".to_owned()),
        ("081\u{200B}-234-5678".to_owned(), "<phone>".to_owned()),
        (format!("{} 081-234-5678", "กข".repeat(66)), format!("{} <phone>", "กข".repeat(66))),
        ("@somchai.p ดูที่ https://x.example/a?b=1 ค่ะ".to_owned(), "<user> ดูที่ <url> ค่ะ".to_owned()),
    ] {
        assert_eq!(shown::snippet(&text), shown, "{text}");
    }
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let (one, other) = (samples::figures(), samples::figures());
    assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&other).unwrap());
    assert_eq!(page(&one), page(&other));
}

#[test]
fn what_people_write_is_never_markup() {
    let hostile = "แย่</script><img src=x onerror=alert(1)>\"' <!-- \u{202E}&lt;";
    let spoken = [
        Spoken { target: hostile, is_brand: false, label: Label::Negative, score: -0.9, statement: hostile },
        Spoken { target: hostile, is_brand: true, label: Label::Negative, score: -0.9, statement: hostile },
    ];
    let row = Entry {
        brand: Some(hostile),
        time: at("2024-03-01T00:00:00Z"),
        rating: Some(5),
        targets: &spoken,
        ..entry(hostile, -0.9)
    };
    let mut collector = Collector::new();
    (0..20).for_each(|_| collector.add(&row));
    let told = Quality {
        sources: vec![hostile.to_owned()],
        model: hostile.to_owned(),
        rejected: vec![Rejected { reason: hostile.to_owned(), row_count: 1 }],
        notes: vec![hostile.to_owned()],
    };
    let page = page(&collector.finish(told));
    let ours = SCRIPT_COUNT;
    assert_eq!(page.matches("</script>").count(), ours, "no script is closed but ours");
    assert!(!page.contains("<img") && !page.contains("<!--"), "no markup but ours");
    assert_eq!(page.matches("<script").count(), ours);
    assert!(page.contains("แย่&lt;/script&gt;&lt;img"), "it is shown as it was written");
    // JSON that a browser reads back says the same.
    let json = page.split("id=\"figures\">").nth(1).unwrap().split("</script>").next().unwrap();
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    assert!(value["aspects"]["targets"][0]["name"].as_str().unwrap().starts_with("แย่</script><img"));
}

/// D3, Plot, ours, and the figures.
const SCRIPT_COUNT: usize = 4;

#[test]
fn scripts_run_by_their_hashes_and_hold_nothing_that_ends_them() {
    let page = page(&samples::figures());
    let policy =
        page.split("Content-Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("script-src 'unsafe"), "{policy}");
    assert_eq!(policy.matches("sha256-").count(), SCRIPT_COUNT - 1);
    assert_eq!(page.matches("</script>").count(), SCRIPT_COUNT, "no library holds an end of a script");
    assert!(!page.contains('\r'), "a parser would change it, and with it the hash");
}

#[test]
fn nothing_makes_a_page_that_says_so() {
    let nothing = figures([]);
    let page_of_nothing = page(&nothing);
    assert!(page_of_nothing.contains("There are no rows, so there is nothing to report."));
    assert!(!page_of_nothing.contains("<script") && !page_of_nothing.contains("NaN"));
    let silent = figures([Entry { content: Content::Empty, ..entry("", 0.0) }]);
    assert!(page(&silent).contains("None of 1 row says anything that could be scored"));
    // Scores that are no numbers do not spread.
    let broken = figures([entry("ดี", f32::NAN), entry("ดี", 7.0)]);
    assert_eq!(broken.mean.score, Some(0.5));
}

#[test]
fn numbers_are_said_plainly() {
    for (value, said) in
        [(0, "0"), (999, "999"), (1000, "1,000"), (12_400, "12,400"), (10_000_000, "10,000,000")]
    {
        assert_eq!(sentences::count(value), said);
    }
    for (share, said) in [
        (0.0, "0 %"),
        (0.0001, "under 0.1 %"),
        (0.042, "4.2 %"),
        (0.314, "31 %"),
        (0.9999, "100.0 %"),
        (1.0, "100 %"),
    ] {
        assert_eq!(sentences::percent(share).replace('\u{A0}', " "), said);
    }
    assert_eq!((sentences::signed(-0.3).as_str(), sentences::signed(-0.001).as_str()), ("−0.30", "+0.00"));
}

#[test]
#[ignore = "writes target/page/batch.html for tests/browser/batch.mjs"]
fn sample_page() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
    std::fs::create_dir_all(&folder).unwrap();
    let figures = samples::figures();
    std::fs::write(folder.join("batch.html"), page(&figures)).unwrap();
    std::fs::write(folder.join("batch.json"), serde_json::to_string_pretty(&figures).unwrap()).unwrap();
}

/// Reviews that nobody wrote.
mod samples {
    use super::*;

    /// Numbers that look like chance and are always the same.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % below
        }

        fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
            let at = self.next(u64::try_from(of.len()).unwrap());
            &of[usize::try_from(at).unwrap()]
        }
    }

    const BRANDS: [&str; 11] = [
        "ครัวคุณยาย",
        "ตะวันคาเฟ่",
        "Mango Mart",
        "ก๋วยเตี๋ยวริมคลอง",
        "บ้านสวนหมูกระทะ",
        "ส่งไวเอ็กซ์เพรส",
        "โรงแรมทะเลหมอก",
        "ร้านยาใจดี",
        "ชานมสามพี่น้อง",
        "Siam Gadget",
        "ซักอบรีดสะอาดจัง",
    ];

    /// An aspect, and what is said of it from bad to good.
    const SAID: [(&str, [&str; 5]); 8] = [
        ("ราคา", ["ราคาแพงเกินไปไม่คุ้มเลย", "ราคาแอบแรงเมื่อเทียบกับปริมาณ", "ราคาก็ทั่วไป", "ราคาถูกดี", "ราคาคุ้มมากกก"]),
        ("รสชาติ", ["รสชาติแย่มากกินไม่ลง", "รสชาติจืดไปหน่อย", "รสชาติกลาง ๆ", "รสชาติอร่อยดี", "อร่อยสุด ๆ ประทับใจ 😍"]),
        (
            "การบริการ",
            [
                "พนักงานพูดจาห่วยมาก 😡",
                "พนักงานไม่ค่อยสนใจลูกค้า",
                "บริการตามมาตรฐาน",
                "พนักงานสุภาพดี",
                "บริการเลิศ พนักงานน่ารักทุกคน",
            ],
        ),
        (
            "การจัดส่ง",
            [
                "ส่งช้ามาก รอเป็นอาทิตย์ โทร 081-234-5678 ก็ไม่รับ",
                "ส่งช้ากว่าที่แจ้ง",
                "ส่งตามกำหนด",
                "ส่งไวดี",
                "ส่งไวมาก แพ็กของดีสุด ๆ",
            ],
        ),
        (
            "ความสะอาด",
            ["โต๊ะสกปรกเจอแมลงสาบด้วย", "ห้องน้ำไม่ค่อยสะอาด", "ความสะอาดพอใช้ได้", "ร้านสะอาดดี", "สะอาดเอี่ยมทุกมุม"],
        ),
        (
            "บรรยากาศ",
            ["เสียงดังจนคุยกันไม่รู้เรื่อง", "ร้านแคบและร้อน", "บรรยากาศธรรมดา", "บรรยากาศดี", "วิวสวยบรรยากาศดีมากกก"],
        ),
        ("คุณภาพ", ["ใช้ได้วันเดียวพัง เสียดายเงิน", "วัสดุดูบอบบาง", "คุณภาพตามราคา", "งานเรียบร้อยดี", "คุณภาพเยี่ยมเกินคาด"]),
        ("ที่จอดรถ", ["ไม่มีที่จอดรถเลย วนอยู่เป็นชั่วโมง", "ที่จอดรถน้อย", "มีที่จอดรถ", "ที่จอดรถกว้าง", "จอดรถสบายมาก"]),
    ];

    const OPENINGS: [&str; 6] =
        ["", "ไปมาเมื่อวาน ", "สั่ง delivery มา ", "ลองครั้งแรก ", "ลูกค้าประจำค่ะ ", "มากับครอบครัว "];
    const ENDINGS: [&str; 6] = ["", " ครับ", " ค่ะ", " 5555", " review ตามจริง", " จะไม่กลับไปอีก"];

    pub(super) fn figures() -> Figures {
        let mut chance = Chance(7);
        let mut collector = Collector::new();
        let first: Timestamp = "2023-02-03T04:00:00Z".parse().unwrap();
        for _ in 0..6000 {
            // The first brands have the most reviews, and some got worse.
            let brand = usize::try_from(chance.next(11).min(chance.next(11))).unwrap();
            let hours = chance.next(24 * 700).max(chance.next(24 * 700));
            let late = hours > 24 * 480;
            let (aspect, said) = chance.pick(&SAID);
            let (second, more) = chance.pick(&SAID);
            let bias = u64::from(brand % 3 == 1)
                + u64::from(late && brand % 4 == 0) * 2
                + u64::from(*aspect == "ที่จอดรถ");
            let mut grade = || {
                usize::try_from(
                    (chance.next(3) + chance.next(4)).saturating_sub(chance.next(bias + 1)).min(4),
                )
                .unwrap()
            };
            let (grade, other) = (grade(), grade());
            let score = |grade: usize, chance: &mut Chance| {
                let noise = f32::from(u16::try_from(chance.next(300)).unwrap()) / 1000.0;
                [-0.95, -0.5, -0.1, 0.45, 0.7][grade] + if grade == 0 { noise / 2.0 } else { noise - 0.05 }
            };
            let two = aspect != second && chance.next(3) == 0;
            let closing = *chance.pick(&ENDINGS);
            let closing = if closing.contains("ไม่กลับ") && grade > 1 { "" } else { closing };
            let text = format!(
                "{}{}{}{closing}",
                chance.pick(&OPENINGS),
                said[grade],
                if two { format!(" แต่{}", more[other]) } else { String::new() }
            );
            let (one, two_score) = (score(grade, &mut chance), score(other, &mut chance));
            let whole = if two { (one + two_score) / 2.0 } else { one };
            let label = |score: f32| entry("", score).label;
            let mut targets = vec![Spoken {
                target: aspect,
                is_brand: false,
                label: label(one),
                score: one,
                statement: said[grade],
            }];
            if two {
                targets.push(Spoken {
                    target: second,
                    is_brand: false,
                    label: label(two_score),
                    score: two_score,
                    statement: more[other],
                });
            }
            if chance.next(5) == 0 {
                targets.push(Spoken {
                    target: BRANDS[(brand + 3) % 11],
                    is_brand: true,
                    label: label(whole),
                    score: whole,
                    statement: &text,
                });
            }
            let wrong = chance.next(40) == 0;
            let rating = u8::try_from(if wrong { 4 - grade } else { grade }).unwrap() + 1;
            let asks = chance.next(25) == 0;
            collector.add(&Entry {
                label: if asks { Label::Question } else { label(whole) },
                abstain: whole.abs() < 0.08,
                mixed: two && (one > 0.25) != (two_score > 0.25),
                token_count: text.len() / 8,
                window_count: 1 + usize::from(chance.next(300) == 0),
                brand: (chance.next(20) > 0).then_some(BRANDS[brand]),
                time: (chance.next(50) > 0)
                    .then(|| first + jiff::SignedDuration::from_hours(i64::try_from(hours).unwrap())),
                rating: (chance.next(12) > 0).then_some(rating),
                targets: &targets,
                content: if chance.next(120) == 0 { Content::NonLinguistic } else { Content::Linguistic },
                ..entry(&text, whole)
            });
        }
        collector.finish(Quality {
            sources: vec!["reviews-2023.csv".to_owned(), "reviews-2024.csv".to_owned()],
            model: "arom-base@0123456789ab".to_owned(),
            rejected: vec![
                Rejected { reason: "no text in column “review”".to_owned(), row_count: 41 },
                Rejected { reason: "not UTF-8".to_owned(), row_count: 3 },
            ],
            notes: Vec::new(),
        })
    }
}
