//! What the compiler does not check: module ranks, circles, names, file lengths, stray marks, lints, links, rules, the glossary.
//!
//! Each check takes the sources as read and returns what does not hold, one line each.

mod circles;
mod crates;
mod features;
mod glossary;
mod insides;
mod layout;
mod links;
mod names;
mod paths;
mod ranks;
mod rules;
mod sources;
mod text;

use crate::steps::{Failed, workspace};

/// Runs every check and reports everything found, not just the first.
pub(crate) fn run() -> Result<(), Failed> {
    eprintln!("$ cargo xtask tidy");
    let root = workspace();
    let files = sources::read(&root)
        .map_err(|cause| Failed(format!("{}: cannot be read: {cause}", root.display())))?;
    assert!(
        files.len() > 10,
        "only {} files found in {}",
        files.len(),
        root.display()
    );

    let mut found = layout::check(&root)
        .map_err(|cause| Failed(format!("{}: cannot be read: {cause}", root.display())))?;
    found.extend(text::check(&files));
    found.extend(ranks::check(&files));
    found.extend(circles::check(&files));
    found.extend(insides::check(&files));
    found.extend(names::check(&files));
    found.extend(crates::check(&files));
    found.extend(links::check(&root, &files));
    found.extend(rules::check(&files));
    found.extend(glossary::check(&files));
    found.extend(features::check()?);
    for line in &found {
        eprintln!("{line}");
    }
    if found.is_empty() {
        eprintln!("tidy: {} files, nothing to say", files.len());
        Ok(())
    } else {
        Err(Failed(format!("tidy found {} things", found.len())))
    }
}
