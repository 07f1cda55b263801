//! `arom chat`: conversations with what was felt in them, and where it turned.

mod html;
mod json;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::normalize::written;
use super::progress::Progress;
use super::rows::file_name;
use super::{open_scorer, wait};
use crate::config::Config;
use crate::conversation::{
    Analysis, Disguise, Format, Message, ReadError, Role, Roles, Trajectory, Transcript, analyze, is_signed,
    read,
};
use crate::files::{
    self as private, DANGLING, Identity, is_stdout, leads_nowhere, read_at_most, read_text_at_most, standard,
    standard_files, take_at_most,
};
use crate::scoring::Scorer;

/// A file of a conversation that is larger is none: a hundred years of a busy chat have less.
const MAX_BYTES: u64 = 256 << 20;

/// A secret that is longer is none.
const SECRET_BYTES: u64 = 64 << 10;

/// A file of roles that is larger is none.
const ROLES_BYTES: u64 = 1 << 20;

/// Of lines that were skipped, so many are named.
const NAMED: usize = 10;

/// Score conversations: who felt what, where it turned, how it ended.
///
/// Reads LINE chat histories (of telephones and computers, in Thai or English), Official Account downloads, Messaging API
/// webhooks, and tables of messages as CSV, JSON or JSON Lines (text, sender or role, time). One conversation is shown
/// message by message; several, or a folder of them, as a table, the worst end first. Names are shown as roles, and
/// telephone, identity, account and card numbers and e-mail addresses are hidden.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  arom chat examples/chats/parcel.txt\n  \
    arom chat --html report.html examples/chats/parcel.txt\n  arom chat --agent 'แอน ร้านบ้านใบชา' chat.txt\n  \
    arom chat exports/ | less -R\n  arom chat --json exports/ >chats.jsonl\n  \
    arom chat --line-secret-file secret.txt --line-signature \"$X_LINE_SIGNATURE\" call.json")]
pub(super) struct ChatArgs {
    /// Files or folders; "-" is stdin.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What the files are [default: what they look like].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Given>,
    /// Refuse a file of which any line is not understood, instead of leaving it out and saying so.
    #[arg(long)]
    strict: bool,
    /// Who the customer is, by the name in the file; may be given several times.
    #[arg(long, value_name = "NAME")]
    customer: Vec<String>,
    /// Who answers for the business.
    #[arg(long, value_name = "NAME")]
    agent: Vec<String>,
    /// Which of them is a program.
    #[arg(long, value_name = "NAME")]
    bot: Vec<String>,
    /// A file that says the same: customer = ["…"], agent = ["…"], bot = ["…"].
    #[arg(long, value_name = "FILE")]
    roles: Option<PathBuf>,
    /// Show names as they are. Numbers and addresses stay hidden.
    #[arg(long)]
    keep_names: bool,
    /// Print JSON Lines, one conversation a line.
    #[arg(long)]
    json: bool,
    /// Write the conversation as one page that needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the page over a file that is there.
    #[arg(long, requires = "html")]
    overwrite: bool,
    /// Refuse a webhook call unless this, its header x-line-signature, is by the owner of the channel's secret.
    #[arg(long, value_name = "BASE64", requires = "line_secret_file")]
    line_signature: Option<String>,
    /// A file with the secret of the LINE channel.
    #[arg(long, value_name = "FILE", env = "AROM_LINE_SECRET_FILE")]
    line_secret_file: Option<PathBuf>,
}

/// What a file may be said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Given {
    /// A chat history out of LINE, as text
    Line,
    /// A download of LINE Official Account Manager
    OfficialAccount,
    /// Calls of LINE's webhook, as JSON or JSON Lines
    Webhook,
    /// Messages as a JSON array or JSON Lines
    Json,
    /// A table of messages, with a head
    Csv,
}

impl From<Given> for Format {
    fn from(given: Given) -> Self {
        match given {
            Given::Line => Self::LineTabs,
            Given::OfficialAccount => Self::OfficialAccount,
            Given::Webhook => Self::Webhook,
            Given::Json => Self::Json,
            Given::Csv => Self::Csv,
        }
    }
}

/// Names by role, as a file has them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Names {
    customer: Vec<String>,
    agent: Vec<String>,
    bot: Vec<String>,
}

/// A conversation that has been heard.
struct Chat {
    name: String,
    transcript: Transcript,
    roles: Roles,
    analysis: Analysis,
    disguise: Disguise,
    fingerprint: String,
}

/// A message with all that is known of it.
struct Row<'a> {
    message: &'a Message,
    role: Role,
    heard: &'a crate::conversation::Heard,
}

