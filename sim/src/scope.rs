//! Threads that use a machine: with it they take turns, if its threads do.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
};

use parking_lot::Mutex;

use crate::{
    machine::Machine,
    sync::Signal,
    turns::{Ticket, Turns},
};

/// Whether a thread has done what it was started for.
#[derive(Default)]
struct Ended {
    is: Mutex<bool>,
    changed: Signal,
}

impl Ended {
    /// Waits for it. Nobody watches: it is for the thread to do as it likes.
    fn wait(&self) {
        let mut is = self.is.lock();
        while !*is {
            self.changed.wait(&mut is, None);
        }
    }
}

/// Where threads are started that use a machine; see [`Machine::scope`].
pub struct Scope<'scope, 'env> {
    machine: &'env Machine,
    threads: &'scope thread::Scope<'scope, 'env>,
    started: RefCell<Vec<Arc<Ended>>>,
}

/// A thread that was started.
pub struct Worker<'scope, T> {
    ended: Arc<Ended>,
    thread: thread::ScopedJoinHandle<'scope, T>,
}

impl Machine {
    /// As [`std::thread::scope`], for threads that use this machine: all that were started have ended when
    /// this returns. With [`crate::Builder::in_turns`] only those, and the one that has built the machine, may use it.
    pub fn scope<'env, T>(&'env self, f: impl for<'scope> FnOnce(&Scope<'scope, 'env>) -> T) -> T {
        thread::scope(|threads| {
            let scope = Scope {
                machine: self,
                threads,
                started: RefCell::default(),
            };
            let result = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
            for ended in scope.started.take() {
                ended.wait();
            }
            result.unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Starts a thread.
    pub fn spawn<T: Send + 'scope>(
        &self,
        f: impl FnOnce() -> T + Send + 'scope,
    ) -> Worker<'scope, T> {
        let ended = Arc::new(Ended::default());
        let ticket = self.machine.turns().map(Turns::ticket);
        let done = Arc::clone(&ended);
        let thread = self.threads.spawn(move || {
            let _seat = ticket.map(Ticket::take);
            let result = panic::catch_unwind(AssertUnwindSafe(f));
            *done.is.lock() = true;
            done.changed.notify_all();
            result.unwrap_or_else(|panic| panic::resume_unwind(panic))
        });
        // Not before: one that could not be started does not end.
        self.started.borrow_mut().push(Arc::clone(&ended));
        Worker { ended, thread }
    }
}

impl<T> Worker<'_, T> {
    /// Waits for its end.
    ///
    /// # Errors
    /// What it has panicked with.
    pub fn join(self) -> thread::Result<T> {
        self.ended.wait();
        self.thread.join()
    }
}
