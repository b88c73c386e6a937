//! Equality of specifications in 128 bits.

use eciton_proto::prost::Message;
use eciton_proto::v1::JobSpec;
use xxhash_rust::xxh3::xxh3_128;

/// XXH3-128 of the encoded spec: equal for equal specs. Two jobs of one name are the same job if and
/// only if their fingerprints are equal; it guards against a mistaken edit, not against a forger.
///
/// The encoding is deterministic: fields are written in order of their numbers and there are no maps.
pub fn fingerprint(spec: &JobSpec) -> u128 {
    xxh3_128(&spec.encode_to_vec())
}
