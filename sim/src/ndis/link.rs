//! What a miniport has told of its link: in its attributes, and by NDIS_STATUS_LINK_STATE.

use std::thread::{self, ThreadId};

use ndis_sys::{MediaConnectStateConnected, MediaConnectStateUnknown, NDIS_LINK_STATE};
use parking_lot::Mutex;

/// The link of an adapter, as it was told last.
#[derive(Default)]
pub(super) struct Link(Mutex<Told>);

/// Whether the adapter may tell of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sleep {
    /// It may; also in OID_PNP_SET_POWER to D0, which is where NDIS has it tell of them.
    #[default]
    Awake,
    /// It is told to sleep, or to halt, on this thread, which must not tell of any; another one may not know
    /// yet.
    Entering(ThreadId),
    /// It has gone to sleep.
    Asleep,
}

impl Sleep {
    /// On this thread.
    pub(super) fn entering() -> Self {
        Self::Entering(thread::current().id())
    }
}

#[derive(Default)]
struct Told {
    sleep: Sleep,
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
    /// The adapter goes to sleep, or wakes up.
    pub(super) fn set_sleep(&self, sleep: Sleep) {
        self.0.lock().sleep = sleep;
    }

    /// Takes note of what the miniport tells. False when this is a change of the connection that it must not
    /// tell of now. MediaConnectStateUnknown is none: it is what an adapter should say of itself on its way
    /// into a low-power state (NDIS_STATUS_LINK_STATE).
    #[must_use]
    pub(super) fn tell(&self, state: NDIS_LINK_STATE) -> bool {
        let mut told = self.0.lock();
        let before = told.state.map(|before| before.MediaConnectState);
        let news = state.MediaConnectState != MediaConnectStateUnknown
            && before != Some(state.MediaConnectState);
        let silent = match told.sleep {
            Sleep::Awake => false,
            Sleep::Entering(thread) => thread == thread::current().id(),
            Sleep::Asleep => true,
        };
        told.losses += u64::from(state.MediaConnectState != MediaConnectStateConnected);
        told.state = Some(state);
        !(news && silent)
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
