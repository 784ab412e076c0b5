//! What one thread measures, and the sum over threads.
//!
//! The clock is read once an operation: the end of one is the beginning of the next. A reading
//! costs about 23 ns on the machine where this was written, and nothing is subtracted: an operation
//! of 500 ns is shown about 5 % slower than it is. Latencies go into a histogram of three significant digits; the longest is exact.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;

/// Longer latencies than an hour count as an hour in the percentiles.
const LATENCY_NANOS_MAX: u64 = 3600 * 1_000_000_000;

/// Shorter latencies are counted one by one, and go into the histogram in the end: that takes three
/// instructions where the histogram takes sixty.
const SHORT_NANOS: usize = 4096;

/// One thread's clock.
#[derive(Debug)]
pub struct Clock<'a> {
    tally: Tally,
    short: Box<[u64; SHORT_NANOS]>,
    done: &'a AtomicU64,
}

impl<'a> Clock<'a> {
    /// Starts. What is done is counted in `done` too, for whoever watches.
    pub fn start(done: &'a AtomicU64) -> Self {
        let short = Box::new([0; SHORT_NANOS]);
        Self { tally: Tally::new(Instant::now()), short, done }
    }

    /// An operation on so many entries has ended, and the next one begins.
    #[inline]
    pub fn tick(&mut self, entries: u64) {
        let now = Instant::now();
        let tally = &mut self.tally;
        let nanos = u64::try_from((now - tally.ended).as_nanos()).unwrap_or(u64::MAX);
        tally.ended = now;
        tally.operations += 1;
        tally.entries += entries;
        match self.short.get_mut(nanos as usize) {
            Some(count) => *count += 1,
            None => tally.record_long(nanos),
        }
        self.done.store(tally.entries, Ordering::Relaxed);
    }

    /// What passed since the last tick belongs to no operation.
    pub fn skip(&mut self) {
        self.tally.ended = Instant::now();
    }

    /// What was measured.
    pub fn stop(mut self) -> Tally {
        for (nanos, count) in (0..).zip(*self.short) {
            if count > 0 {
                self.tally.latencies.saturating_record_n(nanos, count);
                self.tally.longest_nanos = self.tally.longest_nanos.max(nanos);
            }
        }
        self.tally
    }
}

/// What was measured, by one thread or by several side by side.
#[derive(Clone, Debug)]
pub struct Tally {
    began: Instant,
    ended: Instant,
    /// How many operations ended.
    pub operations: u64,
    /// On how many entries.
    pub entries: u64,
    /// Nanoseconds of each.
    pub latencies: Histogram<u64>,
    /// The longest one.
    pub longest_nanos: u64,
}

impl Tally {
    fn new(now: Instant) -> Self {
        let latencies = Histogram::new_with_max(LATENCY_NANOS_MAX, 3);
        Self {
            began: now,
            ended: now,
            operations: 0,
            entries: 0,
            latencies: latencies.expect("three digits of an hour fit a histogram"),
            longest_nanos: 0,
        }
    }

    #[cold]
    fn record_long(&mut self, nanos: u64) {
        self.latencies.saturating_record(nanos);
        self.longest_nanos = self.longest_nanos.max(nanos);
    }

    /// Adds what another thread measured at the same time.
    pub fn add(&mut self, other: &Self) {
        self.began = self.began.min(other.began);
        self.ended = self.ended.max(other.ended);
        self.operations += other.operations;
        self.entries += other.entries;
        self.longest_nanos = self.longest_nanos.max(other.longest_nanos);
        self.latencies.add(&other.latencies).expect("all histograms have the same bounds");
    }

    /// From the first start to the last end.
    pub fn seconds(&self) -> f64 {
        (self.ended - self.began).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tallies_of_threads_add_up() {
        let now = Instant::now();
        let mut tallies = [1_000, 9_000].map(|nanos| {
            let mut tally = Tally::new(now);
            for _ in 0..500 {
                tally.latencies.record(nanos).unwrap();
            }
            (tally.operations, tally.entries) = (500, 5_000);
            tally.longest_nanos = nanos;
            tally.began = now + Duration::from_nanos(nanos);
            tally.ended = now + Duration::from_secs(nanos / 1_000);
            tally
        });
        let [all, other] = &mut tallies;
        all.add(other);
        assert_eq!((all.operations, all.entries, all.longest_nanos), (1_000, 10_000, 9_000));
        assert_eq!(all.latencies.len(), 1_000);
        assert!(all.latencies.value_at_quantile(0.4).abs_diff(1_000) < 10);
        assert!(all.latencies.value_at_quantile(0.6).abs_diff(9_000) < 10);
        assert!((all.seconds() - 8.999_999).abs() < 0.001);
    }

    #[test]
    fn a_clock_counts_operations_and_entries() {
        let done = AtomicU64::new(0);
        let mut clock = Clock::start(&done);
        clock.tick(100);
        clock.tick(7);
        assert_eq!(done.load(Ordering::Relaxed), 107);
        let tally = clock.stop();
        assert_eq!((tally.operations, tally.entries, tally.latencies.len()), (2, 107, 2));
        assert!(tally.longest_nanos >= tally.latencies.min());
    }
}
