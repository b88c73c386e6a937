//! What a job file resolves to: files, columns, shards. Made once, recorded with the job, read by every worker.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use eciton_proto::v1::{
    FileChunk, Plan, SchemaField, ShardChunk, SourceFile, SourceSpec, StorePlan,
};

use super::content;
use super::error::SourceError;
use super::files::{PATHS, resolve};
use super::format::{ComputedSource, SourceFormat};
use super::formats;
use super::hive::{self, Partitions};
use super::identity;
use super::limits::{FILES_PER_CHUNK, SHARDS_PER_CHUNK};
use super::reach::Reach;
use super::reading::Reading;
use super::schema::{FileFacts, Writings, survey};
use super::stored::SourceDatabase;
use crate::spec::limits::{FILES_MAX, SHARDS_MAX};
use crate::spec::{JSON, JobFile, SpecError, parse_type, type_name};
use crate::stores::SlicedStore;

/// Files that a warning names.
pub(super) const NAMED_MAX: usize = 5;

/// A plan with its chunks: everything to be recorded of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Columns and counts.
    pub plan: Plan,
    /// The files, 256 a chunk.
    pub files: Vec<FileChunk>,
    /// The shards, 4,096 a chunk.
    pub shards: Vec<ShardChunk>,
    /// Rows that the types of columns were inferred from, which are not recorded; 0 where types are not inferred.
    pub sampled_rows: u64,
    /// Columns of text that a job may have as numbers if it needs them as such, by their place; not recorded.
    as_numbers: Vec<(usize, SchemaField)>,
    /// Columns that are not alike in all files, by their place, and how; not recorded.
    unlike: Vec<(usize, String)>,
    /// What is to be known of the files and is no error, for people; not recorded.
    pub warnings: Vec<String>,
    /// Where the records of a store are read; not recorded.
    database: Option<SourceDatabase>,
}

/// Resolves the source of a job: matches globs, finds columns and types, cuts the files into shards. Reads the
/// start of each file and a few bytes at each cut; a file whose values may hold newlines is read once as a
/// whole, and so is every file under `verify = "content"`. Blocks the thread. Equal files give equal plans.
///
/// # Errors
/// [`SpecError`] too where a file changes while this looks at it.
/// [`SpecError`] at the key to blame if a glob matches nothing, a file cannot be read, files have different
/// columns, a declared column is not there, or there are too many files or shards.
pub fn plan(job: &JobFile) -> Result<Planned, SpecError> {
    plan_within(job, &Reach::anywhere())
}

/// [`plan()`], reading no further than `reach`; where that is bounded, so is whoever reads the source by this plan.
///
/// # Errors
/// As [`plan()`]; [`SpecError`] at the paths for files out of reach, whether or not they are there.
pub fn plan_within(job: &JobFile, reach: &Reach) -> Result<Planned, SpecError> {
    let mut planned = reach.during(|| plan_here(job))?;
    planned.plan.over_network = reach.is_bounded();
    Ok(planned)
}

