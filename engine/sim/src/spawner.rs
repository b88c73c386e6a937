//! Background work among everything else: [`SimSpawner`].

use std::sync::Arc;

use eciton_engine::base::spawn::Spawner;
use futures::future::BoxFuture;

use crate::executor::ProcessId;
use crate::kernel::Kernel;

/// Starts tasks of one process, as long as that lives.
#[derive(Clone)]
pub struct SimSpawner {
    kernel: Arc<Kernel>,
    process: ProcessId,
    incarnation: u32,
}

impl SimSpawner {
    /// A spawner for the process that has the seat now. Once that is killed, what it is given is
    /// dropped.
    pub fn new(kernel: Arc<Kernel>, process: ProcessId) -> SimSpawner {
        let incarnation = kernel.incarnation(process);
        SimSpawner {
            kernel,
            process,
            incarnation,
        }
    }
}

impl Spawner for SimSpawner {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.kernel.spawn(self.process, self.incarnation, task);
    }
}