impl Chat {
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let parts = self.transcript.messages.iter().zip(&self.roles.of).zip(&self.analysis.heard);
        parts.map(|((message, role), heard)| Row { message, role: *role, heard })
    }

    fn trajectory(&self) -> &Trajectory {
        &self.analysis.trajectory
    }

    fn speaker<'a>(&'a self, row: &Row<'a>) -> &'a str {
        self.disguise.speaker(row.message, row.role)
    }

    fn shown(&self, message: &Message) -> String {
        self.disguise.shown(message)
    }

    /// What a reader should know of how the file was read; one sentence each.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let skipped = &self.transcript.skipped;
        if !skipped.is_empty() {
            notes.push(format!("{} lines were left out: {}", skipped.len(), named(&self.transcript)));
        }
        if !self.roles.guessed.is_empty() {
            let guessed = self.roles.guessed.len();
            let whom = if self.disguise.keeps_names() {
                self.roles.guessed.join(", ")
            } else {
                format!("{guessed} of those who speak")
            };
            notes.push(format!(
                "nothing in the file tells who answers for the business: {whom} taken for customers; \
                 say who it is with --agent NAME"
            ));
        }
        let unknown = self
            .analysis
            .heard
            .iter()
            .filter(|heard| heard.basis == crate::conversation::Basis::UnknownSticker);
        let unknown = unknown.count();
        if unknown > 0 {
            notes.push(format!(
                "{unknown} stickers say nothing of their mood: taken as neutral, and not counted"
            ));
        }
        notes
    }
}

pub(super) fn run(args: &ChatArgs, config: &Config) -> Result<()> {
    let known = known_roles(args)?;
    let files = found(&args.files)?;
    let single = files.len() == 1;
    if args.html.is_some() && !single {
        bail!("--html writes one conversation; {} files were given", files.len());
    }
    if let Some(page) = &args.html {
        let read = files.iter().chain(&args.roles).chain(&args.line_secret_file);
        refuse_input(page, read.map(PathBuf::as_path))?;
        let protected = config.protected();
        for written in [page, &next(page)] {
            protected.refuse(written).map_err(|problem| anyhow!("--html: {problem}"))?;
        }
        if !args.overwrite && fs::metadata(page).is_ok_and(|meta| meta.is_file() && meta.len() > 0) {
            let problem = "is there already; name another file, or replace it with --overwrite";
            bail!("--html: {} {problem}", page.display());
        }
        next_is_free(page).context("--html")?;
    }
    let scorer = open_scorer(config, Arc::default())?;
    let mut out: Box<dyn Write> = if args.json {
        Box::new(BufWriter::new(io::stdout().lock()))
    } else {
        Box::new(BufWriter::new(anstream::stdout().lock()))
    };
    let progress = Progress::new(None);
    let (mut rows, mut failed) = (Vec::new(), 0);
    for file in &files {
        let chat = match heard(file, args, &known, &scorer, &progress) {
            Ok(chat) => chat,
            Err(error) if single => return Err(error),
            Err(error) => {
                failed += 1;
                progress.suspend(|| tracing::error!("{error:#}"));
                continue;
            }
        };
        if single {
            unknown_names(&known, &chat);
        }
        if let Some(page) = &args.html {
            let text = html::page(&chat);
            write_page(page, &text).with_context(|| format!("cannot write {}", page.display()))?;
        }
        let goes_on = progress.suspend(|| -> Result<bool> {
            if args.json {
                return written(json::line(&mut out, &chat));
            }
            if single {
                return written(table::conversation(&mut out, &chat));
            }
            rows.push(table::Summary::of(&chat));
            Ok(true)
        })?;
        if !goes_on {
            return Ok(());
        }
    }
    progress.finish();
    if !rows.is_empty() && !written(table::overview(&mut out, rows))? {
        return Ok(());
    }
    if !written(out.flush())? {
        return Ok(());
    }
    if failed > 0 {
        bail!("{failed} of {} files could not be read", files.len());
    }
    Ok(())
}

/// Refuses to write over a file that is read, by whatever path or link.
fn refuse_input<'a>(page: &Path, mut read: impl Iterator<Item = &'a Path>) -> Result<()> {
    if leads_nowhere(page) {
        bail!("--html: {} {DANGLING}", page.display());
    }
    let identity = Identity::at(page);
    if let Some(input) = read.find(|input| identity.is_some() && Identity::at(input) == identity) {
        bail!("--html: {} is the file that {} is; name another", page.display(), input.display());
    }
    if let Some((name, _)) = standard_files().find(|(_, stream)| Some(Identity::of(stream)) == identity) {
        bail!("--html: {} is the file that {name} is; name another", page.display());
    }
    Ok(())
}

/// Where a page is while it is being written.
fn next(page: &Path) -> PathBuf {
    page.with_added_extension("next")
}

/// Refuses a page where another's file is in the place of the one that it is written to first. What a killed run left there is
/// replaced.
fn next_is_free(page: &Path) -> io::Result<()> {
    let next = next(page);
    private::is_left_or_free(&next, |head| head.starts_with(html::HEAD.as_bytes()))
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", next.display())))
}

/// Writes a page: the whole of it is there, or what was there before.
fn write_page(page: &Path, text: &str) -> io::Result<()> {
    if page.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        // A link or a device leads elsewhere, and stays what it is.
        let mut file = private::open(page, private::options().write(true))?;
        file.set_len(0)?;
        return file.write_all(text.as_bytes());
    }
    // Scoring took its time.
    next_is_free(page)?;
    let next = next(page);
    let mut file = private::create(&next)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", next.display())))?;
    let mut write = || {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, page)?;
        private::sync_folder_of(page)
    };
    // What is left of it is of no use; that it could not be written is what is told.
    write().inspect_err(|_| fs::remove_file(&next).unwrap_or_default())
}