/// Plans for the reach of this thread.
fn plan_here(job: &JobFile) -> Result<Planned, SpecError> {
    let default = SourceSpec::default();
    let spec = job.spec().source.as_ref().unwrap_or(&default);
    let format = formats::of(spec).map_err(|error| job.error("source.format", error))?;
    if let Some(computed) = format.computed(spec) {
        return plan_computed(job, &computed);
    }
    let (files, one_file) = resolve(job, &spec.paths)?;
    let folders = Partitions::of(job, spec, &files)?;
    let of_files = folders.as_ref().map(|folders| folders.of_files(spec));
    let (surveyed, writings) = survey(format, job, of_files.as_ref().unwrap_or(spec), &files)?;
    let refused = |error: SourceError| job.error(PATHS, error.while_planning());
    let mut ranges = Vec::with_capacity(files.len());
    let mut count = 0;
    for (file, facts) in files.iter().zip(&surveyed.files) {
        let ranges_of_file = format.cut(spec, file, facts).map_err(refused)?;
        count += ranges_of_file.len() as u64;
        check_count(job, "source.shard_size", count)?;
        ranges.push(ranges_of_file);
    }
    let mut files = files;
    let hashed = match content::is_wanted(spec) {
        true => content::hash_all(format, &files, &ranges).map_err(refused)?,
        false => Vec::new(),
    };
    // Whatever was read was read of what is recorded.
    for file in &files {
        identity::check_path(file).map_err(refused)?;
    }
    let mut shards = Shards::default();
    for (index, (number, ranges)) in (0_u32..).zip(&ranges).enumerate() {
        let hashes = hashed.get(index).map_or(&[][..], |hashed| &hashed.shards);
        for (at, range) in ranges.iter().enumerate() {
            shards.push(number, range.clone(), hashes.get(at).copied().unwrap_or(0));
        }
    }
    for (file, hashed) in files.iter_mut().zip(hashed) {
        (file.content_hash, file.tail_hash) = (hashed.content, hashed.tail);
    }
    let mut fields = fields(&surveyed.schema, &writings);
    if let Some(folders) = folders {
        folders.extend(job, &mut fields)?;
    }
    let mut empty = writings.empty.clone();
    for (file, facts) in files.iter().zip(&surveyed.files) {
        if matches!(facts, FileFacts::Groups { lens } if lens.is_empty()) {
            empty.push(file.display.clone());
        }
    }
    let numbers = fields.iter().enumerate();
    let numbers = numbers.filter_map(|(at, field)| Some((at, writings.as_numbers(field)?)));
    Ok(Planned {
        sampled_rows: writings.rows as u64,
        as_numbers: numbers.collect(),
        unlike: surveyed.unlike,
        warnings: one_file.into_iter().chain(empty_files(&empty)).collect(),
        ..planned(fields, &files, shards)
    })
}

/// Plans a source without files.
fn plan_computed(job: &JobFile, computed: &ComputedSource) -> Result<Planned, SpecError> {
    let ComputedSource {
        schema,
        len,
        shard_len,
        key,
    } = computed;
    let count = len.div_ceil((*shard_len).max(1));
    check_count(job, key, count)?;
    let mut shards = Shards::default();
    for number in 0..count {
        let start = number * shard_len;
        shards.push(0, start..(*len).min(start.saturating_add(*shard_len)), 0);
    }
    let fields = fields(schema, &Writings::default());
    Ok(planned(fields, &[], shards))
}

/// The recorded form of columns.
fn fields(schema: &Schema, writings: &Writings) -> Vec<SchemaField> {
    let field = |field: &Arc<Field>| {
        let (format, unit) = writings.of(field.name());
        SchemaField {
            name: field.name().clone(),
            r#type: type_name(field.data_type()),
            nullable: field.is_nullable(),
            format,
            unit,
        }
    };
    schema.fields().iter().map(field).collect()
}

fn planned(schema: Vec<SchemaField>, files: &[SourceFile], shards: Shards) -> Planned {
    debug_assert!(
        files.len() <= FILES_MAX,
        "{} files were resolved",
        files.len()
    );
    let plan = Plan {
        schema,
        files: u32::try_from(files.len()).unwrap_or(u32::MAX),
        shards: shards.count,
        over_network: false,
        dates: true,
        output: Vec::new(),
        export: None,
        store: None,
    };
    let mut chunks = Vec::with_capacity(files.len().div_ceil(FILES_PER_CHUNK));
    for (first, files) in (0..)
        .step_by(FILES_PER_CHUNK)
        .zip(files.chunks(FILES_PER_CHUNK))
    {
        chunks.push(FileChunk {
            first,
            files: files.to_vec(),
        });
    }
    Planned {
        plan,
        files: chunks,
        shards: shards.chunks,
        sampled_rows: 0,
        as_numbers: Vec::new(),
        unlike: Vec::new(),
        warnings: Vec::new(),
        database: None,
    }
}

/// What is said of files without records.
fn empty_files(names: &[String]) -> Option<String> {
    let said = match names {
        [] => return None,
        [_] => "has no records and gives no rows",
        _ => "have no records and give no rows",
    };
    let shown: Vec<String> = names
        .iter()
        .take(NAMED_MAX)
        .map(|name| format!("`{name}`"))
        .collect();
    let rest = match names.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        rest => format!(" and {rest} others"),
    };
    Some(format!("{}{rest} {said}", shown.join(", ")))
}

