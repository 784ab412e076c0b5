//! A merge as steps.

use crate::base::cursor::Cursor;
use crate::base::error::Result;
use crate::compaction::elide::{Elider, Verdict};
use crate::sstable::{TableSummary, TableWriter};

pub struct Cuts {
    target_bytes: u64,
    boundaries: Vec<Vec<u8>>,
}
impl Cuts {
    pub fn none() -> Self {
        Self { target_bytes: u64::MAX, boundaries: Vec::new() }
    }
    pub fn at(target_bytes: u64, boundaries: Vec<Vec<u8>>) -> Self {
        Self { target_bytes, boundaries }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeProgress {
    More,
    Done,
}
#[derive(Clone, Copy, Debug, Default)]
pub struct MergeCounts {
    pub superseded: u64,
    pub tombstones_dropped: u64,
}

pub struct MergeJob {
    source: Box<dyn Cursor>,
    started: bool,
    elider: Elider,
    cuts: Cuts,
    writer: Option<TableWriter>,
    last_key: Vec<u8>,
    outputs: Vec<TableSummary>,
    counts: MergeCounts,
}

impl MergeJob {
    pub fn new(source: Box<dyn Cursor>, elider: Elider, cuts: Cuts) -> Self {
        Self {
            source,
            started: false,
            elider,
            cuts,
            writer: None,
            last_key: Vec::new(),
            outputs: Vec::new(),
            counts: MergeCounts::default(),
        }
    }
    pub fn outputs(&self) -> &[TableSummary] {
        &self.outputs
    }
    pub fn counts(&self) -> MergeCounts {
        self.counts
    }
    pub fn step(
        &mut self,
        bytes: usize,
        open: &mut dyn FnMut() -> Result<TableWriter>,
    ) -> Result<MergeProgress> {
        if !self.started {
            self.source.seek_first()?;
            self.started = true;
        }
        let mut done = 0;
        while done < bytes {
            if !self.source.valid() {
                self.finish_output()?;
                return Ok(MergeProgress::Done);
            }
            let (key, tag) = (self.source.key(), self.source.tag());
            done += key.len() + self.source.value().len() + 16;
            match self.elider.decide(key, tag) {
                Verdict::Superseded => self.counts.superseded += 1,
                Verdict::TombstoneGone => self.counts.tombstones_dropped += 1,
                Verdict::Keep => {
                    let new_key = key != self.last_key;
                    let full = self.writer.as_ref().is_some_and(|w| {
                        w.estimated_bytes() >= self.cuts.target_bytes
                            || (w.estimated_bytes() * 2 >= self.cuts.target_bytes
                                && self
                                    .cuts
                                    .boundaries
                                    .iter()
                                    .any(|b| **b > *self.last_key && **b <= *key))
                    });
                    if new_key && full {
                        self.finish_output()?;
                    }
                    if self.writer.is_none() {
                        self.writer = Some(open()?);
                    }
                    let (key, tag, value) =
                        (self.source.key(), self.source.tag(), self.source.value());
                    self.writer.as_mut().expect("open").add(key, tag, value)?;
                    self.last_key.clear();
                    self.last_key.extend_from_slice(key);
                }
            }
            self.source.next()?;
        }
        Ok(MergeProgress::More)
    }
    fn finish_output(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.outputs.push(writer.finish()?);
        }
        Ok(())
    }
}
