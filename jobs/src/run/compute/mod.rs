//! See the parent module.

pub(crate) mod attempt;
pub(crate) mod blame;
pub(crate) mod gather;
pub(crate) mod open;
pub(crate) mod pipeline;
pub(crate) mod planning;
pub(crate) mod results;
