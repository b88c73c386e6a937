//! A slot: the records that commit together, with their place in the hash chain (S1 of the protocol).

use bytes::Bytes;

use super::record::{Body, LogRecord};
use crate::base::checksum::{checksum64, hash128};
use crate::base::codec::Reader;
use crate::base::limits::{NUMBER_MAX, SECTOR_LEN, SLOT_LEN_MAX, SLOT_RECORDS_MAX};
use crate::base::{Generation, Mutant, Position};

/// The version of the slot format that this program writes, and the newest it reads.
pub const SLOT_VERSION: u16 = 4;
/// The last version without masked records.
const PLAIN_VERSION: u16 = 1;
/// Bytes of the header.
pub const SLOT_HEADER_LEN: usize = 96;
/// The first bytes of a slot.
pub const SLOT_MAGIC: [u8; 4] = *b"ECSL";

/// Where a slot stands and how it hangs together with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotHeader {
    /// The version that it was written in, which its copies keep: it is part of the hash.
    pub version: u16,
    /// Its position.
    pub n: Position,
    /// The generation under which it was written.
    pub generation: Generation,
    /// The hash of the slot before it.
    pub prev: u128,
    /// Random: tells a slot from another writer's slot of the same name.
    pub nonce: u128,
    /// Milliseconds since the epoch, for people only.
    pub time_ms: u64,
}

/// A slot, read and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its header.
    pub header: SlotHeader,
    /// What it commits.
    pub records: Vec<LogRecord>,
    /// Its own hash: `prev` of the next one.
    pub hash: u128,
    /// Its bytes, padding not counted.
    pub len: usize,
    /// By what its records were masked, 0 where they stand as they are.
    pub mask: u8,
    /// Whether its padding is the zeros that were written. Damage there harms nothing.
    pub whole_padding: bool,
}

/// Why bytes are no slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotFault {
    /// The first sector is zero: nothing was ever written here.
    Absent,
    /// More bytes are needed to tell.
    Short {
        /// How many from the slot's beginning.
        len: usize,
    },
    /// Something stands here that is not a whole slot.
    Broken(String),
    /// A whole slot that a newer program wrote.
    TooNew {
        /// Its format version.
        version: u32,
    },
}

/// Bytes on the medium of a slot of `len` bytes.
pub fn padded_len(len: usize) -> usize {
    len.next_multiple_of(SECTOR_LEN)
}

/// The slot's bytes, padded to whole sectors, and its hash.
///
/// No sector but its first begins like a slot: records that would show such a one, as a log file kept as a value
/// does, are masked. Else nobody could tell, where the slot is torn, whether a slot stands after it or within it.
pub fn encode(header: &SlotHeader, records: &[LogRecord]) -> (Vec<u8>, u128) {
    let (mut out, mut hash) = encode_as(header, records, 0);
    let mut mask = 0;
    // The mask comes from the nonce, which nobody knows who chose the values: one look is enough but for chance.
    while shows_a_slot(&out) && mask < u8::MAX {
        mask += 1;
        (out, hash) = encode_as(header, records, mask);
    }
    assert!(
        !shows_a_slot(&out),
        "slot {} shows a slot within it",
        header.n
    );
    (out, hash)
}

/// Whether a sector after the first begins like a slot.
fn shows_a_slot(bytes: &[u8]) -> bool {
    let mut sectors = bytes.chunks(SECTOR_LEN).skip(1);
    sectors.any(|sector| sector.starts_with(&SLOT_MAGIC))
}

/// Masks the bytes after a slot's header, or takes the mask off again.
fn toggle_mask(body: &mut [u8], nonce: u128, mask: u8) {
    let mut seed = [0u8; 17];
    seed[..16].copy_from_slice(&nonce.to_le_bytes());
    seed[16] = mask;
    let mut state = checksum64(&seed);
    for word in body.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let key = checksum64(&state.to_le_bytes()).to_le_bytes();
        for (byte, key) in word.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
}

/// The bytes of a slot that was read, exactly as they stood.
pub fn encode_again(slot: &Slot) -> (Vec<u8>, u128) {
    encode_as(&slot.header, &slot.records, slot.mask)
}

