mod crashes;
mod mending;
mod panics;
mod plans;
mod runs;
mod support;
