//! Jobs that come after others, as users see them; killed and resumed.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::kill::{Random, seed};
use crate::support::{Place, measurements};

/// Kills of a pipeline.
const KILLS: u32 = 12;

fn job(name: &str, after: &str) -> String {
    format!(
        r#"name = "{name}"
[source]
format = "csv"
paths = ["*.csv"]
shard_size = "2KiB"
[transform]
sql = "SELECT station, level FROM source"
[merge]
store = "{name}"
key = ["station"]
[merge.values]
rows = "count()"
total = "sum(level)"
[run]
after = {after}
"#
    )
}

fn place(rows: u32) -> Place {
    let place = Place::new();
    place.write("a.csv", measurements(rows));
    place.write("clean.toml", job("clean", "[]"));
    place.write("rates.toml", job("rates", "[\"clean\"]"));
    place.write("report.toml", job("report", "[\"clean\", \"rates\"]"));
    place
}

#[test]
fn a_pipeline_is_told_drawn_and_run_from_its_end() {
    let place = place(50);
    let plan = place.call(&["plan", "report.toml"]).done().stdout;
    assert!(plan.contains("after    clean, rates"), "{plan}");
    let waits = [
        "job `report` waits for job `clean` (not submitted yet)",
        "job `rates` (not submitted yet)",
    ];
    place
        .call(&["run", "report.toml"])
        .with_code(2)
        .told(&waits);
    assert_eq!(place.job("report")["state"], "pending");
    let shown = place.call(&["job", "show", "report"]).done().stdout;
    assert!(shown.contains("note      waits for job `clean`"), "{shown}");
    let graph = place.call(&["job", "graph"]).done().stdout;
    assert_eq!(
        graph,
        "clean: absent\nrates: absent\n  report: pending, after clean, rates\n"
    );
    place.call(&["submit", "rates.toml"]).done();
    place.call(&["submit", "clean.toml"]).done();
    let run = place.call(&["run", "report.toml"]).done();
    assert!(run.stdout.contains("report: done"), "{run:?}");
    let lines = place
        .call(&["job", "graph", "rates", "--svg", "g.svg", "--json"])
        .done();
    let told: Vec<String> = lines.json_lines().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            r#"{"name":"clean","state":"done","after":[],"depth":0}"#,
            r#"{"name":"rates","state":"done","after":["clean"],"depth":1}"#,
            r#"{"name":"report","state":"done","after":["clean","rates"],"depth":2}"#,
        ]
    );
    let drawn = std::fs::read_to_string(place.path("g.svg")).unwrap();
    assert_eq!(drawn.matches("<rect").count(), 3, "{drawn}");
    assert_eq!(drawn.matches("<path").count(), 3, "{drawn}");
    // A circle is refused with file, line and key; nothing is written.
    place.write("start.toml", job("start", "[\"start\"]"));
    let words = ["start.toml:15: key `run.after", "cannot come after itself"];
    place
        .call(&["submit", "start.toml"])
        .with_code(2)
        .told(&words);
    place
        .call(&["job", "graph", "nobody"])
        .with_code(2)
        .told(&["no job named `nobody`"]);
}

/// Whatever is killed between, the jobs end in their order and with the results of a run that nobody disturbed.
#[test]
fn a_pipeline_survives_kills() {
    let rows = 1500;
    let mut random = Random(seed());
    let undisturbed = place(rows);
    for name in ["clean", "rates", "report"] {
        undisturbed.call(&["run", &format!("{name}.toml")]).done();
    }
    let disturbed = place(rows);
    for name in ["report", "rates", "clean"] {
        disturbed.call(&["submit", &format!("{name}.toml")]).done();
    }
    for _ in 0..KILLS {
        let args = ["run", "report.toml", "--commit-interval", "0s"];
        let mut command = disturbed.command(&args);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The moment itself is what is being tried.
        sleep(Duration::from_millis(random.below(400)));
        child.kill().unwrap();
        child.wait().unwrap();
        let state = |name| disturbed.job(name)["state"].as_str().unwrap().to_owned();
        let (clean, rates, report) = (state("clean"), state("rates"), state("report"));
        assert!(
            clean == "done" || rates == "pending",
            "{clean}, {rates}, {report}"
        );
        assert!(
            rates == "done" || report == "pending",
            "{clean}, {rates}, {report}"
        );
    }
    disturbed.call(&["run", "report.toml"]).done();
    for store in ["clean", "rates", "report"] {
        assert_eq!(disturbed.records(store), undisturbed.records(store));
    }
    disturbed.call(&["db", "verify"]).done();
}
