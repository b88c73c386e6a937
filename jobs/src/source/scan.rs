//! Where records end, without parsing them.
//!
//! A scan agrees with the parser on what a quote is: it opens a field only as the field's first byte, two
//! of them inside a quoted field are one of the value, and after the closing one the rest of the field is
//! plain. Records end at `\n`; a `\r` before it belongs to the end.

use memchr::{memchr, memchr_iter, memrchr};

use super::dialect::Dialect;

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
            if self.state == State::Quoted {
                // Values with quotes tend to be long; skip what cannot end them.
                match memchr(self.dialect.quote, &text[at..]) {
                    Some(skipped) => at += skipped,
                    None => return,
                }
            }
            self.step(text[at]);
            at += 1;
            if text[at - 1] == b'\n' && self.state == State::Start {
                end(at);
            }
        }
    }

    /// Scans `text` and returns the position after the last newline that ends a record.
    pub(super) fn last_end(&mut self, text: &[u8]) -> Option<usize> {
        if !self.dialect.newlines {
            return memrchr(b'\n', text).map(|at| at + 1);
        }
        let mut last = None;
        self.scan(text, |end| last = Some(end));
        last
    }

    fn step(&mut self, byte: u8) {
        let plain = |byte: u8| match byte {
            b'\n' | b'\r' => State::Start,
            byte if byte == self.dialect.delimiter => State::Start,
            _ => State::Plain,
        };
        self.state = match self.state {
            State::Quoted if byte == self.dialect.quote => State::Closing,
            State::Quoted => State::Quoted,
            State::Start | State::Closing if byte == self.dialect.quote => State::Quoted,
            State::Start | State::Plain | State::Closing => plain(byte),
        };
    }
}

/// Number of lines that a CSV parser makes a record of: those that are not empty. `\r` and `\n` both end a
/// line, so that `\r\n` is one end and an empty line. `text` ends with an end of a line.
pub(super) fn count_csv_lines(text: &[u8]) -> usize {
    let is_end = |byte: u8| byte == b'\n' || byte == b'\r';
    // An end after no end; written so that the compiler can take many bytes at once.
    let later = text
        .windows(2)
        .filter(|pair| is_end(pair[1]) & !is_end(pair[0]))
        .count();
    debug_assert!(
        text.last().is_none_or(|byte| is_end(*byte)),
        "text without an end of line"
    );
    later
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

    proptest! {
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
