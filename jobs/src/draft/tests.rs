//! Job files that were drafted run as they are, whatever the data is.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{Draft, DraftError, DraftRequest, draft, job_name};
use crate::spec::JobFile;

fn try_draft(files: &[(&str, &str)], data: &[&str]) -> Result<(TempDir, Draft), DraftError> {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let request = DraftRequest {
        data: data.iter().map(ToString::to_string).collect(),
        dir: dir.path().to_owned(),
        file: dir.path().join("job.toml"),
        name: None,
        full: false,
    };
    draft(&request, &|_, _| {}).map(|draft| (dir, draft))
}

/// Drafts, and checks the draft as `run` would; also each variant in its comments.
fn drafted(files: &[(&str, &str)], data: &[&str]) -> Draft {
    let (dir, draft) = try_draft(files, data).unwrap();
    let file = dir.path().join("job.toml");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let checked = |text: &str| {
        let job = JobFile::parse(&file, text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        if let Err(error) = runtime.block_on(crate::run::check(&job)) {
            panic!("{error}\n{text}");
        }
    };
    checked(&draft.text);
    let begin = draft.text.split("# One SELECT").next().unwrap();
    for section in ["# [merge]", "# [upsert]"] {
        let Some((_, rest)) = draft.text.split_once(section) else {
            continue;
        };
        let lines = rest
            .lines()
            .take_while(|line| line.is_empty() || line.starts_with("# "));
        let lines: Vec<&str> = lines
            .skip(1)
            .take_while(|line| !line.is_empty())
            .map(|line| &line[2..])
            .collect();
        checked(&format!(
            "{begin}\n{}\n{}\n",
            &section[2..],
            lines.join("\n")
        ));
    }
    draft
}

fn sql(draft: &Draft) -> String {
    let job = JobFile::parse(Path::new("job.toml"), &draft.text).unwrap();
    match &job.spec().step {
        Some(eciton_proto::v1::job_spec::Step::Transform(step)) => {
            step.sql.trim().replace('\n', " ")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_csv_is_grouped_by_its_text_and_averaged() {
    let csv = "id,carrier,late\n1,AA,5\n2,B6,NA\n3,AA,7\n";
    let draft = drafted(&[("flights.csv", csv)], &["flights.csv"]);
    assert_eq!(
        (draft.name.as_str(), draft.rows, draft.is_whole),
        ("flights", 3, true)
    );
    assert_eq!(
        sql(&draft),
        "SELECT carrier, count(*) AS row_count, avg(late) AS avg_late FROM source GROUP BY carrier"
    );
    assert!(
        draft.text.contains("null_values = [\"\", \"NA\"]"),
        "{}",
        draft.text
    );
}

#[test]
fn names_that_are_no_words_are_quoted() {
    let csv = "\"Order \"\"x\"\"\",select,günstig\n1.5,a,1\n2.5,b,2\n";
    let draft = drafted(&[("o.csv", csv)], &["o.csv"]);
    let expected = "SELECT \"select\", count(*) AS row_count, avg(\"Order \"\"x\"\"\") AS avg_order__x FROM source GROUP BY \"select\"";
    assert_eq!(sql(&draft), expected);
}

#[test]
fn dialects_are_found() {
    let draft = drafted(&[("a.txt", "x;y\n1,5;a\n2,5;b\n")], &["a.txt"]);
    assert!(draft.text.contains("delimiter = \";\""), "{}", draft.text);
    let draft = drafted(&[("a.csv", "x\ty\n1\ta\n")], &["a.csv"]);
    assert_eq!(draft.format, "tsv");
    let draft = drafted(&[("a.csv", "1,a\n2,b\n")], &["a.csv"]);
    assert!(draft.text.contains("header = false"), "{}", draft.text);
    let draft = drafted(&[("a.csv", "n,t\n1,\"a\nb\"\n2,c\n")], &["a.csv"]);
    assert!(
        draft.text.contains("newlines_in_values = true"),
        "{}",
        draft.text
    );
}

#[test]
fn later_rows_count_for_types() {
    let mut csv = String::from("k,v,w\n");
    for row in 0..1500 {
        writeln!(csv, "a,{row},").unwrap();
    }
    csv.push_str("b,1.5,7\n");
    let draft = drafted(&[("late.csv", &csv)], &["late.csv"]);
    assert!(draft.text.contains("\"v\" = \"float64\""), "{}", draft.text);
    assert!(draft.text.contains("\"w\" = \"int64\""), "{}", draft.text);
    assert!(!draft.text.contains("\"k\" ="), "{}", draft.text);
}

#[test]
fn json_lines_and_nested_values() {
    let json = "{\"k\":\"a\",\"n\":1,\"tags\":[1,2]}\n{\"k\":\"b\",\"n\":2,\"tags\":[3]}\n";
    let draft = drafted(&[("e.json", json)], &["e.json"]);
    assert_eq!(draft.format, "jsonl");
    assert_eq!(
        sql(&draft),
        "SELECT k, count(*) AS row_count, avg(n) AS avg_n FROM source GROUP BY k"
    );
}

#[test]
fn files_of_a_glob_or_a_folder_are_one_source() {
    let files = [
        ("d/x-1.csv", "k,v\na,1\n"),
        ("d/x-2.csv", "k,v\nb,2\n"),
        ("d/README.md", "no data"),
    ];
    for data in [
        &["d/*.csv"][..],
        &["d"],
        &["d/"],
        &["d/x-1.csv", "d/x-2.csv"],
    ] {
        let draft = drafted(&files, data);
        assert_eq!((draft.files, draft.rows), (2, 2), "{data:?}");
    }
    assert_eq!(drafted(&files, &["d/*.csv"]).name, "d");
    let odd = [("a[1].csv", "k,v\na,1\n"), ("a1.csv", "k,v,w\na,1,2\n")];
    assert_eq!(drafted(&odd, &["a[1].csv"]).columns, 2);
}

#[test]
fn malformed_rows_are_left_out_and_told() {
    let draft = drafted(&[("m.csv", "a,b\n1,2\n1,2,3\n4,5\n")], &["m.csv"]);
    assert!(draft.text.contains("on_error = \"skip\""), "{}", draft.text);
    assert!(
        draft.warnings[0].starts_with("1 row is malformed"),
        "{:?}",
        draft.warnings
    );
}

#[test]
fn nonsense_is_refused_in_a_sentence() {
    for (files, data, words) in [
        (&[][..], "no.csv", "there is no file `no.csv`"),
        (
            &[("flights.csv", "a\n1\n")],
            "fligths.csv",
            "did you mean `flights.csv`?",
        ),
        (&[], "*.csv", "`*.csv` matches no file"),
        (&[("e.csv", "")], "e.csv", "`e.csv` is empty"),
        (
            &[("e.json", "[{\"a\":1}]")],
            "e.json",
            "jq -c '.[]' e.json > e.jsonl",
        ),
        (&[("e.json", "[\n{\"a\":1}\n]")], "e.json", "jq -c '.[]'"),
        (&[("e.json", "{\n\"a\":1}\n")], "e.json", "jq -c . e.json"),
        (&[("e.json", "hello\n")], "e.json", "no JSON object"),
        (&[("x.parquet", "a,b\n")], "x.parquet", "is none"),
        (&[("x.csv", "\u{0}\u{1}\u{ff}")], "-", "standard input"),
        (&[], "https://example.org/x.csv", "URL"),
        (
            &[("d/a.csv", "x\n1\n"), ("d/b.jsonl", "{}")],
            "d",
            "one format",
        ),
        (&[("d/a.md", "")], "d", "has no CSV"),
        (&[("a.csv.bz2", "BZh9")], "a.csv.bz2", "bz2"),
    ] {
        let error = try_draft(files, &[data]).unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains(words) && !told.contains('\n'),
            "{data}: {told}"
        );
    }
}

#[test]
fn paths_are_relative_to_the_job_file() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "k,v\na,1\n").unwrap();
    };
    write("in[1]/a.csv");
    write("jobs/x");
    for (base, data, file, expected) in [
        ("", "in[1]/a.csv", "job.toml", "in[[]1[]]/a.csv"),
        ("", "in[1]/a.csv", "jobs/job.toml", "../in[[]1[]]/a.csv"),
        ("", "in[[]1]/*.csv", "jobs/job.toml", "../in[[]1]/*.csv"),
        ("in[1]", "./a.csv", "../jobs/job.toml", "../in[[]1[]]/a.csv"),
        ("jobs", "../in[1]/a.csv", "job.toml", "../in[[]1[]]/a.csv"),
    ] {
        let request = DraftRequest {
            data: vec![data.to_owned()],
            dir: dir.path().join(base),
            file: dir.path().join(base).join(file),
            name: None,
            full: false,
        };
        let draft = draft(&request, &|_, _| {}).unwrap_or_else(|error| panic!("{data}: {error}"));
        let job = JobFile::parse(Path::new("job.toml"), &draft.text).unwrap();
        let paths = job.spec().source.clone().unwrap().paths;
        assert_eq!(paths, [expected], "{data} for {file}");
    }
}

