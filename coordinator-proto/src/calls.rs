//! The calls of the services, generated from the `.proto` files.
//!
//! Whatever has to be said of each call, as the role that it takes, is said by a `match` over [`Call`]: a call that is added to a
//! `.proto` file does not compile before it is said of that one, too.

include!(concat!(env!("OUT_DIR"), "/calls.rs"));

impl Call {
    /// The call of a request's path; `None` for a path of another service, or of none.
    ///
    /// ```
    /// use eciton_proto::calls::Call;
    /// assert_eq!(Call::of_path("/eciton.v1.Swarm/GetJob"), Some(Call::SwarmGetJob));
    /// assert_eq!(Call::of_path("/grpc.health.v1.Health/Check"), None);
    /// ```
    pub fn of_path(path: &str) -> Option<Call> {
        Call::ALL.into_iter().find(|call| call.path() == path)
    }
}
