//! What NDIS does with an adapter between MiniportAddDevice and MiniportHaltEx
//! ("Miniport Adapter States and Operations"), on a processor at PASSIVE_LEVEL.

use std::{
    mem::size_of,
    sync::{Arc, atomic::Ordering},
};

use ndis_sys::{
    NDIS_HALT_ACTION, NDIS_HANDLE, NDIS_MINIPORT_INIT_PARAMETERS, NDIS_MINIPORT_PAUSE_PARAMETERS,
    NDIS_MINIPORT_RESTART_PARAMETERS, NDIS_PAUSE_NDIS_INTERNAL, NDIS_RESTART_ATTRIBUTES,
    NDIS_RESTART_GENERAL_ATTRIBUTES, NDIS_STATUS, NDIS_STATUS_FAILURE, NDIS_STATUS_PENDING,
    NDIS_STATUS_RESOURCES, NDIS_STATUS_SUCCESS, NET_DEVICE_PNP_EVENT,
    OID_GEN_MINIPORT_RESTART_ATTRIBUTES, PVOID,
};

use super::{
    adapter::{AdapterBlock, AdapterState, Attributes},
    driver::handler,
    header,
    link::Sleep,
    oid_checks::check_reported,
    oid_path, rules, send,
    state::{Owner, here, stop_for_leaks},
    watch,
};
use crate::{
    exports::{Export, NDIS},
    fence::Content,
    gate,
    guarded::{Fence, GuardedBuf},
    irql::Irql,
    machine::Machine,
    processor,
    report::{violation, violation_about},
};

pub(super) fn exports() -> Vec<Export> {
    let any = |name, f, arity| {
        Export::new(NDIS, name, f, arity)
            .at_most(Irql::DISPATCH)
            .irql_rule(rules::IRQL_MINIPORT)
    };
    vec![
        any("NdisMPauseComplete", pause_complete as *const (), 1),
        any("NdisMRestartComplete", restart_complete as *const (), 2),
    ]
}

/// Structures for a handler, in memory of their own.
pub(super) fn parameters<T>(machine: &Machine, adapter: &AdapterBlock, value: T) -> GuardedBuf {
    let mut buffer = GuardedBuf::with(machine.arc(), size_of::<T>(), 8, Fence::End);
    describe(&mut buffer, adapter, std::any::type_name::<T>());
    // SAFETY: the buffer has the size and the alignment.
    unsafe { buffer.as_ptr().cast::<T>().write(value) };
    buffer
}

/// Says what a handler is given.
fn describe(buffer: &mut GuardedBuf, adapter: &AdapterBlock, name: &'static str) {
    buffer.describe(Content {
        what: name.rsplit("::").next().unwrap_or(name),
        object: Some(adapter.object()),
        outside: rules::BUFFER_OVERRUN,
    });
}

fn check_guard(adapter: &AdapterBlock, buffer: &GuardedBuf, name: &str) {
    if let Some(damage) = buffer.damage() {
        violation_about(
            rules::BUFFER_OVERRUN,
            format!("the parameters of {name}: {damage}"),
            &[adapter.object()],
        );
    }
}

/// MiniportAddDevice, if the driver has one.
pub(super) fn add_device(machine: &Machine, adapter: &Arc<AdapterBlock>) -> NDIS_STATUS {
    machine
        .ndis()
        .adapters
        .insert(adapter.handle, Arc::clone(adapter));
    let f = adapter.driver.pnp.lock().add_device;
    if f == 0 {
        return NDIS_STATUS_SUCCESS;
    }
    // SAFETY: the driver's MiniportAddDevice, with its arguments.
    let status = unsafe {
        gate::call(
            "MiniportAddDevice",
            f as *const (),
            &[adapter.handle, adapter.driver.context],
        )
    } as NDIS_STATUS;
    if status != NDIS_STATUS_SUCCESS {
        machine.ndis().adapters.remove(adapter.handle);
    }
    status
}

/// MiniportRemoveDevice, if the driver has one; the handle ends here.
pub(super) fn remove_device(machine: &Machine, adapter: &Arc<AdapterBlock>) {
    let f = adapter.driver.pnp.lock().remove_device;
    if f != 0 {
        let context = adapter.add_device_context.load(Ordering::Acquire);
        // SAFETY: the driver's MiniportRemoveDevice, with its argument.
        unsafe { gate::call("MiniportRemoveDevice", f as *const (), &[context]) };
    }
    machine.ndis().adapters.remove(adapter.handle);
}

