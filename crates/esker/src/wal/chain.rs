//! Which live segments follow each other, before any record is read.
//!
//! A header names the segment before it, so the chain is found from its end: the highest segment
//! with a valid header, the one that it names, and so on. A segment that it passes over is the
//! remains of a failed creation. Segments without a header above all that have one may be that,
//! or a crash took their headers: either way the log ends in front of them.

use litemap::LiteMap;

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
pub fn log_files(listing: &Listing) -> LiteMap<SegmentNo, u64> {
    let mut files = LiteMap::new();
    for (name, bytes) in &listing.files {
        if let FileName::Log(segment) = name {
            files.insert(*segment, *bytes);
        }
    }
    files
}

impl Chain {
    /// The chain of the `files` from `live_from` on.
    pub fn find(
        disk: &dyn Disk,
        store_id: u64,
        files: &LiteMap<SegmentNo, u64>,
        live_from: SegmentNo,
    ) -> Result<Chain> {
        let mut links: Vec<Link> = Vec::new();
        let mut wanted: Option<SegmentNo> = None;
        let mut is_above_all = true;
        for (&segment, _) in files.iter().rev().take_while(|(segment, _)| **segment >= live_from) {
            if wanted.is_some_and(|wanted| segment > wanted) {
                continue;
            }
            if let Some(missing) = wanted.take_if(|wanted| segment < *wanted) {
                links.push(missing_link(missing));
            }
            let header = read_header(disk, store_id, segment)?;
            let prev = header.as_ref().ok().and_then(|header| header.prev);
            is_above_all &= header.is_err();
            // Below a gap a segment without a header is in nobody's chain.
            if header.is_ok() || wanted.take() == Some(segment) || is_above_all {
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
