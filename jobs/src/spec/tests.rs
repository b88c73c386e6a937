use std::path::Path;

use eciton_proto::v1::{
    AnswerSpec, ExportFormat, Format, JobSpec, MergeSpec, MergeValue, OnError, RunSpec,
    SchemaField, SourceSpec, TransformSpec,
    job_spec::{Sink, Step},
};

use super::limits::{
    ATTEMPTS_MAX, INPUTS_MAX, JOB_FILE_LEN_MAX, PARTITION_COLUMNS_MAX, SHARD_SIZE_MAX,
    SHARD_SIZE_MIN,
};
use super::{JobFile, fingerprint};

const CONTRACT: &str = r#"name = "delay-by-carrier"

[source]                       # what is cut into shards
format     = "csv"
paths      = ["flights/*.csv"]
shard_size = "8MiB"
null_values = ["NA", ""]
on_error   = "fail"

[source.schema]
dep_delay = "int64"
carrier = "string"

[transform]
sql = "SELECT carrier, month, dep_delay FROM source WHERE dep_delay IS NOT NULL"

[merge]
store = "delay_by_carrier"
key   = ["carrier", "month"]
[merge.values]
flights   = "count()"
delay_sum = "sum(dep_delay)"
delay_max = "max(dep_delay)"

[run]
max_attempts = 4
lease        = "30s"
"#;

fn parse(text: &str) -> Result<JobSpec, String> {
    let file = JobFile::parse(Path::new("jobs/x.toml"), text).map_err(|e| e.to_string())?;
    Ok(file.into_spec())
}

fn value(name: &str, operator: &str, column: &str) -> MergeValue {
    MergeValue {
        name: name.into(),
        operator: operator.into(),
        column: column.into(),
        args: vec![],
    }
}

fn declared(name: &str, r#type: &str) -> SchemaField {
    SchemaField {
        name: name.into(),
        r#type: r#type.into(),
        nullable: true,
        ..SchemaField::default()
    }
}

#[test]
fn a_whole_job_file_becomes_a_spec() {
    let expected = JobSpec {
        name: "delay-by-carrier".into(),
        source: Some(SourceSpec {
            format: Format::Csv.into(),
            paths: vec!["flights/*.csv".into()],
            shard_size: 8 << 20,
            null_values: vec![String::new(), "NA".into()],
            on_error: OnError::Fail.into(),
            header: true,
            delimiter: u32::from(b','),
            quote: u32::from(b'"'),
            schema: vec![
                declared("carrier", "string"),
                declared("dep_delay", "int64"),
            ],
            ..SourceSpec::default()
        }),
        step: Some(Step::Transform(TransformSpec {
            scope: 0,
            sql: "SELECT carrier, month, dep_delay FROM source WHERE dep_delay IS NOT NULL".into(),
        })),
        sink: Some(Sink::Merge(MergeSpec {
            store: "delay_by_carrier".into(),
            key: vec!["carrier".into(), "month".into()],
            values: vec![
                value("flights", "count", ""),
                value("delay_sum", "sum", "dep_delay"),
                value("delay_max", "max", "dep_delay"),
            ],
            into_existing: false,
        })),
        run: Some(RunSpec {
            max_attempts: 4,
            lease_ms: 30_000,
            ..RunSpec::default()
        }),
    };
    assert_eq!(parse(CONTRACT), Ok(expected));
}

#[test]
fn equal_meanings_are_equal_specs() {
    let spelled_out = parse(CONTRACT).unwrap();
    let terse = CONTRACT
        .replace("shard_size = \"8MiB\"", "shard_size = 8_388_608")
        .replace("on_error   = \"fail\"", "header = true # the default")
        .replace("max_attempts = 4\n", "");
    let terse = parse(&terse).unwrap();
    assert_eq!(fingerprint(&spelled_out), fingerprint(&terse));
    let other = parse(&CONTRACT.replace("max(dep_delay)", "min(dep_delay)")).unwrap();
    assert_ne!(fingerprint(&spelled_out), fingerprint(&other));
}

