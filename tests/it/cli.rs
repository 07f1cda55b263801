//! The command line as people and scripts use it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Process, arom, repository, run, run_command, stderr, stdout};

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn piped_output_is_json_lines_in_the_order_of_the_input() {
    let output = run(&["score", "อร่อยมาก ชอบสุด ๆ", "แย่มาก ผิดหวัง", ""], "");
    let lines = json_lines(&stdout(&output));
    let label = |index: usize| lines.get(index).and_then(|line| line["label"].as_str()).expect("a label");
    assert_eq!((label(0), label(1), label(2)), ("positive", "negative", "neutral"));
    assert_eq!(lines[2]["content"], "empty");
    assert_eq!(lines[2]["window_count"], 0);
    let sum: f64 =
        lines[0]["probabilities"].as_object().expect("four").values().filter_map(Value::as_f64).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
}

#[test]
fn lines_and_json_lines_are_read() {
    let from_lines = stdout(&run(&["score"], "ดีมาก\r\nแย่มาก\n"));
    let from_json = stdout(&run(&["score", "ดีมาก", "แย่มาก"], ""));
    assert_eq!(from_lines, from_json, "stdin and arguments give the same bytes");
    let samples = repository().join("examples/messages.jsonl");
    let lines = json_lines(&stdout(&run(&["score", "--input", &samples.display().to_string()], "")));
    assert!(lines.len() >= 60);
    assert_eq!(lines[0]["input"]["message_id"], "m01");
}

#[test]
fn the_number_of_workers_changes_no_bit() {
    let samples = repository().join("examples/messages.jsonl").display().to_string();
    let with = |workers: &str| stdout(&run(&["score", "--workers", workers, "--input", &samples], ""));
    assert_eq!(with("1"), with("3"));
}

#[test]
fn the_table_has_a_row_for_every_text() {
    let table = stdout(&run(&["score", "--table", "ดีมาก", "[สติกเกอร์]"], ""));
    assert_eq!(table.lines().count(), 3);
    assert!(table.contains("positive") && table.contains("(no language)"), "{table}");
}

#[test]
fn bad_input_names_the_file_and_the_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let check = |args: &[&str], parts: &[&str]| {
        let output = run(args, "");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let text = stderr(&output);
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    };
    let broken = file("broken.jsonl", b"{\"text\": \"a\", \"label\": \"neutral\"}\n{\"text\": 5}\n");
    check(&["score", "--input", &broken], &["broken.jsonl, line 2", "`text`"]);
    let untold = file("untold.jsonl", b"{\"text\": \"a\", \"label\": \"neutral\"}\n{\"text\": [5]}\n");
    check(&["evaluate", &untold], &["untold.jsonl, line 2", "`text`"]);
    let labels = file("labels.jsonl", "{\"text\": \"ดี\", \"label\": \"happy\"}".as_bytes());
    check(
        &["evaluate", &labels],
        &["labels.jsonl, line 1", "happy", "positive, neutral, negative, question"],
    );
    let latin = file("thai.txt", b"ok\n\xa1\xd2\xc3\n");
    check(&["score", "--input", &latin], &["thai.txt, line 2", "byte 1 is not UTF-8"]);
    check(&["score", "--input", "nowhere.txt"], &["cannot open nowhere.txt"]);
    check(&["evaluate", &file("empty.jsonl", b"")], &["empty.jsonl has no rows"]);
    let middling =
        file("middling.jsonl", b"{\"text\": \"a\", \"rating\": 3}\n{\"text\": \"b\", \"rating\": null}\n");
    check(&["evaluate", "--stars", "rating", &middling], &["all 2 rows are left out", "`rating`"]);
}

#[test]
fn what_came_before_a_bad_line_is_answered() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, "{\"text\": \"ดี\"}\n{\"text\": \"แย่\"}\nnot json\n").expect("written");
    let output = run(&["score", "--input", &path.display().to_string()], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8").lines().count(), 2);
}

