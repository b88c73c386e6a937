//! Asking a worker over gRPC instead of opening the database.
//!
//! | module | is |
//! |---|---|
//! | `connect` | addresses, TLS and tokens; which peer answers |
//! | `calls` | submitting, looking at and changing jobs |
//! | `why` | why a peer did not answer |
//! | `watch` | news of a job, from whichever peer tells them |
//! | `status` | what is told, as the commands print it |

mod calls;
mod connect;
mod status;
mod watch;
mod why;

#[cfg(test)]
mod tests;

pub(crate) use connect::Remote;
pub(crate) use status::status;
pub(crate) use watch::Watch;