/// MiniportInitializeEx.
pub(super) fn initialize(machine: &Machine, adapter: &Arc<AdapterBlock>) -> NDIS_STATUS {
    let version = adapter.driver.version;
    *adapter.attributes.lock() = Attributes::default();
    *adapter.offloads.lock() = Default::default();
    adapter.associations.clear();
    *adapter.unreported.lock() = None;
    machine
        .ndis()
        .adapters
        .insert(adapter.handle, Arc::clone(adapter));
    adapter.halted.store(false, Ordering::Release);
    adapter.link.set_sleep(Sleep::Awake);
    adapter.calls.open(true);
    adapter.set_state(AdapterState::Initializing);
    // SAFETY: all-zero is a valid value.
    let mut init: NDIS_MINIPORT_INIT_PARAMETERS = unsafe { std::mem::zeroed() };
    init.Header = header::INIT_PARAMETERS.header(version);
    init.MiniportAddDeviceContext =
        adapter.add_device_context.load(Ordering::Acquire) as NDIS_HANDLE;
    init.IfIndex = adapter.index;
    // A NET_LUID: the index in bits 24 to 47, the type (Ethernet, 6) above.
    init.NetLuid.Value = (u64::from(adapter.index) << 24) | (6 << 48);
    let init = parameters(machine, adapter, init);
    let f = handler!(adapter.driver, InitializeHandlerEx);
    let args = [adapter.handle, adapter.driver.context, init.as_ptr() as u64];
    // SAFETY: the driver's MiniportInitializeEx, with its arguments.
    let status = unsafe { gate::call("MiniportInitializeEx", f, &args) } as NDIS_STATUS;
    check_guard(adapter, &init, "MiniportInitializeEx");
    if status == NDIS_STATUS_PENDING {
        violation_about(
            rules::HANDLER_STATUS,
            "MiniportInitializeEx returned NDIS_STATUS_PENDING",
            &[adapter.object()],
        );
    }
    if status == NDIS_STATUS_SUCCESS {
        let attributes = adapter.attributes.lock();
        let complete = attributes.registration.is_some() && attributes.general.is_some();
        drop(attributes);
        if !complete {
            violation_about(
                rules::ATTRIBUTES,
                "MiniportInitializeEx succeeded without registration and general attributes",
                &[adapter.object()],
            );
        }
        adapter.set_state(AdapterState::Paused);
        watch::start_hang_check(machine, adapter);
        return status;
    }
    end(machine, adapter, "the failed MiniportInitializeEx");
    status
}

/// What must hold when an adapter is halted, or could not be initialized.
fn end(machine: &Machine, adapter: &Arc<AdapterBlock>, after: &str) {
    adapter.halted.store(true, Ordering::Release);
    adapter.set_state(AdapterState::Halted);
    check_reported(adapter);
    machine.ndis().adapters.remove(adapter.handle);
    let leaks = machine.ndis().leaks(Owner::Adapter(adapter.handle));
    stop_for_leaks(&leaks, &format!("after {after} of {adapter}"));
}

/// MiniportRestart.
pub(super) fn restart(machine: &Machine, adapter: &Arc<AdapterBlock>) -> NDIS_STATUS {
    let version = adapter.driver.version;
    adapter.set_state(AdapterState::Restarting);
    let attributes = restart_attributes(machine, adapter);
    // SAFETY: all-zero is a valid value.
    let mut restart: NDIS_MINIPORT_RESTART_PARAMETERS = unsafe { std::mem::zeroed() };
    restart.Header = header::RESTART_PARAMETERS.header(version);
    restart.RestartAttributes = attributes.as_ptr().cast();
    let restart = parameters(machine, adapter, restart);
    let f = handler!(adapter.driver, RestartHandler);
    let (status, _) = adapter
        .restart
        .perform(machine, adapter, "MiniportRestart", || {
            // SAFETY: the driver's MiniportRestart, with its arguments.
            let status = unsafe {
                gate::call(
                    "MiniportRestart",
                    f,
                    &[adapter.context(), restart.as_ptr() as u64],
                )
            };
            (status as NDIS_STATUS, false)
        });
    check_guard(adapter, &restart, "MiniportRestart");
    check_guard(adapter, &attributes, "MiniportRestart");
    let statuses = [
        NDIS_STATUS_SUCCESS,
        NDIS_STATUS_RESOURCES,
        NDIS_STATUS_FAILURE,
    ];
    if !statuses.contains(&status) {
        violation_about(
            rules::HANDLER_STATUS,
            format!("MiniportRestart ended with {status:#010x}"),
            &[adapter.object()],
        );
    }
    if status != NDIS_STATUS_SUCCESS {
        adapter.set_state(AdapterState::Paused);
        return status;
    }
    adapter.set_state(AdapterState::Running);
    let opens = adapter.opens.read().clone();
    for open in opens {
        open.protocol.running(true);
    }
    status
}

