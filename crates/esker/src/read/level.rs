//! `LevelCursor`: one cursor over a level, table after table.
//!
//! L1 and deeper hold tables with disjoint ranges in order, so a level is one long sorted run and
//! at most one of its tables is open in the cursor at a time. A level is one source of a merge,
//! however many tables it has.

use crate::base::cursor::Cursor;
use crate::base::error::{Error, Result};
use crate::base::key::{SeqNo, Tag};
use crate::cache::Keep;
use crate::read::fences::Level;
use crate::sstable::{Stretch, TableCursor, Terms};

/// Walks the entries of disjoint tables in order.
pub struct LevelCursor {
    tables: Level,
    keep: Keep,
    /// Which table `inside` walks; meaningless while it is `None`.
    at: usize,
    inside: Option<TableCursor>,
    /// Whether `inside` was aimed for the seek that follows.
    aimed: bool,
    failed: Option<Error>,
}

impl LevelCursor {
    /// A cursor over `tables`, which are disjoint and in order, for somebody who may come back.
    pub fn new(tables: Level) -> Self {
        Self { tables, keep: Keep::Yes, at: 0, inside: None, aimed: false, failed: None }
    }

    /// A cursor for a walk over everything, whose blocks nobody will ask for again.
    pub fn once(tables: Level) -> Self {
        Self { keep: Keep::No, ..Self::new(tables) }
    }

    /// The smallest and the largest key; `None` if there are no tables.
    pub fn ends(&self) -> Option<(&[u8], &[u8])> {
        let (first, last) = (self.tables.first()?, self.tables.last()?);
        Some((first.summary().range.lo(), last.summary().range.hi()))
    }

    /// See [`TableCursor::lend`]: tables of a level share no keys.
    pub fn lend(&self, terms: Terms<'_>, buffer: &mut Vec<u8>) -> Option<Stretch> {
        self.inside.as_ref()?.lend(terms, buffer)
    }

    /// See [`TableCursor::take_back`].
    pub fn take_back(&mut self, stretch: &Stretch) {
        if let Some(inside) = &mut self.inside {
            inside.take_back(stretch);
        }
    }

    fn guard(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn keep_error<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.inside = None;
        }
        result
    }

    /// Enters table `at` by `seek`; out of range means there is none.
    fn enter(
        &mut self,
        at: Option<usize>,
        seek: impl FnOnce(&mut TableCursor) -> Result<()>,
    ) -> Result<()> {
        let inside = self.inside.take();
        let aimed = std::mem::take(&mut self.aimed);
        let Some(at) = at.filter(|at| *at < self.tables.len()) else { return Ok(()) };
        let inside = inside.filter(|_| aimed && self.at == at);
        let mut cursor = inside.unwrap_or_else(|| self.cursor(at));
        seek(&mut cursor)?;
        self.at = at;
        self.inside = Some(cursor);
        Ok(())
    }

    fn cursor(&self, at: usize) -> TableCursor {
        match self.keep {
            Keep::Yes => self.tables[at].cursor(),
            Keep::No => self.tables[at].cursor_once(),
        }
    }

    /// See [`TableCursor::aim`]; for a seek, not for a `seek_before`.
    pub fn aim(&mut self, key: &[u8]) {
        let at = self.tables.first_not_before(key);
        if self.failed.is_none() && at < self.tables.len() {
            let mut cursor = self.cursor(at);
            cursor.aim(key);
            (self.inside, self.at, self.aimed) = (Some(cursor), at, true);
        }
    }

    /// Goes on to the next table while the present one is at its end.
    fn skip_forward(&mut self) -> Result<()> {
        while self.inside.as_ref().is_some_and(|inside| !inside.valid()) {
            self.enter(self.at.checked_add(1), TableCursor::seek_first)?;
        }
        Ok(())
    }

    /// Goes back to the table before while the present one is at its beginning.
    fn skip_back(&mut self) -> Result<()> {
        while self.inside.as_ref().is_some_and(|inside| !inside.valid()) {
            self.enter(self.at.checked_sub(1), TableCursor::seek_last)?;
        }
        Ok(())
    }

    fn inside(&self) -> &TableCursor {
        self.inside.as_ref().expect("the cursor is valid")
    }
}

impl Cursor for LevelCursor {
    fn valid(&self) -> bool {
        self.inside.as_ref().is_some_and(Cursor::valid)
    }

    fn seek_first(&mut self) -> Result<()> {
        self.guard()?;
        let moved = self.enter(Some(0), TableCursor::seek_first).and_then(|()| self.skip_forward());
        self.keep_error(moved)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.guard()?;
        let last = self.tables.len().checked_sub(1);
        let moved = self.enter(last, TableCursor::seek_last).and_then(|()| self.skip_back());
        self.keep_error(moved)
    }

    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        self.guard()?;
        let at = self.tables.first_not_before(key);
        let moved =
            self.enter(Some(at), |cursor| cursor.seek(key, seq)).and_then(|()| self.skip_forward());
        self.keep_error(moved)
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<()> {
        self.guard()?;
        let after = self.tables.partition_point(|table| table.summary().range.lo() < key);
        let moved = self
            .enter(after.checked_sub(1), |cursor| cursor.seek_before(key))
            .and_then(|()| self.skip_back());
        self.keep_error(moved)
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        if let Some(inside) = &mut self.inside
            && inside.next().is_ok()
            && inside.valid()
        {
            return Ok(());
        }
        self.guard()?;
        let Some(inside) = &self.inside else { return Ok(()) };
        let moved = inside.check().and_then(|()| self.skip_forward());
        self.keep_error(moved)
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        if let Some(inside) = &mut self.inside
            && inside.prev().is_ok()
            && inside.valid()
        {
            return Ok(());
        }
        self.guard()?;
        let Some(inside) = &self.inside else { return Ok(()) };
        let moved = inside.check().and_then(|()| self.skip_back());
        self.keep_error(moved)
    }

    fn key(&self) -> &[u8] {
        self.inside().key()
    }

    fn tag(&self) -> Tag {
        self.inside().tag()
    }

    fn value(&self) -> &[u8] {
        self.inside().value()
    }
}
