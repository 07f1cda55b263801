//! `arom batch`: review dumps with their sentiment.

mod answer;
mod checkpoint;
mod record;
mod remote;
mod report;
mod steps;
mod writer;

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc;

use super::progress::grouped;
use super::{Rejected, open_scorer};
use crate::config::{Config, ServeFlags};
use crate::dumps::{
    Columns, DumpError, Ending, Format, Given, Moment, Reading, Role, Source, find, from_json_lines,
};
use crate::grpc::v1::Channel;
use crate::scoring::{Features, Scorer};
use crate::text::Charset;
use answer::{COLUMNS, TARGETS};
use checkpoint::{Checkpoint, Identity, Reached, beside, remove_if_there, sync_folder};
use record::{Recorder, Written};
use remote::Remote;
use steps::{Done, Input, Steps};
use writer::{Output, Progress, Writer};

/// Score review dumps of any size: the same rows, in the same order, with columns of sentiment.
///
/// Takes CSV of any dialect, JSON Lines, JSON arrays and Parquet, plain, .gz or .zst; files, folders, patterns between quotes, and "-" for
/// stdin. Letters, separators, header and columns are found, and what was found is printed. Every column of a dump is kept; those
/// that are added begin with --prefix. Rows that cannot be used go to a file of rejects with their line and the reason.
///
/// A run that is stopped, by whatever, goes on where it was when the same command is given again, and ends with the same
/// bytes as if it had not been stopped.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 all rows are done, 1 it failed or was stopped, 2 the command or its settings are at fault,\n3 all is done but for rows that were refused.\n\n\
    Examples:\n  arom batch reviews.csv --out scored.jsonl\n  \
    arom batch 'dumps/2026-*.csv.gz' --out scored.parquet --columns text=Comment,brand='Product Name'\n  \
    arom batch shopee.xlsx.csv --encoding cp874 --delimiter ';' --out scored.csv\n  \
    arom batch reviews.parquet --out scored.csv.gz --brand somtam --record=127.0.0.1:50051\n  \
    zcat dump.jsonl.gz | arom batch - --out scored.jsonl --remote 127.0.0.1:50051"
)]
pub(super) struct BatchArgs {
    /// Dumps: files, folders, patterns between quotes, or "-" for stdin.
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
    /// The file to write: .jsonl, .csv (these also .gz or .zst) or .parquet.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Which columns hold what, as text=Comment,customer="User Id": of text, customer, brand, time, rating and id. What is not
    /// said is found; "brand=" says that none does.
    #[arg(long, value_name = "ROLE=NAME", value_delimiter = ',', value_parser = role)]
    columns: Vec<(Role, String)>,
    /// The brand of every row.
    #[arg(long, value_name = "ID")]
    brand: Option<String>,
    /// What the dumps are written in [default: found].
    #[arg(long, value_enum)]
    format: Option<Kind>,
    /// What separates the cells of CSV: one character, or "tab" [default: found].
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// The letters: utf-8, utf-16le, utf-16be or cp874 [default: found].
    #[arg(long, value_name = "NAME", value_parser = charset)]
    encoding: Option<Charset>,
    /// Whether the first row of CSV names the columns [default: found].
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no)]
    header: Option<bool>,
    /// What the names of the columns that are added begin with.
    #[arg(long, value_name = "TEXT", default_value = "arom_")]
    prefix: String,
    /// Add the brands and aspects that each text speaks of, with what it says of each.
    #[arg(long)]
    targets: bool,
    /// The file for rows that are refused [default: the output's name and .rejects.jsonl].
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Stop when more rows than so many are refused.
    #[arg(long, value_name = "N")]
    max_errors: Option<u64>,
    /// Begin anew, over what is there.
    #[arg(long)]
    overwrite: bool,
    /// Say nothing but what goes wrong.
    #[arg(long, short)]
    quiet: bool,
    /// Let a server score, instead of this process.
    #[arg(long, value_name = "ADDRESS")]
    remote: Option<String>,
    /// Record each row for the profiles of its customer and brand, once: by a server, or without an address in the store in
    /// --profile-store, which no server may have open.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    record: Option<String>,
    /// The store of --record.
    #[arg(long, value_name = "FOLDER", env = "AROM_PROFILE_STORE")]
    profile_store: Option<PathBuf>,
    /// The key by which customers are replaced in that store, as of the server that has it.
    #[arg(long, value_name = "FILE", env = "AROM_PROFILE_PSEUDONYM_KEY_FILE")]
    profile_pseudonym_key_file: Option<PathBuf>,
    /// Write a page about the dump: shares, moods over time, aspects, stars against words, what moves scores. Looks for targets.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the figures of that page as JSON.
    #[arg(long, value_name = "FILE")]
    report_json: Option<PathBuf>,
    /// Where the texts were written, for --record.
    #[arg(long, value_enum, default_value_t = Written::Review)]
    channel: Written,
}

