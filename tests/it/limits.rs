//! What a run may not destroy, and what may not exhaust it: outputs that are inputs by another name, links to nothing, cells
//! that spreadsheets run, and files that stand for far more than they are.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use flate2::write::GzEncoder;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use crate::support::{arom, repository, run_command, stderr, stdout};

const DUMP: &str = "text,rating,name\nอร่อยมาก,5,=1+1\nรอนานมาก แย่จริง,1,+66 81 234 5678\n";

/// `arom` in a folder.
fn within(folder: &Path, arguments: &[&str], stdin: &str) -> Output {
    run_command(arom().current_dir(folder).args(arguments), stdin)
}

#[test]
fn no_output_is_an_input_by_another_name() {
    // The output that is the input, and the arguments. What is named "link" leads to the dump.
    let rows: [(&str, &[&str]); 13] = [
        ("link.csv", &["batch", "dump.csv", "--out", "link.csv"]),
        ("out.csv.rejects.jsonl", &["batch", "dump.csv", "--out", "out.csv"]),
        ("out.csv.checkpoint", &["batch", "dump.csv", "--out", "out.csv"]),
        ("out.csv.checkpoint.next", &["batch", "dump.csv", "--out", "out.csv"]),
        ("out.parquet.partial.jsonl", &["batch", "dump.csv", "--out", "out.parquet"]),
        ("out.parquet.next", &["batch", "dump.csv", "--out", "out.parquet"]),
        ("out.csv.stdin", &["batch", "dump.csv", "-", "--out", "out.csv"]),
        ("link.jsonl", &["batch", "dump.csv", "--out", "out.csv", "--rejects", "link.jsonl"]),
        ("link.html", &["batch", "dump.csv", "--out", "out.csv", "--report", "link.html"]),
        ("link.json", &["batch", "dump.csv", "--out", "out.csv", "--report-json", "link.json"]),
        ("link.csv", &["batch", "folder", "--out", "link.csv"]),
        ("link.csv", &["batch", "-", "--out", "link.csv"]),
        ("link.html", &["chat", "dump.csv", "--html", "link.html"]),
    ];
    for (link, arguments) in rows {
        for is_hard in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let dump =
                folder.path().join(if arguments[1] == "folder" { "folder/dump.csv" } else { "dump.csv" });
            fs::create_dir(folder.path().join("folder")).expect("created");
            fs::write(&dump, DUMP).expect("written");
            let link = folder.path().join(link);
            if is_hard { fs::hard_link(&dump, &link) } else { symlink(&dump, &link) }.expect("linked");
            let mut command = arom();
            command.current_dir(folder.path()).args(arguments);
            if arguments[0] == "batch" {
                command.arg("--overwrite");
            }
            let output = if arguments[1] == "-" {
                command.stdin(File::open(&dump).expect("there")).output().expect("it runs")
            } else {
                run_command(&mut command, DUMP)
            };
            let said = stderr(&output);
            assert!(!output.status.success(), "{arguments:?}, hard: {is_hard}");
            assert!(said.contains("name another"), "{arguments:?}, hard: {is_hard}: {said}");
            assert_eq!(fs::read_to_string(&dump).expect("there"), DUMP, "{arguments:?}, hard: {is_hard}");
        }
    }
}

#[test]
fn no_output_is_a_file_that_the_settings_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("dump.csv"), DUMP).expect("written");
    fs::write(at("arom.toml"), "[scoring]\ncatalogue = \"brands.toml\"\n").expect("written");
    let catalogue = "[[brands]]\nid = \"somtam\"\naliases = [\"ส้มตำ\"]\n";
    fs::write(at("brands.toml"), catalogue).expect("written");
    let model = at("model");
    fs::create_dir(&model).expect("created");
    for name in ["manifest.toml", "model.onnx", "tokenizer.json"] {
        fs::copy(repository().join("models/arom-fast").join(name), model.join(name)).expect("copied");
    }
    let chat = repository().join("examples/chats/parcel.txt").display().to_string();
    for file in ["arom.toml", "brands.toml", "model/model.onnx", "model/manifest.toml"] {
        fs::hard_link(at(file), at("link.html")).expect("linked");
        let refused = within(
            folder.path(),
            &["chat", &chat, "--html", "link.html", "--config", "arom.toml", "--model", "model"],
            "",
        );
        assert!(stderr(&refused).contains("name another"), "{file}: {}", stderr(&refused));
        fs::rename(at("link.html"), at("link.jsonl")).expect("renamed");
        let arguments = [
            "batch",
            "dump.csv",
            "--out",
            "link.jsonl",
            "--overwrite",
            "--config",
            "arom.toml",
            "--model",
            "model",
        ];
        let refused = within(folder.path(), &arguments, "");
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("is the same file as"), "{}", stderr(&refused));
        fs::remove_file(at("link.jsonl")).expect("removed");
    }
    assert_eq!(fs::read_to_string(at("brands.toml")).expect("there"), catalogue);
}

