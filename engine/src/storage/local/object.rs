//! An immutable file, open for reads at offsets.

use std::fs::File;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;

use super::platform::read_exact_at;
use crate::base::Result;
use crate::storage::{Name, Object, Operation, check_range, past_end};

#[derive(Debug)]
pub(super) struct LocalObject {
    pub(super) name: Name,
    pub(super) file: File,
    pub(super) len: u64,
}

#[async_trait]
impl Object for LocalObject {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        // Before the allocation: a damaged reference must not ask for the memory of the machine.
        check_range(&self.name, offset, len, self.len)?;
        let mut bytes = vec![0; len];
        match read_exact_at(&self.file, &mut bytes, offset) {
            Ok(()) => Ok(bytes.into()),
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
                let now = self
                    .file
                    .metadata()
                    .map_or(self.len, |metadata| metadata.len());
                Err(past_end(&self.name, offset, len, now))
            }
            Err(cause) => Err(Operation::ReadAt.error(&self.name, &cause)),
        }
    }
}
