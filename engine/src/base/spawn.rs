//! Where background work runs, as a parameter: the simulator runs it among everything else.

use futures::future::BoxFuture;

/// Runs background work.
pub trait Spawner: Send + Sync + 'static {
    /// Starts `task` and returns at once.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

/// Runs background work on rayon's threads: it is bound by the processor, and must not hold up the
/// threads that serve commits and reads.
#[derive(Debug, Default)]
pub struct RayonSpawner;

impl Spawner for RayonSpawner {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        rayon::spawn(move || futures::executor::block_on(task));
    }
}