fn encode_as(header: &SlotHeader, records: &[LogRecord], mask: u8) -> (Vec<u8>, u128) {
    assert!(
        !records.is_empty() && records.len() <= SLOT_RECORDS_MAX,
        "{} records",
        records.len()
    );
    let mut out = vec![0u8; SLOT_HEADER_LEN];
    for record in records {
        record.encode(&mut out);
    }
    let body_len = out.len() - SLOT_HEADER_LEN;
    assert!(out.len() <= SLOT_LEN_MAX, "slot of {} bytes", out.len());
    out[0..4].copy_from_slice(&SLOT_MAGIC);
    assert!(
        mask == 0 || header.version > PLAIN_VERSION,
        "mask {mask} in version {}",
        header.version
    );
    if mask != 0 {
        toggle_mask(&mut out[SLOT_HEADER_LEN..], header.nonce, mask);
    }
    out[4..6].copy_from_slice(&header.version.to_le_bytes());
    // Byte 6 is the lane, zero today.
    out[7] = mask;
    out[8..16].copy_from_slice(&header.n.0.to_le_bytes());
    out[16..24].copy_from_slice(&header.generation.0.to_le_bytes());
    out[24..40].copy_from_slice(&header.prev.to_le_bytes());
    out[40..56].copy_from_slice(&header.nonce.to_le_bytes());
    out[56..64].copy_from_slice(&header.time_ms.to_le_bytes());
    // The oldest version that understands the records.
    out[64..68].copy_from_slice(&u32::from(header.version).to_le_bytes());
    out[68..72].copy_from_slice(&low_32(records.len()).to_le_bytes());
    out[72..76].copy_from_slice(&low_32(body_len).to_le_bytes());
    // 76..80 reserved; 80..88 the body's checksum; 88..96 the header's, so that a length can be
    // trusted before the body has been read.
    let body_sum = checksum64(&out[SLOT_HEADER_LEN..]);
    out[80..88].copy_from_slice(&body_sum.to_le_bytes());
    let header_sum = checksum64(&out[..88]);
    out[88..96].copy_from_slice(&header_sum.to_le_bytes());
    let hash = hash128(&out);
    out.resize(padded_len(out.len()), 0);
    (out, hash)
}

/// A count that the limits hold far below 32 bits.
#[allow(
    clippy::cast_possible_truncation,
    reason = "asserted against limits below 2^32"
)]
fn low_32(count: usize) -> u32 {
    count as u32
}

/// Reads the slot at the beginning of `bytes`.
///
/// # Errors
/// [`SlotFault`]: nothing there, too few bytes to tell, or not a whole slot.
pub fn decode(bytes: &Bytes) -> Result<Slot, SlotFault> {
    let Some(head) = bytes.first_chunk::<SLOT_HEADER_LEN>() else {
        return Err(SlotFault::Short { len: SECTOR_LEN });
    };
    let (header, count, body_len) = decode_header(head, bytes)?;
    let (len, mask) = (SLOT_HEADER_LEN + body_len, head[7]);
    if bytes.len() < len {
        return Err(SlotFault::Short {
            len: padded_len(len),
        });
    }
    let body = bytes.slice(SLOT_HEADER_LEN..len);
    if checksum64(&body) != u64_at(head, 80) && !Mutant::AcceptTorn.on() {
        return Err(SlotFault::Broken(
            "its records do not match their checksum".to_owned(),
        ));
    }
    let body = match mask {
        0 => body,
        mask => {
            let mut plain = body.to_vec();
            toggle_mask(&mut plain, header.nonce, mask);
            Bytes::from(plain)
        }
    };
    let mut reader = Reader::new(&body);
    let mut records = Vec::with_capacity(count);
    for index in 0..count {
        let record = LogRecord::decode(&mut reader);
        records.push(record.map_err(|m| SlotFault::Broken(format!("record {index}: {}", m.0)))?);
    }
    if !reader.is_done() {
        return Err(SlotFault::Broken("bytes follow its last record".to_owned()));
    }
    let is_bulk = |record: &LogRecord| matches!(record.body, Body::Bulk(_));
    if records.len() > 1 && records.iter().any(is_bulk) {
        return Err(SlotFault::Broken("a bulk record is not alone".to_owned()));
    }
    let padding = &bytes[len..padded_len(len).min(bytes.len())];
    Ok(Slot {
        header,
        records,
        hash: hash128(&bytes[..len]),
        len,
        mask,
        whole_padding: padding.iter().all(|byte| *byte == 0),
    })
}

