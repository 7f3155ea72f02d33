//! Checksum offload: the checksums of packets to send, and the verdict on those of received ones.

use core::ops::Range;

use crate::{Carried, Ip, IpVersion, NotIp, Sum, TCP, UDP, ip};

/// IP protocol number of an IPv4 packet in a tunnel.
const IPV4_IN_IP: u8 = 4;
/// IP protocol number of an IPv6 packet in a tunnel.
const IPV6_IN_IP: u8 = 41;

/// The least bytes of a TCP header.
pub(crate) const TCP_HEADER: usize = 20;
pub(crate) const TCP_CHECKSUM: usize = 16;
const TCP_DATA_OFFSET: usize = 12;
const UDP_HEADER: usize = 8;
const UDP_LENGTH: usize = 4;
const UDP_CHECKSUM: usize = 6;

/// What is to be computed for a packet to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// The checksum of the IPv4 header; of both, if there are two.
    pub ip_header: bool,
    /// The checksum of the transport.
    pub transport: Option<Transport>,
}

/// A transport with a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, whose header is so many bytes from the start of the packet.
    Tcp {
        /// The offset that the request names.
        header_offset: usize,
    },
    /// UDP. The request does not say where it is.
    Udp,
}

/// Why checksums could not be computed. The packet may be changed; it must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumError {
    /// Not an IP packet, longer than its buffer, or its headers do not parse.
    Malformed,
    /// The packet carries another protocol than the request says, or none that can be seen.
    WrongProtocol,
    /// The TCP header is elsewhere than the request says.
    WrongOffset,
    /// The checksum of a fragment's transport: that is over all fragments.
    Fragment,
    /// The packet is to take a route whose end cannot be told.
    UnknownDestination,
}

impl From<NotIp> for ChecksumError {
    fn from(_: NotIp) -> Self {
        Self::Malformed
    }
}

/// Writes the checksums of `packet`, which begins with the IP header and is contiguous; Ethernet
/// padding may follow it. `carried` is what its IPsec headers carry, from the outside in.
///
/// What the checksum fields hold is not looked at: the sum over the pseudo-header that the transport
/// leaves in them is an "early start" ("Offloading Checksum Tasks") that software does not need.
///
/// # Errors
/// [`ChecksumError`].
pub fn compute(
    packet: &mut [u8],
    carried: impl IntoIterator<Item = Carried>,
    tasks: Tasks,
) -> Result<(), ChecksumError> {
    let levels = Levels::find(packet, carried)?;
    let innermost = levels.innermost.ok_or(ChecksumError::Malformed)?;
    if tasks.ip_header {
        // The page of NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO wants both headers of a tunnel's,
        // "Offloading Checksum Tasks" the outer one alone: the transport's own result is the same.
        write_ip_header(packet, &levels.outer)?;
        if let Some((start, ip)) = &levels.tunnelled {
            let within = packet.get_mut(*start..).ok_or(ChecksumError::Malformed)?;
            write_ip_header(within, ip)?;
        }
    }
    let start = levels.tunnelled.map_or(0, |(start, _)| start);
    let packet = packet.get_mut(start..).ok_or(ChecksumError::Malformed)?;
    write_transport(packet, &innermost, tasks.transport, start)
}

/// The IP packets in a packet.
struct Levels {
    outer: Ip,
    /// The one in a tunnel, and where it starts.
    tunnelled: Option<(usize, Ip)>,
    /// Of `tunnelled`, if there is one, or else of `outer`: with its IPsec headers passed. None if
    /// the way there does not parse.
    innermost: Option<Ip>,
    /// A UDP header is between the IP header and the IPsec header of the innermost packet, and its
    /// SA is of transport mode.
    translated: bool,
}

impl Levels {
    fn find(packet: &[u8], carried: impl IntoIterator<Item = Carried>) -> Result<Self, NotIp> {
        let outer = Ip::parse(packet)?;
        let mut levels = Self {
            innermost: Some(outer.clone()),
            outer,
            tunnelled: None,
            translated: false,
        };
        for carried in carried {
            levels.innermost = levels.pass(packet, carried);
        }
        Ok(levels)
    }

