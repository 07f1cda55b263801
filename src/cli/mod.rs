//! The command line: one file per subcommand.

mod evaluate;
mod health;
mod model;
mod normalize;
mod progress;
mod rows;
mod score;
mod serve;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::config::{CommonArgs, Config, ConfigError, ServeArgs};
use crate::model::{Bundle, Runtime};
use crate::scoring::Scorer;
use crate::telemetry;

/// Thai sentiment on your own CPU: a gRPC server and command-line tools.
#[derive(Debug, Parser)]
#[command(name = "arom", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // The help of each is the comment of its arguments.
    Score(score::ScoreArgs),
    Serve(ServeArgs),
    Health(health::HealthArgs),
    Evaluate(evaluate::EvaluateArgs),
    Normalize(normalize::NormalizeArgs),
    #[command(subcommand)]
    Model(model::ModelCommand),
}

/// Runs the command; the error is what a person is to read.
///
/// # Errors
///
/// Whatever the command could not do, with its causes.
pub fn run(cli: &Cli) -> Result<()> {
    let serve = match &cli.command {
        Command::Serve(args) => args.clone(),
        Command::Score(_)
        | Command::Health(_)
        | Command::Evaluate(_)
        | Command::Normalize(_)
        | Command::Model(_) => ServeArgs::default(),
    };
    let config = Config::resolve(&cli.common, &serve)?;
    telemetry::start(&config.log_filter, config.log_format).map_err(ConfigError::invalid)?;
    match &cli.command {
        Command::Score(args) => score::run(args, &config),
        Command::Serve(_) => serve::run(&config),
        Command::Health(args) => health::run(args),
        Command::Evaluate(args) => evaluate::run(args, &config),
        Command::Normalize(args) => normalize::run(args),
        Command::Model(command) => model::run(command, &config),
    }
}

/// The exit code for an error: 2 if the command or its settings are at fault, 1 if the work failed.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<ConfigError>()) { 2 } else { 1 }
}

/// The scorer that the settings describe.
fn open_scorer(config: &Config) -> Result<Scorer> {
    // The library first: without it nothing can run, and looking for it is cheap.
    let runtime = Runtime::load(config.runtime_library.as_deref())?;
    let bundle = Bundle::read(&config.bundle).context("the model bundle is refused")?;
    Ok(Scorer::open(&bundle, &runtime, &config.scoring)?)
}

/// The runtime for commands that wait for the scorer and nothing else.
fn wait<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    Ok(runtime.block_on(work))
}
