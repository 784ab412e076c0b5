//! Plans: scenarios in the words of levels, plans that are refused, and whole stores driven by random picks.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::l0::SweepStep;
use super::pick::*;
use crate::base::key::{SeqNo, TableId};
use crate::base::limits::LEVELS;
use crate::base::range::KeyRange;
use crate::testing::{Scenario, parse_bytes, parse_range, run_scenarios, show_range};

/// A table with its own range. The youngest of L0 has the highest age.
#[derive(Clone, Debug)]
struct Owned {
    id: u64,
    age: u64,
    level: usize,
    range: KeyRange,
    swept_to: Option<Vec<u8>>,
    bytes: u64,
    entries: u64,
    keys: u64,
    tombstones: u64,
}

const BASE: u64 = 40 << 20;
const OUTPUT: u64 = 4 << 20;

/// Sequence numbers follow from ages.
fn state(tables: &[Owned]) -> PickState<'_> {
    let tables = tables.iter().map(|table| PickTable {
        id: TableId(table.id),
        level: table.level,
        range: &table.range,
        swept_to: table.swept_to.as_deref(),
        bytes: table.bytes,
        entries: table.entries,
        keys: table.keys,
        tombstones: table.tombstones,
        seq_min: SeqNo::new(100 * table.age),
        seq_max: SeqNo::new(100 * table.age + 99),
    });
    PickState::new(Policy::new(BASE, OUTPUT), tables)
}

/// `L1: 7:[a-m] 3MiB; 8:[n-z] 4MiB tombstones=2 superseded=1`, `L0: 3:[a-m] 3MiB swept=f`
fn parse_level(line: &str) -> Vec<Owned> {
    let (level, tables) = line.split_once(": ").unwrap_or_else(|| panic!("what is {line:?}"));
    let level = level.strip_prefix('L').and_then(|n| n.parse().ok()).expect("a level");
    tables.split("; ").map(|table| parse_table(level, table)).collect()
}

fn parse_table(level: usize, text: &str) -> Owned {
    let mut words = text.split_whitespace();
    let (id, range) = words.next().and_then(|word| word.split_once(':')).expect("7:[a-m]");
    let (id, range) = (id.parse().expect("an id"), parse_range(range));
    let bytes = parse_bytes(words.next().expect("3MiB"));
    let mut table = Owned { bytes, range, ..owned(id, level, "[a-z]", 0) };
    for word in words {
        match word.split_once('=') {
            Some(("swept", key)) => table.swept_to = Some(key.into()),
            Some(("tombstones", n)) => table.tombstones = n.parse().expect("a number"),
            Some(("superseded", n)) => table.entries += n.parse::<u64>().expect("a number"),
            _ => panic!("what is {word:?}"),
        }
    }
    table
}

fn show(plan: &CompactionPlan) -> String {
    let mut text = format!("{:?} into L{}:", plan.kind, plan.target);
    for (level, ids) in &plan.inputs {
        let ids: Vec<_> = ids.iter().map(TableId::to_string).collect();
        write!(text, " L{level} {}", ids.join(" ")).unwrap();
    }
    write!(text, "\ncovers {}", show_range(&plan.range)).unwrap();
    if let Some(SweepStep { cursor, left }) = &plan.sweep {
        let left: Vec<_> = left.iter().map(TableId::to_string).collect();
        let cursor = String::from_utf8_lossy(cursor);
        write!(text, "\nup to {cursor}, of which {} live on", left.join(" ")).unwrap();
    }
    for range in &plan.deeper_ranges {
        write!(text, ", older versions may lie in {}", show_range(range)).unwrap();
    }
    for boundary in &plan.boundaries {
        let hi = String::from_utf8_lossy(&boundary.hi);
        write!(text, "\nboundary {hi}, {} MiB", boundary.bytes >> 20).unwrap();
    }
    text
}

fn plan(command: &str, state: &PickState<'_>) -> Option<CompactionPlan> {
    let words: Vec<_> = command.split_whitespace().collect();
    match words[..] {
        ["pick"] => pick(state),
        ["plan_l0"] => plan_l0(state),
        ["plan_level", source] => plan_level(state, source.parse().unwrap()),
        ["plan_all"] => plan_all(state),
        _ => panic!("unknown command {command:?}"),
    }
}

/// The command's plan for the tables given, or for those of the last scenario that gave some.
/// `... while pick` plans beside a running plan.
fn answer(tables: &mut Vec<Owned>, scenario: &Scenario) -> String {
    if !scenario.input.is_empty() {
        *tables = scenario.input.iter().flat_map(|line| parse_level(line)).collect();
    }
    let mut commands = scenario.command.split(" while ");
    let command = commands.next().expect("a command");
    let mut state = state(tables);
    for running in commands {
        let running = plan(running, &state).expect("something to run beside");
        state = state.with_running(&running);
    }
    plan(command, &state).map_or("nothing".into(), |plan| show(&plan))
}

