//! Reads of a running script, and what a client holds across other operations: snapshots,
//! iterators and cursors. What is held must show its own moment whatever happens meanwhile.

use std::collections::VecDeque;

use crate::model::{Pair, show_bytes};
use crate::ops::{End, Held, Move, Place, Slot, Space, Span, Text, Walk};
use crate::run::{Runner, Told, Trouble, done, skipped};
use crate::store::{Answer, Cursor as _, Entry, Machine, Store};

/// A snapshot, and the moment in the model.
pub(crate) struct HeldSnapshot<M: Machine> {
    snapshot: <M::Store as Store>::Snapshot,
    at: usize,
    /// Compactions that were over when it was taken.
    compactions: u64,
}

/// An iterator, and what it still has to show.
pub(crate) struct HeldIterator<M: Machine> {
    iterator: <M::Store as Store>::Iterator,
    left: VecDeque<Pair>,
}

/// A cursor, and the model's.
pub(crate) struct HeldCursor<M: Machine> {
    cursor: <M::Store as Store>::Cursor,
    model: ModelCursor,
}

impl<M: Machine> Runner<M> {
    pub(crate) fn get(&mut self, at: &Place, snapshot: Option<Slot>) -> Told {
        let Some(handle) = self.handles.get(&at.space) else { return skipped() };
        let (answer, then) = match snapshot {
            None => (self.store().get(handle, &at.key.0), self.model.now()),
            Some(slot) => match self.snapshots.get(&slot) {
                Some(held) => (self.store().get_at(handle, &at.key.0, &held.snapshot), held.at),
                None => return skipped(),
            },
        };
        let found = same_value(answer, self.model.get(&at.space, &at.key.0, then).map(|v| &**v))?;
        self.note_snapshot(snapshot);
        Ok(found)
    }

    pub(crate) fn contains(&mut self, at: &Place) -> Told {
        let Some(handle) = self.handles.get(&at.space) else { return skipped() };
        let found = self.store().contains(handle, &at.key.0)?;
        let expected = self.model.get(&at.space, &at.key.0, self.model.now()).is_some();
        if found == expected {
            Ok(found.to_string())
        } else {
            Err(format!("expected {expected}, found {found}").into())
        }
    }

    pub(crate) fn multi_get(&mut self, space: &Space, keys: &[Text]) -> Told {
        let Some(handle) = self.handles.get(space) else { return skipped() };
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.0.as_slice()).collect();
        let found = self.store().multi_get(handle, &keys)?;
        if found.len() != keys.len() {
            let what = format!("{} answers to {} keys", found.len(), keys.len());
            return Err(what.into());
        }
        let mut told = Vec::new();
        for (key, found) in keys.iter().zip(found) {
            let expected = self.model.get(space, key, self.model.now());
            told.push(same_value(Ok(found), expected.map(|value| &**value))?);
        }
        Ok(told.join(" "))
    }

    pub(crate) fn scan(&mut self, span: &Span, snapshot: Option<Slot>, walk: &Walk) -> Told {
        let Some((iterator, expected)) = self.open_range(span, snapshot) else { return skipped() };
        let told = walk_to_end(iterator, expected, walk)?;
        self.note_snapshot(snapshot);
        Ok(told)
    }

    pub(crate) fn prefix(&mut self, at: &Place, walk: &Walk) -> Told {
        let Some(handle) = self.handles.get(&at.space) else { return skipped() };
        let iterator = self.store().prefix(handle, &at.key.0);
        let all = Span::all(at.space.clone());
        let mut expected = self.model.pairs(&all, self.model.now());
        expected.retain(|(key, _)| key.starts_with(&at.key.0));
        walk_to_end(iterator, expected.into(), walk)
    }

    /// An iterator and what it must show; nothing if keyspace or snapshot are not there.
    fn open_range(
        &self,
        span: &Span,
        snapshot: Option<Slot>,
    ) -> Option<(<M::Store as Store>::Iterator, VecDeque<Pair>)> {
        let handle = self.handles.get(&span.space)?;
        let (iterator, then) = match snapshot {
            None => (self.store().range(handle, span), self.model.now()),
            Some(slot) => {
                let held = self.snapshots.get(&slot)?;
                (self.store().range_at(handle, span, &held.snapshot), held.at)
            }
        };
        Some((iterator, self.model.pairs(span, then).into()))
    }

    pub(crate) fn snapshot(&mut self, slot: Slot) -> Told {
        let snapshot = self.store().snapshot()?;
        let compactions = self.store().figures().compactions;
        let held = HeldSnapshot { snapshot, at: self.model.now(), compactions };
        self.snapshots.insert(slot, held);
        done()
    }

    /// Counts a read of a snapshot that is older than the last compaction.
    fn note_snapshot(&mut self, slot: Option<Slot>) {
        let Some(held) = slot.and_then(|slot| self.snapshots.get(&slot)) else { return };
        if held.compactions < self.store().figures().compactions {
            self.reached.count("snapshot read after a compaction");
        }
    }

    pub(crate) fn iterator(&mut self, slot: Slot, span: &Span, snapshot: Option<Slot>) -> Told {
        let Some((iterator, left)) = self.open_range(span, snapshot) else { return skipped() };
        self.iterators.insert(slot, HeldIterator { iterator, left });
        done()
    }

    /// An iterator or a cursor that met an error has nothing more to say, so it goes.
    pub(crate) fn step_iterator(&mut self, slot: Slot, walk: &Walk) -> Told {
        let Some(mut held) = self.iterators.remove(&slot) else { return skipped() };
        let mut told = Vec::new();
        for end in &walk.0 {
            let key = step(&mut held.iterator, &mut held.left, *end)?;
            told.push(key.map_or_else(|| "end".to_owned(), |key| show_bytes(&key)));
        }
        self.iterators.insert(slot, held);
        self.reached.count("held iterator stepped");
        Ok(told.join(" "))
    }

    pub(crate) fn cursor(&mut self, slot: Slot, space: &Space) -> Told {
        let Some(handle) = self.handles.get(space) else { return skipped() };
        let cursor = self.store().cursor(handle);
        let pairs = self.model.pairs(&Span::all(space.clone()), self.model.now());
        self.cursors.insert(slot, HeldCursor { cursor, model: ModelCursor { pairs, at: None } });
        done()
    }

    pub(crate) fn move_cursor(&mut self, slot: Slot, moves: &[Move]) -> Told {
        let Some(mut held) = self.cursors.remove(&slot) else { return skipped() };
        let mut told = Vec::new();
        for to in moves {
            held.cursor.go(to).map_err(|failure| Trouble::from(failure).at(to))?;
            held.model.go(to);
            let (found, expected) = (held.cursor.entry(), held.model.entry());
            if !is_same(found.as_ref(), expected) {
                let (found, expected) = (show_entry(found.as_ref()), show_pair(expected));
                return Err(format!("{to}: expected {expected}, found {found}").into());
            }
            told.push(found.map_or_else(|| "nowhere".to_owned(), |(key, _)| show_bytes(&key)));
        }
        self.cursors.insert(slot, held);
        self.reached.count("held cursor moved");
        Ok(told.join(" "))
    }

    pub(crate) fn drop_held(&mut self, held: Held, slot: Slot) -> Told {
        let was_there = match held {
            Held::Snapshot => self.snapshots.remove(&slot).is_some(),
            Held::Iterator => self.iterators.remove(&slot).is_some(),
            Held::Cursor => self.cursors.remove(&slot).is_some(),
        };
        if was_there { done() } else { skipped() }
    }

    pub(crate) fn drop_all(&mut self, held: Held) {
        match held {
            Held::Snapshot => self.snapshots.clear(),
            Held::Iterator => self.iterators.clear(),
            Held::Cursor => self.cursors.clear(),
        }
    }
}

