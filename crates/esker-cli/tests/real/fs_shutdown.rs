//! A power cut as a real kernel sees it: a file system that is shut down under the running node.
//!
//! The store lies on ext4 in a file. While writes are in flight the file system is told to stop at
//! once, without writing its journal or what is dirty (`XFS_IOC_GOINGDOWN`, which ext4 takes too). It
//! is unmounted and mounted again, and every write that was acknowledged under `Sync` is there.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use crate::mounted::Mounted;
use crate::node::Node;
use crate::record::{Record, number};
use crate::writes::{Attempt, Contents, Random, contents, surviving_prefix};

const FILE_SYSTEM_BYTES: u64 = 64 << 20;

/// Writes that wait together, under one sync.
const TOGETHER_MAX: u64 = 20;

/// `ESKER_SHUTDOWNS` says how often, `ESKER_SEED` when.
#[test]
fn what_was_acknowledged_at_sync_survives_a_file_system_that_is_shut_down() {
    let shutdowns = number("ESKER_SHUTDOWNS", 3);
    let seed = number("ESKER_SEED", 4711);
    let settings = format!("ESKER_SHUTDOWNS={shutdowns} ESKER_SEED={seed}");
    let mut record = Record::new("fs_shutdown", settings);
    if let Err(reason) = shut_down_often(shutdowns, seed, &mut record) {
        record.skip(reason);
    }
    record.write();
}

/// The error is that the system does not let us.
fn shut_down_often(shutdowns: u64, seed: u64, record: &mut Record) -> Result<(), String> {
    let mut mounted = Mounted::ext4(FILE_SYSTEM_BYTES)?;
    let mut random = Random(seed);
    let mut model = Contents::new();
    let mut attempts = 0;
    for round in 0..shutdowns {
        let dir = mounted.path().join("store");
        let mut node = Node::start(&dir, "sync");
        assert_eq!(contents(&mut node), model, "round {round} of seed {seed}");
        let mut sent = Vec::new();
        let mut acknowledged = 0;
        let groups = 1 + random.below(120);
        for group in 0..=groups {
            let together = 1 + random.below(TOGETHER_MAX);
            for _ in 0..together {
                attempts += 1;
                sent.push((attempts, Attempt::random(&mut random)));
            }
            let new = &sent[sent.len() - together as usize..];
            let bodies: Vec<_> = new.iter().map(|(n, attempt)| attempt.request(*n)).collect();
            node.send_together(&bodies);
            if group == groups {
                // The last group is in flight.
                shut_down(&mounted.path())?;
            }
            acknowledged += (0..together).map_while(|_| acknowledgement(&mut node)).count();
        }
        node.kill();
        node.close();
        mounted.unmount()?;
        mounted = mounted.mount()?;
        let mut reopened = Node::start(&dir, "sync");
        let found = contents(&mut reopened);
        reopened.close();
        model = surviving_prefix(model, &sent, acknowledged, &found)
            .unwrap_or_else(|| panic!("round {round} of seed {seed}: {found:?} is no prefix"));
        record.count("shutdowns", 1);
        record.count("writes acknowledged at sync", acknowledged as u64);
        record.count("acknowledged writes lost", 0);
    }
    Ok(())
}

/// A reply that says yes; `None` for a refusal, and once the node is dead.
fn acknowledgement(node: &mut Node) -> Option<()> {
    node.reply().filter(|reply| reply.contains("_ok\"")).map(drop)
}

/// Stops the file system mounted at `path`: nothing in memory gets to its device any more.
fn shut_down(path: &Path) -> Result<(), String> {
    use rustix::ioctl::{Setter, ioctl, opcode};
    const GOING_DOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
    const WITHOUT_LOG_FLUSH: u32 = 2;
    let root = File::open(path).map_err(|error| error.to_string())?;
    // SAFETY: the call reads one `u32`, and that is what it is given; it touches no other memory.
    let done = unsafe { ioctl(root.as_fd(), Setter::<GOING_DOWN, u32>::new(WITHOUT_LOG_FLUSH)) };
    done.map_err(|errno| format!("shutting a file system down: {errno}"))
}
