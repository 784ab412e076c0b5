//! A run: workloads one after the other on one store, each measured from outside and inside.
//!
//! A fill begins with an empty store. Before a workload that reads, whatever was written since is
//! settled, so that reads are measured on the same shape of tree; the report has a line for it.
//! The thread that waits looks ten times a second at how far the workers are and how much memory
//! there is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use esker::{Db, Options, Stats};

use crate::clock::Tally;
use crate::entries::Values;
use crate::error::{Error, Result};
use crate::ground::{Ground, Worker};
use crate::home::{Contents, Home};
use crate::machine::{self, Machine};
use crate::process;
use crate::progress::Progress;
use crate::report::{Amplification, Disk, Memory, Part, Phase, Report};
use crate::settings::Settings;
use crate::work;
use crate::workload::Workload;

/// Between two looks at the workers.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Does what `settings` say and reports what was measured.
///
/// # Errors
/// Whatever keeps a figure from being true, a wrong answer of the store above all.
pub fn run(settings: &Settings) -> Result<Report> {
    let home = Home::open(settings.dir.as_deref())?;
    let contents = home.contents().unwrap_or_default();
    settings.check(contents.records())?;
    let reads_first = settings.workloads.first().is_some_and(|workload| !workload.fills());
    let sizes = (settings.key_bytes, settings.value_bytes);
    if reads_first && sizes != (contents.key_bytes, contents.value_bytes) {
        return Err(Error::Usage(format!(
            "the store holds entries of {} + {} bytes: name these sizes, or fill it anew",
            contents.key_bytes, contents.value_bytes
        )));
    }
    let report = Report {
        esker: env!("CARGO_PKG_VERSION").into(),
        date: machine::now(),
        command: std::env::args().collect(),
        machine: Machine::here(home.dir()),
        settings: settings.summary(),
        phases: Vec::new(),
    };
    let values = Values::new(settings.value_bytes, settings.seed);
    let mut run = Run { settings, home, values, contents, db: None, unsettled: true, report };
    for workload in &settings.workloads {
        run.workload(*workload)?;
    }
    run.close()?;
    Ok(run.report)
}

struct Run<'a> {
    settings: &'a Settings,
    home: Home,
    values: Values,
    contents: Contents,
    db: Option<Db>,
    unsettled: bool,
    report: Report,
}

impl Run<'_> {
    fn workload(&mut self, workload: Workload) -> Result<()> {
        if workload.fills() {
            self.close()?;
            self.home.note_contents(None)?;
            self.home.remove_store()?;
        }
        let db = self.open()?;
        if workload.wants_settled() && self.unsettled {
            self.settle(&db)?;
        }
        if workload.writes() {
            self.unsettled = true;
            self.home.note_contents(None)?;
        }
        let ground = Ground::new(&db, self.settings, &self.values, workload, &self.contents);
        let entries = workload.entries(self.settings, ground.present);
        let before = Before::now(&db);
        let (parts, memory) = measure(&ground, entries)?;
        check_scan(&ground, &parts)?;
        self.contents = contents_after(&ground);
        let mut phase = Phase::new(workload.name(), parts);
        drop(ground);
        before.complete(&mut phase, &db, &self.home, &self.contents, memory)?;
        self.report.phases.push(phase);
        if workload.writes() {
            self.home.note_contents(Some(&self.contents))?;
        }
        Ok(())
    }

    fn settle(&mut self, db: &Db) -> Result<()> {
        let before = Before::now(db);
        let progress = Progress::new("settling", 0);
        let began = Instant::now();
        let running = AtomicUsize::new(1);
        let settled = thread::scope(|scope| {
            let leaving = Leaving { running: &running, waiting: thread::current() };
            let settling = scope.spawn(move || {
                let _leaving = leaving;
                db.settle()
            });
            let memory = watch(db, &running, || progress.show(0));
            (settling.join().expect("settling does not panic"), memory)
        });
        settled.0?;
        let mut phase = Phase::new("settle", Vec::new());
        phase.seconds = began.elapsed().as_secs_f64();
        before.complete(&mut phase, db, &self.home, &self.contents, settled.1)?;
        self.report.phases.push(phase);
        self.unsettled = false;
        Ok(())
    }

    fn open(&mut self) -> Result<Db> {
        if let Some(db) = &self.db {
            return Ok(db.clone());
        }
        let mut options = Options::new()
            .durability(self.settings.durability)
            .compression(self.settings.compression);
        if let Some(bytes) = self.settings.memory_budget {
            options = options.memory_budget(bytes);
        }
        Ok(self.db.insert(options.open(self.home.store())?).clone())
    }

    fn close(&mut self) -> Result<()> {
        self.db.take().map_or(Ok(()), |db| Ok(db.close()?))
    }
}

/// What is there when all threads are done.
fn contents_after(ground: &Ground<'_>) -> Contents {
    let sizes = Contents {
        key_bytes: ground.settings.key_bytes,
        value_bytes: ground.settings.value_bytes,
        ..Contents::default()
    };
    match ground.workload {
        Workload::DeleteRandom => sizes,
        _ => {
            let filled = ground.records.filled();
            Contents { filled, inserted: ground.inserts.written() - filled, ..sizes }
        }
    }
}