    /// Goes behind one IPsec header.
    fn pass(&mut self, packet: &[u8], mut carried: Carried) -> Option<Ip> {
        let ip = self.innermost.take()?;
        if is_tunnel(carried.protocol) {
            let inner = Ip::parse(packet.get(carried.payload.clone())?).ok()?;
            self.tunnelled = Some((carried.payload.start, inner.clone()));
            self.translated = false;
            return Some(inner);
        }
        let start = self.tunnelled.as_ref().map_or(0, |(start, _)| *start);
        let Range { start: from, end } = carried.payload;
        carried.payload = from.checked_sub(start)?..end.checked_sub(start)?;
        self.translated = ip.protocol == UDP;
        ip.behind(packet.get(start..)?, &carried).ok()
    }
}

/// Writes the checksum of an IPv4 header.
pub(crate) fn write_ip_header(packet: &mut [u8], ip: &Ip) -> Result<(), ChecksumError> {
    if ip.version == IpVersion::V6 {
        return Ok(());
    }
    let header = packet
        .get_mut(..ip.header)
        .ok_or(ChecksumError::Malformed)?;
    put(header, ip::IPV4_CHECKSUM, 0)?;
    let checksum = Sum::ZERO.bytes(header).checksum();
    put(header, ip::IPV4_CHECKSUM, checksum)
}

/// `start` is where `packet` starts within the one that the request is about.
fn write_transport(
    packet: &mut [u8],
    ip: &Ip,
    transport: Option<Transport>,
    start: usize,
) -> Result<(), ChecksumError> {
    let (protocol, field) = match transport {
        None => return Ok(()),
        Some(Transport::Tcp { .. }) => (TCP, TCP_CHECKSUM),
        Some(Transport::Udp) => (UDP, UDP_CHECKSUM),
    };
    if ip.fragment {
        return Err(ChecksumError::Fragment);
    }
    if ip.protocol != protocol {
        return Err(ChecksumError::WrongProtocol);
    }
    let mut range = ip.payload.clone();
    if let Some(Transport::Tcp { header_offset }) = transport {
        if range.start.saturating_add(start) != header_offset {
            return Err(ChecksumError::WrongOffset);
        }
        tcp_header(packet.get(range.clone()).unwrap_or_default())
            .ok_or(ChecksumError::Malformed)?;
    } else {
        let datagram = packet.get(range.clone()).unwrap_or_default();
        let length = udp_length(datagram).ok_or(ChecksumError::Malformed)?;
        range.end = range.start.saturating_add(length);
    }
    let bytes = packet.get_mut(range).ok_or(ChecksumError::Malformed)?;
    let pseudo = pseudo_header(ip, protocol, bytes.len());
    let pseudo = pseudo.ok_or(ChecksumError::UnknownDestination)?;
    put(bytes, field, 0)?;
    let mut checksum = pseudo.bytes(bytes).checksum();
    if checksum == 0 && protocol == UDP {
        // Zero says that there is none (RFC 768).
        checksum = 0xffff;
    }
    put(bytes, field, checksum)
}

/// Which checksums of received packets are to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enabled {
    /// That of the IPv4 header.
    pub ip_header: bool,
    /// By IP version.
    pub v4: EnabledTransports,
    /// By IP version.
    pub v6: EnabledTransports,
}

/// Which transports' checksums are to be looked at, over one IP version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnabledTransports {
    /// TCP.
    pub tcp: bool,
    /// UDP.
    pub udp: bool,
}

impl Enabled {
    /// Whether any is.
    #[must_use]
    pub const fn any(self) -> bool {
        self.ip_header || self.v4.tcp || self.v4.udp || self.v6.tcp || self.v6.udp
    }
}

/// What was found: `Some(true)` for a right checksum, `Some(false)` for a wrong one, None for one
/// that was not looked at, or is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validated {
    /// The IPv4 header's; if there are two, right only if both are.
    pub ip_header: Option<bool>,
    /// TCP's.
    pub tcp: Option<bool>,
    /// UDP's.
    pub udp: Option<bool>,
}