/// The header and the slot's length, padded, from bytes that may end after the header; `None` where it is not whole.
pub fn claim(bytes: &[u8]) -> Option<(SlotHeader, usize)> {
    let head = bytes.first_chunk::<SLOT_HEADER_LEN>()?;
    let (header, _, body_len) = decode_header(head, bytes).ok()?;
    Some((header, padded_len(SLOT_HEADER_LEN + body_len)))
}

/// Reads the header alone, from bytes that may end after it.
///
/// # Errors
/// [`SlotFault`]: too few bytes, or not a header.
pub fn decode_head(bytes: &[u8]) -> Result<SlotHeader, SlotFault> {
    let head = bytes.first_chunk::<SLOT_HEADER_LEN>();
    let head = head.ok_or(SlotFault::Short { len: SECTOR_LEN })?;
    decode_header(head, bytes).map(|(header, _, _)| header)
}

fn decode_header(
    head: &[u8; SLOT_HEADER_LEN],
    bytes: &[u8],
) -> Result<(SlotHeader, usize, usize), SlotFault> {
    if bytes.iter().take(SECTOR_LEN).all(|byte| *byte == 0) {
        return Err(SlotFault::Absent);
    }
    if head[0..4] != SLOT_MAGIC {
        return Err(SlotFault::Broken(
            "it does not begin like a slot".to_owned(),
        ));
    }
    if checksum64(&head[..88]) != u64_at(head, 88) {
        return Err(SlotFault::Broken(
            "its header does not match its checksum".to_owned(),
        ));
    }
    let version = u16::from_le_bytes([head[4], head[5]]);
    let needed = u32_at(head, 64).max(version.into());
    if needed > u32::from(SLOT_VERSION) {
        return Err(SlotFault::TooNew { version: needed });
    }
    let (count, body_len) = (u32_at(head, 68) as usize, u32_at(head, 72) as usize);
    if count == 0 || count > SLOT_RECORDS_MAX || body_len > SLOT_LEN_MAX - SLOT_HEADER_LEN {
        return Err(SlotFault::Broken(format!(
            "it claims {count} records, {body_len} bytes"
        )));
    }
    let numbers = [u64_at(head, 8), u64_at(head, 16)];
    if numbers.iter().any(|number| *number > NUMBER_MAX) || numbers[0] == 0 {
        let [n, generation] = numbers;
        return Err(SlotFault::Broken(format!(
            "it claims to be slot {n} of generation {generation}"
        )));
    }
    if head[7] != 0 && version <= PLAIN_VERSION {
        return Err(SlotFault::Broken(format!(
            "mask {} in version {version}",
            head[7]
        )));
    }
    let header = SlotHeader {
        version,
        n: Position(u64_at(head, 8)),
        generation: Generation(u64_at(head, 16)),
        prev: u128_at(head, 24),
        nonce: u128_at(head, 40),
        time_ms: u64_at(head, 56),
    };
    Ok((header, count, body_len))
}

