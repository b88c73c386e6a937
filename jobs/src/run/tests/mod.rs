mod crashes;
mod mending;
mod runs;
mod support;