#[test]
fn what_a_run_makes_for_itself_is_never_somebody_elses_file() {
    let chat = repository().join("examples/chats/parcel.txt").display().to_string();
    let parquet: &[&str] = &["batch", "dump.csv", "--out", "out.parquet", "--report", "page.html"];
    let jsonl: &[&str] = &["batch", "dump.csv", "--out", "out.jsonl", "--report-json", "page.json"];
    let stdin: &[&str] = &["batch", "-", "--out", "out.csv"];
    let rows: [(&str, &[&str]); 10] = [
        ("out.csv.stdin", stdin),
        ("out.csv.stdin", &["batch", "-", "--out", "out.csv", "--overwrite"]),
        ("out.parquet.partial.jsonl", parquet),
        ("out.parquet.next", parquet),
        ("page.html.next", parquet),
        ("out.jsonl.checkpoint", jsonl),
        ("out.jsonl.checkpoint.next", jsonl),
        ("page.json.next", jsonl),
        ("page.html.next", &["chat", &chat, "--html", "page.html"]),
        ("kept.backup.partial", &["profile", "backup", "kept.backup", "--server", "127.0.0.1:1"]),
    ];
    for (name, arguments) in rows {
        for (kind, link) in [("plain", None), ("hard", Some(true)), ("symbolic", Some(false))] {
            for overwrite in [false, true] {
                let folder = tempfile::tempdir().expect("a folder");
                let at = |name: &str| folder.path().join(name);
                fs::write(at("dump.csv"), DUMP).expect("written");
                fs::write(at("precious"), "precious").expect("written");
                match link {
                    None => fs::copy(at("precious"), at(name)).map(drop),
                    Some(true) => fs::hard_link(at("precious"), at(name)),
                    Some(false) => symlink(at("precious"), at(name)),
                }
                .expect("made");
                let flag = if arguments[0] == "profile" { "--force" } else { "--overwrite" };
                let more: &[&str] = if overwrite && !arguments.contains(&flag) { &[flag] } else { &[] };
                let ran = within(folder.path(), &[arguments, more].concat(), DUMP);
                let about = format!("{name}, {kind}, {arguments:?}, {more:?}: {}", stderr(&ran));
                assert!(!ran.status.success(), "{about}");
                for kept in ["precious", name] {
                    assert_eq!(fs::read_to_string(at(kept)).expect("there"), "precious", "{about}");
                }
                let is_server = arguments[0] == "profile";
                assert!(is_server || stderr(&ran).contains(name), "{about}");
                assert!(is_server || stderr(&ran).contains("move it away"), "{about}");
            }
        }
    }
}

#[test]
fn what_a_killed_run_left_is_in_nobodys_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("dump.csv"), DUMP).expect("written");
    fs::write(at("out.csv.stdin"), "").expect("written");
    fs::write(at("out.csv.checkpoint.next"), "{\"identity\":{\"version\":\"0.").expect("written");
    stdout(&within(folder.path(), &["batch", "-", "--out", "out.csv"], DUMP));
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .expect("there")
        .map(|entry| entry.expect("there").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["dump.csv", "out.csv"]);
}

