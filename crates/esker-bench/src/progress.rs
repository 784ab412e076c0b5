//! A bar on the terminal, and nothing anywhere else.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// How far a workload is.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Of `entries`; 0 if nobody knows how long it takes.
    pub fn new(name: &'static str, entries: u64) -> Self {
        let (bar, template) = if entries == 0 {
            (ProgressBar::new_spinner(), "{msg:<17} {spinner} {elapsed}")
        } else {
            let template = "{msg:<17} {wide_bar} {human_pos}/{human_len} {rate}/s, {eta} left";
            (ProgressBar::new(entries), template)
        };
        let style = ProgressStyle::with_template(template).expect("the template is right");
        let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
            // What cannot be shown on a terminal is not missed.
            let _ = write!(out, "{:.0}", state.per_sec());
        });
        Self { bar: bar.with_style(style).with_message(name) }
    }

    /// So many entries are done.
    pub fn show(&self, entries: u64) {
        self.bar.set_position(entries);
        self.bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
