//! All targets in one program, so that a new one is a line in its folder's table and nothing here.
//! `ESKER_FUZZ_TARGET` says which; `fuzz/run` sets it.

#![no_main]

use std::sync::LazyLock;

use esker_fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("ESKER_FUZZ_TARGET").expect("ESKER_FUZZ_TARGET names the target");
    let target = esker_fuzz::target(&name).expect("ESKER_FUZZ_TARGET names a target");
    (target.seeds)().iter().for_each(|seed| (target.run)(seed));
    target
});

fuzz_target!(|input: &[u8]| {
    esker_fuzz::run(&TARGET, input);
});
