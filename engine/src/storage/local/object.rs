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

impl LocalObject {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        read_exact_at(&self.file, bytes, offset).map_err(|cause| {
            if cause.kind() != io::ErrorKind::UnexpectedEof {
                return Operation::ReadAt.error(&self.name, &cause);
            }
            let metadata = self.file.metadata();
            let now = metadata.map_or(self.len, |metadata| metadata.len());
            past_end(&self.name, offset, bytes.len(), now)
        })
    }
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
        self.read(offset, &mut bytes)?;
        Ok(bytes.into())
    }

    fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Option<Result<()>> {
        let in_range = check_range(&self.name, offset, bytes.len(), self.len);
        Some(in_range.and_then(|_end| self.read(offset, bytes)))
    }
}
