use std::fs;

use eciton_proto::v1::{ShardChunk, SourceFile};

use super::super::limits::{FILES_PER_CHUNK, SHARDS_PER_CHUNK};
use super::super::{Shard, Source, plan, shards};
use super::{Folder, columns, read};

const CSV: &str = "format = \"csv\"\npaths = [\"*.csv\"]";

fn lines(count: usize) -> String {
    (0..count).fold("a,b\n".to_owned(), |text, i| {
        text + &format!("{i},row {i}\n")
    })
}

#[test]
fn types_are_those_of_the_first_rows() {
    let folder = Folder::new(&format!("{CSV}\nnull_values = [\"\", \"NA\"]")).with(
        "x.csv",
        "i,f,b,d,t,t2,s,n,mixed,big\n\
         1,1.5,true,2013-01-01,2013-01-01T10:00:00Z,2013-01-01 10:00:00.5,x,NA,1,12345678901234567890\n\
         NA,2,NA,NA,NA,NA,,,x,NA\n",
    );
    let found = columns(&folder.plan());
    let expected = [
        ("i", "int64"),
        ("f", "float64"),
        ("b", "bool"),
        ("d", "date"),
        ("t", "timestamp"),
        ("t2", "timestamp"),
        ("s", "string"),
        ("n", "string"),
        ("mixed", "string"),
        ("big", "uint64"),
    ];
    let expected: Vec<_> = expected.map(|(n, t)| (n.to_owned(), t.to_owned())).to_vec();
    assert_eq!(found, expected);
    let rows = folder.read().rows;
    assert_eq!(
        rows[0],
        [
            "1",
            "1.5",
            "true",
            "2013-01-01",
            "2013-01-01T10:00:00Z",
            "2013-01-01T10:00:00.500Z",
            "x",
            "∅",
            "1",
            "12345678901234567890"
        ]
    );
    assert_eq!(
        rows[1],
        ["∅", "2.0", "∅", "∅", "∅", "∅", "∅", "∅", "x", "∅"]
    );
}

#[test]
fn declared_types_win_over_inferred_ones() {
    let folder = Folder::new(&format!(
        "{CSV}\n[source.schema]\nzip = \"string\"\nsum = \"decimal(10,2)\""
    ))
    .with("x.csv", "zip,n,sum\n01234,1,1.5\n");
    let found = columns(&folder.plan());
    assert_eq!(found[0].1, "string");
    assert_eq!(found[1].1, "int64");
    assert_eq!(found[2].1, "decimal(10,2)");
    assert_eq!(folder.read().rows, [["01234", "1", "1.50"]]);
}

#[test]
fn only_the_first_thousand_rows_count() {
    let mut text = lines(1000);
    text.push_str("x,y\n");
    let found = columns(&Folder::new(CSV).with("x.csv", &text).plan());
    assert_eq!(found[0].1, "int64");
    // The first thousand, over the files in order: one short of it in the first file.
    let folder = Folder::new(CSV)
        .with("1.csv", lines(999))
        .with("2.csv", "a,b\nx,y\n");
    assert_eq!(columns(&folder.plan())[0].1, "string");
    let folder = Folder::new(CSV)
        .with("1.csv", lines(1000))
        .with("2.csv", "a,b\nx,y\n");
    assert_eq!(columns(&folder.plan())[0].1, "int64");
}

#[test]
fn malformed_rows_do_not_disturb_inference() {
    let folder = Folder::new(CSV).with("x.csv", b"a,b\n1,2\nonly\nx,y,z\n\xff,2\n\"open,2\n3,4\n");
    assert_eq!(columns(&folder.plan())[0].1, "int64");
}

#[test]
fn without_a_header_columns_are_numbered() {
    let folder = Folder::new(&format!("{CSV}\nheader = false")).with("x.csv", "1,x\n2,y\n");
    assert_eq!(
        columns(&folder.plan())[1],
        ("column_2".into(), "string".into())
    );
    assert_eq!(folder.read().rows, [["1", "x"], ["2", "y"]]);
    let folder = Folder::new(CSV).with("x.csv", ",name\n0,x\n");
    assert_eq!(columns(&folder.plan())[0].0, "column_1");
}

