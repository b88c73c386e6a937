//! A manifest: which runs are the base, and from which position on the log counts.

use bytes::Bytes;
use prost::Message;

use crate::base::checksum::checksum64_of;
use crate::base::limits::{NUMBER_MAX, PATHS_MAX};
use crate::base::{Error, Generation, ManifestId, PathId, Position, Result, RunRef, SegmentId};
use crate::log::LogStart;

const MAGIC: [u8; 4] = *b"ECMF";
const HEADER_LEN: usize = 24;
/// The version of the manifest format that this program writes, and the newest it reads.
pub(super) const MANIFEST_VERSION: u16 = 4;

/// A checkpoint. Write-once and durable before anything relies on it; manifests have no gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its number.
    pub id: ManifestId,
    /// The last slot that is folded into its runs.
    pub folded: Position,
    /// That slot's hash.
    pub hash: u128,
    /// The generation of the slot after it.
    pub generation: Generation,
    /// The paths on which that generation stands, the active one first; empty where the database has one path only.
    pub paths: Vec<PathId>,
    /// Where that slot stands or would stand; `None` in an empty log.
    pub place: Option<LogPlace>,
    /// The largest manifest that a collect record up to the folded slot names: no record may refer to
    /// an unused segment tagged up to it.
    pub collected: ManifestId,
    /// The runs, newest first.
    pub runs: Vec<RunEntry>,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// The generation in the file's name.
    pub generation: Generation,
    /// The file's first slot.
    pub first: Position,
    /// The byte within the file.
    pub offset: u64,
}

/// A run of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEntry {
    /// The run.
    pub run: RunRef,
    /// The newest slot whose writes are in it or in a run below it.
    pub at: Position,
}

impl Manifest {
    /// The manifest of a database that has just been created.
    pub fn first() -> Manifest {
        Manifest {
            id: ManifestId(0),
            folded: Position::ZERO,
            hash: 0,
            generation: Generation(0),
            paths: Vec::new(),
            place: None,
            collected: ManifestId(0),
            runs: Vec::new(),
        }
    }

    /// From where the log counts.
    pub fn log_start(&self) -> LogStart {
        LogStart {
            generation: self.generation,
            last: self.folded,
            hash: self.hash,
            place: self
                .place
                .map(|place| (place.generation, place.first, place.offset)),
        }
    }

    /// Every number in it that is counted on from.
    fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let own = [
            self.id.0,
            self.folded.0,
            self.generation.0,
            self.collected.0,
        ];
        let place = self.place.iter();
        let place = place.flat_map(|place| [place.generation.0, place.first.0, place.offset]);
        let runs = self.runs.iter();
        own.into_iter()
            .chain(place)
            .chain(runs.flat_map(|entry| [entry.run.id.tag, entry.at.0]))
    }

    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let body = wire::ManifestMessage::from(self).encode_to_vec();
        let mut out = Vec::with_capacity(HEADER_LEN + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&MANIFEST_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(body.len() as u64).to_le_bytes());
        let sum = checksum64_of(&[&out, &body]);
        out.extend_from_slice(&sum.to_le_bytes());
        assert_eq!(out.len(), HEADER_LEN, "the header of manifest {}", self.id);
        out.extend_from_slice(&body);
        out
    }

    /// Reads the object named `name`, which must be manifest `id`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::FormatTooNew`], naming the object.
    pub fn decode(name: &str, id: ManifestId, bytes: &[u8]) -> Result<Manifest> {
        let broken = |detail: &str| Error::corrupt(name, detail);
        let (header, body) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or_else(|| broken("it is cut short"))?;
        let mut sum = [0u8; 8];
        sum.copy_from_slice(&header[16..24]);
        let found = checksum64_of(&[&header[..16], body]);
        if header[..4] != MAGIC || found != u64::from_le_bytes(sum) {
            return Err(broken("it does not match its checksum"));
        }
        let version = u16::from_le_bytes([header[4], header[5]]);
        if version > MANIFEST_VERSION {
            let (found, known) = (u32::from(version), u32::from(MANIFEST_VERSION));
            return Err(Error::FormatTooNew {
                object: name.to_owned(),
                found,
                known,
            });
        }
        let manifest = Some(body)
            .filter(|body| wire::has_room_for_runs(body))
            .and_then(|body| wire::ManifestMessage::decode(body).ok())
            .and_then(wire::ManifestMessage::into_manifest)
            .ok_or_else(|| broken("its body cannot be read"))?;
        if manifest.id != id {
            return Err(broken("it has another manifest's number"));
        }
        let is_twice = |(a, b): (&PathId, &PathId)| a == b;
        let twice = manifest.paths.first().zip(manifest.paths.get(1));
        if manifest.paths.len() > PATHS_MAX || twice.is_some_and(is_twice) {
            return Err(broken("it names the same path twice, or too many"));
        }
        if manifest.numbers().any(|number| number > NUMBER_MAX) {
            return Err(broken("it names what no database has"));
        }
        Ok(manifest)
    }
}

