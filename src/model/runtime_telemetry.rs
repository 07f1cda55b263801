//! ONNX Runtime's own telemetry, and how it stays off.
//!
//! From version 1.29 on, Microsoft's builds for Linux and macOS make a device id and a database under the home folder
//! when they are loaded, and send events to a host of theirs. The runtime reads the variable below once, while it is
//! loaded; its API for the same comes too late.

use std::io;

use crate::environment::{self, TELEMETRY_OFF};

/// Whether a runtime that is loaded now sends nothing.
pub(super) fn is_off() -> bool {
    environment::variable(TELEMETRY_OFF.0).is_some_and(|value| value == TELEMETRY_OFF.1)
}

/// Starts this program again with the telemetry of ONNX Runtime off, unless it is off already.
///
/// Call it first in `main`, before anything reads stdin or starts a thread. The program keeps its process id, arguments,
/// open files, working directory and ignored signals. The variable itself ends the recursion: it is set from then on.
///
/// # Errors
///
/// Returns only if nothing had to be done, or if the program could not be started again; then
/// [`Runtime::load`](super::Runtime::load) refuses, and everything else works.
pub fn restart_without_telemetry() -> io::Result<()> {
    let (name, value) = TELEMETRY_OFF;
    if is_off() { Ok(()) } else { environment::restart_with(&[(name, value.to_owned())]) }
}
