//! The operation language as text: every operation prints itself as the line that
//! [`parse`](crate::parse) reads back.

use std::fmt;
use std::ops::Bound;

use crate::ops::*;

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        if let Some(options) = self.options {
            writeln!(f, "options {options}")?;
        }
        self.ops.iter().try_for_each(|op| writeln!(f, "{op}"))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { at, value, durability } => write!(f, "put {at} {value}{durability}"),
            Self::Delete { at, durability } => write!(f, "delete {at}{durability}"),
            Self::Batch { writes, durability } => {
                f.write_str("batch")?;
                write_joined(f, writes)?;
                match durability {
                    Durability::Default => Ok(()),
                    durability => write!(f, " |{durability}"),
                }
            }
            Self::Get { at, snapshot } => write!(f, "get {at}{}", At(*snapshot)),
            Self::Contains { at } => write!(f, "contains {at}"),
            Self::MultiGet { space, keys } => {
                write!(f, "multi_get {space}:")?;
                keys.iter().try_for_each(|key| write!(f, " {key}"))
            }
            Self::Scan { span, snapshot, walk } => write!(f, "scan {span}{} {walk}", At(*snapshot)),
            Self::Prefix { at, walk } => write!(f, "prefix {at} {walk}"),
            Self::Snapshot { slot } => write!(f, "snapshot s{slot}"),
            Self::Iterator { slot, span, snapshot } => {
                write!(f, "iterator i{slot} {span}{}", At(*snapshot))
            }
            Self::Step { slot, walk } => write!(f, "step i{slot} {walk}"),
            Self::Cursor { slot, space, snapshot } => {
                write!(f, "cursor c{slot} {space}:{}", At(*snapshot))
            }
            Self::Move { slot, moves } => {
                write!(f, "move c{slot}")?;
                write_joined(f, moves)
            }
            Self::Drop { held, slot } => write!(f, "drop {}{slot}", held.letter()),
            Self::Keyspace { name } => write!(f, "keyspace {}", name.0),
            Self::DropKeyspace { name } => write!(f, "drop_keyspace {}", name.0),
            Self::Flush => f.write_str("flush"),
            Self::Compact => f.write_str("compact"),
            Self::CompactLevel { space, level } => write!(f, "compact_level {space}: {level}"),
            Self::Settle => f.write_str("settle"),
            Self::Sync => f.write_str("sync"),
            Self::Check => f.write_str("check"),
            Self::Resume => f.write_str("resume"),
            Self::Health { one_of } => {
                f.write_str("health")?;
                one_of.iter().try_for_each(|health| write!(f, " {health}"))
            }
            Self::Pump { steps } => write!(f, "pump {steps}"),
            Self::PumpIdle => f.write_str("pump idle"),
            Self::Reopen { how: Ending::Close } => f.write_str("reopen close"),
            Self::Reopen { how: Ending::Drop } => f.write_str("reopen drop"),
            Self::Crash { policy, seed } => write!(f, "crash {} {seed}", policy.name()),
            Self::Fault(fault) => write!(f, "fault {fault}"),
            Self::FaultOff => f.write_str("fault off"),
            Self::Strike { falls } => {
                let words: Vec<_> =
                    falls.iter().map(|(n, effect)| format!("{n} {effect}")).collect();
                write!(f, "strike {}", words.join(" then "))
            }
            Self::Anew => f.write_str("anew"),
            Self::Images { most } => write!(f, "images {most}"),
            Self::Capacity { free_bytes } => write!(f, "capacity {free_bytes}"),
            Self::CapacityOff => f.write_str("capacity off"),
            Self::Rot { class, rot, place } => write!(f, "rot {class} {rot} {place}"),
        }
    }
}

/// `@s1`, or nothing.
struct At(Option<Slot>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |slot| write!(f, " @s{slot}"))
    }
}

fn write_joined(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if index == 0 { " " } else { " | " })?;
    }
    Ok(())
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(at, value) => write!(f, "put {at} {value}"),
            Self::Delete(at) => write!(f, "delete {at}"),
        }
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seek(key) => write!(f, "seek {key}"),
            Self::SeekBack(key) => write!(f, "seek_back {key}"),
            Self::Next => f.write_str("next"),
            Self::Prev => f.write_str("prev"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", In(&self.space), self.key)
    }
}

/// `users:`, or nothing for the default keyspace.
struct In<'a>(&'a Space);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_default() { Ok(()) } else { write!(f, "{}:", self.0) }
    }
}

/// The name; nothing for the default keyspace.
impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_default() { "" } else { &self.0 })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", In(&self.space))?;
        match &self.start {
            Bound::Unbounded => Ok(()),
            Bound::Included(key) => write!(f, "{key}"),
            Bound::Excluded(key) => write!(f, "({key}"),
        }?;
        f.write_str("..")?;
        match &self.end {
            Bound::Unbounded => Ok(()),
            Bound::Included(key) => write!(f, "={key}"),
            Bound::Excluded(key) => write!(f, "{key}"),
        }
    }
}

/// As many equal bytes in a row are written as a count and the byte.
const RUN_MIN: usize = 16;

impl Text {
    /// Whether a byte may stand outside quotes.
    pub(crate) fn is_bare(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/')
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_bare = self.0.iter().all(|byte| Self::is_bare(*byte));
        let has_run = self.0.chunk_by(|a, b| a == b).any(|run| run.len() >= RUN_MIN);
        if !self.0.is_empty() && is_bare && !has_run {
            return f.write_str(&String::from_utf8_lossy(&self.0));
        }
        f.write_str("\"")?;
        for run in self.0.chunk_by(|a, b| a == b) {
            let (times, shown) = if run.len() < RUN_MIN { (run.len(), 1) } else { (1, run.len()) };
            for _ in 0..times {
                if shown > 1 {
                    write!(f, "\\{{{shown}}}")?;
                }
                match run[0] {
                    byte @ (b'"' | b'\\') => write!(f, "\\{}", char::from(byte))?,
                    byte @ b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                    byte => write!(f, "\\x{byte:02x}")?,
                }
            }
        }
        f.write_str("\"")
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Filler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)?;
        self.len.map_or(Ok(()), |len| write!(f, "~{len}"))
    }
}

/// With the space that sets it off; nothing for the default.
impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "",
            Self::Os => " os",
            Self::Sync => " sync",
        })
    }
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|end| {
            f.write_str(match end {
                End::Front => "f",
                End::Back => "b",
            })
        })
    }
}

impl Held {
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Snapshot => 's',
            Self::Iterator => 'i',
            Self::Cursor => 'c',
        }
    }
}