#[test]
fn files_are_sorted_and_each_is_there_once() {
    let folder =
        Folder::new("format = \"csv\"\npaths = [\"d/b*.csv\", \"d/*.csv\", \"[x]/*.csv\"]")
            .with("d/b.csv", "a\n1\n")
            .with("d/a.csv", "a\n2\n")
            .with("d/.hidden.csv", "nothing")
            .with("x/c.csv", "a\n3\n");
    fs::create_dir(folder.path("d/sub.csv")).unwrap();
    let planned = folder.plan();
    let names: Vec<_> = planned.files[0]
        .files
        .iter()
        .map(|f| f.display.as_str())
        .collect();
    assert_eq!(names, ["d/a.csv", "d/b.csv", "x/c.csv"]);
    let first = &planned.files[0].files[0];
    assert_eq!(
        first.path,
        folder
            .path("d/a.csv")
            .canonicalize()
            .unwrap()
            .to_str()
            .unwrap()
    );
    assert_eq!(first.len, 4);
    assert_eq!(folder.read().rows, [["2"], ["1"], ["3"]]);
}

/// The body of `[source]`, files with their text, and the message.
type Refusal = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

#[test]
fn refusals_name_the_file_and_the_key() {
    let cases: &[Refusal] = &[
        (
            CSV,
            &[],
            "job.toml:4: key `source.paths`: `*.csv` matches no file; expected at least one (looked for \
             `*.csv`)",
        ),
        (
            CSV,
            &[("a.csv", "x,y\n"), ("b.csv", "x,z\n")],
            "job.toml:4: key `source.paths`: `a.csv` and `b.csv` have different columns: column 2 is `y` in \
             one and `z` in the other; expected the same in every file",
        ),
        (
            CSV,
            &[("a.csv", "x,y\n"), ("b.csv", "x\n")],
            "job.toml:4: key `source.paths`: `a.csv` and `b.csv` have different columns: one has 2 columns \
             and the other 1; expected the same in every file",
        ),
        (
            CSV,
            &[("a.csv", "")],
            "job.toml:4: key `source.paths`: `a.csv`: expected a first record that tells the columns, found \
             an empty file; with its columns in [source.schema] it gives no rows",
        ),
        (
            CSV,
            &[("a.csv", "x,y,x\n")],
            "job.toml:4: key `source.paths`: `a.csv`: the header names column `x` twice",
        ),
        (
            CSV,
            &[("a.csv", "x,\"y\nz\"\n1,2\n")],
            "job.toml:4: key `source.paths`: `a.csv`: byte 2: a quote in the first record is not closed in \
             its line",
        ),
        (
            "format = \"csv\"\npaths = [\"*.csv\"]\n[source.schema]\nz = \"int64\"",
            &[("a.csv", "x,y\n")],
            "job.toml:6: key `source.schema.z`: `a.csv` has no such column; expected one of `x`, `y`",
        ),
        (
            "format = \"csv\"\npaths = [\"*\"]",
            &[("a.csv.lz4", "x")],
            "job.toml:4: key `source.paths`: `a.csv.lz4`: compression `.lz4` is not read; expected `.gz`, \
             `.zst`, `.bz2`, `.xz` or none",
        ),
        (
            "format = \"jsonl\"\npaths = [\"*\"]",
            &[("a.jsonl", "5\n[]\n")],
            "job.toml:4: key `source.paths`: `a.jsonl`: line 1, column 1: expected one JSON object a line: invalid type: \
             integer `5`, expected a JSON object",
        ),
        (
            "format = \"jsonl\"\npaths = [\"*\"]",
            &[("a.jsonl", ""), ("b.jsonl", "\n \n  [\n")],
            "job.toml:4: key `source.paths`: `b.jsonl`: line 3, column 2: expected one JSON object a line: invalid type: \
             sequence, expected a JSON object",
        ),
        (
            "format = \"jsonl\"\npaths = [\"*\"]",
            &[("a.jsonl", "")],
            "job.toml:4: key `source.paths`: `a.jsonl`: expected a JSON object, found an empty file; with its columns in \
             [source.schema] it gives no rows",
        ),
        (
            "format = \"jsonl\"\npaths = [\"*\"]",
            &[("a.jsonl", "{}\n")],
            "job.toml:4: key `source.paths`: `a.jsonl`: expected a JSON object with members in the first 1000 lines, found \
             none with any",
        ),
    ];
    for (source, files, message) in cases {
        let mut folder = Folder::new(source);
        for (name, text) in *files {
            folder = folder.with(name, text);
        }
        assert_eq!(folder.refusal(), *message);
    }
}

