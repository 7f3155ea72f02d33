//! Timed rules and the check for hangs, on the machine's clock.

use std::{
    cell::Cell,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    adapter::{AdapterBlock, AdapterState},
    calls::Call,
    driver::handler,
    oid_block::OidBlock,
    reset, rules, send,
};
use crate::{
    gate,
    history::{Kind, Object},
    irql::Irql,
    machine::Machine,
    report::violation_on_about,
};

/// NdisTimedOidComplete
const OID_LIMIT: Duration = Duration::from_secs(12);
/// NdisTimedDataHang
const HANG_LIMIT: Duration = Duration::from_secs(22);
/// NdisTimedDataSend
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// How often outstanding sends are looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// "The default time-out for calling MiniportCheckForHangEx is 2 seconds."
const HANG_PERIOD: Duration = Duration::from_secs(2);

thread_local! {
    /// The request whose handler runs on this thread.
    static IN_OID: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Marks that an OID handler runs on this thread.
pub(super) struct OidGuard {
    outer: Option<u64>,
}

impl OidGuard {
    pub(super) fn enter(block: &OidBlock) -> Self {
        let outer = IN_OID.replace(Some(block.address()));
        Self { outer }
    }

    /// The request by whose handler the caller was called, however indirectly.
    pub(super) fn active() -> Option<Object> {
        IN_OID.get().map(|address| (Kind::OidRequest, address))
    }
}

impl Drop for OidGuard {
    fn drop(&mut self) {
        IN_OID.set(self.outer);
    }
}

/// Watches a pending request.
pub(super) fn oid(adapter: &Arc<AdapterBlock>, block: &Arc<OidBlock>) {
    let block = Arc::downgrade(block);
    let adapter = Arc::downgrade(adapter);
    let Some(machine) = adapter.upgrade().and_then(|a| a.machine.upgrade()) else {
        return;
    };
    machine.clock().after(OID_LIMIT, move |machine| {
        let (Some(block), Some(adapter)) = (block.upgrade(), adapter.upgrade()) else {
            return;
        };
        if adapter
            .oids
            .at_miniport()
            .iter()
            .any(|b| Arc::ptr_eq(b, &block))
        {
            let text = format!("{block} on {adapter} is pending for {OID_LIMIT:?}");
            let object = (Kind::OidRequest, block.address());
            violation_on_about(machine, rules::TIMED_OID_COMPLETE, text, &[object]);
        }
    });
}

/// Watches the adapter's outstanding sends, until there are none.
pub(super) fn arm(machine: &Machine, adapter: &Arc<AdapterBlock>) {
    if !adapter.watch_armed.swap(true, Ordering::AcqRel) {
        look_later(machine, adapter);
    }
}

fn look_later(machine: &Machine, adapter: &Arc<AdapterBlock>) {
    let adapter = Arc::downgrade(adapter);
    machine.clock().after(PERIOD, move |machine| {
        let Some(adapter) = adapter.upgrade() else {
            return;
        };
        let Some(since) = send::oldest(machine, &adapter) else {
            adapter.watch_armed.store(false, Ordering::Release);
            return;
        };
        let now = machine.clock().now();
        let idle_since = since.max(*adapter.last_completion.lock());
        let (rule, limit, what) = if now.saturating_sub(idle_since) > HANG_LIMIT {
            (rules::TIMED_DATA_HANG, HANG_LIMIT, "completed no send")
        } else if now.saturating_sub(since) > SEND_LIMIT {
            (rules::TIMED_DATA_SEND, SEND_LIMIT, "not completed a send")
        } else {
            look_later(machine, &adapter);
            return;
        };
        let which = send::outstanding(machine, &adapter).join(", ");
        let text = format!("{adapter} has {what} for {limit:?}; it has {which}");
        let objects = send::objects(machine, &adapter);
        violation_on_about(machine, rule, text, &objects);
    });
}

/// Starts the periodic calls of MiniportCheckForHangEx, if the driver has one.
pub(super) fn start_hang_check(machine: &Machine, adapter: &Arc<AdapterBlock>) {
    if handler!(adapter.driver, CheckForHangHandlerEx).is_null() {
        return;
    }
    let seconds = adapter
        .attributes
        .lock()
        .registration
        .as_ref()
        .map_or(0, |r| r.CheckForHangTimeInSeconds);
    let period = Duration::from_secs(u64::from(seconds)).max(HANG_PERIOD);
    hang_check_later(machine, adapter, period);
}

fn hang_check_later(machine: &Machine, adapter: &Arc<AdapterBlock>, period: Duration) {
    let target = Arc::downgrade(adapter);
    let timer = machine.clock().after(period, move |machine| {
        let Some(adapter) = target.upgrade() else {
            return;
        };
        if adapter.halted.load(Ordering::Acquire) {
            return;
        }
        hang_check_later(machine, &adapter, period);
        machine.spawn(None, Irql::PASSIVE, move || check_for_hang(&adapter));
    });
    *adapter.hang_timer.lock() = Some(timer);
}

/// Calls MiniportCheckForHangEx, and MiniportResetEx if it returns TRUE.
fn check_for_hang(adapter: &Arc<AdapterBlock>) {
    let call = Call::begin(adapter);
    if call.is_none() || adapter.reset.is_pending() || adapter.state() != AdapterState::Running {
        return;
    }
    let f = handler!(adapter.driver, CheckForHangHandlerEx);
    // SAFETY: the driver's MiniportCheckForHangEx, with its argument.
    let hung = unsafe { gate::call("MiniportCheckForHangEx", f, &[adapter.context()]) };
    drop(call);
    // A BOOLEAN is the lowest byte of the result.
    if hung & 0xFF != 0 {
        let current = crate::processor::current();
        reset::reset(current.machine(), adapter);
    }
}

/// Ends the periodic calls.
pub(super) fn stop_hang_check(machine: &Machine, adapter: &AdapterBlock) {
    if let Some(timer) = adapter.hang_timer.lock().take() {
        machine.clock().cancel(timer);
    }
}