#[test]
fn no_page_of_a_chat_destroys_what_is_there() {
    let chat = "{\"text\":\"ดี\",\"sender\":\"a\"}\n{\"text\":\"แย่\",\"sender\":\"b\"}\n";
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("chat"), chat).expect("written");
    symlink(at("chat"), at("link")).expect("linked");
    fs::hard_link(at("chat"), at("hard")).expect("linked");
    for (page, redirect) in ["chat", "link", "hard"].into_iter().flat_map(|page| {
        ["- <chat", "/dev/stdin <chat", "/proc/self/fd/0 <chat", "other >>chat", "other 2>>chat"]
            .map(|redirect| (page, redirect))
    }) {
        fs::write(at("other"), chat).expect("written");
        let script = format!("exec \"$0\" chat --overwrite --html {page} {redirect}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_arom")]).current_dir(folder.path());
        let refused = run_command(&mut command, "");
        assert!(!refused.status.success(), "{page} {redirect}");
        assert!(fs::read_to_string(at("chat")).expect("there").starts_with(chat), "{page} {redirect}");
        fs::write(at("chat"), chat).expect("written");
    }
    // A page that is there, and a chat that is written while it is read.
    fs::write(at("page.html"), "mine").expect("written");
    let refused = within(folder.path(), &["chat", "chat", "--html", "page.html"], "");
    assert!(stderr(&refused).contains("page.html is there already"), "{}", stderr(&refused));
    assert_eq!(fs::read_to_string(at("page.html")).expect("there"), "mine");
    stdout(&within(folder.path(), &["chat", "chat", "--html", "page.html", "--overwrite"], ""));
    assert!(fs::read_to_string(at("page.html")).expect("there").starts_with("<!DOCTYPE html>"));
    for input in ["chat", "- <chat"] {
        let script = format!("exec \"$0\" chat --json {input} >>chat");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_arom")]).current_dir(folder.path());
        let refused = run_command(&mut command, "");
        assert!(stderr(&refused).contains("the file that the output goes to"), "{}", stderr(&refused));
        assert_eq!(fs::read_to_string(at("chat")).expect("there"), chat);
    }
}

#[test]
fn no_output_is_a_standard_stream_or_a_device() {
    for (redirect, more) in [
        ("<out.csv", "dump.csv --out out.csv"),
        ("2>>out.csv", "dump.csv --out out.csv"),
        (">>out.csv", "dump.csv --out out.csv"),
        ("<out.csv", "dump.csv --out other.csv --rejects out.csv"),
        ("", "dump.csv --out other.csv --report /dev/null"),
        ("", "dump.csv --out other.csv --rejects /dev/full"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("dump.csv"), DUMP).expect("written");
        fs::write(folder.path().join("out.csv"), "mine\n").expect("written");
        let script = format!("exec \"$0\" batch --overwrite {more} {redirect}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_arom")]).current_dir(folder.path());
        let refused = run_command(&mut command, "");
        assert_eq!(refused.status.code(), Some(2), "{script}");
        assert!(fs::read_to_string(folder.path().join("out.csv")).expect("there").starts_with("mine\n"));
    }
}

#[test]
fn an_endless_input_is_refused_before_the_disk_is_full() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused =
        within(folder.path(), &["batch", "/dev/zero", "--format", "text", "--out", "out.jsonl"], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("/dev/zero is a device"), "{}", stderr(&refused));
    let arguments = ["batch", "-", "--out", "out.jsonl", "--max-piped-bytes", "1000000"];
    let refused = arom()
        .args(arguments)
        .current_dir(folder.path())
        .stdin(File::open("/dev/zero").expect("there"))
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("stdin has more than 1000000 bytes"), "{}", stderr(&refused));
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0, "nothing is left");
}

#[test]
fn two_outputs_are_not_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("dump.csv"), DUMP).expect("written");
    fs::write(at("one.jsonl"), "").expect("written");
    fs::hard_link(at("one.jsonl"), at("other.jsonl")).expect("linked");
    let refused =
        within(folder.path(), &["batch", "dump.csv", "--out", "one.jsonl", "--rejects", "other.jsonl"], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("are one file"), "{}", stderr(&refused));
}

#[test]
fn a_link_to_nothing_is_not_followed() {
    let chat = repository().join("examples/chats/parcel.txt").display().to_string();
    let rows: [(&str, &[&str]); 6] = [
        ("out.csv", &["batch", "dump.csv", "--out", "out.csv", "--overwrite"]),
        ("out.parquet", &["batch", "dump.csv", "--out", "out.parquet"]),
        ("out.csv.rejects.jsonl", &["batch", "dump.csv", "--out", "out.csv"]),
        ("page.html", &["batch", "dump.csv", "--out", "out.csv", "--report", "page.html"]),
        ("page.html", &["chat", &chat, "--html", "page.html"]),
        ("kept.backup", &["profile", "backup", "kept.backup", "--server", "127.0.0.1:1"]),
    ];
    for (link, arguments) in rows {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("dump.csv"), DUMP).expect("written");
        symlink(folder.path().join("victim"), folder.path().join(link)).expect("linked");
        let refused = within(folder.path(), arguments, "");
        assert!(!refused.status.success(), "{arguments:?}");
        let is_server = arguments[0] == "profile";
        assert!(
            is_server || stderr(&refused).contains("symbolic link"),
            "{arguments:?}: {}",
            stderr(&refused)
        );
        assert!(!folder.path().join("victim").exists(), "{arguments:?}");
    }
}

