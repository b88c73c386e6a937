//! The contract of the swarm: messages and services of the protobuf package `eciton.v1`.
//!
//! A job file, what it resolved to and how far it has come are stored and sent as these messages, so
//! that any process, whatever its version and language, reads what another wrote. The `.proto` files
//! under `proto/` are the reference; their comments are the documentation of each field, units
//! included. This crate adds no behaviour: checking a job file and cutting its source into shards is
//! the business of `eciton-jobs`, serving is that of the program.
//!
//! | file | has |
//! |---|---|
//! | `job.proto` | what a job is, and what is stored about one |
//! | `swarm.proto` | the service `Swarm`: submitting, watching and changing jobs; what each gRPC status means |
//! | `shards.proto` | the service `Shards`: computing shards from any language |
//! | `contract.txt` | what must not change: every field, value and call as recorded last |
//!
//! # Features
//! Messages are always there. `client` adds `v1::swarm_client` and `v1::shards_client`, `server` adds
//! `v1::swarm_server` and `v1::shards_server`: generated for `tonic`, without a transport of their own. Whoever uses
//! them makes the connection, and sets there what a message may weigh: [`limits::REQUEST_LEN_MAX`] for a server,
//! [`limits::RESPONSE_LEN_MAX`] for a client, which is the default.
//!
//! # Evolution
//! What was recorded in `contract.txt` stays: a test compares it with the `.proto` files. Fields, values and calls
//! may be added, and fields and values removed where number and name become `reserved`. After an addition
//! `cargo xtask renew-contract` records it; it refuses anything else.
//!
//! Decoding **drops fields that it does not know**: a process that reads, changes and writes a message of a later
//! version loses what was added there. An enum value that is not known stays as its number, and reads as the enum's 0.
//! There are no `map` fields and fields are written in the order of their numbers, so that equal messages have equal
//! bytes.
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
//!     into_existing: false,
//! };
//! let bytes = merge.encode_to_vec();
//! assert_eq!(MergeSpec::decode(bytes.as_slice())?, merge);
//! # Ok::<(), eciton_proto::prost::DecodeError>(())
//! ```

pub mod calls;
pub mod limits;

pub use prost;

/// The files of the package as an encoded `google.protobuf.FileDescriptorSet`, imports first, without comments: what
/// a server gives for reflection, and what tools decode messages by.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/eciton.v1.binpb"));

/// Messages and services of the package `eciton.v1`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated: the comments come from the .proto files"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/eciton.v1.rs"));
}