/// A word of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Cells between separators
    Csv,
    /// One JSON object a line
    #[value(name = "jsonl")]
    JsonLines,
    /// One JSON array of objects
    #[value(name = "json")]
    JsonArray,
    /// Apache Parquet
    Parquet,
    /// One text a line
    Text,
}

fn role(text: &str) -> Result<(Role, String), String> {
    let known = || Role::ALL.map(Role::name).join(", ");
    let (role, column) =
        text.split_once('=').ok_or_else(|| format!("it has no \"=\"; use one of {} before it", known()))?;
    let role = Role::ALL.into_iter().find(|of| of.name() == role);
    Ok((role.ok_or_else(|| format!("there is no such role; there are {}", known()))?, column.to_owned()))
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "tab" | "\\t" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() => Ok(*byte),
            _ => Err("use one ASCII character, or \"tab\"".to_owned()),
        },
    }
}

fn charset(name: &str) -> Result<Charset, String> {
    Charset::from_name(name).ok_or_else(|| "use utf-8, utf-16le, utf-16be or cp874".to_owned())
}

fn yes_or_no(word: &str) -> Result<bool, String> {
    match word {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("use yes or no".to_owned()),
    }
}

impl BatchArgs {
    fn given(&self) -> Given {
        Given {
            format: self.format.map(|kind| match kind {
                Kind::Csv => Format::Csv { delimiter: b',', header: true },
                Kind::JsonLines => Format::JsonLines,
                Kind::JsonArray => Format::JsonArray,
                Kind::Parquet => Format::Parquet,
                Kind::Text => Format::Text,
            }),
            delimiter: self.delimiter,
            header: self.header,
            charset: self.encoding,
        }
    }

    /// The settings of a server that recording in its store needs.
    pub(super) fn serve_flags(&self) -> ServeFlags {
        let path = |key, path: &Option<PathBuf>| Some((key, path.as_ref()?.display().to_string()));
        let store = path("profile.store", &self.profile_store);
        ServeFlags::of(
            store.into_iter().chain(path("profile.pseudonym_key_file", &self.profile_pseudonym_key_file)),
        )
    }

    fn rejects(&self) -> PathBuf {
        self.rejects.clone().unwrap_or_else(|| beside(&self.out, ".rejects.jsonl"))
    }

    /// What grows while the run goes on: the output, or for Parquet, whose index is at its end, its rows.
    fn growing(&self, ending: Ending) -> PathBuf {
        match ending {
            Ending::Parquet => beside(&self.out, ".partial.jsonl"),
            Ending::JsonLines(_) | Ending::Csv(_) => self.out.clone(),
        }
    }

    /// Whether targets are looked for: a report without them would have no aspects.
    fn targets(&self) -> bool {
        self.targets || self.report.is_some() || self.report_json.is_some()
    }

    fn say(&self, line: impl FnOnce() -> String) {
        if !self.quiet {
            anstream::eprintln!("{}", line());
        }
    }
}

/// Who scores.
enum Engine {
    Here(Scorer),
    There(Remote),
}

