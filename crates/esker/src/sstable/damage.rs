//! What is known to be wrong with an open table: found by a read, or by checking all of it.
//!
//! A read that meets damage answers it and notes it here, with the keys that it takes, if the same
//! bytes are wrong a second time: what was spoiled on its way from the device is no damage. A check
//! of the whole table replaces what was noted by what it finds, nothing included.
//!
//! A filter is an aid: where a page of it is damaged, searches look into the table without asking it.
//! That is noted too, as damage that takes no key, and a merge, which makes a new filter, may have
//! the table.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::TableDamage;
use super::filter::FilterRef;
use super::footer::Properties;
use super::index::{IndexPage, IndexRef};
use super::packed::load_image;
use super::page::{Source, Span};
use super::reader::{PageNo, Table};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::range::KeyRange;
use crate::base::sync::{AtomicBool, Mutex};

/// So many pieces are named one by one.
const NOTED_MAX: usize = 64;

/// The damage of one table.
#[derive(Default)]
pub(super) struct Damages {
    /// Whether there is any that takes keys: asked often, and without the lock.
    takes_keys: AtomicBool,
    noted: Mutex<Vec<TableDamage>>,
    /// Pages of the filter that are not asked any more.
    filter_pages: Mutex<Vec<u32>>,
}

impl Damages {
    /// Notes one more, unless its place is known.
    fn add(&self, damage: TableDamage) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let place = damage.error.corruption().map(|place| place.offset);
        let is_known =
            noted.iter().any(|known| known.error.corruption().map(|at| at.offset) == place);
        if damage.keys.is_some() {
            self.takes_keys.store(true, Ordering::Release);
        }
        if !is_known && noted.len() < NOTED_MAX {
            noted.push(damage);
        }
    }

    /// Replaces all.
    pub(super) fn set(&self, mut found: Vec<TableDamage>) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let takes_keys = found.iter().any(|damage| damage.keys.is_some());
        self.takes_keys.store(takes_keys, Ordering::Release);
        found.truncate(NOTED_MAX);
        *noted = found;
        // A page that is still damaged is found so by the next search that needs it.
        self.filter_pages.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether this page of the filter is known to be damaged: for who did not find it in memory.
    pub(super) fn has_filter_page(&self, page: u32) -> bool {
        self.filter_pages.lock().unwrap_or_else(PoisonError::into_inner).contains(&page)
    }

    fn add_filter_page(&self, page: u32) {
        let mut pages = self.filter_pages.lock().unwrap_or_else(PoisonError::into_inner);
        if !pages.contains(&page) {
            pages.push(page);
        }
    }
}

impl Table {
    /// Whether it is known to have lost entries.
    pub fn is_damaged(&self) -> bool {
        self.damages.takes_keys.load(Ordering::Acquire)
    }

    /// What is known to be wrong with it; what takes no key is last.
    pub fn damage(&self) -> Vec<TableDamage> {
        let noted = self.damages.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut damage, keyless): (Vec<_>, Vec<_>) =
            noted.iter().cloned().partition(|damage| damage.keys.is_some());
        damage.extend(keyless);
        damage
    }

    /// After a read of a page that failed.
    #[cold]
    pub(super) fn note_damage(&self, number: PageNo, span: Span, error: &Error) {
        if error.kind() != ErrorKind::Corruption || self.read_again(number, span).is_ok() {
            return;
        }
        let keys = match number {
            PageNo::Filter(page) => {
                self.damages.add_filter_page(page);
                None
            }
            _ => Some(self.keys_of(number).unwrap_or_else(|| self.summary().range.clone())),
        };
        self.damages.add(TableDamage { error: error.clone(), keys });
    }

    /// Reads the page past the pool; `Ok` also if the device refuses: that is no damage.
    fn read_again(&self, number: PageNo, span: Span) -> Result<()> {
        let source = self.source();
        let read = match number {
            PageNo::Block { .. } => load_image(source, span).map(drop),
            PageNo::Filter(_) => source.load::<FilterRef>(span).map(drop),
            PageNo::Top | PageNo::Leaf(_) => index_page(source, span).map(drop),
        };
        read.or_else(|error| match error.kind() {
            ErrorKind::Corruption => Err(error),
            _ => Ok(()),
        })
    }

    /// The keys that are below a page of the index; `None`: perhaps all of the table's.
    fn keys_of(&self, number: PageNo) -> Option<KeyRange> {
        let source = self.source();
        let top = index_page(source, self.footer.index_top).ok()?;
        match number {
            PageNo::Top | PageNo::Filter(_) => None,
            PageNo::Leaf(leaf) => Some(keys_below(&self.properties, &top, leaf)),
            PageNo::Block { child, .. } if !self.has_root() => {
                Some(keys_below(&self.properties, &top, child))
            }
            PageNo::Block { leaf, child } => {
                let all = keys_below(&self.properties, &top, leaf);
                let leaf = index_page(source, top.child(leaf)).ok()?;
                let keys = keys_below(&self.properties, &leaf, child);
                let is_last = child + 1 == leaf.children();
                Some(if is_last { KeyRange::new(keys.lo(), all.hi().max(keys.lo())) } else { keys })
            }
        }
    }
}

fn index_page(source: Source<'_>, span: Span) -> Result<IndexPage<Vec<u8>>> {
    source.load::<IndexRef>(span).map(IndexPage::trusted)
}

/// The keys that may be below a child of a page of the index: from its separator to the next one,
/// or to the end of the table.
pub(super) fn keys_below(
    properties: &Properties,
    page: &IndexPage<Vec<u8>>,
    child: usize,
) -> KeyRange {
    let all = &properties.range;
    let prefix = &all.lo()[..properties.prefix_bytes()];
    let separator = |n| [prefix, &page.separator(n).suffix()].concat();
    if child >= page.children() {
        return all.clone();
    }
    let lo = separator(child).as_slice().max(all.lo()).min(all.hi()).to_vec();
    let hi = (child + 1 < page.children()).then(|| separator(child + 1));
    let hi = hi.as_deref().unwrap_or(all.hi()).min(all.hi()).max(&lo).to_vec();
    KeyRange::new(lo, hi)
}