fn restart_attributes(machine: &Machine, adapter: &AdapterBlock) -> GuardedBuf {
    let (_, size) = header::RESTART_GENERAL_ATTRIBUTES.for_version(adapter.driver.version);
    let head = std::mem::offset_of!(NDIS_RESTART_ATTRIBUTES, Data);
    let mut buffer = GuardedBuf::with(
        machine.arc(),
        head + size_of::<NDIS_RESTART_GENERAL_ATTRIBUTES>(),
        16,
        Fence::End,
    );
    describe(&mut buffer, adapter, "NDIS_RESTART_ATTRIBUTES");
    let attributes = adapter.attributes.lock();
    let general = attributes.general.as_ref();
    // SAFETY: the buffer has room for both structures, zeroed, and the alignment.
    unsafe {
        let list = buffer.as_ptr().cast::<NDIS_RESTART_ATTRIBUTES>();
        let oid = std::mem::offset_of!(NDIS_RESTART_ATTRIBUTES, Oid);
        buffer
            .as_ptr()
            .add(oid)
            .cast::<u32>()
            .write(OID_GEN_MINIPORT_RESTART_ATTRIBUTES);
        (&raw mut (*list).DataLength).write(u32::from(size));
        let data = buffer
            .as_ptr()
            .add(head)
            .cast::<NDIS_RESTART_GENERAL_ATTRIBUTES>();
        (*data).Header = header::RESTART_GENERAL_ATTRIBUTES.header(adapter.driver.version);
        if let Some(general) = general {
            (*data).MtuSize = general.MtuSize;
            (*data).MaxXmitLinkSpeed = general.MaxXmitLinkSpeed;
            (*data).MaxRcvLinkSpeed = general.MaxRcvLinkSpeed;
            (*data).LookaheadSize = general.LookaheadSize;
            (*data).MacOptions = general.MacOptions;
            (*data).SupportedPacketFilters = general.SupportedPacketFilters;
            (*data).MaxMulticastListSize = general.MaxMulticastListSize;
            (*data).AccessType = general.AccessType;
            (*data).ConnectionType = general.ConnectionType;
            (*data).SupportedStatistics = general.SupportedStatistics;
            (*data).DataBackFillSize = general.DataBackFillSize;
            (*data).ContextBackFillSize = general.ContextBackFillSize;
        }
    }
    buffer
}

/// MiniportPause.
pub(super) fn pause(machine: &Machine, adapter: &Arc<AdapterBlock>, reason: u32) {
    adapter.set_state(AdapterState::Pausing);
    // "The driver should reject any new send requests made to its MiniportSendNetBufferLists function" in the
    // Pausing state ("Pausing an Adapter"): those that have begun may come while it pauses.
    if !processor::current().thread().pauses_over_calls() {
        adapter.calls.drain(machine, || true);
    }
    let opens = adapter.opens.read().clone();
    for open in opens {
        open.protocol.running(false);
    }
    // SAFETY: all-zero is a valid value.
    let mut pause: NDIS_MINIPORT_PAUSE_PARAMETERS = unsafe { std::mem::zeroed() };
    pause.Header = header::PAUSE_PARAMETERS.header(adapter.driver.version);
    pause.PauseReason = reason;
    let pause = parameters(machine, adapter, pause);
    let f = handler!(adapter.driver, PauseHandler);
    adapter
        .pause
        .perform(machine, adapter, "MiniportPause", || {
            // SAFETY: the driver's MiniportPause, with its arguments.
            let status = unsafe {
                gate::call(
                    "MiniportPause",
                    f,
                    &[adapter.context(), pause.as_ptr() as u64],
                )
            } as NDIS_STATUS;
            if ![NDIS_STATUS_SUCCESS, NDIS_STATUS_PENDING].contains(&status) {
                violation_about(
                    rules::PAUSE_RETURN,
                    format!("MiniportPause returned {status:#010x}"),
                    &[adapter.object()],
                );
            }
            if status == NDIS_STATUS_SUCCESS {
                check_paused(machine, adapter);
            }
            (status, false)
        });
    check_guard(adapter, &pause, "MiniportPause");
    adapter.calls.drain(machine, || true);
    check_paused(machine, adapter);
    adapter.set_state(AdapterState::Paused);
    check_reported(adapter);
}

