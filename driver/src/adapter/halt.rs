//! MiniportHaltEx, MiniportShutdownEx and the Plug and Play events.

use alloc::boxed::Box;

use ndis::{Passive, at_dispatch};
use ndis_sys::NDIS_STATUS_NOT_ACCEPTED;

use super::{Adapter, state::Reason};
use crate::trace::trace;

/// Parts it from the other adapters, who leave it alone from here on, and from its link, of which it tells
/// no more.
pub fn leave(adapter: &Adapter, at: Passive<'_>) {
    adapter.state.set(Reason::Removed);
    at_dispatch(false, |at| adapter.update_port(at));
    adapter.link.retire(at);
}

/// Frees the adapter once it has [left](leave). NDIS has paused it, so nothing is out; dropping it takes it
/// off the wire, retires its DPCs, wipes its SAs and frees the rest.
pub fn halt(adapter: Box<Adapter>) {
    adapter.engine.delete_all();
    drop(adapter);
    trace!("halted");
}

/// The device is gone: sends and OIDs are not accepted any more, nothing is received. The SAs go with
/// it ("its miniport driver should delete all security associations", "Impact of Network Interface
/// Changes on IPsec Offloads").
pub fn surprise_removed(adapter: &Adapter, at: Passive<'_>) {
    adapter.state.set(Reason::Removed);
    at_dispatch(false, |at| adapter.stop(NDIS_STATUS_NOT_ACCEPTED, at));
    // What was taken from the queue is still opened: without SAs it would go up sealed.
    adapter.receiver.deferred.flush(at);
    adapter.link.flush(at);
    adapter.engine.delete_all();
    trace!("surprise removal");
}

/// The machine is switched off: the adapter falls silent. Memory is not freed, as the page of
/// MiniportShutdownEx encourages.
pub fn shut_down(adapter: &Adapter, _at: Passive<'_>) {
    adapter.state.set(Reason::ShutDown);
    at_dispatch(false, |at| adapter.stop(NDIS_STATUS_NOT_ACCEPTED, at));
}
