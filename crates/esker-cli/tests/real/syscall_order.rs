//! The order of system calls of the real program, as `strace` saw them: the only test that notices
//! when the disk of the operating system promises what it does not ask for.
//!
//! - O1: no acknowledgement on standard output under `Sync` before a sync of the newest log segment
//!   that began after the request was read, nor before the directory was synced since that segment
//!   got its name. (The log is written through mapped memory, which no call shows: so the whole time
//!   between request and reply is what the sync must lie in.)
//! - O2: a table is synced, and so is its name, before a record of the manifest names it.
//! - O3: `CURRENT` names a manifest whose bytes and name are synced, and is itself synced before its
//!   name is replaced.
//! - O4: a table that the manifest gave up is removed, and a log segment renamed or removed, after
//!   the edit was synced and a mark was written behind it.

use std::path::Path;
use std::process::Command;

use crate::node::{Node, arguments};
use crate::record::{Record, number};
use crate::strace::{self, Call};
use crate::writes::{Attempt, Random};

/// `ESKER_SYSCALL_WRITES` says how many groups of writes.
#[test]
fn the_real_program_asks_the_system_in_the_order_that_it_promises() {
    let groups = number("ESKER_SYSCALL_WRITES", 60);
    let mut record = Record::new("syscall_order", format_args!("ESKER_SYSCALL_WRITES={groups}"));
    let dir = tempfile::tempdir().expect("a directory");
    let mut random = Random(7);
    for life in 0..2 {
        let output = dir.path().join(format!("strace-{life}"));
        match trace(&dir.path().join("store"), &output, groups, &mut random) {
            Ok(()) => check(&output, &mut record),
            Err(reason) => return skip(record, &reason),
        }
    }
    record.write();
}

fn skip(mut record: Record, reason: &str) {
    record.skip(reason);
    record.write();
}

/// Runs a node under `strace` through groups of writes and a clean end; why it cannot.
fn trace(store: &Path, output: &Path, groups: u64, random: &mut Random) -> Result<(), String> {
    let mut command = strace::before(Path::new(env!("CARGO_BIN_EXE_esker")), output);
    let works = Command::new("strace").args(["-f", "-y", "-o"]).arg(output).arg("true").output();
    if !works.as_ref().is_ok_and(|works| works.status.success()) {
        return Err(format!("strace does not work here: {works:?}"));
    }
    let mut node = Node::spawn(command.args(arguments("sync")).arg(store))?;
    let mut attempts = 0;
    for _ in 0..groups {
        let together: Vec<_> = (0..=random.below(8))
            .map(|_| {
                attempts += 1;
                Attempt::random(random).request(attempts)
            })
            .collect();
        node.send_together(&together);
        for _ in 0..together.len() {
            let reply = node.reply().expect("the node answers");
            assert!(reply.contains("_ok\""), "{reply}");
        }
    }
    assert!(node.close().success());
    Ok(())
}

/// All rules, over one life of a node.
fn check(output: &Path, record: &mut Record) {
    let text = std::fs::read_to_string(output).expect("strace wrote it");
    let trace = Trace { calls: strace::parse(&text) };
    let counts = RULES.map(|rule| rule(&trace).unwrap_or_else(|broken| panic!("{broken}\n{text}")));
    assert!(!counts.contains(&0), "a rule that nothing was held against: {counts:?}");
    check_that_rules_notice(&trace);
    let [acknowledgements, named, switches, removed] = counts;
    record.count("system calls", trace.calls.len() as u64);
    record.count("acknowledgements behind their sync", acknowledgements);
    record.count("tables synced before they were named", named);
    record.count("manifests synced before CURRENT named them", switches);
    record.count("files removed behind a synced edit and its mark", removed);
}

/// Without the calls that a rule waits for it is broken.
fn check_that_rules_notice(trace: &Trace) {
    let is_sync = |call: &Call| call.name.contains("sync");
    let without = |left_out: &dyn Fn(&Call) -> bool| Trace {
        calls: trace.calls.iter().filter(|call| !left_out(call)).cloned().collect(),
    };
    let no_sync_of = |name: &str| without(&|call| is_sync(call) && call.file.contains(name));
    for (rule, name) in [(0, ".log"), (0, "store"), (1, ".sst"), (1, "store"), (2, "CURRENT.tmp")] {
        assert!(
            RULES[rule](&no_sync_of(name)).is_err(),
            "rule {} without syncs of {name}",
            rule + 1
        );
    }
    for rule in [2, 3] {
        let broken = no_sync_of("MANIFEST-");
        assert!(RULES[rule](&broken).is_err(), "rule {} without syncs of manifests", rule + 1);
    }
}

