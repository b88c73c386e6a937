//! Which files are meant, and what they are.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use glob::Pattern;

use super::{DraftError, DraftRequest, SourceShape};
use crate::names;
use crate::source::format::{About, Recognized, SourceFormat, Types};
use crate::source::formats;
use crate::source::{Separation, article, files_of, peek};
use crate::spec::JobFile;
use crate::spec::limits::JOB_NAME_LEN_MAX;

/// Extensions of compressed files.
const COMPRESSIONS: [&str; 7] = ["gz", "zst", "gzip", "zstd", "bz2", "bzip2", "xz"];
/// The name of a job whose data has no name that one may have.
const NAMELESS: &str = "job";

/// Data that was found.
pub(super) struct FoundData {
    pub(super) shape: SourceShape,
    /// What a job over it may be named after.
    pub(super) stem: String,
}

/// Finds the files of a request and their format.
pub(super) fn find(request: &DraftRequest) -> Result<FoundData, DraftError> {
    let mut paths = Vec::new();
    for data in &request.data {
        paths.push(glob_of(data, request)?);
    }
    paths.dedup();
    let job = probe(&request.file, &paths, "csv")?;
    let files = files_of(&job)?;
    let mut found: Vec<(&'static About, &str)> = Vec::new();
    for file in &files {
        let path = Path::new(&file.path);
        let format = match (by_magic(path), format_of(path)) {
            (Some(format), _) => Some(format),
            (None, Some(named)) if named.magic.is_some() => {
                let (article, title) = (article(named.title), named.title);
                return Err(DraftError::Data(format!(
                    "`{}` is named like {article} {title} file and is none",
                    file.display
                )));
            }
            (None, named) => named,
        };
        if let Some(format) = format
            && !found.iter().any(|(other, _)| other.number == format.number)
        {
            found.push((format, &file.display));
        }
    }
    if let [(_, one), (_, other), ..] = found[..] {
        return Err(DraftError::Data(format!(
            "`{one}` and `{other}` are of different formats: a job reads files of one format"
        )));
    }
    let named = found.first().map(|(format, _)| *format);
    let (format, separation) = match named {
        Some(format) if format.types == Types::Files => (format, Separation::PLAIN),
        named => of_text(named, &files)?,
    };
    let stem = stem(request);
    Ok(FoundData {
        shape: SourceShape {
            format,
            paths,
            separation,
        },
        stem,
    })
}

/// The format of text files, and how they are separated.
fn of_text(
    named: Option<&'static About>,
    files: &[eciton_proto::v1::SourceFile],
) -> Result<(&'static About, Separation), DraftError> {
    let shown = files.first().map_or("", |file| file.display.as_str());
    let peeked = peek(files).map_err(|error| DraftError::Data(error.to_string()))?;
    if peeked.is_empty() {
        return Err(DraftError::Data(format!(
            "`{shown}` is empty: there is nothing to make a job file from"
        )));
    }
    let unknown = || {
        DraftError::Data(format!(
            "`{shown}` is no text: a job reads {}, also as .gz, .zst, .bz2 and .xz",
            formats::titles("and")
        ))
    };
    if peeked.is_binary() {
        return Err(unknown());
    }
    let bare = bare_name(Path::new(shown));
    let mut perhaps = None;
    let asked = formats::of_files()
        .filter(|format| named.is_none_or(|named| named.number == format.about().number));
    for format in asked {
        match format.recognize(&peeked, named.is_some(), shown, &bare) {
            Recognized::No => {}
            Recognized::Yes(format, separation) => return Ok((format, separation)),
            Recognized::Refused(why) => return Err(DraftError::Data(why)),
            Recognized::Perhaps(format, separation) => {
                perhaps.get_or_insert((format, separation));
            }
        }
    }
    perhaps.ok_or_else(unknown)
}

/// The glob of a job file for a path or a glob of a request.
fn glob_of(data: &str, request: &DraftRequest) -> Result<String, DraftError> {
    if data == "-" {
        return Err(DraftError::Data(
            "standard input cannot be read again by a job: save it to a file first".to_owned(),
        ));
    }
    if data.contains("://") {
        return Err(DraftError::Data(format!(
            "`{data}` is a URL, and a job reads files: download it first"
        )));
    }
    let path = request.dir.join(data);
    if path.is_file() {
        return Ok(relative(&Pattern::escape(data), request));
    }
    if path.is_dir() {
        let extension = only_extension(&path, data)?;
        let data = Pattern::escape(data.trim_end_matches('/'));
        return Ok(relative(&format!("{data}/*.{extension}"), request));
    }
    if path.exists() {
        return Err(DraftError::Data(format!(
            "`{data}` is no regular file, and a job reads files again and again: save it to one first"
        )));
    }
    let is_glob = data.contains(['*', '?', '[']);
    let whole = Pattern::escape(&request.dir.to_string_lossy());
    let pattern = Path::new(&whole).join(data);
    let matched = glob::glob(&pattern.to_string_lossy())
        .map_err(|error| DraftError::Data(format!("`{data}` is no glob: {}", error.msg)))?;
    if is_glob && matched.flatten().any(|path| path.is_file()) {
        return Ok(relative(data, request));
    }
    let what = match is_glob {
        true => format!("`{data}` matches no file"),
        false => format!("there is no file `{data}`"),
    };
    Err(DraftError::Data(format!("{what}{}", near(&path))))
}

/// What else lies in the folder of a file that is not there.
fn near(path: &Path) -> String {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return format!(": there is no folder `{}`", folder.display());
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.retain(|name| format_of(Path::new(name)).is_some());
    names.sort();
    let missing = path.file_name().unwrap_or_default().to_string_lossy();
    match names.iter().find(|name| names::is_near(&missing, name)) {
        Some(name) => format!(": did you mean `{name}`?"),
        None => String::new(),
    }
}

/// The extension that all data files of a folder have.
fn only_extension(folder: &Path, shown: &str) -> Result<String, DraftError> {
    let entries =
        fs::read_dir(folder).map_err(|error| DraftError::Data(format!("`{shown}`: {error}")))?;
    let mut found = BTreeSet::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_data = format_of(Path::new(&name)).is_some() && !name.starts_with('.');
        if let Some((_, extension)) = name.split_once('.').filter(|_| is_data) {
            let short = name.rsplit('.').count() - usize::from(is_compressed(&name)) > 2;
            let extension = match short {
                // Points within the name are none of the extension.
                true => extension_of(&name),
                false => extension.to_owned(),
            };
            found.insert(extension);
        }
    }
    let mut extensions = found.into_iter();
    match (extensions.next(), extensions.next()) {
        (Some(extension), None) => Ok(extension),
        (None, _) => Err(DraftError::Data(format!(
            "the folder `{shown}` has no {} file",
            formats::titles("or")
        ))),
        (Some(one), Some(other)) => Err(DraftError::Data(format!(
            "the folder `{shown}` has .{one} and .{other} files, and a job reads one format: name them, as `{shown}/*.{one}`"
        ))),
    }
}

