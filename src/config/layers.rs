//! Where settings come from: the file, then the environment, then flags, each over the one before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::keys::{KEYS, Key, Kind, Scope};
use super::otel::Otel;
use crate::files::read_text_at_most;

/// A settings file that is larger is none.
const SETTINGS_BYTES: u64 = 1 << 20;

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Default,
    File { file: PathBuf, line: usize },
    Variable(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{}, line {line}", file.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// A value as somebody wrote it. Debug leaves it out: it may be a URL with a password.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) value: String,
    pub(super) source: Source,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Said").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The flags and environment variables of every command, and `--config`.
#[derive(Clone, Debug, Default)]
pub struct CommonFlags {
    pub(super) file: Option<PathBuf>,
    pub(super) said: Vec<(&'static str, Said)>,
}

/// Those of `arom serve` and `arom config` alone.
#[derive(Clone, Debug, Default)]
pub struct ServeFlags {
    pub(super) said: Vec<(&'static str, Said)>,
}

fn arguments(command: Command, scope: Scope) -> Command {
    KEYS.iter().filter(|key| key.scope == scope).fold(command, |command, key| {
        let default = match key.default {
            "" => String::new(),
            value => format!(" [default: {value}]"),
        };
        command.arg(
            Arg::new(key.name)
                .long(key.flag)
                .env(key.variable)
                // Any of them may hold a token that was pasted into the wrong variable.
                .hide_env_values(true)
                .value_name(key.kind.value_name())
                .help(format!("{}{default}", key.meaning))
                .global(scope == Scope::Common)
                .help_heading("Settings"),
        )
    })
}

fn said(matches: &ArgMatches, scope: Scope) -> Vec<(&'static str, Said)> {
    let said = |key: &'static Key| {
        let value = matches.try_get_one::<String>(key.name).ok().flatten()?;
        let source = if matches.value_source(key.name)? == ValueSource::EnvVariable {
            Source::Variable(key.variable)
        } else {
            Source::Flag(key.flag)
        };
        Some((key.name, Said { value: value.clone(), source }))
    };
    KEYS.iter().filter(|key| key.scope == scope).filter_map(said).collect()
}

impl Args for CommonFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .env("AROM_CONFIG")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Settings file (TOML); flags and environment variables go before it")
            .global(true)
            .help_heading("Settings");
        arguments(command.arg(file), Scope::Common)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CommonFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let file = matches.get_one::<PathBuf>("config").cloned();
        Ok(Self { file, said: said(matches, Scope::Common) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl ServeFlags {
    /// As if these keys had been said as flags; for commands that take a few of them. The variables of other settings of the profile
    /// store count for such a command, too.
    pub(crate) fn of(values: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let flag = |name| KEYS.iter().find(|key| key.name == name).map_or(name, |key| key.flag);
        let said = |(name, value)| (name, Said { value, source: Source::Flag(flag(name)) });
        let of_store = |key: &&Key| ["profile.", "signal."].iter().any(|table| key.name.starts_with(table));
        let variables = KEYS.iter().filter(of_store).filter_map(|key| {
            let value = variable(key.variable)?.into_string().ok().filter(|value| !value.is_empty())?;
            Some((key.name, Said { value, source: Source::Variable(key.variable) }))
        });
        // The last that is said of a key counts.
        Self { said: variables.chain(values.into_iter().map(said)).collect() }
    }
}

impl Args for ServeFlags {
    fn augment_args(command: Command) -> Command {
        arguments(command, Scope::Serve)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { said: said(matches, Scope::Serve) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// An environment variable, also of a setting that this command has no flag for.
pub(super) fn variable(name: &str) -> Option<OsString> {
    std::env::vars_os().find_map(|(of, value)| (of == name).then_some(value))
}

/// Environment variables that look like a setting with a mistake in its name. Kubernetes makes `AROM_SERVICE_…` and `AROM_PORT…` for a
/// service of that name; cargo has `AROM_ORT_…` of the build script in the environment.
pub(super) fn unknown_variables() -> Vec<String> {
    const OTHERS: [&str; 3] = ["AROM_CONFIG", "AROM_LINE_SECRET_FILE", "AROM_SKIP_FETCH"];
    let is_known = |name: &str| {
        OTHERS.contains(&name)
            || KEYS.iter().any(|key| key.variable == name)
            || ["AROM_SERVICE_", "AROM_PORT", "AROM_ORT_"].iter().any(|start| name.starts_with(start))
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("AROM_") && !is_known(name)).collect();
    names.sort_unstable();
    names
}

/// A library's text about a file, of which it shows the line that it cannot read, whatever its length.
pub(super) fn shortened(text: &str) -> String {
    const CHARS: usize = 300;
    let short = |line: &str| match line.char_indices().nth(CHARS) {
        Some(_) => line.chars().take(CHARS).chain(['…']).collect(),
        None => line.to_owned(),
    };
    text.lines().map(short).collect::<Vec<_>>().join("\n")
}

/// What was said of every key, the last word of each, faults apart.
pub(super) fn gather(
    common: &CommonFlags,
    serve: &ServeFlags,
    otel: &Otel,
    faults: &mut Vec<String>,
) -> Result<BTreeMap<&'static str, Said>, ConfigError> {
    let defaults = KEYS.iter().filter(|key| !key.default.is_empty());
    let mut values: BTreeMap<&'static str, Said> = defaults
        .map(|key| (key.name, Said { value: key.default.to_owned(), source: Source::Default }))
        .collect();
    values.extend(otel.said.iter().cloned());
    if let Some(file) = &common.file {
        values.extend(read(file, faults)?);
    }
    values.extend(common.said.iter().chain(&serve.said).cloned());
    for key in KEYS {
        if let Some(Said { value, source }) = values.get(key.name)
            && let Some(fault) = key.kind.fault(value)
        {
            faults.push(format!("{source}: {} {fault}", key.name));
        }
    }
    Ok(values)
}

fn read(file: &Path, faults: &mut Vec<String>) -> Result<Vec<(&'static str, Said)>, ConfigError> {
    let text = read_text_at_most(file, SETTINGS_BYTES)
        .map_err(|cause| ConfigError::Read { file: file.to_owned(), cause })?;
    // Found once: a file may have as many faults as lines.
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line = |start: usize| ends.partition_point(|end| *end < start) + 1;
    // The library would also show the line that it cannot read, and there may be a secret in it.
    let tables = DeTable::parse(&text).map_err(|cause| ConfigError::Parse {
        file: file.to_owned(),
        line: line(cause.span().unwrap_or_default().start),
        problem: shortened(cause.message()),
    })?;
    let mut said = Vec::new();
    for (table, entries) in tables.get_ref() {
        let DeValue::Table(entries) = entries.get_ref() else {
            let name = table.get_ref();
            faults.push(format!(
                "{}, line {}: {name} stands outside a table such as [server]",
                file.display(),
                line(table.span().start)
            ));
            continue;
        };
        for (name, value) in entries {
            let source = Source::File { file: file.to_owned(), line: line(name.span().start) };
            let full = format!("{}.{}", table.get_ref(), name.get_ref());
            let Some(key) = KEYS.iter().find(|key| key.name == full) else {
                faults.push(format!("{source}: there is no setting {full}; `arom config keys` lists all"));
                continue;
            };
            let (value, quoted) = match value.get_ref() {
                DeValue::String(text) => (text.to_string(), true),
                DeValue::Integer(number) => (number.as_str().to_owned(), false),
                DeValue::Float(number) => (number.as_str().to_owned(), false),
                DeValue::Boolean(value) => (value.to_string(), false),
                DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                    (String::new(), !key.kind.is_quoted())
                }
            };
            if quoted == key.kind.is_quoted() {
                said.push((key.name, Said { value, source }));
            } else {
                let wanted = if matches!(key.kind, Kind::Switch) {
                    "true or false without quotes"
                } else if key.kind.is_quoted() {
                    "text between quotes"
                } else {
                    "a number without quotes"
                };
                faults.push(format!("{source}: {full} must be {wanted}"));
            }
        }
    }
    Ok(said)
}
