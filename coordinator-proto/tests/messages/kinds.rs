//! Every message of the package, by name.

use eciton_proto::prost::{DecodeError, Message};
use eciton_proto::v1;

/// A message's type: decodes bytes and encodes what it read.
pub(crate) struct Type {
    pub(crate) name: &'static str,
    pub(crate) recode: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
}

fn recode<M: Message + Default + Clone + PartialEq + std::fmt::Debug>(
    bytes: &[u8],
) -> Result<Vec<u8>, DecodeError> {
    let message = M::decode(bytes)?;
    let again = message.encode_to_vec();
    assert_eq!(again.len(), message.encoded_len(), "{message:?}");
    assert_eq!(M::decode(again.as_slice()), Ok(message));
    Ok(again)
}

macro_rules! types {
    ($($name:ident)*) => {
        /// All of them; a test holds this to the descriptors.
        pub(crate) const TYPES: &[Type] = &[$(Type {
            name: concat!("eciton.v1.", stringify!($name)),
            recode: recode::<v1::$name>,
        }),*];
    };
}

types! {
    AnswerSpec CancelJobRequest CancelJobResponse Checkpoint CommandFile CommandSpec CompleteBegin CompleteEnd CompleteRequest
    CompleteResponse DeleteSpec ExportPlan ExportSpec ExportedFile ExportedFiles FailRequest FailResponse FileChunk GetJobRequest GetJobResponse JobAge JobCounts JobFile
    JobFileContent JobInput JobResults JobSpec JobState JobStatus ListJobsRequest ListJobsResponse ListWorkersRequest ListWorkersResponse
    MergeSpec MergeValue Plan ProgramLog PullRequest PullResponse Registry ReleaseRequest ReleaseResponse RemoveJobRequest
    RemoveJobResponse RenewRequest RenewResponse RenewedLease Resource ReplaceJobRequest ReplaceJobResponse RetryJobRequest
    RetryJobResponse RowGroups RunSpec SchemaField Session ShardChunk ShardFailure ShardState SourceDoubt SourceFile
    SourceSpec StoreColumn StorePlan SubmitJobRequest SubmitJobResponse TaskJob TaskSpec TextRange TransformSpec UpsertSpec ValueRange Variable
    WatchJobRequest WatchJobResponse Worker WorkerInfo WorkerJob
}
