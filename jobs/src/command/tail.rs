//! The end of what a program writes to its standard error.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};

/// The last bytes of a stream.
#[derive(Debug)]
pub(crate) struct Tail {
    kept: VecDeque<u8>,
    len_max: usize,
    /// Bytes of the stream so far.
    len: u64,
}

impl Tail {
    /// Keeps at most so many bytes.
    pub(crate) fn new(len_max: usize) -> Tail {
        Tail {
            kept: VecDeque::new(),
            len_max,
            len: 0,
        }
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.len_max)..];
        let excess = (self.kept.len() + bytes.len()).saturating_sub(self.len_max);
        self.kept.drain(..excess);
        self.kept.extend(bytes);
        assert!(
            self.kept.len() <= self.len_max && self.kept.len() as u64 <= self.len,
            "{} bytes are kept of {}, at most {}",
            self.kept.len(),
            self.len,
            self.len_max
        );
    }

    /// Bytes of the whole stream.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// What is kept.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.kept.iter().copied().collect()
    }

    /// The last lines, as text of at most `len_max` bytes; empty where there are none.
    pub(crate) fn lines(&self, len_max: usize) -> String {
        let bytes = self.bytes();
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end();
        let mut start = text.len().saturating_sub(len_max);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        let cut = &text[start..];
        // A line that was cut begins somewhere within.
        match cut.split_once('\n') {
            Some((_, whole)) if start > 0 => whole.to_owned(),
            _ => cut.to_owned(),
        }
    }
}

/// Reads a stream to its end, or until it cannot be read, and hands on what comes.
pub(crate) fn drain(mut stream: impl Read, mut take: impl FnMut(&[u8])) {
    let mut block = [0; 16 * 1024];
    loop {
        match stream.read(&mut block) {
            Ok(0) => return,
            Ok(len) => take(&block[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_stay() {
        let mut tail = Tail::new(5);
        tail.push(b"abc");
        assert_eq!((tail.bytes(), tail.len()), (b"abc".to_vec(), 3));
        tail.push(b"defg");
        assert_eq!((tail.bytes(), tail.len()), (b"cdefg".to_vec(), 7));
        tail.push(b"0123456789");
        assert_eq!((tail.bytes(), tail.len()), (b"56789".to_vec(), 17));
    }

    #[test]
    fn lines_are_whole_unless_there_is_only_one() {
        let mut tail = Tail::new(100);
        tail.push("first\nsecönd\nthird\n".as_bytes());
        assert_eq!(tail.lines(100), "first\nsecönd\nthird");
        assert_eq!(tail.lines(14), "secönd\nthird");
        assert_eq!(tail.lines(12), "third");
        assert_eq!(tail.lines(3), "ird");
        assert_eq!(Tail::new(1).lines(9), "");
    }
}
