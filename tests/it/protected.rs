//! No output is a file that the settings name, the model, the program, the runtime library or a profile store's.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use arom::profile::{Book, Disk, Terms};

use crate::support::{bundle_folder, repository, stderr};

/// A copy of the program with all that it may destroy.
struct Place {
    folder: tempfile::TempDir,
    files: Vec<PathBuf>,
}

fn profile_store(folder: &Path) {
    drop(Book::open(Disk::open(folder).expect("it opens"), Terms::default(), [7; 32]).expect("a book"));
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("bin")).expect("made");
        fs::hard_link(env!("CARGO_BIN_EXE_arom"), at("bin/arom"))
            .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_arom"), at("bin/arom")).map(drop))
            .expect("copied");
        let library = arom::model::locate_runtime(None).expect("the build fetched it");
        let beside = at("bin").join(library.file_name().expect("a file"));
        fs::copy(&library, &beside).expect("copied");
        fs::create_dir(at("model")).expect("made");
        for name in ["manifest.toml", "model.onnx", "tokenizer.json"] {
            fs::copy(bundle_folder().join(name), at("model").join(name)).expect("copied");
        }
        profile_store(&at("store"));
        fs::write(at("secret"), "s".repeat(32)).expect("written");
        fs::write(at("pseudonyms"), "p".repeat(32)).expect("written");
        // No key but one that a flag replaces: the file is an input all the same.
        fs::write(at("arom.toml"), "[log]\nfilter = \"info\"\n").expect("written");
        fs::write(at("d.csv"), "text\nดีมาก\n").expect("written");
        let table =
            fs::read_dir(at("store/rows")).expect("a store").map(|entry| entry.expect("readable").path());
        let table = table.into_iter().find(|path| path.is_file()).expect("a file");
        let mut files = [
            "arom.toml",
            "model/model.onnx",
            "model/manifest.toml",
            "bin/arom",
            "store/high-water",
            "pseudonyms",
        ]
        .map(at)
        .to_vec();
        files.extend([beside, table]);
        Self { folder, files }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let variables = [
            ("AROM_CONFIG", self.at("arom.toml")),
            ("AROM_MODEL", self.at("model")),
            ("AROM_PROFILE_STORE", self.at("store")),
            ("AROM_PROFILE_PSEUDONYM_KEY_FILE", self.at("pseudonyms")),
        ];
        let mut command = Command::new(self.at("bin/arom"));
        command.args(args).envs(variables).env("AROM_LOG", "warn").current_dir(self.folder.path());
        command.stdin(Stdio::null()).output().expect("it runs")
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Enough of a file to see that it is another.
fn seen(path: &Path) -> (u64, Vec<u8>) {
    let bytes = fs::read(path).expect("there");
    (bytes.len() as u64, bytes.into_iter().take(64).collect())
}

#[test]
fn no_command_writes_over_what_the_settings_name_or_the_program_is_made_of() {
    let place = Place::new();
    let chat = text(&repository().join("examples/chats/parcel.txt")).to_owned();
    for file in &place.files {
        let before = seen(file);
        let (hard, soft) = (place.at("hard.jsonl"), place.at("soft.jsonl"));
        fs::hard_link(file, &hard).expect("linked");
        symlink(file, &soft).expect("linked");
        for output in [file, &hard, &soft] {
            let out = text(output);
            for args in [
                &["profile", "backup", "--force", out][..],
                &["chat", &chat, "--html", out, "--overwrite"],
                &["batch", "d.csv", "--out", "o.jsonl", "--report-json", out, "--overwrite"],
                &["batch", "d.csv", "--out", "o.jsonl", "--report", out, "--overwrite"],
                &["batch", "d.csv", "--out", "o.jsonl", "--rejects", out, "--overwrite"],
            ] {
                let ran = place.run(args);
                let said = stderr(&ran);
                assert!(!ran.status.success() && said.contains("name another"), "{args:?}: {said}");
                assert_eq!(seen(file), before, "{args:?}");
            }
        }
        fs::remove_file(hard).expect("there");
        fs::remove_file(soft).expect("there");
    }
}

#[test]
fn no_output_lies_in_the_folder_of_a_store_whoever_names_it() {
    let place = Place::new();
    let other = place.at("other");
    profile_store(&other);
    for output in ["other/new.jsonl", "other/rows/new.jsonl", "other/high-water", "store/new.jsonl"] {
        for args in [
            &["profile", "backup", "--force", output][..],
            &["batch", "d.csv", "--out", "o.jsonl", "--report-json", output, "--overwrite"],
        ] {
            let ran = place.run(args);
            let said = stderr(&ran);
            assert!(!ran.status.success() && said.contains("profile store"), "{args:?}: {said}");
        }
    }
}

#[test]
fn no_sink_writes_to_a_file_of_something_else() {
    let place = Place::new();
    let path = |name: &str| text(&place.at(name)).to_owned();
    let webhook = ["--sink-webhook-url", "https://127.0.0.1:1/x", "--sink-webhook-secret-file"];
    let mut rows: Vec<Vec<String>> = Vec::new();
    let files = place.files.iter().map(|file| text(file).to_owned());
    for letters in files.chain(["secret", "store/rows/new", "new-store/high-water"].map(path)) {
        let mut args = webhook.map(str::to_owned).to_vec();
        args.extend([path("secret"), "--sink-webhook-dead-letters".to_owned(), letters]);
        rows.push(args);
    }
    fs::create_dir(place.at("events")).expect("made");
    fs::hard_link(place.at("pseudonyms"), place.at("events/profiles.jsonl")).expect("linked");
    for folder in ["events", "store", "new-store"] {
        rows.push(vec!["--sink-jsonl-folder".to_owned(), path(folder)]);
    }
    for row in rows {
        let mut args: Vec<&str> = row.iter().map(String::as_str).collect();
        let new = path("new-store");
        if row.iter().any(|arg| arg.contains("new-store")) {
            args.extend(["--profile-store", &new]);
        }
        let kept: Vec<_> = place.files.iter().chain([&place.at("secret")]).map(|file| seen(file)).collect();
        let checked = place.run(&[&["config", "check"], &args[..]].concat());
        let served = place.run(&[&["serve", "--listen", "127.0.0.1:0"], &args[..]].concat());
        for ran in [checked, served] {
            let said = stderr(&ran);
            assert_eq!(ran.status.code(), Some(2), "{args:?}: {said}");
            assert!(said.contains("sink.") && said.contains("name another"), "{args:?}: {said}");
        }
        let now: Vec<_> = place.files.iter().chain([&place.at("secret")]).map(|file| seen(file)).collect();
        assert_eq!(now, kept, "{args:?}");
    }
}
