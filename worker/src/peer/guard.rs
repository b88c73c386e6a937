//! Asks every call for its role before anything of its body is read.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use eciton_proto::calls::Call;
use futures::future::Either;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response, header};
use tonic::server::NamedService;

use crate::access::{Access, Role};

/// A service behind a guard.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    inner: S,
    access: Arc<Access>,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, access: &Arc<Access>) -> Guarded<S> {
        Guarded {
            inner,
            access: Arc::clone(access),
        }
    }
}

/// The role that a call of ours takes. The calls are generated from the .proto files: one without a role does not compile.
fn role_of(call: Call) -> Role {
    match call {
        Call::SwarmSubmitJob
        | Call::SwarmReplaceJob
        | Call::SwarmRemoveJob
        | Call::SwarmCancelJob
        | Call::SwarmRetryJob => Role::Submit,
        Call::SwarmGetJob | Call::SwarmListJobs | Call::SwarmWatchJob | Call::SwarmListWorkers => {
            Role::Read
        }
        Call::ShardsPull
        | Call::ShardsComplete
        | Call::ShardsFail
        | Call::ShardsRelease
        | Call::ShardsRenew => Role::Work,
    }
}

/// The role that a path takes. What is no call of ours is health, reflection, or nothing at all: it only tells something.
fn role_of_path(path: &str) -> Role {
    match Call::of_path(path) {
        Some(call) => role_of(call),
        // Of a later version, perhaps, which hands out work.
        None if path.starts_with("/eciton.v1.Shards/") => Role::Work,
        None => Role::Read,
    }
}

/// A mark on calls whose caller may submit jobs that run programs.
#[derive(Clone, Copy, Debug)]
pub(super) struct MayCommand;

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<Body>, Infallible>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let brought = request.headers().get(header::AUTHORIZATION);
        let role = role_of_path(request.uri().path());
        let brought = brought.map(header::HeaderValue::as_bytes);
        let checked = self.access.check(brought, &[role]);
        if checked.is_ok() && self.access.check(brought, &[Role::Command]).is_ok() {
            request.extensions_mut().insert(MayCommand);
        }
        match checked {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(status) => Either::Left(ready(Ok(status.into_http()))),
        }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The comments of the calls name their roles.
    #[test]
    fn roles_are_those_of_the_contract() {
        let files = [
            (
                "Swarm",
                include_str!("../../../coordinator-proto/proto/eciton/v1/swarm.proto"),
            ),
            (
                "Shards",
                include_str!("../../../coordinator-proto/proto/eciton/v1/shards.proto"),
            ),
        ];
        let mut calls = 0;
        for (service, text) in files {
            let mut comment = String::new();
            let begin = text.find(&format!("service {service} {{")).unwrap();
            for line in text[begin..].lines().map(str::trim) {
                if let Some(words) = line.strip_prefix("//") {
                    comment.push_str(words);
                } else if let Some(call) = line.strip_prefix("rpc ") {
                    let call = call.split('(').next().unwrap();
                    let role = match role_of_path(&format!("/eciton.v1.{service}/{call}")) {
                        Role::Read => "Role `read`",
                        Role::Submit => "Role `submit`",
                        Role::Work => "Role `work`",
                        Role::Command | Role::Metrics => "no call",
                    };
                    let is_said = comment.contains(role)
                        || (service == "Shards" && text[..begin].contains("role `work`"));
                    assert!(is_said, "{call} takes {role}: {comment}");
                    comment.clear();
                    calls += 1;
                } else if line == "}" {
                    break;
                }
            }
        }
        assert_eq!(calls, Call::ALL.len(), "calls of the .proto files");
    }
}
