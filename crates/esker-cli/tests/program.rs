//! The program from outside: examples of the help, exit statuses, what it leaves on the disk.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const COMMANDS: [&str; 13] = [
    "node",
    "get",
    "put",
    "delete",
    "scan",
    "levels",
    "stats",
    "check",
    "dump",
    "verify",
    "repair",
    "quarantine",
    "bench",
];

/// Runs `esker` in `dir` with nothing to read.
fn esker(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_esker"))
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are UTF-8")
}

/// Runs a line of shell in `dir`, with `esker` on the path.
fn shell(dir: &Path, line: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_esker")).parent().expect("it lies in a directory");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    Command::new("sh")
        .args(["-c", line])
        .env("PATH", path)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("a shell starts")
}

/// The commands of an example (behind `$`, continued behind `>`), each with what it prints.
fn examples(help: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let example = help.split("Example:\n").nth(1).unwrap_or_default();
    for line in example.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)) {
        if let Some(command) = line.strip_prefix("$ ") {
            found.push((command.to_owned(), String::new()));
            continue;
        }
        let (command, printed) = found.last_mut().expect("an example begins with `$`");
        match line.strip_prefix("> ") {
            Some(more) => command.extend(["\n", more]),
            None => printed.extend([line, "\n"]),
        }
    }
    found
}

#[test]
fn every_example_of_the_help_does_what_it_says() {
    for command in COMMANDS {
        let dir = tempfile::tempdir().unwrap();
        let help = stdout(&esker(dir.path(), &[command, "--help"]));
        let examples = examples(&help);
        assert!(!examples.is_empty(), "`{command}` has an example");
        for (line, printed) in examples {
            let output = shell(dir.path(), &line);
            assert!(output.status.success(), "{line}: {}", stderr(&output));
            assert_eq!(stdout(&output), printed, "{line}");
        }
    }
}

#[test]
fn the_help_lists_every_command_and_every_status() {
    let dir = tempfile::tempdir().unwrap();
    let help = stdout(&esker(dir.path(), &["--help"]));
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
    }
    assert!(help.contains("  3  bytes on disk"), "{help}");
}

