//! Values that the type of their column cannot hold.

use serde_json::{Value, json};

use super::super::support::{Ended, Place};
use super::{fault, records, run};

/// The key of each record and its value `n`.
fn counts(place: &Place) -> Vec<(Value, Value)> {
    let records = records(place).into_iter();
    records
        .map(|(key, value)| (key, value["n"].clone()))
        .collect()
}

#[test]
fn a_late_epoch_is_no_timestamp() {
    let place = fault("late-epoch-in-timestamp");
    run(&place).with_code(1).told(&[
        "`a.jsonl`: line 1101",
        "(`k`)",
        "expected timestamp, found `1704067200`",
        "add `k = \"string\"` to [source.schema]",
    ]);
}

#[test]
fn a_late_time_of_day_is_no_date() {
    let place = fault("late-time-in-date-csv");
    run(&place).with_code(1).told(&[
        "`a.csv`: line 1102",
        "(`k`)",
        "expected date, found `2024-01-01T23:59:59`",
        "add `k = \"timestamp\"` to [source.schema]",
    ]);
    // The line that the message names mends it.
    mend(&place, "k = \"timestamp\"");
    run(&place).done();
    let at = |text: &str| json!({"$ts": text});
    let expected = [
        (at("2024-01-01T00:00:00Z"), json!(1100)),
        (at("2024-01-01T23:59:59Z"), json!(1)),
        (at("2024-01-02T10:00:00Z"), json!(1)),
    ];
    assert_eq!(counts(&place), expected);
}

/// The same job under another name and over another store, with a line of `[source.schema]`.
fn mend(place: &Place, line: &str) {
    let job = std::fs::read_to_string(place.path("job.toml")).unwrap();
    let job = job.replace("name = \"j\"", "name = \"mended\"");
    let job = job.replace("store = \"t\"", "store = \"t\"\n");
    place.write(
        "job.toml",
        job.replace(
            "[transform]",
            &format!("[source.schema]\n{line}\n[transform]"),
        ),
    );
    // Results of a failed shard are none, so the store is as good as new; a fresh database is surer.
    std::fs::remove_dir_all(place.db()).unwrap();
}

#[test]
fn a_late_number_is_no_date() {
    let place = fault("late-number-and-time-in-date-jsonl");
    let told = [
        "`a.jsonl`: line 1101",
        "(`k`)",
        "expected date, found `19723`",
    ];
    run(&place).with_code(1).told(&told);
}

#[test]
fn a_number_is_no_date_without_its_unit() {
    let place = fault("date-from-number-jsonl");
    let told = [
        "`a.jsonl`: line 1",
        "(`k`)",
        "expected date, found `20240101`",
        "date(unit=days)",
    ];
    run(&place).with_code(1).told(&told);
}

#[test]
fn a_late_string_is_no_integer() {
    let place = fault("late-string-in-int-jsonl");
    let found = "expected int64, found `\\\"007\\\"`";
    let told = [
        "`a.jsonl`: line 1501",
        "(`v`)",
        found,
        "add `v = \"string\"` to [source.schema]",
    ];
    run(&place).with_code(1).told(&told);
    mend(&place, "v = \"string\"");
    run(&place).done();
    let keys: Vec<Value> = records(&place).into_iter().map(|(key, _)| key).collect();
    assert!(
        keys.contains(&json!("007")) && keys.contains(&json!("1")),
        "{keys:?}"
    );
}

#[test]
fn a_late_member_is_told_or_counted() {
    let place = fault("late-member-lost-jsonl");
    let told = [
        "`a.jsonl`: line ",
        "(`w`)",
        "found `w`",
        "on_new_columns = \"ignore\"",
    ];
    run(&place).with_code(1).told(&told);
    ignore_new_columns(&place);
    run(&place).done();
    let report = place.call(&["job", "show", "j2", "--json"]).done().json();
    assert_eq!(report["values_ignored"], 1);
    let shown = place.call(&["job", "show", "j2"]).done().stdout;
    assert!(
        shown.contains("1 value of members that are no columns"),
        "{shown}"
    );
}

#[test]
fn a_new_column_in_a_later_file_is_told_or_counted() {
    let place = fault("new-column-in-second-file-jsonl");
    let told = ["`b.jsonl`: line 1", "(`tip`)", "found `tip`"];
    run(&place).with_code(1).told(&told);
    ignore_new_columns(&place);
    run(&place).done();
    let report = place.call(&["job", "show", "j2", "--json"]).done().json();
    assert_eq!(report["values_ignored"], 3);
}

