//! Framework objects: contexts, references, deletion. Page: WdfObjectDelete.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use ndis_sys::{STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};
use parking_lot::Mutex;

use super::{
    KMDF,
    attributes::{
        Attributes, ContextType, Parent, RawAttributes, STATUS_WDF_OBJECT_ATTRIBUTES_INVALID,
        attributes,
    },
    loader::check_globals,
    lock, object, registry, timer, work_item,
};
use crate::{
    exports::Export,
    gate,
    inf::Values,
    irql::Irql,
    processor,
    report::{Finding, rules, violation},
};

const STATUS_OBJECT_NAME_EXISTS: i32 = 0x4000_0000;

/// Handles are not addresses: a driver that looks behind one faults.
const FIRST_HANDLE: u64 = 0xFFFF_5744_4600_0000;
const HANDLE_STEP: u64 = 0x10;
const CONTEXT_TAG: u32 = u32::from_le_bytes(*b"FxCx");

/// A framework object.
pub(super) struct Object {
    pub(super) handle: u64,
    pub(super) kind: &'static str,
    pub(super) globals: u64,
    pub(super) parent: Option<u64>,
    pub(super) execution_level: u32,
    pub(super) body: Body,
    cleanup: u64,
    destroy: u64,
    contexts: Mutex<Vec<Context>>,
    references: AtomicU32,
    deleted: AtomicBool,
}

struct Context {
    kind: u64,
    address: u64,
}

/// What is particular to a kind of object.
pub(super) enum Body {
    Driver { object: u64, unload: u64 },
    Device { objects: [u64; 3] },
    Key(Values),
    SpinLock(lock::Spin),
    WaitLock(lock::Wait),
    Timer(timer::Timer),
    WorkItem(work_item::WorkItem),
    General,
}

