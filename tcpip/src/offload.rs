//! The information buffers of the IPsecOV2 direct OIDs, and the words of out-of-band data.
//!
//! Lists are made as one buffer, elements behind each other at 8-byte boundaries, so `Next` needs
//! the address at which the buffer will be when the driver sees it.

use std::{net::IpAddr, slice};

use anyhow::{Context, Result, ensure};
use ndis_sys::{
    IPSEC_OFFLOAD_V2_ADD_SA, IPSEC_OFFLOAD_V2_ADD_SA_EX, IPSEC_OFFLOAD_V2_ALGORITHM_INFO,
    IPSEC_OFFLOAD_V2_DELETE_SA, IPSEC_OFFLOAD_V2_ENDPOINTS, IPSEC_OFFLOAD_V2_IPV6_ENDPOINTS,
    IPSEC_OFFLOAD_V2_OPERATION, IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION, IPSEC_OFFLOAD_V2_UPDATE_SA,
    NDIS_HANDLE, NDIS_IPSEC_OFFLOAD_V2, NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_RECEIVE,
    NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_TRANSMIT,
    NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO_RECEIVE, NDIS_OBJECT_HEADER,
    NDIS_OBJECT_TYPE_DEFAULT, NDIS_OFFLOAD_ENCAPSULATION, NDIS_OFFLOAD_PARAMETERS, Zero,
};

use crate::{
    algorithm::{Authentication, Encryption},
    packet::ETHERNET_HEADER,
    policy::Offers,
    protection::{Portion, Protection},
    sas::{AuthenticationKey, EncryptionKey, Sa, UdpEsp},
    unframe::HeaderInfo,
};

/// Which way an SA is offloaded (`IPSEC_OFFLOAD_V2_INBOUND`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// For packets to be sent.
    Outbound,
    /// For packets that are received.
    Inbound,
}

/// `OffloadHandle` of an SA as a number; zero is none.
pub type Handle = usize;

/// Bytes of key material in front of which `KeyData` stands in an ADD_SA.
pub const ADD_SA_KEY_DATA: usize = std::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, KeyData);

/// Where `OffloadHandle` stands in an ADD_SA.
pub const ADD_SA_HANDLE: usize = std::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, OffloadHandle);

/// Where `OffloadHandle` stands in an ADD_SA_EX.
pub const ADD_SA_EX_HANDLE: usize = std::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA_EX, OffloadHandle);

/// Where `Next` stands in an ADD_SA and in a DELETE_SA.
pub const NEXT: usize = std::mem::offset_of!(IPSEC_OFFLOAD_V2_ADD_SA, Next);

/// A linked list laid out in one buffer.
#[derive(Clone, Debug, Default)]
pub struct ListBuffer {
    /// The bytes; every `Next` is still null.
    bytes: Vec<u8>,
    /// Where the elements start.
    offsets: Vec<usize>,
}

impl ListBuffer {
    fn push(&mut self, element: &[u8]) {
        self.offsets.push(self.bytes.len());
        self.bytes.extend_from_slice(element);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }

    /// Where the elements start in the buffer.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The bytes for a buffer that will be at `address`.
    pub fn at(&self, address: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for pair in self.offsets.windows(2) {
            let next = (address + pair[1]).to_ne_bytes();
            bytes[pair[0] + NEXT..][..next.len()].copy_from_slice(&next);
        }
        bytes
    }

    /// Bytes of the buffer.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the list has no elements.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }
}

/// The list of OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA (NDIS 6.1 and 6.20).
pub fn add_sa(sas: &[&Sa], way: Way) -> Result<ListBuffer> {
    let mut list = ListBuffer::default();
    for sa in sas {
        let parts = Parts::of(sa, way)?;
        let element = IPSEC_OFFLOAD_V2_ADD_SA {
            Header: header(
                ndis_sys::NDIS_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1,
                ndis_sys::NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_REVISION_1,
            ),
            NumExtHdrs: parts.num_ext_hdrs,
            Flags: parts.flags,
            Endpoints: parts.endpoints,
            UdpEspEncapsulation: udp_esp_encapsulation(sa.udp_esp),
            SecAssoc: parts.sec_assoc,
            KeyLength: parts.keys.len() as u32,
            ..IPSEC_OFFLOAD_V2_ADD_SA::ZERO
        };
        let mut bytes = bytes_of(&element)[..ADD_SA_KEY_DATA].to_vec();
        bytes.extend_from_slice(&parts.keys);
        bytes.resize(bytes.len().max(size_of::<IPSEC_OFFLOAD_V2_ADD_SA>()), 0);
        list.push(&bytes);
    }
    Ok(list)
}