#[test]
fn a_range_has_bounds_and_a_shard_length() {
    let text = "name = 'r'\n[source]\nformat = 'range'\nfrom = -5\nto = 1_000_000\nshard_len = 10_000\n\
                [upsert]\nstore = 's'\nkey = ['i']\n";
    let source = parse(text).unwrap().source.unwrap();
    assert_eq!(
        (source.from, source.to, source.shard_len),
        (-5, 1_000_000, 10_000)
    );
    assert_eq!(source.format(), Format::Range);
}

/// The contract's file with one part replaced, and the whole message that is expected.
const REFUSALS: &[(&str, &str, &str)] = &[
    // Keys.
    (
        "shard_size = \"8MiB\"",
        "shard_sise = \"8MiB\"",
        "jobs/x.toml:6: key `source.shard_sise`: unknown key; expected one of `format`, `paths`, \
         `shard_size`, `null_values`, `on_error`, `on_new_columns`, `header`, `delimiter`, `quote`, `newlines_in_values`, \
         `schema`, `from`, `to`, `shard_len`, `store`, `verify`, `hive_partitions` (did you mean `shard_size`?)",
    ),
    (
        "[run]",
        "[runs]",
        "jobs/x.toml:25: key `runs`: unknown key; expected one of `name`, `source`, `transform`, \
         `merge`, `upsert`, `export`, `delete`, `result`, `command`, `run` (did you mean `run`?)",
    ),
    (
        "name = \"delay-by-carrier\"",
        "",
        "jobs/x.toml:1: key `name`: missing; expected a string, the job's name",
    ),
    (
        "paths      = [\"flights/*.csv\"]",
        "",
        "jobs/x.toml:3: key `source.paths`: missing; expected an array of globs such as \
         [\"flights/*.csv\"]",
    ),
    (
        "store = \"delay_by_carrier\"",
        "",
        "jobs/x.toml:17: key `merge.store`: missing; expected a string, the name of a store",
    ),
    (
        "key   = [\"carrier\", \"month\"]",
        "",
        "jobs/x.toml:17: key `merge.key`: missing; expected an array of column names such as \
         [\"carrier\", \"month\"]",
    ),
    // TOML itself.
    (
        "name = \"delay",
        "name = delay",
        "jobs/x.toml:1: not valid TOML: ",
    ),
    (
        "[transform]",
        "[source]",
        "jobs/x.toml:14: not valid TOML: duplicate key",
    ),
    // Types.
    (
        "name = \"delay-by-carrier\"",
        "name = 7",
        "jobs/x.toml:1: key `name`: expected a string, the job's name, found the integer 7",
    ),
    (
        "paths      = [\"flights/*.csv\"]",
        "paths = \"flights/*.csv\"",
        "jobs/x.toml:5: key `source.paths`: expected an array of globs such as [\"flights/*.csv\"], \
         found the string `flights/*.csv`",
    ),
    (
        "paths      = [\"flights/*.csv\"]",
        "paths = [\n\"a\",\n5]",
        "jobs/x.toml:7: key `source.paths`: expected an array of globs such as [\"flights/*.csv\"], \
         found the integer 5 in it",
    ),
    (
        "[transform]\nsql = ",
        "transform = ",
        "jobs/x.toml:14: key `source.schema.transform`: expected one of `bool`, `int8` to `int64`, \
         `uint8` to `uint64`, `float32`, `float64`, `string`, `json`, `date`, `timestamp`, \
         `decimal(precision,scale)`, `decimal(precision,scale,round)`, `date(format=...)`, \
         `date(unit=days)`, `timestamp(format=...)`, `timestamp(unit=s|ms|us|ns)`, found `SELECT carrier, month, dep_delay FROM source WHERE \
         dep_delay IS NOT NULL`",
    ),
    (
        "max_attempts = 4",
        "max_attempts = 4.5",
        "jobs/x.toml:26: key `run.max_attempts`: expected an integer from 1 to 1000, found the float \
         4.5",
    ),
    // Values.
    (
        "delay-by-carrier",
        "delay by carrier",
        "jobs/x.toml:1: key `name`: a job's name has ASCII letters, digits, `.`, `_` and `-` only and \
         does not begin with `.` or `-`, found `delay by carrier`",
    ),
    (
        "\"csv\"",
        "\"cvs\"",
        "jobs/x.toml:4: key `source.format`: expected one of `csv`, `tsv`, `jsonl`, `parquet`, `arrow`, `range`, \
         `store`, found `cvs` (did you mean `csv`?)",
    ),
    (
        "\"csv\"",
        "\"store\"",
        "jobs/x.toml:5: key `source.paths`: format `store` does not use it; it is a key of files",
    ),
    (
        "flights/*.csv",
        "flights/***.csv",
        "jobs/x.toml:5: key `source.paths`: expected a glob, found `flights/***.csv`: wildcards are \
         either regular `*` or recursive `**` (at 10)",
    ),
    (
        "\"8MiB\"",
        "\"8 megs\"",
        "jobs/x.toml:6: key `source.shard_size`: expected a size such as \"8MiB\" or a number of bytes, \
         found `8 megs`",
    ),
    (
        "\"8MiB\"",
        "1023",
        "jobs/x.toml:6: key `source.shard_size`: expected a size from 1KiB to 64GiB, found 1023B",
    ),
    (
        "\"8MiB\"",
        "-1",
        "jobs/x.toml:6: key `source.shard_size`: expected a size such as \"8MiB\" or a number of bytes, \
         found `-1`",
    ),
    (
        "\"fail\"",
        "\"ignore\"",
        "jobs/x.toml:8: key `source.on_error`: expected \"fail\" or \"skip\", found `ignore`",
    ),
    (
        "carrier = \"string\"",
        "carrier = \"text\"",
        "jobs/x.toml:12: key `source.schema.carrier`: expected one of `bool`, `int8` to `int64`, \
         `uint8` to `uint64`, `float32`, `float64`, `string`, `json`, `date`, `timestamp`, \
         `decimal(precision,scale)`, `decimal(precision,scale,round)`, `date(format=...)`, \
         `date(unit=days)`, `timestamp(format=...)`, `timestamp(unit=s|ms|us|ns)`, found `text`",
    ),
    (
        "SELECT carrier, month, dep_delay FROM source WHERE dep_delay IS NOT NULL",
        " ",
        "jobs/x.toml:15: key `transform.sql`: expected a SELECT over the table `source`, found nothing",
    ),
    (
        "\"delay_by_carrier\"",
        "\"_jobs\"",
        "jobs/x.toml:18: key `merge.store`: names beginning with `_` are the system's own, found \
         `_jobs`",
    ),
    (
        "[\"carrier\", \"month\"]",
        "[]",
        "jobs/x.toml:19: key `merge.key`: expected at least one column, found none; for a total over all \
         rows, select a constant column in `transform.sql`",
    ),
    (
        "[\"carrier\", \"month\"]",
        "[\"carrier\", \"carrier\"]",
        "jobs/x.toml:19: key `merge.key`: column `carrier` is named twice",
    ),
    (
        "sum(dep_delay)",
        "total(dep_delay)",
        "jobs/x.toml:22: key `merge.values.delay_sum`: unknown operator `total`; expected one of \
         `count`, `sum`, `min`, `max`, `avg`, `first`, `last`, `bit_or`, `collect_set`, `approx_distinct`, \
         `approx_quantile`, `top_k`, `histogram`, `bool_and`, `bool_or`, `var_pop`, `var_samp`, `stddev_pop`, \
         `stddev_samp`, `any`",
    ),
    (
        "max(dep_delay)",
        "approx_quantile(dep_delay, 95)",
        "jobs/x.toml:23: key `merge.values.delay_max`: expected a quantile from 0 to 1 with at most six decimal \
         places, as 0.95, found `95`",
    ),
    (
        "max_attempts = 4",
        "max_attempts = 0",
        "jobs/x.toml:26: key `run.max_attempts`: expected an integer from 1 to 1000, found `0`",
    ),
    (
        "\"30s\"",
        "\"half a minute\"",
        "jobs/x.toml:27: key `run.lease`: expected a duration such as \"30s\", found `half a minute`",
    ),
    (
        "\"30s\"",
        "\"10ms\"",
        "jobs/x.toml:27: key `run.lease`: expected a duration from 100ms to 24h, found 10ms",
    ),
    (
        "lease        = \"30s\"",
        "timeout = \"99ms\"",
        "jobs/x.toml:27: key `run.timeout`: expected a duration from 100ms to 8760h, found 99ms",
    ),
    (
        "lease        = \"30s\"",
        "deadline = \"8761h\"",
        "jobs/x.toml:27: key `run.deadline`: expected a duration from 100ms to 8760h, found 8761h",
    ),
    (
        "lease        = \"30s\"",
        "priority = -101",
        "jobs/x.toml:27: key `run.priority`: expected an integer from -100 to 100, found `-101`",
    ),
    // Contradictions.
    (
        "[run]",
        "[upsert]\nstore = \"s\"\nkey = [\"a\"]\n[run]",
        "jobs/x.toml:25: key `upsert`: a job has either `[merge]` or `[upsert]`, found both",
    ),
    (
        "[run]",
        "[command]\nargv = [\"python3\"]\n[run]",
        "jobs/x.toml:25: key `command`: a job has either `[transform]` or `[command]`, found both",
    ),
    (
        "on_error   = \"fail\"",
        "shard_len = 5",
        "jobs/x.toml:8: key `source.shard_len`: format `csv` does not use it; it is a key of `range`",
    ),
    (
        "\"csv\"",
        "\"parquet\"",
        "jobs/x.toml:7: key `source.null_values`: format `parquet` does not use it; it is a key of `csv` \
         and `tsv`",
    ),
    (
        "on_error   = \"fail\"",
        "delimiter = \"||\"",
        "jobs/x.toml:8: key `source.delimiter`: expected one ASCII character, neither a newline nor NUL, \
         found `||`",
    ),
    (
        "on_error   = \"fail\"",
        "quote = \",\"",
        "jobs/x.toml:8: key `source.quote`: expected a character other than the delimiter",
    ),
];

