//! Which live segments follow each other, before any record is read.
//!
//! A header names the segment before it, so the chain is found from its end: the highest segment
//! with a valid header, the one that it names, and so on. What no header names is the remains of a
//! segment whose creation failed, or a segment whose header the crash took.

use std::collections::BTreeMap;

use crate::base::error::Result;
use crate::base::key::SegmentNo;
use crate::base::names::FileName;
use crate::vfs::{Disk, Listing};
use crate::wal::reader::Hole;
use crate::wal::record::Mismatch;
use crate::wal::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};

/// The live segments that are or should be there, lowest first. Behind a link without a header
/// nothing can be kept, so it does not matter whether the links on both sides of it belong together.
pub struct Chain {
    /// The links.
    pub links: Vec<Link>,
}

/// One segment of the chain.
pub struct Link {
    /// Its number.
    pub segment: SegmentNo,
    /// Its header, or what is there instead.
    pub header: std::result::Result<SegmentHeader, Hole>,
}

/// The log segments of a directory, and the lengths of their files.
pub fn log_files(listing: &Listing) -> BTreeMap<SegmentNo, u64> {
    let log = |(name, bytes): &(FileName, u64)| match name {
        FileName::Log(segment) => Some((*segment, *bytes)),
        _ => None,
    };
    listing.files.iter().filter_map(log).collect()
}

impl Chain {
    /// The chain of the `files` from `live_from` on.
    pub fn find(
        disk: &dyn Disk,
        store_id: u64,
        files: &BTreeMap<SegmentNo, u64>,
        live_from: SegmentNo,
    ) -> Result<Chain> {
        let mut links = Vec::new();
        let mut wanted: Option<SegmentNo> = None;
        for (&segment, _) in files.range(live_from..).rev() {
            if wanted.is_some_and(|wanted| segment > wanted) {
                continue;
            }
            if let Some(missing) = wanted.take_if(|wanted| segment < *wanted) {
                links.push(missing_link(missing));
            }
            let header = read_header(disk, store_id, segment)?;
            let prev = header.as_ref().ok().and_then(|header| header.prev);
            // At the top and below a gap a segment without a header is in nobody's chain.
            if header.is_ok() || wanted.take() == Some(segment) {
                let is_first = header.is_ok() && prev.is_none_or(|prev| prev.segment < live_from);
                links.push(Link { segment, header });
                if is_first {
                    wanted = None;
                    break;
                }
            }
            wanted = prev.map(|prev| prev.segment);
        }
        links.extend(wanted.map(missing_link));
        links.reverse();
        Ok(Chain { links })
    }
}

fn missing_link(segment: SegmentNo) -> Link {
    let mismatch = Mismatch::new("log segment", "a file", "no file of this name");
    Link { segment, header: Err(Hole { offset: 0, mismatch, is_short: true }) }
}

/// The header of a segment, or what is there instead.
pub fn read_header(
    disk: &dyn Disk,
    store_id: u64,
    segment: SegmentNo,
) -> Result<std::result::Result<SegmentHeader, Hole>> {
    let file = disk.open(FileName::Log(segment))?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let is_short = file.len() < bytes.len() as u64;
    let there = &mut bytes[..file.len().min(SEGMENT_HEADER_BYTES as u64) as usize];
    file.read_exact_at(there, 0)?;
    let decoded = SegmentHeader::decode(there, store_id, segment)?;
    Ok(decoded.map_err(|mismatch| Hole { offset: 0, mismatch, is_short }))
}
