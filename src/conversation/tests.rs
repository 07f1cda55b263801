//! Exports of every kind, and what is read out of them.

use super::*;

mod course;
mod names;

/// One line for each message: time in Bangkok, sender, what it is.
fn shown(transcript: &Transcript) -> Vec<String> {
    let line = |message: &Message| {
        let time = message
            .time
            .map(|time| jiff::tz::offset(7).to_datetime(time).strftime("%Y-%m-%d %H:%M").to_string());
        let sender = message.sender.name().unwrap_or("-");
        let body = match &message.body {
            Body::Text(text) => text.replace('\n', "⏎"),
            Body::Sticker(_) => "(sticker)".to_owned(),
            Body::Media(media) => format!("({media:?})"),
            Body::Notice(text) => format!("(notice) {text}"),
            Body::Unsent => "(unsent)".to_owned(),
        };
        format!("{} {sender}: {body}", time.unwrap_or_default())
    };
    transcript.messages.iter().map(line).collect()
}

fn check(text: &str, format: Format, wanted: &[&str]) {
    let transcript = read(text.as_bytes(), None).expect("a chat history");
    assert_eq!(transcript.format, format);
    assert_eq!(shown(&transcript), wanted, "of {text}");
    assert_eq!(transcript.skipped, [], "of {text}");
}

#[test]
fn a_thai_export_with_tabs_is_read() {
    let text = "[LINE] ประวัติการแชทในกลุ่ม \"ร้านดอกไม้\"\nบันทึกเมื่อ 04/09/2569 07:48\n\nศ. 28/11/2568\n08:54\t\tสมชาย เพิ่ม สมหญิง เข้ากลุ่ม\n\
        08:55\tสมชาย\tสวัสดีครับ\n09:00\tสมหญิง\t[รูป]\n09:01\tสมหญิง\t[สติกเกอร์]\n09:02\tสมชาย\t\"บรรทัดแรก\n10:30 บรรทัดสอง\n\nบรรทัดสี่\"\n\
        09:03\tสมชาย\t\"ไม่ปิด\n09:04\t\tสมหญิงยกเลิกข้อความแล้ว\n\nส. 29/11/2568\n00:10\tสมหญิง\tดึกแล้ว\n";
    check(
        text,
        Format::LineTabs,
        &[
            "2025-11-28 08:54 -: (notice) สมชาย เพิ่ม สมหญิง เข้ากลุ่ม",
            "2025-11-28 08:55 สมชาย: สวัสดีครับ",
            "2025-11-28 09:00 สมหญิง: (Image)",
            "2025-11-28 09:01 สมหญิง: (sticker)",
            "2025-11-28 09:02 สมชาย: บรรทัดแรก⏎10:30 บรรทัดสอง⏎⏎บรรทัดสี่",
            "2025-11-28 09:03 สมชาย: \"ไม่ปิด",
            "2025-11-28 09:04 -: (unsent)",
            "2025-11-29 00:10 สมหญิง: ดึกแล้ว",
        ],
    );
}

#[test]
fn dates_and_times_of_every_kind_are_read() {
    // head, date line, time; all are the same minute
    for (head, date, time) in [
        ("[LINE] ประวัติการแชทกับ สมชาย\nบันทึกเมื่อ: 2026/09/20 14:30\n", "ศ. 25/09/2569", "21:03"),
        ("[LINE] ประวัติแชทกับ สมชาย\nบันทึกวันที่ 2024/01/15 10:30\n", "2026/09/25 (ศ)", "21:03"),
        ("[LINE] ประวัติการสนทนากับ สมชาย\nบันทึกเมื่อ 04/09/2569 07:48\n", "2026/09/25 ศุกร์", "21:03"),
        ("[LINE] Chat history with Somchai\nSaved on: 2020/12/31 23:59\n", "Fri, 9/25/2026", "21:03"),
        ("[LINE] Chat history with Somchai\nSaved on: 9/26/2026, 11:00\n", "Fri, 9/25/2026", "9:03 PM"),
        ("Chat history in Team\nSaved on: 26/09/2026, 11:00\n", "Fri, 25/9/2026", "09:03PM"),
        ("Chat history in Team\n", "2026/09/25(Fri)", "9:03 pm"),
        ("Chat history in Team\n", "2026.09.25 Friday", "21:03"),
        ("\u{FEFF}[LINE] Chat history with \u{2068}Somchai\u{2069}\r\n", "วันศุกร์ที่ 25/09/2569", "21:03"),
    ] {
        for newline in ["\n", "\r\n"] {
            let text =
                format!("{head}\n{date}\n{time}\tสมชาย\tสวัสดี\n").replace("\r\n", "\n").replace('\n', newline);
            check(&text, Format::LineTabs, &["2026-09-25 21:03 สมชาย: สวัสดี"]);
        }
    }
    // Midnight and noon of twelve hours.
    for (time, wanted) in [("12:05 AM", "00:05"), ("12:05 PM", "12:05"), ("11:59 PM", "23:59")] {
        let text = format!("[LINE] Chat history with A\n\nFri, 9/25/2026\n{time}\tA\thi\n");
        check(&text, Format::LineTabs, &[&format!("2026-09-25 {wanted} A: hi")]);
    }
}

