//! Each operation of the disk fails once, in every way that it can, or is the last before a crash.
//!
//! A scenario is played once without faults and watched: what did each line do to the disk, and
//! where in the engine does it come from? Then a case for each operation and each way:
//!
//! ```text
//! flush:5:12:eio                       the 12th operation of the disk in line 5 fails
//! flush:5:12:eio:3:enospc              and so does the 3rd behind it
//! flush:5:12:crash=torn-sectors        the machine stands still there, and is crashed
//! flush:5:12:crash=torn-sectors:3:eio  and the 3rd operation of its recovery fails
//! flush:5:12:crash=torn-sectors:3:stop or is the last before another crash
//! ```
//!
//! What the engine does only after a fault is met only then: the operations that follow a fault are
//! looked at, and where one comes from a place that was not failed in some way yet, it is failed too,
//! behind the first; and so on, until no place is new.
//!
//! Failing the n-th, until nothing falls any more, is SQLite's test of I/O errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};

use super::scenario::{self, Scenario};
use crate::engine::Simulated;
use crate::fault::Effect;
use crate::ops::{Op, Policy, Script};
use crate::reached::Reached;
use crate::reaction::reaction;
use crate::run::{Broken, run, run_and_look, watch};
use crate::store::{Look, Met};

/// A scenario, and what its lines did to the disk when nothing failed.
#[derive(Debug)]
pub struct Watched {
    /// The history.
    pub scenario: Scenario,
    /// By line.
    pub met: Vec<Vec<Met>>,
}

/// One run of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Which history.
    pub scenario: &'static str,
    /// Which of its operations, counting from 1.
    pub line: usize,
    /// Which operation of the disk in it, counting from 1.
    pub operation: u64,
    /// What happens there.
    pub trial: Trial,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// The operation fails so, and then others, each so many behind the one before.
    Fault(Effect, Vec<(u64, Effect)>),
    /// The machine stands still, and is crashed.
    Crash(Policy),
    /// It is crashed, and this happens to an operation of the recovery, counting from 1.
    Recovery(Policy, u64, Effect),
}

/// A place in the engine that does something to the disk, and a way in which that can fail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The place.
    pub site: String,
    /// The operation and the class of files.
    pub operation: String,
    /// The way.
    pub effect: String,
}

/// What came of a case.
#[derive(Debug)]
pub struct Verdict {
    /// Whether everything fell that should.
    pub fell: bool,
    /// What the run came by.
    pub reached: Reached,
    /// What the disk was asked for after the last fault.
    pub met: Vec<Met>,
    /// What is wrong.
    pub broken: Option<Broken>,
}

impl Watched {
    /// Plays the scenario without faults.
    ///
    /// # Errors
    /// If it fails as it is.
    pub fn new(scenario: Scenario) -> anyhow::Result<Self> {
        match watch::<Simulated>(&scenario.script, Look::AtSites) {
            Ok(met) => Ok(Self { scenario, met }),
            Err(broken) => bail!("scenario {} fails without faults at {broken}", scenario.name),
        }
    }

    /// The operation that goes wrong in a case.
    fn met(&self, case: &Case) -> Option<&Met> {
        self.met.get(case.line - 1)?.get(case.operation.checked_sub(1)? as usize)
    }

    /// Every operation with its line and number, both counting from 1.
    fn operations(&self) -> impl Iterator<Item = (usize, u64, &Met)> {
        self.met.iter().enumerate().flat_map(|(line, met)| {
            met.iter().zip(1..).map(move |(met, operation)| (line + 1, operation, met))
        })
    }

    /// One case for each operation and each way in which it can fail, and `crashes` more for each
    /// operation that changes the disk: the policies take turns.
    pub fn cases(&self, crashes: usize) -> Vec<Case> {
        let mut cases = Vec::new();
        let mut policies = Policy::ALL.iter().cycle();
        for (line, operation, met) in self.operations() {
            let case = |trial| Case { scenario: self.scenario.name, line, operation, trial };
            cases.extend(effects(met).map(|effect| case(Trial::Fault(effect, Vec::new()))));
            if changes_the_disk(met) {
                let policies = policies.by_ref().take(crashes);
                cases.extend(policies.map(|(policy, _)| case(Trial::Crash(*policy))));
            }
        }
        cases
    }