fn u32_at(head: &[u8; SLOT_HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes(array_at(head, at))
}

fn u64_at(head: &[u8; SLOT_HEADER_LEN], at: usize) -> u64 {
    u64::from_le_bytes(array_at(head, at))
}

fn u128_at(head: &[u8; SLOT_HEADER_LEN], at: usize) -> u128 {
    u128::from_le_bytes(array_at(head, at))
}

fn array_at<const N: usize>(head: &[u8; SLOT_HEADER_LEN], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&head[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Op, TxId};
    use crate::log::record::Body;

    fn sample(value_len: usize) -> (SlotHeader, Vec<LogRecord>) {
        let header = SlotHeader {
            version: SLOT_VERSION,
            n: Position(5),
            generation: Generation(1),
            prev: 17,
            nonce: 23,
            time_ms: 1_700_000_000_000,
        };
        let value = Bytes::from(vec![7u8; value_len]);
        let body = Body::Writes(vec![(Bytes::from("key"), Op::Put(value))]);
        (
            header,
            vec![LogRecord {
                txid: TxId(9),
                read_at: Position(4),
                body,
            }],
        )
    }

    #[test]
    fn a_slot_round_trips_padded_to_sectors() {
        let (header, records) = sample(1000);
        let (bytes, hash) = encode(&header, &records);
        assert_eq!(bytes.len() % SECTOR_LEN, 0);
        let slot = decode(&Bytes::from(bytes)).unwrap();
        assert_eq!(
            (slot.header, &slot.records, slot.hash),
            (header, &records, hash)
        );
    }

    #[test]
    fn the_versions_before_are_read_and_the_next_one_refused() {
        let (header, records) = sample(10);
        let of_version = |version: u16| {
            let (bytes, hash) = encode(&SlotHeader { version, ..header }, &records);
            decode(&Bytes::from(bytes)).map(|slot| (slot, hash))
        };
        for version in 1..=SLOT_VERSION {
            let (before, hash) = of_version(version).unwrap();
            assert_eq!((&before.records, before.hash), (&records, hash));
            // A copy of it is the same slot.
            assert_eq!(encode(&before.header, &before.records).1, hash);
        }
        let version = u32::from(SLOT_VERSION) + 1;
        let next = of_version(SLOT_VERSION + 1).unwrap_err();
        assert_eq!(next, SlotFault::TooNew { version });
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (header, records) = sample(10);
        let (bytes, _) = encode(&header, &records);
        let len = decode(&Bytes::from(bytes.clone())).unwrap().len;
        for bit in 0..len * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let fault = decode(&Bytes::from(flipped)).unwrap_err();
            assert!(
                matches!(fault, SlotFault::Broken(_)),
                "bit {bit}: {fault:?}"
            );
        }
    }

    /// Records that show a slot at each place where a sector can begin: masked, read back as they were, encoded again
    /// to the same bytes, and every flipped bit of a header is found.
    #[test]
    fn no_sector_within_a_slot_begins_like_a_slot() {
        let (header, records) = sample(100);
        let (mut image, _) = encode(&header, &records);
        image.resize(513, 0);
        let body = Body::Writes(vec![(
            Bytes::from("key"),
            Op::Put(image.repeat(512).into()),
        )]);
        let looks = vec![LogRecord {
            body,
            ..records[0].clone()
        }];
        let (plain, _) = encode_as(&header, &looks, 0);
        assert!(shows_a_slot(&plain), "the case is none");
        let (bytes, hash) = encode(&header, &looks);
        assert!(!shows_a_slot(&bytes));
        let slot = decode(&Bytes::from(bytes.clone())).unwrap();
        assert_eq!((&slot.records, slot.hash), (&looks, hash));
        assert_ne!(slot.mask, 0);
        assert_eq!(encode_again(&slot), (bytes.clone(), hash));
        for bit in 0..SLOT_HEADER_LEN * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&Bytes::from(flipped)).is_err(), "bit {bit}");
        }
        // What an older program has written as it is stays as it is.
        let old = decode(&Bytes::from(plain.clone())).unwrap();
        assert_eq!((&old.records, old.mask), (&looks, 0));
        assert_eq!(encode_again(&old).0, plain);
        // Another nonce, another mask.
        let other = SlotHeader {
            nonce: header.nonce + 1,
            ..header
        };
        assert_ne!(encode(&other, &looks).0[512..1024], bytes[512..1024]);
    }

    #[test]
    fn a_part_of_a_slot_asks_for_the_rest() {
        let (header, records) = sample(2000);
        let bytes = Bytes::from(encode(&header, &records).0);
        assert_eq!(
            decode(&bytes.slice(..SECTOR_LEN)),
            Err(SlotFault::Short { len: bytes.len() })
        );
        assert_eq!(
            decode(&bytes.slice(..10)),
            Err(SlotFault::Short { len: SECTOR_LEN })
        );
        assert_eq!(decode(&Bytes::from(vec![0; 512])), Err(SlotFault::Absent));
    }
}