/// The model's cursor: a position in what the keyspace held when it was opened.
pub(crate) struct ModelCursor {
    pub(crate) pairs: Vec<Pair>,
    pub(crate) at: Option<usize>,
}

impl ModelCursor {
    pub(crate) fn go(&mut self, to: &Move) {
        let below = |key: &Text| self.pairs.partition_point(|(other, _)| *other < key.0);
        let up_to = |key: &Text| self.pairs.partition_point(|(other, _)| *other <= key.0);
        self.at = match to {
            Move::Seek(key) => Some(below(key)),
            Move::SeekBack(key) => up_to(key).checked_sub(1),
            Move::Next => self.at.map(|at| at + 1),
            Move::Prev => self.at.and_then(|at| at.checked_sub(1)),
        };
        self.at = self.at.filter(|at| *at < self.pairs.len());
    }

    pub(crate) fn entry(&self) -> Option<&Pair> {
        self.at.map(|at| &self.pairs[at])
    }
}

/// Asks an iterator as `walk` says, over and over, until nothing is left.
pub(crate) fn walk_to_end<I>(mut iterator: I, mut left: VecDeque<Pair>, walk: &Walk) -> Told
where
    I: DoubleEndedIterator<Item = Answer<Entry>>,
{
    let entries = left.len();
    let mut ends = walk.0.iter().cycle();
    while let Some(end) = ends.next() {
        if step(&mut iterator, &mut left, *end)?.is_none() {
            break;
        }
    }
    // Whoever asks again, from either end, hears the same.
    step(&mut iterator, &mut left, End::Front)?;
    step(&mut iterator, &mut left, End::Back)?;
    Ok(format!("{entries} entries"))
}

/// Takes one entry from both and compares; returns its key.
fn step<I>(
    iterator: &mut I,
    left: &mut VecDeque<Pair>,
    end: End,
) -> Result<Option<Vec<u8>>, Trouble>
where
    I: DoubleEndedIterator<Item = Answer<Entry>>,
{
    let (found, expected) = match end {
        End::Front => (iterator.next(), left.pop_front()),
        End::Back => (iterator.next_back(), left.pop_back()),
    };
    let found = found.transpose()?;
    if !is_same(found.as_ref(), expected.as_ref()) {
        let (found, expected) = (show_entry(found.as_ref()), show_pair(expected.as_ref()));
        return Err(format!("expected {expected}, found {found}").into());
    }
    Ok(found.map(|(key, _)| key))
}

fn is_same(found: Option<&Entry>, expected: Option<&Pair>) -> bool {
    match (found, expected) {
        (None, None) => true,
        (Some(found), Some(expected)) => found.0 == expected.0 && *found.1 == *expected.1,
        _ => false,
    }
}

/// Compares the answer of a read, and shows it.
pub(crate) fn same_value(answer: Answer<Option<Vec<u8>>>, expected: Option<&[u8]>) -> Told {
    let found = answer?;
    let show = |value: Option<&[u8]>| value.map_or_else(|| "nothing".to_owned(), show_bytes);
    if found.as_deref() == expected {
        Ok(show(expected))
    } else {
        Err(format!("expected {}, found {}", show(expected), show(found.as_deref())).into())
    }
}

fn show_entry(entry: Option<&Entry>) -> String {
    let Some((key, value)) = entry else { return "the end".to_owned() };
    format!("{} = {}", show_bytes(key), show_bytes(value))
}

fn show_pair(pair: Option<&Pair>) -> String {
    let Some((key, value)) = pair else { return "the end".to_owned() };
    format!("{} = {}", show_bytes(key), show_bytes(value))
}
