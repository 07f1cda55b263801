//! `arom chat` as people and scripts use it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{repository, run, stderr, stdout};

const PARCEL: &str = "examples/chats/parcel.txt";

fn parcel() -> String {
    repository().join(PARCEL).display().to_string()
}

fn write(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, content).expect("written");
    path.display().to_string()
}

fn json(args: &[&str]) -> Vec<Value> {
    let lines = stdout(&run(&[&["chat", "--json"], args].concat(), ""));
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_conversation_is_shown_with_its_turns_and_without_names() {
    // What it finds is that of one model.
    let shown = stdout(&run(&["chat", "--model", "arom-base", &parcel()], ""));
    assert!(shown.contains("◆ turns from +0.") && shown.contains("⚑ complaint_threat, refund_demand"));
    assert!(shown.contains("Fri 18 Sep 2026") && shown.contains("09:12 customer"));
    assert!(shown.contains("turned at #14 from") && shown.contains("did not end negative"));
    assert!(shown.contains("customer  ▅") && shown.contains("2 stickers say nothing"));
    for hidden in ["มะลิ", "แอน", "ใบชา ", "081-234"] {
        assert!(!shown.contains(hidden), "{hidden}");
    }
    let named = stdout(&run(&["chat", "--keep-names", &parcel()], ""));
    assert!(named.contains("มะลิ") && named.contains("แอนเป็นผู้จัดการ") && !named.contains("081-234"));
    assert!(named.contains("[แอน เข้าร่วมกลุ่ม]"));
}

#[test]
fn json_has_every_message_with_its_score() {
    let chats = json(&[&parcel()]);
    let [chat] = chats.as_slice() else { panic!("{} lines", chats.len()) };
    let messages = chat["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 43);
    let reply = &messages[32];
    assert_eq!((reply["text"].as_str(), reply["basis"].as_str()), (Some("โอเคค่ะ"), Some("text_in_context")));
    assert_eq!(messages[0]["time"], "2026-09-18T02:12:00Z");
    assert_eq!(chat["roles"][0]["turning_points"][0]["message"], 13);
    assert_eq!((chat["charset"].as_str(), chat["format"].as_str()), (Some("utf-8"), Some("line_tabs")));
    assert_eq!(json(&[&parcel()]), chats, "the same again");
}

#[test]
fn the_page_needs_no_network_and_every_link_leads_somewhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let evil =
        "text,role\n<script>alert(1)</script> แย่มาก,customer\n\"<img src=x onerror=alert(1)>\",agent\n";
    let evil = write(folder.path(), "evil.csv", evil.as_bytes());
    for (chat, least) in [(parcel(), 2), (evil, 0)] {
        let page = folder.path().join("report.html");
        stdout(&run(&["chat", "--overwrite", "--html", &page.display().to_string(), &chat], ""));
        let page = fs::read_to_string(page).expect("written");
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        for foreign in ["http://", "https://", "<script", "<img", "<link", "@import", "url(", "มะลิ"]
        {
            assert!(!page.contains(foreign), "{foreign}");
        }
        let turns = stdout(&run(&["chat", &chat], "")).matches("◆ turns").count();
        assert!(turns >= least, "{turns} in {chat}");
        assert_eq!(page.matches("<a class=\"turn\"").count(), turns);
        let links = page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next());
        for link in links {
            assert!(page.contains(&format!("id=\"{link}\"")), "{link} leads nowhere");
        }
    }
}

#[test]
fn a_folder_is_a_table_with_the_worst_end_first() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::copy(parcel(), folder.path().join("parcel.txt")).expect("copied");
    let bad = "text,role\nสวัสดีค่ะ สนใจสินค้าค่ะ,customer\nแย่มาก ไม่พอใจเลย,customer\nห่วยที่สุด ขอเงินคืน,customer\n";
    write(folder.path(), "a-bad.csv", bad.as_bytes());
    let good = "text,role\nส่งไวมาก ประทับใจ,customer\nขอบคุณค่ะ ชอบมาก,customer\n";
    write(folder.path(), "b-good.csv", good.as_bytes());
    let folder = folder.path().display().to_string();
    let shown = stdout(&run(&["chat", &folder], ""));
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 4, "{shown}");
    assert!(lines[1].starts_with("unresolved") && lines[1].contains("a-bad.csv"), "{shown}");
    assert!(!lines[2].contains("unresolved") && !lines[3].contains("unresolved"), "{shown}");
    assert_eq!(json(&[&folder]).len(), 3);
    // One that cannot be read is said, and the others are shown.
    fs::write(Path::new(&folder).join("c.txt"), "ไม่ใช่แชท").expect("written");
    let output = run(&["chat", &folder], "");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains("c.txt is no conversation that is known") && said.contains("1 of 4 files"),
        "{said}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 4);
}