fn ignore_new_columns(place: &Place) {
    let job = std::fs::read_to_string(place.path("job.toml")).unwrap();
    let job = job.replace("name = \"j\"", "name = \"j2\"");
    place.write(
        "job.toml",
        job.replace("[upsert]", "on_new_columns = \"ignore\"\n[upsert]"),
    );
    std::fs::remove_dir_all(place.db()).unwrap();
}

#[test]
fn big_integers_stay_apart_as_keys() {
    let place = fault("big-integer-keys-collapse-jsonl");
    run(&place).done();
    let expected = [
        "18446744073709551616",
        "9007199254740992",
        "9007199254740993",
    ];
    assert_eq!(counts(&place), expected.map(|key| (json!(key), json!(1))));
}

#[test]
fn big_integers_are_not_added_as_floats() {
    let place = fault("big-integer-sum-float-jsonl");
    run(&place).done();
    let sums: Vec<Value> = records(&place)
        .into_iter()
        .map(|(_, value)| value["s"].clone())
        .collect();
    let dec = |text: &str| json!({"$dec": text});
    assert_eq!(
        sums,
        [
            dec("9007199254740994"),
            dec("123456789012345678901234567890")
        ]
    );
}

#[test]
fn decimals_are_refused_or_rounded_but_not_cut() {
    let place = fault("decimal-truncated");
    let told = [
        "`a.csv`: line 2",
        "(`v`)",
        "expected decimal(10,2), found `0.019`",
        "decimal(10,2,round)",
    ];
    run(&place).with_code(1).told(&told);
    let job = std::fs::read_to_string(place.path("job.toml")).unwrap();
    let job = job.replace("name = \"j\"", "name = \"j2\"");
    place.write(
        "job.toml",
        job.replace("decimal(10,2)", "decimal(10,2,round)"),
    );
    std::fs::remove_dir_all(place.db()).unwrap();
    run(&place).done();
    assert_eq!(records(&place)[0].1["s"], json!({"$dec": "0.04"}));
}

#[test]
fn leading_zeros_make_text() {
    let place = fault("leading-zeros");
    run(&place).done();
    let sums: Vec<(Value, Value)> = records(&place)
        .into_iter()
        .map(|(key, value)| (key, value["s"].clone()))
        .collect();
    assert_eq!(
        sums,
        [("00501", 4), ("01730", 1), ("1730", 2)].map(|(key, sum)| (json!(key), json!(sum)))
    );
}

/// Nothing tells the type of a column whose first rows are all NULL.
#[test]
fn a_first_value_that_comes_late_needs_its_type() {
    let job = |format: &str, schema: &str| {
        format!(
            "name = \"j\"\n[source]\nformat = \"{format}\"\npaths = [\"x.{format}\"]\n{schema}[merge]\nstore = \"t\"\nkey = [\"k\"]\n\
             [merge.values]\nm = \"max(v)\"\n"
        )
    };
    let csv = |last: &str| format!("k,v\n{}{last}", "x,\n".repeat(1000));
    let jsonl = |last: &str| format!("{}{last}", "{\"k\":\"x\",\"v\":null}\n".repeat(1000));
    for (format, text, found, declared) in [
        ("csv", csv("x,5\nx,10\n"), "`5`", "int64"),
        ("csv", csv("x,2024-01-01\n"), "`2024-01-01`", "date"),
        ("csv", csv("x,1.5\n"), "`1.5`", "float64"),
        ("jsonl", jsonl("{\"k\":\"x\",\"v\":5}\n"), "`5`", "int64"),
    ] {
        let place = Place::new();
        place.write(&format!("x.{format}"), &text);
        place.write("job.toml", job(format, ""));
        let remedy = format!("add `v = \"{declared}\"` to [source.schema]");
        run(&place)
            .with_code(1)
            .told(&["(`v`)", found, "the first rows have no value", &remedy]);
    }
    let place = Place::new();
    place.write("x.csv", csv("x,5\nx,10\n"));
    place.write("job.toml", job("csv", "[source.schema]\nv = \"int64\"\n"));
    run(&place).done();
    assert_eq!(records(&place)[0].1["m"], 10);
    // Text is text.
    let place = Place::new();
    place.write("x.csv", csv("x,late\nx,007\n"));
    place.write("job.toml", job("csv", ""));
    run(&place).done();
    assert_eq!(records(&place)[0].1["m"], "late");
}

