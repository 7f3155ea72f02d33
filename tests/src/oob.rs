//! Words of out-of-band data: what a packet's sender asks for and is told, and what its receiver is told.

use ndis_sys::{
    Ieee8021QNetBufferListInfo, TcpIpChecksumNetBufferListInfo, TcpLargeSendNetBufferListInfo,
};

use crate::packets::Packet;

/// NetBufferListInfo slot of checksums.
pub const CHECKSUM: usize = TcpIpChecksumNetBufferListInfo as usize;
/// Slot of large sends.
pub const LARGE_SEND: usize = TcpLargeSendNetBufferListInfo as usize;
/// Slot of 802.1Q.
pub const TAG: usize = Ieee8021QNetBufferListInfo as usize;

// NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO.Transmit
/// IsIPv4
pub const IS_IPV4: usize = 1;
/// IsIPv6
pub const IS_IPV6: usize = 1 << 1;
/// TcpChecksum
pub const TCP: usize = 1 << 2;
/// UdpChecksum
pub const UDP: usize = 1 << 3;
/// IpHeaderChecksum
pub const IP_HEADER: usize = 1 << 4;
/// TcpHeaderOffset of 1
pub const TCP_OFFSET: usize = 1 << 16;

// NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO.Receive
/// TcpChecksumFailed
pub const TCP_FAILED: usize = 1;
/// UdpChecksumFailed
pub const UDP_FAILED: usize = 1 << 1;
/// IpChecksumFailed
pub const IP_FAILED: usize = 1 << 2;
/// TcpChecksumSucceeded
pub const TCP_SUCCEEDED: usize = 1 << 3;
/// UdpChecksumSucceeded
pub const UDP_SUCCEEDED: usize = 1 << 4;
/// IpChecksumSucceeded
pub const IP_SUCCEEDED: usize = 1 << 5;

/// NDIS_TCP_LARGE_SEND_OFFLOAD_V2_TYPE in its bit.
pub const LARGE_SEND_V2: usize = 1 << 30;
/// NDIS_TCP_LARGE_SEND_OFFLOAD_IPv6 in its bit.
pub const LARGE_SEND_IPV6: usize = 1 << 31;

/// The word of NDIS_NET_BUFFER_LIST_8021Q_INFO.
#[must_use]
pub const fn tag(priority: usize, vlan: usize) -> usize {
    priority | vlan << 4
}

/// Asks for all checksums of a packet.
#[must_use]
pub fn checksums(packet: &Packet) -> usize {
    let ip = if packet.is_v4() {
        IS_IPV4 | IP_HEADER
    } else {
        IS_IPV6
    };
    ip | if packet.is_tcp() {
        TCP | (packet.transport_offset() * TCP_OFFSET)
    } else {
        UDP
    }
}

/// Tells of a received packet whose checksums are right.
#[must_use]
pub fn checksums_right(packet: &Packet) -> usize {
    let ip = if packet.is_v4() { IP_SUCCEEDED } else { 0 };
    ip | if packet.is_tcp() {
        TCP_SUCCEEDED
    } else {
        UDP_SUCCEEDED
    }
}

/// Asks for a packet to be cut, by a version of large sends.
#[must_use]
pub fn large_send(packet: &Packet, version: u32, mss: usize) -> usize {
    let kind = match (version, packet.is_v4()) {
        (1, _) => 0,
        (_, true) => LARGE_SEND_V2,
        (_, false) => LARGE_SEND_V2 | LARGE_SEND_IPV6,
    };
    mss | packet.transport_offset() << 20 | kind
}

/// What the completion of a large send tells of which so many bytes of payload went out.
#[must_use]
pub const fn large_send_done(version: u32, payload: usize) -> usize {
    if version == 1 { payload } else { LARGE_SEND_V2 }
}
