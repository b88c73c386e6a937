//! What every other module stands on: ids, keys, checksums, errors, clock, entropy, limits.

pub mod bounds;
pub mod budget;
pub mod checksum;
pub mod clock;
pub mod codec;
pub mod entropy;
pub mod error;
pub mod huge;
pub mod ids;
pub mod json;
pub mod key;
pub mod limits;
pub mod metric;
pub mod mutant;
pub mod op;
pub mod rare;
pub mod run_ref;
pub mod spawn;
pub mod sync;
pub mod writes;

pub use bounds::Bounds;
pub use error::{Action, Error, Result};
pub use ids::{
    FloorId, Generation, InstanceId, ManifestId, PathId, Position, SegmentId, StoreId, TxId,
};
pub use key::{Blob, Datum, Decimal, Desc, Direction, Key, KeyBuilder, Timestamp, Uuid};
pub use mutant::Mutant;
pub use op::Op;
pub use rare::Rare;
pub use run_ref::RunRef;
