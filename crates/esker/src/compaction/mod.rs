//! Floor 5 (draft while integrating)
pub mod elide;
pub mod merge_job;
pub mod pick;
pub mod shape;