#[test]
fn evaluate_gives_figures_that_add_up() {
    let samples = repository().join("examples/messages.jsonl").display().to_string();
    let output = stdout(&run(&["evaluate", "--json", &samples], ""));
    let figures: Value = serde_json::from_str(&output).expect("JSON");
    let confusion: Vec<u64> = figures["confusion"]
        .as_array()
        .expect("rows")
        .iter()
        .flat_map(|row| row.as_array().expect("cells").iter().filter_map(Value::as_u64))
        .collect();
    assert_eq!(confusion.iter().sum::<u64>(), figures["rows"].as_u64().expect("a count"));
    let right: u64 = confusion.iter().step_by(5).sum();
    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    let accuracy = right as f64 / 72.0;
    assert!((figures["micro_f1"].as_f64().expect("a figure") - accuracy).abs() < 1e-9);
    assert!(accuracy > 0.6, "the model is no use on the samples: {accuracy}");
    let table = stdout(&run(&["evaluate", &samples], ""));
    for part in
        ["micro-F1", "macro-F1", "expected calibration error", "log loss", "precision", "texts per second"]
    {
        assert!(table.contains(part), "{part}");
    }
}

#[test]
fn evaluate_shows_slices_takes_stars_and_compares_models() {
    let samples = repository().join("examples/messages.jsonl").display().to_string();
    let bundle = crate::support::bundle_folder().display().to_string();
    let output = stdout(&run(&["evaluate", "--json", "--slices", "--against", &bundle, &samples], ""));
    let figures: Value = serde_json::from_str(&output).expect("JSON");
    let rows = |wanted: &str| -> u64 {
        let slices = figures["slices"].as_array().expect("slices").iter();
        let fitting = slices.filter(|slice| slice["name"].as_str().expect("a name").contains(wanted));
        fitting.map(|slice| slice["rows"].as_u64().expect("a count")).sum()
    };
    assert_eq!((rows("characters"), rows("channel"), rows("channel review")), (72, 72, 24));
    let compared = &figures["against"]["mcnemar"];
    assert_eq!(compared["first_right"], 0, "a model is as good as itself");
    assert_eq!(compared["p_value"], 1.0);
    assert_eq!(figures["against"]["micro_f1"], figures["micro_f1"]);

    let stars = concat!(
        "{\"review\":\"อร่อยมาก ประทับใจ\",\"rating\":\"5 ดาว\"}\n",
        "{\"review\":\"แย่มาก ไม่ไปอีกแล้ว\",\"rating\":1}\n",
        "{\"review\":\"เฉย ๆ\",\"rating\":3}\n{\"review\":\"ดี\",\"rating\":null}\n"
    );
    let output = stdout(&run(&["evaluate", "--json", "--stars", "rating", "--text", "review", "-"], stars));
    let figures: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!((&figures["rows"], &figures["micro_f1"]), (&2.into(), &1.0.into()));
    assert_eq!(figures["left_out"], 2);

    let cells = concat!(
        "{\"text\":null,\"label\":\"neutral\"}\n{\"text\":555,\"label\":\"positive\"}\n",
        "{\"text\":true,\"label\":\"neutral\"}\n"
    );
    let output = stdout(&run(&["evaluate", "--json", "-"], cells));
    let figures: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!((&figures["rows"], &figures["empty"]), (&3.into(), &1.into()), "texts that are no strings");
    let table = stdout(&run(&["evaluate", "-"], cells));
    assert!(table.contains("3 texts, 1 of them empty\n"), "{table}");
}

