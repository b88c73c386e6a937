//! The contract of the swarm: messages of the protobuf package `eciton.v1`.
//!
//! A job file, what it resolved to and how far it has come are stored and sent as these messages, so
//! that any process, whatever its version and language, reads what another wrote. The `.proto` files
//! under `proto/` are the reference; their comments are the documentation of each field, units
//! included. This crate adds no behaviour: checking a job file and cutting its source into shards is
//! the business of `eciton-jobs`.
//!
//! ```
//! use eciton_proto::prost::Message;
//! use eciton_proto::v1::{MergeSpec, MergeValue};
//!
//! let merge = MergeSpec {
//!     store: "delay_by_carrier".into(),
//!     key: vec!["carrier".into()],
//!     values: vec![MergeValue {
//!         name: "delay_sum".into(),
//!         operator: "sum".into(),
//!         column: "dep_delay".into(),
//!         args: vec![],
//!     }],
//! };
//! let bytes = merge.encode_to_vec();
//! assert_eq!(MergeSpec::decode(bytes.as_slice())?, merge);
//! # Ok::<(), eciton_proto::prost::DecodeError>(())
//! ```

pub use prost;

/// Messages of the package `eciton.v1`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated: the comments come from the .proto files"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/eciton.v1.rs"));
}
