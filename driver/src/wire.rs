//! The wire: one switch that joins all adapters of the driver. A frame that leaves one goes into
//! every other port whose packet filter takes it; there is nothing to learn.
//!
//! A burst of sends holds the switch for reading, and so keeps every port, with the adapter behind
//! it, where it is: an adapter that halts takes its port out under the writer's lock first.

use core::ptr::NonNull;

use ndis::{Dispatch, ReadGuard, RwSpinLock};
use ndis_sys::{
    NDIS_PACKET_TYPE_ALL_MULTICAST, NDIS_PACKET_TYPE_BROADCAST, NDIS_PACKET_TYPE_DIRECTED,
    NDIS_PACKET_TYPE_MULTICAST, NDIS_PACKET_TYPE_PROMISCUOUS,
};

use crate::{
    adapter::Adapter,
    ethernet::{Cast, Mac, cast},
};

/// The most adapters that there can be.
pub const MAX_PORTS: usize = 64;

/// The most multicast addresses of an adapter (Device.Network.LAN.Base.32MulticastAddresses).
pub const MAX_MULTICAST: usize = 32;

/// The filters that a port understands.
pub const SUPPORTED_FILTERS: u32 = NDIS_PACKET_TYPE_DIRECTED
    | NDIS_PACKET_TYPE_MULTICAST
    | NDIS_PACKET_TYPE_ALL_MULTICAST
    | NDIS_PACKET_TYPE_BROADCAST
    | NDIS_PACKET_TYPE_PROMISCUOUS;

static SWITCH: RwSpinLock<Switch> = RwSpinLock::new(Switch {
    ports: [const { None }; MAX_PORTS],
});

struct Switch {
    ports: [Option<Port>; MAX_PORTS],
}

impl Switch {
    /// The ports but `own` whose adapters are there, in full power.
    fn others(&self, own: usize) -> impl Iterator<Item = &Port> {
        let with_numbers = self.ports.iter().enumerate();
        with_numbers
            .filter(move |(number, _)| *number != own)
            .filter_map(|(_, port)| port.as_ref().filter(|port| port.powered))
    }

    /// Has them look whether they still have a link. One that is in a low-power state looks when it
    /// wakes up.
    fn tell_others(&self, own: usize, at: Dispatch<'_>) {
        for port in self.others(own) {
            // SAFETY: a powered port is one of an adapter that is initialised, and says under the writer's
            // lock that it goes before it does.
            unsafe { port.adapter.as_ref() }.link.changed(at);
        }
    }
}

/// What the switch knows of an adapter: whom it receives for.
pub struct Port {
    adapter: NonNull<Adapter>,
    address: Mac,
    running: bool,
    /// It has been initialised, and is in full power.
    powered: bool,
    filter: u32,
    multicast: [Mac; MAX_MULTICAST],
    multicast_count: usize,
}

// SAFETY: an adapter is used from every processor (it is Sync); the port does not own it.
unsafe impl Send for Port {}
// SAFETY: as above.
unsafe impl Sync for Port {}

impl Port {
    /// Whether a frame for `destination` goes in here.
    fn takes(&self, destination: Mac) -> bool {
        if !self.running {
            return false;
        }
        let has = |bits: u32| self.filter & bits != 0;
        has(NDIS_PACKET_TYPE_PROMISCUOUS)
            || match cast(destination) {
                Cast::Directed => has(NDIS_PACKET_TYPE_DIRECTED) && self.address == destination,
                Cast::Broadcast => has(NDIS_PACKET_TYPE_BROADCAST),
                Cast::Multicast => {
                    has(NDIS_PACKET_TYPE_ALL_MULTICAST)
                        || has(NDIS_PACKET_TYPE_MULTICAST)
                            && self
                                .multicast
                                .iter()
                                .take(self.multicast_count)
                                .any(|address| *address == destination)
                }
            }
    }

    /// Lets frames in, or keeps them out.
    pub const fn set_running(&mut self, running: bool) {
        self.running = running;
    }

    /// Gives those who follow the other adapters a link, or takes it from them.
    pub const fn set_powered(&mut self, powered: bool) {
        self.powered = powered;
    }

    /// OID_GEN_CURRENT_PACKET_FILTER.
    pub const fn set_filter(&mut self, filter: u32) {
        self.filter = filter;
    }

