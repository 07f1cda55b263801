//! Parquet, row by row: the only file that names the library. Its own record interface serves; Arrow beside it would
//! make the build half as long again.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use indexmap::IndexMap;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;
use jiff::{Span, Timestamp};
use parquet::basic::{
    Compression, ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel,
};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::record::Field;
use parquet::schema::types::{Type, TypePtr};
use serde_json::Value;

use super::limits::{Exceeded, Limits};
use super::read::Reading;
use super::{Cells, DumpError, Item, Row, parquet_sizes};
use crate::files;

/// Most rows of a row group, and most bytes of their JSON.
const GROUP_ROWS: usize = 65_536;
const GROUP_BYTES: usize = 64 << 20;
/// Most cells of one, those that are empty counted: each takes two bytes until it is written.
const GROUP_CELLS: usize = 1 << 26;

const DAY: Date = Date::constant(1970, 1, 1);

/// A column of moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Days.
    Date,
    /// Microseconds, of UTC or of wherever the writer was.
    Stamp {
        /// Whether of UTC.
        utc: bool,
    },
}

/// Columns of moments by their names.
pub type Moments = Vec<(String, Moment)>;

fn failed(path: &Path) -> impl Fn(ParquetError) -> DumpError {
    move |error| {
        let path = path.to_owned();
        if let ParquetError::External(cause) = error {
            return match cause.downcast::<io::Error>() {
                Ok(cause) => DumpError::File { path, cause: *cause },
                Err(other) => DumpError::Parquet { path, problem: other.to_string() },
            };
        }
        DumpError::Parquet { path, problem: error.to_string() }
    }
}

/// Some of what a file may hold, the library panics at.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, DumpError>) -> Result<T, DumpError> {
    std::panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let problem = "holds what Arom's Parquet library cannot read".to_owned();
        Err(DumpError::Parquet { path: path.to_owned(), problem })
    })
}

fn open(path: &Path) -> Result<SerializedFileReader<File>, DumpError> {
    let file = File::open(path).map_err(|cause| DumpError::File { path: path.to_owned(), cause })?;
    SerializedFileReader::new(file).map_err(failed(path))
}

/// How a column of whole numbers is to be read.
#[derive(Clone, Copy, Debug)]
struct Shape {
    moment: Option<Moment>,
    /// Of its moments in a second, where the record interface leaves them as numbers.
    nanoseconds: bool,
}

fn shapes(reader: &SerializedFileReader<File>) -> Vec<(String, Shape)> {
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let shape = |field: &TypePtr| {
        let info = field.get_basic_info();
        let (moment, nanoseconds) = match info.logical_type_ref() {
            Some(LogicalType::Date) => (Some(Moment::Date), false),
            Some(LogicalType::Timestamp(of)) => {
                (Some(Moment::Stamp { utc: of.is_adjusted_to_u_t_c }), of.unit == TimeUnit::NANOS)
            }
            // Older writers, and INT96, say only that it is one.
            _ if matches!(
                info.converted_type(),
                ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIMESTAMP_MICROS
            ) || field.is_primitive() && field.get_physical_type() == Physical::INT96 =>
            {
                (Some(Moment::Stamp { utc: false }), false)
            }
            _ => (None, false),
        };
        (info.name().to_owned(), Shape { moment, nanoseconds })
    };
    fields.iter().map(shape).collect()
}

/// The names of the columns, and those that hold moments.
pub(super) fn columns(path: &Path) -> Result<(Vec<String>, Moments), DumpError> {
    let shapes = guarded(path, || Ok(shapes(&open(path)?)))?;
    let moments = shapes.iter().filter_map(|(name, shape)| Some((name.clone(), shape.moment?)));
    Ok((shapes.iter().map(|(name, _)| name.clone()).collect(), moments.collect()))
}

pub(super) fn read(
    path: &Path,
    name: &str,
    limits: Limits,
    reading: &Reading,
    each: &mut dyn FnMut(Item) -> ControlFlow<()>,
) -> Result<(), DumpError> {
    // It may have changed since it was looked through.
    parquet_sizes::check(path, name, limits)?;
    let packed = std::fs::metadata(path).map_or(0, |meta| meta.len());
    let mut inflated = 0;
    let mut exceeded = None;
    guarded(path, || {
        rows(path, reading, &mut |item| {
            // A dictionary names a large text once, and its rows as often as they like.
            inflated += item_bytes(&item);
            match limits.check(packed, inflated) {
                Ok(()) => each(item),
                Err(limit) => {
                    exceeded = Some(limit);
                    ControlFlow::Break(())
                }
            }
        })
    })?;
    let limit = |limit: Exceeded| DumpError::Limit { name: name.to_owned(), problem: limit.to_string() };
    exceeded.map_or(Ok(()), |exceeded| Err(limit(exceeded)))
}

/// Bytes of the texts of a row.
fn item_bytes(item: &Item) -> u64 {
    let Item::Row(row) = item else { return 0 };
    row.cells.values().map(|cell| cell.as_str().map_or(8, str::len) as u64).sum()
}

