//! `arom sink`: what sinks could not deliver.

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};

use crate::config::{CommonFlags, Config, ConfigError, ServeFlags};
use crate::sinks::{DeadLetters, Replayed, Webhook};
use crate::telemetry;

#[derive(Debug, Subcommand)]
pub(super) enum SinkCommand {
    Replay(ReplayArgs),
}

/// Post again what a webhook would not take. The server may run meanwhile.
///
/// Takes the settings of `arom serve`, so that the same file, variables or flags name the webhook, its secret and the dead
/// letters. What is still not taken stays in the file. An event is skipped if a newer one of the same profile or signal was delivered or
/// follows: it would put the receiver back. While a replay runs, the server holds back what is newer than a dead letter.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  arom sink replay --config /etc/arom/arom.toml\n  \
    arom sink replay --profile-store /var/lib/arom --sink-webhook-url https://cdp.example/hook \\\n    \
    --sink-webhook-secret-file /etc/arom/webhook-secret")]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    flags: ServeFlags,
}

pub(super) fn run(command: &SinkCommand, common: &CommonFlags) -> Result<()> {
    let SinkCommand::Replay(args) = command;
    let config = Config::resolve(common, &args.flags)?;
    let Some(webhook) = &config.sinks.webhook else {
        return Err(ConfigError::invalid(
            "sink.webhook_url: is not set; nothing says where to post".to_owned(),
        )
        .into());
    };
    let file = webhook.dead_letters.display();
    let folder = webhook.dead_letters.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        // The server makes it. One that is not there is mistyped.
        let folder = folder.display();
        let problem = format!("there is no folder {folder}, where the dead letters {file} would be");
        return Err(ConfigError::invalid(problem).into());
    }
    if !webhook.dead_letters.exists() {
        anstream::println!("{file}: nothing to replay: there is no such file");
        return Ok(());
    }
    let replayed = DeadLetters::open(&webhook.dead_letters)?.replay(&Webhook::new(webhook)?)?;
    let Replayed { delivered, superseded, left, unreadable, failed } = replayed;
    if unreadable > 0 {
        anstream::println!("{file}: {unreadable} lines cannot be read; they stay there, delete them by hand");
    }
    if superseded > 0 {
        anstream::println!(
            "{file}: {superseded} events skipped: newer ones of the same profile or signal were delivered or follow"
        );
    }
    match failed {
        None if delivered + superseded + unreadable == 0 => anstream::println!("{file}: nothing to replay"),
        None => anstream::println!("{file}: {delivered} events delivered"),
        Some(error) => {
            let error = anyhow!(telemetry::chain(&error));
            bail!("{file}: {delivered} events delivered, {left} left: {error}");
        }
    }
    Ok(())
}
