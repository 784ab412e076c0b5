//! What the kernel was asked for, in order: the output of `strace -f -y -xx`, read.
//!
//! ```text
//! 811 pwrite64(9</tmp/x/MANIFEST-000001>, "\x65\x73", 2, 0) = 2
//! 812 fdatasync(7</tmp/x/000000000002.log> <unfinished ...>
//! 812 <... fdatasync resumed>) = 0
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The calls that matter to the order of things.
const TRACED: &str = "trace=openat,read,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,\
                      unlink,unlinkat,ftruncate,fallocate";

/// A call that has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The line on which it began, and that on which it returned.
    pub began: usize,
    pub ended: usize,
    pub name: String,
    /// The name of the first argument's file, or `pipe:` and a number.
    pub file: String,
    /// Its strings: data, or names without their directories.
    pub strings: Vec<Vec<u8>>,
    /// Whether a flag that creates a file is among its arguments.
    pub creates: bool,
    pub result: i64,
}

/// `strace` in front of a program, its output to `file`.
pub fn before(program: &Path, file: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-xx", "-s", "1000000", "-e", TRACED, "-e", "signal=none", "-o"]);
    strace.arg(file).arg(program);
    strace
}

/// The calls in the order in which they began.
pub fn parse(text: &str) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((thread, line)) = line.split_once(char::is_whitespace) else { continue };
        let line = line.trim_start();
        if let Some(front) = line.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (number, front.to_owned()));
        } else if let Some(rest) = line.strip_prefix("<... ") {
            let Some((began, front)) = unfinished.remove(thread) else { continue };
            let rest = rest.split_once("resumed>").map_or("", |(_, rest)| rest);
            calls.extend(parse_call(&format!("{front}{rest}"), began, number));
        } else {
            calls.extend(parse_call(line, number, number));
        }
    }
    calls.sort_by_key(|call| call.began);
    calls
}

fn parse_call(text: &str, began: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let end = result.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(result.len());
    let result = result[..end].parse().ok()?;
    let digits = arguments.bytes().take_while(u8::is_ascii_digit).count();
    let path = arguments[digits..].strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let file = path.map_or("", |(path, _)| path.rsplit('/').next().unwrap_or(path));
    Some(Call {
        began,
        ended,
        name: name.to_owned(),
        file: unescape_path(file),
        strings: strings(arguments),
        creates: arguments.contains("O_CREAT"),
        result,
    })
}

/// What stands between quotes.
fn strings(arguments: &str) -> Vec<Vec<u8>> {
    arguments.split('"').skip(1).step_by(2).map(unescape).collect()
}

/// `\x41\x42` as bytes; what is no escape is itself.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let escaped = rest.strip_prefix("\\x").and_then(|rest| rest.get(..2));
        if let Some(byte) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &rest[4..];
        } else {
            bytes.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[first.len_utf8()..];
        }
    }
    bytes
}

/// Some versions escape the paths of descriptors too.
fn unescape_path(text: &str) -> String {
    let path = String::from_utf8_lossy(&unescape(text)).into_owned();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

#[test]
fn calls_are_put_together_from_their_halves() {
    let text = "811   pwrite64(9</tmp/x/MANIFEST-000001>, \"\\x65\\x73\", 2, 0) = 2\n\
                812   fdatasync(7</tmp/x/000000000002.log> <unfinished ...>\n\
                811   renameat(5</tmp/x>, \"CURRENT.tmp\", 5</tmp/x>, \"CURRENT\") = 0\n\
                812   <... fdatasync resumed>)          = -5 EIO (Input/output error)\n\
                811   openat(5</tmp/x>, \"000000000003.log\", O_RDWR|O_CREAT, 0600) = 8</tmp/x/000000000003.log>\n\
                811   +++ exited with 0 +++\n";
    let calls = parse(text);
    let shown: Vec<_> = calls
        .iter()
        .map(|call| (call.name.as_str(), call.file.as_str(), call.began, call.ended))
        .collect();
    assert_eq!(
        shown,
        [
            ("pwrite64", "MANIFEST-000001", 0, 0),
            ("fdatasync", "000000000002.log", 1, 3),
            ("renameat", "x", 2, 2),
            ("openat", "x", 4, 4),
        ]
    );
    assert_eq!(calls[0].strings, [b"es"]);
    assert_eq!(calls[1].result, -5);
    assert_eq!(calls[2].strings, [&b"CURRENT.tmp"[..], b"CURRENT"]);
    assert!(calls[3].creates && calls[3].result == 8);
}
