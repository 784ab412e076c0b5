//! Options are a debt with interest: at most 15 of them are public.

use crate::mask::{closing, find_word, leading_word};
use crate::repo::{Finding, Repo};

const OPTIONS_MAX: usize = 15;
const PATH: &str = "crates/esker/src/db/options.rs";

/// Counts the public setters of `Options`, methods that take `self` and return `Self`.
pub fn check(repo: &Repo) -> Vec<Finding> {
    let Some(file) = repo.rust_file(PATH) else { return Vec::new() };
    let mut names = Vec::new();
    for at in find_word(&file.code, "impl Options") {
        let Some(open) = file.code[at..].find('{').map(|open| at + open) else { continue };
        names.extend(setters(&file.code[open..closing(&file.code, open)]));
    }
    if names.len() <= OPTIONS_MAX {
        return Vec::new();
    }
    let text = format!(
        "{} options, at most {OPTIONS_MAX}: make one a constant ({})",
        names.len(),
        names.join(", ")
    );
    vec![Finding::new(PATH, 1, text)]
}

fn setters(code: &str) -> Vec<&str> {
    find_word(code, "pub fn")
        .filter_map(|at| {
            let rest = code[at + "pub fn".len()..].trim_start();
            let name = leading_word(rest);
            let signature = &rest[..rest.find('{')?];
            let takes_self = signature.contains("(self,") || signature.contains("(mut self,");
            (takes_self && signature.contains("-> Self")).then_some(name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixteenth_option_is_found() {
        let options = |count: usize| {
            let setters: String = (0..count)
                .map(|i| format!("pub fn o{i}(mut self, x: u8) -> Self {{ self }}\n"))
                .collect();
            let other = "pub fn new() -> Self { Self }\npub fn open(self, p: &Path) -> Result<Db> { x() }\n";
            let text =
                format!("impl Default for Options {{}}\nimpl Options {{ {other}{setters} }}");
            check(&Repo::of(&[(PATH, &text), ("crates/esker/src/lib.rs", "")]))
        };
        assert_eq!(options(15), []);
        assert!(options(16)[0].text.starts_with("16 options, at most 15"));
    }
}