#[test]
fn names_are_made_of_anything() {
    assert_eq!(job_name("flights"), "flights");
    assert_eq!(job_name("__my data (2)"), "my_data__2");
    assert_eq!(job_name("日本"), "job");
    assert_eq!(job_name(&"x".repeat(500)).len(), 128);
}

#[test]
fn a_key_is_suggested_only_where_it_tells_all_rows_apart() {
    let key_of = |name: &str, text: &str| {
        let draft = drafted(&[(name, text)], &[name]);
        let (_, upsert) = draft.text.split_once("# [upsert]")?;
        let key = upsert
            .lines()
            .find_map(|line| line.strip_prefix("# key = "))?;
        Some(key.to_owned())
    };
    assert_eq!(
        key_of("a.csv", "k,v\nx,1\ny,1\n").as_deref(),
        Some("[\"k\"]")
    );
    // The one that is named like a code goes first.
    let text = "k,v,id\nx,1,7\ny,1,8\n";
    assert_eq!(key_of("a.csv", text).as_deref(), Some("[\"id\"]"));
    // A value twice, a NULL, a word for NULL, a number that is written in two ways.
    assert_eq!(key_of("a.csv", "k,v\nx,1\nx,1\n"), None);
    assert_eq!(key_of("a.csv", "k,v\nx,1\n,1\n"), None);
    assert_eq!(key_of("a.csv", "k,v\n1,1\nNA,1\n"), None);
    assert_eq!(key_of("a.csv", "k,v\n1.5,1\n1.50,1\n"), None);
    let json = "{\"id\":1,\"v\":1}\n{\"id\":2,\"v\":1}\n";
    assert_eq!(key_of("a.jsonl", json).as_deref(), Some("[\"id\"]"));
    assert_eq!(key_of("a.jsonl", "{\"id\":1,\"v\":1}\n{\"v\":1}\n"), None);
    // More rows than values that are counted one by one.
    let rows = |last: usize| {
        let ids = (0..3000).chain([last]);
        let lines: Vec<String> = ids.map(|id| format!("{id},x")).collect();
        format!("id,v\n{}\n", lines.join("\n"))
    };
    assert_eq!(key_of("a.csv", &rows(3000)).as_deref(), Some("[\"id\"]"));
    assert_eq!(key_of("a.csv", &rows(1500)), None);
    let told = drafted(&[("a.csv", &rows(3000))], &["a.csv"]).text;
    assert!(
        told.contains("# No two of 3,001 rows (all of them) have the same `id`."),
        "{told}"
    );
    let told = drafted(&[("a.csv", &rows(1500))], &["a.csv"]).text;
    assert!(
        told.contains("# No single column does so in 3,001 rows (all of them)"),
        "{told}"
    );
}
