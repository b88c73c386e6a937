//! What one transaction does to the database, as it stands in a slot.

use bytes::Bytes;

use crate::base::codec::{Malformed, Reader, put_varint};
use crate::base::limits::PATHS_MAX;
use crate::base::writes::{decode_runs, decode_writes, encode_runs, encode_writes};
use crate::base::{Generation, InstanceId, ManifestId, Op, PathId, Position, RunRef, TxId};

/// One committed transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
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
    /// A seal: from the next slot on the log goes on under another generation, and stands on these paths, the active
    /// one first. Whoever still writes the generation before needs a path on which it finds this (S13).
    Seal {
        /// The generation that begins after this slot.
        generation: Generation,
        /// One path, or two: the active one, then the passive one.
        paths: Vec<PathId>,
    },
    /// The transaction of this name will never commit: it stood in no slot through `read_at`, and no
    /// later slot may hold it.
    Cancel(TxId),
    /// From here on no record may refer to a segment tagged up to this manifest that is not in use
    /// already: unused ones are about to be deleted.
    Collect(ManifestId),
}

impl Body {
    /// The generation that begins after it, if one does.
    pub fn begins(&self) -> Option<Generation> {
        match self {
            Body::Generation { generation, .. } | Body::Seal { generation, .. } => {
                Some(*generation)
            }
            _ => None,
        }
    }

    /// How many of its writes are merges; those of a bulk record are not counted.
    pub fn merges(&self) -> u64 {
        match self {
            Body::Writes(writes) => {
                let merges = writes.iter().filter(|(_, op)| matches!(op, Op::Merge(_)));
                merges.count() as u64
            }
            _ => 0,
        }
    }
}

const KIND_WRITES: u8 = 1;
const KIND_BULK: u8 = 2;
const KIND_GENERATION: u8 = 3;
const KIND_CANCEL: u8 = 4;
const KIND_COLLECT: u8 = 5;
const KIND_SEAL: u8 = 6;

impl LogRecord {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.body {
            Body::Writes(_) => KIND_WRITES,
            Body::Bulk(_) => KIND_BULK,
            Body::Generation { .. } => KIND_GENERATION,
            Body::Cancel(_) => KIND_CANCEL,
            Body::Collect(_) => KIND_COLLECT,
            Body::Seal { .. } => KIND_SEAL,
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
            Body::Seal { generation, paths } => {
                assert!(
                    !paths.is_empty() && paths.len() <= PATHS_MAX,
                    "generation {generation} stands on {paths:?}"
                );
                put_varint(out, generation.0);
                put_varint(out, paths.len() as u64);
                for path in paths {
                    put_varint(out, path.0);
                }
            }
            Body::Cancel(target) => out.extend_from_slice(&target.0.to_le_bytes()),
            Body::Collect(manifest) => put_varint(out, manifest.0),
        }
    }

    /// Reads one record.
    ///
    /// # Errors
    /// `Malformed` for anything that [`LogRecord::encode`] does not write.
    pub fn decode(reader: &mut Reader<'_>) -> Result<LogRecord, Malformed> {
        let kind = reader.u8()?;
        let txid = TxId(reader.u128()?);
        let read_at = Position(reader.number()?);
        let body = match kind {
            KIND_WRITES => Body::Writes(decode_writes(reader)?),
            KIND_BULK => Body::Bulk(decode_runs(reader)?),
            KIND_GENERATION => Body::Generation {
                generation: Generation(reader.number()?),
                instance: InstanceId(reader.u128()?),
            },
            KIND_CANCEL => Body::Cancel(TxId(reader.u128()?)),
            KIND_COLLECT => Body::Collect(ManifestId(reader.number()?)),
            KIND_SEAL => Body::Seal {
                generation: Generation(reader.number()?),
                paths: decode_paths(reader)?,
            },
            _ => return Err(Malformed("unknown kind of record")),
        };
        if body == Body::Cancel(txid) {
            return Err(Malformed("a record that cancels itself"));
        }
        Ok(LogRecord {
            txid,
            read_at,
            body,
        })
    }
}

/// The paths of a generation: one, or two that differ.
fn decode_paths(reader: &mut Reader<'_>) -> Result<Vec<PathId>, Malformed> {
    let count = reader.number()?;
    if count == 0 || count > PATHS_MAX as u64 {
        return Err(Malformed("a generation without a path, or with too many"));
    }
    let mut paths = Vec::new();
    for _ in 0..count {
        let path = PathId(reader.number()?);
        if paths.contains(&path) {
            return Err(Malformed("a path twice"));
        }
        paths.push(path);
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SegmentId;

    fn round_trip(record: &LogRecord) {
        let mut out = Vec::new();
        record.encode(&mut out);
        let bytes = Bytes::from(out);
        let mut reader = Reader::new(&bytes);
        assert_eq!(LogRecord::decode(&mut reader).as_ref(), Ok(record));
        assert!(reader.is_done());
        for cut in 0..bytes.len() {
            let part = bytes.slice(..cut);
            assert!(
                LogRecord::decode(&mut Reader::new(&part)).is_err(),
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
        round_trip(&LogRecord {
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
        round_trip(&LogRecord {
            txid,
            read_at,
            body: Body::Bulk(vec![run]),
        });
        let body = Body::Generation {
            generation: Generation(2),
            instance: InstanceId(5),
        };
        round_trip(&LogRecord {
            txid,
            read_at,
            body,
        });
        for paths in [vec![PathId(1)], vec![PathId(300), PathId(0)]] {
            let generation = Generation(3);
            round_trip(&LogRecord {
                txid,
                read_at,
                body: Body::Seal { generation, paths },
            });
        }
    }

    #[test]
    fn writes_out_of_order_are_refused() {
        let body = Body::Writes(vec![
            (Bytes::from("b"), Op::Delete),
            (Bytes::from("a"), Op::Delete),
        ]);
        let mut out = Vec::new();
        LogRecord {
            txid: TxId(1),
            read_at: Position(0),
            body,
        }
        .encode(&mut out);
        let bytes = Bytes::from(out);
        let decoded = LogRecord::decode(&mut Reader::new(&bytes));
        assert_eq!(decoded, Err(Malformed("writes out of order")));
    }
}
