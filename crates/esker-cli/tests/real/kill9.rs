//! Kills the real node with `kill -9` at random moments and finds every acknowledged write.
//!
//! The supervisor (this test) keeps what was acknowledged in its own memory, outside of the dying
//! process. One writer sends pipelined puts, deletes and batches; a reply read from the node's
//! standard output is an acknowledgement. After each kill the node is started again on the same
//! directory, and every key must have the value of its last acknowledged write or of one attempted
//! after it; since the node works in order, what survives must be a prefix of the attempts.
//!
//! It says nothing about power cuts: the page cache outlives the process. That is the part of the
//! simulated disk, and of `fs_shutdown`.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::node::Node;
use crate::record::{Record, number};
use crate::writes::{Attempt, Contents, Random, contents, surviving_prefix};

/// Writes that may wait for their replies: few enough that neither pipe fills up.
const IN_FLIGHT_MAX: usize = 30;

/// Writes that are in flight at a kill, or answered just before it. Their replies fit a pipe.
const BURST: u64 = 200;

/// The kill comes within so long of a burst, which makes several flushes and takes longer.
const BURST_MICROS_MAX: u64 = 6_000;

/// What a node was told, and how much of it was answered.
struct Told {
    sent: Vec<(u64, Attempt)>,
    acknowledged: usize,
}

/// `ESKER_KILLS` says how often, `ESKER_SEED` when.
#[test]
fn every_acknowledged_write_survives_kill_9() {
    let kills = number("ESKER_KILLS", 50);
    let seed = number("ESKER_SEED", 0x00e5_6b65);
    let mut record = Record::new("kill9", format_args!("ESKER_KILLS={kills} ESKER_SEED={seed}"));
    let dir = tempfile::tempdir().expect("a directory");
    let mut random = Random(seed);
    let mut model = Contents::new();
    let mut attempts = 0;
    for kill in 0..kills {
        let Told { sent, acknowledged } =
            write_until_killed(dir.path(), &model, &mut random, &mut attempts);
        let mut reopened = Node::start(dir.path(), "os");
        let found = contents(&mut reopened);
        assert!(reopened.close().success());
        model = surviving_prefix(model, &sent, acknowledged, &found)
            .unwrap_or_else(|| panic!("kill {kill} of seed {seed}: {found:?} is no prefix"));
        record.count("kills", 1);
        record.count("writes acknowledged", acknowledged as u64);
        record.count("writes in flight at a kill", (sent.len() - acknowledged) as u64);
        record.count("acknowledged writes lost", 0);
    }
    assert!(attempts > kills * 10, "only {attempts} writes");
    record.write();
}

/// Starts a node, which must hold the model, and kills it while it writes.
fn write_until_killed(
    dir: &Path,
    model: &Contents,
    random: &mut Random,
    attempts: &mut u64,
) -> Told {
    let mut node = Node::start(dir, "os");
    assert_eq!(contents(&mut node), *model);
    let deadline = Instant::now() + Duration::from_micros(500 + random.below(60_000));
    let mut told = Told { sent: Vec::new(), acknowledged: 0 };
    let check = |reply: String| assert!(!reply.contains("\"error\""), "{reply}");
    while Instant::now() < deadline {
        for _ in 0..=random.below(20) {
            let attempt = Attempt::random(random);
            *attempts += 1;
            assert!(node.send(&attempt.request(*attempts)), "the node reads");
            told.sent.push((*attempts, attempt));
        }
        while told.sent.len() - told.acknowledged > IN_FLIGHT_MAX {
            check(node.reply().expect("the node answers"));
            told.acknowledged += 1;
        }
    }
    // A burst, and a kill in the middle of it.
    let burst: Vec<_> = (0..BURST)
        .map(|_| {
            *attempts += 1;
            (*attempts, Attempt::random(random))
        })
        .collect();
    let bodies: Vec<_> = burst.iter().map(|(n, attempt)| attempt.request(*n)).collect();
    told.sent.extend(burst);
    node.send_together(&bodies);
    let moment = Instant::now() + Duration::from_micros(random.below(BURST_MICROS_MAX));
    while Instant::now() < moment {}
    node.kill();
    // What was written to the pipe before the kill was acknowledged too.
    while let Some(reply) = node.reply() {
        check(reply);
        told.acknowledged += 1;
    }
    node.close();
    told
}