#[test]
fn evaluate_judges_behaviour_and_says_what_is_wrong_with_a_test() {
    let tests = concat!(
        "{\"capability\":\"negation\",\"text\":\"อาหารอร่อยมาก ประทับใจ\",\"other\":\"อาหารไม่อร่อยเลย ผิดหวังมาก\",\"expect\":\"lower\"}\n",
        "{\"capability\":\"negation\",\"text\":\"อาหารอร่อยมาก ประทับใจ\",\"other\":\"อาหารไม่อร่อยเลย ผิดหวังมาก\",\"expect\":\"higher\"}\n",
        "{\"capability\":\"praise\",\"text\":\"อาหารอร่อยมาก ประทับใจ\",\"expect\":\"positive\"}\n",
    );
    let output = stdout(&run(&["evaluate", "--behaviour", "--json", "-"], tests));
    let figures: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(figures["tests"], 3);
    assert_eq!(
        figures["capabilities"][0],
        serde_json::json!({"capability": "negation", "tests": 2, "passed": 1})
    );
    assert_eq!(figures["capabilities"][1]["passed"], 1);
    let failures = figures["failures"].as_array().expect("failures");
    assert_eq!((failures.len(), &failures[0]["expect"]), (1, &"higher".into()));
    let bundle = crate::support::bundle_folder().display().to_string();
    let table = stdout(&run(&["evaluate", "--behaviour", "--against", &bundle, "-"], tests));
    for part in ["negation", "1 of 2", "all", "2 of 3 0.667", "failed", "higher"] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    for (test, part) in [
        ("{\"capability\":\"a\",\"text\":\"b\",\"expect\":\"lower\"}", "no field `other`"),
        ("{\"capability\":\"a\",\"text\":\"b\",\"other\":\"c\",\"expect\":\"positive\"}", "`text` alone"),
        ("{\"capability\":\"a\",\"text\":\"b\",\"expect\":\"good\"}", "unknown variant `good`"),
        ("{\"text\":\"b\",\"expect\":\"positive\"}", "missing field `capability`"),
        ("{\"capability\":\"a\",\"text\":\"\",\"expect\":\"positive\"}", "must not be empty"),
        ("{\"capability\":\"a\",\"text\":\"b\",\"other\":\"b\",\"expect\":\"same\"}", "the same text"),
    ] {
        let output = run(&["evaluate", "--behaviour", "-"], test);
        assert!(output.status.code() == Some(1) && stderr(&output).contains(part), "{}", stderr(&output));
        assert!(stderr(&output).contains("line 1"), "{}", stderr(&output));
    }
}

#[test]
fn drift_needs_no_labels_and_takes_500_texts() {
    let texts = "{\"text\":\"ค่าโทรเดือนนี้เท่าไหร่ครับ\"}\n".repeat(500);
    let all = stdout(&run(&["evaluate", "--drift", "-"], &texts));
    assert!(all.contains("500 texts") && all.contains("length") && all.contains("shifted"), "{all}");
    let few = stdout(&run(&["evaluate", "--drift", "-"], "{\"text\":\"ดีมาก\"}\n"));
    assert_eq!(few.matches("too few texts to say").count(), 5, "{few}");
    let json = stdout(&run(&["evaluate", "--drift", "--json", "-"], &texts));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["drift"]["texts"], &json["distributions"]["script"][0]), (&500.into(), &500.into()));
    let output = run(&["evaluate", "--drift", "-"], "{\"word\":\"ดีมาก\"}\n");
    assert!(stderr(&output).contains("line 1") && stderr(&output).contains("`text`"), "{}", stderr(&output));
}

#[test]
fn the_behavioural_tests_are_pairs_most_of_them_and_come_out_as_the_manifests_say() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/behaviour/pairs.jsonl");
    let tests = json_lines(&fs::read_to_string(file).expect("readable"));
    assert!(tests.iter().filter(|test| test["other"].is_string()).count() >= 300, "pairs");
    let distinct: BTreeSet<String> =
        tests.iter().map(|test| format!("{} {}", test["text"], test["other"])).collect();
    assert_eq!(distinct.len(), tests.len(), "a test stands there twice");
    for model in ["arom-base", "arom-fast"] {
        let shown = stdout(&run(&["model", "show", "--json", "--model", model], ""));
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        let metrics = shown["metrics"].as_array().expect("metrics");
        let behaviour = metrics.iter().find(|of| of["data"] == "behaviour").expect("judged");
        let promised = behaviour["figures"]["pass_rate"].as_f64().expect("a share");
        let judged = stdout(&run(&["evaluate", "--behaviour", "--json", "--model", model, file], ""));
        let judged: Value = serde_json::from_str(&judged).expect("JSON");
        assert_eq!(judged["tests"], tests.len());
        let found = judged["pass_rate"].as_f64().expect("a share");
        assert!((found - promised).abs() < 0.01, "{model}: {found}, but its manifest has {promised}");
    }
}

#[test]
fn normalize_keeps_the_lines_and_the_other_fields() {
    assert_eq!(
        stdout(&run(&["normalize"], "เเพงมากกกกก\n\nดู https://example.com/a\n")),
        "แพงมากกก\n\nดู <url>\n"
    );
    assert_eq!(stdout(&run(&["normalize"], "ก\u{2028}ข\u{b}ค\rง\n")), "ก ข ค ง\n");
    let line = stdout(&run(&["normalize", "--json"], "{\"text\":\"ดี  \\n มาก\",\"label\":\"positive\"}\n"));
    let value: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((value["text"].as_str(), value["label"].as_str()), (Some("ดี\nมาก"), Some("positive")));
}

