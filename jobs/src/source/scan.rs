//! Where records end, without parsing them.
//!
//! A scan agrees with the parser on what a quote is: it opens a field only as the field's first byte, two
//! of them inside a quoted field are one of the value, and after the closing one the rest of the field is
//! plain. A line ends with `\n`, with `\r\n`, or with a `\r` that no `\n` follows, in any mixture; whoever splits
//! text into lines or counts them asks here.

use memchr::{memchr, memchr_iter, memchr2, memchr2_iter, memchr3, memrchr2};

use super::dialect::Dialect;

/// The state of a scan between two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanState {
    /// At the start of a field.
    Start,
    /// In a field that is not quoted, or after the closing quote of one that was.
    Plain,
    /// In a quoted field.
    Quoted,
    /// After a quote in a quoted field: the closing one, or the first of two.
    Closing,
}

/// Finds the ends of records in text that comes in pieces.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    dialect: Dialect,
    state: ScanState,
    /// Whether the text so far ends with a `\r` that ends a record, if no `\n` follows; else the `\n` does.
    at_cr: bool,
}

impl Scanner {
    /// A scan that begins at the start of a record.
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            state: ScanState::Start,
            at_cr: false,
        }
    }

    /// Whether the text so far leaves a quote open. Always false where every end of a line ends a record.
    pub(super) fn is_open(&self) -> bool {
        self.state == ScanState::Quoted
    }

    /// Scans `text` and calls `end` with the position after each end of a record. A `\r` that was the last byte before
    /// `text` may give position 0; one that is the last byte of it gives nothing yet.
    pub(super) fn scan(&mut self, text: &[u8], mut end: impl FnMut(usize)) {
        let Some(first) = text.first() else { return };
        if std::mem::take(&mut self.at_cr) && *first != b'\n' {
            end(0);
        }
        if !self.dialect.newlines {
            for at in memchr2_iter(b'\n', b'\r', text) {
                self.ended(text, at, &mut end);
            }
            return;
        }
        let mut at = 0;
        while at < text.len() {
            if self.state == ScanState::Closing {
                self.state = self.after_closing(text[at]);
                if is_line_end(text[at]) {
                    self.ended(text, at, &mut end);
                }
                at += 1;
            } else if self.state == ScanState::Quoted {
                let Some(skipped) = memchr(self.dialect.quote, &text[at..]) else {
                    return;
                };
                at += skipped + 1;
                self.state = ScanState::Closing;
            } else {
                at = self.hop(text, at, &mut end);
            }
        }
    }

    /// The same, of text that is all there is.
    pub(super) fn scan_all(&mut self, text: &[u8], mut end: impl FnMut(usize)) {
        self.scan(text, &mut end);
        if std::mem::take(&mut self.at_cr) {
            end(text.len());
        }
    }

    /// The byte at `at` ends a line, or is half of what does.
    fn ended(&mut self, text: &[u8], at: usize, end: &mut impl FnMut(usize)) {
        match text.get(at + 1) {
            _ if text[at] == b'\n' => end(at + 1),
            None => self.at_cr = true,
            Some(b'\n') => {}
            Some(_) => end(at + 1),
        }
    }

    /// Outside of quotes: goes on to the next quote or end of a line, which is all that matters here, and past
    /// it. Whether a quote opens a field is told by the byte before it.
    fn hop(&mut self, text: &[u8], at: usize, end: &mut impl FnMut(usize)) -> usize {
        let Some(skipped) = memchr3(self.dialect.quote, b'\n', b'\r', &text[at..]) else {
            self.state = self.after(text[text.len() - 1]);
            return text.len();
        };
        let found = at + skipped;
        if is_line_end(text[found]) {
            self.state = ScanState::Start;
            self.ended(text, found, end);
            return found + 1;
        }
        if skipped > 0 {
            self.state = self.after(text[found - 1]);
        }
        if self.state == ScanState::Start {
            self.state = ScanState::Quoted;
        }
        found + 1
    }

    /// The state after a byte outside of quotes.
    fn after(&self, byte: u8) -> ScanState {
        if byte == self.dialect.delimiter || is_line_end(byte) {
            ScanState::Start
        } else {
            ScanState::Plain
        }
    }

    /// The state after the byte that follows a quote in a quoted field.
    fn after_closing(&self, byte: u8) -> ScanState {
        if byte == self.dialect.quote {
            ScanState::Quoted
        } else {
            self.after(byte)
        }
    }

    /// Scans `text` and returns the position of the last end of a record, as [`Scanner::scan`] gives it.
    pub(super) fn last_end(&mut self, text: &[u8]) -> Option<usize> {
        if text.is_empty() {
            return None;
        }
        if !self.dialect.newlines {
            return self.last_line_end(text);
        }
        let outside = matches!(self.state, ScanState::Start | ScanState::Plain);
        if outside && memchr(self.dialect.quote, text).is_none() {
            // Nothing in between matters where no quote is, which is most text.
            self.state = text.last().map_or(self.state, |byte| self.after(*byte));
            return self.last_line_end(text);
        }
        let mut last = None;
        self.scan(text, |end| last = Some(end));
        last
    }

    /// The same where every end of a line ends a record.
    fn last_line_end(&mut self, text: &[u8]) -> Option<usize> {
        let (was_at_cr, ends_with_cr) = (self.at_cr, text.ends_with(b"\r"));
        self.at_cr = ends_with_cr;
        let body = &text[..text.len() - usize::from(ends_with_cr)];
        let found = memrchr2(b'\n', b'\r', body).map(|at| at + 1);
        // Nothing was found, so that no `\n` follows the `\r` that came before.
        found.or(was_at_cr.then_some(0))
    }
}