/// The recorded form of shards whose places are known.
pub(super) fn recorded(source: &Source, files: &[SourceFile], shards: &[Shard]) -> Planned {
    let mut written = Shards::default();
    for shard in shards {
        let range = shard.start..shard.start + shard.len;
        written.push(shard.file, range, shard.content_hash);
    }
    planned(source.fields.clone(), files, written)
}

fn check_count(job: &JobFile, key: &str, count: u64) -> Result<(), SpecError> {
    if count <= SHARDS_MAX {
        return Ok(());
    }
    Err(job.error(
        key,
        format!("a job has at most {SHARDS_MAX} shards, found {count}; expected larger shards"),
    ))
}

/// Shards being written into chunks.
#[derive(Debug, Default)]
struct Shards {
    chunks: Vec<ShardChunk>,
    count: u64,
    /// File and end of the last shard in its chunk.
    last: (u32, u64),
}

impl Shards {
    /// Adds a shard; its hash is 0 where there is none.
    fn push(&mut self, file: u32, range: Range<u64>, content_hash: u64) {
        let full = |chunk: &ShardChunk| chunk.len.len() == SHARDS_PER_CHUNK;
        if self.chunks.last().is_none_or(full) {
            self.chunks.push(ShardChunk {
                first: self.count,
                ..ShardChunk::default()
            });
            self.last = (0, 0);
        }
        let Some(chunk) = self.chunks.last_mut() else {
            return;
        };
        let (last_file, last_end) = self.last;
        let end_before = if file == last_file { last_end } else { 0 };
        debug_assert!(
            file >= last_file && range.start >= end_before,
            "shards come in order"
        );
        chunk.file_delta.push(file - last_file);
        chunk.gap.push(range.start - end_before);
        if content_hash != 0 || !chunk.content_hash.is_empty() {
            chunk.content_hash.resize(chunk.len.len(), 0);
            chunk.content_hash.push(content_hash);
        }
        chunk.len.push(range.end - range.start);
        self.last = (file, range.end);
        self.count += 1;
    }
}

/// One shard: some consecutive records of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Its number in the job: the order of the rows.
    pub number: u64,
    /// Number of its file; 0 where there are none.
    pub file: u32,
    /// Where it begins: bytes of text, row groups, or values after `from`.
    pub start: u64,
    /// How long it is, in the same unit. A compressed file is one shard as long as the compressed file.
    pub len: u64,
    /// A [`content_hash`](super::content_hash) of the bytes that it covered when it was recorded; 0 where none was made.
    pub content_hash: u64,
}

/// The shards of a recorded chunk.
///
/// # Errors
/// [`SourceError::Plan`] if the chunk does not add up.
pub fn shards(chunk: &ShardChunk) -> Result<Vec<Shard>, SourceError> {
    let damaged = || SourceError::Plan(format!("shards from {} do not add up", chunk.first));
    let count = chunk.len.len();
    let hashes = chunk.content_hash.len();
    let is_even = chunk.file_delta.len() == count && chunk.gap.len() == count;
    if !is_even || hashes > count || count > SHARDS_PER_CHUNK {
        return Err(damaged());
    }
    let mut shards: Vec<Shard> = Vec::with_capacity(count);
    let (mut file, mut end) = (0_u32, 0_u64);
    for (index, len) in (0_u64..).zip(&chunk.len) {
        let at = shards.len();
        let delta = chunk.file_delta[at];
        file = file.checked_add(delta).ok_or_else(damaged)?;
        let base = if delta == 0 { end } else { 0 };
        let start = base.checked_add(chunk.gap[at]).ok_or_else(damaged)?;
        end = start.checked_add(*len).ok_or_else(damaged)?;
        let number = chunk.first.checked_add(index).ok_or_else(damaged)?;
        shards.push(Shard {
            number,
            file,
            start,
            len: *len,
            content_hash: chunk.content_hash.get(at).copied().unwrap_or(0),
        });
    }
    Ok(shards)
}

