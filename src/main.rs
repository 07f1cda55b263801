//! Arguments to exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // If it cannot start again, a command that needs ONNX Runtime says what to set, and the others work.
    arom::model::restart_without_telemetry().unwrap_or_default();
    arom::files::keep_private();
    match arom::cli::run(&arom::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("arom: {error:#}");
            arom::cli::exit_code(&error).into()
        }
    }
}
