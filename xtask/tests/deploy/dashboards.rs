//! Writes the dashboards of Grafana from their sources, and compares. `cargo xtask renew-dashboards` keeps what is written.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::rules::{metrics, used};
use crate::{deploy, folder, passed, text, tool};

/// If set, the test writes the dashboards before it compares.
pub(crate) const RENEW: &str = "ECITON_RENEW_DASHBOARDS";
const NAMES: [&str; 3] = ["swarm", "engine", "storage"];
/// Columns of a dashboard.
const COLUMNS: u32 = 24;
/// The version of the format that Grafana 10 writes; later ones read it.
const SCHEMA_VERSION: u32 = 39;

/// A source.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dashboard {
    uid: String,
    title: String,
    description: String,
    variables: Vec<String>,
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    title: String,
    panel: Vec<Panel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    description: String,
    #[serde(default)]
    kind: Kind,
    unit: String,
    #[serde(default = "eight")]
    width: u32,
    #[serde(default = "eight")]
    height: u32,
    /// Whether series stand on each other.
    #[serde(default)]
    stack: bool,
    /// A larger value is shown in red.
    red_above: Option<f64>,
    query: Vec<Query>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Timeseries,
    Stat,
    Heatmap,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    expr: String,
    legend: String,
}

fn eight() -> u32 {
    8
}