/// The buffer of OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX (NDIS 6.30 and later).
pub fn add_sa_ex(sa: &Sa, way: Way) -> Result<Vec<u8>> {
    let parts = Parts::of(sa, way)?;
    let size = size_of::<IPSEC_OFFLOAD_V2_ADD_SA_EX>();
    let element = IPSEC_OFFLOAD_V2_ADD_SA_EX {
        Header: header(
            ndis_sys::NDIS_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1,
            ndis_sys::NDIS_SIZEOF_IPSEC_OFFLOAD_V2_ADD_SA_EX_REVISION_1,
        ),
        NumExtHdrs: parts.num_ext_hdrs,
        Flags: parts.flags,
        Endpoints: parts.endpoints,
        UdpEspEncapsulation: udp_esp_encapsulation(sa.udp_esp),
        SecAssoc: parts.sec_assoc,
        KeyLength: parts.keys.len() as u32,
        KeyOffset: size as u32,
        ..IPSEC_OFFLOAD_V2_ADD_SA_EX::ZERO
    };
    Ok([bytes_of(&element), &parts.keys].concat())
}

/// The list of OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA.
pub fn delete_sa(handles: &[Handle]) -> ListBuffer {
    let mut list = ListBuffer::default();
    for &handle in handles {
        list.push(bytes_of(&IPSEC_OFFLOAD_V2_DELETE_SA {
            Header: header(
                ndis_sys::NDIS_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1,
                ndis_sys::NDIS_SIZEOF_IPSEC_OFFLOAD_V2_DELETE_SA_REVISION_1,
            ),
            OffloadHandle: handle as NDIS_HANDLE,
            ..IPSEC_OFFLOAD_V2_DELETE_SA::ZERO
        }));
    }
    list
}

/// The buffer of OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA.
pub fn update_sa(
    handle: Handle,
    operation: IPSEC_OFFLOAD_V2_OPERATION,
    spi: u32,
    sequence_high: u32,
) -> Vec<u8> {
    bytes_of(&IPSEC_OFFLOAD_V2_UPDATE_SA {
        Header: header(
            ndis_sys::NDIS_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1,
            ndis_sys::NDIS_SIZEOF_IPSEC_OFFLOAD_V2_UPDATE_SA_REVISION_1,
        ),
        OffloadHandle: handle as NDIS_HANDLE,
        Operation: operation,
        Spi: spi,
        SequenceNumberHighOrder: sequence_high,
        ..IPSEC_OFFLOAD_V2_UPDATE_SA::ZERO
    })
    .to_vec()
}

/// The buffer of OID_OFFLOAD_ENCAPSULATION: Ethernet, with `enabled` (`NDIS_OFFLOAD_SET_*`) for both IP
/// versions.
pub fn encapsulation(enabled: u32) -> Vec<u8> {
    let mut wanted = NDIS_OFFLOAD_ENCAPSULATION::ZERO;
    wanted.Header = NDIS_OBJECT_HEADER {
        Type: ndis_sys::NDIS_OBJECT_TYPE_OFFLOAD_ENCAPSULATION,
        Revision: ndis_sys::NDIS_OFFLOAD_ENCAPSULATION_REVISION_1,
        Size: ndis_sys::NDIS_SIZEOF_OFFLOAD_ENCAPSULATION_REVISION_1 as u16,
    };
    for family in [&mut wanted.IPv4, &mut wanted.IPv6] {
        family.Enabled = enabled;
        family.EncapsulationType = ndis_sys::NDIS_ENCAPSULATION_IEEE_802_3;
        family.HeaderSize = ETHERNET_HEADER as u32;
    }
    bytes_of(&wanted).to_vec()
}

/// The buffer of OID_TCP_OFFLOAD_PARAMETERS that changes `IPsecV2` only
/// (`NDIS_OFFLOAD_PARAMETERS_IPSECV2_*`).
pub fn ipsec_parameters(ipsec: u8) -> Vec<u8> {
    let size = ndis_sys::NDIS_SIZEOF_OFFLOAD_PARAMETERS_REVISION_2;
    let parameters = NDIS_OFFLOAD_PARAMETERS {
        Header: header(ndis_sys::NDIS_OFFLOAD_PARAMETERS_REVISION_2, size),
        IPsecV2: ipsec,
        ..NDIS_OFFLOAD_PARAMETERS::ZERO
    };
    bytes_of(&parameters)[..size].to_vec()
}