/// A full scan has found each record exactly once: as many as there are, and their stamps add up.
fn check_scan(ground: &Ground<'_>, parts: &[Part]) -> Result<()> {
    if ground.workload != Workload::ScanAll {
        return Ok(());
    }
    let found: u64 = parts.iter().map(|part| part.entries).sum();
    let stamps = ground.stamps_found.load(Ordering::Relaxed);
    if found == ground.present && stamps == ground.stamps_expected() {
        return Ok(());
    }
    Err(Error::Wrong(format!("scanall: {found} entries, not the {} that were put", ground.present)))
}

/// Lets the threads of a workload do `entries` in all, and gathers what they measured.
fn measure(ground: &Ground<'_>, entries: u64) -> Result<(Vec<Part>, Memory)> {
    let threads = ground.settings.threads as u64;
    let beside = ground.workload == Workload::ReadWhileWriting;
    let done: Vec<Line> = (0..=threads).map(|_| Line::default()).collect();
    let running = AtomicUsize::new(threads as usize);
    let progress = Progress::new(ground.workload.name(), entries);
    let ((tallies, beside), memory) = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let leaving = Leaving { running: &running, waiting: thread::current() };
                let done = &done[thread as usize].0;
                let share = thread * entries / threads..(thread + 1) * entries / threads;
                scope.spawn(move || {
                    let _leaving = leaving;
                    let mut worker = Worker::new(ground, thread as usize, share, done);
                    work::work(&mut worker).map(|()| worker.clock.stop())
                })
            })
            .collect();
        let writer = beside.then(|| {
            let done = &done[threads as usize].0;
            scope.spawn(move || {
                let mut worker = Worker::new(ground, threads as usize, 0..0, done);
                work::write::overwrite_beside(&mut worker).map(|()| worker.clock.stop())
            })
        });
        let memory = watch(ground.db, &running, || {
            progress.show(done[..threads as usize].iter().map(Line::get).sum());
        });
        ground.stop.store(true, Ordering::Relaxed);
        let join = |worker: thread::ScopedJoinHandle<'_, Result<Tally>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let tallies: Vec<_> = workers.into_iter().map(join).collect();
        ((tallies, writer.map(join)), memory)
    });
    let mut parts = vec![Part::new("", ground.workload.unit(), &sum(tallies)?)];
    if let Some(writer) = beside {
        parts[0].name = "reads".into();
        parts.push(Part::new("writes", "puts", &writer?));
    }
    Ok((parts, memory))
}

fn sum(tallies: Vec<Result<Tally>>) -> Result<Tally> {
    let mut all: Option<Tally> = None;
    for tally in tallies {
        let tally = tally?;
        match &mut all {
            Some(all) => all.add(&tally),
            None => all = Some(tally),
        }
    }
    Ok(all.expect("a workload has a thread"))
}

/// A counter alone in its cache line.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Line {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts a worker out and wakes whoever waits, also when the worker panics.
struct Leaving<'a> {
    running: &'a AtomicUsize,
    waiting: Thread,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.waiting.unpark();
    }
}

/// Waits for the workers, and calls `show` now and then; answers the most memory it saw.
fn watch(db: &Db, running: &AtomicUsize, show: impl Fn()) -> Memory {
    let mut memory = Memory::default();
    loop {
        let stats = db.stats();
        memory.engine_bytes = memory.engine_bytes.max(engine_bytes(&stats));
        memory.anonymous_bytes = memory.anonymous_bytes.max(process::anonymous_bytes());
        if running.load(Ordering::SeqCst) == 0 {
            return memory;
        }
        show();
        thread::park_timeout(LOOK_EVERY);
    }
}

/// What the engine itself counts against its budget.
fn engine_bytes(stats: &Stats) -> u64 {
    stats.memory.total_bytes()
}

/// Counters when a phase begins.
struct Before {
    stats: Stats,
    cpu_seconds: Option<f64>,
    disk_bytes: Option<u64>,
    peak_was_reset: bool,
}

impl Before {
    fn now(db: &Db) -> Self {
        let peak_was_reset = process::reset_peak();
        Self {
            stats: db.stats(),
            cpu_seconds: process::cpu_seconds(),
            disk_bytes: process::disk_bytes_written(),
            peak_was_reset,
        }
    }