#[test]
fn a_file_is_not_read_while_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("texts.txt");
    for script in ["\"$0\" normalize <texts.txt >>texts.txt", "\"$0\" score --input texts.txt >>texts.txt"] {
        fs::write(&path, "อร่อยมาก\n").expect("written");
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_arom")]).current_dir(folder.path());
        let refused = run_command(&mut command, "");
        assert!(!refused.status.success());
        assert!(stderr(&refused).contains("the file that the output goes to"), "{}", stderr(&refused));
        assert_eq!(fs::read_to_string(&path).expect("there"), "อร่อยมาก\n");
    }
}

#[test]
fn no_cell_of_csv_is_a_formula_when_that_is_asked_for_and_no_column_of_ours_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let cells = [
        "=1+1",
        "+66 81",
        "-อร่อย",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "\nx",
        "＝1+1",
        "'=1",
        "''=1",
        "-5",
        "+1.5",
        "ดี=",
        "'ดี",
    ];
    let escaped = [
        "'=1+1",
        "'+66 81",
        "'-อร่อย",
        "'@SUM(A1)",
        "'\tx",
        "'\rx",
        "'\nx",
        "'＝1+1",
        "''=1",
        "'''=1",
        "-5",
        "+1.5",
        "ดี=",
        "'ดี",
    ];
    let lines = cells.map(|cell| serde_json::json!({ "text": cell, "=name": cell }).to_string());
    fs::write(folder.path().join("=dump.jsonl"), lines.join("\n")).expect("written");
    fs::write(folder.path().join("other.jsonl"), "{\"text\":\"ดี\"}").expect("written");
    let table = |more: &[&str]| {
        let inputs = ["batch", "=dump.jsonl", "other.jsonl", "--out", "out.csv", "--overwrite"];
        let output = within(folder.path(), &[&inputs, more].concat(), "");
        stdout(&output);
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).from_path(folder.path().join("out.csv"));
        let rows = reader.as_mut().expect("there").records().map(|row| row.expect("a row"));
        rows.map(|row| row.iter().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let plain = table(&[]);
    let column = |table: &[Vec<String>], name: &str| {
        let at = table[0].iter().position(|title| title == name).expect("a column");
        table[1..].iter().map(|row| row[at].clone()).collect::<Vec<_>>()
    };
    assert_eq!(column(&plain, "text")[..cells.len()], cells);
    assert_eq!(column(&plain, "arom_source")[0], "'=dump.jsonl");
    let safe = table(&["--escape-formulas", "--report-json", "report.json"]);
    assert_eq!(column(&safe, "text")[..cells.len()], escaped);
    assert_eq!(column(&safe, "'=name")[..cells.len()], escaped);
    // Scores are numbers, also those below nothing.
    assert!(column(&safe, "arom_score").iter().all(|score| score.parse::<f32>().is_ok()));
    assert_eq!(column(&safe, "arom_score"), column(&plain, "arom_score"));
    // The report is of the texts as they were.
    stdout(&within(
        folder.path(),
        &["batch", "=dump.jsonl", "other.jsonl", "--out", "out.jsonl", "--report-json", "other.json"],
        "",
    ));
    let figures = |name: &str| fs::read_to_string(folder.path().join(name)).expect("there");
    assert_eq!(figures("report.json"), figures("other.json"));
    let refused =
        within(folder.path(), &["batch", "other.jsonl", "--out", "x.jsonl", "--escape-formulas"], "");
    assert!(stderr(&refused).contains("is for CSV"), "{}", stderr(&refused));
}

/// Runs `arom` with so much memory that it can address at most, and gives what it says.
fn bounded(folder: &Path, arguments: &[&str], code: i32) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 1500000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_arom")]);
    let output = run_command(command.args(arguments).current_dir(folder), "");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    stderr(&output)
}

fn gzip(path: &Path, parts: impl Iterator<Item = String>) {
    let mut file = GzEncoder::new(File::create(path).expect("created"), flate2::Compression::best());
    parts.for_each(|part| file.write_all(part.as_bytes()).expect("written"));
    file.finish().expect("written");
}