#[test]
fn model_show_verifies_and_prints_the_bundle() {
    let shown = stdout(&run(&["model", "show", "--model", "arom-base"], ""));
    for part in ["arom-base@", "verified    model.onnx", "MIT", "CC0-1.0", "micro_f1"] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    let json: Value = serde_json::from_str(&stdout(&run(&["model", "show", "--json"], ""))).expect("JSON");
    assert_eq!(json["labels"][3], "question");
}

#[test]
fn the_model_that_is_not_the_default_goes_by_its_name() {
    let shown = stdout(&run(&["model", "show", "--model", "arom-fast"], ""));
    assert!(shown.contains("arom-fast@") && shown.contains("6-layer"), "{shown}");
    let line = stdout(&run(&["score", "--json", "--model", "arom-fast", "อาหารอร่อยมาก พนักงานน่ารัก"], ""));
    let value: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(value["label"], "positive");
    assert!(value["model_fingerprint"].as_str().is_some_and(|name| name.starts_with("arom-fast@")), "{line}");
    let against = run(&["evaluate", "--against", "arom-fast", "examples/messages.jsonl"], "");
    assert!(stdout(&against).contains("against arom-fast@"), "{}", stderr(&against));
}

#[test]
fn a_missing_or_wrong_runtime_library_is_one_clear_message() {
    let missing =
        run_command(arom().args(["score", "ดี"]).env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so"), "");
    assert_eq!(missing.status.code(), Some(1));
    let text = stderr(&missing);
    assert!(text.contains("/nowhere/libonnxruntime.so") && text.contains("ORT_DYLIB_PATH"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let fake = folder.path().join("libonnxruntime.so");
    fs::write(&fake, "no library").expect("written");
    let wrong = run(&["score", "ดี", "--runtime-library", &fake.display().to_string()], "");
    assert_eq!(wrong.status.code(), Some(1));
    let text = stderr(&wrong);
    assert!(text.contains("is no ONNX Runtime library of version 1.24 or later"), "{text}");
}

#[test]
fn a_port_in_use_is_said_so() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let output = run(&["serve", "--listen", &address], "");
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains(&format!("cannot listen on {address}")) && text.contains("--listen"), "{text}");
}

#[test]
fn health_is_an_exit_code() {
    let mut server = Process::start(&[]);
    server.wait_for("ready");
    assert!(run(&["health", &server.address], "").status.success());
    assert!(run_command(arom().arg("health").env("AROM_LISTEN", &server.address), "").status.success());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = folder.path().join("arom.toml").display().to_string();
    std::fs::write(&settings, format!("[server]\nlisten = \"{}\"\n", server.address)).expect("written");
    assert!(run(&["health", "--config", &settings], "").status.success());
    let address = server.address.clone();
    drop(server);
    let gone = run(&["health", &address], "");
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains(&format!("nothing answers at {address}")), "{}", stderr(&gone));
}

