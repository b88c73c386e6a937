//! Records of sketches: their size is known before there is one, so that no merge makes a record that folding refuses.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use eciton_engine::base::limits::VALUE_LEN_MAX;
use eciton_engine::base::{Datum, Error, Key};
use eciton_engine::db::{Db, Options, StoreSchema};
use eciton_engine::merge::{self, Column, Edges, Kind, Operator, State, States};

fn quantile(index: usize) -> Column {
    let name = format!("q{index}");
    Column::with_parameter(name, Operator::ApproxQuantile, Kind::Float, 500_000).unwrap()
}

/// As many columns of quantiles as a store takes.
fn most() -> Vec<Column> {
    let each = quantile(0).len_max().unwrap();
    (0..VALUE_LEN_MAX / each).map(quantile).collect()
}

/// Story: each operand of a shard was small enough, and merging those of many shards made a record beyond the limit of a run,
/// so that no fold of the store ever ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_most_columns_fold_and_compact_and_one_more_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), Options::default()).await.unwrap();
    let mut columns = most();
    let schema = |columns: &[Column]| StoreSchema {
        columns: columns.to_vec(),
        ..StoreSchema::default()
    };
    let key = Key::from_datums(&[Datum::Int(1)]).unwrap();
    let store = db.create_store("most", schema(&columns)).await.unwrap();
    // Together the shards have numbers of every exponent and 7 bits more: 12 MiB of bins, if all were kept.
    let shards = 8;
    let mut whole = State::new(Operator::ApproxQuantile);
    for shard in 0..shards {
        let mut state = State::new(Operator::ApproxQuantile);
        for bin in 0..4000u64 {
            let value = f64::from_bits((bin * shards + shard) << 48);
            state.add_f64(value);
            whole.add_f64(value);
        }
        let states: States = columns.iter().map(|_| state.clone()).collect();
        let mut transaction = db.begin();
        let operand = states.to_operand().unwrap();
        transaction.merge(&store, &key, &operand).unwrap();
        transaction.commit().await.unwrap();
    }
    db.fold().await.unwrap();
    db.compact().await.unwrap();
    let record = db.snapshot().get(&store, &key).await.unwrap().unwrap();
    assert!(record.len() <= VALUE_LEN_MAX, "{} bytes", record.len());
    let expected: States = columns.iter().map(|_| whole.clone()).collect();
    assert_eq!(record, expected.to_operand().unwrap().into_bytes());
    let shown = merge::read(&columns, &key, &record).unwrap();
    assert_eq!(shown.len(), columns.len());
    columns.push(quantile(columns.len()));
    for refused in [
        db.create_store("more", schema(&columns)).await.unwrap_err(),
        db.create_stores(&[("more", schema(&columns))])
            .await
            .unwrap_err(),
    ] {
        match refused {
            Error::Limit { got, max, .. } => assert!(got > max, "{got} of {max}"),
            other => panic!("{other}"),
        }
    }
}

/// A store remembers the edges of its histograms.
#[tokio::test]
async fn a_histogram_keeps_its_edges_over_an_opening() {
    let folder = tempfile::tempdir().unwrap();
    let columns = |edges: &[f64]| {
        vec![Column::histogram("h", Kind::Int, Edges::new(edges).unwrap()).unwrap()]
    };
    let schema = |edges: &[f64]| StoreSchema {
        columns: columns(edges),
        ..StoreSchema::default()
    };
    let key = Key::from_datums(&[Datum::Int(1)]).unwrap();
    let edges = [0.0, 10.0];
    {
        let db = Db::open(folder.path(), Options::default()).await.unwrap();
        let store = db.create_store("h", schema(&edges)).await.unwrap();
        for value in [-1, 3, 10] {
            let mut states = States::new(&store.schema().columns);
            states[0].add_i64(value);
            let mut transaction = db.begin();
            let operand = states.to_operand().unwrap();
            transaction.merge(&store, &key, &operand).unwrap();
            transaction.commit().await.unwrap();
        }
        db.close().await.unwrap();
    }
    let db = Db::open(folder.path(), Options::default()).await.unwrap();
    let store = db.store("h").await.unwrap().unwrap();
    assert_eq!(store.schema().columns, columns(&edges));
    let record = db.snapshot().get(&store, &key).await.unwrap().unwrap();
    let shown = merge::read_json(&store.schema().columns, &key, &record).unwrap();
    let expected = serde_json::json!({"h": [
        {"from": null, "to": 0.0, "count": 1},
        {"from": 0.0, "to": 10.0, "count": 1},
        {"from": 10.0, "to": null, "count": 1},
    ]});
    assert_eq!(shown, expected);
    let other = db.create_store("h", schema(&[0.0, 11.0])).await;
    assert!(
        matches!(other, Err(Error::StoreDiffers { .. })),
        "{other:?}"
    );
    let mut states = States::new(&columns(&[0.0, 11.0]));
    states[0].add_i64(1);
    let mut transaction = db.begin();
    let refused = transaction.merge(&store, &key, &states.to_operand().unwrap());
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
}
