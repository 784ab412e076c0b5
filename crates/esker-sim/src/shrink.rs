//! Cuts a failing script down to the operations that it takes.
//!
//! Pieces are left out, halves first, single operations last, as long as what remains still
//! fails; then the operations that are left are made simpler. Any subset of a script is a script
//! (see [`crate::ops`]), so nothing has to be repaired on the way.

use crate::ops::{Durability, Op, Script, Write};

/// The smallest script found within `tries` runs of `fails`, which is true for `script`.
pub fn shrink(script: &Script, tries: usize, fails: &mut dyn FnMut(&Script) -> bool) -> Script {
    let mut search = Search { best: script.clone(), tries, fails };
    search.leave_out();
    search.simplify();
    search.leave_out();
    search.best
}

struct Search<'a> {
    best: Script,
    /// How many more runs there may be.
    tries: usize,
    fails: &'a mut dyn FnMut(&Script) -> bool,
}

impl Search<'_> {
    /// Takes `ops` if they still fail.
    fn offer(&mut self, ops: Vec<Op>) -> bool {
        if self.tries == 0 {
            return false;
        }
        self.tries -= 1;
        let script = Script { ops, seed: self.best.seed, options: self.best.options };
        let fails = (self.fails)(&script);
        if fails {
            self.best = script;
        }
        fails
    }

    fn leave_out(&mut self) {
        let mut piece = self.best.ops.len().div_ceil(2);
        while piece > 0 && self.tries > 0 {
            let before = self.best.ops.len();
            self.leave_out_pieces(piece);
            let is_smaller = self.best.ops.len() < before;
            // Single operations again and again, until none can go.
            piece = if piece == 1 && is_smaller { 1 } else { piece / 2 };
        }
    }

    /// From the back: what comes last depends on what comes first.
    fn leave_out_pieces(&mut self, piece: usize) {
        let mut end = self.best.ops.len();
        while end > 0 {
            let start = end.saturating_sub(piece);
            let mut ops = self.best.ops.clone();
            ops.drain(start..end);
            self.offer(ops);
            end = start;
        }
    }

    fn simplify(&mut self) {
        for at in 0..self.best.ops.len() {
            while let Some(op) =
                simpler(&self.best.ops[at]).into_iter().find(|op| self.offer_at(at, op))
            {
                debug_assert_eq!(op, self.best.ops[at]);
            }
        }
    }

    fn offer_at(&mut self, at: usize, op: &Op) -> bool {
        let mut ops = self.best.ops.clone();
        ops[at] = op.clone();
        self.offer(ops)
    }
}

/// Operations that do a little less than this one.
fn simpler(op: &Op) -> Vec<Op> {
    match op {
        Op::Put { at, value, durability } => {
            let mut simpler = Vec::new();
            if value.len.is_some() {
                let value = crate::ops::Filler { len: None, ..value.clone() };
                simpler.push(Op::Put { at: at.clone(), value, durability: *durability });
            }
            if *durability != Durability::Default {
                let (at, value) = (at.clone(), value.clone());
                simpler.push(Op::Put { at, value, durability: Durability::Default });
            }
            simpler
        }
        Op::Batch { writes, durability } => {
            let without = |left_out: usize| {
                let mut writes = writes.clone();
                writes.remove(left_out);
                Op::Batch { writes, durability: *durability }
            };
            let mut simpler: Vec<Op> = (0..writes.len()).map(without).collect();
            if let [write] = writes.as_slice() {
                simpler.push(alone(write, *durability));
            }
            simpler
        }
        Op::Pump { steps } if *steps > 1 => vec![Op::Pump { steps: steps / 2 }],
        Op::Step { slot, walk } if walk.0.len() > 1 => {
            let walk = crate::ops::Walk(walk.0[1..].to_vec());
            vec![Op::Step { slot: *slot, walk }]
        }
        Op::Move { slot, moves } if moves.len() > 1 => {
            let without = |left_out: usize| {
                let mut moves = moves.clone();
                moves.remove(left_out);
                Op::Move { slot: *slot, moves }
            };
            (0..moves.len()).map(without).collect()
        }
        _ => Vec::new(),
    }
}

/// The operation that does what a batch of one write does.
fn alone(write: &Write, durability: Durability) -> Op {
    match write.clone() {
        Write::Put(at, value) => Op::Put { at, value, durability },
        Write::Delete(at) => Op::Delete { at, durability },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::generate;

    /// A store that fails once it has seen a put to `b` and later a flush.
    fn fails(script: &Script) -> bool {
        let lines: Vec<String> = script.ops.iter().map(Op::to_string).collect();
        let put = lines.iter().position(|line| line.contains("put b v9"));
        put.is_some_and(|put| lines[put..].iter().any(|line| line == "flush"))
    }

    #[test]
    fn what_remains_is_what_it_takes() {
        let mut script = generate(1);
        let batch = "batch put a v8 | put b v9~500 | delete c | sync".parse().unwrap();
        script.ops.insert(script.ops.len() / 2, batch);
        script.ops.push(Op::Flush);
        let small = shrink(&script, 10_000, &mut fails);
        let lines: Vec<String> = small.ops.iter().map(Op::to_string).collect();
        assert_eq!(lines, ["put b v9", "flush"]);
    }

    #[test]
    fn the_budget_holds() {
        let mut script = generate(1);
        script.ops.extend(["put b v9".parse().unwrap(), Op::Flush]);
        let mut runs = 0;
        shrink(&script, 7, &mut |script| {
            runs += 1;
            fails(script)
        });
        assert_eq!(runs, 7);
    }
}