/// A source as it was recorded, ready to be read.
#[derive(Debug, Clone)]
pub struct Source {
    spec: SourceSpec,
    schema: SchemaRef,
    files: Arc<[SourceFile]>,
    /// How many of the columns, the last ones, are folders.
    folders: usize,
    reach: Reach,
    /// The columns as they were recorded.
    fields: Vec<SchemaField>,
    /// How their values are read.
    readings: Arc<[Reading]>,
    has_dates: bool,
    /// What is recorded of the store that is the source, if one is.
    store_plan: Option<Arc<StorePlan>>,
    /// Where it is read.
    database: Option<SourceDatabase>,
}

impl Source {
    /// Puts together what was recorded of a job's source.
    ///
    /// # Errors
    /// [`SourceError::Plan`] if the parts do not fit each other.
    pub fn new(spec: SourceSpec, plan: &Plan, files: Vec<FileChunk>) -> Result<Self, SourceError> {
        let mut all = Vec::with_capacity(plan.files as usize);
        for chunk in files {
            if chunk.first as usize != all.len() {
                return Err(SourceError::Plan(format!(
                    "files from {} are missing",
                    all.len()
                )));
            }
            all.extend(chunk.files);
        }
        if all.len() != plan.files as usize {
            return Err(SourceError::Plan(format!(
                "{} files, expected {}",
                all.len(),
                plan.files
            )));
        }
        let field = |field: &SchemaField| {
            let data_type = parse_type(&field.r#type).ok_or_else(|| {
                SourceError::Plan(format!(
                    "column `{}` has unknown type `{}`",
                    field.name, field.r#type
                ))
            })?;
            Ok(Field::new(&field.name, data_type, field.nullable))
        };
        let fields = plan
            .schema
            .iter()
            .map(field)
            .collect::<Result<Vec<_>, SourceError>>()?;
        let reading = |field: &SchemaField| {
            let declared = spec.schema.iter().any(|other| other.name == field.name);
            Reading::of(field, declared).ok_or_else(|| {
                SourceError::Plan(format!(
                    "column `{}` has unknown format `{}` or unit `{}`",
                    field.name, field.format, field.unit
                ))
            })
        };
        let readings = plan
            .schema
            .iter()
            .map(reading)
            .collect::<Result<Vec<_>, SourceError>>()?;
        let folders = hive::count(&spec, &all);
        if folders > fields.len() {
            return Err(SourceError::Plan(format!(
                "{} columns, {folders} of them folders",
                fields.len()
            )));
        }
        Ok(Self {
            spec,
            schema: Arc::new(Schema::new(fields)),
            files: all.into(),
            folders,
            reach: Reach::anywhere(),
            fields: plan.schema.clone(),
            readings: readings.into(),
            has_dates: plan.dates,
            store_plan: plan.store.clone().map(Arc::new),
            database: None,
        })
    }

    /// The same source; where it is a store, that of this database.
    #[must_use]
    pub(crate) fn in_database(self, database: Option<SourceDatabase>) -> Self {
        Self { database, ..self }
    }

    /// The store that is the source: where it is, and what was recorded of it.
    pub(super) fn stored(&self) -> Option<(&SourceDatabase, &Arc<StorePlan>)> {
        self.database.as_ref().zip(self.store_plan.as_ref())
    }

    /// Whether the source is a store.
    pub(crate) fn is_stored(&self) -> bool {
        self.store_plan.is_some()
    }

    /// How many of the columns, the last ones, are folders.
    pub(super) fn folders(&self) -> usize {
        self.folders
    }

    /// The same source without the columns that are folders: what is in its files.
    #[must_use]
    pub(super) fn of_files(&self) -> Self {
        let mut source = self.clone();
        if self.folders > 0 {
            let kept = self.fields.len() - self.folders;
            let folders = source.fields.split_off(kept);
            let is_folder = |field: &SchemaField| folders.iter().any(|own| own.name == field.name);
            source.spec.schema.retain(|field| !is_folder(field));
            source.schema = Arc::new(Schema::new(source.schema.fields()[..kept].to_vec()));
            source.readings = self.readings[..kept].into();
            source.folders = 0;
        }
        source
    }

    /// The same source, read no further than `reach`.
    #[must_use]
    pub fn within(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// How far reading it may reach.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Whether dates go into stores as dates; else as moments, as jobs have them from before there were any.
    pub(crate) fn has_dates(&self) -> bool {
        self.has_dates
    }

    /// The format of its records.
    ///
    /// # Errors
    /// [`SourceError::Plan`] for one that this version does not know.
    pub(crate) fn format(&self) -> Result<&'static dyn SourceFormat, SourceError> {
        formats::of(&self.spec)
    }

    /// What the places of its shards are counted in: `bytes`, `row groups`.
    pub(crate) fn unit(&self) -> &'static str {
        formats::by_number(self.spec.format).map_or("bytes", |format| format.about().unit)
    }

    /// What the job file says about the source.
    pub fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    /// Every column, in order.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Every column as it was recorded, in order.
    pub fn fields(&self) -> &[SchemaField] {
        &self.fields
    }

    /// How the values of every column are read, in order.
    pub(super) fn readings(&self) -> &Arc<[Reading]> {
        &self.readings
    }

    /// The files, in order.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Whether the values of these columns can be read as they are.
    ///
    /// # Errors
    /// The name of a column and what its values are.
    pub(crate) fn check_readable(&self, columns: &[usize]) -> Result<(), (String, &'static str)> {
        let Some(format) = formats::by_number(self.spec.format) else {
            return Ok(());
        };
        let of = |index: &usize| {
            let field = self.schema.fields().get(*index)?;
            Some((field.name().clone(), format.unreadable(field.data_type())?))
        };
        columns.iter().find_map(of).map_or(Ok(()), Err)
    }

    /// The file of a shard.
    ///
    /// # Errors
    /// [`SourceError::Plan`] if there is none of that number.
    pub fn file(&self, shard: Shard) -> Result<&SourceFile, SourceError> {
        let missing = || SourceError::Plan(format!("shard {} has no file", shard.number));
        self.files.get(shard.file as usize).ok_or_else(missing)
    }
}

