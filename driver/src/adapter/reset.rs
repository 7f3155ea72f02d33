//! MiniportResetEx.

use ndis::Dispatch;
use ndis_sys::{
    NDIS_STATUS, NDIS_STATUS_PENDING, NDIS_STATUS_RESET_IN_PROGRESS, NDIS_STATUS_SUCCESS,
};

use super::{Adapter, state::Reason};
use crate::send;

/// Aborts the sends that wait and drops the frames that were received. There is no hardware whose
/// settings could be lost: SAs, filters, addresses and offloads stay, so NDIS need not restore them
/// (`AddressingReset` is FALSE).
///
/// "The miniport driver must not hold pending OID or send requests until after the reset operation is
/// complete": while other processors work on sends it is pending, and their last one completes it.
/// OIDs never pend.
pub fn reset(adapter: &Adapter, at: Dispatch<'_>) -> NDIS_STATUS {
    adapter.state.set(Reason::Resetting);
    adapter.receiver.purge(adapter, at);
    send::abort(adapter, NDIS_STATUS_RESET_IN_PROGRESS, at);
    match adapter.gates.reset(at) {
        Some(true) => {
            done(adapter, at);
            NDIS_STATUS_SUCCESS
        }
        Some(false) => NDIS_STATUS_PENDING,
        None => NDIS_STATUS_RESET_IN_PROGRESS,
    }
}

/// The reset is done: sends are let in again.
pub fn done(adapter: &Adapter, at: Dispatch<'_>) {
    adapter.gates.resume(&adapter.state, Reason::Resetting, at);
}