fn extension_of(name: &str) -> String {
    let mut parts: Vec<&str> = name.rsplit('.').take(2).collect();
    if !is_compressed(name) {
        parts.truncate(1);
    }
    parts.reverse();
    parts.join(".")
}

fn is_compressed(name: &str) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|extension| {
        COMPRESSIONS
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// The path without the extension of its compression.
fn decompressed(path: &Path) -> PathBuf {
    match is_compressed(&path.to_string_lossy()) {
        true => path.with_extension(""),
        false => path.to_owned(),
    }
}

/// The format that a file is named after.
fn format_of(path: &Path) -> Option<&'static About> {
    let path = decompressed(path);
    let extension = path.extension()?.to_string_lossy().to_ascii_lowercase();
    formats::by_extension(&extension).map(SourceFormat::about)
}

/// The format that a file begins like.
fn by_magic(path: &Path) -> Option<&'static About> {
    let mut abouts = formats::of_files().map(SourceFormat::about);
    abouts.find(|about| {
        let magic = about.magic;
        magic.is_some_and(|magic| magic.begins.iter().any(|begin| starts_with(path, begin)))
    })
}

fn starts_with(path: &Path, magic: &[u8]) -> bool {
    let mut head = vec![0; magic.len()];
    fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut head))
        .is_ok_and(|()| head == magic)
}

