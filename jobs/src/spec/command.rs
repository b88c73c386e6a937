//! `[command]`: a program per shard.

use std::path::Path;

use eciton_proto::v1::{CommandSpec, ProgramRows, Variable};

use super::declared::read_schema;
use super::error::SpecError;
use super::limits::{
    ARGV_LEN_MAX, ARGV_MAX, COMMAND_FILES_LEN_MAX, COMMAND_FILES_MAX, LIMIT_MS_MAX, LIMIT_MS_MIN,
    PROGRAM_MEMORY_MAX, PROGRAM_MEMORY_MIN, VARIABLE_LEN_MAX, VARIABLES_MAX,
};
use super::program_file::{FileContents, ProgramFile};
use super::section::{Entry, Section};
use super::units::{parse_duration_ms, parse_size, show_duration_ms, show_size};

/// The keys of `[command]`.
const KEYS: [&str; 9] = [
    "argv", "timeout", "input", "output", "env", "set", "schema", "memory", "files",
];

/// What every variable begins with that Eciton sets.
const OWN_PREFIX: &str = "ECITON_";

/// Reads `[command]`, and the files that it names. `has_sink` says whether anything takes its rows.
///
/// # Errors
/// [`SpecError`] at the key to blame.
pub(super) fn read(
    top: &Section<'_>,
    dir: &Path,
    contents: FileContents<'_>,
    has_sink: bool,
) -> Result<Option<(CommandSpec, Vec<ProgramFile>)>, SpecError> {
    let Some(section) = top.table("command", &KEYS)? else {
        return Ok(None);
    };
    let files = read_files(&section, dir, contents)?;
    let spec = CommandSpec {
        argv: read_argv(&section)?,
        timeout_ms: read_timeout(&section)?,
        input: read_input(&section)?.into(),
        output: read_output(&section, has_sink)?.into(),
        env: read_env(&section)?,
        set: read_set(&section)?,
        schema: read_schema(&section)?,
        memory_len_max: read_memory(&section)?,
        files: files.iter().map(ProgramFile::recorded).collect(),
    };
    if spec.output() == ProgramRows::None && !spec.schema.is_empty() {
        let why = "a program whose output is not read has no columns; expected none";
        return Err(section.error("schema", why));
    }
    Ok(Some((spec, files)))
}

fn read_argv(section: &Section<'_>) -> Result<Vec<String>, SpecError> {
    let expected = "an array of strings such as [\"python3\", \"simulate.py\"]";
    let Some(entries) = section.strings("argv", expected)? else {
        return Err(section.missing("argv", expected));
    };
    if entries.is_empty() || entries.len() > ARGV_MAX {
        let found = entries.len();
        let message = format!(
            "expected a program and at most {} arguments, found {found}",
            ARGV_MAX - 1
        );
        return Err(section.error("argv", message));
    }
    let len: usize = entries.iter().map(|entry| entry.value.len() + 1).sum();
    if len > ARGV_LEN_MAX {
        let message = format!("expected at most {ARGV_LEN_MAX} bytes, found {len}");
        return Err(section.error("argv", message));
    }
    let mut argv = Vec::with_capacity(entries.len());
    for entry in entries {
        if argv.is_empty() && entry.value.is_empty() {
            return Err(entry.error("expected the name of a program, found an empty string"));
        }
        argv.push(entry.checked(|text| without_nul(text))?);
    }
    Ok(argv)
}

fn without_nul(text: &str) -> Result<(), String> {
    match text.contains('\0') {
        true => Err("expected text without NUL bytes".to_owned()),
        false => Ok(()),
    }
}

fn read_timeout(section: &Section<'_>) -> Result<u64, SpecError> {
    let expected = "a time such as \"60s\"";
    let Some(entry) = section.string("timeout", expected)? else {
        return Ok(0);
    };
    entry
        .parsed(|text| parse_duration_ms(text), expected)?
        .checked(|ms| {
            if (LIMIT_MS_MIN..=LIMIT_MS_MAX).contains(ms) {
                return Ok(());
            }
            Err(format!(
                "expected a time from {} to {}, found {}",
                show_duration_ms(LIMIT_MS_MIN),
                show_duration_ms(LIMIT_MS_MAX),
                show_duration_ms(*ms)
            ))
        })
}

/// What `command.input` and `command.output` can be.
const ROWS: &str = "\"jsonl\", \"arrow\" or \"none\"";

fn rows(text: &str) -> Option<ProgramRows> {
    match text {
        // The default is encoded as nothing.
        "jsonl" => Some(ProgramRows::Unspecified),
        "arrow" => Some(ProgramRows::ArrowStream),
        "none" => Some(ProgramRows::None),
        _ => None,
    }
}

fn read_input(section: &Section<'_>) -> Result<ProgramRows, SpecError> {
    match section.string("input", ROWS)? {
        None => Ok(ProgramRows::Unspecified),
        Some(entry) => Ok(entry.parsed(|text| rows(text), ROWS)?.value),
    }
}

fn read_output(section: &Section<'_>, has_sink: bool) -> Result<ProgramRows, SpecError> {
    let Some(entry) = section.string("output", ROWS)? else {
        return Ok(match has_sink {
            true => ProgramRows::Unspecified,
            false => ProgramRows::None,
        });
    };
    entry
        .parsed(|text| rows(text), ROWS)?
        .checked(|rows| match (rows, has_sink) {
            (ProgramRows::None, true) => Err(
                "`[merge]` and `[upsert]` take rows; expected \"jsonl\" or \"arrow\"".to_owned(),
            ),
            (ProgramRows::None, false) | (_, true) => Ok(()),
            (_, false) => Err(
                "nothing takes its rows; expected \"none\", or a table `[merge]` or `[upsert]`"
                    .to_owned(),
            ),
        })
}

