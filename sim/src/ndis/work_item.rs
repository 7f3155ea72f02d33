//! I/O work items.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use ndis_sys::{NDIS_HANDLE, PVOID};
use parking_lot::Mutex;

use super::{
    rules,
    state::{Owner, here, required, what},
};
use crate::{
    exports::{Export, NDIS},
    gate,
    history::Kind,
    irql::Irql,
    machine::Machine,
    report::violation_about,
};

/// A work item of a driver.
pub(super) struct WorkItem {
    pub(super) handle: u64,
    pub(super) owner: Owner,
    queued: AtomicBool,
}

type Work = Box<dyn FnOnce() + Send>;

/// The system worker threads.
#[derive(Default)]
pub(super) struct Workers {
    run: AtomicU64,
    /// What waits for a thread; None while there are free ones.
    waiting: Mutex<Option<Vec<Work>>>,
}

impl Workers {
    fn start(&self, machine: &Machine, work: Work) {
        if let Some(waiting) = &mut *self.waiting.lock() {
            waiting.push(work);
        } else {
            machine.spawn(None, Irql::PASSIVE, work);
        }
    }
}

impl super::State {
    /// How many work items have been begun.
    pub fn work_items_run(&self) -> u64 {
        self.workers.run.load(Ordering::Acquire)
    }

    /// How many work items wait for [`BusyWorkers`] to end.
    pub fn work_items_waiting(&self) -> usize {
        self.workers.waiting.lock().as_ref().map_or(0, Vec::len)
    }
}

/// Keeps the system worker threads busy with other things: work items wait until this is dropped.
pub struct BusyWorkers(Arc<Machine>);

impl BusyWorkers {
    /// From now on, for work items that are not running yet. Not twice at a time.
    #[must_use]
    pub fn on(machine: &Arc<Machine>) -> Self {
        *machine.ndis().workers.waiting.lock() = Some(Vec::new());
        Self(Arc::clone(machine))
    }
}

impl Drop for BusyWorkers {
    fn drop(&mut self) {
        let waiting = self.0.ndis().workers.waiting.lock().take();
        for work in waiting.into_iter().flatten() {
            self.0.spawn(None, Irql::PASSIVE, work);
        }
    }
}

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_MISCELLANEOUS)
    };
    vec![
        any("NdisAllocateIoWorkItem", allocate as *const (), 1),
        any("NdisQueueIoWorkItem", queue as *const (), 3),
        any("NdisFreeIoWorkItem", free as *const (), 1),
    ]
}

extern "efiapi" fn allocate(handle: NDIS_HANDLE) -> NDIS_HANDLE {
    here(|machine, state| {
        let owner = state.owner(handle as u64);
        if machine.faults().hit("NdisAllocateIoWorkItem") {
            return std::ptr::null_mut();
        }
        let handle = state.handle();
        let item = WorkItem {
            handle,
            owner,
            queued: AtomicBool::new(false),
        };
        state.work_items.insert(handle, item.into());
        machine.note(Kind::WorkItem, handle, "allocated", 0);
        handle as NDIS_HANDLE
    })
}

fn known(handle: NDIS_HANDLE) -> Arc<WorkItem> {
    here(|_, state| {
        state.work_items.get(handle as u64).unwrap_or_else(|| {
            violation_about(
                rules::HANDLE,
                format!(
                    "{} got {handle:p}, which is no work item (any more)",
                    what()
                ),
                &[(Kind::WorkItem, handle as u64)],
            )
        })
    })
}

extern "efiapi" fn queue(handle: NDIS_HANDLE, routine: *const (), context: PVOID) {
    required(routine, "Routine");
    let item = known(handle);
    if item.queued.swap(true, Ordering::AcqRel) {
        violation_about(
            rules::IO_WORK_ITEM,
            "a work item is queued while it is queued",
            &[(Kind::WorkItem, item.handle)],
        );
    }
    let (routine, context) = (routine as u64, context as u64);
    here(|machine, state| {
        machine.note(Kind::WorkItem, item.handle, "queued", 0);
        let work = move || {
            // The routine may queue the item again, or free it.
            item.queued.store(false, Ordering::Release);
            here(|machine, state| {
                state.workers.run.fetch_add(1, Ordering::AcqRel);
                machine.note(Kind::WorkItem, item.handle, "runs", 0);
            });
            // SAFETY: the driver's NdisIoWorkItemRoutine, with its arguments.
            unsafe {
                gate::call(
                    "NdisIoWorkItemRoutine",
                    routine as *const (),
                    &[context, item.handle],
                );
            }
        };
        state.workers.start(machine, Box::new(work));
    });
}

extern "efiapi" fn free(handle: NDIS_HANDLE) {
    let item = known(handle);
    if item.queued.load(Ordering::Acquire) {
        violation_about(
            rules::IO_WORK_ITEM,
            "a work item is freed while it is queued",
            &[(Kind::WorkItem, item.handle)],
        );
    }
    here(|machine, state| {
        machine.note(Kind::WorkItem, item.handle, "freed", 0);
        state.work_items.remove(item.handle);
    });
}
