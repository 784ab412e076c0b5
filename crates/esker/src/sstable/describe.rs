//! `describe`.
use crate::base::error::Result;
use crate::vfs::ReadFile;

/// Any table file as text.
pub fn describe(_file: &dyn ReadFile) -> Result<String> {
    unimplemented!()
}