/// Whether a file that was given as a job file is data instead: by its name, or by how it begins.
pub fn looks_like_data(path: &Path) -> bool {
    let compressions: [&[u8]; 2] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd"];
    let is_known = || format_of(path).is_some() || by_magic(path).is_some();
    path.is_file() && (is_known() || compressions.iter().any(|magic| starts_with(path, magic)))
}

/// A path or a glob that is relative to the request's folder, relative to the one of the job file.
fn relative(data: &str, request: &DraftRequest) -> String {
    if Path::new(data).is_absolute() {
        return data.to_owned();
    }
    let data = data.strip_prefix("./").unwrap_or(data);
    let folder = match request.file.parent() {
        Some(folder) => request.dir.join(folder),
        None => request.dir.clone(),
    };
    let (from, whole) = (parts_of(&folder), parts_of(&request.dir));
    if from == whole {
        return data.to_owned();
    }
    let common = from.iter().zip(&whole).take_while(|(a, b)| a == b).count();
    // Folders that are named must not mean a pattern.
    let named = |parts: &[String]| {
        let parts: Vec<String> = parts.iter().map(|part| Pattern::escape(part)).collect();
        parts.join("/")
    };
    if common == 0 {
        return format!("/{}/{data}", named(&whole));
    }
    let up = "../".repeat(from.len() - common);
    match named(&whole[common..]).as_str() {
        "" => format!("{up}{data}"),
        down => format!("{up}{down}/{data}"),
    }
}

/// The folders of a path from the root on.
fn parts_of(path: &Path) -> Vec<String> {
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    parts
}

/// A job that reads these globs as this format, for looking at its source only.
pub(super) fn probe(file: &Path, paths: &[String], format: &str) -> Result<JobFile, DraftError> {
    let paths: Vec<String> = paths.iter().map(|path| super::text::string(path)).collect();
    let text = format!(
        "name = \"draft\"\n[source]\nformat = \"{format}\"\npaths = [{}]\n[upsert]\nstore = \"draft\"\nkey = [\"key\"]\n",
        paths.join(", ")
    );
    Ok(JobFile::parse(file, &text)?)
}

/// The file's name without its extensions.
fn bare_name(path: &Path) -> String {
    let path = decompressed(path);
    let stem = match format_of(&path) {
        Some(_) => path.file_stem(),
        None => path.file_name(),
    };
    stem.unwrap_or_default().to_string_lossy().into_owned()
}

/// What data is called: the name of its only file, else what the names have in common, else that of their folder.
fn stem(request: &DraftRequest) -> String {
    let data = &request.data;
    let [one] = &data[..] else {
        let names: Vec<String> = data.iter().map(|data| bare_name(Path::new(data))).collect();
        let common = names.iter().skip(1).fold(names[0].clone(), |common, name| {
            let same = common.chars().zip(name.chars()).take_while(|(a, b)| a == b);
            same.map(|(a, _)| a).collect()
        });
        let common = common.trim_end_matches(|c: char| !c.is_alphabetic());
        return match common.len() {
            0..=2 => folder_name(Path::new(&data[0])),
            _ => common.to_owned(),
        };
    };
    let is_glob = one.contains(['*', '?', '[']) && !request.dir.join(one).exists();
    let name = bare_name(Path::new(one));
    if !is_glob {
        return name;
    }
    let before = name.split(['*', '?', '[']).next().unwrap_or_default();
    let before = before.trim_end_matches(|c: char| !c.is_alphanumeric());
    match before.len() {
        0..=2 => folder_name(Path::new(one)),
        _ => before.to_owned(),
    }
}

fn folder_name(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name);
    folder.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// A name that a job and a store may have, made from any text.
pub fn job_name(text: &str) -> String {
    let legal = |c: char| match c {
        c if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') => c,
        _ => '_',
    };
    let name: String = text.chars().map(legal).take(JOB_NAME_LEN_MAX).collect();
    let name = name.trim_matches(['_', '.', '-']);
    match name.is_empty() {
        true => NAMELESS.to_owned(),
        false => name.to_owned(),
    }
}
