//! `arom batch`: review dumps with their sentiment.

mod answer;
mod checkpoint;
mod files;
mod record;
mod remote;
mod report;
mod show;
mod spools;
mod steps;
mod stop;
mod writer;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use indexmap::IndexSet;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::progress::grouped;
use super::{Rejected, open_scorer};
use crate::config::{Config, ConfigError, ServeFlags};
use crate::dumps::{
    Columns, DumpError, Ending, Format, Given, Limits, Moment, Role, Source, find, from_json_lines,
};
use crate::files::{standard, sync_folder_of};
use crate::grpc::v1::Channel;
use crate::scoring::{Features, Scorer};
use crate::secret_url::SecretUrl;
use crate::text::Charset;
use crate::visible::visible;
use answer::{COLUMNS, SOURCE, TARGETS};
use checkpoint::{Checkpoint, Identity, Reached};
use files::{Files, remove_if_there, replace};
use record::{Recorder, Written};
use remote::Remote;
use show::{Show, summary};
use spools::{Removed, Spools};
use steps::Input;
use stop::{Stop, Stopped};
use writer::{Output, Progress, Writer};

/// Score review dumps of any size: the same rows, in the same order, with columns of sentiment.
///
/// Takes CSV of any dialect, JSON Lines, JSON arrays and Parquet, plain, .gz or .zst; files, folders, patterns between quotes, and "-" for
/// stdin. Letters, separators, header and columns are found, and what was found is printed. Every column of a dump is kept; those
/// that are added begin with --prefix. Rows that cannot be used go to a file of rejects with their line and the reason.
///
/// A run that is stopped, by whatever, goes on where it was when the same command is given again, and ends with the same
/// bytes as if it had not been stopped.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Exit codes: 0 all rows are done, 1 it failed or was stopped, 2 the command or its settings are at fault,\n3 all is done but for rows that were refused or, with --record, not recorded.\n\n\
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
    /// The file to write: .jsonl, .csv (comma, UTF-8; these also .gz or .zst) or .parquet.
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
    /// Write texts of the dump into CSV so that no spreadsheet takes them for formulas: a ' goes before those that begin with
    /// =, +, -, @, a tab or a line break, and are no number. In columns that are added it always does.
    #[arg(long)]
    escape_formulas: bool,
    /// Most columns of a dump, and of CSV and Parquet that have those of all dumps.
    #[arg(long, value_name = "N", default_value_t = Limits::default().columns)]
    max_columns: usize,
    /// Most bytes of a compressed dump when it is not.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().inflated_bytes)]
    max_inflated_bytes: u64,
    /// How many times as large as its file a compressed dump may be, from 64 MiB on.
    #[arg(long, value_name = "TIMES", default_value_t = Limits::default().inflation)]
    max_inflation: u64,
    /// Most bytes that come through stdin or a named pipe, which are copied beside the output while they are used.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 30)]
    max_piped_bytes: u64,
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
    /// Trust the system's time, where the store of --record was not used for more than a day: compare it with another clock first.
    #[arg(long, requires = "record")]
    accept_clock: bool,
    /// The store of --record.
    #[arg(long, value_name = "FOLDER", env = "AROM_PROFILE_STORE")]
    profile_store: Option<PathBuf>,
    /// The key by which customers are replaced in that store, as of the server that has it.
    #[arg(long, value_name = "FILE", env = "AROM_PROFILE_PSEUDONYM_KEY_FILE")]
    profile_pseudonym_key_file: Option<PathBuf>,
    /// Write a page about the dump: shares, moods over time, aspects, stars against words, what moves scores. The output gets
    /// the column of --targets.
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
    match word.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("use yes or no".to_owned()),
    }
}

