//! The file on its way: gathers bytes, hashes them, knows how far it is.

use crate::base::checksum::Hasher128;
use crate::base::{Error, Result};
use crate::storage::{Created, ObjectWriter};

/// Bytes gathered before they are written.
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
        if self.gathered.len() >= GATHER_LEN {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Adds bytes at the end; long ones are not copied.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() < GATHER_LEN {
            return self.append(|out| out.extend_from_slice(bytes)).await;
        }
        self.check_whole()?;
        self.flush().await?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.writing = true;
        self.writer.write(bytes).await?;
        self.writing = false;
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.writing = true;
        self.writer.write(&self.gathered).await?;
        self.gathered.clear();
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
        self.flush().await?;
        self.writer.finish().await
    }
}
