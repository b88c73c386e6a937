//! The ranks of the engine's modules: imports only go down. The table in `engine/src/lib.rs` is the
//! rule, so that the rule and its documentation cannot differ.

use std::collections::BTreeMap;

use super::sources::Source;

const ROOT: &str = "engine/src/lib.rs";
const FOLDER: &str = "engine/src/";

/// What does not hold.
pub(crate) fn check(files: &[Source]) -> Vec<String> {
    let Some(root) = files.iter().find(|file| file.path == ROOT) else {
        return vec![format!("{ROOT}: not found, it holds the table of ranks")];
    };
    let ranks = table(&root.text);
    if ranks.is_empty() {
        return vec![format!("{ROOT}: no table of ranks in its documentation")];
    }
    let mut found = unranked(&root.text, &ranks);
    for file in files.iter().filter(|file| file.is_rust()) {
        found.extend(file.path.strip_prefix(FOLDER).into_iter().flat_map(|path| {
            upward(path, &file.text, &ranks)
                .into_iter()
                .map(|(line, what)| format!("{}:{line}: {what}", file.path))
        }));
    }
    found
}

/// Module to rank, from lines like ``//! | 2 | [`log`] | slots |``.
fn table(root: &str) -> BTreeMap<String, u32> {
    let mut ranks = BTreeMap::new();
    for line in root.lines().filter_map(|line| line.strip_prefix("//! |")) {
        let mut cells = line.split('|').map(str::trim);
        let Some(rank) = cells.next().and_then(|cell| cell.parse().ok()) else {
            continue;
        };
        // Every second piece between backticks is a name.
        let names = cells
            .next()
            .unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2);
        ranks.extend(names.map(|name| (name.to_owned(), rank)));
    }
    ranks
}

/// Modules that the root declares and the table does not rank.
fn unranked(root: &str, ranks: &BTreeMap<String, u32>) -> Vec<String> {
    root.lines()
        .filter_map(|line| {
            let line = line
                .trim_start_matches("pub ")
                .trim_start_matches("pub(crate) ");
            let name = line.strip_prefix("mod ")?.strip_suffix(';')?;
            (!ranks.contains_key(name)).then(|| format!("{ROOT}: module `{name}` has no rank"))
        })
        .collect()
}

/// Lines of the file at `path` (relative to the engine's sources) that name a module of its own
/// rank or above.
fn upward(path: &str, text: &str, ranks: &BTreeMap<String, u32>) -> Vec<(usize, String)> {
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let Some(&own) = ranks.get(module) else {
        return Vec::new();
    };
    let code = without_comments(text);
    let mut found = Vec::new();
    for (at, name) in crate_names(&code, depth(path)) {
        let Some(&rank) = ranks.get(name) else {
            continue;
        };
        if name != module && rank >= own {
            let line = code[..at].matches('\n').count() + 1;
            found.push((
                line,
                format!("`{module}` (rank {own}) uses `{name}` (rank {rank})"),
            ));
        }
    }
    found
}

/// How many `super::` lead from the file's module to the crate.
fn depth(path: &str) -> usize {
    let parts = path.split('/').count();
    if path.ends_with("/mod.rs") {
        parts - 1
    } else {
        parts
    }
}

/// The text with comments blanked: documentation may point anywhere.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// First path segments below the crate that the code names, with where: `crate::a`,
/// `crate::{a, b::c}` and enough `super::` before `a`.
fn crate_names(code: &str, depth: usize) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let parts = if rest.starts_with('{') {
            braced(rest)
        } else {
            vec![ident(rest)]
        };
        names.extend(parts.into_iter().map(|name| (at, name)));
    }
    let up = "super::".repeat(depth);
    for (at, _) in code.match_indices(&up) {
        let rest = code[at..].trim_start_matches("super::");
        names.push((at, ident(rest)));
    }
    names
}

fn ident(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

/// The first segments of `{a, b::c, d::{e, f}}`.
fn braced(text: &str) -> Vec<&str> {
    let mut nesting = 0_usize;
    let mut names = Vec::new();
    let mut expects_name = false;
    for (at, c) in text.char_indices() {
        match c {
            '{' => {
                nesting += 1;
                expects_name = nesting == 1;
            }
            '}' if nesting <= 1 => break,
            '}' => nesting -= 1,
            ',' => expects_name = nesting == 1,
            c if expects_name && !c.is_whitespace() => {
                names.push(ident(&text[at..]));
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "//! | rank | module | is |\n//! |---|---|---|\n//! | 2 | [`log`] | slots |\n\
                         //! | 1 | [`storage`], `coord` | media |\n//! | 0 | [`base`] | ids |\n";

    #[test]
    fn the_table_is_read() {
        let ranks = table(TABLE);
        let expected = [("base", 0), ("coord", 1), ("log", 2), ("storage", 1)];
        assert_eq!(
            ranks,
            expected.map(|(name, rank)| (name.to_owned(), rank)).into()
        );
        assert_eq!(unranked("pub mod log;\nmod strange;\n", &ranks).len(), 1);
    }

    #[test]
    fn only_downward_imports_pass() {
        let ranks = table(TABLE);
        assert!(upward("log/slot.rs", "use crate::{base::Name, storage};", &ranks).is_empty());
        assert!(
            upward(
                "log/slot.rs",
                "/// see [`crate::log`]\nuse crate::log::x;",
                &ranks
            )
            .is_empty()
        );
        let up = upward(
            "storage/mod.rs",
            "use crate::base;\nuse crate::{base::{a, b}, log};",
            &ranks,
        );
        assert_eq!(
            up,
            [(2, "`storage` (rank 1) uses `log` (rank 2)".to_owned())]
        );
        assert_eq!(
            upward("storage/mod.rs", "let x = crate::coord::x();", &ranks).len(),
            1
        );
    }

    #[test]
    fn super_does_not_lead_around_the_ranks() {
        let ranks = table(TABLE);
        assert_eq!(
            upward("base/ids.rs", "use super::super::log::x;", &ranks).len(),
            1
        );
        assert_eq!(upward("base/mod.rs", "use super::log::x;", &ranks).len(), 1);
        assert!(upward("base/ids.rs", "use super::log;", &ranks).is_empty());
    }
}