#[test]
fn settings_out_of_range_are_reported_together() {
    let output = run(&["serve", "--max-batch-size", "0", "--workers", "0", "--listen", "nonsense"], "");
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    for part in ["--max-batch-size", "--workers", "--listen"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn help_explains_and_shows_examples() {
    for (command, sentence) in [
        ("score", "A file that ends in .jsonl"),
        ("serve", "SIGTERM and SIGINT"),
        ("health", "grpc.health.v1"),
        ("evaluate", "the fields `text` and `label`"),
        ("normalize", "a line break stays"),
    ] {
        let help = stdout(&run(&[command, "--help"], "")).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("Examples:") && help.contains(sentence), "{command}: {help}");
    }
}

#[test]
fn json_lines_on_stdin_are_read_when_asked_for() {
    let input = "{\"text\": \"ดีมาก\", \"z\": 1, \"a\": 2}\n";
    let output = stdout(&run(&["score", "--format", "jsonl"], input));
    assert_eq!(json_lines(&output)[0]["text"], "ดีมาก");
    assert!(output.contains("{\"z\":1,\"a\":2}"), "fields stay in their order: {output}");
    let plain = run(&["score"], input);
    assert!(stderr(&plain).contains("--format jsonl"), "{}", stderr(&plain));
}

#[test]
fn a_million_blank_lines_are_no_rows() {
    let input = "\n".repeat(1_000_000) + "{\"text\": \"ดีมาก\"}\n";
    assert_eq!(json_lines(&stdout(&run(&["normalize", "--json"], &input))).len(), 1);
}

#[test]
fn onnx_runtime_is_heard_only_when_the_log_filter_names_it() {
    let quiet = stderr(&run(&["score", "--log", "info", "ดี"], ""));
    assert!(!quiet.contains("ort"), "{quiet}");
    let loud = stderr(&run(&["score", "--log", "info,ort=info", "ดี"], ""));
    assert!(loud.contains("ort"), "{loud}");
}

#[test]
fn a_slow_writer_is_answered_line_by_line() {
    let mut child = arom()
        .args(["score", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    let mut answers = BufReader::new(child.stdout.take().expect("piped")).lines();
    for text in ["ดีมาก", "แย่มาก"] {
        writeln!(input, "{text}").expect("it reads");
        let answer = answers.next().expect("an answer before the next line").expect("readable");
        assert!(answer.contains(text), "{answer}");
    }
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn text_tells_the_terminal_nothing() {
    let table = stdout(&run(&["score", "--table", "\u{1b}]0;title\u{7}\u{1b}[31mแดง"], ""));
    assert!(!table.contains('\u{1b}') && table.contains("แดง"), "{table:?}");
}

#[test]
fn no_command_prints_what_a_terminal_would_obey() {
    let obeyed = |ch: char| {
        ch.is_control() && ch != '\n' || matches!(ch, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    let evil = "ดี\u{1b}[31m\u{7f}\u{9b}2J\u{202e}\u{2066}";
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        fs::write(folder.path().join(name), content).expect("written");
    };
    let json = serde_json::json!({
        "text": evil, "other": evil, "capability": evil, "expect": "higher", "sender": evil, "name": evil
    });
    file("rows.jsonl", &format!("{json}\n"));
    let label = serde_json::json!({ "text": evil, "label": "positive", "channel": evil });
    file("labels.jsonl", &format!("{label}\n"));
    file("chats", "");
    fs::remove_file(folder.path().join("chats")).expect("removed");
    fs::create_dir(folder.path().join("chats")).expect("created");
    file(&format!("chats/{evil}.jsonl"), &format!("{json}\n"));
    file("chats/other.jsonl", &format!("{json}\n"));
    file(&format!("{evil}.csv"), &format!("text,{evil}\nดี,1\n"));
    let csv = format!("{evil}.csv");
    let out = folder.path().join("out.jsonl").display().to_string();
    let rows: [&[&str]; 17] = [
        &["score", evil],
        &["score", "--table", evil],
        &["score", "--table", "--clauses", "--explain", evil],
        &["score", "--input", "rows.jsonl"],
        &["normalize", "--json"],
        &["evaluate", "--behaviour", "rows.jsonl"],
        &["evaluate", "--behaviour", "--json", "rows.jsonl"],
        &["evaluate", "--slices", "labels.jsonl"],
        &["evaluate", "--slices", "--json", "labels.jsonl"],
        &["chat", "--keep-names", "rows.jsonl"],
        &["chat", "--keep-names", "--json", "rows.jsonl"],
        &["chat", "--keep-names", "chats"],
        &["batch", &csv, "--out", &out],
        &["score", "--input", evil],
        &["serve", evil],
        &["batch", &csv, "--out", evil],
        &["score", "--log", evil, "x"],
    ];
    for arguments in rows {
        let output = run_command(arom().args(arguments).current_dir(folder.path()), &json.to_string());
        for printed in [&output.stdout, &output.stderr] {
            let printed = String::from_utf8_lossy(printed);
            let found = printed.chars().find(|ch| obeyed(*ch));
            assert_eq!(found, None, "{arguments:?}: {printed:?}");
        }
        assert!(!output.stdout.is_empty() || !output.stderr.is_empty(), "{arguments:?}");
    }
    // The JSON says the same.
    let scored = stdout(&run(&["score", evil], ""));
    let line: Value = serde_json::from_str(scored.trim()).expect("JSON");
    assert_eq!(line["text"], evil);
}
