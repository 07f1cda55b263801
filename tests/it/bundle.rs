//! A bundle that is not what its manifest says is refused, naming the file and the field.

use std::error::Error;
use std::fs;
use std::path::Path;

use arom::model::{Bundle, Model, Tokenizer};
use tempfile::TempDir;

use crate::support::{bundle_folder, run, runtime, stderr};

/// A copy of the shipped bundle to be spoilt.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["manifest.toml", "model.onnx", "tokenizer.json"] {
        fs::copy(bundle_folder().join(name), folder.path().join(name)).expect("copied");
    }
    folder
}

/// Reads, loads and opens a bundle; gives the whole chain of the error.
fn open(folder: &Path) -> Result<(), String> {
    let opened = || -> Result<(), Box<dyn Error>> {
        let bundle = Bundle::read(folder)?;
        Tokenizer::open(&bundle)?;
        Model::load(&runtime(), &bundle)?.session()?;
        Ok(())
    };
    opened().map_err(|error| arom::telemetry::chain(error.as_ref()))
}

fn edit(folder: &Path, from: &str, to: &str) {
    let file = folder.join("manifest.toml");
    let manifest = fs::read_to_string(&file).expect("readable");
    assert!(manifest.contains(from), "{from:?} is not in the manifest");
    fs::write(file, manifest.replacen(from, to, 1)).expect("written");
}

/// Makes the manifest accept a changed file, so that what is tested lies behind the checksum.
fn accept(folder: &Path, name: &str) {
    let error = open(folder).expect_err("the checksum does not match");
    let actual = error.split("sha256 is ").nth(1).and_then(|rest| rest.split(',').next()).expect("named");
    let expected = error.split("says ").nth(1).and_then(|rest| rest.split(';').next()).expect("named");
    assert!(error.contains(name));
    edit(folder, expected, actual);
}

#[test]
fn the_shipped_bundle_is_accepted() {
    open(&bundle_folder()).expect("it is whole");
}

#[test]
fn edited_manifests_are_refused() {
    let check = |from: &str, to: &str, file: &str, parts: &[&str]| {
        let folder = copy();
        edit(folder.path(), from, to);
        let error = open(folder.path()).expect_err(to);
        for part in parts.iter().chain(&[file]) {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    };
    let manifest = "manifest.toml";
    check("format = 1", "format = 9", manifest, &["`format`", "is 9"]);
    check("\"question\"]", "]", manifest, &["`labels`", "question"]);
    check("\"question\"]", "\"anger\"]", manifest, &["`labels`", "anger"]);
    check("\"question\"]", "\"neutral\"]", manifest, &["`labels`"]);
    check("max_tokens = 256", "max_tokens = 4", manifest, &["`max_tokens`", "8 to 512"]);
    check("window_overlap = 64", "window_overlap = 200", manifest, &["`window_overlap`"]);
    check("window_overlap", "window_overlop", manifest, &["window_overlop"]);
    check("scale = [", "scale = [-1.0, 1.0, 1.0, 1.0] # [", manifest, &["`calibration`", "above 0"]);
    check("bias = [", "bias_ = [", manifest, &["bias_"]);
    check(
        "logits = \"logits\"",
        "logits = \"scores\"",
        "model.onnx",
        &["`tensors.logits`", "scores", "logits"],
    );
    check("input_ids = \"input_ids\"", "input_ids = \"ids\"", "model.onnx", &["`tensors.input_ids`", "ids"]);
}

#[test]
fn a_flipped_byte_is_found() {
    for name in ["model.onnx", "tokenizer.json"] {
        let folder = copy();
        let file = folder.path().join(name);
        let mut bytes = fs::read(&file).expect("readable");
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        fs::write(&file, bytes).expect("written");
        let error = open(folder.path()).expect_err("flipped");
        assert!(error.contains(name) && error.contains("sha256"), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    for name in ["manifest.toml", "model.onnx", "tokenizer.json"] {
        let folder = copy();
        fs::remove_file(folder.path().join(name)).expect("removed");
        let error = open(folder.path()).expect_err("missing");
        assert!(error.contains("cannot read") && error.contains(name), "{error}");
    }
}

#[test]
fn the_wrong_tokenizer_is_refused() {
    let folder = copy();
    let file = folder.path().join("tokenizer.json");
    let mut tokenizer: serde_json::Value =
        serde_json::from_slice(&fs::read(&file).expect("readable")).expect("JSON");
    let pieces =
        tokenizer.pointer_mut("/model/vocab").and_then(serde_json::Value::as_array_mut).expect("pieces");
    pieces.push(serde_json::json!(["ใหม่เอี่ยมอ่อง", -9.0]));
    fs::write(&file, tokenizer.to_string()).expect("written");
    accept(folder.path(), "tokenizer.json");
    let error = open(folder.path()).expect_err("one piece too many");
    assert!(error.contains("tokenizer.json") && error.contains("`vocabulary_size`"), "{error}");

    // With the manifest in agreement, it is the embedding that does not fit.
    let size = error.split("says ").nth(1).expect("the size").trim().to_owned();
    let larger = size.parse::<usize>().expect("a number") + 1;
    edit(folder.path(), &format!("vocabulary_size = {size}"), &format!("vocabulary_size = {larger}"));
    let error = open(folder.path()).expect_err("the embedding is smaller");
    assert!(error.contains("model.onnx") && error.contains("fewer rows"), "{error}");
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    let folder = copy();
    fs::write(folder.path().join("model.onnx"), "not a graph").expect("written");
    accept(folder.path(), "model.onnx");
    let error = open(folder.path()).expect_err("no graph");
    assert!(error.contains("cannot load model.onnx"), "{error}");
}

#[test]
fn the_command_line_says_why_and_fails() {
    let folder = copy();
    edit(folder.path(), "format = 1", "format = 9");
    let path = folder.path().display().to_string();
    for args in [vec!["score", "ดี"], vec!["model", "show"], vec!["serve", "--listen", "127.0.0.1:0"]] {
        let output = run(&[&args[..], &["--model", &path]].concat(), "");
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.contains("field `format` is 9"), "{text}");
    }
}
