//! Reading the rows: what the columns hold.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use eciton_proto::v1::SchemaField;
use xxhash_rust::xxh3::xxh3_64;

use super::data::probe;
use super::text::string;
use super::{DraftError, OnRead, READ_LEN_MAX, SourceShape};
use crate::columns::Kind;
use crate::source::format::{About, Types};
use crate::source::{self, Planned, Sampled, Shard, open_shard};
use crate::spec::{JobFile, parse_type, type_name};

/// Different values of a column that are told apart.
const DISTINCT_MAX: usize = 1000;
/// Values of a column that are looked at for whether all differ: 16 bytes of memory each.
const UNIQUE_MAX: usize = 4 << 20;
/// Bytes of a value that is told apart from others.
const DISTINCT_LEN_MAX: usize = 1000;
/// Words that often stand for NULL, beside the empty field.
const NULL_WORDS: [&str; 14] = [
    "NA", "N/A", "n/a", "#N/A", "NULL", "null", "Null", "None", "\\N", "-", "?", ".", "NaN", "nan",
];

/// What a source holds.
pub(super) struct SurveyedData {
    pub(super) files: u64,
    pub(super) columns: Vec<Facts>,
    pub(super) rows: u64,
    /// Whether all rows were read.
    pub(super) is_whole: bool,
    /// Words that stand for NULL beside the empty field.
    pub(super) nulls: Vec<&'static str>,
    /// Whether quoted fields hold newlines.
    pub(super) newlines: bool,
    /// Malformed rows among those read.
    pub(super) malformed: u64,
    /// Bytes of all files.
    pub(super) bytes: u64,
    pub(super) warnings: Vec<String>,
}

/// What is known of one column.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) data_type: DataType,
    /// Its type as messages have it.
    pub(super) shown_type: String,
    /// What `[source.schema]` has to say, where the first rows alone say something else.
    pub(super) declared: Option<String>,
    pub(super) nulls: u64,
    /// Different values; `None` where they are more than are told apart, or were not.
    pub(super) distinct: Option<usize>,
    /// Whether no row that was read has NULL or the value of another row; false where that was not found out.
    pub(super) is_unique: bool,
    /// Rows with each of the words that often stand for NULL.
    words: BTreeMap<&'static str, u64>,
}

/// Counts values of one column while rows are read.
#[derive(Default)]
struct Counting {
    sampled: Sampled,
    words: BTreeMap<&'static str, u64>,
    nulls: u64,
    distinct: HashSet<Box<str>>,
    has_more: bool,
    uniqueness: Uniqueness,
}

/// Whether all values of a column differ, found out by their hashes: two that are alike by accident make a column that
/// is unique look as if it were not, never the other way round.
struct Uniqueness {
    /// Hashes so far; `None` once two were alike, or they are too many.
    seen: Option<HashSet<u64>>,
}

impl Default for Uniqueness {
    fn default() -> Self {
        let seen = Some(HashSet::new());
        Uniqueness { seen }
    }
}

impl Uniqueness {
    fn add(&mut self, value: &str) {
        if let Some(seen) = &mut self.seen
            && (seen.len() == UNIQUE_MAX || !seen.insert(xxh3_64(value.as_bytes())))
        {
            self.seen = None;
        }
    }

    /// Whether each of so many rows had a value of its own.
    fn holds(&self, rows: u64) -> bool {
        let seen = self.seen.as_ref();
        rows > 0 && seen.is_some_and(|seen| seen.len() as u64 == rows)
    }
}

impl Counting {
    fn tell_apart(&mut self, value: &str) {
        self.uniqueness.add(value);
        if self.has_more || self.distinct.contains(value) {
            return;
        }
        if self.distinct.len() == DISTINCT_MAX || value.len() > DISTINCT_LEN_MAX {
            self.has_more = true;
            self.distinct = HashSet::new();
            return;
        }
        self.distinct.insert(value.into());
    }

    /// Whether each of so many rows has a value of its own, none of them NULL. Of numbers with a fraction and of moments
    /// nobody knows: text that differs may be one value.
    fn is_unique(&self, data_type: &DataType, rows: u64) -> bool {
        let has_one_text = matches!(
            Kind::of(data_type),
            Some(Kind::Int | Kind::Uint | Kind::Str | Kind::Bool | Kind::Date)
        );
        has_one_text && self.nulls == 0 && self.uniqueness.holds(rows)
    }

    fn distinct(&self) -> Option<usize> {
        (!self.has_more).then_some(self.distinct.len())
    }

