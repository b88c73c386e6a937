//! How the record of a shard is written.
//!
//! It is a message, `ShardState`. But a job may have millions of shards, nearly all of which their first attempt does,
//! and of those that read a file a hash is kept, so that edited files are noticed. Of such a shard, where the job's
//! layout is 2 or 3, the record is nothing but the first [`HASH_LEN`] bytes of that hash. No message has that length: one with
//! an outcome has 2 bytes, or 4 and more; one without has a time.
//!
//! # What so short a hash is good for
//! It is no proof against somebody who means to deceive; no length that is kept here is, since XXH3 is none. What is
//! asked of it is that a done shard that was edited by accident is noticed when failed ones are retried. One that was
//! passes once in 2^24 times, and only if its length is the same, or what follows is cut anew. Where a shard has to be
//! looked for since lines before it came or went, which asks many places, the hashes of several neighbours have to
//! agree: see [`mend`](crate::source::mend).

use eciton_proto::prost::{DecodeError, Message};
use eciton_proto::v1::{Outcome, ShardState};

use crate::source::KeptHash;

/// Jobs whose shards' records are messages.
pub(crate) const LAYOUT_MESSAGES: u32 = 1;
/// Jobs whose shards' records are messages or bytes of hashes.
pub(crate) const LAYOUT_HASHES: u32 = 2;
/// The same, and whoever works on one has to know what it [needs](super::needs): versions from before that refuse this
/// layout, and would leave out what they do not know.
pub(crate) const LAYOUT_NEEDS: u32 = LAYOUT_HASHES + 1;

/// Bits that are kept of a hash, whole bytes.
const HASH_BITS: u32 = 24;
/// The same in bytes.
const HASH_LEN: usize = (HASH_BITS / 8) as usize;
/// Set in a hash of which only [`HASH_LEN`] bytes are known: one that is all zeros says that nothing is known.
const KNOWN: u64 = 1;

/// The record of a shard of a job of this layout.
pub(crate) fn encode(layout: u32, state: &ShardState) -> Vec<u8> {
    let plain = ShardState {
        outcome: Outcome::Done.into(),
        content_hash: state.content_hash,
        ..ShardState::default()
    };
    if layout == LAYOUT_MESSAGES || state.content_hash == 0 || *state != plain {
        return state.encode_to_vec();
    }
    state.content_hash.to_be_bytes()[..HASH_LEN].to_vec()
}

/// What a record says. The hash has its first bytes only, where no more are kept.
pub(crate) fn decode(record: &[u8]) -> Result<ShardState, DecodeError> {
    if record.len() != HASH_LEN {
        return ShardState::decode(record);
    }
    let mut hash = KNOWN.to_be_bytes();
    hash[..HASH_LEN].copy_from_slice(record);
    Ok(ShardState {
        outcome: Outcome::Done.into(),
        content_hash: u64::from_be_bytes(hash),
        ..ShardState::default()
    })
}

/// What is known of the bytes of a shard that is done.
pub(crate) fn kept_hash(layout: u32, state: &ShardState) -> KeptHash {
    match (state.content_hash, layout) {
        (0, _) => KeptHash::NOTHING,
        (hash, LAYOUT_MESSAGES) => KeptHash::new(hash, u64::BITS),
        (hash, _) => KeptHash::new(hash, HASH_BITS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(content_hash: u64) -> ShardState {
        ShardState {
            outcome: Outcome::Done.into(),
            content_hash,
            ..ShardState::default()
        }
    }

    #[test]
    fn a_shard_that_its_first_attempt_has_done_is_bytes_of_its_hash() {
        let hash = 0x0102_0304_0506_0708;
        let record = encode(LAYOUT_HASHES, &done(hash));
        assert_eq!(record, [1, 2, 3]);
        let read = decode(&record).unwrap();
        assert_eq!(read.outcome(), Outcome::Done);
        assert_eq!(
            kept_hash(LAYOUT_HASHES, &read),
            kept_hash(LAYOUT_HASHES, &done(hash))
        );
        assert_ne!(
            kept_hash(LAYOUT_HASHES, &read),
            kept_hash(LAYOUT_HASHES, &done(hash ^ 1 << 40))
        );
        // It is written as it was found.
        assert_eq!(encode(LAYOUT_HASHES, &read), record);
        // Known to begin with zeros, and not unknown.
        let zeros = decode(&encode(LAYOUT_HASHES, &done(9))).unwrap();
        assert_ne!(kept_hash(LAYOUT_HASHES, &zeros), KeptHash::NOTHING);
        assert_eq!(kept_hash(LAYOUT_HASHES, &done(0)), KeptHash::NOTHING);
    }

    #[test]
    fn anything_else_is_a_message_of_another_length() {
        let hash = 0x0102_0304_0506_0708;
        let failed = |attempts, outcome: Outcome| ShardState {
            outcome: outcome.into(),
            attempts,
            finished_ms: 1,
            ..ShardState::default()
        };
        let suspected = |suspected, killed| ShardState {
            suspected,
            killed,
            ..ShardState::default()
        };
        let second = ShardState {
            attempts: 2,
            ..done(hash)
        };
        let retried = ShardState {
            attempts: 1,
            attempts_before: 1,
            ..ShardState::default()
        };
        let states = [
            done(0),
            second.clone(),
            ShardState {
                content_hash: 0,
                ..second
            },
            failed(1, Outcome::Unspecified),
            failed(200, Outcome::Failed),
            retried,
            suspected(1, 0),
            suspected(127, 0),
            suspected(127, 4),
        ];
        for state in states {
            let record = encode(LAYOUT_HASHES, &state);
            assert_ne!(record.len(), HASH_LEN, "{state:?}");
            assert_eq!(decode(&record).unwrap(), state);
        }
        // Databases of before.
        let old = encode(LAYOUT_MESSAGES, &done(hash));
        assert_eq!(old, done(hash).encode_to_vec());
        let read = decode(&old).unwrap();
        assert_eq!(read, done(hash));
        assert_eq!(
            kept_hash(LAYOUT_MESSAGES, &read),
            KeptHash::new(hash, u64::BITS)
        );
    }
}
