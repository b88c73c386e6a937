//! The ranks of modules: imports only go down. The table in the documentation of a tree's root is the rule, so that the
//! rule and its documentation cannot differ.

use std::collections::BTreeMap;

use super::sources::Source;

/// Modules that rank each other: those of a crate, or of one module of it.
struct Tree {
    /// The file with the table of ranks.
    root: &'static str,
    /// The folder of the modules, with its `/`.
    folder: &'static str,
    /// The path of the root module, with its `::`.
    path: &'static str,
}

const fn tree(root: &'static str, folder: &'static str, path: &'static str) -> Tree {
    Tree { root, folder, path }
}

/// Every tree with ranks. Where one lies within another, both hold.
const TREES: [Tree; 10] = [
    tree("engine/src/lib.rs", "engine/src/", "crate::"),
    tree("jobs/src/run/mod.rs", "jobs/src/run/", "crate::run::"),
    tree(
        "jobs/src/run/api/mod.rs",
        "jobs/src/run/api/",
        "crate::run::api::",
    ),
    tree(
        "jobs/src/run/compute/mod.rs",
        "jobs/src/run/compute/",
        "crate::run::compute::",
    ),
    tree(
        "jobs/src/run/pull/mod.rs",
        "jobs/src/run/pull/",
        "crate::run::pull::",
    ),
    tree(
        "jobs/src/run/records/mod.rs",
        "jobs/src/run/records/",
        "crate::run::records::",
    ),
    tree(
        "jobs/src/run/schedule/mod.rs",
        "jobs/src/run/schedule/",
        "crate::run::schedule::",
    ),
    tree(
        "jobs/src/run/settle/mod.rs",
        "jobs/src/run/settle/",
        "crate::run::settle::",
    ),
    tree("worker/src/main.rs", "worker/src/", "crate::"),
    tree(
        "worker/src/commands/mod.rs",
        "worker/src/commands/",
        "crate::commands::",
    ),
];

/// Tests may look at everything.
const TESTS: &str = "tests";

/// Returns a line for each violation.
pub(crate) fn check(files: &[Source]) -> Vec<String> {
    TREES.iter().flat_map(|tree| tree.check(files)).collect()
}

impl Tree {
    fn check(&self, files: &[Source]) -> Vec<String> {
        let root = self.root;
        let Some(file) = files.iter().find(|file| file.path == root) else {
            return vec![format!("{root}: not found, it holds the table of ranks")];
        };
        let ranks = table(&file.text);
        if ranks.is_empty() {
            return vec![format!("{root}: no table of ranks in its documentation")];
        }
        let unranked = unranked(&file.text, &ranks);
        let mut found: Vec<String> = unranked
            .iter()
            .map(|name| format!("{root}: module `{name}` has no rank"))
            .collect();
        for file in files.iter().filter(|file| file.is_rust()) {
            let Some(path) = file.path.strip_prefix(self.folder) else {
                continue;
            };
            let upward = upward(path, self.path, &file.text, &ranks);
            let told = upward
                .into_iter()
                .map(|(line, what)| format!("{}:{line}: {what}", file.path));
            found.extend(told);
        }
        found
    }
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
    let names = root.lines().filter_map(|line| {
        let line = line
            .trim_start_matches("pub ")
            .trim_start_matches("pub(crate) ");
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    let unranked = names.filter(|name| *name != TESTS && !ranks.contains_key(*name));
    unranked.map(str::to_owned).collect()
}

/// Lines of the file at `path` (relative to the folder of its tree, whose root module has the path `tree`) that name a
/// module of its own rank or above.
fn upward(
    path: &str,
    tree: &str,
    text: &str,
    ranks: &BTreeMap<String, u32>,
) -> Vec<(usize, String)> {
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let Some(&own) = ranks.get(module) else {
        return Vec::new();
    };
    let code = without_comments(text);
    let mut found = Vec::new();
    for (at, name) in names_below(&code, tree, depth(path)) {
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

/// How many `super::` lead from the file's module to the root of its tree.
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

/// First path segments below the root module of a tree that the code names, with where: for the tree `crate::`
/// `crate::a`, `crate::{a, b::c}` and enough `super::` before `a`.
fn names_below<'a>(code: &'a str, tree: &str, depth: usize) -> Vec<(usize, &'a str)> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(tree) {
        let rest = &code[at + tree.len()..];
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
        assert!(
            upward(
                "log/slot.rs",
                "crate::",
                "use crate::{base::Name, storage};",
                &ranks
            )
            .is_empty()
        );
        assert!(
            upward(
                "log/slot.rs",
                "crate::",
                "/// see [`crate::log`]\nuse crate::log::x;",
                &ranks
            )
            .is_empty()
        );
        let up = upward(
            "storage/mod.rs",
            "crate::",
            "use crate::base;\nuse crate::{base::{a, b}, log};",
            &ranks,
        );
        assert_eq!(
            up,
            [(2, "`storage` (rank 1) uses `log` (rank 2)".to_owned())]
        );
        assert_eq!(
            upward(
                "storage/mod.rs",
                "crate::",
                "let x = crate::coord::x();",
                &ranks
            )
            .len(),
            1
        );
    }

    #[test]
    fn super_does_not_lead_around_the_ranks() {
        let ranks = table(TABLE);
        assert_eq!(
            upward(
                "base/ids.rs",
                "crate::",
                "use super::super::log::x;",
                &ranks
            )
            .len(),
            1
        );
        assert_eq!(
            upward("base/mod.rs", "crate::", "use super::log::x;", &ranks).len(),
            1
        );
        assert!(upward("base/ids.rs", "crate::", "use super::log;", &ranks).is_empty());
    }

    #[test]
    fn a_tree_may_lie_within_a_crate() {
        let ranks = table(TABLE);
        let tree = "crate::run::";
        let of = |path, code| upward(path, tree, code, &ranks).len();
        assert_eq!(of("base/ids.rs", "use crate::run::log::x;"), 1);
        assert_eq!(of("base/ids.rs", "use super::super::log::x;"), 1);
        assert_eq!(of("base.rs", "use super::log::x;"), 1);
        assert_eq!(of("log/slot.rs", "use crate::run::{base, log};"), 0);
        assert_eq!(of("base/ids.rs", "use crate::log::x;"), 0, "another tree's");
        assert!(unranked("#[cfg(test)]\nmod tests;\n", &ranks).is_empty());
    }
}
