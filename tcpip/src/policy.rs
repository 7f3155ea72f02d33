//! Which packets are protected, and by which SA: the part of an IPsec policy that a run needs.

use std::{fmt, net::IpAddr};

use anyhow::Result;

use crate::{
    algorithm::Suite,
    packet::{Layout, NoLayout, PROTOCOL_AH, PROTOCOL_ESP},
    plan::{Plan, Shape},
    sas::{Mode, Sa, SaFile},
};

/// Ports whose UDP is the key exchange's or its encapsulation's (RFC 3948).
const IKE_PORTS: [u16; 2] = [500, 4500];

/// What an adapter offers that decides about a packet, from its `NDIS_IPSEC_OFFLOAD_V2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// `IPv6Supported`.
    pub ipv6: bool,
    /// `IPv4Options`.
    pub ipv4_options: bool,
    /// `IPv6NonIPsecExtensionHeaders`.
    pub ipv6_extension_headers: bool,
    /// `SaOffloadCapacity`.
    pub capacity: usize,
}

impl Offers {
    /// An adapter that can do everything.
    pub const EVERYTHING: Self = Self {
        ipv6: true,
        ipv4_options: true,
        ipv6_extension_headers: true,
        capacity: usize::MAX,
    };
}

/// Why a packet goes as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Clear {
    /// Not IP (ARP, for one), or IP behind a tag.
    NotIp,
    /// An IP packet that is not complete in the frame.
    Malformed,
    /// Multicast and broadcast have no SA of a pair of hosts.
    Multicast,
    /// Neighbour discovery must work before there are SAs.
    NeighborDiscovery,
    /// Fragments are never offloaded (NDIS page "Requirements and Restrictions").
    Fragment,
    /// The key exchange itself, and what it encapsulates.
    Ike,
    /// Already ESP or AH.
    AlreadyIpsec,
    /// The adapter offers no IPsec at all.
    Off,
    /// The adapter offers no IPsec for packets like this one.
    NotOffered,
    /// No SA takes it.
    NoSa,
}

impl fmt::Display for Clear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotIp => "not IP",
            Self::Malformed => "incomplete IP",
            Self::Multicast => "multicast",
            Self::NeighborDiscovery => "neighbour discovery",
            Self::Fragment => "fragment",
            Self::Ike => "IKE or UDP-ESP",
            Self::AlreadyIpsec => "already IPsec",
            Self::Off => "IPsec offload is off (keyword *IPsecOffloadV2)",
            Self::NotOffered => "not offered by the adapter",
            Self::NoSa => "no SA",
        })
    }
}

/// Whether IPsec may be applied to the frame at all: its layout, or why not.
pub fn eligible(frame: &[u8], offers: &Offers) -> Result<Layout, Clear> {
    let layout = Layout::of(frame).map_err(|error| match error {
        NoLayout::NotIp => Clear::NotIp,
        NoLayout::Malformed => Clear::Malformed,
    })?;
    let group_bit = frame[0] & 1 != 0;
    if group_bit || layout.destination.is_multicast() || layout.source.is_unspecified() {
        return Err(Clear::Multicast);
    }
    if layout.fragment {
        return Err(Clear::Fragment);
    }
    if [PROTOCOL_ESP, PROTOCOL_AH].contains(&layout.protocol) {
        return Err(Clear::AlreadyIpsec);
    }
    if layout.is_udp_of(frame, &IKE_PORTS) {
        return Err(Clear::Ike);
    }
    // ICMPv6 types 133 to 137 (RFC 4861).
    if layout.protocol == 58
        && frame[layout.payload..layout.end]
            .first()
            .is_some_and(|kind| (133..=137).contains(kind))
    {
        return Err(Clear::NeighborDiscovery);
    }
    let offered = (layout.version == 4 || offers.ipv6)
        && (!layout.ipv4_options || offers.ipv4_options)
        && (!layout.ipv6_extension_headers || offers.ipv6_extension_headers);
    match offered {
        _ if offers.capacity == 0 => Err(Clear::Off),
        true => Ok(layout),
        false => Err(Clear::NotOffered),
    }
}

/// The first SA of the list that takes a packet of this layout, for sending. A tunnel that is there
/// to carry the packets of other SAs takes none of its own unless it has a selector.
pub fn outbound_sa(sas: &[Sa], layout: &Layout) -> Option<usize> {
    let takes = |wanted: Option<IpAddr>, address| wanted.is_none_or(|wanted| wanted == address);
    let carries_others = |sa: &Sa| {
        sas.iter()
            .any(|other| other.tunnel.as_ref() == Some(&sa.name))
    };
    sas.iter().position(|sa| {
        let selected = match (sa.mode, sa.selector) {
            (_, Some(selector)) => {
                selector.source.contains(&layout.source)
                    && selector.destination.contains(&layout.destination)
            }
            (Mode::Tunnel, None) => !carries_others(sa),
            (Mode::Transport, None) => {
                takes(sa.source, layout.source) && takes(sa.destination, layout.destination)
            }
        };
        sa.direction.is_outbound()
            && selected
            && sa
                .takes_ipv6()
                .is_ok_and(|six| six == (layout.version == 6))
    })
}

/// Where keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// The ChaCha20 key stream under this seed: the same keys in every run.
    Seed(u64),
    /// The operating system's random numbers.
    Random,
}

/// Makes one ESP transport SA per (source, destination) of the packets that can be protected: the
/// plainest [`Plan`]. `icv_length` is AES-GCM's.
pub fn make_sas<'a>(
    frames: impl Iterator<Item = &'a [u8]>,
    offers: &Offers,
    suite: impl Into<Suite>,
    icv_length: usize,
    keys: Keys,
) -> Result<SaFile> {
    let plan = Plan {
        shape: Shape::default(),
        suite: suite.into(),
        icv_length,
        esn: false,
        keys,
    };
    plan.make(frames, offers)
}

/// The SPIs of a packet that is already IPsec.
pub(crate) fn spis(frame: &[u8]) -> Option<u32> {
    let layout = Layout::of(frame).ok()?;
    let at = layout.payload + if layout.protocol == PROTOCOL_AH { 4 } else { 0 };
    let bytes = frame.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
