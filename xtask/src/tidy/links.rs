//! Checks relative links between documents: the file exists, and so does the heading. Also checks that the book's table of contents
//! lists every page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::sources::Source;

/// The table of contents of the book. `mdbook` omits pages that it does not list.
const SUMMARY: &str = "docs/SUMMARY.md";
/// Documents that name files relative to `engine/src` or `engine`.
const ENGINE_DOCS: &str = "engine/docs/";
/// The folder of the book's pages.
const BOOK: &str = "docs/";

/// Returns a line for each violation.
pub(crate) fn check(root: &Path, files: &[Source]) -> Vec<String> {
    let documents = || files.iter().filter(|file| file.ends_with("md"));
    let anchors: BTreeMap<&str, BTreeSet<String>> = documents()
        .map(|file| (file.path.as_str(), anchors(&file.text)))
        .collect();
    let mut found = Vec::new();
    for file in documents() {
        for (line, target) in targets(&file.text) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let resolved = resolve(&file.path, path);
            let at = format!("{}:{line}", file.path);
            match resolved {
                None => found.push(format!("{at}: link out of the repository: `{target}`")),
                Some(resolved)
                    if !anchors.contains_key(resolved.as_str())
                        && !root.join(&resolved).exists() =>
                {
                    found.push(format!("{at}: dead link: `{target}`"));
                }
                Some(resolved) => {
                    let known = anchors.get(resolved.as_str());
                    let is_dead = known.is_some_and(|known| !known.contains(anchor));
                    if !anchor.is_empty() && is_dead {
                        found.push(format!("{at}: no such heading: `{target}`"));
                    }
                }
            }
        }
    }
    found.extend(unlisted(files));
    found.extend(named(root, files));
    found
}

/// Source files that documents of the engine name in code spans, and that do not exist.
fn named(root: &Path, files: &[Source]) -> Vec<String> {
    let bases = [
        root.join("engine/src"),
        root.join("engine"),
        root.to_path_buf(),
    ];
    let mut found = Vec::new();
    let documents = files.iter().filter(|file| file.ends_with("md"));
    for file in documents.filter(|file| file.path.starts_with(ENGINE_DOCS)) {
        for (line, text) in prose(&file.text) {
            let spans = text.split('`').skip(1).step_by(2);
            let paths = spans.filter(|span| span.contains('/') && is_rust(span));
            let missing = paths.filter(|path| !bases.iter().any(|base| base.join(path).exists()));
            found.extend(
                missing.map(|path| format!("{}:{line}: no such file: `{path}`", file.path)),
            );
        }
    }
    found
}

fn is_rust(path: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "rs")
}

/// Pages of the book that its table of contents omits.
fn unlisted(files: &[Source]) -> Vec<String> {
    let Some(summary) = files.iter().find(|file| file.path == SUMMARY) else {
        return vec![format!("{SUMMARY}: it is missing")];
    };
    let listed: BTreeSet<String> = targets(&summary.text).map(|(_, target)| target).collect();
    let documents = files.iter().filter(|file| file.ends_with("md"));
    let pages = documents.filter_map(|file| file.path.strip_prefix(BOOK));
    let pages = pages.filter(|page| *page != "SUMMARY.md");
    let unlisted = pages.filter(|page| !listed.contains(*page));
    unlisted
        .map(|page| format!("{SUMMARY}: page `{page}` is not listed"))
        .collect()
}

/// Resolves a link in `document` to a path from the root of the repository. Returns `None` if the link leaves the repository.
fn resolve(document: &str, link: &str) -> Option<String> {
    if link.is_empty() {
        return Some(document.to_owned());
    }
    let mut path = PathBuf::from(document);
    path.pop();
    for part in Path::new(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            _ => return None,
        }
    }
    path.to_str().map(str::to_owned)
}

/// The lines of a document outside of fenced blocks, with line numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((index + 1, line))
    })
}

