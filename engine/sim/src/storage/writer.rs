//! A write-once object on its way.

use async_trait::async_trait;
use eciton_engine::base::{Error, Result};
use eciton_engine::storage::{Created, Name, ObjectWriter, Operation};

use super::{SimStorage, Trouble};
use crate::disk::failure;
use crate::fault::FaultKind;

pub(super) struct SimWriter {
    storage: SimStorage,
    name: Name,
    bytes: Vec<u8>,
    failed: Option<Error>,
}

impl SimWriter {
    pub(super) fn new(storage: SimStorage, name: Name) -> SimWriter {
        SimWriter {
            storage,
            name,
            bytes: Vec::new(),
            failed: None,
        }
    }
}

#[async_trait]
impl ObjectWriter for SimWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let operation = Operation::Write;
        let kinds = [FaultKind::IoError, FaultKind::NoSpace, FaultKind::Slow];
        let trouble = self
            .storage
            .begin(operation, self.name.as_str(), &kinds)
            .await;
        if let Trouble::Errno(errno) = trouble {
            let error = failure(operation, &self.name, errno);
            self.failed = Some(error.clone());
            return Err(error);
        }
        self.bytes.extend_from_slice(bytes);
        let len = bytes.len();
        self.storage
            .log(operation, self.name.as_str(), format_args!("{len} bytes"));
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Created> {
        match self.failed {
            Some(failure) => Err(failure),
            None => {
                self.storage
                    .create_with(Operation::Finish, &self.name, &self.bytes)
                    .await
            }
        }
    }
}