impl Engine {
    fn fingerprint(&self) -> String {
        match self {
            Self::Here(scorer) => scorer.fingerprint().to_owned(),
            Self::There(remote) => remote.fingerprint.to_string(),
        }
    }
}

pub(super) fn run(args: &BatchArgs, config: &Config) -> Result<()> {
    let ending = Ending::of(&args.out).map_err(usage)?;
    let checkpoint_path = beside(&args.out, ".checkpoint");
    if args.overwrite {
        // Nothing is taken from under a run that goes on.
        if args.growing(ending).exists() {
            drop(Output::open(&args.growing(ending), 0)?);
        }
        for path in [&args.out, &args.rejects(), &args.growing(ending), &checkpoint_path] {
            remove_if_there(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    } else if args.out.exists() && !checkpoint_path.exists() {
        bail!("{} is there already; name another file, or replace it with --overwrite", args.out.display());
    }
    let _spool = Spool(spool(args));
    let inputs: Arc<[Input]> = look_through(args)?.into();
    let columns = csv_columns(args, ending, &inputs)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the async runtime")?;
    let engine = match &args.remote {
        Some(address) => Engine::There(runtime.block_on(Remote::connect(
            address,
            args.targets(),
            config.server.max_risk,
        ))?),
        None => Engine::Here(open_scorer(config, Arc::default())?),
    };
    let model = engine.fingerprint();
    let identity = identity(args, config, &inputs, model.clone());
    let growing = args.growing(ending);
    let recorder = recorder(args, config, &inputs)?;
    let (checkpoint, reached) = Checkpoint::open(checkpoint_path, identity)?;
    let before = reached.unwrap_or_default();
    let output = Output::open(&growing, before.output_bytes)?;
    Writer::cut_rejects(&args.rejects(), before.rejects_bytes)?;
    checkpoint.note(before).context("cannot write the checkpoint")?;
    if before.read > 0 {
        args.say(|| format!("goes on after {} rows", grouped(before.read)));
    }
    let progress = Arc::new(Progress::default());
    let writer = Writer {
        ending,
        columns,
        prefix: args.prefix.clone(),
        source_column: (inputs.len() > 1).then(|| format!("{}source", args.prefix)),
        inputs: Arc::clone(&inputs),
        output,
        rejects: args.rejects(),
        checkpoint,
        reached: before,
        recorder,
        max_errors: args.max_errors,
        progress: Arc::clone(&progress),
    };
    let started = Instant::now();
    let show = Show::new(args.quiet, &inputs, &progress, before);
    let (writer, reached) = runtime.block_on(score(args, config, engine, writer, inputs.clone(), show))?;
    if ending == Ending::Parquet {
        make_parquet(args, &growing, &inputs)?;
    }
    report::write(args, &inputs, &config.scoring.catalogue, &model)?;
    writer.finish().context("cannot remove the checkpoint")?;
    if ending == Ending::Parquet {
        remove_if_there(&growing).with_context(|| format!("cannot remove {}", growing.display()))?;
    }
    sync_folder(&args.out).context("cannot sync the folder of the output")?;
    args.say(|| summary(args, before, reached, &progress, started.elapsed()));
    match reached.counts.rejected {
        0 => Ok(()),
        rejected => Err(Rejected(usize::try_from(rejected).unwrap_or(usize::MAX)).into()),
    }
}

/// Where stdin is kept while it is used.
fn spool(args: &BatchArgs) -> PathBuf {
    beside(&args.out, ".stdin")
}

/// Nothing of stdin is left behind.
struct Spool(PathBuf);

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = remove_if_there(&self.0) {
            tracing::warn!(%error, file = %self.0.display(), "what was read from stdin is still there");
        }
    }
}

