//! What users walk a keyspace with: `Iter`, a Rust iterator from both ends, and `Cursor`, which
//! seeks and moves without allocating.
//!
//! Both own what they need: the view (so nothing is pulled from under them) and the sequence
//! number. They are `Send + 'static`, outlive the handle they came from, and stay failed after an
//! error: an unreadable block never looks like the end of the data.

use std::fmt;
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::key::SeqNo;
use crate::base::range::Bounds;
use crate::base::value::Value;
use crate::read::merge::MergeCursor;
use crate::read::view::{Sources, View};
use crate::read::visible::VisibleCursor;

/// Everything that a scan needs to begin, from either end.
struct Source {
    view: Arc<View>,
    seq: SeqNo,
    bounds: Bounds,
    sources: Sources,
}

impl Source {
    fn open(&self) -> VisibleCursor<MergeCursor> {
        let source = self.view.cursor(&self.bounds, self.sources);
        VisibleCursor::new(source, self.seq, self.bounds.clone())
    }
}

/// The entries of a range, in the order of keys, from both ends.
///
/// `next` walks forward, `next_back` backward, and they meet in the middle. Each item copies its
/// key and value; to look without copying use a [`Cursor`]. After an error every further item is
/// that error again, so a loop that stops at the first `Err` sees it once.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let db = esker::Db::open(dir.path())?;
/// # for (k, v) in [("a", "1"), ("b", "2"), ("c", "3")] { db.put(k, v)?; }
/// let keys: Vec<_> = db.range("a".."c").rev().map(|kv| kv.unwrap().0).collect();
/// assert_eq!(keys, ["b", "a"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Iter {
    source: Option<Source>,
    front: Option<VisibleCursor<MergeCursor>>,
    back: Option<VisibleCursor<MergeCursor>>,
    /// The last keys handed out at either end: where the two meet.
    front_key: Option<Value>,
    back_key: Option<Value>,
    finished: bool,
    failed: Option<Error>,
}

impl Iter {
    pub(crate) fn new(view: Arc<View>, seq: SeqNo, bounds: Bounds, sources: Sources) -> Self {
        let finished = bounds.is_empty();
        Self {
            source: Some(Source { view, seq, bounds, sources }),
            front: None,
            back: None,
            front_key: None,
            back_key: None,
            finished,
            failed: None,
        }
    }

    /// An iterator that answers `error` for ever.
    pub(crate) fn failed(error: Error) -> Self {
        Self {
            source: None,
            front: None,
            back: None,
            front_key: None,
            back_key: None,
            finished: false,
            failed: Some(error),
        }
    }

    fn step_front(&mut self) -> Result<Option<(Value, Value)>> {
        match &mut self.front {
            Some(front) => front.next()?,
            None => {
                let Some(source) = &self.source else { return Ok(None) };
                self.front.insert(source.open()).seek_first()?;
            }
        }
        let front = self.front.as_ref().expect("it was just opened");
        let met = |key: &[u8]| self.back_key.as_ref().is_some_and(|back| key >= &**back);
        if !front.valid() || met(front.key()) {
            return Ok(None);
        }
        let key = Value::copy_from(front.key());
        let value = Value::copy_from(front.value());
        self.front_key = Some(key.clone());
        Ok(Some((key, value)))
    }

    fn step_back(&mut self) -> Result<Option<(Value, Value)>> {
        match &mut self.back {
            Some(back) => back.prev()?,
            None => {
                let Some(source) = &self.source else { return Ok(None) };
                self.back.insert(source.open()).seek_last()?;
            }
        }
        let back = self.back.as_ref().expect("it was just opened");
        let met = |key: &[u8]| self.front_key.as_ref().is_some_and(|front| key <= &**front);
        if !back.valid() || met(back.key()) {
            return Ok(None);
        }
        let key = Value::copy_from(back.key());
        let value = Value::copy_from(back.value());
        self.back_key = Some(key.clone());
        Ok(Some((key, value)))
    }

    fn answer(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<Option<(Value, Value)>>,
    ) -> Option<Result<(Value, Value)>> {
        if let Some(error) = &self.failed {
            return Some(Err(error.clone()));
        }
        if self.finished {
            return None;
        }
        match step(self) {
            Ok(Some(entry)) => Some(Ok(entry)),
            Ok(None) => {
                self.finished = true;
                (self.front, self.back) = (None, None);
                self.source = None;
                None
            }
            Err(error) => {
                self.failed = Some(error.clone());
                Some(Err(error))
            }
        }
    }
}

impl Iterator for Iter {
    type Item = Result<(Value, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.answer(Self::step_front)
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.answer(Self::step_back)
    }
}

impl fmt::Debug for Iter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Iter(finished: {}, failed: {:?})", self.finished, self.failed)
    }
}

/// A position among the entries of a keyspace: seek, step, look; no allocation per step.
///
/// A new cursor stands nowhere. `key` and `value` are `None` where it stands nowhere: before a
/// seek, and after walking off either end. Moves return whether the cursor stands on an entry.
/// After an error every call returns that error.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let db = esker::Db::open(dir.path())?;
/// # for k in ["a", "m", "z"] { db.put(k, "1")?; }
/// let mut cursor = db.cursor();
/// assert!(cursor.seek("b")?);
/// assert_eq!(cursor.key(), Some(&b"m"[..]));
/// assert!(cursor.prev()?);
/// assert_eq!(cursor.key(), Some(&b"a"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cursor {
    at: std::result::Result<VisibleCursor<MergeCursor>, Error>,
}

impl Cursor {
    pub(crate) fn new(view: Arc<View>, seq: SeqNo, bounds: Bounds) -> Self {
        Self { at: Ok(Source { view, seq, bounds, sources: Sources::All }.open()) }
    }

    /// A cursor that answers `error` for ever.
    pub(crate) fn failed(error: Error) -> Self {
        Self { at: Err(error) }
    }

    fn go(
        &mut self,
        go: impl FnOnce(&mut VisibleCursor<MergeCursor>) -> Result<()>,
    ) -> Result<bool> {
        match &mut self.at {
            Ok(at) => {
                go(at)?;
                Ok(at.valid())
            }
            Err(error) => Err(error.clone()),
        }
    }

    /// To the first entry whose key is at or after `key`.
    ///
    /// # Errors
    /// `Corruption` or `Io` of a table on the way, as for every move.
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.go(|at| at.seek(key.as_ref()))
    }

    /// To the last entry whose key is at or before `key`.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub fn seek_back(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.go(|at| at.seek_back(key.as_ref()))
    }

    /// To the first entry.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub fn seek_first(&mut self) -> Result<bool> {
        self.go(VisibleCursor::seek_first)
    }

    /// To the last entry.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub fn seek_last(&mut self) -> Result<bool> {
        self.go(VisibleCursor::seek_last)
    }

    /// To the next entry; a cursor that stands nowhere stays there.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    #[expect(clippy::should_implement_trait, reason = "it lends its entries")]
    pub fn next(&mut self) -> Result<bool> {
        self.go(VisibleCursor::next)
    }

    /// To the entry before; a cursor that stands nowhere stays there.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub fn prev(&mut self) -> Result<bool> {
        self.go(VisibleCursor::prev)
    }

    /// The key it stands on.
    pub fn key(&self) -> Option<&[u8]> {
        self.at.as_ref().ok().filter(|at| at.valid()).map(|at| at.key())
    }

    /// The value it stands on.
    pub fn value(&self) -> Option<&[u8]> {
        self.at.as_ref().ok().filter(|at| at.valid()).map(|at| at.value())
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor(at {:?})", self.key())
    }
}
