//! Checks the glossary: no term is defined twice, and every name in its last column exists in the code.

use std::collections::BTreeSet;

use super::sources::Source;

/// The document, with tables of terms, meanings, and names in the code.
const GLOSSARY: &str = "docs/glossary.md";

/// Returns a line for each violation.
pub(crate) fn check(files: &[Source]) -> Vec<String> {
    let Some(glossary) = files.iter().find(|file| file.path == GLOSSARY) else {
        return vec![format!("{GLOSSARY}: it is missing")];
    };
    let code: BTreeSet<&str> = files
        .iter()
        .filter(|file| file.is_rust())
        .flat_map(|file| words(&file.text))
        .collect();
    let mut found = Vec::new();
    let mut terms = BTreeSet::new();
    for (index, line) in glossary.text.lines().enumerate() {
        let at = format!("{GLOSSARY}:{}", index + 1);
        let Some((term, names)) = entry(line) else {
            continue;
        };
        if !terms.insert(term.to_lowercase()) {
            found.push(format!("{at}: term `{term}` is defined twice"));
        }
        // Every part of a path must exist: `merge::Operator`.
        let spans = names.split('`').skip(1).step_by(2);
        let missing = spans.filter(|name| words(name).any(|word| !code.contains(word)));
        found.extend(missing.map(|name| format!("{at}: `{name}` does not exist in the code")));
    }
    if terms.is_empty() {
        found.push(format!("{GLOSSARY}: it has no terms"));
    }
    found
}

/// The term in a table row, and its names in the code.
fn entry(line: &str) -> Option<(&str, &str)> {
    let row = line.strip_prefix("| ")?.trim_end().strip_suffix('|')?;
    let (term, rest) = row.split_once(" | ")?;
    let (_, names) = rest.rsplit_once('|')?;
    (term != "term").then_some((term, names))
}

/// The identifiers of a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &str) -> Vec<String> {
        let source = |path: &str, text: &str| Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let head = "| term | meaning | in the code |\n|---|---|---|\n";
        check(&[
            source(GLOSSARY, &format!("{head}{rows}")),
            source("engine/src/a.rs", "pub mod merge { pub struct Sieve; }"),
        ])
    }

    #[test]
    fn names_exist_and_terms_are_unique() {
        assert!(of("| filter | x | `Sieve`, `merge::Sieve` |\n| run | `y` | |\n").is_empty());
        let found = of("| filter | x | `Filter` |\n| Filter | y | |\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].ends_with(":3: `Filter` does not exist in the code"),
            "{found:?}"
        );
        assert!(found[1].contains("is defined twice"), "{found:?}");
    }
}