/// A column of codes becomes numbers only where nothing could tell `007` from `7`.
#[test]
fn codes_that_are_looked_at_stay_text() {
    let job = |sql: &str, sink: &str| {
        format!(
            "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"x.csv\"]\n[transform]\nsql = \"\"\"{sql}\"\"\"\n{sink}"
        )
    };
    let merge = "[merge]\nstore = \"t\"\nkey = [\"k\"]\n[merge.values]\ns = \"sum(v)\"\n";
    let place = Place::new();
    place.write("x.csv", "zip,v\n01730,1\n1730,2\n");
    for (sql, sink) in [
        ("SELECT zip AS k, zip + 0 AS v FROM source", merge),
        ("SELECT zip AS k, zip AS v FROM source", merge),
        (
            "SELECT 'all' AS k, zip AS v FROM source WHERE zip <> '1730'",
            merge,
        ),
        (
            "SELECT zip, avg(zip), count(*) FROM source GROUP BY zip",
            "",
        ),
        ("SELECT DISTINCT zip FROM source WHERE abs(zip) > 0", ""),
    ] {
        place.write("job.toml", job(sql, sink));
        let ended = run(&place)
            .with_code(2)
            .told(&["`zip` is text because of its leading zeros"]);
        assert!(ended.stderr.contains("CAST(zip AS BIGINT)"), "{ended:#?}");
    }
    // Cast where it is meant, and text everywhere else.
    let cast = "SELECT zip AS k, CAST(zip AS BIGINT) AS v FROM source";
    place.write("job.toml", job(cast, merge));
    run(&place).done();
    let keys = records(&place).into_iter().map(|(key, _)| key);
    assert_eq!(keys.collect::<Vec<_>>(), ["01730", "1730"]);
    // Only added up, it is numbers.
    let place = Place::new();
    place.write("x.csv", "zip,v\n01730,1\n1730,2\n");
    place.write(
        "job.toml",
        job("SELECT 'all' AS k, zip AS v FROM source", merge),
    );
    run(&place).done();
    assert_eq!(records(&place)[0].1["s"], 3460);
}

/// A place with `text` as the file `x.FORMAT` and a job that counts the values of `k`; `schema` declares types.
fn counting(format: &str, text: &str, schema: &str) -> Place {
    let place = Place::new();
    place.write(&format!("x.{format}"), text);
    let schema = if schema.is_empty() {
        String::new()
    } else {
        format!("[source.schema]\n{schema}\n")
    };
    let job = format!(
        "name = \"j\"\n[source]\nformat = \"{format}\"\npaths = [\"x.{format}\"]\n{schema}\
         [transform]\nsql = \"SELECT k FROM source\"\n\
         [merge]\nstore = \"t\"\nkey = [\"k\"]\n[merge.values]\nn = \"count()\"\n"
    );
    place.write("job.toml", job);
    place
}

fn keys(format: &str, text: &str, schema: &str) -> Vec<Value> {
    let place = counting(format, text, schema);
    run(&place).done();
    records(&place).into_iter().map(|(key, _)| key).collect()
}

fn refusal(format: &str, text: &str, schema: &str) -> Ended {
    run(&counting(format, text, schema)).with_code(1)
}

#[test]
fn a_late_value_is_held_exactly_or_names_the_line_that_takes_it() {
    let csv =
        |first: &str, late: &str| format!("k,v\n{}{late},1\n", format!("{first},1\n").repeat(1000));
    let jsonl = |first: &str, late: &str| {
        format!(
            "{}{{\"k\":{late}}}\n",
            format!("{{\"k\":{first}}}\n").repeat(1000)
        )
    };
    for (first, late, declared) in [
        ("7", "007", "string"),
        ("7", "+5", "string"),
        ("7", "1_000", "string"),
        ("7", "1e3", "float64"),
        ("7", "-0", "float64"),
        ("7", "9223372036854775808", "string"),
        ("7", "18446744073709551616", "string"),
        ("1.5", "9007199254740993", "string"),
        ("1.5", "3.141592653589793238", "string"),
        ("1.5", "1e400", "string"),
        ("1.5", "007", "string"),
        ("1.5", "NaN", "float64"),
        ("true", "yes", "string"),
        ("true", "1", "string"),
        ("2024-01-01", "2024-02-30", "string"),
        ("2024-01-01", "19723", "string"),
        ("2024-01-01T10:00:00Z", "2024-01-01T11:00:00", "timestamp"),
        (
            "2024-01-01T10:00:00",
            "2024-01-01T10:00:00+02:00",
            "timestamp",
        ),
        ("2024-01-01T10:00:00", "2024-01-02", "timestamp"),
        (
            "2024-01-01T10:00:00",
            "2024-01-01T10:00:00.1234567",
            "string",
        ),
        ("2024-01-01T10:00:00", "2024-01-01T23:59:60", "string"),
    ] {
        let hint = format!("add `k = \"{declared}\"` to [source.schema]");
        refusal("csv", &csv(first, late), "").told(&["`x.csv`: line 1002, column 1 (`k`)", &hint]);
        assert_eq!(
            keys("csv", &csv(first, late), &format!("k = \"{declared}\"")).len(),
            2,
            "{late}"
        );
    }
    for (first, late, declared) in [
        ("7", "\"007\"", "string"),
        ("7", "\"7\"", "string"),
        ("7", "1.0", "float64"),
        ("7", "true", "string"),
        ("7", "[1]", "json"),
        ("\"a\"", "7", "string"),
        ("\"a\"", "{\"b\":1}", "json"),
        ("1.5", "\"NaN\"", "string"),
        ("true", "\"true\"", "string"),
        ("\"2024-01-01\"", "19723", "string"),
        ("\"2024-01-01T10:00:00Z\"", "1704067200", "string"),
    ] {
        let hint = format!("add `k = \"{declared}\"` to [source.schema]");
        refusal("jsonl", &jsonl(first, late), "").told(&[
            "`x.jsonl`: line 1001, column ",
            "(`k`)",
            &hint,
        ]);
    }
}