#[test]
fn scenarios() {
    run_scenarios("pick", || {
        let mut tables = Vec::new();
        move |scenario| answer(&mut tables, scenario)
    });
}

fn owned(id: u64, level: usize, range: &str, tombstones: u64) -> Owned {
    let (range, swept_to) = (parse_range(range), None);
    let (age, bytes, entries, keys) = (id, OUTPUT, 9, 9);
    Owned { id, age, level, range, swept_to, bytes, entries, keys, tombstones }
}

#[test]
#[should_panic(expected = "invariant C1")]
fn c1_tables_of_a_sorted_level_must_not_overlap() {
    state(&[owned(1, 1, "[a-c]", 0), owned(2, 1, "[c-d]", 0)]);
}

#[test]
#[should_panic(expected = "invariant C1")]
fn c1_l0_comes_newest_first() {
    state(&[owned(1, 0, "[a-c]", 0), owned(2, 0, "[x-z]", 0)]);
}

#[test]
#[should_panic(expected = "invariant C2")]
fn c2_a_plan_that_leaves_out_what_it_overlaps_is_refused() {
    let tables = [owned(2, 0, "[a-m]", 0), owned(1, 1, "[c-d]", 0)];
    let state = state(&tables);
    let _ = state.plan(&[state.whole(0)], 1, PlanKind::Rewrite);
}

#[test]
#[should_panic(expected = "invariant C3")]
fn c3_a_move_that_buries_a_tombstone_is_refused() {
    let tables = [owned(2, 0, "[a-m]", 1)];
    let state = state(&tables);
    let _ = state.plan(&[state.whole(0)], 1, PlanKind::Move);
}

/// A running plan may write anything from its first key to its last, also where none of its
/// inputs lies; a table that came into its source level meanwhile must not go there.
#[test]
fn nothing_is_written_into_the_gaps_of_a_running_plan() {
    let mut tables = vec![owned(1, 1, "[a-b]", 0), owned(2, 1, "[y-z]", 0)];
    let running = plan_level(&state(&tables), 1).unwrap();
    tables.insert(1, Owned { bytes: 500 << 20, ..owned(3, 1, "[m-n]", 0) });
    assert_eq!(pick(&state(&tables).with_running(&running)), None);
    assert!(pick(&state(&tables)).is_some());
}

/// Sorted levels of tables whose keys are two letters, and some tables in L0.
fn tables() -> impl Strategy<Value = Vec<Owned>> {
    let level = prop::collection::btree_set(0..676u32, 0..24);
    let sorted = prop::collection::vec(level, LEVELS - 1);
    let l0 = prop::collection::vec((0..676u32, 0..676u32), 0..8);
    let draws = prop::collection::vec((1..400u64, 0..3u64), 200);
    (l0, sorted, draws).prop_map(|(l0, sorted, draws)| {
        let key = |n: u32| vec![b'a' + (n / 26) as u8, b'a' + (n % 26) as u8];
        let ranges = l0.iter().map(|(a, b)| (0, *a.min(b), *a.max(b)));
        let deeper = sorted.iter().enumerate().flat_map(|(n, ends)| {
            let ends: Vec<_> = ends.iter().copied().collect();
            let pairs: Vec<_> =
                ends.chunks_exact(2).map(|pair| (n + 1, pair[0], pair[1])).collect();
            pairs
        });
        let tables = ranges.chain(deeper).zip(draws).enumerate();
        tables
            .map(|(n, ((level, lo, hi), (mib, tombstones)))| Owned {
                range: KeyRange::new(key(lo), key(hi)),
                bytes: mib << 20,
                keys: 9 - tombstones.min(1),
                ..owned(1000 - n as u64, level, "[a-z]", tombstones)
            })
            .collect()
    })
}

