//! The loopback driver: registration, and what it is made of.

use std::{ptr::null_mut, sync::atomic::Ordering::SeqCst};

use ndis_sim::{
    driver::{DriverEntry, DriverObject, UnicodeString},
    ndis::header,
};
use ndis_sys::*;

use super::{
    data::{cancel_send, returned, send},
    driver::Misdeed,
    initialize::initialize,
    life::{check_for_hang, halt, indicate_link, pause, pnp, reset, restart, shutdown},
    plan,
    requests::{cancel_oid, direct_oid, oid},
};
use crate::ndis;

pub const TAG: u32 = u32::from_le_bytes(*b"Loop");

pub fn entry() -> DriverEntry {
    driver_entry
}

pub fn zeroed<T: Zero>() -> T {
    // SAFETY: `Zero` says that all-zero is a valid value.
    unsafe { std::mem::zeroed() }
}

unsafe extern "efiapi" fn driver_entry(
    object: *mut DriverObject,
    path: *const UnicodeString,
) -> i32 {
    let plan = plan();
    let mut c: NDIS_MINIPORT_DRIVER_CHARACTERISTICS = zeroed();
    c.Header = header::DRIVER_CHARACTERISTICS.header(plan.version);
    if plan.does(Misdeed::OldRevision) {
        c.Header.Revision = 1;
    }
    (c.MajorNdisVersion, c.MinorNdisVersion) = plan.version;
    c.InitializeHandlerEx = Some(initialize);
    c.HaltHandlerEx = Some(halt);
    c.UnloadHandler = Some(unload);
    c.PauseHandler = (!plan.does(Misdeed::NoPauseHandler)).then_some(pause);
    c.RestartHandler = Some(restart);
    c.OidRequestHandler = Some(oid);
    c.SendNetBufferListsHandler = Some(send);
    c.ReturnNetBufferListsHandler = Some(returned);
    c.CancelSendHandler = Some(cancel_send);
    c.DevicePnPEventNotifyHandler = Some(pnp);
    c.ShutdownHandlerEx = Some(shutdown);
    c.CancelOidRequestHandler = Some(cancel_oid);
    c.DirectOidRequestHandler = (!plan.does(Misdeed::CancelDirectOnly)).then_some(direct_oid);
    let unstarted = [Misdeed::StatusUnstarted, Misdeed::PropertyUnstarted];
    c.SetOptionsHandler = unstarted
        .contains(&plan.misdeed)
        .then_some(super::life::set_options);
    c.CancelDirectOidRequestHandler = Some(cancel_oid);
    if plan.does(Misdeed::HangWithoutReset) {
        c.CheckForHangHandlerEx = Some(check_for_hang);
    } else {
        c.ResetHandlerEx = Some(reset);
        c.CheckForHangHandlerEx = plan.checks_hang.then_some(check_for_hang);
    }
    let mut handle: NDIS_HANDLE = null_mut();
    let status = ndis!(NdisMRegisterMiniportDriver(
        object,
        path,
        0,
        &raw const c,
        &raw mut handle
    )) as i32;
    plan.driver.store(handle as u64, SeqCst);
    status
}

unsafe extern "efiapi" fn unload(_object: *mut DRIVER_OBJECT) {
    let plan = plan();
    if plan.does(Misdeed::StatusAfterHalt) {
        indicate_link(plan.handles.lock().unwrap()[0]);
    }
    if !plan.does(Misdeed::NoDeregister) {
        ndis!(NdisMDeregisterMiniportDriver(plan.driver.load(SeqCst)));
    }
    if plan.does(Misdeed::DeregisterTwice) {
        ndis!(NdisMDeregisterMiniportDriver(plan.driver.load(SeqCst)));
    }
}