    /// The crashes of [`cases`](Self::cases) alone, by `policies`.
    pub fn crashes(&self, policies: &[Policy]) -> Vec<Case> {
        let changes = self.operations().filter(|(_, _, met)| changes_the_disk(met));
        let cases = changes.flat_map(|(line, operation, _)| {
            policies.iter().map(move |policy| (line, operation, Trial::Crash(*policy)))
        });
        let scenario = self.scenario.name;
        cases.map(|(line, operation, trial)| Case { scenario, line, operation, trial }).collect()
    }

    /// The pairs that its cases fail.
    pub fn pairs(&self) -> BTreeSet<Pair> {
        let operations = self.operations();
        operations
            .flat_map(|(_, _, met)| effects(met).map(|effect| Pair::new(met, effect)))
            .collect()
    }

    /// Further cases: what `met` tells of places behind `case`, in ways that are not among the `pairs`
    /// yet, to which they are added.
    pub fn deeper(case: &Case, met: &[Met], pairs: &mut BTreeSet<Pair>) -> Vec<Case> {
        let Trial::Fault(first, later) = &case.trial else { return Vec::new() };
        let mut cases = Vec::new();
        for (met, operation) in met.iter().zip(1..) {
            for effect in effects(met).filter(|effect| pairs.insert(Pair::new(met, *effect))) {
                let later = [&later[..], &[(operation, effect)]].concat();
                cases.push(Case { trial: Trial::Fault(*first, later), ..case.clone() });
            }
        }
        cases
    }

    /// The script of a case of this scenario.
    pub fn script(&self, case: &Case) -> Script {
        let Script { seed, options, ops } = &self.scenario.script;
        let at = case.line - 1;
        let strike = |effect| Op::Strike { falls: vec![(case.operation, effect)] };
        let crash = |policy| Op::Crash { policy, seed: case.operation };
        let mut script = Script { seed: *seed, options: *options, ops: ops[..at].to_vec() };
        let mut next = at + 1;
        match &case.trial {
            Trial::Fault(effect, later) => {
                let falls = [&[(case.operation, *effect)], &later[..]].concat();
                script.ops.extend([Op::Strike { falls }, ops[at].clone()]);
                let met = self.met(case).filter(|_| later.is_empty() && is_alone(ops, at));
                script.ops.extend(met.map(|met| Op::Health {
                    one_of: reaction(met.op, met.class, *effect).to_vec(),
                }));
                // Half of the cases go on as a program does that knows `resume`, half as one that
                // does not; what comes of a fault later on is looked at, too.
                if case.operation % 2 == 0 {
                    script.ops.extend([Op::Resume, Op::FaultOff, Op::Resume]);
                } else {
                    script.ops.extend(ops.get(at + 1).cloned());
                    script.ops.push(Op::FaultOff);
                    next += 1;
                }
            }
            Trial::Crash(policy) => {
                script.ops.extend([strike(Effect::Stop), ops[at].clone(), crash(*policy)]);
            }
            Trial::Recovery(policy, countdown, effect) => {
                let second = Op::Strike { falls: vec![(*countdown, *effect)] };
                script.ops.extend([strike(Effect::Stop), ops[at].clone(), second, crash(*policy)]);
                script.ops.push(Op::FaultOff);
            }
        }
        script.ops.extend_from_slice(ops.get(next..).unwrap_or_default());
        script
    }

