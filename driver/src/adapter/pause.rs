//! MiniportPause: no new data, and done when nothing is out any more.

use ndis::{Dispatch, Passive, at_dispatch};
use ndis_sys::{NDIS_STATUS, NDIS_STATUS_PAUSED, NDIS_STATUS_PENDING, NDIS_STATUS_SUCCESS};

use super::{Adapter, gates::Finished, reset, state::Reason};

/// Pauses the adapter. Returns NDIS_STATUS_PENDING while sends are under way or NDIS holds frames;
/// the last of them completes the pause.
pub fn pause(adapter: &Adapter, _at: Passive<'_>) -> NDIS_STATUS {
    adapter.state.set(Reason::Paused);
    let done = at_dispatch(false, |at| {
        adapter.stop(NDIS_STATUS_PAUSED, at);
        adapter.gates.pause(at)
    });
    if done {
        NDIS_STATUS_SUCCESS
    } else {
        NDIS_STATUS_PENDING
    }
}

/// Completes what has come to its end. The caller touches the adapter no more: with a pause complete,
/// NDIS may halt it. With nothing to complete the adapter may be gone already.
pub fn finish(adapter: &Adapter, finished: Finished, at: Dispatch<'_>) {
    if finished.reset {
        reset::done(adapter, at);
        // SAFETY: MiniportResetEx returned NDIS_STATUS_PENDING, and only one gets here for it.
        unsafe { adapter.handle.reset_complete(NDIS_STATUS_SUCCESS) };
    }
    if finished.pause {
        // SAFETY: MiniportPause returned NDIS_STATUS_PENDING, and only one gets here for it.
        unsafe { adapter.handle.pause_complete() };
    }
}
