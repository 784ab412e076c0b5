//! A disk that is really full: writes are refused, reads go on, and the first write after there is
//! space again is taken, without a restart.
//!
//! On a small file system in memory of its own. A ballast takes the space: in even cycles so much that
//! the store refuses by its own limit, in odd ones all of it, so that the system refuses.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::mounted::{Mounted, free_bytes};
use crate::node::Node;
use crate::record::{Record, number};

const FILE_SYSTEM_BYTES: u64 = 24 << 20;

/// Values of 8 KiB, so that a few hundred fill what a ballast leaves.
const VALUE_BYTES: usize = 8 << 10;

/// Keys are overwritten, so that merges keep the store small.
const KEYS: u64 = 50;

/// After each write the ballast grows by so much: merges would else make space for ever.
const BALLAST_STEP_BYTES: usize = 64 << 10;

/// A node and what it acknowledged: key to the number of its last write.
struct Filled {
    node: Node,
    acknowledged: BTreeMap<u64, u64>,
    writes: u64,
}

/// `ESKER_DISK_FULL_CYCLES` says how often.
#[test]
fn a_full_disk_refuses_writes_answers_reads_and_recovers_by_itself() {
    let cycles = number("ESKER_DISK_FULL_CYCLES", 2);
    let mut record = Record::new("disk_full", format_args!("ESKER_DISK_FULL_CYCLES={cycles}"));
    match Mounted::tmpfs(FILE_SYSTEM_BYTES) {
        Ok(mounted) => fill_and_free(&mounted.path(), cycles, &mut record),
        Err(reason) => record.skip(reason),
    }
    record.write();
}

fn fill_and_free(root: &Path, cycles: u64, record: &mut Record) {
    let (dir, ballast) = (root.join("store"), root.join("ballast"));
    let node = Node::start(&dir, "os");
    let mut filled = Filled { node, acknowledged: BTreeMap::new(), writes: 0 };
    for cycle in 0..cycles {
        let mut growing = File::create(&ballast).expect("a ballast can be made");
        let leave_bytes = if cycle % 2 == 0 { 10 << 20 } else { 0 };
        while free_bytes(root) > leave_bytes && grow(&mut growing) {}
        let before = filled.writes;
        let refused = filled.write_until_refused(&mut growing);
        assert_eq!(refused["code"], 11, "{refused}");
        record.count("cycles", 1);
        record.count("writes until refused", filled.writes - before);
        filled.check_reads();
        assert_eq!(filled.write()["code"], 11, "still full");
        drop(growing);
        std::fs::remove_file(&ballast).expect("a ballast can be removed");
        let taken = filled.write();
        assert_eq!(taken["type"], "lsm_put_ok", "cycle {cycle}: {taken}");
        record.count("first writes taken after space was freed", 1);
        filled.check_reads();
    }
    assert!(filled.node.close().success());
    filled.node = Node::start(&dir, "os");
    filled.check_reads();
    assert!(filled.node.close().success());
}

/// Whether the ballast could grow.
fn grow(ballast: &mut File) -> bool {
    ballast.write_all(&[0x5a; BALLAST_STEP_BYTES]).is_ok()
}

impl Filled {
    /// One more write; the body of its answer.
    fn write(&mut self) -> Value {
        self.writes += 1;
        let (n, key) = (self.writes, self.writes % KEYS);
        let value = format!("{n}:{}", "x".repeat(VALUE_BYTES));
        let request =
            format!(r#"{{"type":"lsm_put","msg_id":1,"key":"{key:03}","value":"{value}"}}"#);
        let reply = self.node.ask(&request);
        if reply["type"] == "lsm_put_ok" {
            self.acknowledged.insert(key, n);
        }
        reply
    }

    /// The refusal. What fits behind the last of the ballast is at most a few memtables.
    fn write_until_refused(&mut self, ballast: &mut File) -> Value {
        loop {
            let reply = self.write();
            if reply["type"] != "lsm_put_ok" {
                return reply;
            }
            grow(ballast);
        }
    }

    /// Every acknowledged write is there, and nothing that was refused.
    fn check_reads(&mut self) {
        for key in 0..KEYS {
            let request = format!(r#"{{"type":"lsm_get","msg_id":1,"key":"{key:03}"}}"#);
            let reply = self.node.ask(&request);
            let value = reply["value"].as_str().map(|value| value.split(':').next());
            let number = value.flatten().map(|number| number.parse().expect("a number"));
            assert_eq!(number, self.acknowledged.get(&key).copied(), "key {key}: {reply}");
        }
    }
}
