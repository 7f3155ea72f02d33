//! Operations on an adapter that a handler may leave pending.

use ndis_sys::{NDIS_STATUS, NDIS_STATUS_FAILURE, NDIS_STATUS_PENDING};
use parking_lot::Mutex;

use super::{adapter::AdapterBlock, rules};
use crate::{
    machine::Machine,
    report::violation_about,
    sync::{self, Signal},
};

/// An operation that a handler may leave pending.
#[derive(Default)]
pub(super) struct Operation {
    stage: Mutex<Stage>,
    changed: Signal,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// The handler runs.
    Called,
    /// The handler returned NDIS_STATUS_PENDING.
    Pending,
    /// Complete, with status and flag.
    Complete(NDIS_STATUS, bool),
}

impl Operation {
    /// Whether the operation was begun and is not complete.
    pub(super) fn is_pending(&self) -> bool {
        matches!(*self.stage.lock(), Stage::Called | Stage::Pending)
    }

    /// Whether the handler has returned NDIS_STATUS_PENDING and the operation is not complete.
    pub(super) fn was_left_pending(&self) -> bool {
        *self.stage.lock() == Stage::Pending
    }

    /// The miniport's completion; false when there is nothing to complete.
    pub(super) fn complete(&self, status: NDIS_STATUS, flag: bool) -> bool {
        let mut stage = self.stage.lock();
        if !matches!(*stage, Stage::Called | Stage::Pending) {
            return false;
        }
        *stage = Stage::Complete(status, flag);
        self.changed.notify_all();
        true
    }

    /// Calls the handler and waits for the operation's end.
    pub(super) fn perform(
        &self,
        machine: &Machine,
        adapter: &AdapterBlock,
        name: &'static str,
        call: impl FnOnce() -> (NDIS_STATUS, bool),
    ) -> (NDIS_STATUS, bool) {
        *self.stage.lock() = Stage::Called;
        let (status, flag) = call();
        let mut stage = self.stage.lock();
        let early = matches!(*stage, Stage::Complete(..));
        if status != NDIS_STATUS_PENDING {
            *stage = Stage::Idle;
            drop(stage);
            if early {
                violation_about(
                    rules::ADAPTER_STATE,
                    format!("{name} returned {status:#010x} and the miniport completed it as well"),
                    &[adapter.object()],
                );
            }
            return (status, flag);
        }
        if !early {
            *stage = Stage::Pending;
        }
        drop(stage);
        let done = sync::wait(
            machine,
            name,
            &self.stage,
            &self.changed,
            None,
            |stage| match *stage {
                Stage::Complete(status, flag) => {
                    *stage = Stage::Idle;
                    Some((status, flag))
                }
                _ => None,
            },
        );
        done.ok().flatten().unwrap_or((NDIS_STATUS_FAILURE, false))
    }
}
