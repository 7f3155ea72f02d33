//! What an adapter may not do now, as a set of reasons. Sends are refused with the status of the
//! gravest one.

use ndis::sync::{AtomicU32, Ordering};
use ndis_sys::{
    NDIS_STATUS, NDIS_STATUS_LOW_POWER_STATE, NDIS_STATUS_MEDIA_DISCONNECTED,
    NDIS_STATUS_NOT_ACCEPTED, NDIS_STATUS_PAUSED, NDIS_STATUS_RESET_IN_PROGRESS,
};

/// A reason why the adapter does not carry data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// Paused, or not restarted yet.
    Paused = 1,
    /// In D1, D2 or D3.
    LowPower = 2,
    /// In MiniportResetEx.
    Resetting = 4,
    /// Surprise-removed: "complete such requests with a status value of NDIS_STATUS_NOT_ACCEPTED"
    /// (MiniportDevicePnPEventNotify).
    Removed = 8,
    /// The machine shuts down.
    ShutDown = 16,
    /// The link is down.
    NoLink = 32,
}

/// The reasons that hold.
#[derive(Debug)]
pub struct State(AtomicU32);

impl State {
    /// As MiniportInitializeEx leaves an adapter.
    pub fn paused() -> Self {
        Self(AtomicU32::new(Reason::Paused as u32))
    }

    /// From now on `reason` holds.
    pub fn set(&self, reason: Reason) {
        self.0.fetch_or(reason as u32, Ordering::AcqRel);
    }

    /// `reason` holds no more.
    pub fn clear(&self, reason: Reason) {
        self.0.fetch_and(!(reason as u32), Ordering::AcqRel);
    }

    /// Whether `reason` holds.
    pub fn is(&self, reason: Reason) -> bool {
        self.0.load(Ordering::Acquire) & reason as u32 != 0
    }

    /// Whether frames may come in: a reset drops those that are there, and no more.
    pub fn receives(&self) -> bool {
        self.0.load(Ordering::Acquire) & !(Reason::Resetting as u32) == 0
    }

    /// Whether the adapter is there, and in full power: what gives the others a link, and what lets it
    /// tell of its own.
    pub fn is_powered(&self) -> bool {
        let gone = Reason::LowPower as u32 | Reason::Removed as u32 | Reason::ShutDown as u32;
        self.0.load(Ordering::Acquire) & gone == 0
    }

    /// The status with which a send is refused now; None when it is not.
    pub fn refusal(&self) -> Option<NDIS_STATUS> {
        let reasons = self.0.load(Ordering::Acquire);
        let holds = |reason: Reason| reasons & reason as u32 != 0;
        if reasons == 0 {
            None
        } else if holds(Reason::Removed) || holds(Reason::ShutDown) {
            Some(NDIS_STATUS_NOT_ACCEPTED)
        } else if holds(Reason::LowPower) {
            Some(NDIS_STATUS_LOW_POWER_STATE)
        } else if holds(Reason::Paused) {
            Some(NDIS_STATUS_PAUSED)
        } else if holds(Reason::Resetting) {
            Some(NDIS_STATUS_RESET_IN_PROGRESS)
        } else {
            Some(NDIS_STATUS_MEDIA_DISCONNECTED)
        }
    }
}
