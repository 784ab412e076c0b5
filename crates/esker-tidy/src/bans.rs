//! Names that only some files may use, each with the reason and with what to use instead.
//!
//! What a simulation shall replay must come through the seam: a file opened, a clock read or a
//! thread started beside it is a piece of the store that no seed decides.

use crate::mask::{find_word, line_of};
use crate::repo::{Finding, Repo, RustFile};

/// A name, where it may stand, and why nowhere else.
struct Ban {
    names: &'static [&'static str],
    /// Files or folders (with a `/` behind them) inside `crates/esker/src`.
    allowed: &'static [&'static str],
    code: Code,
    why: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Code {
    Production,
    TestsToo,
}

const BANS: [Ban; 6] = [
    Ban {
        names: &["std::fs", "fs::File", "File::open", "File::create", "OpenOptions"],
        allowed: &["vfs/os/", "vfs/machine.rs"],
        code: Code::Production,
        why: "a file that no simulated disk knows: use a `Disk`",
    },
    Ban {
        names: &["Instant::now", "SystemTime"],
        allowed: &["env/clock.rs", "env/threads.rs"],
        code: Code::Production,
        why: "a clock that no seed decides: use `Env::now_nanos`",
    },
    Ban {
        names: &["thread::spawn", "thread::Builder", "thread::scope"],
        allowed: &["env/threads.rs"],
        code: Code::Production,
        why: "a thread that no seed schedules: hand out a `Job`",
    },
    Ban {
        names: &["Condvar", "thread::park"],
        allowed: &["env/clock.rs", "env/bell.rs", "base/sync.rs"],
        code: Code::Production,
        why: "the engine waits in `Env::wait_until` alone",
    },
    Ban {
        names: &["thread::sleep"],
        allowed: &[],
        code: Code::TestsToo,
        why: "await a condition, not a length of time",
    },
    Ban {
        names: &["println!", "eprintln!", "print!", "eprint!"],
        allowed: &[],
        code: Code::Production,
        why: "a library does not speak: return it",
    },
];

/// Files and folders of the engine that may hold `unsafe` code.
const UNSAFE: [&str; 5] = ["memtable/", "base/simd/", "vfs/mapped.rs", "cache/", "epoch/shelf.rs"];

/// Tests that may: what asks the kernel for something that no library wraps.
const UNSAFE_TESTS: [&str; 1] = ["crates/esker-cli/tests/real/fs_shutdown.rs"];

/// Finds banned names, and `unsafe` without a word about why it is sound.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, file) in repo.engine() {
        for ban in BANS.iter().filter(|ban| !is_in(path, ban.allowed)) {
            for name in ban.names {
                let places = find_word(&file.code, name)
                    .filter(|at| ban.code == Code::TestsToo || !file.is_test(*at));
                findings
                    .extend(places.map(|at| file.finding(at, format!("`{name}`: {}", ban.why))));
            }
        }
        for at in find_word(&file.code, "unsafe") {
            if !is_in(path, &UNSAFE) {
                let text = format!("`unsafe` may stand in {} alone", UNSAFE.join(", "));
                findings.push(file.finding(at, text));
            } else if !says_why_it_is_safe(file, at) {
                findings.push(file.finding(at, "`unsafe` without a `// SAFETY:` line above it"));
            }
        }
    }
    for file in repo.rust.iter().filter(|file| file.in_engine().is_none()) {
        for at in find_word(&file.code, "unsafe") {
            if !UNSAFE_TESTS.contains(&file.path.as_str()) {
                findings.push(file.finding(at, "`unsafe` belongs into the engine"));
            } else if !says_why_it_is_safe(file, at) {
                findings.push(file.finding(at, "`unsafe` without a `// SAFETY:` line above it"));
            }
        }
    }
    findings
}

fn is_in(path: &str, allowed: &[&str]) -> bool {
    allowed.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

/// Whether the comment above the statement or item at `offset` says `SAFETY:`, or `# Safety` for
/// a function that its caller must use rightly.
fn says_why_it_is_safe(file: &RustFile, offset: usize) -> bool {
    let lines: Vec<&str> = file.text.lines().collect();
    let comments: Vec<&str> = file.comments.lines().collect();
    let says =
        |line: usize| comments[line].contains("SAFETY:") || comments[line].contains("# Safety");
    let at = line_of(&file.text, offset) - 1;
    if says(at) {
        return true;
    }
    let mut seen_comment = false;
    for line in (0..at).rev() {
        let is_comment = lines[line].trim_start().starts_with("//");
        if is_comment && says(line) {
            return true;
        }
        let ends_something = lines[line].trim_end().ends_with([';', '{', '}']);
        let is_blank = lines[line].trim().is_empty();
        if is_blank || (!is_comment && (ends_something || seen_comment)) {
            return false;
        }
        seen_comment |= is_comment;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, code: &str) -> Vec<String> {
        let repo = Repo::of(&[(&format!("crates/{path}"), code), ("crates/esker/src/lib.rs", "")]);
        check(&repo).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn files_clocks_and_threads_stay_behind_the_seam() {
        for (allowed, code) in [
            ("esker/src/vfs/os/mod.rs", "use std::fs::File;"),
            ("esker/src/env/clock.rs", "let t = Instant::now();"),
            ("esker/src/env/threads.rs", "thread::Builder::new()"),
            ("esker/src/env/bell.rs", "Condvar::new()"),
        ] {
            assert!(found(allowed, code).is_empty(), "{code}");
            assert!(!found("esker/src/wal/log.rs", code).is_empty(), "{code}");
            let in_test = format!("#[cfg(test)]\nmod tests {{ fn f() {{ {code} }} }}");
            assert!(found("esker/src/wal/log.rs", &in_test).is_empty(), "{code}");
        }
        assert!(found("esker-cli/src/main.rs", "use std::fs;").is_empty());
    }

    #[test]
    fn nobody_sleeps_and_the_library_does_not_print() {
        let sleeping = "#[cfg(test)]\nmod tests { fn f() { std::thread::sleep(d) } }";
        assert_eq!(found("esker/src/wal/log.rs", sleeping).len(), 1);
        assert_eq!(found("esker/src/wal/log.rs", "fn f() { eprintln!(\"x\") }").len(), 1);
    }

    #[test]
    fn unsafe_code_has_its_places() {
        assert_eq!(found("esker/src/wal/log.rs", "unsafe { f() }").len(), 1);
        assert_eq!(found("esker-sim/src/lib.rs", "unsafe { f() }").len(), 1);
        assert!(found("esker/src/wal/log.rs", "#![forbid(unsafe_code)]").is_empty());
    }

    #[test]
    fn unsafe_code_says_why_it_is_sound() {
        let good = [
            "// SAFETY: p is valid.\nunsafe { f() }",
            "// SAFETY: p is valid,\n// and so is q.\nlet x =\n    unsafe { f() };",
            "/// # Safety\n///\n/// `p` is valid.\n#[inline]\npub unsafe fn f() {}",
            "let x = unsafe { f() }; // SAFETY: p is valid.",
        ];
        for code in good {
            assert!(found("esker/src/memtable/arena.rs", code).is_empty(), "{code}");
        }
        let bad = [
            "unsafe { f() }",
            "// It is fine.\nunsafe { f() }",
            "// SAFETY: for g.\ng();\nunsafe { f() }",
            "// SAFETY: far away.\n\nunsafe { f() }",
        ];
        for code in bad {
            assert_eq!(found("esker/src/memtable/arena.rs", code).len(), 1, "{code}");
        }
    }
}
