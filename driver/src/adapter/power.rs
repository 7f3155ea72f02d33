//! OID_PNP_SET_POWER: to D1..D3 and back. SAs, filters and statistics are kept.
//!
//! NDIS pauses the adapter before it goes to a low-power state (the attribute
//! NDIS_MINIPORT_ATTRIBUTES_NO_PAUSE_ON_SUSPEND is not set), so there is nothing under way then; the
//! page asks for the rest all the same.

use ndis::{Passive, at_dispatch};
use ndis_sys::NDIS_STATUS_LOW_POWER_STATE;

use super::{Adapter, state::Reason};

/// To a low-power state: sends are refused with NDIS_STATUS_LOW_POWER_STATE, nothing is indicated,
/// and what was under way has completed when this returns. Frames that NDIS holds are not waited for.
pub fn down(adapter: &Adapter, at: Passive<'_>) {
    adapter.state.set(Reason::LowPower);
    at_dispatch(false, |at| {
        adapter.stop(NDIS_STATUS_LOW_POWER_STATE, at);
        adapter.gates.close_sends(at);
    });
    adapter.gates.wait_idle(at);
    // Indications are made by what is deferred.
    adapter.receiver.deferred.flush(at);
    adapter.link.flush(at);
}

/// To full power: as before, but for the link, which may have changed meanwhile.
pub fn up(adapter: &Adapter, _at: Passive<'_>) {
    at_dispatch(false, |at| {
        adapter.resume(Reason::LowPower, at);
        adapter.link.changed(at);
    });
}
