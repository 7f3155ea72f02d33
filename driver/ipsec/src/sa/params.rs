//! What the transport says of an SA: `IPSEC_OFFLOAD_V2_ADD_SA` and `_EX` after parsing.
//!
//! Addresses are the bytes of the packet's header; all zero is a wildcard. All else are
//! plain numbers: an SPI is the value whose big-endian bytes are in the packet.
//!
//! The documentation does not say in which byte order `IPSEC_OFFLOAD_V2_SPI_TYPE` (a
//! ULONG) holds it. It is taken in the processor's order, like every other integer of
//! these structures and like the SPIs of the Windows Filtering Platform; `IPAddr` alone
//! is known to be in network order. Whoever reads the structures converts, in one place.

/// Which way the packets of an SA go (`IPSEC_OFFLOAD_V2_INBOUND`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received packets.
    Inbound,
    /// Sent packets.
    Outbound,
}

/// The addresses in the IP header that carries ESP or AH: the hosts' in transport mode,
/// the gateways' in tunnel mode. ADD_SA does not say which of the two modes it is; a
/// packet shows it by the next header of its ESP trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// `IPv4Endpoints`.
    V4 {
        /// `SrcAddr`, zero for any.
        source: [u8; 4],
        /// `DestAddr`, zero for any.
        destination: [u8; 4],
    },
    /// `IPv6Endpoints`.
    V6 {
        /// `SrcAddr`, zero for any.
        source: [u8; 16],
        /// `DestAddr`, zero for any.
        destination: [u8; 16],
    },
}

/// A subtype of UDP-ESP encapsulation: which portion of a packet has a UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpEncapsulation {
    /// A transport-mode packet has it.
    Transport,
    /// A tunnel has it, and the packet in it has no ESP.
    Tunnel,
    /// A tunnel has it, and the packet in it has ESP too.
    TransportOverUdpTunnel,
    /// The transport-mode packet in a tunnel has it, and the tunnel does not.
    UdpTransportOverTunnel,
}

impl UdpEncapsulation {
    /// All subtypes.
    pub const ALL: [Self; 4] = [
        Self::Transport,
        Self::Tunnel,
        Self::TransportOverUdpTunnel,
        Self::UdpTransportOverTunnel,
    ];

    const fn bit(self) -> u8 {
        match self {
            Self::Transport => 1,
            Self::Tunnel => 2,
            Self::TransportOverUdpTunnel => 4,
            Self::UdpTransportOverTunnel => 8,
        }
    }
}

/// `UdpEspEncapsulation`: none, "one or more" of the subtypes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpEncapsulations(u8);

impl UdpEncapsulations {
    /// No packet has a UDP header.
    pub const NONE: Self = Self(0);

    /// These, and this one too.
    #[must_use]
    pub const fn with(self, subtype: UdpEncapsulation) -> Self {
        let Self(bits) = self;
        Self(bits | subtype.bit())
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn contains(self, subtype: UdpEncapsulation) -> bool {
        let Self(bits) = self;
        bits & subtype.bit() != 0
    }

    /// Whether it is [`Self::NONE`].
    #[must_use]
    pub const fn is_empty(self) -> bool {
        let Self(bits) = self;
        bits == 0
    }
}

impl From<UdpEncapsulation> for UdpEncapsulations {
    fn from(subtype: UdpEncapsulation) -> Self {
        Self::NONE.with(subtype)
    }
}

/// `IPSEC_OFFLOAD_V2_OPERATION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Authentication Header, RFC 4302.
    Ah,
    /// Encapsulating Security Payload, RFC 4303.
    Esp,
}