#[test]
fn a_missing_key_is_status_1_and_a_wrong_command_status_2() {
    let dir = tempfile::tempdir().unwrap();
    assert!(esker(dir.path(), &["put", "--dir", "s", "a", "1"]).status.success());
    let missing = esker(dir.path(), &["get", "--dir", "s", "b"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(stderr(&missing), "esker: no such key: b\n");
    assert!(missing.stdout.is_empty());
    for wrong in [
        &["get", "--dir", "s"][..],
        &["fetch"],
        &["get", "--dir", "s", "--hex", "0"],
        &["get", "--dir", "s", "--keyspace", "none", "a"],
        &["scan", "--dir", "s", "--limit", "-1"],
        &["node", "--durability", "maybe"],
        &["bench", "fillrandom,fill"],
        &["bench", "readrandom"],
        &["bench", "--num", "0", "fillseq"],
        &["bench", "--dir", ".", "fillseq"],
        &["bench", "--compare", "s/CURRENT", "s/CURRENT"],
    ] {
        let output = esker(dir.path(), wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{wrong:?}");
    }
}

#[test]
fn damage_is_status_3() {
    let dir = tempfile::tempdir().unwrap();
    assert!(esker(dir.path(), &["put", "--dir", "s", "a", "1"]).status.success());
    std::fs::write(dir.path().join("s/CURRENT"), "nonsense\n").unwrap();
    for command in ["check", "scan", "levels"] {
        let output = esker(dir.path(), &[command, "--dir", "s"]);
        assert_eq!(output.status.code(), Some(3), "{command}: {}", stderr(&output));
        assert!(stderr(&output).starts_with("esker: CURRENT at offset 0"), "{}", stderr(&output));
    }
    let node = esker(dir.path(), &["node", "--data-dir", "s"]);
    assert_eq!(node.status.code(), Some(3), "{}", stderr(&node));
}

#[test]
fn a_damaged_table_leaves_its_store_when_its_loss_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("s");
    let db = esker::Db::open(&store).unwrap();
    for (key, value) in [("a", "old"), ("b", "old")] {
        db.put(key, value).unwrap();
    }
    db.compact().unwrap();
    db.put("b", "new").unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&store).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|end| end == "sst"));
    names.sort();
    let newest = names.last().expect("there are tables");
    let file = newest.file_name().unwrap().to_str().unwrap();
    let quarantine = ["quarantine", "--dir", "s", "--file", file];
    let sound = esker(dir.path(), &quarantine);
    assert_eq!(sound.status.code(), Some(2), "{}", stderr(&sound));
    let mut bytes = std::fs::read(newest).unwrap();
    bytes[20] ^= 1;
    std::fs::write(newest, &bytes).unwrap();

    let verified = esker(dir.path(), &["verify", "--dir", "s", "--full"]);
    assert_eq!(verified.status.code(), Some(3));
    assert!(stdout(&verified).starts_with(file), "{}", stdout(&verified));
    let told = esker(dir.path(), &quarantine);
    assert_eq!(told.status.code(), Some(8), "{}", stderr(&told));
    let loss = format!("would be lost: {file}, 1 entry, 0 tombstones among them\n");
    assert!(stdout(&told).contains(&loss), "{}", stdout(&told));
    assert!(newest.exists());

    let done = esker(dir.path(), &[&quarantine[..], &["--accept-loss", "--json"]].concat());
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let done: serde_json::Value = serde_json::from_str(&stdout(&done)).unwrap();
    assert_eq!((&done["loss"]["first_key"], &done["loss"]["entries"]), (&"b".into(), &1.into()));
    let aside = done["loss"]["set_aside"].as_str().unwrap();
    assert_eq!(std::fs::read(store.join(aside)).unwrap(), bytes);
    let scanned = esker(dir.path(), &["scan", "--dir", "s"]);
    assert_eq!(stdout(&scanned), "a\told\nb\told\n", "the older value shows again");
    let again = esker(dir.path(), &[&quarantine[..], &["--accept-loss"]].concat());
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(esker(dir.path(), &["verify", "--dir", "s", "--full"]).status.success());
}

#[test]
fn a_store_that_a_node_has_open_is_status_4() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Command::new(env!("CARGO_BIN_EXE_esker"))
        .args(["node", "--data-dir", "s"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the node starts");
    let init = r#"{"src":"c","dest":"n","body":{"type":"init","node_id":"n","node_ids":["n"]}}"#;
    writeln!(node.stdin.as_mut().unwrap(), "{init}").unwrap();
    let mut reply = String::new();
    BufReader::new(node.stdout.as_mut().unwrap()).read_line(&mut reply).unwrap();
    assert!(reply.contains("init_ok"), "{reply}");
    for command in ["scan", "check", "node"] {
        let output = esker(dir.path(), &[command, "--dir", "s"]);
        assert_eq!(output.status.code(), Some(4), "{command}: {}", stderr(&output));
    }
    drop(node.stdin.take());
    assert!(node.wait().unwrap().success());
    assert!(esker(dir.path(), &["scan", "--dir", "s"]).status.success());
}

#[test]
fn looking_creates_no_store() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    for command in [
        &["get", "--dir", "x", "k"][..],
        &["delete", "--dir", "x", "k"],
        &["scan", "--dir", "x"],
        &["levels", "--dir", "x"],
        &["stats", "--dir", "x"],
        &["check", "--dir", "x"],
        &["dump", "x/CURRENT"],
    ] {
        for place in ["absent", "empty"] {
            let arguments: Vec<String> = command
                .iter()
                .map(|word| match word.strip_prefix('x') {
                    Some(rest) => format!("{place}{rest}"),
                    None => (*word).to_owned(),
                })
                .collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = esker(dir.path(), &arguments);
            let status = output.status.code();
            assert!(matches!(status, Some(2 | 5)), "{arguments:?}: {}", stderr(&output));
        }
    }
    assert!(!dir.path().join("absent").exists());
    assert_eq!(std::fs::read_dir(dir.path().join("empty")).unwrap().count(), 0);
}

