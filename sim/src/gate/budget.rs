//! The time that driver code takes at DISPATCH_LEVEL: processor time of the thread, which a busy
//! host does not lengthen.

use std::time::Duration;

use super::context::Context;
use crate::{
    irql::Irql,
    report::{rules, violation},
};

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the structure; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

impl Context {
    /// Begins to measure a call at DISPATCH_LEVEL, unless it is part of one that is measured.
    pub(super) fn start_clock(&self) -> Option<Duration> {
        let wanted = self.machine().settings().dispatch_limit.is_some()
            && self.irql.get() >= Irql::DISPATCH
            && !self.timed.replace(true);
        wanted.then(thread_time)
    }

    /// Ends it, and stops the machine if it took too long.
    pub(super) fn stop_clock(&self, started: Duration, what: &'static str) {
        self.timed.set(false);
        let taken = thread_time().saturating_sub(started);
        if taken > self.longest.get() {
            self.longest.set(taken);
            self.machine().note_dispatch(taken, what);
        }
        if let Some(limit) = self
            .machine()
            .settings()
            .dispatch_limit
            .filter(|l| taken > *l)
        {
            violation(
                rules::DPC_WATCHDOG,
                format!(
                    "{what} took {taken:?} of processor time at DISPATCH_LEVEL; the limit is {limit:?}"
                ),
            );
        }
    }
}
