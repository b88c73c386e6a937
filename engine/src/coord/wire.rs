//! Intents and answers as bytes on a bus: with a format version, the database's name and a checksum,
//! so that what is not whole, or another database's, is dropped.

use bytes::Bytes;

use super::intent::{Intent, KeyRange, Origin, ReadSet, Writes};
use crate::base::checksum::checksum64;
use crate::base::codec::{Malformed, Reader, put_sized, put_varint};
use crate::base::writes::{
    FULL_KEY_LEN_MAX, decode_runs, decode_writes, encode_runs, encode_writes, write_len,
};
use crate::base::{Generation, InstanceId, ManifestId, Position, TxId};

/// Bytes before the body of a message: its form, its version, its database.
const HEAD_LEN: usize = 4 + 1 + 16;
const INTENT_MAGIC: [u8; 4] = *b"ECIN";
const ANSWER_MAGIC: [u8; 4] = *b"ECAN";
/// The version of both forms. A process that meets another one drops the message.
const WIRE_VERSION: u8 = 4;
const WRITES_SMALL: u8 = 1;
const WRITES_BULK: u8 = 2;
const WRITES_CANCEL: u8 = 3;
const WRITES_COLLECT: u8 = 4;
const ANSWER_COMMITTED: u8 = 1;
const ANSWER_REJECTED: u8 = 2;
/// Bytes of an end of a range at most: a key with something after it.
const BOUND_LEN_MAX: usize = FULL_KEY_LEN_MAX + 1;
/// Keys and ranges of one read set at most, so that a damaged count asks for no memory.
const READS_MAX: u64 = 16 * 1024 * 1024;

/// What another process says became of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It stands in this slot, which is durable.
    Committed(Position),
    /// It was refused: a hint, until one has looked oneself.
    Rejected,
}

/// The bytes of an intent.
pub fn encode_intent(of: InstanceId, intent: &Intent) -> Bytes {
    let mut out = Vec::with_capacity(intent.len + 256);
    begin(&mut out, INTENT_MAGIC, of);
    out.extend_from_slice(&intent.txid.0.to_le_bytes());
    out.extend_from_slice(&intent.read_hash.to_le_bytes());
    put_varint(&mut out, intent.read_at.0);
    put_varint(&mut out, intent.reads.keys.len() as u64);
    for key in &intent.reads.keys {
        put_sized(&mut out, key);
    }
    put_varint(&mut out, intent.reads.ranges.len() as u64);
    for range in &intent.reads.ranges {
        put_sized(&mut out, &range.from);
        put_sized(&mut out, &range.to);
    }
    match &intent.writes {
        Writes::Small(writes) => {
            out.push(WRITES_SMALL);
            encode_writes(writes, &mut out);
        }
        Writes::Bulk { runs, generation } => {
            out.push(WRITES_BULK);
            put_varint(&mut out, generation.0);
            encode_runs(runs, &mut out);
        }
        Writes::Cancel(target) => {
            out.push(WRITES_CANCEL);
            out.extend_from_slice(&target.0.to_le_bytes());
        }
        Writes::Collect(manifest) => {
            out.push(WRITES_COLLECT);
            put_varint(&mut out, manifest.0);
        }
    }
    end(out)
}

/// The bytes of several intents.
pub fn encode_intents<'a>(of: InstanceId, intents: impl IntoIterator<Item = &'a Intent>) -> Bytes {
    let mut out = Vec::new();
    for intent in intents {
        put_sized(&mut out, &encode_intent(of, intent));
    }
    out.into()
}

/// Reads several intents, as far as they are some of this database's.
pub fn decode_intents(of: InstanceId, bytes: &Bytes) -> Vec<Intent> {
    let mut reader = Reader::new(bytes);
    let mut intents = Vec::new();
    while !reader.is_done() {
        let Ok(intent) = reader.sized(bytes.len()) else {
            break;
        };
        intents.extend(decode_intent(of, &intent));
    }
    intents
}

