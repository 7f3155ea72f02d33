//! Which packets are protected, and by which SA: the part of an IPsec policy that a run needs.

use std::{collections::HashSet, fmt, net::IpAddr};

use anyhow::{Context, Result};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{
    algorithm::Suite,
    packet::{Layout, NoLayout, PROTOCOL_AH, PROTOCOL_ESP},
    sas::{AuthenticationKey, Direction, EncryptionKey, Esp, Mode, Sa, SaFile, Spi, UdpEsp},
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
    if offered {
        Ok(layout)
    } else {
        Err(Clear::NotOffered)
    }
}

/// The first SA of the list that takes a packet of this layout, for sending.
pub fn outbound_sa(sas: &[Sa], layout: &Layout) -> Option<usize> {
    let takes = |wanted: Option<IpAddr>, address| wanted.is_none_or(|wanted| wanted == address);
    sas.iter().position(|sa| {
        let selected = match (sa.mode, sa.selector) {
            (_, Some(selector)) => {
                selector.source.contains(&layout.source)
                    && selector.destination.contains(&layout.destination)
            }
            (Mode::Tunnel, None) => true,
            (Mode::Transport, None) => {
                takes(sa.source, layout.source) && takes(sa.destination, layout.destination)
            }
        };
        sa.direction.is_outbound()
            && selected
            && sa.is_ipv6().is_ok_and(|six| six == (layout.version == 6))
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

/// Makes one ESP transport SA per (source, destination) of the packets that can be protected,
/// in order of appearance and at most as many as the adapter takes. `icv_length` is AES-GCM's.
pub fn make_sas<'a>(
    frames: impl Iterator<Item = &'a [u8]>,
    offers: &Offers,
    suite: impl Into<Suite>,
    icv_length: usize,
    keys: Keys,
) -> Result<SaFile> {
    let mut pairs: Vec<(IpAddr, IpAddr)> = Vec::new();
    let mut foreign = HashSet::new();
    for frame in frames {
        match eligible(frame, offers) {
            Ok(layout) => {
                let pair = (layout.source, layout.destination);
                if !pairs.contains(&pair) && pairs.len() < offers.capacity {
                    pairs.push(pair);
                }
            }
            Err(Clear::AlreadyIpsec) => foreign.extend(spis(frame)),
            Err(_) => {}
        }
    }

    let mut seed = [0; 32];
    let comment = match keys {
        Keys::Seed(number) => {
            seed[..8].copy_from_slice(&number.to_le_bytes());
            format!("keys made from the seed {number}: known to everybody, for tests only")
        }
        Keys::Random => {
            getrandom::fill(&mut seed).context("the system has no random numbers")?;
            "random keys".to_owned()
        }
    };
    let mut rng = ChaCha20Rng::from_seed(seed);
    let mut bytes = |len: usize| {
        let mut bytes = vec![0; len];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    let Suite {
        encryption,
        authentication,
    } = suite.into();
    let name = |(source, destination): (IpAddr, IpAddr)| format!("{source} > {destination}");
    // Not 1 to 255 (RFC 4303 section 2.1), and none that the capture already uses.
    let mut free_spis = (0x1000_0001..).filter(|spi| !foreign.contains(spi));
    let sas = pairs
        .iter()
        .map(|&(source, destination)| Sa {
            name: name((source, destination)),
            direction: Direction::Both,
            mode: Mode::Transport,
            source: Some(source),
            destination: Some(destination),
            ip_version: None,
            esp: Some(Esp {
                spi: Spi(free_spis.next().expect("the numbers do not run out")),
                encryption: EncryptionKey {
                    algorithm: encryption,
                    key: bytes(encryption.key_len()),
                    salt: bytes(encryption.salt_len()),
                    icv_length: encryption.is_gcm().then_some(icv_length),
                },
                authentication: authentication.map(|algorithm| AuthenticationKey {
                    algorithm,
                    key: bytes(algorithm.key_len()),
                    salt: bytes(algorithm.salt_len()),
                }),
                esn: false,
                sequence: 1,
                sequence_high: 0,
            }),
            ah: None,
            udp_esp: UdpEsp::None,
            udp_ports: None,
            selector: None,
            tunnel: None,
            pair: pairs
                .contains(&(destination, source))
                .then(|| name((destination, source))),
        })
        .collect();
    Ok(SaFile::new(sas, comment))
}

/// The SPIs of a packet that is already IPsec.
fn spis(frame: &[u8]) -> Option<u32> {
    let layout = Layout::of(frame).ok()?;
    let at = layout.payload + if layout.protocol == PROTOCOL_AH { 4 } else { 0 };
    let bytes = frame.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