    fn add(&mut self, array: &ArrayRef, types: Types) -> Result<(), DraftError> {
        self.nulls += array.null_count() as u64;
        let texts = match array.data_type() {
            DataType::Utf8 => ArrayRef::clone(array),
            _ => {
                cast(array, &DataType::Utf8).map_err(|error| DraftError::Data(error.to_string()))?
            }
        };
        for text in texts.as_string::<i32>().iter().flatten() {
            match types {
                Types::Text => {
                    let word = NULL_WORDS.into_iter().find(|word| *word == text);
                    match word {
                        Some(word) => *self.words.entry(word).or_default() += 1,
                        None => self.sampled.add_text(text),
                    }
                }
                Types::Json if text == "null" => {
                    self.nulls += 1;
                    continue;
                }
                Types::Json => self.sampled.add_json(text),
                Types::Files | Types::Fixed => {}
            }
            self.tell_apart(text);
        }
        Ok(())
    }
}

/// Reads the rows of a source.
pub(super) fn survey(
    file: &Path,
    shape: &SourceShape,
    full: bool,
    progress: OnRead<'_>,
) -> Result<SurveyedData, DraftError> {
    if shape.format.types == Types::Files {
        return survey_typed(file, shape, full, progress);
    }
    let first = read_text(file, shape, false, full, progress)?;
    let may_have_newlines = shape.format.uses("newlines_in_values");
    let read = match first.malformed {
        0 => first,
        _ if !may_have_newlines => first,
        // Newlines within quotes, perhaps.
        _ => match read_text(file, shape, true, full, progress) {
            Ok(second) if second.malformed < first.malformed => second,
            _ => first,
        },
    };
    conclude(file, shape, read)
}

/// What reading text gave.
struct ReadText {
    names: Vec<String>,
    counting: Vec<Counting>,
    files: u64,
    bytes: u64,
    rows: u64,
    malformed: u64,
    newlines: bool,
    is_whole: bool,
}

/// The `[source]` of a text format, as far as it is known.
fn source_text(shape: &SourceShape, nulls: &[&str], newlines: bool) -> String {
    let paths: Vec<String> = shape.paths.iter().map(|path| string(path)).collect();
    let mut text = format!(
        "[source]\nformat = \"{}\"\npaths = [{}]\n",
        shape.format.name,
        paths.join(", ")
    );
    let uses = |key| shape.format.uses(key);
    let delimiter = char::from(shape.separation.delimiter).to_string();
    if uses("delimiter") && delimiter != "," {
        writeln!(text, "delimiter = {}", string(&delimiter)).ok();
    }
    if uses("header") && !shape.separation.header {
        text.push_str("header = false\n");
    }
    if newlines {
        text.push_str("newlines_in_values = true\n");
    }
    if !nulls.is_empty() {
        let words: Vec<String> = nulls.iter().map(|word| string(word)).collect();
        writeln!(text, "null_values = [\"\", {}]", words.join(", ")).ok();
    }
    text
}

fn job(file: &Path, source: &str, more: &str) -> Result<JobFile, DraftError> {
    let text =
        format!("name = \"draft\"\n{source}{more}\n[upsert]\nstore = \"draft\"\nkey = [\"key\"]\n");
    Ok(JobFile::parse(file, &text)?)
}

fn read_text(
    file: &Path,
    shape: &SourceShape,
    newlines: bool,
    full: bool,
    progress: OnRead<'_>,
) -> Result<ReadText, DraftError> {
    let source = source_text(shape, &[], newlines);
    let names = source::plan(&job(file, &source, "")?)?.plan.schema;
    let names: Vec<String> = names.into_iter().map(|field| field.name).collect();
    let About { types, .. } = shape.format;
    let raw = match types {
        Types::Json => "json",
        Types::Text | Types::Files | Types::Fixed => "string",
    };
    let mut more = match shape.format.uses("on_new_columns") {
        true => "on_new_columns = \"ignore\"\n".to_owned(),
        false => String::new(),
    };
    more.push_str("on_error = \"skip\"\n[source.schema]\n");
    for name in &names {
        writeln!(more, "{} = \"{raw}\"", string(name)).ok();
    }
    let job = job(file, &source, &more)?;
    let planned = source::plan(&job)?;
    let columns: Vec<usize> = (0..planned.plan.schema.len()).collect();
    let names: Vec<String> = planned.plan.schema.iter().map(|f| f.name.clone()).collect();
    let mut counting: Vec<Counting> = Vec::new();
    counting.resize_with(names.len(), Counting::default);
    let read = read(&job, &planned, &columns, full, progress, |batch| {
        for (column, counting) in batch.columns().iter().zip(&mut counting) {
            counting.add(column, *types)?;
        }
        Ok(())
    })?;
    Ok(ReadText {
        names,
        counting,
        files: planned.plan.files.into(),
        bytes: read.bytes,
        rows: read.rows,
        malformed: read.malformed,
        newlines,
        is_whole: read.is_whole,
    })
}

