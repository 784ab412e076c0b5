//! Every codec has a FORMAT.md beside it that a test decodes, so that the two cannot part.

use crate::repo::{Finding, Repo};

/// Folders of the engine that know what bytes on disk mean.
const CODECS: [&str; 3] = ["wal", "version", "sstable"];

/// Finds codecs without a document, without an example, or without a test that reads it.
pub fn check(repo: &Repo) -> Vec<Finding> {
    CODECS.iter().flat_map(|folder| check_folder(repo, folder)).collect()
}

fn check_folder(repo: &Repo, folder: &str) -> Vec<Finding> {
    let home = format!("crates/esker/src/{folder}/");
    let path = format!("{home}FORMAT.md");
    let Some(text) = repo.texts.get(&path) else {
        return vec![Finding::new(&path, 0, "describe the bytes that this folder writes")];
    };
    let mut findings = Vec::new();
    if !text.lines().any(|line| line.trim() == "```hex") {
        findings.push(Finding::new(&path, 0, "no complete example in a ```hex fence"));
    }
    let files = || repo.rust.iter().filter(|file| file.path.starts_with(&home));
    let is_included =
        files().any(|file| file.text.contains("#![doc = include_str!(\"FORMAT.md\")]"));
    if !is_included {
        let text =
            format!("not part of the documentation: #![doc = include_str!(...)] in {home}mod.rs");
        findings.push(Finding::new(&path, 0, text));
    }
    let is_tested = files().any(|file| {
        let mut places = file.text.match_indices("FORMAT.md").map(|(at, _)| at);
        places.any(|at| file.is_test(at) && file.comments[at..].starts_with(' '))
    });
    if !is_tested {
        findings.push(Finding::new(
            &path,
            0,
            "no test takes the examples out of it and decodes them",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# Format\n```hex\n00\n```\n";
    const MOD: &str = "#![doc = include_str!(\"FORMAT.md\")]\n#[cfg(test)]\nmod tests { fn f() { examples(include_str!(\"FORMAT.md\")) } }";

    fn found(document: &str, code: &str) -> usize {
        let repo = Repo::of(&[
            ("crates/esker/src/lib.rs", "mod wal;"),
            ("crates/esker/src/wal/mod.rs", code),
            ("crates/esker/src/wal/FORMAT.md", document),
        ]);
        check_folder(&repo, "wal").len()
    }

    #[test]
    fn a_document_is_included_and_decoded() {
        assert_eq!(found(DOCUMENT, MOD), 0);
        assert_eq!(found("# Format\n", MOD), 1);
        assert_eq!(found(DOCUMENT, &MOD.replace("#![doc", "#![cfg")), 1);
        assert_eq!(found(DOCUMENT, &MOD.replace("#[cfg(test)]", "")), 1);
        assert_eq!(found(DOCUMENT, &MOD.replace("mod tests {", "mod tests { // FORMAT.md\n}{")), 1);
    }

    #[test]
    fn a_codec_without_a_document_is_found() {
        assert_eq!(check(&Repo::of(&[])).len(), CODECS.len());
    }
}
