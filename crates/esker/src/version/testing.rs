//! Values for the tests of this folder.

use std::sync::Arc;

use proptest::prelude::*;

use crate::base::key::{KeyspaceId, SegmentNo, SeqNo, TableId};
use crate::base::range::KeyRange;
use crate::version::{
    Edit, FixedOptions, KeyspaceCounters, KeyspaceEdit, StoreState, Sweep, TableMeta,
};
use crate::wal::{LogPosition, LogState, SealedSegment};

/// A table with these keys and sequence numbers, and as many bytes as its number.
pub fn table(id: u64, lo: &str, hi: &str, seq_min: u64, seq_max: u64) -> TableMeta {
    TableMeta {
        id: TableId(id),
        bytes: id,
        entries: 2,
        tombstones: 0,
        keys: 2,
        range: KeyRange::new(lo, hi),
        seq_min: SeqNo::new(seq_min),
        seq_max: SeqNo::new(seq_max),
        key_bytes: 2,
        value_bytes: 20,
        filter_bits: 512,
    }
}

/// What a flush to table `id` of the default keyspace makes known.
pub fn flush(id: u64, seq_min: u64, seq_max: u64) -> Edit {
    let edit = KeyspaceEdit {
        added: vec![(0, Arc::new(table(id, "a", "z", seq_min, seq_max)))],
        flushed_seq: Some(SeqNo::new(seq_max)),
        counters: Some(KeyspaceCounters {
            flushes: id,
            flush_bytes: id * 10,
            ..KeyspaceCounters::default()
        }),
        ..KeyspaceEdit::default()
    };
    let horizon = Some(LogPosition { segment: SegmentNo(2), offset: 8 * seq_max });
    let keyspaces = vec![(KeyspaceId::DEFAULT, edit)];
    Edit { keyspaces, horizon, next_file: id + 1, ..Edit::default() }
}

fn arbitrary_table() -> impl Strategy<Value = TableMeta> {
    let numbers = prop::array::uniform9(any::<u64>());
    let seqs = (0..1_u64 << 56, 0..1_u64 << 56);
    (numbers, seqs, any::<Vec<u8>>(), any::<Vec<u8>>()).prop_map(|(n, (a, b), lo, hi)| TableMeta {
        id: TableId(n[0]),
        bytes: n[1],
        entries: n[2],
        tombstones: n[3],
        keys: n[4],
        range: KeyRange::new(lo.clone().min(hi.clone()), lo.max(hi)),
        seq_min: SeqNo::new(a.min(b)),
        seq_max: SeqNo::new(a.max(b)),
        key_bytes: n[5],
        value_bytes: n[6],
        filter_bits: n[7],
    })
}

fn arbitrary_log() -> impl Strategy<Value = LogState> {
    let sealed = prop::collection::vec((any::<u64>(), any::<u64>()), 0..4);
    (sealed, any::<u64>(), arbitrary_position()).prop_map(|(sealed, live_from, horizon)| {
        let sealed = sealed
            .into_iter()
            .map(|(segment, bytes)| SealedSegment { segment: SegmentNo(segment), bytes });
        LogState { sealed: sealed.collect(), live_from: SegmentNo(live_from), horizon }
    })
}

/// A position that says something.
fn arbitrary_position() -> impl Strategy<Value = Option<LogPosition>> {
    prop::option::of(
        (any::<u64>(), 1..=u64::MAX)
            .prop_map(|(segment, offset)| LogPosition { segment: SegmentNo(segment), offset }),
    )
}

fn arbitrary_sweep() -> impl Strategy<Value = Sweep> {
    (any::<Vec<u8>>(), any::<Vec<u64>>()).prop_map(|(cursor, tables)| Sweep {
        cursor,
        tables: tables.into_iter().map(TableId).collect(),
    })
}

fn arbitrary_keyspace_edit() -> impl Strategy<Value = KeyspaceEdit> {
    let added = prop::collection::vec((0_u8..7, arbitrary_table().prop_map(Arc::new)), 0..4);
    let removed = prop::collection::vec((0_u8..7, any::<u64>().prop_map(TableId)), 0..4);
    let seq = prop::option::of((0..1_u64 << 56).prop_map(SeqNo::new));
    let counters = prop::option::of(any::<[u64; 9]>().prop_map(KeyspaceCounters::from_totals));
    (added, removed, seq, counters, prop::option::of(arbitrary_sweep())).prop_map(
        |(added, removed, flushed_seq, counters, sweep)| KeyspaceEdit {
            added,
            removed,
            flushed_seq,
            counters,
            sweep,
        },
    )
}

/// Any edit that can be written, whether it makes sense or not.
pub fn arbitrary_edit() -> impl Strategy<Value = Edit> {
    let id = || any::<u32>().prop_map(KeyspaceId);
    let created = prop::collection::vec((id(), "[a-zäöü]{1,20}"), 0..3);
    let keyspaces = prop::collection::vec((id(), arbitrary_keyspace_edit()), 0..3);
    let dropped = prop::collection::vec(id(), 0..3);
    let seq = prop::option::of((0..1_u64 << 56).prop_map(SeqNo::new));
    let numbers = (any::<u64>(), any::<Option<u32>>(), seq);
    (created, keyspaces, dropped, prop::option::of(arbitrary_log()), arbitrary_position(), numbers)
        .prop_map(|(created, keyspaces, dropped, log, horizon, numbers)| Edit {
            created,
            keyspaces,
            dropped,
            log,
            horizon,
            next_file: numbers.0,
            next_keyspace: numbers.1,
            last_seq: numbers.2,
        })
}

/// States that a history of flushes, moves, creations and drops leads to.
pub fn arbitrary_state() -> impl Strategy<Value = StoreState> {
    (any::<u64>(), prop::collection::vec(0_u8..5, 0..12)).prop_map(|(store_id, steps)| {
        let mut state = StoreState::new(store_id, FixedOptions { level_base_bytes: 1 << 20 });
        for step in steps {
            state = state.apply(&a_step(&state, step));
        }
        state
    })
}

fn a_step(state: &StoreState, step: u8) -> Edit {
    let (file, seq) = (state.next_file, state.last_seq.get() + 1);
    let default = &state.keyspaces[&KeyspaceId::DEFAULT].version;
    let newest = KeyspaceId(state.next_keyspace - 1);
    match step {
        0 if newest != KeyspaceId::DEFAULT && state.keyspaces.contains_key(&newest) => {
            Edit { dropped: vec![newest], ..Edit::default() }
        }
        1 => {
            let id = KeyspaceId(state.next_keyspace);
            Edit { created: vec![(id, format!("keyspace {}", id.0))], ..Edit::default() }
        }
        2 if default.level(1).is_empty() && !default.level(0).is_empty() => {
            let oldest = default.level(0).last().expect("there is one").clone();
            let removed = vec![(0, oldest.id)];
            let added = vec![(1, oldest)];
            let edit = KeyspaceEdit { added, removed, ..KeyspaceEdit::default() };
            Edit { keyspaces: vec![(KeyspaceId::DEFAULT, edit)], ..Edit::default() }
        }
        3 => {
            let sealed = SealedSegment { segment: SegmentNo(file), bytes: 4096 };
            let horizon = Some(LogPosition { segment: sealed.segment, offset: 4096 });
            let log = LogState { sealed: vec![sealed], live_from: SegmentNo(file + 1), horizon };
            Edit { log: Some(log), next_file: file + 1, ..Edit::default() }
        }
        _ => flush(file, seq, seq + 4),
    }
}
