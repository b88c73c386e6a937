//! Bounds-checked reading and plain writing of the little-endian forms that every format is made of.

use bytes::Bytes;

use super::limits::NUMBER_MAX;

/// What a reader met: too few bytes, or a form that no writer makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Reads front to back from shared bytes; slices it returns share them.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the beginning.
    pub fn new(bytes: &'a Bytes) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// How far it has read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether everything has been read.
    pub fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next `len` bytes, shared.
    ///
    /// # Errors
    /// [`Malformed`] where fewer are left.
    pub fn take(&mut self, len: usize) -> Result<Bytes, Malformed> {
        let end = self
            .at
            .checked_add(len)
            .filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Malformed("ends too early"))?;
        let slice = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(slice)
    }

    /// The next `N` bytes, copied.
    ///
    /// # Errors
    /// [`Malformed`] where fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = &self.bytes[self.at..];
        let array = rest.first_chunk::<N>().ok_or(Malformed("ends too early"))?;
        self.at += N;
        Ok(*array)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Malformed`] at the end.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// A 64-bit integer.
    ///
    /// # Errors
    /// [`Malformed`] where too few bytes are left.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A 128-bit integer.
    ///
    /// # Errors
    /// [`Malformed`] where too few bytes are left.
    pub fn u128(&mut self) -> Result<u128, Malformed> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// A LEB128 integer of at most 64 bits, in its shortest form.
    ///
    /// # Errors
    /// [`Malformed`] where it does not end, does not fit or is longer than need be.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed("varint beyond 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest {
                    Ok(value)
                } else {
                    Err(Malformed("varint not shortest"))
                };
            }
        }
        Err(Malformed("varint without end"))
    }

    /// A position, a generation or the like: a [`Reader::varint`] up to [`NUMBER_MAX`].
    ///
    /// # Errors
    /// As [`Reader::varint`], and for more than that.
    pub fn number(&mut self) -> Result<u64, Malformed> {
        let number = self.varint()?;
        match number <= NUMBER_MAX {
            true => Ok(number),
            false => Err(Malformed("a number beyond any that is given")),
        }
    }

    /// A length and that many bytes, shared.
    ///
    /// # Errors
    /// [`Malformed`] where the length is beyond `len_max` or what is left.
    pub fn sized(&mut self, len_max: usize) -> Result<Bytes, Malformed> {
        let len = usize::try_from(self.varint()?)
            .ok()
            .filter(|len| *len <= len_max);
        self.take(len.ok_or(Malformed("length beyond its limit"))?)
    }
}

/// Appends `value` as LEB128.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a length and the bytes.
pub fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_at_every_width() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1u64 << shift, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                let bytes = Bytes::from(out);
                let mut reader = Reader::new(&bytes);
                assert_eq!(reader.varint(), Ok(value));
                assert!(reader.is_done());
            }
        }
    }

    #[test]
    fn only_the_shortest_varint_is_read() {
        let read = |bytes: &'static [u8]| Reader::new(&Bytes::from_static(bytes)).varint();
        assert_eq!(read(&[0x80, 0x00]), Err(Malformed("varint not shortest")));
        assert_eq!(read(&[0xff; 9]), Err(Malformed("ends too early")));
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
            Err(Malformed("varint beyond 64 bits"))
        );
    }
}
