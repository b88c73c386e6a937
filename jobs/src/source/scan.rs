//! Where records end, without parsing them.
//!
//! A scan agrees with the parser on what a quote is: it opens a field only as the field's first byte, two
//! of them inside a quoted field are one of the value, and after the closing one the rest of the field is
//! plain. Records end at `\n`; a `\r` before it belongs to the end.

use memchr::{memchr, memchr_iter, memchr2, memrchr};

use super::dialect::Dialect;

/// Bytes of which a `u8` can count any number.
const PIECE_LEN: usize = u8::MAX as usize;

/// The state of a scan between two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
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
    state: State,
}

impl Scanner {
    /// A scan that begins at the start of a record.
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            state: State::Start,
        }
    }

    /// Whether the text so far leaves a quote open. Always false where every newline ends a record.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Quoted
    }

    /// Scans `text` and calls `end` with the position after each newline that ends a record.
    pub(super) fn scan(&mut self, text: &[u8], mut end: impl FnMut(usize)) {
        if !self.dialect.newlines {
            memchr_iter(b'\n', text).for_each(|at| end(at + 1));
            return;
        }
        let mut at = 0;
        while at < text.len() {
            if self.state == State::Closing {
                self.state = self.after_closing(text[at]);
                at += 1;
                if text[at - 1] == b'\n' {
                    end(at);
                }
            } else if self.state == State::Quoted {
                let Some(skipped) = memchr(self.dialect.quote, &text[at..]) else {
                    return;
                };
                at += skipped + 1;
                self.state = State::Closing;
            } else {
                at = self.hop(text, at, &mut end);
            }
        }
    }

    /// Outside of quotes: goes on to the next quote or newline, which is all that matters here, and past
    /// it. Whether a quote opens a field is told by the byte before it.
    fn hop(&mut self, text: &[u8], at: usize, end: &mut impl FnMut(usize)) -> usize {
        let Some(skipped) = memchr2(self.dialect.quote, b'\n', &text[at..]) else {
            self.state = self.after(text[text.len() - 1]);
            return text.len();
        };
        let found = at + skipped;
        if text[found] == b'\n' {
            self.state = State::Start;
            end(found + 1);
            return found + 1;
        }
        if skipped > 0 {
            self.state = self.after(text[found - 1]);
        }
        if self.state == State::Start {
            self.state = State::Quoted;
        }
        found + 1
    }

    /// The state after a byte outside of quotes.
    fn after(&self, byte: u8) -> State {
        if byte == self.dialect.delimiter || byte == b'\n' || byte == b'\r' {
            State::Start
        } else {
            State::Plain
        }
    }

    /// The state after the byte that follows a quote in a quoted field.
    fn after_closing(&self, byte: u8) -> State {
        if byte == self.dialect.quote {
            State::Quoted
        } else {
            self.after(byte)
        }
    }

    /// Scans `text` and returns the position after the last newline that ends a record.
    pub(super) fn last_end(&mut self, text: &[u8]) -> Option<usize> {
        if !self.dialect.newlines {
            return memrchr(b'\n', text).map(|at| at + 1);
        }
        let outside = matches!(self.state, State::Start | State::Plain);
        if outside && memchr(self.dialect.quote, text).is_none() {
            // Nothing in between matters where no quote is, which is most text.
            self.state = text.last().map_or(self.state, |byte| self.after(*byte));
            return memrchr(b'\n', text).map(|at| at + 1);
        }
        let mut last = None;
        self.scan(text, |end| last = Some(end));
        last
    }
}

/// Number of lines that a CSV parser makes a record of: those that are not empty. `\r` and `\n` both end a
/// line, so that `\r\n` is one end and an empty line. `text` ends with an end of a line.
pub(super) fn count_csv_lines(text: &[u8]) -> usize {
    let is_end = |byte: u8| byte == b'\n' || byte == b'\r';
    debug_assert!(
        text.last().is_none_or(|byte| is_end(*byte)),
        "text without an end of line"
    );
    // Ends after no end. Counted in bytes, which the compiler adds many of at once, and so few of them
    // that no sum of theirs passes 255.
    let (before, after) = (text, text.get(1..).unwrap_or_default());
    let pieces = before
        .chunks(PIECE_LEN)
        .zip(after.chunks(PIECE_LEN))
        .map(|(before, after)| {
            let ends = before
                .iter()
                .zip(after)
                .map(|(before, after)| u8::from(is_end(*after) & !is_end(*before)));
            usize::from(ends.sum::<u8>())
        });
    pieces.sum()
}

/// Number of lines with anything but white space. `text` ends with a newline.
pub(super) fn count_json_lines(text: &[u8]) -> usize {
    let mut start = 0;
    let mut count = 0;
    for end in memchr_iter(b'\n', text) {
        count += usize::from(!text[start..end].trim_ascii().is_empty());
        start = end + 1;
    }
    count
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
        let mut state = State::Start;
        let mut ends = vec![];
        for (at, byte) in text.iter().copied().enumerate() {
            state = match (state, byte) {
                (State::Quoted, b'"') => State::Closing,
                (State::Quoted, _) | (State::Start, b'"') => State::Quoted,
                (State::Closing, byte) => scanner.after_closing(byte),
                (State::Start | State::Plain, byte) => scanner.after(byte),
            };
            if byte == b'\n' && state == State::Start {
                ends.push(at + 1);
            }
        }
        ends
    }

    fn ends(newlines: bool, text: &[u8]) -> Vec<usize> {
        let mut ends = vec![];
        Scanner::new(dialect(newlines)).scan(text, |end| ends.push(end));
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
    fn lines_with_nothing_in_them_are_not_counted() {
        for (text, count) in [
            ("", 0),
            ("\n", 0),
            ("a\n", 1),
            ("a\r\n\r\n\nb\n", 2),
            (" \n", 1),
            ("a\rb\n", 2),
        ] {
            assert_eq!(count_csv_lines(text.as_bytes()), count, "{text:?}");
        }
        assert_eq!(count_json_lines(b" \n{}\n\t\r\n"), 1);
    }

    #[test]
    fn lines_are_counted_across_the_pieces_of_the_count() {
        for len in (0..4).map(|more| 2 * PIECE_LEN - 2 + more) {
            let text = [vec![b'a'; len], b"\nb\n".to_vec()].concat();
            assert_eq!(count_csv_lines(&text), 2, "{len}");
        }
        let text = b"a\n".repeat(1000);
        assert_eq!(count_csv_lines(&text), 1000);
    }

    proptest! {
        #[test]
        fn hops_find_what_bytes_do(
            text in proptest::collection::vec(proptest::sample::select(b",\"\n\rab".to_vec()), 0..64),
        ) {
            prop_assert_eq!(ends(true, &text), ends_by_bytes(&text));
        }

        #[test]
        fn lines_are_counted_one_by_one(
            text in proptest::collection::vec(proptest::sample::select(b"aaa\r\n".to_vec()), 0..1024),
        ) {
            let text = [&text[..], b"\n"].concat();
            let lines = text.split(|byte| *byte == b'\n' || *byte == b'\r');
            prop_assert_eq!(count_csv_lines(&text), lines.filter(|line| !line.is_empty()).count());
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
            scanner.scan(&text[cut..], |end| pieces.push(cut + end));
            prop_assert_eq!(&pieces, &ends(true, &text));
            let mut hasty = Scanner::new(dialect(true));
            let lasts = [hasty.last_end(&text[..cut]), hasty.last_end(&text[cut..]).map(|end| cut + end)];
            prop_assert_eq!(lasts.into_iter().flatten().last(), pieces.last().copied());
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
