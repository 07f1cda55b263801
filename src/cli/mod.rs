//! The command line: one file per subcommand.

mod batch;
mod chat;
mod config;
mod dial;
mod evaluate;
mod health;
mod model;
mod normalize;
mod profile;
mod progress;
mod rows;
mod score;
mod serve;
mod sink;
mod targets;
mod terminal;
mod verify;

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use dial::dial;

use crate::config::{CommonFlags, Config, ConfigError, ServeFlags};
use crate::model::{Bundle, Runtime};
use crate::scoring::Scorer;
use crate::secret_url::hide_urls;
use crate::sinks::SinkError;
use crate::telemetry::{self, Metrics, TelemetryConfig};
use crate::visible::visible;

/// Thai sentiment on your own CPU: a gRPC server and command-line tools.
#[derive(Debug, Parser)]
#[command(name = "arom", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    common: CommonFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // The help of each is the comment of its arguments.
    Score(score::ScoreArgs),
    Batch(batch::BatchArgs),
    Chat(chat::ChatArgs),
    Serve(serve::ServeArgs),
    Profile(profile::ProfileArgs),
    /// What the sinks of a server could not deliver.
    #[command(subcommand)]
    Sink(sink::SinkCommand),
    Targets(targets::TargetsArgs),
    Health(health::HealthArgs),
    Evaluate(evaluate::EvaluateArgs),
    Normalize(normalize::NormalizeArgs),
    /// Describe and verify the model bundle.
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Show and check the settings.
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// Runs the command; the error is what a person is to read.
///
/// # Errors
///
/// Whatever the command could not do, with its causes.
pub fn run(cli: &Cli) -> Result<()> {
    let common = &cli.common;
    match &cli.command {
        Command::Serve(args) => serve::run(args, common),
        Command::Profile(args) => {
            let config = start(common)?;
            profile::run(args, &config)
        }
        Command::Sink(command) => sink::run(command, common),
        Command::Config(command) => config::run(command, common),
        Command::Health(args) => health::run(args, common),
        Command::Score(args) => score::run(args, &start(common)?),
        Command::Batch(args) => batch::run(args, &start_with(common, &args.serve_flags())?),
        Command::Chat(args) => chat::run(args, &start(common)?),
        Command::Evaluate(args) => evaluate::run(args, &start(common)?),
        Command::Normalize(args) => {
            start(common)?;
            normalize::run(args)
        }
        Command::Targets(args) => targets::run(args, &start(common)?),
        Command::Model(command) => model::run(command, &start(common)?),
    }
}

/// What is said of an error: URLs in it, which may come from an argument, have no secrets, and nothing in it is obeyed by a terminal.
pub fn complaint(text: &str) -> String {
    visible(&hide_urls(text)).into_owned()
}

/// Settings and log of a command that ends by itself; only the server sends traces.
fn start(common: &CommonFlags) -> Result<Config> {
    start_with(common, &ServeFlags::default())
}

/// As [`start`], with some of the settings of a server.
fn start_with(common: &CommonFlags, flags: &ServeFlags) -> Result<Config> {
    let config = Config::resolve(common, flags)?;
    let telemetry = TelemetryConfig { traces: None, ..config.telemetry.clone() };
    telemetry::start(&telemetry).map_err(ConfigError::invalid)?;
    Ok(config)
}

/// That so many lines were refused and the rest is done.
#[derive(Debug, thiserror::Error)]
#[error("{0} refused or not recorded; the others are done")]
struct Rejected(usize);

/// The exit code for an error: 2 if the command or its settings are at fault, 3 if it is done but for some lines, 1 if the work
/// failed.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let settings = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<ConfigError>() || matches!(cause.downcast_ref(), Some(SinkError::Webhook(_)))
    };
    if error.chain().any(settings) {
        2
    } else if error.is::<Rejected>() {
        3
    } else {
        1
    }
}

/// The model bundle that the settings name.
fn read_bundle(config: &Config) -> Result<Bundle> {
    const REFUSED: &str = "the model bundle is refused";
    let folder = &config.bundle;
    if !folder.exists() {
        bail!(
            "{REFUSED}: there is no {}; name a folder, or arom-base or arom-fast, which ship",
            folder.display()
        );
    }
    Bundle::read(folder).context(REFUSED)
}

/// The scorer that the settings describe.
fn open_scorer(config: &Config, metrics: Arc<Metrics>) -> Result<Scorer> {
    // The library first: without it nothing can run, and looking for it is cheap.
    let runtime = Runtime::load(config.runtime_library.as_deref())?;
    let bundle = read_bundle(config)?;
    Ok(Scorer::open(&bundle, &runtime, &config.scoring, metrics)?)
}

/// The runtime for commands that wait for the scorer and nothing else.
fn wait<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    Ok(runtime.block_on(work))
}
