//! The link of an adapter. As the keyword LinkState has it, the cable goes into a switch, and the link
//! is always up, or to the other adapters, and it is up while one of them is there in full power.
//!
//! An adapter that comes or goes says so to the others under the switch's lock
//! ([`changed`](Link::changed)), and no more; each of them looks for itself, in its work item, and tells
//! NDIS with no lock held. There is one look at a time, so that what is indicated last is what is true.
//!
//! "A miniport driver must not indicate any media connection status changes when it enters a sleep
//! state or while it is in a sleeping state" and "should indicate the new connection status within two
//! seconds after waking" ("Indicating Connection Status").

mod following;

use ndis::{Dispatch, MiniportHandle, ObjectKind, OutOfMemory, Passive, at_dispatch, header};
use ndis_sys::{
    MediaConnectStateConnected, MediaConnectStateDisconnected, MediaDuplexStateFull,
    MediaDuplexStateUnknown, NDIS_IO_WORKITEM_FUNCTION, NDIS_LINK_SPEED_UNKNOWN, NDIS_LINK_STATE,
    NDIS_STATUS_LINK_STATE, NDIS_STATUS_MEDIA_DISCONNECTED, NdisPauseFunctionsUnknown,
    NdisPauseFunctionsUnsupported, PVOID, Zero as _,
};

use super::{Adapter, state::Reason};
use crate::{send, trace::trace};
use following::Following;

/// 10 Gbit/s, what such a link is made of; there is no limit in the wire.
pub const SPEED: u64 = 10_000_000_000;

/// The link; without anything to follow it is always up.
pub struct Link(Option<Following>);

impl Link {
    /// A link; if it `follows`, it is yet to be [initialised](Self::initialize).
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(
        follows: bool,
        adapter: MiniportHandle,
        work_item: NDIS_IO_WORKITEM_FUNCTION,
        at: Passive<'_>,
    ) -> Result<Self, OutOfMemory> {
        let following = follows.then(|| Following::new(adapter, work_item, at));
        Ok(Self(following.transpose()?))
    }

    /// Gives the work item its context.
    ///
    /// # Safety
    /// As for [`Following::initialize`].
    pub unsafe fn initialize(&self, context: PVOID) {
        if let Some(following) = &self.0 {
            // SAFETY: by the caller's promise.
            unsafe { following.initialize(context) };
        }
    }

    /// The attributes have said `up`.
    pub fn begin(&self, up: bool, at: Dispatch<'_>) {
        if let Some(following) = &self.0 {
            following.begin(up, at);
        }
    }

    /// From now on changes are told, and those that there were since then.
    pub fn start(&self, at: Dispatch<'_>) {
        if let Some(following) = &self.0 {
            following.start(at);
        }
    }

    /// Another adapter has come or gone, or this one is awake again. May be called with the switch
    /// held.
    pub fn changed(&self, at: Dispatch<'_>) {
        if let Some(following) = &self.0 {
            following.changed(at);
        }
    }

    /// Waits until no look is under way that began before.
    pub fn flush(&self, at: Passive<'_>) {
        if let Some(following) = &self.0 {
            following.flush(at);
        }
    }

    /// Nothing is told any more once this has returned.
    pub fn retire(&self, at: Passive<'_>) {
        if let Some(following) = &self.0 {
            following.retire(at);
        }
    }
}

/// Whether there is a link now: what the attributes say first.
pub fn is_up(adapter: &Adapter, at: Dispatch<'_>) -> bool {
    adapter.link.0.is_none() || adapter.plug().is_some_and(|plug| plug.has_partner(at))
}

/// The work item. The caller touches the adapter no more.
pub fn run_work_item(adapter: &Adapter) {
    if let Some(following) = &adapter.link.0 {
        at_dispatch(false, |at| {
            following.run(
                at,
                || adapter.state.is_powered().then(|| is_up(adapter, at)),
                |up| act(adapter, up, at),
            );
        });
    }
}

/// No send ends for the want of a link that NDIS believes to be there.
fn act(adapter: &Adapter, up: bool, at: Dispatch<'_>) {
    if up {
        adapter.resume(Reason::NoLink, at);
        tell(adapter, true);
    } else {
        tell(adapter, false);
        lose(adapter, at);
    }
}

/// Sends end with NDIS_STATUS_MEDIA_DISCONNECTED from here on, those that wait as well; what came in
/// before goes up.
fn lose(adapter: &Adapter, at: Dispatch<'_>) {
    adapter.state.set(Reason::NoLink);
    adapter.update_port(at);
    send::abort(adapter, NDIS_STATUS_MEDIA_DISCONNECTED, at);
}

fn tell(adapter: &Adapter, up: bool) {
    let head = header(ObjectKind::LinkState, adapter.version);
    let mut state = NDIS_LINK_STATE::ZERO;
    state.Header = head;
    (state.MediaConnectState, state.MediaDuplexState) = media(up);
    state.XmitLinkSpeed = speed(up);
    state.RcvLinkSpeed = speed(up);
    state.PauseFunctions = if up {
        NdisPauseFunctionsUnsupported
    } else {
        NdisPauseFunctionsUnknown
    };
    adapter
        .handle
        .indicate_status(adapter.version, NDIS_STATUS_LINK_STATE, &state, head.Size);
    trace!("link {}", if up { "up" } else { "down" });
}

/// MediaConnectState and MediaDuplexState.
pub const fn media(up: bool) -> (i32, i32) {
    if up {
        (MediaConnectStateConnected, MediaDuplexStateFull)
    } else {
        (MediaConnectStateDisconnected, MediaDuplexStateUnknown)
    }
}

/// XmitLinkSpeed and RcvLinkSpeed, in bits per second.
pub const fn speed(up: bool) -> u64 {
    if up { SPEED } else { NDIS_LINK_SPEED_UNKNOWN }
}
