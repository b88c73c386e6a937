//! The fields of one record, with their places: what messages about a malformed record need and the fast
//! decoder does not tell.

use std::borrow::Cow;

use super::dialect::Dialect;
use super::scan::is_line_end;

/// One field as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'t> {
    /// Where it begins, its quote included.
    pub(super) start: usize,
    /// The text, quotes included.
    pub(super) raw: &'t [u8],
    /// Whether its quote is still open at the end of the text.
    pub(super) open: bool,
}

impl<'t> Field<'t> {
    /// The value: quotes taken off, doubled ones halved.
    pub(super) fn value(&self, dialect: Dialect) -> Cow<'t, [u8]> {
        let quote = dialect.quote;
        let Some((first, rest)) = self.raw.split_first() else {
            return Cow::Borrowed(self.raw);
        };
        if *first != quote {
            return Cow::Borrowed(self.raw);
        }
        let mut value = Vec::with_capacity(rest.len());
        let mut quoted = true;
        let mut bytes = rest.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            if !quoted || byte != quote {
                value.push(byte);
            } else if bytes.next_if_eq(&quote).is_some() {
                value.push(quote);
            } else {
                quoted = false;
            }
        }
        Cow::Owned(value)
    }

    /// Where something other than the end of the field follows the closing quote.
    pub(super) fn stray(&self, dialect: Dialect) -> Option<usize> {
        let quote = dialect.quote;
        let mut at = 1;
        if self.raw.first() != Some(&quote) {
            return None;
        }
        loop {
            at += memchr::memchr(quote, self.raw.get(at..)?)? + 1;
            match self.raw.get(at) {
                None => return None,
                Some(byte) if *byte == quote => at += 1,
                Some(_) => return Some(at),
            }
        }
    }

    /// Whether it ends in the line that it begins in, or need not.
    pub(super) fn is_in_line(&self, dialect: Dialect) -> bool {
        dialect.newlines || memchr::memchr2(b'\n', b'\r', self.raw).is_none()
    }
}

/// Splits the first record of `text` into fields and says where the record ends (after its `\n`, `\r` or `\r\n`).
/// Empty lines before it are passed over; no fields: nothing but empty lines.
pub(super) fn split(text: &[u8], dialect: Dialect) -> (Vec<Field<'_>>, usize) {
    let at = text.iter().take_while(|byte| is_line_end(**byte)).count();
    let mut fields = Vec::new();
    if at == text.len() {
        return (fields, at);
    }
    let len = split_into(&text[at..], dialect, &mut fields);
    for field in &mut fields {
        field.start += at;
    }
    (fields, at + len)
}

/// Splits the record that `text` begins with, which is no empty line, into the place of the fields that were there, and
/// says where it ends.
pub(super) fn split_into<'t>(
    text: &'t [u8],
    dialect: Dialect,
    fields: &mut Vec<Field<'t>>,
) -> usize {
    fields.clear();
    let mut at = 0;
    loop {
        let (end, open) = field_end(text, at, dialect);
        fields.push(Field {
            start: at,
            raw: &text[at..end],
            open,
        });
        match text.get(end) {
            Some(byte) if *byte == dialect.delimiter => at = end + 1,
            Some(b'\r') if text.get(end + 1) == Some(&b'\n') => return end + 2,
            Some(_) => return end + 1,
            None => return end,
        }
    }
}

/// Where the field that begins at `start` ends (at its delimiter, newline or the end of the text), and
/// whether its quote is open there.
fn field_end(text: &[u8], start: usize, dialect: Dialect) -> (usize, bool) {
    let mut at = start;
    if text.get(at) == Some(&dialect.quote) {
        at += 1;
        loop {
            match memchr::memchr(dialect.quote, &text[at..]) {
                None => return (text.len(), true),
                Some(skipped) => at += skipped + 1,
            }
            if text.get(at) != Some(&dialect.quote) {
                break;
            }
            at += 1;
        }
    }
    let end = memchr::memchr3(dialect.delimiter, b'\n', b'\r', &text[at..]);
    (end.map_or(text.len(), |skipped| at + skipped), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIALECT: Dialect = Dialect {
        delimiter: b',',
        quote: b'"',
        newlines: true,
        header: false,
    };

    #[test]
    fn fields_know_their_places() {
        let (fields, end) = split(b"\r\nab,\"c,\"\"d\",\r\nnext", DIALECT);
        let places: Vec<_> = fields
            .iter()
            .map(|f| (f.start, f.value(DIALECT).to_vec()))
            .collect();
        assert_eq!(
            places,
            [
                (2, b"ab".to_vec()),
                (5, b"c,\"d".to_vec()),
                (13, b"".to_vec())
            ]
        );
        assert_eq!(end, 15);
        let (fields, _) = split(b"a,\"b", DIALECT);
        assert!(fields[1].open);
    }

    #[test]
    fn what_follows_a_closing_quote_is_stray() {
        let stray = |text: &[u8]| split(text, DIALECT).0[0].stray(DIALECT);
        assert_eq!(stray(b"\"a\"b,c"), Some(3));
        assert_eq!(stray(b"\"a\" ,c"), Some(3));
        assert_eq!(stray(b"\"a\"\"b\"x\"\n"), Some(6));
        for sound in [
            &b"\"a\",b"[..],
            b"\"a\"\"b\"\n",
            b"\"\"",
            b"a\"b",
            b"\"open",
            b"",
        ] {
            let (fields, _) = split(sound, DIALECT);
            assert_eq!(fields.first().and_then(|field| field.stray(DIALECT)), None);
        }
    }

    proptest! {
        #[test]
        fn values_are_those_of_the_parser(
            text in proptest::collection::vec(proptest::sample::select(b",\"\n\rab".to_vec()), 0..64),
        ) {
            let mut found = vec![];
            let mut rest = text.as_slice();
            loop {
                let (fields, end) = split(rest, DIALECT);
                if fields.is_empty() { break; }
                found.push(fields.iter().map(|f| f.value(DIALECT).to_vec()).collect::<Vec<_>>());
                rest = &rest[end..];
            }
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false).flexible(true).from_reader(text.as_slice());
            let expected: Vec<Vec<Vec<u8>>> = reader.byte_records()
                .map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
