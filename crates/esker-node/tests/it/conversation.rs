//! What a written line cannot show: framing, order, flushing, sizes and groups.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use esker_node::{Durability, MEMTABLE_BYTES_DEFAULT, NodeOptions, run};
use serde_json::json;

use crate::node::{INIT, request, session, talk, talk_in};

const MIB: usize = 1 << 20;

#[test]
fn carriage_returns_blank_lines_and_a_missing_last_newline_are_accepted() {
    let get = request(1, r#""type":"lsm_get","key":"x""#);
    let input = format!("\n\r\n  \t\n{INIT}\r\n\r\n{}", get.trim_end());
    let said = talk(input);
    assert_eq!(said.replies.len(), 2);
    assert_eq!(said.body(1)["type"], "lsm_get_ok");
    assert!(said.notices.is_empty(), "{:?}", said.notices);
}

#[test]
fn no_input_is_a_clean_end() {
    assert!(talk("").replies.is_empty());
    assert!(talk("\n").replies.is_empty());
    assert!(talk(format!("{INIT}\n")).replies.len() == 1);
}

#[test]
fn invalid_utf8_is_no_json_and_the_node_goes_on() {
    let bad = b"{\"src\":\"c1\",\"dest\":\"n1\",\"body\":{\"type\":\"lsm_put\",\"key\":\"\xff\",\"value\":1}}\n";
    let input = [format!("{INIT}\n").as_bytes(), bad, INIT.as_bytes()].concat();
    let said = talk(input);
    assert_eq!(said.replies.len(), 2);
    assert_eq!(said.notices.len(), 1);
    assert!(said.notices[0].contains("line 2 ignored: not UTF-8"), "{:?}", said.notices);
}

#[test]
fn depth_is_counted_in_the_line_and_a_value_of_any_allowed_depth_comes_back() {
    let nested = |depth: usize| format!("{}7{}", "[".repeat(depth), "]".repeat(depth));
    let put = |depth: usize| format!(r#""type":"lsm_put","key":"x","value":{}"#, nested(depth));
    let get = r#""type":"lsm_get","key":"x""#.to_owned();
    let said = talk(session([put(126), get.clone(), put(127), put(100_000), get]));
    assert_eq!(said.replies.len(), 4);
    assert!(said.replies[2].ends_with(&format!("\"value\":{}}}}}", nested(126))));
    assert!(said.replies[3].ends_with(&format!("\"value\":{}}}}}", nested(126))));
    assert!(said.notices[0].contains("line 4 ignored: nested over 128 deep"));
    assert!(said.notices[1].contains("line 5 ignored: nested over 128 deep"));
}

#[test]
fn a_line_over_64_mib_is_dropped_and_one_of_64_mib_is_a_value_that_comes_back() {
    let put = |value_bytes: usize| {
        let value = "v".repeat(value_bytes);
        request(1, &format!(r#""type":"lsm_put","key":"x","value":"{value}""#))
    };
    let overhead = put(0).len() - 1;
    let fits = 64 * MIB - overhead;
    let get = request(2, r#""type":"lsm_get","key":"x""#);
    let said = talk([&*format!("{INIT}\n"), &put(fits + 1), &get, &put(fits), &get].concat());
    assert_eq!(said.replies.len(), 4);
    assert_eq!(said.body(1)["value"], serde_json::Value::Null);
    assert_eq!(said.body(2)["type"], "lsm_put_ok");
    assert!(said.replies[3].len() >= fits);
    assert_eq!(said.body(3)["value"].as_str().map(str::len), Some(fits));
    assert_eq!(said.notices.len(), 1);
    assert!(said.notices[0].contains("line 2 ignored: over 64 MiB"), "{:?}", said.notices);
}

#[test]
fn keys_go_up_to_65_535_bytes_of_utf8() {
    for (key, fits) in [
        ("k".repeat(65_535), true),
        ("k".repeat(65_536), false),
        ("\u{e9}".repeat(32_767) + "k", true),
        ("\u{e9}".repeat(32_768), false),
    ] {
        let put = format!(r#""type":"lsm_put","key":"{key}","value":1"#);
        let get = format!(r#""type":"lsm_get","key":"{key}""#);
        let write = format!(r#""type":"write","key":"{}","value":1"#, &key[2..]);
        let said = talk(session([put, get, write]));
        let text = format!("field `key` has {} bytes: at most 65535 are allowed", key.len());
        if fits {
            assert_eq!(said.body(1)["type"], "lsm_put_ok");
            assert_eq!(said.body(2)["value"], 1);
        } else {
            assert_eq!(said.body(1)["code"], 12);
            assert_eq!(said.body(2)["text"], text);
        }
        // Quotes belong to the text of a lin-kv key, so it may be two bytes shorter.
        assert_eq!(said.body(3)["type"] == "write_ok", fits);
    }
}

#[test]
fn an_error_text_does_not_repeat_a_long_request() {
    let said = talk(session([format!(r#""type":"{}""#, "t\u{e9}".repeat(MIB))]));
    assert_eq!(said.body(1)["code"], 10);
    assert!(said.replies[1].len() < 2_000);
}

#[test]
fn a_scan_over_64_mib_is_refused_with_advice_and_a_limit_helps() {
    let value = "v".repeat(6 * MIB);
    let puts = (0..12).map(|n| format!(r#""type":"lsm_put","key":"{n:02}","value":"{value}""#));
    let scans = [
        r#""type":"lsm_scan""#,
        r#""type":"lsm_scan","reverse":true"#,
        r#""type":"memtable_scan","start":"","end":"a""#,
        r#""type":"lsm_scan","limit":10"#,
    ];
    let dir = tempfile::tempdir().unwrap();
    // One memtable must hold all of it.
    let options = NodeOptions {
        data_dir: Some(dir.path().to_owned()),
        memtable_bytes: Some(200 << 20),
        ..NodeOptions::default()
    };
    let mut output = Vec::new();
    let input = session(puts.chain(scans.map(str::to_owned)));
    run(&options, input.as_bytes(), &mut output, io::sink()).unwrap();
    let replies: Vec<_> = output.split(|byte| *byte == b'\n').skip(13).collect();
    for refused in &replies[..3] {
        let reply: serde_json::Value = serde_json::from_slice(refused).unwrap();
        assert_eq!(reply["body"]["code"], 12);
        assert!(reply["body"]["text"].as_str().unwrap().contains("`limit`"));
    }
    assert!(replies[3].len() > 60 * MIB);
}

/// Hands out one piece at each read, and notes what was written before.
struct Pieces {
    pieces: Vec<Vec<u8>>,
    written: Rc<RefCell<Wire>>,
    seen: Vec<usize>,
}

/// What reached the other side.
#[derive(Default)]
struct Wire {
    lines: usize,
    writes: usize,
    unflushed: bool,
}

impl Read for &mut Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!self.written.borrow().unflushed, "a read while replies are held back");
        self.seen.push(self.written.borrow().lines);
        let Some(piece) = self.pieces.pop() else { return Ok(0) };
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

struct Output(Rc<RefCell<Wire>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        wire.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        wire.writes += 1;
        wire.unflushed = true;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().unflushed = false;
        Ok(())
    }
}

#[test]
fn all_lines_of_a_read_are_answered_in_one_write_before_the_next_read() {
    for durability in [Durability::Os, Durability::Sync] {
        let put = |n: u64| request(n, &format!(r#""type":"lsm_put","key":"{n}","value":{n}"#));
        let many: String = (0..100).map(put).collect();
        let one = put(200);
        let (head, tail) = one.split_at(20);
        let pieces = [&*format!("{INIT}\n"), &many, head, &format!("{tail}{head}"), tail];
        let wire = Rc::new(RefCell::new(Wire::default()));
        let mut input = Pieces {
            pieces: pieces.iter().rev().map(|piece| piece.as_bytes().to_vec()).collect(),
            written: Rc::clone(&wire),
            seen: Vec::new(),
        };
        let dir = tempfile::tempdir().unwrap();
        let options = NodeOptions {
            data_dir: Some(dir.path().to_owned()),
            durability,
            ..NodeOptions::default()
        };
        run(&options, &mut input, Output(Rc::clone(&wire)), io::sink()).unwrap();
        assert_eq!(input.seen, [0, 1, 101, 101, 102, 103]);
        assert_eq!(wire.borrow().writes, 4);
    }
}

struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_pipe_ends_quietly_with_the_store_closed_and_other_errors_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let options = NodeOptions { data_dir: Some(dir.path().to_owned()), ..NodeOptions::default() };
    let input = session([r#""type":"lsm_put","key":"x","value":1"#]);
    let mut notices = Vec::new();
    let ended = run(&options, input.as_bytes(), Broken(io::ErrorKind::BrokenPipe), &mut notices);
    assert!(ended.is_ok() && notices.is_empty());
    let error = run(&options, input.as_bytes(), Broken(io::ErrorKind::StorageFull), io::sink());
    assert!(error.unwrap_err().to_string().starts_with("cannot write the output: "));
    let said =
        talk_in(dir.path(), Durability::Os, session([r#""type":"lsm_get","key":"x""#]).as_bytes());
    assert_eq!(said.body(1)["value"], 1);
}

#[test]
fn a_directory_that_is_open_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = NodeOptions { data_dir: Some(dir.path().to_owned()), ..NodeOptions::default() };
    let _other = esker::Db::open(dir.path()).unwrap();
    let error = run(&options, io::empty(), io::sink(), io::sink()).unwrap_err().to_string();
    assert!(error.contains(dir.path().to_str().unwrap()), "{error}");
}

#[test]
fn a_temporary_store_is_told_once_and_removed_at_the_end() {
    let mut notices = Vec::new();
    let input = session([r#""type":"lsm_put","key":"x","value":1"#]);
    run(&NodeOptions::default(), input.as_bytes(), io::sink(), &mut notices).unwrap();
    let notices = String::from_utf8(notices).unwrap();
    assert_eq!(notices.lines().count(), 1, "{notices}");
    let path = notices.split_once("store in ").unwrap().1.split_once(',').unwrap().0;
    assert!(path.contains("esker-node-") && !std::path::Path::new(path).exists(), "{notices}");
}

#[test]
fn data_that_no_node_wrote_does_not_break_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let db = esker::Db::open(dir.path()).unwrap();
    db.put("a", "hello\n").unwrap();
    db.put("b", "{\n \"x\": 1 }").unwrap();
    db.put(b"c\xff", b"\xff").unwrap();
    db.close().unwrap();
    let said = talk_in(dir.path(), Durability::Os, session([r#""type":"lsm_scan""#]).as_bytes());
    let expected = json!([
        {"key": "a", "value": "hello\n"},
        {"key": "b", "value": {"x": 1}},
        {"key": "c\u{fffd}", "value": "\u{fffd}"},
    ]);
    assert_eq!(said.body(1)["entries"], expected);
}

#[test]
fn groups_are_seen_by_what_follows_and_bad_members_are_answered_in_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let put = |n: usize| format!(r#""type":"lsm_put","key":"k{n:04}","value":{n}"#);
    let mut bodies: Vec<String> = (0..2_500).map(put).collect();
    bodies[7] = r#""type":"lsm_put","key":7,"value":7"#.into();
    bodies[8] = r#""type":"write","key":"own","value":8"#.into();
    bodies[9] = r#""type":"memtable_put","key":"k0009","value":9"#.into();
    bodies[10] = r#""type":"lsm_batch","ops":[{"op":"put","key":"k0010","value":10}]"#.into();
    bodies[11] = r#""type":"lsm_get","key":"k0009""#.into();
    bodies[12] = r#""type":"lsm_delete","key":"k0000""#.into();
    bodies[13] = r#""type":"no_such_type""#.into();
    bodies.push(r#""type":"lsm_scan","limit":2,"reverse":true"#.into());
    bodies.push(r#""type":"lsm_get","key":"k0000""#.into());
    let said = talk_in(dir.path(), Durability::Sync, session(&bodies).as_bytes());
    assert_eq!(said.replies.len(), bodies.len() + 1);
    for index in 0..said.replies.len() {
        let body = said.body(index);
        assert_eq!(body["msg_id"], index);
        assert_eq!(body["in_reply_to"], index);
    }
    assert_eq!(said.body(8)["code"], 12);
    assert_eq!(said.body(9)["type"], "write_ok");
    assert!(said.body(10)["size_bytes"].as_u64().unwrap() > 0);
    assert_eq!(said.body(11)["applied"], 1);
    assert_eq!(said.body(12)["value"], 9);
    assert_eq!(said.body(14)["code"], 10);
    assert_eq!(said.body(2_501)["entries"][0]["key"], "k2499");
    assert_eq!(said.body(2_502)["value"], serde_json::Value::Null);
}

#[test]
fn a_flushed_table_answers_for_its_keys_alone() {
    let dir = tempfile::tempdir().unwrap();
    let puts = (0..100).map(|n| format!(r#""type":"lsm_put","key":"k{n:02}","value":{n}"#));
    let delete = r#""type":"lsm_delete","key":"gone""#.to_owned();
    let flush = r#""type":"sstable_flush""#.to_owned();
    let said = talk_in(dir.path(), Durability::Os, session(puts.chain([delete, flush])).as_bytes());
    let flushed = said.body(102);
    let name = flushed["sstable_file"].as_str().unwrap();
    assert_eq!(flushed["entries"], 101);
    assert!(flushed["bloom_filter_bits"].as_u64().unwrap() >= 1_010, "10 bits a key");
    assert_eq!(flushed["size_bytes"], std::fs::metadata(dir.path().join(name)).unwrap().len());

    let lookup = |key: &str| format!(r#""type":"sstable_lookup","sstable":"{name}","key":"{key}""#);
    let missing = (0..100).map(|n| lookup(&format!("missing{n}")));
    let asked = [lookup("k07"), lookup("gone")].into_iter().chain(missing);
    let said = talk_in(dir.path(), Durability::Os, session(asked).as_bytes());
    let body = said.body(1);
    assert_eq!(body["found"], true);
    assert_eq!(body["value"], 7);
    assert_eq!(body["bloom_checked"], true);
    assert_eq!(body["disk_reads"], 1);
    assert_eq!(said.body(2)["found"], false);
    assert_eq!(said.body(2)["value"], serde_json::Value::Null);
    let mut said_no = 0;
    for index in 3..103 {
        let body = said.body(index);
        assert_eq!(body["found"], false);
        assert_eq!(body["bloom_checked"], true);
        said_no += u64::from(body["disk_reads"] == 0);
    }
    assert!(said_no >= 80, "the filter ends most searches: {said_no} of 100");
}

#[test]
fn the_last_eight_named_tables_stay_readable_after_a_merge() {
    let flush = |n: usize| {
        [format!(r#""type":"lsm_put","key":"k","value":{n}"#), r#""type":"lsm_flush""#.to_owned()]
    };
    let merge = r#""type":"lsm_compact","source_level":0,"target_level":1"#.to_owned();
    let first = session((0..8).flat_map(flush).chain([merge]));
    let dir = tempfile::tempdir().unwrap();
    // Names are only known once the node has answered, so it is asked piece by piece.
    let (mut client, node) = crate::process::spawn_in_thread(dir.path());
    let mut names = Vec::new();
    for reply in client.ask(&first) {
        let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
        names.extend(reply["body"]["sstable_file"].as_str().map(str::to_owned));
    }
    assert_eq!(names.len(), 8);
    for (n, name) in names.iter().enumerate() {
        let lookup = format!(r#""type":"sstable_lookup","sstable":"{name}","key":"k""#);
        let reply = client.ask(&request(n as u64, &lookup)).remove(0);
        assert!(reply.contains(&format!(r#""found":true,"value":{n},"#)), "{reply}");
    }
    drop(client);
    node.join().unwrap();
}

#[test]
fn a_small_memtable_fills_l0_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let threshold = r#""type":"sstable_flush","memtable_size_bytes":65536"#.to_owned();
    let value = "v".repeat(1_000);
    let puts = (0..300).map(|n| format!(r#""type":"lsm_put","key":"{n}","value":"{value}""#));
    let flush = r#""type":"lsm_flush""#.to_owned();
    let stats = r#""type":"lsm_stats""#.to_owned();
    let info = r#""type":"lsm_level_info""#.to_owned();
    let bodies = [threshold].into_iter().chain(puts).chain([flush, stats, info]);
    let said = talk_in(dir.path(), Durability::Os, session(bodies).as_bytes());
    let stats = said.body(303);
    assert!(stats["flushes"].as_u64().unwrap() >= 4, "{stats}");
    let amplification = stats["write_amplification"].as_f64().unwrap();
    assert!(amplification > 0.5, "{stats}");
    let info = said.body(304);
    assert_eq!(info["levels"][0]["max_bytes"], 10 * MEMTABLE_BYTES_DEFAULT);
}

#[test]
fn the_benchmark_measures_fractions_above_zero() {
    let ask = |entries: &str| format!(r#""type":"lsm_benchmark","entries":{entries}"#);
    let said = talk(session([ask("1"), ask("2500"), ask("0"), ask("1000001"), ask("null")]));
    for body in [said.body(1), said.body(2)] {
        let figures = [
            &body["lsm"]["write_ops_sec"],
            &body["lsm"]["read_p50_us"],
            &body["lsm"]["read_without_bloom_p50_us"],
            &body["lsm"]["space_amplification"],
            &body["btree"]["write_ops_sec"],
            &body["btree"]["read_p50_us"],
            &body["btree"]["space_amplification"],
        ];
        for figure in figures {
            assert!(figure.is_f64() && figure.as_f64().unwrap() > 0.0, "{body}");
        }
    }
    for index in 3..6 {
        assert_eq!(said.body(index)["code"], 12);
    }
}