#[test]
fn the_order_of_day_and_month_is_that_of_the_weekdays_of_the_file() {
    // 3 April 2026 was a Friday; 4 March a Wednesday.
    let of = |dates: [&str; 2]| {
        let text = format!("Chat history with A\n\n{}\n10:00\tA\tx\n{}\n10:00\tA\ty\n", dates[0], dates[1]);
        shown(&read(text.as_bytes(), None).expect("a chat history"))
    };
    assert_eq!(of(["Fri, 4/3/2026", "Sun, 4/5/2026"]), ["2026-04-03 10:00 A: x", "2026-04-05 10:00 A: y"]);
    assert_eq!(of(["Fri, 3/4/2026", "Sun, 5/4/2026"]), ["2026-04-03 10:00 A: x", "2026-04-05 10:00 A: y"]);
}

#[test]
fn exports_with_spaces_are_read_by_the_names_they_repeat() {
    let thai = "2025.05.15 วันพฤหัสบดี\n08:35 สมหญิง สวัสดีค่ะ\n08:37 สมหญิง รูป\n08:38 สมหญิง ขอสอบถามค่ะ\n08:39 พี่ แอน ร้านดอกไม้ ได้เลยค่ะ\n\
        08:40 ยกเลิกข้อความแล้ว\n08:41 สมชาย ไม่ได้รับสาย\n08:42 พี่ แอน ร้านดอกไม้ บรรทัดแรก\nบรรทัดสอง\n\n08:43 พี่ แอน ร้านดอกไม้ โทรกลับนะคะ\n08:44 สมชาย ครับ\n";
    check(
        thai,
        Format::LineSpaces,
        &[
            "2025-05-15 08:35 สมหญิง: สวัสดีค่ะ",
            "2025-05-15 08:37 สมหญิง: (Image)",
            "2025-05-15 08:38 สมหญิง: ขอสอบถามค่ะ",
            "2025-05-15 08:39 พี่ แอน ร้านดอกไม้: ได้เลยค่ะ",
            "2025-05-15 08:40 -: (unsent)",
            "2025-05-15 08:41 สมชาย: (Call)",
            "2025-05-15 08:42 พี่ แอน ร้านดอกไม้: บรรทัดแรก⏎บรรทัดสอง",
            "2025-05-15 08:43 พี่ แอน ร้านดอกไม้: โทรกลับนะคะ",
            "2025-05-15 08:44 สมชาย: ครับ",
        ],
    );
    let english = "2017.09.03 Sunday\n09:30 Ann Photos\n09:31 Ann Stickers\n09:32 Ann hello there\n09:33 Bob unsent a message.\n09:34 Bob Missed call\n";
    check(
        english,
        Format::LineSpaces,
        &[
            "2017-09-03 09:30 Ann: (Image)",
            "2017-09-03 09:31 Ann: (sticker)",
            "2017-09-03 09:32 Ann: hello there",
            "2017-09-03 09:33 -: (unsent)",
            "2017-09-03 09:34 Bob: (Call)",
        ],
    );
}

#[test]
fn placeholders_are_known_and_words_like_them_are_words() {
    for (text, wanted) in [
        ("[วิดีโอ]", "(Video)"),
        ("[Voice message]", "(Audio)"),
        ("[ไฟล์]", "(File)"),
        ("[ตำแหน่ง]", "(Location)"),
        ("https://maps.google.com/maps?q=13.7,100.5", "(Location)"),
        ("[ผู้ติดต่อ]", "(Contact)"),
        ("[โหวต]", "(Other)"),
        ("☎ 1:23", "(Call)"),
        ("ยกเลิกข้อความแล้ว", "(unsent)"),
        ("[สติกเกอร์]", "(sticker)"),
        ("รูปสวยมาก", "รูปสวยมาก"),
        ("ส่งไฟล์ให้แล้วค่ะ", "ส่งไฟล์ให้แล้วค่ะ"),
    ] {
        let line = format!("[LINE] Chat history with A\n\nFri, 9/25/2026\n10:00\tA\t{text}\n");
        check(&line, Format::LineTabs, &[&format!("2026-09-25 10:00 A: {wanted}")]);
    }
    for notice in ["A joined the chat.", "A left the group.", "A made an announcement."] {
        let line = format!("[LINE] Chat history in B\n\nFri, 9/25/2026\n10:00\t{notice}\n");
        check(&line, Format::LineTabs, &[&format!("2026-09-25 10:00 -: (notice) {notice}")]);
    }
}

