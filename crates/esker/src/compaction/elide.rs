//! Which versions may vanish.

use crate::base::key::{SeqNo, Tag};
use crate::base::range::KeyRange;

pub enum Tombstones {
    Kept,
    Deeper(Vec<KeyRange>),
}
impl Tombstones {
    pub fn from_deeper(ranges: Vec<KeyRange>) -> Self {
        Self::Deeper(ranges)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Keep,
    Superseded,
    TombstoneGone,
}

pub struct Elider {
    snapshots: Vec<SeqNo>,
    tombstones: Tombstones,
    key: Option<Vec<u8>>,
    last_stripe: usize,
}

impl Elider {
    pub fn new(snapshots: Vec<SeqNo>, tombstones: Tombstones) -> Self {
        Self { snapshots, tombstones, key: None, last_stripe: 0 }
    }
    pub fn decide(&mut self, key: &[u8], tag: Tag) -> Verdict {
        // stripe: how many snapshots are below seq: versions with the same count are seen by the same readers
        let stripe = self.snapshots.partition_point(|s| *s < tag.seq());
        let same = self.key.as_deref() == Some(key);
        if same && stripe == self.last_stripe {
            return Verdict::Superseded;
        }
        if !same {
            self.key = Some(key.to_vec());
        }
        self.last_stripe = stripe;
        let nothing_deeper = match &self.tombstones {
            Tombstones::Kept => false,
            Tombstones::Deeper(r) => !r.iter().any(|r| r.contains(key)),
        };
        if tag.is_delete() && stripe == 0 && nothing_deeper {
            return Verdict::TombstoneGone;
        }
        Verdict::Keep
    }
}
