//! Progress for the person at the terminal, plain lines for logs.

use std::{
    cell::Cell,
    io::{IsTerminal, stderr},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How long a log may be silent while a step goes on.
const SILENCE: Duration = Duration::from_secs(30);

/// Shows steps: a spinner with the latest output on a terminal, else a line when a step begins and ends, and
/// every [`SILENCE`] one that says how far it is.
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
            heart: Heart::default(),
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
    /// Beats only where there is no bar.
    heart: Heart,
    started: Instant,
    finished: bool,
}

impl Step {
    /// The latest detail, e.g. a line of output of the command that runs. Not kept, not logged.
    pub fn detail(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.trim().to_owned()),
            None => {
                self.heart.note(text);
                // A log gets a line when something really starts, so that a long step is not taken for a hang.
                if !self.announced.replace(true) {
                    eprintln!("  ..  {}", self.what);
                    self.beat();
                }
            }
        }
    }

    fn beat(&self) {
        let what = self.what.clone();
        self.heart.start(SILENCE, move |elapsed, latest| {
            eprintln!("{}", still(&what, elapsed, latest));
        });
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
        self.heart.stop();
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

/// That a step goes on, and how far it is.
fn still(what: &str, elapsed: Duration, latest: &str) -> String {
    let seconds = elapsed.as_secs();
    let colon = if latest.is_empty() { "" } else { ": " };
    format!("  ..  {what}, {seconds} s{colon}{latest}")
}

/// Says again and again what the latest detail is.
#[derive(Default)]
struct Heart {
    latest: Arc<Mutex<String>>,
    /// The thread ends when this end of the channel is gone.
    beating: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Heart {
    fn note(&self, latest: &str) {
        let mut text = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.trim().clone_into(&mut text);
    }

    fn start(&self, every: Duration, say: impl Fn(Duration, &str) + Send + 'static) {
        let (stop, stopped) = mpsc::channel();
        let latest = Arc::clone(&self.latest);
        let started = Instant::now();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let latest = latest
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                say(started.elapsed(), &latest);
            }
        });
        let mut beating = self.beating.lock().unwrap_or_else(PoisonError::into_inner);
        *beating = Some((stop, thread));
    }

    /// Nothing is said any more when this returns.
    fn stop(&self) {
        let mut beating = self.beating.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stop, thread)) = beating.take() {
            drop(stop);
            // If it has panicked, that has been said.
            let _ = thread.join();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_step_says_how_far_it_is_until_it_ends() {
        // Each beat waits until it is heard.
        let (said, heard) = mpsc::sync_channel(0);
        let mut heart = Heart::default();
        heart.note("  Compiling a v1\n");
        heart.start(Duration::from_millis(1), move |_, latest| {
            // Nobody listens any more once the test has heard enough.
            let _ = said.send(latest.to_owned());
        });
        assert_eq!(heard.recv().unwrap(), "Compiling a v1");
        heart.note("Building [=>  ] 2/9: b\r");
        // One beat may have been under way.
        let beats: Vec<_> = heard.iter().take(2).collect();
        assert_eq!(beats[1], "Building [=>  ] 2/9: b");
        drop(heard);
        heart.stop();
        let threads = Arc::get_mut(&mut heart.latest);
        assert!(threads.is_some(), "the thread still has it");
    }

    #[test]
    fn a_beat_has_step_time_and_detail() {
        let time = Duration::from_millis(30_500);
        for (latest, line) in [
            ("", "  ..  building x.sys, 30 s"),
            (
                "Compiling wdk-sys",
                "  ..  building x.sys, 30 s: Compiling wdk-sys",
            ),
        ] {
            assert_eq!(still("building x.sys", time, latest), line);
        }
    }
}