#[test]
fn refusals_name_file_line_key_and_what_was_expected() {
    for (old, new, message) in REFUSALS {
        assert!(CONTRACT.contains(old), "the contract's file has no {old:?}");
        let found = parse(&CONTRACT.replacen(old, new, 1)).unwrap_err();
        // What the TOML parser says is its own; the place is ours.
        let open = message.ends_with("not valid TOML: ");
        assert!(
            if open {
                found.starts_with(message)
            } else {
                found == *message
            },
            "{found}"
        );
        assert!(!found.contains('\n'), "more than one line: {found}");
    }
}

#[test]
fn a_job_without_a_sink_is_refused() {
    let text = &CONTRACT[..CONTRACT.find("[transform]").unwrap()];
    assert_eq!(
        parse(text).unwrap_err(),
        "jobs/x.toml:1: key `merge`: missing; expected a table `[merge]` or `[upsert]`, or a `[transform]` whose `sql` \
         groups rows"
    );
    assert_eq!(
        parse("name = 'x'").unwrap_err(),
        "jobs/x.toml:1: key `source`: missing; expected a table `[source]`"
    );
}

#[test]
fn limits_hold_at_their_edges() {
    let with = |old: &str, new: &str| parse(&CONTRACT.replacen(old, new, 1));
    for bytes in [SHARD_SIZE_MIN, SHARD_SIZE_MAX] {
        let spec = with("\"8MiB\"", &bytes.to_string()).unwrap();
        assert_eq!(spec.source.unwrap().shard_size, bytes);
    }
    assert!(with("\"8MiB\"", &(SHARD_SIZE_MAX + 1).to_string()).is_err());
    assert!(with("= 4", &format!("= {ATTEMPTS_MAX}")).is_ok());
    assert!(with("= 4", &format!("= {}", ATTEMPTS_MAX + 1)).is_err());
    assert!(with("= 4", &format!("= {}", i64::MAX)).is_err());
    assert!(with("\"30s\"", "\"100ms\"").is_ok());
    assert!(with("\"30s\"", "\"24h\"").is_ok());
    assert!(with("\"30s\"", "\"25h\"").is_err());
}