/// Reads the handle at `offset` of a completed request.
pub fn handle_at(bytes: &[u8], offset: usize) -> Option<Handle> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(Handle::from_ne_bytes(*bytes))
}

/// What ADD_SA and ADD_SA_EX have in common.
struct Parts {
    num_ext_hdrs: u32,
    flags: u32,
    endpoints: IPSEC_OFFLOAD_V2_ENDPOINTS,
    sec_assoc: [IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION; 2],
    keys: Vec<u8>,
}

impl Parts {
    fn of(sa: &Sa, way: Way) -> Result<Self> {
        let ipv6 = sa.is_ipv6()?;
        let mut flags = 0;
        if ipv6 {
            flags |= ndis_sys::IPSEC_OFFLOAD_V2_IPv6;
        }
        if way == Way::Inbound {
            flags |= ndis_sys::IPSEC_OFFLOAD_V2_INBOUND;
        }

        let mut keys = Vec::new();
        let mut sec_assoc = [IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION::ZERO; 2];
        let mut headers = 0;
        // ESP first, then AH: the only order that the interface knows.
        if let Some(esp) = &sa.esp {
            sec_assoc[headers] = IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION {
                Flags: esn_flag(esp.esn),
                Operation: ndis_sys::IPsecOffloadV2Esp,
                Spi: esp.spi.0,
                EncryptionAlgorithm: encryption(&esp.encryption, &mut keys),
                AuthenticationAlgorithm: esp.authentication.as_ref().map_or(
                    IPSEC_OFFLOAD_V2_ALGORITHM_INFO::ZERO,
                    |authentication_key| authentication(authentication_key, &mut keys),
                ),
                SequenceNumberHighOrder: esp.sequence_high,
            };
            headers += 1;
        }
        if let Some(ah) = &sa.ah {
            sec_assoc[headers] = IPSEC_OFFLOAD_V2_SECURITY_ASSOCIATION {
                Flags: esn_flag(ah.esn),
                Operation: ndis_sys::IPsecOffloadV2Ah,
                Spi: ah.spi.0,
                AuthenticationAlgorithm: authentication(&ah.authentication, &mut keys),
                EncryptionAlgorithm: IPSEC_OFFLOAD_V2_ALGORITHM_INFO::ZERO,
                SequenceNumberHighOrder: ah.sequence_high,
            };
            headers += 1;
        }
        ensure!(headers > 0, "SA {}: neither esp nor ah", sa.name);
        Ok(Self {
            num_ext_hdrs: headers as u32,
            flags,
            endpoints: endpoints(sa.source, sa.destination, ipv6),
            sec_assoc,
            keys,
        })
    }
}

fn esn_flag(esn: bool) -> u32 {
    if esn {
        ndis_sys::IPSEC_OFFLOAD_V2_ESN_SA
    } else {
        0
    }
}

fn header(revision: u8, size: usize) -> NDIS_OBJECT_HEADER {
    NDIS_OBJECT_HEADER {
        Type: NDIS_OBJECT_TYPE_DEFAULT,
        Revision: revision,
        Size: size as u16,
    }
}

/// Addresses are the bytes of the IP header; absent ones are zero, a wildcard.
fn endpoints(
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    ipv6: bool,
) -> IPSEC_OFFLOAD_V2_ENDPOINTS {
    let width = if ipv6 { 16 } else { 4 };
    let mut bytes = [0; 32];
    for (at, address) in [(0, source), (width, destination)] {
        match address {
            Some(IpAddr::V4(address)) => bytes[at..at + 4].copy_from_slice(&address.octets()),
            Some(IpAddr::V6(address)) => bytes[at..at + 16].copy_from_slice(&address.octets()),
            None => {}
        }
    }
    let (first, second) = bytes.split_at(16);
    IPSEC_OFFLOAD_V2_ENDPOINTS {
        IPv6Endpoints: IPSEC_OFFLOAD_V2_IPV6_ENDPOINTS {
            SrcAddr: first.try_into().expect("half of 32 bytes"),
            DestAddr: second.try_into().expect("half of 32 bytes"),
        },
    }
}

fn encryption(key: &EncryptionKey, keys: &mut Vec<u8>) -> IPSEC_OFFLOAD_V2_ALGORITHM_INFO {
    let identifier = encryption_identifier(key.algorithm);
    algorithm(identifier, &key.key, &key.salt, key.icv_len(), keys)
}

