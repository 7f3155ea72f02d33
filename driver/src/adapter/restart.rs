//! MiniportRestart: from Paused to Running.

use ndis::{Passive, at_dispatch};
use ndis_sys::{NDIS_STATUS, NDIS_STATUS_SUCCESS};

use super::{Adapter, state::Reason};

/// Lets data flow. The restart attributes stay as NDIS made them: nothing that they report has
/// changed since initialization.
pub fn restart(adapter: &Adapter, _at: Passive<'_>) -> NDIS_STATUS {
    at_dispatch(false, |at| {
        adapter.gates.open_receives(at);
        adapter.resume(Reason::Paused, at);
        // Not in MiniportInitializeEx: NDIS takes the link from the attributes unless one is indicated "after
        // returning" from there ("Indicating Connection Status").
        adapter.link.start(at);
    });
    NDIS_STATUS_SUCCESS
}
