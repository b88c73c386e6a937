//! A look over a footer before the Parquet reader decodes it.
//!
//! The reader trusts some counts of a footer enough to allocate by them, recurses as deep as a schema goes, passes
//! over what it has no use for (encryption, data in other files), and calls values that it does not know damage.
//! Here all of a footer is read once, without allocating, and held against bounds.

use super::thrift::{Broken, Compact, WireType};

/// Elements of a schema: columns, and what they are nested in.
const ELEMENTS_MAX: usize = 100_000;
/// How deep columns may nest.
const SCHEMA_DEPTH_MAX: usize = 64;
/// Row groups of a file: the reader numbers them with 16 bits.
const ROW_GROUPS_MAX: usize = 32_767;

/// What is wrong with a footer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FooterMisfit {
    Damaged(String),
    Unsupported(String),
}

impl From<Broken> for FooterMisfit {
    fn from(broken: Broken) -> Self {
        Self::Damaged(format!("the footer: {broken}"))
    }
}

fn damaged(what: impl Into<String>) -> FooterMisfit {
    FooterMisfit::Damaged(format!("the footer: {}", what.into()))
}

/// Checks the whole of a footer's `FileMetaData`.
pub(super) fn check(footer: &[u8]) -> Result<(), FooterMisfit> {
    let mut encrypted = false;
    Compact::new(footer).fields::<FooterMisfit>(|footer, id, kind| match (id, kind) {
        (2, WireType::List) => schema(footer),
        (4, WireType::List) => {
            let (element, count) = footer.list()?;
            if count > ROW_GROUPS_MAX {
                return Err(FooterMisfit::Unsupported(format!(
                    "{count} row groups, more than {ROW_GROUPS_MAX}"
                )));
            }
            structs(element, count)?;
            (0..count).try_for_each(|_| row_group(footer))
        }
        (8, WireType::Struct) => {
            encrypted = true;
            Ok(footer.skip(kind)?)
        }
        _ => Ok(footer.skip(kind)?),
    })?;
    if encrypted {
        return Err(FooterMisfit::Unsupported("encrypted columns".to_owned()));
    }
    Ok(())
}

fn structs(element: WireType, count: usize) -> Result<(), FooterMisfit> {
    if count == 0 || element == WireType::Struct {
        return Ok(());
    }
    Err(damaged(format!(
        "a list of structs has elements of type {element:?}"
    )))
}

/// The schema, a tree with its nodes in the order of their first appearance.
fn schema(footer: &mut Compact<'_>) -> Result<(), FooterMisfit> {
    let (element, count) = footer.list()?;
    structs(element, count)?;
    if count > ELEMENTS_MAX {
        return Err(FooterMisfit::Unsupported(format!(
            "a schema of {count} elements, more than {ELEMENTS_MAX}"
        )));
    }
    // Children that are still to come, of each node on the way down.
    let mut open: Vec<usize> = vec![];
    for index in 0..count {
        let mut children = 0;
        footer.fields::<FooterMisfit>(|footer, id, kind| {
            if (id, kind) == (5, WireType::Integer) {
                children = footer.i32()?;
                return Ok(());
            }
            Ok(footer.skip(kind)?)
        })?;
        let children = usize::try_from(children)
            .ok()
            .filter(|children| *children < count - index)
            .ok_or_else(|| damaged(format!("a column with {children} columns in it")))?;
        if let Some(last) = open.last_mut() {
            *last -= 1;
        }
        open.push(children);
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > SCHEMA_DEPTH_MAX {
            return Err(FooterMisfit::Unsupported(format!(
                "columns that nest deeper than {SCHEMA_DEPTH_MAX}"
            )));
        }
    }
    Ok(())
}

fn row_group(footer: &mut Compact<'_>) -> Result<(), FooterMisfit> {
    footer.fields::<FooterMisfit>(|footer, id, kind| match (id, kind) {
        (1, WireType::List) => {
            let (element, count) = footer.list()?;
            structs(element, count)?;
            (0..count).try_for_each(|_| column_chunk(footer))
        }
        _ => Ok(footer.skip(kind)?),
    })
}