/// How often a rule was held, or where it is broken.
type Held = Result<u64, String>;

/// O1 to O4.
const RULES: [fn(&Trace) -> Held; 4] = [
    Trace::check_acknowledgements,
    Trace::check_tables,
    Trace::check_current,
    Trace::check_removals,
];

/// `Err` with the text unless it holds.
fn require(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}

struct Trace {
    calls: Vec<Call>,
}

/// One record or more, written to the manifest in one call.
struct ManifestWrite<'t> {
    call: &'t Call,
    /// What `esker dump` shows of it.
    text: String,
}

impl Trace {
    /// Whether a sync of such a file lies wholly between two lines.
    fn has_sync(&self, is_it: impl Fn(&str) -> bool, from: usize, upto: usize) -> bool {
        self.calls.iter().any(|call| {
            let is_sync = ["fdatasync", "fsync"].contains(&call.name.as_str());
            let is_inside = call.began > from && call.ended < upto;
            is_sync && is_inside && call.result == 0 && is_it(&call.file)
        })
    }

    fn has_directory_sync(&self, from: usize, upto: usize) -> bool {
        self.has_sync(|file| file == "store", from, upto)
    }

    /// Where files of these names were made, by creation or by renaming another one.
    fn made(&self, ending: &str) -> Vec<(String, usize)> {
        let successful = self.calls.iter().filter(|call| call.result >= 0);
        let made = successful.filter(|call| call.creates || call.name.starts_with("rename"));
        let names = made.filter_map(|call| {
            let name =
                call.strings.last().map(|name| String::from_utf8_lossy(name).into_owned())?;
            name.ends_with(ending).then_some((name, call.ended))
        });
        names.collect()
    }

    /// O1; how many there were.
    fn check_acknowledgements(&self) -> Held {
        let logs = self.made(".log");
        let mut count = 0;
        // The program speaks through copies of its standard descriptors.
        let on_pipe = |call: &&Call| call.file.starts_with("pipe:");
        for reply in self.calls.iter().filter(on_pipe).filter(|call| call.name == "write") {
            let text = String::from_utf8_lossy(&reply.strings[0]);
            if !["lsm_put_ok", "lsm_delete_ok", "lsm_batch_ok"].iter().any(|ok| text.contains(ok)) {
                continue;
            }
            let is_request = |call: &&Call| {
                let has_come = call.result > 0 && call.ended < reply.began;
                call.name == "read"
                    && has_come
                    && String::from_utf8_lossy(&call.strings[0]).contains("\"src\"")
            };
            let request = self.calls.iter().filter(on_pipe).rfind(is_request);
            let request = request.expect("somebody asked").ended;
            let newest = logs.iter().rfind(|(_, made)| *made < reply.began).expect("a log");
            // A group that a rotation divides may lie in the segment before.
            let before = logs.iter().rfind(|(_, made)| *made < request).unwrap_or(newest);
            let is_covered = |(log, made): &(String, usize)| {
                self.has_sync(|file| file == log, request, reply.began)
                    && self.has_directory_sync(*made, reply.began)
            };
            let line = reply.began + 1;
            let holds = is_covered(newest) || is_covered(before);
            require(holds, || format!("O1, line {line}: {text}"))?;
            count += text.lines().count() as u64;
        }
        Ok(count)
    }

