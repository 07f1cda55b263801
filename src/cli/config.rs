//! `arom config`: what is set, where it was said, and what there is to set.

use std::io::{self, Write};

use anyhow::Result;
use clap::{Args, Subcommand};

use super::normalize::written;
use super::read_bundle;
use crate::config::{CommonFlags, Config, ServeFlags, default_toml, markdown_table};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show every setting and where it was said: flag, environment variable, file and line, or default.
    ///
    /// What is shown is a settings file. With the flags of `arom serve` it shows what the server would run with.
    #[command(after_help = "Examples:\n  arom config show --config arom.toml\n  \
        arom config show --defaults >arom.toml")]
    Show(ShowArgs),
    /// Check the settings and the model bundle they name, and say nothing but what is wrong: exit code 0 if nothing
    /// is, 2 if a setting is, 1 if the bundle is.
    #[command(after_help = "Examples:\n  arom config check --config arom.toml")]
    Check(ServeFlags),
    /// List every setting with its flag, variable, default and meaning, as a Markdown table.
    Keys,
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Show the defaults alone.
    #[arg(long)]
    defaults: bool,
    #[command(flatten)]
    flags: ServeFlags,
}

pub(super) fn run(command: &ConfigCommand, common: &CommonFlags) -> Result<()> {
    let shown = match command {
        ConfigCommand::Show(ShowArgs { defaults: true, .. }) => default_toml(),
        ConfigCommand::Show(args) => Config::resolve(common, &args.flags)?.to_toml(),
        ConfigCommand::Check(flags) => {
            let config = Config::resolve(common, flags)?;
            config.check_sinks()?;
            read_bundle(&config)?;
            return Ok(());
        }
        ConfigCommand::Keys => markdown_table(),
    };
    written(io::stdout().lock().write_all(shown.as_bytes())).map(|_| ())
}
