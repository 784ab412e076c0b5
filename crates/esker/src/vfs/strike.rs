//! Faults at counted operations of a simulated disk, and a list of what was met on the way.
//!
//! A campaign that fails every operation of a history once, in every way, counts them in a run
//! without faults and then strikes the first, the second, and so on. What the store does only after a
//! fault is met only then, so a strike may fall again some operations later. A strike may be carried
//! from a disk to what a crash made of it, so that it can fall into a recovery.
//!
//! ```text
//! Strike::at(12, Fault::Error(Errno::IO))     the twelfth operation from here on fails
//!     .then(3, Fault::Error(Errno::IO))       and the third one behind it
//! Strike::never(Look::AtSites)                nothing fails; each operation is noted with its caller
//! ```

use std::backtrace::Backtrace;
use std::collections::VecDeque;

use super::faults::{DiskOp, Fault, FileClass};
use crate::base::names::FileName;

/// Faults that happen once each.
#[derive(Clone, Debug)]
pub struct Strike {
    /// Those to come, each with the operations until it strikes, that one included, counted from the
    /// one before it; 0 is never.
    to_come: VecDeque<(u64, Fault)>,
    fell: usize,
    look: Look,
    met: Vec<Met>,
}

/// How closely operations are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Not at all.
    Away,
    /// What was done to which class of files.
    AtOperations,
    /// And where in the engine: some 0.1 ms each.
    AtSites,
}

/// An operation that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// What was done.
    pub op: DiskOp,
    /// To what; the first name of a rename.
    pub class: Option<FileClass>,
    /// The line outside `vfs` that asked for it.
    pub site: Option<String>,
}

impl Strike {
    /// `fault` happens to the `countdown`-th operation from here on, if it can happen to that.
    pub fn at(countdown: u64, fault: Fault) -> Self {
        let to_come = VecDeque::from([(countdown, fault)]);
        Self { to_come, fell: 0, look: Look::Away, met: Vec::new() }
    }

    /// And `fault` to the `countdown`-th one behind that.
    #[must_use]
    pub fn then(mut self, countdown: u64, fault: Fault) -> Self {
        self.to_come.push_back((countdown, fault));
        self
    }

    /// Operations are noted once nothing more is to come.
    #[must_use]
    pub const fn looking(mut self, look: Look) -> Self {
        self.look = look;
        self
    }

    /// No fault: operations are noted.
    pub const fn never(look: Look) -> Self {
        Self { to_come: VecDeque::new(), fell: 0, look, met: Vec::new() }
    }

    /// How many of them happened.
    pub const fn fell(&self) -> usize {
        self.fell
    }

    /// The operations since nothing more was to come, in order.
    pub fn into_met(self) -> Vec<Met> {
        self.met
    }

    /// What shall happen instead of this operation.
    pub(super) fn next(&mut self, op: DiskOp, files: &[FileName]) -> Option<Fault> {
        let Some((countdown, fault)) = self.to_come.front_mut() else {
            self.note(op, files);
            return None;
        };
        *countdown = countdown.checked_sub(1)?;
        if *countdown > 0 {
            return None;
        }
        let falls = fault.can_happen_to(op).then_some(*fault);
        self.to_come.pop_front();
        self.fell += usize::from(falls.is_some());
        falls
    }

    fn note(&mut self, op: DiskOp, files: &[FileName]) {
        if self.look != Look::Away {
            let class = files.first().map(|name| FileClass::of(*name));
            let site = (self.look == Look::AtSites).then(site);
            self.met.push(Met { op, class, site });
        }
    }
}

/// The first line of the engine outside `vfs` on the way here, as `wal/log.rs:123`. A build
/// without line tables has no lines: then all operations come from one place.
fn site() -> String {
    let trace = Backtrace::force_capture().to_string();
    let places = trace.lines().filter_map(|line| line.trim().strip_prefix("at "));
    let mut ours = places.filter_map(|place| place.split_once("esker/src/")).map(|(_, file)| file);
    let site = ours.find(|file| !file.starts_with("vfs/")).unwrap_or("somewhere");
    // The column says nothing more.
    site.rsplit_once(':').map_or(site, |(line, _)| line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::faults::{Errno, FaultPlan};

    const EIO: Fault = Fault::Error(Errno::IO);

    fn armed(strike: Strike) -> FaultPlan {
        let mut plan = FaultPlan::new(0);
        *plan.strike_mut() = Some(strike);
        plan
    }

    #[test]
    fn a_strike_falls_once_at_its_operation() {
        let mut plan = armed(Strike::at(2, EIO));
        let fell = [(); 4].map(|()| plan.next(DiskOp::List, &[]).is_some());
        assert_eq!(fell, [false, true, false, false]);
        assert_eq!(plan.fired(), 1);
    }

    #[test]
    fn a_second_fault_is_counted_from_the_first_and_then_operations_are_noted() {
        let mut plan = armed(Strike::at(2, EIO).then(2, EIO).looking(Look::AtOperations));
        let fell = [(); 5].map(|()| plan.next(DiskOp::List, &[]).is_some());
        assert_eq!(fell, [false, true, false, true, false]);
        let strike = plan.strike_mut().take().unwrap();
        assert_eq!((strike.fell(), strike.into_met().len()), (2, 1));
    }

    #[test]
    fn a_strike_that_cannot_happen_to_its_operation_is_spent() {
        let mut plan = armed(Strike::at(1, Fault::Zero));
        assert_eq!(plan.next(DiskOp::List, &[]), None);
        assert_eq!(plan.next(DiskOp::Read, &[]), None);
    }

    #[test]
    fn who_looks_on_sees_operations_and_where_they_come_from() {
        let mut plan = armed(Strike::never(Look::AtSites));
        assert_eq!(plan.next(DiskOp::Open, &[FileName::Current]), None);
        let met = plan.strike_mut().take().unwrap().into_met();
        assert_eq!(met.len(), 1);
        assert_eq!((met[0].op, met[0].class), (DiskOp::Open, Some(FileClass::Current)));
        assert!(met[0].site.is_some());
    }
}