    /// OID_802_3_MULTICAST_LIST. Addresses beyond [`MAX_MULTICAST`] are the caller's to refuse.
    pub fn set_multicast(&mut self, addresses: impl Iterator<Item = Mac>) {
        self.multicast_count = 0;
        for (slot, address) in self.multicast.iter_mut().zip(addresses) {
            *slot = address;
            self.multicast_count = self.multicast_count.saturating_add(1);
        }
    }

    /// The packet filter.
    pub const fn filter(&self) -> u32 {
        self.filter
    }

    /// The multicast list.
    pub fn multicast(&self) -> impl Iterator<Item = Mac> + '_ {
        self.multicast.iter().take(self.multicast_count).copied()
    }
}

/// An adapter's place in the switch. Left when dropped, at `IRQL <= DISPATCH_LEVEL`.
#[derive(Debug)]
pub struct Plug(usize);

/// Puts an adapter into the switch, with receiving off. Its address is `wanted`, or when that is
/// taken and `flexible` the next one that is free. None when the switch is full.
///
/// # Safety
/// `adapter` stays valid until the plug is dropped.
pub unsafe fn attach(
    adapter: NonNull<Adapter>,
    wanted: Mac,
    flexible: bool,
    at: Dispatch<'_>,
) -> Option<(Plug, Mac)> {
    let mut switch = SWITCH.write(at);
    let mut address = wanted;
    // Of MAX_PORTS addresses in a row one is free.
    for _ in 0..MAX_PORTS {
        if !flexible
            || !switch
                .ports
                .iter()
                .flatten()
                .any(|port| port.address == address)
        {
            break;
        }
        let [.., last] = &mut address.0;
        *last = last.wrapping_add(1);
    }
    let index = switch.ports.iter().position(Option::is_none)?;
    *switch.ports.get_mut(index)? = Some(Port {
        adapter,
        address,
        running: false,
        powered: false,
        filter: 0,
        multicast: [Mac([0; 6]); MAX_MULTICAST],
        multicast_count: 0,
    });
    Some((Plug(index), address))
}

impl Plug {
    /// Changes the port. Waits for the bursts under way: when this returns, every frame that was
    /// let in before is in its receiver's queue.
    pub fn configure<R>(&self, change: impl FnOnce(&mut Port) -> R, at: Dispatch<'_>) -> Option<R> {
        let mut switch = SWITCH.write(at);
        let port = switch.ports.get_mut(self.0)?.as_mut()?;
        let before = port.powered;
        let result = change(port);
        if port.powered != before {
            switch.tell_others(self.0, at);
        }
        Some(result)
    }

    /// Whether another adapter is there, in full power.
    pub fn has_partner(&self, at: Dispatch<'_>) -> bool {
        SWITCH.read(at).others(self.0).next().is_some()
    }

    /// Reads the port.
    pub fn read<R>(&self, look: impl FnOnce(&Port) -> R, at: Dispatch<'_>) -> Option<R> {
        SWITCH.read(at).ports.get(self.0)?.as_ref().map(look)
    }

    /// The other ports, for one burst of sends. No second one may be taken while this is held, and
    /// nothing of NDIS be called that could come back.
    pub fn routes<'a>(&self, at: Dispatch<'a>) -> Routes<'a> {
        Routes {
            switch: SWITCH.read(at),
            own: self.0,
        }
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        let raised = ndis::RaisedIrql::raise();
        if let Some(port) = SWITCH.write(raised.dispatch()).ports.get_mut(self.0) {
            *port = None;
        }
    }
}

/// The switch as a sender sees it.
pub struct Routes<'a> {
    switch: ReadGuard<'a, Switch>,
    own: usize,
}

impl Routes<'_> {
    /// The ports that a frame for `destination` goes into, with their numbers.
    pub fn takers(&self, destination: Mac) -> impl Iterator<Item = (usize, &Adapter)> {
        self.switch
            .ports
            .iter()
            .enumerate()
            .filter_map(move |(number, port)| {
                let port = port.as_ref()?;
                if number == self.own || !port.takes(destination) {
                    return None;
                }
                // SAFETY: a port is taken out, under the writer's lock, before its adapter goes; this
                // borrow ends with the reader's lock.
                Some((number, unsafe { port.adapter.as_ref() }))
            })
    }

    /// The adapter behind a port, if it is still to receive.
    pub fn adapter(&self, number: usize) -> Option<&Adapter> {
        let port = self.switch.ports.get(number)?.as_ref()?;
        // SAFETY: as in `takers`.
        Some(unsafe { port.adapter.as_ref() })
    }
}
