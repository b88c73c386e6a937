//! Variable-length integers, and reading bytes that may be anything.
//!
//! Every number has one form: what is longer than it needs to be does not decode, so that equal
//! states have equal bytes.

/// Adds `value` in groups of seven bits, the lowest first; all bytes but the last have the top bit.
pub(super) fn put_varint(mut value: u128, out: &mut Vec<u8>) {
    // Nearly all numbers fit a machine word.
    if let Ok(mut short) = u64::try_from(value) {
        while short > 0x7f {
            let [low, ..] = short.to_le_bytes();
            out.push(low | 0x80);
            short >>= 7;
        }
        let [low, ..] = short.to_le_bytes();
        out.push(low);
        return;
    }
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Adds a signed number: small magnitudes of either sign are short.
pub(super) fn put_signed(value: i128, out: &mut Vec<u8>) {
    put_varint(((value << 1) ^ (value >> 127)).cast_unsigned(), out);
}

/// Adds a length and that many bytes.
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as u128, out);
    out.extend_from_slice(bytes);
}

/// What is left to read. Every method gives `None` where the bytes end or are not canonical.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateReader<'a> {
    rest: &'a [u8],
}

impl<'a> StateReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> StateReader<'a> {
        StateReader { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(super) fn varint(&mut self) -> Option<u128> {
        // Most numbers have one byte; 128-bit arithmetic is for the others.
        if let [byte @ 0..=0x7f, rest @ ..] = self.rest {
            self.rest = rest;
            return Some((*byte).into());
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<u128> {
        // What fits eight bytes is put together in a machine word.
        let mut short = 0u64;
        for (index, &byte) in self.rest.iter().take(8).enumerate() {
            short |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let needless = byte == 0 && index > 0;
                self.rest = self.rest.get(index + 1..)?;
                return (!needless).then(|| short.into());
            }
        }
        let mut value = 0u128;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            let group = u128::from(byte & 0x7f);
            let fits = shift <= u128::BITS - 7 || group >> (u128::BITS - shift) == 0;
            let needless = byte == 0 && shift > 0;
            if !fits || needless {
                return None;
            }
            value |= group << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn varint_u64(&mut self) -> Option<u64> {
        self.varint().and_then(|value| u64::try_from(value).ok())
    }

    pub(super) fn signed(&mut self) -> Option<i128> {
        let bits = self.varint()?;
        let magnitude = (bits >> 1).cast_signed();
        Some(if bits & 1 == 0 { magnitude } else { !magnitude })
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(bits in any::<u128>(), shift in 0u32..128) {
            let value = bits >> shift;
            let mut out = Vec::new();
            put_varint(value, &mut out);
            put_signed(value.cast_signed(), &mut out);
            let mut reader = StateReader::new(&out);
            prop_assert_eq!(reader.varint(), Some(value));
            prop_assert_eq!(reader.signed(), Some(value.cast_signed()));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn a_number_has_one_form(bytes in prop::collection::vec(any::<u8>(), 0..22)) {
            let mut reader = StateReader::new(&bytes);
            if let Some(value) = reader.varint() {
                let mut out = Vec::new();
                put_varint(value, &mut out);
                prop_assert_eq!(&out[..], &bytes[..bytes.len() - reader.rest.len()]);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut largest = Vec::new();
        put_varint(u128::MAX, &mut largest);
        assert_eq!(StateReader::new(&largest).varint(), Some(u128::MAX));
        assert_eq!(StateReader::new(&largest).varint_u64(), None);
        *largest.last_mut().unwrap() += 1;
        assert_eq!(StateReader::new(&largest).varint(), None);
        assert_eq!(StateReader::new(&[0x80, 0x00]).varint(), None);
        assert_eq!(StateReader::new(&[5, 1, 2]).bytes(), None);
    }
}