/// Nothing may be outstanding when a pause is complete, but for what a call under way may be refusing.
fn check_paused(machine: &Machine, adapter: &AdapterBlock) {
    let which = if adapter.calls.any() {
        send::held(machine, adapter)
    } else {
        send::outstanding(machine, adapter)
    };
    let (sends, which) = (which.len(), which.join(", "));
    let receives = adapter.receives.load(Ordering::Acquire);
    // "The driver waits for all calls to the NdisMIndicateReceiveNetBufferLists function to return."
    let indications = adapter.indications.load(Ordering::Acquire);
    if sends != 0 || receives != 0 || indications != 0 {
        let mut objects = send::objects(machine, adapter);
        objects.extend(super::receive::objects(machine, adapter));
        objects.push(adapter.object());
        violation_about(
            rules::PAUSE_COMPLETE,
            format!(
                "the pause is complete with {sends} sends ({which}) and {receives} receives outstanding, and \
                 {indications} indications under way"
            ),
            &objects,
        );
    }
}

extern "efiapi" fn pause_complete(handle: NDIS_HANDLE) {
    here(|machine, state| {
        let adapter = state.adapter(handle as u64);
        check_paused(machine, &adapter);
        if !adapter.pause.complete(NDIS_STATUS_SUCCESS, false) {
            violation(
                rules::ADAPTER_STATE,
                "NdisMPauseComplete with no pause pending",
            );
        }
    });
}

extern "efiapi" fn restart_complete(handle: NDIS_HANDLE, status: NDIS_STATUS) {
    here(|_, state| {
        let adapter = state.adapter(handle as u64);
        if !adapter.restart.complete(status, false) {
            violation(
                rules::ADAPTER_STATE,
                "NdisMRestartComplete with no restart pending",
            );
        }
    });
}

/// MiniportHaltEx.
pub(super) fn halt(machine: &Machine, adapter: &Arc<AdapterBlock>, action: NDIS_HALT_ACTION) {
    if adapter.state() == AdapterState::Running {
        pause(machine, adapter, NDIS_PAUSE_NDIS_INTERNAL);
    }
    watch::stop_hang_check(machine, adapter);
    adapter.calls.open(false);
    adapter.calls.drain(machine, || true);
    oid_path::close(adapter);
    // "NDIS does not call MiniportHaltEx if there are outstanding OID requests
    // or send requests."
    adapter.calls.drain(machine, || {
        adapter.sends.load(Ordering::Acquire) == 0 && adapter.oids.at_miniport().is_empty()
    });
    adapter.link.set_sleep(Sleep::entering());
    adapter.note("MiniportHaltEx", 0);
    let f = handler!(adapter.driver, HaltHandlerEx);
    // SAFETY: the driver's MiniportHaltEx, with its arguments.
    unsafe { gate::call("MiniportHaltEx", f, &[adapter.context(), action as u64]) };
    end(machine, adapter, "MiniportHaltEx");
    // The driver's own objects may serve its other adapters.
    let driver = adapter.driver.handle;
    let adapters = machine.ndis().adapters.all();
    if !adapters.iter().any(|a| a.driver.handle == driver) {
        let leaks = machine.ndis().generic_objects_of(Owner::Driver(driver));
        stop_for_leaks(&leaks, "after MiniportHaltEx of the last adapter");
    }
}

/// MiniportDevicePnPEventNotify.
pub(super) fn pnp_event(machine: &Machine, adapter: &AdapterBlock, event: i32, data: &[u8]) {
    // SAFETY: all-zero is a valid value.
    let mut notice: NET_DEVICE_PNP_EVENT = unsafe { std::mem::zeroed() };
    notice.Header = header::DEVICE_PNP_EVENT.header(adapter.driver.version);
    notice.DevicePnPEvent = event;
    adapter.note("told of device PnP event", event as u64);
    let mut buffer = GuardedBuf::with(machine.arc(), data.len(), 8, Fence::End);
    describe(
        &mut buffer,
        adapter,
        "InformationBuffer of NET_DEVICE_PNP_EVENT",
    );
    buffer.write(0, data);
    if !data.is_empty() {
        notice.InformationBuffer = buffer.as_ptr() as PVOID;
        notice.InformationBufferLength = u32::try_from(data.len()).unwrap_or(u32::MAX);
    }
    let notice = parameters(machine, adapter, notice);
    let f = handler!(adapter.driver, DevicePnPEventNotifyHandler);
    let args = [adapter.context(), notice.as_ptr() as u64];
    // SAFETY: the driver's MiniportDevicePnPEventNotify, with its arguments.
    unsafe { gate::call("MiniportDevicePnPEventNotify", f, &args) };
    check_guard(adapter, &notice, "MiniportDevicePnPEventNotify");
    check_guard(adapter, &buffer, "MiniportDevicePnPEventNotify");
}

/// MiniportShutdownEx, at the current IRQL.
pub(super) fn shutdown(adapter: &AdapterBlock, action: i32) {
    let f = handler!(adapter.driver, ShutdownHandlerEx);
    // SAFETY: the driver's MiniportShutdownEx, with its arguments.
    unsafe { gate::call("MiniportShutdownEx", f, &[adapter.context(), action as u64]) };
}
