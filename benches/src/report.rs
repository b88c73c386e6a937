//! What a measurement says, as a table and as JSON.

use serde_json::{Map, Value, json};

use crate::machine;

/// One workload: ours beside the peers'.
pub(crate) struct Line {
    /// The workload.
    pub(crate) workload: String,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// Which way is better.
    pub(crate) higher_is_better: bool,
    /// Our median.
    pub(crate) ours: f64,
    /// The peers' medians.
    pub(crate) peers: Vec<(&'static str, f64)>,
}

impl Line {
    /// Above 1 where we are ahead of the best peer, whichever way is better.
    fn ratio_to_best(&self) -> Option<f64> {
        let ratios = self.peers.iter().map(|(_, peer)| {
            if self.higher_is_better {
                self.ours / peer
            } else {
                peer / self.ours
            }
        });
        ratios.reduce(f64::min)
    }
}

/// The middle of several measurements.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "a median of nothing");
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn table(lines: &[Line]) -> String {
    let mut out = format!("{}\n\n", machine::describe());
    let peers: Vec<&str> = lines
        .iter()
        .flat_map(|line| line.peers.iter().map(|(name, _)| *name))
        .collect();
    let mut names: Vec<&str> = Vec::new();
    for peer in peers {
        if !names.contains(&peer) {
            names.push(peer);
        }
    }
    let mut row = |cells: &[String]| {
        let (first, rest) = cells
            .split_first()
            .map_or(("", &[][..]), |(f, r)| (f.as_str(), r));
        let rest: Vec<String> = rest.iter().map(|cell| format!("{cell:>14}")).collect();
        out.push_str(&[&format!("{first:<44} "), &rest.join(" "), "\n"].concat());
    };
    let mut head = vec!["workload".to_owned(), "unit".to_owned(), "ours".to_owned()];
    head.extend(names.iter().map(|name| (*name).to_owned()));
    head.push("ratio to best".to_owned());
    row(&head);
    for line in lines {
        let mut cells = vec![
            line.workload.clone(),
            line.unit.to_owned(),
            number(line.ours),
        ];
        cells.extend(names.iter().map(|name| {
            let peer = line.peers.iter().find(|(peer, _)| peer == name);
            peer.map_or("-".to_owned(), |(_, value)| number(*value))
        }));
        cells.push(
            line.ratio_to_best()
                .map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        );
        row(&cells);
    }
    out
}

fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

pub(crate) fn json(lines: &[Line]) -> Value {
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| {
            let peers: Map<String, Value> = line
                .peers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect();
            json!({
                "workload": line.workload,
                "unit": line.unit,
                "higher_is_better": line.higher_is_better,
                "ours": line.ours,
                "peers": peers,
                "ratio_to_best": line.ratio_to_best(),
            })
        })
        .collect();
    json!({"machine": machine::describe(), "commit": machine::commit(), "lines": lines})
}
