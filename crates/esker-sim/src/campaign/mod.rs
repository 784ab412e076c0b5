//! Campaigns: histories that are written down, played again and again with something going wrong,
//! until everything that can has.
//!
//! - [`scenario`]: the histories
//! - [`nth`]: each operation of the disk fails once in each way, or is the last before a crash; and
//!   the same with a second fault, or a crash, in the recovery
//! - [`enumerate`]: short histories of all kinds, and all images that a crash can leave of each
//! - [`meta`]: one history under many options
//! - `planted`, with that feature: mistakes of other stores, which the seeds must find
//! - [`record`]: what a campaign found out; [`page`]: the page of figures
//!
//! A campaign is a list of cases; a case is a script and says itself in one word, by which it is
//! played again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub mod enumerate;
pub mod meta;
pub mod nth;
pub mod page;
#[cfg(feature = "planted")]
pub mod planted;
pub mod record;
pub mod scenario;

/// Plays cases `0..count` on `threads` threads; the answers come in no order.
///
/// `play` must not depend on which thread it runs on. A panic of `play` ends the campaign.
pub fn play_all<T: Send>(
    count: usize,
    threads: usize,
    play: &(dyn Fn(usize) -> T + Sync),
    told: &mut (dyn FnMut(usize, T) + Send),
) {
    let next = AtomicUsize::new(0);
    let told = Mutex::new(told);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case >= count {
                        return;
                    }
                    let answer = play(case);
                    let mut told = told.lock().expect("no listener panics");
                    (*told)(case, answer);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_played_once() {
        let mut played = vec![0; 100];
        play_all(100, 3, &|case| case * 2, &mut |case, twice| {
            assert_eq!(twice, case * 2);
            played[case] += 1;
        });
        assert_eq!(played, [1; 100]);
    }
}
