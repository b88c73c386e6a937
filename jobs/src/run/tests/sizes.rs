//! What is kept of the shards of large jobs.

use eciton_engine::entropy::{Entropy, SeededEntropy};
use eciton_proto::v1::{Outcome, ShardState};

use super::support::*;
use crate::run::records::ledger::Ledger;
use crate::run::records::marks::{LAYOUT_HASHES, LAYOUT_MESSAGES};

const SHARDS: u64 = 40_000;

/// Bytes of the runs of a database with nothing but the records of shards of files that are done, a shard.
async fn kept(layout: u32) -> f64 {
    let db = memory_db().await;
    let ledger = Ledger::create(&db).await.unwrap();
    let entropy = SeededEntropy::new(5);
    for first in (0..SHARDS).step_by(1000) {
        let mut tx = db.begin();
        for shard in first..first + 1000 {
            let state = ShardState {
                outcome: Outcome::Done.into(),
                content_hash: u64::try_from(entropy.next_u128() >> 64).unwrap(),
                ..ShardState::default()
            };
            ledger
                .put_shard_state(&mut tx, ("large", layout), shard, &state)
                .unwrap();
        }
        tx.commit().await.unwrap();
    }
    db.compact().await.unwrap();
    let mut read = 0;
    let count = |_, state: ShardState| {
        read += u64::from(state.outcome() == Outcome::Done && state.content_hash != 0);
        true
    };
    ledger.each_shard("large", count).await.unwrap();
    assert_eq!(read, SHARDS);
    #[allow(clippy::cast_precision_loss, reason = "they are few")]
    let bytes = db.info().runs_len as f64 / SHARDS as f64;
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_done_shard_of_a_file_takes_at_most_16_bytes() {
    let bytes = kept(LAYOUT_HASHES).await;
    assert!(bytes <= 16.0, "{bytes}");
    // As jobs have it that were submitted before.
    let before = kept(LAYOUT_MESSAGES).await;
    assert!((20.0..25.0).contains(&before), "{before}");
}
