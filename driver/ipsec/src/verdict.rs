//! What became of a received packet: the out-of-band data of the receive indication.

use core::ops::Range;

/// The result of [`InboundBurst::open`](crate::InboundBurst::open).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet is as it was. All flags are to be clear and the status success
    /// (`NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO.Receive` all zero).
    NotProcessed(NotProcessed),
    /// An SA matched: `CryptoDone` is to be set.
    Processed(Outcome),
}

/// Why a packet was left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProcessed {
    /// Neither IPv4 nor IPv6, or the headers do not parse.
    NotIp,
    /// No AH or ESP header, or not within the headers that the engine walks.
    NotIpsec,
    /// A fragment: offload is for whole packets.
    Fragment,
    /// No SA with this SPI, destination and source, and with or without a UDP header.
    NoSa,
    /// AH behind a header that the engine cannot account for: malformed options, or a routing
    /// header that still leads somewhere and is of a type that it does not know. The transport
    /// does ("Receiving Network Data with IPsec Offload Version 2": a packet that the NIC
    /// cannot process is indicated "without further IPsec processing").
    UnsupportedHeader,
}

/// What was done to a packet that an SA matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `NextCryptoDone`: both a tunnel and a transport payload were checked. A packet in a
    /// tunnel without an SA of its own is not checked.
    pub next_crypto_done: bool,
    /// `CryptoStatus`.
    pub status: CryptoStatus,
    /// `SaDeleteReq`: the transport should delete the SA and its outbound twin.
    pub sa_delete_request: bool,
    /// The members of `NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO.Receive`, with
    /// `HeaderInfoSet`; `None` means not to set it. The words hold one trailer, so that
    /// they are not set beside `next_crypto_done`.
    pub trailer: Option<Trailer>,
}

impl Outcome {
    pub(crate) const fn failed(status: CryptoStatus) -> Self {
        Self {
            next_crypto_done: false,
            status,
            sa_delete_request: false,
            trailer: None,
        }
    }
}

/// What the last IPsec header of a portion carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Its protocol.
    pub protocol: u8,
    /// Where it is in the packet, without padding, trailer and ICV.
    pub range: Range<usize>,
}

/// What the IPsec headers of a packet carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payloads {
    /// Those of the only portion, or of the tunnel.
    pub outer: Option<Payload>,
    /// Those of the packet in the tunnel.
    pub inner: Option<Payload>,
}

/// The decrypted ESP trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Protocol of the payload.
    pub next_header: u8,
    /// Bytes of padding before the trailer.
    pub pad_length: u8,
}

/// `CryptoStatus` of `NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO.Receive`, in the order
/// of its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CryptoStatus {
    /// Decrypted and authentic.
    Success,
    /// Authentic, and its ESP trailer cannot be: the padding is longer than the body. No other
    /// status is about that: the packet's lengths agree, its ICV is right.
    GenericError,
    /// Wrong AH ICV, transport mode.
    TransportAhAuthFailed,
    /// Wrong ESP ICV, transport mode, or within a tunnel, or of an SA that is not known to be
    /// a tunnel's: only the encrypted trailer and the UDP-ESP subtype tell, so that it is the
    /// mode of the last authentic packet, and before that one the subtype's.
    TransportEspAuthFailed,
    /// Wrong AH ICV, tunnel mode.
    TunnelAhAuthFailed,
    /// Wrong ESP ICV, tunnel mode.
    TunnelEspAuthFailed,
    /// A length in the packet does not fit the SA's headers.
    InvalidPacketSyntax,
    /// The SA is for another protocol than the packet shows.
    InvalidProtocol,
}