fn rows(
    path: &Path,
    reading: &Reading,
    each: &mut dyn FnMut(Item) -> ControlFlow<()>,
) -> Result<(), DumpError> {
    let reader = open(path)?;
    let shapes = shapes(&reader);
    let rows = usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0);
    let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
    let row_bytes = bytes / (rows.max(1) as u64);
    for (row, line) in reader.get_row_iter(None).map_err(failed(path))?.zip(1..) {
        let row = row.map_err(failed(path))?;
        reading.bytes.fetch_add(row_bytes, Ordering::Relaxed);
        let cells = row.into_columns().into_iter().zip(&shapes);
        let cells = cells.map(|((name, field), (_, shape))| (name, value(&field, *shape)));
        let item = Item::Row(Row { line, cells: cells.collect() });
        if each(item).is_break() {
            break;
        }
    }
    Ok(())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library knows what a kind of field is as JSON")]
fn value(field: &Field, Shape { moment, nanoseconds }: Shape) -> Value {
    // What no calendar has stays a number.
    let stamp = |time: Result<Timestamp, jiff::Error>, number: i64| {
        let Ok(time) = time else { return number.into() };
        match moment {
            Some(Moment::Stamp { utc: false }) => Offset::UTC.to_datetime(time).to_string().into(),
            _ => time.to_string().into(),
        }
    };
    match field {
        Field::TimestampMillis(at) => stamp(Timestamp::from_millisecond(*at), *at),
        Field::TimestampMicros(at) => stamp(Timestamp::from_microsecond(*at), *at),
        Field::Long(at) if nanoseconds => stamp(Timestamp::from_nanosecond(i128::from(*at)), *at),
        Field::Date(days) => {
            let day = Span::new().try_days(*days).and_then(|span| DAY.checked_add(span));
            day.map_or((*days).into(), |day| day.to_string().into())
        }
        // Text whose writer did not say that it is.
        Field::Bytes(bytes) if std::str::from_utf8(bytes.data()).is_ok() => {
            String::from_utf8_lossy(bytes.data()).into()
        }
        // As short as they were meant: 0.1, and not the double next to it.
        Field::Float(number) => number.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        other => other.to_json_value(),
    }
}

/// What a column of a table to be written holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing yet.
    Nothing,
    Boolean,
    Integer,
    Float,
    Text,
    /// Lists and objects as JSON.
    Json,
    Moment(Moment),
}

impl Kind {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_i64() => Self::Integer,
            // A number beyond 64 bits with a sign: a double would round it.
            Value::Number(number) if number.is_u64() => Self::Text,
            Value::Number(_) => Self::Float,
            Value::String(_) => Self::Text,
            Value::Array(_) | Value::Object(_) => Self::Json,
        }
    }

    /// What holds both.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Nothing, kind) | (kind, Self::Nothing) => kind,
            (Self::Integer, Self::Float) | (Self::Float, Self::Integer) => Self::Float,
            (Self::Moment(moment), Self::Text) => Self::Moment(moment),
            _ => Self::Text,
        }
    }

    fn physical(self) -> (Physical, Option<LogicalType>) {
        match self {
            Self::Nothing | Self::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Self::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
            Self::Boolean => (Physical::BOOLEAN, None),
            Self::Integer => (Physical::INT64, None),
            Self::Float => (Physical::DOUBLE, None),
            Self::Moment(Moment::Date) => (Physical::INT32, Some(LogicalType::Date)),
            Self::Moment(Moment::Stamp { utc }) => {
                (Physical::INT64, Some(LogicalType::timestamp(utc, TimeUnit::MICROS)))
            }
        }
    }
}

