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

/// Far more writes than fit.
const WRITES_MAX: u64 = 20_000;

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
        put_ballast(&ballast, if cycle % 2 == 0 { 10 << 20 } else { 0 });
        let before = filled.writes;
        let refused = filled.write_until_refused();
        assert_eq!(refused["code"], 11, "{refused}");
        record.count("cycles", 1);
        record.count("writes until refused", filled.writes - before);
        filled.check_reads();
        assert_eq!(filled.write()["code"], 11, "still full");
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

/// Fills the file system but for so many bytes.
fn put_ballast(path: &Path, leave_bytes: u64) {
    let mut file = File::create(path).expect("a ballast can be made");
    let piece = vec![0x5a; 64 << 10];
    while free_bytes(path) > leave_bytes && file.write_all(&piece).is_ok() {}
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

    fn write_until_refused(&mut self) -> Value {
        let replies = (0..WRITES_MAX).map(|_| self.write());
        let refused = replies.into_iter().find(|reply| reply["type"] != "lsm_put_ok");
        refused.expect("a file system has an end")
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