/// Finds the dumps, looks through each, and says what was found.
fn look_through(args: &BatchArgs) -> Result<Vec<Input>> {
    let own = [args.out.clone(), args.rejects(), beside(&args.out, ".partial.jsonl")];
    let stdin = Path::new("-");
    let spool = spool(args);
    let mut paths = Vec::new();
    for input in &args.inputs {
        if input == stdin {
            if paths.contains(&spool) {
                bail!("stdin can be read once");
            }
            // A dump is looked through before it is read, and a run that goes on compares it.
            let mut file =
                File::create(&spool).with_context(|| format!("cannot write {}", spool.display()))?;
            io::copy(&mut io::stdin().lock(), &mut file).context("cannot read stdin")?;
            paths.push(spool.clone());
        } else {
            let input = std::slice::from_ref(input);
            paths.extend(find(input, |path| own.iter().any(|own| own == path)).map_err(usage)?);
        }
    }
    let mut inputs = Vec::new();
    for path in paths {
        let name = if path == spool { "stdin".to_owned() } else { path.display().to_string() };
        let source = Source::survey(&path, &name, args.given()).map_err(usage)?;
        let columns = Columns::find(&source.columns, &source.sample, &args.columns)
            .map_err(|error| usage_in(&name, error))?;
        args.say(|| {
            let packed = source.compression.ending();
            let packed = if packed.is_empty() { String::new() } else { format!(", {packed}") };
            format!("{name}: {}{packed}; {columns}", source.dialect.name())
        });
        if let Some(taken) = source.columns.iter().find(|column| added(args).any(|own| own == **column)) {
            return Err(usage_in(
                &name,
                DumpError::Columns(format!("has a column {taken} already; choose another --prefix")),
            ));
        }
        inputs.push(Input { source, columns });
    }
    Ok(inputs)
}

/// The columns that are added.
fn added(args: &BatchArgs) -> impl Iterator<Item = String> + '_ {
    let targets = args.targets().then_some(TARGETS);
    COLUMNS.into_iter().chain(targets).map(|name| format!("{}{name}", args.prefix))
}

/// The columns of a CSV file: its head is written before its rows are seen.
fn csv_columns(args: &BatchArgs, ending: Ending, inputs: &[Input]) -> Result<Vec<String>> {
    if !matches!(ending, Ending::Csv(_)) {
        return Ok(Vec::new());
    }
    let mut columns: Vec<String> = Vec::new();
    for input in inputs {
        for name in input.source.all_columns()? {
            if !columns.contains(&name) {
                columns.push(name);
            }
        }
    }
    columns.extend((inputs.len() > 1).then(|| format!("{}source", args.prefix)));
    columns.extend(added(args));
    Ok(columns)
}

