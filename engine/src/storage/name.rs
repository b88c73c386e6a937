//! Names of objects: paths relative to the database, the same on every medium.

use std::borrow::Borrow;
use std::fmt;

use crate::base::limits::DIR_FANOUT;
use crate::base::{FloorId, Generation, ManifestId, Position, SegmentId};

/// The name of an object: printable ASCII, `/`-separated, never empty, never absolute, never with
/// `..`, never `LOCK`, never below `tmp/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The directory of the log.
    pub const LOG: &'static str = "log";
    /// The directory of the manifests.
    pub const MANIFEST: &'static str = "manifest";
    /// The directory of the segments.
    pub const SEGMENT: &'static str = "seg";
    /// The directory of the floors.
    pub const FLOOR: &'static str = "floor";
    /// The target of the folder's lock; no object may have this name.
    pub(super) const LOCK: &'static str = "LOCK";
    /// The directory of what is being written; no object may lie below it.
    pub(super) const TMP: &'static str = "tmp";

    /// The log file of `generation` whose first slot is `first`.
    pub fn log(generation: Generation, first: Position) -> Name {
        let (g, n) = (generation.0, first.0);
        Name::ours(format!("log/g{g:08x}/{:013x}/{n:016x}", n / DIR_FANOUT))
    }

    /// Manifest `k`.
    pub fn manifest(k: ManifestId) -> Name {
        Name::ours(format!("manifest/{:013x}/{:016x}", k.0 / DIR_FANOUT, k.0))
    }

    /// Floor `j`.
    pub fn floor(j: FloorId) -> Name {
        Name::ours(format!("floor/{:013x}/{:016x}", j.0 / DIR_FANOUT, j.0))
    }

    /// A segment; they fan out by their random part.
    pub fn segment(id: SegmentId) -> Name {
        Name::ours(format!("seg/{:02x}/{id}", id.unique >> 120))
    }

    /// A name that this program makes: one that a listing gives back.
    fn ours(path: String) -> Name {
        debug_assert!(
            Name::parse(&path).is_some(),
            "no listing would show `{path}`"
        );
        debug_assert!(path.contains('/'), "`{path}` lies in a directory");
        Name(path)
    }

    /// Which storage path of a mirrored database this is.
    pub fn path() -> Name {
        Name("PATH".to_owned())
    }

    /// Who the database is.
    pub fn instance() -> Name {
        Name("INSTANCE".to_owned())
    }

    /// A name from a listing.
    ///
    /// Returns `None` for what cannot be an object: empty, absolute, with `.` or `..` parts, with
    /// characters that some medium does not take, or of the medium's own use (`LOCK`, `tmp/`).
    pub fn parse(path: &str) -> Option<Name> {
        let whole = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let plain = path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let top = path.split_once('/').map_or(path, |(top, _)| top);
        let free = !matches!(top, Name::LOCK | Name::TMP);
        (whole && plain && free).then(|| Name(path.to_owned()))
    }

    /// Generation and first slot, if this names a log file.
    pub fn as_log(&self) -> Option<(Generation, Position)> {
        let rest = self.0.strip_prefix("log/g")?;
        let (generation, rest) = rest.split_once('/')?;
        let (_, first) = rest.split_once('/')?;
        let id = (hex64(generation)?, hex64(first)?);
        let id = (Generation(id.0), Position(id.1));
        (Name::log(id.0, id.1) == *self).then_some(id)
    }

    /// The number, if this names a manifest.
    pub fn as_manifest(&self) -> Option<ManifestId> {
        let id = ManifestId(hex64(self.0.strip_prefix("manifest/")?.split_once('/')?.1)?);
        (Name::manifest(id) == *self).then_some(id)
    }

    /// The number, if this names a floor.
    pub fn as_floor(&self) -> Option<FloorId> {
        let id = FloorId(hex64(self.0.strip_prefix("floor/")?.split_once('/')?.1)?);
        (Name::floor(id) == *self).then_some(id)
    }

    /// The id, if this names a segment.
    pub fn as_segment(&self) -> Option<SegmentId> {
        let (tag, unique) = self
            .0
            .strip_prefix("seg/")?
            .split_once('/')?
            .1
            .split_once('-')?;
        let id = SegmentId {
            tag: hex64(tag)?,
            unique: u128::from_str_radix(unique, 16).ok()?,
        };
        (Name::segment(id) == *self).then_some(id)
    }

    /// The path, relative to the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory that holds the object, `""` for the database itself.
    pub fn dir(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(dir, _)| dir)
    }
}

fn hex64(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

/// Names compare, and hash, as their paths do.
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let log = Name::log(Generation(3), Position(70_000));
        assert_eq!(log.as_str(), "log/g00000003/0000000000011/0000000000011170");
        assert_eq!(log.as_log(), Some((Generation(3), Position(70_000))));
        let manifest = Name::manifest(ManifestId(9));
        assert_eq!(manifest.as_manifest(), Some(ManifestId(9)));
        assert_eq!(manifest.as_log(), None);
        let floor = Name::floor(FloorId(5000));
        assert_eq!(floor.as_floor(), Some(FloorId(5000)));
        assert_eq!(floor.as_manifest(), None);
        let id = SegmentId {
            tag: 7,
            unique: u128::MAX - 5,
        };
        assert_eq!(Name::segment(id).as_segment(), Some(id));
        assert_eq!(Name::segment(id).dir(), "seg/ff");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for path in [
            "", "/etc", "log/../x", ".", "a//b", "a/", "a b", "a\\b", "a\0b", "\u{e4}", "LOCK",
            "tmp/1",
        ] {
            assert_eq!(Name::parse(path), None, "{path:?}");
        }
        for path in ["a", "log/LOCK", "log/tmp/1", "tmpx", "a.b-c_d"] {
            assert_eq!(
                Name::parse(path).map(|name| name.to_string()).as_deref(),
                Some(path)
            );
        }
    }
}
