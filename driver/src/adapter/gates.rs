//! The gates of the data path: two rundowns, and who waits for them to drain. A pause waits for both,
//! a reset for the sends, a low-power state too.
//!
//! Exactly one processor learns that a closed rundown has drained: the one that closed it empty, or
//! the last one to leave. Only when that one has said so here does anything count as drained, so
//! that whoever goes on to free the adapter never overtakes it.

use ndis::{Dispatch, Event, Passive, Rundown, SpinLock};
use ndis_sys::{NDIS_STATUS, NDIS_STATUS_RESET_IN_PROGRESS};

use super::state::{Reason, State};

/// How often a send looks again when the gate has been opened and closed under its eyes.
const ATTEMPTS: u32 = 4;

/// The gates of an adapter.
pub struct Gates {
    /// Send calls, and the send queue.
    tx: Rundown,
    /// Frames that are with NDIS, and indications under way.
    rx: Rundown,
    waiting: SpinLock<Waiting>,
    /// Signalled while the sends have drained.
    idle: Event,
}

struct Waiting {
    tx_drained: bool,
    rx_drained: bool,
    /// A pause is pending.
    pause: bool,
    /// A reset is pending.
    reset: bool,
}

/// What has come to its end and is to be completed now.
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "NDIS waits for the completion"]
pub struct Finished {
    /// The pending pause.
    pub pause: bool,
    /// The pending reset.
    pub reset: bool,
}

impl Waiting {
    fn finished(&mut self) -> Finished {
        let pause = self.pause && self.tx_drained && self.rx_drained;
        let reset = self.reset && self.tx_drained;
        self.pause &= !pause;
        self.reset &= !reset;
        Finished { pause, reset }
    }
}

impl Gates {
    /// All closed. The event is yet to be [initialised](Self::initialize).
    pub fn closed() -> Self {
        Self {
            tx: Rundown::closed(),
            rx: Rundown::closed(),
            waiting: SpinLock::new(Waiting {
                tx_drained: true,
                rx_drained: true,
                pause: false,
                reset: false,
            }),
            idle: Event::uninitialized(),
        }
    }

    /// Makes the event.
    ///
    /// # Safety
    /// The gates do not move any more, and nobody uses them before this returns.
    pub unsafe fn initialize(&self) {
        // SAFETY: by the caller's promise.
        unsafe { self.idle.initialize() };
        self.idle.set();
    }

    /// Counts a send call.
    ///
    /// # Errors
    /// The status that says why sends are not let in.
    pub fn enter_tx(&self, state: &State, at: Dispatch<'_>) -> Result<(), NDIS_STATUS> {
        for _ in 0..ATTEMPTS {
            if self.tx.enter(1) {
                return Ok(());
            }
            if let Some(status) = state.refusal() {
                return Err(status);
            }
            // Closed a moment ago, for a reason that is gone by now: whoever takes it away opens under
            // the lock, and has done so once it can be had.
            drop(self.waiting.lock(at));
        }
        Err(NDIS_STATUS_RESET_IN_PROGRESS)
    }

    /// Counts frames that go to NDIS; false when they are not let out.
    pub fn enter_rx(&self, count: u32) -> bool {
        self.rx.enter(count)
    }

    /// A send call, or the send queue, is done.
    pub fn leave_tx(&self, at: Dispatch<'_>) -> Finished {
        if !self.tx.leave(1).0 {
            return Finished::default();
        }
        let mut waiting = self.waiting.lock(at);
        waiting.tx_drained = true;
        self.idle.set();
        waiting.finished()
    }

    /// Frames are back, or an indication has returned.
    pub fn leave_rx(&self, count: u32, at: Dispatch<'_>) -> Finished {
        if !self.rx.leave(count).0 {
            return Finished::default();
        }
        let mut waiting = self.waiting.lock(at);
        waiting.rx_drained = true;
        waiting.finished()
    }

    /// Closes both. True when nothing is under way; otherwise the pause is pending.
    pub fn pause(&self, at: Dispatch<'_>) -> bool {
        let mut waiting = self.waiting.lock(at);
        self.close_tx(&mut waiting);
        waiting.rx_drained |= self.rx.close().0;
        waiting.pause = true;
        waiting.finished().pause
    }

    /// Closes the sends. True when none is under way, false when the reset is pending, None when one
    /// is already.
    pub fn reset(&self, at: Dispatch<'_>) -> Option<bool> {
        let mut waiting = self.waiting.lock(at);
        if waiting.reset {
            return None;
        }
        self.close_tx(&mut waiting);
        waiting.reset = true;
        Some(waiting.finished().reset)
    }

    /// Closes the sends, for [`wait_idle`](Self::wait_idle).
    pub fn close_sends(&self, at: Dispatch<'_>) {
        self.close_tx(&mut self.waiting.lock(at));
    }

    fn close_tx(&self, waiting: &mut Waiting) {
        if self.tx.close().0 {
            waiting.tx_drained = true;
            self.idle.set();
        }
    }

    /// Waits until no send is under way.
    pub fn wait_idle(&self, at: Passive<'_>) {
        self.idle.wait(at);
    }

    /// Lets frames out to NDIS.
    pub fn open_receives(&self, at: Dispatch<'_>) {
        let mut waiting = self.waiting.lock(at);
        waiting.rx_drained = false;
        self.rx.open();
    }

    /// Takes a reason away, and lets sends in unless there is another one. Asked under the lock: who
    /// adds a reason closes afterwards, and who finds the gate closed finds a reason.
    pub fn resume(&self, state: &State, reason: Reason, at: Dispatch<'_>) {
        let mut waiting = self.waiting.lock(at);
        state.clear(reason);
        if state.refusal().is_none() && waiting.tx_drained {
            waiting.tx_drained = false;
            self.idle.clear();
            self.tx.open();
        }
    }
}