/// Makes an object; its parent is that of the attributes or else the driver.
pub(super) fn create(
    globals: u64,
    kind: &'static str,
    attributes: &Attributes,
    body: Body,
) -> Result<u64, i32> {
    let cpu = processor::current();
    let machine = cpu.machine();
    if machine.faults().hit(cpu.what()) {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    let contexts = match attributes.context {
        Some((kind, size)) => vec![new_context(kind, size)?],
        None => Vec::new(),
    };
    let mut inner = machine.wdf().inner.lock();
    // SAFETY: the globals of a bound driver; its object is set at creation.
    let driver = inner
        .bindings
        .get(&globals)
        .map(|b| unsafe { (*b.globals()).driver })
        .filter(|d| *d != 0);
    inner.serial += 1;
    let handle = FIRST_HANDLE + inner.serial * HANDLE_STEP;
    inner.objects.insert(
        handle,
        Arc::new(Object {
            handle,
            kind,
            globals,
            parent: attributes.parent.or(driver),
            execution_level: attributes.execution_level,
            body,
            cleanup: attributes.cleanup,
            destroy: attributes.destroy,
            contexts: Mutex::new(contexts),
            references: AtomicU32::new(1),
            deleted: AtomicBool::new(false),
        }),
    );
    Ok(handle)
}

fn new_context(kind: u64, size: usize) -> Result<Context, i32> {
    let cpu = processor::current();
    let address = cpu
        .machine()
        .kernel()
        .pool
        .allocate(size, CONTEXT_TAG, true);
    if address.is_null() {
        Err(STATUS_INSUFFICIENT_RESOURCES)
    } else {
        Ok(Context {
            kind,
            address: address as u64,
        })
    }
}

/// Deletes an object and its children: cleanup callbacks, then the callbacks of
/// those that nobody references any more.
pub(super) fn delete(handle: u64) {
    let cpu = processor::current();
    let wdf = cpu.machine().wdf();
    let children: Vec<u64> = {
        let inner = wdf.inner.lock();
        inner
            .objects
            .values()
            .filter(|o| o.parent == Some(handle))
            .map(|o| o.handle)
            .collect()
    };
    children.into_iter().for_each(delete);
    let Some(object) = wdf.inner.lock().objects.get(&handle).cloned() else {
        return;
    };
    if object.deleted.swap(true, Ordering::AcqRel) {
        return;
    }
    match &object.body {
        Body::Timer(t) => t.dispose(),
        Body::WorkItem(w) => w.dispose(),
        _ => {}
    }
    call("EvtCleanupCallback", object.cleanup, handle);
    release(&object);
}

fn call(what: &'static str, f: u64, handle: u64) {
    if f != 0 {
        // SAFETY: the driver's callback, of that convention and argument.
        unsafe { gate::call(what, f as *const (), &[handle]) };
    }
}

/// Drops one reference; with the last one the object is gone.
fn release(object: &Arc<Object>) {
    if object.references.fetch_sub(1, Ordering::AcqRel) != 1 {
        return;
    }
    call("EvtDestroyCallback", object.destroy, object.handle);
    let cpu = processor::current();
    let machine = cpu.machine();
    machine.wdf().inner.lock().objects.remove(&object.handle);
    for context in object.contexts.lock().drain(..) {
        crate::ntos::pool::free_or_stop(&machine.kernel().pool, context.address as *mut u8, None);
    }
}

/// Deletes everything of a driver that unbinds; what it should have deleted
/// itself is noted.
pub(super) fn remove_driver(globals: u64) {
    let cpu = processor::current();
    let wdf = cpu.machine().wdf();
    let (driver, mut findings) = {
        let inner = wdf.inner.lock();
        let mine = || inner.objects.values().filter(|o| o.globals == globals);
        let findings: Vec<_> = mine()
            .filter(|o| matches!(o.kind, "WDFDEVICE" | "WDFKEY"))
            .map(|o| (o.kind, o.handle))
            .map(|(kind, handle)| {
                Finding::new(
                    rules::WDF_LEAK,
                    format!("{kind} 0x{handle:x} was not deleted"),
                )
            })
            .collect();
        (
            mine().find(|o| o.kind == "WDFDRIVER").map(|o| o.handle),
            findings,
        )
    };
    if let Some(driver) = driver {
        delete(driver);
    }
    let mut inner = wdf.inner.lock();
    findings.extend(
        inner
            .objects
            .values()
            .filter(|o| o.globals == globals)
            .map(|o| {
                let (kind, handle, n) = (o.kind, o.handle, o.references.load(Ordering::Relaxed));
                Finding::new(
                    rules::WDF_LEAK,
                    format!("{kind} 0x{handle:x} is left with {n} references"),
                )
            }),
    );
    if let Some(binding) = inner.bindings.get_mut(&globals) {
        binding.findings.append(&mut findings);
    }
}

unsafe extern "efiapi" fn wdf_object_create(
    globals: u64,
    raw: *const RawAttributes,
    out: *mut u64,
) -> i32 {
    check_globals(globals);
    // SAFETY: the driver's attributes.
    let made = unsafe { attributes(raw, Parent::Optional) };
    // SAFETY: the driver's variable for the handle.
    finish(
        made.and_then(|a| create(globals, "WDFOBJECT", &a, Body::General)),
        |h| unsafe { out.write(h) },
    )
}

/// Hands a new handle out, or the status of a failure.
pub(super) fn finish(made: Result<u64, i32>, give: impl FnOnce(u64)) -> i32 {
    match made {
        Ok(handle) => {
            give(handle);
            STATUS_SUCCESS
        }
        Err(status) => status,
    }
}

unsafe extern "efiapi" fn wdf_object_delete(globals: u64, handle: u64) {
    check_globals(globals);
    let object = object(handle, "WDFOBJECT");
    let miniport_device = matches!(object.body, Body::Device { .. });
    if object.kind == "WDFDRIVER" {
        violation(
            rules::WDF_VIOLATION,
            "WdfObjectDelete of the driver object, which only the framework deletes",
        );
    }
    let irql = processor::current().irql();
    if (miniport_device || object.kind == "WDFKEY") && irql > Irql::PASSIVE {
        let kind = object.kind;
        violation(
            rules::IRQL,
            format!("WdfObjectDelete of a {kind} at {irql}; its page says PASSIVE_LEVEL"),
        );
    }
    if object.deleted.load(Ordering::Acquire) {
        violation(
            rules::WDF_VIOLATION,
            format!("WdfObjectDelete of 0x{handle:x}, which is being deleted"),
        );
    }
    delete(handle);
}

/// The context of the given type, or null.
unsafe extern "efiapi" fn wdf_object_get_typed_context_worker(
    globals: u64,
    handle: u64,
    kind: *const ContextType,
) -> u64 {
    check_globals(globals);
    let object = object(handle, "WDFOBJECT");
    // SAFETY: the driver's type.
    let unique = unsafe {
        if (*kind).unique.is_null() {
            kind
        } else {
            (*kind).unique
        }
    } as u64;
    object
        .contexts
        .lock()
        .iter()
        .find(|c| c.kind == unique)
        .map_or(0, |c| c.address)
}

unsafe extern "efiapi" fn wdf_object_allocate_context(
    globals: u64,
    handle: u64,
    raw: *const RawAttributes,
    out: *mut u64,
) -> i32 {
    check_globals(globals);
    let object = object(handle, "WDFOBJECT");
    // SAFETY: the driver's attributes.
    let context = match unsafe { attributes(raw, Parent::Refused) } {
        Ok(Attributes {
            context: Some(context),
            ..
        }) => context,
        Ok(_) => return STATUS_WDF_OBJECT_ATTRIBUTES_INVALID,
        Err(status) => return status,
    };
    let mut contexts = object.contexts.lock();
    let known = contexts
        .iter()
        .find(|c| c.kind == context.0)
        .map(|c| c.address);
    let (status, address) = match known {
        Some(address) => (STATUS_OBJECT_NAME_EXISTS, address),
        None => match new_context(context.0, context.1) {
            Ok(new) => {
                let address = new.address;
                contexts.push(new);
                (STATUS_SUCCESS, address)
            }
            Err(status) => return status,
        },
    };
    if !out.is_null() {
        // SAFETY: the driver's optional variable for the address.
        unsafe { out.write(address) };
    }
    status
}

unsafe extern "efiapi" fn wdf_object_context_get_object(globals: u64, context: u64) -> u64 {
    check_globals(globals);
    let cpu = processor::current();
    let inner = cpu.machine().wdf().inner.lock();
    let found = inner
        .objects
        .values()
        .find(|o| o.contexts.lock().iter().any(|c| c.address == context));
    let handle = found.map(|o| o.handle);
    drop(inner);
    handle.unwrap_or_else(|| {
        violation(
            rules::WDF_VIOLATION,
            format!("0x{context:x} is not an object's context"),
        )
    })
}

unsafe extern "efiapi" fn wdf_object_reference_actual(globals: u64, handle: u64) {
    check_globals(globals);
    object(handle, "WDFOBJECT")
        .references
        .fetch_add(1, Ordering::AcqRel);
}

unsafe extern "efiapi" fn wdf_object_dereference_actual(globals: u64, handle: u64) {
    check_globals(globals);
    let object = object(handle, "WDFOBJECT");
    let last = object.references.load(Ordering::Acquire) == 1;
    if last && !object.deleted.load(Ordering::Acquire) {
        violation(
            rules::WDF_VIOLATION,
            format!("0x{handle:x} was dereferenced more often than referenced"),
        );
    }
    release(&object);
}

pub(super) fn functions() -> Vec<Export> {
    let e = |name, f, arity| Export::new(KMDF, name, f, arity).at_most(Irql::DISPATCH);
    vec![
        e("WdfObjectCreate", wdf_object_create as *const (), 3),
        e("WdfObjectDelete", wdf_object_delete as *const (), 2),
        e(
            "WdfObjectGetTypedContextWorker",
            wdf_object_get_typed_context_worker as *const (),
            3,
        )
        .at_most(Irql::HIGH),
        e(
            "WdfObjectAllocateContext",
            wdf_object_allocate_context as *const (),
            4,
        ),
        e(
            "WdfObjectContextGetObject",
            wdf_object_context_get_object as *const (),
            2,
        )
        .at_most(Irql::HIGH),
        e(
            "WdfObjectReferenceActual",
            wdf_object_reference_actual as *const (),
            5,
        ),
        e(
            "WdfObjectDereferenceActual",
            wdf_object_dereference_actual as *const (),
            5,
        ),
    ]
}

/// Values of a key object.
pub(super) fn values_of(object: &Object) -> &Values {
    match &object.body {
        Body::Key(values) => values,
        _ => registry::none(),
    }
}
