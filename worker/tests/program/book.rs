//! Checks the examples of the book: the program accepts the settings, and plans every job file and every key.

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

/// The TOML blocks of a page, with their lines.
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
    // Without a flag, the settings name the database, which does not exist.
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

/// The row of a key in a table of the page about job files.
struct Key {
    /// The section that it belongs to, without brackets; empty at the top level.
    section: String,
    meaning: String,
    /// A line of the job file.
    example: String,
}

/// The rows of all tables whose last column is an example.
fn keys(page: &str) -> Vec<Key> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix('#') {
            let title = title.trim_start_matches('#').trim().trim_matches('`');
            let name = title
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            name.unwrap_or_default().clone_into(&mut section);
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let example = cells
            .last()
            .and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        if let (Some(example), true) = (example, cells.len() == 5 || cells.len() == 3) {
            keys.push(Key {
                section: section.clone(),
                meaning: cells[cells.len() - 2].to_owned(),
                example: example.to_owned(),
            });
        }
    }
    keys
}

/// A valid job file with the example in its section, and without another value for the same key.
fn job_with(key: &Key) -> String {
    let format = if key.meaning.contains("(`jsonl`)") {
        "jsonl"
    } else if ["from", "to", "shard_len"]
        .iter()
        .any(|name| key.example.starts_with(name))
    {
        "range"
    } else {
        "csv"
    };
    let source = match format {
        "range" => "from = 0\nto = 9\nshard_len = 3".to_owned(),
        format => format!("paths = [\"*.{format}\"]"),
    };
    let column = match key.example.as_str() {
        "header = false" => "column_1",
        _ if format == "range" => "i",
        _ => "k",
    };
    let columns = [
        "dep_delay",
        "distance",
        "at",
        "delay",
        "carrier",
        "month",
        "day",
        "flight",
    ];
    let selected: Vec<String> = columns
        .iter()
        .map(|name| format!("{column} AS {name}"))
        .collect();
    let sql = format!(
        "sql = \"SELECT {column} AS k, {column} AS v, {column} IS NULL AS late, {} FROM source\"",
        selected.join(", ")
    );
    let answer = "sql = \"SELECT count(*) AS n FROM source\"".to_owned();
    let transform = if key.section == "result" { answer } else { sql };
    let target = match key.section.as_str() {
        "upsert" => vec![("upsert", "store = \"s\"\nkey = [\"k\"]".to_owned())],
        "result" => vec![("result", String::new())],
        "delete" => vec![("delete", "store = \"s\"\nkey = [\"k\"]".to_owned())],
        "export" => vec![("export", "to = \"out\"".to_owned())],
        _ => vec![
            ("merge", "store = \"s\"\nkey = [\"k\"]".to_owned()),
            ("merge.values", "n = \"count()\"".to_owned()),
        ],
    };
    let mut sections = vec![
        ("", "name = \"j\"".to_owned()),
        ("source", format!("format = \"{format}\"\n{source}")),
        ("transform", transform),
    ];
    if key.section == "source.schema" {
        sections.push(("source.schema", String::new()));
    }
    sections.extend(target);
    sections.push(("run", String::new()));

    let name = key.example.split(" = ").next().unwrap();
    let mut job = String::new();
    for (section, lines) in sections {
        let is_here = section == key.section;
        if !section.is_empty() {
            job.push_str(&format!("[{section}]\n"));
        }
        let own = format!("{name} = ");
        for line in lines
            .lines()
            .filter(|line| !(is_here && line.starts_with(&own)))
        {
            job.push_str(&format!("{line}\n"));
        }
        if is_here {
            job.push_str(&format!("{}\n", key.example));
        }
    }
    job
}

#[test]
fn the_example_of_every_key_can_be_planned() {
    let keys = keys(&page("job-file.md"));
    assert!(keys.len() > 25, "only {} keys", keys.len());
    let place = Place::new();
    place.write("a.jsonl", "{\"k\":1}\n");
    fs::create_dir(place.path("flights")).unwrap();
    for key in &keys {
        // A single column works with every delimiter. Some sections need a second one.
        let csv = match key.section.as_str() {
            "source.schema" => "k,at\n1,1\n2,2\n",
            "transform" => "k,v\n1,1\n",
            _ => "k\n1\n2\n",
        };
        place.write("a.csv", csv);
        place.write("flights/a.csv", csv);
        let mut job = job_with(key);
        if key.example.starts_with("hive_partitions") {
            fs::create_dir_all(place.path("year=2013")).unwrap();
            place.write("year=2013/a.csv", csv);
            job = job.replace("paths = [\"*.csv\"]", "paths = [\"year=*/*.csv\"]");
        }
        place.write("job.toml", &job);
        let call = place.call(&["plan", "job.toml"]);
        assert_eq!(
            call.code,
            Some(0),
            "`{}`: {}\n{job}",
            key.example,
            call.stderr
        );
    }
}
