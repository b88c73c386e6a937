//! What `bindings/python/pyproject.toml` says about the package.

use std::fs;

use super::at;
use crate::steps::{Failed, workspace};

/// The folder of the Python package.
pub(super) const FOLDER: &str = "bindings/python";

/// The fields of `[project]` that a wheel repeats.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) name: String,
    pub(super) description: String,
    /// An SPDX expression.
    pub(super) license: String,
    pub(super) requires_python: String,
    pub(super) keywords: Vec<String>,
    pub(super) classifiers: Vec<String>,
}

impl Project {
    /// Reads the file.
    ///
    /// # Errors
    /// The file cannot be read, or a field is missing.
    pub(super) fn read() -> Result<Self, Failed> {
        let path = workspace().join(FOLDER).join("pyproject.toml");
        let text = fs::read_to_string(&path).map_err(|cause| at(&path, &cause))?;
        Self::parse(&text).map_err(|key| {
            let path = path.display();
            Failed(format!("{path}: `[project]` needs a line `{key} = ...`"))
        })
    }

    /// Parses the text; the error is the first missing key. A value is a string, or an array of strings.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let section = text.split_once("[project]\n").map_or("", |(_, rest)| rest);
        let section = section.split("\n[").next().unwrap_or_default();
        let many = |key: &'static str| values(section, key).ok_or(key);
        let one = |key| many(key)?.pop().ok_or(key);
        Ok(Self {
            name: one("name")?,
            description: one("description")?,
            license: one("license")?,
            requires_python: one("requires-python")?,
            keywords: many("keywords")?,
            classifiers: many("classifiers")?,
        })
    }
}

/// The strings in the value of a key.
fn values(section: &str, key: &str) -> Option<Vec<String>> {
    let mut lines = section.lines();
    let first = lines.find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then_some(value.trim())
    })?;
    let mut value = first.to_owned();
    // An array goes on to the line that closes it.
    while value.starts_with('[') && !value.ends_with(']') {
        value.push_str(lines.next()?.trim());
    }
    let strings = value.split('"').skip(1).step_by(2);
    Some(strings.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_section() {
        let text = "[build-system]\nname = \"no\"\n[project]\nname = \"eciton\"\ndescription = \"d = e\"\nlicense = \"L\"\n\
                    requires-python = \">=3.8\"\nkeywords = [\"a\", \"b\"]\nclassifiers = [\n    \"A :: B\",\n    \"C\",\n]\n[tool]\n";
        let project = Project::parse(text).unwrap();
        assert_eq!(project.name, "eciton");
        assert_eq!(project.description, "d = e");
        assert_eq!(project.keywords, ["a", "b"]);
        assert_eq!(project.classifiers, ["A :: B", "C"]);
        let without = text.replace("license", "licence");
        assert_eq!(Project::parse(&without), Err("license"));
    }
}