fn authentication(key: &AuthenticationKey, keys: &mut Vec<u8>) -> IPSEC_OFFLOAD_V2_ALGORITHM_INFO {
    let identifier = authentication_identifier(key.algorithm);
    let icv_len = if key.algorithm.is_gmac() { 16 } else { 0 };
    algorithm(identifier, &key.key, &key.salt, icv_len, keys)
}

/// `IPSEC_OFFLOAD_V2_ENCRYPTION_*`, in `IPSEC_OFFLOAD_V2_ALGORITHM_INFO` and in the capabilities.
pub fn encryption_identifier(algorithm: Encryption) -> u32 {
    match algorithm {
        Encryption::Null => ndis_sys::IPSEC_OFFLOAD_V2_ENCRYPTION_NONE,
        Encryption::DesCbc => ndis_sys::IPSEC_OFFLOAD_V2_ENCRYPTION_DES_CBC,
        Encryption::TripleDesCbc => ndis_sys::IPSEC_OFFLOAD_V2_ENCRYPTION_3_DES_CBC,
        Encryption::AesCbc128 => ndis_sys::IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_128,
        Encryption::AesCbc192 => ndis_sys::IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_192,
        Encryption::AesCbc256 => ndis_sys::IPSEC_OFFLOAD_V2_ENCRYPTION_AES_CBC_256,
        Encryption::AesGcm128 => ndis_sys::IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_128,
        Encryption::AesGcm192 => ndis_sys::IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_192,
        Encryption::AesGcm256 => ndis_sys::IPSEC_OFFLOAD_V2_ENCRYPTION_AES_GCM_256,
    }
}

/// `IPSEC_OFFLOAD_V2_AUTHENTICATION_*`.
pub fn authentication_identifier(algorithm: Authentication) -> u32 {
    match algorithm {
        Authentication::HmacMd5 => ndis_sys::IPSEC_OFFLOAD_V2_AUTHENTICATION_MD5,
        Authentication::HmacSha1 => ndis_sys::IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_1,
        Authentication::HmacSha256 => ndis_sys::IPSEC_OFFLOAD_V2_AUTHENTICATION_SHA_256,
        Authentication::AesGmac128 => ndis_sys::IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_128,
        Authentication::AesGmac192 => ndis_sys::IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_192,
        Authentication::AesGmac256 => ndis_sys::IPSEC_OFFLOAD_V2_AUTHENTICATION_AES_GCM_256,
    }
}

/// Appends key and salt to the key data, and describes them.
fn algorithm(
    identifier: u32,
    key: &[u8],
    salt: &[u8],
    icv_len: usize,
    keys: &mut Vec<u8>,
) -> IPSEC_OFFLOAD_V2_ALGORITHM_INFO {
    let offset = keys.len();
    keys.extend_from_slice(key);
    keys.extend_from_slice(salt);
    IPSEC_OFFLOAD_V2_ALGORITHM_INFO {
        Identifier: identifier,
        KeyLength: (keys.len() - offset) as u32,
        KeyOffsetBytes: offset as u32,
        AdditionalInfo: icv_len as u32,
    }
}

fn udp_esp_encapsulation(kind: UdpEsp) -> u32 {
    match kind {
        UdpEsp::None => ndis_sys::IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_NONE,
        UdpEsp::Transport => ndis_sys::IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT,
        UdpEsp::Tunnel => ndis_sys::IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TUNNEL,
        UdpEsp::TransportOverUdpTunnel => {
            ndis_sys::IPSEC_OFFLOAD_V2_TRANSPORT_OVER_UDP_ESP_ENCAPSULATION_TUNNEL
        }
        UdpEsp::UdpTransportOverTunnel => {
            ndis_sys::IPSEC_OFFLOAD_V2_UDP_ESP_ENCAPSULATION_TRANSPORT_OVER_TUNNEL
        }
    }
}

/// The bytes of a structure of ndis-sys.
pub(crate) fn bytes_of<T: Zero>(structure: &T) -> &[u8] {
    // SAFETY: `structure` is valid for reads of its size, for as long as the result lives. The
    // structures of ndis-sys name their padding (asserted there), so every byte is initialised.
    unsafe { slice::from_raw_parts(std::ptr::from_ref(structure).cast(), size_of::<T>()) }
}

/// `IPsecOffloadV2HeaderNetBufferListInfo.Transmit` of a framed packet.
///
/// Offsets count "from the beginning of the IP header", which in a tunnel is the outer one. A packet
/// with a portion in a tunnel has two ESP headers, and the page does not say which of them the word
/// is about: here it is the first one, as in every other packet.
pub fn transmit_header(protection: &Protection) -> Result<usize> {
    transmit_header_of(protection, &protection.outer)
}

