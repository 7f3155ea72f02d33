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

pub mod halt;
pub mod init;
pub mod pause;
pub mod power;
pub mod reset;
pub mod restart;
pub mod state;

use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use ipsec::Engine;
use ndis::{Event, ExtendedFeatures, FramePool, MiniportHandle, Rundown, Version};

use crate::{
    config::Config,
    ethernet::{self, Mac, TAG},
    offload::Offload,
    receive::Receiver,
    send::Sender,
    stats::Stats,
    wdf::Device,
    wire::Plug,
};
use state::State;

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
    /// Send calls and the send queue.
    pub tx: Rundown,
    /// Frames that are with NDIS, and indications under way.
    pub rx: Rundown,
    /// Signalled when `tx` has drained; power transitions wait for it.
    tx_drained: Event,
    /// What a pause still waits for: its own call, `tx`, `rx`.
    pause_legs: AtomicU32,
    pub offload: Offload,
    /// What the extended-state bracket saves.
    pub features: ExtendedFeatures,
    pub engine: Engine,
    pub stats: Stats,
    pub frames: FramePool,
    pub receiver: Receiver,
    pub sender: Sender,
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

    /// Gives up references on the send rundown. The caller touches the adapter no more: whoever
    /// waits may free it.
    pub fn leave_tx(&self, count: u32) {
        if self.tx.leave(count).0 {
            pause::tx_drained(self);
        }
    }

    /// Gives up references on the receive rundown. The caller touches the adapter no more.
    pub fn leave_rx(&self, count: u32) {
        if self.rx.leave(count).0 {
            pause::rx_drained(self);
        }
    }
}
