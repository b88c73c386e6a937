//! What a measurement says, as a table and as JSON.

use serde_json::{Map, Value, json};

use crate::machine;

/// One workload: ours beside the peers'.
#[derive(Clone, Debug)]
pub struct Line {
    /// The workload.
    pub workload: String,
    /// Its unit.
    pub unit: &'static str,
    /// Which way is better.
    pub higher_is_better: bool,
    /// Our median; `None` where only peers were measured.
    pub ours: Option<f64>,
    /// The peers' medians.
    pub peers: Vec<(&'static str, f64)>,
    /// What the machine itself can do, in the same unit.
    pub floor: Option<f64>,
}

impl Line {
    /// Above 1 where we are ahead of the best peer, whichever way is better.
    pub fn ratio_to_best(&self) -> Option<f64> {
        let ours = self.ours?;
        let ratios = self.peers.iter().map(|(_, peer)| {
            // Nothing beside nothing, conflicts for instance, is the same.
            if (ours - peer).abs() < f64::EPSILON {
                1.0
            } else if self.higher_is_better {
                ours / peer
            } else {
                peer / ours
            }
        });
        ratios.reduce(f64::min)
    }
}

/// The middle of several measurements.
pub fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "a median of nothing");
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The lines for people, below the machine they were measured on.
pub fn table(lines: &[Line]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (peer, _) in lines.iter().flat_map(|line| &line.peers) {
        if !names.contains(peer) {
            names.push(peer);
        }
    }
    let has_floor = lines.iter().any(|line| line.floor.is_some());
    let mut head = vec!["workload".to_owned(), "unit".to_owned(), "ours".to_owned()];
    head.extend(names.iter().map(|name| (*name).to_owned()));
    head.push("ratio to best".to_owned());
    head.extend(has_floor.then(|| "floor".to_owned()));
    let mut rows = vec![head];
    for line in lines {
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), number);
        let mut cells = vec![line.workload.clone(), line.unit.to_owned(), cell(line.ours)];
        cells.extend(names.iter().map(|name| {
            let peer = line.peers.iter().find(|(peer, _)| peer == name);
            cell(peer.map(|(_, value)| *value))
        }));
        let ratio = line.ratio_to_best();
        cells.push(ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
        if has_floor {
            cells.push(cell(line.floor));
        }
        rows.push(cells);
    }
    [machine::describe(), "\n\n".to_owned(), grid(&rows)].concat()
}

/// Rows under each other: the first column to the left, the others to the right.
pub fn grid(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("  {cell:>width$}"),
        });
        out.push_str(cells.collect::<String>().trim_end());
        out.push('\n');
    }
    out
}

/// A figure with as many digits as mean something.
pub fn number(value: f64) -> String {
    if value >= 100.0 {
        let digits = format!("{value:.0}");
        let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
        String::from_utf8_lossy(&groups.join(&b","[..])).into_owned()
    } else {
        format!("{value:.3}")
    }
}

/// The lines for programs, with the machine and the commit that is checked out.
pub fn json(lines: &[Line]) -> Value {
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| {
            let mut fields = json!({
                "workload": line.workload,
                "unit": line.unit,
                "higher_is_better": line.higher_is_better,
                "ours": line.ours,
                "peers": object(&line.peers),
                "ratio_to_best": line.ratio_to_best(),
            });
            if let Some(floor) = line.floor {
                fields["floor"] = json!(floor);
            }
            fields
        })
        .collect();
    json!({"machine": machine::describe(), "commit": machine::commit(), "lines": lines})
}

/// An object of named values.
pub fn object<T: Clone + Into<Value>>(named: &[(&'static str, T)]) -> Map<String, Value> {
    let fields = named.iter();
    fields
        .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(higher_is_better: bool, ours: f64, peers: &[(&'static str, f64)]) -> Line {
        Line {
            workload: "w".to_owned(),
            unit: "s",
            higher_is_better,
            ours: Some(ours),
            peers: peers.to_vec(),
            floor: None,
        }
    }

    #[test]
    fn a_ratio_is_to_the_best_peer_and_above_1_ahead() {
        let peers = [("a", 50.0), ("b", 200.0)];
        assert_eq!(line(true, 100.0, &peers).ratio_to_best(), Some(0.5));
        assert_eq!(line(false, 100.0, &peers).ratio_to_best(), Some(0.5));
        assert_eq!(line(false, 25.0, &peers).ratio_to_best(), Some(2.0));
        assert_eq!(line(true, 1.0, &[]).ratio_to_best(), None);
        let mut unmeasured = line(true, 1.0, &peers);
        unmeasured.ours = None;
        assert_eq!(unmeasured.ratio_to_best(), None);
    }

    #[test]
    fn a_table_names_every_peer_once_and_leaves_gaps() {
        let lines = [
            line(true, 1.0, &[("b", 2.0)]),
            line(true, 12_345.6, &[("a", 3.0)]),
        ];
        let table = table(&lines);
        let rows: Vec<Vec<&str>> = table
            .lines()
            .skip(2)
            .map(|row| row.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[0],
            ["workload", "unit", "ours", "b", "a", "ratio", "to", "best"]
        );
        assert_eq!(rows[1], ["w", "s", "1.000", "2.000", "-", "0.50"]);
        assert_eq!(rows[2], ["w", "s", "12,346", "-", "3.000", "4115.20"]);
    }

    #[test]
    fn medians_are_middles() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![9.0]) - 9.0).abs() < f64::EPSILON);
    }
}
