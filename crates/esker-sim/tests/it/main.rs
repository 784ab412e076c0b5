//! The tests of the simulation, and those of the store that it carries.

mod fake;
mod flips;
mod harness;
mod planted;
mod scripts;
mod seeds;
mod shape;
