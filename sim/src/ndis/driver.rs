//! Drivers: registration, optional handlers, unloading.

use std::{
    mem::size_of,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ndis_sys::{
    DRIVER_OBJECT, NDIS_HANDLE, NDIS_MINIPORT_DRIVER_CHARACTERISTICS, NDIS_OBJECT_HEADER,
    NDIS_STATUS, NDIS_STATUS_BAD_VERSION, NDIS_STATUS_FAILURE, NDIS_STATUS_NOT_SUPPORTED,
    NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS, UNICODE_STRING,
};
use parking_lot::Mutex;

use super::{
    header::{self, Version},
    rules,
    state::{Owner, here, required, stop_for_leaks, what},
};
use crate::{
    exports::{Export, NDIS},
    gate,
    inf::Install,
    irql::Irql,
    report::violation,
};

/// A driver that registered as a miniport driver.
pub(super) struct DriverBlock {
    pub(super) handle: u64,
    /// Address of its DRIVER_OBJECT.
    pub(super) object: u64,
    /// MiniportDriverContext.
    pub(super) context: u64,
    pub(super) version: Version,
    pub(super) handlers: NDIS_MINIPORT_DRIVER_CHARACTERISTICS,
    pub(super) pnp: Mutex<PnpHandlers>,
    pub(super) install: Arc<Install>,
    setting_options: AtomicBool,
    pub(super) unloading: AtomicBool,
}

// SAFETY: the characteristics hold only addresses of code.
unsafe impl Send for DriverBlock {}
// SAFETY: as above.
unsafe impl Sync for DriverBlock {}

/// Handlers of NDIS_MINIPORT_PNP_CHARACTERISTICS, as addresses; 0 for none.
#[derive(Clone, Copy, Default)]
pub(super) struct PnpHandlers {
    pub(super) add_device: u64,
    pub(super) remove_device: u64,
}

/// The address of an optional handler, as the gate wants it; NULL for none.
macro_rules! handler {
    ($driver:expr, $field:ident) => {
        $driver
            .handlers
            .$field
            .map_or(std::ptr::null(), |f| f as *const ())
    };
}
pub(super) use handler;

pub(super) fn exports() -> Vec<Export> {
    let passive = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .exactly(Irql::PASSIVE)
            .irql_rule(rules::IRQL_MINIPORT)
    };
    vec![
        passive("NdisMRegisterMiniportDriver", register as *const (), 5),
        passive("NdisMDeregisterMiniportDriver", deregister as *const (), 1),
        passive(
            "NdisSetOptionalHandlers",
            set_optional_handlers as *const (),
            2,
        )
        .irql_rule(rules::IRQL_MISCELLANEOUS),
    ]
}

/// Offset of DriverUnload in a DRIVER_OBJECT (wdm.h, x64).
const DRIVER_UNLOAD: usize = 104;

/// What NDIS puts in place of the driver's DriverUnload.
fn unload_export() -> Export {
    Export::new(NDIS, "NdisMUnload", unload as *const (), 1)
}

