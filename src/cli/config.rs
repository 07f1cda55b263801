//! `arom config`: what is set, where it was said, and what there is to set.

use std::sync::Arc;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::open_scorer;
use super::terminal::print_file;
use super::verify::{resolve, verify};
use crate::config::{CommonFlags, Config, ServeFlags, default_toml, markdown_table};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show every setting and where it was said: flag, environment variable, file and line, or default.
    ///
    /// What is shown is a settings file. With the flags of `arom serve` it shows what the server would run with.
    #[command(after_help = "Examples:\n  arom config show --config arom.toml\n  \
        arom config show --defaults >arom.toml")]
    Show(ShowArgs),
    /// Check what `arom serve` would refuse, and say nothing but what is wrong: exit code 0 if nothing is, 2 if a setting
    /// or a file that it names is, 1 if the model bundle is or ONNX Runtime cannot be used.
    ///
    /// It changes nothing and opens no port and no profile store, so it can be run beside a server.
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
            let mut config = resolve(common, flags)?;
            verify(&config)?;
            for name in &config.unknown_variables {
                anstream::eprintln!(
                    "warning: environment variable {name} names no setting; see arom config keys"
                );
            }
            // One worker is enough to see that the model runs.
            (config.scoring.workers, config.scoring.cache_bytes) = (1, 0);
            open_scorer(&config, Arc::default())?;
            return Ok(());
        }
        ConfigCommand::Keys => markdown_table(),
    };
    print_file(&shown).map(|_| ())
}
