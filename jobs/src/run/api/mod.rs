//! What callers do with jobs: record, run, serve, look at, cancel, retry, replace and remove them.
//!
//! This module must not compute or commit shards itself. What carries a call (a command, gRPC) is not known here.
//!
//! Files import only from lower ranks:
//!
//! | rank | file | is |
//! |---|---|---|
//! | 2 | `outline` | what a job would do |
//! | 2 | `replace` | recording a job in the place of another one |
//! | 1 | `serve` | working on every open job |
//! | 1 | `submit` | recording a job |
//! | 0 | `cancel` | ending a job early |
//! | 0 | `difference` | in which keys two specifications differ |
//! | 0 | `drop_store` | dropping a store that jobs may have written to |
//! | 0 | `extend` | files that an incremental job has not seen |
//! | 0 | `graph` | which jobs come after which |
//! | 0 | `joined` | submitting a job that is there already |
//! | 0 | `logs` | what the programs of a job wrote |
//! | 0 | `remove` | removing a job |
//! | 0 | `retry` | giving failed shards another chance |
//! | 0 | `run` | running a job to its end |
//! | 0 | `trial` | the columns of a program's output |
//! | 0 | `view` | how jobs stand, as messages |
//! | 0 | `work` | whether anybody works on a job |

pub(crate) mod cancel;
pub(crate) mod difference;
pub(crate) mod drop_store;
pub(crate) mod extend;
pub(crate) mod graph;
pub(crate) mod joined;
pub(crate) mod logs;
pub(crate) mod outline;
pub(crate) mod remove;
pub(crate) mod replace;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod submit;
pub(crate) mod trial;
pub(crate) mod view;
pub(crate) mod work;
