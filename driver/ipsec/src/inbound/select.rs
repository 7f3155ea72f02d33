//! From a packet to what its SA is looked up with.

use crate::ah;
use crate::packet::{self, Headers, udp};
use crate::sa::encapsulation::Place;
use crate::sa::lookup::Selector;
use crate::sa::params::Operation;
use crate::verdict::NotProcessed;

/// What a packet shows before its SA is known.
pub(super) struct Selected {
    /// Up to the IPsec header; a UDP header in front of ESP is one of them.
    pub headers: Headers,
    pub selector: Selector,
}

/// Whether a received packet may have an SA: it is a whole packet, and its headers lead
/// to AH or ESP. [`super::InboundBurst::open`] leaves all others alone.
pub(crate) fn is_candidate(packet: &[u8]) -> bool {
    select(packet, Place::Outermost).is_ok()
}

/// Finds the IPsec header of a packet.
pub(super) fn select(packet: &[u8], place: Place) -> Result<Selected, NotProcessed> {
    let mut headers = Headers::parse(packet).map_err(|_| NotProcessed::NotIp)?;
    if headers.fragment {
        return Err(NotProcessed::Fragment);
    }
    let mut rest = packet
        .get(headers.offset..headers.end)
        .ok_or(NotProcessed::NotIp)?;
    if headers.protocol == packet::UDP && udp::is_to_port(rest) {
        headers = headers.behind_udp(packet).ok_or(NotProcessed::NotIpsec)?;
        rest = packet
            .get(headers.offset..headers.end)
            .ok_or(NotProcessed::NotIpsec)?;
    }
    let (operation, spi) = match headers.protocol {
        packet::ESP => (
            Operation::Esp,
            rest.first_chunk().map(|spi| u32::from_be_bytes(*spi)),
        ),
        packet::AH => (Operation::Ah, ah::spi(rest)),
        _ => return Err(NotProcessed::NotIpsec),
    };
    let spi = spi.ok_or(NotProcessed::NotIpsec)?;
    Ok(Selected {
        selector: Selector {
            spi,
            operation,
            destination: headers.destination,
            source: headers.source,
            udp: headers.udp,
            place,
        },
        headers,
    })
}
