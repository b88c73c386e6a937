//! Recording rules and alerts: valid, tested, explained in the runbook, over metrics that exist.

use std::collections::BTreeSet;

use crate::{deploy, passed, text, tool};

/// The names of alerts.
fn alerts() -> Vec<String> {
    let text = text("prometheus/alerts.yaml");
    let names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// Names of metrics that workers have, with those that a histogram is made of.
pub(crate) fn metrics() -> BTreeSet<String> {
    let page = text("metrics.md");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `eciton_")?.split(" | ");
        let name = format!("eciton_{}", cells.next()?.trim_end_matches('`'));
        Some((name, cells.next()?.to_owned()))
    });
    let mut names = BTreeSet::new();
    for (name, kind) in rows {
        if kind == "histogram" {
            names.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        } else {
            names.insert(name);
        }
    }
    assert!(names.len() > 30, "{names:?}");
    names
}

/// Names of metrics that an expression uses.
pub(crate) fn used(expression: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c: char| !is_part(c));
    let ours = words.filter(|word| word.starts_with("eciton_"));
    ours.map(str::to_owned).collect()
}

#[test]
fn the_rules_are_valid_and_every_alert_is_tested_to_fire_and_to_be_silent() {
    for file in ["recording.yaml", "alerts.yaml"] {
        let path = deploy("prometheus").join(file);
        passed(tool("promtool").args(["check", "rules"]).arg(path));
    }
    let tests = deploy("prometheus/alerts_test.yaml");
    passed(tool("promtool").args(["test", "rules"]).arg(tests));
    let tested = text("prometheus/alerts_test.yaml");
    for alert in alerts() {
        let cases: Vec<&str> = tested
            .split("- alertname: ")
            .filter(|case| case.lines().next() == Some(alert.as_str()))
            .collect();
        let is_silent = |case: &&&str| case.contains("exp_alerts: []");
        let silent = cases.iter().filter(is_silent).count();
        assert!(silent >= 1, "{alert}: no moment at which it is silent");
        assert!(cases.len() > silent, "{alert}: no moment at which it fires");
    }
}

#[test]
fn the_configuration_of_prometheus_is_valid() {
    let file = deploy("prometheus/prometheus.yaml");
    // It names files that exist only where it runs.
    let check = ["check", "config", "--syntax-only"];
    passed(tool("promtool").args(check).arg(file));
}

#[test]
fn every_alert_has_a_section_in_the_runbook() {
    let runbook = text("RUNBOOK.md");
    let rules = text("prometheus/alerts.yaml");
    let sections: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|title| title.starts_with("Eciton"))
        .collect();
    let alerts = alerts();
    assert_eq!(sections, alerts.iter().map(String::as_str).collect());
    for alert in &alerts {
        let link = format!("runbook: RUNBOOK.md#{}", alert.to_lowercase());
        assert!(rules.contains(&link), "{alert}: no `{link}`");
        let (_, section) = runbook.split_once(&format!("### {alert}\n")).unwrap();
        let section = section.split("\n#").next().unwrap();
        for part in ["**Meaning.**", "**Confirm.**", "**Do.**"] {
            assert!(section.contains(part), "{alert}: no {part}");
        }
    }
}

#[test]
fn rules_use_metrics_that_workers_have() {
    let known = metrics();
    for file in ["prometheus/recording.yaml", "prometheus/alerts.yaml"] {
        let text = text(file);
        let lines = text.lines().filter(|line| !line.trim().starts_with('#'));
        let unknown: Vec<String> = lines
            .flat_map(used)
            .filter(|name| !known.contains(name))
            .collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}
