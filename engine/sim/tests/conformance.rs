//! The simulator's storage does what every medium must do, so that what is found on it holds on others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eciton_engine::storage::Storage;
use eciton_engine::storage::conformance::{Subject, check};
use eciton_sim::executor::ProcessId;
use eciton_sim::storage::SimStorage;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_simulators_storage_conforms() {
    let seed = AtomicU64::new(20_261_130);
    let fresh = async || {
        let seed = seed.fetch_add(1, Ordering::Relaxed);
        println!("seed {seed}");
        let storage = SimStorage::without_faults(seed);
        let other = storage.of(ProcessId(1));
        // A lock there names no process, whose number would differ from run to run.
        let open = move |_| -> Arc<dyn Storage> { Arc::new(other.clone()) };
        Subject::new(Arc::new(storage), open).held_by(0)
    };
    check(&[], fresh).await;
}