#[test]
fn files_that_cannot_be_read_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    let found = JobFile::load(&missing).unwrap_err();
    assert!(
        found
            .to_string()
            .starts_with(&format!("{}: cannot be read: ", missing.display()))
    );

    let latin = dir.path().join("latin.toml");
    std::fs::write(&latin, b"name = 'x'\n# gr\xfc\xdfe\n").unwrap();
    let found = JobFile::load(&latin).unwrap_err();
    assert_eq!(
        found.to_string(),
        format!("{}:2: expected UTF-8", latin.display())
    );

    let huge = dir.path().join("huge.toml");
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(JOB_FILE_LEN_MAX + 1)
        .unwrap();
    let found = JobFile::load(&huge).unwrap_err();
    assert!(
        found.message().starts_with("a job file is at most"),
        "{found}"
    );
}

#[test]
fn later_findings_name_the_place_of_their_key() {
    let file = JobFile::parse(Path::new("jobs/x.toml"), CONTRACT).unwrap();
    assert_eq!(file.dir(), Path::new("jobs"));
    assert_eq!(
        file.error("transform.sql", "no column `x`").to_string(),
        "jobs/x.toml:15: key `transform.sql`: no column `x`"
    );
    assert_eq!(file.line("merge.values.delay_max"), 23);
    assert_eq!(file.line("source.quote"), 3);
    assert_eq!(file.line("upsert.store"), 1);
}

