//! The examples of the book are right: settings are accepted, and job files can be planned.

use std::fs;
use std::path::Path;

use crate::readme::{blocks, copy};
use crate::support::{Ended, Place, examples, program};

/// A page of the book.
fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    fs::read_to_string(path).unwrap()
}

/// Its blocks of TOML, with their lines.
fn toml(page: &str) -> Vec<(usize, String)> {
    let blocks = blocks(page).into_iter();
    let toml = blocks.filter(|block| block.language == "toml");
    toml.map(|block| (block.line, block.text)).collect()
}

#[test]
fn the_settings_of_the_book_are_accepted() {
    let all = toml(&page("operations.md"));
    let [(_, settings)] = &all[..] else {
        panic!("not one block of settings: {all:?}")
    };
    let place = Place::new();
    // No flag names a database, so the settings do: one that is not there.
    let call = |place: &Place| -> Ended {
        let mut command = program();
        command.args(["store", "ls"]).current_dir(place.path(""));
        command.output().unwrap().into()
    };
    place.write("eciton.toml", settings);
    call(&place).with_code(2).told(&["/srv/eciton/db"]);
    place.write("eciton.toml", format!("unknown = 1\n{settings}"));
    call(&place).with_code(2).told(&["eciton.toml:1"]);
}

#[test]
fn the_job_files_of_the_book_can_be_planned() {
    let place = Place::new();
    copy(&examples().join("flights"), &place.path("flights"));
    let mut planned = 0;
    for name in ["job-file.md", "sql.md"] {
        for (line, text) in toml(&page(name)) {
            if !text.contains("name = ") {
                continue;
            }
            place.write("job.toml", text);
            let call = place.call(&["plan", "job.toml"]);
            assert_eq!(call.code, Some(0), "docs/{name}:{line}: {}", call.stderr);
            planned += 1;
        }
    }
    assert!(planned >= 2, "only {planned} job files");
}
