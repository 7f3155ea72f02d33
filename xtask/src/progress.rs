//! Progress for the person at the terminal, plain lines for logs.

use std::{
    cell::Cell,
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Shows steps: a spinner with the latest output on a terminal, else a line when a step ends.
/// Everything goes to standard error, so standard output stays for results.
pub struct Progress {
    bars: Option<MultiProgress>,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Spinners if standard error is a terminal, lines if not.
    pub fn new() -> Self {
        Self {
            bars: stderr().is_terminal().then(MultiProgress::new),
        }
    }

    /// Starts a step that says what it is doing. End it with [`Step::done`]; a step that is dropped
    /// counts as failed.
    pub fn step(&self, what: impl Into<String>) -> Step {
        let what = what.into();
        let bar = match &self.bars {
            Some(bars) => {
                let bar = bars.add(ProgressBar::new_spinner());
                let style = ProgressStyle::with_template(
                    "{spinner:.cyan} {prefix:.bold} {elapsed:>4} {wide_msg:.dim}",
                );
                if let Ok(style) = style {
                    bar.set_style(style);
                }
                bar.set_prefix(what.clone());
                bar.enable_steady_tick(Duration::from_millis(100));
                Some(bar)
            }
            None => None,
        };
        Step {
            what,
            bar,
            announced: Cell::new(false),
            started: Instant::now(),
            finished: false,
        }
    }

    /// A line that stays, whatever spins.
    pub fn line(&self, text: impl AsRef<str>) {
        match &self.bars {
            Some(bars) => bars.suspend(|| eprintln!("{}", text.as_ref())),
            None => eprintln!("{}", text.as_ref()),
        }
    }
}

/// One step on display.
pub struct Step {
    what: String,
    bar: Option<ProgressBar>,
    announced: Cell<bool>,
    started: Instant,
    finished: bool,
}

impl Step {
    /// The latest detail, e.g. a line of output of the command that runs. Not kept, not logged.
    pub fn detail(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.trim().to_owned()),
            // A log gets a line when something really starts, so that a long step is not taken for a hang.
            None if !self.announced.replace(true) => eprintln!("  ..  {}", self.what),
            None => {}
        }
    }

    /// Ends the step; `outcome` may add what came of it.
    pub fn done(mut self, outcome: impl AsRef<str>) {
        let outcome = outcome.as_ref();
        let comma = if outcome.is_empty() { "" } else { ": " };
        let seconds = self.started.elapsed().as_secs_f64();
        self.finish(&format!(
            "  ok  {}{comma}{outcome} ({seconds:.1} s)",
            self.what
        ));
    }

    fn finish(&mut self, line: &str) {
        self.finished = true;
        match &self.bar {
            Some(bar) => {
                // Once the bar is cleared nothing redraws over the line.
                bar.finish_and_clear();
                eprintln!("{line}");
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            let line = format!("FAIL  {}", self.what);
            self.finish(&line);
        }
    }
}
