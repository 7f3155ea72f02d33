//! MiniportPause: no new data, and done when nothing is out any more.

use core::sync::atomic::Ordering;

use ndis::{Passive, at_dispatch};
use ndis_sys::{NDIS_STATUS, NDIS_STATUS_PAUSED, NDIS_STATUS_PENDING, NDIS_STATUS_SUCCESS};

use super::{Adapter, state::Reason};
use crate::wire::Port;

/// The pause call, the send rundown, the receive rundown.
const LEGS: u32 = 3;

/// Pauses the adapter. Returns NDIS_STATUS_PENDING while sends are under way or NDIS holds frames;
/// the last of them completes the pause.
pub fn pause(adapter: &Adapter, _at: Passive<'_>) -> NDIS_STATUS {
    adapter.pause_legs.store(LEGS, Ordering::Release);
    adapter.state.set(Reason::Paused);
    at_dispatch(false, |at| {
        if let Some(plug) = adapter.plug() {
            plug.configure(|port: &mut Port| port.set_running(false), at);
        }
        adapter.sender.abort(NDIS_STATUS_PAUSED, at);
        adapter.receiver.purge(adapter, at);
    });
    // A rundown that a low-power state closed before has drained already.
    let tx = adapter.tx.close().0 || adapter.state.is(Reason::LowPower);
    let rx = adapter.rx.close().0;
    let done = u32::from(tx)
        .saturating_add(u32::from(rx))
        .saturating_add(1);
    if tx {
        adapter.tx_drained.set();
    }
    // Giving up the call's own leg last decides between SUCCESS and PENDING.
    let left = adapter.pause_legs.fetch_sub(done, Ordering::AcqRel);
    if left == done {
        NDIS_STATUS_SUCCESS
    } else {
        NDIS_STATUS_PENDING
    }
}

/// The last send is done, after the rundown was closed.
pub fn tx_drained(adapter: &Adapter) {
    adapter.tx_drained.set();
    if adapter.state.is(Reason::Paused) {
        leg_done(adapter);
    }
}

/// The last frame is back, after the rundown was closed.
pub fn rx_drained(adapter: &Adapter) {
    leg_done(adapter);
}

fn leg_done(adapter: &Adapter) {
    // NDIS may halt the adapter as soon as the pause is complete: the handle is copied first.
    let handle = adapter.handle;
    if adapter.pause_legs.fetch_sub(1, Ordering::AcqRel) == 1 {
        // SAFETY: the pause call left with NDIS_STATUS_PENDING, since this leg was still open, and
        // only the last leg gets here.
        unsafe { handle.pause_complete() }
    }
}
