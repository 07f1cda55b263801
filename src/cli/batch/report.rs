//! The report on what was written: read back from the output, so that a run that was stopped and begun again has the
//! same report as one that was not.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::BatchArgs;
use super::answer::{COLUMNS, SOURCE, TARGETS, content_of, is_added};
use super::checkpoint::Counts;
use super::files::{Files, replace};
use super::steps::Input;
use crate::dumps::{
    Cells, Compression, DumpError, Ending, Format, Given, Item, Limits, Reading, Role, Source,
    customary_rating, unescape_formula,
};
use crate::files as private;
use crate::model::Label;
use crate::report::{Collector, Entry, Quality, Rejected, Spoken, page};
use crate::scoring::Catalogue;
use crate::text::Charset;

/// Reasons of refused rows that are told apart.
const REASONS: usize = 20;

/// Writes what was asked for: the page, the figures as JSON, or both.
pub(super) fn write(
    args: &BatchArgs,
    files: &Files,
    ending: Ending,
    inputs: &[Input],
    catalogue: &Catalogue,
    model: &str,
    counts: Counts,
) -> Result<()> {
    if args.report.is_none() && args.report_json.is_none() {
        return Ok(());
    }
    let mut collector = Collector::new();
    if counts.rows > 0 {
        collect(&mut collector, args, files, ending, inputs, catalogue)?;
    }
    let sources = inputs
        .iter()
        .map(|input| format!("{}, {}; {}", input.source.name, input.source.dialect.name(), input.columns));
    let quality = Quality {
        sources: sources.collect(),
        model: model.to_owned(),
        rejected: if counts.rejected > 0 { rejected(&files.rejects)? } else { Vec::new() },
        notes: Vec::new(),
    };
    let figures = collector.finish(quality);
    if let Some(path) = &args.report {
        put(path, page(&figures).as_bytes())?;
    }
    if let Some(path) = &args.report_json {
        put(path, format!("{:#}\n", serde_json::to_value(&figures)?).as_bytes())?;
    }
    Ok(())
}

/// A report is there whole or not at all.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = |next: &Path| private::create_new(next)?.write_all(bytes);
    replace(path, |next| write(next).map_err(|cause| DumpError::File { path: path.to_owned(), cause }))
}

/// What a file that ends so is written in.
fn dialect(ending: Ending) -> Given {
    let format = match ending {
        Ending::JsonLines(_) => Format::JsonLines,
        Ending::Csv(_) => Format::Csv { delimiter: b',', header: true, titles: 0 },
        Ending::Parquet => Format::Parquet,
    };
    Given {
        format: Some(format),
        delimiter: Some(b','),
        header: Some(true),
        charset: Some(Charset::Utf8),
        limits: Limits::NONE,
    }
}

