//! Holds every house rule against this repository.

use std::path::Path;
use std::sync::LazyLock;

use esker_tidy::{Finding, Repo};
use esker_tidy::{
    bans, dependencies, floors, formats, headers, invariants, links, modules, options, promises,
    sizes, words,
};

static REPO: LazyLock<Repo> = LazyLock::new(|| {
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("Cargo says where the crate is");
    Repo::read(&Path::new(&here).join("../..")).expect("the repository can be read")
});

/// Fails with all findings, and what to do about them.
fn hold(mut findings: Vec<Finding>, advice: &str) {
    findings.sort();
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "\n{}\n\n{advice}\n", lines.join("\n"));
}

#[test]
fn the_repository_was_found() {
    assert!(REPO.rust_file("crates/esker/src/lib.rs").is_some());
    assert!(REPO.rust_file("crates/esker-tidy/tests/tidy.rs").is_some());
}

#[test]
fn files_import_from_lower_floors() {
    hold(floors::check(&REPO), &floors::picture());
}

#[test]
fn files_say_first_what_they_are() {
    hold(headers::check(&REPO), "");
}

#[test]
fn files_clocks_threads_and_unsafe_code_have_their_places() {
    hold(bans::check(&REPO), "The places are in crates/esker-tidy/src/bans.rs.");
}

#[test]
fn invariants_are_listed_asserted_and_tested() {
    hold(
        invariants::check(&REPO),
        "How an invariant is written: crates/esker-tidy/src/invariants.rs.",
    );
}

#[test]
fn links_and_mentions_lead_somewhere() {
    hold(links::check(&REPO), "");
}

#[test]
fn files_and_functions_are_short() {
    hold(sizes::check(&REPO), "");
}

#[test]
fn no_source_is_dead() {
    hold(modules::check(&REPO), "");
}

#[test]
fn codecs_have_documents_that_tests_decode() {
    hold(formats::check(&REPO), "");
}

#[test]
fn nothing_is_left_lying_about() {
    hold(words::check(&REPO), "");
}

#[test]
fn options_are_few() {
    hold(options::check(&REPO), "");
}

#[test]
fn dependencies_have_reasons() {
    hold(dependencies::check(&REPO), "");
}

#[test]
fn promises_have_tests() {
    hold(promises::check(&REPO), "");
}
