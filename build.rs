//! Compiles the protos and puts the pinned ONNX Runtime library where the binary looks for it.

#![allow(clippy::disallowed_methods, reason = "cargo speaks to build scripts through the environment")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, error::Error, fs};

use prost::Message;

/// The protos of the services; they name the others. The last one is named by no file: it describes what the details of an
/// error hold as `Any`, so that reflection and JSON can show it.
const PROTOS: [&str; 5] = [
    "arom/v1/conversation_service.proto",
    "arom/v1/profile_service.proto",
    "arom/v1/sentiment_service.proto",
    "grpc/health/v1/health.proto",
    "google/rpc/error_details.proto",
];

const ORT_VERSION: &str = "1.31.1";

/// Wheel platform tag, wheel sha256, library name, library sha256, per target. From PyPI `onnxruntime`.
const ORT_BUILDS: [(&str, &str, [&str; 4]); 3] = [
    (
        "linux",
        "x86_64",
        [
            "manylinux_2_28_x86_64",
            "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
            "libonnxruntime.so.1.31.1",
            "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
        ],
    ),
    (
        "linux",
        "aarch64",
        [
            "manylinux_2_28_aarch64",
            "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
            "libonnxruntime.so.1.31.1",
            "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
        ],
    ),
    (
        "macos",
        "aarch64",
        [
            "macosx_14_0_arm64",
            "60b6b69bfe580eab576cacc5d132a0e9cf2a37fcfd18d46dd191042b1d1ed0d7",
            "libonnxruntime.1.31.1.dylib",
            "f8b06155feece624e55e49124340eea279da812529ae6fbc46a9f2be9c9cad2e",
        ],
    ),
];

/// Downloads the wheel with the machine's own pip, checks both hashes and moves the library into place.
const FETCH: &str = r#"
import hashlib, os, shutil, subprocess, sys, tempfile, zipfile
from pathlib import Path
folder, version, platform, wheel_sha, library, library_sha = sys.argv[1:]
folder = Path(folder)
sha = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
if (folder / library).is_file() and sha(folder / library) == library_sha:
    sys.exit()
folder.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryDirectory(dir=folder) as work:
    work = Path(work)
    (work / "requirements.txt").write_text(f"onnxruntime=={version} --hash=sha256:{wheel_sha}\n")
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--require-hashes", "--only-binary=:all:", "--platform", platform, "--python-version", "3.11",
        "--implementation", "cp", "--abi", "cp311", "-d", work, "-r", work / "requirements.txt"], check=True)
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        for name in (f"capi/{library}", "LICENSE", "ThirdPartyNotices.txt"):
            with wheel.open(f"onnxruntime/{name}") as source, open(work / Path(name).name, "wb") as target:
                shutil.copyfileobj(source, target)
    if sha(work / library) != library_sha:
        sys.exit(f"checksum of {library} does not match")
    for name in ("LICENSE", "ThirdPartyNotices.txt", library):
        os.replace(work / name, folder / name)
"#;

fn main() -> Result<(), Box<dyn Error>> {
    compile_protos()?;
    fetch_onnxruntime()
}

fn compile_protos() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("arom_descriptor.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    // By its name the codec finds out which lists a request has.
    config.enable_type_names();
    tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        .codec_path("crate::grpc::bounded::BoundedCodec")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// A failed download is a warning: the code still compiles, and the binary says what is missing.
fn fetch_onnxruntime() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=AROM_SKIP_FETCH");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join(".onnxruntime").join(ORT_VERSION);
    let (os, arch) = (env::var("CARGO_CFG_TARGET_OS")?, env::var("CARGO_CFG_TARGET_ARCH")?);
    let build = ORT_BUILDS.iter().find(|build| build.0 == os && build.1 == arch);
    let library = build.map_or("libonnxruntime.so", |build| build.2[2]);
    println!("cargo:rustc-env=AROM_ORT_LIBRARY={library}");
    println!("cargo:rustc-env=AROM_ORT_FOLDER={}", folder.display());
    if env::var_os("AROM_SKIP_FETCH").is_some() {
        return Ok(());
    }
    let Some((_, _, pins)) = build else {
        println!(
            "cargo:warning=no pinned ONNX Runtime for {os} {arch}; set ORT_DYLIB_PATH when running arom"
        );
        return Ok(());
    };
    // A missing file makes cargo run this script again.
    println!("cargo:rerun-if-changed={}", folder.join(library).display());
    let fetched =
        Command::new("python3").args(["-c", FETCH]).arg(&folder).arg(ORT_VERSION).args(pins).status();
    if !fetched.is_ok_and(|status| status.success()) {
        println!(
            "cargo:warning=ONNX Runtime {ORT_VERSION} was not fetched (needs python3 with pip and a package index); \
             build again when it can be, or set ORT_DYLIB_PATH when running arom"
        );
    }
    Ok(())
}
