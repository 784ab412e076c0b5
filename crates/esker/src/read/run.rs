//! `RunCursor`: a cursor over one sorted run, whichever kind it is.
//!
//! There are three kinds, and a scan asks one of them several times for each entry: so they are
//! told apart by a number, not through a table of functions, and the compiler sees through.

use crate::base::cursor::Cursor;
use crate::base::error::Result;
use crate::base::key::{SeqNo, Tag};
use crate::memtable::MemtableCursor;
use crate::read::clamp::ClampedCursor;
use crate::read::level::LevelCursor;
use crate::sstable::{Stretch, TableCursor, Terms};

/// A cursor that may let its reader walk a piece of a block alone.
pub trait Lender: Cursor {
    /// The stretch from the entry that it stands on, if that is worth while. The caller knows that
    /// this entry is the first of its key on its way. The stretch takes the memory of `buffer`.
    ///
    /// While it is lent the cursor is not moved; the next call is [`take_back`](Self::take_back)
    /// or a `seek*`.
    fn lend(&self, _terms: Terms<'_>, _buffer: &mut Vec<u8>) -> Option<Stretch> {
        None
    }

    /// To where the stretch that it lent stands.
    fn take_back(&mut self, _stretch: &Stretch) {}
}

/// A cursor over a memtable, a table or a level.
pub enum RunCursor {
    /// Over a memtable. It is large, because it copies whole leaves.
    Memtable(Box<MemtableCursor>),
    /// Over a table.
    Table(TableCursor),
    /// Over disjoint tables.
    Level(LevelCursor),
    /// Over what a sweep has left of a table. It lends nothing: sweeps are soon over.
    Clamped(ClampedCursor),
    /// Over something else.
    #[cfg(test)]
    Other(Box<dyn Cursor>),
}

/// The same expression for whichever cursor it is.
macro_rules! for_each {
    ($run:expr, $cursor:ident => $do:expr) => {
        match $run {
            RunCursor::Memtable($cursor) => $do,
            RunCursor::Table($cursor) => $do,
            RunCursor::Level($cursor) => $do,
            RunCursor::Clamped($cursor) => $do,
            #[cfg(test)]
            RunCursor::Other($cursor) => $do,
        }
    };
}

impl RunCursor {
    /// The smallest and the largest key, if that is known and stays so.
    pub fn ends(&self) -> Option<(&[u8], &[u8])> {
        match self {
            Self::Table(cursor) => Some(cursor.ends()),
            Self::Level(cursor) => cursor.ends(),
            _ => None,
        }
    }

    /// Gets ready for a seek with this key, which must be the next call.
    pub fn aim(&mut self, key: &[u8]) {
        match self {
            Self::Table(cursor) => cursor.aim(key),
            Self::Level(cursor) => cursor.aim(key),
            _ => {}
        }
    }
}

impl Cursor for RunCursor {
    #[inline]
    fn valid(&self) -> bool {
        for_each!(self, cursor => cursor.valid())
    }
    fn seek_first(&mut self) -> Result<()> {
        for_each!(self, cursor => cursor.seek_first())
    }
    fn seek_last(&mut self) -> Result<()> {
        for_each!(self, cursor => cursor.seek_last())
    }
    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        for_each!(self, cursor => cursor.seek(key, seq))
    }
    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        for_each!(self, cursor => cursor.seek_before(key))
    }
    #[inline]
    fn next(&mut self) -> Result<()> {
        for_each!(self, cursor => cursor.next())
    }
    #[inline]
    fn prev(&mut self) -> Result<()> {
        for_each!(self, cursor => cursor.prev())
    }
    #[inline]
    fn key(&self) -> &[u8] {
        for_each!(self, cursor => cursor.key())
    }
    #[inline]
    fn tag(&self) -> Tag {
        for_each!(self, cursor => cursor.tag())
    }
    #[inline]
    fn value(&self) -> &[u8] {
        for_each!(self, cursor => cursor.value())
    }
}

impl Lender for RunCursor {
    fn lend(&self, terms: Terms<'_>, buffer: &mut Vec<u8>) -> Option<Stretch> {
        match self {
            Self::Table(cursor) => cursor.lend(terms, buffer),
            Self::Level(cursor) => cursor.lend(terms, buffer),
            _ => None,
        }
    }

    fn take_back(&mut self, stretch: &Stretch) {
        match self {
            Self::Table(cursor) => cursor.take_back(stretch),
            Self::Level(cursor) => cursor.take_back(stretch),
            _ => {}
        }
    }
}

#[cfg(test)]
mod for_tests {
    use super::*;
    use crate::base::cursor::VecCursor;
    use crate::testing::FailingCursor;

    impl Lender for VecCursor {}
    impl<C: Cursor> Lender for FailingCursor<C> {}
}
