//! What a reader at one sequence number sees of a source: the newest version of each key that is
//! not newer than the reader, unless it is a tombstone.
//!
//! Versions of a key come newest first, so going forward the first one that is old enough decides.
//! The source then stands on the entry that is shown. Going back they come oldest first, and the
//! last one that is old enough decides: candidates are copied into two buffers that are kept, and
//! the source stands before the entry that is shown.
//!
//! ```text
//!  reader at #5    a#7   a#4=x  a#2     b#5,delete  b#1     c#3=y
//!  forward         new   SHOWN  passed  hides b     passed  SHOWN
//!  back            new   SHOWN  copied  hides b     copied  SHOWN
//! ```
//!
//! A key with many versions that are not shown is not walked through: after a few of them the
//! source searches for the place where the next decision falls.
//!
//! Where a source can show that its next entries need no such care it lends them as a [`Stretch`],
//! which is walked without asking anybody: all of a store that is one sorted run, but for the
//! first entry of each block.

use crate::base::cursor::Direction;
use crate::base::error::{Error, Result};
use crate::base::invariant;
use crate::base::key::SeqNo;
use crate::base::range::Bounds;
use crate::read::run::Lender;
use crate::sstable::{Stretch, Terms};

/// Versions of one key that are walked through before the source searches instead: a search of
/// a merge costs about as much as this many steps.
pub(super) const STEPS_MAX: usize = 8;

/// Keys with a visible value, within bounds, in both directions.
///
/// It is not positioned at first. Walking off either end leaves it invalid, which is no error;
/// `next` and `prev` then do nothing. After an error every call returns that error.
pub struct VisibleCursor<C> {
    source: C,
    seq: SeqNo,
    bounds: Bounds,
    at: At,
    /// The key whose versions were looked at last, and the entry's key in [`At::Copied`].
    key: Vec<u8>,
    /// The entry's value in [`At::Copied`].
    value: Vec<u8>,
    failed: Option<Error>,
}

/// Where the entry that is shown lies.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one per cursor; a box would be one per block"
)]
enum At {
    /// There is none.
    Nowhere,
    /// The source stands on it.
    Source,
    /// In the buffers; the source stands on an entry of the same key, or before all of them.
    Copied,
    /// The stretch stands on it; the source on one of its entries.
    Stretch(Stretch),
}

impl<C: Lender> VisibleCursor<C> {
    /// What a reader at `seq` sees of `source` within `bounds`; not positioned.
    pub fn new(source: C, seq: SeqNo, bounds: Bounds) -> Self {
        Self {
            source,
            seq,
            bounds,
            at: At::Nowhere,
            key: Vec::new(),
            value: Vec::new(),
            failed: None,
        }
    }

    /// Whether it stands on an entry.
    #[inline]
    pub fn valid(&self) -> bool {
        !matches!(self.at, At::Nowhere)
    }

    /// The key it stands on.
    #[inline]
    pub fn key(&self) -> &[u8] {
        match &self.at {
            At::Stretch(stretch) => stretch.key(),
            At::Source => self.source.key(),
            At::Copied => &self.key,
            At::Nowhere => panic!("the cursor stands on no entry"),
        }
    }

    /// The value it stands on.
    #[inline]
    pub fn value(&self) -> &[u8] {
        match &self.at {
            At::Stretch(stretch) => stretch.value(),
            At::Source => self.source.value(),
            At::Copied => &self.value,
            At::Nowhere => panic!("the cursor stands on no entry"),
        }
    }

    /// To the first visible key.
    pub fn seek_first(&mut self) -> Result<()> {
        self.guard(|this| {
            if this.bounds.is_empty() {
                return Ok(());
            }
            this.source.seek(&this.bounds.start, this.seq)?;
            this.find_forward()
        })
    }

    /// To the last visible key.
    pub fn seek_last(&mut self) -> Result<()> {
        self.guard(|this| {
            if this.bounds.is_empty() {
                return Ok(());
            }
            match &this.bounds.end {
                Some(end) => this.source.seek_before(end)?,
                None => this.source.seek_last()?,
            }
            this.find_back()
        })
    }

