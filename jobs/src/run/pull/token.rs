//! What a lease is called outside.

use eciton_proto::limits::LEASE_TOKEN_LEN_MAX;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::run::leases::{Holder, Place};

/// The layout of the bytes.
const VERSION: u8 = 1;
/// Bytes before the checksum.
const BODY_LEN: usize = 1 + 8 + 4 + 8 + 4 + 16 + 8;
/// Bytes of a token.
const LEN: usize = BODY_LEN + 8;

const _: () = assert!(LEN <= LEASE_TOKEN_LEN_MAX);

/// Names a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) place: Place,
    /// Attempts at the shard that were counted when the lease was given.
    pub(super) attempts: u32,
    pub(super) holder: Holder,
    /// Which peer gave it.
    pub(super) peer: u64,
}

impl Token {
    /// Its bytes, with a checksum that is one of `database` only.
    pub(super) fn encode(&self, database: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.push(VERSION);
        bytes.extend(self.place.job.to_be_bytes());
        bytes.extend(self.place.retries.to_be_bytes());
        bytes.extend(self.place.shard.to_be_bytes());
        bytes.extend(self.attempts.to_be_bytes());
        bytes.extend(self.holder.0.to_be_bytes());
        bytes.extend(self.peer.to_be_bytes());
        bytes.extend(xxh3_64_with_seed(&bytes, database).to_be_bytes());
        bytes
    }

    /// The token that some bytes are, if a peer of `database` gave it.
    pub(super) fn decode(bytes: &[u8], database: u64) -> Option<Token> {
        let (body, checksum) = bytes.split_at_checked(BODY_LEN)?;
        let sum = u64::from_be_bytes(checksum.try_into().ok()?);
        if sum != xxh3_64_with_seed(body, database) {
            return None;
        }
        let (&version, rest) = body.split_first()?;
        let (job, rest) = rest.split_first_chunk()?;
        let (retries, rest) = rest.split_first_chunk()?;
        let (shard, rest) = rest.split_first_chunk()?;
        let (attempts, rest) = rest.split_first_chunk()?;
        let (holder, rest) = rest.split_first_chunk()?;
        let (peer, _) = rest.split_first_chunk()?;
        let token = Token {
            place: Place {
                job: u64::from_be_bytes(*job),
                retries: u32::from_be_bytes(*retries),
                shard: u64::from_be_bytes(*shard),
            },
            attempts: u32::from_be_bytes(*attempts),
            holder: Holder(u128::from_be_bytes(*holder)),
            peer: u64::from_be_bytes(*peer),
        };
        (version == VERSION).then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_nothing_else_is_one() {
        let token = Token {
            place: Place {
                job: 7,
                retries: 1,
                shard: u64::MAX - 3,
            },
            attempts: 2,
            holder: Holder(9 << 100),
            peer: 11,
        };
        let bytes = token.encode(5);
        assert_eq!(bytes.len(), LEN);
        assert_eq!(Token::decode(&bytes, 5), Some(token));
        assert_eq!(Token::decode(&bytes, 6), None, "another database's");
        for at in 0..LEN {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(Token::decode(&other, 5), None, "byte {at}");
            assert_eq!(Token::decode(&bytes[..at], 5), None, "{at} bytes");
        }
        assert_eq!(Token::decode(&[bytes, vec![0]].concat(), 5), None);
    }
}
