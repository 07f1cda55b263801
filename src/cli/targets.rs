//! `arom targets`: what `--targets` looks for.

use anyhow::Result;
use clap::Args;

use super::terminal::print_file;
use crate::config::Config;

/// Show the brands and aspects that --targets looks for, as a catalogue file.
///
/// Without --catalogue these are Arom's own aspects. A catalogue adds brands with their aliases, more trigger words and
/// other aspects; `arom config check --catalogue FILE` says what is wrong with one.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  arom targets\n  arom targets --catalogue examples/catalogue.toml")]
pub(super) struct TargetsArgs {}

pub(super) fn run(_: &TargetsArgs, config: &Config) -> Result<()> {
    let shown = config.scoring.catalogue.to_toml();
    print_file(&shown).map(|_| ())
}