/// Reads an intent; `None` for anything that is not one of this database.
pub fn decode_intent(of: InstanceId, bytes: &Bytes) -> Option<Intent> {
    let body = open(bytes, INTENT_MAGIC, of)?;
    let mut reader = Reader::new(&body);
    let intent = intent(&mut reader).ok()?;
    reader.is_done().then_some(intent)
}

fn intent(reader: &mut Reader<'_>) -> Result<Intent, Malformed> {
    let txid = TxId(reader.u128()?);
    let read_hash = reader.u128()?;
    let read_at = Position(reader.number()?);
    let mut reads = ReadSet::default();
    for _ in 0..count(reader)? {
        reads.keys.push(reader.sized(FULL_KEY_LEN_MAX)?);
    }
    for _ in 0..count(reader)? {
        let (from, to) = (reader.sized(BOUND_LEN_MAX)?, reader.sized(BOUND_LEN_MAX)?);
        reads.ranges.push(KeyRange { from, to });
    }
    let writes = match reader.u8()? {
        WRITES_SMALL => Writes::Small(decode_writes(reader)?),
        WRITES_BULK => Writes::Bulk {
            generation: Generation(reader.number()?),
            runs: decode_runs(reader)?,
        },
        WRITES_CANCEL => Writes::Cancel(TxId(reader.u128()?)),
        WRITES_COLLECT => Writes::Collect(ManifestId(reader.number()?)),
        _ => return Err(Malformed("unknown kind of intent")),
    };
    if matches!(writes, Writes::Cancel(target) if target == txid) {
        return Err(Malformed("an intent that cancels itself"));
    }
    let len = writes_len(&writes);
    Ok(Intent {
        txid,
        read_at,
        read_hash,
        reads,
        writes,
        len,
        origin: Origin::Foreign,
    })
}

fn count(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let count = reader.varint()?;
    if count > READS_MAX {
        return Err(Malformed("more reads than an intent may have"));
    }
    Ok(count)
}

impl Writes {
    /// Bytes that they take in a record, at most.
    pub fn len(&self) -> usize {
        writes_len(self)
    }
}

/// Bytes that the writes take in a record, at most.
fn writes_len(writes: &Writes) -> usize {
    const RECORD_HEAD_LEN: usize = 64;
    const RUN_HEAD_LEN: usize = 128;
    let len = match writes {
        Writes::Small(writes) => writes.iter().map(|(key, op)| write_len(key, op)).sum(),
        Writes::Bulk { runs, .. } => runs
            .iter()
            .map(|run| RUN_HEAD_LEN + run.first_key.len() + run.last_key.len())
            .sum(),
        Writes::Cancel(_) | Writes::Collect(_) => 0,
    };
    len + RECORD_HEAD_LEN
}

/// The bytes of an answer.
pub fn encode_answer(of: InstanceId, txid: TxId, heard: Heard) -> Bytes {
    let mut out = Vec::with_capacity(64);
    begin(&mut out, ANSWER_MAGIC, of);
    out.extend_from_slice(&txid.0.to_le_bytes());
    match heard {
        Heard::Committed(n) => {
            out.push(ANSWER_COMMITTED);
            put_varint(&mut out, n.0);
        }
        Heard::Rejected => out.push(ANSWER_REJECTED),
    }
    let bytes = end(out);
    debug_assert_eq!(
        decode_answer(of, txid, &bytes),
        Some(heard),
        "the answer to {txid} reads back as it is written"
    );
    bytes
}

/// Reads the answer to `txid`; `None` for anything else.
pub fn decode_answer(of: InstanceId, txid: TxId, bytes: &Bytes) -> Option<Heard> {
    let body = open(bytes, ANSWER_MAGIC, of)?;
    let mut reader = Reader::new(&body);
    if reader.u128().ok()? != txid.0 {
        return None;
    }
    let heard = match reader.u8().ok()? {
        ANSWER_COMMITTED => Heard::Committed(Position(reader.number().ok()?)),
        ANSWER_REJECTED => Heard::Rejected,
        _ => return None,
    };
    reader.is_done().then_some(heard)
}