/// The relative links of a document, with line numbers. URLs are skipped.
fn targets(text: &str) -> impl Iterator<Item = (usize, String)> {
    prose(text).flat_map(|(number, line)| {
        let line = without_code(line);
        let links = line.split("](").skip(1);
        let links = links.filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
        // A reference definition: `[name]: target`.
        let reference = line
            .split_once("]: ")
            .filter(|(name, _)| name.starts_with('['));
        let reference = reference.map(|(_, target)| target.trim());
        let all: Vec<(usize, String)> = links
            .chain(reference)
            .filter(|target| !target.is_empty() && !target.contains([':', ' ']))
            .map(|target| (number, target.to_owned()))
            .collect();
        all
    })
}

/// The line without its code spans.
fn without_code(line: &str) -> String {
    let parts = line.split('`').enumerate();
    let prose = parts.filter(|(index, _)| index % 2 == 0);
    prose.map(|(_, part)| part).collect()
}

/// The anchors of the headings of a document, as forges and mdBook generate them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if !(1..=6).contains(&level) || !title.starts_with(' ') {
            continue;
        }
        let slug = slug(title.trim());
        let mut anchor = slug.clone();
        let mut copies = 0;
        while !anchors.insert(anchor.clone()) {
            copies += 1;
            anchor = format!("{slug}-{copies}");
        }
    }
    anchors
}

fn slug(title: &str) -> String {
    let mut slug = String::new();
    // The anchor of a link in a heading uses only its text.
    let mut is_target = false;
    let mut before = ' ';
    for c in title.chars() {
        match c {
            '(' if before == ']' => is_target = true,
            ')' if is_target => is_target = false,
            _ if is_target => {}
            ' ' => slug.push('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => slug.extend(c.to_lowercase()),
            _ => {}
        }
        before = c;
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        targets(text).map(|(_, target)| target).collect()
    }

    #[test]
    fn files_are_told_from_addresses() {
        let text = "[a](b/c.md#part) [d](https://e.f/g) [h](#part) [i](j)";
        assert_eq!(of(text), ["b/c.md#part", "#part", "j"]);
        assert_eq!(of("[k]: l.md\n`[m](n)` and\n```\n[o](p)\n```\n"), ["l.md"]);
    }

    #[test]
    fn headings_become_anchors() {
        let text =
            "# The `run` command, twice\n## A [link](b.md) here\n## A\n```\n# c\n```\n## A\n#tag\n";
        let expected = ["a", "a-1", "a-link-here", "the-run-command-twice"];
        assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn links_stay_in_the_repository() {
        assert_eq!(
            resolve("docs/a.md", "../b/./c.md"),
            Some("b/c.md".to_owned())
        );
        assert_eq!(resolve("docs/a.md", ""), Some("docs/a.md".to_owned()));
        assert_eq!(resolve("docs/a.md", "../../b.md"), None);
        assert_eq!(resolve("docs/a.md", "/b.md"), None);
    }

    #[test]
    fn every_kind_of_dead_link_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = |path: &str, text: &str| Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let files = [
            source(
                "a.md",
                "# One\n[x](Cargo.toml) [x](#one) [x](gone.md)\n[x](#two) [x](../b.md)",
            ),
            source(SUMMARY, "[c](c.md)"),
            source("docs/d.md", ""),
            source(
                "engine/docs/e.md",
                "`src/main.rs`, `src/gone.rs` and `main.rs`",
            ),
        ];
        let found = check(root, &files);
        let expected = [
            "a.md:2: dead link: `gone.md`",
            "a.md:3: no such heading: `#two`",
            "a.md:3: link out of the repository: `../b.md`",
            "docs/SUMMARY.md:1: dead link: `c.md`",
            "docs/SUMMARY.md: page `d.md` is not listed",
            "engine/docs/e.md:1: no such file: `src/gone.rs`",
        ];
        assert_eq!(found, expected);
    }
}