#[test]
fn a_header_that_is_not_utf_8_is_refused() {
    let folder = Folder::new(CSV).with("a.csv", b"x,\xff\n");
    assert_eq!(
        folder.refusal(),
        "job.toml:4: key `source.paths`: `a.csv`: expected UTF-8 in the first record"
    );
}

#[test]
fn cuts_are_about_shard_size_and_at_ends_of_records() {
    let text = lines(2000);
    let folder = Folder::new(&format!("{CSV}\nshard_size = 1024")).with("x.csv", &text);
    let (source, shards) = folder.open();
    let data = text.len() as u64 - 4;
    assert_eq!(shards.len() as u64, data.div_ceil(1024));
    assert_eq!(shards[0].start, 4);
    let mut end = 4;
    for shard in &shards {
        assert_eq!(shard.start, end, "shards leave nothing out");
        end = shard.start + shard.len;
        assert_eq!(text.as_bytes()[usize::try_from(end).unwrap() - 1], b'\n');
        assert!((900..1100).contains(&shard.len), "{shard:?}");
    }
    assert_eq!(end, text.len() as u64);
    let rows = read(&source, &shards).unwrap().rows;
    assert_eq!(rows.len(), 2000);
    assert_eq!(rows[1999], ["1999", "row 1999"]);
    assert_eq!(folder.plan(), folder.plan());
}

#[test]
fn records_longer_than_a_shard_are_whole() {
    let long = "x".repeat(5000);
    let folder = Folder::new(&format!("{CSV}\nshard_size = 1024"))
        .with("x.csv", format!("a\n{long}\ns\n{long}\n"));
    let (source, shards) = folder.open();
    assert_eq!(
        shards.iter().map(|s| (s.start, s.len)).collect::<Vec<_>>(),
        [(2, 5001), (5003, 2), (5005, 5001)]
    );
    assert_eq!(read(&source, &shards).unwrap().rows.len(), 3);
}

#[test]
fn files_without_records_have_no_shards() {
    let folder = Folder::new(CSV)
        .with("a.csv", "")
        .with("b.csv", "\u{feff}a,b\r\n1,x")
        .with("c.csv", "a,b")
        .with("d.csv", "\n\n");
    let (source, shards) = folder.open();
    assert_eq!(
        shards,
        [Shard {
            number: 0,
            file: 1,
            start: 8,
            len: 3,
            content_hash: 0
        }]
    );
    assert_eq!(read(&source, &shards).unwrap().rows, [["1", "x"]]);
}

#[test]
fn chunks_hold_what_was_put_into_them() {
    let count = 2 * SHARDS_PER_CHUNK as u64 + 5;
    let folder = Folder::new(&format!(
        "format = \"range\"\nfrom = -7\nto = {}\nshard_len = 3",
        count * 3 - 8
    ));
    let planned = folder.plan();
    assert_eq!(planned.plan.shards, count);
    assert_eq!(
        planned.shards.iter().map(|c| c.first).collect::<Vec<_>>(),
        [0, 4096, 8192]
    );
    let all = planned.shards().unwrap();
    assert_eq!(all.len() as u64, count);
    assert!(
        (0..)
            .zip(&all)
            .all(|(n, s)| s.number == n && s.start == n * 3)
    );
    assert_eq!(all.last().unwrap().len, 2);
    let rows = folder.read().rows;
    assert_eq!(rows.len() as u64, count * 3 - 1);
    assert_eq!((rows[0][0].as_str(), rows[7][0].as_str()), ("-7", "0"));
}

#[test]
fn many_files_are_many_chunks() {
    let mut folder = Folder::new(CSV);
    for i in 0..=FILES_PER_CHUNK {
        folder = folder.with(&format!("{i:04}.csv"), format!("a\n{i}\n"));
    }
    let planned = folder.plan();
    assert_eq!(
        planned.files.iter().map(|c| c.first).collect::<Vec<_>>(),
        [0, 256]
    );
    let rows = folder.read().rows;
    assert!(
        rows.iter()
            .enumerate()
            .all(|(i, row)| row[0] == i.to_string())
    );
}

