//! The file on its way: gathers bytes, hashes them, knows how far it is.

use crate::base::checksum::Hasher128;
use crate::base::{Error, Result};
use crate::storage::{Created, ObjectWriter};

/// Bytes gathered before they are written, and of which each write ends at a multiple: the system then keeps a file in
/// memory in large pieces, and finds the piece of a page in less time.
const GATHER_LEN: usize = 256 * 1024;

/// Where a builder puts its bytes.
pub(super) struct Sink {
    writer: Box<dyn ObjectWriter>,
    gathered: Vec<u8>,
    /// Bytes of the file so far, those gathered included.
    len: u64,
    hasher: Hasher128,
    /// Set while a write is under way. If it failed, or whoever awaited it went away, what the
    /// writer holds is unknown, and going on would leave a hole.
    writing: bool,
}

impl Sink {
    pub(super) fn new(writer: Box<dyn ObjectWriter>) -> Sink {
        let hasher = Hasher128::default();
        Sink {
            writer,
            gathered: Vec::new(),
            len: 0,
            hasher,
            writing: false,
        }
    }

    /// Bytes of the file so far: the offset of what comes next.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// XXH3-128 of the file so far.
    pub(super) fn content_hash(&mut self) -> u128 {
        self.hasher.digest()
    }

    /// Lets `append` add bytes at the end.
    pub(super) async fn append(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        self.check_whole()?;
        let start = self.gathered.len();
        append(&mut self.gathered);
        let added = &self.gathered[start..];
        self.hasher.update(added);
        self.len += added.len() as u64;
        if self.gathered.len() < GATHER_LEN {
            return Ok(());
        }
        let beyond = usize::try_from(self.len % GATHER_LEN as u64).unwrap_or(0);
        self.flush(self.gathered.len() - beyond).await
    }

    /// Adds bytes at the end; long ones are not copied.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() < GATHER_LEN {
            return self.append(|out| out.extend_from_slice(bytes)).await;
        }
        self.check_whole()?;
        self.flush(self.gathered.len()).await?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.writing = true;
        self.writer.write(bytes).await?;
        self.writing = false;
        Ok(())
    }

    /// Writes the first `len` bytes of what is gathered.
    async fn flush(&mut self, len: usize) -> Result<()> {
        let Some(bytes) = self.gathered.get(..len).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        self.writing = true;
        self.writer.write(bytes).await?;
        self.gathered.drain(..len);
        self.writing = false;
        Ok(())
    }

    fn check_whole(&self) -> Result<()> {
        if self.writing {
            return Err(Error::Invalid(
                "a write of this run failed; begin another".to_owned(),
            ));
        }
        Ok(())
    }

    /// Writes what is gathered and makes the file durable under its name, if that is free.
    pub(super) async fn finish(mut self) -> Result<Created> {
        self.check_whole()?;
        self.flush(self.gathered.len()).await?;
        self.writer.finish().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use futures::executor::block_on;
    use parking_lot::Mutex;

    use super::*;
    use crate::base::entropy::SeededEntropy;

    /// Notes what is written, each write by itself.
    #[derive(Clone, Default)]
    struct Noting(Arc<Mutex<Vec<Vec<u8>>>>);

    #[async_trait]
    impl ObjectWriter for Noting {
        async fn write(&mut self, bytes: &[u8]) -> Result<()> {
            self.0.lock().push(bytes.to_vec());
            Ok(())
        }

        async fn finish(self: Box<Self>) -> Result<Created> {
            Ok(Created::New)
        }
    }

    #[test]
    fn writes_end_at_multiples_but_for_long_ones() {
        for seed in 0..20 {
            println!("seed {seed}");
            let random = SeededEntropy::new(seed);
            let noting = Noting::default();
            let mut sink = Sink::new(Box::new(noting.clone()));
            let (mut all, mut apart) = (Vec::new(), Vec::new());
            for _ in 0..300 {
                let is_long = random.next_u64().is_multiple_of(100);
                let len = random.next_u64() % 20_000 + if is_long { GATHER_LEN as u64 } else { 0 };
                let bytes = vec![len.to_le_bytes()[0]; usize::try_from(len).unwrap()];
                if is_long {
                    // What is gathered goes before a long one.
                    apart.extend([all.len(), all.len() + bytes.len()]);
                }
                block_on(sink.write(&bytes)).unwrap();
                all.extend(bytes);
                assert_eq!(sink.len(), all.len() as u64);
            }
            block_on(sink.finish()).unwrap();
            let written = noting.0.lock();
            assert!(written.concat() == all, "the bytes in their order");
            let mut end = 0;
            for bytes in written.iter() {
                end += bytes.len();
                let is_whole = end.is_multiple_of(GATHER_LEN) || end == all.len();
                assert!(is_whole || apart.contains(&end), "a write ends at {end}");
            }
        }
    }
}
