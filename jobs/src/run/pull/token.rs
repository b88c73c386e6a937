//! What a lease is called outside.
//!
//! A token says which lease it names, and carries an HMAC-SHA-256 over that and over the database's id. Its key is a record
//! of the database ([`LeaseKey`]), which its workers read and programs do not: so whoever brings a token was given it by
//! some worker of this database, and cannot make one for another shard.

use eciton_engine::entropy::{Entropy as _, SystemEntropy};
use eciton_proto::limits::LEASE_TOKEN_LEN_MAX;
use ring::hmac;

use crate::run::schedule::leases::{LeaseHolder, ShardId};

/// The layout of the bytes.
const VERSION: u8 = 2;
/// Bytes before the code.
const BODY_LEN: usize = 1 + 8 + 4 + 8 + 4 + 16 + 8;
/// Bytes of the code.
const CODE_LEN: usize = 32;
/// Bytes of a token.
const LEN: usize = BODY_LEN + CODE_LEN;
/// Bytes of a key.
const KEY_LEN: usize = 32;
/// Version and length of tokens with a checksum that everybody could make.
const OLD: (u8, usize) = (1, BODY_LEN + 8);

const _: () = assert!(LEN <= LEASE_TOKEN_LEN_MAX);

/// What tokens of one database are made and checked with. Shows nothing of itself.
pub(super) struct LeaseKey {
    key: hmac::Key,
    database: u128,
}

impl LeaseKey {
    /// The bytes of a new key, to be kept with the database.
    pub(super) fn draw() -> Vec<u8> {
        let halves = [SystemEntropy.next_u128(), SystemEntropy.next_u128()];
        halves.iter().flat_map(|half| half.to_le_bytes()).collect()
    }

    /// The key that was kept with the database of this id; `None` where the bytes cannot be one.
    pub(super) fn new(kept: &[u8], database: u128) -> Option<LeaseKey> {
        (kept.len() == KEY_LEN).then(|| LeaseKey {
            key: hmac::Key::new(hmac::HMAC_SHA256, kept),
            database,
        })
    }

    /// What is authenticated: the token, and that it is one of this database.
    fn said(&self, body: &[u8]) -> Vec<u8> {
        [&self.database.to_be_bytes(), body].concat()
    }
}

/// What some bytes that are to be a token are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodedToken {
    /// A token that a peer of this database gave.
    Token(Token),
    /// One of an earlier version: its lease has been lost.
    Old,
    /// No token, one of another database, or one that nobody gave.
    Unknown,
}

/// Names a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) shard_id: ShardId,
    /// Attempts at the shard that were counted when the lease was given.
    pub(super) attempts: u32,
    pub(super) holder: LeaseHolder,
    /// Which peer gave it.
    pub(super) peer: u64,
}

impl Token {
    /// Its bytes, which only those can make who have the key.
    pub(super) fn encode(&self, key: &LeaseKey) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.push(VERSION);
        bytes.extend(self.shard_id.job.to_be_bytes());
        bytes.extend(self.shard_id.retries.to_be_bytes());
        bytes.extend(self.shard_id.shard.to_be_bytes());
        bytes.extend(self.attempts.to_be_bytes());
        bytes.extend(self.holder.0.to_be_bytes());
        bytes.extend(self.peer.to_be_bytes());
        assert_eq!(
            Token::read(&bytes),
            Some(*self),
            "a token reads back as it is written"
        );
        let code = hmac::sign(&key.key, &key.said(&bytes));
        bytes.extend(code.as_ref());
        assert_eq!(bytes.len(), LEN, "the length of a token");
        bytes
    }

    /// What some bytes are. How long that takes says nothing of the right code.
    pub(super) fn decode(bytes: &[u8], key: &LeaseKey) -> DecodedToken {
        if bytes.first() == Some(&OLD.0) && bytes.len() == OLD.1 {
            return DecodedToken::Old;
        }
        let Some((body, code)) = bytes.split_at_checked(BODY_LEN) else {
            return DecodedToken::Unknown;
        };
        // Of another length it is never the code.
        if hmac::verify(&key.key, &key.said(body), code).is_err() {
            return DecodedToken::Unknown;
        }
        Token::read(body).map_or(DecodedToken::Unknown, DecodedToken::Token)
    }

    fn read(body: &[u8]) -> Option<Token> {
        let (&version, rest) = body.split_first()?;
        let (job, rest) = rest.split_first_chunk()?;
        let (retries, rest) = rest.split_first_chunk()?;
        let (shard, rest) = rest.split_first_chunk()?;
        let (attempts, rest) = rest.split_first_chunk()?;
        let (holder, rest) = rest.split_first_chunk()?;
        let (peer, _) = rest.split_first_chunk()?;
        let token = Token {
            shard_id: ShardId {
                job: u64::from_be_bytes(*job),
                retries: u32::from_be_bytes(*retries),
                shard: u64::from_be_bytes(*shard),
            },
            attempts: u32::from_be_bytes(*attempts),
            holder: LeaseHolder(u128::from_be_bytes(*holder)),
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
        let kept = LeaseKey::draw();
        assert_ne!(kept, LeaseKey::draw());
        let key = LeaseKey::new(&kept, 5).unwrap();
        assert!(LeaseKey::new(&kept[1..], 5).is_none());
        let token = Token {
            shard_id: ShardId {
                job: 7,
                retries: 1,
                shard: u64::MAX - 3,
            },
            attempts: 2,
            holder: LeaseHolder(9 << 100),
            peer: 11,
        };
        let bytes = token.encode(&key);
        assert_eq!(bytes.len(), LEN);
        assert_eq!(Token::decode(&bytes, &key), DecodedToken::Token(token));
        let unknown = |bytes: &[u8], key: &LeaseKey| {
            assert_eq!(Token::decode(bytes, key), DecodedToken::Unknown);
        };
        unknown(&bytes, &LeaseKey::new(&kept, 6).unwrap());
        unknown(&bytes, &LeaseKey::new(&LeaseKey::draw(), 5).unwrap());
        for at in 0..LEN {
            let mut other = bytes.clone();
            other[at] ^= 1;
            unknown(&other, &key);
            unknown(&bytes[..at], &key);
        }
        unknown(&[bytes, vec![0]].concat(), &key);
    }

    /// As version 1 made them, whose checksum took nothing but the database's id.
    #[test]
    fn a_token_of_an_earlier_version_is_told_as_that() {
        let key = LeaseKey::new(&LeaseKey::draw(), 5).unwrap();
        let mut old = vec![1];
        old.extend([0; BODY_LEN - 1]);
        old.extend(xxhash_rust::xxh3::xxh3_64_with_seed(&old, 5).to_be_bytes());
        assert_eq!(Token::decode(&old, &key), DecodedToken::Old);
        old.push(0);
        assert_eq!(Token::decode(&old, &key), DecodedToken::Unknown);
    }
}
