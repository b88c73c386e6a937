//! See the parent module.

pub(crate) mod cancel;
pub(crate) mod difference;
pub(crate) mod drop_store;
pub(crate) mod joined;
pub(crate) mod outline;
pub(crate) mod remove;
pub(crate) mod replace;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod submit;
pub(crate) mod view;
pub(crate) mod work;
