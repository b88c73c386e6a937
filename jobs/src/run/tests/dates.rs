//! Dates in keys and values are dates; jobs that were recorded before there were any in stores go on with moments.

use std::fmt::Write as _;

use eciton_engine::{Datum, Db, Key};
use eciton_proto::prost::Message;
use eciton_proto::v1::Plan;

use super::support::{JobFolder, memory_db, options, records};
use crate::run::{End, run, submit};

const ROWS: &str = "k,day,at,v\na,2024-02-29,2024-02-29T10:00:00,1\nb,1969-12-31,2024-03-01T00:00:00,2\n\
                    a,2024-02-28,2024-03-01T00:00:00,3\nb,,2024-03-01T00:00:00,4\n";

/// The parts of a job file behind its source.
const JOBS: [(&str, &str); 4] = [
    (
        "merged",
        "[merge]\nstore = \"merged\"\nkey = [\"day\"]\n[merge.values]\nn = \"count()\"\nlast = \"max(day)\"\nfirst = \"min(at)\"\n",
    ),
    ("rows", "[upsert]\nstore = \"rows\"\nkey = [\"v\"]\n"),
    (
        "answer",
        "[transform]\nsql = \"SELECT k, max(day) AS last, min(at) AS first FROM source GROUP BY k\"\n",
    ),
    (
        "days",
        "[transform]\nsql = \"SELECT day, count(DISTINCT day) AS days FROM source WHERE day > DATE '1970-01-01' GROUP BY day\"\n",
    ),
];

fn text(name: &str, rest: &str) -> String {
    format!("name = \"{name}\"\n[source]\nformat = \"csv\"\npaths = [\"d.csv\"]\n{rest}")
}

/// The recorded plan of a job, changed as an earlier version wrote it.
async fn without_dates(db: &Db, name: &str) -> bool {
    let store = db.store("_jobs").await.unwrap().unwrap();
    let key = Key::from_datums(&["plan".into(), name.into()]).unwrap();
    let bytes = db.snapshot().get(&store, &key).await.unwrap().unwrap();
    let mut plan = Plan::decode(&bytes[..]).unwrap();
    let had_dates = std::mem::take(&mut plan.dates);
    let mut transaction = db.begin();
    transaction.put(&store, &key, plan.encode_to_vec()).unwrap();
    transaction.commit().await.unwrap();
    had_dates
}

/// Jobs whose stores are the same with and without dates in their values: those of earlier versions were made then.
const JOBS_OF_BEFORE: [(&str, &str); 3] = [
    (
        "merged",
        "[merge]\nstore = \"merged\"\nkey = [\"day\"]\n[merge.values]\nn = \"count()\"\nfirst = \"min(at)\"\n",
    ),
    ("rows", "[upsert]\nstore = \"rows\"\nkey = [\"v\"]\n"),
    (
        "days",
        "[transform]\nsql = \"SELECT day, count(*) AS n, min(at) AS first FROM source WHERE day > DATE '1970-01-01' GROUP BY day\"\n",
    ),
];

async fn results(jobs: &[(&str, &str)], is_of_before: bool) -> String {
    let place = JobFolder::new();
    place.write("d.csv", ROWS);
    let db = memory_db().await;
    let mut all = String::new();
    for (name, rest) in jobs {
        submit(&db, &place.job(&text(name, rest))).await.unwrap();
        if is_of_before {
            assert!(without_dates(&db, name).await, "{name} has dates");
        }
        let report = run(&db, name, options(2)).await.unwrap();
        assert_eq!(report.end, End::Done, "{name}: {:?}", report.status);
        let store = db.store(name).await.unwrap().unwrap();
        if store.is_merged() {
            for (key, value) in records(&db, name).await {
                writeln!(all, "{key} {value}").unwrap();
            }
            continue;
        }
        let mut scan = db.snapshot().scan(&store, &eciton_engine::ScanRange::all());
        while let Some(record) = scan.next().await.unwrap() {
            let value = String::from_utf8(record.value.to_vec()).unwrap();
            writeln!(all, "{} {value}", record.key).unwrap();
        }
    }
    all
}

#[tokio::test]
async fn dates_are_dates() {
    let all = results(&JOBS, false).await;
    let expected = r#"null {"n":1,"last":null,"first":{"$ts":"2024-03-01T00:00:00Z"}}
{"$date":"1969-12-31"} {"n":1,"last":{"$date":"1969-12-31"},"first":{"$ts":"2024-03-01T00:00:00Z"}}
{"$date":"2024-02-28"} {"n":1,"last":{"$date":"2024-02-28"},"first":{"$ts":"2024-03-01T00:00:00Z"}}
{"$date":"2024-02-29"} {"n":1,"last":{"$date":"2024-02-29"},"first":{"$ts":"2024-02-29T10:00:00Z"}}
1 {"k":"a","day":{"$date":"2024-02-29"},"at":{"$ts":"2024-02-29T10:00:00Z"}}
2 {"k":"b","day":{"$date":"1969-12-31"},"at":{"$ts":"2024-03-01T00:00:00Z"}}
3 {"k":"a","day":{"$date":"2024-02-28"},"at":{"$ts":"2024-03-01T00:00:00Z"}}
4 {"k":"b","day":null,"at":{"$ts":"2024-03-01T00:00:00Z"}}
"a" {"last":{"$date":"2024-02-29"},"first":{"$ts":"2024-02-29T10:00:00Z"}}
"b" {"last":{"$date":"1969-12-31"},"first":{"$ts":"2024-03-01T00:00:00Z"}}
{"$date":"2024-02-28"} {"days":1}
{"$date":"2024-02-29"} {"days":1}
"#;
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&all), sorted(expected));
}

#[tokio::test]
async fn jobs_from_before_there_were_dates_go_on_with_moments() {
    let now = results(&JOBS_OF_BEFORE, false).await;
    let before = results(&JOBS_OF_BEFORE, true).await;
    assert!(!before.contains("$date"), "{before}");
    // Each date is its midnight.
    let mut expected = String::new();
    let mut parts = now.split("{\"$date\":\"");
    expected.push_str(parts.next().unwrap());
    for part in parts {
        let (day, rest) = part.split_at(10);
        write!(expected, "{{\"$ts\":\"{day}T00:00:00Z{rest}").unwrap();
    }
    let mut sorted: Vec<&str> = expected.lines().collect();
    sorted.sort_unstable();
    let mut found: Vec<&str> = before.lines().collect();
    found.sort_unstable();
    assert_eq!(found, sorted);
}

#[tokio::test]
async fn a_job_without_dates_is_for_versions_that_know_none() {
    let place = JobFolder::new();
    place.write("d.csv", ROWS);
    let db = memory_db().await;
    let rest =
        "[transform]\nsql = \"SELECT k, v FROM source\"\n[upsert]\nstore = \"s\"\nkey = [\"v\"]\n";
    submit(&db, &place.job(&text("plain", rest))).await.unwrap();
    assert!(!without_dates(&db, "plain").await);
    assert_eq!(Datum::Date(0).to_json()["$date"], "1970-01-01");
}
