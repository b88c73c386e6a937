//! Checks the rules of the commit protocol: `PROTOCOL.md` states every cited rule, every stated rule is cited, and
//! every mutant of the engine is listed there.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::Source;

/// The document that states the rules, each under a heading `### S1. Title`.
const PROTOCOL: &str = "engine/docs/PROTOCOL.md";
/// The file that lists the mutants.
const MUTANTS: &str = "engine/src/base/mutant.rs";
/// This file. Its examples are not citations.
const OWN: &str = "xtask/src/tidy/rules.rs";
/// Looks like a rule, but usually means Amazon's object store.
const BUCKET: &str = "S3";

/// Returns a line for each violation.
pub(crate) fn check(files: &[Source]) -> Vec<String> {
    let file = |path: &str| files.iter().find(|file| file.path == path);
    let (Some(protocol), Some(mutants)) = (file(PROTOCOL), file(MUTANTS)) else {
        return vec![format!("{PROTOCOL}, {MUTANTS}: one of them is missing")];
    };
    let stated: BTreeSet<&str> = protocol.text.lines().filter_map(stated).collect();
    let mut found = Vec::new();
    let mut cited: BTreeMap<&str, usize> = BTreeMap::new();
    for file in files
        .iter()
        .filter(|file| ![PROTOCOL, OWN].contains(&file.path.as_str()))
    {
        for (index, line) in file.text.lines().enumerate() {
            let Some(prose) = prose(file, line) else {
                continue;
            };
            for rule in rules(prose).filter(|rule| *rule != BUCKET) {
                *cited.entry(rule).or_default() += 1;
                if !stated.contains(rule) {
                    found.push(format!(
                        "{}:{}: rule {rule} is cited, and {PROTOCOL} does not state it",
                        file.path,
                        index + 1
                    ));
                }
            }
        }
    }
    let uncited = stated
        .iter()
        .filter(|rule| **rule != BUCKET && !cited.contains_key(**rule));
    found.extend(uncited.map(|rule| format!("{PROTOCOL}: rule {rule} is cited nowhere")));
    let unlisted = variants(&mutants.text).map(snake);
    let unlisted = unlisted.filter(|name| !protocol.text.contains(&format!("`{name}`")));
    found.extend(unlisted.map(|name| format!("{PROTOCOL}: mutant `{name}` is not listed")));
    found
}

/// The rule that a heading states, if any.
fn stated(line: &str) -> Option<&str> {
    let rule = line.strip_prefix("### ")?.split_once(". ")?.0;
    (rules(rule).next() == Some(rule)).then_some(rule)
}

/// The part of a line that may cite a rule: all of it in documents, comments in Rust.
fn prose<'a>(file: &Source, line: &'a str) -> Option<&'a str> {
    if file.ends_with("md") {
        return Some(line);
    }
    if !file.is_rust() {
        return None;
    }
    line.split_once("//").map(|(_, comment)| comment)
}

/// The words of a text that consist of `S` or `I` and one or two digits.
fn rules(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
    words.filter(|word| {
        let digits = word.strip_prefix(['S', 'I']).unwrap_or_default();
        matches!(digits.len(), 1 | 2) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The variants that the file names; constants, in capitals, are none.
fn variants(text: &str) -> impl Iterator<Item = &str> {
    let listed = text.split("Mutant::").skip(1);
    let names = listed.map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next());
    names
        .flatten()
        .filter(|name| name.contains(char::is_lowercase))
}

/// Converts `NoDedup` to `no_dedup`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn of(protocol: &str, code: &str) -> Vec<String> {
        let mutants = "/// All but [`Mutant::APART`].\npub const ALL: &[Mutant] = &[\n    Mutant::NoDedup,\n];";
        check(&[
            source(PROTOCOL, protocol),
            source(MUTANTS, mutants),
            source("engine/src/a.rs", code),
        ])
    }

    const STATED: &str = "### S1. Slots\n*Mutants:* `no_dedup`\n### I1. No gaps\n";

    #[test]
    fn a_rule_is_stated_and_cited() {
        assert!(
            of(
                STATED,
                "// Durable (S1, I1), in S3 too; S256 and i1 are none\nlet S9 = 1;"
            )
            .is_empty()
        );
        let found = of(STATED, "// S1 and S2");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("engine/src/a.rs:1: rule S2"),
            "{found:?}"
        );
        assert!(found[1].contains("rule I1 is cited nowhere"), "{found:?}");
    }

    #[test]
    fn every_mutant_is_listed() {
        let found = of("### S1. Slots\n### I1. No gaps\n", "// S1, I1");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`no_dedup`"), "{found:?}");
    }
}
