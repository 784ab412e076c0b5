//! Floor 3: which files are the store.
#![forbid(unsafe_code)]

mod codec;
mod current;
mod describe;
mod edit;
mod fields;
mod levels;
mod manifest;
mod read_manifest;
mod state;
mod table_meta;

pub use describe::describe;
pub use edit::{Edit, KeyspaceCounters, KeyspaceEdit, SweepEdit};
pub use levels::{Broken, Version};
pub use manifest::Manifest;
pub use read_manifest::{Found, read_manifest};
pub use state::{FixedOptions, StoreState};
pub use table_meta::TableMeta;
