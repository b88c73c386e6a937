//! Small models of the commit protocol, explored without remainder.
//!
//! A model is a rule of the protocol with everything else taken away: a handful of slots, two or three
//! processes, one storage operation a step, and every fault at every moment. All of its states are
//! visited, breadth first, so a break is found by a shortest way there and the
//! absence of one is a proof within the bounds. What the bounds leave out the simulator looks for by
//! seeds, with production code.
//!
//! | model | rule | question |
//! |---|---|---|
//! | [`floor`] | S11, S12 | can a paused writer bring a collected slot back? |
//! | [`failover`] | S13 | can two mirrored paths tell two histories? |
//! | [`possession`] | S14 | can a bus mix the histories of a volume and of its clone? |
//!
//! A *mutant* breaks one rule on purpose. Every mutant is found, or its harmlessness is shown and
//! explained; a rule without a mutant that needs it would be superstition.

pub mod disk;
pub mod explore;
pub mod failover;
pub mod floor;
pub mod possession;