/// The body, as protobuf: it has to evolve.
mod wire {
    use super::{
        Bytes, Generation, LogPlace, Message, PathId, Position, RunEntry, RunRef, SegmentId,
    };
    use crate::base::ManifestId;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ManifestMessage {
        #[prost(uint64, tag = "1")]
        id: u64,
        #[prost(uint64, tag = "2")]
        folded: u64,
        #[prost(bytes = "bytes", tag = "3")]
        hash: Bytes,
        #[prost(uint64, tag = "4")]
        generation: u64,
        #[prost(message, optional, tag = "5")]
        place: Option<PlaceMessage>,
        #[prost(message, repeated, tag = "6")]
        runs: Vec<RunMessage>,
        #[prost(uint64, tag = "7")]
        collected: u64,
        #[prost(uint64, repeated, tag = "8")]
        paths: Vec<u64>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct PlaceMessage {
        #[prost(uint64, tag = "1")]
        generation: u64,
        #[prost(uint64, tag = "2")]
        first: u64,
        #[prost(uint64, tag = "3")]
        offset: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    struct RunMessage {
        #[prost(uint64, tag = "1")]
        tag: u64,
        #[prost(bytes = "bytes", tag = "2")]
        unique: Bytes,
        #[prost(uint64, tag = "3")]
        len: u64,
        #[prost(uint64, tag = "4")]
        entries: u64,
        #[prost(bytes = "bytes", tag = "5")]
        hash: Bytes,
        #[prost(bytes = "bytes", tag = "6")]
        first_key: Bytes,
        #[prost(bytes = "bytes", tag = "7")]
        last_key: Bytes,
        #[prost(uint64, tag = "8")]
        at: u64,
    }

    /// Bytes that a run takes at the least: its random part and its hash.
    const RUN_LEN_MIN: u64 = 36;

    /// Whether each run in `body` has the bytes that one needs: an empty one takes two, and a hundred times that in
    /// memory.
    pub(super) fn has_room_for_runs(mut body: &[u8]) -> bool {
        use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
        while !body.is_empty() {
            let Ok((tag, kind)) = decode_key(&mut body) else {
                return false;
            };
            if (tag, kind) == (6, WireType::LengthDelimited) {
                let mut ahead = body;
                if !decode_varint(&mut ahead).is_ok_and(|len| len >= RUN_LEN_MIN) {
                    return false;
                }
            }
            if skip_field(kind, tag, &mut body, DecodeContext::default()).is_err() {
                return false;
            }
        }
        true
    }

    impl From<&super::Manifest> for ManifestMessage {
        fn from(manifest: &super::Manifest) -> ManifestMessage {
            ManifestMessage {
                id: manifest.id.0,
                folded: manifest.folded.0,
                hash: wide(manifest.hash),
                generation: manifest.generation.0,
                place: manifest.place.map(|place| PlaceMessage {
                    generation: place.generation.0,
                    first: place.first.0,
                    offset: place.offset,
                }),
                runs: manifest.runs.iter().map(RunMessage::from).collect(),
                collected: manifest.collected.0,
                paths: manifest.paths.iter().map(|path| path.0).collect(),
            }
        }
    }

    impl From<&RunEntry> for RunMessage {
        fn from(entry: &RunEntry) -> RunMessage {
            let run = &entry.run;
            RunMessage {
                tag: run.id.tag,
                unique: wide(run.id.unique),
                len: run.len,
                entries: run.entries,
                hash: wide(run.hash),
                first_key: run.first_key.clone(),
                last_key: run.last_key.clone(),
                at: entry.at.0,
            }
        }
    }

    impl ManifestMessage {
        pub(super) fn into_manifest(self) -> Option<super::Manifest> {
            let runs = self
                .runs
                .into_iter()
                .map(RunMessage::into_entry)
                .collect::<Option<Vec<_>>>()?;
            Some(super::Manifest {
                id: ManifestId(self.id),
                folded: Position(self.folded),
                hash: narrow(&self.hash)?,
                generation: Generation(self.generation),
                paths: self.paths.into_iter().map(PathId).collect(),
                place: self.place.map(|place| LogPlace {
                    generation: Generation(place.generation),
                    first: Position(place.first),
                    offset: place.offset,
                }),
                collected: ManifestId(self.collected),
                runs,
            })
        }
    }

    impl RunMessage {
        fn into_entry(self) -> Option<RunEntry> {
            let run = RunRef {
                id: SegmentId {
                    tag: self.tag,
                    unique: narrow(&self.unique)?,
                },
                len: self.len,
                entries: self.entries,
                hash: narrow(&self.hash)?,
                first_key: self.first_key,
                last_key: self.last_key,
            };
            Some(RunEntry {
                run,
                at: Position(self.at),
            })
        }
    }

    fn wide(value: u128) -> Bytes {
        Bytes::copy_from_slice(&value.to_le_bytes())
    }

    fn narrow(bytes: &Bytes) -> Option<u128> {
        bytes.as_ref().try_into().ok().map(u128::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let run = RunRef {
            id: SegmentId {
                tag: 3,
                unique: u128::MAX,
            },
            len: 10,
            entries: 2,
            hash: 77,
            first_key: Bytes::from("a"),
            last_key: Bytes::from("b"),
        };
        Manifest {
            id: ManifestId(4),
            folded: Position(100),
            hash: 5,
            generation: Generation(1),
            paths: vec![PathId(3), PathId(1)],
            place: Some(LogPlace {
                generation: Generation(1),
                first: Position(90),
                offset: 512,
            }),
            collected: ManifestId(2),
            runs: vec![RunEntry {
                run,
                at: Position(99),
            }],
        }
    }

    #[test]
    fn the_versions_before_are_read_and_the_next_one_refused() {
        let of_version = |version: u16| {
            let mut bytes = sample().encode();
            bytes[4..6].copy_from_slice(&version.to_le_bytes());
            let sum = checksum64_of(&[&bytes[..16], &bytes[HEADER_LEN..]]);
            bytes[16..24].copy_from_slice(&sum.to_le_bytes());
            Manifest::decode("manifest/4", ManifestId(4), &bytes)
        };
        for version in 1..=MANIFEST_VERSION {
            assert_eq!(of_version(version).unwrap(), sample());
        }
        let next = of_version(MANIFEST_VERSION + 1).unwrap_err();
        assert!(matches!(next, Error::FormatTooNew { .. }), "{next}");
    }

    #[test]
    fn a_manifest_round_trips() {
        for manifest in [Manifest::first(), sample()] {
            let bytes = manifest.encode();
            assert_eq!(
                Manifest::decode("m", manifest.id, &bytes).unwrap(),
                manifest
            );
        }
        let other = Manifest::decode("m", ManifestId(5), &sample().encode());
        assert!(matches!(other, Err(Error::Corrupt { .. })));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Manifest::decode("m", ManifestId(4), &flipped).is_err(),
                "bit {bit}"
            );
        }
        for cut in 0..bytes.len() {
            assert!(
                Manifest::decode("m", ManifestId(4), &bytes[..cut]).is_err(),
                "cut {cut}"
            );
        }
    }
}
