//! See the parent module.

pub(crate) mod age;
pub(crate) mod error;
pub(crate) mod ledger;
pub(crate) mod machine;
pub(crate) mod marks;
pub(crate) mod needs;
pub(crate) mod status;
pub(crate) mod tally;
pub(crate) mod target;