#[test]
fn a_query_alone_is_an_answer() {
    let text = &CONTRACT[..CONTRACT.find("[merge]").unwrap()];
    let sink = |text: &str| parse(text).map(|spec| spec.sink.unwrap());
    let answer = |store: &str| {
        Sink::Answer(AnswerSpec {
            store: store.to_owned(),
        })
    };
    assert_eq!(sink(text).unwrap(), answer("delay-by-carrier"));
    let named = format!("{text}\n[result]\nstore = 'delays'\n");
    assert_eq!(sink(&named).unwrap(), answer("delays"));
    let error = |text: &str| parse(text).unwrap_err();
    let system = format!("{text}\n[result]\nstore = '_jobs'\n");
    assert!(
        error(&system).contains("key `result.store`"),
        "{}",
        error(&system)
    );
    let both = format!("{CONTRACT}\n[result]\nstore = 'x'\n");
    assert!(
        error(&both).contains("one of `[merge]`, `[upsert]` and `[result]`"),
        "{}",
        error(&both)
    );
    let system = text.replacen("delay-by-carrier", "_x", 1);
    assert!(error(&system).contains("key `name`"), "{}", error(&system));
}

#[test]
fn a_scope_that_says_nothing_new_is_encoded_as_none() {
    let scoped =
        |scope: &str| CONTRACT.replacen("[transform]", &format!("[transform]\n{scope}"), 1);
    let of = |text: &str| fingerprint(&parse(text).unwrap());
    assert_eq!(of(&scoped("scope = 'source'")), of(CONTRACT));
    assert_ne!(of(&scoped("scope = 'shard'")), of(CONTRACT));
    let error = parse(&scoped("scope = 'file'")).unwrap_err();
    assert!(
        error.contains("key `transform.scope`") && error.contains("\"shard\""),
        "{error}"
    );
}

