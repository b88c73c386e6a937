mod crashes;
mod mending;
mod panics;
mod plans;
mod runs;
mod shared;
mod support;
