//! Arguments to exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // If it cannot start again, a command that needs ONNX Runtime says what to set, and the others work.
    arom::model::restart_without_telemetry().unwrap_or_default();
    arom::files::keep_private();
    let cli = match arom::cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            anstream::eprint!("{}", arom::cli::complaint(&error.to_string()));
            return u8::try_from(error.exit_code()).unwrap_or(2).into();
        }
    };
    match arom::cli::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("arom: {}", arom::cli::complaint(&format!("{error:#}")));
            arom::cli::exit_code(&error).into()
        }
    }
}
