//! Arguments to exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match arom::cli::run(&arom::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("arom: {error:#}");
            arom::cli::exit_code(&error).into()
        }
    }
}
