//! What a miniport has told of its link: in its attributes, and by NDIS_STATUS_LINK_STATE.

use ndis_sys::{MediaConnectStateConnected, MediaConnectStateUnknown, NDIS_LINK_STATE};
use parking_lot::Mutex;

/// The link of an adapter, as it was told last.
#[derive(Default)]
pub(super) struct Link(Mutex<Told>);

#[derive(Default)]
struct Told {
    state: Option<NDIS_LINK_STATE>,
    /// How often it was told that there is none.
    losses: u64,
}

/// A moment, for [`Link::was_down_since`].
#[derive(Clone, Copy)]
pub(super) struct Moment {
    down: bool,
    losses: u64,
}

impl Link {
    /// Takes note of what the miniport tells.
    pub(super) fn tell(&self, state: NDIS_LINK_STATE) {
        let mut told = self.0.lock();
        told.losses += u64::from(state.MediaConnectState != MediaConnectStateConnected);
        told.state = Some(state);
    }

    /// What was told last.
    pub(super) fn state(&self) -> Option<NDIS_LINK_STATE> {
        self.0.lock().state
    }

    /// Now.
    pub(super) fn moment(&self) -> Moment {
        let told = self.0.lock();
        Moment {
            down: told
                .state
                .is_some_and(|state| state.MediaConnectState != MediaConnectStateConnected),
            losses: told.losses,
        }
    }

    /// Whether there was no link, by what was told, at any time since then.
    pub(super) fn was_down_since(&self, then: Moment) -> bool {
        then.down || self.0.lock().losses != then.losses
    }
}

/// Whether `told` is a change of the connection. MediaConnectStateUnknown is none: it is what an adapter
/// should say of itself on its way into a low-power state (NDIS_STATUS_LINK_STATE).
pub(super) fn is_change(before: Option<NDIS_LINK_STATE>, told: &NDIS_LINK_STATE) -> bool {
    let connected = told.MediaConnectState;
    connected != MediaConnectStateUnknown
        && before.is_none_or(|before| before.MediaConnectState != connected)
}
