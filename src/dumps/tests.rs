#![allow(clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::text::{Charset, DayOrder};

fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    path
}

fn survey(path: &Path) -> Source {
    Source::survey(path, "dump", Given::default()).expect("a dump")
}

/// All that a dump holds.
fn items(source: &Source) -> Result<Vec<Item>, DumpError> {
    let mut items = Vec::new();
    source.read(&Reading::default(), &mut |item| {
        items.push(item);
        ControlFlow::Continue(())
    })?;
    Ok(items)
}

fn rows(source: &Source) -> Vec<Value> {
    let row = |item| match item {
        Item::Row(row) => Value::Object(row.cells),
        Item::Bad(bad) => json!({ "bad": bad.reason }),
    };
    items(source).expect("readable").into_iter().map(row).collect()
}

#[test]
fn the_dumps_of_the_wild_are_known_by_their_columns() {
    let twint = "id,conversation_id,created_at,date,time,timezone,user_id,username,name,place,tweet,language,mentions,urls,photos,replies_count,retweets_count,likes_count,hashtags,cashtags,link,retweet,quote_url,video,thumbnail,near,geo,source,user_rt_id,user_rt,retweet_id,reply_to,retweet_date,translate,trans_src,trans_dest\n\
        1330000000000000001,1330000000000000001,2020-11-22 09:30:00 +07,2020-11-22,09:30:00,+0700,778,somying,สมหญิง,,เน็ตช้ามากกก ทั้งวันเลย,th,[],[],[],0,0,1,[],[],https://x.example/1,False,,0,,,,,,,,[],,,,\n";
    let shopee = "User Id,User Shop Id,User Name,Anonymous,Comment Id,Comment Date,Comment,Rating,Detail Rating,Comment Images,Comment Videos,Bought Products,Product Id,Product URL,Product Name\n\
        91,17,s***y,False,501,2026-10-01T08:15:00,\"ส่งไวมาก\nของตรงปก\",5,\"product_quality: 5\nseller_service: 5\",,,เสื้อ M,7001,https://s.example/7001,เสื้อยืดคอกลม\n\
        92,18,m***k,True,502,2026-10-02T11:00:00,,4,,,,เสื้อ L,7001,https://s.example/7001,เสื้อยืดคอกลม\n";
    for (name, content, dialect, columns) in [
        (
            "wongnai.csv",
            "ร้านนี้อร่อย, แต่รอคิวนาน ไปกันสี่คนสั่งห้าอย่าง;4\n\"พนักงานพูดไม่ดี; อาหารเย็นชืด\nไม่ไปอีก\";1\nราคาโอเค รสชาติกลาง ๆ;3\n",
            "CSV (semicolon, without a header, utf-8)",
            "text=column_1, rating=column_2",
        ),
        (
            "scrape.csv",
            "restaurant_id,restaurant_name,restaurant_url,review_url,username,review_text,review_length\n\
             12,ครัวคุณต๋อย,https://w.example/12,https://w.example/12/1,ploy,ต้มยำกุ้งแซ่บมาก,18\n",
            "CSV (comma, with a header, utf-8)",
            "text=review_text, customer=username, brand=restaurant_name",
        ),
        (
            "google.csv",
            "review_id,author,author_url,rating,text,date,date_relative,language,helpful_count,response_text,response_date\n\
             g1,Somchai P.,https://g.example/1,2,จอดรถยาก พนักงานไม่ค่อยสนใจ,2026-09-14,2 เดือนที่แล้ว,th,3,ขอบคุณค่ะ,2026-09-15\n",
            "CSV (comma, with a header, utf-8)",
            "text=text, customer=author, time=date, rating=rating, id=review_id",
        ),
        (
            "shopee.csv",
            shopee,
            "CSV (comma, with a header, utf-8)",
            "text=Comment, customer=User Id, brand=Product Name, time=Comment Date, rating=Rating, id=Comment Id",
        ),
        (
            "lazada.tsv",
            "review_id\tproduct_id\trating\treview_text\treview_date\treviewer\tproduct_option\n\
             l1\tp9\tดีมาก\tใช้ดี คุ้มราคา\t05/10/2569\tA***1\tสีดำ\nl2\tp9\t\tสีเพี้ยน\t06/10/2569\tB***2\t\n",
            "CSV (tab, with a header, utf-8)",
            "text=review_text, customer=reviewer, brand=product_id, time=review_date, rating=rating, id=review_id",
        ),
        (
            "pantip.jsonl",
            "{\"comment_id\":\"c1\",\"text\":\"แอปล่มอีกแล้ว\",\"collected_at\":\"2026-11-02T00:00:00Z\",\"published_at\":\"2026-11-01T12:00:00+07:00\",\"reply_to\":null}\n",
            "JSON Lines (utf-8)",
            "text=text, time=published_at, id=comment_id",
        ),
        (
            "snscrape.csv",
            "date,content\n2026-11-01 10:00:00+00:00,รอบนี้กล้องถ่ายสวยมาก\n",
            "CSV (comma, with a header, utf-8)",
            "text=content, time=date",
        ),
        (
            "twint.csv",
            twint,
            "CSV (comma, with a header, utf-8)",
            "text=tweet, customer=user_id, time=created_at, id=id",
        ),
        (
            "facebook.json",
            "[{\"num\":1,\"id\":\"f1\",\"text\":\"โปรนี้ดีจริง\",\"score\":0.4,\"polarity\":\"pos\",\"like\":3,\"comment\":1,\"shared\":0,\"date_time\":\"2026-11-01 08:00\",\"img_src\":\"\",\"url\":\"https://f.example\"}]",
            "JSON array (utf-8)",
            "text=text, time=date_time, id=id",
        ),
        ("plain.txt", "อร่อย, คุ้ม, ไปอีก\nรอนาน; ไม่ไหว\n", "a text a line (utf-8)", "text=text"),
        (
            "form.csv",
            "ประทับเวลา,อายุ,จังหวัด,ท่านมีข้อเสนอแนะหรือความคิดเห็นเพิ่มเติมหรือไม่\n\
             \"1/10/2026, 9:05:12\",31,กรุงเทพมหานคร,ช้า\n\"2/10/2026, 19:05:12\",20,นครศรีธรรมราช,อยากให้มีที่จอดรถมากกว่านี้\n",
            "CSV (comma, with a header, utf-8)",
            "text=ท่านมีข้อเสนอแนะหรือความคิดเห็นเพิ่มเติมหรือไม่, time=ประทับเวลา",
        ),
        (
            "excel.csv",
            "sep=;\r\nข้อเสนอแนะ;วันที่\r\nดี, คุ้ม;5 ต.ค. 2569\r\n",
            "CSV (semicolon, with a header, utf-8)",
            "text=ข้อเสนอแนะ, time=วันที่",
        ),
        (
            "labels.csv",
            "ส่งช้ามากค่ะ,ทรู\nสัญญาณดีทั้งวัน,ดีแทค\nเน็ตหลุดบ่อย,ทรู\n",
            "CSV (comma, without a header, utf-8)",
            "text=column_1",
        ),
        (
            "us.csv",
            "shop,review,date,stars\nก,อาหารอร่อยมาก,10/01/2026,★★★★★\nข,รอนานไปหน่อย,10/13/2026,★★☆☆☆\n",
            "CSV (comma, with a header, utf-8)",
            "text=review, brand=shop, time=date (month first), rating=stars",
        ),
        (
            "title.csv",
            "สรุปรีวิวเดือนตุลาคม,,\n,,\nวันที่,รีวิว,คะแนน\n1/10/2569,อร่อยมาก,5\n2/10/2569,รอนาน,2\n",
            "CSV (comma, with a header after 2 rows of titles, utf-8)",
            "text=รีวิว, time=วันที่, rating=คะแนน",
        ),
        (
            "lists.jsonl",
            "{\"text\":[\"a\"],\"review\":null,\"comment\":\"ดีมาก\"}\n",
            "JSON Lines (utf-8)",
            "text=comment",
        ),
        (
            "tabs.txt",
            "text\tstars\nอร่อยมาก\t5\nไม่ไปอีก\t1\n",
            "CSV (tab, with a header, utf-8)",
            "text=text, rating=stars",
        ),
        (
            "unnamed.csv",
            "a1|ส่งของช้ามาก รอเป็นอาทิตย์|10\na2|แพ็กดี ของไม่บุบ|12\n",
            "CSV (\'|\', without a header, utf-8)",
            "text=column_2",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let source = survey(&file(&folder, name, content.as_bytes()));
        assert_eq!(source.dialect.name(), dialect, "{name}");
        let mut found = Columns::find(&source.columns, &source.sample, &[]).expect("columns");
        found.settle_days(&source).expect("readable");
        assert_eq!(found.to_string(), columns, "{name}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = survey(&file(&folder, "us.csv", b"text,date\na,10/01/2026\nb,10/13/2026\n"));
    let mut columns = Columns::find(&source.columns, &source.sample, &[]).expect("columns");
    columns.settle_days(&source).expect("readable");
    let days: Vec<String> = source
        .sample
        .iter()
        .map(|cells| columns.time(cells).expect("a cell").expect("a time").to_string())
        .collect();
    assert_eq!(days, ["2026-09-30T17:00:00Z", "2026-10-12T17:00:00Z"]);
    let source = survey(&file(&folder, "shopee.csv", shopee.as_bytes()));
    let found = rows(&source);
    assert_eq!(found[0]["Comment"], "ส่งไวมาก\nของตรงปก");
    assert_eq!(found[0]["Detail Rating"], "product_quality: 5\nseller_service: 5");
    assert_eq!((found.len(), &found[1]["Comment"]), (2, &json!("")));
}

#[test]
fn letters_are_found_and_a_few_wrong_bytes_change_nothing() {
    let text = "ข้อความ;ดาว\r\nอร่อยมาก;5\r\nไม่ไปอีกแล้ว;1\r\n";
    let cp874 = Charset::Cp874.encoding().encode(text).0.into_owned();
    let utf16: Vec<u8> =
        [0xFF, 0xFE].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let marked = ["\u{FEFF}", text].concat().into_bytes();
    for (bytes, letters) in
        [(text.as_bytes().to_vec(), "utf-8"), (marked, "utf-8"), (cp874, "cp874"), (utf16, "utf-16le")]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let source = survey(&file(&folder, "dump.csv", &bytes));
        assert_eq!(source.dialect.charset.name(), letters);
        assert_eq!(
            rows(&source),
            [json!({ "ข้อความ": "อร่อยมาก", "ดาว": "5" }), json!({ "ข้อความ": "ไม่ไปอีกแล้ว", "ดาว": "1" })],
            "{letters}"
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut damaged = "text\nของดีมากราคาไม่แพงเลย ส่งไวด้วย\n".repeat(40).into_bytes();
    damaged.push(0xFF);
    assert_eq!(survey(&file(&folder, "damaged.csv", &damaged)).dialect.charset.name(), "utf-8");
    // A tool that cuts by bytes spoils a character of each row.
    let row = "ของดีมากราคาไม่แพงเลย".as_bytes();
    let cut: Vec<u8> = (0..60).flat_map(|_| [&row[..row.len() - 1], b"\n"].concat()).collect();
    assert_eq!(survey(&file(&folder, "cut.csv", &cut)).dialect.charset.name(), "utf-8");
    let few = [b"order 1,ok\n".repeat(300), Charset::Cp874.encoding().encode("order 2,ดี\n").0.into_owned()];
    assert_eq!(survey(&file(&folder, "few.csv", &few.concat())).dialect.charset.name(), "cp874");
    let unicode_text: Vec<u8> =
        "\u{FEFF}ข้อความ\tดาว\r\nอร่อยมาก\t5\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let source = survey(&file(&folder, "excel.txt", &unicode_text));
    assert_eq!(source.dialect.name(), "CSV (tab, with a header, utf-16le)");
    assert_eq!(rows(&source), [json!({ "ข้อความ": "อร่อยมาก", "ดาว": "5" })]);
}

#[test]
fn what_is_no_text_is_refused_by_its_name() {
    let workbook = "is an Excel workbook; save it as CSV UTF-8 and give that";
    for (bytes, problem) in [
        (b"PK\x03\x04....[Content_Types].xml".as_slice(), workbook),
        (b"PK\x03\x04....xl/workbook.xml", workbook),
        (b"PK\x03\x04....reviews.csv", "is a zip archive; unpack it first"),
        (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", workbook),
        (b"%PDF-1.7\n", "is a PDF"),
        (b"BZh91AY&SY", "is compressed by bzip2; unpack it, or use .gz or .zst"),
        (b"\xFD7zXZ\0\0", "is compressed by xz; unpack it, or use .gz or .zst"),
        (&[b'a', 0, 0, 0].repeat(40), "is no text"),
        (
            b"{\n  \"reviews\": [\n    {\"text\": \"a\"}\n  ]\n}\n",
            "is one JSON object; give the array in it, e.g. jq '.reviews' ",
        ),
        (b"", "is empty"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Source::survey(&file(&folder, "dump.csv", bytes), "dump", Given::default());
        let error = error.expect_err(problem);
        assert!(matches!(error, DumpError::NoInput(_) | DumpError::Empty(_)), "{error:?}");
        assert!(error.to_string().starts_with(&format!("dump {problem}")), "{error}");
    }
}

#[test]
fn what_is_said_goes_before_what_is_found() {
    let csv = Some(Format::Csv { delimiter: b',', header: true, titles: 0 });
    for (name, content, given, dialect) in [
        (
            "a.csv",
            "opinion\nดี\n",
            Given { format: csv, ..Given::default() },
            "CSV (comma, with a header, utf-8)",
        ),
        (
            "a.txt",
            "opinion\nดี\n",
            Given { header: Some(true), ..Given::default() },
            "CSV (comma, with a header, utf-8)",
        ),
        (
            "b.txt",
            "x;y\nดี;1\n",
            Given { delimiter: Some(b';'), ..Given::default() },
            "CSV (semicolon, with a header, utf-8)",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let source = Source::survey(&file(&folder, name, content.as_bytes()), "dump", given).expect("a dump");
        assert_eq!((source.dialect.name().as_str(), rows(&source).len()), (dialect, 1), "{name}");
    }
}

#[test]
fn numbers_of_json_come_back_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    for number in ["0.30000000000000004", "1.7976931348623157e308", "5e-324", "123456789.12345678"] {
        let line = format!("{{\"text\":\"a\",\"n\":{number}}}");
        let source = survey(&file(&folder, "numbers.jsonl", line.as_bytes()));
        let back = serde_json::to_string(&rows(&source)[0]["n"]).expect("JSON");
        // It writes "e+308".
        assert_eq!(back.replace('+', ""), number);
    }
}

#[test]
fn a_file_that_changes_is_told_from_one_that_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = file(&folder, "dump.csv", b"text\na\n");
    let source = survey(&path);
    file(&folder, "dump.csv", b"text\na\nb\n");
    let error = items(&source).expect_err("it has grown");
    assert_eq!(error.to_string(), "dump, at its end: has changed while it was read");

    let packed = Compression::Gzip.pack(b"text\na\n".repeat(1000)).expect("packed");
    let source = survey(&file(&folder, "dump.gz", &packed));
    file(&folder, "dump.gz", &packed[..packed.len() / 2]);
    let error = items(&source).expect_err("it is cut");
    assert!(matches!(error, DumpError::Broken { .. }), "{error:?}");

    struct Fails;
    impl std::io::Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(5))
        }
    }
    let table = Format::Csv { delimiter: b',', header: true, titles: 0 };
    for (format, begun) in
        [(table, "a\n1\n"), (Format::Text, "a\n"), (Format::JsonLines, "{}\n"), (Format::JsonArray, "[{},")]
    {
        let reader = std::io::Read::chain(begun.as_bytes(), Fails);
        let reader = read::Counted::new(Box::new(reader), &Reading::default());
        let fault =
            read::read(format, Charset::Utf8, Limits::default(), reader, &mut |_| ControlFlow::Continue(()));
        let code = fault.err().and_then(|fault| fault.cause.raw_os_error());
        assert_eq!(code, Some(5), "{format:?}");
    }
}

#[test]
fn blank_lines_are_no_row_without_an_end() {
    let blank = [" ".repeat(1 << 20), "\n".to_owned()].concat().repeat(66);
    let folder = tempfile::tempdir().expect("a folder");
    let lines = [&blank, "{\"text\":\"a\"}\n"].concat().into_bytes();
    let packed = Compression::Zstd.pack(lines).expect("packed");
    let given = Given { format: Some(Format::JsonLines), limits: Limits::NONE, ..Given::default() };
    let source = Source::survey(&file(&folder, "blank.jsonl.zst", &packed), "dump", given).expect("a dump");
    assert!(rows(&source) == [json!({ "text": "a" })]);
    // A line is a text, also an empty one: the fourth stays the fourth.
    let source = survey(&file(&folder, "gap.txt", "ดี\n\n\nแย่\n".as_bytes()));
    let texts = ["ดี", "", "", "แย่"].map(|text| json!({ "text": text }));
    assert_eq!(rows(&source), texts);
}

#[test]
fn a_quote_that_is_never_closed_is_told() {
    let rest = "b,1\n".repeat(30);
    for (content, told) in [
        (
            format!("text,n\na,1\n\"b,1\n{rest}"),
            vec![
                (2, None),
                (3, Some("begins a quote in line 3 that is never closed; the 30 lines after it are in it")),
            ],
        ),
        // A mark of inches is none, and a last line loses nobody.
        (format!("text,n\n\"{rest}\",1\na 5\" screen,2\n"), vec![(2, None), (33, None)]),
        ("text,n\n1,\"b".to_owned(), vec![(2, None)]),
        (
            "text,n\n1,\"b\nc".to_owned(),
            vec![(2, Some("begins a quote in line 2 that is never closed; the 1 lines after it are in it"))],
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let found = items(&survey(&file(&folder, "open.csv", content.as_bytes()))).expect("readable");
        let found: Vec<(u64, Option<String>)> = found
            .into_iter()
            .map(|item| match item {
                Item::Row(row) => (row.line, None),
                Item::Bad(bad) => (bad.line, Some(bad.reason)),
            })
            .collect();
        let found: Vec<_> = found.iter().map(|(line, reason)| (*line, reason.as_deref())).collect();
        assert_eq!(found, told, "{content}");
    }
}

/// Two ids that are rounded could become one.
#[test]
fn a_number_that_would_be_rounded_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = "{\"text\":\"a\",\"id\":18446744073709551615}\n{\"text\":\"b\",\"id\":123456789012345678901}\n{\"text\":\"c\",\"id\":4.5}\n";
    let found = rows(&survey(&file(&folder, "dump.jsonl", content.as_bytes())));
    let refused = "\"id\" has a number beyond 64 bits, which would be rounded; write it as a string";
    let wanted = [
        json!({ "text": "a", "id": 18_446_744_073_709_551_615_u64 }),
        json!({ "bad": refused }),
        json!({ "text": "c", "id": 4.5 }),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn an_element_that_is_broken_does_not_end_its_array() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = r#"[{"text":"a"},{"text":"\ud83d"},{"text":"c","n":1e999},{"text":"d"}]"#;
    let source = survey(&file(&folder, "dump.json", content.as_bytes()));
    let found: Vec<bool> =
        items(&source).expect("readable").iter().map(|item| matches!(item, Item::Row(_))).collect();
    assert_eq!(found, [true, false, false, true]);
    let source = survey(&file(&folder, "nan.json", b"[{\"text\":\"a\"},\n{\"text\":\"b\",\"n\":NaN}]"));
    let error = items(&source).expect_err("that is no JSON").to_string();
    assert!(error.starts_with("dump, line 2, after row 1: expected value"), "{error}");
}

#[test]
fn moments_are_read_as_tools_write_them() {
    for (text, moment) in [
        ("2026-10-05 09:30:00 +07", "2026-10-05T02:30:00Z"),
        ("2026-10-05T09:30:00Z", "2026-10-05T09:30:00Z"),
        ("2026-10-05 09:30:00 UTC", "2026-10-05T09:30:00Z"),
        ("5/10/2569", "2026-10-04T17:00:00Z"),
        ("05/10/69 9:05", "2026-10-05T02:05:00Z"),
        ("05/10/26 9:05", "2026-10-05T02:05:00Z"),
        ("1/6/2026, 9:05:12", "2026-06-01T02:05:12Z"),
        ("1/6/2026 9:05:12 PM", "2026-06-01T14:05:12Z"),
        ("1/6/2026 12:05 am", "2026-05-31T17:05:00Z"),
        ("9/25/2026, 12:05\u{202F}PM", "2026-09-25T05:05:00Z"),
        ("5 ต.ค. 2569", "2026-10-04T17:00:00Z"),
        ("5 ตุลาคม 2569 09:30", "2026-10-05T02:30:00Z"),
        ("5 ต.ค. 69 เวลา 9:30 น.", "2026-10-05T02:30:00Z"),
        ("วันจันทร์ที่ 5 ตุลาคม 2569", "2026-10-04T17:00:00Z"),
        ("Oct 5, 2026", "2026-10-04T17:00:00Z"),
        ("5 October 2026 9:30", "2026-10-05T02:30:00Z"),
        ("Mon, 5 Oct 2026 09:30:00 GMT", "2026-10-05T09:30:00Z"),
        ("Mon Jan 05 09:00:00 +0000 2026", "2026-01-05T09:00:00Z"),
        ("1791167400", "2026-10-05T02:30:00Z"),
        ("2026/09/01 1:12:00 ก่อนเที่ยง GMT+7", "2026-08-31T18:12:00Z"),
        ("2026/09/01 1:12:00 หลังเที่ยง GMT+7", "2026-09-01T06:12:00Z"),
        ("๒๔/๑๑/๒๕๖๙", "2026-11-23T17:00:00Z"),
    ] {
        assert_eq!(
            crate::text::moment(text, DayOrder::DayFirst).map(|found| found.to_string()).as_deref(),
            Some(moment),
            "{text}"
        );
    }
    for text in ["", "ดีมาก", "เมื่อวาน", "32/10/2026", "5 foo 2026", "Oct", "1.2.3", "5 ต.ค.", "Mon", "9:30"]
    {
        assert_eq!(crate::text::moment(text, DayOrder::DayFirst), None, "{text}");
    }
}

#[test]
fn what_is_no_row_is_told_by_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let source =
        survey(&file(&folder, "ragged.csv", b"id,text,stars\n1,a,5,,\n2,b\n\"3\n\",c,4,d\n4,\"e\n\",1\n"));
    let found: Vec<(u64, String)> = items(&source)
        .expect("readable")
        .into_iter()
        .map(|item| match item {
            Item::Row(row) => (row.line, serde_json::to_string(&row.cells).expect("JSON")),
            Item::Bad(bad) => (bad.line, bad.reason),
        })
        .collect();
    let told = |line, text: &str| (line, text.to_owned());
    assert_eq!(
        found,
        [
            told(2, r#"{"id":"1","text":"a","stars":"5"}"#),
            told(3, r#"{"id":"2","text":"b"}"#),
            told(4, "has 4 cells where the first row has 3: a quote or a separator is missing"),
            told(6, r#"{"id":"4","text":"e\n","stars":"1"}"#),
        ]
    );

    let lines = b"{\"text\":\"a\"}\n\n{\"text\":\n[1]\n{\"text\":\"b\"}";
    let source = survey(&file(&folder, "broken.jsonl", lines));
    let found: Vec<(u64, bool)> = items(&source)
        .expect("readable")
        .into_iter()
        .map(|item| match item {
            Item::Row(row) => (row.line, true),
            Item::Bad(bad) => (bad.line, false),
        })
        .collect();
    assert_eq!(found, [(1, true), (3, false), (4, false), (5, true)]);

    let source = survey(&file(&folder, "broken.json", b"[{\"text\":\"a\"},7,{\"text\":\"b\"},{\"tex"));
    let mut seen = 0;
    let error = source
        .read(&Reading::default(), &mut |_| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .expect_err("it ends in its middle");
    assert_eq!(seen, 3);
    assert!(error.to_string().starts_with("dump, line 1, after row 3: EOF"), "{error}");
}

#[test]
fn every_compression_is_read_also_in_several_parts() {
    let (first, second) = ("{\"text\":\"ดี\"}\n", "{\"text\":\"แย่\"}\n");
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let folder = tempfile::tempdir().expect("a folder");
        let parts = [first, second].map(|part| compression.pack(part.into()).expect("packed"));
        // Without an ending that tells: the bytes do.
        let source = survey(&file(&folder, "dump", &parts.concat()));
        assert_eq!(source.compression, compression);
        assert_eq!(rows(&source), [json!({ "text": "ดี" }), json!({ "text": "แย่" })]);
        assert_eq!(source.bytes, (first.len() + second.len()) as u64);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut packed = Compression::Gzip.pack(first.repeat(1000).into()).expect("packed");
    packed.truncate(packed.len() / 2);
    let error = Source::survey(&file(&folder, "cut.gz", &packed), "dump", Given::default());
    assert!(matches!(error, Err(DumpError::File { .. })), "{error:?}");
}

#[test]
fn folders_and_patterns_stand_for_their_dumps() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("sub")).expect("made");
    for name in ["b.csv", "a.jsonl.gz", "sub/c.parquet", "notes.md", "out.jsonl", "sub/d.tsv.zst"] {
        file(&folder, name, b"x");
    }
    let names = |found: Result<Vec<PathBuf>, DumpError>| -> Vec<String> {
        let inside = |path: PathBuf| path.strip_prefix(folder.path()).expect("inside").display().to_string();
        found.expect("found").into_iter().map(inside).collect()
    };
    let but_out = |path: &Path| path.ends_with("out.jsonl");
    let all = names(find(&[folder.path().to_owned()], but_out));
    assert_eq!(all, ["a.jsonl.gz", "b.csv", "sub/c.parquet", "sub/d.tsv.zst"]);
    let pattern = folder.path().join("*.csv");
    assert_eq!(names(find(std::slice::from_ref(&pattern), but_out)), ["b.csv"]);
    assert!(find(&[folder.path().join("*.xls")], but_out).is_err());
    let empty = tempfile::tempdir().expect("a folder");
    assert!(find(&[empty.path().to_owned()], but_out).is_err());
}

#[test]
fn stars_are_read_as_dumps_write_them() {
    for (text, stars) in [
        ("5", Some(5)),
        ("4.0", Some(4)),
        ("4.5", Some(4)),
        ("3/5", Some(3)),
        ("1 ดาว", Some(1)),
        ("2 stars", Some(2)),
        ("Excellent", Some(5)),
        ("แย่มาก", Some(1)),
        ("0", None),
        ("10", None),
        ("5 คน", None),
        ("๔", Some(4)),
        ("★★★☆☆", Some(3)),
        ("⭐⭐⭐⭐⭐", Some(5)),
        ("", None),
        ("nan", None),
    ] {
        assert_eq!(customary_rating(text), stars, "{text}");
    }
}

#[test]
fn columns_may_be_said_and_what_is_not_there_is_told() {
    let names: Vec<String> = ["Comment", "note"].map(str::to_owned).into();
    let find = |given: &[(Role, &str)]| {
        let given: Vec<_> = given.iter().map(|(role, name)| (*role, (*name).to_owned())).collect();
        Columns::find(&names, &[], &given).map(|found| found.to_string()).map_err(|error| error.to_string())
    };
    assert_eq!(find(&[]), Ok("text=Comment".to_owned()));
    assert_eq!(
        find(&[(Role::Text, "note"), (Role::Brand, "Comment")]),
        Ok("text=note, brand=Comment".to_owned())
    );
    assert_eq!(
        find(&[(Role::Text, "body")]),
        Err("there is no column \"body\" for text; there are: Comment, note".to_owned())
    );
    assert!(find(&[(Role::Text, "")]).is_err());
}

#[test]
fn parquet_that_pyarrow_wrote_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reviews.parquet");
    let source = survey(&path);
    let found = Columns::find(&source.columns, &source.sample, &[]).expect("columns");
    assert_eq!(
        found.to_string(),
        "text=review_text, brand=shop_name, time=created_at, rating=stars, id=review_id"
    );
    assert_eq!(
        rows(&source),
        [
            json!({
                "review_id": 1, "review_text": "ส่งไวมาก ประทับใจ", "shop_name": "ร้านป้าแดง", "stars": 5,
                "price": 129.5, "verified": true, "created_at": "2026-11-01T09:30:00", "day": "2026-11-01",
                "tags": ["ส่งไว", "คุ้ม"], "seen": "2026-11-01T02:30:00.000000001Z"
            }),
            json!({
                "review_id": 2, "review_text": null, "shop_name": "ร้านป้าแดง", "stars": 1, "price": null,
                "verified": false, "created_at": null, "day": null, "tags": null, "seen": null
            }),
        ]
    );
}

#[test]
fn parquet_keeps_what_it_is_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows_in = [
        json!({ "text": "ดี", "n": 1, "x": 1, "yes": true, "more": [1, 2], "mixed": 1, "at": "2026-11-01T02:30:00Z", "day": "1969-12-31", "local": "2026-11-01T09:30:00.5", "none": null }),
        json!({ "text": "แย่", "n": -9_007_199_254_740_993_i64, "x": 0.5, "yes": false, "more": null, "mixed": "a" }),
        json!({ "text": "", "late": "new" }),
    ];
    let lines: Vec<String> = rows_in.iter().map(Value::to_string).collect();
    let from = file(&folder, "rows.jsonl", lines.join("\n").as_bytes());
    let to = folder.path().join("rows.parquet");
    let moments = [
        ("at".to_owned(), Moment::Stamp { utc: true }),
        ("day".to_owned(), Moment::Date),
        ("local".to_owned(), Moment::Stamp { utc: false }),
    ];
    from_json_lines(&from, &to, &moments, 100).expect("written");
    let source = survey(&to);
    assert_eq!(source.times, moments);
    let found = rows(&source);
    assert_eq!(
        found[0],
        json!({ "text": "ดี", "n": 1, "x": 1.0, "yes": true, "more": "[1,2]", "mixed": "1", "at": "2026-11-01T02:30:00Z", "day": "1969-12-31", "local": "2026-11-01T09:30:00.5", "none": null, "late": null })
    );
    assert_eq!(found[1]["n"], json!(-9_007_199_254_740_993_i64));
    assert_eq!((&found[1]["mixed"], &found[2]["late"]), (&json!("a"), &json!("new")));
    let again = folder.path().join("again.parquet");
    from_json_lines(&from, &again, &moments, 100).expect("written");
    assert_eq!(
        fs::read(&to).expect("read"),
        fs::read(&again).expect("read"),
        "the same rows are the same bytes"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), start in prop_oneof![Just(""), Just("{\"text\":"), Just("[{"), Just("a,b\n"), Just("\""), Just("PAR1")]) {
        let mut dump = tempfile::NamedTempFile::new().expect("a file");
        dump.write_all(start.as_bytes()).expect("written");
        dump.write_all(&bytes).expect("written");
        if let Ok(source) = Source::survey(dump.path(), "dump", Given::default()) {
            let found = Columns::find(&source.columns, &source.sample, &[]);
            prop_assert!(found.is_ok() || source.sample.len() < 200);
            drop(items(&source));
        }
    }

    #[test]
    fn csv_gives_back_what_was_put_in(cells in proptest::collection::vec(("[ก-๙a-z ,;\"\n\r\t|]{0,12}", "[ก-๙a-z]{1,12}"), 1..20)) {
        let columns = ["text".to_owned(), "author".to_owned()];
        let table: Vec<Cells> = cells.iter().map(|(text, author)| {
            Cells::from_iter([("text".to_owned(), json!(text)), ("author".to_owned(), json!(author))])
        }).collect();
        let bytes = encode_rows(Ending::Csv(Compression::None), &columns, true, &table, |_| false).expect("written");
        let mut dump = tempfile::NamedTempFile::new().expect("a file");
        dump.write_all(&bytes).expect("written");
        let given = Given { format: Some(Format::Csv { delimiter: b',', header: true, titles: 0 }), delimiter: Some(b','), header: Some(true), charset: Some(Charset::Utf8), limits: Limits::default() };
        let source = Source::survey(dump.path(), "dump", given).expect("a dump");
        let wanted: Vec<Value> = table.into_iter().map(Value::Object).collect();
        prop_assert_eq!(rows(&source), wanted);
    }
}