impl Planned {
    /// The plan of a source that is a store.
    pub(super) fn of_store(sliced: SlicedStore, database: SourceDatabase) -> Planned {
        let mut shards = Shards::default();
        for slice in &sliced.slices {
            let range = slice.first..slice.first + slice.records;
            shards.push(0, range, super::content_hash(slice.digest));
        }
        let mut fields = fields(&sliced.schema, &Writings::default());
        for (field, column) in fields.iter_mut().zip(&sliced.plan.columns) {
            if column.kind == JSON {
                JSON.clone_into(&mut field.format);
            }
        }
        let mut planned = planned(fields, &[], shards);
        planned.plan.store = Some(sliced.plan);
        planned.database = Some(database);
        planned
    }

    /// The plans in which one more column that is text is read as the numbers that its first values are, each with the
    /// name of that column: integers with zeros before them, or some of them beyond 64 bits. For a job that cannot have
    /// it as text.
    pub fn with_numbers(&self) -> impl Iterator<Item = (String, Planned)> {
        (0..self.as_numbers.len()).map(|index| {
            let mut planned = self.clone();
            let (at, field) = planned.as_numbers.remove(index);
            let name = field.name.clone();
            planned.plan.schema[at] = field;
            (name, planned)
        })
    }

    /// Whether these columns, by their place, can be read of all files.
    ///
    /// # Errors
    /// What is wrong with the first of them that cannot, with its files.
    pub fn check_alike(&self, columns: &[usize]) -> Result<(), String> {
        let unlike = self.unlike.iter().find(|(at, _)| columns.contains(at));
        unlike.map_or(Ok(()), |(_, why)| Err(why.clone()))
    }

    /// The source that this plan is of.
    ///
    /// # Errors
    /// [`SourceError::Plan`] if the parts do not fit each other, which a plan just made never does.
    pub fn source(&self, spec: SourceSpec) -> Result<Source, SourceError> {
        let source = Source::new(spec, &self.plan, self.files.clone())?;
        Ok(source.in_database(self.database.clone()))
    }

    /// Every shard.
    ///
    /// # Errors
    /// [`SourceError::Plan`] if a chunk does not add up, which one of a plan just made never does.
    pub fn shards(&self) -> Result<Vec<Shard>, SourceError> {
        let mut all = Vec::new();
        for chunk in &self.shards {
            all.extend(shards(chunk)?);
        }
        Ok(all)
    }
}