/// Whether a byte ends a line, or is half of what does.
pub(super) fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// The position after the first end of a line; `None` if there is none, or only a `\r` that is the last byte.
pub(super) fn line_end(text: &[u8]) -> Option<usize> {
    let at = memchr2(b'\n', b'\r', text)?;
    match text.get(at + 1) {
        _ if text[at] == b'\n' => Some(at + 1),
        None => None,
        Some(b'\n') => Some(at + 2),
        Some(_) => Some(at + 1),
    }
}

/// The lines of a text, each without its end.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', rest.as_bytes()).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        let len = match after.as_bytes() {
            [b'\r', b'\n', ..] => 2,
            after => after.len().min(1),
        };
        rest = &after[len..];
        Some(line)
    })
}

/// Number of lines that end in `text`. A `\r` that is its last byte ends one.
pub(super) fn count_line_ends(text: &[u8]) -> u64 {
    let newlines = memchr_iter(b'\n', text).count() as u64;
    let alone = |at: &usize| text.get(at + 1) != Some(&b'\n');
    newlines + memchr_iter(b'\r', text).filter(alone).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dialect(newlines: bool) -> Dialect {
        Dialect {
            delimiter: b',',
            quote: b'"',
            newlines,
            header: false,
        }
    }

    /// The ends by looking at every byte, as the states say it.
    fn ends_by_bytes(text: &[u8]) -> Vec<usize> {
        let scanner = Scanner::new(dialect(true));
        let mut state = ScanState::Start;
        let mut ends = vec![];
        for (at, byte) in text.iter().copied().enumerate() {
            state = match (state, byte) {
                (ScanState::Quoted, b'"') => ScanState::Closing,
                (ScanState::Quoted, _) | (ScanState::Start, b'"') => ScanState::Quoted,
                (ScanState::Closing, byte) => scanner.after_closing(byte),
                (ScanState::Start | ScanState::Plain, byte) => scanner.after(byte),
            };
            let ends_line = byte == b'\n' || (byte == b'\r' && text.get(at + 1) != Some(&b'\n'));
            if ends_line && state == ScanState::Start {
                ends.push(at + 1);
            }
        }
        ends
    }

    fn ends(newlines: bool, text: &[u8]) -> Vec<usize> {
        let mut ends = vec![];
        Scanner::new(dialect(newlines)).scan_all(text, |end| ends.push(end));
        ends
    }

    #[test]
    fn quoted_newlines_end_no_record_where_they_are_allowed() {
        let text = b"a,\"x\ny\"\n\"q\"\"\n\",1\r\nb,c\"d\ne";
        assert_eq!(ends(true, text), [8, 18, 24]);
        assert_eq!(ends(false, text), [5, 8, 13, 18, 24]);
        let mut scanner = Scanner::new(dialect(true));
        assert_eq!(scanner.last_end(b"a\nb,\"c\n"), Some(2));
        assert!(scanner.is_open());
    }

    #[test]
    fn lines_end_in_three_ways() {
        assert_eq!(ends(false, b"a\rb\r\nc\n\rd\r"), [2, 5, 7, 8, 10]);
        assert_eq!(
            lines("a\rb\r\n\nc\n\r").collect::<Vec<_>>(),
            ["a", "b", "", "c", ""]
        );
        assert_eq!(lines("a\nb").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(count_line_ends(b"a\rb\r\n\nc\n\r"), 5);
        for (text, end) in [
            (&b"a\nb"[..], Some(2)),
            (b"a\r\nb", Some(3)),
            (b"a\rb", Some(2)),
            (b"a\r", None),
            (b"a", None),
        ] {
            assert_eq!(line_end(text), end, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn hops_find_what_bytes_do(
            text in proptest::collection::vec(proptest::sample::select(b",\"\n\rab".to_vec()), 0..64),
        ) {
            prop_assert_eq!(ends(true, &text), ends_by_bytes(&text));
        }

        #[test]
        fn lines_are_counted_as_they_are_scanned(
            text in proptest::collection::vec(proptest::sample::select(b"aaa\r\n".to_vec()), 0..64),
        ) {
            let ends = ends(false, &text);
            prop_assert_eq!(count_line_ends(&text), ends.len() as u64);
            prop_assert_eq!(line_end(&text).or(text.ends_with(b"\r").then_some(text.len())), ends.first().copied());
            let rest = usize::from(ends.last().copied().unwrap_or(0) < text.len());
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(lines(&text).count(), ends.len() + rest);
        }

        #[test]
        fn pieces_scan_like_the_whole(
            text in proptest::collection::vec(proptest::sample::select(b",\"\n\rab".to_vec()), 0..64),
            cut in 0_usize..64,
        ) {
            let cut = cut.min(text.len());
            let mut pieces = vec![];
            let mut scanner = Scanner::new(dialect(true));
            scanner.scan(&text[..cut], |end| pieces.push(end));
            scanner.scan_all(&text[cut..], |end| pieces.push(cut + end));
            prop_assert_eq!(&pieces, &ends(true, &text));
            let mut hasty = Scanner::new(dialect(true));
            let lasts = [hasty.last_end(&text[..cut]), hasty.last_end(&text[cut..]).map(|end| cut + end)];
            let last = lasts.into_iter().flatten().last();
            let last = if hasty.at_cr { Some(text.len()) } else { last };
            prop_assert_eq!(last, pieces.last().copied());
            prop_assert_eq!(hasty.state, scanner.state);

            // The parser agrees: the text up to each end has as many records as the ends say at most,
            // and reading on from an end gives the same records as reading through it.
            let records = |text: &[u8]| {
                let mut reader = csv::ReaderBuilder::new()
                    .has_headers(false).flexible(true).from_reader(text);
                reader.byte_records().map(Result::unwrap).collect::<Vec<_>>()
            };
            for end in pieces {
                let mut halves = records(&text[..end]);
                halves.extend(records(&text[end..]));
                prop_assert_eq!(halves, records(&text));
            }
        }
    }
}