fn read_env(section: &Section<'_>) -> Result<Vec<String>, SpecError> {
    let expected = "an array of names such as [\"HOME\"]";
    let Some(entries) = section.strings("env", expected)? else {
        return Ok(Vec::new());
    };
    if entries.len() > VARIABLES_MAX {
        let message = format!(
            "expected at most {VARIABLES_MAX} names, found {}",
            entries.len()
        );
        return Err(section.error("env", message));
    }
    let mut names = Vec::with_capacity(entries.len());
    for entry in entries {
        names.push(entry.checked(|name| check_variable(name))?);
    }
    // Their order means nothing.
    names.sort();
    names.dedup();
    Ok(names)
}

fn read_set(section: &Section<'_>) -> Result<Vec<Variable>, SpecError> {
    let Some(table) = section.table("set", &[])? else {
        return Ok(Vec::new());
    };
    let entries = table.all_strings("a string, the value of a variable")?;
    if entries.len() > VARIABLES_MAX {
        let message = format!(
            "expected at most {VARIABLES_MAX} variables, found {}",
            entries.len()
        );
        return Err(section.error("set", message));
    }
    let mut set = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        check_variable(&name).map_err(|message| entry.error(message))?;
        let value = entry.checked(|value| {
            if value.len() > VARIABLE_LEN_MAX {
                let found = value.len();
                return Err(format!(
                    "expected at most {VARIABLE_LEN_MAX} bytes, found {found}"
                ));
            }
            without_nul(value)
        })?;
        set.push(Variable { name, value });
    }
    set.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(set)
}

/// Checks the name of a variable of an environment.
fn check_variable(name: &str) -> Result<(), String> {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_legal = name.starts_with(is_letter)
        && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
        && name.len() <= 255;
    if !is_legal {
        return Err(format!(
            "expected the name of a variable, of ASCII letters, digits and `_`, found `{}`",
            name.escape_debug()
        ));
    }
    match name.starts_with(OWN_PREFIX) {
        true => Err(format!(
            "names beginning with `{OWN_PREFIX}` are set by Eciton, found `{name}`"
        )),
        false => Ok(()),
    }
}

fn read_memory(section: &Section<'_>) -> Result<u64, SpecError> {
    let expected = "a size such as \"2GiB\" or a number of bytes";
    let Some(entry) = section.string_or_integer("memory", expected)? else {
        return Ok(0);
    };
    entry
        .parsed(|text| parse_size(text), expected)?
        .checked(|bytes| {
            if (PROGRAM_MEMORY_MIN..=PROGRAM_MEMORY_MAX).contains(bytes) {
                return Ok(());
            }
            Err(format!(
                "expected a size from {} to {}, found {}",
                show_size(PROGRAM_MEMORY_MIN),
                show_size(PROGRAM_MEMORY_MAX),
                show_size(*bytes)
            ))
        })
}

fn read_files(
    section: &Section<'_>,
    dir: &Path,
    contents: FileContents<'_>,
) -> Result<Vec<ProgramFile>, SpecError> {
    let expected = "an array of paths such as [\"simulate.py\"]";
    let Some(entries) = section.strings("files", expected)? else {
        return Ok(Vec::new());
    };
    if entries.len() > COMMAND_FILES_MAX {
        let message = format!(
            "expected at most {COMMAND_FILES_MAX} files, found {}",
            entries.len()
        );
        return Err(section.error("files", message));
    }
    let mut files: Vec<ProgramFile> = Vec::with_capacity(entries.len());
    for entry in entries {
        check_path(&entry.value).map_err(|message| entry.error(message))?;
        if files.iter().any(|file| file.name == entry.value) {
            return Err(entry.error(format!("file `{}` is named twice", entry.value)));
        }
        files.push(content(&entry, dir, contents)?);
    }
    let len: usize = files.iter().map(|file| file.content.len()).sum();
    if len > COMMAND_FILES_LEN_MAX {
        let message = format!(
            "expected files of at most {COMMAND_FILES_LEN_MAX} bytes together, found {len}; large data belong in the source"
        );
        return Err(section.error("files", message));
    }
    // Their order means nothing.
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn content(
    entry: &Entry<'_, String>,
    dir: &Path,
    contents: FileContents<'_>,
) -> Result<ProgramFile, SpecError> {
    let name = &entry.value;
    match contents {
        FileContents::Folder => ProgramFile::read(dir, name)
            .map_err(|error| entry.error(format!("`{name}` cannot be read: {error}"))),
        FileContents::Given(given) => {
            let found = given.iter().find(|file| file.name == *name);
            found.cloned().ok_or_else(|| {
                entry.error(format!(
                    "the content of `{name}` did not come with the job file"
                ))
            })
        }
    }
}

/// Checks that a path stays in the folder that it is relative to.
fn check_path(path: &str) -> Result<(), String> {
    let is_legal =
        |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\0', '\\', '\n']);
    match path.len() <= 1024 && path.split('/').all(is_legal) {
        true => Ok(()),
        false => Err(format!(
            "expected a path within the folder of the job file, without `..`, found `{}`",
            path.escape_debug()
        )),
    }
}