    /// Adds to `phase` what has changed since.
    fn complete(
        self,
        phase: &mut Phase,
        db: &Db,
        home: &Home,
        contents: &Contents,
        memory: Memory,
    ) -> Result<()> {
        let stats = db.stats();
        let cpu_seconds = process::cpu_seconds().zip(self.cpu_seconds);
        phase.cpu_seconds = cpu_seconds.map(|(after, before)| after - before);
        phase.disk = Disk {
            user_bytes: stats.user_bytes.saturating_sub(self.stats.user_bytes),
            log_bytes: stats.log_bytes_written - self.stats.log_bytes_written,
            flush_bytes: stats.flush_bytes - self.stats.flush_bytes,
            compaction_bytes: stats.compaction_bytes_written - self.stats.compaction_bytes_written,
            process_bytes: process::disk_bytes_written()
                .zip(self.disk_bytes)
                .map(|(after, before)| after.saturating_sub(before)),
            space_bytes: process::allocated_bytes(&home.store())
                .map_err(Error::io(home.store().display()))?,
            live_bytes: contents.live_bytes(),
        };
        let peak_bytes = process::peak_bytes().filter(|_| self.peak_was_reset);
        phase.memory = Memory { peak_bytes, ..memory };
        phase.amplification = Amplification {
            write: stats.write_amplification,
            read: stats.read_amplification,
            space: stats.space_amplification,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny(workloads: &str) -> Settings {
        Settings {
            num: 2_000,
            memory_budget: Some(1 << 20),
            workloads: workloads.split(',').map(|name| name.parse().unwrap()).collect(),
            ..Settings::default()
        }
    }

    fn names(report: &Report) -> Vec<&str> {
        report.phases.iter().map(|phase| phase.name.as_str()).collect()
    }

    #[test]
    fn every_workload_runs_and_is_counted() {
        for threads in [1, 3] {
            let settings = Settings { num: 2_000, threads, ..Settings::default() };
            let report = run(&settings).unwrap();
            for workload in &settings.workloads {
                let phase = report.phases.iter().find(|phase| phase.name == workload.name());
                let part = &phase.unwrap().parts[0];
                let present =
                    if *workload == Workload::DeleteRandom { part.entries } else { 2_000 };
                let entries = workload.entries(&settings, present);
                if *workload == Workload::ScanAll {
                    assert_eq!(part.entries, 2_000);
                } else {
                    assert_eq!(part.entries, entries, "{workload}");
                }
                assert!(part.per_second > 0.0 && part.latency.longest > 0);
            }
            assert_eq!(report.phases.last().unwrap().disk.live_bytes, 200 * 116);
        }
    }

    #[test]
    fn the_store_settles_between_writes_and_reads_once() {
        let report = run(&tiny("fillseq,overwrite,readrandom,scanall,ycsb-a,ycsb-c")).unwrap();
        let expected = "fillseq,overwrite,settle,readrandom,scanall,ycsb-a,settle,ycsb-c";
        assert_eq!(names(&report).join(","), expected);
    }

    #[test]
    fn readers_have_a_writer_beside_them() {
        for write_rate in [None, Some(1_000_000)] {
            let settings = Settings { write_rate, threads: 2, ..tiny("fillseq,readwhilewriting") };
            let report = run(&settings).unwrap();
            let parts = &report.phases.last().unwrap().parts;
            assert_eq!((parts[0].name.as_str(), parts[0].entries), ("reads", 2_000));
            assert_eq!((parts[1].name.as_str(), parts[1].unit.as_str()), ("writes", "puts"));
        }
    }

    #[test]
    fn a_later_run_reads_what_an_earlier_one_left() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Some(dir.path().join("here"));
        let settings = |workloads| Settings { dir: dir.clone(), ..tiny(workloads) };
        run(&settings("fillrandom,ycsb-d,ycsb-e")).unwrap();
        let report = run(&Settings { seed: 9, ..settings("scanall,readrandom,ycsb-d") }).unwrap();
        assert!(report.phases[1].parts[0].entries > 2_000, "insertions are still there");
        let other = run(&Settings { value_bytes: 7, ..settings("readrandom") }).unwrap_err();
        assert!(other.to_string().contains("16 + 100 bytes"), "{other}");
        run(&settings("deleterandom")).unwrap();
        let empty = run(&settings("scanall")).unwrap_err();
        assert!(empty.to_string().contains("empty store"), "{empty}");
    }

    #[test]
    fn a_store_that_answers_wrongly_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let settings = |workloads| Settings { dir: Some(dir.path().into()), ..tiny(workloads) };
        run(&settings("fillseq")).unwrap();
        let spoil = |change: &dyn Fn(&Db)| {
            let db = Db::open(dir.path().join("store")).unwrap();
            change(&db);
            db.close().unwrap();
        };
        let key = |number: u64| format!("{number:016}");
        let value = |db: &Db| db.get(key(0)).unwrap().unwrap();
        for (workloads, spoiling, repairing) in [
            (
                "readrandom,multiget,scanall,seek10,ycsb-c",
                &(|db: &Db| (0..2_000).for_each(|i| db.put(key(4 * i), value(db)).unwrap()))
                    as &dyn Fn(&Db),
                "fillseq",
            ),
            ("scanall", &|db: &Db| db.delete(key(4)).unwrap(), "fillseq"),
            ("scanall", &|db: &Db| db.put(key(5), "x".repeat(100)).unwrap(), "fillseq"),
            (
                "readmissing",
                &|db: &Db| (0..2_000).for_each(|i| db.put(key(4 * i + 2), "").unwrap()),
                "fillseq",
            ),
        ] {
            spoil(spoiling);
            for workload in workloads.split(',') {
                let error = run(&settings(workload)).unwrap_err();
                assert!(matches!(&error, Error::Wrong(text) if text.contains(workload)), "{error}");
            }
            run(&settings(repairing)).unwrap();
        }
    }
}
