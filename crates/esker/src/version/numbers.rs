//! Which file numbers are free: none is ever used twice.

use crate::base::error::{Error, Result};
use crate::base::names::FileName;
use crate::version::StoreState;
use crate::vfs::Listing;

/// After a crash file numbers go on this much further: further than any process can have counted
/// since the last edit that reached the disk, so that no number is ever used twice.
const NUMBERS_SKIPPED_AFTER_A_CRASH: u64 = 1 << 20;

/// No store counts its files this far: a file with such a number is not one that it made.
const FILE_NUMBERS_MAX: u64 = 1 << 62;

impl StoreState {
    /// The first number for files of a new process, where `manifest_number` is in force. A clean
    /// close leaves `live_from == next_file`.
    ///
    /// # Errors
    /// `Corruption` where no store counts so far.
    pub fn first_free_number(&self, manifest_number: u64, listing: &Listing) -> Result<u64> {
        let numbered = listing.files.iter().filter_map(|(name, _)| Some((name.number()?, *name)));
        let highest = numbered.max();
        let manifest = (self.next_file, FileName::Manifest(manifest_number));
        let mut counted = highest.into_iter().chain([manifest]);
        if let Some((number, name)) = counted.find(|(number, _)| *number >= FILE_NUMBERS_MAX) {
            let expected = format!("below {FILE_NUMBERS_MAX}");
            return Err(Error::corrupt(name, 0, "file number", expected, number));
        }
        let free = self.next_file.max(highest.map_or(0, |(number, _)| number + 1));
        if self.log.live_from.0 == self.next_file {
            Ok(free)
        } else {
            Ok(free.saturating_add(NUMBERS_SKIPPED_AFTER_A_CRASH))
        }
    }
}