fn collect(
    collector: &mut Collector,
    args: &BatchArgs,
    files: &Files,
    ending: Ending,
    inputs: &[Input],
    catalogue: &Catalogue,
) -> Result<()> {
    let names: HashMap<&str, &str> =
        catalogue.targets().map(|target| (target.id.as_str(), target.name.as_str())).collect();
    let output = Source::survey(&files.out, "the output", dialect(ending))
        .with_context(|| format!("cannot read {} for the report", files.out.display()))?;
    let mut fault = None;
    let read = output.read(&Reading::default(), &mut |item| {
        let added = match item {
            Item::Row(row) => add(collector, &unescaped(row.cells, args, ending), args, inputs, &names),
            Item::Bad(bad) => Err(anyhow::anyhow!("{}", bad.reason)),
        };
        match added {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                fault = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    read.context("cannot read the output for the report")?;
    if let Some(fault) = fault {
        return Err(fault.context(format!("{} is no output of arom batch", files.out.display())));
    }
    Ok(())
}

/// The cells as they were before they were escaped for spreadsheets.
fn unescaped(cells: Cells, args: &BatchArgs, ending: Ending) -> Cells {
    if !matches!(ending, Ending::Csv(_)) {
        return cells;
    }
    let plain = |(name, cell): (String, Value)| {
        let own = unescape_formula(&name);
        if !args.escape_formulas && !is_added(own, &args.prefix) {
            return (name, cell);
        }
        let cell = match cell {
            Value::String(text) => unescape_formula(&text).into(),
            other
            @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other,
        };
        (own.to_owned(), cell)
    };
    cells.into_iter().map(plain).collect()
}

fn add(
    collector: &mut Collector,
    cells: &Cells,
    args: &BatchArgs,
    inputs: &[Input],
    names: &HashMap<&str, &str>,
) -> Result<()> {
    let words = |name: &str| match cells.get(&format!("{}{name}", args.prefix)) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let source = words(SOURCE);
    let input = inputs.iter().find(|input| input.source.name == source).or(inputs.first());
    let Some(input) = input else { bail!("there is no dump") };
    let label = label(&words("label"))?;
    let number = |name: &str| words(name).parse::<f32>().with_context(|| format!("{name} is no number"));
    let text = input.columns.cell(Role::Text, cells).unwrap_or_default();
    let brand = args.brand.clone().or_else(|| input.columns.cell(Role::Brand, cells));
    let time = input.columns.time(cells).and_then(Result::ok);
    let rating = input.columns.cell(Role::Rating, cells).and_then(|stars| customary_rating(&stars));
    let targets: Vec<Value> = match cells.get(&format!("{}{TARGETS}", args.prefix)) {
        Some(Value::Array(targets)) => targets.clone(),
        Some(Value::String(targets)) => serde_json::from_str(targets).context("the targets are no JSON")?,
        _ => Vec::new(),
    };
    let characters: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let spoken = targets.iter().filter_map(|target| {
        let id = target.get("target")?.as_str()?;
        let edge = |name: &str| {
            let at = usize::try_from(target.get(name)?.as_u64()?).ok()?;
            characters.get(at).copied()
        };
        let score = target.get("score")?.to_string().parse().ok()?;
        Some(Spoken {
            target: names.get(id).copied().unwrap_or(id),
            is_brand: target.get("kind")?.as_str()? == "brand",
            label: Label::from_name(target.get("label")?.as_str()?)?,
            score,
            statement: text.get(edge("begin_offset")?..edge("end_offset")?)?,
        })
    });
    let spoken: Vec<Spoken<'_>> = spoken.collect();
    let count = |name: &str| words(name).parse().with_context(|| format!("{name} is no number"));
    collector.add(&Entry {
        text: &text,
        label,
        score: number("score")?,
        abstain: words("abstain") == "true",
        mixed: words("mixed") == "true",
        content: content_of(&words("content")).context("content is none that is known")?,
        token_count: count("token_count")?,
        window_count: count("window_count")?,
        brand: brand.as_deref(),
        time,
        rating,
        targets: &spoken,
    });
    Ok(())
}

fn label(name: &str) -> Result<Label> {
    Label::from_name(name).with_context(|| format!("a row has no {}", COLUMNS.first().unwrap_or(&"label")))
}

/// How many rows were refused for each reason, whatever its numbers.
fn rejected(path: &Path) -> Result<Vec<Rejected>> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let source = Source::survey(path, "the rejects", dialect(Ending::JsonLines(Compression::None)))?;
    source.read(&Reading::default(), &mut |item| {
        if let Item::Row(row) = item {
            let reason = row.cells.get("reason").and_then(Value::as_str).unwrap_or_default();
            let reason = without_numbers(reason);
            let known = counts.len() < REASONS || counts.contains_key(&reason);
            *counts.entry(if known { reason } else { "for other reasons".to_owned() }).or_default() += 1;
        }
        ControlFlow::Continue(())
    })?;
    let mut counts: Vec<Rejected> =
        counts.into_iter().map(|(reason, row_count)| Rejected { reason, row_count }).collect();
    counts.sort_by_key(|rejected| std::cmp::Reverse(rejected.row_count));
    Ok(counts)
}

fn without_numbers(reason: &str) -> String {
    let mut plain = String::new();
    for ch in reason.chars() {
        if !ch.is_ascii_digit() {
            plain.push(ch);
        } else if !plain.ends_with('…') {
            plain.push('…');
        }
    }
    plain
}
