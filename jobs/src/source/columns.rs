//! The columns of files that tell them, by name, each with one type for all files. Where files disagree about one, a job may
//! leave it out.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use eciton_proto::v1::{SourceFile, SourceSpec};

use super::exact::is_convertible;
use super::formats::GroupedFormat;
use super::schema::{FileFacts, Surveyed, check_declared, declared, refused};
use super::unify::unify;
use crate::spec::limits::COLUMNS_MAX;
use crate::spec::{JobFile, SpecError, type_name};

/// A column as far as the files were looked at.
struct Known<'f> {
    name: String,
    data_type: DataType,
    /// The file that it was first found in.
    first: &'f SourceFile,
    /// Why it cannot be read of all files.
    unlike: Option<String>,
}

/// Reads what each file says of itself and finds the columns of all.
pub(super) fn survey_typed(
    format: &dyn GroupedFormat,
    job: &JobFile,
    spec: &SourceSpec,
    files: &[SourceFile],
) -> Result<Surveyed, SpecError> {
    let declared = declared_types(format.about().title, job, spec)?;
    let mut known: Vec<Known<'_>> = vec![];
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut facts = Vec::with_capacity(files.len());
    for file in files {
        let outline = format.outline(file).map_err(|e| refused(job, &e))?;
        let schema = outline.schema();
        facts.push(FileFacts::Groups {
            lens: outline.lens(),
        });
        let is_first = facts.len() == 1;
        for field in schema.fields() {
            let wanted = declared.get(field.name().as_str());
            if let Some(wanted) = wanted {
                check_convertible(job, file, field, wanted)?;
            }
            let Some(place) = places.get(field.name()).copied() else {
                let is_late = !is_first && wanted.is_none();
                places.insert(field.name().clone(), known.len());
                known.push(Known {
                    name: field.name().clone(),
                    data_type: wanted.unwrap_or(field.data_type()).clone(),
                    first: file,
                    unlike: is_late.then(|| absent(field.name(), file, &files[0])),
                });
                continue;
            };
            let column = &mut known[place];
            if wanted.is_none() {
                match unify(&column.data_type, field.data_type()) {
                    Some(common) => column.data_type = common,
                    None => {
                        let why = different(column, file, field);
                        column.unlike.get_or_insert(why);
                    }
                }
            }
        }
        for column in &mut known {
            let is_there = schema.column_with_name(&column.name).is_some();
            if !is_there && !declared.contains_key(column.name.as_str()) {
                let (name, first) = (&column.name, column.first);
                column
                    .unlike
                    .get_or_insert_with(|| absent(name, first, file));
            }
        }
        if known.len() > COLUMNS_MAX {
            break;
        }
    }
    if let Some(file) = files.first() {
        let names: Vec<String> = known.iter().map(|column| column.name.clone()).collect();
        check_declared(job, spec, file, &names)?;
    }
    let mut unlike = Vec::new();
    let mut fields = Vec::with_capacity(known.len());
    for (at, column) in known.into_iter().enumerate() {
        fields.push(Field::new(column.name, column.data_type, true));
        unlike.extend(column.unlike.map(|why| (at, why)));
    }
    Ok(Surveyed {
        schema: Arc::new(Schema::new(fields)),
        files: facts,
        unlike,
    })
}

/// The declared types by column. A file that tells its types says itself how its values are written.
fn declared_types<'s>(
    title: &str,
    job: &JobFile,
    spec: &'s SourceSpec,
) -> Result<HashMap<&'s str, DataType>, SpecError> {
    let mut types = HashMap::new();
    for (name, (data_type, format, unit)) in declared(spec) {
        if !format.is_empty() || !unit.is_empty() {
            let message = format!(
                "the columns of {title} files have no `format` and no `unit`; expected a type alone"
            );
            return Err(job.error(&format!("source.schema.{name}"), message));
        }
        types.insert(name, data_type);
    }
    Ok(types)
}

/// A declared type must be one that the file's own can become.
fn check_convertible(
    job: &JobFile,
    file: &SourceFile,
    field: &Field,
    wanted: &DataType,
) -> Result<(), SpecError> {
    if is_convertible(field.data_type(), wanted) {
        return Ok(());
    }
    let (found, wanted) = (type_name(field.data_type()), type_name(wanted));
    Err(job.error(
        &format!("source.schema.{}", field.name()),
        format!(
            "`{}` has the column as {found}, which is not read as {wanted}; cast it in [transform] sql",
            file.display
        ),
    ))
}

fn absent(name: &str, with: &SourceFile, without: &SourceFile) -> String {
    format!(
        "`{}` and `{}` have different columns: `{name}` is in the first and not in the second; expected the same in every \
         file, or its type in [source.schema], with which it is NULL where it is missing",
        with.display, without.display
    )
}

fn different(column: &Known<'_>, file: &SourceFile, field: &Field) -> String {
    let (one, other) = (type_name(&column.data_type), type_name(field.data_type()));
    format!(
        "`{}` and `{}` have different columns: column `{}` is {one} in one and {other} in the other, and no type holds \
         both exactly; expected the same in every file, or one type in [source.schema]",
        column.first.display, file.display, column.name
    )
}