#[test]
fn values_of_several_kinds_stay_apart() {
    assert_eq!(
        keys(
            "jsonl",
            "{\"k\":1}\n{\"k\":\"a\"}\n{\"k\":1.0}\n{\"k\":true}\n{\"k\":\"007\"}\n",
            ""
        ),
        ["007", "1", "1.0", "a", "true"]
    );
    let both = "{\"k\":1}\n{\"k\":\"1\"}\n";
    let told = [
        "`x.jsonl`: line 2",
        "(`k`)",
        "add `k = \"json\"` to [source.schema]",
    ];
    refusal("jsonl", both, "").told(&told);
    assert_eq!(keys("jsonl", both, "k = \"json\""), ["\"1\"", "1"]);
    let nested =
        "{\"k\":{\"a\": 1.00}}\n{\"k\":[9007199254740993]}\n{\"k\":null}\n{}\n{\"k\":\"\"}\n";
    let expected = [
        json!(null),
        json!("\"\""),
        json!("[9007199254740993]"),
        json!("{\"a\": 1.00}"),
    ];
    assert_eq!(keys("jsonl", nested, ""), expected);
}

#[test]
fn a_declaration_says_what_text_means() {
    assert_eq!(keys("csv", "k,v\n007,1\n+7,1\n7,1\n", "k = \"int64\""), [7]);
    assert_eq!(
        keys("jsonl", "{\"k\":\"7\"}\n{\"k\":7}\n", "k = \"int64\""),
        [7]
    );
    refusal("jsonl", "{\"k\":\"007\"}\n", "k = \"int64\"").told(&["line 1", "expected int64"]);
    refusal("csv", "k,v\n9007199254740993,1\n", "k = \"float64\"")
        .told(&["line 2", "expected float64"]);
    refusal("csv", "k,v\n300,1\n", "k = \"uint8\"").told(&["line 2", "expected uint8"]);
    let day = json!({"$ts": "2024-01-01T00:00:00Z"});
    let noon = json!({"$ts": "2024-01-01T12:30:00.5Z"});
    for (text, declared, key) in [
        (
            "31/12/2023 23:59",
            "\"timestamp(format=%d/%m/%Y %H:%M)\"",
            json!({"$ts": "2023-12-31T23:59:00Z"}),
        ),
        (
            "01/01/2024",
            "{ type = \"timestamp\", format = \"%d/%m/%Y\" }",
            day.clone(),
        ),
        ("1704067200", "\"timestamp(unit=s)\"", day.clone()),
        ("1704112200.5", "\"timestamp(unit=s)\"", noon.clone()),
        (
            "1704112200500",
            "{ type = \"timestamp\", unit = \"ms\" }",
            noon.clone(),
        ),
        ("1704112200500000000", "\"timestamp(unit=ns)\"", noon),
    ] {
        assert_eq!(
            keys(
                "csv",
                &format!("k,v\n{text},1\n"),
                &format!("k = {declared}")
            ),
            [key],
            "{text}"
        );
    }
    assert_eq!(
        keys("jsonl", "{\"k\":1704067200}\n", "k = \"timestamp(unit=s)\""),
        [day]
    );
    refusal(
        "jsonl",
        "{\"k\":1704067200000000001}\n",
        "k = \"timestamp(unit=ns)\"",
    )
    .told(&["line 1"]);
    let place = counting("csv", "k,v\n1,1\n", "k = \"timestamp(format=%H:%M)\"");
    run(&place)
        .with_code(2)
        .told(&["job.toml:6", "source.schema.k", "does not tell a year"]);
}
