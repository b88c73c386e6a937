//! Thrift's compact protocol, as far as Parquet's footers and page headers need it.
//!
//! The reader allocates nothing: every length and every count is held against the bytes that are left.

/// How deep values may nest. Parquet's own structures need seven levels.
const DEPTH_MAX: u32 = 32;

/// The type of a value on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireType {
    Bool(bool),
    Byte,
    Integer,
    Double,
    Binary,
    List,
    Map,
    Struct,
    Uuid,
}

/// Why bytes are no Thrift.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    /// They end too early; more bytes may mend it.
    Short,
    /// They are wrong.
    Invalid(String),
}

impl From<&str> for Broken {
    fn from(what: &str) -> Self {
        Self::Invalid(what.to_owned())
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => write!(f, "it ends too early"),
            Self::Invalid(what) => write!(f, "{what}"),
        }
    }
}

/// Reads values one after the other.
#[derive(Debug, Clone)]
pub(super) struct Compact<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Compact<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        let byte = self.bytes.get(self.at).copied().ok_or(Broken::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, len: usize) -> Result<&'b [u8], Broken> {
        let end = self.at.checked_add(len).ok_or(Broken::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Broken::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("an integer of more than 64 bits".into())
    }

    /// A 64-bit integer.
    pub(super) fn i64(&mut self) -> Result<i64, Broken> {
        let value = self.varint()?;
        // Zigzag: the lowest bit is the sign.
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A 32-bit integer.
    pub(super) fn i32(&mut self) -> Result<i32, Broken> {
        i32::try_from(self.i64()?).map_err(|_| "an integer of more than 32 bits".into())
    }

    /// Bytes with their length before them.
    pub(super) fn binary(&mut self) -> Result<&'b [u8], Broken> {
        let len = usize::try_from(self.varint()?).map_err(|_| Broken::Short)?;
        self.take(len)
    }

    /// The type and the number of a list's elements, of which each takes one byte at least.
    pub(super) fn list(&mut self) -> Result<(WireType, usize), Broken> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => usize::try_from(self.varint()?).map_err(|_| Broken::Short)?,
            short => usize::from(short),
        };
        if count == 0 {
            return Ok((WireType::Byte, 0));
        }
        let kind = kind(head & 0x0f)?;
        if count > self.bytes.len() - self.at {
            return Err(Broken::Short);
        }
        Ok((kind, count))
    }

    /// Calls `field` with every field of a struct; it reads the value or [skips](Self::skip) it.
    pub(super) fn fields<E: From<Broken>>(
        &mut self,
        mut field: impl FnMut(&mut Self, i16, WireType) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            if head.trailing_zeros() >= 4 {
                return Ok(());
            }
            id = match head >> 4 {
                0 => i16::try_from(self.i64()?)
                    .map_err(|_| Broken::from("a field number of more than 16 bits"))?,
                delta => id
                    .checked_add(i16::from(delta))
                    .ok_or_else(|| Broken::from("a field number of more than 16 bits"))?,
            };
            field(self, id, kind(head & 0x0f)?)?;
        }
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, kind: WireType) -> Result<(), Broken> {
        self.skip_within(kind, DEPTH_MAX)
    }

    fn skip_within(&mut self, kind: WireType, depth: u32) -> Result<(), Broken> {
        let inner = depth
            .checked_sub(1)
            .ok_or_else(|| Broken::from("values that nest too deep"))?;
        match kind {
            WireType::Bool(_) => Ok(()),
            WireType::Byte => self.byte().map(drop),
            WireType::Integer => self.varint().map(drop),
            WireType::Double => self.take(8).map(drop),
            WireType::Uuid => self.take(16).map(drop),
            WireType::Binary => self.binary().map(drop),
            WireType::Struct => self.fields(|this, _, kind| this.skip_within(kind, inner)),
            WireType::List => {
                let (element, count) = self.list()?;
                for _ in 0..count {
                    self.skip_element(element, inner)?;
                }
                Ok(())
            }
            WireType::Map => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                let (key, value) = (self::kind(kinds >> 4)?, self::kind(kinds & 0x0f)?);
                for _ in 0..count {
                    self.skip_element(key, inner)?;
                    self.skip_element(value, inner)?;
                }
                Ok(())
            }
        }
    }

    /// In a list a boolean takes a byte; in a struct its type says it all.
    fn skip_element(&mut self, kind: WireType, depth: u32) -> Result<(), Broken> {
        match kind {
            WireType::Bool(_) => self.byte().map(drop),
            other => self.skip_within(other, depth),
        }
    }
}

fn kind(code: u8) -> Result<WireType, Broken> {
    Ok(match code {
        1 => WireType::Bool(true),
        2 => WireType::Bool(false),
        3 => WireType::Byte,
        4..=6 => WireType::Integer,
        7 => WireType::Double,
        8 => WireType::Binary,
        9 | 10 => WireType::List,
        11 => WireType::Map,
        12 => WireType::Struct,
        13 => WireType::Uuid,
        other => return Err(Broken::Invalid(format!("a value of unknown type {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_is_read_field_by_field() {
        // 1: i32 = -3, 2: bool true, 5: list<i32> [1, 2], 6: binary "ab".
        let bytes = [
            0x15, 0x05, 0x11, 0x39, 0x25, 0x02, 0x04, 0x18, 0x02, b'a', b'b', 0x00,
        ];
        let mut found = vec![];
        let mut compact = Compact::new(&bytes);
        compact
            .fields::<Broken>(|this, id, kind| {
                found.push(match (id, kind) {
                    (1, WireType::Integer) => format!("{}", this.i32()?),
                    (2, WireType::Bool(value)) => format!("{value}"),
                    (5, WireType::List) => {
                        let (_, count) = this.list()?;
                        let items: Result<Vec<_>, _> = (0..count).map(|_| this.i32()).collect();
                        format!("{:?}", items?)
                    }
                    _ => String::from_utf8_lossy(this.binary()?).into_owned(),
                });
                Ok(())
            })
            .unwrap();
        assert_eq!(found, ["-3", "true", "[1, 2]", "ab"]);
        assert_eq!(compact.position(), bytes.len());
        let mut skipped = Compact::new(&bytes);
        skipped.skip(WireType::Struct).unwrap();
        assert_eq!(skipped.position(), bytes.len());
        for len in 0..bytes.len() {
            let cut = Compact::new(&bytes[..len]).skip(WireType::Struct);
            assert_eq!(cut, Err(Broken::Short), "{len}");
        }
    }

    #[test]
    fn lengths_and_depths_are_bounded() {
        // A list of 2^31 integers in six bytes, and a struct in a struct in a struct.
        let long = [0xf5, 0xff, 0xff, 0xff, 0xff, 0x07];
        assert_eq!(Compact::new(&long).list(), Err(Broken::Short));
        let deep = [0x1c; 100];
        let skipped = Compact::new(&deep).skip(WireType::Struct);
        assert!(matches!(skipped, Err(Broken::Invalid(_))), "{skipped:?}");
        let endless = [0xff; 20];
        assert!(matches!(
            Compact::new(&endless).i64(),
            Err(Broken::Invalid(_))
        ));
    }
}
