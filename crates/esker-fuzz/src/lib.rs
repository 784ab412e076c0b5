//! Esker before hostile bytes: every decoder as a target, run with its memory counted.
//!
//! The targets themselves stand beside the decoders, in `fuzz.rs` of each folder of the engine and
//! of the node. `tests/corpus.rs` replays what lies in `fuzz/corpus`; the workspace in `fuzz/` hands
//! the same targets to libFuzzer.

#![forbid(unsafe_code)]

pub use esker::internals::fuzz::Target;
use peak_alloc::PeakAlloc;

/// Counts what all threads hold.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// All targets: the engine's, then the node's.
pub fn targets() -> Vec<Target> {
    [&esker::internals::fuzz::targets()[..], &esker_node::fuzz::TARGETS].concat()
}

/// The target with this name.
pub fn target(name: &str) -> Option<Target> {
    targets().into_iter().find(|target| target.name == name)
}

/// Runs a target on an input, and panics if it does, or held more memory at once than it may. Must
/// not run beside other threads, whose memory would be counted too; what a first run makes for all
/// is counted with it, so warm up with [`Target::seeds`]. Returns how much it held.
pub fn run(target: &Target, input: &[u8]) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    (target.run)(input);
    let held = MEMORY.peak_usage().saturating_sub(before);
    let allowed = target.memory_bytes_max;
    assert!(held <= allowed, "{} held {held} bytes, more than {allowed}", target.name);
    held
}