fn source(name: &str) -> Dashboard {
    let path = format!("grafana/{name}.toml");
    toml::from_str(&text(&path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn data_source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn variable(name: &str) -> Value {
    let query = match name {
        "database" => "label_values(eciton_build_info, database)",
        "job" => "label_values(eciton_job_shards{database=~\"$database\"}, job)",
        "instance" => "label_values(eciton_build_info{database=~\"$database\"}, instance)",
        other => panic!("variable `{other}`: expected database, job or instance"),
    };
    json!({
        "name": name, "label": name, "type": "query", "datasource": data_source(),
        "query": {"query": query, "refId": name}, "definition": query,
        "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    })
}

fn panel(panel: &Panel, id: u32, x: u32, y: u32) -> Value {
    let letters = ('A'..='Z').map(String::from);
    let targets: Vec<Value> = panel
        .query
        .iter()
        .zip(letters)
        .map(|(query, letter)| {
            json!({
                "refId": letter, "datasource": data_source(), "editorMode": "code", "expr": query.expr,
                "legendFormat": query.legend, "range": true,
                "format": if panel.kind == Kind::Heatmap { "heatmap" } else { "time_series" },
            })
        })
        .collect();
    let mut steps = vec![json!({"color": "green", "value": null})];
    steps.extend(
        panel
            .red_above
            .map(|value| json!({"color": "red", "value": value})),
    );
    let mut defaults = json!({
        "unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps},
    });
    if panel.title.contains("in four hours") {
        defaults["min"] = Value::Null;
    }
    let (kind, options) = match panel.kind {
        Kind::Timeseries => {
            let stacking = if panel.stack { "normal" } else { "none" };
            defaults["custom"] = json!({
                "drawStyle": "line", "lineWidth": 1, "fillOpacity": if panel.stack { 30 } else { 10 },
                "showPoints": "never", "stacking": {"mode": stacking, "group": "A"},
            });
            let legend = json!({"displayMode": "list", "placement": "bottom", "showLegend": true});
            let tooltip = json!({"mode": "multi", "sort": "desc"});
            ("timeseries", json!({"legend": legend, "tooltip": tooltip}))
        }
        Kind::Stat => {
            let reduce = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
            let area = json!({"reduceOptions": reduce, "graphMode": "area", "colorMode": "value"});
            ("stat", area)
        }
        Kind::Heatmap => {
            let axis = json!({"unit": panel.unit, "axisPlacement": "left"});
            let options = json!({
                "calculate": false, "yAxis": axis, "cellGap": 1, "rowsFrame": {"layout": "auto"},
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                "filterValues": {"le": 1e-9}, "legend": {"show": true}, "tooltip": {"mode": "single", "yHistogram": false},
            });
            ("heatmap", options)
        }
    };
    json!({
        "id": id, "type": kind, "title": panel.title, "description": panel.description,
        "datasource": data_source(),
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options, "targets": targets,
    })
}

/// The dashboard as Grafana reads it.
fn generated(dashboard: &Dashboard) -> String {
    let mut panels = Vec::new();
    let (mut id, mut y) = (0, 0);
    let mut next = || {
        id += 1;
        id
    };
    for row in &dashboard.row {
        panels.push(json!({
            "id": next(), "type": "row", "title": row.title, "collapsed": false,
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}, "panels": [],
        }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for each in &row.panel {
            if x + each.width > COLUMNS {
                (x, y, height) = (0, y + height, 0);
            }
            panels.push(panel(each, next(), x, y));
            x += each.width;
            height = height.max(each.height);
        }
        y += height;
    }
    let mut variables = vec![json!({
        "name": "datasource", "label": "data source", "type": "datasource", "query": "prometheus",
        "current": {}, "refresh": 1, "hide": 0,
    })];
    variables.extend(dashboard.variables.iter().map(|name| variable(name)));
    let links = json!([{
        "title": "Eciton", "type": "dashboards", "tags": ["eciton"], "asDropdown": false,
        "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
    }]);
    let whole = json!({
        "uid": dashboard.uid, "title": dashboard.title, "description": dashboard.description,
        "tags": ["eciton"], "schemaVersion": SCHEMA_VERSION, "version": 1, "editable": true,
        "time": {"from": "now-1h", "to": "now"}, "refresh": "10s", "timezone": "browser", "graphTooltip": 1,
        "links": links, "templating": {"list": variables}, "annotations": {"list": []}, "panels": panels,
    });
    let mut text = serde_json::to_string_pretty(&whole).unwrap();
    text.push('\n');
    text
}

#[test]
fn the_dashboards_are_what_their_sources_say() {
    for name in NAMES {
        let made = generated(&source(name));
        let path = deploy(&format!("grafana/{name}.json"));
        if std::env::var_os(RENEW).is_some() {
            fs::write(&path, &made).unwrap();
        }
        let recorded = fs::read_to_string(&path).unwrap_or_default();
        let differ = recorded
            .lines()
            .zip(made.lines())
            .position(|(old, new)| old != new);
        assert!(
            recorded == made,
            "grafana/{name}.json differs from {name}.toml, first at line {differ:?}: cargo xtask renew-dashboards"
        );
    }
}

/// The panels of a dashboard as it is recorded, without rows.
fn panels(name: &str) -> Vec<Value> {
    let whole: Value = serde_json::from_str(&text(&format!("grafana/{name}.json"))).unwrap();
    let panels = whole["panels"].as_array().unwrap().iter();
    panels
        .filter(|panel| panel["type"] != "row")
        .cloned()
        .collect()
}

#[test]
fn every_panel_has_a_description_a_unit_a_legend_and_a_place_of_its_own() {
    let mut uids = BTreeSet::new();
    for name in NAMES {
        let whole: Value = serde_json::from_str(&text(&format!("grafana/{name}.json"))).unwrap();
        assert!(
            uids.insert(whole["uid"].to_string()),
            "{name}: its uid is another one's"
        );
        assert_eq!(whole["links"][0]["tags"], json!(["eciton"]), "{name}");
        let ids: Vec<&Value> = whole["panels"].as_array().unwrap().iter().collect();
        let unique: BTreeSet<u64> = ids
            .iter()
            .map(|panel| panel["id"].as_u64().unwrap())
            .collect();
        assert_eq!(unique.len(), ids.len(), "{name}: an id twice");
        let mut taken = BTreeSet::new();
        let mut titles = BTreeSet::new();
        for panel in panels(name) {
            let title = panel["title"].as_str().unwrap();
            assert!(titles.insert(title.to_owned()), "{name}: `{title}` twice");
            let description = panel["description"].as_str().unwrap();
            assert!(description.ends_with('.'), "{name}: {title}: {description}");
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
            assert!(!unit.is_empty(), "{name}: {title}");
            for target in panel["targets"].as_array().unwrap() {
                let legend = target["legendFormat"].as_str().unwrap();
                assert!(!legend.is_empty(), "{name}: {title}");
            }
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for x in at("x")..at("x") + at("w") {
                assert!(x < u64::from(COLUMNS), "{name}: {title} is too wide");
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{name}: {title} covers another panel");
                }
            }
        }
    }
}

/// Every expression is one to Prometheus, names metrics that workers have, and obeys the dashboard's variables.
#[test]
fn every_expression_of_a_dashboard_parses_and_uses_metrics_that_exist() {
    let known = metrics();
    let mut rules = String::from("groups:\n- name: panels\n  rules:\n");
    for name in NAMES {
        for panel in panels(name) {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                let used = used(expression);
                assert!(!used.is_empty(), "{name}: {title}");
                let unknown: Vec<&String> = used.difference(&known).collect();
                assert!(unknown.is_empty(), "{name}: {title}: {unknown:?}");
                assert!(
                    expression.contains("database=~\"$database\""),
                    "{name}: {title} shows every database"
                );
                let quoted = expression
                    .replace("$__rate_interval", "1m")
                    .replace('\'', "''");
                writeln!(rules, "  - record: panel\n    expr: '{quoted}'").unwrap();
                // Two rules of one name and the same labels would be one too many.
                let labels = format!("{name} {title} {}", target["refId"].as_str().unwrap());
                writeln!(rules, "    labels: {{panel: \"{labels}\"}}").unwrap();
            }
        }
    }
    let file = folder("panels").join("panels.yaml");
    fs::write(&file, rules).unwrap();
    passed(tool("promtool").args(["check", "rules"]).arg(file));
}