/// A Parquet file with such columns, each with one value.
fn parquet(path: &Path, fields: Vec<TypePtr>, value: &str) {
    let count = fields.len();
    let schema = Type::group_type_builder("schema").with_fields(fields).build().expect("a schema");
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let file = File::create(path).expect("created");
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    for _ in 0..count {
        let mut column = group.next_column().expect("a column").expect("a column");
        let values = [ByteArray::from(value)];
        column.typed::<ByteArrayType>().write_batch(&values, None, None).expect("written");
        column.close().expect("closed");
    }
    group.close().expect("closed");
    writer.close().expect("closed");
}

fn field(name: &str) -> TypePtr {
    let field =
        Type::primitive_type_builder(name, Physical::BYTE_ARRAY).with_repetition(Repetition::REQUIRED);
    Arc::new(field.with_logical_type(Some(LogicalType::String)).build().expect("a field"))
}

#[test]
fn a_dump_that_is_a_bomb_is_refused_by_name_and_limit_and_needs_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let check = |name: &str, says: &str| {
        let said = bounded(folder.path(), &["batch", name, "--out", "out.csv"], 2);
        assert!(said.contains(name) && said.contains(says), "{name}: {said}");
    };
    // Five million columns in some kilobytes, named or not.
    for (millions, says) in [(1, "has more than 16384 columns"), (5, "a row of more than 4194304 separators")]
    {
        let columns = |cell: &'static str| (0..100 * millions).map(move |_| cell.repeat(10_000));
        gzip(&at("wide.csv.gz"), columns("a,").chain(["text\n".to_owned()]).chain(columns("1,")));
        assert!(fs::metadata(at("wide.csv.gz")).expect("there").len() < 200_000);
        check("wide.csv.gz", says);
        gzip(&at("unnamed.csv.gz"), (0..100 * millions).map(|_| ",".repeat(10_000)));
        check("unnamed.csv.gz", says);
    }
    // What inflates to far more than it is: half a gigabyte.
    let half = || (0..512).map(|_| "ก".repeat((1 << 20) / 3) + "\n");
    gzip(&at("bomb.csv.gz"), half());
    check("bomb.csv.gz", "inflates to more than 200 times its size");
    let mut zstd =
        zstd::Encoder::new(File::create(at("bomb.jsonl.zst")).expect("created"), 3).expect("an encoder");
    half().for_each(|part| zstd.write_all(part.as_bytes()).expect("written"));
    zstd.finish().expect("written");
    check("bomb.jsonl.zst", "inflates to more than 200 times its size");
    let said = bounded(
        folder.path(),
        &[
            "batch",
            "bomb.csv.gz",
            "--out",
            "out.csv",
            "--max-inflation",
            "10000",
            "--max-inflated-bytes",
            "1000000",
        ],
        2,
    );
    assert!(said.contains("bomb.csv.gz inflates to more than 1000000 bytes"), "{said}");
    // Parquet: an index, columns, nesting and pages that are too large.
    parquet(&at("wide.parquet"), (0..16_385).map(|number| field(&format!("c{number}"))).collect(), "ดี");
    check("wide.parquet", "has more than 16384 columns");
    parquet(&at("page.parquet"), vec![field("text")], &"ก".repeat(24 << 20));
    check("page.parquet", "has a page of");
    assert!(fs::metadata(at("page.parquet")).expect("there").len() < 1 << 20);
    parquet(
        &at("pages.parquet"),
        (0..9).map(|number| field(&format!("c{number}"))).collect(),
        &"ก".repeat(20 << 20),
    );
    check("pages.parquet", "of memory for its pages");
    let group = |inner: TypePtr| {
        let group =
            Type::group_type_builder("g").with_repetition(Repetition::REQUIRED).with_fields(vec![inner]);
        Arc::new(group.build().expect("a group"))
    };
    let deep = (0..40).fold(field("text"), |inner, _| group(inner));
    parquet(&at("deep.parquet"), vec![deep], "ดี");
    check("deep.parquet", "more than 32 deep");
    let mut file = File::create(at("index.parquet")).expect("created");
    file.write_all(b"PAR1").expect("written");
    file.set_len(40 << 20).expect("enlarged");
    drop(file);
    let mut file = fs::OpenOptions::new().append(true).open(at("index.parquet")).expect("there");
    file.write_all(&(32_u32 << 20).to_le_bytes()).expect("written");
    file.write_all(b"PAR1").expect("written");
    check("index.parquet", "has an index of 33554432 bytes");
}

