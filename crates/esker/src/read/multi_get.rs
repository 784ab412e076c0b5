//! Many keys at once: what each look-up would wait for is asked for ahead, for a group of keys.
//!
//! A look-up is a chain of three or four misses in memory, and a processor waits for each. Those of
//! different keys do not depend on each other: so the work is done stage by stage for a group, and
//! at the end of each stage everything that the next one will look at has been asked for.
//!
//! ```text
//! hash all -> lines of all filters -> blocks of those that passed -> search the blocks
//! ```
//!
//! A key of which a page is missing is looked up alone, afterwards, as a get is.

use crate::base::error::Result;
use crate::base::hash::key_hash;
use crate::base::key::SeqNo;
use crate::base::value::Value;
use crate::epoch::Domain;
use crate::read::get::FoundEntry;
use crate::read::view::View;
use crate::sstable::{Lookup, Reach, with_pages};

/// Keys that are looked up together: enough misses to fill the processor's list of them, few
/// enough that what was asked for is still there.
const GROUP: usize = 16;

impl View {
    /// The values of `keys` at `seq`, in their order.
    ///
    /// # Errors
    /// As a get, for the whole call.
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        domain: &Domain,
        keys: &[K],
        seq: SeqNo,
    ) -> Result<Vec<Option<Value>>> {
        let mut values = Vec::with_capacity(keys.len());
        for group in keys.chunks(GROUP) {
            let start = values.len();
            values.resize(start + group.len(), None);
            let missed = self.look_up_group(domain, group, seq, &mut values[start..]);
            for n in missed {
                values[start + n] = self.look_up_alone(domain, group[n].as_ref(), seq)?;
            }
        }
        Ok(values)
    }

    /// Looks a group up in memory; returns which of its keys need a page from disk.
    fn look_up_group<K: AsRef<[u8]>>(
        &self,
        domain: &Domain,
        group: &[K],
        seq: SeqNo,
        values: &mut [Option<Value>],
    ) -> Vec<usize> {
        let mut hashes = [0; GROUP];
        for (hash, key) in hashes.iter_mut().zip(group) {
            *hash = key_hash(key.as_ref());
        }
        let guard = domain.pin();
        let reach = Reach::new(&guard);
        for (key, hash) in group.iter().zip(hashes) {
            self.prefetch_filters(key.as_ref(), hash, reach);
        }
        for (key, hash) in group.iter().zip(hashes) {
            self.prefetch_blocks(key.as_ref(), hash, reach);
        }
        let mut missed = Vec::new();
        for (n, (key, hash)) in group.iter().zip(hashes).enumerate() {
            match self.find(key.as_ref(), hash, seq, reach, &mut Lookup::default()) {
                Ok(found) => values[n] = found.as_ref().and_then(FoundEntry::to_value),
                Err(_) => missed.push(n),
            }
        }
        missed
    }

    fn look_up_alone(&self, domain: &Domain, key: &[u8], seq: SeqNo) -> Result<Option<Value>> {
        let hash = key_hash(key);
        with_pages(domain, &mut Lookup::default(), |reach, how| {
            let found = self.find(key, hash, seq, reach, how)?;
            Ok(found.as_ref().and_then(FoundEntry::to_value))
        })
    }
}