extern "efiapi" fn register(
    driver_object: *mut DRIVER_OBJECT,
    registry_path: *const UNICODE_STRING,
    context: NDIS_HANDLE,
    characteristics: *const NDIS_MINIPORT_DRIVER_CHARACTERISTICS,
    handle_out: *mut NDIS_HANDLE,
) -> NDIS_STATUS {
    required(driver_object, "DriverObject");
    required(registry_path, "RegistryPath");
    required(characteristics, "MiniportDriverCharacteristics");
    required(handle_out, "NdisMiniportDriverHandle");
    // SAFETY: checked for NULL; the page asks for a structure that begins like this one.
    let (head, version) = unsafe {
        let version = ptr::read(characteristics.cast::<[u8; 6]>());
        (
            ptr::read(characteristics.cast::<NDIS_OBJECT_HEADER>()),
            (version[4], version[5]),
        )
    };
    if !header::SUPPORTED.contains(&version) {
        return NDIS_STATUS_BAD_VERSION;
    }
    if let Some(fault) = header::DRIVER_CHARACTERISTICS.fault(head, version) {
        violation(
            rules::OBJECT_HEADER,
            format!("NdisMRegisterMiniportDriver: {fault}"),
        );
    }
    // SAFETY: all-zero is a valid value; only as many bytes are copied as the
    // header says, and not more than the structure has.
    let handlers = unsafe {
        let mut copy: NDIS_MINIPORT_DRIVER_CHARACTERISTICS = std::mem::zeroed();
        let len = usize::from(head.Size).min(size_of::<NDIS_MINIPORT_DRIVER_CHARACTERISTICS>());
        ptr::copy_nonoverlapping(
            characteristics.cast::<u8>(),
            (&raw mut copy).cast::<u8>(),
            len,
        );
        copy
    };
    check_handlers(&handlers);
    // SAFETY: checked for NULL; DriverEntry's argument is a valid string.
    let path = unsafe { unicode(registry_path) };
    let service = path
        .rsplit('\\')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();

    here(|machine, state| {
        if machine.faults().hit("NdisMRegisterMiniportDriver") {
            return NDIS_STATUS_RESOURCES;
        }
        let install = state
            .installs
            .lock()
            .get(&service)
            .cloned()
            .unwrap_or_default();
        let block = Arc::new(DriverBlock {
            handle: state.handle(),
            object: driver_object as u64,
            context: context as u64,
            version,
            handlers,
            pnp: Mutex::default(),
            install,
            setting_options: AtomicBool::new(false),
            unloading: AtomicBool::new(false),
        });
        state.drivers.insert(block.handle, Arc::clone(&block));
        let unload = machine.thunk(&unload_export());
        // SAFETY: a DRIVER_OBJECT of the machine's; the field takes an address
        // of code. The out parameter was checked for NULL.
        unsafe {
            driver_object
                .cast::<u8>()
                .add(DRIVER_UNLOAD)
                .cast::<*const ()>()
                .write(unload);
            handle_out.write(block.handle as NDIS_HANDLE);
        }
        let options = handler!(block, SetOptionsHandler);
        if !options.is_null() {
            block.setting_options.store(true, Ordering::Release);
            // SAFETY: the driver's MiniportSetOptions, with its two arguments.
            let status = unsafe {
                gate::call(
                    "MiniportSetOptions",
                    options,
                    &[block.handle, block.context],
                )
            };
            block.setting_options.store(false, Ordering::Release);
            if status as NDIS_STATUS != NDIS_STATUS_SUCCESS {
                state.drivers.remove(block.handle);
                return NDIS_STATUS_FAILURE;
            }
        }
        NDIS_STATUS_SUCCESS
    })
}

fn check_handlers(h: &NDIS_MINIPORT_DRIVER_CHARACTERISTICS) {
    let required: [(&str, bool); 12] = [
        ("InitializeHandlerEx", h.InitializeHandlerEx.is_some()),
        ("HaltHandlerEx", h.HaltHandlerEx.is_some()),
        ("UnloadHandler", h.UnloadHandler.is_some()),
        ("PauseHandler", h.PauseHandler.is_some()),
        ("RestartHandler", h.RestartHandler.is_some()),
        ("OidRequestHandler", h.OidRequestHandler.is_some()),
        (
            "SendNetBufferListsHandler",
            h.SendNetBufferListsHandler.is_some(),
        ),
        (
            "ReturnNetBufferListsHandler",
            h.ReturnNetBufferListsHandler.is_some(),
        ),
        ("CancelSendHandler", h.CancelSendHandler.is_some()),
        (
            "DevicePnPEventNotifyHandler",
            h.DevicePnPEventNotifyHandler.is_some(),
        ),
        ("ShutdownHandlerEx", h.ShutdownHandlerEx.is_some()),
        (
            "CancelOidRequestHandler",
            h.CancelOidRequestHandler.is_some(),
        ),
    ];
    for (name, present) in required {
        if !present {
            violation(
                rules::CHARACTERISTICS,
                format!("{name} is required and NULL"),
            );
        }
    }
    if h.CheckForHangHandlerEx.is_some() && h.ResetHandlerEx.is_none() {
        violation(
            rules::CHARACTERISTICS,
            "CheckForHangHandlerEx needs ResetHandlerEx",
        );
    }
    if h.CancelDirectOidRequestHandler.is_some() && h.DirectOidRequestHandler.is_none() {
        violation(
            rules::CHARACTERISTICS,
            "CancelDirectOidRequestHandler needs DirectOidRequestHandler",
        );
    }
}