/// Counts of rows that were read.
struct Read {
    rows: u64,
    malformed: u64,
    bytes: u64,
    is_whole: bool,
}

/// Reads rows, all of them or some of everywhere.
fn read(
    job: &JobFile,
    planned: &Planned,
    columns: &[usize],
    full: bool,
    progress: OnRead<'_>,
    mut each: impl FnMut(&RecordBatch) -> Result<(), DraftError>,
) -> Result<Read, DraftError> {
    let source = planned.source(job.spec().source.clone().unwrap_or_default())?;
    let shards = planned.shards()?;
    let bytes: u64 = planned
        .files
        .iter()
        .flat_map(|chunk| &chunk.files)
        .map(|file| file.len)
        .sum();
    let chosen = chosen(&shards, bytes, full);
    let mut read = Read {
        rows: 0,
        malformed: 0,
        bytes,
        is_whole: chosen.len() == shards.len(),
    };
    let expected = match read.is_whole {
        true => bytes,
        false => READ_LEN_MAX.min(bytes),
    };
    let mut done = 0_u64;
    for shard in chosen {
        let mut reader = open_shard(&source, shard, columns)?;
        let mut in_shard = 0_u64;
        for batch in reader.by_ref() {
            let batch = batch?;
            each(&batch)?;
            read.rows += batch.num_rows() as u64;
            in_shard = in_shard.saturating_add(batch.get_array_memory_size() as u64);
            progress(done.saturating_add(in_shard).min(expected), expected);
            // A compressed file is one shard, however much is in it.
            if !full && in_shard > READ_LEN_MAX {
                read.is_whole = false;
                break;
            }
        }
        read.malformed += reader.rows_skipped();
        done = done.saturating_add(bytes / (shards.len() as u64).max(1));
    }
    Ok(read)
}

/// The shards that are read: all, or as many as are as long as may be read, from beginning to end.
fn chosen(shards: &[Shard], bytes: u64, full: bool) -> Vec<Shard> {
    if full || bytes <= READ_LEN_MAX {
        return shards.to_vec();
    }
    let share = READ_LEN_MAX.saturating_mul(shards.len() as u64) / bytes.max(1);
    let count = usize::try_from(share)
        .unwrap_or(usize::MAX)
        .clamp(1, shards.len().max(1));
    let at = |n: usize| n * shards.len() / count;
    (0..count)
        .filter_map(|n| shards.get(at(n)).copied())
        .collect()
}

