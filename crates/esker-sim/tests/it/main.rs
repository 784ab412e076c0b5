//! The tests of the simulation, and those of the store that it carries.

mod fake;
/// Every byte of every file of a small store is damaged, one at a time.
mod flips;
/// The harness itself: a store with any one of many mistakes is caught.
mod harness;
/// Mistakes that other stores made, planted into this one, are found.
mod planted;
/// Histories written down: what once failed, and what the language can say.
mod scripts;
/// A thousand seeds.
mod seeds;