/// `IPSEC_OFFLOAD_V2_ENCRYPTION_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncryptionAlgorithm {
    /// Null encryption.
    Null,
    /// DES in CBC mode.
    DesCbc,
    /// Triple DES in CBC mode.
    TripleDesCbc,
    /// AES-GCM with a 128-bit key, RFC 4106.
    AesGcm128,
    /// AES-GCM with a 192-bit key.
    AesGcm192,
    /// AES-GCM with a 256-bit key.
    AesGcm256,
    /// AES in CBC mode with a 128-bit key, RFC 3602.
    AesCbc128,
    /// AES in CBC mode with a 192-bit key.
    AesCbc192,
    /// AES in CBC mode with a 256-bit key.
    AesCbc256,
}

impl EncryptionAlgorithm {
    /// Whether it authenticates what it encrypts: the authentication algorithm "should not be
    /// used" then (page of IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION).
    #[must_use]
    pub const fn is_combined(self) -> bool {
        matches!(self, Self::AesGcm128 | Self::AesGcm192 | Self::AesGcm256)
    }
}

/// `IPSEC_OFFLOAD_V2_AUTHENTICATION_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationAlgorithm {
    /// HMAC-MD5-96, RFC 2403.
    Md5,
    /// HMAC-SHA-1-96, RFC 2404.
    Sha1,
    /// HMAC-SHA-256-128, RFC 4868.
    Sha256,
    /// AES-GMAC with a 128-bit key, RFC 4543.
    AesGmac128,
    /// AES-GMAC with a 192-bit key.
    AesGmac192,
    /// AES-GMAC with a 256-bit key.
    AesGmac256,
}

/// `IPSEC_OFFLOAD_V2_ALGORITHM_INFO`, with the key that it points to.
#[derive(Clone, Copy, Debug)]
pub struct Algorithm<'a, I> {
    /// `Identifier`.
    pub identifier: I,
    /// `KeyLength` bytes at `KeyOffsetBytes`. For AES-GCM and AES-GMAC the AES key and
    /// the salt of 4 bytes after it, as in RFC 4106 section 8.1; for HMAC 16 (MD5), 20
    /// (SHA-1) or 32 bytes (SHA-256); for DES 8 and for Triple DES 24, parity included.
    pub key: &'a [u8],
    /// `AdditionalInfo`. For AES-GCM the length of the ICV in bytes: 8, 12 or 16; for
    /// AES-GMAC 16 or nothing. Not used otherwise.
    pub additional_info: u32,
}

/// `IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION`.
#[derive(Clone, Copy, Debug)]
pub struct SecurityAssociation<'a> {
    /// `Operation`.
    pub operation: Operation,
    /// `Spi`.
    pub spi: u32,
    /// `IPSEC_OFFLOAD_V2_ESN_SA` in `Flags`: sequence numbers have 64 bits.
    pub extended_sequence_numbers: bool,
    /// `SequenceNumberHighOrder`; only used with extended sequence numbers.
    pub sequence_number_high: u32,
    /// `EncryptionAlgorithm`, `None` if its identifier is zero: as null encryption.
    pub encryption: Option<Algorithm<'a, EncryptionAlgorithm>>,
    /// `AuthenticationAlgorithm`, `None` if its identifier is zero. Not used (and so not
    /// checked either) beside AES-GCM, as the page of the structure says.
    pub authentication: Option<Algorithm<'a, AuthenticationAlgorithm>>,
}

/// `IPSEC_OFFLOAD_V2_ADD_SA` or `IPSEC_OFFLOAD_V2_ADD_SA_EX`.
#[derive(Clone, Copy, Debug)]
pub struct SaParams<'a> {
    /// `IPSEC_OFFLOAD_V2_INBOUND` in `Flags`.
    pub direction: Direction,
    /// The addresses.
    pub endpoints: Endpoints,
    /// `UdpEspEncapsulation`: only for ESP without AH (page of IPSEC_OFFLOAD_V2_ADD_SA,
    /// `NumExtHdrs`).
    pub udp_encapsulation: UdpEncapsulations,
    /// The first `NumExtHdrs` members of `SecAssoc`, in their order: one, or two for ESP
    /// and then AH.
    pub associations: &'a [SecurityAssociation<'a>],
}
