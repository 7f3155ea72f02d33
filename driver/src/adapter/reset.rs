//! MiniportResetEx.

use ndis::Dispatch;
use ndis_sys::{NDIS_STATUS, NDIS_STATUS_RESET_IN_PROGRESS, NDIS_STATUS_SUCCESS};

use super::{Adapter, state::Reason};

/// Aborts the sends that wait and drops the frames that were received. There is no hardware whose
/// settings could be lost: SAs, filters, addresses and offloads stay, so NDIS need not restore them
/// (`AddressingReset` is FALSE).
pub fn reset(adapter: &Adapter, at: Dispatch<'_>) -> NDIS_STATUS {
    adapter.state.set(Reason::Resetting);
    adapter.sender.abort(NDIS_STATUS_RESET_IN_PROGRESS, at);
    adapter.receiver.purge(adapter, at);
    adapter.state.clear(Reason::Resetting);
    NDIS_STATUS_SUCCESS
}
