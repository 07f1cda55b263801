//! `arom model`: what the bundle says of itself.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::read_bundle;
use super::terminal::{print, print_json};
use crate::config::Config;
use crate::model::{Bundle, Manifest, Model, Runtime, Tokenizer};

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Verify the bundle and show where it comes from and what was measured.
    #[command(after_help = "Examples:\n  arom model show\n  arom model show --json --model ./my-bundle")]
    Show(ShowArgs),
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Print the manifest as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &ModelCommand, config: &Config) -> Result<()> {
    let ModelCommand::Show(args) = command;
    let bundle = read_bundle(config)?;
    let runtime = Runtime::load(config.runtime_library.as_deref())?;
    Tokenizer::open(&bundle)?;
    Model::load(&runtime, &bundle)?.session()?;
    let printed = if args.json {
        let mut value =
            serde_json::to_value(&bundle.manifest).context("the manifest cannot be written as JSON")?;
        if let Some(object) = value.as_object_mut() {
            object.insert("fingerprint".to_owned(), bundle.fingerprint.clone().into());
        }
        print_json(&format!("{value:#}\n"))
    } else {
        print(&describe(&bundle))
    };
    printed.map(|_| ())
}

fn describe(bundle: &Bundle) -> String {
    let Manifest { description, labels, max_tokens, window_overlap, vocabulary_size, .. } = &bundle.manifest;
    let (base, training) = (&bundle.manifest.base, &bundle.manifest.training);
    let mut lines = vec![
        format!("{}  {description}", bundle.fingerprint),
        format!("folder      {}", bundle.folder.display()),
        format!("labels      {}", labels.join(", ")),
        format!(
            "window      {max_tokens} tokens, {window_overlap} shared with the next; {vocabulary_size} pieces"
        ),
        format!("base        {} ({}), {}", base.name, base.licence, base.source),
        format!("training    {} ({}), {}", training.name, training.licence, training.source),
    ];
    for (name, hash) in &bundle.manifest.files {
        lines.push(format!("verified    {name}  sha256 {hash}"));
    }
    for measured in &bundle.manifest.metrics {
        lines.push(format!("measured    {}: {}", measured.data, measured.command));
        lines.extend(
            measured.figures.iter().map(|(name, value)| format!("            {name:<28} {value:.4}")),
        );
    }
    lines.push(format!("reproduce   {}", bundle.manifest.reproduce.trim().replace('\n', "\n            ")));
    lines.join("\n") + "\n"
}
