//! Tables and merges of them as arithmetic.

use esker::internals::policy::{KeyRange, PickTable, SeqNo, TableId};

/// A table: so many bytes, evenly spread over a range of keys.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its number.
    pub id: u64,
    /// Its level.
    pub level: usize,
    /// Which of L0 is newer: the highest is the newest.
    pub age: u64,
    /// Its length.
    pub bytes: u64,
    /// The key below which a sweep has emptied it.
    pub swept_to: Option<[u8; 8]>,
    lo: u64,
    hi: u64,
    range: KeyRange,
}

/// What lies below the target of a merge: where each table ends.
pub type Boundaries = [u64];

impl Table {
    /// A table of keys from `lo` to `hi`.
    pub fn new(id: u64, level: usize, age: u64, (lo, hi): (u64, u64), bytes: u64) -> Self {
        let range = KeyRange::new(lo.to_be_bytes(), hi.to_be_bytes());
        Self { id, level, age, bytes, swept_to: None, lo, hi, range }
    }

    /// What the picker sees of it.
    pub fn to_pick(&self) -> PickTable<'_> {
        PickTable {
            id: TableId(self.id),
            level: self.level,
            range: &self.range,
            swept_to: self.swept_to.as_ref().map(<[u8; 8]>::as_slice),
            bytes: self.bytes,
            entries: self.bytes,
            keys: self.bytes,
            tombstones: 0,
            seq_min: SeqNo::new(2 * self.age),
            seq_max: SeqNo::new(2 * self.age + 1),
        }
    }

    /// Where the table stands in its level.
    pub fn place(&self) -> (usize, u64, u64) {
        let newest_first = if self.level == 0 { u64::MAX - self.age } else { 0 };
        (self.level, newest_first, self.lo)
    }

    fn density(&self) -> f64 {
        self.bytes as f64 / width(self.lo, self.hi)
    }

    fn living(&self) -> (u64, u64) {
        let from = self.swept_to.map_or(0, u64::from_be_bytes);
        (self.lo.max(from), self.hi)
    }
}

/// A key as a number.
pub fn key(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("keys have 8 bytes"))
}

/// Keys from `lo` to `hi`, both included.
fn width(lo: u64, hi: u64) -> f64 {
    (hi - lo) as f64 + 1.0
}

/// What merging `inputs` below `end` leaves: ranges and bytes, cut at `bytes_max` and, once half
/// of that is there, at `boundaries`. `distinct_bytes` is what all keys there are take up once:
/// the more of them an input has, the more the inputs have in common. Endless for new keys.
pub fn merge(
    inputs: &[&Table],
    end: Option<u64>,
    distinct_bytes: f64,
    (bytes_max, boundaries): (u64, &Boundaries),
) -> Vec<(u64, u64, u64)> {
    let last = end.map_or(u64::MAX, |end| end - 1);
    let full = distinct_bytes / width(0, u64::MAX);
    let mut outputs = Outputs { bytes_max: bytes_max as f64, open: None, done: Vec::new() };
    let mut boundaries = boundaries.iter().copied().peekable();
    for (lo, hi) in pieces(inputs, last) {
        let inside = inputs.iter().filter(|t| t.living().0 <= lo && hi <= t.living().1);
        let densities = inside.map(|table| table.density());
        let density = if full.is_finite() {
            full * (1.0 - densities.map(|d| 1.0 - (d / full).min(1.0)).product::<f64>())
        } else {
            densities.sum()
        };
        if density == 0.0 {
            continue;
        }
        let mut from = lo;
        while let Some(boundary) = boundaries.next_if(|boundary| *boundary < hi) {
            if boundary >= from {
                outputs.add(from, boundary, density);
                outputs.cut_at_boundary();
                from = boundary + 1;
            }
        }
        outputs.add(from, hi, density);
    }
    outputs.cut();
    outputs.done
}

/// The ranges between the ends of the inputs, up to `last`.
fn pieces(inputs: &[&Table], last: u64) -> Vec<(u64, u64)> {
    let ends = inputs.iter().map(|table| table.living()).filter(|(lo, _)| *lo <= last);
    let starts = ends.flat_map(|(lo, hi)| [Some(lo), hi.min(last).checked_add(1)]);
    let mut starts: Vec<u64> = starts.flatten().collect();
    if inputs.iter().any(|table| table.living().1.min(last) == u64::MAX) {
        starts.push(u64::MAX);
    }
    starts.sort_unstable();
    starts.dedup();
    let pieces = starts.windows(2);
    pieces.map(|w| (w[0], if w[1] == u64::MAX { u64::MAX } else { w[1] - 1 })).collect()
}

/// Outputs as they are filled.
struct Outputs {
    bytes_max: f64,
    open: Option<(u64, u64, f64)>,
    done: Vec<(u64, u64, u64)>,
}

impl Outputs {
    fn add(&mut self, mut lo: u64, hi: u64, density: f64) {
        while lo <= hi {
            let (start, _, bytes) = self.open.unwrap_or((lo, lo, 0.0));
            let room = (self.bytes_max - bytes) / density;
            if room >= width(lo, hi) {
                self.open = Some((start, hi, bytes + width(lo, hi) * density));
                return;
            }
            let to = lo.saturating_add(room as u64).min(hi);
            self.open = Some((start, to, bytes + width(lo, to) * density));
            self.cut();
            let Some(next) = to.checked_add(1) else { return };
            lo = next;
        }
    }

    fn cut_at_boundary(&mut self) {
        if self.open.is_some_and(|(.., bytes)| bytes >= self.bytes_max / 2.0) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if let Some((lo, hi, bytes)) = self.open.take() {
            self.done.push((lo, hi, (bytes as u64).max(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(lo: u64, hi: u64, bytes: u64) -> Table {
        Table::new(1, 1, 1, (lo, hi), bytes)
    }

    #[test]
    fn new_keys_add_up_and_known_ones_meet() {
        let (a, b) = (table(0, u64::MAX, 1000), table(0, u64::MAX, 1000));
        let sum = |distinct| -> u64 {
            let outputs = merge(&[&a, &b], None, distinct, (u64::MAX, &[]));
            outputs.iter().map(|(.., bytes)| bytes).sum()
        };
        assert_eq!(sum(f64::INFINITY), 2000);
        assert_eq!(sum(2000.0), 1500, "half of the keys each: a quarter in both");
        assert_eq!(sum(1000.0), 1000, "all keys in both");
    }

    #[test]
    fn outputs_are_cut_at_their_size_and_at_boundaries() {
        let all = table(0, 999, 1000);
        let outputs = merge(&[&all], None, f64::INFINITY, (400, &[99, 249, 700]));
        assert_eq!(outputs, [(0, 249, 250), (250, 650, 401), (651, 999, 349)]);
    }

    #[test]
    fn a_step_takes_what_lies_below_its_end_and_what_is_alive() {
        let mut swept = table(0, 999, 1000);
        swept.swept_to = Some(200_u64.to_be_bytes());
        let outputs = merge(&[&swept], Some(500), f64::INFINITY, (u64::MAX, &[]));
        assert_eq!(outputs, [(200, 499, 300)]);
    }
}