/// The same of a large send: there is no trailer yet, and `PadLength` is the padding to discard.
pub fn large_send_header(protection: &Protection, discard: u8) -> Result<usize> {
    let mut portion = protection.outer;
    if let Some(esp) = &mut portion.esp {
        esp.pad_len = discard;
    }
    transmit_header_of(protection, &portion)
}

/// The same about one of the portions.
pub fn transmit_header_of(protection: &Protection, portion: &Portion) -> Result<usize> {
    type Word = NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_TRANSMIT;
    let in_words = |at: usize| -> Result<u32> {
        let offset = at - protection.outer.ip;
        let words = u8::try_from(offset / 4).ok();
        let words = words.filter(|_| offset.is_multiple_of(4));
        let words = words.with_context(|| format!("the header offsets cannot name {offset}"))?;
        Ok(words.into())
    };
    let mut word = Word::ZERO;
    if let Some(ah) = portion.ah {
        word = word.with(Word::AhHeaderOffset, in_words(ah.at)?);
    }
    if let Some(esp) = portion.esp {
        word = word
            .with(Word::NextHeader, esp.next_header.into())
            .with(Word::PadLength, esp.pad_len.into())
            .with(Word::EspHeaderOffset, in_words(esp.at)?);
    }
    Ok(word.Bits as usize)
}

/// `IPsecOffloadV2NetBufferListInfo.Receive`, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveStamp {
    /// `SaDeleteReq`.
    pub sa_delete_req: bool,
    /// `CryptoDone`.
    pub crypto_done: bool,
    /// `NextCryptoDone`.
    pub next_crypto_done: bool,
    /// `CryptoStatus`.
    pub crypto_status: u32,
}

impl ReceiveStamp {
    /// What a packet without IPsec processing carries.
    pub const NONE: Self = Self {
        sa_delete_req: false,
        crypto_done: false,
        next_crypto_done: false,
        crypto_status: ndis_sys::CRYPTO_SUCCESS,
    };

    /// From the word of a received NET_BUFFER_LIST.
    pub fn from_info(info: usize) -> Self {
        type Word = NDIS_IPSEC_OFFLOAD_V2_NET_BUFFER_LIST_INFO_RECEIVE;
        let word = Word { Bits: info as u32 };
        Self {
            sa_delete_req: word.get(Word::SaDeleteReq) != 0,
            crypto_done: word.get(Word::CryptoDone) != 0,
            next_crypto_done: word.get(Word::NextCryptoDone) != 0,
            crypto_status: word.get(Word::CryptoStatus),
        }
    }

    /// The documented name of the status.
    pub fn status_name(&self) -> &'static str {
        const NAMES: [&str; 8] = [
            "CRYPTO_SUCCESS",
            "CRYPTO_GENERIC_ERROR",
            "CRYPTO_TRANSPORT_AH_AUTH_FAILED",
            "CRYPTO_TRANSPORT_ESP_AUTH_FAILED",
            "CRYPTO_TUNNEL_AH_AUTH_FAILED",
            "CRYPTO_TUNNEL_ESP_AUTH_FAILED",
            "CRYPTO_INVALID_PACKET_SYNTAX",
            "CRYPTO_INVALID_PROTOCOL",
        ];
        let name = NAMES.get(self.crypto_status as usize);
        name.copied().unwrap_or("an undocumented CryptoStatus")
    }
}

/// `IPsecOffloadV2HeaderNetBufferListInfo.Receive`, if `HeaderInfoSet` is.
pub fn receive_header(info: usize) -> Option<HeaderInfo> {
    type Word = NDIS_IPSEC_OFFLOAD_V2_HEADER_NET_BUFFER_LIST_INFO_RECEIVE;
    let word = Word { Bits: info as u32 };
    (word.get(Word::HeaderInfoSet) != 0).then(|| HeaderInfo {
        next_header: word.get(Word::NextHeader) as u8,
        pad_len: word.get(Word::PadLength) as u8,
    })
}

/// What an adapter with these capabilities offers.
pub fn offers(capabilities: &NDIS_IPSEC_OFFLOAD_V2) -> Offers {
    Offers {
        ipv6: capabilities.IPv6Supported != 0,
        ipv4_options: capabilities.IPv4Options != 0,
        ipv6_extension_headers: capabilities.IPv6NonIPsecExtensionHeaders != 0,
        capacity: capabilities.SaOffloadCapacity as usize,
    }
}
