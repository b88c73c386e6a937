//! Builds the book of `docs/`, and checks the pages as readers get them: a link in them leads to a page, and to a heading.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::needs;
use crate::steps::{Failed, workspace};

/// Where the book is written, as `docs/book.toml` says.
const BUILT: &str = "target/book";
/// Pages that repeat what others say, with links that are right only elsewhere.
const REPEATING: [&str; 3] = ["print.html", "toc.html", "404.html"];

/// Builds the book, and fails if a page of it has a link that leads nowhere.
pub(crate) fn run() -> Result<(), Failed> {
    needs::install()?;
    let mut program = Command::new("mdbook");
    program
        .args(["build", "docs"])
        .current_dir(workspace())
        .env("PATH", needs::path()?);
    println!("$ mdbook build docs");
    let output = program
        .output()
        .map_err(|cause| Failed(format!("mdbook: {cause}")))?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || told.contains("WARN") {
        return Err(Failed(format!("mdbook is not content:\n{told}")));
    }
    let pages = pages(&workspace().join(BUILT))?;
    let dead = dead(&pages, &workspace().join(BUILT));
    if dead.is_empty() {
        println!("book: {} pages, no dead link", pages.len());
        return Ok(());
    }
    Err(Failed(format!(
        "dead links in the book:\n{}",
        dead.join("\n")
    )))
}

/// The text of each page, by its name.
fn pages(built: &Path) -> Result<BTreeMap<PathBuf, String>, Failed> {
    let failed = |cause: std::io::Error| Failed(format!("{}: {cause}", built.display()));
    let mut pages = BTreeMap::new();
    for entry in std::fs::read_dir(built).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default();
        let is_page = path.extension().is_some_and(|kind| kind == "html");
        if is_page && !REPEATING.iter().any(|repeating| name == *repeating) {
            let text = std::fs::read_to_string(&path).map_err(failed)?;
            pages.insert(PathBuf::from(name), text);
        }
    }
    Ok(pages)
}

/// A line for each link within the book that leads nowhere.
fn dead(pages: &BTreeMap<PathBuf, String>, built: &Path) -> Vec<String> {
    let mut dead = Vec::new();
    for (name, text) in pages {
        for target in targets(text) {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let Some(path) = resolve(name, path) else {
                // Files of the repository that are not part of the book: `tidy` looks at them.
                continue;
            };
            let is_there = match pages.get(&path) {
                Some(page) => heading.is_empty() || page.contains(&format!("id=\"{heading}\"")),
                None => built.join(&path).exists(),
            };
            if !is_there {
                dead.push(format!("{}: {target}", name.display()));
            }
        }
    }
    dead
}

/// What a page links to and shows, apart from other sites.
fn targets(page: &str) -> impl Iterator<Item = &str> {
    let links = ["href=\"", "src=\""].into_iter();
    let all = links.flat_map(|link| page.split(link).skip(1));
    let all = all.filter_map(|rest| rest.split('"').next());
    all.filter(|target| !target.contains(':') && !target.is_empty())
}

/// Where a link leads from a page, within the book.
fn resolve(page: &Path, target: &str) -> Option<PathBuf> {
    if target.is_empty() {
        return Some(page.to_path_buf());
    }
    let mut path = page.parent().unwrap_or(Path::new("")).to_path_buf();
    for part in Path::new(target).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if !path.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_told() {
        let page = "<a href=\"b.html#there\"> <a href=\"b.html#gone\"> <a href=\"c.html\"> <a href=\"#here\"> \
                    <h1 id=\"here\"> <a href=\"https://example.org/x\"> <a href=\"../README.md\">";
        let pages = BTreeMap::from([
            (PathBuf::from("a.html"), page.to_owned()),
            (
                PathBuf::from("b.html"),
                "<h2 id=\"there\"> <a href=\"a.html\">".to_owned(),
            ),
        ]);
        let nowhere = Path::new("a folder that does not exist");
        assert_eq!(
            dead(&pages, nowhere),
            ["a.html: b.html#gone", "a.html: c.html"]
        );
    }
}
