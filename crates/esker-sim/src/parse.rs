//! Reads the operation language; [`crate::ops`] describes it and prints it.
//!
//! A line is words; a word is bare characters and quoted pieces without a space between them.
//! `#` outside quotes begins a comment.

use std::ops::Bound;
use std::str::FromStr;

use crate::fault::{DISK_OPS, Effect, FILE_CLASSES, Fault, Rot, When};
use crate::ops::{
    Durability, End, Ending, Filler, Held, Move, Op, Place, Policy, Script, Slot, Space, Span,
    Text, Walk, Write,
};
use crate::reaction::Health;

/// Why a text is no script, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError(pub String);

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseError {}

type Parsed<T> = Result<T, ParseError>;

fn wrong<T>(text: impl Into<String>) -> Parsed<T> {
    Err(ParseError(text.into()))
}

impl FromStr for Script {
    type Err = ParseError;

    fn from_str(text: &str) -> Parsed<Self> {
        let mut script = Self::default();
        for (index, line) in text.lines().enumerate() {
            let at_line = |error: ParseError| ParseError(format!("line {}: {error}", index + 1));
            let mut words = Words::new(line).map_err(at_line)?;
            match words.peek() {
                None => {}
                Some("seed") => {
                    words.next("seed").map_err(at_line)?;
                    script.seed = words.number("seed").map_err(at_line)?;
                }
                Some("options") => {
                    words.next("options").map_err(at_line)?;
                    script.options = Some(words.number("set of options").map_err(at_line)?);
                }
                Some(_) => script.ops.push(parse_op(&mut words).map_err(at_line)?),
            }
            words.end().map_err(at_line)?;
        }
        Ok(script)
    }
}

impl FromStr for Op {
    type Err = ParseError;

    fn from_str(line: &str) -> Parsed<Self> {
        let mut words = Words::new(line)?;
        let op = parse_op(&mut words)?;
        words.end()?;
        Ok(op)
    }
}

fn parse_op(words: &mut Words<'_>) -> Parsed<Op> {
    Ok(match words.next("operation")? {
        "put" => {
            Op::Put { at: words.place()?, value: words.value()?, durability: words.durability()? }
        }
        "delete" => Op::Delete { at: words.place()?, durability: words.durability()? },
        "batch" => parse_batch(words)?,
        "get" => Op::Get { at: words.place()?, snapshot: words.snapshot()? },
        "contains" => Op::Contains { at: words.place()? },
        "multi_get" => Op::MultiGet { space: words.space()?, keys: words.rest_of_keys()? },
        "scan" => {
            Op::Scan { span: words.span()?, snapshot: words.snapshot()?, walk: words.walk()? }
        }
        "prefix" => Op::Prefix { at: words.place()?, walk: words.walk()? },
        "snapshot" => Op::Snapshot { slot: words.slot(Held::Snapshot)? },
        "iterator" => Op::Iterator {
            slot: words.slot(Held::Iterator)?,
            span: words.span()?,
            snapshot: words.snapshot()?,
        },
        "step" => Op::Step { slot: words.slot(Held::Iterator)?, walk: words.walk()? },
        "cursor" => Op::Cursor {
            slot: words.slot(Held::Cursor)?,
            space: words.space()?,
            snapshot: words.snapshot()?,
        },
        "move" => parse_move(words)?,
        "drop" => parse_drop(words)?,
        "keyspace" => Op::Keyspace { name: words.name()? },
        "drop_keyspace" => Op::DropKeyspace { name: words.name()? },
        "flush" => Op::Flush,
        "compact" => Op::Compact,
        "compact_level" => {
            Op::CompactLevel { space: words.space()?, level: words.number("level")? }
        }
        "settle" => Op::Settle,
        "sync" => Op::Sync,
        "check" => Op::Check,
        "resume" => Op::Resume,
        "health" => Op::Health { one_of: parse_healths(words)? },
        "pump" if words.take("idle") => Op::PumpIdle,
        "pump" => Op::Pump { steps: words.number("steps")? },
        "reopen" => Op::Reopen { how: parse_ending(words)? },
        "crash" => Op::Crash { policy: parse_policy(words)?, seed: words.number("seed")? },
        "fault" if words.take("off") => Op::FaultOff,
        "fault" => Op::Fault(parse_fault(words)?),
        "strike" => {
            let mut falls = vec![(words.number("countdown")?, parse_effect(words)?)];
            while words.take("then") {
                falls.push((words.number("countdown")?, parse_effect(words)?));
            }
            Op::Strike { falls }
        }
        "anew" => Op::Anew,
        "images" => Op::Images { most: words.number("count of images")? },
        "capacity" if words.take("off") => Op::CapacityOff,
        "capacity" => Op::Capacity { free_bytes: words.number("count of bytes")? },
        "rot" => parse_rot(words)?,
        other => return wrong(format!("no operation is called `{other}`")),
    })
}