#[test]
fn a_row_that_is_a_bomb_is_refused_and_the_others_are_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let keys: String = (0..2_000_000).map(|number| format!("\"k{number}\":1,")).collect();
    let columns: String = (0..16_385).map(|number| format!("\"k{number}\":1,")).collect();
    let bombs = [
        ("values", format!("{{{keys}\"text\":\"ดี\"}}"), "more than 262144 values"),
        ("columns", format!("{{{columns}\"text\":\"ดี\"}}"), "more than 16384 columns"),
        (
            "deep",
            format!("{{\"text\":\"ดี\",\"x\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)),
            "recursion limit",
        ),
    ];
    for (name, bomb, says) in &bombs {
        for (file, alone) in
            [(format!("{name}.jsonl"), bomb.clone()), (format!("{name}.json"), format!("[{bomb}]"))]
        {
            fs::write(at(&file), alone).expect("written");
            let said = bounded(folder.path(), &["batch", &file, "--out", "out.csv"], 1);
            assert!(said.contains(&file) && said.contains(says), "{file}: {said}");
        }
    }
    let [values, columns, deep] = bombs.map(|(_, bomb, _)| bomb);
    let row = "{\"text\":\"อร่อยมาก\"}";
    fs::write(at("mixed.jsonl"), [row, &values, &columns, &deep, row].join("\n")).expect("written");
    let output = within(folder.path(), &["batch", "mixed.jsonl", "--out", "mixed.csv", "--quiet"], "");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(at("mixed.csv")).expect("there").lines().count(), 3);

    // A line without end.
    let line = "ก".repeat(30 << 20);
    fs::write(at("line.jsonl"), format!("{row}\n{{\"text\":\"{line}\"}}\n")).expect("written");
    fs::write(at("line.csv"), format!("text,rating\n\"{line}")).expect("written");
    for file in ["line.jsonl", "line.csv"] {
        let said =
            stderr(&within(folder.path(), &["batch", file, "--out", "line.out.jsonl", "--overwrite"], ""));
        assert!(said.contains("larger than 64 MiB"), "{file}: {said}");
    }
    for arguments in [["score", "--input", "line.jsonl"], ["profile", "import", "line.jsonl"]] {
        let output = within(folder.path(), &arguments, "");
        let said = stderr(&output);
        let is_import = arguments[0] == "profile";
        assert!(is_import || said.contains("line.jsonl, line 2: it is longer than 64 MiB"), "{said}");
    }
}

#[test]
fn a_settings_file_that_is_a_bomb_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("arom.toml"), "# ก\n".repeat(300_000)).expect("written");
    fs::write(at("brands.toml"), "# ก\n".repeat(3_000_000)).expect("written");
    let unknown: String = (0..50_000).map(|number| format!("k{number} = 1\n")).collect();
    fs::write(at("unknown.toml"), format!("[server]\n{unknown}")).expect("written");
    fs::write(at("long.toml"), format!("[server]\nlisten = \"{}\"\n", "1".repeat(900_000))).expect("written");
    let faults: String =
        (0..200_000).map(|number| format!("[[brands]]\nid = \"b{number}\"\naliases = []\n")).collect();
    fs::write(at("faults.toml"), faults).expect("written");
    fs::write(at("nested.toml"), format!("[scoring]\nworkers = {}", "[".repeat(100_000))).expect("written");
    for arguments in [
        ["--config".to_owned(), at("arom.toml")],
        ["--config".to_owned(), "/dev/zero".to_owned()],
        ["--config".to_owned(), at("nested.toml")],
        ["--config".to_owned(), at("unknown.toml")],
        ["--config".to_owned(), at("long.toml")],
        ["--catalogue".to_owned(), at("faults.toml")],
        ["--catalogue".to_owned(), at("brands.toml")],
        ["--catalogue".to_owned(), "/dev/zero".to_owned()],
        ["--profile-pseudonym-key-file".to_owned(), "/dev/zero".to_owned()],
    ] {
        let mut full = vec!["config", "check"];
        full.extend(arguments.iter().map(String::as_str));
        let said = bounded(folder.path(), &full, 2);
        assert!(said.contains(&arguments[1]) && said.len() < 8000, "{arguments:?}: {said}");
    }
}

