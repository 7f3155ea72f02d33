//! An adapter: everything that MiniportInitializeEx allocates, and the gates of its life.
//!
//! ```text
//!            initialize           restart
//!   Halted ------------> Paused ---------> Running
//!     ^                   | ^                 |
//!     +------- halt ------+ +----- pause -----+   (PENDING while lists or frames are out)
//! ```
//!
//! Reset, power and surprise removal cut across: see [`state`].

pub mod gates;
pub mod halt;
pub mod init;
pub mod link;
pub mod pause;
pub mod power;
pub mod reset;
pub mod restart;
pub mod state;

use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use ipsec::Engine;
use ndis::{Dispatch, ExtendedFeatures, FramePool, MiniportHandle, Version};
use ndis_sys::NDIS_STATUS;

use crate::{
    config::Config,
    ethernet::{self, Mac, TAG},
    offload::Offload,
    receive::Receiver,
    send::{self, Sender},
    stats::Stats,
    wdf::Device,
    wire::Plug,
};
use gates::Gates;
use link::Link;
use state::{Reason, State};

/// An adapter. Lives from MiniportInitializeEx to MiniportHaltEx at one place in non-paged memory.
pub struct Adapter {
    pub handle: MiniportHandle,
    pub version: Version,
    pub config: Config,
    /// Without a cable, so to say: made from the NET_LUID.
    pub permanent_address: Mac,
    /// What the adapter uses.
    pub address: Mac,
    pub state: State,
    pub gates: Gates,
    pub offload: Offload,
    /// What the extended-state bracket saves.
    pub features: ExtendedFeatures,
    pub engine: Engine,
    pub stats: Stats,
    pub frames: FramePool,
    pub receiver: Receiver,
    pub sender: Sender,
    pub link: Link,
    vlan_id: AtomicU16,
    lookahead: AtomicU32,
    /// The place in the switch; None only while the adapter initializes or goes.
    plug: Option<Plug>,
    _device: Device,
}

impl Adapter {
    /// The place in the switch.
    pub const fn plug(&self) -> Option<&Plug> {
        self.plug.as_ref()
    }

    /// OID_GEN_VLAN_ID.
    pub fn vlan_id(&self) -> u16 {
        self.vlan_id.load(Ordering::Relaxed)
    }

    /// OID_GEN_VLAN_ID.
    pub fn set_vlan_id(&self, id: u16) {
        self.vlan_id.store(id, Ordering::Relaxed);
    }

    /// OID_GEN_CURRENT_LOOKAHEAD: frames are indicated whole, so it is remembered and no more.
    pub fn set_lookahead(&self, bytes: u32) {
        self.lookahead.store(bytes, Ordering::Relaxed);
    }

    /// OID_GEN_CURRENT_LOOKAHEAD.
    pub fn lookahead(&self) -> u32 {
        self.lookahead.load(Ordering::Relaxed)
    }

    /// The most bytes that a packet beginning with `head` may have: a tag in the frame comes on top.
    pub fn max_packet(&self, head: &[u8]) -> usize {
        let tag = if ethernet::tagged(head) { TAG } else { 0 };
        self.config.max_frame.saturating_add(tag)
    }

    /// A send call, or the send queue, is done. The caller touches the adapter no more: whoever waits
    /// may free it.
    pub fn leave_tx(&self, at: Dispatch<'_>) {
        pause::finish(self, self.gates.leave_tx(at), at);
    }

    /// Frames are back, or an indication has returned. The caller touches the adapter no more.
    pub fn leave_rx(&self, count: u32, at: Dispatch<'_>) {
        pause::finish(self, self.gates.leave_rx(count, at), at);
    }

    /// Stops the data: nothing comes in any more, and what waits to go out completes with `status`.
    /// The reason has been set before.
    fn stop(&self, status: NDIS_STATUS, at: Dispatch<'_>) {
        self.update_port(at);
        self.receiver.purge(self, at);
        send::abort(self, status, at);
    }

    /// Takes a reason away, and lets data flow again if that was the last one.
    fn resume(&self, reason: Reason, at: Dispatch<'_>) {
        self.gates.resume(&self.state, reason, at);
        self.update_port(at);
    }

    /// Tells the switch whether frames may come in, and whether the others have a link to this adapter.
    /// Asked under its lock, so that of two who change the state at a time the last one is right.
    fn update_port(&self, at: Dispatch<'_>) {
        if let Some(plug) = self.plug() {
            plug.configure(
                |port| {
                    port.set_running(self.state.receives());
                    port.set_powered(self.state.is_powered());
                },
                at,
            );
        }
    }
}
