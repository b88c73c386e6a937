//! One word, one thing: no two types of a crate have the same name, so that a name leads to its meaning.

use std::collections::BTreeMap;

use super::sources::Source;

/// Where the crates that are held to this have their code.
const FOLDERS: [&str; 2] = ["engine/src/", "jobs/src/"];
/// What begins the definition of a type.
const KINDS: [&str; 5] = ["struct ", "enum ", "trait ", "union ", "type "];

/// Returns a line for each name that a crate defines more than once. Tests do not count.
pub(crate) fn check(files: &[Source]) -> Vec<String> {
    let lines = FOLDERS.iter().flat_map(|folder| check_crate(folder, files));
    lines.collect()
}

fn check_crate(folder: &str, files: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    let own = files
        .iter()
        .filter(|file| file.is_rust() && file.path.starts_with(folder) && !is_test(&file.path));
    for file in own {
        for (line, name) in types(&file.text) {
            let places = places.entry(name).or_default();
            // A file may define a type once for each platform.
            if places.last().is_none_or(|(path, _)| *path != file.path) {
                places.push((&file.path, line));
            }
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    twice
        .map(|(name, places)| {
            let places = places.iter().map(|(path, line)| format!("{path}:{line}"));
            let places: Vec<String> = places.collect();
            let (last, others) = (&places[places.len() - 1], &places[..places.len() - 1]);
            let others = others.join(", ");
            format!(
                "{last}: another type is called `{name}` ({others}); say in the name what it is"
            )
        })
        .collect()
}

fn is_test(path: &str) -> bool {
    let of_tests = ["/tests/", "/tests.rs", "/testing.rs"];
    of_tests.iter().any(|part| path.contains(part))
}

/// The types that a file defines outside of its tests, with their lines.
fn types(text: &str) -> Vec<(usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests {");
    let text = &text[..end.unwrap_or(text.len())];
    let lines = text.lines().enumerate();
    let types = lines.filter_map(|(index, line)| {
        // An associated type is indented, and so is what a module within a file defines.
        let is_alias = line.contains("type ") && line.starts_with(' ');
        let line = without_visibility(line.trim_start());
        let kind = KINDS.iter().find(|kind| line.starts_with(**kind))?;
        let name = line[kind.len()..].split(|c: char| !c.is_alphanumeric() && c != '_');
        let name = name.into_iter().next()?;
        (!is_alias && name.starts_with(char::is_uppercase)).then_some((index + 1, name))
    });
    types.collect()
}

fn without_visibility(line: &str) -> &str {
    let Some(rest) = line.strip_prefix("pub") else {
        return line;
    };
    let rest = match rest.strip_prefix('(') {
        Some(scoped) => scoped.split_once(')').map_or(rest, |(_, rest)| rest),
        None => rest,
    };
    rest.trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once_outside_of_tests() {
        let source = |path: &str, text: &str| Source {
            path: format!("engine/src/{path}"),
            text: text.to_owned(),
        };
        let a = source(
            "a.rs",
            "pub(super) struct Place;\nimpl X for Place {\n    type Item = u8;\n}\n",
        );
        let b = source(
            "b.rs",
            "/// A struct Place.\npub enum Turn {}\n#[cfg(test)]\nmod tests {\n    struct Place;\n}\n",
        );
        let c = source("c/tests.rs", "struct Place;\nstruct Turn;\n");
        assert!(check(&[a, b, c]).is_empty());
        let a = source("a.rs", "struct Place;\n");
        let d = source("d.rs", "mod wire {\n    pub struct Place {}\n}\n");
        let found = check(&[a, d]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("engine/src/d.rs:2: another type is called `Place`"));
    }
    #[test]
    fn each_crate_has_names_of_its_own() {
        let source = |path: &str| Source {
            path: path.to_owned(),
            text: "struct Place;\n".to_owned(),
        };
        let both = [source("engine/src/a.rs"), source("jobs/src/a.rs")];
        assert!(check(&both).is_empty());
        let found = check(&[source("jobs/src/a.rs"), source("jobs/src/b/c.rs")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("jobs/src/b/c.rs:1: "), "{found:?}");
    }
}
