//! The tests of the simulation, and with it.

mod fake;
/// The harness itself: a store with any one of many mistakes is caught.
mod harness;