/// The types of all rows, the words for NULL, and what has to be declared because the first rows alone do not tell.
fn conclude(file: &Path, shape: &SourceShape, read: ReadText) -> Result<SurveyedData, DraftError> {
    let mut nulls: Vec<&'static str> = Vec::new();
    for counting in &read.counting {
        let guess = counting.sampled.guess();
        if guess.data_type != DataType::Utf8 {
            nulls.extend(counting.words.keys());
        }
    }
    nulls.sort_unstable();
    nulls.dedup();
    let mut warnings = Vec::new();
    let source = source_text(shape, &nulls, read.newlines);
    let first_rows: Vec<SchemaField> = source::plan(&job(file, &source, "")?)?.plan.schema;
    let mut columns = Vec::with_capacity(read.names.len());
    for (name, mut counting) in read.names.into_iter().zip(read.counting) {
        let words: Vec<(&'static str, u64)> =
            std::mem::take(&mut counting.words).into_iter().collect();
        for (word, count) in &words {
            match nulls.contains(word) {
                true => counting.nulls += count,
                // It is a value then.
                false => counting.sampled.add_text(word),
            }
        }
        let distinct = counting.distinct().map(|distinct| {
            let gone = words.iter().filter(|(word, _)| nulls.contains(word));
            distinct.saturating_sub(gone.count())
        });
        let guess = counting.sampled.guess();
        let first = first_rows.iter().find(|field| field.name == name);
        let is_same = first.is_some_and(|field| {
            parse_type(&field.r#type).as_ref() == Some(&guess.data_type)
                && field.format == guess.format
        });
        let is_unseen = guess.format == "unseen";
        let is_nested = matches!(guess.data_type, DataType::List(_) | DataType::Struct(_));
        let declared = match (guess.format, &guess.data_type) {
            _ if is_same || is_unseen => None,
            ("json", _) => Some("json".to_owned()),
            _ if is_nested => Some("json".to_owned()),
            (_, data_type) => Some(type_name(data_type)),
        };
        let data_type = match declared.as_deref() {
            Some("json") => DataType::Utf8,
            _ => guess.data_type,
        };
        let shown_type = match (declared.as_deref(), guess.format) {
            (Some("json"), _) | (_, "json") => "json".to_owned(),
            _ => type_name(&data_type),
        };
        let is_unique = counting.is_unique(&data_type, read.rows);
        columns.push(Facts {
            name,
            data_type,
            shown_type,
            declared,
            nulls: counting.nulls,
            distinct,
            is_unique,
            words: words.into_iter().collect(),
        });
    }
    for column in columns
        .iter()
        .filter(|column| column.data_type == DataType::Utf8)
    {
        for (word, count) in &column.words {
            if nulls.contains(word) {
                warnings.push(format!(
                    "`{word}` stands for NULL in every column, also in the text column `{}`, where {}",
                    column.name,
                    match count {
                        1 => "1 row has it".to_owned(),
                        count => format!("{} rows have it", super::text::grouped(*count)),
                    }
                ));
            }
        }
    }
    if read.malformed > 0 {
        warnings.push(format!(
            "{} malformed: the job file leaves such rows out (`on_error = \"skip\"`) and counts them; `on_error = \"fail\"` \
             tells where the first one is",
            match read.malformed {
                1 => "1 row is".to_owned(),
                count => format!("{} rows are", super::text::grouped(count)),
            }
        ));
    }
    Ok(SurveyedData {
        files: read.files,
        columns,
        rows: read.rows,
        is_whole: read.is_whole,
        nulls,
        newlines: read.newlines,
        malformed: read.malformed,
        bytes: read.bytes,
        warnings,
    })
}

/// Reads files that tell the types of their columns.
fn survey_typed(
    file: &Path,
    shape: &SourceShape,
    full: bool,
    progress: OnRead<'_>,
) -> Result<SurveyedData, DraftError> {
    let job = probe(file, &shape.paths, shape.format.name)?;
    let planned = source::plan(&job)?;
    let source = planned.source(job.spec().source.clone().unwrap_or_default())?;
    let schema = source.schema();
    // Only values that a query may group by are looked at.
    let is_counted = |at: &usize| {
        let data_type = schema.field(*at).data_type();
        source.check_readable(&[*at]).is_ok() && Kind::of(data_type).is_some()
    };
    let counted: Vec<usize> = (0..schema.fields().len()).filter(is_counted).collect();
    let mut counting: Vec<Counting> = Vec::new();
    counting.resize_with(counted.len(), Counting::default);
    let is_alike = planned.check_alike(&counted).is_ok();
    let read = match is_alike {
        true => read(&job, &planned, &counted, full, progress, |batch| {
            for (column, counting) in batch.columns().iter().zip(&mut counting) {
                match matches!(Kind::of(column.data_type()), Some(Kind::Bytes)) {
                    true => counting.has_more = true,
                    false => counting.add(column, Types::Files)?,
                }
            }
            Ok(())
        })?,
        false => Read {
            rows: 0,
            malformed: 0,
            bytes: 0,
            is_whole: false,
        },
    };
    let columns = schema.fields().iter().enumerate().map(|(at, field)| {
        let place = counted.iter().position(|other| *other == at);
        let known = place
            .filter(|_| is_alike)
            .and_then(|place| counting.get(place));
        Facts {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            shown_type: type_name(field.data_type()),
            declared: None,
            nulls: known.map_or(0, |known| known.nulls),
            distinct: known.and_then(Counting::distinct),
            is_unique: known.is_some_and(|known| known.uniqueness.holds(read.rows)),
            words: BTreeMap::new(),
        }
    });
    Ok(SurveyedData {
        files: planned.plan.files.into(),
        columns: columns.collect(),
        rows: read.rows,
        is_whole: read.is_whole,
        nulls: Vec::new(),
        newlines: false,
        malformed: 0,
        bytes: read.bytes,
        warnings: planned.warnings.clone(),
    })
}