/// A page is written beside its place first. A run that was killed then leaves no file that stops the next one.
#[test]
fn half_a_page_of_a_killed_run_is_in_nobodys_way() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (page, next) = (folder.path().join("page.html"), folder.path().join("page.html.next"));
    let shown = page.display().to_string();
    stdout(&run(&["chat", "--html", &shown, &parcel()], ""));
    let whole = fs::read(&page).expect("written");
    for half in [&whole[..0], &whole[..whole.len() / 2]] {
        fs::write(&next, half).expect("written");
        fs::write(&page, "old").expect("written");
        stdout(&run(&["chat", "--overwrite", "--html", &shown, &parcel()], ""));
        assert!(fs::read(&page).expect("written") == whole && !next.exists());
    }
    // Another's page is not Arom's, and is refused before the model is opened.
    let mine = "<!DOCTYPE html><html><head><title>mine</title></head><body>of somebody else</body></html>";
    fs::write(&next, mine).expect("written");
    let arguments = ["chat", "--overwrite", "--model", "nowhere", "--html", &shown, &parcel()];
    let refused = run(&arguments, "");
    assert!(stderr(&refused).contains("page.html.next: it is there already"), "{}", stderr(&refused));
    assert_eq!(fs::read_to_string(&next).expect("it is there"), mine);
}

#[test]
fn who_is_who_may_be_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chat = "text,sender\nสวัสดี,ก้อง\nดีจ้า,ปลา\nขอบคุณ,ก้อง\n";
    let chat = write(folder.path(), "chat.csv", chat.as_bytes());
    let speakers = |args: &[&str]| -> Vec<String> {
        let chats = json(&[args, &[chat.as_str()]].concat());
        let messages = chats[0]["messages"].as_array().expect("messages");
        messages.iter().map(|message| message["speaker"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(speakers(&[]), ["customer", "customer 2", "customer"]);
    assert_eq!(speakers(&["--customer", "ก้อง"]), ["customer", "agent", "customer"]);
    assert_eq!(speakers(&["--agent", "ก้อง"]), ["agent", "customer", "agent"]);
    let roles = write(folder.path(), "roles.toml", "agent = [\"ก้อง\"]\nbot = [\"ปลา\"]\n".as_bytes());
    assert_eq!(speakers(&["--roles", &roles]), ["agent", "bot", "agent"]);
    assert_eq!(json(&[&chat])[0]["guessed"], serde_json::json!(["customer", "customer 2"]));
    for (args, fault) in [
        (&["--agent", "ก้อง", "--customer", "ก้อง"][..], "is said to be customer and agent"),
        (&["--roles", &chat], "is no file of roles such as"),
        (&["--agent", "เอ๋"], "nobody in"),
    ] {
        let output = run(&[&["chat"], args, &[chat.as_str()]].concat(), "");
        assert!(stderr(&output).contains(fault), "{}", stderr(&output));
    }
}

#[test]
fn what_is_not_understood_is_left_out_and_said_or_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chat =
        "text,role,time\nดีมากค่ะ,customer,2026-09-25T09:00:00+07:00\nแล้วไง,customer,เมื่อวาน\nค่ะ,agent,\n";
    let chat = write(folder.path(), "chat.csv", chat.as_bytes());
    let shown = stdout(&run(&["chat", &chat], ""));
    assert!(shown.contains("1 lines were left out: line 3: a time that is none"), "{shown}");
    let output = run(&["chat", "--strict", &chat], "");
    let said = stderr(&output);
    assert!(output.status.code() == Some(1) && said.contains("line 3: a time that is none"), "{said}");
    assert_eq!(json(&[&chat])[0]["skipped"][0]["line"], 3);
    for (args, fault) in [
        (&["chat", "nowhere.txt"][..], "cannot open nowhere.txt"),
        (&["chat", "--html", "x.html", &chat, &chat], "--html writes one conversation; 2 files were given"),
        (&["chat", "--format", "webhook", &chat], "is no JSON"),
        (&["chat", "-"], "stdin is no conversation that is known"),
    ] {
        let output = run(args, "nothing\n");
        assert!(!output.status.success() && stderr(&output).contains(fault), "{}", stderr(&output));
    }
}

#[test]
fn a_webhook_call_is_taken_only_with_lines_own_signature() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let call = r#"{"destination":"U0","events":[{"type":"message","timestamp":1717746116272,"webhookEventId":"1","source":{"type":"user","userId":"U1"},"message":{"type":"sticker","id":"2","keywords":["sad","cry"]}}]}"#;
    let call = write(folder.path(), "call.json", call.as_bytes());
    let secret = write(folder.path(), "secret.txt", b"8c570fa6dd201bb328f1c1eac23a96d8\n");
    // As openssl signs it: dgst -sha256 -hmac SECRET -binary, base64.
    let signature = "UlFHFgZhqmOAj1zNZMgjWzfQPSfaITTRDLrRsddclxQ=";
    let ask = |signature: &str| {
        run(&["chat", "--json", "--line-secret-file", &secret, "--line-signature", signature, &call], "")
    };
    let chat: Value = serde_json::from_str(&stdout(&ask(signature))).expect("JSON");
    assert_eq!(chat["messages"][0]["basis"], "sticker_keywords");
    assert!(chat["messages"][0]["score"].as_f64() < Some(-0.5));
    for wrong in ["", "AAAA", "ไม่ใช่", &signature.replacen(&signature[..1], "!", 1)] {
        let output = ask(wrong);
        assert!(
            !output.status.success() && stderr(&output).contains("is not signed by the owner"),
            "{wrong}"
        );
    }
    let output = run(&["chat", "--line-signature", signature, &call], "");
    assert!(stderr(&output).contains("--line-secret-file"), "{}", stderr(&output));
}