fn parse_healths(words: &mut Words<'_>) -> Parsed<Vec<Health>> {
    let mut one_of = Vec::new();
    while words.peek().is_some() {
        let word = words.next("state of health")?;
        match Health::ALL.iter().find(|(_, name)| *name == word) {
            Some((health, _)) => one_of.push(*health),
            None => return wrong(format!("no state of health is called `{word}`")),
        }
    }
    Ok(one_of)
}

fn parse_batch(words: &mut Words<'_>) -> Parsed<Op> {
    let mut writes = Vec::new();
    let mut durability = Durability::Default;
    while words.peek().is_some() {
        match words.next("write")? {
            "put" => writes.push(Write::Put(words.place()?, words.value()?)),
            "delete" => writes.push(Write::Delete(words.place()?)),
            "os" => durability = Durability::Os,
            "sync" => durability = Durability::Sync,
            other => return wrong(format!("no write is called `{other}`")),
        }
        if !words.take("|") {
            break;
        }
    }
    Ok(Op::Batch { writes, durability })
}

fn parse_move(words: &mut Words<'_>) -> Parsed<Op> {
    let slot = words.slot(Held::Cursor)?;
    let mut moves = Vec::new();
    while words.peek().is_some() {
        moves.push(match words.next("move")? {
            "seek" => Move::Seek(words.key()?),
            "seek_back" => Move::SeekBack(words.key()?),
            "next" => Move::Next,
            "prev" => Move::Prev,
            other => return wrong(format!("no move is called `{other}`")),
        });
        if !words.take("|") {
            break;
        }
    }
    Ok(Op::Move { slot, moves })
}

fn parse_drop(words: &mut Words<'_>) -> Parsed<Op> {
    let word = words.peek().unwrap_or_default();
    for held in [Held::Snapshot, Held::Iterator, Held::Cursor] {
        if word.starts_with(held.letter()) {
            return Ok(Op::Drop { held, slot: words.slot(held)? });
        }
    }
    wrong(format!("`{word}` is neither s1 nor i1 nor c1"))
}

fn parse_ending(words: &mut Words<'_>) -> Parsed<Ending> {
    match words.next("close or drop")? {
        "close" => Ok(Ending::Close),
        "drop" => Ok(Ending::Drop),
        other => wrong(format!("a store is reopened after `close` or `drop`, not `{other}`")),
    }
}

fn parse_policy(words: &mut Words<'_>) -> Parsed<Policy> {
    let name = words.next("crash policy")?;
    match Policy::ALL.iter().find(|(_, known)| *known == name) {
        Some((policy, _)) => Ok(*policy),
        None => wrong(format!("no crash policy is called `{name}`")),
    }
}

fn parse_fault(words: &mut Words<'_>) -> Parsed<Fault> {
    let when = match words.next("time of the fault")? {
        "nth" => When::Nth(words.number("count")?),
        "from" => When::From(words.number("count")?),
        "percent" => When::Percent(words.number("percentage")?),
        other => return wrong(format!("a fault comes `nth`, `from` or `percent`, not `{other}`")),
    };
    let op = words.any_or_one_of(&DISK_OPS)?;
    let class = words.any_or_one_of(&FILE_CLASSES)?;
    Ok(Fault { when, op, class, effect: parse_effect(words)? })
}

