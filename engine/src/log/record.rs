//! What one transaction does to the database, as it stands in a slot.

use bytes::Bytes;

use crate::base::codec::{Malformed, Reader, put_sized, put_varint};
use crate::base::limits::{KEY_LEN_MAX, SLOT_LEN_MAX, STORE_PREFIX_LEN, VALUE_LEN_MAX};
use crate::base::{Generation, InstanceId, Op, Position, RunRef, SegmentId, TxId};

/// One committed transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name; stands in the log at most once.
    pub txid: TxId,
    /// The position whose state it read.
    pub read_at: Position,
    /// What it does.
    pub body: Body,
}

/// The effect of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Writes in ascending key order, each key once.
    Writes(Vec<(Bytes, Op)>),
    /// Sorted runs that were durable before this record was written, oldest first: a later one
    /// wins over an earlier one. Such a record stands alone in its slot.
    Bulk(Vec<RunRef>),
    /// From the next slot on the log goes on under another generation (a copy has become a database
    /// of its own).
    Generation {
        /// The generation that begins after this slot.
        generation: Generation,
        /// The database's name from here on.
        instance: InstanceId,
    },
}

const KIND_WRITES: u8 = 1;
const KIND_BULK: u8 = 2;
const KIND_GENERATION: u8 = 3;
const OP_PUT: u8 = 1;
const OP_DELETE: u8 = 2;
const OP_MERGE: u8 = 3;
const FULL_KEY_LEN_MAX: usize = KEY_LEN_MAX + STORE_PREFIX_LEN;

impl Record {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.body {
            Body::Writes(_) => KIND_WRITES,
            Body::Bulk(_) => KIND_BULK,
            Body::Generation { .. } => KIND_GENERATION,
        });
        out.extend_from_slice(&self.txid.0.to_le_bytes());
        put_varint(out, self.read_at.0);
        match &self.body {
            Body::Writes(writes) => encode_writes(writes, out),
            Body::Bulk(runs) => encode_runs(runs, out),
            Body::Generation {
                generation,
                instance,
            } => {
                put_varint(out, generation.0);
                out.extend_from_slice(&instance.0.to_le_bytes());
            }
        }
    }

    /// Reads one record.
    ///
    /// # Errors
    /// [`Malformed`] for anything that [`Record::encode`] does not write.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Record, Malformed> {
        let kind = reader.u8()?;
        let txid = TxId(reader.u128()?);
        let read_at = Position(reader.varint()?);
        let body = match kind {
            KIND_WRITES => Body::Writes(decode_writes(reader)?),
            KIND_BULK => Body::Bulk(decode_runs(reader)?),
            KIND_GENERATION => Body::Generation {
                generation: Generation(reader.varint()?),
                instance: InstanceId(reader.u128()?),
            },
            _ => return Err(Malformed("unknown kind of record")),
        };
        Ok(Record {
            txid,
            read_at,
            body,
        })
    }
}

/// Bytes that a write takes in a record, at most: what limits are reckoned with.
pub fn write_len(key: &[u8], op: &Op) -> usize {
    const OVERHEAD: usize = 1 + 5 + 5;
    key.len() + op.payload().len() + OVERHEAD
}

fn encode_writes(writes: &[(Bytes, Op)], out: &mut Vec<u8>) {
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

fn decode_writes(reader: &mut Reader<'_>) -> Result<Vec<(Bytes, Op)>, Malformed> {
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

fn encode_runs(runs: &[RunRef], out: &mut Vec<u8>) {
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

fn decode_runs(reader: &mut Reader<'_>) -> Result<Vec<RunRef>, Malformed> {
    let count = reader.varint()?;
    let mut runs = Vec::new();
    for _ in 0..count {
        let id = SegmentId {
            tag: reader.u64()?,
            unique: reader.u128()?,
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(record: &Record) {
        let mut out = Vec::new();
        record.encode(&mut out);
        let bytes = Bytes::from(out);
        let mut reader = Reader::new(&bytes);
        assert_eq!(Record::decode(&mut reader).as_ref(), Ok(record));
        assert!(reader.is_done());
        for cut in 0..bytes.len() {
            let part = bytes.slice(..cut);
            assert!(
                Record::decode(&mut Reader::new(&part)).is_err(),
                "decoded {cut} bytes"
            );
        }
    }

    #[test]
    fn every_kind_round_trips_and_no_part_of_it_decodes() {
        let (txid, read_at) = (TxId(7 << 100), Position(300));
        let key = |text: &'static str| Bytes::from_static(text.as_bytes());
        let writes = vec![
            (key("a"), Op::Put(key("value"))),
            (key("b"), Op::Delete),
            (key("c"), Op::Merge(key("operand"))),
        ];
        round_trip(&Record {
            txid,
            read_at,
            body: Body::Writes(writes),
        });
        let run = RunRef {
            id: SegmentId {
                tag: 4,
                unique: 1 << 127,
            },
            len: 8192,
            entries: 3,
            hash: 99,
            first_key: key("a"),
            last_key: key("z"),
        };
        round_trip(&Record {
            txid,
            read_at,
            body: Body::Bulk(vec![run]),
        });
        let body = Body::Generation {
            generation: Generation(2),
            instance: InstanceId(5),
        };
        round_trip(&Record {
            txid,
            read_at,
            body,
        });
    }

    #[test]
    fn writes_out_of_order_are_refused() {
        let body = Body::Writes(vec![
            (Bytes::from("b"), Op::Delete),
            (Bytes::from("a"), Op::Delete),
        ]);
        let mut out = Vec::new();
        Record {
            txid: TxId(1),
            read_at: Position(0),
            body,
        }
        .encode(&mut out);
        let bytes = Bytes::from(out);
        let decoded = Record::decode(&mut Reader::new(&bytes));
        assert_eq!(decoded, Err(Malformed("writes out of order")));
    }
}
