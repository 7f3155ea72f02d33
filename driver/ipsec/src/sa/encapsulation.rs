//! UDP-ESP: which packets of an SA have a UDP header in front of ESP.
//!
//! "UDP-ESP Encapsulation Types" names the subtypes by the whole packet: by the outermost
//! portion and the one within it. An SA is of one portion, and where it is in the packet is
//! what the packet shows. The same follows for either end.
//!
//! ```text
//!   subtype                     outermost            within it
//!   (none)                      ESP                  ESP
//!   transport                   UDP ESP              UDP ESP
//!   tunnel                      UDP ESP (tunnel)     -
//!   transport over UDP tunnel   UDP ESP (tunnel)     ESP
//!   UDP transport over tunnel   ESP (tunnel)         UDP ESP
//! ```
//!
//! ADD_SA may name several, and the SA's packets are of any of them then. UDP in both places
//! "is not a supported encapsulation subtype".
//!
//! A received packet with the other encapsulation is not the SA's, and is left to the
//! transport: RFC 7296 section 2.23 has it take both at any time. CRYPTO_INVALID_PROTOCOL
//! would say that it is wrong, and is about AH and ESP only.

use super::params::{UdpEncapsulation, UdpEncapsulations};

/// Where in a packet an SA's portion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind the first IP header.
    Outermost,
    /// In the tunnel.
    Within,
}

/// What is in front of ESP in the packets of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encapsulation(UdpEncapsulations);

impl Encapsulation {
    pub(crate) const fn new(types: UdpEncapsulations) -> Self {
        Self(types)
    }

    /// Whether a packet of the SA may have a UDP header at this place, or none.
    pub(crate) fn allows(self, udp: bool, place: Place) -> bool {
        use UdpEncapsulation::{Transport, TransportOverUdpTunnel, Tunnel, UdpTransportOverTunnel};
        let Self(types) = self;
        let any = |subtypes: &[UdpEncapsulation]| subtypes.iter().any(|one| types.contains(*one));
        match (place, udp) {
            (Place::Outermost, true) => any(&[Transport, Tunnel, TransportOverUdpTunnel]),
            (Place::Outermost, false) => types.is_empty() || any(&[UdpTransportOverTunnel]),
            (Place::Within, true) => any(&[Transport, UdpTransportOverTunnel]),
            (Place::Within, false) => types.is_empty() || any(&[TransportOverUdpTunnel]),
        }
    }

    /// Whether the types say that the outermost portion is in tunnel mode. ADD_SA says so in no
    /// other way.
    pub(crate) fn says_tunnel(self) -> bool {
        let Self(types) = self;
        !types.is_empty() && !types.contains(UdpEncapsulation::Transport)
    }
}