fn parse_effect(words: &mut Words<'_>) -> Parsed<Effect> {
    Ok(match words.next("effect")? {
        "eio" => Effect::Eio,
        "enospc" => Effect::Enospc,
        "emfile" => Effect::Emfile,
        "erofs" => Effect::Erofs,
        "short" => Effect::Short(words.number("count of bytes")?),
        "sync-lost" => Effect::SyncLost,
        "flip-bit" => Effect::FlipBit,
        "zero" => Effect::Zero,
        "misdirect" => Effect::Misdirect,
        "stop" => Effect::Stop,
        other => return wrong(format!("no effect is called `{other}`")),
    })
}

fn parse_rot(words: &mut Words<'_>) -> Parsed<Op> {
    let class = words.any_or_one_of(&FILE_CLASSES)?;
    let class = class.ok_or_else(|| ParseError("one class of files rots".to_owned()))?;
    let rot = match words.next("flip or cut")? {
        "flip" => Rot::Flip,
        "cut" => Rot::Cut,
        "gone" => Rot::Gone,
        other => return wrong(format!("files rot by `flip` or `cut`, not by `{other}`")),
    };
    Ok(Op::Rot { class, rot, place: words.number("place")? })
}

/// The words of a line, taken from the front.
struct Words<'a> {
    words: std::iter::Peekable<std::vec::IntoIter<&'a str>>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Parsed<Self> {
        let mut words = Vec::new();
        let mut rest = line.trim_start();
        while !rest.is_empty() && !rest.starts_with('#') {
            let (word, behind) = rest.split_at(word_len(rest)?);
            words.push(word);
            rest = behind.trim_start();
        }
        Ok(Self { words: words.into_iter().peekable() })
    }

    fn peek(&mut self) -> Option<&'a str> {
        self.words.peek().copied()
    }

    fn next(&mut self, what: &str) -> Parsed<&'a str> {
        self.words.next().ok_or_else(|| ParseError(format!("the {what} is missing")))
    }

    /// Takes the next word if it is `word`.
    fn take(&mut self, word: &str) -> bool {
        self.words.next_if(|next| *next == word).is_some()
    }

    fn end(&mut self) -> Parsed<()> {
        self.peek().map_or(Ok(()), |word| wrong(format!("`{word}` is too much")))
    }

    fn number<T: FromStr>(&mut self, what: &str) -> Parsed<T> {
        let word = self.next(what)?;
        word.parse().map_err(|_| ParseError(format!("`{word}` is no {what}")))
    }

    fn any_or_one_of(&mut self, known: &[&'static str]) -> Parsed<Option<&'static str>> {
        let word = self.next("name")?;
        if word == "any" {
            return Ok(None);
        }
        let found = known.iter().find(|known| **known == word);
        found
            .map(|known| Some(*known))
            .ok_or_else(|| ParseError(format!("`{word}` is not any of {}", known.join(", "))))
    }

    fn name(&mut self) -> Parsed<Space> {
        let word = self.next("name of a keyspace")?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if word.bytes().all(is_name) {
            return Ok(Space(word.to_owned()));
        }
        wrong(format!("`{word}` is no name for a keyspace"))
    }

    /// `users:` or `:`.
    fn space(&mut self) -> Parsed<Space> {
        let word = self.next("keyspace")?;
        match split_space(word) {
            (space, "") if word.ends_with(':') => Ok(space),
            _ => wrong(format!("`{word}` is no keyspace with a colon behind it")),
        }
    }

    fn place(&mut self) -> Parsed<Place> {
        let (space, key) = split_space(self.next("key")?);
        Ok(Place { space, key: whole_text(key)? })
    }

    fn key(&mut self) -> Parsed<Text> {
        whole_text(self.next("key")?)
    }

    fn rest_of_keys(&mut self) -> Parsed<Vec<Text>> {
        self.words.by_ref().map(whole_text).collect()
    }

    fn value(&mut self) -> Parsed<Filler> {
        let word = self.next("value")?;
        let (text, rest) = leading_text(word)?;
        let text = text.ok_or_else(|| ParseError(format!("`{word}` is no value")))?;
        let len = match rest.strip_prefix('~') {
            Some(len) => {
                Some(len.parse().map_err(|_| ParseError(format!("`{len}` is no length")))?)
            }
            None if rest.is_empty() => None,
            None => return wrong(format!("`{rest}` behind a value")),
        };
        Ok(Filler { text, len })
    }

    fn span(&mut self) -> Parsed<Span> {
        let word = self.next("range")?;
        let (space, range) = split_space(word);
        let (excluded, range) = match range.strip_prefix('(') {
            Some(rest) => (true, rest),
            None => (false, range),
        };
        let (start, rest) = leading_text(range)?;
        let start = match start {
            None => Bound::Unbounded,
            Some(key) if excluded => Bound::Excluded(key),
            Some(key) => Bound::Included(key),
        };
        let Some(rest) = rest.strip_prefix("..") else {
            return wrong(format!("`{word}` is no range"));
        };
        let end = match (rest.strip_prefix('='), rest) {
            (Some(key), _) => Bound::Included(whole_text(key)?),
            (None, "") => Bound::Unbounded,
            (None, key) => Bound::Excluded(whole_text(key)?),
        };
        Ok(Span { space, start, end })
    }

    fn snapshot(&mut self) -> Parsed<Option<Slot>> {
        match self.words.next_if(|word| word.starts_with('@')) {
            Some(word) => slot_of(&word[1..], Held::Snapshot).map(Some),
            None => Ok(None),
        }
    }

    fn slot(&mut self, held: Held) -> Parsed<Slot> {
        slot_of(self.next("slot")?, held)
    }

    fn walk(&mut self) -> Parsed<Walk> {
        let Some(word) = self.words.next() else { return Ok(Walk::forward()) };
        let end = |letter| match letter {
            'f' => Ok(End::Front),
            'b' => Ok(End::Back),
            _ => wrong(format!("`{word}` is not made of f and b")),
        };
        word.chars().map(end).collect::<Parsed<_>>().map(Walk)
    }

    fn durability(&mut self) -> Parsed<Durability> {
        Ok(if self.take("sync") {
            Durability::Sync
        } else if self.take("os") {
            Durability::Os
        } else {
            Durability::Default
        })
    }
}

fn slot_of(word: &str, held: Held) -> Parsed<Slot> {
    let number = word.strip_prefix(held.letter()).and_then(|number| number.parse().ok());
    number.ok_or_else(|| ParseError(format!("`{word}` is not like {}1", held.letter())))
}

/// How many bytes the first word of `text` takes.
fn word_len(text: &str) -> Parsed<usize> {
    let mut quoted = false;
    let mut bytes = text.bytes().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'\\' if quoted => drop(bytes.next()),
            b'"' => quoted = !quoted,
            b' ' | b'\t' | b'#' if !quoted => return Ok(index),
            _ => {}
        }
    }
    if quoted { wrong("a quote is not closed") } else { Ok(text.len()) }
}