impl BatchArgs {
    fn given(&self) -> Given {
        Given {
            format: self.format.map(|kind| match kind {
                Kind::Csv => Format::Csv { delimiter: b',', header: true, titles: 0 },
                Kind::JsonLines => Format::JsonLines,
                Kind::JsonArray => Format::JsonArray,
                Kind::Parquet => Format::Parquet,
                Kind::Text => Format::Text,
            }),
            delimiter: self.delimiter,
            header: self.header,
            charset: self.encoding,
            limits: Limits {
                columns: self.max_columns,
                inflated_bytes: self.max_inflated_bytes,
                inflation: self.max_inflation,
            },
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

    /// Whether targets are looked for: a report without them would have no aspects.
    fn targets(&self) -> bool {
        self.targets || self.report.is_some() || self.report_json.is_some()
    }

    fn say(&self, line: impl FnOnce() -> String) {
        if !self.quiet {
            anstream::eprintln!("{}", visible(&line()));
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the async runtime")?;
    let done = runtime.block_on(job(&Arc::new(args.clone()), &Arc::new(config.clone())));
    // Nobody waits for a thread whose work was ended in its middle.
    runtime.shutdown_background();
    done
}

async fn job(args: &Arc<BatchArgs>, config: &Arc<Config>) -> Result<()> {
    let ending = Ending::of(&args.out).map_err(usage)?;
    if args.escape_formulas && !matches!(ending, Ending::Csv(_)) {
        let problem = format!("--escape-formulas is for CSV, and {} is none", args.out.display());
        return Err(ConfigError::invalid(problem).into());
    }
    let files = Files::of(args, ending)?;
    files.are_not_protected(&config.protected())?;
    files.own_are_free()?;
    if !args.overwrite {
        files.are_free()?;
    }
    let mut stop = Stop::listen().context("cannot listen for Ctrl-C")?;
    let spools = Removed::default();
    let found = look_through(args, config, &files, ending, &spools.0, &mut stop).await?;
    let Found { inputs, columns, engine, recorder } = found;
    let model = engine.fingerprint();
    let identity = identity(args, config, &files, &inputs, model.clone());
    // From here on things change: all that could be refused was.
    let output = if ending == Ending::Parquet {
        Output::lock_own(&files.growing)
    } else {
        Output::lock(&files.growing)
    }?;
    // Looking through the dumps took its time, and stdin may have waited for hours.
    files.own_are_free()?;
    if !args.overwrite {
        files.are_free()?;
    }
    files.clear()?;
    if args.overwrite {
        for path in [&files.checkpoint, &files.rejects] {
            remove_if_there(path)?;
        }
    }
    let (checkpoint, reached) = Checkpoint::open(files.checkpoint.clone(), identity)?;
    let before = reached.unwrap_or_default();
    writer::check_errors(before.counts.rejected, args.max_errors, &files.rejects)?;
    output.go_on_at(before.output_bytes)?;
    Writer::cut_rejects(&files.rejects, before.rejects_bytes)?;
    checkpoint.note(before).context("cannot write the checkpoint")?;
    if before.read > 0 {
        args.say(|| format!("goes on after {} rows", grouped(before.read)));
    }
    let progress = Arc::new(Progress::default());
    let writer = Writer {
        ending,
        columns,
        prefix: args.prefix.clone(),
        source_column: (inputs.len() > 1).then(|| source_column(args)),
        inputs: Arc::clone(&inputs),
        output,
        rejects: files.rejects.clone(),
        checkpoint,
        reached: before,
        recorder,
        max_errors: args.max_errors,
        escape_formulas: args.escape_formulas,
        progress: Arc::clone(&progress),
    };
    let started = Instant::now();
    let show = Show::new(args.quiet, &inputs, &progress, before);
    let again = if args.overwrite { "the same command without --overwrite" } else { "the same command" };
    let scored = score(args, config, engine, writer, Arc::clone(&inputs), show, &mut stop).await;
    let (writer, reached) = scored.with_context(|| match progress.read.load(Ordering::Relaxed) {
        0 => "nothing is done yet".to_owned(),
        rows => {
            let (rows, kept) = (grouped(rows), files.growing.display());
            format!("{rows} rows are done and kept in {kept}; {again} goes on from there")
        }
    })?;
    let (of, config, within) = (Arc::clone(args), Arc::clone(config), files.clone());
    let make = move || {
        if ending == Ending::Parquet {
            make_parquet(&within, &inputs, of.max_columns)?;
        }
        report::write(&of, &within, ending, &inputs, &config.scoring.catalogue, &model, reached.counts)
    };
    stop.or(make).await.with_context(|| format!("all rows are done; {again} makes what is left"))?;
    writer.finish().context("cannot remove the checkpoint")?;
    if ending == Ending::Parquet {
        remove_if_there(&files.growing)?;
    }
    sync_folder_of(&files.out).context("cannot sync the folder of the output")?;
    args.say(|| summary(args, &files, before, reached, &progress, started.elapsed()));
    match reached.counts.rejected + reached.counts.unrecorded {
        0 => Ok(()),
        rows => Err(Rejected(usize::try_from(rows).unwrap_or(usize::MAX)).into()),
    }
}

/// What a run needs, before it changes anything.
struct Found {
    inputs: Arc<[Input]>,
    columns: Vec<String>,
    engine: Engine,
    recorder: Option<Recorder>,
}

/// Finds the dumps, looks through each and says what was found; opens who scores and who records.
async fn look_through(
    args: &Arc<BatchArgs>,
    config: &Arc<Config>,
    files: &Files,
    ending: Ending,
    spools: &Spools,
    stop: &mut Stop,
) -> Result<Found> {
    let (of, within, kept) = (Arc::clone(args), files.clone(), spools.clone());
    let look = move || {
        let inputs: Arc<[Input]> = inputs(&of, &within, &kept)?.into();
        let columns = csv_columns(&of, ending, &inputs)?;
        Ok((inputs, columns))
    };
    let (inputs, columns) = stop.or(look).await?;
    let engine = match &args.remote {
        Some(address) => {
            let remote = Remote::connect(address, args.targets(), config.server.max_risk);
            Engine::There(stop.unless(remote).await?)
        }
        None => {
            let config = Arc::clone(config);
            Engine::Here(stop.or(move || open_scorer(&config, Arc::default())).await?)
        }
    };
    let recorder = stop.unless(recorder(args, config, &inputs)).await?;
    Ok(Found { inputs, columns, engine, recorder })
}

/// The dumps in their order.
fn inputs(args: &BatchArgs, files: &Files, spools: &Spools) -> Result<Vec<Input>> {
    let mut named: Vec<(PathBuf, String)> = Vec::new();
    let mut pipes = Vec::new();
    for input in &args.inputs {
        let is_stdin = input == Path::new("-");
        if is_stdin && named.iter().any(|(_, name)| name == STDIN) {
            return Err(usage(DumpError::NoInput("stdin can be read once".to_owned())));
        }
        if is_stdin && let Some(meta) = standard(io::stdin()) {
            files.are_not_open(&meta, STDIN)?;
        }
        let is_pipe = fs::metadata(input).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
        if is_stdin || is_pipe {
            let name = if is_stdin { STDIN.to_owned() } else { input.display().to_string() };
            let pipe: Box<dyn Read> = if is_stdin {
                Box::new(io::stdin().lock())
            } else {
                spools::refuse_device(input)?;
                Box::new(File::open(input).with_context(|| format!("cannot read {name}"))?)
            };
            pipes.push((named.len(), pipe));
            named.push((PathBuf::new(), name));
        } else if !input.exists() && args.record.as_deref() == Some("") && is_address(input) {
            // An address may be pasted with a token.
            let address = SecretUrl::from(input.display().to_string());
            let problem = format!("{address} is no dump; write --record={address}");
            return Err(usage(DumpError::NoInput(problem)));
        } else if input.is_file() && files.have(input) {
            let problem = format!("{} is a file that this run writes; name another", input.display());
            return Err(usage(DumpError::NoInput(problem)));
        } else {
            let found = find(std::slice::from_ref(input), |path| files.have(path)).map_err(usage)?;
            if found.is_empty() {
                let problem = format!("{} has no dump but what this run writes", input.display());
                return Err(usage(DumpError::NoInput(problem)));
            }
            named.extend(found.into_iter().map(|path| {
                let name = path.display().to_string();
                (path, name)
            }));
        }
    }
    // Nothing is written before it is known that no input is lost by that.
    files.are_not(named.iter().map(|(path, _)| path))?;
    for (number, pipe) in pipes {
        if let Some((path, name)) = named.get_mut(number) {
            *path = spools.keep(files, name, args.max_piped_bytes, pipe)?;
        }
    }
    let many = named.len() > 1;
    let added: Vec<String> = added(args, many).collect();
    let mut inputs = Vec::new();
    for (path, name) in named {
        let source = match Source::survey(&path, &name, args.given()) {
            Err(DumpError::Empty(_)) if many => {
                args.say(|| format!("{name}: is empty, and left out"));
                continue;
            }
            source => source.map_err(usage)?,
        };
        let mut columns = Columns::find(&source.columns, &source.sample, &args.columns)
            .map_err(|error| usage_in(&name, error))?;
        columns.settle_days(&source)?;
        args.say(|| {
            let packed = source.compression.ending();
            let packed = if packed.is_empty() { String::new() } else { format!(", {packed}") };
            format!("{name}: {}{packed}; {columns}", source.dialect.name())
        });
        let mut times = source.sample.iter().filter_map(|cells| columns.time(cells)).peekable();
        if times.peek().is_some_and(Result::is_err) && times.all(|time| time.is_err()) {
            let column = columns.of(Role::Time).unwrap_or_default();
            args.say(|| format!("{name}: nothing in the column {column} is read as a time"));
        }
        if let Some(taken) = source.columns.iter().find(|column| added.contains(column)) {
            let problem = format!("has a column {taken} already; choose another --prefix");
            return Err(usage_in(&name, DumpError::Columns(problem)));
        }
        inputs.push(Input { source, columns });
    }
    if inputs.is_empty() {
        return Err(usage(DumpError::NoInput("all inputs are empty".to_owned())));
    }
    Ok(inputs)
}

/// Whether it looks like a host and port.
fn is_address(input: &Path) -> bool {
    let text = input.to_string_lossy();
    text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// How stdin is called.
const STDIN: &str = "stdin";

/// The column that names the dump of a row, if there are several.
fn source_column(args: &BatchArgs) -> String {
    format!("{}{SOURCE}", args.prefix)
}

/// The columns that are added.
fn added(args: &BatchArgs, many: bool) -> impl Iterator<Item = String> + '_ {
    let targets = args.targets().then_some(TARGETS);
    let names = COLUMNS.into_iter().chain(targets).map(|name| format!("{}{name}", args.prefix));
    many.then(|| source_column(args)).into_iter().chain(names)
}

/// The columns of a CSV file: its head is written before its rows are seen. Of other files, none.
fn csv_columns(args: &BatchArgs, ending: Ending, inputs: &[Input]) -> Result<Vec<String>> {
    let is_csv = match ending {
        Ending::Csv(_) => true,
        Ending::Parquet => false,
        Ending::JsonLines(_) => return Ok(Vec::new()),
    };
    let mut columns = IndexSet::new();
    for Input { source, .. } in inputs {
        columns.extend(if is_csv { source.all_columns().map_err(usage)? } else { source.columns.clone() });
    }
    if columns.len() > args.max_columns {
        let (count, most) = (columns.len(), args.max_columns);
        let problem =
            format!("would have the {count} columns of all dumps, and {most} are allowed; see --max-columns");
        return Err(usage(DumpError::Limit { name: args.out.display().to_string(), problem }));
    }
    if !is_csv {
        return Ok(Vec::new());
    }
    columns.extend(added(args, inputs.len() > 1));
    Ok(columns.into_iter().collect())
}

fn identity(args: &BatchArgs, config: &Config, files: &Files, inputs: &[Input], model: String) -> Identity {
    let columns: Vec<String> = inputs.iter().map(|input| input.columns.to_string()).collect();
    let text = |value: &dyn ToString| value.to_string();
    let catalogue = || {
        let digest = Sha256::digest(config.scoring.catalogue.to_toml());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    };
    let record = match args.record.as_deref() {
        None => "no".to_owned(),
        Some("") => {
            config.profile_store.as_ref().map_or_else(String::new, |store| store.display().to_string())
        }
        Some(address) => SecretUrl::from(address.to_owned()).to_string(),
    };
    let named = |path: &Option<PathBuf>| match path {
        Some(path) => path.display().to_string(),
        None => "no file".to_owned(),
    };
    let settings = [
        ("--columns", columns.join("; ")),
        ("--prefix", args.prefix.clone()),
        ("--escape-formulas", text(&args.escape_formulas)),
        ("--targets", text(&args.targets())),
        ("the catalogue", if args.targets() { catalogue() } else { String::new() }),
        ("--max-risk", text(&config.server.max_risk)),
        ("server.max_text_bytes", text(&config.server.max_text_bytes)),
        ("--rejects", files.rejects.display().to_string()),
        // Written over at the end: they were free when the run was begun.
        ("--report", named(&args.report)),
        ("--report-json", named(&args.report_json)),
        ("--brand", args.brand.clone().unwrap_or_default()),
        ("--channel", format!("{:?}", args.channel)),
        ("--record", record),
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

async fn recorder(args: &BatchArgs, config: &Config, inputs: &[Input]) -> Result<Option<Recorder>> {
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
        Recorder::to_store(config, brand, channel, args.accept_clock).await?
    } else {
        Recorder::to_server(address, brand, channel).await?
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
    stop: &mut Stop,
) -> Result<(Writer, Reached)> {
    let reader = steps::Reader {
        added: added(args, inputs.len() > 1).collect(),
        inputs,
        skip: writer.reached.read,
        max_text_bytes: config.server.max_text_bytes,
        reading: show.reading.clone(),
    };
    let steps = reader.start().context("cannot start a thread")?;
    let (done, results) = mpsc::channel(writer::BLOCK);
    // Until it is known whether all was scored, the writer waits for more.
    let open = done.clone();
    let whole = Arc::new(AtomicBool::new(false));
    let all = Arc::clone(&whole);
    let mut writing = tokio::task::spawn_blocking(move || writer.run(results, &all));
    let features = Features { targets: args.targets(), ..Features::default() };
    let scoring = async {
        match engine {
            Engine::Here(scorer) => {
                steps::score(&scorer, features, config.server.max_risk, steps, done).await
            }
            Engine::There(remote) => remote.score(steps, done).await,
        }
    };
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    let scored = {
        let mut scoring = std::pin::pin!(scoring);
        loop {
            tokio::select! {
                scored = &mut scoring => break scored,
                () = stop.said() => break Err(Stopped.into()),
                _ = ticks.tick() => show.tick(),
            }
        }
    };
    // A dump that is broken in its middle is done up to there; what may go well later is tried again then.
    let fault = scored.as_ref().err().and_then(|error| error.downcast_ref());
    let is_broken =
        matches!(fault, Some(DumpError::Broken { .. } | DumpError::Parquet { .. } | DumpError::Limit { .. }));
    whole.store(scored.is_ok() || is_broken, Ordering::Release);
    drop(open);
    let written = tokio::select! {
        written = &mut writing => written.map_err(|_| anyhow!("the thread that writes died"))?,
        // It may wait for a server that records.
        () = stop.said() => Err(Stopped.into()),
    };
    show.finish();
    let written = written?;
    scored?;
    Ok(written)
}

fn make_parquet(files: &Files, inputs: &[Input], max_columns: usize) -> Result<()> {
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
    let most = max_columns.saturating_add(COLUMNS.len() + 2);
    replace(&files.out, |next| from_json_lines(&files.growing, next, &moments, most))
}

/// A fault of the command: exit code 2.
fn usage(error: DumpError) -> anyhow::Error {
    match error {
        error @ (DumpError::Columns(_)
        | DumpError::NoInput(_)
        | DumpError::Empty(_)
        | DumpError::Limit { .. }) => ConfigError::invalid(error.to_string()).into(),
        error @ (DumpError::File { .. } | DumpError::Broken { .. } | DumpError::Parquet { .. }) => {
            error.into()
        }
    }
}

fn usage_in(name: &str, error: DumpError) -> anyhow::Error {
    usage(match error {
        DumpError::Columns(problem) => DumpError::Columns(format!("{name}: {problem}")),
        other @ (DumpError::NoInput(_)
        | DumpError::Empty(_)
        | DumpError::Limit { .. }
        | DumpError::File { .. }
        | DumpError::Broken { .. }
        | DumpError::Parquet { .. }) => other,
    })
}