#[test]
fn inputs_are_names_of_other_jobs() {
    let with = |after: &str| parse(&CONTRACT.replace("[run]", &format!("[run]\nafter = {after}")));
    let names = |after: &str| with(after).unwrap().run.unwrap().after;
    assert_eq!(names("[]"), [""; 0]);
    assert_eq!(names(r#"["b", "a", "b"]"#), ["a", "b"]);
    // None is what was meant before there were any.
    assert_eq!(
        fingerprint(&with("[]").unwrap()),
        fingerprint(&parse(CONTRACT).unwrap())
    );
    for (after, told) in [
        (
            r#""a""#,
            "expected an array of names of jobs such as [\"clean\"]",
        ),
        (
            "[1]",
            "expected an array of names of jobs such as [\"clean\"]",
        ),
        (r#"["a/b"]"#, "a job's name has ASCII letters"),
        (
            r#"[""]"#,
            "expected the name of a job, found an empty string",
        ),
        (
            r#"["delay-by-carrier"]"#,
            "job `delay-by-carrier` cannot come after itself",
        ),
    ] {
        let refused = with(after).unwrap_err();
        assert!(
            refused.starts_with("jobs/x.toml:26: key `run.after"),
            "{after}: {refused}"
        );
        assert!(refused.contains(told), "{after}: {refused}");
    }
    let many = |count: usize| -> String {
        let names: Vec<String> = (0..count).map(|n| format!("\"j{n}\"")).collect();
        format!("[{}]", names.join(", "))
    };
    assert_eq!(names(&many(INPUTS_MAX)).len(), INPUTS_MAX);
    let refused = with(&many(INPUTS_MAX + 1)).unwrap_err();
    assert!(
        refused.contains("expected at most 256 jobs, found 257"),
        "{refused}"
    );
}

#[test]
fn an_export_has_a_folder_a_format_and_columns_for_folders() {
    let (head, _) = CONTRACT.split_once("[merge]").unwrap();
    let with = |keys: &str| parse(&format!("{head}[export]\n{keys}\n"));
    let read = |keys: &str| match with(keys).unwrap().sink {
        Some(Sink::Export(export)) => export,
        other => panic!("{other:?}"),
    };
    let export = read("to = \"out\"");
    assert_eq!(
        (export.to.as_str(), export.format()),
        ("out", ExportFormat::Parquet)
    );
    let export = read("to = \"out\"\nformat = \"csv\"\npartition_by = [\"year\", \"month\"]");
    assert_eq!(export.format(), ExportFormat::Csv);
    assert_eq!(export.partition_by, ["year", "month"]);
    for (keys, told) in [
        (
            "",
            "key `export.to`: missing; expected a string, the folder that takes the files",
        ),
        (
            "to = 1",
            "key `export.to`: expected a string, the folder that takes the files",
        ),
        (
            "to = \"\"",
            "key `export.to`: expected the path of a folder, found an empty string",
        ),
        (
            "to = \"s3://b/p\"",
            "key `export.to`: expected a folder of a file system that all workers share",
        ),
        (
            "to = \"o\"\nformat = \"parquett\"",
            "expected \"parquet\" or \"csv\", found `parquett` (did you mean `parquet`?)",
        ),
        (
            "to = \"o\"\npartition_by = \"year\"",
            "expected an array of column names such as [\"year\"]",
        ),
        (
            "to = \"o\"\npartition_by = [\"a\", \"a\"]",
            "column `a` is named twice",
        ),
        ("to = \"o\"\nkind = 1", "kind"),
    ] {
        let refused = with(keys).unwrap_err();
        assert!(refused.contains(told), "{keys}: {refused}");
    }
    let columns = |count: usize| -> String {
        let names: Vec<String> = (0..count).map(|n| format!("\"c{n}\"")).collect();
        format!("to = \"o\"\npartition_by = [{}]", names.join(", "))
    };
    assert_eq!(read(&columns(PARTITION_COLUMNS_MAX)).partition_by.len(), 8);
    let refused = with(&columns(PARTITION_COLUMNS_MAX + 1)).unwrap_err();
    assert!(
        refused.contains("expected at most 8 columns, found 9"),
        "{refused}"
    );
    let refused = parse(&format!("{CONTRACT}[export]\nto = \"o\"\n")).unwrap_err();
    assert!(
        refused.contains("a job has one target, found `[export]` and `[merge]`"),
        "{refused}"
    );
}

#[test]
fn a_job_does_not_read_the_store_that_it_writes() {
    let job = |source: &str, sink: &str| {
        let text = format!(
            "name = 'j'\n[source]\nformat = 'store'\nstore = '{source}'\n[upsert]\nstore = '{sink}'\nkey = ['k']\n"
        );
        JobFile::parse(Path::new("j.toml"), &text)
    };
    assert_eq!(
        job("a", "b").unwrap().spec().source.as_ref().unwrap().store,
        "a"
    );
    let told = |source, sink| job(source, sink).unwrap_err().to_string();
    assert_eq!(
        told("a", "a"),
        "j.toml:4: key `source.store`: the job writes store `a` and cannot read it, too; expected its results in \
         another store"
    );
    assert!(told("_jobs", "a").contains("names beginning with `_` are the system's own"));
    let answer = "name = 'a'\n[source]\nformat = 'store'\nstore = 'a'\n[transform]\nsql = 'SELECT count(*) FROM source'\n";
    let refused = JobFile::parse(Path::new("j.toml"), answer).unwrap_err();
    assert!(
        refused.to_string().contains("key `source.store`"),
        "{refused}"
    );
}

#[test]
fn a_mode_is_once_or_incremental() {
    let with = |mode: &str| parse(&CONTRACT.replace("[run]", &format!("[run]\nmode = {mode}")));
    assert!(super::is_incremental(&with("\"incremental\"").unwrap()));
    // The default is what was meant before there were any.
    let once = with("\"once\"").unwrap();
    assert_eq!(fingerprint(&once), fingerprint(&parse(CONTRACT).unwrap()));
    for (mode, told) in [
        ("1", "expected \"once\" or \"incremental\""),
        (
            "\"increment\"",
            "expected \"once\" or \"incremental\", found `increment`",
        ),
    ] {
        let refused = with(mode).unwrap_err();
        assert!(
            refused.starts_with("jobs/x.toml:26: key `run.mode`: "),
            "{refused}"
        );
        assert!(refused.contains(told), "{refused}");
    }
    let answer = "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"*.csv\"]\n[transform]\nsql = \"SELECT count(*) AS n \
                  FROM source\"\n[run]\nmode = \"incremental\"\n";
    let refused = parse(answer).unwrap_err();
    assert!(
        refused.contains("the answer of a query is over all files at once"),
        "{refused}"
    );
    let range = "name = \"j\"\n[source]\nformat = \"range\"\nfrom = 0\nto = 9\nshard_len = 3\n[upsert]\nstore = \"s\"\n\
                 key = [\"i\"]\n[run]\nmode = \"incremental\"\n";
    let refused = parse(range).unwrap_err();
    assert!(
        refused.contains("expected a source with `paths`"),
        "{refused}"
    );
}

#[test]
fn an_upsert_has_a_column_for_its_version() {
    let (head, _) = CONTRACT.split_once("[merge]").unwrap();
    let with = |version: &str| {
        parse(&format!(
            "{head}[upsert]\nstore = \"s\"\nkey = [\"k\"]\n{version}\n"
        ))
    };
    match with("version = \"v\"").unwrap().sink {
        Some(Sink::Upsert(upsert)) => assert_eq!(upsert.version, "v"),
        other => panic!("{other:?}"),
    }
    for (version, told) in [
        (
            "version = 1",
            "key `upsert.version`: expected a string, the name of a column",
        ),
        (
            "version = \"\"",
            "key `upsert.version`: expected a name, found an empty string",
        ),
    ] {
        let refused = with(version).unwrap_err();
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn a_delete_has_a_store_a_key_and_perhaps_a_version() {
    let (head, _) = CONTRACT.split_once("[merge]").unwrap();
    let with = |keys: &str| parse(&format!("{head}[delete]\n{keys}\n"));
    match with("store = \"s\"\nkey = [\"k\"]\nversion = \"v\"")
        .unwrap()
        .sink
    {
        Some(Sink::Delete(delete)) => assert_eq!(delete.version, "v"),
        other => panic!("{other:?}"),
    }
    for (keys, told) in [
        ("key = [\"k\"]", "key `delete.store`: missing"),
        ("store = \"s\"", "key `delete.key`: missing"),
        (
            "store = \"_s\"\nkey = [\"k\"]",
            "names beginning with `_` are the system's own",
        ),
        (
            "store = \"s\"\nkey = [\"k\"]\nversion = 3",
            "key `delete.version`: expected a string",
        ),
        (
            "store = \"s\"\nkey = [\"k\"]\n[upsert]\nstore = \"s\"",
            "a job has one target, found `[delete]` and `[upsert]`",
        ),
    ] {
        let refused = with(keys).unwrap_err();
        assert!(refused.contains(told), "{keys}: {refused}");
    }
}