    /// What was written to manifests, in words.
    fn manifest_writes(&self) -> Vec<ManifestWrite<'_>> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut written: Vec<ManifestWrite<'_>> = Vec::new();
        let mut lines_before = 0;
        let mut file = String::new();
        let is_write = |call: &&Call| ["write", "pwrite64"].contains(&call.name.as_str());
        for call in self.calls.iter().filter(is_write) {
            if !call.file.starts_with("MANIFEST-") {
                continue;
            }
            if file != call.file {
                (file, lines_before) = (call.file.clone(), 0);
            }
            let path = dir.path().join(&file);
            let mut bytes = std::fs::read(&path).unwrap_or_default();
            bytes.extend_from_slice(&call.strings[0]);
            std::fs::write(&path, &bytes).expect("a file can be written");
            let text = esker::internals::dump(&path).unwrap_or_default();
            // The last line says where the records end.
            let lines: Vec<&str> = text.lines().collect();
            let lines = &lines[..lines.len().saturating_sub(1)];
            let text = lines[lines_before.min(lines.len())..].join("\n");
            lines_before = lines.len();
            written.push(ManifestWrite { call, text });
        }
        written
    }

    /// O2; how many tables were made here and named.
    fn check_tables(&self) -> Held {
        let edits = self.manifest_writes();
        let mut count = 0;
        for (table, made) in self.made(".sst") {
            let number = number_of(&table);
            let enters = format!("table {number} enters");
            let Some(edit) = edits.iter().find(|edit| edit.text.contains(&enters)) else {
                continue;
            };
            let named = edit.call.began;
            let writes = self.calls.iter().filter(|call| call.file == table);
            let last_write =
                writes.filter(|call| call.name.contains("write")).map(|call| call.ended).max();
            let last_write = last_write.expect("a table has bytes");
            require(last_write < named, || format!("O2: {table} grows after line {}", named + 1))?;
            let is_synced = self.has_sync(|file| file == table, last_write, named);
            require(is_synced, || format!("O2: {table} is named on line {}", named + 1))?;
            let has_name = self.has_directory_sync(made, named);
            require(has_name, || format!("O2: the name of {table}"))?;
            count += 1;
        }
        Ok(count)
    }

    /// O3; how often it was replaced.
    fn check_current(&self) -> Held {
        let is_switch = |call: &&Call| {
            call.name.starts_with("rename")
                && call.strings.last().is_some_and(|to| to == b"CURRENT")
        };
        let made = self.made(".tmp");
        let manifests: Vec<_> = self
            .calls
            .iter()
            .filter(|call| call.creates)
            .filter_map(|call| {
                let name = String::from_utf8_lossy(call.strings.last()?).into_owned();
                name.starts_with("MANIFEST-").then_some((name, call.ended))
            })
            .collect();
        let mut count = 0;
        for switch in self.calls.iter().filter(is_switch) {
            let before = |(_, made): &&(String, usize)| *made < switch.began;
            let (manifest, manifest_made) = manifests.iter().rfind(before).expect("a manifest");
            let (_, tmp_made) = made.iter().rfind(before).expect("CURRENT.tmp");
            let line = switch.began + 1;
            let is_synced = self.has_sync(|file| file == manifest, *manifest_made, *tmp_made);
            require(is_synced, || format!("O3, line {line}: {manifest}"))?;
            let has_name = self.has_directory_sync(*manifest_made, switch.began);
            require(has_name, || format!("O3, line {line}: its name"))?;
            let is_synced = self.has_sync(|file| file == "CURRENT.tmp", *tmp_made, switch.began);
            require(is_synced, || format!("O3, line {line}: CURRENT.tmp"))?;
            count += 1;
        }
        Ok(count)
    }

    /// O4; how many files went away because of an edit.
    fn check_removals(&self) -> Held {
        let edits = self.manifest_writes();
        let mut count = 0;
        for call in &self.calls {
            let is_rename = call.name.starts_with("rename");
            if !is_rename && !call.name.starts_with("unlink") {
                continue;
            }
            let Some(name) = call.strings.first() else { continue };
            let name = String::from_utf8_lossy(name).into_owned();
            // Spares mean nothing any more, and what a process before left nobody names.
            let is_ours = self.made(&name).iter().any(|(_, made)| *made < call.began);
            let number = number_of(&name);
            let gives_up = |edit: &&ManifestWrite<'_>| match name.rsplit_once('.') {
                Some((_, "sst")) => edit.text.contains(&format!("table {number} leaves")),
                Some((_, "log")) => edit.text.lines().any(|line| frees(line, number)),
                _ => false,
            };
            let earlier = |edit: &&ManifestWrite<'_>| edit.call.ended < call.began;
            let given_up = edits.iter().filter(earlier).find(gives_up);
            let Some(edit) = given_up.filter(|_| is_ours) else { continue };
            let line = call.began + 1;
            let file = edit.call.file.as_str();
            let is_synced = self.has_sync(|synced| synced == file, edit.call.ended, call.began);
            require(is_synced, || {
                format!("O4, line {line}: {name} goes before the edit is synced")
            })?;
            let is_marked = edits.iter().filter(earlier).any(|mark| {
                mark.call.began > edit.call.ended
                    && (mark.text.contains("Mark") || mark.call.file != *file)
            });
            require(is_marked, || format!("O4, line {line}: {name} goes without a mark"))?;
            count += 1;
        }
        Ok(count)
    }
}

/// The number in a file's name; 0 if it begins with none.
fn number_of(name: &str) -> u64 {
    name.split('.').next().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

/// Whether a line such as `log: sealed [2:4096], live from 7, ...` leaves a segment out.
fn frees(line: &str, segment: u64) -> bool {
    let Some((_, line)) = line.split_once("log: sealed [") else { return false };
    let Some((sealed, rest)) = line.split_once("], live from ") else { return false };
    let live_from = rest.split(',').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let is_sealed =
        sealed.split(' ').any(|one| one.split(':').next() == Some(&segment.to_string()));
    segment < live_from && !is_sealed
}
