//! Many keys at once: what each look-up would wait for is asked for ahead, for a group of keys.
//!
//! A look-up is a chain of three or four misses in memory, and a processor waits for each. Those of
//! different keys do not depend on each other: so the work is done stage by stage for a group, and
//! at the end of each stage what the next one will look at has been asked for.
//!
//! ```text
//! memtables, tables in range -> lines of filters -> blocks of those that passed -> entries
//! ```
//!
//! A key whose first likely block does not have it, and one of which a page is missing, is looked
//! up alone afterwards, as a get is.

use crate::base::error::Result;
use crate::base::hash::key_hash;
use crate::base::key::SeqNo;
use crate::base::value::Value;
use crate::epoch::Domain;
use crate::read::get::{Candidates, FoundEntry};
use crate::read::view::View;
use crate::sstable::{Located, Lookup, Reach, with_pages};

/// Keys that are looked up together: enough misses to fill the processor's list of them, few
/// enough that what was asked for is still there.
const GROUP: usize = 16;

/// How far the look-up of one key has come.
#[expect(clippy::large_enum_variant, reason = "there are few, on the stack, for a moment")]
enum Progress<'v, 'g> {
    /// Not in a memtable; these tables have it in their range.
    InRange(Candidates<'v>),
    /// The newest table whose filter passed has it in this block, if at all.
    Located(Located<'v, 'g>),
    Done(Option<Value>),
    /// To be looked up alone.
    Alone,
}

/// What a group is looked up with.
struct Search<'g, K> {
    keys: &'g [K],
    seq: SeqNo,
    reach: Reach<'g>,
}

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
            let found = self.look_up_group(domain, group, seq);
            for (key, found) in group.iter().zip(found) {
                values.push(match found {
                    Some(value) => value,
                    None => self.look_up_alone(domain, key.as_ref(), seq)?,
                });
            }
        }
        Ok(values)
    }

    /// The values of at most [`GROUP`] keys; `None` for those to be looked up alone.
    fn look_up_group<K: AsRef<[u8]>>(
        &self,
        domain: &Domain,
        keys: &[K],
        seq: SeqNo,
    ) -> impl Iterator<Item = Option<Option<Value>>> + use<K> {
        let guard = domain.pin();
        let search = Search { keys, seq, reach: Reach::new(&guard) };
        let hashes: [u64; GROUP] =
            std::array::from_fn(|n| keys.get(n).map_or(0, |key| key_hash(key.as_ref())));
        let mut progress = search.ask_memtables(self, &hashes);
        search.ask_filters(&hashes, &mut progress);
        search.ask_blocks(&hashes, &mut progress);
        let values = progress.map(|progress| match progress {
            Progress::Done(value) => Some(value),
            _ => None,
        });
        values.into_iter().take(keys.len())
    }

    fn look_up_alone(&self, domain: &Domain, key: &[u8], seq: SeqNo) -> Result<Option<Value>> {
        let hash = key_hash(key);
        with_pages(domain, &mut Lookup::default(), |reach, how| {
            let found = self.find(key, hash, seq, reach, how)?;
            Ok(found.as_ref().and_then(FoundEntry::to_value))
        })
    }
}

impl<'g, K: AsRef<[u8]>> Search<'g, K> {
    fn ask_memtables(&self, view: &'g View, hashes: &[u64; GROUP]) -> [Progress<'g, 'g>; GROUP] {
        std::array::from_fn(|n| {
            let Some(key) = self.keys.get(n) else { return Progress::Alone };
            let key = key.as_ref();
            if let Some((tag, value)) = view.find_in_memtables(key, hashes[n], self.seq) {
                return Progress::Done((!tag.is_delete()).then(|| Value::copy_from(value)));
            }
            let candidates = view.candidates(key, 0);
            for (table, _) in candidates.iter() {
                table.prefetch_filter(hashes[n], self.reach);
            }
            Progress::InRange(candidates)
        })
    }

    fn ask_filters(&self, hashes: &[u64; GROUP], progress: &mut [Progress<'g, 'g>; GROUP]) {
        for (n, key) in self.keys.iter().enumerate() {
            if let Progress::InRange(candidates) = &progress[n] {
                progress[n] = self.locate(key.as_ref(), hashes[n], candidates);
            }
        }
    }

    /// The block of the newest table whose filter lets the key pass.
    fn locate(&self, key: &[u8], hash: u64, candidates: &Candidates<'g>) -> Progress<'g, 'g> {
        for (table, _) in candidates.iter() {
            match table.passes(hash, self.reach) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(_) => return Progress::Alone,
            }
            let Ok(located) = table.locate(key, self.reach) else { return Progress::Alone };
            return Progress::Located(located);
        }
        if candidates.is_full() { Progress::Alone } else { Progress::Done(None) }
    }

    fn ask_blocks(&self, hashes: &[u64; GROUP], progress: &mut [Progress<'g, 'g>; GROUP]) {
        for (n, key) in self.keys.iter().enumerate() {
            let ask = std::mem::replace(&mut progress[n], Progress::Alone);
            progress[n] = match ask {
                Progress::Located(located) => {
                    let how = &mut Lookup::default();
                    match located.search(key.as_ref(), hashes[n], self.seq, self.reach, how) {
                        Ok(Some(found)) if found.tag.is_delete() => Progress::Done(None),
                        Ok(Some(found)) => Progress::Done(Some(found.to_value())),
                        // A filter erred, or a page is missing.
                        _ => Progress::Alone,
                    }
                }
                other => other,
            };
        }
    }
}