#[test]
fn damaged_plans_are_errors() {
    let spec = Folder::new("format = \"range\"\nfrom = 0\nto = 9\nshard_len = 3")
        .job()
        .into_spec();
    let spec = spec.source.unwrap();
    let chunk = ShardChunk {
        first: 0,
        file_delta: vec![0],
        gap: vec![u64::MAX],
        len: vec![1],
        ..ShardChunk::default()
    };
    assert_eq!(
        shards(&chunk).unwrap_err().to_string(),
        "the recorded plan is damaged: shards from 0 do not add up"
    );
    assert!(
        shards(&ShardChunk {
            gap: vec![],
            ..chunk
        })
        .is_err()
    );
    let folder = Folder::new(CSV).with("a.csv", "a\n1\n");
    let planned = folder.plan();
    assert!(Source::new(spec.clone(), &planned.plan, vec![]).is_err());
    let mut wrong = planned.clone();
    wrong.plan.schema[0].r#type = "no such type".into();
    let error = wrong.source(spec).unwrap_err().to_string();
    assert!(
        error.contains("column `a` has unknown type `no such type`"),
        "{error}"
    );
    // A shard that is not in the file.
    let (source, _) = folder.open();
    let beyond = Shard {
        number: 0,
        file: 0,
        start: 3,
        len: 9,
        content_hash: 0,
    };
    assert!(read(&source, &[beyond]).is_err());
    assert!(read(&source, &[Shard { file: 7, ..beyond }]).is_err());
}

#[test]
fn a_file_of_another_length_is_not_read() {
    let folder = Folder::new(CSV).with("a.csv", "a\n1\n");
    let (source, shards) = folder.open();
    fs::write(folder.path("a.csv"), "a\n1\n2\n").unwrap();
    assert_eq!(
        read(&source, &shards).unwrap_err().to_string(),
        "`a.csv`: the file changed since the job was recorded: expected 4 bytes, found 6; submit it as a new job, or \
         restore the file (`eciton job retry` accepts one whose bytes are the same where shards are done)"
    );
    fs::remove_file(folder.path("a.csv")).unwrap();
    let error = read(&source, &shards).unwrap_err();
    assert!(
        error.to_string().starts_with("`a.csv`: cannot be opened: "),
        "{error}"
    );
    assert!(!error.is_transient());
}

#[test]
fn a_plan_needs_no_open_files_to_be_read_back() {
    let folder = Folder::new(CSV).with("a.csv", "a\n1\n");
    let planned = plan(&folder.job()).unwrap();
    let file: &SourceFile = &planned.files[0].files[0];
    fs::remove_file(&file.path).unwrap();
    let source = planned
        .source(folder.job().into_spec().source.unwrap())
        .unwrap();
    assert_eq!(source.schema().field(0).name(), "a");
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_read() {
    let folder = Folder::new(CSV).with("x.csv", "a\n1\n").with("y.csv/z", "");
    assert_eq!(folder.plan().plan.files, 1, "folders are passed over");
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("z.csv")).unwrap();
    let refusal = folder.refusal();
    assert!(
        refusal.ends_with("`z.csv`: expected a regular file"),
        "{refusal}"
    );
}

#[test]
fn empty_files_give_no_rows_and_are_told() {
    for (format, rows, empty) in [
        ("csv", "a,b\n1,2\n", &["", "a,b\n", "a,b"][..]),
        ("jsonl", "{\"a\":1,\"b\":2}\n", &[""]),
    ] {
        let schema = "[source.schema]\na = \"int64\"\nb = \"int64\"\n";
        for empty in empty {
            let settings = format!("format = \"{format}\"\npaths = [\"*.x\"]\n");
            let beside = Folder::new(&settings).with("1.x", empty).with("2.x", rows);
            let planned = beside.plan();
            assert_eq!(planned.warnings, ["`1.x` has no records and gives no rows"]);
            assert_eq!(beside.read().rows, [["1", "2"]]);
            // Alone, where the job file tells the columns.
            let alone = Folder::new(&format!("{settings}{schema}"))
                .with("1.x", empty)
                .with("2.x", "");
            let planned = alone.plan();
            assert_eq!(
                planned.warnings,
                ["`1.x`, `2.x` have no records and give no rows"]
            );
            let columns: Vec<_> = planned
                .plan
                .schema
                .iter()
                .map(|field| &field.name)
                .collect();
            assert_eq!(columns, ["a", "b"]);
            assert!(alone.read().rows.is_empty());
        }
        let full =
            Folder::new(&format!("format = \"{format}\"\npaths = [\"*\"]\n")).with("1", rows);
        assert!(full.plan().warnings.is_empty());
    }
}

