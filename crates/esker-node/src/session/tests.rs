//! A node over a disk that fails when it is told to: what syncs cover, and which errors trouble
//! becomes.

use std::sync::Arc;

use esker::Options;
use esker::internals::faults::{DiskOp, Errno, Fault, FaultPlan, FaultRule, FileClass, When};
use esker::internals::{SimDisk, ThreadEnv};

use super::*;

struct Bench {
    disk: Arc<SimDisk>,
    node: Node,
}

impl Bench {
    fn new(durability: Durability) -> Self {
        let disk = SimDisk::new();
        let db = esker::internals::open(disk.clone(), ThreadEnv::new(), &Options::new()).unwrap();
        let store = Store::over(db);
        let (outbox, stop) = (Outbox::default(), Stop::default());
        let mut bench =
            Self { disk, node: Node { store, outbox, durability, cluster: None, stop } };
        bench.ask(&[r#""type":"init","node_id":"n1","node_ids":["n1"]"#]);
        bench
    }

    /// From now on the `nth` sync of the log fails, and every one behind it.
    fn fail_sync(&self, nth: u64) {
        let rule = FaultRule::new(When::From(nth), Fault::Error(Errno::IO));
        let rule = rule.op(DiskOp::Sync).class(FileClass::Log);
        self.disk.set_faults(FaultPlan::new(1).rule(rule));
    }

    /// The `code` of each reply, 0 for an `_ok`. All lines wait together.
    fn ask<S: AsRef<str>>(&mut self, bodies: &[S]) -> Vec<u64> {
        let lines: Vec<_> = bodies
            .iter()
            .map(|fields| format!(r#"{{"src":"c1","dest":"n1","body":{{{}}}}}"#, fields.as_ref()))
            .collect();
        let mut lines = lines.iter().enumerate().map(|(number, line)| Line {
            number: number as u64,
            content: Content::Text(line.as_bytes()),
        });
        let mut replies = Vec::new();
        let turn = self.node.answer(&mut lines, &mut std::io::sink());
        assert_eq!(turn, Turn::Done);
        self.node.outbox().hand_over(&mut replies);
        let replies = String::from_utf8(replies).unwrap();
        replies.lines().map(Self::code).collect()
    }

    fn code(reply: &str) -> u64 {
        let reply: serde_json::Value = serde_json::from_str(reply).unwrap();
        reply["body"]["code"].as_u64().unwrap_or(0)
    }
}

fn put(n: usize) -> String {
    format!(r#""type":"lsm_put","key":"k{n}","value":{n}"#)
}

#[test]
fn writes_that_wait_together_share_a_sync_of_at_most_1000() {
    let mut bench = Bench::new(Durability::Sync);
    bench.fail_sync(2);
    let codes = bench.ask(&(0..1_001).map(put).collect::<Vec<_>>());
    assert_eq!(codes[..1_000], [0; 1_000]);
    assert_eq!(codes[1_000], 11);
}

#[test]
fn a_group_ends_before_a_mebibyte_of_lines() {
    let long = format!(r#""type":"lsm_put","key":"x","value":"{}""#, "v".repeat(400 << 10));
    let mut bench = Bench::new(Durability::Sync);
    bench.fail_sync(2);
    assert_eq!(bench.ask(&[&long, &long, &long, &long]), [0, 0, 11, 11]);
}

#[test]
fn every_kind_of_plain_write_joins_a_group() {
    let writes = [
        r#""type":"lsm_put","key":"a","value":1"#,
        r#""type":"lsm_delete","key":"a""#,
        r#""type":"lsm_batch","ops":[{"op":"put","key":"b","value":1}]"#,
        r#""type":"memtable_put","key":"c","value":1"#,
        r#""type":"write","key":"d","value":1"#,
    ];
    let mut bench = Bench::new(Durability::Sync);
    // The first write of lin-kv makes its keyspace, which has a sync of its own.
    assert_eq!(bench.ask(&[writes[4]]), [0]);
    bench.fail_sync(2);
    assert_eq!(bench.ask(&writes), [0; 5]);
    assert_eq!(bench.ask(&writes), [11; 5]);
}

#[test]
fn any_other_request_ends_the_group_and_cas_has_a_sync_of_its_own() {
    let read = r#""type":"lsm_get","key":"k0""#.to_owned();
    for between in [read, r#""type":"nothing""#.into(), r#""type":"init""#.into()] {
        let mut bench = Bench::new(Durability::Sync);
        bench.fail_sync(2);
        let codes = bench.ask(&[put(0), between, put(1)]);
        assert_eq!((codes[0], codes[2]), (0, 11));
    }
    let cas = r#""type":"cas","key":1,"from":0,"to":1,"create_if_not_exists":true"#;
    let mut bench = Bench::new(Durability::Sync);
    assert_eq!(bench.ask(&[cas]), [0]);
    bench.fail_sync(1);
    assert_eq!(bench.ask(&[cas.replace("\"from\":0", "\"from\":1")]), [11]);
}

#[test]
fn a_failed_sync_answers_11_to_each_and_spares_what_was_refused_anyway() {
    let mut bench = Bench::new(Durability::Sync);
    bench.fail_sync(1);
    let bad = r#""type":"lsm_put","key":"x""#.to_owned();
    let bad_only = bench.ask(&[&bad, &bad]);
    assert_eq!(bad_only, [12, 12], "without a write there is no sync");
    let blank = String::new();
    let codes = bench.ask(&[put(0), bad, put(1), blank]);
    assert_eq!(codes, [11, 12, 11, 12]);
    // Reads go on; writes are fenced until the store is opened again.
    let read = r#""type":"lsm_get","key":"other""#.to_owned();
    assert_eq!(bench.ask(&[read, put(2)]), [0, 11]);
}

#[test]
fn os_durability_never_waits_for_a_sync() {
    let mut bench = Bench::new(Durability::Os);
    bench.fail_sync(1);
    assert_eq!(bench.ask(&[put(0), put(1), put(2)]), [0, 0, 0]);
}

#[test]
fn a_full_disk_refuses_writes_with_11_and_answers_reads() {
    let mut bench = Bench::new(Durability::Os);
    assert_eq!(bench.ask(&[put(0)]), [0]);
    let rule = FaultRule::new(When::From(1), Fault::Error(Errno::NOSPC));
    bench.disk.set_faults(FaultPlan::new(1).rule(rule.op(DiskOp::Append)));
    let read = r#""type":"lsm_get","key":"k0""#.to_owned();
    let delete = r#""type":"lsm_delete","key":"k0""#.to_owned();
    let cas = r#""type":"cas","key":1,"from":0,"to":1,"create_if_not_exists":true"#.to_owned();
    assert_eq!(bench.ask(&[put(1), delete, cas, read]), [11, 11, 11, 0]);
}

#[test]
fn corruption_is_13_and_names_the_place() {
    let mut bench = Bench::new(Durability::Os);
    assert_eq!(bench.ask(&[put(0), r#""type":"lsm_flush""#.into()]), [0, 0]);
    let rule = FaultRule::new(When::From(1), Fault::Zero);
    bench.disk.set_faults(FaultPlan::new(1).rule(rule.class(FileClass::Table)));
    let mut lines = [Line {
        number: 1,
        content: Content::Text(br#"{"src":"c1","dest":"n1","body":{"type":"lsm_get","key":"k0"}}"#),
    }]
    .into_iter();
    bench.node.answer(&mut lines, &mut std::io::sink());
    let reply = str::from_utf8(bench.node.outbox().bytes()).unwrap();
    assert_eq!(Bench::code(reply), 13);
    assert!(reply.contains(".sst at offset "), "{reply}");
}

#[test]
fn a_request_to_stop_leaves_the_other_lines_unanswered() {
    let mut bench = Bench::new(Durability::Sync);
    bench.node.stop.set();
    assert!(bench.ask(&[put(0)]).is_empty());
}

#[test]
fn a_full_outbox_is_sent_before_more_is_answered() {
    let mut bench = Bench::new(Durability::Os);
    let long = format!(r#""type":"lsm_put","key":"x","value":"{}""#, "v".repeat(400 << 10));
    assert_eq!(bench.ask(&[long]), [0]);
    let get = br#"{"src":"c1","dest":"n1","body":{"type":"lsm_get","key":"x"}}"#;
    let line = |number| Line { number, content: Content::Text(get) };
    let mut lines = (1..=7).map(line);
    let mut turns = Vec::new();
    let mut replies = Vec::new();
    loop {
        let turn = bench.node.answer(&mut lines, &mut std::io::sink());
        bench.node.outbox().hand_over(&mut replies);
        turns.push(replies.iter().filter(|byte| **byte == b'\n').count());
        if turn == Turn::Done {
            break;
        }
    }
    assert_eq!(turns, [3, 3, 1]);
}
