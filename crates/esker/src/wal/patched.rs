//! A file with pages that the device does not give out: they read as zeros, and it is noted which
//! they are. For salvages, where one bad sector must not cost what is read along with it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::names::FileName;
use crate::vfs::ReadFile;

/// What is tried alone: a sector of most devices, and what systems read at least.
const PAGE_BYTES: u64 = 4 << 10;

/// See the file's header. Zeros are no record, so what stood there is a hole.
#[derive(Debug)]
pub struct Patched {
    file: Arc<dyn ReadFile>,
    /// Where pages that cannot be read begin, or the parts of them that were asked for, and why.
    unreadable: Mutex<Vec<(u64, Error)>>,
}

impl Patched {
    pub fn new(file: Arc<dyn ReadFile>) -> Self {
        Self { file, unreadable: Mutex::default() }
    }

    /// Why some of these bytes were not read, if that is what is wrong with them.
    pub fn refusal(&self, bytes: Range<u64>) -> Option<Error> {
        let pages = bytes.start / PAGE_BYTES * PAGE_BYTES..bytes.end;
        let unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        let first = unreadable.iter().find(|(at, _)| pages.contains(at));
        first.map(|(_, error)| error.clone())
    }

    fn page_by_page(&self, out: &mut [u8], offset: u64) -> Result<()> {
        let mut rest = out;
        let mut at = offset;
        while !rest.is_empty() {
            let left_bytes = (PAGE_BYTES - at % PAGE_BYTES) as usize;
            let (page, behind) = rest.split_at_mut(left_bytes.min(rest.len()));
            match self.file.read_exact_at(page, at) {
                Err(error) if error.kind() == ErrorKind::Io => {
                    page.fill(0);
                    let mut unreadable =
                        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
                    unreadable.push((at, error));
                }
                read => read?,
            }
            at += page.len() as u64;
            rest = behind;
        }
        Ok(())
    }
}

impl ReadFile for Patched {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        match self.file.read_exact_at(out, offset) {
            Err(error) if error.kind() == ErrorKind::Io => self.page_by_page(out, offset),
            read => read,
        }
    }

    fn len(&self) -> u64 {
        self.file.len()
    }

    fn name(&self) -> FileName {
        self.file.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::SegmentNo;

    /// Bytes of which some cannot be read.
    #[derive(Debug)]
    struct Scratched {
        bytes: Vec<u8>,
        bad: Range<u64>,
    }

    impl ReadFile for Scratched {
        fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
            let end = offset + out.len() as u64;
            if offset < self.bad.end && self.bad.start < end {
                return Err(Error::io("read", std::io::Error::other("bad sector")));
            }
            out.copy_from_slice(&self.bytes[offset as usize..end as usize]);
            Ok(())
        }
        fn len(&self) -> u64 {
            self.bytes.len() as u64
        }
        fn name(&self) -> FileName {
            FileName::Log(SegmentNo(1))
        }
    }

    #[test]
    fn one_bad_sector_costs_its_page_and_no_other_byte() {
        let bytes = vec![7; 40_000];
        let file = Patched::new(Arc::new(Scratched { bytes, bad: 12_800..13_312 }));
        let mut out = vec![1; 39_900];
        file.read_exact_at(&mut out, 100).unwrap();
        for (n, byte) in out.iter().enumerate() {
            let is_lost = (12_288..16_384).contains(&(n + 100));
            assert_eq!(*byte, if is_lost { 0 } else { 7 }, "byte {}", n + 100);
        }
        assert!(file.refusal(13_000..13_001).is_some());
        assert!(file.refusal(0..12_288).is_none());
        assert!(file.refusal(16_384..40_000).is_none());
    }
}
