use eciton_engine::entropy::SeededEntropy;
use eciton_engine::storage::MemoryStorage;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use super::support::*;
use crate::run::{COMMIT_INTERVAL, End, JobError, RunOptions, run, submit};
use crate::spec::JobFile;

/// Runs a job on a medium that crashes again and again, power loss every other time, until it is done.
/// Gives how often it crashed.
async fn run_through_crashes(job: &JobFile, seed: u64, store: &str, expected: &str) -> u64 {
    let entropy = SeededEntropy::new(seed);
    let mut storage = MemoryStorage::new();
    for crashes in 0..400 {
        // Further and further, so that it comes to its end.
        storage.crash_after(entropy.next_u64() % 15 + crashes, entropy.next_u64());
        // Shards commit one by one, or now and then all that a worker computes together, which needs
        // fewer operations, so that fewer crashes come in between.
        let commit_interval = match crashes % 4 {
            3 => COMMIT_INTERVAL,
            _ => Duration::ZERO,
        };
        let ended = attempt(&storage, job, commit_interval).await;
        let crashed = storage.is_crashed();
        storage = match crashes % 2 {
            0 => storage.power_loss(&entropy),
            _ => storage.restart(),
        };
        match ended {
            Ok(End::Done) => {
                let db = open(&storage).await.unwrap();
                let found = format!("{:?}", records(&db, store).await);
                assert_eq!(found, expected, "seed {seed} after {crashes} crashes");
                return crashes;
            }
            Ok(other) => panic!("seed {seed}: ended as {other:?}"),
            Err(error) => assert!(crashed, "seed {seed}: failed without a crash: {error}"),
        }
    }
    panic!("seed {seed}: not done after 400 crashes");
}

async fn attempt(
    storage: &MemoryStorage,
    job: &JobFile,
    commit_interval: Duration,
) -> Result<End, JobError> {
    let db = open(storage).await?;
    let submitted = submit(&db, job).await?;
    let options = RunOptions {
        commit_interval,
        ..options(2)
    };
    let report = run(&db, &submitted.name, options).await?;
    Ok(report.end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_anywhere_leave_the_results_of_an_undisturbed_run() {
    let place = JobFolder::new();
    let (text, expected) = flights(4000);
    place.write("flights.csv", text);
    let mut crashes = 0;
    for seed in 0..24 {
        let job = place.job(SUM_JOB);
        crashes += run_through_crashes(&job, seed, "by_carrier", &format!("{expected:?}")).await;
    }
    assert!(crashes > 60, "only {crashes} crashes took place");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_do_not_change_which_upsert_stays() {
    let place = JobFolder::new();
    let mut text = "id,row\n".to_owned();
    for row in 0..1200 {
        writeln!(text, "{},{row}", row * 17 % 50).unwrap();
    }
    place.write("rows.csv", text);
    let job = place.job(UPSERT_JOB);
    let db = memory_db().await;
    submit_and_run(&db, &job, 1).await;
    let expected = format!("{:?}", records(&db, "rows").await);
    for seed in 100..108 {
        run_through_crashes(&job, seed, "rows", &expected).await;
    }
}

/// Rows in compressed files below folders that are columns, merged by operators whose states are sketches and exact sums.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_change_nothing_in_folders_compressions_and_sketches() {
    let place = JobFolder::new();
    let text = |from: u32| {
        let rows = (from..from + 400).map(|row| format!("{},{}\n", row * 37 % 101, row % 3 == 0));
        rows.fold("x,late\n".to_owned(), |text, row| text + &row)
    };
    for month in 1..=6_u32 {
        let folder = format!("year=2013/month={month}");
        std::fs::create_dir_all(place.0.path().join(&folder)).unwrap();
        let text = text(month * 1000);
        let (name, bytes) = match month % 3 {
            0 => ("a.csv", text.into_bytes()),
            1 => {
                let mut encoder = bzip2::write::BzEncoder::new(vec![], bzip2::Compression::fast());
                encoder.write_all(text.as_bytes()).unwrap();
                ("a.csv.bz2", encoder.finish().unwrap())
            }
            _ => {
                let mut encoder = liblzma::write::XzEncoder::new(vec![], 6);
                encoder.write_all(text.as_bytes()).unwrap();
                ("a.csv.xz", encoder.finish().unwrap())
            }
        };
        place.write(&format!("{folder}/{name}"), bytes);
    }
    let job = |name: &str, shard_size: &str| {
        place.job(&format!(
            r#"
name = "{name}"
[source]
format = "csv"
paths = ["year=*/*/a.csv*"]
shard_size = "{shard_size}"
hive_partitions = true
[transform]
sql = "SELECT year, month % 2 AS odd, x, late FROM source WHERE month <> 4"
[merge]
store = "months"
key = ["year", "odd"]
[merge.values]
rows = "count()"
largest = "top_k(x, 3)"
between = "histogram(x, 0, 100, 4)"
all_late = "bool_and(late)"
any_late = "bool_or(late)"
spread = "var_samp(x)"
deviation = "stddev_pop(x)"
median = "approx_quantile(x, 0.5)"
"#
        ))
    };
    let db = memory_db().await;
    submit_and_run(&db, &job("whole", "64MiB"), 1).await;
    let found = records(&db, "months").await;
    let expected = format!("{found:?}");
    // Of each month 400 rows: 2, 6 are even, 1, 3, 5 are odd.
    assert_eq!(found.len(), 2, "{expected}");
    for (odd, rows) in [(0, 800), (1, 1200)] {
        let of =
            |month: u32| (month * 1000..month * 1000 + 400).map(|row| f64::from(row * 37 % 101));
        let months: &[u32] = if odd == 0 { &[2, 6] } else { &[1, 3, 5] };
        let all: Vec<f64> = months.iter().flat_map(|month| of(*month)).collect();
        assert_eq!(all.len(), rows);
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let (mean, count) = (all.iter().sum::<f64>() / rows as f64, rows as f64);
        let squares: f64 = all.iter().map(|x| (x - mean).powi(2)).sum();
        let key = format!("[2013,{odd}]");
        let value: serde_json::Value = serde_json::from_str(&found[&key]).unwrap();
        assert_eq!(value["rows"], rows);
        assert_eq!(value["largest"], serde_json::json!([100, 100, 100]));
        let bins: Vec<u64> = value["between"]
            .as_array()
            .unwrap()
            .iter()
            .map(|bin| bin["count"].as_u64().unwrap())
            .collect();
        let at =
            |low: f64, high: f64| all.iter().filter(|x| **x >= low && **x < high).count() as u64;
        let counts = [
            0,
            at(0.0, 25.0),
            at(25.0, 50.0),
            at(50.0, 75.0),
            at(75.0, 100.0),
            at(100.0, 1e9),
        ];
        assert_eq!(bins, counts);
        assert_eq!(
            (&value["all_late"], &value["any_late"]),
            (&false.into(), &true.into())
        );
        let near = |name: &str, exact: f64| {
            let found = value[name].as_f64().unwrap();
            assert!(
                (found - exact).abs() <= exact * 1e-12,
                "{name}: {found} for {exact}"
            );
        };
        near("spread", squares / (count - 1.0));
        near("deviation", (squares / count).sqrt());
        let mut sorted = all;
        sorted.sort_by(f64::total_cmp);
        near("median", sorted[rows.div_ceil(2) - 1]);
    }
    for seed in 200..208 {
        run_through_crashes(&job("cut", "1KiB"), seed, "months", &expected).await;
    }
}