/// `users:a` is `users` and `a`; without a colon the keyspace is the default one.
fn split_space(word: &str) -> (Space, &str) {
    let name_len = word.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    match word[name_len..].strip_prefix(':') {
        Some(rest) if name_len > 0 => (Space(word[..name_len].to_owned()), rest),
        Some(rest) => (Space::default_space(), rest),
        None => (Space::default_space(), word),
    }
}

/// The text that `word` begins with, if any, and what follows.
fn leading_text(word: &str) -> Parsed<(Option<Text>, &str)> {
    if let Some(quoted) = word.strip_prefix('"') {
        return quoted_text(quoted).map(|(text, rest)| (Some(text), rest));
    }
    let len = word.bytes().take_while(|byte| Text::is_bare(*byte)).count();
    let (bare, rest) = word.split_at(len);
    Ok(((len > 0).then(|| Text(bare.as_bytes().to_vec())), rest))
}

fn whole_text(word: &str) -> Parsed<Text> {
    match leading_text(word)? {
        (Some(text), "") => Ok(text),
        _ => wrong(format!("`{word}` is no key")),
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted_text(text: &str) -> Parsed<(Text, &str)> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while !rest.starts_with('"') {
        let mut times = 1_u16;
        if let Some(counted) = rest.strip_prefix("\\{") {
            let (count, behind) = counted.split_once('}').unwrap_or_default();
            times = count.parse().map_err(|_| ParseError(format!("`{count}` is no count")))?;
            rest = behind;
        }
        let (byte, behind) = quoted_byte(rest)?;
        bytes.resize(bytes.len() + usize::from(times), byte);
        rest = behind;
    }
    Ok((Text(bytes), &rest[1..]))
}

/// The byte that a quoted text begins with.
fn quoted_byte(text: &str) -> Parsed<(u8, &str)> {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some('\\'), Some(escaped @ ('"' | '\\'))) => Ok((escaped as u8, &text[2..])),
        (Some('\\'), Some('x')) => {
            let digits = text.get(2..4).unwrap_or_default();
            let byte = u8::from_str_radix(digits, 16);
            Ok((byte.map_err(|_| ParseError(format!("`\\x{digits}`")))?, &text[4..]))
        }
        (Some(plain @ ' '..='~'), _) if plain != '\\' => Ok((plain as u8, &text[1..])),
        (None, _) => wrong("a quote is not closed"),
        _ => wrong(format!(
            "`{text}`: \\\", \\\\, \\xNN, \\{{N}} or a printable character is expected"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY_OPERATION: &str = r#"seed 7
put a v1
put users:"" v1~4000 sync
put "\x00\xff\"\\ #" "" os
delete users:a
put "\{300}x" v1
put "a\{16}\x00" v1
delete a sync
batch put a v1 | delete users:b | put c "" | sync
batch delete a
batch
get a
get users:a @s1
contains a
multi_get users: a "" b
multi_get : a
scan .. f
scan users:a..c @s1 ffb
scan a..=c b
scan (a.. fb
scan ..=""  f
prefix users:a f
snapshot s1
iterator i1 users:a..c @s2
iterator i2 ..
step i1 fbf
cursor c1 users:
cursor c2 : @s1
move c1 seek a | next | prev | seek_back "\xff"
drop s1
drop i1
drop c1
keyspace users
drop_keyspace users
flush
compact
compact_level users: 2
settle
sync
check
pump 12
pump idle
reopen close
reopen drop
crash lose-all-unsynced 7
crash kill 0
fault nth 3 append log eio
fault from 1 create any enospc
fault percent 5 any table flip-bit
fault nth 1 append log short 10
fault nth 1 sync any sync-lost
fault nth 1 read current zero
fault off
capacity 3000
capacity off
rot log flip 123
rot manifest cut 0
"#;

    #[test]
    fn every_operation_prints_what_was_read() {
        let script: Script = EVERY_OPERATION.parse().unwrap();
        assert_eq!(script.to_string(), EVERY_OPERATION.replace("  ", " "));
        assert_eq!(script.to_string().parse(), Ok(script));
    }

    #[test]
    fn every_policy_has_a_name_of_its_own() {
        for (policy, name) in Policy::ALL {
            let op: Op = format!("crash {name} 1").parse().unwrap();
            assert_eq!(op, Op::Crash { policy, seed: 1 });
        }
    }

    #[test]
    fn comments_and_blank_lines_say_nothing() {
        let script: Script = "\n  # nothing\nput a \"#\" # and nothing\n".parse().unwrap();
        assert_eq!(script.ops, ["put a \"#\"".parse().unwrap()]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_line() {
        for line in [
            "fly",
            "put",
            "put a",
            "put a v1 later",
            "put \"a v1",
            "put a v1~x",
            "scan a",
            "get a @i1",
            "crash gently 1",
            "drop x1",
            "pump",
            "put \"\\xg0\" 1",
            "put \"\\x",
            "put \"\\{9\" 1",
            "put \"\\{9}\" 1",
            "put \"é\" 1",
            "multi_get users a",
            "seed",
            "keyspace a:b",
            "fault",
            "fault nth 1 fly any eio",
            "rot any flip 1",
            "rot log melt 1",
        ] {
            let error = format!("sync\n{line}").parse::<Script>().unwrap_err();
            assert!(error.0.starts_with("line 2: "), "{line}: {error}");
        }
    }

    #[test]
    fn a_filled_value_has_its_length_and_does_not_repeat() {
        let filler = Filler { text: Text(b"v1".to_vec()), len: Some(600) };
        let bytes = filler.bytes();
        assert_eq!((bytes.len(), &bytes[..2]), (600, &b"v1"[..]));
        assert!(
            bytes[2..]
                .windows(8)
                .all(|window| { bytes.windows(8).filter(|other| *other == window).count() == 1 })
        );
        let short = Filler { text: Text(b"longer".to_vec()), len: Some(3) };
        assert_eq!(short.bytes(), b"longer");
    }
}