/// What carrying a plan out leaves, each output standing for one table of the same range. A
/// step of a sweep leaves its output below the cursor, and the swept tables above it.
fn carry_out(tables: &[Owned], plan: &CompactionPlan) -> Vec<Owned> {
    let left = plan.sweep.as_ref().map_or(&[][..], |step| &step.left);
    let is_input = |t: &Owned| plan.inputs.iter().any(|(_, ids)| ids.contains(&TableId(t.id)));
    let is_left = |t: &Owned| left.contains(&TableId(t.id));
    let (inputs, mut after): (Vec<_>, Vec<_>) =
        tables.iter().cloned().partition(|table| is_input(table) && !is_left(table));
    let bytes = |table: &Owned| if is_input(table) { table.bytes } else { 0 };
    let bytes: u64 = tables.iter().map(bytes).sum();
    let mut range = plan.range.clone();
    if let Some(SweepStep { cursor, .. }) = &plan.sweep {
        let mut last = cursor.clone();
        *last.last_mut().expect("keys have two letters") -= 1;
        range = KeyRange::new(plan.range.lo().min(&last), last.as_slice());
        let swept = after.iter_mut().filter(|table| is_left(table));
        swept.for_each(|table| table.swept_to = Some(cursor.clone()));
    }
    let age = inputs.iter().map(|table| table.age).max().unwrap_or(0);
    let id = tables.iter().map(|table| table.id).max().unwrap_or(0) + 1;
    match plan.kind {
        PlanKind::Move => {
            after.extend(inputs.into_iter().map(|table| Owned { level: plan.target, ..table }))
        }
        PlanKind::Rewrite => {
            after.push(Owned { age, range, bytes, ..owned(id, plan.target, "[a-z]", 0) });
        }
    }
    let newest = |table: &Owned| if table.level == 0 { u64::MAX - table.age } else { 0 };
    after.sort_by(|a, b| {
        let place = (a.level, newest(a)).cmp(&(b.level, newest(b)));
        place.then_with(|| a.range.lo().cmp(b.range.lo()))
    });
    after
}

proptest! {
    /// Whatever the shape: following the picker keeps every level in order and comes to an
    /// end, and a second plan beside a first one shares neither inputs nor outputs with it.
    #[test]
    fn following_the_picker_settles(mut tables in tables()) {
        for step in 0.. {
            prop_assert!(step < 1000, "it never ends");
            let state = state(&tables); // asserts C1
            let Some(plan) = pick(&state) else {
                prop_assert_eq!(due_levels(&state), 0);
                break;
            };
            let beside = pick(&state.clone().with_running(&plan));
            if let Some(beside) = beside {
                let ids = |plan: &CompactionPlan| {
                    plan.inputs.iter().flat_map(|(_, ids)| ids.clone()).collect::<BTreeSet<_>>()
                };
                prop_assert!(ids(&beside).is_disjoint(&ids(&plan)));
                let same_target = beside.target == plan.target;
                prop_assert!(!(same_target && beside.range.overlaps(&plan.range)));
            }
            tables = carry_out(&tables, &plan);
        }
        let whole = plan_all(&state(&tables));
        if let Some(plan) = whole {
            let after = carry_out(&tables, &plan);
            prop_assert_eq!(after.len(), 1);
            prop_assert!(plan.deeper_ranges.is_empty());
            prop_assert_eq!(plan_all(&state(&after)), None);
        }
    }
}

#[test]
fn damaged_tables_are_left_where_they_are_and_merged_around() {
    let tables = |levels: &[&str]| levels.iter().flat_map(|l| parse_level(l)).collect::<Vec<_>>();
    let plan = |tables: &[Owned], damaged: &[u64]| {
        let damaged: Vec<_> = damaged.iter().copied().map(TableId).collect();
        let plan = pick(&state(tables).with_damaged(&damaged))?;
        assert!(plan.inputs.iter().all(|(_, ids)| ids.iter().all(|id| !damaged.contains(id))));
        Some((plan.target, plan.inputs))
    };
    // L1 is too full: another table than the damaged one goes down, or none.
    let full = tables(&["L1: 7:[a-f] 500MiB; 8:[g-m] 500MiB", "L2: 9:[a-f] 900MiB; 5:[g-m] 9MiB"]);
    assert_eq!(plan(&full, &[8]).map(|(_, inputs)| inputs[0].1[0]), Some(TableId(7)));
    assert_eq!(plan(&full, &[5]).map(|(_, inputs)| inputs[0].1[0]), Some(TableId(7)));
    assert_eq!(plan(&full, &[9, 5]), None);
    // A table of L0 bars the way down: its neighbours become one, within L0.
    let l0 =
        "L0: 9:[a-z] 4MiB; 8:[a-z] 4MiB; 7:[a-z] 4MiB; 6:[a-z] 4MiB; 5:[a-z] 4MiB; 4:[a-z] 4MiB";
    let shallow = tables(&[l0, "L1: 3:[a-z] 9MiB"]);
    assert_eq!(plan(&shallow, &[]).map(|(target, _)| target), Some(1));
    let (target, inputs) = plan(&shallow, &[4]).expect("the others can be merged");
    assert_eq!((target, inputs.len()), (0, 1));
    assert_eq!(plan(&shallow, &[9, 8, 7, 6, 5]), None, "one alone");
}