    /// Plays a case.
    pub fn play(&self, case: &Case) -> Verdict {
        let script = self.script(case);
        let (outcome, met) = match case.trial {
            Trial::Fault(..) => run_and_look::<Simulated>(&script),
            _ => (run::<Simulated>(&script, &mut |_, _| {}), Vec::new()),
        };
        let wanted = match &case.trial {
            Trial::Fault(_, later) => 1 + later.len() as u64,
            Trial::Crash(_) => 1,
            Trial::Recovery(..) => 2,
        };
        let fell = outcome.reached.times("strike fell") >= wanted;
        Verdict { fell, reached: outcome.reached, met, broken: outcome.broken }
    }

    /// Plays the crash of `case` with each operation of its recovery failing in each of `effects`,
    /// until none is left, and gives every verdict to `told`.
    pub fn play_recoveries(
        &self,
        case: &Case,
        effects: &[Effect],
        told: &mut dyn FnMut(&Case, Verdict),
    ) {
        let Trial::Crash(policy) = case.trial else { return };
        for &effect in effects {
            for operation in 1.. {
                let trial = Trial::Recovery(policy, operation, effect);
                let case = Case { trial, ..case.clone() };
                let verdict = self.play(&case);
                let (fell, ends) = (verdict.fell, verdict.broken.is_some());
                if fell || ends {
                    told(&case, verdict);
                }
                if !fell || ends {
                    break;
                }
            }
        }
    }
}

impl Pair {
    fn new(met: &Met, effect: Effect) -> Self {
        Self {
            site: met.site.clone().unwrap_or_default(),
            operation: format!("{} {}", met.op, met.class.unwrap_or("directory")),
            effect: effect.to_string(),
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.site, self.operation, self.effect)
    }
}

/// Whether a fault in operation `at` is all that decides how the store feels afterwards. A store that
/// was opened since knows nothing of it, one that just got space or was to resume was in trouble before,
/// and a scenario may have a fault of its own there.
fn is_alone(ops: &[Op], at: usize) -> bool {
    let is_fault = |op: &&Op| matches!(op, Op::Fault(_) | Op::FaultOff);
    let is_faulty = matches!(ops[..at].iter().rev().find(is_fault), Some(Op::Fault(_)));
    let is_opened = matches!(ops[at], Op::Reopen { .. } | Op::Crash { .. } | Op::Anew);
    let is_relief = matches!(ops[at], Op::CapacityOff | Op::Resume);
    !is_faulty && !is_opened && !is_relief
}

/// Whether a crash right before it can leave something else than a crash before the next one.
fn changes_the_disk(met: &Met) -> bool {
    !matches!(met.op, "read" | "list" | "space" | "open" | "lock")
}

/// The ways in which an operation can fail.
///
/// A log or a manifest that is read wrong at its very end looks as after a crash, and no store can
/// tell; `rot` looks at what can be told.
fn effects(met: &Met) -> impl Iterator<Item = Effect> {
    const WRITES: [&str; 9] = [
        "create",
        "append",
        "allocate",
        "rename",
        "sync",
        "sync-dir",
        "sync-existing",
        "seal",
        "trim",
    ];
    let has_tail = matches!(met.class, Some("log" | "manifest"));
    let ways = [
        (Effect::Eio, true),
        (Effect::Enospc, WRITES.contains(&met.op)),
        (Effect::Erofs, matches!(met.op, "create" | "rename" | "remove")),
        (Effect::Emfile, matches!(met.op, "create" | "open" | "list" | "lock")),
        (Effect::Short(1), met.op == "append"),
        (Effect::Short(100), met.op == "append"),
        (Effect::SyncLost, matches!(met.op, "sync" | "sync-existing")),
        (Effect::FlipBit, met.op == "read" && !has_tail),
        (Effect::Zero, met.op == "read" && !has_tail),
        (Effect::Misdirect, met.op == "read" && met.class == Some("table")),
    ];
    ways.into_iter().filter(|(_, can)| *can).map(|(effect, _)| effect)
}

