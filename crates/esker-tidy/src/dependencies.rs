//! Each dependency has a line in docs/decisions/0001-dependencies.md that says why it is there,
//! and the engine has at most 12 that its users compile.
//!
//! No crate ships the planted bugs: Cargo joins the features of all crates that it builds
//! together, so one `planted` among the ordinary dependencies of any crate would put the switches
//! into the program that `cargo run --release` builds.

use std::collections::{BTreeMap, BTreeSet};

use crate::repo::{Finding, Repo};

const DOCUMENT: &str = "docs/decisions/0001-dependencies.md";
const ENGINE: &str = "crates/esker/Cargo.toml";
const ENGINE_DEPENDENCIES_MAX: usize = 12;

/// Finds dependencies without a reason, and reasons without a dependency.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for (path, text) in &repo.texts {
        let is_manifest = path == "Cargo.toml" || path.ends_with("/Cargo.toml");
        if !is_manifest {
            continue;
        }
        let dependencies = dependencies(text);
        let shipped = dependencies.iter().filter(|d| d.section == "dependencies").count();
        if path == ENGINE && shipped > ENGINE_DEPENDENCIES_MAX {
            let text = format!("{shipped} dependencies, at most {ENGINE_DEPENDENCIES_MAX}");
            findings.push(Finding::new(path, 1, text));
        }
        for dependency in dependencies {
            if dependency.section == "dependencies" && dependency.text.contains("\"planted\"") {
                let text =
                    "`planted` belongs to [dev-dependencies]: features join, and this ships it";
                findings.push(Finding::new(path, dependency.line, text));
            }
            used.insert(dependency.name, (path, dependency.line));
        }
    }
    let own: BTreeSet<&str> = repo.texts.keys().filter_map(|path| own_crate(path)).collect();
    used.retain(|name, _| !own.contains(name));
    let document = repo.texts.get(DOCUMENT).map_or("", String::as_str);
    let explained = explained(document);
    for (name, (path, line)) in &used {
        if !explained.contains_key(name) {
            let text = format!("`{name}` has no line in {DOCUMENT}: | `{name}` | where | why |");
            findings.push(Finding::new(path, *line, text));
        }
    }
    for (name, line) in explained.iter().filter(|(name, _)| !used.contains_key(*name)) {
        findings.push(Finding::new(DOCUMENT, *line, format!("`{name}` is no dependency any more")));
    }
    findings
}

/// `crates/esker/Cargo.toml` belongs to `esker`.
fn own_crate(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")
}

struct Dependency<'a> {
    section: &'a str,
    name: &'a str,
    text: &'a str,
    line: usize,
}

/// What the tables of a manifest whose names end in `dependencies` list.
fn dependencies(manifest: &str) -> Vec<Dependency<'_>> {
    let mut section = "";
    let mut found = Vec::new();
    for (i, line) in manifest.lines().enumerate() {
        if let Some(table) = line.strip_prefix('[') {
            section = table.trim_end_matches(']');
            if let Some((section, name)) = section.rsplit_once('.')
                && section.ends_with("dependencies")
            {
                found.push(Dependency { section, name, text: line, line: i + 1 });
            }
        } else if section.ends_with("dependencies")
            && let Some((name, _)) = line.split_once(['=', '.'])
            && !line.starts_with(['#', ' '])
        {
            found.push(Dependency { section, name: name.trim(), text: line, line: i + 1 });
        }
    }
    found
}

/// The packages in the first column of the document's tables, and their lines.
fn explained(document: &str) -> BTreeMap<&str, usize> {
    let lines = document.lines().enumerate();
    lines
        .filter_map(|(i, line)| {
            let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
            Some((name, i + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[dependencies]\n# why\nbytes = \"1\"\nesker-node.workspace = true\n\n[dev-dependencies]\nproptest = { version = \"1\" }\n\n[target.x.dependencies]\nrustix = \"1\"\n\n[features]\nx = []\n";

    fn found(manifest: &str, document: &str) -> Vec<String> {
        let repo = Repo::of(&[
            (ENGINE, manifest),
            ("crates/esker-node/Cargo.toml", "[package]\nname = \"esker-node\"\n"),
            (DOCUMENT, document),
        ]);
        check(&repo).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn each_dependency_has_a_line() {
        let document = "| crate | why |\n| --- | --- |\n| `bytes` | x |\n| `proptest` | x |\n| `rustix` | x |\n";
        assert_eq!(found(MANIFEST, document), [""; 0]);
        assert!(
            found(MANIFEST, &document.replace("| `rustix`", "| rustix"))[0]
                .starts_with("`rustix` has no line")
        );
        assert!(
            found(MANIFEST, &format!("{document}| `gone` | x |\n"))[0]
                .contains("no dependency any more")
        );
    }

    #[test]
    fn planted_bugs_are_for_tests() {
        let manifest = "[dependencies]\nesker-node = { path = \"x\", features = [\"planted\"] }\n";
        assert!(found(manifest, "")[0].starts_with("`planted` belongs to [dev-dependencies]"));
        assert_eq!(found(&manifest.replace("[dep", "[dev-dep"), ""), [""; 0]);
    }

    #[test]
    fn the_engine_has_few() {
        let many: String = (0..13).map(|i| format!("d{i} = \"1\"\n")).collect();
        let lines: String = (0..13).map(|i| format!("| `d{i}` | x |\n")).collect();
        assert_eq!(
            found(&format!("[dependencies]\n{many}"), &lines),
            ["13 dependencies, at most 12"]
        );
    }
}