/// Writes the rows of a file of JSON Lines as Parquet. Columns come in the order in which they are first seen; those
/// named in `moments` hold moments. Every column may be null.
///
/// Read twice: a column's type is known when its last row is.
///
/// # Errors
///
/// If either cannot be read or written, or there are more columns than `max_columns`.
pub fn from_json_lines(
    from: &Path,
    to: &Path,
    moments: &[(String, Moment)],
    max_columns: usize,
) -> Result<(), DumpError> {
    let mut columns: IndexMap<String, Kind> = IndexMap::new();
    each_row(from, |cells, _| {
        for (name, cell) in &cells {
            let kind = Kind::of(cell);
            if let Some(known) = columns.get_mut(name) {
                *known = known.or(kind);
            } else {
                let moment = moments.iter().find(|(known, _)| known == name);
                let kind = moment.map_or(kind, |(_, moment)| Kind::Moment(*moment).or(kind));
                columns.insert(name.clone(), kind);
            }
        }
        let limits = Limits { columns: max_columns, ..Limits::NONE };
        let name = || to.display().to_string();
        limits
            .check_columns(columns.len())
            .map_err(|limit| DumpError::Limit { name: name(), problem: limit.to_string() })
    })?;
    let failed = failed(to);
    let file = files::create_new(to).map_err(|cause| DumpError::File { path: to.to_owned(), cause })?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(concat!("arom ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let schema = schema(&columns).map_err(&failed)?;
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(&failed)?;
    let fresh = || columns.values().map(|kind| Column::of(*kind)).collect::<Vec<_>>();
    let (mut group, mut rows, mut bytes) = (fresh(), 0, 0);
    each_row(from, |cells, size| {
        for ((name, kind), column) in columns.iter().zip(&mut group) {
            column.push(cells.get(name).unwrap_or(&Value::Null), *kind);
        }
        (rows, bytes) = (rows + 1, bytes + size);
        if rows == GROUP_ROWS || bytes > GROUP_BYTES || rows * columns.len() > GROUP_CELLS {
            write_group(&mut writer, &std::mem::replace(&mut group, fresh())).map_err(&failed)?;
            (rows, bytes) = (0, 0);
        }
        Ok(())
    })?;
    if rows > 0 {
        write_group(&mut writer, &group).map_err(&failed)?;
    }
    let file = writer.into_inner().map_err(&failed)?;
    file.sync_all().map_err(|cause| DumpError::File { path: to.to_owned(), cause })
}

fn each_row(
    path: &Path,
    mut each: impl FnMut(Cells, usize) -> Result<(), DumpError>,
) -> Result<(), DumpError> {
    let failed = |cause| DumpError::File { path: path.to_owned(), cause };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    let mut number = 0;
    while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        number += 1;
        let cells = serde_json::from_slice(&line).map_err(|error| DumpError::Broken {
            name: path.display().to_string(),
            place: format!("line {number}"),
            problem: error.to_string(),
        })?;
        each(cells, line.len())?;
        line.clear();
    }
    Ok(())
}

fn schema(columns: &IndexMap<String, Kind>) -> Result<TypePtr, ParquetError> {
    let field = |(name, kind): (&String, &Kind)| {
        let (physical, logical) = kind.physical();
        let field = Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        Ok(Arc::new(field.build()?))
    };
    let fields = columns.iter().map(field).collect::<Result<Vec<_>, ParquetError>>()?;
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
}

/// A column of a row group: its values, and for each row whether it has one.
struct Column {
    values: Values,
    levels: Vec<i16>,
}

enum Values {
    Bytes(Vec<ByteArray>),
    Booleans(Vec<bool>),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Days(Vec<i32>),
}

impl Column {
    fn of(kind: Kind) -> Self {
        let values = match kind {
            Kind::Nothing | Kind::Text | Kind::Json => Values::Bytes(Vec::new()),
            Kind::Boolean => Values::Booleans(Vec::new()),
            Kind::Integer | Kind::Moment(Moment::Stamp { .. }) => Values::Integers(Vec::new()),
            Kind::Float => Values::Floats(Vec::new()),
            Kind::Moment(Moment::Date) => Values::Days(Vec::new()),
        };
        Self { values, levels: Vec::new() }
    }

    fn push(&mut self, cell: &Value, kind: Kind) {
        let is_there = match (&mut self.values, kind) {
            (Values::Bytes(values), _) => put(values, text(cell, kind)),
            (Values::Booleans(values), _) => put(values, cell.as_bool()),
            (Values::Integers(values), Kind::Moment(Moment::Stamp { utc })) => {
                put(values, microseconds(cell, utc))
            }
            (Values::Integers(values), _) => put(values, cell.as_i64()),
            (Values::Floats(values), _) => put(values, cell.as_f64()),
            (Values::Days(values), _) => put(values, day(cell)),
        };
        self.levels.push(i16::from(is_there));
    }
}

fn put<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    let is_there = value.is_some();
    values.extend(value);
    is_there
}

fn write_group(writer: &mut SerializedFileWriter<File>, columns: &[Column]) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for Column { values, levels } in columns {
        match values {
            Values::Bytes(values) => write_column::<ByteArrayType>(&mut group, values, levels)?,
            Values::Booleans(values) => write_column::<BoolType>(&mut group, values, levels)?,
            Values::Integers(values) => write_column::<Int64Type>(&mut group, values, levels)?,
            Values::Floats(values) => write_column::<DoubleType>(&mut group, values, levels)?,
            Values::Days(values) => write_column::<Int32Type>(&mut group, values, levels)?,
        }
    }
    group.close()?;
    Ok(())
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    levels: &[i16],
) -> Result<(), ParquetError> {
    let mut column = group.next_column()?.ok_or(ParquetError::General("a column is missing".to_owned()))?;
    column.typed::<T>().write_batch(values, Some(levels), None)?;
    column.close()
}

fn text(cell: &Value, kind: Kind) -> Option<ByteArray> {
    match cell {
        Value::Null => None,
        Value::String(text) if kind != Kind::Json => Some(text.as_str().into()),
        other @ (Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => Some(other.to_string().as_str().into()),
    }
}

fn day(cell: &Value) -> Option<i32> {
    let date: Date = cell.as_str()?.parse().ok()?;
    Some((date - DAY).get_days())
}

fn microseconds(cell: &Value, utc: bool) -> Option<i64> {
    let text = cell.as_str()?;
    if utc {
        return Some(text.parse::<Timestamp>().ok()?.as_microsecond());
    }
    let local: DateTime = text.parse().ok()?;
    Some(Offset::UTC.to_timestamp(local).ok()?.as_microsecond())
}