/// All scenarios whose names begin so, watched.
///
/// # Errors
/// If one fails without faults, or none is called so.
pub fn watched(prefix: &str) -> anyhow::Result<Vec<Watched>> {
    let wanted = scenario::all().into_iter().filter(|scenario| scenario.name.starts_with(prefix));
    let watched: Vec<Watched> = wanted.map(Watched::new).collect::<anyhow::Result<_>>()?;
    if watched.is_empty() {
        bail!("no scenario is called {prefix}");
    }
    Ok(watched)
}

/// How many pairs each site has, for a person.
pub fn sites(pairs: &BTreeSet<Pair>) -> BTreeMap<String, usize> {
    let mut sites = BTreeMap::new();
    for pair in pairs {
        *sites.entry(format!("{}: {}", pair.site, pair.operation)).or_default() += 1;
    }
    sites
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |effect: Effect| effect.to_string().replace(' ', "=");
        write!(f, "{}:{}:{}:", self.scenario, self.line, self.operation)?;
        match &self.trial {
            Trial::Fault(effect, later) => {
                f.write_str(&word(*effect))?;
                later
                    .iter()
                    .try_for_each(|(operation, effect)| write!(f, ":{operation}:{}", word(*effect)))
            }
            Trial::Crash(policy) => write!(f, "crash={}", policy.name()),
            Trial::Recovery(policy, operation, effect) => {
                write!(f, "crash={}:{operation}:{}", policy.name(), word(*effect))
            }
        }
    }
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let words: Vec<&str> = text.split(':').collect();
        let (&[name, line, operation, trial], rest) =
            words.split_first_chunk().context("a case is NAME:LINE:OPERATION:WHAT")?;
        let scenario = scenario::all().into_iter().find(|scenario| scenario.name == name);
        let scenario = scenario.with_context(|| format!("no scenario is called {name}"))?.name;
        let effect = |word: &str| match format!("strike 1 {}", word.replace('=', " ")).parse() {
            Ok(Op::Strike { falls }) => Ok(falls[0].1),
            _ => bail!("no effect is called {word}"),
        };
        let trial = match (trial.strip_prefix("crash="), rest) {
            (None, rest) => {
                let mut later = Vec::new();
                for pair in rest.chunks(2) {
                    let [operation, word] = pair else {
                        bail!("a further fault is OPERATION:WHAT")
                    };
                    later.push((operation.parse()?, effect(word)?));
                }
                Trial::Fault(effect(trial)?, later)
            }
            (Some(policy), rest) => {
                let known = Policy::ALL.iter().find(|(_, name)| *name == policy);
                let policy = known.with_context(|| format!("no crash is called {policy}"))?.0;
                match rest {
                    [] => Trial::Crash(policy),
                    [operation, word] => Trial::Recovery(policy, operation.parse()?, effect(word)?),
                    _ => bail!("a recovery is OPERATION:WHAT"),
                }
            }
        };
        Ok(Self { scenario, line: line.parse()?, operation: operation.parse()?, trial })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_the_word_that_it_prints() {
        for word in [
            "flush:5:12:eio",
            "flush:5:12:short=100",
            "flush:5:12:short=100:3:eio:1:enospc",
            "sync:1:1:crash=torn-sectors",
            "sync:1:1:crash=newest-kept:3:sync-lost",
        ] {
            assert_eq!(word.parse::<Case>().unwrap().to_string(), word);
        }
        for word in ["flush", "flop:1:1:eio", "flush:1:1:pop", "flush:1:1:eio:2"] {
            assert!(word.parse::<Case>().is_err(), "{word}");
        }
    }

    #[test]
    fn every_case_of_a_scenario_falls_and_is_right() {
        let watched = watched("write").unwrap().remove(0);
        let cases = watched.cases(2);
        assert!(cases.len() > 30, "{}", cases.len());
        for case in cases {
            let verdict = watched.play(&case);
            assert!(verdict.fell, "{case}");
            assert!(verdict.broken.is_none(), "{case}: {}", verdict.broken.unwrap());
        }
    }
}
