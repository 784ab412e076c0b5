//! Every Rust file says first what it is: it begins with a `//!` line that has words in it.

use crate::repo::{Finding, Repo};

/// Finds files that begin otherwise.
pub fn check(repo: &Repo) -> Vec<Finding> {
    repo.rust
        .iter()
        .filter(|file| file.header().next().is_none_or(str::is_empty))
        .map(|file| {
            Finding::new(&file.path, 1, "begin with `//!`: what this file is and where it stands")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_first_and_is_not_empty() {
        let repo = Repo::of(&[
            ("crates/a/src/lib.rs", "//! Good.\nfn a() {}"),
            ("crates/b/src/lib.rs", "#![forbid(unsafe_code)]\n//! Too late."),
            ("crates/c/src/lib.rs", "//!\n//! The first line is empty."),
            ("crates/d/src/lib.rs", ""),
        ]);
        let paths: Vec<String> = check(&repo).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["crates/b/src/lib.rs", "crates/c/src/lib.rs", "crates/d/src/lib.rs"]);
    }
}
