//! The science examples: each beside an answer that is known, and the same for any cut and any number of workers.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{Place, examples};

/// Runs a science example with so many workers and cut into shards like this; gives the records of its store.
fn example(name: &str, store: &str, cut: &str, workers: &str) -> Vec<Value> {
    let place = Place::new();
    let from = examples().join("science");
    let text = fs::read_to_string(from.join(format!("{name}.toml"))).unwrap();
    let lines = text.lines().map(|line| match line.split_once(" = ") {
        Some((key @ ("shard_len" | "shard_size"), _)) => format!("{key} = {cut}\n"),
        _ => format!("{line}\n"),
    });
    let text = lines.collect::<String>();
    place.write(
        "job.toml",
        text.replace("\"..", &format!("\"{}", examples().display())),
    );
    fs::create_dir(place.path(name)).unwrap();
    for file in fs::read_dir(from.join(name)).unwrap().flatten() {
        fs::copy(file.path(), place.path(name).join(file.file_name())).unwrap();
    }
    let scratch = place.path("scratch");
    place
        .call(&[
            "run",
            "job.toml",
            "--workers",
            workers,
            "--scratch",
            scratch.to_str().unwrap(),
        ])
        .done();
    let records = place.records(store);
    records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn monte_carlo_gives_the_same_counts_for_any_cut_and_they_are_right() {
    let records = example("monte-carlo", "monte_carlo", "10_000", "2");
    assert_eq!(
        records,
        example("monte-carlo", "monte_carlo", "77_777", "1")
    );
    let pi = std::f64::consts::PI;
    for (record, (dimension, exact)) in
        records
            .iter()
            .zip([(2, pi), (3, 4.0 / 3.0 * pi), (4, pi * pi / 2.0)])
    {
        assert_eq!(record["key"], dimension);
        let samples = record["value"]["samples"].as_f64().unwrap();
        let inside = record["value"]["inside"].as_f64().unwrap();
        let cube = 2_f64.powi(dimension);
        let (volume, share) = (cube * inside / samples, exact / cube);
        // Four standard errors of the mean; the stream is fixed, so this passes always or never.
        let bound = 4.0 * cube * (share * (1.0 - share) / samples).sqrt();
        assert!(
            (volume - exact).abs() < bound,
            "{dimension}: {volume}, exact {exact}, within {bound}"
        );
    }
    assert_eq!(records.len(), 3);
}

#[test]
fn the_rods_cool_as_the_solution_says() {
    let records = example("heat", "heat", "4", "2");
    assert_eq!(records, example("heat", "heat", "7", "3"));
    assert_eq!(records.len(), 40);
    let pi = std::f64::consts::PI;
    for record in &records {
        let member = record["key"].as_f64().unwrap();
        let peak = record["value"]["peak"].as_f64().unwrap();
        // u(x, t) at the point nearest to the middle.
        let exact = (-(0.05 + 0.01 * member) * pi * pi * 0.1).exp() * (pi * 26.0 / 51.0).sin();
        // Second order: the error is a few times dx^2.
        assert!(
            (peak - exact).abs() < 2e-4,
            "{member}: {peak}, exact {exact}"
        );
    }
}

/// The bins that orbits visit, by their lower edges, of a column of the bifurcation diagram.
fn visited(record: &Value) -> Vec<(f64, f64)> {
    let bins = record["value"]["density"].as_array().unwrap();
    let visited = bins.iter().filter(|bin| bin["count"] != 0);
    let edges = visited.map(|bin| (bin["from"].as_f64(), bin["to"].as_f64()));
    edges
        .map(|(from, to)| (from.unwrap(), to.unwrap()))
        .collect()
}

#[test]
fn orbits_settle_where_the_logistic_map_says() {
    let records = example("bifurcation", "bifurcation", "50", "2");
    assert_eq!(records, example("bifurcation", "bifurcation", "170", "3"));
    assert_eq!(records.len(), 600);
    let lies_in = |x: f64, (from, to): &(f64, f64)| *from <= x && x < *to;
    // One point up to r = 3, two from there to 1 + sqrt 6, apart from where orbits settle slowly.
    for record in &records {
        let column = record["key"].as_f64().unwrap();
        let r = 2.8 + 1.2 * column / 600.0;
        let exact = match r {
            r if r < 2.98 => vec![1.0 - 1.0 / r],
            r if r > 3.02 && r < 3.43 => {
                let root = ((r - 3.0) * (r + 1.0)).sqrt();
                vec![(r + 1.0 - root) / (2.0 * r), (r + 1.0 + root) / (2.0 * r)]
            }
            _ => continue,
        };
        let visited = visited(record);
        let is_right = visited.len() == exact.len()
            && exact.iter().zip(&visited).all(|(x, bin)| lies_in(*x, bin));
        assert!(is_right, "r = {r}: {visited:?}, exact {exact:?}");
    }
    // At 3.5 there are four; chaos reaches almost from 0 to 1 where r is almost 4.
    assert_eq!(visited(&records[350]).len(), 4);
    let chaos = visited(&records[599]);
    assert!(chaos.len() > 100, "{chaos:?}");
    assert!(
        chaos[0].0 < 0.05 && chaos[chaos.len() - 1].1 > 0.95,
        "{chaos:?}"
    );
}

#[test]
fn the_diagram_is_drawn_as_an_image() {
    let place = Place::new();
    let bins = |counts: [u64; 4]| -> Vec<Value> {
        counts
            .iter()
            .map(|count| serde_json::json!({"count": count}))
            .collect()
    };
    let records = [[0, 1, 0, 0], [0, 0, 4, 0], [0, 2, 2, 0]].map(|counts| {
        serde_json::json!({"key": 0, "value": {"density": bins(counts)}}).to_string() + "\n"
    });
    place.write("records", records.concat());
    let draw = examples().join("science/bifurcation/draw.py");
    let records = fs::File::open(place.path("records")).unwrap();
    let drawn = Command::new("python3").arg(draw).stdin(records).output();
    let image = drawn.unwrap().stdout;
    assert!(image.starts_with(b"\x89PNG\r\n\x1a\n"), "{image:?}");
    // Three columns, two bins that are neither the first nor the last.
    assert_eq!(image[16..24], [0, 0, 0, 3, 0, 0, 0, 2]);
}

/// The delays of the carriers' flights, read without Eciton.
fn delays() -> BTreeMap<String, Vec<f64>> {
    let path = examples().join("flights/flights-2013-01.csv");
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let at = |name| header.iter().position(|column| *column == name).unwrap();
    let (carrier, delay) = (at("carrier"), at("arr_delay"));
    let mut delays = BTreeMap::<String, Vec<f64>>::new();
    for line in lines {
        if let Ok(minutes) = line[delay].parse() {
            delays
                .entry(line[carrier].to_owned())
                .or_default()
                .push(minutes);
        }
    }
    delays
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "counts of some thousands")]
fn the_bootstrap_is_as_uncertain_as_theory_says() {
    let records = example("bootstrap", "bootstrap", "\"256KiB\"", "2");
    assert_eq!(
        records,
        example("bootstrap", "bootstrap", "\"900KiB\"", "3")
    );
    let mut means = BTreeMap::<String, Vec<f64>>::new();
    for record in &records {
        let of = |name: &str| record["value"][name].as_f64().unwrap();
        let carrier = record["key"][0].as_str().unwrap().to_owned();
        // In the order of the replicates.
        means
            .entry(carrier)
            .or_default()
            .push(of("total") / of("weight"));
    }
    let delays = delays();
    assert_eq!(means.len(), delays.len());
    let moments = |values: &[f64]| {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>();
        (mean, (squares / (count - 1.0)).sqrt())
    };
    for (carrier, delays) in delays.iter().filter(|(_, delays)| delays.len() > 1000) {
        let (mean, deviation) = moments(delays);
        let error = deviation / (delays.len() as f64).sqrt();
        let (data, replicates) = means[carrier].split_first().unwrap();
        assert_eq!(replicates.len(), 96);
        assert!(
            (data - mean).abs() < 1e-9,
            "{carrier}: {data}, exact {mean}"
        );
        let (center, spread) = moments(replicates);
        // Four standard deviations of a deviation from 96 replicates; the stream is fixed, so this passes always or never.
        assert!(
            (spread / error - 1.0).abs() < 0.29,
            "{carrier}: {spread}, theory {error}"
        );
        assert!(
            (center - mean).abs() < 4.0 * error / 96_f64.sqrt(),
            "{carrier}: {center}"
        );
    }
}
