//! The entry of a backup: a small write-once file that says what belongs to it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::base::checksum::checksum64;
use crate::base::{Error, Generation, InstanceId, ManifestId, Position, Result};
use crate::fold::Manifest;
use crate::log::LogStart;
use crate::storage::Name;

/// The directory of the entries.
pub(super) const DIR: &str = "backup";
/// The version of the format that this program writes, and the newest it reads.
const FORMAT: u32 = 1;

/// What a whole file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileSum {
    pub(super) len: u64,
    pub(super) hash: u128,
}

/// A stretch of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartRef {
    pub(super) name: Name,
    /// The slot before its first.
    pub(super) from: Position,
    /// Its last slot.
    pub(super) to: Position,
    pub(super) sum: FileSum,
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BackupEntry {
    pub(super) number: u64,
    /// The database that it is of.
    pub(super) instance: InstanceId,
    /// Milliseconds since the epoch, for people.
    pub(super) taken_ms: u64,
    /// Where its log ends: the newest slot, its hash, and where the next one will stand.
    pub(super) end: LogStart,
    pub(super) manifest: Manifest,
    /// The segments that manifest and part refer to.
    pub(super) files: Vec<(Name, FileSum)>,
    /// What this backup adds to the log.
    pub(super) part: Option<PartRef>,
    /// The backup whose end that goes on from; without one the part begins at the manifest or before.
    pub(super) continues: Option<u64>,
    /// What the folder's head said when this was taken. With a number here the folder has a head.
    pub(super) head: Option<u64>,
}

/// The name of an entry.
pub(super) fn name_of(number: u64) -> Result<Name> {
    name(&format!("{DIR}/{number:016x}"))
}

/// The number in the name of an entry.
pub(super) fn number_of(name: &Name) -> Option<u64> {
    let digits = name.as_str().strip_prefix(DIR)?.strip_prefix('/')?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (format!("{number:016x}") == digits).then_some(number)
}

/// A name that is made here, of parts that can be in names.
pub(super) fn name(text: &str) -> Result<Name> {
    Name::parse(text).ok_or_else(|| Error::Invalid(format!("`{text}` cannot be an object's name")))
}

impl BackupEntry {
    /// The newest slot.
    pub(super) fn position(&self) -> Position {
        self.end.last
    }

    /// The slot after which its part begins; without a part the newest slot.
    pub(super) fn from(&self) -> Position {
        self.part.as_ref().map_or(self.position(), |part| part.from)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let sum = |sum: &FileSum| json!([sum.len, format!("{:032x}", sum.hash)]);
        let file = |(name, of): &(Name, FileSum)| json!([name.as_str(), sum(of)]);
        let place = self.end.place;
        let line = json!({
            "format": FORMAT,
            "number": self.number,
            "instance": self.instance.to_string(),
            "taken_ms": self.taken_ms,
            "position": self.end.last.0,
            "hash": format!("{:032x}", self.end.hash),
            "generation": self.end.generation.0,
            "place": place.map(|(generation, first, offset)| json!([generation.0, first.0, offset])),
            "manifest_id": self.manifest.id.0,
            "manifest": STANDARD.encode(self.manifest.encode()),
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
            "part": self.part.as_ref().map(|part| json!({
                "name": part.name.as_str(),
                "from": part.from.0,
                "to": part.to.0,
                "sum": sum(&part.sum),
            })),
            "continues": self.continues,
            "head": self.head,
        });
        let line = line.to_string();
        format!("{line}\n{:016x}\n", checksum64(line.as_bytes())).into_bytes()
    }

