//! Clients from npm against a real `arom serve`: grpc-js, and `buf curl`, which knows the protos by reflection alone.
//!
//! The first run installs the pinned packages into the target folder. They run with `make check-clients`; the same calls by
//! grpcio are in `python.rs`.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{Process, made_once, repository};

const PACKAGES: [&str; 3] = ["@bufbuild/buf@1.75.0", "@grpc/grpc-js@1.14.7", "protobufjs@8.8.1"];

/// The folder of modules that npm filled.
fn modules() -> PathBuf {
    let folder = made_once("clients", &PACKAGES.join("\n"), |folder| {
        let installed = Command::new("npm")
            .args(["install", "--silent", "--no-save", "--prefix"])
            .arg(folder)
            .args(PACKAGES)
            .status()
            .expect("npm is installed");
        assert!(installed.success(), "npm could not install {PACKAGES:?}");
    });
    folder.join("node_modules")
}

/// Runs all calls of `tests/clients/cases.json` by a client.
fn calls(client: impl FnOnce(&str) -> Command) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("store").display().to_string();
    let mut server = Process::start(&["--profile-store", &store]);
    server.wait_for("ready");
    let output = client(&server.address).current_dir(repository()).output().expect("it is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.ends_with(" calls: ok\n"), "{shown}");
}

#[test]
#[ignore = "needs npm: make check-clients"]
fn buf_curl_prints_every_answer_and_error_by_reflection() {
    calls(|address| {
        let mut python = Command::new("python3");
        python.args(["tests/clients/cases.py", address]).arg(modules().join(".bin/buf"));
        python
    });
}

#[test]
#[ignore = "needs npm: make check-clients"]
fn grpc_js_gets_every_answer_and_error() {
    calls(|address| {
        let mut node = Command::new("node");
        node.args(["tests/clients/cases.mjs", address]).arg(modules());
        node
    });
}