fn column_chunk(footer: &mut Compact<'_>) -> Result<(), FooterMisfit> {
    let mut elsewhere = None;
    let mut facts = Chunk::default();
    footer.fields::<FooterMisfit>(|footer, id, kind| match (id, kind) {
        (1, WireType::Binary) => {
            elsewhere = Some(footer.binary()?).filter(|path| !path.is_empty());
            Ok(())
        }
        (3, WireType::Struct) => facts.read(footer),
        (8, WireType::Struct) => {
            facts.encrypted = true;
            Ok(footer.skip(kind)?)
        }
        _ => Ok(footer.skip(kind)?),
    })?;
    let column = &facts.path;
    let unsupported = |what: String| {
        Err(FooterMisfit::Unsupported(format!(
            "column `{column}`: {what}"
        )))
    };
    if facts.encrypted {
        return unsupported("encryption".to_owned());
    }
    if let Some(path) = elsewhere {
        let path = String::from_utf8_lossy(path);
        return unsupported(format!("data in another file, `{path}`"));
    }
    let wrong = |what: &str, code: i32| {
        Err(damaged(format!(
            "column `{column}`: {what} of number {code}"
        )))
    };
    if facts.codec < 0 {
        return wrong("a compression", facts.codec);
    }
    if let Some(name) = unreadable_codec(facts.codec) {
        return unsupported(format!("compression {name}"));
    }
    match facts.encoding {
        Some(code) if code < 0 => wrong("an encoding", code),
        Some(code) => unsupported(format!("encoding {code}")),
        None => Ok(()),
    }
}

/// What is looked at of a `ColumnMetaData`.
#[derive(Default)]
struct Chunk {
    path: String,
    codec: i32,
    /// One that no version of the format has that is read here.
    encoding: Option<i32>,
    encrypted: bool,
}

impl Chunk {
    fn read(&mut self, footer: &mut Compact<'_>) -> Result<(), FooterMisfit> {
        footer.fields::<FooterMisfit>(|footer, id, kind| match (id, kind) {
            (2, WireType::List) => {
                let (_, count) = footer.list()?;
                for _ in 0..count {
                    let code = footer.i32()?;
                    // One that there cannot be says more than one that is not read.
                    let is_worse = self.encoding.is_none_or(|known| code < 0 && known >= 0);
                    if !matches!(code, 0 | 2..=9) && is_worse {
                        self.encoding = Some(code);
                    }
                }
                Ok(())
            }
            (3, WireType::List) => {
                let (_, count) = footer.list()?;
                let mut parts = Vec::new();
                for _ in 0..count {
                    parts.push(String::from_utf8_lossy(footer.binary()?));
                }
                self.path = parts.join(".");
                Ok(())
            }
            (4, WireType::Integer) => {
                self.codec = footer.i32()?;
                Ok(())
            }
            _ => Ok(footer.skip(kind)?),
        })
    }
}

/// The name of a codec that is not read.
fn unreadable_codec(code: i32) -> Option<String> {
    match code {
        0 | 1 | 2 | 4..=7 => None,
        3 => Some("lzo".to_owned()),
        other => Some(format!("of number {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer with one column chunk of that encoding and codec.
    fn footer(encoding: i32, codec: i32) -> Vec<u8> {
        let zigzag = |value: i32| {
            let value = ((value << 1) ^ (value >> 31)).cast_unsigned();
            assert!(value < 128, "one byte");
            u8::try_from(value).unwrap()
        };
        vec![
            // Row groups, columns, a chunk's metadata.
            0x49,
            0x1c,
            0x19,
            0x1c,
            0x3c,
            // Encodings, codec.
            0x29,
            0x15,
            zigzag(encoding),
            0x25,
            zigzag(codec),
            0,
            0,
            0,
            0,
        ]
    }

    #[test]
    fn numbers_that_no_version_can_have_are_damage() {
        let found = |encoding, codec| match check(&footer(encoding, codec)) {
            Ok(()) => String::new(),
            Err(FooterMisfit::Unsupported(what)) => format!("not supported: {what}"),
            Err(FooterMisfit::Damaged(what)) => what,
        };
        assert_eq!(found(0, 0), "");
        assert_eq!(found(10, 0), "not supported: column ``: encoding 10");
        assert_eq!(
            found(0, 9),
            "not supported: column ``: compression of number 9"
        );
        assert_eq!(
            found(-1, 0),
            "the footer: column ``: an encoding of number -1"
        );
        assert_eq!(
            found(0, -3),
            "the footer: column ``: a compression of number -3"
        );
    }
}
