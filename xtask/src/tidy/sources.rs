//! The text files of the workspace, by walking it: a checkout need not have a `.git`.

use std::fs;
use std::io;
use std::path::Path;

/// One text file.
pub(crate) struct Source {
    /// Relative to the workspace, `/`-separated.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
}

impl Source {
    /// Whether this is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.ends_with("rs")
    }

    /// Whether the file's name ends with this extension.
    pub(crate) fn ends_with(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|own| own == extension)
    }
}

/// Hidden folders that belong to the project; every other hidden folder belongs to a tool.
const HIDDEN_FOLDERS: [&str; 4] = [".ci", ".cargo", ".config", ".github"];
/// Folders that tools fill.
const BUILT_FOLDERS: [&str; 3] = ["target", "node_modules", "__pycache__"];
/// The folder at the top that `cargo xtask dist` fills.
const ARCHIVES: &str = "dist";
/// What counts as text that people write.
const TEXT_EXTENSIONS: [&str; 13] = [
    "rs", "toml", "md", "proto", "sh", "py", "yml", "yaml", "json", "sql", "tpl", "html", "ts",
];

/// Every text file of the workspace, sorted by path.
pub(crate) fn read(root: &Path) -> io::Result<Vec<Source>> {
    let mut files = Vec::new();
    walk(root, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(dir: &Path, prefix: &str, files: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            let foreign = name.starts_with('.') && !HIDDEN_FOLDERS.contains(&name.as_str());
            let is_built = BUILT_FOLDERS.contains(&name.as_str()) || path == ARCHIVES;
            if !foreign && !is_built {
                walk(&entry.path(), &format!("{path}/"), files)?;
            }
        } else if is_text(&path) {
            // A file that cannot be read as UTF-8 is not text, whatever its name says.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                files.push(Source { path, text });
            }
        }
    }
    Ok(())
}

fn is_text(path: &str) -> bool {
    let extension = Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| TEXT_EXTENSIONS.contains(&extension))
        || path.starts_with(".ci/")
        || path.ends_with("Dockerfile")
}
