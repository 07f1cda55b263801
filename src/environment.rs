//! What the libraries below Arom read from the environment when the process starts.
//!
//! ONNX Runtime and the C library read their variables once. `std::env::set_var` is unsafe, since another thread may read the
//! environment at that moment, so a program that needs a variable starts again with it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// The environment variable that keeps the telemetry of ONNX Runtime off, and the value that it must have.
pub const TELEMETRY_OFF: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

/// The arenas of glibc's malloc. By default there are eight for each CPU; each grows to its own largest need and gives little back,
/// so a server with many threads goes on growing for an hour.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Starts this program again unless the telemetry of ONNX Runtime is off and the arenas of malloc are limited: to one for each
/// CPU, or to what the environment says.
///
/// # Errors
///
/// As [`restart_with`].
pub fn settle() -> io::Result<()> {
    let mut missing = Vec::new();
    let (name, value) = TELEMETRY_OFF;
    if variable(name).as_deref() != Some(OsStr::new(value)) {
        missing.push((name, value.to_owned()));
    }
    if variable(ARENAS).is_none() {
        let cpus = std::thread::available_parallelism().map_or(2, usize::from);
        missing.push((ARENAS, cpus.max(2).to_string()));
    }
    if missing.is_empty() { Ok(()) } else { restart_with(&missing) }
}

/// The value of a variable that is none of Arom's settings.
#[expect(clippy::disallowed_methods, reason = "it is a setting of a library below, none of Arom's")]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Starts this program again with these variables.
///
/// It keeps its process id, arguments, open files, working directory and ignored signals. The caller sees to it that this happens
/// once: it looks first whether the variables are set.
///
/// # Errors
///
/// Returns only if the program could not be started again.
pub(crate) fn restart_with(variables: &[(&str, String)]) -> io::Result<()> {
    let program = std::env::current_exe()?;
    // Under `ld.so ./arom` the loader is what the system runs, and it would take the first argument for the program.
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("ld-") || name.starts_with("ld.") {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "started through the dynamic loader"));
    }
    let error = start_again(&program, variables);
    if error.kind() != io::ErrorKind::NotFound {
        return Err(error);
    }
    // The file was replaced or removed meanwhile, as an update does; the kernel still has it.
    Err(start_again(Path::new("/proc/self/exe"), variables))
}

fn start_again(program: &Path, variables: &[(&str, String)]) -> io::Error {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value))).exec()
}
