//! Where the ONNX Runtime library is looked for.

use std::path::{Path, PathBuf};

use super::TELEMETRY_OFF;

/// Why no ONNX Runtime library could be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The library that was asked for is not there.
    #[error("no ONNX Runtime library at {}, which --runtime-library or ORT_DYLIB_PATH names", .0.display())]
    NotAtPath(PathBuf),
    /// There is none in any of the usual places.
    #[error(
        "ONNX Runtime library not found (looked at {}); `cargo build` fetches it, or set ORT_DYLIB_PATH to \
         libonnxruntime of version 1.24 or later, which `pip download onnxruntime` brings in onnxruntime/capi/",
        .0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NotFound(Vec<PathBuf>),
    /// The library would send telemetry, since nothing in the environment keeps it from that.
    #[error(
        "ONNX Runtime is not loaded, for it would send telemetry to Microsoft: set {}={} before the program starts, or \
         call arom::model::restart_without_telemetry() first in its main",
        TELEMETRY_OFF.0, TELEMETRY_OFF.1
    )]
    Telemetry,
    /// It is there, but is no ONNX Runtime, or too old.
    #[error("{} is no ONNX Runtime library of version 1.24 or later", library.display())]
    Unusable {
        /// The library.
        library: PathBuf,
        /// What the loader said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Finds the library: the path given, else beside the executable, in `../lib`, or where the build put it.
///
/// # Errors
///
/// Says where it looked and how to get one.
pub fn locate_runtime(given: Option<&Path>) -> Result<PathBuf, RuntimeError> {
    if let Some(path) = given {
        return if path.is_file() {
            Ok(path.to_owned())
        } else {
            Err(RuntimeError::NotAtPath(path.to_owned()))
        };
    }
    let name = env!("AROM_ORT_LIBRARY");
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let mut tried: Vec<PathBuf> =
        beside.into_iter().flat_map(|folder| [folder.join(name), folder.join("../lib").join(name)]).collect();
    tried.push(Path::new(env!("AROM_ORT_FOLDER")).join(name));
    match tried.iter().find(|path| path.is_file()) {
        Some(found) => Ok(found.clone()),
        None => Err(RuntimeError::NotFound(tried)),
    }
}
