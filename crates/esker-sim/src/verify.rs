//! Everything a store shows, compared with the model in every way there is to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::model::{Model, Pair, State, show_bytes};
use crate::ops::{End, Move, Space, Span, Text, Walk};
use crate::read::{ModelCursor, same_value, walk_to_end};
use crate::rng::Rng;
use crate::run::Trouble;
use crate::store::{Cursor as _, Store};

/// What a store holds, by scanning it.
pub(crate) fn dump<S: Store>(store: &S) -> Result<State, Trouble> {
    let mut state = State::new();
    for space in store.keyspaces()? {
        let handle = store.keyspace(&space)?;
        let mut pairs = BTreeMap::new();
        for entry in store.range(&handle, &Span::all(space.clone())) {
            let (key, value) = entry?;
            pairs.insert(key, value.into());
        }
        state.insert(space, pairs);
    }
    Ok(state)
}

/// Compares keyspaces, scans from both ends, single reads of keys that are there and of keys
/// that are nearly there, random ranges and seeks; then lets the store check itself.
pub(crate) fn compare<S: Store>(
    store: &S,
    handles: &BTreeMap<Space, S::Handle>,
    model: &Model,
    rng: &mut Rng,
) -> Result<(), Trouble> {
    let found = store.keyspaces()?;
    let found: BTreeSet<Space> = found.into_iter().collect();
    if found != model.spaces() {
        return Err(format!("expected keyspaces {:?}, found {found:?}", model.spaces()).into());
    }
    for (space, handle) in handles {
        let view = Keyspace { store, handle, space, model };
        let inside = |trouble: Trouble| trouble.at(format_args!("keyspace {}", space.0));
        view.scans(rng)
            .and_then(|()| view.gets())
            .and_then(|()| view.seeks(rng))
            .map_err(inside)?;
    }
    store.check().map_err(|failure| Trouble::from(failure).at("check"))
}

/// A keyspace of both sides.
struct Keyspace<'a, S: Store> {
    store: &'a S,
    handle: &'a S::Handle,
    space: &'a Space,
    model: &'a Model,
}

impl<S: Store> Keyspace<'_, S> {
    fn pairs(&self, span: &Span) -> Vec<Pair> {
        self.model.pairs(span, self.model.now())
    }

    fn scans(&self, rng: &mut Rng) -> Result<(), Trouble> {
        let all = Span::all(self.space.clone());
        self.scan(&all, &Walk::forward())?;
        self.scan(&all, &Walk::backward())?;
        let keys = self.model.keys(self.space);
        for _ in 0..keys.len().min(3) {
            let mut bound = || match rng.below(3) {
                0 => Bound::Unbounded,
                1 => Bound::Included(Text(rng.pick(&keys).clone())),
                _ => Bound::Excluded(Text(rng.pick(&keys).clone())),
            };
            let span = Span { space: self.space.clone(), start: bound(), end: bound() };
            let ends = [End::Front, End::Back];
            let walk = Walk((0..3).map(|_| *rng.pick(&ends)).collect());
            self.scan(&span, &walk)?;
        }
        Ok(())
    }

    fn scan(&self, span: &Span, walk: &Walk) -> Result<(), Trouble> {
        let iterator = self.store.range(self.handle, span);
        let told = walk_to_end(iterator, self.pairs(span).into(), walk);
        told.map(drop).map_err(|trouble| trouble.at(format_args!("scan {span} {walk}")))
    }

    /// Every key that was ever written, and for each the key right after it and its parent.
    fn gets(&self) -> Result<(), Trouble> {
        let mut keys: BTreeSet<Vec<u8>> = self.model.keys(self.space).into_iter().collect();
        for key in keys.clone() {
            keys.insert(key[..key.len().saturating_sub(1)].to_vec());
            keys.insert([&key[..key.len().min(60_000)], &[0]].concat());
        }
        for key in &keys {
            let expected = self.model.get(self.space, key, self.model.now());
            let told = same_value(self.store.get(self.handle, key), expected.map(|v| &**v));
            told.map_err(|trouble| trouble.at(format_args!("get {}", show_bytes(key))))?;
        }
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let found = self.store.multi_get(self.handle, &keys)?;
        let expected = |key| self.model.get(self.space, key, self.model.now());
        let expected = keys.iter().map(|key| expected(*key).map(|value| value.to_vec()));
        if expected.collect::<Vec<_>>() == found {
            return Ok(());
        }
        Err("multi_get of all keys differs from get".to_owned().into())
    }

    fn seeks(&self, rng: &mut Rng) -> Result<(), Trouble> {
        let pairs = self.pairs(&Span::all(self.space.clone()));
        let keys = self.model.keys(self.space);
        let mut expected = ModelCursor { pairs, at: None };
        let mut cursor = self.store.cursor(self.handle);
        for _ in 0..keys.len().min(12) {
            let to = match rng.below(4) {
                0 => Move::Seek(Text(rng.pick(&keys).clone())),
                1 => Move::SeekBack(Text(rng.pick(&keys).clone())),
                2 => Move::Next,
                _ => Move::Prev,
            };
            cursor.go(&to).map_err(|failure| Trouble::from(failure).at(&to))?;
            expected.go(&to);
            let found = cursor.entry().map(|(key, value)| (key, value.into()));
            if found.as_ref() != expected.entry() {
                return Err(format!("{to}: the cursor stands somewhere else").into());
            }
        }
        Ok(())
    }
}