#[test]
fn the_directory_may_be_called_data_dir() {
    let dir = tempfile::tempdir().unwrap();
    assert!(esker(dir.path(), &["put", "--data-dir", "s", "a", "-1"]).status.success());
    assert_eq!(stdout(&esker(dir.path(), &["get", "--data-dir", "s", "a"])), "-1\n");
}

#[test]
fn bytes_that_are_no_text_are_escaped_or_hexadecimal() {
    let dir = tempfile::tempdir().unwrap();
    assert!(esker(dir.path(), &["put", "--dir", "s", "--hex", "00ff", "0a5c"]).status.success());
    assert!(
        esker(dir.path(), &["put", "--dir", "s", "größe", "{\"a\":\"\\\\\"}"]).status.success()
    );
    let shown = stdout(&esker(dir.path(), &["scan", "--dir", "s"]));
    assert_eq!(shown, "\\x00\\xff\t\\n\\\\\ngröße\t{\"a\":\"\\\\\"}\n");
    let shown = stdout(&esker(dir.path(), &["get", "--dir", "s", "--hex", "00ff"]));
    assert_eq!(shown, "0a5c\n");
}

#[test]
fn bounds_prefix_limit_and_direction_go_together() {
    let dir = tempfile::tempdir().unwrap();
    for key in ["a", "b1", "b2", "b3", "c"] {
        assert!(esker(dir.path(), &["put", "--dir", "s", key, ""]).status.success());
    }
    let scan = |options: &[&str]| {
        let output = esker(dir.path(), &[&["scan", "--dir", "s"], options].concat());
        stdout(&output).lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(scan(&[]), "a b1 b2 b3 c");
    assert_eq!(scan(&["--start", "b2"]), "b2 b3 c");
    assert_eq!(scan(&["--end", "b2"]), "a b1");
    assert_eq!(scan(&["--prefix", "b", "--reverse", "--limit", "2"]), "b3 b2");
    assert_eq!(scan(&["--prefix", "b", "--start", "b2", "--end", "z"]), "b2 b3");
    assert_eq!(scan(&["--start", "c", "--end", "b"]), "");
}

#[test]
fn a_reader_who_leaves_early_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let value = "x".repeat(60_000);
    for key in ["a", "b", "c"] {
        assert!(esker(dir.path(), &["put", "--dir", "s", key, &value]).status.success());
    }
    let line = "esker scan --dir s 2>&1 >&3 | cat >messages; } 3>&1 | head -c 1";
    let output = shell(dir.path(), &format!("{{ {line}"));
    assert_eq!(stdout(&output), "a");
    assert_eq!(std::fs::read_to_string(dir.path().join("messages")).unwrap(), "");
}

#[test]
fn without_arguments_on_a_pipe_it_is_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let init = r#"{"src":"c","dest":"n","body":{"type":"init","node_id":"n","node_ids":["n"]}}"#;
    let alone = shell(dir.path(), &format!("echo '{init}' | esker"));
    let called = shell(dir.path(), &format!("echo '{init}' | esker node"));
    assert!(stdout(&alone).contains("init_ok"), "{}", stderr(&alone));
    assert_eq!(stdout(&alone), stdout(&called));
}

#[test]
fn a_store_of_more_tables_than_open_files_are_usual_opens_or_says_which_limit_to_raise() {
    let dir = tempfile::tempdir().unwrap();
    let db = esker::Db::open(dir.path().join("s")).unwrap();
    for n in 0..40 {
        db.keyspace(&format!("space {n}")).unwrap().put(b"key", b"value").unwrap();
    }
    db.flush().unwrap();
    db.close().unwrap();
    let usual = shell(dir.path(), "ulimit -S -n 32 && esker check --dir s");
    assert!(usual.status.success(), "{}", stderr(&usual));
    let all = shell(dir.path(), "ulimit -n 32 && esker check --dir s");
    assert_eq!(all.status.code(), Some(5), "{}", stderr(&all));
    assert!(stderr(&all).contains("raise the limit (`ulimit -n`)"), "{}", stderr(&all));
}
