//! MiniportRestart: from Paused to Running.

use ndis::{Passive, at_dispatch};
use ndis_sys::{NDIS_STATUS, NDIS_STATUS_SUCCESS};

use super::{Adapter, state::Reason};
use crate::wire::Port;

/// Lets data flow. The restart attributes stay as NDIS made them: nothing that they report has
/// changed since initialization.
pub fn restart(adapter: &Adapter, _at: Passive<'_>) -> NDIS_STATUS {
    adapter.rx.open();
    if !adapter.state.is(Reason::LowPower) {
        adapter.tx.open();
        adapter.tx_drained.clear();
    }
    adapter.state.clear(Reason::Paused);
    resume_port(adapter);
    NDIS_STATUS_SUCCESS
}

/// Lets frames in if nothing speaks against it.
pub fn resume_port(adapter: &Adapter) {
    let running = adapter.state.refusal().is_none();
    at_dispatch(false, |at| {
        if let Some(plug) = adapter.plug() {
            plug.configure(|port: &mut Port| port.set_running(running), at);
        }
    });
}