/// Looks at the checksums of a received packet, which begins with the IP header. `carried` is what
/// its IPsec headers carried, decrypted, from the outside in; without it nothing behind them is looked
/// at. Of what does not parse, of fragments, and of UDP without a checksum nothing is said.
#[must_use]
pub fn validate(
    packet: &[u8],
    carried: impl IntoIterator<Item = Carried>,
    enabled: Enabled,
) -> Validated {
    let mut found = Validated::default();
    let Ok(levels) = Levels::find(packet, carried) else {
        return found;
    };
    let mut start = 0;
    if enabled.ip_header {
        found.ip_header = check_ip_header(packet, &levels.outer);
    }
    if let Some((tunnelled, ip)) = &levels.tunnelled {
        start = *tunnelled;
        let within = packet.get(start..).unwrap_or_default();
        if let Some(right) = check_ip_header(within, ip).filter(|_| enabled.ip_header) {
            // "The NIC validates the checksum for both IP headers."
            found.ip_header = Some(right && found.ip_header.unwrap_or(true));
        }
    }
    if let Some(ip) = &levels.innermost {
        let within = packet.get(start..).unwrap_or_default();
        check_transport(within, ip, enabled, &mut found);
    }
    if levels.translated {
        // A NAT on the way changes the addresses that the checksum is over: the transport has to take
        // it as it is, or mend it (RFC 3948 section 3.1.2).
        found.tcp = found.tcp.filter(|right| *right);
        found.udp = found.udp.filter(|right| *right);
    }
    found
}

fn check_ip_header(packet: &[u8], ip: &Ip) -> Option<bool> {
    if ip.version == IpVersion::V6 {
        return None;
    }
    let header = packet.get(..ip.header)?;
    Some(Sum::ZERO.bytes(header).checksum() == 0)
}

fn check_transport(packet: &[u8], ip: &Ip, enabled: Enabled, found: &mut Validated) {
    if ip.fragment {
        return;
    }
    let transports = match ip.version {
        IpVersion::V4 => enabled.v4,
        IpVersion::V6 => enabled.v6,
    };
    let bytes = packet.get(ip.payload.clone()).unwrap_or_default();
    match ip.protocol {
        TCP if transports.tcp => found.tcp = check_tcp(bytes, ip),
        UDP if transports.udp => found.udp = check_udp(bytes, ip),
        _ => {}
    }
}

fn check_tcp(segment: &[u8], ip: &Ip) -> Option<bool> {
    tcp_header(segment)?;
    let pseudo = pseudo_header(ip, TCP, segment.len())?;
    Some(pseudo.bytes(segment).checksum() == 0)
}

fn check_udp(datagram: &[u8], ip: &Ip) -> Option<bool> {
    // The IP packet may be longer.
    let datagram = datagram.get(..udp_length(datagram)?)?;
    // None was computed. Over IPv6 that is for the stack to judge (RFC 8200 section 8.1, RFC 6936).
    if ip::u16_at(datagram, UDP_CHECKSUM).ok()? == 0 {
        return None;
    }
    let pseudo = pseudo_header(ip, UDP, datagram.len())?;
    Some(pseudo.bytes(datagram).checksum() == 0)
}

/// The bytes of the TCP header at the start of `segment`, with its options.
pub(crate) fn tcp_header(segment: &[u8]) -> Option<usize> {
    let length = usize::from(segment.get(TCP_DATA_OFFSET)? >> 4).saturating_mul(4);
    (length >= TCP_HEADER && length <= segment.len()).then_some(length)
}

fn udp_length(datagram: &[u8]) -> Option<usize> {
    let length = usize::from(ip::u16_at(datagram, UDP_LENGTH).ok()?);
    (length >= UDP_HEADER && length <= datagram.len()).then_some(length)
}

fn pseudo_header(ip: &Ip, protocol: u8, len: usize) -> Option<Sum> {
    ip.pseudo_header(protocol, u32::try_from(len).ok()?)
}

const fn is_tunnel(protocol: u8) -> bool {
    matches!(protocol, IPV4_IN_IP | IPV6_IN_IP)
}

/// Writes a 16-bit field.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: u16) -> Result<(), ChecksumError> {
    let field = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
    *field.ok_or(ChecksumError::Malformed)? = value.to_be_bytes();
    Ok(())
}