fn begin(out: &mut Vec<u8>, magic: [u8; 4], of: InstanceId) {
    assert!(out.is_empty(), "{} bytes before a message", out.len());
    out.extend_from_slice(&magic);
    out.push(WIRE_VERSION);
    out.extend_from_slice(&of.0.to_le_bytes());
    assert_eq!(out.len(), HEAD_LEN, "the head of a message");
}

fn end(mut out: Vec<u8>) -> Bytes {
    assert!(
        out.len() > HEAD_LEN,
        "a message of {} bytes says nothing",
        out.len()
    );
    let sum = checksum64(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out.into()
}

/// The body of a message that is whole, of this form and version, and of this database.
fn open(bytes: &Bytes, magic: [u8; 4], of: InstanceId) -> Option<Bytes> {
    let body_end = bytes.len().checked_sub(8)?;
    let (summed, sum) = bytes.split_at(body_end);
    let mut head = Vec::with_capacity(HEAD_LEN);
    begin(&mut head, magic, of);
    let whole = summed.starts_with(&head) && checksum64(summed).to_le_bytes() == sum;
    whole.then(|| bytes.slice(HEAD_LEN..body_end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Op, RunRef, SegmentId};

    const OF: InstanceId = InstanceId(77);

    fn intents() -> Vec<Intent> {
        let run = RunRef {
            id: SegmentId { tag: 3, unique: 9 },
            len: 10,
            entries: 2,
            hash: 5,
            first_key: Bytes::from("a"),
            last_key: Bytes::from("z"),
        };
        let kinds = [
            Writes::Small(vec![
                (Bytes::from("a"), Op::Put(Bytes::from("v"))),
                (Bytes::from("b"), Op::Delete),
                (Bytes::from("c"), Op::Merge(Bytes::new())),
            ]),
            Writes::Bulk {
                runs: vec![run],
                generation: Generation(2),
            },
            Writes::Cancel(TxId(8)),
            Writes::Collect(ManifestId(4)),
        ];
        let reads = ReadSet {
            keys: vec![Bytes::from("k"), Bytes::new()],
            ranges: vec![KeyRange::everything()],
        };
        let make = |writes| Intent {
            txid: TxId(1),
            read_at: Position(300),
            read_hash: 6,
            reads: reads.clone(),
            len: writes_len(&writes),
            writes,
            origin: Origin::Foreign,
        };
        kinds.into_iter().map(make).collect()
    }

    #[test]
    fn intents_round_trip_and_every_flipped_bit_is_dropped() {
        for intent in intents() {
            let bytes = encode_intent(OF, &intent);
            let read = decode_intent(OF, &bytes).unwrap();
            assert_eq!(format!("{read:?}"), format!("{intent:?}"));
            assert!(decode_intent(InstanceId(78), &bytes).is_none());
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode_intent(OF, &flipped.into()).is_none(), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert!(decode_intent(OF, &bytes.slice(..len)).is_none(), "{len}");
            }
        }
    }

    #[test]
    fn of_several_intents_those_that_are_whole_are_read() {
        let several = intents();
        let bytes = encode_intents(OF, &several);
        let text = |intents: &[Intent]| format!("{intents:?}");
        assert_eq!(text(&decode_intents(OF, &bytes)), text(&several));
        for len in 0..bytes.len() {
            let some = decode_intents(OF, &bytes.slice(..len));
            assert!(some.len() < several.len(), "{len}");
            assert_eq!(text(&some), text(&several[..some.len()]), "{len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let some = decode_intents(OF, &flipped.into());
            assert!(some.len() < several.len(), "bit {bit}");
        }
    }

    #[test]
    fn answers_round_trip_and_belong_to_their_transaction() {
        for heard in [Heard::Committed(Position(1 << 40)), Heard::Rejected] {
            let bytes = encode_answer(OF, TxId(5), heard);
            assert_eq!(decode_answer(OF, TxId(5), &bytes), Some(heard));
            assert_eq!(decode_answer(OF, TxId(6), &bytes), None);
            assert_eq!(decode_answer(InstanceId(1), TxId(5), &bytes), None);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode_answer(OF, TxId(5), &flipped.into()), None);
            }
        }
    }
}
