//! Files with a page that the device does not give out, however often it is asked.

use std::sync::Arc;

use esker::internals::names::FileName;
use esker::internals::{CrashPolicy, Disk, PumpEnv, SimDisk, open, repair};
use esker::{Depth, Options};

use crate::hooked::{HookedDisk, PAGE_BYTES, Scratch};
use crate::repair::{assert_losses_cover, contents, contents_of, opened};
use crate::verify::{closed_store, tables};

#[test]
fn a_page_of_the_log_that_cannot_be_read_costs_its_records_and_no_others() {
    let options = Options::new().memory_budget(64 << 20).memtable_bytes(4 << 20);
    let disk = SimDisk::new();
    let db = open(disk.clone(), PumpEnv::new(1), &options).unwrap();
    for n in 0..900 {
        db.put(format!("{n:04}"), format!("{n} {}", "x".repeat(990))).unwrap();
    }
    db.sync().unwrap();
    db.put("last", "one").unwrap();
    let disk = disk.crash(CrashPolicy::ProcessCrash, 1);
    let logs = disk.files().into_iter().filter(|(name, _)| matches!(name, FileName::Log(_)));
    let (file, bytes) = logs.max_by_key(|(_, bytes)| *bytes).unwrap();
    assert!(bytes > 800 << 10, "{bytes}: more than is read at once");
    for page in [0, 70, 130] {
        let scratched = HookedDisk::scratched(&disk, Scratch { file, page });
        let opened_anyway = open(
            HookedDisk::scratched(
                &disk.crash(CrashPolicy::ProcessCrash, 1),
                Scratch { file, page },
            ),
            PumpEnv::new(1),
            &options,
        );
        assert!(opened_anyway.is_err(), "a read error is never the end of the log");
        let to = SimDisk::new();
        let target: Arc<dyn Disk> = to.clone();
        let report = repair(&*scratched, &target, 99).unwrap();
        let [loss] = &report.losses[..] else { panic!("{:?}", report.losses) };
        assert_eq!(loss.file, file.to_string());
        assert!(loss.what.contains("rror"), "it says that it was not read: {loss:?}");
        let found = contents(&opened(&to));
        let kept = found["default"].len() as u64;
        assert!(kept >= 901 - 6, "page {page}: {kept} of 901 keys");
        let seqs = loss.first_seq.zip(loss.last_seq);
        // Without the segment's header nobody knows with which number it began.
        assert!(seqs.map_or(page == 0, |(first, last)| last - first < 6), "{loss:?}");
    }
}

#[test]
fn a_page_of_a_table_that_cannot_be_read_costs_its_blocks_and_no_others() {
    let disk = closed_store();
    let expected = contents_of(&disk);
    for (file, bytes) in tables(&disk) {
        for page in 0..bytes.div_ceil(PAGE_BYTES) {
            let scratched = HookedDisk::scratched(&disk, Scratch { file, page });
            let found = esker::internals::verify(&*scratched, Depth::Full).unwrap().findings;
            assert!(found.iter().any(|finding| finding.file == file.to_string()));
            let to = SimDisk::new();
            let target: Arc<dyn Disk> = to.clone();
            let report = repair(&*scratched, &target, 99).unwrap();
            assert_losses_cover(&report, &expected, &contents(&opened(&to)));
        }
    }
}
