//! A large object on its way to every path.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join_all;

use super::member::Member;
use crate::base::Result;
use crate::storage::{Created, ObjectWriter};

/// Writes a segment to every path in force. Its name is random, so no path decides who wins.
pub(super) struct MirrorWriter {
    pub(super) writers: Vec<(Arc<Member>, Box<dyn ObjectWriter>)>,
}

#[async_trait]
impl ObjectWriter for MirrorWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let writes = self
            .writers
            .iter_mut()
            .map(|(member, writer)| member.run(writer.write(bytes)));
        try_join_all(writes).await?;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Created> {
        let finishes = self
            .writers
            .into_iter()
            .map(async |(member, writer)| member.run(writer.finish()).await);
        let created = try_join_all(finishes).await?;
        let is_new = created.iter().all(|created| *created == Created::New);
        Ok(if is_new {
            Created::New
        } else {
            Created::Exists
        })
    }
}