    /// To the first visible key at or after `key`.
    pub fn seek(&mut self, key: &[u8]) -> Result<()> {
        if key <= self.bounds.start.as_slice() {
            return self.seek_first();
        }
        self.guard(|this| {
            if this.bounds.is_past_end(key) {
                return Ok(());
            }
            this.source.seek(key, this.seq)?;
            this.find_forward()
        })
    }

    /// To the last visible key at or before `key`.
    pub fn seek_back(&mut self, key: &[u8]) -> Result<()> {
        if self.bounds.is_past_end(key) {
            return self.seek_last();
        }
        self.guard(|this| {
            if key < this.bounds.start.as_slice() {
                return Ok(());
            }
            // `key ++ 0x00` is the key right after `key`.
            this.key.clear();
            this.key.extend_from_slice(key);
            this.key.push(0);
            this.source.seek_before(&this.key)?;
            this.find_back()
        })
    }

    /// To the next visible key.
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        if let At::Stretch(stretch) = &mut self.at
            && stretch.next()
        {
            return Ok(());
        }
        self.next_by_source()
    }

    /// To the visible key before.
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        if let At::Stretch(stretch) = &mut self.at
            && stretch.prev()
        {
            return Ok(());
        }
        self.prev_by_source()
    }

    fn next_by_source(&mut self) -> Result<()> {
        self.guard_from(|this, from| match from {
            At::Nowhere => Ok(()),
            At::Source => {
                copy(&mut this.key, this.source.key());
                this.source.next()?;
                this.pass_forward()
            }
            At::Copied => {
                this.source.seek(&this.key, SeqNo::ZERO)?;
                this.pass_forward()
            }
            At::Stretch(stretch) => {
                this.give_back(stretch);
                this.source.next()?;
                this.pass_forward()
            }
        })
    }

    fn prev_by_source(&mut self) -> Result<()> {
        self.guard_from(|this, from| match from {
            At::Nowhere => Ok(()),
            At::Source => {
                copy(&mut this.key, this.source.key());
                this.source.prev()?;
                this.pass_back()
            }
            At::Copied => this.pass_back(),
            At::Stretch(stretch) => {
                this.give_back(stretch);
                this.source.prev()?;
                this.pass_back()
            }
        })
    }

    /// A stretch from where the source stands, on the first entry of its key on the way.
    fn borrow(&mut self, direction: Direction) -> Option<Stretch> {
        let terms = Terms { direction, seq: self.seq, bounds: &self.bounds, rival: None };
        self.source.lend(terms, &mut self.key)
    }

    /// Ends a stretch: the source stands where it stood, and its key is in the buffer.
    fn give_back(&mut self, stretch: Stretch) {
        self.source.take_back(&stretch);
        self.key = stretch.into_key();
    }

    /// Runs a motion that finds its own way; its error, if it has one, is every later answer.
    fn guard(&mut self, motion: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.guard_from(|this, from| {
            if let At::Stretch(stretch) = from {
                this.key = stretch.into_key();
            }
            motion(this)
        })
    }

    /// Runs a motion that depends on where the cursor stood. It stands nowhere unless the motion
    /// finds something.
    fn guard_from(&mut self, motion: impl FnOnce(&mut Self, At) -> Result<()>) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let from = std::mem::replace(&mut self.at, At::Nowhere);
        let result = motion(self, from);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    /// Shows the first visible key from where the source stands on.
    fn find_forward(&mut self) -> Result<()> {
        while self.source.valid() && !self.bounds.is_past_end(self.source.key()) {
            if let Some(mut stretch) = self.borrow(Direction::Forward) {
                if !stretch.is_tombstone() || stretch.next() {
                    self.at = At::Stretch(stretch);
                    return Ok(());
                }
                self.give_back(stretch);
                self.source.next()?;
                self.skip_forward(SeqNo::ZERO)?;
                continue;
            }
            let tag = self.source.tag();
            let too_new = tag.seq() > self.seq;
            if !too_new && !tag.is_delete() {
                self.at = At::Source;
                return Ok(());
            }
            copy(&mut self.key, self.source.key());
            if too_new {
                self.skip_forward(self.seq)?;
            } else {
                self.skip_forward(SeqNo::ZERO)?;
            }
        }
        Ok(())
    }

    /// Passes what is left of the key in the buffer, then shows the next visible one.
    fn pass_forward(&mut self) -> Result<()> {
        self.skip_forward(SeqNo::ZERO)?;
        self.find_forward()
    }

    /// Moves forward past the versions of the buffered key that are newer than `seq`.
    /// [`SeqNo::ZERO`] passes them all, for no entry has that number.
    fn skip_forward(&mut self, seq: SeqNo) -> Result<()> {
        for _ in 0..STEPS_MAX {
            if !self.stands_on_newer(seq) {
                return Ok(());
            }
            self.source.next()?;
        }
        self.source.seek(&self.key, seq)
    }

    /// Whether the source, going forward, stands on a version of the buffered key newer than
    /// `seq`.
    fn stands_on_newer(&self, seq: SeqNo) -> bool {
        if !self.source.valid() {
            return false;
        }
        let order = self.source.key().cmp(&self.key);
        invariant!(R2, order.is_ge(), "forward from {:?} to {:?}", self.key, self.source.key());
        order.is_eq() && self.source.tag().seq() > seq
    }

    /// Copies the last visible key up to where the source stands on.
    fn find_back(&mut self) -> Result<()> {
        while self.source.valid() && self.bounds.start.as_slice() <= self.source.key() {
            if let Some(mut stretch) = self.borrow(Direction::Back) {
                if !stretch.is_tombstone() || stretch.prev() {
                    self.at = At::Stretch(stretch);
                    return Ok(());
                }
                self.give_back(stretch);
                self.source.prev()?;
                self.skip_back()?;
                continue;
            }
            copy(&mut self.key, self.source.key());
            if self.copy_newest_visible()? {
                self.at = At::Copied;
                return Ok(());
            }
            self.skip_back()?;
        }
        Ok(())
    }

    /// Passes what is left of the key in the buffer, then copies the visible one before it.
    fn pass_back(&mut self) -> Result<()> {
        self.skip_back()?;
        self.find_back()
    }

    /// Looks at the versions of the buffered key, of which the source stands on the oldest, and
    /// copies the value of the newest that is old enough; false if that is none or a tombstone.
    fn copy_newest_visible(&mut self) -> Result<bool> {
        let mut shown = false;
        for _ in 0..STEPS_MAX {
            if !self.stands_on_key() || self.source.tag().seq() > self.seq {
                return Ok(shown);
            }
            shown = self.copy_put();
            self.source.prev()?;
        }
        self.source.seek(&self.key, self.seq)?;
        invariant!(R2, self.stands_on_key(), "{:?} has lost its visible versions", self.key);
        Ok(self.copy_put())
    }

    /// Copies the value that the source stands on; false if it is a tombstone.
    fn copy_put(&mut self) -> bool {
        let is_put = !self.source.tag().is_delete();
        if is_put {
            copy(&mut self.value, self.source.value());
        }
        is_put
    }

    /// Moves back past all versions of the buffered key.
    fn skip_back(&mut self) -> Result<()> {
        for _ in 0..STEPS_MAX {
            if !self.stands_on_key() {
                return Ok(());
            }
            self.source.prev()?;
        }
        self.source.seek_before(&self.key)
    }

    /// Whether the source, going back, stands on a version of the buffered key.
    fn stands_on_key(&self) -> bool {
        if !self.source.valid() {
            return false;
        }
        let order = self.source.key().cmp(&self.key);
        invariant!(R2, order.is_le(), "back from {:?} to {:?}", self.key, self.source.key());
        order.is_eq()
    }
}

/// Replaces what `buffer` holds, in the memory it has.
fn copy(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(bytes);
}
