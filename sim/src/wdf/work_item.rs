//! WDFWORKITEM. Pages: WdfWorkItemCreate, WdfWorkItemEnqueue, WdfWorkItemFlush.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    KMDF,
    attributes::{Parent, RawAttributes, attributes},
    loader::check_globals,
    object,
    object::{Body, Object, create, finish},
};
use crate::{
    exports::Export,
    gate,
    irql::Irql,
    processor,
    sync::{self, Signal},
};

const STATUS_INFO_LENGTH_MISMATCH: i32 = 0xC000_0004_u32 as i32;
const STATUS_INVALID_PARAMETER: i32 = 0xC000_000D_u32 as i32;

/// WDF_WORKITEM_CONFIG.
#[repr(C)]
struct WorkItemConfig {
    size: u32,
    function: u64,
    automatic_serialization: u8,
}

const _: () = assert!(size_of::<WorkItemConfig>() == 24);

/// A work item.
pub(super) struct WorkItem {
    function: u64,
    state: Mutex<Progress>,
    done: Signal,
}

#[derive(Default)]
struct Progress {
    queued: bool,
    running: u32,
}

impl WorkItem {
    /// Waits until no call is queued or in progress.
    fn flush(&self) {
        let cpu = processor::current();
        // An error cannot come back to a processor thread.
        let _ = sync::wait(
            cpu.machine(),
            "WdfWorkItemFlush",
            &self.state,
            &self.done,
            None,
            |p| (!p.queued && p.running == 0).then_some(()),
        );
    }

    pub(super) fn dispose(&self) {
        if processor::current().irql() == Irql::PASSIVE {
            self.flush();
        }
    }
}

fn work_item(object: &Object) -> &WorkItem {
    match &object.body {
        Body::WorkItem(item) => item,
        // `object` has looked at the kind of the handle.
        _ => unreachable!("0x{:x} is {}", object.handle, object.kind),
    }
}

unsafe extern "efiapi" fn wdf_work_item_create(
    globals: u64,
    config: *const WorkItemConfig,
    raw: *const RawAttributes,
    out: *mut u64,
) -> i32 {
    check_globals(globals);
    // SAFETY: the driver's configuration.
    let (size, function) = unsafe { ((*config).size, (*config).function) };
    if size as usize != size_of::<WorkItemConfig>() {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    if function == 0 {
        return STATUS_INVALID_PARAMETER;
    }
    let body = Body::WorkItem(WorkItem {
        function,
        state: Mutex::default(),
        done: Signal::new(),
    });
    // SAFETY: the driver's attributes.
    let made = unsafe { attributes(raw, Parent::Required) };
    // SAFETY: the driver's variable for the handle.
    finish(
        made.and_then(|a| create(globals, "WDFWORKITEM", &a, body)),
        |h| unsafe { out.write(h) },
    )
}

unsafe extern "efiapi" fn wdf_work_item_enqueue(globals: u64, handle: u64) {
    check_globals(globals);
    let object = object(handle, "WDFWORKITEM");
    if std::mem::replace(&mut work_item(&object).state.lock().queued, true) {
        return; // Enqueued already and not started yet.
    }
    let target = Arc::clone(&object);
    processor::current()
        .machine()
        .spawn(None, Irql::PASSIVE, move || {
            let item = work_item(&target);
            {
                let mut state = item.state.lock();
                state.queued = false;
                state.running += 1;
            }
            // SAFETY: EvtWorkItemFunc's convention and argument.
            unsafe {
                gate::call(
                    "EvtWorkItemFunc",
                    item.function as *const (),
                    &[target.handle],
                )
            };
            item.state.lock().running -= 1;
            item.done.notify_all();
        });
}

unsafe extern "efiapi" fn wdf_work_item_get_parent_object(globals: u64, handle: u64) -> u64 {
    check_globals(globals);
    object(handle, "WDFWORKITEM").parent.unwrap_or_default()
}

unsafe extern "efiapi" fn wdf_work_item_flush(globals: u64, handle: u64) {
    check_globals(globals);
    work_item(&object(handle, "WDFWORKITEM")).flush();
}

pub(super) fn functions() -> Vec<Export> {
    let e = |name, f, arity| Export::new(KMDF, name, f, arity).at_most(Irql::DISPATCH);
    vec![
        e("WdfWorkItemCreate", wdf_work_item_create as *const (), 4),
        e("WdfWorkItemEnqueue", wdf_work_item_enqueue as *const (), 2),
        e(
            "WdfWorkItemGetParentObject",
            wdf_work_item_get_parent_object as *const (),
            2,
        ),
        e("WdfWorkItemFlush", wdf_work_item_flush as *const (), 2).exactly(Irql::PASSIVE),
    ]
}
