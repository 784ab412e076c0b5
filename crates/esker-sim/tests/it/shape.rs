//! What the rules for L0 cost: a change of the policy is a change of `tests/shape.txt`.

use std::fmt::Write as _;
use std::path::Path;

use esker::internals::policy::Policy;
use esker_sim::shape::report::{CASES, Case, Row, figures, leveled, tiered};

fn small_cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(|case| case.memtables <= 256)
}

fn rows(drain: f64) -> String {
    let mut text = format!("drain {drain}\n{}\n", Row::HEAD);
    for case in small_cases() {
        let rules =
            [("leveled", leveled(case.memtable_bytes)), ("tiered", tiered(case.memtable_bytes))];
        for (rule, policy) in rules {
            let (load, overwrite) = figures(case, policy, drain);
            for (writes, figures) in [("new", load), ("overwrite", Some(overwrite))] {
                let figures = figures.expect("small cases are loaded");
                writeln!(text, "{}", Row(case.name, writes, rule, figures)).unwrap();
            }
        }
    }
    text
}

#[test]
fn the_rules_cost_what_is_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shape.txt");
    let found = [6.0, 8.0, 20.0].map(rows).join("\n");
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(expected == found, "REWRITE=1 accepts these:\n{found}");
}

#[test]
fn tiering_writes_a_fifth_less_or_better_and_overload_makes_it_cheaper() {
    for case in small_cases() {
        let write = |policy: fn(u64) -> Policy, drain| {
            let (_, overwrite) = figures(case, policy(case.memtable_bytes), drain);
            overwrite.write_amplification()
        };
        let name = case.name;
        assert!(write(tiered, 8.0) < 0.8 * write(leveled, 8.0), "{name}");
        assert!(write(tiered, 6.0) < 1.05 * write(tiered, 20.0), "{name}");
    }
}
