//! The paths that Rust code names, as far as they can be told without a compiler: those of `use` trees and of expressions.

/// A path, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// Its names, from the left; `*` for all there are.
    pub(crate) names: Vec<String>,
    /// Whether a `use` names it.
    pub(crate) is_use: bool,
    /// Where, from 1.
    pub(crate) line: usize,
}

/// The paths in `text` that begin with one of `roots`, and with any name at all where a `use` has them.
pub(crate) fn of(text: &str, roots: &[&str]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut rest = 0;
    while let Some((at, root)) = first_root(&text[rest..], roots) {
        let at = rest + at;
        let is_use = follows_use(&text[..at]);
        let tree = tree_len(&text[at..]);
        let line = text[..at].matches('\n').count() + 1;
        let mut all = Vec::new();
        expand(&[], &text[at..at + tree], &mut all);
        found.extend(all.into_iter().map(|names| Path {
            names,
            is_use,
            line,
        }));
        rest = at + tree.max(root.len());
    }
    found
}

/// The paths of every `use` in `text`, whatever they begin with, and those in expressions that begin with one of `roots`.
pub(crate) fn all(text: &str, roots: &[&str]) -> Vec<Path> {
    let mut found = of(text, roots);
    for (at, _) in text.match_indices("use ") {
        let begins = text[..at].chars().next_back();
        if begins.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let start = at + "use ".len();
        let root = ident(&text[start..]);
        if root.is_empty() || roots.contains(&root) {
            continue;
        }
        let len = tree_len(&text[start..]);
        let line = text[..start].matches('\n').count() + 1;
        let mut names = Vec::new();
        expand(&[], &text[start..start + len], &mut names);
        found.extend(names.into_iter().map(|names| Path {
            names,
            is_use: true,
            line,
        }));
    }
    found
}

/// Where the first path begins that has one of the roots, and which.
fn first_root<'a>(text: &str, roots: &[&'a str]) -> Option<(usize, &'a str)> {
    let of_root = |root: &&'a str| {
        let mut places = text.match_indices(*root);
        places.find_map(|(at, _)| {
            let before = text[..at].chars().next_back();
            let begins = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
            (begins && text[at + root.len()..].starts_with("::")).then_some((at, *root))
        })
    };
    roots.iter().filter_map(of_root).min()
}

fn follows_use(before: &str) -> bool {
    before.trim_end_matches([' ', '\n']).ends_with("use")
}

/// Bytes of the path, or of the tree of paths, that `text` begins with.
fn tree_len(text: &str) -> usize {
    let mut nesting = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' if text[..at].ends_with("::") || nesting > 0 => nesting += 1,
            '}' if nesting > 0 => {
                nesting -= 1;
                if nesting == 0 {
                    return at + 1;
                }
            }
            _ if nesting > 0 => {}
            c if c.is_alphanumeric() || c == '_' || c == ':' || c == '*' => {}
            _ => return at,
        }
    }
    text.len()
}

/// Adds the paths of `tree`, each with `prefix` before it.
fn expand(prefix: &[&str], tree: &str, found: &mut Vec<Vec<String>>) {
    let (head, inner) = match tree.split_once('{') {
        Some((head, inner)) => (head, Some(inner.strip_suffix('}').unwrap_or(inner))),
        None => (tree, None),
    };
    // `a as b` counts as `a`.
    let head = head.split(" as ").next().unwrap_or_default();
    let names = head.split("::").map(str::trim).filter(|n| !n.is_empty());
    let path: Vec<&str> = prefix.iter().copied().chain(names).collect();
    let Some(inner) = inner else {
        if !path.is_empty() {
            found.push(path.iter().map(ToString::to_string).collect());
        }
        return;
    };
    let (mut nesting, mut start) = (0_usize, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => nesting += 1,
            '}' => nesting = nesting.saturating_sub(1),
            ',' if nesting == 0 => {
                expand(&path, inner[start..at].trim(), found);
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = inner[start..].trim();
    if !last.is_empty() {
        expand(&path, last, found);
    }
}

/// The name that `text` begins with.
fn ident(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[Path]) -> Vec<String> {
        paths.iter().map(|path| path.names.join("::")).collect()
    }

    #[test]
    fn trees_and_expressions_are_taken_apart() {
        let text = "use super::{a, b::{C, d as e},\n f::*};\nlet x = super::g::h(1) + crate::i;\nlet superb::j;";
        let found = of(text, &["super", "crate"]);
        let expected = [
            "super::a",
            "super::b::C",
            "super::b::d",
            "super::f::*",
            "super::g::h",
            "crate::i",
        ];
        assert_eq!(names(&found), expected);
        assert_eq!(
            found.iter().map(|path| path.line).collect::<Vec<_>>(),
            [1, 1, 1, 1, 3, 3]
        );
        assert!(found[0].is_use && !found[4].is_use);
    }

    #[test]
    fn a_use_counts_whatever_it_begins_with() {
        let text = "pub use table::{Table, Rows};\nuse super::x;\nreuse y::z;";
        let found = names(&all(text, &["super"]));
        assert_eq!(found, ["super::x", "table::Table", "table::Rows"]);
    }
}