#[test]
fn a_file_that_is_read_whole_has_a_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    File::create(at("sparse")).and_then(|file| file.set_len(3 << 30)).expect("made");
    let restore = ["profile", "restore", "none.backup", "--profile-store", "store", "--erasures"];
    for erasures in ["/dev/zero", "sparse"] {
        let said = bounded(folder.path(), &[&restore[..], &[erasures]].concat(), 1);
        assert!(said.contains(&format!("{erasures}, line 1: is no erasure")), "{said}");
    }
    // A bundle one of whose files is endless, or said to be larger than any.
    for (name, most) in
        [("manifest.toml", 1 << 20), ("tokenizer.json", 64 << 20), ("model.onnx", 2_u64 << 30)]
    {
        for foreign in ["/dev/zero", "sparse"] {
            let model = tempfile::tempdir_in(folder.path()).expect("a folder");
            for other in ["manifest.toml", "tokenizer.json", "model.onnx"] {
                fs::copy(repository().join("models/arom-fast").join(other), model.path().join(other))
                    .expect("copied");
            }
            fs::remove_file(model.path().join(name)).expect("removed");
            let foreign_path = if foreign == "sparse" { at("sparse") } else { foreign.into() };
            symlink(foreign_path, model.path().join(name)).expect("linked");
            let bundle = model.path().display().to_string();
            let said = bounded(folder.path(), &["model", "show", "--model", &bundle], 1);
            let says = if foreign == "sparse" {
                format!("more than the {most} bytes")
            } else {
                "no plain file".to_owned()
            };
            assert!(said.contains(name) && said.contains(&says), "{name}, {foreign}: {said}");
        }
    }
}

#[test]
fn a_folder_of_dumps_is_not_left_by_its_links() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for inside in ["dumps/below", "outside"] {
        fs::create_dir_all(at(inside)).expect("created");
    }
    for file in ["dumps/a.csv", "dumps/below/b.csv", "outside/c.csv"] {
        fs::write(at(file), "text\nอร่อยมาก\n").expect("written");
    }
    symlink("/", at("dumps/root")).expect("linked");
    symlink("..", at("dumps/below/up")).expect("linked");
    symlink(at("outside"), at("dumps/out")).expect("linked");
    symlink(at("outside/c.csv"), at("dumps/c.csv")).expect("linked");
    let pattern = at("dumps/**/*.csv").display().to_string();
    for (number, input) in ["dumps", "dumps/**/*.csv", "./dumps/**/*.csv", &pattern].into_iter().enumerate() {
        let out = format!("out{number}.jsonl");
        let ran = within(folder.path(), &["batch", input, "--out", &out], "");
        assert_eq!(ran.status.code(), Some(0), "{input}: {}", stderr(&ran));
        assert_eq!(fs::read_to_string(at(&out)).expect("there").lines().count(), 2, "{input}");
        for link in ["dumps/root", "below/up", "dumps/out", "dumps/c.csv"] {
            let says = format!("{link} is a link in a folder, and left out");
            assert!(stderr(&ran).contains(&says), "{input}: {}", stderr(&ran));
        }
    }
    // A link that is named is followed.
    stdout(&within(folder.path(), &["batch", "dumps/c.csv", "dumps/out", "--out", "named.jsonl"], ""));
    assert_eq!(fs::read_to_string(at("named.jsonl")).expect("there").lines().count(), 2);
    // So it is with chats.
    let chat = repository().join("examples/chats/parcel.txt");
    fs::create_dir(at("chats")).expect("created");
    fs::copy(&chat, at("chats/own.txt")).expect("copied");
    symlink(&chat, at("chats/link.txt")).expect("linked");
    let ran = within(folder.path(), &["chat", "--json", "chats"], "");
    assert_eq!(stdout(&ran).lines().count(), 1);
    assert!(stderr(&ran).contains("link.txt is a link in a folder"), "{}", stderr(&ran));
}

#[test]
fn restoring_removes_only_what_a_restore_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let mine = folder.path().join("store/restoring/mine.txt");
    fs::create_dir_all(mine.parent().expect("a folder")).expect("created");
    fs::write(&mine, "precious").expect("written");
    let refused = within(folder.path(), &["profile", "restore", "x.backup", "--profile-store", "store"], "");
    assert!(stderr(&refused).contains("move it away"), "{}", stderr(&refused));
    assert_eq!(fs::read_to_string(&mine).expect("there"), "precious");
}