extern "efiapi" fn deregister(handle: NDIS_HANDLE) {
    here(|_, state| {
        let handle = handle as u64;
        let Some(driver) = state.drivers.get(handle) else {
            violation(
                rules::DEREGISTER,
                format!(
                    "NdisMDeregisterMiniportDriver got {handle:#x}, which is no driver's handle (any more)"
                ),
            );
        };
        let adapters = state
            .adapters
            .all()
            .iter()
            .filter(|a| a.driver.handle == handle)
            .count();
        if adapters != 0 {
            violation(
                rules::DEREGISTER,
                format!("the driver deregisters while it has {adapters} adapter(s)"),
            );
        }
        driver.unloading.store(true, Ordering::Release);
        let leaks = state.leaks(Owner::Driver(handle));
        state.drivers.remove(handle);
        stop_for_leaks(&leaks, "at NdisMDeregisterMiniportDriver");
    });
}

/// NDIS's own DriverUnload: calls MiniportDriverUnload.
extern "efiapi" fn unload(driver_object: *mut DRIVER_OBJECT) {
    here(|_, state| {
        let found = state
            .drivers
            .all()
            .into_iter()
            .find(|d| d.object == driver_object as u64);
        let Some(driver) = found else {
            return;
        };
        let unload = handler!(driver, UnloadHandler);
        // SAFETY: the driver's MiniportDriverUnload, with its argument.
        unsafe { gate::call("MiniportDriverUnload", unload, &[driver_object as u64]) };
        if state.drivers.get(driver.handle).is_some() {
            violation(
                rules::DEREGISTER,
                "MiniportDriverUnload returned without NdisMDeregisterMiniportDriver",
            );
        }
    });
}

extern "efiapi" fn set_optional_handlers(
    handle: NDIS_HANDLE,
    characteristics: *const NDIS_OBJECT_HEADER,
) -> NDIS_STATUS {
    required(characteristics, "OptionalHandlers");
    here(|machine, state| {
        let Some(driver) = state.drivers.get(handle as u64) else {
            violation(
                rules::HANDLE,
                format!("{} got {handle:p}, which is no driver's handle", what()),
            );
        };
        if !driver.setting_options.load(Ordering::Acquire) {
            violation(
                rules::CHARACTERISTICS,
                "a miniport driver calls NdisSetOptionalHandlers from MiniportSetOptions only",
            );
        }
        if machine.faults().hit("NdisSetOptionalHandlers") {
            return NDIS_STATUS_RESOURCES;
        }
        // SAFETY: checked for NULL; every characteristics structure begins with the header.
        let head = unsafe { characteristics.read() };
        if head.Type != header::PNP_CHARACTERISTICS.kind {
            return NDIS_STATUS_NOT_SUPPORTED;
        }
        // SAFETY: as above; the header's size was checked before the handlers are read.
        unsafe {
            header::PNP_CHARACTERISTICS.check(characteristics, driver.version);
            let handlers = characteristics.cast::<u64>();
            *driver.pnp.lock() = PnpHandlers {
                add_device: handlers.add(1).read(),
                remove_device: handlers.add(2).read(),
            };
        }
        NDIS_STATUS_SUCCESS
    })
}

/// The text of a counted string.
///
/// # Safety
/// `string` is a valid UNICODE_STRING.
pub(super) unsafe fn unicode(string: *const UNICODE_STRING) -> String {
    // SAFETY: the caller vouches for the string; a NULL buffer has no length.
    unsafe {
        let UNICODE_STRING { Length, Buffer, .. } = *string;
        if Buffer.is_null() || Length == 0 {
            return String::new();
        }
        let units: Vec<u16> = (0..usize::from(Length / 2))
            .map(|i| Buffer.add(i).read_unaligned())
            .collect();
        String::from_utf16_lossy(&units)
    }
}
