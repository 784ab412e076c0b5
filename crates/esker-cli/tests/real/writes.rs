//! Writes that are told to a node, and the model of what must be left of them.

use std::collections::BTreeMap;

use crate::node::Node;

/// Keys are few, so that each is overwritten often and old versions have chances to come back.
const KEYS: u64 = 40;

/// What a node holds: key to number of the attempt that wrote it.
pub type Contents = BTreeMap<u64, u64>;

/// A write, as the model applies it. Attempt `n` writes the value `n`.
#[derive(Clone, Copy)]
pub enum Attempt {
    Put(u64),
    Delete(u64),
    /// Puts to a key and to the one after it, atomically.
    Batch(u64),
}

impl Attempt {
    pub fn random(random: &mut Random) -> Self {
        let key = random.below(KEYS);
        match random.below(8) {
            0 => Self::Delete(key),
            1 | 2 => Self::Batch(key),
            _ => Self::Put(key),
        }
    }

    /// The body of its request.
    pub fn request(self, n: u64) -> String {
        let padding = "x".repeat(60);
        match self {
            Self::Put(key) => format!(
                r#"{{"type":"lsm_put","msg_id":{n},"key":"{key:03}","value":[{n},"{padding}"]}}"#
            ),
            Self::Delete(key) => {
                format!(r#"{{"type":"lsm_delete","msg_id":{n},"key":"{key:03}"}}"#)
            }
            Self::Batch(key) => {
                let put =
                    |key| format!(r#"{{"op":"put","key":"{key:03}","value":[{n},"{padding}"]}}"#);
                let (first, second) = (put(key), put((key + 1) % KEYS));
                format!(r#"{{"type":"lsm_batch","msg_id":{n},"ops":[{first},{second}]}}"#)
            }
        }
    }

    fn apply(self, n: u64, model: &mut Contents) {
        match self {
            Self::Put(key) => {
                model.insert(key, n);
            }
            Self::Delete(key) => {
                model.remove(&key);
            }
            Self::Batch(key) => {
                model.insert(key, n);
                model.insert((key + 1) % KEYS, n);
            }
        }
    }
}

/// What the node holds.
pub fn contents(node: &mut Node) -> Contents {
    let reply = node.ask(r#"{"type":"lsm_scan","msg_id":1}"#);
    let entries = reply["entries"].as_array().unwrap_or_else(|| panic!("entries, not {reply}"));
    let entry = |entry: &serde_json::Value| {
        let key = entry["key"].as_str().expect("a key").parse().expect("a number");
        (key, entry["value"][0].as_u64().expect("a number"))
    };
    entries.iter().map(entry).collect()
}

/// The model after the shortest prefix of `sent`, at least the acknowledged ones, that gives
/// what was found.
pub fn surviving_prefix(
    mut model: Contents,
    sent: &[(u64, Attempt)],
    acknowledged: usize,
    found: &Contents,
) -> Option<Contents> {
    for (i, (n, attempt)) in sent.iter().enumerate() {
        if i >= acknowledged && model == *found {
            return Some(model);
        }
        attempt.apply(*n, &mut model);
    }
    (model == *found).then_some(model)
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