#[test]
fn the_letters_of_a_file_are_found_out() {
    let text = "[LINE] ประวัติการแชทกับ สมชาย\n\nศ. 25/09/2569\n21:03\tสมชาย\tสวัสดีครับ\n";
    let utf16 = |big: bool, mark: bool| -> Vec<u8> {
        let units = mark.then_some(0xFEFF).into_iter().chain(text.encode_utf16());
        units.flat_map(|unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let cp874 = encoding_rs::WINDOWS_874.encode(text).0.into_owned();
    for (bytes, charset) in [
        (text.as_bytes().to_vec(), Charset::Utf8),
        ([b"\xEF\xBB\xBF", text.as_bytes()].concat(), Charset::Utf8),
        (cp874, Charset::Cp874),
        (utf16(false, true), Charset::Utf16Le),
        (utf16(true, true), Charset::Utf16Be),
        (utf16(false, false), Charset::Utf16Le),
        (utf16(true, false), Charset::Utf16Be),
    ] {
        let transcript = read(&bytes, None).expect("a chat history");
        assert_eq!(transcript.charset, charset);
        assert_eq!(shown(&transcript), ["2026-09-25 21:03 สมชาย: สวัสดีครับ"]);
    }
}

#[test]
fn what_is_not_understood_is_counted_with_its_line() {
    let text = "[LINE] Chat history with A\n\n09:00\tA\ttoo early\nFri, 9/25/2026\nloose words\n10:00\tA\t[Photo]\nafter a photo\n10:01\tA\tok\n";
    let transcript = read(text.as_bytes(), None).expect("a chat history");
    assert_eq!(shown(&transcript), ["2026-09-25 10:00 A: (Image)", "2026-09-25 10:01 A: ok"]);
    let skipped: Vec<_> = transcript.skipped.iter().map(|skipped| (skipped.line, skipped.reason)).collect();
    assert_eq!(
        skipped,
        [
            (3, "a message before the first date"),
            (5, "text before the first message"),
            (7, "text after what holds no text"),
        ]
    );
    for text in ["", "hello", "Fri, 9/25/2026", "10:00\tA\tno date", "\u{0}\u{1}"] {
        assert_eq!(read(text.as_bytes(), None), Err(ReadError::Unknown), "{text:?}");
    }
}

#[test]
fn downloads_of_official_accounts_are_read_in_their_own_zone() {
    let text = "\u{FEFF}Account name,ร้านดอกไม้\r\nTime zone,'+09:00'\r\nDownloaded on,2026/09/26 10:00\r\n\
        Sender type,Sender name,Date,Time,Message\r\nUser,Somchai,2026/09/25,11:00:05,\"สวัสดีค่ะ\nมีของไหมคะ\"\r\n\
        Account,Auto-response,2026/09/25,11:00:06,ขอบคุณที่ติดต่อเรา\r\nAccount,Unknown,2026/09/25,11:00:07,โปรวันนี้\r\n\
        Account,แอน,2026/09/25,11:05:00,มีค่ะ\r\nUser,Somchai,2026/09/25,11:06:00,You sent a sticker.\r\n\
        User,Somchai,2026/13/45,11:06:00,bad date\r\nSomebody,X,2026/09/25,11:06:00,bad type\r\nUser,Somchai\r\n";
    let transcript = read(text.as_bytes(), None).expect("a download");
    assert_eq!(transcript.format, Format::OfficialAccount);
    assert_eq!(
        shown(&transcript),
        [
            "2026-09-25 09:00 Somchai: สวัสดีค่ะ⏎มีของไหมคะ",
            "2026-09-25 09:00 Auto-response: ขอบคุณที่ติดต่อเรา",
            "2026-09-25 09:00 Unknown: โปรวันนี้",
            "2026-09-25 09:05 แอน: มีค่ะ",
            "2026-09-25 09:06 Somchai: (sticker)",
        ]
    );
    let kinds: Vec<_> = transcript.messages.iter().map(|message| &message.sender).collect();
    assert!(matches!(
        kinds.as_slice(),
        [Sender::User(_), Sender::Bot(_), Sender::Bot(_), Sender::Account(_), Sender::User(_)]
    ));
    let skipped: Vec<_> = transcript.skipped.iter().map(|skipped| skipped.line).collect();
    assert_eq!(skipped, [11, 12, 13], "{:?}", transcript.skipped);
    let bad = "Account name,x\nTime zone,'Tokyo'\n";
    assert_eq!(read(bad.as_bytes(), None), Err(ReadError::TimeZone { line: 2 }));
    assert!(matches!(read(b"Account name,x\n", None), Err(ReadError::Columns { .. })));
}

#[test]
fn webhooks_are_read_once_and_what_is_taken_back_is_gone() {
    let event = |id: &str, rest: &str| {
        format!(
            r#"{{"mode":"active","timestamp":1790000000000,"webhookEventId":"{id}","source":{{"type":"user","userId":"U1"}},{rest}}}"#
        )
    };
    let text = |id: &str, words: &str| {
        event(id, &format!(r#""type":"message","message":{{"type":"text","id":"m{id}","text":"{words}"}}"#))
    };
    let sticker =
        event("2", r#""type":"message","message":{"type":"sticker","id":"m2","keywords":["Happy","Yes"]}"#);
    let unsend = event("3", r#""type":"unsend","unsend":{"messageId":"m1"}"#);
    let follow = event("4", r#""type":"follow""#);
    let nobody = event("5", r#""type":"unsend","unsend":{"messageId":"m9"}"#);
    let calls = [
        format!(r#"{{"destination":"U0","events":[{},{sticker}]}}"#, text("1", "แย่มาก")),
        r#"{"destination":"U0","events":[]}"#.to_owned(),
        format!(
            r#"{{"destination":"U0","events":[{},{unsend},{follow},{nobody},{{}}]}}"#,
            text("1", "แย่มาก")
        ),
        format!(r#"{{"destination":"U0","events":[{}]}}"#, text("6", "ขอบคุณค่ะ")),
    ];
    for joined in [calls.join("\n"), format!("[{}]", calls.join(","))] {
        let transcript = read(joined.as_bytes(), None).expect("webhook calls");
        assert_eq!(transcript.format, Format::Webhook);
        let bodies: Vec<_> = transcript.messages.iter().map(|message| message.body.clone()).collect();
        let moods = vec!["Happy".to_owned(), "Yes".to_owned()];
        assert_eq!(bodies, [Body::Unsent, Body::Sticker(moods), Body::Text("ขอบคุณค่ะ".to_owned())]);
        let skipped: Vec<_> = transcript.skipped.iter().map(|skipped| skipped.line).collect();
        assert_eq!(skipped, [6, 7], "{:?}", transcript.skipped);
    }
}

#[test]
fn tables_of_messages_are_read_whatever_their_marks() {
    let json = r#"[{"role":"customer","time":"2026-09-25T09:00:00+07:00","text":"สวัสดี"},{"role":"agent","sender":"แอน","time":1790301600,"text":"ค่ะ"}]"#;
    let lines = json.trim_matches(['[', ']']).replace("},{", "}\n{");
    let csv = "role,sender,time,text\ncustomer,,2026-09-25 09:00,สวัสดี\nagent,แอน,2026-09-25T02:00:00Z,ค่ะ\n";
    for (text, format) in [
        (json.to_owned(), Format::Json),
        (lines, Format::Json),
        (csv.to_owned(), Format::Csv),
        (csv.replace(',', ";"), Format::Csv),
        (csv.replace(',', "\t"), Format::Csv),
    ] {
        let transcript = read(text.as_bytes(), None).expect("a table");
        assert_eq!(transcript.format, format);
        assert_eq!(shown(&transcript), ["2026-09-25 09:00 -: สวัสดี", "2026-09-25 09:00 แอน: ค่ะ"], "of {text}");
    }
    let bad = "sender,text,time\nA,hi,yesterday\nA,,2026-09-25 09:00\n,hi,2026-09-25 09:00\nA,hi,2026-09-25 09:00\n";
    let transcript = read(bad.as_bytes(), None).expect("a table");
    assert_eq!(transcript.messages.len(), 1);
    assert_eq!(transcript.skipped.iter().map(|skipped| skipped.line).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(matches!(read(b"{\"a\": }", None), Err(ReadError::Json { line: 1, .. })));
}

mod anything {
    use proptest::prelude::*;

    use super::*;

    /// What lines are made of, in an order that nobody wrote.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("[LINE] Chat history with A\n"),
            Just("Fri, 9/25/2026\n"),
            Just("ศ. 28/11/2568\n"),
            Just("2025.05.15 วันพฤหัสบดี\n"),
            Just("99/99/9999 จ\n"),
            Just("10:00\tA\t"),
            Just("25:61\t"),
            Just("9:30 PM "),
            Just("10:00 "),
            Just("สมชาย "),
            Just("\""),
            Just("\n"),
            Just("\r\n"),
            Just("\t"),
            Just("[รูป]"),
            Just("ยกเลิกข้อความแล้ว"),
            Just("Account name,x\n"),
            Just("Time zone,'+99:99'\n"),
            Just("Time zone,'-2147483648:9'\n"),
            Just("Sender type,Sender name,Date,Time,Message\n"),
            Just("User,A,2026/09/25,11:00:05,hi\n"),
            Just("role,text\n"),
            Just("a;text;time\n"),
            Just("x;y;9e99\n"),
            Just("{\"events\":["),
            Just("{\"type\":\"message\",\"timestamp\":9223372036854775807}"),
            Just("]}"),
            Just("[{\"text\":1,\"role\":\"user\",\"time\":-9223372036854775808}]"),
            Just(","),
        ];
        let piece = prop_oneof![6 => piece.prop_map(str::to_owned), 1 => any::<String>()];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    const FORMATS: [Option<Format>; 7] = [
        None,
        Some(Format::LineTabs),
        Some(Format::LineSpaces),
        Some(Format::OfficialAccount),
        Some(Format::Webhook),
        Some(Format::Json),
        Some(Format::Csv),
    ];

    proptest! {
        #[test]
        fn no_file_makes_a_reader_panic(text in pieces(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let lines = text.lines().count() + bytes.len();
            for format in FORMATS {
                for file in [text.as_bytes(), &bytes] {
                    if let Ok(transcript) = read(file, format) {
                        let numbers = transcript.messages.iter().map(|message| message.line);
                        let mut numbers = numbers.chain(transcript.skipped.iter().map(|skipped| skipped.line));
                        prop_assert!(numbers.all(|line| line <= lines + 1));
                    }
                }
            }
        }
    }
}

mod trajectories {
    #![allow(clippy::indexing_slicing, reason = "the slow way is written the short way")]

    use std::time::Duration;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn felt(role: Role, minute: i64, score: f64) -> Felt {
        Felt { role, time: Timestamp::from_second(minute * 60).ok(), score: Some(score) }
    }

    #[test]
    fn levels_are_told_from_noise() {
        for (values, wanted) in [
            (vec![], vec![]),
            (vec![0.5], vec![]),
            (vec![0.0; 50], vec![]),
            (vec![0.3, 0.2, 0.25, 0.3, -0.8, -0.9, -0.85, -0.8], vec![4]),
            (vec![0.2, 0.3, 0.2, -0.9, -0.8, -0.9, 0.7, 0.8, 0.9], vec![3, 6]),
            // One angry word is no new level.
            (vec![0.2, 0.3, 0.2, -0.9, 0.3, 0.2, 0.3, 0.2], vec![]),
            // A slow wave within the noise.
            ((0..40).map(|at| f64::from(at % 5) * 0.05).collect(), vec![]),
        ] {
            assert_eq!(change_points(&values), wanted, "of {values:?}");
        }
    }

    #[test]
    fn a_chat_that_goes_wrong_and_is_rescued_turns_twice() {
        use Role::{Agent, Bot, Customer};
        let chat = [
            felt(Customer, 0, 0.2),
            felt(Bot, 0, 0.4),
            felt(Customer, 1, 0.1),
            felt(Customer, 2, 0.2),
            felt(Agent, 32, 0.1),
            felt(Customer, 33, -0.9),
            felt(Customer, 34, -0.8),
            felt(Customer, 35, -0.9),
            Felt { score: None, ..felt(Customer, 36, 0.0) },
            felt(Agent, 37, 0.6),
            felt(Customer, 38, 0.7),
            felt(Customer, 39, 0.8),
            felt(Customer, 40, 0.9),
        ];
        let trajectory = Trajectory::of(&chat);
        let customer = trajectory.roles.first().expect("the customer");
        assert_eq!((customer.role, customer.message_count, customer.curve.len()), (Customer, 10, 9));
        let turns: Vec<_> = customer.turning_points.iter().map(|turn| (turn.message, turn.after)).collect();
        assert_eq!(turns, [(5, Some(4)), (10, Some(9))]);
        let levels: Vec<_> =
            customer.turning_points.iter().map(|turn| (turn.from > 0.0, turn.to > 0.0)).collect();
        assert_eq!(levels, [(true, false), (false, true)]);
        assert_eq!(customer.longest_negative_run, (3, Some(5)));
        assert!((customer.opening - 0.5 / 3.0).abs() < 1e-9 && (customer.closing - 0.8).abs() < 1e-9);
        assert!(customer.shift() > 0.6 && !trajectory.unresolved_negative);
        let waits = trajectory.waits.expect("answers");
        assert_eq!((waits.longest, waits.longest_until), (Duration::from_secs(32 * 60), 4));
        assert_eq!(waits.median, Duration::from_secs(4 * 60));
        assert!(Trajectory::of(chat.get(..9).expect("nine")).unresolved_negative);
        assert_eq!(Trajectory::of(&[]).roles, []);
    }

    /// A start was once given up before the cut that did better could begin a level.
    #[test]
    fn a_start_is_not_given_up_too_early() {
        let values = [0.46, -0.31, 0.0, -0.29, 0.0, -0.75, -0.97, 0.57];
        assert!(partition_cost(&values, &change_points(&values)) <= least_cost(&values) + 1e-9);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// The optimum of every partition, found the slow way.
        #[test]
        fn no_partition_is_cheaper(values in prop::collection::vec(-1.0..1.0_f64, 1..12)) {
            let (found, least) = (partition_cost(&values, &change_points(&values)), least_cost(&values));
            prop_assert!(found <= least + 1e-9, "{found} > {least}");
        }

        #[test]
        fn praise_and_blame_turn_alike(values in prop::collection::vec(-1.0..1.0_f64, 0..60)) {
            let moved: Vec<f64> = values.iter().map(|value| -value).collect();
            prop_assert_eq!(change_points(&moved), change_points(&values));

        }
    }

    fn least_cost(values: &[f64]) -> f64 {
        let count = values.len();
        let cuts = |mask: u32| (1..count).filter(|cut| mask & (1 << (cut - 1)) != 0).collect::<Vec<usize>>();
        let valid = |cuts: &Vec<usize>| {
            let edges: Vec<usize> = [vec![0], cuts.clone(), vec![count]].concat();
            cuts.is_empty() || edges.windows(2).all(|pair| pair[1] - pair[0] >= 2)
        };
        let all = (0_u32..1 << count.saturating_sub(1)).map(cuts).filter(valid);
        all.map(|cuts| partition_cost(values, &cuts)).fold(f64::INFINITY, f64::min)
    }

    fn partition_cost(values: &[f64], cuts: &[usize]) -> f64 {
        let mut steps: Vec<f64> = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
        steps.sort_by(f64::total_cmp);
        let noise = (steps.get(steps.len() / 2).unwrap_or(&0.0) * 1.4826 / std::f64::consts::SQRT_2).max(0.3);
        let count = f64::from(u32::try_from(values.len()).expect("few"));
        let price = 2.0 * noise * noise * count.ln();
        let edges: Vec<usize> = [vec![0], cuts.to_vec(), vec![values.len()]].concat();
        let error = |pair: &[usize]| {
            let stretch = &values[pair[0]..pair[1]];
            let mean = stretch.iter().sum::<f64>() / f64::from(u32::try_from(stretch.len()).expect("few"));
            stretch.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
        };
        edges.windows(2).map(error).sum::<f64>() + price * f64::from(u32::try_from(cuts.len()).expect("few"))
    }
}

mod roles {
    use std::collections::BTreeMap;

    use super::*;

    /// Messages `name: text`; the roles of their senders, and whose are guesses.
    fn check(lines: &[&str], known: &[(&str, Role)], wanted: &[(&str, Role)], guessed: &[&str]) {
        let message = |line: &&str| {
            let (name, text) = line.split_once(": ").expect("a name and a text");
            let (sender, body) = (Sender::Named(name.to_owned()), Body::Text(text.to_owned()));
            Message { line: 1, id: None, time: None, sender, body }
        };
        let messages: Vec<Message> = lines.iter().map(message).collect();
        let known: BTreeMap<String, Role> =
            known.iter().map(|(name, role)| ((*name).to_owned(), *role)).collect();
        let roles = Roles::of(&messages, &known);
        let found: BTreeMap<&str, Role> =
            messages.iter().filter_map(|message| message.sender.name()).zip(roles.of).collect();
        assert_eq!(found, wanted.iter().copied().collect(), "of {lines:?}");
        assert_eq!(roles.guessed, guessed, "of {lines:?}");
    }

    #[test]
    fn who_is_who_is_told_by_names_and_words_and_else_guessed() {
        use Role::{Agent, Customer};
        check(&["มะลิ: สวัสดีค่ะ", "ร้านดอกไม้: ค่ะ"], &[], &[("มะลิ", Customer), ("ร้านดอกไม้", Agent)], &[]);
        check(&["มะลิ: สวัสดีค่ะ", "แอน: ทางร้านจัดส่งแล้วค่ะ"], &[], &[("มะลิ", Customer), ("แอน", Agent)], &[]);
        check(&["มะลิ: สวัสดีค่ะ", "แอน: ค่ะ"], &[], &[("มะลิ", Customer), ("แอน", Customer)], &["มะลิ", "แอน"]);
        check(&["มะลิ: สวัสดีค่ะ", "แอน: ค่ะ"], &[("แอน", Agent)], &[("มะลิ", Customer), ("แอน", Agent)], &[]);
        check(&["มะลิ: สวัสดีค่ะ", "แอน: ค่ะ"], &[("มะลิ", Customer)], &[("มะลิ", Customer), ("แอน", Agent)], &[]);
        // What the caller knows goes before what names and words say.
        check(
            &["ร้านป้า: ทางร้านขอถามค่ะ", "Somchai: ครับ"],
            &[("ร้านป้า", Customer)],
            &[("ร้านป้า", Customer), ("Somchai", Agent)],
            &[],
        );
        check(&["มะลิ: คนเดียว"], &[], &[("มะลิ", Customer)], &["มะลิ"]);
    }
}

mod privacy {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_leads_to_a_person_is_hidden_and_other_numbers_are_not() {
        for (text, wanted) in [
            ("เมล mali.x+1@example.co.th ค่ะ", "เมล <email> ค่ะ"),
            ("โทร 0812345678 หรือ 02-123-4567", "โทร <phone> หรือ <phone>"),
            ("โทร 081 234 5678 นะ", "โทร <phone> นะ"),
            ("๐๘๑-๒๓๔-๕๖๗๘ หรือ ๐๒ ๑๒๓ ๔๕๖๗", "<phone> หรือ <phone>"),
            ("(02) 123 4567, 081 - 234 - 5678, 081–234–5678", "<phone>, <phone>, <phone>"),
            ("เปิด 08.30 - 17.30 น. ทุกวัน", "เปิด 08.30 - 17.30 น. ทุกวัน"),
            ("02 - 12 - 2569 ราคา 100 - 250 บาท", "02 - 12 - 2569 ราคา 100 - 250 บาท"),
            ("เลขบัญชี ๑๒๓๔๕๖๗๘๙๐", "เลขบัญชี <account>"),
            ("+66 81 234 5678, 66812345678", "<phone>, <phone>"),
            ("บัตร 1-2345-67890-12-1 ค่ะ", "บัตร <id> ค่ะ"),
            ("บัตร 1234567890121 ค่ะ", "บัตร <id> ค่ะ"),
            ("บัตร 1234567890122 ค่ะ", "บัตร 1234567890122 ค่ะ"),
            ("ตัดบัตร 4111 1111 1111 1111", "ตัดบัตร <card>"),
            ("โอน 123-4-56789-0 นะคะ", "โอน <account> นะคะ"),
            ("เลขบัญชี กสิกร 1234567890 ค่ะ", "เลขบัญชี กสิกร <account> ค่ะ"),
            ("พร้อมเพย์ 0812345678", "พร้อมเพย์ <account>"),
            ("เลขพัสดุ TH0123456789", "เลขพัสดุ TH0123456789"),
            ("ออเดอร์ 240915123456", "ออเดอร์ 240915123456"),
            ("1,290 บาท วันที่ 18/09/2569 เวลา 10:30", "1,290 บาท วันที่ 18/09/2569 เวลา 10:30"),
            ("555555555", "555555555"),
        ] {
            assert_eq!(hide(text), wanted);
        }
    }

    proptest! {
        #[test]
        fn hiding_twice_hides_no_more(text in "[0-9 .+@a-zก-ฮ-]{0,60}") {
            let once = hide(&text);
            prop_assert_eq!(hide(&once), once);
        }

        #[test]
        fn no_telephone_number_is_left(number in "0[2-9][0-9]{8}", before in "[ก-ฮ ]{0,8}", after in "[ก-ฮ ]{0,8}") {
            let shown = hide(&format!("{before}{number}{after}"));
            prop_assert!(!shown.contains(&number));
        }
    }
}

mod signs {
    use super::*;

    #[test]
    fn signs_of_escalation_are_known_by_their_words() {
        use Cue::*;
        let rows: &[(&str, &[Cue])] = &[
            ("ถ้าพรุ่งนี้ไม่เรียบร้อยจะไปร้องเรียน สคบ. นะคะ", &[ComplaintThreat]),
            ("เดี๋ยวไปแจ้งความเลย", &[ComplaintThreat]),
            ("ผมจะฟ้องบริษัทคุณ", &[ComplaintThreat]),
            ("เรื่องนี้ถึงแบงก์ชาติแน่", &[ComplaintThreat]),
            ("งั้นขอยกเลิกสัญญา ย้ายค่ายดีกว่า", &[ChurnThreat]),
            ("จะไม่ซื้ออีกแล้ว", &[ChurnThreat]),
            ("ไม่มาที่นี่อีกเลย", &[ChurnThreat]),
            ("ปิดบัญชีให้ด้วยค่ะ", &[ChurnThreat]),
            ("เดี๋ยวจะเอาไปโพสต์ลงเฟซให้คนอื่นรู้", &[PublicityThreat]),
            ("จะตั้งกระทู้แฉให้หมด", &[PublicityThreat]),
            ("รีวิวหนึ่งดาวไปเลย", &[PublicityThreat]),
            ("ขอเงินคืนค่ะ", &[RefundDemand]),
            ("เอาเงินผมคืนมา", &[RefundDemand]),
            ("คืนเงินมาเดี๋ยวนี้", &[RefundDemand]),
            ("I want a refund", &[RefundDemand]),
            ("ขอสายผู้จัดการหน่อยครับ", &[SupervisorRequest]),
            ("เรียกหัวหน้ามาคุย", &[SupervisorRequest]),
            ("ขอคุยกับคนได้ไหม ไม่คุยกับบอท", &[SupervisorRequest]),
            ("โทรไปสามรอบแล้ว", &[RepeatedContact]),
            ("ทักไปหลายครั้งมาก", &[RepeatedContact]),
            ("บอกไปแล้วไงว่าไม่ใช่", &[RepeatedContact]),
            ("ส่งไปสามรอบแล้ว ทำงานกันยังไง", &[RepeatedContact]),
            ("เมื่อวานก็บอกแบบนี้", &[RepeatedContact]),
            ("ไม่มีใครตอบเลยสักคน", &[NoAnswer]),
            ("อ่านแล้วไม่ตอบ เงียบกริบ", &[NoAnswer]),
            ("มีแอดมินอยู่ไหมคะ", &[NoAnswer]),
            ("โทรไปไม่ติดเลย ขอคืนเงินด้วย", &[RefundDemand, NoAnswer]),
            // None of these is one.
            ("ไม่ได้จะร้องเรียนนะคะ แค่อยากถาม", &[]),
            ("ไม่ต้องขอเงินคืนแล้วค่ะ", &[]),
            ("ไม่อยากเลิกใช้เลย ชอบมาก", &[]),
            ("ผู้จัดการน่ารักมาก", &[]),
            ("เดี๋ยวรีวิวห้าดาวให้เลย", &[]),
            ("ซื้ออีกแน่นอนค่ะ", &[]),
            ("บรรยากาศเงียบสงบดี", &[]),
            ("ร้านตอบไวมาก", &[]),
            ("โอนเงินให้แล้วนะคะ", &[]),
            ("ขอบคุณที่คืนเงินไวค่ะ", &[]),
            ("ส่งให้ 3 วันถึงเลยค่ะ", &[]),
            ("โทรไปสอบถามแล้วได้คำตอบดีมาก", &[]),
            ("", &[]),
        ];
        for (text, wanted) in rows {
            assert_eq!(cues(text), *wanted, "{text}");
        }
    }

    #[test]
    fn stickers_say_what_their_keywords_say() {
        for (words, sign) in [
            (&["happy"][..], 1),
            (&["Thank you", "love"], 1),
            (&["sad", "cry", "hello"], -1),
            (&["ANGRY"], -1),
            (&["happy", "sad"], 0),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let score = sticker(&words).expect("known").score;
            assert_eq!(i32::from(score > 0.25) - i32::from(score < -0.25), sign, "{words:?}: {score}");
        }
        assert_eq!(sticker(&["hello".to_owned(), "สวัสดี".to_owned()]), None);
        assert_eq!(sticker(&[]), None);
    }

    #[test]
    fn spans_of_time_are_told_in_two_units() {
        for (seconds, told) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (90_061, "1 d 1 h"),
            (86_460, "1 d"),
        ] {
            assert_eq!(spoken(std::time::Duration::from_secs(seconds)), told);
        }
    }
}

mod disguise {
    use proptest::prelude::*;

    use super::*;

    fn message(name: &str, text: &str) -> Message {
        let (sender, body) = (Sender::Named(name.to_owned()), Body::Text(text.to_owned()));
        Message { line: 1, id: None, time: None, sender, body }
    }

    #[test]
    fn names_become_roles_where_they_stand() {
        let messages = [
            message("มะลิ", "สวัสดีค่ะ มะลิเองค่ะ"),
            message("แอน ร้านบ้านใบชา", "คุณมะลิคะ แอนดูให้นะคะ"),
            message("นก", "น้องนกมาแล้ว นกบินบนฟ้า"),
            message("Mr. (X)*", "mr. (x)* and MR. (X)*"),
        ];
        let roles = [Role::Customer, Role::Agent, Role::Agent, Role::Customer];
        let people = Disguise::of(&messages, &roles, false);
        let speakers: Vec<&str> =
            messages.iter().zip(roles).map(|(message, role)| people.speaker(message, role)).collect();
        assert_eq!(speakers, ["customer", "agent", "agent 2", "customer 2"]);
        let texts: Vec<String> = messages.iter().map(|message| people.shown(message)).collect();
        assert_eq!(
            texts,
            [
                "สวัสดีค่ะ <customer>เองค่ะ",
                "คุณ<customer>คะ <agent>ดูให้นะคะ",
                // Two letters may be a word: only after a title are they a name.
                "<agent 2>มาแล้ว นกบินบนฟ้า",
                "<customer 2> and <customer 2>",
            ]
        );
        let kept = Disguise::of(&messages, &roles, true);
        assert_eq!(kept.speaker(&messages[2], Role::Agent), "นก");
        assert_eq!(kept.text("มะลิ โทร 081-234-5678"), "มะลิ โทร <phone>");
    }

    proptest! {
        /// Whatever somebody is called, if it is long enough to be a name, no text shows it.
        #[test]
        fn no_name_is_left(name in "[ก-ฮA-Z.*()\\[\\]]{3,12}( [ก-ฮ]{3,8})?", before in "[ก-ฮ ]{0,8}", after in "[ก-ฮ ]{0,8}") {
            prop_assume!(name.split(' ').all(|word| word.chars().filter(|ch| ch.is_alphanumeric()).count() >= 3));
            let messages = [message(&name, "ดี")];
            let people = Disguise::of(&messages, &[Role::Customer], false);
            let shown = people.text(&format!("{before}{name}{after}"));
            prop_assert!(!shown.contains(&name), "{shown}");
        }
    }
}
