//! The bytes of writes and of references to runs, the same in a slot and on the way to one.

use bytes::Bytes;

use super::codec::{Malformed, Reader, put_sized, put_varint};
use super::ids::SegmentId;
use super::limits::{KEY_LEN_MAX, NUMBER_MAX, SLOT_LEN_MAX, STORE_PREFIX_LEN, VALUE_LEN_MAX};
use super::op::Op;
use super::run_ref::RunRef;

const OP_PUT: u8 = 1;
const OP_DELETE: u8 = 2;
const OP_MERGE: u8 = 3;
/// Bytes of a key with its store's number before it.
pub const FULL_KEY_LEN_MAX: usize = KEY_LEN_MAX + STORE_PREFIX_LEN;

/// Bytes that a write takes in a record, at most: what limits are reckoned with.
pub fn write_len(key: &[u8], op: &Op) -> usize {
    const OVERHEAD: usize = 1 + 5 + 5;
    key.len() + op.payload().len() + OVERHEAD
}

/// Appends writes, which stand in ascending key order, each key once.
pub fn encode_writes(writes: &[(Bytes, Op)], out: &mut Vec<u8>) {
    put_varint(out, writes.len() as u64);
    for (key, op) in writes {
        put_sized(out, key);
        match op {
            Op::Put(value) => {
                out.push(OP_PUT);
                put_sized(out, value);
            }
            Op::Delete => out.push(OP_DELETE),
            Op::Merge(operand) => {
                out.push(OP_MERGE);
                put_sized(out, operand);
            }
        }
    }
}

/// Reads what [`encode_writes`] wrote.
///
/// # Errors
/// [`Malformed`] for anything else.
pub fn decode_writes(reader: &mut Reader<'_>) -> Result<Vec<(Bytes, Op)>, Malformed> {
    let count = reader.varint()?;
    if count > SLOT_LEN_MAX as u64 {
        return Err(Malformed("more writes than fit a slot"));
    }
    let mut writes: Vec<(Bytes, Op)> = Vec::new();
    for _ in 0..count {
        let key = reader.sized(FULL_KEY_LEN_MAX)?;
        let op = match reader.u8()? {
            OP_PUT => Op::Put(reader.sized(VALUE_LEN_MAX)?),
            OP_DELETE => Op::Delete,
            OP_MERGE => Op::Merge(reader.sized(VALUE_LEN_MAX)?),
            _ => return Err(Malformed("unknown kind of write")),
        };
        if writes.last().is_some_and(|(last, _)| *last >= key) {
            return Err(Malformed("writes out of order"));
        }
        writes.push((key, op));
    }
    Ok(writes)
}

/// Appends references to runs, oldest first.
pub fn encode_runs(runs: &[RunRef], out: &mut Vec<u8>) {
    put_varint(out, runs.len() as u64);
    for run in runs {
        out.extend_from_slice(&run.id.tag.to_le_bytes());
        out.extend_from_slice(&run.id.unique.to_le_bytes());
        put_varint(out, run.len);
        put_varint(out, run.entries);
        out.extend_from_slice(&run.hash.to_le_bytes());
        put_sized(out, &run.first_key);
        put_sized(out, &run.last_key);
    }
}

/// Reads what [`encode_runs`] wrote.
///
/// # Errors
/// [`Malformed`] for anything else.
pub fn decode_runs(reader: &mut Reader<'_>) -> Result<Vec<RunRef>, Malformed> {
    let count = reader.varint()?;
    let mut runs = Vec::new();
    for _ in 0..count {
        let id = SegmentId {
            tag: reader.u64()?,
            unique: reader.u128()?,
        };
        if id.tag > NUMBER_MAX {
            return Err(Malformed("a run's tag beyond any that is given"));
        }
        runs.push(RunRef {
            id,
            len: reader.varint()?,
            entries: reader.varint()?,
            hash: reader.u128()?,
            first_key: reader.sized(FULL_KEY_LEN_MAX)?,
            last_key: reader.sized(FULL_KEY_LEN_MAX)?,
        });
    }
    Ok(runs)
}
