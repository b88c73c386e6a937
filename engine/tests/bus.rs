//! One suite for every bus: in memory, and over a Redis server of the test's own.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may wait"
)]

mod board {
    use std::sync::Arc;

    use eciton_engine::base::clock::SystemClock;
    use eciton_engine::coord::{Board, Bus, Mailbox};

    use crate::support::bus::{Process, bus_suite};

    #[allow(clippy::unused_async, reason = "other buses take a while")]
    async fn processes() -> (Process, Process) {
        let bus: Arc<dyn Bus> = Arc::new(Board::new(Arc::new(SystemClock::new())));
        let process = |name| Process {
            bus: Arc::clone(&bus),
            mailbox: Mailbox(name),
            _keep: None,
        };
        (process(1), process(2))
    }

    bus_suite! { processes }
}

#[cfg(feature = "redis")]
mod redis {
    use std::sync::Arc;

    use eciton_engine::base::InstanceId;
    use eciton_engine::coord::Mailbox;
    use eciton_engine::coord::redis::RedisOptions;

    use crate::support::bus::{Process, bus_suite};
    use crate::support::link;
    use crate::support::redis::RedisServer;

    async fn processes() -> (Process, Process) {
        let server = Arc::new(RedisServer::start());
        let process = async |name| {
            let bus = link::bus(&RedisOptions::at(&server.url()));
            for of in [0x0ec1, 0x0ec2] {
                assert!(bus.connected(InstanceId(of), link::LONG_MS).await);
            }
            Process {
                bus,
                mailbox: Mailbox(name),
                _keep: Some(Arc::clone(&server) as _),
            }
        };
        (process(1).await, process(2).await)
    }

    bus_suite! { processes }
}