    /// Reads entry `number`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::FormatTooNew`] naming it.
    pub(super) fn decode(name: &Name, number: u64, bytes: &[u8]) -> Result<BackupEntry> {
        let broken = |detail: &str| Error::corrupt(name, detail);
        let text = std::str::from_utf8(bytes).map_err(|_| broken("it is not text"))?;
        let (line, sum) = text
            .strip_suffix('\n')
            .and_then(|text| text.split_once('\n'))
            .ok_or_else(|| broken("it is cut short"))?;
        if sum != format!("{:016x}", checksum64(line.as_bytes())) {
            return Err(broken("it does not match its checksum"));
        }
        let fields: Value = serde_json::from_str(line).map_err(|_| broken("it is not JSON"))?;
        let found = fields["format"].as_u64().unwrap_or(u64::MAX);
        if found > u64::from(FORMAT) {
            return Err(Error::FormatTooNew {
                object: name.to_string(),
                found: u32::try_from(found).unwrap_or(u32::MAX),
                known: FORMAT,
            });
        }
        BackupEntry::of(name.as_str(), &fields)?
            .filter(|entry| entry.number == number)
            .ok_or_else(|| broken("it cannot be read"))
    }

    /// `None` where a field is not what it should be.
    fn of(object: &str, fields: &Value) -> Result<Option<BackupEntry>> {
        let manifest = fields["manifest"]
            .as_str()
            .zip(fields["manifest_id"].as_u64());
        let Some((bytes, id)) =
            manifest.and_then(|(text, id)| Some((STANDARD.decode(text).ok()?, id)))
        else {
            return Ok(None);
        };
        let manifest = Manifest::decode(object, ManifestId(id), &bytes)?;
        Ok(BackupEntry::with(manifest, fields))
    }

    fn with(manifest: Manifest, fields: &Value) -> Option<BackupEntry> {
        let place = match &fields["place"] {
            Value::Null => None,
            place => Some((
                Generation(place[0].as_u64()?),
                Position(place[1].as_u64()?),
                place[2].as_u64()?,
            )),
        };
        let mut files = Vec::new();
        for file in fields["files"].as_array()? {
            files.push((Name::parse(file[0].as_str()?)?, sum(&file[1])?));
        }
        let part = match &fields["part"] {
            Value::Null => None,
            part => Some(PartRef {
                name: Name::parse(part["name"].as_str()?)?,
                from: Position(part["from"].as_u64()?),
                to: Position(part["to"].as_u64()?),
                sum: sum(&part["sum"])?,
            }),
        };
        Some(BackupEntry {
            number: fields["number"].as_u64()?,
            instance: InstanceId(hex(&fields["instance"])?),
            taken_ms: fields["taken_ms"].as_u64()?,
            end: LogStart {
                generation: Generation(fields["generation"].as_u64()?),
                last: Position(fields["position"].as_u64()?),
                hash: hex(&fields["hash"])?,
                place,
            },
            manifest,
            files,
            part,
            continues: fields["continues"].as_u64(),
            head: fields["head"].as_u64(),
        })
    }
}

fn hex(value: &Value) -> Option<u128> {
    u128::from_str_radix(value.as_str()?, 16).ok()
}

fn sum(value: &Value) -> Option<FileSum> {
    Some(FileSum {
        len: value[0].as_u64()?,
        hash: hex(&value[1])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_round_trips_and_every_flipped_bit_is_found() {
        let sum = FileSum {
            len: 9,
            hash: 1 << 127,
        };
        let entry = BackupEntry {
            number: 3,
            instance: InstanceId(7),
            taken_ms: 1,
            end: LogStart {
                generation: Generation(1),
                last: Position(10),
                hash: 5,
                place: Some((Generation(1), Position(4), 512)),
            },
            manifest: Manifest::first(),
            files: vec![(name("seg/00/x").unwrap(), sum)],
            part: Some(PartRef {
                name: name("part/y").unwrap(),
                from: Position(0),
                to: Position(10),
                sum,
            }),
            continues: Some(2),
            head: Some(2),
        };
        let at = name_of(3).unwrap();
        assert_eq!(number_of(&at), Some(3));
        for entry in [
            entry.clone(),
            BackupEntry {
                part: None,
                continues: None,
                head: None,
                ..entry
            },
        ] {
            let bytes = entry.encode();
            assert_eq!(BackupEntry::decode(&at, 3, &bytes).unwrap(), entry);
            assert!(BackupEntry::decode(&at, 4, &bytes).is_err());
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(BackupEntry::decode(&at, 3, &flipped).is_err(), "bit {bit}");
            }
            assert!(BackupEntry::decode(&at, 3, &bytes[..bytes.len() - 1]).is_err());
        }
    }
}
