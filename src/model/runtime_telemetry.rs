//! ONNX Runtime's own telemetry, and how it stays off.
//!
//! From version 1.29 on, Microsoft's builds for Linux and macOS make a device id and a database under the home folder
//! when they are loaded, and send events to a host of theirs. The runtime reads the variable below once, while it is
//! loaded; its API for the same comes too late. `std::env::set_var` is unsafe, since another thread may read the
//! environment at that moment, so a program that needs the variable starts again with it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// The environment variable that keeps the telemetry of ONNX Runtime off, and the value that it must have.
pub const TELEMETRY_OFF: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

/// A setting of glibc's allocator: blocks from 1 MiB on go back to the system when they are freed. Without it, the first large request
/// raises that limit to 32 MiB, and the holes that such requests leave stay with the process.
const LARGE_BLOCKS: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1048576");

/// Whether a runtime that is loaded now sends nothing.
pub(super) fn is_off() -> bool {
    #[expect(clippy::disallowed_methods, reason = "it is ONNX Runtime's setting, none of Arom's")]
    let value = std::env::var_os(TELEMETRY_OFF.0);
    value.is_some_and(|value| value == TELEMETRY_OFF.1)
}

/// Starts this program again with the telemetry of ONNX Runtime off, unless it is off already, and with an allocator that gives large
/// blocks back.
///
/// Call it first in `main`, before anything reads stdin or starts a thread. The program keeps its process id, arguments,
/// open files, working directory and ignored signals. The variable itself ends the recursion: it is set from then on.
///
/// # Errors
///
/// Returns only if nothing had to be done, or if the program could not be started again; then
/// [`Runtime::load`](super::Runtime::load) refuses, and everything else works.
pub fn restart_without_telemetry() -> io::Result<()> {
    if is_off() {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    // Under `ld.so ./arom` the loader is what the system runs, and it would take the first argument for the program.
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("ld-") || name.starts_with("ld.") {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "started through the dynamic loader"));
    }
    let error = start_again(&program);
    if error.kind() != io::ErrorKind::NotFound {
        return Err(error);
    }
    // The file was replaced or removed meanwhile, as an update does; the kernel still has it.
    Err(start_again(Path::new("/proc/self/exe")))
}

fn start_again(program: &Path) -> io::Error {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // An operator's own settings of the allocator stay.
    #[expect(clippy::disallowed_methods, reason = "it is a setting of the C library, none of Arom's")]
    if std::env::var_os(LARGE_BLOCKS.0).is_none() {
        command.env(LARGE_BLOCKS.0, LARGE_BLOCKS.1);
    }
    command.args(arguments).env(TELEMETRY_OFF.0, TELEMETRY_OFF.1).exec()
}
