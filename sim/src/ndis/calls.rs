//! Calls of a miniport's handlers that are in progress: NDIS lets them end
//! before it pauses or halts the adapter.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;

use super::adapter::AdapterBlock;
use crate::{
    machine::Machine,
    sync::{self, Signal},
};

/// Counts the calls in progress.
#[derive(Default)]
pub(super) struct Calls {
    count: Mutex<usize>,
    ended: Signal,
    closed: AtomicBool,
}

/// A call in progress.
pub(super) struct Call(Arc<AdapterBlock>);

impl Call {
    /// Begins a call; `None` once the adapter is being halted.
    pub(super) fn begin(adapter: &Arc<AdapterBlock>) -> Option<Self> {
        let call = Self::begin_last(adapter);
        (!adapter.calls.closed.load(Ordering::Acquire)).then_some(call)
    }

    /// Begins a call that helps the miniport to end what it has, also while the
    /// adapter is being halted.
    pub(super) fn begin_last(adapter: &Arc<AdapterBlock>) -> Self {
        *adapter.calls.count.lock() += 1;
        Self(Arc::clone(adapter))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let calls = &self.0.calls;
        *calls.count.lock() -= 1;
        calls.ended.notify_all();
    }
}

impl Calls {
    /// Lets calls begin, or no longer.
    pub(super) fn open(&self, open: bool) {
        self.closed.store(!open, Ordering::Release);
    }

    /// Whether any is in progress.
    pub(super) fn any(&self) -> bool {
        *self.count.lock() != 0
    }

    /// Waits until no call is in progress, and `idle` holds. PASSIVE_LEVEL.
    pub(super) fn drain(&self, machine: &Machine, idle: impl Fn() -> bool) {
        // On a processor a stopped machine does not let it return.
        let _ = sync::wait(
            machine,
            "what the miniport has in progress",
            &self.count,
            &self.ended,
            None,
            |count| (*count == 0 && idle()).then_some(()),
        );
    }
}
