//! Histories written down: what once failed, and what the language can say.

use std::fs;
use std::path::Path;

use esker_sim::engine::Simulated;
use esker_sim::ops::Script;
use esker_sim::run::run;

#[test]
fn written_histories_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let script: Script = fs::read_to_string(&file).unwrap().parse().unwrap();
        let broken = run::<Simulated>(&script, &mut |_, _| {}).broken;
        assert!(broken.is_none(), "{}: {}", file.display(), broken.unwrap());
    }
}

#[test]
fn the_example_of_every_operation_has_every_operation() {
    let text = include_str!("../scripts/everything.txt");
    for word in [
        "put",
        "delete",
        "batch",
        "get",
        "contains",
        "multi_get",
        "scan",
        "prefix",
        "snapshot",
        "iterator",
        "step",
        "cursor",
        "move",
        "drop",
        "keyspace",
        "drop_keyspace",
        "flush",
        "compact",
        "compact_level",
        "settle",
        "sync",
        "check",
        "pump",
        "pump idle",
        "reopen",
        "crash",
        "fault",
        "fault off",
        "rot",
        "capacity",
        "capacity off",
    ] {
        assert!(text.lines().any(|line| line.starts_with(word)), "{word}");
    }
}
