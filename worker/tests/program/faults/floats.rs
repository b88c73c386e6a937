//! Sums of floats: exact, wherever shards are cut.

use super::super::support::Place;
use super::records;

/// 330 values that leave the range of floats on the way and come back, of all sizes: 1 is left, since
/// ten times the float 0.1 is nearest to 1.
fn values() -> String {
    let huge = |sign: &str| format!("a,{sign}1e308\n").repeat(100);
    let apart = "a,1e200\na,1e100\na,1e-300\n".repeat(20);
    let tenths = "a,0.1\n".repeat(10);
    let back = "a,-1e100\na,-1e-300\na,-1e200\n".repeat(20);
    format!("k,v\n{}{apart}{tenths}{}{back}", huge(""), huge("-"))
}

fn sums(
    shard_size: &str,
    workers: &str,
    rest: &str,
) -> Vec<(serde_json::Value, serde_json::Value)> {
    let place = Place::new();
    place.write("a.csv", values());
    place.write(
        "job.toml",
        format!(
            "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"a.csv\"]\nshard_size = \"{shard_size}\"\n{rest}"
        ),
    );
    place
        .call(&["run", "job.toml", "--workers", workers])
        .done();
    records(&place)
}

/// One shard holds all values, or each holds a few and is merged in any order.
#[test]
fn sums_of_floats_are_exact_wherever_shards_are_cut() {
    let merge =
        "[merge]\nstore = \"t\"\nkey = [\"k\"]\n[merge.values]\ns = \"sum(v)\"\nm = \"avg(v)\"\n";
    let query = "[transform]\nsql = \"SELECT k, sum(v) AS s, avg(v) AS m FROM source GROUP BY k\"\n[result]\nstore = \"t\"\n";
    for rest in [merge, query] {
        for (shard_size, workers) in [("1MiB", "1"), ("1KiB", "4"), ("1KiB", "1"), ("3KiB", "2")] {
            let sums = sums(shard_size, workers, rest);
            let [(_, value)] = &sums[..] else {
                panic!("{shard_size}: {sums:?}");
            };
            assert_eq!(value["s"], 1.0, "{shard_size}, {workers} workers: {value}");
            assert_eq!(value["m"], 1.0 / 330.0, "{shard_size}, {workers} workers");
        }
    }
}