fn identity(args: &BatchArgs, config: &Config, inputs: &[Input], model: String) -> Identity {
    let columns: Vec<String> = inputs.iter().map(|input| input.columns.to_string()).collect();
    let text = |value: &dyn ToString| value.to_string();
    let settings = [
        ("--columns", columns.join("; ")),
        ("--prefix", args.prefix.clone()),
        ("--targets", text(&args.targets())),
        ("the catalogue", if args.targets() { config.scoring.catalogue.to_toml() } else { String::new() }),
        ("--max-risk", text(&config.server.max_risk)),
        ("server.max_text_bytes", text(&config.server.max_text_bytes)),
        ("--rejects", args.rejects().display().to_string()),
        ("--brand", args.brand.clone().unwrap_or_default()),
        ("--channel", format!("{:?}", args.channel)),
    ];
    Identity {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model,
        inputs: inputs
            .iter()
            .map(|Input { source, .. }| checkpoint::Input {
                name: source.name.clone(),
                bytes: source.bytes,
                sha256: source.sha256.clone(),
                dialect: source.dialect.name(),
            })
            .collect(),
        settings: settings.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}

fn recorder(args: &BatchArgs, config: &Config, inputs: &[Input]) -> Result<Option<Recorder>> {
    let Some(address) = &args.record else { return Ok(None) };
    for Input { source, columns } in inputs {
        let someone = args.brand.is_some()
            || [Role::Customer, Role::Brand].iter().any(|role| columns.of(*role).is_some());
        if columns.of(Role::Time).is_none() || !someone {
            let problem = "has no column of times, or none of customers and brands; say which they are with --columns, or --brand";
            return Err(usage_in(&source.name, DumpError::Columns(format!("--record: {problem}"))));
        }
    }
    let channel = Channel::from(args.channel);
    let brand = args.brand.clone();
    Ok(Some(if address.is_empty() {
        Recorder::to_store(config, brand, channel)?
    } else {
        Recorder::to_server(address, brand, channel)?
    }))
}

/// Runs reader, scorer and writer until all is done, one of them fails, or somebody stops it.
async fn score(
    args: &BatchArgs,
    config: &Config,
    engine: Engine,
    writer: Writer,
    inputs: Arc<[Input]>,
    mut show: Show,
) -> Result<(Writer, Reached)> {
    let reading = show.reading.clone();
    let steps: Steps = steps::read(inputs, writer.reached.read, config.server.max_text_bytes, reading)
        .context("cannot start a thread")?;
    let (done, results) = mpsc::channel::<Done>(2 * writer::BLOCK);
    // Until it is known whether all was scored, the writer waits for more.
    let open = done.clone();
    let whole = Arc::new(AtomicBool::new(false));
    let all = Arc::clone(&whole);
    let writing = tokio::task::spawn_blocking(move || writer.run(results, &all));
    let features = Features { targets: args.targets(), ..Features::default() };
    let scoring = async {
        match engine {
            Engine::Here(scorer) => {
                steps::score(&scorer, features, config.server.max_risk, steps, done).await
            }
            Engine::There(remote) => remote.score(steps, done).await,
        }
    };
    let mut stop = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("cannot listen for SIGTERM")?;
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    let scored = {
        let mut scoring = std::pin::pin!(scoring);
        loop {
            tokio::select! {
                scored = &mut scoring => break scored,
                _ = tokio::signal::ctrl_c() => break Err(Stopped.into()),
                _ = stop.recv() => break Err(Stopped.into()),
                _ = ticks.tick() => show.tick(),
            }
        }
    };
    // A dump that is broken in its middle is done up to there.
    let fault_of_dump = scored.as_ref().is_err_and(|error| error.is::<DumpError>());
    whole.store(scored.is_ok() || fault_of_dump, Ordering::Release);
    drop(open);
    let written = writing.await.map_err(|_| anyhow!("the thread that writes died"))?;
    show.finish();
    let advice =
        || format!("what is done is kept in {}; the same command goes on from there", args.out.display());
    let written = written.with_context(advice)?;
    scored.with_context(advice)?;
    Ok(written)
}

/// Somebody has ended the run.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Stopped;

fn make_parquet(args: &BatchArgs, rows: &Path, inputs: &[Input]) -> Result<()> {
    let next = beside(&args.out, ".next");
    // A column is of times if all dumps that have it say so.
    let moments: Vec<(String, Moment)> = inputs
        .iter()
        .flat_map(|input| &input.source.times)
        .filter(|(name, moment)| {
            inputs
                .iter()
                .filter(|input| input.source.columns.contains(name))
                .all(|input| input.source.times.iter().any(|(other, of)| other == name && of == moment))
        })
        .cloned()
        .collect();
    from_json_lines(rows, &next, &moments)?;
    fs::rename(&next, &args.out).with_context(|| format!("cannot write {}", args.out.display()))
}

fn summary(
    args: &BatchArgs,
    before: Reached,
    reached: Reached,
    progress: &Progress,
    took: Duration,
) -> String {
    let counts = reached.counts;
    let rows = counts.rows - before.counts.rows;
    let rate = rate(reached.read - before.read, took);
    let hits = progress.cache_hits.load(Ordering::Relaxed);
    let mut line = format!(
        "{}: {} rows in {:.1} s, {} a second, {} of them seen before",
        args.out.display(),
        grouped(counts.rows),
        took.as_secs_f64(),
        grouped(rate),
        grouped(hits),
    );
    if before.read > 0 {
        line.push_str(&format!("; {} of the rows in this run", grouped(rows)));
    }
    if args.record.is_some() {
        line.push_str(&format!(
            "; {} recorded, {} known already, {} not recorded",
            grouped(counts.recorded),
            grouped(counts.known),
            grouped(counts.unrecorded)
        ));
    }
    if counts.rejected > 0 {
        line.push_str(&format!("; {} refused: {}", grouped(counts.rejected), args.rejects().display()));
    }
    line
}

/// In a second.
fn rate(rows: u64, took: Duration) -> u64 {
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    rows.saturating_mul(1000) / milliseconds
}

/// A fault of the command: exit code 2.
fn usage(error: DumpError) -> anyhow::Error {
    match error {
        error @ (DumpError::Columns(_) | DumpError::NoInput(_)) => {
            crate::config::ConfigError::invalid(error.to_string()).into()
        }
        error @ (DumpError::File { .. } | DumpError::Broken { .. } | DumpError::Parquet { .. }) => {
            error.into()
        }
    }
}

fn usage_in(name: &str, error: DumpError) -> anyhow::Error {
    usage(match error {
        DumpError::Columns(problem) => DumpError::Columns(format!("{name}: {problem}")),
        other @ (DumpError::NoInput(_)
        | DumpError::File { .. }
        | DumpError::Broken { .. }
        | DumpError::Parquet { .. }) => other,
    })
}

/// What a person sees while it goes on: a bar on a terminal, elsewhere a line now and then.
struct Show {
    bar: ProgressBar,
    reading: Reading,
    progress: Arc<Progress>,
    bytes: u64,
    before: u64,
    started: Instant,
    told: Instant,
    as_lines: bool,
}

/// Between two lines.
const TELL_EVERY: Duration = Duration::from_secs(10);

impl Show {
    fn new(quiet: bool, inputs: &[Input], progress: &Arc<Progress>, before: Reached) -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(
            Some(1000),
            if terminal && !quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() },
        );
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        progress.read.store(before.read, Ordering::Relaxed);
        progress.rejected.store(before.counts.rejected, Ordering::Relaxed);
        Self {
            bar,
            reading: Reading::default(),
            progress: Arc::clone(progress),
            bytes: inputs.iter().map(|input| input.source.bytes).sum(),
            before: before.read,
            started: Instant::now(),
            told: Instant::now(),
            as_lines: !terminal && !quiet,
        }
    }

    fn tick(&mut self) {
        let read = self.progress.read.load(Ordering::Relaxed);
        let (share, message) = self.state(read);
        self.bar.set_position(share);
        self.bar.set_message(message.clone());
        if self.as_lines && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            anstream::eprintln!("{:>3} %  {message}", share / 10);
        }
    }

    /// Thousandths that are done, and a line for people.
    fn state(&self, read: u64) -> (u64, String) {
        // Rows are read ahead of those that are done; the bytes behind them say how many there are in all.
        let bytes = self.reading.bytes.load(Ordering::Relaxed).min(self.bytes);
        let ahead = u128::from(self.reading.rows.load(Ordering::Relaxed));
        let all = ahead * u128::from(self.bytes);
        let share = (u128::from(read) * 1000 * u128::from(bytes)).checked_div(all).unwrap_or(0);
        let share = u64::try_from(share).unwrap_or(1000).min(1000);
        let before = u128::from(self.before) * 1000 * u128::from(bytes);
        let before = u64::try_from(before.checked_div(all).unwrap_or(0)).unwrap_or(0);
        let rate = rate(read - self.before, self.started.elapsed());
        let seconds = self.started.elapsed().as_secs();
        let left = seconds.saturating_mul(1000 - share).checked_div(share.saturating_sub(before));
        let left = left.map_or("?".to_owned(), |left| HumanDuration(Duration::from_secs(left)).to_string());
        let hits = self.progress.cache_hits.load(Ordering::Relaxed);
        let rejected = self.progress.rejected.load(Ordering::Relaxed);
        let message = format!(
            "{} rows, {} a second, {} seen before, {} refused, {left} left",
            grouped(read),
            grouped(rate),
            grouped(hits),
            grouped(rejected)
        );
        (share, message)
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