/// Reads and hears one file.
fn heard(
    file: &Path,
    args: &ChatArgs,
    known: &BTreeMap<String, Role>,
    scorer: &Scorer,
    progress: &Progress,
) -> Result<Chat> {
    let name = file_name(file);
    let bytes = if file == Path::new("-") {
        if standard(io::stdin()).is_some_and(|stdin| is_stdout(&stdin)) {
            bail!("stdin is the file that the output goes to; send that elsewhere");
        }
        if io::stdin().is_terminal() {
            bail!("no conversation on stdin; name a file, or pipe one in");
        }
        take_at_most(io::stdin().lock(), MAX_BYTES).context("cannot read stdin")?
    } else {
        if fs::metadata(file).is_ok_and(|read| is_stdout(&read)) {
            bail!("{name} is the file that the output goes to; send that elsewhere");
        }
        read_at_most(file, MAX_BYTES).with_context(|| format!("cannot open {name}"))?
    };
    if let (Some(signature), Some(secret)) = (&args.line_signature, &args.line_secret_file) {
        let from = || format!("cannot open {}", secret.display());
        let secret = read_text_at_most(secret, SECRET_BYTES).with_context(from)?;
        if !is_signed(secret.trim().as_bytes(), &bytes, signature) {
            bail!(
                "{name} is not signed by the owner of this channel's secret, or was changed; it is refused"
            );
        }
    }
    let transcript = read(&bytes, args.format.map(Format::from)).map_err(|error| match error {
        ReadError::Json { .. } | ReadError::TimeZone { .. } => anyhow!("{name}, {error}"),
        ReadError::Unknown | ReadError::Columns { .. } => anyhow!("{name} {error}"),
    })?;
    drop(bytes);
    if args.strict && !transcript.skipped.is_empty() {
        bail!("{name}: {} lines are not understood: {}", transcript.skipped.len(), named(&transcript));
    }
    if transcript.messages.is_empty() {
        bail!("{name} holds no message");
    }
    let roles = Roles::of(&transcript.messages, known);
    let analysis = wait(analyze(scorer, &transcript.messages, &roles.of, || progress.advance(1)))?
        .with_context(|| format!("{name} could not be scored"))?;
    let disguise = Disguise::of(&transcript.messages, &roles.of, args.keep_names);
    Ok(Chat { name, transcript, roles, analysis, disguise, fingerprint: scorer.fingerprint().to_owned() })
}

/// The first of the lines that were not understood.
fn named(transcript: &Transcript) -> String {
    let skipped = &transcript.skipped;
    let lines =
        skipped.iter().take(NAMED).map(|skipped| format!("line {}: {}", skipped.line, skipped.reason));
    let more = if skipped.len() > NAMED { "; …" } else { "" };
    lines.collect::<Vec<_>>().join("; ") + more
}

fn known_roles(args: &ChatArgs) -> Result<BTreeMap<String, Role>> {
    let mut names = match &args.roles {
        None => Names::default(),
        Some(file) => {
            let text = read_text_at_most(file, ROLES_BYTES)
                .with_context(|| format!("cannot open {}", file.display()))?;
            toml::from_str(&text).with_context(|| {
                format!("{} is no file of roles such as customer = [\"…\"], agent = [\"…\"]", file.display())
            })?
        }
    };
    names.customer.extend(args.customer.iter().cloned());
    names.agent.extend(args.agent.iter().cloned());
    names.bot.extend(args.bot.iter().cloned());
    let mut known = BTreeMap::new();
    for (role, names) in
        [(Role::Customer, names.customer), (Role::Agent, names.agent), (Role::Bot, names.bot)]
    {
        for name in names {
            if let Some(other) = known.insert(name.clone(), role).filter(|other| *other != role) {
                bail!("{name:?} is said to be {} and {}", other.name(), role.name());
            }
        }
    }
    Ok(known)
}

/// Says which of the names that were given nobody bears.
fn unknown_names(known: &BTreeMap<String, Role>, chat: &Chat) {
    let mut senders: Vec<&str> =
        chat.transcript.messages.iter().filter_map(|message| message.sender.name()).collect();
    senders.sort_unstable();
    senders.dedup();
    for name in known.keys().filter(|name| !senders.contains(&name.as_str())) {
        tracing::warn!("nobody in {} is called {name:?}; there are: {}", chat.name, senders.join(", "));
    }
}

/// The files named, and those in the folders named, hidden ones left out.
fn found(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let cannot = || format!("cannot open the folder {}", path.display());
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).with_context(cannot)? {
            let entry = entry.with_context(cannot)?.path();
            let hidden = entry.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            if entry.is_symlink() && !hidden {
                tracing::warn!(
                    "{} is a link in a folder, and left out; name it to have it read",
                    entry.display()
                );
            } else if entry.is_file() && !hidden {
                inside.push(entry);
            }
        }
        if inside.is_empty() {
            bail!("{} holds no file", path.display());
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}