#[cfg(unix)]
#[test]
fn links_to_a_file_are_that_file_once_and_hard_links_are_told() {
    use std::os::unix::fs::symlink;
    let names = |folder: &Folder| -> Vec<String> {
        let planned = folder.plan();
        let files = planned.files.iter().flat_map(|chunk| chunk.files.clone());
        files.map(|file| file.display).collect()
    };
    // Neither the order of the globs nor how often they match makes a difference.
    for paths in [
        r#""*.csv""#,
        r#""b.csv", "a.csv", "b.csv""#,
        r#""./b.csv", "a.csv""#,
        r#""[b]*", "a.*", "*.csv""#,
    ] {
        let folder = Folder::new(&format!("format = \"csv\"\npaths = [{paths}]"));
        let folder = folder.with("b.csv", "x\n2\n");
        symlink(folder.path("b.csv"), folder.path("a.csv")).unwrap();
        assert_eq!(names(&folder), ["a.csv"], "{paths}");
        assert!(folder.plan().warnings.is_empty());
        assert_eq!(folder.read().rows, [["2"]]);
    }
    let folder = Folder::new(CSV)
        .with("b.csv", "x\n2\n")
        .with("c.csv", "x\n3\n");
    fs::hard_link(folder.path("b.csv"), folder.path("d.csv")).unwrap();
    assert_eq!(names(&folder), ["b.csv", "c.csv", "d.csv"]);
    assert_eq!(
        folder.plan().warnings,
        [
            "`b.csv`, `d.csv` are 2 names of one file (hard links): its rows count once for each name"
        ]
    );
    // A name outside of the globs is none of the job's.
    let folder = Folder::new(CSV).with("b.csv", "x\n2\n");
    fs::hard_link(folder.path("b.csv"), folder.path("d.bak")).unwrap();
    assert!(folder.plan().warnings.is_empty());
}

#[test]
fn texts_of_wide_units_are_told_in_every_script() {
    let wide = |text: &str, big: bool| -> Vec<u8> {
        let bytes = |unit: u16| match big {
            true => unit.to_be_bytes(),
            false => unit.to_le_bytes(),
        };
        text.encode_utf16().flat_map(bytes).collect()
    };
    let wider = |text: &str, big: bool| -> Vec<u8> {
        let bytes = |letter: char| match big {
            true => u32::from(letter).to_be_bytes(),
            false => u32::from(letter).to_le_bytes(),
        };
        text.chars().flat_map(bytes).collect()
    };
    for line in [
        "имя,значение\n",
        "名前,値\r\n",
        "שם;ערך\n",
        "a,b\n",
        "नाम,मान\n",
        "ਨਾਮ,ਮੁੱਲ\n",
        "😀,🎉\n",
    ] {
        let text = line.repeat(300);
        for (bytes, encoding) in [
            (wide(&text, false), "UTF-16LE"),
            (wide(&text, true), "UTF-16BE"),
            (wider(&text, false), "UTF-32LE"),
            (wider(&text, true), "UTF-32BE"),
            (wide(line, false), "UTF-16LE"),
            (wide(line, true), "UTF-16BE"),
        ] {
            let folder = Folder::new(CSV).with("a.csv", bytes);
            let refusal = folder.refusal();
            let told = format!("the text is encoded as {encoding}");
            assert!(refusal.contains(&told), "{line}: {encoding}: {refusal}");
        }
        // As it is meant to be.
        let name = line.split([',', ';']).next().unwrap();
        let folder = Folder::new(CSV).with("a.csv", &text);
        assert_eq!(
            folder.plan().plan.schema[0].name.split(';').next(),
            Some(name)
        );
    }
    // Zeros alone are no sign.
    for text in ["a,b\n1,\0\n2,x\n", "a,b\n\0\0,1\n", "a,b\n1\0,2\n3,4\0\n"] {
        let folder = Folder::new(CSV).with("a.csv", text);
        assert_eq!(folder.plan().plan.schema.len(), 2, "{text:?}");
    }
}
